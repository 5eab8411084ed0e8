package factstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"quant/internal/factstore"
	"quant/internal/test/soak"
)

// bar is a bar as a source gives it; adj 0 is NULL.
type bar struct {
	symbol string
	day    int
	close  float64
	adj    float64
	source string
}

func (b bar) sql() string {
	adj := "NULL"
	if b.adj != 0 {
		adj = fmt.Sprintf("%.17g", b.adj)
	}
	return fmt.Sprintf("('%s', DATE '2020-01-01' + %d, %.17g, %.17g, %.17g, %.17g, 100, %s, '%s')", b.symbol, b.day, b.close, b.close, b.close, b.close, adj, b.source)
}

// mergeBars merges the bars in one transaction and returns what it did and
// when.
func mergeBars(t *testing.T, db *factstore.DB, run string, bars []bar) (d factstore.Delta, at time.Time) {
	t.Helper()
	if _, err := db.Stage(t.Context(), "CREATE OR REPLACE TEMP TABLE src AS SELECT * EXCLUDE (ingested_at) FROM ohlcv LIMIT 0"); err != nil {
		t.Fatal(err)
	}
	rows := make([]string, len(bars))
	for i, b := range bars {
		rows[i] = b.sql()
	}
	if _, err := db.Stage(t.Context(), "INSERT INTO src VALUES "+strings.Join(rows, ", ")); err != nil {
		t.Fatal(err)
	}
	_, err := db.Write(t.Context(), run, func(ctx context.Context, tx *factstore.Tx) (err error) {
		at = tx.Now
		d, err = tx.Merge(ctx, factstore.Merge{Table: "ohlcv", Source: "src"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, at
}

// exactly selects the rows of ohlcv's columns with each double as its bits.
func exactly(from string) string {
	return "SELECT symbol, ts, open::BIT, high::BIT, low::BIT, close::BIT, volume::BIT, adjusted_close::BIT, source, ingested_at FROM " + from
}

func wantSame(t *testing.T, db *factstore.DB, what, got, want string) {
	t.Helper()
	for _, pair := range [2][2]string{{got, want}, {want, got}} {
		if n := number(t, db, "SELECT count(*) FROM ("+exactly(pair[0])+" EXCEPT ALL "+exactly(pair[1])+")"); n > 0 {
			t.Fatalf("%s: %d rows of %s are not in %s", what, n, pair[0], pair[1])
		}
	}
}

func rounded(x float64, decimals int) float64 {
	if decimals < 0 {
		return x
	}
	ten := math.Pow10(decimals)
	return math.Round(x*ten) / ten
}

func TestEveryEarlierStateOfPricesIsReadExactly(t *testing.T) {
	t.Parallel()
	start := soak.Seed(t)
	for n := range soak.Count(t, 3, 25) {
		db := openWrite(t, newPath(t))
		rng := rand.New(rand.NewPCG(start, uint64(n)))
		stored := map[string]map[int]bar{}
		type state struct {
			at    time.Time
			table string
		}
		var states []state
		var rescaled int64
		for round := range 14 {
			source := fmt.Sprintf("s%d", rng.IntN(3))
			var change []bar
			for range 1 + rng.IntN(3) {
				symbol := fmt.Sprintf("S%d", rng.IntN(4))
				if stored[symbol] == nil {
					stored[symbol] = map[int]bar{}
				}
				decimals := []int{0, 2, 4, 6, -1}[int(symbol[1]-'0')+rng.IntN(2)]
				factor := []float64{0.5, 2, 0.98765, 1.0 / 3, 7, 1.00001}[rng.IntN(6)]
				kind := rng.IntN(4)
				for day := range 60 {
					old, known := stored[symbol][day]
					b := old
					switch {
					case !known && rng.IntN(3) > 0:
						b = bar{symbol: symbol, day: day, close: rounded(100*math.Exp(rng.NormFloat64()), 4)}
						if b.adj = rounded(b.close*rng.Float64(), decimals); rng.IntN(30) == 0 {
							b.adj = 0
						}
					case !known:
						continue
					case kind == 1 || kind == 2:
						b.adj = rounded(old.adj*factor, decimals)
						if kind == 2 && rng.IntN(10) == 0 {
							b.adj, b.close = b.adj*1.1, b.close*1.01
						}
					case kind == 3 && rng.IntN(4) == 0:
						b.close *= 1.5
					}
					b.source = source
					stored[symbol][day] = b
				}
				for _, b := range stored[symbol] {
					if rng.IntN(8) > 0 {
						change = append(change, b)
					}
				}
			}
			seen := map[string]bool{}
			var unique []bar
			for _, b := range change {
				key := fmt.Sprint(b.symbol, b.day)
				b = stored[b.symbol][b.day]
				if !seen[key] {
					unique = append(unique, b)
				}
				seen[key] = true
			}
			if len(unique) == 0 {
				continue
			}
			d, at := mergeBars(t, db, fmt.Sprintf("r%d", round), unique)
			rescaled += d.Rescaled
			if d.Inserted+d.Updated == 0 {
				continue
			}
			table := fmt.Sprintf("temp.main.snap%d", round)
			run(t, db, "CREATE TEMP TABLE snap"+fmt.Sprint(round)+" AS FROM ohlcv")
			states = append(states, state{at, table})
		}
		t.Logf("round %d: %d states, %d bars rescaled, %d rows of revisions", n, len(states), rescaled, number(t, db, "SELECT count(*) FROM ohlcv_revisions"))
		rng.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
		for _, s := range states {
			got, err := db.StageAsOf(t.Context(), s.at)
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, db, fmt.Sprintf("round %d", n), got, s.table)
		}
		if got, err := db.StageAsOf(t.Context(), time.Time{}); err != nil || number(t, db, "SELECT count(*) FROM "+got) != 0 {
			t.Fatalf("before the first price: %s, %v", got, err)
		}
		wantSound(t, db)
		closeDB(t, db)
	}
}

// history is the bars of one symbol, adjusted by c.
func history(symbol string, days int, c float64, source string) []bar {
	bars := make([]bar, days)
	for i := range bars {
		price := rounded(50+20*math.Sin(float64(i)/9), 4)
		bars[i] = bar{symbol, i, price, rounded(price*c, 4), source}
	}
	return bars
}

func TestARescaledHistoryIsOneRow(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	mergeBars(t, db, "r1", history("A", 400, 1, "a"))
	_, before := mergeBars(t, db, "r2", history("A", 800, 1, "a"))
	run(t, db, "CREATE TEMP TABLE snap AS FROM ohlcv")
	d, _ := mergeBars(t, db, "r3", append(history("A", 800, 0.25, "c"), history("B", 10, 1, "c")...))
	if d.Updated != 800 || d.Rescaled != 800 || d.Revisions != 1 {
		t.Fatalf("%+v", d)
	}
	var factor float64
	var bars, stretches int64
	var at string
	if err := db.QueryRow(t.Context(), "SELECT factor, bars, len(stretches), run_id FROM ohlcv_revisions WHERE factor IS NOT NULL AND replaced_at > CAST(? AS TIMESTAMP)", before).Scan(&factor, &bars, &stretches, &at); err != nil {
		t.Fatal(err)
	}
	if math.Abs(factor-4) > 1e-4 || bars != 800 || stretches != 2 || at != "r3" {
		t.Errorf("factor %v, %d bars in %d stretches, run %s", factor, bars, stretches, at)
	}
	if n := number(t, db, "SELECT max(abs(c)) FROM (SELECT unnest(corrections) AS c FROM ohlcv_revisions)"); n > 3 {
		t.Errorf("a correction of %d units of the last decimal", n)
	}
	got, err := db.StageAsOf(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, db, "before the split", got, "temp.main.snap")
	wantSound(t, db)
}

func TestAnExactFactorNeedsNoCorrections(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	bars := history("A", 50, 1, "a")
	for i := range bars {
		bars[i].adj = math.Sqrt(bars[i].close)
	}
	mergeBars(t, db, "r1", bars)
	for i := range bars {
		bars[i].adj /= 2
	}
	mergeBars(t, db, "r2", bars)
	if n := number(t, db, "SELECT count(*) FROM ohlcv_revisions WHERE factor = 2 AND corrections IS NULL AND decimals IS NULL AND bars = 50"); n != 1 {
		t.Error("not one row of factor 2 without corrections")
	}
}

func TestABarThatTheFactorDoesNotSayIsKeptWhole(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	_, first := mergeBars(t, db, "r1", history("A", 30, 1, "a"))
	run(t, db, "CREATE TEMP TABLE snap AS FROM ohlcv")
	bars := history("A", 32, 0.5, "a")
	bars[7].adj *= 1.01   // another factor
	bars[12].close *= 1.1 // another price
	d, _ := mergeBars(t, db, "r2", bars)
	if d != (factstore.Delta{Inserted: 2, Updated: 30, Rescaled: 28, Revisions: 3}) {
		t.Fatalf("%+v", d)
	}
	if n := number(t, db, "SELECT len(stretches) FROM ohlcv_revisions WHERE factor IS NOT NULL"); n != 3 {
		t.Errorf("%d stretches, want 3", n)
	}
	got, err := db.StageAsOf(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, db, "before", got, "temp.main.snap")
}

func TestAnUntouchedStateIsOhlcvItself(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	if at, err := db.PricesAt(t.Context()); err != nil || !at.IsZero() {
		t.Fatalf("%v, %v", at, err)
	}
	_, at := mergeBars(t, db, "r1", history("A", 3, 1, "a"))
	if _, err := db.Write(t.Context(), "other", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Insert(ctx, factstore.Labels, "VALUES ('A', DATE '2020-01-01', 'l', 1, 'v1')")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := db.StageAsOf(t.Context(), at); err != nil || got != "ohlcv" {
		t.Errorf("%q, %v", got, err)
	}
	if now, err := db.PricesAt(t.Context()); err != nil || !now.Equal(at) {
		t.Errorf("%v, want %v: %v", now, at, err)
	}
	_, second := mergeBars(t, db, "r2", history("A", 3, 2, "a"))
	for _, c := range []struct {
		run   string
		ended time.Time
		want  time.Time
	}{{"r1", second, at}, {"r2", time.Time{}, second}, {"other", at, at}, {"other", second.Add(time.Hour), second}, {"other", time.Time{}, second}, {"none", at.Add(-1), time.Time{}}} {
		if got, err := db.PricesAsOf(t.Context(), c.run, c.ended); err != nil || !got.Equal(c.want) {
			t.Errorf("run %s, ended %v: %v, want %v (%v)", c.run, c.ended, got, c.want, err)
		}
	}
}

func TestARevisionThatIsRolledBackLeavesNothing(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	mergeBars(t, db, "r1", history("A", 3, 1, "a"))
	run(t, db, "UPDATE src SET adjusted_close = adjusted_close / 2")
	no := errors.New("no")
	_, err := db.Write(t.Context(), "r2", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Merge(ctx, factstore.Merge{Table: "ohlcv", Source: "src"}); err != nil {
			return err
		}
		return no
	})
	if !errors.Is(err, no) || number(t, db, "SELECT count(*) FROM ohlcv_revisions") != 0 {
		t.Errorf("%v", err)
	}
}
