package feature

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"quant"
	"quant/internal/factstore"
)

// unit computes the values of some symbols as the unit that is a run of that name.
func unit(t *testing.T, db *factstore.DB, req Request, name string, symbols []string) factstore.Unit {
	t.Helper()
	to, err := db.StageOutputs(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	req.Symbols = symbols
	_, note, err := StageValues(t.Context(), db, unitCalendar, req, to)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := to.Seal(t.Context(), note)
	if err != nil {
		t.Fatal(err)
	}
	return factstore.Unit{RunID: name, Digest: digest}
}

var unitCalendar = weekdays("2019-01-07", 90)

func allSucceeded(_ context.Context, ids []string) (map[string]bool, error) {
	of := map[string]bool{}
	for _, id := range ids {
		of[id] = true
	}
	return of, nil
}

// What units have computed is stored as what is computed where it is stored: the same
// rows, digests, stamps and report, whoever computed which symbols.
func TestValuesOfUnitsAreStoredAsIfTheyWereComputedThere(t *testing.T) {
	t.Parallel()
	symbols := []string{"AAA", "BBB", "CCC", "DDD", "EEE"}
	set := setOf(t, "version: alone\nfeatures:\n  MA: Mean($close, 5) / $close\n  none: $close / ($volume - $volume)\n  zero: ($close - $close) * (0 - 1)\n")
	for name, groups := range map[string][][]string{
		"one group":                                {symbols},
		"uneven groups, and one without prices":    {symbols[:1], {"BBB", "CCC", "DDD", "NONE"}, symbols[4:]},
		"symbols of no unit, of two, in any order": {symbols[2:4], symbols[1:3]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var dbs []*factstore.DB
			for range 2 {
				dbs = append(dbs, lab(t, factstore.Options{}))
			}
			all := func(what string, change func(*factstore.DB)) {
				t.Helper()
				for _, req := range []Request{{Version: "v2"}, {Version: "v1"}, {Set: set}} {
					var reports []Report
					for k, db := range dbs {
						if req.Version != "v1" { // of v1 the bars are those of v2
							change(db)
						}
						req.RunID, req.Units = fmt.Sprint("run-", what, req.Version), nil
						if k == 1 {
							req.Units = &Units{Succeeded: allSucceeded}
							for n, group := range groups {
								req.Units.List = append(req.Units.List, unit(t, db, req, fmt.Sprintf("unit-%s-%s-%d", what, req.Version, n), group))
							}
						}
						reports = append(reports, run(t, db, unitCalendar, req))
					}
					var said []string
					for _, r := range reports {
						doc, err := json.Marshal(r)
						if err != nil {
							t.Fatal(err)
						}
						said = append(said, string(doc)+spell(t, r.Inputs)+spell(t, r.Outputs))
					}
					if said[0] != said[1] {
						t.Errorf("%s: the report is\n%s\nnot\n%s", what, said[1], said[0])
					}
				}
				for _, query := range []string{
					allFeatures, allInputs, "SELECT * FROM fact_slices ORDER BY ALL",
					"SELECT * FROM returns ORDER BY ALL", "SELECT run_id, table_name, rows_inserted, rows_updated, rows_deleted FROM ledger ORDER BY ALL",
				} {
					want, got := facts(t, dbs[0], query), facts(t, dbs[1], query)
					if len(want) == 0 || !slices.Equal(want, got) {
						t.Fatalf("%s: %d rows and not %d of %s", what, len(got), len(want), query)
					}
				}
			}
			first := true
			all("first", func(db *factstore.DB) {
				if first || len(facts(t, db, "SELECT 1 FROM ohlcv LIMIT 1")) == 0 {
					load(t, db, market(symbols, unitCalendar, 3, true))
				}
			})
			first = false
			all("corrected", func(db *factstore.DB) {
				load(t, db, fmt.Sprintf("SELECT symbol, ts, open, high, low, close, volume + 7 AS volume, adjusted_close FROM (%s) WHERE symbol > 'B' AND ts = DATE '%s'", market(symbols, unitCalendar, 3, true), unitCalendar.At(50)))
			})
		})
	}
}

// What a unit computed of bars that have changed since is computed anew; so is what it
// did not know.
func TestWhatAUnitComputedOfOtherBarsIsNotStored(t *testing.T) {
	t.Parallel()
	symbols := []string{"AAA", "BBB"}
	plain, db := lab(t, factstore.Options{}), lab(t, factstore.Options{})
	req := Request{Version: "v2", RunID: "run-1"}
	load(t, db, market(symbols, unitCalendar, 4, true))
	u := unit(t, db, req, "unit-1", symbols)
	for _, db := range []*factstore.DB{plain, db} {
		load(t, db, market(symbols[:1], unitCalendar, 5, true))
		load(t, db, market(symbols[1:], unitCalendar, 4, true))
		if db != plain {
			remove(t, db, "symbol = 'AAA' AND (symbol, ts) NOT IN (SELECT symbol, ts FROM ("+market(symbols[:1], unitCalendar, 5, true)+"))")
			req.Units = &Units{List: []factstore.Unit{u}, Succeeded: allSucceeded}
		}
		run(t, db, unitCalendar, req)
	}
	query := allFeatures
	if want, got := facts(t, plain, query), facts(t, db, query); len(want) == 0 || !slices.Equal(want, got) {
		t.Fatalf("%d rows and not %d", len(got), len(want))
	}
}

func TestSymbolsAreDividedAmongUnits(t *testing.T) {
	t.Parallel()
	symbols := []string{"AAA", "BBB", "CCC"}
	db := lab(t, factstore.Options{})
	load(t, db, market(symbols, unitCalendar, 3, true))
	divided := func(req Request) [][]string {
		t.Helper()
		groups, err := Divide(t.Context(), db, unitCalendar, req)
		if err != nil {
			t.Fatal(err)
		}
		var list [][]string
		for _, g := range groups {
			list = append(list, g.Symbols)
		}
		return list
	}
	if got := divided(Request{Version: "v1"}); len(got) != 3 || !slices.Equal(slices.Concat(got...), symbols) {
		t.Errorf("%v", got)
	}
	run(t, db, unitCalendar, Request{Version: "v1"})
	if got := divided(Request{Version: "v1"}); got != nil {
		t.Errorf("of what stands: %v", got)
	}
	compared := Request{Set: setOf(t, own), Sectors: sectorsOf(symbols)}
	if got := divided(compared); got != nil {
		t.Errorf("of symbols that are compared: %v", got)
	}
	to, err := db.StageOutputs(t.Context(), "unit-1", "")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Discard()
	if _, _, err := StageValues(t.Context(), db, unitCalendar, compared, to); quant.CodeOf(err) != quant.Invalid {
		t.Errorf("%v", err)
	}
	if _, err := Divide(t.Context(), db, unitCalendar, Request{Version: "v1", Symbols: []string{"NONE"}}); quant.CodeOf(err) != quant.NotFound {
		t.Errorf("%v", err)
	}
}
