package sqlite

import (
	"context"

	"quant"
)

// RunIO is documented at metastore.Runs. A run without any, or no such run, is
// an empty list.
func (db *DB) RunIO(ctx context.Context, runID string) ([]quant.RunIO, error) {
	return list(ctx, db, "read inputs and outputs of run "+runID,
		`SELECT `+ioTable.columns+` FROM run_io WHERE run_id = ? ORDER BY direction, kind, name`,
		[]any{runID}, ioTable.scan)
}

// ListOutputs is documented at metastore.Runs. It reads all of run_io.
func (db *DB) ListOutputs(ctx context.Context, kind string) ([]quant.RunIO, error) {
	return list(ctx, db, "read outputs of all runs",
		`SELECT `+ioTable.columns+` FROM run_io WHERE direction = 'out' AND kind = ? ORDER BY run_id DESC, name`,
		[]any{kind}, ioTable.scan)
}
