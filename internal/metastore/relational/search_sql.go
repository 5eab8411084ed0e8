package relational

import (
	"fmt"
	"math"
	"slices"
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
		return fragmentOf("TRUE"), nil
	case metastore.And:
		return conditions(e, " AND ", "TRUE")
	case metastore.Or:
		return conditions(e, " OR ", "FALSE")
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
		value := comparable(e.Field, bound(e.Value))
		return fragment{"(" + v.sql + " " + op + " " + value.sql + ")", append(v.args, value.args...)}, nil
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
				all := make([]fragment, len(values))
				for i := range values {
					all[i] = comparable(e.Field, values[i])
				}
				these := listOf(all)
				either = append(either, fragment{"(" + v.sql + " IN (" + these.sql + "))", append(v.args, these.args...)})
			}
		}
		return joined(either, " OR ", "FALSE"), nil
	case metastore.Like:
		if err := checkValue(e.Field, e.Pattern); err != nil {
			return fragment{}, err
		}
		v := valueOf(e.Field, false)
		value := v.sql
		if e.Fold {
			value = "lower(" + value + ")"
		}
		return fragment{"(" + value + " GLOB ?)", append(v.args, patternOf(e.Pattern, e.Fold))}, nil
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

// comparable is what is bound to compare with a field.
func comparable(f metastore.Field, v any) fragment {
	return value(v, f.Of == metastore.Attribute && searchFields[f.Name].whole)
}

// value binds what compares with a column, which holds whole numbers or not.
func value(v any, whole bool) fragment {
	if !whole {
		return fragmentOf("?", v)
	}
	if v = wholeNumber(v); isNumber(v) {
		return fragmentOf("CAST(? AS DOUBLE PRECISION)", v)
	}
	return fragmentOf("?", v)
}

// listOf is fragments in a row.
func listOf(list []fragment) fragment {
	var all fragment
	for i, f := range list {
		if i > 0 {
			all.sql += ", "
		}
		all.sql += f.sql
		all.args = append(all.args, f.args...)
	}
	return all
}

// wholeNumber is a number as a column of whole ones compares it by its index: as one of
// those, where it is one.
func wholeNumber(v any) any {
	const exact = 1 << 53
	if n, ok := v.(float64); ok && n == math.Trunc(n) && math.Abs(n) < exact {
		return int64(n)
	}
	return v
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
	return runsQuery{where: joined(all, " AND ", "TRUE"), order: order, limit: s.Limit}, nil
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
func (p probe) sql(i index) fragment {
	f := p.on(i.column, i.whole)
	if i.head == "" {
		return f
	}
	// What the index answers, and then what it does not know.
	head, value := fmt.Sprintf(i.head, i.column), fmt.Sprintf(i.head, "?")
	switch p.kind {
	case probeValues:
		values := strings.Repeat(", "+value, len(p.values))[2:]
		return fragment{"(" + head + " IN (" + values + ") AND " + f.sql + ")", append(slices.Clone(p.values), f.args...)}
	case probeRange:
		op := map[metastore.Op]string{metastore.Lt: "<=", metastore.Le: "<=", metastore.Gt: ">=", metastore.Ge: ">="}[p.op]
		return fragment{"(" + head + " " + op + " " + value + " AND " + f.sql + ")", append(slices.Clone(p.values), f.args...)}
	case probePrefix:
		return fragment{"(" + strings.Join([]string{head + " >= " + value, head + " <= " + value}[:len(f.args)], " AND ") + " AND " + f.sql + ")",
			append(slices.Clone(f.args), f.args...)}
	case probeNull:
		return fragmentOf(head + " IS NULL")
	case probePresent:
		return fragmentOf(head + " IS NOT NULL")
	default:
		return f
	}
}

// on is the probe as a condition on a column.
func (p probe) on(column string, whole bool) fragment {
	values := make([]fragment, len(p.values))
	for i, v := range p.values {
		values[i] = value(v, whole)
	}
	these := listOf(values)
	switch p.kind {
	case probeValues:
		if len(values) == 1 {
			return fragment{column + " = " + these.sql, these.args}
		}
		return fragment{column + " IN (" + these.sql + ")", these.args}
	case probeRange:
		return fragment{column + " " + string(p.op) + " " + these.sql, these.args}
	case probeGlob:
		return fragment{column + " GLOB ?", these.args}
	case probeFolded:
		return fragment{"lower(" + column + ") GLOB ?", these.args}
	case probePrefix:
		prefix := p.values[0].(string)
		if after, ok := behind(prefix); ok {
			return fragmentOf("("+column+" >= ? AND "+column+" < ?)", prefix, after)
		}
		return fragmentOf(column+" >= ?", prefix)
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
		where = append(where, p.sql(s.index))
	}
	where = append(where, s.within.sql()...)
	c := joined(where, " AND ", "TRUE")
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
	return fragment{values.sql + ` ORDER BY ` + s.index.ordered(descending) + ` LIMIT 1 OFFSET ?`, append(values.args, n-1)}
}

// counted is the statement that counts the ids of another up to a limit.
func (f fragment) counted(limit int) fragment {
	return fragment{`SELECT count(*) FROM (` + f.sql + ` LIMIT ?) AS d`, append(f.args, limit)}
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
