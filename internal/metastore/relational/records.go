package relational

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"

	"quant"
	"quant/internal/metastore"
)

// Log is documented at metastore.Records.
func (db *DB) Log(ctx context.Context, b metastore.Batch) error {
	if err := b.Validate(); err != nil || b.Len() == 0 {
		return err
	}
	mark, place := db.dialect.Once(b.Mark)
	return db.write(ctx, "log", "meta.log", mark != "", func(ctx context.Context, q Querier) error {
		if mark != "" {
			res, err := q.ExecContext(ctx, mark, place...)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return err // nil: it is stored, and only the answer to that was lost
			}
		}
		return db.logBatch(ctx, q, b)
	})
}

// logBatch stores a batch. What it reads and then writes of a run nobody else changes
// meanwhile; held is a run of which that is so already.
func (db *DB) logBatch(ctx context.Context, q Querier, b metastore.Batch, held ...string) error {
	if db.dialect.LockRuns() != "" {
		if err := db.lockRuns(ctx, q, runsOf(b), held...); err != nil {
			return err
		}
	}
	w := db.recorder(ctx, q)
	return w.batch(b)
}

// lockRuns keeps others from changing what is recorded of runs, until the transaction
// ends, unless all of them are held already. It takes them in the order of their ids, so
// that no two wait for each other.
func (db *DB) lockRuns(ctx context.Context, q Querier, ids []string, held ...string) error {
	lock := db.dialect.LockRuns()
	if lock == "" || len(ids) == 0 || !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(held, id) }) {
		return nil
	}
	_, err := Texts(ctx, q, lock, listed(ids))
	return err
}

// alone keeps others who do the same apart from this transaction until it ends.
func (db *DB) alone(ctx context.Context, q Querier, doing string) error {
	lock := db.dialect.Alone()
	if lock == "" {
		return nil
	}
	_, err := q.ExecContext(ctx, lock, doing)
	return err
}

// runsOf are the runs that a batch is of, each once.
func runsOf(b metastore.Batch) []string {
	seen := map[string]bool{}
	for _, p := range b.Params {
		seen[p.RunID] = true
	}
	for _, t := range b.Tags {
		seen[t.RunID] = true
	}
	for i := range b.Metrics {
		seen[b.Metrics[i].RunID] = true
	}
	for _, n := range b.Notes {
		seen[n.RunID] = true
	}
	for _, a := range b.Artifacts {
		seen[a.RunID] = true
	}
	return slices.Collect(maps.Keys(seen))
}

func (w *recorder) batch(b metastore.Batch) error {
	for _, p := range b.Params {
		if err := w.param(p); err != nil {
			return err
		}
	}
	for _, t := range b.Tags {
		if err := w.tag(t); err != nil {
			return err
		}
	}
	if err := w.points(b.Metrics); err != nil {
		return err
	}
	for _, n := range b.Notes {
		if err := w.note(n); err != nil {
			return err
		}
	}
	for _, a := range b.Artifacts {
		if err := w.artifact(a); err != nil {
			return err
		}
	}
	return nil
}

// recorder stores the entries of one batch.
type recorder struct {
	db    *DB
	ctx   context.Context
	q     Querier
	known map[string]bool // runs that exist and are not deleted
}

func (db *DB) recorder(ctx context.Context, q Querier) recorder {
	return recorder{db: db, ctx: ctx, q: q, known: map[string]bool{}}
}

func (w *recorder) run(id string) error {
	if w.known[id] {
		return nil
	}
	var deleted bool
	err := w.q.QueryRowContext(w.ctx, `SELECT d.run_id IS NOT NULL FROM runs r LEFT JOIN run_deletions d ON d.run_id = r.run_id WHERE r.run_id = ?`, id).Scan(&deleted)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return quant.Errorf(quant.NotFound, "run %s does not exist", id)
	case err != nil:
		return err
	case deleted:
		return quant.Errorf(quant.Conflict, "run %s is deleted", id).WithHint("quant runs restore %s brings it back", id)
	}
	w.known[id] = true
	return nil
}

// clipped is a value short enough for a message.
func clipped(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}

// ofRuns reads the rows of some runs from one table, by key.
func ofRuns[T any](ctx context.Context, db *DB, table, columns, order string, ids List, scan func(*T) []any) ([]T, error) {
	return list(ctx, db, "read "+table, selectOfRuns(table, columns, order), []any{ids}, scan)
}

func selectOfRuns(table, columns, order string) string {
	return `SELECT ` + columns + ` FROM (SELECT DISTINCT value AS id FROM json_each(?)) j
		CROSS JOIN ` + table + ` t ON t.run_id = j.id ORDER BY ` + order
}

// RecordsOf is documented at metastore.Overview.
func (db *DB) RecordsOf(ctx context.Context, ids []string) (r metastore.Recorded, err error) {
	wanted := listed(ids)
	const byName = "name, run_id"
	if r.Params, err = ofRuns(ctx, db, "run_params", paramTable.columns, byName, wanted, paramTable.scan); err != nil {
		return r, err
	}
	if r.Tags, err = ofRuns(ctx, db, "run_tags", tagTable.columns, byName, wanted, tagTable.scan); err != nil {
		return r, err
	}
	if r.Metrics, err = ofRuns(ctx, db, "run_metrics", metricTable.columns, byName, wanted, metricTable.scan); err != nil {
		return r, err
	}
	if r.Artifacts, err = ofRuns(ctx, db, "run_artifacts", artifactTable.columns, byName, wanted, artifactTable.scan); err != nil {
		return r, err
	}
	if r.IO, err = ofRuns(ctx, db, "run_io", ioTable.columns, "direction, kind, name, run_id", wanted, ioTable.scan); err != nil {
		return r, err
	}
	r.Programs, err = ofRuns(ctx, db, "run_programs", programTable.columns, "run_id", wanted, programTable.scan)
	return r, err
}
