package postgres

import (
	"context"
	"testing"

	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/postgrestest"
)

// prepared is the URL of a prepared database of its own.
func prepared(t testing.TB) string {
	t.Helper()
	return postgrestest.Shared(t).Prepared(t, func(ctx context.Context, url string) error {
		db, err := Open(ctx, Options{URL: url, Create: true})
		if err != nil {
			return err
		}
		return db.Close()
	})
}

func openAt(t testing.TB, url string) *DB {
	t.Helper()
	db, err := Open(context.Background(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestPostgreSQLKeepsTheContract(t *testing.T) {
	t.Parallel()
	metastoretest.Run(t, func(t *testing.T) metastore.Store { return openAt(t, prepared(t)) })
}
