package relational

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"quant"
)

// points stores points, numbered in their order, and brings the sums up to date,
// each metric's once. The points of a metric are stored together: they lie together
// in the table, and a statement binds their run and their name once.
func (w *recorder) points(list []quant.MetricPoint) error {
	metrics, next, err := w.metricsOf(list)
	if err != nil {
		return err
	}
	rows := w.db.dialect.Points()
	for _, m := range metrics {
		if err := w.pointsOfMetric(rows, list, m, next); err != nil {
			return err
		}
	}
	for _, m := range metrics {
		_, err := w.q.ExecContext(w.ctx, metricTable.insert()+renewSums,
			metricTable.values(m.sum)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// renewSums puts sums in the place of those that a metric has.
const renewSums = ` ON CONFLICT (run_id, name) DO UPDATE SET points = excluded.points, last_step = excluded.last_step,
	last = excluded.last, min = excluded.min, max = excluded.max`

// loggedMetric is a metric of a batch.
type loggedMetric struct {
	sum         quant.Metric // as it is stored
	first, last int32        // of its points in the batch
	count       int
	at          quant.Time // of all its points in the batch; zero: they differ
}

// metricsOf finds the metrics of points, in the order of their first ones. next is
// for each point where the next one of its metric stands.
func (w *recorder) metricsOf(list []quant.MetricPoint) (metrics []*loggedMetric, next []int32, err error) {
	type key struct{ run, name string }
	known := map[key]*loggedMetric{}
	next = make([]int32, len(list))
	for i := range list {
		p := &list[i]
		m := known[key{p.RunID, p.Name}]
		if m == nil {
			m = &loggedMetric{sum: quant.Metric{RunID: p.RunID, Name: p.Name, LastStep: -1}, first: int32(i), at: p.LoggedAt}
			if err := w.run(p.RunID); err != nil {
				return nil, nil, err
			}
			err := w.q.QueryRowContext(w.ctx, `SELECT `+metricTable.columns+` FROM run_metrics WHERE run_id = ? AND name = ?`, p.RunID, p.Name).Scan(metricTable.scan(&m.sum)...)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return nil, nil, err
			}
			known[key{p.RunID, p.Name}] = m
			metrics = append(metrics, m)
		} else {
			next[m.last] = int32(i)
			if !p.LoggedAt.Equal(m.at.Time) {
				m.at = quant.Time{}
			}
		}
		m.last = int32(i)
		m.count++
	}
	return metrics, next, nil
}

// pointsOfMetric stores the points of one metric, and adds them to its sum.
func (w *recorder) pointsOfMetric(rows Points, list []quant.MetricPoint, m *loggedMetric, next []int32) error {
	sum, at := &m.sum, m.first
	for left := m.count; left > 0; {
		n := rows.Of(sum.RunID, sum.Name, sum.Points+1, m.at, left)
		left -= n
		for range n {
			p := &list[at]
			at = next[at]
			step := p.Step
			if step == quant.AutoStep {
				if sum.LastStep == math.MaxInt64 {
					return quant.Errorf(quant.Invalid, "metric %q: there is no step after %d", p.Name, sum.LastStep)
				}
				step = sum.LastStep + 1
			}
			sum.Points++
			if sum.Points == 1 {
				sum.LastStep, sum.Last, sum.Min, sum.Max = step, p.Value, p.Value, p.Value
			}
			if step >= sum.LastStep {
				sum.LastStep, sum.Last = step, p.Value
			}
			sum.Min, sum.Max = min(sum.Min, p.Value), max(sum.Max, p.Value)
			rows.Add(step, p.Value, p.LoggedAt)
		}
		if err := rows.Store(w.ctx, w.q); err != nil {
			return err
		}
	}
	return nil
}

// Metrics is documented at metastore.Records.
func (db *DB) Metrics(ctx context.Context, runID string) ([]quant.Metric, error) {
	return list(ctx, db, "read metrics of run "+runID, `SELECT `+metricTable.columns+` FROM run_metrics WHERE run_id = ? ORDER BY name`, []any{runID}, metricTable.scan)
}

// MetricPoints is documented at metastore.Records.
func (db *DB) MetricPoints(ctx context.Context, runID, name string, limit int) ([]quant.MetricPoint, error) {
	query := `SELECT ` + pointTable.columns + ` FROM run_metric_points WHERE run_id = ? AND name = ? ORDER BY point`
	if limit > 0 {
		query = `SELECT * FROM (` + query + fmt.Sprintf(` DESC LIMIT %d) p ORDER BY point`, limit)
	}
	return list(ctx, db, "read metric "+name+" of run "+runID, query, []any{runID, name}, pointTable.scan)
}

// MetricsOf is documented at metastore.Overview.
func (db *DB) MetricsOf(ctx context.Context, ids []string) ([]quant.Metric, error) {
	wanted := listed(ids)
	return ofRuns(ctx, db, "run_metrics", metricTable.columns, "run_id, name", wanted, metricTable.scan)
}

var selectSample = `SELECT ` + pointTable.of("p") + ` FROM json_each(?) j
	CROSS JOIN run_metric_points p ON p.run_id = ? AND p.name = ? AND p.point = CAST(j.value AS BIGINT) ORDER BY j.key`

// MetricSample is documented at metastore.Overview.
func (db *DB) MetricSample(ctx context.Context, runID, name string, n int) ([]quant.MetricPoint, error) {
	what := "sample metric " + name + " of run " + runID
	if n < 2 {
		return nil, quant.Errorf(quant.Invalid, "%s: %d points are fewer than 2", what, n)
	}
	// The last number itself, not the sum's count: they are kept in step, but a
	// damaged count must not look like a gap.
	last, err := list(ctx, db, what, `SELECT point FROM run_metric_points WHERE run_id = ? AND name = ? ORDER BY point DESC LIMIT 1`,
		[]any{runID, name}, func(v *int64) []any { return []any{v} })
	if err != nil || len(last) == 0 {
		return nil, err
	}
	if last[0] <= int64(n) {
		return db.MetricPoints(ctx, runID, name, 0)
	}
	numbers := make([]int64, n)
	for i := range numbers {
		numbers[i] = 1 + int64(float64(last[0]-1)*float64(i)/float64(n-1)+0.5)
	}
	wanted := listed(numbers)
	return list(ctx, db, what, selectSample, []any{wanted, runID, name}, pointTable.scan)
}

// EachMetricPoint is documented at metastore.Overview.
func (db *DB) EachMetricPoint(ctx context.Context, runID, name string, fn func(quant.MetricPoint) error) error {
	what := "read metric " + name + " of run " + runID
	q, err := db.Reader(ctx)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, `SELECT point, step, value, logged_at FROM run_metric_points WHERE run_id = ? AND name = ? ORDER BY point`, runID, name)
	if err != nil {
		return db.Classify(what, err)
	}
	defer func() { _ = rows.Close() }()
	p := quant.MetricPoint{RunID: runID, Name: name}
	for rows.Next() {
		if err := rows.Scan(&p.Point, &p.Step, &p.Value, &p.LoggedAt); err != nil {
			return db.unreadable(what, err)
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return db.Classify(what, rows.Err())
}

// EachPoint is documented at metastore.Portable.
func (db *DB) EachPoint(ctx context.Context, runID string, fn func(quant.MetricPoint) error) error {
	what := "read points of run " + runID
	q, err := db.Reader(ctx)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, `SELECT `+pointTable.columns+` FROM run_metric_points WHERE run_id = ? ORDER BY name, point`, runID)
	if err != nil {
		return db.Classify(what, err)
	}
	defer rows.Close()
	var p quant.MetricPoint
	into := pointTable.scan(&p)
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return db.unreadable(what, err)
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return db.Classify(what, rows.Err())
}
