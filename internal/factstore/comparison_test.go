package factstore_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/test/soak"
)

// comparisonOf makes a comparison in a transaction that changes nothing.
func comparisonOf(t *testing.T, db *factstore.DB) (c *factstore.Comparison) {
	t.Helper()
	if _, err := db.Write(t.Context(), "compares", func(ctx context.Context, tx *factstore.Tx) (err error) {
		c, err = tx.CompareBars(ctx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

// insertBars writes bars as a run.
func insertBars(t *testing.T, db *factstore.DB, rows string) {
	t.Helper()
	if _, err := db.Write(t.Context(), "inserts", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Insert(ctx, factstore.OHLCV, "SELECT *, 's', CAST(? AS TIMESTAMP) FROM ("+rows+") v", tx.Now)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// A comparison says of every bar what IS DISTINCT FROM says of the stored one of its
// day, and its rowid.
func TestAComparisonFindsWhatAJoinFinds(t *testing.T) {
	t.Parallel()
	db, rng := openWrite(t, newPath(t)), soak.Random(t)
	insertBars(t, db, "SELECT 'S' || (i % 7), DATE '2020-01-01' - (i // 7 * 3)::INTEGER, 1, i % 5, i % 3, 2, 0, CASE WHEN i % 4 > 0 THEN i % 4 END FROM range(4000) r(i)")
	c := comparisonOf(t, db)
	if c == nil {
		t.Fatal("no comparison")
	}
	last, err := quant.ParseDate("2020-01-01")
	if err != nil {
		t.Fatal(err)
	}
	type looked struct {
		id   int64
		same bool
	}
	var got []looked
	var asked []string
	for k := range 300 {
		i := rng.IntN(4000)
		symbol, day := fmt.Sprint("S", i%7), last-quant.Date(i/7*3)
		bar := factstore.BarValues{1, float64(i % 5), float64(i % 3), 2, math.Copysign(0, -1), float64(i % 4)}
		switch rng.IntN(6) {
		case 0:
			bar[1]++
		case 1:
			bar[5] = float64(rng.IntN(4))
		case 2:
			day++ // a day that is not stored, or one behind the last
		case 3:
			symbol = "S9"
		}
		adjusted := fmt.Sprint(bar[5])
		if bar[5] == 0 {
			bar[5], adjusted = math.NaN(), "NULL"
		}
		id, same := c.Symbol(symbol).Compare(day, &bar)
		got = append(got, looked{id, same})
		asked = append(asked, fmt.Sprintf("(%d, '%s', DATE '%s', %v::DOUBLE, %v::DOUBLE, %s::DOUBLE)", k, symbol, day, bar[1], bar[2], adjusted))
	}
	// One query for all: on a lake each takes a tenth of a second.
	rows, err := db.Query(t.Context(), `SELECT v.k, coalesce(o.rowid, -1), o.high IS NOT DISTINCT FROM v.high AND o.low IS NOT DISTINCT FROM v.low AND o.volume IS NOT DISTINCT FROM -0.0 AND o.adjusted_close IS NOT DISTINCT FROM v.adjusted
		FROM (VALUES `+strings.Join(asked, ", ")+`) v(k, symbol, day, high, low, adjusted) LEFT JOIN (SELECT rowid, * FROM ohlcv) o ON o.symbol = v.symbol AND o.ts = v.day ORDER BY v.k`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	found, n := map[bool]int{}, 0
	for ; rows.Next(); n++ {
		var k int
		var want looked
		if err := rows.Scan(&k, &want.id, &want.same); err != nil {
			t.Fatal(err)
		}
		if k != n || got[k] != want {
			t.Errorf("%s: %+v, want %+v", asked[k], got[k], want)
		}
		found[want.same]++
	}
	if err := rows.Err(); err != nil || n != len(asked) || found[true] == 0 || found[false] == 0 {
		t.Errorf("%d of %d, one of two only: %v: %v", n, len(asked), found, err)
	}
}

// What a comparison cannot hold, or cannot tell apart, is left to the merge.
func TestAComparisonIsNotMadeOfWhatItCannotHold(t *testing.T) {
	t.Parallel()
	const some = "SELECT 'A', DATE '2020-01-01' + i::INTEGER, 1, 1, 1, 1, 1, 1 FROM range(10) r(i)"
	for name, spoil := range map[string]string{
		"of another program": "INSERT INTO ohlcv SELECT * REPLACE (TIMESTAMP '1999-01-01' AS ingested_at, 'B' AS symbol) FROM ohlcv LIMIT 1",
		"a day twice":        "INSERT INTO ohlcv SELECT * FROM ohlcv LIMIT 1",
		"days far apart":     "INSERT INTO ohlcv SELECT * REPLACE (DATE '290000-01-01' AS ts) FROM ohlcv LIMIT 1",
		"":                   "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openWrite(t, newPath(t))
			insertBars(t, db, some)
			if spoil != "" {
				run(t, db, spoil)
			}
			if c := comparisonOf(t, db); (c == nil) != (spoil != "") {
				t.Errorf("a comparison: %v", c != nil)
			}
		})
	}
	t.Run("more than memory is for", func(t *testing.T) {
		t.Parallel()
		o := options(newPath(t))
		o.MemoryLimit = 64 << 20
		db, err := factstore.OpenWrite(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		insertBars(t, db, "SELECT 'S' || (i % 200), DATE '2000-01-01' + (i // 200)::INTEGER, 1, 1, 1, 1, 1, 1 FROM range(500000) r(i)")
		if c := comparisonOf(t, db); c != nil {
			t.Error("half a million bars take more than 32 MiB, and were held")
		}
	})
}
