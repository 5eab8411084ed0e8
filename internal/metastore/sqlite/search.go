package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
)

// A search is a condition, compiled whole into one SQL expression, and a
// driver: a smaller set of run ids, taken from one index or from several, that
// is known to hold every run for which the condition can be true. The condition
// is evaluated on the driver's runs only. Any driver gives the same answer; how
// long it takes is the choice (searcher.ids).

// fragment is a piece of SQL with the values that it binds.
type fragment struct {
	sql  string
	args []any
}

func sqlf(text string, args ...any) fragment { return fragment{text, args} }

// joined puts fragments between separators, in parentheses of balanced depth:
// SQLite limits the depth of an expression.
func joined(list []fragment, separator, none string) fragment {
	switch len(list) {
	case 0:
		return fragment{sql: none}
	case 1:
		return list[0]
	}
	left, right := joined(list[:len(list)/2], separator, none), joined(list[len(list)/2:], separator, none)
	return fragment{"(" + left.sql + separator + right.sql + ")", append(append([]any{}, left.args...), right.args...)}
}

// columnOf is an attribute as SQL, over runs r and run_process p.
func columnOf(attribute string) string {
	switch attribute {
	case "run_id", "kind", "status":
		return "r." + attribute
	case "started":
		return "r.started_at"
	case "ended":
		return "r.ended_at"
	case "error":
		return "r.error_text"
	case "duration":
		return "p.duration_us"
	case "parent":
		return "p.parent_run_id"
	case "changes":
		return "coalesce(p.changes, 1)" // as everywhere, where its process was lost
	case "argv":
		return "(SELECT group_concat(value, ' ') FROM json_each(p.argv))"
	default:
		return "p." + attribute
	}
}

// valueOf is a field as SQL; numeric chooses the number of a Mixed one.
func valueOf(f metastore.Field, numeric bool) fragment {
	column := "value"
	if numeric {
		column = "number"
	}
	switch f.Of {
	case metastore.ParamOf:
		return sqlf(`(SELECT `+column+` FROM run_params WHERE run_id = r.run_id AND name = ?)`, f.Name)
	case metastore.TagOf:
		return sqlf(`(SELECT `+column+` FROM run_tags WHERE run_id = r.run_id AND name = ?)`, f.Name)
	case metastore.MetricOf:
		return sqlf(`(SELECT `+metricColumn(f)+` FROM run_metrics WHERE run_id = r.run_id AND name = ?)`, f.Name)
	default:
		return sqlf(columnOf(f.Name))
	}
}

func metricColumn(f metastore.Field) string {
	switch f.Agg {
	case metastore.Min:
		return "min"
	case metastore.Max:
		return "max"
	default:
		return "last"
	}
}

// bound is a value as the database compares it.
func bound(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return float64(v) / float64(time.Microsecond)
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	default:
		return v
	}
}

// fits checks the Go type of a value against its field.
func fits(f metastore.Field, v any) error {
	t, known := f.Type()
	if !known {
		return quant.Errorf(quant.Invalid, "search: a run has no attribute %q", f.Name)
	}
	good := false
	switch v := v.(type) {
	case string:
		good = t == metastore.Text || t == metastore.Mixed
	case float64:
		good = (t == metastore.Number || t == metastore.Mixed) && !math.IsNaN(v)
	case quant.Time:
		good = t == metastore.Time
	case time.Duration:
		good = t == metastore.Duration
	case bool:
		good = t == metastore.Bool
	}
	if !good {
		return quant.Errorf(quant.Invalid, "search: %s cannot be compared with %T", f.Name, v)
	}
	return nil
}

func isNumber(v any) bool { _, ok := v.(float64); return ok }

func opSQL(op metastore.Op) (string, error) {
	switch op {
	case metastore.Eq, metastore.Lt, metastore.Le, metastore.Gt, metastore.Ge:
		return string(op), nil
	case metastore.Ne:
		return "<>", nil
	}
	return "", quant.Errorf(quant.Invalid, "search: %q is no comparison", op)
}

// condition compiles an expression. SQL's three values are the language's.
func condition(e metastore.Expr) (fragment, error) {
	switch e := e.(type) {
	case nil:
		return sqlf("1"), nil
	case metastore.And:
		return conditions(e, " AND ", "1")
	case metastore.Or:
		return conditions(e, " OR ", "0")
	case metastore.Not:
		c, err := condition(e.Expr)
		return fragment{"(NOT " + c.sql + ")", c.args}, err
	case metastore.Compare:
		op, err := opSQL(e.Op)
		if err != nil {
			return fragment{}, err
		}
		if err := fits(e.Field, e.Value); err != nil {
			return fragment{}, err
		}
		v := valueOf(e.Field, isNumber(e.Value))
		return fragment{"(" + v.sql + " " + op + " ?)", append(v.args, bound(e.Value))}, nil
	case metastore.In:
		var either []fragment
		for _, numeric := range []bool{true, false} {
			v := valueOf(e.Field, numeric)
			n := 0
			for _, value := range e.Values {
				if err := fits(e.Field, value); err != nil {
					return fragment{}, err
				}
				if isNumber(value) == numeric {
					v.args = append(v.args, bound(value))
					n++
				}
			}
			if n > 0 {
				either = append(either, fragment{"(" + v.sql + " IN (?" + strings.Repeat(", ?", n-1) + "))", v.args})
			}
		}
		return joined(either, " OR ", "0"), nil
	case metastore.Like:
		if err := fits(e.Field, e.Pattern); err != nil {
			return fragment{}, err
		}
		glob, _ := globOf(e.Pattern)
		v := valueOf(e.Field, false)
		return fragment{"(" + v.sql + " GLOB ?)", append(v.args, glob)}, nil
	case metastore.IsNull:
		if _, known := e.Field.Type(); !known {
			return fragment{}, fits(e.Field, nil)
		}
		v := valueOf(e.Field, false)
		return fragment{"(" + v.sql + " IS NULL)", v.args}, nil
	default:
		return fragment{}, quant.Errorf(quant.Invalid, "search: %T is no condition", e)
	}
}

func conditions(list []metastore.Expr, separator, none string) (fragment, error) {
	var all []fragment
	for _, e := range list {
		c, err := condition(e)
		if err != nil {
			return fragment{}, err
		}
		all = append(all, c)
	}
	return joined(all, separator, none), nil
}

// globOf turns a pattern of Like into one of GLOB, which minds the case, and
// returns the text with which every match begins.
func globOf(pattern string) (glob, prefix string) {
	var b, head strings.Builder
	fixed, escaped := true, false
	for _, c := range pattern {
		switch {
		case !escaped && c == '\\':
			escaped = true
			continue
		case !escaped && c == '%':
			b.WriteByte('*')
			fixed = false
		case !escaped && c == '_':
			b.WriteByte('?')
			fixed = false
		case c == '*' || c == '?' || c == '[':
			b.WriteString("[" + string(c) + "]")
		default:
			b.WriteRune(c)
		}
		if fixed {
			head.WriteRune(c)
		}
		escaped = false
	}
	return b.String(), head.String()
}

// orderBy is the order of a search as SQL.
func orderBy(order []metastore.OrderKey) (fragment, error) {
	var all fragment
	key := func(f metastore.Field, numeric bool, direction string) {
		v := valueOf(f, numeric)
		all.sql += v.sql + direction + " NULLS LAST, "
		all.args = append(all.args, v.args...)
	}
	for _, k := range order {
		t, known := k.Field.Type()
		if !known {
			return fragment{}, fits(k.Field, nil)
		}
		direction := " ASC"
		if k.Desc {
			direction = " DESC"
		}
		if isTime(k.Field) {
			all.sql += "r.run_id" + direction
			return all, nil // no two runs are equal there
		}
		if t == metastore.Mixed {
			key(k.Field, true, direction)
		}
		key(k.Field, false, direction)
	}
	all.sql += "r.run_id ASC"
	if newestFirst(order) {
		all.sql = strings.TrimSuffix(all.sql, "ASC") + "DESC"
	}
	return all, nil
}

// isTime tells whether the order of a field is the order of ids.
func isTime(f metastore.Field) bool {
	return f.Of == metastore.Attribute && (f.Name == "started" || f.Name == "run_id")
}

func newestFirst(order []metastore.OrderKey) bool {
	return len(order) == 0 || order[len(order)-1].Desc
}

// SearchRuns is documented at metastore.Searches.
func (db *DB) SearchRuns(ctx context.Context, s metastore.Search, each func(cells []any) error) error {
	if err := askable(s); err != nil {
		return err
	}
	var ids []string
	err := db.snapshot(ctx, func(q querier) (err error) {
		w := searcher{ctx: ctx, q: q, newest: newestFirst(s.Order)}
		ids, err = w.ids(s)
		return err
	})
	if err != nil {
		return db.classify("search runs", err)
	}
	const batch = 500
	for len(ids) > 0 {
		some := ids[:min(len(ids), batch)]
		ids = ids[len(some):]
		cells, err := db.cellsOf(ctx, some, s.Columns)
		if err != nil {
			return db.classify("search runs", err)
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

func askable(s metastore.Search) error {
	if s.Limit < 0 {
		return quant.Errorf(quant.Invalid, "search: limit %d is negative", s.Limit)
	}
	for _, f := range s.Columns {
		if _, known := f.Type(); !known {
			return fits(f, nil)
		}
	}
	return nil
}

// ExplainSearch is documented at metastore.Searches.
func (db *DB) ExplainSearch(ctx context.Context, s metastore.Search) ([]metastore.Statement, error) {
	if err := askable(s); err != nil {
		return nil, err
	}
	var all []metastore.Statement
	err := db.snapshot(ctx, func(q querier) error {
		w := searcher{ctx: ctx, q: q, newest: newestFirst(s.Order)}
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
	return all, db.classify("explain a search", err)
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

// snapshot runs fn on one state of the database.
func (db *DB) snapshot(ctx context.Context, fn func(q querier) error) error {
	if st := db.current(ctx); st != nil {
		if err := st.usable(); err != nil {
			return err
		}
		return fn(st.conn)
	}
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	defer rollback(conn)
	return fn(conn)
}

// cellsOf reads the columns of runs, in their order; nil for one that is gone.
func (db *DB) cellsOf(ctx context.Context, ids []string, columns []metastore.Field) ([][]any, error) {
	q, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal(ids)
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
		append(args, string(list))...)
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
	table, column, where := "", "name", ""
	switch of {
	case metastore.KindNames:
		table, column = "runs INDEXED BY runs_kind", "kind"
	case metastore.ParamNames:
		table = "run_params INDEXED BY run_params_value"
	case metastore.TagNames:
		table = "run_tags INDEXED BY run_tags_value"
	case metastore.MetricNames:
		table = "run_metrics INDEXED BY run_metrics_last"
	case metastore.RunNames:
		table, column, where = "run_tags INDEXED BY run_tags_value", "value", "name = 'name' AND "
	default:
		return nil, quant.Errorf(quant.Invalid, "names of what? %d", of)
	}
	// One step in the index for each name, however many rows have it.
	query := strings.NewReplacer("$table", table, "$c", column, "$where", where).Replace(
		`WITH RECURSIVE found (name, n) AS (
			SELECT * FROM (SELECT $c, 1 FROM $table WHERE $where $c >= ?1 ORDER BY $c LIMIT 1)
			UNION ALL
			SELECT (SELECT $c FROM $table WHERE $where $c > found.name ORDER BY $c LIMIT 1), n + 1 FROM found WHERE name IS NOT NULL AND n < ?2
		) SELECT name FROM found WHERE name IS NOT NULL AND substr(CAST(name AS BLOB), 1, length(CAST(?1 AS BLOB))) = CAST(?1 AS BLOB)`)
	return list(ctx, db, "list names", query, []any{prefix, limit}, func(s *string) []any { return []any{s} })
}

// source is one range of an index: the ids of the runs in it, each once, as
// SELECT run_id FROM it WHERE conditions.
type source struct {
	from  string // a table and its index
	where []fragment
	// byID: the index has them in the order of their ids, so that the newest or
	// oldest are found without reading the others.
	byID bool
	// key is the column in whose order the index has them otherwise.
	key   string
	field metastore.Field
}

func (s source) cond() fragment {
	return joined(s.where, " AND ", "1")
}

func (s source) ids() fragment {
	c := s.cond()
	return fragment{"SELECT run_id FROM " + s.from + " WHERE " + c.sql, c.args}
}

// plan is the sources that drive a search. Exactly one member is set.
type plan struct {
	one *source
	all []plan // the union of these
	any []plan // one of these, whichever is smallest
}

// idRange is a part of the ids: what a condition on the start time leaves.
type idRange struct{ low, high string }

// conds are the range's conditions on a column run_id.
func (r idRange) conds() []fragment {
	var all []fragment
	if r.low != "" {
		all = append(all, sqlf("run_id >= ?", r.low))
	}
	if r.high != "" {
		all = append(all, sqlf("run_id < ?", r.high))
	}
	return all
}

func (r idRange) and(o idRange) idRange {
	r.low = max(r.low, o.low)
	if r.high == "" || o.high != "" && o.high < r.high {
		r.high = o.high
	}
	return r
}

// rangeOf is what a condition says of the ids.
func rangeOf(e metastore.Expr) idRange {
	var r idRange
	switch e := e.(type) {
	case metastore.And:
		for _, part := range e {
			r = r.and(rangeOf(part))
		}
	case metastore.Compare:
		t, isTime := e.Value.(quant.Time)
		if !isTime || e.Field != (metastore.Field{Name: "started"}) {
			return r
		}
		low, high := firstID(t.Time), firstID(t.Add(2*time.Second+time.Millisecond)) // firstID goes a second back
		switch e.Op {
		case metastore.Gt, metastore.Ge:
			r.low = low
		case metastore.Lt, metastore.Le:
			r.high = high
		case metastore.Eq:
			r.low, r.high = low, high
		}
	}
	return r
}

// positive moves every Not to the conditions, where there is one that says the
// same, or drops what it cannot: the result is true wherever e is.
func positive(e metastore.Expr, not bool) metastore.Expr {
	each := func(list []metastore.Expr) []metastore.Expr {
		var all []metastore.Expr
		for _, part := range list {
			all = append(all, positive(part, not))
		}
		return all
	}
	switch e := e.(type) {
	case metastore.Not:
		return positive(e.Expr, !not)
	case metastore.And:
		if not {
			return metastore.Or(each(e))
		}
		return metastore.And(each(e))
	case metastore.Or:
		if not {
			return metastore.And(each(e))
		}
		return metastore.Or(each(e))
	case metastore.Compare:
		if not {
			e.Op = map[metastore.Op]metastore.Op{
				metastore.Eq: metastore.Ne, metastore.Ne: metastore.Eq, metastore.Lt: metastore.Ge,
				metastore.Ge: metastore.Lt, metastore.Gt: metastore.Le, metastore.Le: metastore.Gt,
			}[e.Op]
		}
		if e.Op == metastore.Ne { // two ranges of an index
			below, above := e, e
			below.Op, above.Op = metastore.Lt, metastore.Gt
			return metastore.Or{below, above}
		}
		return e
	case metastore.In:
		if !not {
			return e
		}
		if len(e.Values) > fewValues {
			return present(e.Field)
		}
		var all metastore.And
		for _, v := range e.Values {
			all = append(all, positive(metastore.Compare{Field: e.Field, Op: metastore.Ne, Value: v}, false))
		}
		return all
	case metastore.Like:
		if not {
			return present(e.Field)
		}
		return e
	case metastore.IsNull:
		if not {
			return present(e.Field)
		}
		return e
	default:
		return metastore.And{}
	}
}

// fewValues is for how many values "not in" is taken apart: each makes drivers
// that are counted.
const fewValues = 8

// present is the condition that a field is not NULL: the one Not that is left.
func present(f metastore.Field) metastore.Expr {
	return metastore.Not{Expr: metastore.IsNull{Field: f}}
}

// isPresent returns the field of such a condition.
func isPresent(e metastore.Not) metastore.Field { return e.Expr.(metastore.IsNull).Field }

// requires tells whether e, made positive, is true of no run whose field is
// NULL.
func requires(e metastore.Expr, f metastore.Field) bool {
	switch e := e.(type) {
	case metastore.And:
		for _, part := range e {
			if requires(part, f) {
				return true
			}
		}
		return false
	case metastore.Or:
		for _, part := range e {
			if !requires(part, f) {
				return false
			}
		}
		return len(e) > 0
	case metastore.Compare:
		return sameValue(e.Field, f)
	case metastore.In:
		return sameValue(e.Field, f)
	case metastore.Like:
		return sameValue(e.Field, f)
	case metastore.Not:
		return sameValue(isPresent(e), f)
	default:
		return false
	}
}

// sameValue tells whether two fields are NULL together.
func sameValue(a, b metastore.Field) bool { return a.Of == b.Of && a.Name == b.Name }

// planOf finds the sources of a condition that has been made positive; ok is
// false where nothing but all runs would do.
func planOf(e metastore.Expr, within idRange) (p plan, ok bool) {
	switch e := e.(type) {
	case metastore.And:
		within = within.and(rangeOf(e))
		for _, part := range e {
			if one, ok := planOf(part, within); ok {
				p.any = append(p.any, one)
			}
		}
		return p, len(p.any) > 0
	case metastore.Or:
		for _, part := range e {
			one, ok := planOf(part, within)
			if !ok {
				return plan{}, false
			}
			p.all = append(p.all, one)
		}
		return p, len(p.all) > 0
	case metastore.Compare:
		if r := rangeOf(e); r != (idRange{}) {
			return plan{one: &source{from: "runs NOT INDEXED", where: within.and(r).conds(), byID: true}}, true
		}
		return sourceOf(e.Field, within, isNumber(e.Value), func(column string) (fragment, bool, bool) {
			op, err := opSQL(e.Op)
			if err != nil {
				return fragment{}, false, false
			}
			return sqlf(column+" "+op+" ?", bound(e.Value)), e.Op == metastore.Eq, true
		})
	case metastore.In:
		var numbers, texts []any
		for _, v := range e.Values {
			if isNumber(v) {
				numbers = append(numbers, bound(v))
			} else {
				texts = append(texts, bound(v))
			}
		}
		for _, values := range [][]any{numbers, texts} {
			if len(values) == 0 {
				continue
			}
			one, ok := sourceOf(e.Field, within, len(values) == len(numbers) && &values[0] == &numbers[0], func(column string) (fragment, bool, bool) {
				return fragment{column + " IN (?" + strings.Repeat(", ?", len(values)-1) + ")", values}, len(values) == 1, true
			})
			if !ok {
				return plan{}, false
			}
			p.all = append(p.all, one)
		}
		return p, len(p.all) > 0
	case metastore.Like:
		_, prefix := globOf(e.Pattern)
		return sourceOf(e.Field, within, false, func(column string) (fragment, bool, bool) {
			if prefix == "" {
				return fragment{}, false, false
			}
			after := []byte(prefix)
			after[len(after)-1]++ // no byte of UTF-8 is the last one
			return sqlf("("+column+" >= ? AND "+column+" < CAST(? AS TEXT))", prefix, after), false, true
		})
	case metastore.IsNull:
		if e.Field == (metastore.Field{Name: "ended"}) {
			return sourceOf(metastore.Field{Name: "status"}, within, false, func(column string) (fragment, bool, bool) {
				return sqlf(column + " = 'RUNNING'"), true, true
			})
		}
		if e.Field.Of != metastore.Attribute || e.Field.Name == "error" {
			return plan{}, false
		}
		return sourceOf(e.Field, within, false, func(column string) (fragment, bool, bool) {
			return sqlf(column + " IS NULL"), true, true
		})
	case metastore.Not:
		return sourceOf(isPresent(e), within, false, func(string) (fragment, bool, bool) { return fragment{}, false, false })
	default:
		return plan{}, false
	}
}

// sourceOf finds the index of a field. cond is a condition on its column, and
// whether that is an equality; without one the source is the runs that have the
// field, if the index tells.
func sourceOf(f metastore.Field, within idRange, numeric bool, cond func(column string) (c fragment, equal, ok bool)) (plan, bool) {
	s := source{field: f}
	table := map[metastore.Source]string{metastore.ParamOf: "run_params", metastore.TagOf: "run_tags", metastore.MetricOf: "run_metrics"}[f.Of]
	column, always := "", []fragment{}
	switch {
	case f.Of == metastore.MetricOf:
		column = metricColumn(f)
		s.from, s.key = table+" INDEXED BY run_metrics_"+column, column
		always = append(always, sqlf("name = ?", f.Name))
	case table != "":
		column, always = "value", append(always, sqlf("name = ?", f.Name))
		s.from = table + " INDEXED BY " + table + "_value"
		if numeric {
			column, always = "number", append(always, sqlf("number IS NOT NULL"))
			s.from = table + " INDEXED BY " + table + "_number"
		}
	case f.Name == "error":
		// Who has an error_text is a FAIL: the schema says so.
		s.from, s.byID = "runs INDEXED BY runs_status", true
		s.where = append([]fragment{sqlf("status = 'FAIL'")}, within.conds()...)
		return plan{one: &s}, true
	case f.Name == "run_id":
		s.from, column, s.byID = "runs NOT INDEXED", "run_id", true
	case f.Name == "exit_code":
		column = "exit_code"
		s.from = "run_process INDEXED BY run_process_exit"
	default:
		index := map[string][2]string{
			"kind": {"runs", "runs_kind"}, "status": {"runs", "runs_status"}, "ended": {"runs", "runs_ended"},
			"duration": {"run_process", "run_process_duration"}, "host": {"run_process", "run_process_host"},
			"user": {"run_process", "run_process_user"}, "work_dir": {"run_process", "run_process_dir"},
			"binary_version": {"run_process", "run_process_version"},
			"git_commit":     {"run_process", "run_process_commit"}, "parent": {"run_process", "run_process_parent"},
		}[f.Name]
		if index[0] == "" {
			return plan{}, false
		}
		s.from = index[0] + " INDEXED BY " + index[1]
		column = strings.TrimPrefix(strings.TrimPrefix(columnOf(f.Name), "r."), "p.")
		s.key = column
		if f.Name == "git_commit" || f.Name == "parent" {
			always = append(always, sqlf(column+" IS NOT NULL"))
		}
	}
	c, equal, ok := cond(column)
	nulls := ok && strings.HasSuffix(c.sql, " IS NULL")
	switch {
	case f.Of == metastore.Attribute && !ok && (f.Name == "duration" || f.Name == "ended"):
		c = sqlf(column + " IS NOT NULL")
	case f.Of == metastore.Attribute && !ok && f.Name != "git_commit" && f.Name != "parent":
		return plan{}, false // every run has it
	case nulls && (f.Name == "git_commit" || f.Name == "parent" || f.Name == "run_id"):
		return plan{}, false
	case f.Of == metastore.Attribute && f.Name == "exit_code":
		// Its index leaves out the zeros.
		if !ok || !nulls && !leavesOutZero(c) {
			return plan{}, false
		}
		always = append(always, sqlf("exit_code IS NOT 0"))
	}
	if nulls && strings.HasPrefix(s.from, "run_process ") {
		return plan{}, false // also the runs whose process was lost
	}
	s.where = always
	if c.sql != "" {
		s.where = append(s.where, c)
	}
	if equal && f.Of == metastore.Attribute && f.Name != "exit_code" || equal && f.Of != metastore.Attribute {
		s.byID = true
		s.where = append(s.where, within.conds()...)
	}
	return plan{one: &s}, true
}

// leavesOutZero tells whether a comparison of exit_code is true of no 0.
func leavesOutZero(c fragment) bool {
	for _, v := range c.args {
		n, _ := v.(float64)
		switch {
		case strings.Contains(c.sql, " IN ") || strings.Contains(c.sql, " = "):
			if n == 0 {
				return false
			}
		case strings.Contains(c.sql, "> ?") && n >= 0, strings.Contains(c.sql, ">= ?") && n > 0:
		case strings.Contains(c.sql, "< ?") && n <= 0, strings.Contains(c.sql, "<= ?") && n < 0:
		default:
			return false
		}
	}
	return true
}

// searcher runs one search on one state of the database.
type searcher struct {
	ctx    context.Context
	q      querier
	newest bool                       // the direction of ids
	trace  func(f fragment, runs int) // of the statements that find runs; may be nil
	look   int                        // the first look; 0: firstLook
	force  int                        // the driver to take, from 1; 0: the best
}

// How many runs of a driver the first look counts, and how much further each
// one goes. A walk evaluates the condition, which costs several times what a
// look does.
const (
	firstLook = 4096
	walkShare = 8
	lookAgain = 4
)

// ids finds the runs, in order.
//
// There are two ways. A driver's runs are all evaluated, and what is found is
// sorted; that costs the size of the driver, wherefore the smallest is taken. A
// walk goes through an index that has the runs in the order asked for and stops
// when the limit is reached; what that costs nobody knows before. So both are
// given a small allowance: the drivers are counted up to it, the walk evaluates
// so many runs. If neither ends, again with four times as much. The cost is a
// small multiple of what the better way takes.
func (w *searcher) ids(s metastore.Search) ([]string, error) {
	cond, err := condition(s.Where)
	if err != nil {
		return nil, err
	}
	order, err := orderBy(s.Order)
	if err != nil {
		return nil, err
	}
	where := []fragment{cond, sqlf(`NOT EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = r.run_id)`)}
	if !s.All {
		where = append(where, sqlf("p.changes = 1"))
	}
	if s.Except != "" {
		where = append(where, sqlf("r.run_id <> ?", s.Except))
	}
	final := query{where: joined(where, " AND ", "1"), order: order, limit: s.Limit}

	known := positive(s.Where, false)
	within := rangeOf(known)
	base := source{from: "runs NOT INDEXED", where: within.conds(), byID: true}
	if !s.All {
		base.from = "run_process INDEXED BY run_process_changes"
		base.where = append([]fragment{sqlf("changes = 1")}, base.where...)
	}
	drivers, _ := planOf(metastore.And{known}, idRange{})
	drivers = plan{any: append([]plan{{one: &base}}, flatten(drivers)...)}
	if w.force > 0 {
		if w.force > len(drivers.any) {
			return nil, errNoDriver
		}
		n, chosen, err := w.count(drivers.any[w.force-1], math.MaxInt32)
		_ = n
		if err != nil {
			return nil, err
		}
		return w.run(final, union(chosen))
	}
	walk := w.walkOf(s, drivers)
	if len(drivers.any) == 1 && !walk.possible {
		return w.run(final, base.ids())
	}
	for look := cmp.Or(w.look, firstLook); ; look *= lookAgain {
		n, chosen, err := w.count(drivers, look)
		if err != nil {
			return nil, err
		}
		if n < look && (!walk.possible || n <= 2*look/walkShare || look > math.MaxInt32/lookAgain) {
			return w.run(final, union(chosen))
		}
		if walk.possible {
			found, done, err := w.walk(s, final, drivers, walk, known, look/walkShare)
			if done || err != nil {
				return found, err
			}
		}
		if n < look {
			return w.run(final, union(chosen))
		}
	}
}

var errNoDriver = fmt.Errorf("no such driver")

// flatten is the choices of a plan: those of an And inside an And as well.
func flatten(p plan) []plan {
	if p.any == nil {
		if p.one == nil && p.all == nil {
			return nil
		}
		return []plan{p}
	}
	var all []plan
	for _, one := range p.any {
		all = append(all, flatten(one)...)
	}
	return all
}

// query is the condition, order and limit of the runs of a driver.
type query struct {
	where, order fragment
	limit        int
}

// run finds the runs among those of a driver.
func (w *searcher) run(q query, driver fragment) ([]string, error) {
	f := fragment{
		`SELECT r.run_id FROM (` + driver.sql + `) d CROSS JOIN runs r ON r.run_id = d.run_id LEFT JOIN run_process p ON p.run_id = r.run_id WHERE ` +
			q.where.sql + ` ORDER BY ` + q.order.sql,
		append(append(append([]any{}, driver.args...), q.where.args...), q.order.args...),
	}
	if q.limit > 0 {
		f.sql += ` LIMIT ?`
		f.args = append(f.args, q.limit)
	}
	found, err := w.texts(f)
	if w.trace != nil {
		w.trace(f, len(found))
	}
	return found, err
}

func (w *searcher) texts(f fragment) ([]string, error) {
	rows, err := w.q.QueryContext(w.ctx, f.sql, f.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

func union(sources []source) fragment {
	var f fragment
	for i, s := range sources {
		one := s.ids()
		if i > 0 {
			f.sql += " UNION "
		}
		f.sql += one.sql
		f.args = append(f.args, one.args...)
	}
	return f
}

// count counts a plan's runs up to a limit and says which sources make it; at
// the limit it is too large.
func (w *searcher) count(p plan, limit int) (int, []source, error) {
	switch {
	case p.one != nil:
		ids := p.one.ids()
		f := fragment{`SELECT count(*) FROM (` + ids.sql + ` LIMIT ?)`, append(ids.args, limit)}
		var n int
		err := w.q.QueryRowContext(w.ctx, f.sql, f.args...).Scan(&n)
		return n, []source{*p.one}, err
	case p.all != nil:
		sum, all := 0, []source{}
		for _, one := range p.all {
			n, sources, err := w.count(one, limit-sum)
			if err != nil {
				return 0, nil, err
			}
			sum, all = sum+n, append(all, sources...)
			if sum >= limit {
				return limit, nil, nil
			}
		}
		return sum, all, nil
	default:
		least, best := limit, []source(nil)
		for _, one := range p.any {
			n, sources, err := w.count(one, least)
			if err != nil {
				return 0, nil, err
			}
			if n < least {
				least, best = n, sources
			}
			if least == 0 {
				break
			}
		}
		return least, best, nil
	}
}

// walking is how a search can be walked.
type walking struct {
	possible bool
	byKey    *source // through the values of the first key; nil: by id
	desc     bool
}

// walkOf finds an index that has the runs in the order asked for.
func (w *searcher) walkOf(s metastore.Search, drivers plan) walking {
	if s.Limit == 0 {
		return walking{}
	}
	if len(s.Order) == 0 || isTime(s.Order[0].Field) {
		return walking{possible: true, desc: len(s.Order) == 0 || s.Order[0].Desc}
	}
	f := s.Order[0].Field
	if len(s.Order) > 1 || f.Of != metastore.MetricOf && f != (metastore.Field{Name: "duration"}) && f != (metastore.Field{Name: "ended"}) {
		return walking{}
	}
	p, ok := sourceOf(f, idRange{}, false, func(string) (fragment, bool, bool) { return fragment{}, false, false })
	if !ok {
		return walking{}
	}
	by := *p.one
	for _, d := range drivers.any {
		if d.one != nil && d.one.field == f && d.one.key == by.key {
			by.where = append(append([]fragment{}, by.where...), d.one.where...)
		}
	}
	return walking{possible: true, byKey: &by, desc: s.Order[0].Desc}
}

// walk evaluates the first n runs of an index in the order asked for. done: what
// it found is the answer.
func (w *searcher) walk(s metastore.Search, q query, drivers plan, how walking, known metastore.Expr, n int) (found []string, done bool, err error) {
	direction := " ASC"
	if how.desc {
		direction = " DESC"
	}
	if how.byKey == nil {
		// Of the indexes that have the runs by id the sparsest: whose nth run is
		// the farthest away.
		var best *source
		var end string
		for _, d := range drivers.any {
			if d.one == nil || !d.one.byID {
				continue
			}
			ids := d.one.ids()
			at, err := w.texts(fragment{ids.sql + ` ORDER BY run_id` + direction + ` LIMIT 1 OFFSET ?`, append(ids.args, n-1)})
			if err != nil {
				return nil, false, err
			}
			if len(at) == 0 {
				// It has fewer: this is all of it.
				found, err = w.run(q, ids)
				return found, true, err
			}
			if best == nil || how.desc && at[0] < end || !how.desc && at[0] > end {
				best, end = d.one, at[0]
			}
		}
		ids := best.ids()
		found, err = w.run(q, fragment{ids.sql + ` ORDER BY run_id` + direction + ` LIMIT ?`, append(ids.args, n)})
		return found, len(found) == q.limit, err
	}
	ids := how.byKey.ids()
	some := fragment{ids.sql + ` ORDER BY ` + how.byKey.key + direction + `, run_id` + direction + ` LIMIT ?`, append(ids.args, n)}
	found, err = w.run(q, some)
	if err != nil || len(found) == q.limit {
		return found, true, err
	}
	var walked int
	if err := w.q.QueryRowContext(w.ctx, `SELECT count(*) FROM (`+some.sql+`)`, some.args...).Scan(&walked); err != nil || walked == n {
		return nil, false, err
	}
	// Those that have the key are found; those without come last.
	f := s.Order[0].Field
	if requires(known, f) {
		return found, true, nil
	}
	rest := s
	rest.Where = metastore.IsNull{Field: f}
	if s.Where != nil {
		rest.Where = metastore.And{s.Where, rest.Where}
	}
	rest.Order = []metastore.OrderKey{{Field: metastore.Field{Name: "run_id"}, Desc: how.desc}}
	rest.Limit = s.Limit - len(found)
	more, err := w.ids(rest)
	return append(found, more...), true, err
}
