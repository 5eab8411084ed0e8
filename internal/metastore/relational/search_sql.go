package relational

import (
	"math"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
)

// fragment is a piece of SQL with the values that it binds.
type fragment struct {
	sql  string
	args []any
}

func fragmentOf(sql string, args ...any) fragment { return fragment{sql, args} }

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

// checkField reports an attribute that no run has, as Invalid.
func checkField(f metastore.Field) error {
	if _, known := f.Type(); !known {
		return quant.Errorf(quant.Invalid, "search: a run has no attribute %q", f.Name)
	}
	return nil
}

// checkValue reports a value whose Go type is not that of its field, as Invalid.
func checkValue(f metastore.Field, v any) error {
	if err := checkField(f); err != nil {
		return err
	}
	t, _ := f.Type()
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

// checkSearch reports a limit or a column that cannot be, as Invalid. What is
// wrong with a condition or an order is found when that is compiled.
func checkSearch(s metastore.Search) error {
	if s.Limit < 0 {
		return quant.Errorf(quant.Invalid, "search: limit %d is negative", s.Limit)
	}
	for _, f := range s.Columns {
		if err := checkField(f); err != nil {
			return err
		}
	}
	return nil
}

func isNumber(v any) bool { _, ok := v.(float64); return ok }

func operator(op metastore.Op) (string, error) {
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
		return fragmentOf("1"), nil
	case metastore.And:
		return conditions(e, " AND ", "1")
	case metastore.Or:
		return conditions(e, " OR ", "0")
	case metastore.Not:
		c, err := condition(e.Expr)
		return fragment{"(NOT " + c.sql + ")", c.args}, err
	case metastore.Compare:
		op, err := operator(e.Op)
		if err != nil {
			return fragment{}, err
		}
		if err := checkValue(e.Field, e.Value); err != nil {
			return fragment{}, err
		}
		v := valueOf(e.Field, isNumber(e.Value))
		return fragment{"(" + v.sql + " " + op + " ?)", append(v.args, bound(e.Value))}, nil
	case metastore.In:
		for _, value := range e.Values {
			if err := checkValue(e.Field, value); err != nil {
				return fragment{}, err
			}
		}
		var either []fragment
		for _, numeric := range []bool{true, false} {
			if values := valuesOf(e, numeric); len(values) > 0 {
				v := valueOf(e.Field, numeric)
				either = append(either, fragment{"(" + v.sql + " IN (" + placeholders(len(values)) + "))", append(v.args, values...)})
			}
		}
		return joined(either, " OR ", "0"), nil
	case metastore.Like:
		if err := checkValue(e.Field, e.Pattern); err != nil {
			return fragment{}, err
		}
		glob, _ := globOf(e.Pattern)
		v := valueOf(e.Field, false)
		if e.Fold {
			return fragment{"(lower(" + v.sql + ") GLOB lower(?))", append(v.args, glob)}, nil
		}
		return fragment{"(" + v.sql + " GLOB ?)", append(v.args, glob)}, nil
	case metastore.IsNull:
		if err := checkField(e.Field); err != nil {
			return fragment{}, err
		}
		v := valueOf(e.Field, false)
		return fragment{"(" + v.sql + " IS NULL)", v.args}, nil
	case metastore.HasDataset:
		return hasDataset(e)
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

// valuesOf returns the numbers of an In, or its other values, as they are bound.
func valuesOf(e metastore.In, numeric bool) []any {
	var values []any
	for _, v := range e.Values {
		if isNumber(v) == numeric {
			values = append(values, bound(v))
		}
	}
	return values
}

func placeholders(n int) string { return "?" + strings.Repeat(", ?", n-1) }

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

// orderKey is one key of an order as SQL. The last one of an order is the id, which
// no two runs share; NULL comes last, whatever the direction.
type orderKey struct {
	value      fragment
	descending bool
}

// orderKeys are the keys of an order.
func orderKeys(order []metastore.OrderKey) ([]orderKey, error) {
	var all []orderKey
	for _, k := range order {
		if err := checkField(k.Field); err != nil {
			return nil, err
		}
		if isTime(k.Field) {
			return append(all, orderKey{fragmentOf("r.run_id"), k.Desc}), nil
		}
		if t, _ := k.Field.Type(); t == metastore.Mixed {
			all = append(all, orderKey{valueOf(k.Field, true), k.Desc})
		}
		all = append(all, orderKey{valueOf(k.Field, false), k.Desc})
	}
	if byMillisecond(order) {
		all = append(all, orderKey{fragmentOf(clientFields[metastore.ClientID]), false})
	}
	return append(all, orderKey{fragmentOf("r.run_id"), newestFirst(order)}), nil
}

// orderBy is the order of a search as SQL.
func orderBy(order []metastore.OrderKey) (fragment, error) {
	keys, err := orderKeys(order)
	if err != nil {
		return fragment{}, err
	}
	var all fragment
	for _, k := range keys[:len(keys)-1] {
		all.sql += k.value.sql + direction(k.descending) + " NULLS LAST, "
		all.args = append(all.args, k.value.args...)
	}
	all.sql += "r.run_id" + direction(keys[len(keys)-1].descending)
	return all, nil
}

func direction(descending bool) string {
	if descending {
		return " DESC"
	}
	return " ASC"
}

// newestFirst is the direction in which the ids break ties.
func newestFirst(order []metastore.OrderKey) bool {
	return len(order) == 0 || order[len(order)-1].Desc && !byMillisecond(order)
}

// byMillisecond tells whether an order ends with the millisecond of the start.
func byMillisecond(order []metastore.OrderKey) bool {
	return len(order) > 0 && order[len(order)-1].Field == metastore.Field{Of: metastore.ClientOf, Name: metastore.ClientStarted}
}

// runsQuery is the condition, order and limit of the runs of a driver.
type runsQuery struct {
	where, order fragment
	limit        int
}

// compile makes the statement of a search that goes on after a standing, all but its
// driver.
func compile(s metastore.Search, at *standing) (runsQuery, error) {
	where, err := condition(s.Where)
	if err != nil {
		return runsQuery{}, err
	}
	order, err := orderBy(s.Order)
	if err != nil {
		return runsQuery{}, err
	}
	all := []fragment{where}
	switch s.Deleted {
	case metastore.NotDeleted:
		all = append(all, fragmentOf(`NOT EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = r.run_id)`))
	case metastore.OnlyDeleted:
		all = append(all, fragmentOf(`EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = r.run_id)`))
	}
	if !s.All {
		all = append(all, fragmentOf("p.changes = 1"))
	}
	if s.Except != "" {
		all = append(all, fragmentOf("r.run_id <> ?", s.Except))
	}
	if at != nil {
		all = append(all, at.condition())
	}
	return runsQuery{where: joined(all, " AND ", "1"), order: order, limit: s.Limit}, nil
}

// among is the statement that finds the runs among those of a driver.
func (q runsQuery) among(driver fragment) fragment {
	f := fragment{
		`SELECT r.run_id FROM (` + driver.sql + `) d CROSS JOIN runs r ON r.run_id = d.run_id LEFT JOIN run_process p ON p.run_id = r.run_id WHERE ` +
			q.where.sql + ` ORDER BY ` + q.order.sql,
		append(append(append([]any{}, driver.args...), q.where.args...), q.order.args...),
	}
	if q.limit > 0 {
		f.sql += ` LIMIT ?`
		f.args = append(f.args, q.limit)
	}
	return f
}

// sql is the probe as a condition on the column of an index.
func (p probe) sql(column string) fragment {
	switch p.kind {
	case probeValues:
		if len(p.values) == 1 {
			return fragmentOf(column+" = ?", p.values...)
		}
		return fragmentOf(column+" IN ("+placeholders(len(p.values))+")", p.values...)
	case probeRange:
		return fragmentOf(column+" "+string(p.op)+" ?", p.values...)
	case probeGlob:
		return fragmentOf(column+" GLOB ?", p.values...)
	case probeFolded:
		return fragmentOf("lower("+column+") GLOB lower(?)", p.values...)
	case probePrefix:
		prefix := p.values[0].(string)
		after := []byte(prefix)
		after[len(after)-1]++ // no byte of UTF-8 is the last one
		return fragmentOf("("+column+" >= ? AND "+column+" < CAST(? AS TEXT))", prefix, after)
	case probeNull:
		return fragmentOf(column + " IS NULL")
	default:
		return fragmentOf(column + " IS NOT NULL")
	}
}

// sql is the range as conditions on a column run_id.
func (r idRange) sql() []fragment {
	var all []fragment
	if r.low != "" {
		all = append(all, fragmentOf("run_id >= ?", r.low))
	}
	if r.high != "" {
		all = append(all, fragmentOf("run_id < ?", r.high))
	}
	return all
}

// ids is the statement that reads the ids of a source.
func (s source) ids() fragment { return s.reading("run_id") }

// reading is the statement that reads a column of an index in a source.
func (s source) reading(column string) fragment {
	var where []fragment
	if s.record != "" {
		where = append(where, fragmentOf("name = ?", s.record))
	}
	if s.index.condition != "" {
		where = append(where, fragmentOf(s.index.condition))
	}
	for _, p := range s.probes {
		where = append(where, p.sql(s.index.column))
	}
	where = append(where, s.within.sql()...)
	c := joined(where, " AND ", "1")
	return fragment{"SELECT " + column + " FROM " + s.index.from() + " WHERE " + c.sql, c.args}
}

// nth is the statement that reads the id number n of a source, in their order.
func (s source) nth(n int, descending bool) fragment {
	ids := s.ids()
	return fragment{ids.sql + ` ORDER BY run_id` + direction(descending) + ` LIMIT 1 OFFSET ?`, append(ids.args, n-1)}
}

// nthValue is the statement that reads the value number n of a source, in their order.
func (s source) nthValue(n int, descending bool) fragment {
	values := s.reading(s.index.column)
	return fragment{values.sql + ` ORDER BY ` + s.index.column + direction(descending) + ` LIMIT 1 OFFSET ?`, append(values.args, n-1)}
}

// counted is the statement that counts the ids of another up to a limit.
func (f fragment) counted(limit int) fragment {
	return fragment{`SELECT count(*) FROM (` + f.sql + ` LIMIT ?)`, append(f.args, limit)}
}

// union is the statement that reads the ids of several sources, each once.
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
