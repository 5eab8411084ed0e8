package relational

import (
	"context"

	"quant/internal/metastore"
)

// MendRows is what to do about rows that break a rule.
const MendRows = "quant init-db --reset carries the sound rows over, after a backup"

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

// CheckMetrics finds metrics whose sums are not those of their points. It reads the
// points once, in the order of their key, and looks for what is wrong only where
// not every metric is what its points make it.
func CheckMetrics(ctx context.Context, q Querier) ([]metastore.Problem, error) {
	const sums = sumsOfPoints
	var agree, pointed, all int64
	err := q.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE p.points = m.points AND p.last_step = m.last_step AND p.least = m.min AND p.greatest = m.max
			AND m.last IS NOT DISTINCT FROM (`+lastOf("p", "p.last_step")+`)),
			count(*), (SELECT count(*) FROM run_metrics)
		FROM (`+sums+`) p LEFT JOIN run_metrics m ON m.run_id = p.run_id AND m.name = p.name`).Scan(&agree, &pointed, &all)
	if err != nil {
		return nil, err
	}
	if agree == pointed && pointed == all {
		return nil, nil
	}
	broken, err := Texts(ctx, q, `SELECT m.run_id || ' metric ' || m.name FROM run_metrics m LEFT JOIN (`+sums+`) p
			ON p.run_id = m.run_id AND p.name = m.name
		WHERE p.points IS DISTINCT FROM m.points OR p.last_step IS DISTINCT FROM m.last_step OR p.least IS DISTINCT FROM m.min
			OR p.greatest IS DISTINCT FROM m.max OR m.last IS DISTINCT FROM (`+lastOf("m", "m.last_step")+`)
		LIMIT 10`)
	if err != nil {
		return nil, err
	}
	without, err := Texts(ctx, q, `SELECT DISTINCT p.run_id || ' metric ' || p.name FROM run_metric_points p
		WHERE p.point = 1 AND NOT EXISTS (SELECT 1 FROM run_metrics m WHERE m.run_id = p.run_id AND m.name = p.name) LIMIT 10`)
	var found []metastore.Problem
	for _, object := range append(broken, without...) {
		found = append(found, metastore.Problem{Object: "run " + object, What: "its sums in run_metrics are not those of its points", Mend: MendRows})
	}
	return found, err
}

// FillMetrics works the sums of metrics out of their points.
func FillMetrics(ctx context.Context, q Querier) error {
	_, err := q.ExecContext(ctx, `INSERT INTO run_metrics (`+metricTable.columns+`)
		SELECT p.run_id, p.name, p.points, p.last_step, (`+lastOf("p", "p.last_step")+`), p.least, p.greatest
		FROM (`+sumsOfPoints+`) p WHERE true`+renewSums)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `DELETE FROM run_metrics WHERE NOT EXISTS (SELECT 1 FROM run_metric_points p
		WHERE p.run_id = run_metrics.run_id AND p.name = run_metrics.name)`)
	return err
}

// CheckProcesses finds runs without their process.
func CheckProcesses(ctx context.Context, q Querier) ([]metastore.Problem, error) {
	ids, err := Texts(ctx, q, `SELECT run_id FROM runs WHERE run_id NOT IN (SELECT run_id FROM run_process) ORDER BY run_id LIMIT 10`)
	var found []metastore.Problem
	for _, id := range ids {
		found = append(found, metastore.Problem{Object: "run " + id, What: "has no row in run_process", Mend: MendRows})
	}
	return found, err
}

// FillNumbers numbers the experiments that have no number of their own: none, or one
// that another has as well.
func FillNumbers(ctx context.Context, q Querier) error {
	_, err := q.ExecContext(ctx, `DELETE FROM client_experiments WHERE EXISTS (SELECT 1 FROM client_experiments o
		WHERE o.number = client_experiments.number AND o.experiment_id < client_experiments.experiment_id)`)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `INSERT INTO client_experiments (experiment_id, number, updated_at)
		SELECT experiment_id, (`+HighestNumber+`) + row_number() OVER (ORDER BY created_at, experiment_id), created_at FROM experiments e
		WHERE NOT EXISTS (SELECT 1 FROM client_experiments c WHERE c.experiment_id = e.experiment_id)`)
	return err
}
