package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/price"
	"quant/internal/strategy"
	"quant/internal/supervisor"
)

// decisionInputs are what the decisions of a strategy depend on: whoever has read
// them decides in memory, for one strategy or for many.
type decisionInputs struct {
	strategy strategy.Strategy // a universe of type all with its symbols
	days     []quant.Date      // to decide on, ascending
	// signals are of days, and before these of the day of last, if there is one.
	signals *strategy.Signals
	closes  closes   // on the days of signals
	last    *decided // the decision that the first one starts from; nil: cash
}

// decided is one decision with what it was made of.
type decided struct {
	asof     quant.Date
	k        int // row of closes
	proposal []strategy.Candidate
	decision supervisor.Decision
	basis    *quant.Date
	digest   string
}

// closes are the last closes at or before each day, from GoneAfter sessions
// before the first one on.
type closes struct {
	prices  *price.Closes
	row     []int32 // of a symbol of the signals: index of prices.Symbols, -1: it has no bars
	session []int   // of a day of the signals: index of prices.Sessions, which it may be beyond
	low     int     // session from which on bars count
}

// closesOf are the closes of the symbols and days of signals.
func closesOf(prices *price.Closes, cal *calendar.Calendar, signals *strategy.Signals) closes {
	c := closes{prices: prices, row: make([]int32, len(signals.Symbols)), session: make([]int, len(signals.Days))}
	for n, symbol := range signals.Symbols {
		c.row[n] = -1
		if k, found := slices.BinarySearch(prices.Symbols, symbol); found {
			c.row[n] = int32(k)
		}
	}
	for k, d := range signals.Days {
		i, _ := cal.Index(d)
		c.session[k] = i - prices.FirstAt
	}
	// A name held on the first day had a bar less than GoneAfter sessions before.
	c.low = max(c.session[0]-GoneAfter+1, 0)
	return c
}

// at is the last close of symbol n at or before day k, and how many sessions ago it
// was; NaN and math.MaxInt32: none.
func (c closes) at(k, n int) (close float64, age int32) {
	row := c.row[n]
	if row < 0 {
		return math.NaN(), math.MaxInt32
	}
	for s := min(c.session[k], len(c.prices.Sessions)-1); s >= c.low; s-- {
		if c.prices.HasBar(int(row), s) {
			return c.prices.Close[row][s], int32(c.session[k] - s)
		}
	}
	return math.NaN(), math.MaxInt32
}

// decisions decides day by day, each from the one before it. It is a pure
// function. Errors: those of supervisor.Decide; the cause of ctx.
func (in decisionInputs) decisions(ctx context.Context) ([]decided, error) {
	v := in.strategy.Supervisor
	policy := supervisor.Policy{GrossExposureCap: v.GrossExposureCap, MaxWeightPerSymbol: v.MaxWeightPerSymbol,
		MaxPositions: v.MaxPositions, TurnoverCap: v.TurnoverCap, ScoreFloor: v.ScoreFloor}
	sets := make([]decided, 0, len(in.days))
	last := in.last
	index := make(map[string]int, len(in.signals.Symbols))
	for n, symbol := range in.signals.Symbols {
		index[symbol] = n
	}
	first := len(in.signals.Days) - len(in.days)
	for d, day := range in.days {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		k := first + d
		set := decided{asof: day, k: k, proposal: in.strategy.Propose(in.signals, k)}
		proposed := make([]supervisor.Proposed, len(set.proposal))
		for i, c := range set.proposal {
			_, age := in.closes.at(k, c.N)
			proposed[i] = supervisor.Proposed{Symbol: c.Symbol, Score: c.Score, Weight: c.Weight, NoBar: age != 0}
		}
		var held []supervisor.Held
		if last != nil {
			set.basis = &last.asof
			held = in.drift(last, index, k)
		}
		var err error
		if set.decision, err = supervisor.Decide(policy, proposed, held); err != nil {
			return nil, fmt.Errorf("decide on %s: %w", day, err)
		}
		set.digest = digestOf(set)
		sets = append(sets, set)
		last = &sets[len(sets)-1]
	}
	return sets, nil
}

// tell says what was decided.
func (r *Recommendation) tell(sets []decided) {
	struck := map[supervisor.Flag]int{}
	for _, set := range sets {
		for _, row := range set.decision.Rows {
			for _, f := range row.Flags {
				struck[f]++
			}
		}
		r.account(set)
	}
	for _, rule := range supervisor.Catalogue() {
		if n := struck[rule.Flag]; n > 0 {
			r.Flags = append(r.Flags, FlagCount{rule.Flag, n})
		}
	}
	r.From, r.To, r.Decisions = sets[0].asof, sets[len(sets)-1].asof, len(sets)
	for _, row := range sets[len(sets)-1].decision.Rows {
		t := Target{Symbol: row.Symbol, Weight: row.Weight, Approved: row.Approved, Flags: append([]supervisor.Flag{}, row.Flags...), Reason: row.Reason}
		if !math.IsNaN(row.Score) {
			t.Score = &row.Score
		}
		r.Targets = append(r.Targets, t)
	}
}

func (r *Recommendation) account(set decided) {
	approved := 0
	for _, row := range set.decision.Rows {
		if row.Approved {
			approved++
		}
	}
	if approved == 0 {
		r.ToCash++
	}
	r.Sets = append(r.Sets, TargetSet{Asof: set.asof, Proposed: len(set.proposal), Approved: approved, Gross: set.decision.Gross,
		Turnover: set.decision.Turnover, ExemptTurnover: set.decision.Exempt, BasisAsof: set.basis, Digest: set.digest})
}

// drift is what the approved weights of a decision have become by the close of
// day k: each grows with its close, cash does not, and all is a share of their
// sum again. A name without a bar that day stands at its last close.
func (in decisionInputs) drift(last *decided, index map[string]int, k int) []supervisor.Held {
	var held []supervisor.Held
	var invested, total float64
	// In byte order, as they are read back from targets: the order of a sum is
	// part of its bits.
	rows := slices.SortedFunc(slices.Values(last.decision.Rows), func(a, b supervisor.Row) int { return strings.Compare(a.Symbol, b.Symbol) })
	for _, row := range rows {
		if !row.Approved {
			continue
		}
		n := index[row.Symbol]
		h := supervisor.Held{Symbol: row.Symbol, Weight: row.Weight, Score: in.signals.Score(k, n)}
		invested += row.Weight
		then, _ := in.closes.at(last.k, n)
		now, age := in.closes.at(k, n)
		if growth := now / then; growth > 0 && !math.IsInf(growth, 0) {
			h.Weight *= growth
		}
		if _, in := slices.BinarySearch(in.strategy.Universe.Symbols, row.Symbol); !in {
			h.Left = supervisor.LeftUniverse
		} else if age >= GoneAfter {
			h.Left = supervisor.LeftMarket
		}
		total += h.Weight
		held = append(held, h)
	}
	total += max(1-invested, 0)
	for i := range held {
		held[i].Weight /= total
	}
	return held
}

// digestOf tells a decision, with its proposal, from every other.
func digestOf(set decided) string {
	h := durable.NewSum()
	var b []byte
	for _, c := range set.proposal {
		b = fmt.Appendf(b[:0], "%s\x00%x\x00%x\n", c.Symbol, math.Float64bits(c.Score), math.Float64bits(c.Weight))
		h.Write(b)
	}
	h.Write([]byte{0})
	for _, row := range set.decision.Rows {
		b = fmt.Appendf(b[:0], "%s\x00%x\x00%x\x00%v\x00%s\n", row.Symbol, math.Float64bits(row.Weight), math.Float64bits(row.Score), row.Flags, row.Reason)
		h.Write(b)
	}
	return h.Digest()
}
