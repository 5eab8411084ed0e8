package curator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"quant/internal/factstore"
	"quant/internal/sqltext"
	"quant/internal/test/soak"
)

// BenchmarkIngest compares an ingest with DuckDB's own loading of the same file
// into the same, empty table: 5 million bars with QUANT_SOAK=1, else 200,000.
// Both include what it takes to commit; neither, opening the database.
func BenchmarkIngest(b *testing.B) {
	symbols := soak.Count(b, 100, 2500)
	const days = 2000
	ctx := context.Background()
	dir := b.TempDir()
	duck(b,
		fmt.Sprintf(`CREATE TEMP TABLE base AS SELECT printf('S%%05d', s) AS symbol, DATE '2005-01-01' + d::INTEGER AS date, round(50 + 40 * (hash(s, d) %% 10000) / 10000, 2) AS p,
			round((hash(d, s) %% 100) / 100, 2) AS x, hash(s + d) %% 10000000 AS volume, s, d FROM range(%d) t(s), range(%d) u(d)`, symbols, days),
		`CREATE TEMP TABLE made AS SELECT symbol, date, round(p + x, 2) AS open, round(p * 1.05, 2) AS high, round(p * 0.99, 2) AS low, round(p * 1.01, 2) AS close, volume::BIGINT AS volume, round(p * 0.93, 6) AS adj_close
			FROM base ORDER BY s, d`,
		"COPY temp.main.made TO "+sqltext.Literal(filepath.Join(dir, "bars.csv"))+" (HEADER)",
		"COPY temp.main.made TO "+sqltext.Literal(filepath.Join(dir, "bars.parquet"))+" (FORMAT parquet)",
	)
	want := int64(symbols * days)
	for _, format := range []string{"csv", "parquet"} {
		path := filepath.Join(dir, "bars."+format)
		b.Run(format+"/load", func(b *testing.B) {
			measure(b, want, func(db *factstore.DB) int64 {
				rows, err := db.Write(ctx, "r", func(ctx context.Context, tx *factstore.Tx) error {
					_, err := tx.Insert(ctx, factstore.OHLCV, "(symbol, ts, open, high, low, close, volume, adjusted_close) FROM "+sqltext.Literal(path))
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
				return rows[0].Inserted
			})
		})
		b.Run(format+"/ingest", func(b *testing.B) {
			measure(b, want, func(db *factstore.DB) int64 {
				start, stage := time.Now(), Reading
				r, err := Ingest(ctx, db, Request{RunID: "r", Files: []string{path}, Now: clock, Progress: func(p Progress) {
					if p.Stage != stage {
						b.ReportMetric(time.Since(start).Seconds(), "s-"+string(stage))
						start, stage = time.Now(), p.Stage
					}
				}})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(time.Since(start).Seconds(), "s-"+string(stage))
				return r.RowsInserted
			})
		})
	}
}

func measure(b *testing.B, want int64, load func(*factstore.DB) int64) {
	var wall, cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		db := openDB(b)
		b.StartTimer()
		start, used := time.Now(), cpuTime(b)
		if n := load(db); n != want {
			b.Fatalf("%d rows, want %d", n, want)
		}
		wall += time.Since(start)
		cpu += cpuTime(b) - used
		b.StopTimer()
		db.Close()
		os.Remove(db.Path())
		b.StartTimer()
	}
	b.ReportMetric(float64(want)*float64(b.N)/wall.Seconds(), "rows/s")
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
