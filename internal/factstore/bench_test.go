package factstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"quant/internal/factstore"
)

// BenchmarkMerge merges QUANT_BENCH_ROWS bars (200,000) from a TEMP table that
// is in key order, and beside it lets DuckDB insert the same rows by itself.
func BenchmarkMerge(b *testing.B) {
	rows := 200_000
	if n, err := strconv.Atoi(os.Getenv("QUANT_BENCH_ROWS")); err == nil {
		rows = n
	}
	const fresh = "SELECT symbol, ts, open, high, low, close, volume, adjusted_close, source FROM bars"
	for _, c := range []struct{ name, before, source string }{
		{"bare insert", "", fresh},
		{"empty target", "", fresh},
		{"empty target unsorted", "", fresh + " ORDER BY hash(symbol, ts)"},
		{"later days", "SELECT * REPLACE (CAST(ts - 8000 AS DATE) AS ts) FROM (" + fresh + ")", fresh},
		{"identical reload", fresh, fresh},
		{"one percent changed", fresh, "SELECT * REPLACE (CASE WHEN hash(symbol, ts) % 100 = 0 THEN close + 1 ELSE close END AS close) FROM (" + fresh + ")"},
		{"half new", fresh + " WHERE day(ts) % 2 = 0", fresh},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				o := options(filepath.Join(b.TempDir(), "quant.duckdb"))
				o.MemoryLimit = 0
				db, err := factstore.OpenWrite(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				exec := func(query string) {
					if err := db.ExecUnchecked(b.Context(), query); err != nil {
						b.Fatal(err)
					}
				}
				merge := func() {
					_, err := db.Write(b.Context(), "run", func(ctx context.Context, tx *factstore.Tx) error {
						_, err := tx.Merge(ctx, factstore.Merge{Table: "ohlcv", Source: "src"})
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				exec(fmt.Sprintf(`CREATE TEMP TABLE bars AS SELECT 'SYM' || lpad(CAST(s AS VARCHAR), 4, '0') AS symbol, DATE '2006-01-01' + CAST(d AS INTEGER) AS ts,
					round(50 + random(), 2) AS open, 52.0 AS high, 49.0 AS low, round(50 + random(), 2) AS close, floor(random() * 1e7) AS volume, round(50 + random(), 4) AS adjusted_close, 'bench' AS source
					FROM range(%d) a(s), range(5000) r(d) ORDER BY s, d`, max(rows/5000, 1)))
				if c.before != "" {
					exec("CREATE TEMP TABLE src AS " + c.before)
					merge()
					exec("DROP TABLE src")
				}
				exec("CREATE TEMP TABLE src AS " + c.source)
				exec("DROP TABLE bars; CHECKPOINT")
				b.StartTimer()
				start := time.Now()
				if c.name == "bare insert" {
					exec("INSERT INTO ohlcv BY NAME SELECT *, TIMESTAMP '2026-01-01' AS ingested_at FROM src")
				} else {
					merge()
				}
				b.ReportMetric(float64(rows)/time.Since(start).Seconds(), "rows/s")
				b.StopTimer()
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
