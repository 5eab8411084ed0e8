package postgres

import (
	"context"

	"quant/internal/metastore"
)

var _ metastore.Born = (*DB)(nil)

// Born is documented at metastore.Born. It is asked before something is stored, and waits
// for a server that is away as what stores does.
func (db *DB) Born(ctx context.Context) (at string, err error) {
	err = db.Repeated(ctx, func() error {
		q, err := db.Reader(ctx)
		if err != nil {
			return err
		}
		return q.QueryRowContext(ctx, `SELECT to_char(min(applied_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM quant.schema_migrations`).Scan(&at)
	})
	return at, db.Classify("ask when the Meta DB was made", err)
}
