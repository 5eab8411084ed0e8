package relational

import (
	"cmp"
	"context"
	"math"

	"quant/internal/metastore"
)

// searcher runs one search on one state of the database.
type searcher struct {
	ctx   context.Context
	q     Querier
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

// drivable are the drivers that are counted. Where there are others, all runs are
// never fewer.
func drivable(drivers []plan) []plan {
	if all := drivers[0].one; len(drivers) > 1 && all.index == allRuns && all.within == (idRange{}) {
		return drivers[1:]
	}
	return drivers
}

// ids finds the runs, in order.
//
// There are two ways. A driver's runs are all evaluated, and what is found is
// sorted; that costs the size of the driver, wherefore the smallest is taken. A
// walk goes through an index that has the runs in the order asked for and stops
// when the limit is reached; what that costs nobody knows before. So both are
// given a small allowance: the drivers are counted up to it, the walk evaluates
// so many runs. If neither ends, again with four times as much; a walk by id goes on
// where it was, and what it found tells whether that is worth while. The cost is a
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
		if walk.idsInOrder {
			walk.after = &passed{value: here.values[0], ids: millisecondFrom(s.After, walk.newestFirst)}
		} else {
			walk.byValue.probes = append(walk.byValue.probes, here)
		}
	}
	if len(drivers) == 1 && walk == nil {
		return w.run(query, drivers[0].one.ids())
	}
	counted := plan{any: drivable(drivers)}
	var steps *idWalk
	if walk != nil && walk.byValue == nil {
		steps = &idWalk{q: query, drivers: drivers, descending: walk.descending}
	}
	for look := cmp.Or(w.look, firstLook); ; look *= lookAgain {
		if steps != nil && steps.nearby(look/walkShare) {
			if done, err := w.walkByID(steps, steps.left()+steps.left()/lookAgain+fewFound); done || err != nil {
				return steps.found, err
			}
		}
		n, chosen, err := w.count(counted, look)
		if err != nil {
			return nil, err
		}
		if n < look && (walk == nil || n <= 2*look/walkShare || look > math.MaxInt32/lookAgain) {
			return w.run(query, union(chosen))
		}
		switch {
		case steps != nil && n < look:
			return w.firstByID(query, chosen, n, walk.descending)
		case steps != nil && !steps.hopeless(look/walkShare):
			if done, err := w.walkByID(steps, look/walkShare); done || err != nil {
				return steps.found, err
			}
		case walk != nil && steps == nil:
			found, done, err := w.walk(s, query, *walk, known, look/walkShare)
			if done || err != nil {
				return found, err
			}
		}
		if n < look {
			return w.run(query, union(chosen))
		}
		if steps != nil && steps.hopeless(look) && look < math.MaxInt32/lookAgain/lookAgain {
			look *= lookAgain // the end is in a driver, or far away
		}
	}
}

// run finds the runs among those of a driver.
func (w *searcher) run(q runsQuery, driver fragment) ([]string, error) {
	f := q.among(driver)
	found, err := w.Texts(f)
	if w.trace != nil {
		w.trace(f, len(found))
	}
	return found, err
}

func (w *searcher) Texts(f fragment) ([]string, error) { return Texts(w.ctx, w.q, f.sql, f.args...) }

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
