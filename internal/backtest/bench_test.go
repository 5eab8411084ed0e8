package backtest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
)

// BenchmarkRun replays daily top 50 of 1,000 symbols over 10 years of 252
// sessions: 2,520 decisions, with what changes hands when a fifth of the names
// change each day; reading, every variant, and storing included.
func BenchmarkRun(b *testing.B) {
	db, err := factstore.OpenWrite(b.Context(), factstore.Options{Path: filepath.Join(b.TempDir(), "q.duckdb"), Now: time.Now, Threads: 2})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Write(b.Context(), "market", func(ctx context.Context, tx *factstore.Tx) error {
		for _, q := range []string{
			`INSERT INTO ohlcv SELECT format('S{:04d}', k), d, p, p, p, p, 1e6, p, 'bench', CAST(? AS TIMESTAMP) FROM (
				SELECT k, DATE '2010-01-01' + s::INTEGER AS d, 100 * exp(0.0002 * s + 0.2 * sin((s + k * 7) / 40.0) + (hash(k, s) % 1000) / 20000.0) AS p
				FROM range(1000) t(k), range(2520) u(s))`,
			`INSERT INTO targets SELECT 's', '1', DATE '2010-01-01' + s::INTEGER, format('S{:04d}', k), 0.02, 1, true, '[]', '', CAST(? AS TIMESTAMP) FROM (
				SELECT s, k FROM range(1000) t(k), range(2520) u(s) QUALIFY row_number() OVER (PARTITION BY s ORDER BY hash(k, (s + k) // 5), k) <= 50)`,
			`INSERT INTO target_sets (strategy_id, version, "asof", status, run_id, decided_at) SELECT 's', '1', DATE '2010-01-01' + s::INTEGER, 'current', 'market', CAST(? AS TIMESTAMP) FROM range(2520) u(s)`,
		} {
			if err := factstoretest.Exec(ctx, tx, q, tx.Now); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	var days []quant.Date
	for s := range 2520 {
		days = append(days, quant.NewDate(time.Date(2010, 1, 1+s, 0, 0, 0, 0, time.UTC)))
	}
	i := 0
	for b.Loop() {
		i++
		req := Request{
			RunID: "bench-" + time.Now().Format(time.RFC3339Nano), StrategyID: "s", Version: "1", From: days[0], To: days[2519],
			Options: defaults(), Benchmark: EqualWeight,
		}
		for k := range 1000 {
			req.Universe = append(req.Universe, "S"+string([]byte{byte('0' + k/1000), byte('0' + k/100%10), byte('0' + k/10%10), byte('0' + k%10)}))
		}
		req.FeeBps = 5
		r, err := Run(b.Context(), db, calendar.FromDates(days), req)
		if err != nil {
			b.Fatal(err)
		}
		if i == 1 {
			var trades int
			_ = db.QueryRow(b.Context(), "SELECT count(*) FROM backtest_trades").Scan(&trades)
			b.Logf("%d trades, turnover %.1f", trades, *r.Turnover)
		}
	}
}
