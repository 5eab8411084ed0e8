package sqlite

import (
	"cmp"
	"context"
	"math"

	"quant/internal/metastore"
)

// searcher runs one search on one state of the database.
type searcher struct {
	ctx   context.Context
	q     querier
	trace func(f fragment, runs int) // of the statements that find runs; may be nil
	look  int                        // the first look; 0: firstLook
}

// How many runs of a driver the first look counts, and how much further each
// one goes. A walk evaluates the condition, which costs several times what a
// look does.
const (
	firstLook = 4096
	walkShare = 8
	lookAgain = 4
)

// driversOf returns the drivers of a search, of which the first is all runs that
// it may find, and what is known of every run found: its condition, made positive.
// No other ids than those within are found.
func driversOf(s metastore.Search, within idRange) (drivers []plan, known metastore.Expr) {
	known = positive(s.Where, false)
	base := source{index: allRuns, within: within.and(rangeOf(known)), byID: true}
	if !s.All {
		base.index = changingRuns
	}
	p, _ := planOf(metastore.And{known}, within)
	return append([]plan{{one: &base}}, p.choices()...), known
}

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
	at, err := w.standingOf(s)
	if err != nil {
		return nil, err
	}
	query, err := compile(s, at)
	if err != nil {
		return nil, err
	}
	drivers, known := driversOf(s, at.ids())
	walk := walkOf(s, drivers)
	if at != nil && walk != nil && walk.byValue != nil {
		here, ok := at.probe()
		if !ok {
			return w.ids(withoutValue(s, s.Limit))
		}
		walk.byValue.probes = append(walk.byValue.probes, here)
	}
	if len(drivers) == 1 && walk == nil {
		return w.run(query, drivers[0].one.ids())
	}
	for look := cmp.Or(w.look, firstLook); ; look *= lookAgain {
		n, chosen, err := w.count(plan{any: drivers}, look)
		if err != nil {
			return nil, err
		}
		if n < look && (walk == nil || n <= 2*look/walkShare || look > math.MaxInt32/lookAgain) {
			return w.run(query, union(chosen))
		}
		if walk != nil {
			found, done, err := w.walk(s, query, drivers, *walk, known, look/walkShare)
			if done || err != nil {
				return found, err
			}
		}
		if n < look {
			return w.run(query, union(chosen))
		}
	}
}

// run finds the runs among those of a driver.
func (w *searcher) run(q runsQuery, driver fragment) ([]string, error) {
	f := q.among(driver)
	found, err := w.texts(f)
	if w.trace != nil {
		w.trace(f, len(found))
	}
	return found, err
}

func (w *searcher) texts(f fragment) ([]string, error) { return texts(w.ctx, w.q, f.sql, f.args...) }

func (w *searcher) number(f fragment) (n int, err error) {
	err = w.q.QueryRowContext(w.ctx, f.sql, f.args...).Scan(&n)
	return n, err
}

// count counts a plan's runs up to a limit and says which sources make it; at
// the limit it is too large.
func (w *searcher) count(p plan, limit int) (int, []source, error) {
	switch {
	case p.one != nil:
		n, err := w.number(p.one.ids().counted(limit))
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
	byValue    *source // through the values of the first key; nil: by id
	descending bool
	ties       string // the order of the ids of one value, as SQL
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
	if len(s.Order) > 2 || len(s.Order) == 2 && !isTime(s.Order[1].Field) && !byMillisecond(s.Order) || !how.walkable {
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
	return &walking{byValue: &by, descending: first.Desc, ties: ties(s.Order)}
}

// walk evaluates the first n runs of an index in the order asked for. done: what
// it found is the answer.
func (w *searcher) walk(s metastore.Search, q runsQuery, drivers []plan, how walking, known metastore.Expr, n int) (found []string, done bool, err error) {
	if how.byValue == nil {
		return w.walkByID(q, drivers, how.descending, n)
	}
	some := how.byValue.firstByValue(n, how.descending, how.ties)
	found, err = w.run(q, some)
	if err != nil || len(found) == q.limit {
		return found, true, err
	}
	if walked, err := w.number(fragment{`SELECT count(*) FROM (` + some.sql + `)`, some.args}); err != nil || walked == n {
		return nil, false, err
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

// withoutValue is the end of a search in the order of one key: the runs that have no
// value there, at most so many.
func withoutValue(s metastore.Search, limit int) metastore.Search {
	none := metastore.Expr(metastore.IsNull{Field: s.Order[0].Field})
	if s.Where != nil {
		none = metastore.And{s.Where, none}
	}
	s.Where, s.Limit = none, limit
	s.Order = []metastore.OrderKey{{Field: metastore.Field{Name: "run_id"}, Desc: newestFirst(s.Order)}}
	return s
}

// walkByID walks the sparsest of the indexes that have the runs by id: the one
// whose nth run is the farthest away.
func (w *searcher) walkByID(q runsQuery, drivers []plan, descending bool, n int) (found []string, done bool, err error) {
	var best *source
	var end string
	for _, d := range drivers {
		if d.one == nil || !d.one.byID {
			continue
		}
		at, err := w.texts(d.one.nth(n, descending))
		if err != nil {
			return nil, false, err
		}
		if len(at) == 0 {
			// It has fewer: this is all of it.
			found, err = w.run(q, d.one.ids())
			return found, true, err
		}
		if best == nil || descending && at[0] < end || !descending && at[0] > end {
			best, end = d.one, at[0]
		}
	}
	found, err = w.run(q, best.first(n, descending))
	return found, len(found) == q.limit, err
}
