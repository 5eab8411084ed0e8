package feature

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"quant"
	"quant/internal/expression"
	"quant/internal/factstore"
	"quant/internal/price"
)

// Every set is tried before anything of it is stored, and once: one more day is computed
// by what was tried.
func TestASetIsProvedBeforeItIsStored(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 120)
	var symbols []string
	for k := range 20 {
		symbols = append(symbols, fmt.Sprintf("S%02d", k))
	}
	db := lab(t, factstore.Options{})
	all := market(symbols, cal, 5, true)
	load(t, db, fmt.Sprintf("SELECT * FROM (%s) WHERE ts < DATE '%s'", all, cal.At(110)))
	r := run(t, db, cal, Request{RunID: "r1", Set: setOf(t, own), Sectors: sectorsOf(symbols)})
	if r.Proof == nil || r.Proof.Symbols != symbolsOfProof || len(r.Proof.Days) != 8 || r.Proof.Compared < 5000 {
		t.Fatalf("%+v", r.Proof)
	}
	if r = run(t, db, cal, Request{RunID: "r2", Version: "v2"}); r.Proof != nil {
		t.Errorf("%+v", r.Proof)
	}
}

// What knows the future is found out, with the day, and nothing is stored.
func TestAKernelThatLooksAheadIsRefused(t *testing.T) {
	t.Parallel()
	set := factstore.FeatureSet{Version: "ahead", Features: []factstore.SetFeature{{Name: "x"}}}
	for name, kernel := range map[string]func(b expression.Bars, i int) float64{
		"the next close": func(b expression.Bars, i int) float64 {
			if i+1 < len(b.Close) {
				return b.Close[i+1]
			}
			return b.Close[i]
		},
		"how much history there is": func(b expression.Bars, _ int) float64 { return float64(len(b.Close)) },
		"a mean of all of it": func(b expression.Bars, _ int) float64 {
			sum := 0.0
			for _, x := range b.Close {
				sum += x
			}
			return sum / float64(len(b.Close))
		},
		"honest": func(b expression.Bars, i int) float64 { return b.Close[i] / b.Open[i] },
	} {
		cal := weekdays("2019-01-07", 60)
		db := lab(t, factstore.Options{})
		load(t, db, market([]string{"A", "B"}, cal, 5, false))
		e := &evaluation{c: &computation{db: db, cal: cal, outputs: 1}}
		var err error
		if e.c.basis, err = price.Stage(t.Context(), db, cal, price.Request{}); err != nil {
			t.Fatal(err)
		}
		p, err := e.prove(context.Background(), set, func(list []expression.Bars, _ []string, _ int32) ([][]float64, error) {
			var all [][]float64
			for _, b := range list {
				out := make([]float64, len(b.Close))
				for i := range out {
					out[i] = kernel(b, i)
				}
				all = append(all, out)
			}
			return all, nil
		})
		if honest := name == "honest"; honest != (err == nil) || honest && p.Compared == 0 ||
			!honest && (quant.CodeOf(err) != quant.Refused || !strings.Contains(err.Error(), "feature x@ahead of A on 2019-")) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
}
