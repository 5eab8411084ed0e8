package factstore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/sqltext"
)

// foreign opens a Fact DB with rows that a run wrote, after another program has
// put rows of its own into it.
func foreign(t *testing.T, own []string, others ...string) *factstore.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.duckdb")
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := factstoretest.Write(t.Context(), db, "r1", own...); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	factstoretest.Foreign(t, path, others...)
	if db, err = factstore.OpenWrite(t.Context(), factstore.Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestRowsThatNoRunWroteAreRefusedByName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		table, own, other, where, want string
	}{
		"predictions": {"predictions", "SELECT 'A' AS symbol, DATE '2024-01-02' AS ts, 'm' AS model_id, 'final' AS task_id, 1.0::DOUBLE AS score, 1.0::DOUBLE AS calibrated_score",
			"INSERT INTO predictions_other VALUES ('B', DATE '2024-01-03', 'm', 'wf:1', 9, 9, TIMESTAMP '2026-02-03 04:05:06'), ('C', DATE '2024-01-03', 'm', 'wf:1', 9, 9, NULL)",
			"model_id = 'm'", "predictions: 2 rows that are read were not written by quant: no run explains them, such as (symbol B, ts 2024-01-03, model_id m, task_id wf:1, generated_at 2026-02-03 04:05:06)"},
		"features": {"features_daily", "SELECT 'A' AS symbol, DATE '2024-01-02' AS ts, 'f' AS feature_name, 1.0::DOUBLE AS feature_value, 'v1' AS feature_version",
			"INSERT INTO features_other VALUES ('A', DATE '2024-01-03', 'f', 9, 'v1', now())", "feature_name = 'f'", "features_daily: 1 row that is read was not written by quant"},
		"bars": {"ohlcv", "SELECT 'A' AS symbol, DATE '2024-01-02' AS ts, 1.0::DOUBLE AS open, 1.0::DOUBLE AS high, 1.0::DOUBLE AS low, 1.0::DOUBLE AS close, 1.0::DOUBLE AS volume, 1.0::DOUBLE AS adjusted_close, 's' AS source",
			"INSERT INTO ohlcv VALUES ('A', DATE '2024-01-03', 1, 1, 1, 1, 1, 1, 's', NULL)", "symbol = 'A'", "symbol A, ts 2024-01-03, ingested_at NULL"},
	} {
		db := foreign(t, nil, c.other)
		if _, err := db.Stage(t.Context(), "CREATE OR REPLACE TEMP TABLE src AS "+c.own); err != nil {
			t.Fatal(err)
		}
		merge := func() (delta factstore.Delta) {
			t.Helper()
			if _, err := db.Write(t.Context(), "r2", func(ctx context.Context, tx *factstore.Tx) (err error) {
				delta, err = tx.Merge(ctx, factstore.Merge{Table: c.table, Source: "src"})
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return delta
		}
		merge()
		if err := db.RequireExplained(t.Context(), c.table, "", "symbol = 'A' AND ts = DATE '2024-01-02'"); err != nil {
			t.Errorf("%s: rows that are not read: %v", name, err)
		}
		err := db.RequireExplained(t.Context(), c.table, "", c.where)
		if quant.CodeOf(err) != quant.Refused || !strings.Contains(err.Error(), c.want) || !strings.Contains(quant.HintOf(err), "`quant doctor` counts") {
			t.Errorf("%s: %v; %s", name, err, quant.HintOf(err))
		}
		problems, err := db.Check(t.Context())
		if err != nil || !strings.Contains(fmt.Sprint(problems), "no ledger row explains") {
			t.Errorf("%s: doctor finds %v, %v", name, problems, err)
		}
		// The same values, written by a run, are that run's.
		if _, err := db.Stage(t.Context(), "INSERT INTO temp.main.src BY NAME SELECT COLUMNS(c -> c NOT IN ('computed_at', 'generated_at', 'ingested_at')) FROM main."+sqltext.Identifier(c.table)+" WHERE ts > DATE '2024-01-02'"); err != nil {
			t.Fatal(err)
		}
		if d := merge(); d.Updated == 0 || d.Unchanged != 1 {
			t.Errorf("%s: %+v", name, d)
		}
		if err := db.RequireExplained(t.Context(), c.table, "", "true"); err != nil {
			t.Errorf("%s: taken over: %v", name, err)
		}
		if d := merge(); d.Updated != 0 {
			t.Errorf("%s: the same again: %+v", name, d)
		}
	}
}

func TestLabelsAreExplainedByTheirSlices(t *testing.T) {
	t.Parallel()
	own := []string{
		"INSERT INTO labels SELECT 'A', DATE '2024-01-02' + i::INTEGER, 'fwd_ret_5d', 0.1, 'v1' FROM range(10) AS r(i)",
		"INSERT INTO fact_slices VALUES ('labels', 'A', 'fwd_ret_5d', 'v1', DATE '2024-01-02', DATE '2024-01-11', 'r1')",
	}
	for other, want := range map[string]bool{
		"": true,
		"'B', DATE '2024-01-02', 'fwd_ret_5d', 9, 'v1'": false,
		"'A', DATE '2024-01-12', 'fwd_ret_5d', 9, 'v1'": false,
		"'A', DATE '2024-01-01', 'fwd_ret_5d', 9, 'v1'": false,
		"'A', DATE '2024-01-02', 'fwd_ret_9d', 9, 'v1'": false,
		"'A', DATE '2024-01-02', 'fwd_ret_5d', 9, 'v2'": false,
	} {
		var others []string
		if other != "" {
			others = []string{"INSERT INTO labels VALUES (" + other + ")"}
		}
		err := foreign(t, own, others...).RequireExplained(t.Context(), factstore.Labels, "", "true")
		if (err == nil) != want || err != nil && quant.CodeOf(err) != quant.Refused {
			t.Errorf("%q: %v", other, err)
		}
	}
	// Two slices that no row stands between explain it as well.
	two := append(slices.Clone(own), "INSERT INTO labels SELECT 'A', DATE '2024-02-01' + i::INTEGER, 'fwd_ret_5d', 0.1, 'v1' FROM range(10) AS r(i)",
		"INSERT INTO fact_slices VALUES ('labels', 'A', 'fwd_ret_5d', 'v1', DATE '2024-02-01', DATE '2024-02-10', 'r2')")
	if err := foreign(t, two).RequireExplained(t.Context(), factstore.Labels, "", "label_version = 'v1'"); err != nil {
		t.Errorf("two slices: %v", err)
	}
	if err := foreign(t, two, "INSERT INTO labels VALUES ('A', DATE '2024-01-20', 'fwd_ret_5d', 9, 'v1')").RequireExplained(t.Context(), factstore.Labels, "", "true"); quant.CodeOf(err) != quant.Refused {
		t.Errorf("a row between two slices: %v", err)
	}
	if err := foreign(t, own).RequireExplained(t.Context(), factstore.BacktestEquity, "", "true"); quant.CodeOf(err) != quant.Invalid {
		t.Errorf("rows without a writer: %v", err)
	}
}

// A million predictions, of which one recommend reads all.
func TestAskingWhoWroteAMillionRowsCostsLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("a million rows")
	}
	db := foreign(t, nil)
	if _, err := db.Stage(t.Context(), `CREATE TEMP TABLE src AS SELECT 'S' || (i % 500) AS symbol, DATE '2016-01-01' + (i // 500)::INTEGER AS ts, 'm' AS model_id, 'wf:' || (i // 200000) AS task_id, 1.0::DOUBLE AS score, 1.0::DOUBLE AS calibrated_score FROM range(1000000) r(i)`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Write(t.Context(), "r2", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Merge(ctx, factstore.Merge{Table: "predictions", Source: "src"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	best := time.Hour
	for range 5 {
		begun := time.Now()
		if err := db.RequireExplained(t.Context(), factstore.Predictions, "", "model_id = ? AND (task_id = 'final' OR starts_with(task_id, 'wf:'))", "m"); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(begun))
	}
	t.Logf("%s", best)
	if best > 500*time.Millisecond {
		t.Errorf("it took %s", best)
	}
}
