package sqlite

import (
	"context"

	"quant/internal/metastore"
)

// checkMetrics finds metrics whose sums are not those of their points. It reads
// both tables once, in the order of their keys.
func checkMetrics(ctx context.Context, q querier) ([]metastore.Problem, error) {
	const sums = `SELECT run_id, name, max(point) AS points, max(step) AS last_step, min(value) AS least, max(value) AS greatest
		FROM run_metric_points GROUP BY run_id, name`
	broken, err := texts(ctx, q, `SELECT m.run_id || ' metric ' || m.name FROM run_metrics m LEFT JOIN (`+sums+`) p
			ON p.run_id = m.run_id AND p.name = m.name
		WHERE p.points IS NOT m.points OR p.last_step IS NOT m.last_step OR p.least IS NOT m.min OR p.greatest IS NOT m.max
			OR m.last IS NOT (SELECT value FROM run_metric_points l WHERE l.run_id = m.run_id AND l.name = m.name AND l.step = m.last_step ORDER BY l.point DESC LIMIT 1)
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
	_, err := q.ExecContext(ctx, `INSERT OR REPLACE INTO run_metrics (`+metricColumns+`)
		SELECT run_id, name, max(point), max(step), (SELECT value FROM run_metric_points l WHERE l.run_id = p.run_id AND l.name = p.name
			ORDER BY l.step DESC, l.point DESC LIMIT 1), min(value), max(value)
		FROM run_metric_points p GROUP BY run_id, name`)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `DELETE FROM run_metrics WHERE NOT EXISTS (SELECT 1 FROM run_metric_points p
		WHERE p.run_id = run_metrics.run_id AND p.name = run_metrics.name)`)
	return err
}
