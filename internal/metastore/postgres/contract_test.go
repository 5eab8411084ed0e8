package postgres

import (
	"testing"

	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/postgrestest"
)

// prepared is the URL of a prepared database of its own.
func prepared(t testing.TB) string {
	t.Helper()
	return postgrestest.Shared(t).Prepared(t, prepare)
}

func openAt(t testing.TB, url string) *DB {
	t.Helper()
	return opened(t, Options{URL: url})
}

func TestPostgreSQLKeepsTheContract(t *testing.T) {
	t.Parallel()
	metastoretest.Run(t, func(t *testing.T) metastore.Store { return openAt(t, prepared(t)) })
}
