package relational

import (
	"context"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
)

// modelShape is how the parts of a search of models are said in SQL: the columns of
// attributes of the table m, and for tags, params and metrics the rows that belong
// to a row of m.
type modelShape struct {
	columns map[string]string
	times   []string // columns that compare with milliseconds
	rows    map[metastore.ModelField]string
}

var loggedShape = modelShape{
	columns: map[string]string{
		"name": "m.name", "model_id": "m.model_id", "model_type": "m.model_type", "status": "m.status",
		"source_run_id": "m.source_run_id", "experiment_id": "m.experiment_id", "created_at": "m.created_at", "updated_at": "m.updated_at",
	},
	times: []string{"created_at", "updated_at"},
	rows: map[metastore.ModelField]string{
		metastore.TagField:    `logged_model_tags x WHERE x.model_id = m.model_id AND x.name = ?`,
		metastore.ParamField:  `logged_model_params x WHERE x.model_id = m.model_id AND x.name = ?`,
		metastore.MetricField: `logged_model_metrics x WHERE x.model_id = m.model_id AND x.name = ?`,
	},
}

var registeredShape = modelShape{
	columns: map[string]string{"name": "m.name", "created_at": "m.created_at", "updated_at": "m.updated_at"},
	times:   []string{"created_at", "updated_at"},
	rows: map[metastore.ModelField]string{
		metastore.TagField: `registered_model_tags x WHERE x.model = m.name AND x.name = ?`,
	},
}

var versionShape = modelShape{
	columns: map[string]string{
		"name": "m.model", "version": "m.version", "run_id": "m.run_id", "source": "m.source", "created_at": "m.created_at", "updated_at": "m.updated_at",
	},
	times: []string{"created_at", "updated_at"},
	rows: map[metastore.ModelField]string{
		metastore.TagField: `model_version_tags x WHERE x.model = m.model AND x.version = m.version AND x.name = ?`,
	},
}

// comparison is how a value compares: what stands behind it, and what is bound.
func comparison(value, op string, bound any) (fragment, error) {
	switch op {
	case "=", "!=", "<", "<=", ">", ">=":
		return fragment{value + ` ` + op + ` ?`, []any{bound}}, nil
	case "LIKE", "ILIKE":
		pattern, ok := bound.(string)
		if !ok {
			break
		}
		if op == "ILIKE" {
			return fragment{value + ` LIKE ?`, []any{pattern}}, nil // minds no case of ASCII
		}
		glob, _ := globOf(strings.ReplaceAll(pattern, `\`, `\\`))
		return fragment{value + ` GLOB ?`, []any{glob}}, nil
	case "IN", "NOT IN":
		values, ok := bound.([]string)
		if !ok {
			break
		}
		return fragment{value + ` ` + op + ` (SELECT value FROM json_each(?))`, []any{listed(values)}}, nil
	}
	return fragment{}, quant.Errorf(quant.Invalid, "search of models: %q does not compare with %T", op, bound)
}

func (s modelShape) attribute(name string) (string, error) {
	column, ok := s.columns[name]
	if !ok {
		return "", quant.Errorf(quant.Invalid, "search of models: %q is no attribute", name)
	}
	return column, nil
}

// condition says a condition in SQL; more restricts the rows of a metric.
func (s modelShape) condition(c metastore.ModelCondition, more fragment) (fragment, error) {
	if c.Of == metastore.AttributeField {
		column, err := s.attribute(c.Name)
		if err != nil {
			return fragment{}, err
		}
		if slices.Contains(s.times, c.Name) {
			ms, ok := c.Value.(int64)
			if !ok {
				return fragment{}, quant.Errorf(quant.Invalid, "search of models: %s compares with milliseconds, not %T", c.Name, c.Value)
			}
			return timeCondition(column, c.Op, ms)
		}
		return comparison(column, c.Op, c.Value)
	}
	rows, ok := s.rows[c.Of]
	if !ok {
		return fragment{}, quant.Errorf(quant.Invalid, "search of models: there is no %s", c.Of)
	}
	f, err := comparison("x.value", c.Op, c.Value)
	args := append([]any{c.Name}, f.args...)
	query := `EXISTS (SELECT 1 FROM ` + rows + ` AND ` + f.sql
	if c.Of == metastore.MetricField && more.sql != "" {
		query += ` AND ` + more.sql
		args = append(args, more.args...)
	}
	return fragment{query + `)`, args}, err
}

// timeCondition compares a time, which is kept to the microsecond, with a
// millisecond.
func timeCondition(column, op string, ms int64) (fragment, error) {
	from := quant.NewTime(time.UnixMilli(ms)).String()
	next := quant.NewTime(time.UnixMilli(ms + 1)).String()
	switch op {
	case "=":
		return fragment{`(` + column + ` >= ? AND ` + column + ` < ?)`, []any{from, next}}, nil
	case "!=":
		return fragment{`(` + column + ` < ? OR ` + column + ` >= ?)`, []any{from, next}}, nil
	case "<", ">=":
		return fragment{column + ` ` + op + ` ?`, []any{from}}, nil
	case "<=":
		return fragment{column + ` < ?`, []any{next}}, nil
	case ">":
		return fragment{column + ` >= ?`, []any{next}}, nil
	}
	return fragment{}, quant.Errorf(quant.Invalid, "search of models: %q does not compare times", op)
}

// modelQuery puts a search together.
type modelQuery struct {
	where []string
	order []string
	args  []any // of where
	by    []any // of order
}

func (q *modelQuery) and(f fragment) {
	q.where = append(q.where, f.sql)
	q.args = append(q.args, f.args...)
}

// orderBy adds a key; rows without the value come last.
func (q *modelQuery) orderBy(value string, desc bool, args ...any) {
	direction := ``
	if desc {
		direction = ` DESC`
	}
	q.order = append(q.order, value+direction+` NULLS LAST`)
	q.by = append(q.by, args...)
}

func (q *modelQuery) build(columns, from string, offset, limit int) (string, []any) {
	query := `SELECT ` + columns + ` FROM ` + from
	if len(q.where) > 0 {
		query += ` WHERE ` + strings.Join(q.where, ` AND `)
	}
	query += ` ORDER BY ` + strings.Join(q.order, `, `) + ` LIMIT ? OFFSET ?`
	return query, slices.Concat(q.args, q.by, []any{limit, offset})
}

// found runs a search for one row more than the limit, which tells whether there are
// more.
func found[T any](ctx context.Context, db *DB, what string, q *modelQuery, t table[T], from string, offset, limit int) ([]T, bool, error) {
	query, args := q.build(t.of("m"), from, offset, limit+1)
	rows, err := list(ctx, db, what, query, args, t.scan)
	if err != nil {
		return nil, false, err
	}
	return rows[:min(len(rows), limit)], len(rows) > limit, nil
}

// SearchLoggedModels is documented at metastore.LoggedModels.
func (db *DB) SearchLoggedModels(ctx context.Context, s metastore.LoggedModelSearch) ([]metastore.LoggedModelDetail, bool, error) {
	ids := listed(s.ExperimentIDs)
	q := modelQuery{}
	q.and(fragment{`m.experiment_id IN (SELECT value FROM json_each(?))`, []any{ids}})
	q.and(fragment{`m.deleted_at IS NULL`, nil})
	measured, metrics := onDatasets(s.Datasets), false
	for _, c := range s.Where {
		f, err := loggedShape.condition(c, measured)
		if err != nil {
			return nil, false, err
		}
		metrics = metrics || c.Of == metastore.MetricField
		q.and(f)
	}
	if measured.sql != "" && !metrics {
		q.and(fragment{`EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_id = m.model_id AND ` + measured.sql + `)`, measured.args})
	}
	created := false
	for _, o := range s.Order {
		if o.Of == metastore.MetricField {
			on := fragment{}
			if o.DatasetName != "" || o.DatasetDigest != "" {
				on = onDataset(o.DatasetName, o.DatasetDigest)
				on.sql = ` AND ` + on.sql
			}
			q.orderBy(`(SELECT x.value FROM logged_model_metrics x WHERE x.model_id = m.model_id AND x.name = ?`+on.sql+
				` ORDER BY x.logged_at DESC, x.step DESC LIMIT 1)`, o.Desc, append([]any{o.Name}, on.args...)...)
			continue
		}
		column, err := loggedShape.attribute(o.Name)
		if err != nil {
			return nil, false, err
		}
		created = created || o.Name == "created_at"
		q.orderBy(column, o.Desc)
	}
	if !created {
		q.orderBy("m.created_at", true)
	}
	q.orderBy("m.model_id", true)
	models, more, err := found(ctx, db, "search logged models", &q, loggedModelTable, "logged_models m", s.Offset, s.Limit)
	if err != nil {
		return nil, false, err
	}
	details, err := db.loggedDetails(ctx, models)
	return details, more, err
}

func onDataset(name, digest string) fragment {
	f := fragment{`true`, nil}
	if name != "" {
		f = fragment{f.sql + ` AND x.dataset_name = ?`, append(f.args, name)}
	}
	if digest != "" {
		f = fragment{f.sql + ` AND x.dataset_digest = ?`, append(f.args, digest)}
	}
	return f
}

// onDatasets is true of a metric x that was measured on one of the datasets.
func onDatasets(list []metastore.DatasetFilter) fragment {
	var parts []string
	var args []any
	for _, d := range list {
		f := onDataset(d.Name, d.Digest)
		parts, args = append(parts, `(`+f.sql+`)`), append(args, f.args...)
	}
	if parts == nil {
		return fragment{}
	}
	return fragment{`(` + strings.Join(parts, ` OR `) + `)`, args}
}

// registrySearch is what a search of the registry has in common, of models and of
// versions: the order ends by key.
func registrySearch(shape modelShape, s metastore.ModelSearch, hidden string) (*modelQuery, error) {
	q := &modelQuery{}
	for _, c := range s.Where {
		f, err := shape.condition(c, fragment{})
		if err != nil {
			return nil, err
		}
		q.and(f)
	}
	if s.Hidden != "" {
		q.and(fragment{`NOT EXISTS (SELECT 1 FROM ` + hidden + ` AND h.name = ? AND h.value = 'true')`, []any{s.Hidden}})
	}
	for _, o := range s.Order {
		column, err := shape.attribute(o.Name)
		if err != nil {
			return nil, err
		}
		q.orderBy(column, o.Desc)
	}
	return q, nil
}

// hasDataset is a condition on a run r.
func hasDataset(e metastore.HasDataset) (fragment, error) {
	column, ok := map[string]string{"name": "x.name", "digest": "x.digest", "context": "x.context"}[e.Key]
	if !ok {
		return fragment{}, quant.Errorf(quant.Invalid, "search: a dataset has no %q", e.Key)
	}
	value := any(e.Values)
	if !strings.HasSuffix(e.Op, "IN") {
		if len(e.Values) != 1 {
			return fragment{}, quant.Errorf(quant.Invalid, "search: %s compares a dataset with one value, not %d", e.Op, len(e.Values))
		}
		value = e.Values[0]
	}
	f, err := comparison(column, e.Op, value)
	return fragment{`(EXISTS (SELECT 1 FROM run_datasets x WHERE x.run_id = r.run_id AND ` + f.sql + `))`, f.args}, err
}
