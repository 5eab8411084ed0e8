package factstore_test

import (
	"context"
	"database/sql/driver"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
)

// Rows that Go holds have the digest that DuckDB gives them: of every type, with
// NULL, NaN, minus zero, and texts on both sides of what DuckDB keeps in place.
func TestADigestOfHeldRowsIsThatOfStoredRows(t *testing.T) {
	t.Parallel()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "q.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Stage(t.Context(), "CREATE TEMP TABLE rows_held (s TEXT, d DATE, f DOUBLE, i INTEGER, b BIGINT, y BOOLEAN)"); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	var digest factstore.Digest
	parts := make([]factstore.Digest, 3) // merged, they are the same rows
	floats := []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), 1e-310, -1.5}
	if err := db.Append(context.Background(), "rows_held", func(row func(...driver.Value) error) error {
		for n := range 2000 {
			var r factstore.RowHash
			var values []driver.Value
			put := func(v driver.Value, hash uint64) {
				if rng.IntN(8) == 0 {
					v, hash = nil, factstore.NullHash
				}
				values = append(values, v)
				r = r.Column(hash)
			}
			text := strings.Repeat("가a", rng.IntN(12)) + strings.Repeat("z", rng.IntN(9))
			put(text, factstore.TextHash(text))
			d := quant.Date(rng.IntN(40000) - 20000)
			put(d, factstore.DateHash(d))
			f := rng.NormFloat64()
			if rng.IntN(4) == 0 {
				f = floats[rng.IntN(len(floats))]
			}
			put(f, factstore.FloatHash(f))
			i := int32(rng.Uint32())
			put(i, factstore.IntegerHash(i))
			b := int64(rng.Uint64())
			put(b, factstore.BigintHash(b))
			y := rng.IntN(2) == 0
			put(y, factstore.BooleanHash(y))
			digest.Add(r)
			parts[n%len(parts)].Add(r)
			if err := row(values...); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	rows, want, err := db.Digest(t.Context(), "SELECT * FROM temp.main.rows_held")
	if err != nil {
		t.Fatal(err)
	}
	if digest.Rows() != rows || digest.String() != want {
		t.Errorf("%d rows %s, want %d rows %s", digest.Rows(), digest.String(), rows, want)
	}
	for _, part := range parts[1:] {
		parts[0].Merge(part)
	}
	if parts[0].String() != want {
		t.Errorf("merged %s, want %s", parts[0].String(), want)
	}
	_, want, err = db.Digest(t.Context(), "SELECT * FROM temp.main.rows_held WHERE false")
	if none := (factstore.Digest{}); err != nil || none.String() != want {
		t.Errorf("no rows: %s, want %s (%v)", none.String(), want, err)
	}
}
