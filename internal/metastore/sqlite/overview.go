package sqlite

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// listed binds a list as one JSON array, which json_each reads: one statement
// for any number of values.
func listed[T any](values []T) (string, error) {
	b, err := json.Marshal(slices.Concat([]T{}, values))
	return string(b), err
}

const (
	selectRuns = `SELECT ` + detailColumns + ` FROM json_each(?) j
		CROSS JOIN runs r ON r.run_id = j.value LEFT JOIN run_process p ON p.run_id = r.run_id ORDER BY j.key`
	selectNames = `SELECT ` + tagColumns + ` FROM (SELECT DISTINCT value AS id FROM json_each(?)) j
		CROSS JOIN run_tags t ON t.run_id = j.id AND t.name = ?`
	selectSample = `SELECT p.run_id, p.name, p.point, p.step, p.value, p.logged_at FROM json_each(?) j
		CROSS JOIN run_metric_points p ON p.run_id = ? AND p.name = ? AND p.point = j.value ORDER BY j.key`
)

// RunsOf is documented at metastore.Overview.
func (db *DB) RunsOf(ctx context.Context, ids []string) ([]metastore.RunDetail, error) {
	wanted, err := listed(ids)
	if err != nil {
		return nil, err
	}
	found, err := list(ctx, db, "read runs", selectRuns, []any{wanted}, scanDetail)
	if err != nil || len(found) == len(ids) {
		return found, err
	}
	for i, id := range ids {
		if i >= len(found) || found[i].RunID != id {
			return nil, quant.Errorf(quant.NotFound, "run %s does not exist", id)
		}
	}
	return found, nil
}

// ofRuns reads the rows of some runs from one table, by key.
func ofRuns[T any](ctx context.Context, db *DB, table, columns, order, ids string, scan func(*T) []any) ([]T, error) {
	return list(ctx, db, "read "+table, selectOfRuns(table, columns, order), []any{ids}, scan)
}

func selectOfRuns(table, columns, order string) string {
	return `SELECT ` + columns + ` FROM (SELECT DISTINCT value AS id FROM json_each(?)) j
		CROSS JOIN ` + table + ` t ON t.run_id = j.id ORDER BY ` + order
}

// RecordsOf is documented at metastore.Overview.
func (db *DB) RecordsOf(ctx context.Context, ids []string) (r metastore.Recorded, err error) {
	wanted, err := listed(ids)
	if err != nil {
		return r, err
	}
	const byName = "name, run_id"
	if r.Params, err = ofRuns(ctx, db, "run_params", paramColumns, byName, wanted, scanParam); err != nil {
		return r, err
	}
	if r.Tags, err = ofRuns(ctx, db, "run_tags", tagColumns, byName, wanted, scanTag); err != nil {
		return r, err
	}
	if r.Metrics, err = ofRuns(ctx, db, "run_metrics", metricColumns, byName, wanted, scanMetric); err != nil {
		return r, err
	}
	if r.Artifacts, err = ofRuns(ctx, db, "run_artifacts", artifactColumns, byName, wanted, scanArtifact); err != nil {
		return r, err
	}
	if r.IO, err = ofRuns(ctx, db, "run_io", ioColumns, "direction, kind, name, run_id", wanted, scanIO); err != nil {
		return r, err
	}
	r.Programs, err = ofRuns(ctx, db, "run_programs", programColumns, "run_id", wanted, scanProgram)
	return r, err
}

// MetricsOf is documented at metastore.Overview.
func (db *DB) MetricsOf(ctx context.Context, ids []string) ([]quant.Metric, error) {
	wanted, err := listed(ids)
	if err != nil {
		return nil, err
	}
	return ofRuns(ctx, db, "run_metrics", metricColumns, "run_id, name", wanted, scanMetric)
}

// NamesOf is documented at metastore.Overview.
func (db *DB) NamesOf(ctx context.Context, ids []string) (map[string]string, error) {
	wanted, err := listed(ids)
	if err != nil {
		return nil, err
	}
	tags, err := list(ctx, db, "read names of runs", selectNames, []any{wanted, quant.NameTag}, scanTag)
	names := map[string]string{}
	for _, t := range tags {
		names[t.RunID] = t.Value
	}
	return names, err
}

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
	return list(ctx, db, what, selectSample, []any{wanted, runID, name}, scanPoint)
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

// MarksOf is documented at metastore.Overview.
func (db *DB) MarksOf(ctx context.Context, runID string) (m metastore.Marks, err error) {
	deletions, err := list(ctx, db, "read deletion of run "+runID, `SELECT run_id, deleted_at, by_run_id FROM run_deletions WHERE run_id = ?`,
		[]any{runID}, func(d *quant.Deletion) []any { return []any{&d.RunID, &d.DeletedAt, &d.ByRunID} })
	if err != nil {
		return m, err
	}
	imports, err := list(ctx, db, "read import of run "+runID, `SELECT run_id, imported_at, by_run_id FROM run_imports WHERE run_id = ?`,
		[]any{runID}, func(i *quant.Import) []any { return []any{&i.RunID, &i.ImportedAt, &i.ByRunID} })
	if err != nil {
		return m, err
	}
	if len(deletions) > 0 {
		m.Deletion = &deletions[0]
	}
	if len(imports) > 0 {
		m.Import = &imports[0]
	}
	return m, nil
}

// RunStats is documented at metastore.Overview.
func (db *DB) RunStats(ctx context.Context, f metastore.RunFilter) ([]metastore.KindStats, error) {
	query, args, err := listRuns(metastore.RunFilter{All: f.All, Kind: f.Kind, Since: f.Since})
	if err != nil {
		return nil, err
	}
	// The same selection as a list's, of the columns that are summed up only.
	query = `SELECT r.kind, r.status, r.run_id, p.duration_us ` + query[len(`SELECT `+detailColumns+` `):]
	q, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	const what = "sum up runs"
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, db.classify(what, err)
	}
	defer func() { _ = rows.Close() }()
	kinds := map[string]*kindSums{}
	var kind, status, id []byte
	for rows.Next() {
		var took *int64
		if err := rows.Scan(&kind, &status, &id, &took); err != nil {
			return nil, db.unreadable(what, err)
		}
		k := kinds[string(kind)]
		if k == nil {
			k = &kindSums{KindStats: metastore.KindStats{Kind: string(kind)}}
			kinds[k.Kind] = k
		}
		k.add(quant.Status(status), id, took)
	}
	if err := rows.Err(); err != nil {
		return nil, db.classify(what, err)
	}
	var all []metastore.KindStats
	for _, k := range kinds {
		slices.Sort(k.took)
		k.P50US, k.P95US = nearestRank(k.took, 50), nearestRank(k.took, 95)
		all = append(all, k.KindStats)
	}
	slices.SortFunc(all, func(a, b metastore.KindStats) int { return strings.Compare(a.Kind, b.Kind) })
	return all, nil
}

type kindSums struct {
	metastore.KindStats
	took []int64
}

// add takes a run; runs come newest first.
func (k *kindSums) add(status quant.Status, id []byte, took *int64) {
	k.Runs++
	switch status {
	case quant.Running:
		k.Running++
		return
	case quant.Success:
		k.Success++
	case quant.Fail:
		k.Fail++
		if k.LastFail == "" {
			k.LastFail = string(id)
		}
	}
	if took != nil {
		k.took = append(k.took, *took)
	}
}

// nearestRank is the smallest of sorted values that at least p percent of them
// do not exceed; nil of none.
func nearestRank(sorted []int64, p int) *int64 {
	if len(sorted) == 0 {
		return nil
	}
	v := sorted[(len(sorted)*p+99)/100-1]
	return &v
}
