package deflated

import (
	"path/filepath"
	"testing"

	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
)

// 1,000 recorded trials of ten years: reading them and comparing them.
func BenchmarkSelect(b *testing.B) {
	db, err := factstore.OpenWrite(b.Context(), factstore.Options{Path: filepath.Join(b.TempDir(), "f.duckdb")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if err := factstoretest.Write(b.Context(), db, "run",
		`CREATE TEMP TABLE made AS SELECT k, 'r' || lpad(k::VARCHAR, 4, '0') AS run_id, 'm#' || k AS strategy_id FROM range(1, 1001) AS r(k)`,
		`INSERT INTO backtest_details (run_id, strategy_id, trial_digest, lag_days, metrics_json)
			SELECT run_id, strategy_id, run_id, 1, json_object('returns', 2516, 'sharpe', k / 1000, 'skew', 0.1, 'kurtosis', 3.5) FROM made`,
		`INSERT INTO backtest_summary (run_id, strategy_id, sharpe, created_at) SELECT run_id, strategy_id, k / 1000, TIMESTAMP '2026-01-01' + INTERVAL (k) SECOND FROM made`,
		`INSERT INTO backtest_equity (run_id, ts, ret) SELECT run_id, DATE '2015-01-01' + i::INTEGER, CASE WHEN i > 0 THEN sin(i * (1 + k / 7)) / 90 END FROM made, range(2517) AS r(i)`); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		j, err := Judge(b.Context(), db, "r0500")
		if err != nil {
			b.Fatal(err)
		}
		if s, err := Select(b.Context(), db, "r0500", j); err != nil || s.Compared != 1000 {
			b.Fatalf("%+v (%v)", s, err)
		}
	}
}
