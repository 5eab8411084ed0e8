package relational

import (
	"context"
	"database/sql"
	"errors"

	"quant"
	"quant/internal/metastore"
)

// ImportRun is documented at metastore.Portable.
func (db *DB) ImportRun(ctx context.Context, r metastore.EndedRun, mark quant.Import) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if mark.RunID != r.RunID || mark.ImportedAt.IsZero() {
		return quant.Errorf(quant.Invalid, "run %s: its mark as imported names run %q, at %q", r.RunID, mark.RunID, mark.ImportedAt)
	}
	return db.Write(ctx, "import run "+r.RunID, "", func(ctx context.Context, q Querier) error {
		if err := db.insertRun(ctx, q, r.Run, r.Process); err != nil {
			return err
		}
		for _, io := range r.IO {
			_, err := q.ExecContext(ctx, ioTable.insert(), ioTable.values(io)...)
			if err != nil {
				return err
			}
		}
		if p := r.Program; p != nil {
			if _, err := q.ExecContext(ctx, programTable.insert(), programTable.values(*p)...); err != nil {
				return err
			}
		}
		if err := db.logBatch(ctx, q, r.Batch); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, importTable.insert(), importTable.values(mark)...)
		return err
	})
}

// ImportPoints is documented at metastore.Portable.
func (db *DB) ImportPoints(ctx context.Context, points []quant.MetricPoint) error {
	for _, p := range points {
		if err := p.Validate(); err != nil {
			return err
		}
		if p.Step == quant.AutoStep {
			return quant.Errorf(quant.Invalid, "metric %q: point %d has no step", p.Name, p.Point)
		}
	}
	if len(points) == 0 {
		return nil
	}
	return db.Write(ctx, "import points", "", func(ctx context.Context, q Querier) error {
		if err := db.lockRuns(ctx, q, runsOf(metastore.Batch{Metrics: points})); err != nil {
			return err
		}
		type metric struct{ run, name string }
		next := map[metric]int64{}
		imported := map[string]bool{}
		for _, p := range points {
			if !imported[p.RunID] {
				var one int
				err := q.QueryRowContext(ctx, `SELECT 1 FROM run_imports WHERE run_id = ?`, p.RunID).Scan(&one)
				if errors.Is(err, sql.ErrNoRows) {
					return quant.Errorf(quant.Conflict, "run %s was not imported", p.RunID)
				}
				if err != nil {
					return err
				}
				imported[p.RunID] = true
			}
			m := metric{p.RunID, p.Name}
			if _, known := next[m]; !known {
				var n int64
				err := q.QueryRowContext(ctx, `SELECT points FROM run_metrics WHERE run_id = ? AND name = ?`, p.RunID, p.Name).Scan(&n)
				if err != nil && !errors.Is(err, sql.ErrNoRows) {
					return err
				}
				next[m] = n + 1
			}
			if p.Point != next[m] {
				return quant.Errorf(quant.Invalid, "metric %q of run %s: point %d where %d should come", p.Name, p.RunID, p.Point, next[m])
			}
			next[m]++
		}
		return db.logBatch(ctx, q, metastore.Batch{Metrics: points}, runsOf(metastore.Batch{Metrics: points})...)
	})
}

// Imports is documented at metastore.Portable.
func (db *DB) Imports(ctx context.Context) ([]quant.Import, error) {
	return list(ctx, db, "read imports", `SELECT `+importTable.columns+` FROM run_imports ORDER BY run_id`, nil, importTable.scan)
}
