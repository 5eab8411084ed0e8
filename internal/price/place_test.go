package price_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
)

// Bars that were read for something else are, put in their places, those that Read gives,
// to the bit: of all symbols or of some, whatever their order, basis and days.
func TestBarsThatWereKeptAreThoseThatAreRead(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 5))
		db := open(t, randomBars(r, []int{1, 8, 60}[seed]))
		var sessions []quant.Date
		for d, last := quant.NewDate(time.Date(2024, 1, 12, 0, 0, 0, 0, time.UTC)), quant.NewDate(time.Date(2024, 2, 20, 0, 0, 0, 0, time.UTC)); d < last; d++ {
			if !calendar.Weekend(d) && d%17 > 0 {
				sessions = append(sessions, d)
			}
		}
		cal, req := calendar.FromDates(sessions), price.Request{AcceptRaw: true}
		basis, err := price.Stage(t.Context(), db, cal, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range [][]string{basis.Symbols, basis.Symbols[len(basis.Symbols)/2:], basis.Symbols[:1]} {
			var want, got price.Bars
			if err := basis.Read(t.Context(), db, cal, req, of, 0, &want); err != nil {
				t.Fatal(err)
			}
			var kept price.Stored
			var names factstore.Names
			kept.Room(10)
			if err := db.Columns(t.Context(), "SELECT symbol, ts, "+price.StoredColumns+" FROM ohlcv", nil, func(c *factstore.Chunk) error {
				kept.Add(c, c.AppendNumbers(nil, 0, &names), c.AppendDates(nil, 1), 2)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			basis.Place(&kept, names.List, cal, of, &got)
			if !slices.Equal(got.Symbols, want.Symbols) || !slices.Equal(got.From, want.From) || !slices.Equal(got.Session, want.Session) || !slices.Equal(got.Days, want.Days) {
				t.Fatalf("seed %d, %d symbols: %d bars from %v, read are %d from %v", seed, len(of), len(got.Days), got.From, len(want.Days), want.From)
			}
			for k, x := range [][]float64{got.Open, got.High, got.Low, got.Close, got.Volume} {
				y := [][]float64{want.Open, want.High, want.Low, want.Close, want.Volume}[k]
				if !slices.EqualFunc(x, y, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b }) {
					t.Errorf("seed %d, %d symbols: column %d differs", seed, len(of), k)
				}
			}
		}
	}
}
