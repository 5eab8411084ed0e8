package relational

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"quant"
	"quant/internal/metastore"
)

// LogClient is documented at metastore.Tracking.
func (db *DB) LogClient(ctx context.Context, clientID string, b metastore.ClientBatch) error {
	return db.Write(ctx, "log", "meta.log", func(ctx context.Context, q Querier) error {
		var id sql.NullString
		if err := q.QueryRowContext(ctx, `SELECT `+runOfClient("?1"), clientID).Scan(&id); err != nil {
			return err
		}
		if !id.Valid {
			return quant.Errorf(quant.NotFound, "run %s does not exist", clipped(clientID))
		}
		w := db.recorder(ctx, q)
		if err := w.run(id.String); err != nil {
			return err
		}
		named(b.Batch, id.String)
		if err := b.Validate(); err != nil {
			return err
		}
		if err := w.batch(b.Batch); err != nil {
			return err
		}
		if err := w.nans(id.String, b.NaNs); err != nil {
			return err
		}
		if err := w.latest(id.String, b.Metrics, b.NaNs); err != nil {
			return err
		}
		for _, name := range b.ClearTags {
			res, err := q.ExecContext(ctx, `DELETE FROM run_tags WHERE run_id = ? AND name = ?`, id.String, name)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return errors.Join(err, quant.Errorf(quant.NotFound, "run %s has no tag %q", id.String, name))
			}
		}
		if b.SeenAt.IsZero() {
			return nil
		}
		_, err := q.ExecContext(ctx, `UPDATE run_clients SET seen_at = ? WHERE run_id = ?`, b.SeenAt, id.String)
		return err
	})
}

// named makes all entries of a batch those of a run.
func named(b metastore.Batch, runID string) {
	for i := range b.Params {
		b.Params[i].RunID = runID
	}
	for i := range b.Metrics {
		b.Metrics[i].RunID = runID
	}
	for i := range b.Tags {
		b.Tags[i].RunID = runID
	}
	for i := range b.Notes {
		b.Notes[i].RunID = runID
	}
	for i := range b.Artifacts {
		b.Artifacts[i].RunID = runID
	}
}

// nans stores points that are no numbers, numbered after those that are there.
func (w *recorder) nans(runID string, list []quant.MetricPoint) error {
	for _, p := range list {
		if err := quant.ValidateRecordName("metric", p.Name); err != nil {
			return err
		}
		_, err := w.q.ExecContext(w.ctx, `INSERT INTO run_metric_nans (run_id, name, nth, step, logged_at)
			VALUES (?1, ?2, (SELECT coalesce(max(nth), 0) + 1 FROM run_metric_nans WHERE run_id = ?1 AND name = ?2), ?3, ?4)`,
			runID, p.Name, p.Step, p.LoggedAt)
		if err != nil {
			return err
		}
	}
	return nil
}

// rank orders points of a metric as clients do.
type rank struct {
	step  int64
	at    string
	value float64 // 0 for NaN
	nan   bool
}

func (r rank) after(o rank) bool {
	switch {
	case r.step != o.step:
		return r.step > o.step
	case r.at != o.at:
		return r.at > o.at
	}
	return r.value > o.value
}

// latest brings the latest values of the metrics of points up to date, and makes
// them the last of their sums.
func (w *recorder) latest(runID string, points, nans []quant.MetricPoint) error {
	var names []string
	best := map[string]*rank{}
	add := func(name string, r rank) {
		switch old := best[name]; {
		case old == nil:
			names = append(names, name)
			best[name] = &r
		case r.after(*old):
			*old = r
		}
	}
	var atText string
	var at quant.Time
	for i := range points {
		p := &points[i]
		if atText == "" || !p.LoggedAt.Equal(at.Time) {
			at, atText = p.LoggedAt, p.LoggedAt.String()
		}
		add(p.Name, rank{p.Step, atText, p.Value, false})
	}
	for _, p := range nans {
		add(p.Name, rank{p.Step, p.LoggedAt.String(), 0, true})
	}
	for _, name := range names {
		r := *best[name]
		before, known, err := w.latestBefore(runID, name)
		if err != nil {
			return err
		}
		if known && before.after(r) {
			r = before
		}
		var value any = r.value
		if r.nan {
			value = nil
		}
		_, err = w.q.ExecContext(w.ctx, `INSERT INTO run_metric_latest (run_id, name, step, at, value) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (run_id, name) DO UPDATE SET step = excluded.step, at = excluded.at, value = excluded.value`, runID, name, r.step, r.at, value)
		if err != nil {
			return err
		}
		last, args := `?3`, []any{runID, name, r.value}
		if r.nan { // the last of the others
			last, args = `(SELECT value FROM run_metric_points WHERE run_id = ?1 AND name = ?2 ORDER BY step DESC, logged_at DESC, value DESC LIMIT 1)`, args[:2]
		}
		_, err = w.q.ExecContext(w.ctx, `UPDATE run_metrics SET last = `+last+` WHERE run_id = ?1 AND name = ?2 AND last <> `+last, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// latestBefore is what stands as the latest value, or, for a metric that no client
// has logged yet, what its points make it: those just stored among them.
func (w *recorder) latestBefore(runID, name string) (r rank, known bool, err error) {
	var value sql.NullFloat64
	err = w.q.QueryRowContext(w.ctx, `SELECT step, at, value FROM run_metric_latest WHERE run_id = ? AND name = ?`, runID, name).Scan(&r.step, &r.at, &value)
	if errors.Is(err, sql.ErrNoRows) {
		err = w.q.QueryRowContext(w.ctx, `SELECT step, logged_at, value FROM run_metric_points WHERE run_id = ? AND name = ?
			ORDER BY step DESC, logged_at DESC, value DESC LIMIT 1`, runID, name).Scan(&r.step, &r.at, &value)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	r.value, r.nan = value.Float64, !value.Valid
	return r, err == nil, err
}

const latestOfRuns = `WITH j AS MATERIALIZED (SELECT DISTINCT value AS id FROM json_each(?))
	SELECT l.run_id, l.name, l.step, l.at, coalesce(l.value, 0), l.value IS NULL FROM j CROSS JOIN run_metric_latest l ON l.run_id = j.id
	UNION ALL
	SELECT m.run_id, m.name, m.last_step, (SELECT logged_at FROM run_metric_points p WHERE p.run_id = m.run_id AND p.name = m.name ORDER BY point DESC LIMIT 1), m.last, 0
	FROM j CROSS JOIN run_metrics m ON m.run_id = j.id
	WHERE NOT EXISTS (SELECT 1 FROM run_metric_latest l WHERE l.run_id = m.run_id AND l.name = m.name)
	ORDER BY 1, 2`

func scanLatest(m *metastore.LatestMetric) []any {
	return []any{&m.RunID, &m.Name, &m.Step, &m.At, &m.Value, &m.NaN}
}

// LatestMetrics is documented at metastore.Tracking.
func (db *DB) LatestMetrics(ctx context.Context, runIDs []string) ([]metastore.LatestMetric, error) {
	wanted := listed(runIDs)
	return list(ctx, db, "read metrics of runs", latestOfRuns, []any{wanted}, scanLatest)
}

// ClientHistory is documented at metastore.Tracking.
func (db *DB) ClientHistory(ctx context.Context, runID, name string, steps []int64, offset, limit int) ([]metastore.LatestMetric, error) {
	wanted := listed(steps)
	where, order := `WHERE run_id = ?1 AND name = ?2`, `4, 3, 5`
	if steps != nil {
		where += ` AND step IN (SELECT CAST(value AS BIGINT) FROM json_each(?3))`
		order = `3, 4, 5`
	}
	query := `SELECT run_id, name, step, logged_at, value, 0 FROM run_metric_points ` + where + `
		UNION SELECT run_id, name, step, logged_at, 0.0, 1 FROM run_metric_nans ` + where + ` ORDER BY ` + order
	args := []any{runID, name, wanted}
	if limit > 0 || offset > 0 {
		if limit <= 0 {
			limit = -1
		}
		query += fmt.Sprintf(` LIMIT %d OFFSET %d`, limit, offset)
	}
	if steps == nil {
		args = args[:2]
	}
	return list(ctx, db, "read metric "+name+" of run "+runID, query, args, scanLatest)
}

// ClientSteps is documented at metastore.Tracking.
func (db *DB) ClientSteps(ctx context.Context, runID, name string) ([]int64, error) {
	return list(ctx, db, "read steps of metric "+name+" of run "+runID, `SELECT step FROM run_metric_points WHERE run_id = ?1 AND name = ?2
		UNION SELECT step FROM run_metric_nans WHERE run_id = ?1 AND name = ?2 ORDER BY 1`, []any{runID, name}, func(n *int64) []any { return []any{n} })
}

// HasNaN is documented at metastore.Tracking.
func (db *DB) HasNaN(ctx context.Context, name string) (bool, error) {
	found, err := list(ctx, db, "look for a metric that is no number", `SELECT run_id FROM run_metric_latest INDEXED BY run_metric_latest_nan WHERE name = ? AND value IS NULL LIMIT 1`,
		[]any{name}, func(s *string) []any { return []any{s} })
	return len(found) > 0, err
}
