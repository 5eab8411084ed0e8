package price_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
)

func open(t *testing.T, values string) *factstore.DB {
	t.Helper()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "quant.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	_, err = db.Write(t.Context(), "r", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Stage(ctx, "CREATE TEMP TABLE b AS SELECT symbol, ts::DATE AS ts, o::DOUBLE AS open, o::DOUBLE AS high, o::DOUBLE AS low, c::DOUBLE AS close, v::DOUBLE AS volume, a::DOUBLE AS adjusted_close, 'f' AS source FROM (VALUES "+values+") t(symbol, ts, o, c, v, a)"); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: "ohlcv", Source: "b"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func days(t *testing.T, list ...string) *calendar.Calendar {
	var out []quant.Date
	for _, s := range list {
		d, err := quant.ParseDate(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	return calendar.FromDates(out)
}

func TestASymbolIsAdjustedOnEveryRowOrOnNone(t *testing.T) {
	t.Parallel()
	db := open(t, `('A', '2024-01-02', 10, 20, 100, 5), ('A', '2024-01-03', 10, 10, 100, 5), ('A', '2024-01-06', 10, 10, 100, 5),
		('B', '2024-01-02', 10, 20, 100, 5), ('B', '2024-01-03', 10, 21, 100, NULL), ('C', '2024-01-02', 10, 20, 100, 5), ('C', '2024-01-03', 10, NULL, 100, 5)`)
	b, err := price.Stage(t.Context(), db, days(t, "2024-01-02", "2024-01-03", "2024-01-04"), price.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if b.Name() != "mixed" || len(b.Unadjusted) != 2 || b.Unadjusted[0] != "B" || b.Unadjusted[1] != "C" || b.Outside != 1 || b.Bars != 7 || b.Last.String() != "2024-01-06" {
		t.Errorf("basis: %+v", b)
	}
	var got string
	if err := db.QueryRow(t.Context(), "SELECT string_agg(concat_ws(' ', symbol, i, ts, open, close, volume, raw_close), '; ' ORDER BY symbol, i) FROM temp.main.price_bar WHERE symbol < 'C'").Scan(&got); err != nil {
		t.Fatal(err)
	}
	want := "A 0 2024-01-02 2.5 5.0 400.0 20.0; A 1 2024-01-03 5.0 5.0 200.0 10.0; B 0 2024-01-02 10.0 20.0 100.0 20.0; B 1 2024-01-03 10.0 21.0 100.0 21.0"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestARawMoveThatLooksLikeASplitIsRefused(t *testing.T) {
	t.Parallel()
	db := open(t, `('A', '2024-01-02', 10, 20, 100, NULL), ('A', '2024-01-03', 10, 10.1, 100, NULL), ('B', '2024-01-02', 10, 20, 100, 20), ('B', '2024-01-03', 10, 10, 100, 10),
		('C', '2024-01-02', 10, 20, 100, NULL), ('C', '2024-01-03', 10, 11.4, 100, NULL)`)
	cal := days(t, "2024-01-02", "2024-01-03")
	if _, err := price.Stage(t.Context(), db, cal, price.Request{}); !errors.Is(err, quant.Refused) {
		t.Errorf("a halved raw close gave %v", err)
	}
	if _, err := price.Stage(t.Context(), db, cal, price.Request{AcceptRaw: true}); err != nil {
		t.Error(err)
	}
	if b, err := price.Stage(t.Context(), db, cal, price.Request{Symbols: []string{"B", "C", "no 'such"}}); err != nil || len(b.Symbols) != 2 {
		t.Errorf("%+v %v", b, err)
	}
}

func TestStoredBarsAreAnInputWithTheRunsThatWroteThem(t *testing.T) {
	t.Parallel()
	db := open(t, "('A', '2024-01-02', 1, 1, 1, 1), ('A', '2024-01-03', 1, 1, 1, 1), ('B', '2024-01-04', 1, 1, 1, NULL)")
	inputs, err := price.StoredBars(t.Context(), db, factstore.OHLCV, "symbol = ?", "A")
	if err != nil || len(inputs) != 2 {
		t.Fatalf("%+v, %v", inputs, err)
	}
	bars := inputs[0]
	if bars.Kind != quant.IOTable || bars.Name != "ohlcv" || *bars.Rows != 2 || bars.FirstDate != "2024-01-02" || bars.LastDate != "2024-01-03" || bars.Digest == "" {
		t.Errorf("%+v", bars)
	}
	if inputs[1].Kind != quant.IORun || inputs[1].Name != "r" {
		t.Errorf("%+v", inputs[1])
	}
	if inputs, err := price.StoredBars(t.Context(), db, factstore.OHLCV, "symbol = 'C'"); err != nil || len(inputs) != 1 || *inputs[0].Rows != 0 || inputs[0].FirstDate != "" {
		t.Errorf("of nothing: %+v, %v", inputs, err)
	}
}
