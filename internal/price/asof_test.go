package price_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
)

func TestPricesAreStagedAsAnEarlierRunSawThem(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := factstore.OpenWrite(ctx, factstore.Options{Path: filepath.Join(t.TempDir(), "quant.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store := func(run string, days int, scale float64) (at time.Time) {
		t.Helper()
		if _, err := db.Stage(ctx, `CREATE OR REPLACE TEMP TABLE src AS SELECT 'A' AS symbol, DATE '2024-01-01' + CAST(i AS INTEGER) AS ts, 10.0::DOUBLE AS open, 12.0::DOUBLE AS high,
			9.0::DOUBLE AS low, (10 + i % 2)::DOUBLE AS close, 100.0::DOUBLE AS volume, round((10 + i % 2) * ?, 4)::DOUBLE AS adjusted_close, 's' AS source FROM range(?) r(i)`, scale, days); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Write(ctx, run, func(ctx context.Context, tx *factstore.Tx) error {
			at = tx.Now
			_, err := tx.Merge(ctx, factstore.Merge{Table: "ohlcv", Source: "src"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return at
	}
	first := store("r1", 10, 1)
	store("r2", 12, 0.5)
	var sessions []quant.Date
	for i := range 12 {
		sessions = append(sessions, quant.NewDate(time.Date(2024, 1, 1+i, 0, 0, 0, 0, time.UTC)))
	}
	for _, c := range []struct {
		asOf bool
		bars int64
		sum  float64
	}{{false, 12, 63}, {true, 10, 105}, {false, 12, 63}} {
		req := price.Request{}
		if c.asOf {
			if req.Source, err = db.StageAsOf(ctx, first); err != nil {
				t.Fatal(err)
			}
		}
		basis, err := price.Stage(ctx, db, calendar.FromDates(sessions), req)
		if err != nil || basis.Bars != c.bars {
			t.Fatalf("%+v, %v", basis, err)
		}
		var sum float64
		if err := db.QueryRow(ctx, "SELECT sum(close ORDER BY ts) FROM temp.main."+price.BarView).Scan(&sum); err != nil || sum != c.sum {
			t.Errorf("as of %v: sum %v, want %v (%v)", c.asOf, sum, c.sum, err)
		}
	}
}
