package pipeline_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"quant/internal/factstore"
)

// What stands after a range was decided that had been decided before, in part or by
// other inputs, is what deciding it in a lab without decisions gives; what stands as it
// was decided again is not touched.
func TestWhatIsAddedToDecisionsIsWhatTheWholeGives(t *testing.T) {
	t.Parallel()
	const seed = 21
	var changes []func(*lab)
	l, closes := market(t, seed)
	change := func(l *lab, doing func(ctx context.Context, tx *factstore.Tx) error) {
		if _, err := l.db.Write(l.Context(), l.nextRun(), doing); err != nil {
			l.Fatal(err)
		}
	}
	without := func(symbol string) func(*lab) {
		return func(l *lab) {
			change(l, func(ctx context.Context, tx *factstore.Tx) error {
				if _, err := tx.Delete(ctx, factstore.OHLCV, "symbol = '"+symbol+"'"); err != nil {
					return err
				}
				_, err := tx.Delete(ctx, factstore.FeaturesDaily, "symbol = '"+symbol+"'")
				return err
			})
		}
	}
	foreign := func(table, stamp string) func(*lab) {
		return func(l *lab) {
			change(l, func(ctx context.Context, tx *factstore.Tx) error {
				_, err := tx.Update(ctx, table, stamp+` = TIMESTAMP '1999-01-01' WHERE "asof" = DATE '2024-01-05'`)
				return err
			})
		}
	}
	all := append([]string{}, marketSets...)
	fewer := append(append([]string{}, marketSets...), "portfolio.top_k=3")
	for _, c := range []struct {
		what, days string
		sets       []string
		of         func(*lab) // the market that changes, in every lab
		here       func(*lab) // what changes only where decisions stand
		ledger     string     // the rows that were inserted, updated and deleted of target_sets; "": anything
	}{
		{"everything", "2024-01-01..2024-01-20", all, nil, nil, "20 0 0"},
		{"the same", "2024-01-01..2024-01-20", all, nil, nil, "nothing"},
		{"one day", "2024-01-01..2024-01-21", all, nil, nil, "1 0 0"},
		{"a week", "2024-01-01..2024-01-26", all, nil, nil, "5 0 0"},
		{"a late correction", "2024-01-01..2024-01-27", all, func(l *lab) { l.signals("('N7','2024-01-09',9),('N6','2024-01-09',-9)") }, nil, ""},
		{"a late price", "2024-01-01..2024-01-27", all, func(l *lab) { l.prices(fmt.Sprintf("('N7','2024-01-10',%v)", 2*closes["N72024-01-10"])) }, nil, ""},
		{"a new symbol", "2024-01-01..2024-01-28", append(append([]string{}, all...), "universe.symbols=N0,N1,N2,N3,N4,N5,N6,N7,N8"),
			func(l *lab) {
				l.prices("('N8','2024-01-15',10),('N8','2024-01-16',11),('N8','2024-01-27',12)")
				l.signals("('N8','2024-01-15',8),('N8','2024-01-27',8)")
			}, nil, ""},
		{"a removed symbol", "2024-01-01..2024-01-28", all, without("N6"), nil, ""},
		{"another strategy", "2024-01-01..2024-01-28", fewer, nil, nil, ""},
		{"rows of another program", "2024-01-01..2024-01-29", fewer, nil, foreign(factstore.Targets, "generated_at"), ""},
		{"proposals of another program", "2024-01-01..2024-01-29", fewer, nil, foreign(factstore.Proposals, "generated_at"), ""},
		{"sets of another program", "2024-01-01..2024-01-29", fewer, nil, foreign(factstore.TargetSets, "decided_at"), ""},
		{"a row too many", "2024-01-01..2024-01-30", fewer, nil, func(l *lab) {
			change(l, func(ctx context.Context, tx *factstore.Tx) error {
				_, err := tx.Insert(ctx, factstore.Targets, `SELECT * REPLACE ('none' AS symbol, CAST(? AS TIMESTAMP) AS generated_at) FROM targets WHERE "asof" = DATE '2024-01-05' LIMIT 1`, tx.Now)
				return err
			})
		}, ""},
		{"a day less", "2024-01-01..2024-01-30", fewer, nil, func(l *lab) {
			change(l, func(ctx context.Context, tx *factstore.Tx) error {
				_, err := tx.Delete(ctx, factstore.TargetSets, `"asof" = DATE '2024-01-08'`)
				return err
			})
		}, ""},
		{"a later beginning", "2024-01-02..2024-01-31", fewer, nil, nil, ""},
	} {
		if c.of != nil {
			changes = append(changes, c.of)
			c.of(l)
		}
		if c.here != nil {
			c.here(l)
		}
		fresh, _ := market(t, seed)
		for _, do := range changes {
			do(fresh)
		}
		if c.what == "a later beginning" { // starts from the decision before it
			fresh.recommend("2024-01-01", c.sets...)
		}
		got, want := l.recommend(c.days, c.sets...), fresh.recommend(c.days, c.sets...)
		for _, query := range []string{
			`SELECT concat_ws(' ', "asof", version, symbol, weight, score, approved, risk_flags, reason) AS line FROM targets ORDER BY "asof", symbol`,
			`SELECT concat_ws(' ', "asof", version, symbol, rank, score, weight) AS line FROM proposals ORDER BY "asof", symbol`,
			`SELECT concat_ws(' ', "asof", version, status, proposed, approved, gross, turnover, exempt_turnover, basis_asof, config_digest, digest) AS line FROM target_sets ORDER BY "asof"`,
		} {
			if a, b := l.text(query), fresh.text(query); a != b || a == "" {
				t.Errorf("%s:\n%s\nin a lab without decisions:\n%s", c.what, a, b)
			}
		}
		for k := range want.Outputs {
			if got.Outputs[k].Digest != want.Outputs[k].Digest {
				t.Errorf("%s: digest of %s", c.what, got.Outputs[k].Name)
			}
		}
		ledger := "nothing"
		if line := l.text(fmt.Sprintf("SELECT concat_ws(' ', rows_inserted, rows_updated, rows_deleted) AS line FROM ledger WHERE table_name = 'target_sets' AND run_id = 'run-%d'", l.run)); line != "" {
			ledger = line
		}
		if c.ledger != "" && ledger != c.ledger {
			t.Errorf("%s: %s target_sets were changed, want %s", c.what, ledger, c.ledger)
		}
		if n := l.text(`SELECT count(*) AS line FROM targets t WHERE generated_at NOT IN (SELECT committed_at FROM ledger WHERE table_name = 'targets')`); n != "0" {
			t.Errorf("%s: %s rows are of no run", c.what, n)
		}
		if before := strings.Join(got.Notices, "|"); strings.Contains(before, "stale") {
			t.Errorf("%s: %s", c.what, before)
		}
	}
}
