package curator

import (
	"context"
	"strconv"
	"testing"

	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/test/soak"
)

// BenchmarkCheckQuality examines 2.5 million bars (1,000 symbols over ten
// years) with QUANT_SOAK=1, else a tenth of that.
func BenchmarkCheckQuality(b *testing.B) {
	symbols := strconv.Itoa(soak.Count(b, 100, 1000))
	db := openDB(b)
	cal, err := calendar.Open("XNYS")
	if err != nil {
		b.Fatal(err)
	}
	storeBars(b, db, `SELECT printf('S%04d', s) AS symbol, (DATE '2014-01-01' + d::INTEGER) AS ts, p AS open, p * 1.05 AS high, p * 0.95 AS low, p * 1.01 AS close,
			CASE WHEN hash(s, d) % 1000 = 0 THEN 0 ELSE 1e6 END AS volume, p * 1.01 * CASE WHEN d < 2000 THEN 0.9 ELSE 1 END AS adjusted_close, 'made' AS source
		FROM (SELECT s, d, round(50 + 2 * (hash(s, d) % 1000) / 1000 + d / 100, 2) AS p FROM range(`+symbols+`) t(s), range(3650) u(d))
		WHERE isodow(ts) < 6 AND hash(d, s) % 5000 <> 0 ORDER BY symbol, ts`)
	for name, deepBars := range map[string]int64{"deep": 0, "brief": 1} {
		req := DefaultQuality()
		req.DeepBars = deepBars
		b.Run(name, func(b *testing.B) {
			var r QualityReport
			for b.Loop() {
				if r, err = CheckQuality(context.Background(), db, cal, req); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(r.Bars), "bars")
			b.ReportMetric(float64(r.Warnings+r.Notes), "findings")
		})
	}
	b.Run("coverage", func(b *testing.B) {
		for b.Loop() {
			if _, err := Coverage(context.Background(), db, cal, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("digest", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := db.Digest(context.Background(), "SELECT symbol, ts, open, high, low, close, volume, adjusted_close FROM ohlcv"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// storeBars merges the rows of a query into ohlcv.
func storeBars(tb testing.TB, db *factstore.DB, query string) {
	tb.Helper()
	_, err := db.Write(context.Background(), "r", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE made AS "+query); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: "ohlcv", Source: "made"})
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}
