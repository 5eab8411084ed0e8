package relational

import (
	"context"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
)

// SearchRuns is documented at metastore.Searches.
func (db *DB) SearchRuns(ctx context.Context, s metastore.Search, each func(cells []any) error) error {
	if err := checkSearch(s); err != nil {
		return err
	}
	var ids []string
	err := db.OnSnapshot(ctx, func(q Querier) (err error) {
		w := searcher{ctx: ctx, q: q}
		ids, err = w.ids(s)
		return err
	})
	if err != nil {
		return db.Classify("search runs", err)
	}
	const batch = 500
	for len(ids) > 0 {
		some := ids[:min(len(ids), batch)]
		ids = ids[len(some):]
		cells, err := db.cellsOf(ctx, some, s.Columns)
		if err != nil {
			return db.Classify("search runs", err)
		}
		for _, c := range cells {
			if c == nil {
				continue // purged since
			}
			if err := each(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// ExplainSearch is documented at metastore.Searches.
func (db *DB) ExplainSearch(ctx context.Context, s metastore.Search) ([]metastore.Statement, error) {
	if err := checkSearch(s); err != nil {
		return nil, err
	}
	var all []metastore.Statement
	err := db.OnSnapshot(ctx, func(q Querier) error {
		w := searcher{ctx: ctx, q: q}
		var asked []fragment
		w.trace = func(f fragment, found int) {
			asked = append(asked, f)
			all = append(all, metastore.Statement{Runs: found})
		}
		if _, err := w.ids(s); err != nil {
			return err
		}
		for i, f := range asked {
			var err error
			if all[i].Plan, err = w.planOf(f); err != nil {
				return err
			}
		}
		return nil
	})
	return all, db.Classify("explain a search", err)
}

// planOf is what SQLite says of how it answers a statement.
func (w *searcher) planOf(f fragment) ([]string, error) {
	rows, err := w.q.QueryContext(w.ctx, `EXPLAIN QUERY PLAN `+f.sql, f.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var plan []string
	depth := map[int]int{}
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return nil, err
		}
		depth[id] = depth[parent] + 1
		plan = append(plan, strings.Repeat("  ", depth[parent])+detail)
	}
	return plan, rows.Err()
}

// OnSnapshot runs fn on one state of the database.
func (db *DB) OnSnapshot(ctx context.Context, fn func(q Querier) error) error {
	if st := db.current(ctx); st != nil {
		if err := st.usable(); err != nil {
			return err
		}
		return fn(st.conn)
	}
	conn, err := db.Pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := db.dialect.BeginReading(ctx, conn); err != nil {
		return err
	}
	defer db.dialect.Rollback(conn)
	return fn(conn)
}

// cellsOf reads the columns of runs, in their order; nil for one that is gone.
func (db *DB) cellsOf(ctx context.Context, ids []string, columns []metastore.Field) ([][]any, error) {
	q, err := db.Reader(ctx)
	if err != nil {
		return nil, err
	}
	text, args := "SELECT j.key", []any{}
	for _, f := range columns {
		v := valueOf(f, false)
		text += ", " + v.sql
		args = append(args, v.args...)
	}
	rows, err := q.QueryContext(ctx, text+` FROM json_each(?) j CROSS JOIN runs r ON r.run_id = j.value LEFT JOIN run_process p ON p.run_id = r.run_id`,
		append(args, listed(ids))...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	all := make([][]any, len(ids))
	for rows.Next() {
		var at int
		cells := make([]any, len(columns))
		into := []any{&at}
		for i := range cells {
			into = append(into, &cells[i])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, f := range columns {
			if cells[i], err = cellOf(f, cells[i]); err != nil {
				return nil, err
			}
		}
		all[at] = cells
	}
	return all, rows.Err()
}

func cellOf(f metastore.Field, v any) (any, error) {
	t, _ := f.Type()
	if b, isBytes := v.([]byte); isBytes {
		v = string(b)
	}
	switch v := v.(type) {
	case string:
		if t == metastore.Time {
			return quant.ParseTime(v)
		}
	case int64:
		switch t {
		case metastore.Duration:
			return time.Duration(v) * time.Microsecond, nil
		case metastore.Bool:
			return v != 0, nil
		}
	}
	return v, nil
}

// Names is documented at metastore.Searches.
func (db *DB) Names(ctx context.Context, of metastore.NameSource, prefix string, limit int) ([]string, error) {
	i, column, where := index{}, "name", ""
	switch of {
	case metastore.KindNames:
		i, column = *searchFields["kind"].index, "kind"
	case metastore.ParamNames:
		i = paramValues
	case metastore.TagNames:
		i = tagValues
	case metastore.MetricNames:
		i = metricLasts
	case metastore.RunNames:
		i, column, where = tagValues, "value", "name = '"+quant.NameTag+"' AND "
	default:
		return nil, quant.Errorf(quant.Invalid, "names of what? %d", of)
	}
	// One step in the index for each name, however many rows have it.
	query := strings.NewReplacer("$table", i.from(), "$c", column, "$where", where).Replace(
		`WITH RECURSIVE found (name, n) AS (
			SELECT * FROM (SELECT $c, 1 FROM $table WHERE $where $c >= ?1 ORDER BY $c LIMIT 1)
			UNION ALL
			SELECT (SELECT $c FROM $table WHERE $where $c > found.name ORDER BY $c LIMIT 1), n + 1 FROM found WHERE name IS NOT NULL AND n < ?2
		) SELECT name FROM found WHERE name IS NOT NULL AND substr(CAST(name AS BLOB), 1, length(CAST(?1 AS BLOB))) = CAST(?1 AS BLOB)`)
	return list(ctx, db, "list names", query, []any{prefix, limit}, func(s *string) []any { return []any{s} })
}
