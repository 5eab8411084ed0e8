package relational

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"quant/internal/metastore"
)

// walking is how a search can be walked.
type walking struct {
	byValue    *source // through the values of the first key; nil: by id
	descending bool
	// idsInOrder: the runs of one value come in the order of their ids, or of the
	// milliseconds at the head of these, newestFirst or not. Otherwise other keys say
	// in what order they come.
	idsInOrder, newestFirst bool
	// after: it goes on within or behind a value, at the ids of a run that has it.
	after *passed
}

// passed is where a walk by value goes on.
type passed struct {
	value any
	ids   idRange // of the runs of the value that may be left
}

// walkOf finds an index that has the runs in the order asked for; nil: there is
// none, or no limit at which a walk could stop.
func walkOf(s metastore.Search, drivers []plan) *walking {
	if s.Limit == 0 {
		return nil
	}
	if len(s.Order) == 0 {
		return &walking{descending: true}
	}
	first := s.Order[0]
	if isTime(first.Field) {
		return &walking{descending: first.Desc}
	}
	how := fieldOf(first.Field, false)
	if !how.walkable {
		return nil
	}
	by, ok := sourceOf(first.Field, false, probe{kind: probePresent}, idRange{})
	if !ok { // nearly every run has a value: they are no choice, but an order
		by = source{field: first.Field, index: *how.index, probes: []probe{{kind: probePresent}}}
	}
	for _, d := range drivers {
		if d.one != nil && d.one.field == by.field && d.one.index == by.index {
			by.probes = append(append([]probe{}, by.probes...), d.one.probes...)
			by.within = by.within.and(d.one.within)
		}
	}
	w := walking{byValue: &by, descending: first.Desc}
	switch {
	case len(s.Order) == 1:
		w.idsInOrder, w.newestFirst = true, first.Desc
	case isTime(s.Order[1].Field), len(s.Order) == 2 && byMillisecond(s.Order):
		w.idsInOrder, w.newestFirst = true, s.Order[1].Desc
	}
	return &w
}

// walk evaluates the first n runs of an index in the order of its values. done: what
// it found is the answer.
func (w *searcher) walk(s metastore.Search, q runsQuery, how walking, known metastore.Expr, n int) (found []string, done bool, err error) {
	head, whole, err := w.head(how, n)
	if head == nil || err != nil {
		return nil, false, err
	}
	found, err = w.run(q, union(head))
	if err != nil || len(found) == q.limit {
		return found, true, err
	}
	if !whole {
		return nil, false, nil
	}
	// Those that have the key are found; those without come last.
	if requires(known, s.Order[0].Field) {
		return found, true, nil
	}
	rest := withoutValue(s, s.Limit-len(found))
	rest.After = "" // those come after every run that has one
	more, err := w.ids(rest)
	return append(found, more...), true, err
}

// head is the sources of the first runs of a walk, at least n and not many more. No
// run that is left out comes before one of them. whole: none is left out. It is nil
// where too many runs have one value.
func (w *searcher) head(how walking, n int) (head []source, whole bool, err error) {
	nearer, further := metastore.Lt, metastore.Gt
	if how.descending {
		nearer, further = further, nearer
	}
	if after := how.after; after != nil {
		here, rest := how.byValue.and(probe{kind: probeValues, values: []any{after.value}}), how.byValue.and(probe{kind: probeRange, op: further, values: []any{after.value}})
		here.within = here.within.and(after.ids)
		last, err := w.Texts(here.nth(n, how.newestFirst))
		if err != nil {
			return nil, false, err
		}
		if len(last) > 0 {
			here.within = here.within.and(millisecond(last[0], how.newestFirst))
			return []source{here}, false, nil
		}
		how.byValue, how.after = &rest, nil
		head, whole, err := w.head(how, n)
		return append(head, here), whole, err
	}
	nth, err := w.value(how.byValue.nthValue(n, how.descending))
	if nth == nil || err != nil {
		return []source{*how.byValue}, true, err
	}
	before, same := how.byValue.and(probe{kind: probeRange, op: nearer, values: []any{nth}}), how.byValue.and(probe{kind: probeValues, values: []any{nth}})
	if !how.idsInOrder {
		many := n * walkShare
		if together, err := w.number(same.ids().counted(many)); err != nil || together == many {
			return nil, false, err
		}
		return []source{before, same}, false, nil
	}
	last, err := w.Texts(same.nth(n, how.newestFirst))
	if err != nil {
		return nil, false, err
	}
	if len(last) > 0 {
		// All of its millisecond: they may come in another order than their ids.
		same.within = same.within.and(millisecond(last[0], how.newestFirst))
	}
	return []source{before, same}, false, nil
}

// and is the source of what a probe more asks of a source.
func (s source) and(p probe) source {
	s.probes = append(append([]probe{}, s.probes...), p)
	return s
}

// value is the one value that a statement finds; nil: there is none.
func (w *searcher) value(f fragment) (v any, err error) {
	err = w.q.QueryRowContext(w.ctx, f.sql, f.args...).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if b, isBytes := v.([]byte); isBytes {
		v = string(b)
	}
	return v, err
}

// millisecond is the ids of the millisecond of one and of those before it in an order.
func millisecond(id string, newestFirst bool) idRange {
	head := id[:min(len(id), millisecondChars)]
	if newestFirst {
		return idRange{low: head}
	}
	return idRange{high: head + "~"} // no id has a character that comes later
}

// millisecondFrom is the ids of the millisecond of one and of those behind it in an
// order.
func millisecondFrom(id string, newestFirst bool) idRange { return millisecond(id, !newestFirst) }

// withoutValue is the end of a search in the order of a key: the runs that have no
// value there, at most so many.
func withoutValue(s metastore.Search, limit int) metastore.Search {
	none := metastore.Expr(metastore.IsNull{Field: s.Order[0].Field})
	if s.Where != nil {
		none = metastore.And{s.Where, none}
	}
	s.Where, s.Limit = none, limit
	if len(s.Order) > 1 {
		s.Order = s.Order[1:]
		return s
	}
	s.Order = []metastore.OrderKey{{Field: metastore.Field{Name: "run_id"}, Desc: newestFirst(s.Order)}}
	return s
}

// idWalk is a walk through indexes that have the runs by id, as far as it has come.
type idWalk struct {
	q          runsQuery
	drivers    []plan
	descending bool

	found     []string
	evaluated int    // runs
	end       string // the id of the last of them
}

// fewFound is of how many runs found a walk says nothing of how many it will find.
const fewFound = 8

// left is how many runs more have to be evaluated, as those so far let expect; 0: it
// has not begun.
func (w *idWalk) left() int {
	if len(w.found) == 0 {
		return 2 * w.evaluated * w.q.limit
	}
	return w.evaluated * (w.q.limit - len(w.found)) / len(w.found)
}

// nearby tells whether the end is surely not much further than n runs away.
func (w *idWalk) nearby(n int) bool { return len(w.found) >= fewFound && w.left() <= 2*n }

// hopeless tells whether n runs more are likely to bring next to nothing.
func (w *idWalk) hopeless(n int) bool { return w.left() > walkShare*n }

// walkByID evaluates n runs more, of the sparsest of the indexes that have the runs by
// id: the one whose nth run is the farthest away. done: what was found is the answer.
func (w *searcher) walkByID(walk *idWalk, n int) (done bool, err error) {
	var best *source
	var end string
	q := walk.q
	q.limit -= len(walk.found)
	for _, d := range walk.drivers {
		if d.one == nil || !d.one.byID {
			continue
		}
		rest := *d.one
		switch {
		case walk.end != "" && walk.descending:
			rest.within = rest.within.and(idRange{high: walk.end})
		case walk.end != "":
			rest.within = rest.within.and(idRange{low: walk.end + "!"})
		}
		at, err := w.Texts(rest.nth(n, walk.descending))
		if err != nil {
			return false, err
		}
		if len(at) == 0 {
			// It has fewer: this is all of it.
			found, err := w.run(q, rest.ids())
			walk.found = append(walk.found, found...)
			return true, err
		}
		if best == nil || walk.descending && at[0] < end || !walk.descending && at[0] > end {
			best, end = &rest, at[0]
		}
	}
	// Up to that one, rather than so many: then SQLite reads the index in the order of
	// the answer, and stops where that is full.
	if walk.descending {
		best.within = best.within.and(idRange{low: end})
	} else {
		best.within = best.within.and(idRange{high: end + "!"})
	}
	q.order = fragmentOf("d.run_id" + direction(walk.descending))
	found, err := w.run(q, best.ids())
	walk.found, walk.evaluated, walk.end = append(walk.found, found...), walk.evaluated+n, end
	return len(found) == q.limit, err
}

// firstByID finds the first runs, in the order of their ids, among the n of sources:
// the ids are sorted, and no more of them evaluated than it takes.
func (w *searcher) firstByID(q runsQuery, sources []source, n int, descending bool) ([]string, error) {
	sources, err := w.inhabited(sources)
	if err != nil {
		return nil, err
	}
	if len(sources) == 1 && n > lookAgain*cmp.Or(w.look, firstLook) { // else they are as quickly sorted
		if found, err := w.firstInTime(q, sources[0], n, descending); err != nil || len(found) == q.limit {
			return found, err
		}
	}
	all := union(sources)
	for some := max(2*q.limit, firstLook/walkShare); some < n && some < math.MaxInt32/lookAgain; some *= lookAgain {
		f := fragment{`SELECT run_id FROM (` + all.sql + `) ORDER BY run_id` + direction(descending) + ` LIMIT ?`, append(append([]any{}, all.args...), some)}
		found, err := w.run(q, f)
		if err != nil || len(found) == q.limit {
			return found, err
		}
	}
	return w.run(q, all)
}

// idHead is the head of the ids of a millisecond since 1970.
func idHead(ms int64) string {
	ms = max(ms, 0)
	return fmt.Sprintf("%08x-%04x", ms>>16, ms&0xffff)
}

// millisOf is the millisecond at the head of an id; 0: there is none.
func millisOf(id string) int64 {
	head := strings.ReplaceAll(id[:min(len(id), millisecondChars)], "-", "")
	ms, err := strconv.ParseInt(head, 16, 64)
	if err != nil {
		return 0
	}
	return ms
}

// inhabited are the sources that have an id, one at least: a union is sorted, however
// little there is to unite.
func (w *searcher) inhabited(sources []source) ([]source, error) {
	var some []source
	for _, s := range sources {
		n, err := w.number(s.ids().counted(1))
		if err != nil {
			return nil, err
		}
		if n > 0 {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		some = sources[:1]
	}
	return some, nil
}

// firstInTime is firstByID for ids that are spread evenly over their time: then a part
// of that is known to hold enough of them, and no others are sorted. It finds fewer than
// q.limit where they are not.
func (w *searcher) firstInTime(q runsQuery, s source, n int, descending bool) ([]string, error) {
	ids := s.ids()
	var first, last string
	if err := w.q.QueryRowContext(w.ctx, `SELECT coalesce(min(run_id), ''), coalesce(max(run_id), '') FROM (`+ids.sql+`)`, ids.args...).Scan(&first, &last); err != nil {
		return nil, err
	}
	begun, ended := millisOf(first), millisOf(last)
	if begun <= 0 || ended <= begun {
		return nil, nil // no ids that quant made
	}
	part := (ended-begun)/int64(n)*int64(lookAgain*q.limit) + 1
	if descending {
		s.within = s.within.and(idRange{low: idHead(ended - part)})
	} else {
		s.within = s.within.and(idRange{high: idHead(begun + part)})
	}
	return w.run(q, s.ids())
}
