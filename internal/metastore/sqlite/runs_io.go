package sqlite

import (
	"context"

	"quant"
)

const ioColumns = `run_id, direction, kind, name, rows, first_date, last_date, digest`

func scanIO(io *quant.RunIO) []any {
	return []any{&io.RunID, &io.Direction, &io.Kind, &io.Name, &io.Rows, &io.FirstDate, &io.LastDate, &io.Digest}
}

// RunIO is documented at metastore.Runs. A run without any, or no such run, is
// an empty list.
func (db *DB) RunIO(ctx context.Context, runID string) ([]quant.RunIO, error) {
	return list(ctx, db, "read inputs and outputs of run "+runID,
		`SELECT `+ioColumns+` FROM run_io WHERE run_id = ? ORDER BY direction, kind, name`,
		[]any{runID}, scanIO)
}

// ListOutputs is documented at metastore.Runs. It reads all of run_io.
func (db *DB) ListOutputs(ctx context.Context, kind string) ([]quant.RunIO, error) {
	return list(ctx, db, "read outputs of all runs",
		`SELECT `+ioColumns+` FROM run_io WHERE direction = 'out' AND kind = ? ORDER BY run_id DESC, name`,
		[]any{kind}, scanIO)
}
