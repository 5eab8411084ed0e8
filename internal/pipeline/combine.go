package pipeline

import (
	"context"
	"math"
	"slices"

	"quant"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/strategy"
)

// combined is one strategy of a combination, and what it decided.
type combined struct {
	strategy.Part
	sets []combinedSet // oldest first
	used []bool        // of sets
}

// combinedSet is one decision of a strategy that is combined.
type combinedSet struct {
	asof    quant.Date
	stale   bool
	symbols []string // in byte order
	weights []float64
}

// readParts reads the decisions of the strategies that are combined. NotFound: one has
// none. Refused: rows that no run wrote.
func (r *recommending) readParts(ctx context.Context) error {
	if r.s.Signal.Type != strategy.Strategies {
		return nil
	}
	until := quant.Date(math.MaxInt32 / 2)
	if last := r.Asof; last != nil {
		until = *last
	} else if r.To != nil {
		until = *r.To
	}
	const of = `strategy_id = ? AND version = ? AND "asof" <= CAST(? AS DATE)`
	for _, part := range r.s.Signal.Inputs.Strategies {
		args := []any{part.StrategyID, part.Version, min(until, quant.Date(2_900_000))}
		for _, table := range []string{factstore.TargetSets, factstore.Targets} {
			if err := r.db.RequireExplained(ctx, table, "", of, args...); err != nil {
				return err
			}
		}
		sets, err := r.setsOf(ctx, of, args)
		if err != nil {
			return err
		}
		c := combined{Part: part, sets: sets}
		if len(c.sets) == 0 {
			return quant.Errorf(quant.NotFound, "strategy %s combines %s version %s, which has decided nothing", r.s.ID, part.StrategyID, part.Version).
				WithHint("`quant recommend --strategy FILE` with the file of %s decides; ids and versions are case-sensitive", part.StrategyID)
		}
		c.used = make([]bool, len(c.sets))
		r.parts = append(r.parts, c)
	}
	return nil
}

// setsOf reads the sets of targets that a condition selects, in the order of their days.
func (r *recommending) setsOf(ctx context.Context, of string, args []any) ([]combinedSet, error) {
	rows, err := r.db.Query(ctx, `SELECT s."asof", s.status <> 'current', t.symbol, t.weight FROM
		(SELECT * FROM main.target_sets WHERE `+of+`) s
		LEFT JOIN main.targets t ON t.strategy_id = s.strategy_id AND t.version = s.version AND t."asof" = s."asof" AND t.approved AND t.weight <> 0
		ORDER BY s."asof", t.symbol`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var sets []combinedSet
	for rows.Next() {
		var asof quant.Date
		var stale bool
		var symbol *string
		var weight *float64
		if err := rows.Scan(&asof, &stale, &symbol, &weight); err != nil {
			return nil, err
		}
		if n := len(sets); n == 0 || sets[n-1].asof != asof {
			sets = append(sets, combinedSet{asof: asof, stale: stale})
		}
		if symbol != nil && weight != nil {
			set := &sets[len(sets)-1]
			set.symbols, set.weights = append(set.symbols, *symbol), append(set.weights, *weight)
		}
	}
	return sets, rows.Err()
}

// symbolsOfParts are the symbols that the combined strategies ever held, in no order.
func (r *recommending) symbolsOfParts() []string {
	var list []string
	seen := map[string]bool{}
	for _, part := range r.parts {
		for _, set := range part.sets {
			for _, symbol := range set.symbols {
				if !seen[symbol] {
					seen[symbol] = true
					list = append(list, symbol)
				}
			}
		}
	}
	return list
}

// combine makes the signals of a combination: the score of a symbol is the sum, over the
// strategies, of its weight in what they decided last on the day or before, drifted by
// the closes to the day, times the share of the strategy. What a strategy holds as cash
// is cash. Refused: a decision that is stale.
func (r *recommending) combine(days []quant.Date) (*strategy.Signals, error) {
	symbols := slices.Clone(r.s.Universe.Symbols)
	index := make(map[string]int, len(symbols))
	for n, symbol := range symbols {
		index[symbol] = n
	}
	for _, symbol := range r.others() {
		if _, there := index[symbol]; !there {
			index[symbol] = len(symbols)
			symbols = append(symbols, symbol)
		}
	}
	scores := make([]float64, len(days)*len(symbols))
	for i := range scores {
		scores[i] = math.NaN()
	}
	silent := 0
	for k, day := range days {
		row := scores[k*len(symbols) : (k+1)*len(symbols)]
		for p := range r.parts {
			part := &r.parts[p]
			at, found := slices.BinarySearchFunc(part.sets, day, func(s combinedSet, day quant.Date) int { return int(s.asof) - int(day) })
			if !found {
				at--
			}
			if at < 0 {
				silent++
				continue
			}
			set := part.sets[at]
			if set.stale {
				return nil, quant.Errorf(quant.Refused, "strategy %s combines %s version %s, whose decision of %s is stale: it rests on one that was made again since", r.s.ID, part.StrategyID, part.Version, set.asof).
					WithHint("`quant recommend --strategy FILE --from %s` with the file of %s decides it anew", set.asof, part.StrategyID)
			}
			part.used[at] = true
			for i, weight := range r.drifted(set, day) {
				n := index[set.symbols[i]]
				if row[n] != row[n] {
					row[n] = 0
				}
				row[n] += part.Weight * weight
			}
		}
	}
	if silent > 0 {
		r.notice("%d times a combined strategy had decided nothing yet: its share is cash", silent)
	}
	return strategy.NewSignals(days, symbols, scores), nil
}

// tellLeftOut says what of the combined strategies' holdings a combination cannot
// propose on the days that it decides: its share is cash.
func (r *recommending) tellLeftOut() {
	outside, short := 0, 0
	for _, day := range r.days {
		k, _ := slices.BinarySearch(r.signals.Days, day)
		for n := range r.signals.Symbols {
			switch x := r.signals.Score(k, n); {
			case x != x || x == 0:
			case n >= len(r.s.Universe.Symbols) || !r.signals.Member(k, n):
				outside++
			case x < 0 && !r.s.LongShort():
				short++
			}
		}
	}
	if outside > 0 {
		r.notice("%d times a combined strategy held a name that is not in the universe of this one: its share is cash", outside)
	}
	if short > 0 {
		r.notice("%d times the combined strategies were short of a name together, which portfolio.side long leaves out: portfolio.side: long_short holds it", short)
	}
}

// drifted are the weights of a decision by the close of a later day: each has grown with
// its close, cash has not, and all is a share of their sum.
func (r *recommending) drifted(set combinedSet, day quant.Date) []float64 {
	weights := slices.Clone(set.weights)
	if set.asof == day {
		return weights
	}
	then, _ := r.Calendar.Index(set.asof)
	now, _ := r.Calendar.Index(day)
	invested, total := 0.0, 0.0
	for i, symbol := range set.symbols {
		invested += weights[i]
		if growth := r.lastClose(symbol, now) / r.lastClose(symbol, then); growth > 0 && !math.IsInf(growth, 0) {
			weights[i] *= growth
		}
		total += weights[i]
	}
	if total += 1 - invested; !(total > 0) {
		return make([]float64, len(weights)) // nothing is left of it
	}
	for i := range weights {
		weights[i] /= total
	}
	return weights
}

// lastClose is the last close of a symbol up to a session of the calendar; NaN: none.
func (r *recommending) lastClose(symbol string, session int) float64 {
	row, found := slices.BinarySearch(r.prices.Symbols, symbol)
	if !found {
		return math.NaN()
	}
	for s := min(session-r.prices.FirstAt, len(r.prices.Sessions)-1); s >= 0; s-- {
		if r.prices.HasBar(row, s) {
			return r.prices.Close[row][s]
		}
	}
	return math.NaN()
}

// noteParts notes the decisions that were combined, and the runs that made them.
func (r *recommending) noteParts(ctx context.Context, note func(of dataset.Name, rows int64, digest string, first, last quant.Date, writers []string)) error {
	const of = `strategy_id = ? AND version = ? AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)`
	for _, part := range r.parts {
		first := slices.Index(part.used, true)
		if first < 0 {
			continue
		}
		last := first
		for i, used := range part.used {
			if used {
				last = i
			}
		}
		args := []any{part.StrategyID, part.Version, part.sets[first].asof, part.sets[last].asof}
		rows, digest, err := r.db.Digest(ctx, `SELECT symbol, "asof" AS ts, weight FROM main.targets WHERE `+of+" AND approved", args...)
		if err != nil {
			return err
		}
		// Who decided a set decided each of its rows, also those that had come out so before.
		writers, err := r.db.Writers(ctx, factstore.TargetSets, of, args...)
		if err != nil {
			return err
		}
		r.report.combined = append(r.report.combined, writers...)
		note(dataset.TargetsOf(part.StrategyID, part.Version), rows, digest, part.sets[first].asof, part.sets[last].asof, writers)
	}
	return nil
}
