package factstore_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"quant/internal/factstore"
)

// Rows that are made while they are read arrive once each, from however many threads,
// and those of a producer that fails not at all.
func TestProducedRowsAreReadOnce(t *testing.T) {
	db := openWrite(t, newPath(t))
	const blocks, rows = 50, 3000
	names := []string{"odd", "even"}
	var next, threads atomic.Int64
	failAt := int64(1 << 40)
	broken := errors.New("broken")
	relation, release, err := db.Produce([]factstore.Column{{Name: "x", Integers: []int32{}}, {Name: "name", Texts: names, Numbers: []int32{}}}, blocks*rows, func() func() ([]factstore.Column, error) {
		threads.Add(1)
		x, name := make([]int32, rows), make([]int32, rows)
		return func() ([]factstore.Column, error) {
			n := next.Add(1) - 1
			if n >= failAt {
				return nil, broken
			}
			if n >= blocks {
				return nil, nil
			}
			for i := range x {
				x[i] = int32(int(n)*rows + i)
				name[i] = 1 - x[i]%2
			}
			return []factstore.Column{{Integers: x}, {Texts: names, Numbers: name}}, nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	read := func() (n, distinct, wrong int64, err error) {
		next.Store(0)
		err = db.Unordered(t.Context(), func() error {
			return db.QueryRow(t.Context(), "SELECT count(*), count(DISTINCT x), count(*) FILTER (name <> CASE x % 2 WHEN 1 THEN 'odd' ELSE 'even' END) FROM "+relation).Scan(&n, &distinct, &wrong)
		})
		return n, distinct, wrong, err
	}
	for range 3 {
		n, distinct, wrong, err := read()
		if err != nil || n != blocks*rows || distinct != n || wrong != 0 {
			t.Errorf("%d rows, %d of them different, %d with another's text, %v; want %d different ones", n, distinct, wrong, err, blocks*rows)
		}
	}
	if threads.Load() < 3 {
		t.Errorf("%d producers served three readings", threads.Load())
	}
	failAt = blocks / 2
	if _, _, _, err := read(); err == nil {
		t.Error("a producer that failed was taken for one without rows")
	}
}

// The engine has its own limit again after work that needed less.
func TestMemoryIsGivenBackAfterwards(t *testing.T) {
	db := openWrite(t, newPath(t))
	limit := func() (text string) {
		if err := db.QueryRow(t.Context(), "SELECT current_setting('memory_limit')").Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	before, broken := limit(), errors.New("broken")
	for _, want := range []error{nil, broken} {
		within := ""
		err := db.WithMemory(t.Context(), 256<<20, func() error {
			within = limit()
			return want
		})
		if !errors.Is(err, want) || within != "256.0 MiB" || limit() != before {
			t.Errorf("%v: %s within, and %s instead of %s afterwards", err, within, limit(), before)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_ = db.WithMemory(ctx, 256<<20, func() error { cancel(); return ctx.Err() })
	if limit() != before {
		t.Errorf("%s after work that was cancelled, want %s", limit(), before)
	}
}
