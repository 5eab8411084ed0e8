package relational

import (
	"context"

	"quant"
)

func (w *recorder) note(n quant.Note) error {
	if err := w.run(n.RunID); err != nil {
		return err
	}
	_, err := w.q.ExecContext(w.ctx, `INSERT INTO run_notes (`+noteTable.columns+`)
		SELECT ?1, coalesce(max(note), 0) + 1, ?2, ?3 FROM run_notes WHERE run_id = ?1`, n.RunID, n.Text, n.LoggedAt)
	return err
}

// Notes is documented at metastore.Records.
func (db *DB) Notes(ctx context.Context, runID string) ([]quant.Note, error) {
	return list(ctx, db, "read notes of run "+runID, `SELECT `+noteTable.columns+` FROM run_notes WHERE run_id = ? ORDER BY note`, []any{runID}, noteTable.scan)
}
