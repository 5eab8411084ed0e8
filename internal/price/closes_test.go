package price_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
)

// randomBars are rows for open: symbols with gaps, on days that are sessions and on
// others, with prices that are NULL, NaN, infinite, zero or negative.
func randomBars(r *rand.Rand, symbols int) string {
	first, _ := quant.ParseDate("2024-01-10")
	var rows []string
	number := func(x float64, ill bool) string {
		if !ill || r.IntN(9) > 0 {
			return fmt.Sprint(x)
		}
		return []string{"NULL", "'nan'", "'inf'", "0", "-1"}[r.IntN(5)]
	}
	for n := range symbols {
		kind := r.IntN(4) // sound, without adjusted_close, ill closes, ill adjusted ones
		for d := range quant.Date(45) {
			if r.IntN(6) == 0 || d > 6 && d < 10 && symbols < 9 {
				continue
			}
			close, adjusted := number(10+r.Float64(), kind == 2), number(5+r.Float64(), kind == 3)
			if kind == 1 {
				adjusted = "NULL"
			}
			rows = append(rows, fmt.Sprintf("('S%03d', '%s', 1, %s::DOUBLE, 1, %s::DOUBLE)", n, first+d, close, adjusted))
		}
	}
	r.Shuffle(len(rows), func(i, k int) { rows[i], rows[k] = rows[k], rows[i] })
	return strings.Join(rows, ", ")
}

// ReadCloses says what Stage and its view say, to the bit.
func TestClosesAreThoseOfTheView(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 3))
		symbols := []int{1, 5, 8, 260}[seed%4]
		db := open(t, randomBars(r, symbols))
		var sessions []quant.Date
		for d, last := quant.NewDate(time.Date(2023, 12, 1, 0, 0, 0, 0, time.UTC)), quant.NewDate(time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)); d < last; d++ {
			if !calendar.Weekend(d) && d%17 > 0 {
				sessions = append(sessions, d)
			}
		}
		cal := calendar.FromDates(sessions)
		for _, asked := range []int{-1, 0, 1, 3, 300} { // -1: all
			req := price.Request{AcceptRaw: true}
			if asked >= 0 {
				req.Symbols = []string{}
				for n := range asked {
					req.Symbols = append(req.Symbols, fmt.Sprintf("S%03d", (n*7)%300)) // also some that are not there
				}
			}
			want, err := price.Stage(t.Context(), db, cal, req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := price.ReadCloses(t.Context(), db, cal, req)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := fmt.Sprintf("%+v", got.Basis), fmt.Sprintf("%+v", want); a != b {
				t.Errorf("seed %d, %d asked: %s\nStage: %s", seed, asked, a, b)
			}
			rows, digest, err := db.Digest(t.Context(), "SELECT symbol, ts, close FROM temp.main."+price.BarView)
			if err != nil {
				t.Fatal(err)
			}
			if n, sum := got.Sum(0, len(got.Sessions)).Digest(); n != rows || sum != digest {
				t.Errorf("seed %d, %d asked: %d %s, the view has %d %s", seed, asked, n, sum, rows, digest)
			}
			bars := viewBars(t, db)
			for k, symbol := range got.Symbols {
				for s, day := range got.Sessions {
					x, is := bars[fmt.Sprint(symbol, got.FirstAt+s, day)]
					if y := got.Close[k][s]; is != got.HasBar(k, s) || !is && y == y || is && math.Float64bits(x) != math.Float64bits(y) && (x == x || y == y) {
						t.Fatalf("seed %d: %s on %s is %v, %v; the view has %v, %v", seed, symbol, day, got.Close[k][s], got.HasBar(k, s), x, is)
					}
				}
			}
			if first, last, any := got.Bounds(0, len(got.Sessions)); any != (len(bars) > 0) || any && (!slices.Contains(got.Sessions, first) || last < first) {
				t.Errorf("bounds %s to %s, %v", first, last, any)
			}
		}
	}
}

// viewBars are the closes of the view by symbol, index of the session and day; NULL is NaN.
func viewBars(t *testing.T, db *factstore.DB) map[string]float64 {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT symbol, i, ts, coalesce(close, 'nan'::DOUBLE) FROM temp.main."+price.BarView)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	bars := map[string]float64{}
	for rows.Next() {
		var symbol string
		var i int
		var day quant.Date
		var x float64
		if err := rows.Scan(&symbol, &i, &day, &x); err != nil {
			t.Fatal(err)
		}
		bars[fmt.Sprint(symbol, i, day)] = x
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return bars
}

// Raw prices that move as in a split are refused as Stage refuses them.
func TestClosesThatMoveAsInASplitAreRefused(t *testing.T) {
	t.Parallel()
	db := open(t, "('A', '2024-01-02', 10, 20, 100, NULL), ('A', '2024-01-03', 10, 10, 100, NULL)")
	cal := days(t, "2024-01-02", "2024-01-03")
	_, want := price.Stage(t.Context(), db, cal, price.Request{})
	_, got := price.ReadCloses(t.Context(), db, cal, price.Request{})
	if got == nil || !reflect.DeepEqual(got.Error(), want.Error()) || quant.CodeOf(got) != quant.Refused {
		t.Errorf("%v, Stage says %v", got, want)
	}
}

// Not parallel: it counts what the process allocates.
func TestClosesTakeTwelveBytesABar(t *testing.T) {
	const symbols, days = 200, 2000
	first, _ := quant.ParseDate("2010-01-04")
	var sessions []quant.Date
	for d := range quant.Date(days) {
		sessions = append(sessions, first+d)
	}
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "quant.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Write(t.Context(), "load", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Stage(ctx, "CREATE TEMP TABLE loaded AS SELECT 'S' || lpad(s::TEXT, 3, '0') AS symbol, DATE '"+first.String()+"' + d::INTEGER AS ts, 1::DOUBLE AS open, 1::DOUBLE AS high, 1::DOUBLE AS low, "+
			"(1 + d)::DOUBLE AS close, 1::DOUBLE AS volume, CASE WHEN s = 7 AND d = 1000 THEN NULL ELSE (2 + d)::DOUBLE END AS adjusted_close, 'test' AS source FROM range(?) a(s), range(?) b(d)", symbols, days); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: factstore.OHLCV, Source: "loaded"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	cal := calendar.FromDates(sessions)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	closes, err := price.ReadCloses(t.Context(), db, cal, price.Request{AcceptRaw: true})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if got := float64(after.TotalAlloc-before.TotalAlloc) / (symbols * days); got > 18 {
		t.Errorf("%.1f bytes were allocated for each bar", got)
	}
	// The one that turns out to be raw by a later bar has its closes, also of earlier days.
	if closes.Close[6][3] != 5 || closes.Close[7][3] != 4 || closes.Close[7][1500] != 1501 || !slices.Equal(closes.Unadjusted, []string{"S007"}) {
		t.Errorf("closes %v, %v, %v of %v", closes.Close[6][3], closes.Close[7][3], closes.Close[7][1500], closes.Unadjusted)
	}
}
