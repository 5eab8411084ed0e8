package sqlite

import (
	"context"
	"path/filepath"
	"testing"

	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
)

func TestSQLiteKeepsTheContract(t *testing.T) {
	t.Parallel()
	metastoretest.Run(t, func(t *testing.T) metastore.Store { return openAt(t, filepath.Join(t.TempDir(), "meta.db")) })
}

func openAt(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
