package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"quant"
	"quant/internal/metastore"
)

// Snapshot is documented at metastore.Portable.
func (db *DB) Snapshot(ctx context.Context, fn func(ctx context.Context) error) error {
	if st := db.current(ctx); st != nil {
		return st.join(ctx, fn)
	}
	const what = "begin a snapshot"
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return db.classify(what, err)
	}
	defer func() { _ = conn.Close() }()
	// The first read fixes the state; until then a deferred transaction has none.
	if _, err := conn.ExecContext(ctx, "BEGIN DEFERRED"); err != nil {
		return db.classify(what, err)
	}
	st := &txState{conn: conn, readOnly: true}
	defer func() {
		st.mu.Lock()
		st.over = true
		st.mu.Unlock()
		rollback(conn)
	}()
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&version); err != nil {
		return db.classify(what, err)
	}
	return fn(context.WithValue(ctx, txKey{db}, st))
}

// IsDeleted is documented at metastore.Portable.
func (db *DB) IsDeleted(ctx context.Context, runID string) (bool, error) {
	found, err := list(ctx, db, "look for a deletion", `SELECT run_id FROM run_deletions WHERE run_id = ?`, []any{runID},
		func(s *string) []any { return []any{s} })
	return len(found) > 0, err
}

// EachPoint is documented at metastore.Portable.
func (db *DB) EachPoint(ctx context.Context, runID string, fn func(quant.MetricPoint) error) error {
	what := "read points of run " + runID
	q, err := db.reader(ctx)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, `SELECT `+pointColumns+` FROM run_metric_points WHERE run_id = ? ORDER BY name, point`, runID)
	if err != nil {
		return db.classify(what, err)
	}
	defer rows.Close()
	var p quant.MetricPoint
	into := scanPoint(&p)
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return db.unreadable(what, err)
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return db.classify(what, rows.Err())
}

// ImportRun is documented at metastore.Portable.
func (db *DB) ImportRun(ctx context.Context, r metastore.EndedRun, mark quant.Import) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if mark.RunID != r.RunID || mark.ImportedAt.IsZero() {
		return quant.Errorf(quant.Invalid, "run %s: its mark as imported names run %q, at %q", r.RunID, mark.RunID, mark.ImportedAt)
	}
	return db.write(ctx, "import run "+r.RunID, "", func(ctx context.Context, q querier) error {
		if err := insertRun(ctx, q, r.Run, r.Process); err != nil {
			return err
		}
		for _, io := range r.IO {
			_, err := q.ExecContext(ctx, `INSERT INTO run_io (`+ioColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				io.RunID, string(io.Direction), io.Kind, io.Name, io.Rows, io.FirstDate, io.LastDate, io.Digest)
			if err != nil {
				return err
			}
		}
		if p := r.Program; p != nil {
			if _, err := q.ExecContext(ctx, `INSERT INTO run_programs (`+programColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				p.RunID, p.Path, p.ChildPID, p.ChildStart, p.Signal, p.UserUS, p.SystemUS, p.MaxRSSBytes, p.OutputBytes, p.OutputCutBytes, p.EnvironmentJSON); err != nil {
				return err
			}
		}
		if err := logBatch(ctx, q, r.Batch); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, `INSERT INTO run_imports (`+importColumns+`) VALUES (?, ?, ?)`, mark.RunID, mark.ImportedAt, mark.ByRunID)
		return err
	})
}

const importColumns = `run_id, imported_at, by_run_id`

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
	return db.write(ctx, "import points", "", func(ctx context.Context, q querier) error {
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
		return logBatch(ctx, q, metastore.Batch{Metrics: points})
	})
}

// Imports is documented at metastore.Portable.
func (db *DB) Imports(ctx context.Context) ([]quant.Import, error) {
	return list(ctx, db, "read imports", `SELECT `+importColumns+` FROM run_imports ORDER BY run_id`, nil,
		func(i *quant.Import) []any { return []any{&i.RunID, &i.ImportedAt, &i.ByRunID} })
}
