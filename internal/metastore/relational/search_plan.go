package relational

import (
	"cmp"
	"slices"
	"time"
	"unicode"

	"quant"
	"quant/internal/metastore"
)

// A search is a condition, compiled whole into one SQL expression, and a
// driver: a smaller set of run ids, taken from one index or from several, that
// is known to hold every run for which the condition can be true. The condition
// is evaluated on the driver's runs only. Any driver gives the same answer; how
// long it takes is the choice (searcher.ids). What drivers there are follows
// from the condition and the table of fields; their SQL is made of that.

// source is one range of an index: the ids of the runs in it, each once.
type source struct {
	field  metastore.Field // of which it is
	index  index
	record string  // the name of the param, tag or metric
	probes []probe // on the index's column: all of them
	within idRange
	// byID: the index has the runs in the order of their ids, so that the newest or
	// oldest are found without reading the others.
	byID bool
}

// probeKind is what a probe asks of the column of an index.
type probeKind int

const (
	probePresent probeKind = iota
	probeValues            // one of values
	probeRange             // op, and one value
	probePrefix            // a text that begins with the value
	probeGlob              // a text that matches the pattern, wherever it begins
	probeFolded            // as probeGlob, A to Z as a to z
	probeNull
)

// probe is a condition on the column of an index that the index answers by
// itself.
type probe struct {
	kind   probeKind
	op     metastore.Op // Lt, Le, Gt or Ge
	values []any        // as they are bound
}

// one tells whether the probe is for a single value, NULL included: then the
// index has its runs by id.
func (p probe) one() bool {
	return p.kind == probeValues && len(p.values) == 1 || p.kind == probeNull
}

// excludesZero tells whether the probe, on a column of numbers, is true of no 0.
func (p probe) excludesZero() bool {
	for _, v := range p.values {
		n, _ := v.(float64)
		switch {
		case p.kind == probeValues && n != 0:
		case p.kind == probeRange && (p.op == metastore.Gt && n >= 0 || p.op == metastore.Ge && n > 0):
		case p.kind == probeRange && (p.op == metastore.Lt && n <= 0 || p.op == metastore.Le && n < 0):
		default:
			return false
		}
	}
	return p.kind == probeValues || p.kind == probeRange
}

// sourceOf finds the source of what a probe asks of a field; ok is false where no
// index answers that. numeric chooses the numbers of a Mixed field.
func sourceOf(f metastore.Field, numeric bool, p probe, within idRange) (s source, ok bool) {
	how := fieldOf(f, numeric)
	if how.index == nil {
		return source{}, false
	}
	s = source{field: f, index: *how.index}
	if f.Of != metastore.Attribute && f.Of != metastore.ClientOf {
		s.record = f.Name
	}
	if s.index.column == "" {
		s.byID, s.within = true, within
		return s, p.kind != probeNull
	}
	switch {
	case p.kind == probeNull && !how.holdsNulls,
		p.kind == probePresent && how.present == inAllRuns,
		s.index.noZeros && !p.excludesZero():
		return source{}, false
	case p.kind == probePresent && how.present == inIndex:
	default:
		s.probes = []probe{p}
	}
	s.byID = s.index.column == "run_id"
	if p.one() && !how.unsorted {
		s.byID, s.within = true, within
	}
	return s, true
}

// plan is the sources that drive a search. Exactly one member is set.
type plan struct {
	one *source
	all []plan // the union of these
	any []plan // one of these, whichever is smallest
}

// choices returns what a plan may be driven by: those of an And inside an And as
// well.
func (p plan) choices() []plan {
	if p.any == nil {
		if p.one == nil && p.all == nil {
			return nil
		}
		return []plan{p}
	}
	var all []plan
	for _, one := range p.any {
		all = append(all, one.choices()...)
	}
	return all
}

// planOf finds the sources of a condition that has been made positive; ok is
// false where nothing but all runs would do.
func planOf(e metastore.Expr, within idRange) (p plan, ok bool) {
	from := func(f metastore.Field, numeric bool, asked probe) (plan, bool) {
		s, ok := sourceOf(f, numeric, asked, within)
		if !ok {
			return plan{}, false
		}
		return plan{one: &s}, true
	}
	switch e := e.(type) {
	case metastore.And:
		within = within.and(rangeOf(e))
		var others []unequal
		for _, part := range e {
			if one, differs := part.(metastore.Compare); differs && one.Op == metastore.Ne {
				others = unequalTo(others, one)
				continue
			}
			if one, ok := planOf(part, within); ok {
				p.any = append(p.any, one)
			}
		}
		for _, other := range others {
			if one, ok := other.plan(within); ok {
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
			return plan{one: &source{index: allRuns, within: within.and(r), byID: true}}, true
		}
		if e.Op == metastore.Ne {
			return unequalTo(nil, e)[0].plan(within)
		}
		asked := probe{kind: probeRange, op: e.Op, values: []any{bound(e.Value)}}
		if e.Op == metastore.Eq {
			asked.kind = probeValues
		}
		return from(e.Field, isNumber(e.Value), asked)
	case metastore.In:
		for _, numeric := range []bool{true, false} {
			values := valuesOf(e, numeric)
			if len(values) == 0 {
				continue
			}
			one, ok := from(e.Field, numeric, probe{kind: probeValues, values: values})
			if !ok {
				return plan{}, false
			}
			p.all = append(p.all, one)
		}
		return p, len(p.all) > 0
	case metastore.Like:
		glob, prefix := globOf(e.Pattern)
		switch {
		case e.Fold && prefix != "":
			for _, one := range foldings(prefix) {
				from, ok := from(e.Field, false, probe{kind: probePrefix, values: []any{one}})
				if !ok {
					return plan{}, false
				}
				p.all = append(p.all, from)
			}
			return p, true
		case e.Fold:
			return from(e.Field, false, probe{kind: probeFolded, values: []any{glob}})
		case prefix != "":
			return from(e.Field, false, probe{kind: probePrefix, values: []any{prefix}})
		}
		return from(e.Field, false, probe{kind: probeGlob, values: []any{glob}})
	case metastore.IsNull:
		switch {
		case e.Field == metastore.Field{Name: "ended"}:
			return from(metastore.Field{Name: "status"}, false, probe{kind: probeValues, values: []any{string(quant.Running)}})
		case e.Field.Of != metastore.Attribute:
			return plan{}, false // the runs without a record are in no index
		}
		return from(e.Field, false, probe{kind: probeNull})
	case metastore.Not:
		return from(presentField(e), false, probe{kind: probePresent})
	default:
		return plan{}, false
	}
}

// mostFoldings is into how many ranges the beginning of a pattern is taken apart.
const mostFoldings = 32

// foldings are the texts that are a beginning of prefix but for the case of A to Z: all
// that whatever begins like prefix can begin with.
func foldings(prefix string) []string {
	all := []string{""}
	for _, c := range prefix {
		upper, lower := unicode.ToUpper(c), unicode.ToLower(c)
		if c > unicode.MaxASCII || upper == lower {
			for i := range all {
				all[i] += string(c)
			}
			continue
		}
		if 2*len(all) > mostFoldings {
			break
		}
		var both []string
		for _, one := range all {
			both = append(both, one+string(upper), one+string(lower))
		}
		all = both
	}
	return all
}

// unequal is a field and values that it does not have.
type unequal struct {
	field   metastore.Field
	numeric bool
	values  []any // as they are bound
}

// unequalTo adds a condition with Ne to those on the same field.
func unequalTo(list []unequal, e metastore.Compare) []unequal {
	for i := range list {
		if list[i].field == e.Field && list[i].numeric == isNumber(e.Value) {
			list[i].values = append(list[i].values, bound(e.Value))
			return list
		}
	}
	return append(list, unequal{e.Field, isNumber(e.Value), []any{bound(e.Value)}})
}

// plan is the ranges of an index between the values: what lies there is passed over
// nowhere, however many runs have one of the values.
func (u unequal) plan(within idRange) (p plan, ok bool) {
	values, ok := sorted(u.values)
	if !ok {
		return plan{}, false
	}
	for i := range len(values) + 1 {
		var between []probe
		if i > 0 {
			between = append(between, probe{kind: probeRange, op: metastore.Gt, values: values[i-1 : i : i]})
		}
		if i < len(values) {
			between = append(between, probe{kind: probeRange, op: metastore.Lt, values: values[i : i+1 : i+1]})
		}
		s, ok := sourceOf(u.field, u.numeric, between[0], within)
		if !ok {
			return plan{}, false
		}
		if len(s.probes) == 0 { // the index has no values
			return plan{one: &s}, true
		}
		s.probes = append(s.probes, between[1:]...)
		p.all = append(p.all, plan{one: &s})
	}
	return p, true
}

// sorted is values in the order of an index, each once; ok is false for those that
// are neither all texts nor all numbers.
func sorted(values []any) (list []any, ok bool) {
	list = slices.Clone(values)
	for _, v := range list {
		_, text := v.(string)
		_, number := v.(float64)
		_, firstText := list[0].(string)
		if !text && !number || text != firstText {
			return nil, false
		}
	}
	slices.SortFunc(list, func(a, b any) int {
		if text, ok := a.(string); ok {
			return cmp.Compare(text, b.(string))
		}
		return cmp.Compare(a.(float64), b.(float64))
	})
	return slices.Compact(list), true
}

// idRange is a part of the ids: what a condition on the start time leaves.
type idRange struct{ low, high string }

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
		if id, isText := e.Value.(string); isText && e.Field == (metastore.Field{Name: "run_id"}) {
			switch e.Op {
			case metastore.Lt:
				r.high = id
			case metastore.Gt, metastore.Ge:
				r.low = id
			case metastore.Eq:
				r.low, r.high = id, id+"!" // before whatever else begins so
			}
			return r
		}
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

// fewValues is for how many values "not in" is taken apart: each makes a range
// more that is counted.
const fewValues = 32

// present is the condition that a field is not NULL: the one Not that is left.
func present(f metastore.Field) metastore.Expr {
	return metastore.Not{Expr: metastore.IsNull{Field: f}}
}

// presentField returns the field of such a condition.
func presentField(e metastore.Not) metastore.Field { return e.Expr.(metastore.IsNull).Field }

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
		return sameValue(presentField(e), f)
	default:
		return false
	}
}

// sameValue tells whether two fields are NULL together.
func sameValue(a, b metastore.Field) bool {
	apart := func(f metastore.Field) bool { return f.Agg == metastore.IsNaN || f.Agg == metastore.Shown } // NULL by themselves
	return a.Of == b.Of && a.Name == b.Name && (a.Agg == b.Agg || !apart(a) && !apart(b))
}
