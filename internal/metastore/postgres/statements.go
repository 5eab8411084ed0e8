package postgres

import (
	"context"

	"quant"
	"quant/internal/metastore/relational"
)

// Again is documented at relational.Dialect.
func (dialect) Again(err error) bool { return hasCode(err, deadlock) || hasCode(err, serialization) }

// LockRuns is documented at relational.Dialect. It shuts out others who lock or change
// the rows, and nobody who stores what refers to them.
func (dialect) LockRuns() string {
	return `SELECT run_id FROM runs WHERE run_id IN (SELECT value FROM json_each(?) j) ORDER BY run_id FOR NO KEY UPDATE`
}

// Alone is documented at relational.Dialect.
func (dialect) Alone() string {
	return `SELECT pg_advisory_xact_lock(hashtextextended('quant ' || ?, 0))`
}

// Last is documented at relational.Dialect.
func (dialect) Last(text, characters string) string { return `right(` + text + `, ` + characters + `)` }

// TextArray is documented at relational.Dialect.
func (dialect) TextArray(text string) string {
	return `CAST(json_agg(` + text + ` ORDER BY ` + text + `) AS text)`
}

// Points is documented at relational.Dialect.
func (dialect) Points() relational.Points { return &points{} }

// pointsAtOnce is the most points that one statement stores.
const pointsAtOnce = 20_000

// points are columns of points of one metric, which one statement stores. A point is
// numbered after the first one.
type points struct {
	runID, name string
	first       int64
	steps       []int64
	values      []float64
	times       []string
	at          quant.Time // of the last point
	text        string     // of that time
}

// Of is documented at relational.Points.
func (p *points) Of(runID, name string, first int64, _ quant.Time, left int) int {
	p.runID, p.name, p.first = runID, name, first
	p.steps, p.values, p.times = p.steps[:0], p.values[:0], p.times[:0]
	return min(left, pointsAtOnce)
}

// Add is documented at relational.Points.
func (p *points) Add(step int64, value float64, at quant.Time) {
	if p.text == "" || !at.Equal(p.at.Time) {
		p.at, p.text = at, at.String()
	}
	p.steps, p.values, p.times = append(p.steps, step), append(p.values, value), append(p.times, p.text)
}

var insertPoints = `INSERT INTO run_metric_points (` + relational.TableColumns()["run_metric_points"] + `)
	SELECT CAST(?1 AS text), CAST(?2 AS text), CAST(?3 AS bigint) + ordinality - 1, step, value, at
	FROM unnest(CAST(?4 AS bigint[]), CAST(?5 AS double precision[]), CAST(?6 AS text[])) WITH ORDINALITY AS p (step, value, at, ordinality)`

// Store is documented at relational.Points.
func (p *points) Store(ctx context.Context, q relational.Querier) error {
	_, err := q.ExecContext(ctx, insertPoints, p.runID, p.name, p.first, p.steps, p.values, p.times)
	return err
}
