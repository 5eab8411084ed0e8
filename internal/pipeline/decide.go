package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/parallel"
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
	closes  closes            // on the days of signals
	last    *decided          // the decision that the first one starts from; nil: cash
	sectors map[string]string // of the symbols, where the strategy asks for them
}

// decided is one decision with what it was made of.
type decided struct {
	asof     quant.Date
	k        int // row of closes
	proposal []strategy.Candidate
	decision supervisor.Decision
	basis    *quant.Date
	ruined   bool // nothing was left of the basis: it started from cash
	digest   string
	unknown  int // names of the proposal that could not be weighed
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
		MaxPositions: v.MaxPositions, TurnoverCap: v.TurnoverCap, ScoreFloor: v.ScoreFloor,
		LongShort: in.strategy.LongShort(), NetExposureCap: v.NetExposureCap}
	if c := v.SectorCap; c != nil {
		policy.SectorCap, policy.SectorCaps = c.Each, c.By
	}
	decider := supervisor.NewDecider(policy)
	drifter := in.drifter()
	sets := make([]decided, len(in.days))
	last := in.last
	var proposed []supervisor.Proposed
	first := len(in.signals.Days) - len(in.days)
	// What is proposed on a day, and the digest of what was decided, know nothing of other
	// days; the decision starts from that of the day before.
	err := parallel.Blocks(ctx, len(sets), daysAtOnce, func() func(lo, hi int) {
		return func(lo, hi int) {
			for d := lo; d < hi; d++ {
				sets[d] = decided{asof: in.days[d], k: first + d, proposal: in.strategy.Propose(in.signals, first+d)}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for d, day := range in.days {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		set := &sets[d]
		k := set.k
		if err := in.weigh(set); err != nil {
			return nil, err
		}
		proposed = proposed[:0]
		for _, c := range set.proposal {
			_, age := in.closes.at(k, c.N)
			proposed = append(proposed, supervisor.Proposed{Symbol: c.Symbol, Score: c.Score, Weight: c.Weight, NoBar: age != 0, Sector: in.cappedSector(c.Symbol)})
		}
		var held []supervisor.Held
		if last != nil {
			set.basis = &last.asof
			held, set.ruined = drifter.drift(last, k)
		}
		var err error
		if set.decision, err = decider.Decide(proposed, held); err != nil {
			return nil, fmt.Errorf("decide on %s: %w", day, err)
		}
		last = set
	}
	err = parallel.Blocks(ctx, len(sets), daysAtOnce, func() func(lo, hi int) {
		var digested []byte
		return func(lo, hi int) {
			for d := lo; d < hi; d++ {
				sets[d].digest, digested = digestOf(&sets[d], digested)
			}
		}
	})
	return sets, err
}

// daysAtOnce is how many days one processor takes together.
const daysAtOnce = 64

// tell says what was decided.
func (r *Recommendation) tell(sets []decided) {
	struck := map[supervisor.Flag]int{}
	for _, set := range sets {
		if set.ruined {
			r.Notices = append(r.Notices, fmt.Sprintf("by %s nothing was left of the book of %s: its shorts had lost all of equity; this decision starts from cash", set.asof, set.basis))
		}
		for _, row := range set.decision.Rows {
			for _, f := range row.Flags {
				struck[f]++
			}
		}
		r.account(set)
	}
	r.tellUnknown(sets)
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

// tellUnknown says how many names could not be weighed.
func (r *Recommendation) tellUnknown(sets []decided) {
	unknown, days, cash := 0, 0, 0
	for i := range sets {
		if n := sets[i].unknown; n > 0 {
			unknown, days = unknown+n, days+1
			if n == len(sets[i].proposal) {
				cash++
			}
		}
	}
	if unknown > 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("%s on %s had returns on fewer than %g %% of the sessions of portfolio.covariance_window, and no weight; on %s that left cash alone",
			quant.Count(unknown, "proposed name"), quant.Count(days, "day"), enoughReturns*100, quant.Count(cash, "day")))
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
	one := TargetSet{Asof: set.asof, Proposed: len(set.proposal), Approved: approved, Gross: set.decision.Gross,
		Turnover: set.decision.Turnover, ExemptTurnover: set.decision.Exempt, BasisAsof: set.basis, Digest: set.digest}
	if r.longShort {
		one.Net = &set.decision.Net
	}
	r.Sets = append(r.Sets, one)
}

// drifter carries decisions from one day to the next. It keeps its memory, so it is
// for one goroutine, and what it returns is valid until the next time.
type drifter struct {
	in    decisionInputs
	index map[string]int32 // of the signals' symbols
	place []int32          // of each symbol, in byte order
	left  []bool           // symbols that are not of the universe
	rows  []heldRow
	held  []supervisor.Held
}

// heldRow is a row of a decision that is held.
type heldRow struct{ place, symbol, row int32 }

func (in decisionInputs) drifter() *drifter {
	symbols := in.signals.Symbols
	d := &drifter{in: in, index: make(map[string]int32, len(symbols)), place: make([]int32, len(symbols)), left: make([]bool, len(symbols))}
	order := make([]int32, len(symbols))
	for n, symbol := range symbols {
		d.index[symbol], order[n] = int32(n), int32(n)
		_, of := slices.BinarySearch(in.strategy.Universe.Symbols, symbol)
		d.left[n] = !of
	}
	slices.SortFunc(order, func(a, b int32) int { return strings.Compare(symbols[a], symbols[b]) })
	for place, n := range order {
		d.place[n] = int32(place)
	}
	return d
}

// drift is what the approved weights of a decision have become by the close of
// day k: each grows with its close, cash does not, and all is a share of their
// sum again. A name without a bar that day stands at its last close. Cash is what the
// weights leave: of a book that may be short it holds the proceeds, or is owed. ruined:
// the sum is not above 0, so nothing is held.
func (d *drifter) drift(last *decided, k int) (_ []supervisor.Held, ruined bool) {
	in := d.in
	d.rows, d.held = d.rows[:0], d.held[:0]
	for i := range last.decision.Rows {
		if row := &last.decision.Rows[i]; row.Approved {
			n := d.index[row.Symbol]
			d.rows = append(d.rows, heldRow{d.place[n], n, int32(i)})
		}
	}
	// In byte order, as they are read back from targets: the order of a sum is
	// part of its bits.
	slices.SortFunc(d.rows, func(a, b heldRow) int { return int(a.place - b.place) })
	var invested, total float64
	for _, r := range d.rows {
		row, n := &last.decision.Rows[r.row], int(r.symbol)
		h := supervisor.Held{Symbol: row.Symbol, Weight: row.Weight, Score: in.signals.Score(k, n), Sector: in.cappedSector(row.Symbol)}
		invested += row.Weight
		then, _ := in.closes.at(last.k, n)
		now, age := in.closes.at(k, n)
		if growth := now / then; growth > 0 && !math.IsInf(growth, 0) {
			h.Weight *= growth
		}
		if d.left[n] || !in.signals.Member(k, n) {
			h.Left = supervisor.LeftUniverse
		} else if age >= GoneAfter {
			h.Left = supervisor.LeftMarket
		}
		total += h.Weight
		d.held = append(d.held, h)
	}
	if cash := 1 - invested; in.strategy.LongShort() {
		total += cash
	} else {
		total += max(cash, 0)
	}
	if in.strategy.LongShort() && total <= ruin {
		return nil, true
	}
	for i := range d.held {
		d.held[i].Weight /= total
	}
	return d.held, false
}

// ruin is the share of equity at which a book that was short has none left.
const ruin = 1e-9

// digestOf tells a decision, with its proposal, from every other: a line a name,
// numbers as the bits of their floats. buffer is used, and returned for the next.
func digestOf(set *decided, buffer []byte) (digest string, _ []byte) {
	b := buffer[:0]
	float := func(v float64) { b = strconv.AppendUint(append(b, 0), math.Float64bits(v), 16) }
	for i := range set.proposal {
		c := &set.proposal[i]
		b = append(b, c.Symbol...)
		float(c.Score)
		float(c.Weight)
		b = append(b, '\n')
	}
	b = append(b, 0)
	for i := range set.decision.Rows {
		row := &set.decision.Rows[i]
		b = append(b, row.Symbol...)
		float(row.Weight)
		float(row.Score)
		b = append(b, 0, '[')
		for k, flag := range row.Flags {
			if k > 0 {
				b = append(b, ' ')
			}
			b = append(b, flag...)
		}
		b = append(append(append(b, ']', 0), row.Reason...), '\n')
	}
	return durable.Digest(b), b
}
