package factstore_test

import (
	"errors"
	"path/filepath"
	"testing"

	"quant/internal/factstore"
)

func TestWorkThatDoesNotFitIsToldApart(t *testing.T) {
	t.Parallel()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "f.duckdb"), MemoryLimit: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if db.Memory() != 64<<20 {
		t.Errorf("the limit is %d", db.Memory())
	}
	// A sort spills; one list of all rows cannot.
	var n int64
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY hash(i)) FROM range(5000000) r(i))").Scan(&n); err != nil || n != 5_000_000 {
		t.Errorf("%d, %v", n, err)
	}
	const list = "SELECT len(list(i)) FROM range(50000000) r(i)"
	if err := db.QueryRow(t.Context(), list).Scan(&n); !factstore.OutOfMemory(err) {
		t.Errorf("a query: %v", err)
	}
	if err := db.Columns(t.Context(), list, nil, func(*factstore.Chunk) error { return nil }); !factstore.OutOfMemory(err) {
		t.Errorf("columns: %v", err)
	}
	if factstore.OutOfMemory(nil) || factstore.OutOfMemory(errors.New("another")) {
		t.Error("another error is taken for one of memory")
	}
}
