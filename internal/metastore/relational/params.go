package relational

import (
	"context"
	"database/sql"
	"errors"

	"quant"
)

func number(value string) *float64 {
	if f, ok := quant.ParseNumber(value); ok {
		return &f
	}
	return nil
}

func (w *recorder) param(p quant.Param) error {
	if err := w.run(p.RunID); err != nil {
		return err
	}
	var old string
	err := w.q.QueryRowContext(w.ctx, `SELECT value FROM run_params WHERE run_id = ? AND name = ?`, p.RunID, p.Name).Scan(&old)
	switch {
	case err == nil && old == p.Value:
		return nil
	case err == nil:
		return quant.Errorf(quant.Conflict, "run %s: param %q is %q already, and a param is written once", p.RunID, p.Name, clipped(old)).
			WithHint("record %q under another name, or as a tag, which may change", clipped(p.Value))
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	p.Number = number(p.Value)
	_, err = w.q.ExecContext(w.ctx, paramTable.insert(), paramTable.values(p)...)
	return err
}

// Params is documented at metastore.Records.
func (db *DB) Params(ctx context.Context, runID string) ([]quant.Param, error) {
	return list(ctx, db, "read params of run "+runID, `SELECT `+paramTable.columns+` FROM run_params WHERE run_id = ? ORDER BY name`, []any{runID}, paramTable.scan)
}
