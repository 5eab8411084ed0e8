package factstore_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
)

// all are rows of every type that crosses over, more than two chunks and two
// blocks of them.
func all(n int) []factstore.Column {
	columns := []factstore.Column{
		{Name: "f", Floats: make([]float64, n)}, {Name: "i", Integers: make([]int32, n)}, {Name: "d", Dates: make([]quant.Date, n)},
		{Name: "b", Bigints: make([]int64, n)}, {Name: "o", Booleans: make([]bool, n)}, {Name: "t", Texts: make([]string, n)},
	}
	for k := range n {
		columns[0].Floats[k] = math.Sqrt(float64(k))
		if k%7 == 3 {
			columns[0].Floats[k] = math.NaN()
		}
		columns[1].Integers[k], columns[2].Dates[k], columns[3].Bigints[k], columns[4].Booleans[k] = int32(-k), quant.Date(k%20000), int64(k)<<33, k%3 == 0
		columns[5].Texts[k] = []string{"", "short", "a text that does not stand in the value", "한국어"}[k%4]
	}
	return columns
}

type rowsRead struct {
	f []float64
	i []int32
	d []quant.Date
	b []int64
	o []bool
	t []string
}

func read(ctx context.Context, db *factstore.DB, query string, args ...any) (r rowsRead, err error) {
	err = db.Columns(ctx, query, args, func(c *factstore.Chunk) error {
		r.f, r.i, r.d, r.b, r.o = c.AppendFloats(r.f, 0), c.AppendIntegers(r.i, 1), c.AppendDates(r.d, 2), c.AppendBigints(r.b, 3), c.AppendBooleans(r.o, 4)
		for k := range c.Len() {
			r.t = append(r.t, strings.Clone(c.Text(5, k)))
		}
		return nil
	})
	return r, err
}

func TestColumnsCrossOverAsTheyAre(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	for _, n := range []int{0, 1, 2048, 300_001} {
		columns := all(n)
		relation, release, err := db.Hold(columns...)
		if err != nil {
			t.Fatal(err)
		}
		check := func(what, query string, args ...any) {
			t.Helper()
			r, err := read(t.Context(), db, query, args...)
			if err != nil {
				t.Fatalf("%s of %d: %v", what, n, err)
			}
			same := slices.EqualFunc(r.f, columns[0].Floats, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b })
			if !same || !slices.Equal(r.i, columns[1].Integers) || !slices.Equal(r.d, columns[2].Dates) || !slices.Equal(r.b, columns[3].Bigints) ||
				!slices.Equal(r.o, columns[4].Booleans) || !slices.Equal(r.t, columns[5].Texts) {
				t.Errorf("%s of %d: other rows", what, n)
			}
		}
		check("read in order", "SELECT * FROM "+relation)
		if _, err := db.Stage(t.Context(), "CREATE OR REPLACE TEMP TABLE ordered AS SELECT * FROM "+relation); err != nil {
			t.Fatal(err)
		}
		check("stored in order", "SELECT * FROM temp.main.ordered")
		if err := db.Unordered(t.Context(), func() error {
			_, err := db.Stage(t.Context(), "CREATE OR REPLACE TEMP TABLE unordered AS SELECT t, d, b, i, f, o FROM "+relation) // other columns, other order
			return err
		}); err != nil {
			t.Fatal(err)
		}
		check("stored unordered", "SELECT f, i, d, b, o, t FROM temp.main.unordered WHERE i <= CAST(? AS INTEGER) ORDER BY b", 0)
		release()
		if _, err := read(t.Context(), db, "SELECT * FROM "+relation); err == nil {
			t.Error("released columns are still read")
		}
	}
	if _, _, err := db.Hold(factstore.Column{Name: "a", Integers: []int32{1}}, factstore.Column{Name: "b", Integers: []int32{1, 2}}); err == nil {
		t.Error("columns of different lengths are held")
	}
}

func TestColumnsReadNullAsTheirTypeHasIt(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	r, err := read(t.Context(), db, "SELECT NULL::DOUBLE, NULL::INTEGER, NULL::DATE, NULL::BIGINT, NULL::BOOLEAN, NULL::TEXT UNION ALL SELECT 1.5::DOUBLE, ?::INTEGER, ?::DATE, 3::BIGINT, ?, ?",
		int32(2), quant.Date(4), true, "x")
	if err != nil || !math.IsNaN(r.f[0]) || r.f[1] != 1.5 || !slices.Equal(r.i, []int32{0, 2}) || !slices.Equal(r.d, []quant.Date{0, 4}) || !slices.Equal(r.b, []int64{0, 3}) ||
		!slices.Equal(r.o, []bool{false, true}) || !slices.Equal(r.t, []string{"", "x"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNamesNumberTextsInTheOrderOfTheirAppearance(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	var names factstore.Names
	var numbers []int32
	if err := db.Columns(t.Context(), "SELECT ['', 'B', 'B', 'a long name, too long to stand in the value', 'B', NULL][1 + i % 6] FROM range(12) r(i)", nil, func(c *factstore.Chunk) error {
		numbers = c.AppendNumbers(numbers, 0, &names)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(numbers, []int32{0, 1, 1, 2, 1, 0, 0, 1, 1, 2, 1, 0}) || !slices.Equal(names.List, []string{"", "B", "a long name, too long to stand in the value"}) {
		t.Errorf("%v of %q", numbers, names.List)
	}
}

func TestReadingColumnsEndsWithItsErrorOrItsContext(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	mine := errors.New("mine")
	const many = "SELECT i FROM range(100000000) r(i)"
	if err := db.Columns(t.Context(), many, nil, func(*factstore.Chunk) error { return mine }); !errors.Is(err, mine) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := db.Columns(ctx, many, nil, func(*factstore.Chunk) error { cancel(mine); return nil }); !errors.Is(err, mine) {
		t.Error(err)
	}
	for _, query := range []string{"DELETE FROM ohlcv", "SELECT 1; SELECT 2", "SELECT nothing", "SELECT error('no')", "CREATE TEMP TABLE x AS SELECT 1"} {
		if err := db.Columns(t.Context(), query, nil, func(*factstore.Chunk) error { return nil }); err == nil {
			t.Errorf("%s was run", query)
		}
	}
	if err := db.Columns(t.Context(), "SELECT ?", []any{struct{}{}}, func(*factstore.Chunk) error { return nil }); err == nil {
		t.Error("a struct was bound")
	}
	if n := number(t, db, "SELECT 42"); n != 42 {
		t.Errorf("afterwards the connection answers %d", n)
	}
}
