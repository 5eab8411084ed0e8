package feature

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"quant/internal/factstore"
)

func TestAStateIsReadBackToTheBit(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 60)
	var s recursion
	for i := range 60 {
		if text := stateText(s, "inputs", cal); i%7 == 0 {
			back, ok := parseState(text, "inputs", cal)
			if !ok || back != s {
				t.Fatalf("after %d bars: %+v became %+v, %v", i, s, back, ok)
			}
			if _, ok := parseState(text, "other inputs", cal); ok {
				t.Error("a state of other bars is taken")
			}
			if _, ok := parseState(strings.Replace(text, " ", "  ", 1), "inputs", cal); ok {
				t.Error("another text is taken")
			}
		}
		p := 100 + 10*math.Sin(float64(i))
		first, _ := cal.Index(cal.First())
		s.step(bar{first + i, p + 1, p - 1, p})
	}
	for text, want := range map[string][2]string{"": {"", ""}, "a 1 2 3\n": {"a 1 2 3\n", ""}, "a 1 2 3\nrecursions 0": {"a 1 2 3\n", "recursions 0"}, "recursions 0": {"", "recursions 0"}} {
		if sums, state := splitSums(text); sums != want[0] || state != want[1] {
			t.Errorf("%q became %q and %q", text, sums, state)
		}
	}
}

// One more day goes on from the state that stands, and from no other.
func TestOneMoreDayGoesOnFromTheStateOfTheRecursions(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 290)
	bars := market([]string{"AAA", "BBB"}, cal, 6, true)
	until := func(i int) string { return fmt.Sprintf("SELECT * FROM (%s) WHERE ts <= DATE '%s'", bars, cal.At(i)) }
	whole := lab(t, factstore.Options{})
	load(t, whole, until(281))
	run(t, whole, cal, Request{Version: "v2"})
	for what, spoil := range map[string]func(record) string{
		"as it was stored":               func(r record) string { return r.sums + r.state },
		"without a state":                func(r record) string { return r.sums },
		"changed by another program":     func(r record) string { return r.sums + strings.Replace(r.state, " 4", " 5", 1) },
		"with a digest, so it was meant": func(r record) string { return r.sums + stateText(recursion{n: 40}, r.inputs, cal) },
	} {
		db := lab(t, factstore.Options{})
		load(t, db, until(280))
		run(t, db, cal, Request{Version: "v2", RunID: "before"})
		c := computation{db: db, slices: []slice{{table: factstore.FeaturesDaily, version: "v2"}}}
		if err := c.readBefore(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := db.Write(t.Context(), "spoiler", func(ctx context.Context, tx *factstore.Tx) error {
			for symbol, r := range c.before[0] {
				if r.state == "" {
					t.Errorf("%s has no state", symbol)
				}
				if _, err := tx.Update(ctx, factstore.FactInputs, "sums = ? WHERE symbol = ? AND table_name = 'features_daily'", spoil(r), symbol); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		load(t, db, until(281))
		run(t, db, cal, Request{Version: "v2", RunID: "after"})
		same := slices.Equal(facts(t, db, allFeatures), facts(t, whole, allFeatures))
		if want := !strings.HasPrefix(what, "with a digest"); same != want {
			t.Errorf("%s: the values are those of the whole: %v", what, same)
		}
	}
}
