package feature

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/test/soak"
)

// BenchmarkFeatures computes features v1 and labels of a seeded market (100
// symbols, 10 years; QUANT_SOAK=1: 1,000), and beside it stores the same number of
// rows with the windows that one would write by hand.
func BenchmarkFeatures(b *testing.B) {
	n := soak.Count(b, 100, 1000)
	b.Logf("%d symbols, 2,500 sessions", n)
	cal := weekdays("2010-01-04", 2500)
	var symbols []string
	for k := range n {
		symbols = append(symbols, fmt.Sprintf("S%04d", k))
	}
	fresh := func(b *testing.B) *factstore.DB {
		db := lab(b, factstore.Options{})
		load(b, db, market(symbols, cal, 1, false))
		return db
	}
	// timed runs what is measured, on a fresh market each time, and reports the
	// processor time beside the wall's: other work on the machine moves it less.
	timed := func(b *testing.B, fn func(*factstore.DB)) {
		var used time.Duration
		for range b.N {
			b.StopTimer()
			db := fresh(b)
			before := processor()
			b.StartTimer()
			fn(db)
			b.StopTimer()
			used += processor() - before
			db.Close()
			b.StartTimer()
		}
		b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
	}
	const bars = "(SELECT symbol, ts, open * (adjusted_close / close) AS open, high * (adjusted_close / close) AS high, low * (adjusted_close / close) AS low, adjusted_close AS close, volume * (close / adjusted_close) AS volume FROM ohlcv)"
	bare := func(b *testing.B, db *factstore.DB, query string, table string, names []string, insert string) {
		_, err := db.Write(b.Context(), "bare", func(ctx context.Context, tx *factstore.Tx) error {
			if err := factstoretest.Exec(ctx, tx, "CREATE OR REPLACE TEMP TABLE bare AS "+query); err != nil {
				return err
			}
			for _, name := range names {
				if err := factstoretest.Exec(ctx, tx, fmt.Sprintf(insert, name)); err != nil {
					return err
				}
			}
			if table == "features_daily" {
				if err := factstoretest.Exec(ctx, tx, "INSERT INTO returns SELECT symbol, ts, ret_1d, ret_5d, ret_20d, ret_60d FROM bare WHERE ret_1d IS NOT NULL"); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	v1, _ := Catalogue("v1")
	var names []string
	for _, e := range v1 {
		names = append(names, e.Name)
	}
	b.Run("v1/bare", func(b *testing.B) {
		timed(b, func(db *factstore.DB) {
			bare(b, db, `SELECT symbol, ts, close / lag(close) OVER w - 1 AS ret_1d, close / lag(close, 5) OVER w - 1 AS ret_5d, close / lag(close, 20) OVER w - 1 AS ret_20d, close / lag(close, 60) OVER w - 1 AS ret_60d,
				CASE WHEN row_number() OVER w > 20 THEN stddev_samp(r) OVER (w ROWS 19 PRECEDING) END AS vol_20d, open / lag(close) OVER w - 1 AS gap_open, (high - low) / close AS hl_range,
				CASE WHEN row_number() OVER w > 19 THEN volume / avg(volume) OVER (w ROWS 19 PRECEDING) END AS volume_ratio_20d
				FROM (SELECT *, close / lag(close) OVER w - 1 AS r FROM `+bars+` WINDOW w AS (PARTITION BY symbol ORDER BY ts)) WINDOW w AS (PARTITION BY symbol ORDER BY ts)`,
				"features_daily", names, "INSERT INTO features_daily SELECT symbol, ts, '%[1]s', %[1]s, 'v1', now()::TIMESTAMP FROM bare WHERE %[1]s IS NOT NULL")
		})
	})
	for _, version := range Versions() {
		b.Run(version+"/first", func(b *testing.B) {
			timed(b, func(db *factstore.DB) { run(b, db, cal, Request{Version: version}) })
		})
	}
	b.Run("v1/unchanged", func(b *testing.B) {
		db := fresh(b)
		run(b, db, cal, Request{Version: "v1"})
		for b.Loop() {
			run(b, db, cal, Request{Version: "v1"})
		}
	})
	b.Run("v1/forced", func(b *testing.B) {
		db := fresh(b)
		run(b, db, cal, Request{Version: "v1"})
		for b.Loop() {
			run(b, db, cal, Request{Version: "v1", Force: true})
		}
	})
	b.Run("labels/bare", func(b *testing.B) {
		timed(b, func(db *factstore.DB) {
			bare(b, db, "SELECT symbol, ts, f, CASE WHEN f > 0 THEN 1.0::DOUBLE ELSE 0.0::DOUBLE END AS d FROM (SELECT symbol, ts, lead(close, 60) OVER (PARTITION BY symbol ORDER BY ts) / close - 1 AS f FROM "+bars+")",
				"labels", []string{"f", "d"}, "INSERT INTO labels SELECT symbol, ts, '%[1]s', %[1]s, 'v1' FROM bare WHERE f IS NOT NULL")
		})
	})
	b.Run("labels/first", func(b *testing.B) {
		timed(b, func(db *factstore.DB) {
			if _, err := Labels(b.Context(), db, cal, Request{RunID: "run", Version: "v1", Horizon: 60}); err != nil {
				b.Fatal(err)
			}
		})
	})
	if memory, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(memory)) {
			if strings.HasPrefix(line, "VmHWM") {
				b.Log(strings.TrimSpace(line))
			}
		}
	}
}

// processor is the time that the processors have worked for this process.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
