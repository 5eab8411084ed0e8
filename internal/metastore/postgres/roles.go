package postgres

import (
	"context"
	"database/sql"
	"errors"
)

// RoleOf is the role of the database that recorded a run, as the database itself noted
// it; "": it notes none of that run, or tells this role nothing. Errors: Store.
func (d *DB) RoleOf(ctx context.Context, runID string) (role string, err error) {
	q, err := d.Reader(ctx)
	if err != nil {
		return "", err
	}
	err = q.QueryRowContext(ctx, "SELECT role FROM run_roles WHERE run_id = ?", runID).Scan(&role)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return role, d.Classify("read the role of a run", err)
}
