package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"quant"
	"quant/internal/metastore"
)

// points stores points, numbered in their order, and brings the sums up to date,
// each metric's once. The points of a metric are stored together: they lie together
// in the table, and a statement binds their run and their name once.
func (w *recorder) points(list []quant.MetricPoint) error {
	metrics, next, err := w.metricsOf(list)
	if err != nil {
		return err
	}
	var rows pointRows
	for _, m := range metrics {
		if err := w.pointsOfMetric(&rows, list, m, next); err != nil {
			return err
		}
	}
	for _, m := range metrics {
		_, err := w.q.ExecContext(w.ctx, metricTable.insert()+`
			ON CONFLICT (run_id, name) DO UPDATE SET points = excluded.points, last_step = excluded.last_step,
				last = excluded.last, min = excluded.min, max = excluded.max`,
			metricTable.values(m.sum)...)
		if err != nil {
			return err
		}
	}
	return nil
}

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
func (w *recorder) pointsOfMetric(rows *pointRows, list []quant.MetricPoint, m *loggedMetric, next []int32) error {
	sum, at := &m.sum, m.first
	for left := m.count; left > 0; {
		n := rowsAtOnce(left)
		left -= n
		rows.of(sum.RunID, sum.Name, sum.Points+1, m.at)
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
			rows.add(step, p.Value, p.LoggedAt)
		}
		if err := rows.store(w.ctx, w.q, n); err != nil {
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
		query = `SELECT * FROM (` + query + fmt.Sprintf(` DESC LIMIT %d) ORDER BY point`, limit)
	}
	return list(ctx, db, "read metric "+name+" of run "+runID, query, []any{runID, name}, pointTable.scan)
}

// MetricsOf is documented at metastore.Overview.
func (db *DB) MetricsOf(ctx context.Context, ids []string) ([]quant.Metric, error) {
	wanted, err := listed(ids)
	if err != nil {
		return nil, err
	}
	return ofRuns(ctx, db, "run_metrics", metricTable.columns, "run_id, name", wanted, metricTable.scan)
}

var selectSample = `SELECT ` + pointTable.of("p") + ` FROM json_each(?) j
	CROSS JOIN run_metric_points p ON p.run_id = ? AND p.name = ? AND p.point = j.value ORDER BY j.key`

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
	wanted, err := listed(numbers)
	if err != nil {
		return nil, err
	}
	return list(ctx, db, what, selectSample, []any{wanted, runID, name}, pointTable.scan)
}

// EachMetricPoint is documented at metastore.Overview.
func (db *DB) EachMetricPoint(ctx context.Context, runID, name string, fn func(quant.MetricPoint) error) error {
	what := "read metric " + name + " of run " + runID
	q, err := db.reader(ctx)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, `SELECT point, step, value, logged_at FROM run_metric_points WHERE run_id = ? AND name = ? ORDER BY point`, runID, name)
	if err != nil {
		return db.classify(what, err)
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
	return db.classify(what, rows.Err())
}

// EachPoint is documented at metastore.Portable.
func (db *DB) EachPoint(ctx context.Context, runID string, fn func(quant.MetricPoint) error) error {
	what := "read points of run " + runID
	q, err := db.reader(ctx)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, `SELECT `+pointTable.columns+` FROM run_metric_points WHERE run_id = ? ORDER BY name, point`, runID)
	if err != nil {
		return db.classify(what, err)
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
	return db.classify(what, rows.Err())
}

// lastOf is, as SQL, the value that is the last of the metric of row: of the points of
// its highest step the one logged last; of a metric that clients have logged the
// greatest of the latest time.
func lastOf(row, step string) string {
	of := func(order string) string {
		return `SELECT value FROM run_metric_points l WHERE l.run_id = ` + row + `.run_id AND l.name = ` + row + `.name AND l.step = ` + step + ` ORDER BY ` + order + ` LIMIT 1`
	}
	return `CASE WHEN EXISTS (SELECT 1 FROM run_metric_latest c WHERE c.run_id = ` + row + `.run_id AND c.name = ` + row + `.name)
		THEN (` + of("l.logged_at DESC, l.value DESC") + `) ELSE (` + of("l.point DESC") + `) END`
}

// sumsOfPoints are the sums of all metrics but their last value.
const sumsOfPoints = `SELECT run_id, name, max(point) AS points, max(step) AS last_step, min(value) AS least, max(value) AS greatest
	FROM run_metric_points GROUP BY run_id, name`

// checkMetrics finds metrics whose sums are not those of their points. It reads the
// points once, in the order of their key, and looks for what is wrong only where
// not every metric is what its points make it.
func checkMetrics(ctx context.Context, q querier) ([]metastore.Problem, error) {
	const sums = sumsOfPoints
	var agree, pointed, all int64
	err := q.QueryRowContext(ctx, `SELECT coalesce(sum(p.points IS m.points AND p.last_step IS m.last_step AND p.least IS m.min AND p.greatest IS m.max
			AND m.last IS (`+lastOf("p", "p.last_step")+`)), 0),
			count(*), (SELECT count(*) FROM run_metrics)
		FROM (`+sums+`) p LEFT JOIN run_metrics m ON m.run_id = p.run_id AND m.name = p.name`).Scan(&agree, &pointed, &all)
	if err != nil {
		return nil, err
	}
	if agree == pointed && pointed == all {
		return nil, nil
	}
	broken, err := texts(ctx, q, `SELECT m.run_id || ' metric ' || m.name FROM run_metrics m LEFT JOIN (`+sums+`) p
			ON p.run_id = m.run_id AND p.name = m.name
		WHERE p.points IS NOT m.points OR p.last_step IS NOT m.last_step OR p.least IS NOT m.min OR p.greatest IS NOT m.max
			OR m.last IS NOT (`+lastOf("m", "m.last_step")+`)
		LIMIT 10`)
	if err != nil {
		return nil, err
	}
	without, err := texts(ctx, q, `SELECT DISTINCT p.run_id || ' metric ' || p.name FROM run_metric_points p
		WHERE p.point = 1 AND NOT EXISTS (SELECT 1 FROM run_metrics m WHERE m.run_id = p.run_id AND m.name = p.name) LIMIT 10`)
	var found []metastore.Problem
	for _, object := range append(broken, without...) {
		found = append(found, metastore.Problem{Object: "run " + object, What: "its sums in run_metrics are not those of its points", Mend: mendRows})
	}
	return found, err
}

// fillMetrics works the sums of metrics out of their points.
func fillMetrics(ctx context.Context, q querier) error {
	_, err := q.ExecContext(ctx, `INSERT OR REPLACE INTO run_metrics (`+metricTable.columns+`)
		SELECT p.run_id, p.name, p.points, p.last_step, (`+lastOf("p", "p.last_step")+`), p.least, p.greatest
		FROM (`+sumsOfPoints+`) p`)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `DELETE FROM run_metrics WHERE NOT EXISTS (SELECT 1 FROM run_metric_points p
		WHERE p.run_id = run_metrics.run_id AND p.name = run_metrics.name)`)
	return err
}
