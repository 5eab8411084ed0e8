package backtest

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// variant is what a replay says of one lag and one pair of costs.
type variant struct {
	lag                 int
	feeBps, slippageBps float64
	performance         Performance
	turnover            *float64
}

func (v variant) options(of Options) Options {
	of.Lag, of.FeeBps, of.SlippageBps = v.lag, v.feeBps, v.slippageBps
	return of
}

// The variants that every backtest shows, beside the one that was asked for.
var (
	shownLags       = []int{0, 1}
	sensitivityLags = []int{0, 1, 2, 5}
	sensitivityBps  = []float64{0, 5, 10, 20, 50} // of fees, without slippage
)

// lagsOf are shownLags and the lag asked for, ascending.
func lagsOf(options Options) []int {
	return options.possible(slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(shownLags), options.Lag)))))
}

// possible are the lags without those that would look ahead.
func (o Options) possible(lags []int) []int {
	if !o.Open {
		return lags
	}
	return slices.DeleteFunc(slices.Clone(lags), func(lag int) bool { return lag == 0 })
}

// variants measures every variant that lagTable and sensitivityTable show. main is
// the replay with the options. Errors: the cause of ctx, an option that makes no sense.
func (p *prepared) variants(ctx context.Context, options Options, main *Metrics) ([]variant, error) {
	list := []variant{{options.Lag, options.FeeBps, options.SlippageBps, main.Performance, main.Turnover}}
	var groups [][]int // variants of one lag
	add := func(lag int, fee, slippage float64) error {
		if find(list, lag, fee, slippage) != nil {
			return nil
		}
		v := variant{lag: lag, feeBps: fee, slippageBps: slippage}
		if err := v.options(options).Validate(); err != nil {
			return err
		}
		list = append(list, v)
		for g := range groups {
			if list[groups[g][0]].lag == lag {
				groups[g] = append(groups[g], len(list)-1)
				return nil
			}
		}
		groups = append(groups, []int{len(list) - 1})
		return nil
	}
	for _, lag := range lagsOf(options) {
		if err := add(lag, options.FeeBps, options.SlippageBps); err != nil {
			return nil, err
		}
	}
	for _, lag := range options.possible(sensitivityLags) {
		for _, bps := range sensitivityBps {
			if err := add(lag, bps, 0); err != nil {
				return nil, err
			}
		}
	}
	var wg sync.WaitGroup
	var taken atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(groups)) {
		wg.Go(func() {
			for {
				g := int(taken.Add(1)) - 1
				if g >= len(groups) || ctx.Err() != nil {
					return
				}
				p.measure(options, list, groups[g])
			}
		})
	}
	wg.Wait()
	return list, context.Cause(ctx)
}

func find(list []variant, lag int, fee, slippage float64) *variant {
	for i := range list {
		if v := &list[i]; v.lag == lag && v.feeBps == fee && v.slippageBps == slippage {
			return v
		}
	}
	return nil
}

// measure replays some variants, of one lag.
func (p *prepared) measure(options Options, list []variant, of []int) {
	side := newSideBySide(p, list[of[0]].options(options))
	for _, i := range of {
		side.add(list[i].feeBps, list[i].slippageBps)
	}
	together := side.run()
	for l, i := range of {
		v := &list[i]
		if together {
			v.performance, v.turnover = side.lanes[l].measured(options.InitialCapital)
			continue
		}
		m := p.simulate(v.options(options), detail{}).Metrics
		v.performance, v.turnover = m.Performance, m.Turnover
	}
}

// lagTable is what the lags give at the costs asked for.
func lagTable(list []variant, options Options) []Lag {
	var table []Lag
	for _, lag := range lagsOf(options) {
		v := find(list, lag, options.FeeBps, options.SlippageBps)
		table = append(table, Lag{LagDays: int64(lag), Optimistic: lag == 0, Performance: v.performance, Turnover: v.turnover})
	}
	return table
}

// sensitivityTable is what every pair of some lags and costs gives.
func sensitivityTable(list []variant, options Options) []Sensitivity {
	var table []Sensitivity
	for _, lag := range options.possible(sensitivityLags) {
		for _, bps := range sensitivityBps {
			v := find(list, lag, bps, 0).performance
			table = append(table, Sensitivity{LagDays: int64(lag), CostBps: bps, CAGR: v.CAGR, Sharpe: v.Sharpe, MaxDD: v.MaxDD})
		}
	}
	return table
}

// sideBySide replays the same decisions with the same lag at several costs. What is
// traded and held, and at which prices, is the same for all; each lane has its own
// money. It does what account does, in the same order of operations, so that each
// lane has the bits that it has alone; where the lanes would not trade and hold the
// same, or a number leaves the range of floats, it gives up.
type sideBySide struct {
	p        *prepared
	options  Options // costs aside
	interest float64
	rules    account // for what keeps a symbol from being traded, and for the rule
	lanes    []lane
	started  bool
	days     int

	held, merged []int32
	mergedLast   []float64

	// Of a fill: what is held or wanted, and of that what is traded.
	symbols  []int32
	lasts    []float64
	tradable []bool
	k        []int32
	price    []float64
	weight   []float64
	scaled   []float64 // weight / its sum
	holding  []float64
}

// lane is the money of one variant.
type lane struct {
	feeBps, slippageBps, cost float64
	cash, peak, before        float64
	buys, sells               float64   // of the session
	qty                       []float64 // by symbol
	returns                   []float64
	turnover, worst           float64
}

func newSideBySide(p *prepared, options Options) *sideBySide {
	n := len(p.market.Symbols)
	return &sideBySide{
		p: p, options: options, interest: dailyInterest(options.CashRate),
		rules: account{market: p.market, options: options, spans: p.spans, last: make([]float64, n), lastBar: make([]int, n)},
	}
}

func (b *sideBySide) add(feeBps, slippageBps float64) {
	b.lanes = append(b.lanes, lane{
		feeBps: feeBps, slippageBps: slippageBps, cost: (feeBps + slippageBps) / 1e4, cash: b.options.InitialCapital,
		qty: make([]float64, len(b.p.market.Symbols)), returns: make([]float64, 0, len(b.p.market.Sessions)),
	})
}

// run replays. Not ok: the lanes part, and each is to be replayed alone.
func (b *sideBySide) run() (ok bool) {
	if !b.options.plain() || b.options.Open {
		return false
	}
	plan := b.p.plan(b.options.Lag)
	for s := range b.p.market.Sessions {
		for l := range b.lanes {
			b.lanes[l].buys, b.lanes[l].sells = 0, 0
		}
		if b.started {
			for l := range b.lanes {
				b.lanes[l].cash += float64(b.lanes[l].cash * b.interest)
			}
			b.mark(s)
		}
		if d := plan.due[s]; d >= 0 && !b.fill(s, b.p.targets[d]) {
			return false
		}
		if b.started && !b.close() {
			return false
		}
	}
	return true
}

// mark is account.mark.
func (b *sideBySide) mark(s int) {
	a := &b.rules
	stay := b.held[:0]
	for _, held := range b.held {
		k := int(held)
		p, ok := a.price(k, s)
		if ok {
			a.last[k], a.lastBar[k] = p, s
		}
		x := a.spanAt(k, s)
		switch {
		case x != nil && x.known.Kind == KindDelisting:
			b.delist(k, x)
		case !ok && a.gone(k, s):
			b.delist(k, nil)
		default:
			stay = append(stay, held)
		}
	}
	b.held = stay
}

func (b *sideBySide) delist(k int, known *span) {
	p := b.rules.last[k] * (1 + b.options.delistingReturn(known))
	for l := range b.lanes {
		b.lanes[l].cash += float64(b.lanes[l].qty[k] * p)
		b.lanes[l].qty[k] = 0
	}
}

// fill is account.fill, for every lane. Not ok: the lanes part.
func (b *sideBySide) fill(s int, targets []target) (ok bool) {
	gross, bought := b.gather(s, targets)
	if n := len(b.k); cap(b.holding) < n {
		b.holding, b.scaled = make([]float64, n, 2*n), make([]float64, n, 2*n)
	}
	b.holding, b.scaled = b.holding[:len(b.k)], b.scaled[:len(b.k)]
	for i, w := range b.weight {
		b.scaled[i] = w / gross
	}
	for l := range b.lanes {
		if !b.trade(&b.lanes[l], gross) {
			return false
		}
	}
	// Without a lane that parts, what is held is what is wanted or not traded.
	b.started = b.started || bought
	b.held, b.merged = b.merged, b.held
	return true
}

// gather notes what is held or wanted at session s, what of that is traded, and what
// is held afterwards; gross is the sum of the weights that are traded.
func (b *sideBySide) gather(s int, targets []target) (gross float64, bought bool) {
	a := &b.rules
	b.symbols, b.lasts, b.tradable = b.symbols[:0], b.lasts[:0], b.tradable[:0]
	b.k, b.price, b.weight, b.merged = b.k[:0], b.price[:0], b.weight[:0], b.merged[:0]
	for len(targets) > 0 && targets[0].k < 0 {
		targets = targets[1:]
	}
	i, j := 0, 0
	for i < len(b.held) || j < len(targets) {
		k, weight, held := 0, 0., false
		switch {
		case j == len(targets) || i < len(b.held) && int(b.held[i]) < targets[j].k:
			k, held, i = int(b.held[i]), true, i+1
		case i == len(b.held) || targets[j].k < int(b.held[i]):
			k, weight, j = targets[j].k, targets[j].weight, j+1
		default:
			k, weight, held, i, j = targets[j].k, targets[j].weight, true, i+1, j+1
		}
		price, ok := a.tradable(k, s)
		b.symbols, b.lasts, b.tradable = append(b.symbols, int32(k)), append(b.lasts, a.last[k]), append(b.tradable, ok)
		if ok {
			b.k, b.price, b.weight = append(b.k, int32(k)), append(b.price, price), append(b.weight, weight)
			gross += weight
			if weight > 0 {
				bought = true
				a.last[k], a.lastBar[k] = price, s
			}
		}
		if ok && weight > 0 || !ok && held {
			b.merged = append(b.merged, int32(k))
		}
	}
	return gross, bought
}

// trade is what account.fill does with the money of a lane. Not ok: it would not hold
// what it is to hold.
func (b *sideBySide) trade(l *lane, gross float64) (ok bool) {
	qty, holding, price, k := l.qty, b.holding, b.price[:len(b.holding)], b.k[:len(b.holding)]
	equity, frozen := l.cash, 0.
	j := 0
	for i, symbol := range b.symbols {
		h := float64(qty[symbol] * b.lasts[i])
		equity += h
		if !b.tradable[i] {
			frozen += h
			continue
		}
		holding[j] = h
		j++
	}
	weight := b.weight
	var after float64
	// Where nothing is frozen, gross x after > after says no more than gross > 1.
	plain := frozen == 0 && equity > 1e-290
	if !plain || gross <= 1 {
		after = settle(equity, l.cost, weight, holding)
	}
	if plain && gross > 1 || !plain && gross*after > after-frozen {
		weight = b.scaled
		after = settle(equity-frozen, l.cost, weight, holding)
	}
	cash, buys, sells, limit := l.cash, 0., 0., dust*equity
	weight = weight[:len(holding)]
	ok = true
	for i, h := range holding {
		w, at := weight[i], k[i]
		change := float64(w*after) - h
		bits := math.Float64bits(change)
		size := math.Float64frombits(bits &^ signBit)
		if w > 0 {
			if size <= limit {
				ok = ok && qty[at] > 0
				continue
			}
		} else if !(change < 0) || b.weight[i] > 0 {
			return false
		}
		fees := size * l.feeBps / 1e4 // a quotient: nothing is fused with the sums
		if l.slippageBps == 0 {
			cash -= change + fees
		} else {
			cash -= change + fees + size*l.slippageBps/1e4
		}
		sold := uint64(int64(bits) >> 63) // all ones for a sale
		buys += math.Float64frombits(bits &^ sold)
		sells += math.Float64frombits((bits &^ signBit) & sold)
		if w == 0 {
			qty[at] = 0
			continue
		}
		qty[at] += change / price[i]
		ok = ok && qty[at] > 0
	}
	if cash < 0 {
		cash = 0
	}
	l.cash, l.buys, l.sells = cash, buys, sells
	return ok
}

// close is account.close. Not ok: a number is beyond floats.
func (b *sideBySide) close() (ok bool) {
	if cap(b.mergedLast) < len(b.held) {
		b.mergedLast = make([]float64, 2*len(b.held))
	}
	lasts := b.mergedLast[:len(b.held)]
	for i, k := range b.held {
		lasts[i] = b.rules.last[k]
	}
	for i := range b.lanes {
		l := &b.lanes[i]
		positions := 0.
		for i, k := range b.held {
			positions += float64(l.qty[k] * lasts[i])
		}
		equity := l.cash + positions
		if !(equity <= math.MaxFloat64) {
			return false
		}
		if b.days == 0 {
			l.peak = b.options.InitialCapital
		}
		l.peak = max(l.peak, equity)
		l.worst = min(l.worst, equity/l.peak-1)
		if b.days > 0 {
			l.turnover += ratio(max(l.buys, l.sells), equity)
			ret := 0.
			if l.before > 0 {
				ret = equity/l.before - 1
			}
			l.returns = append(l.returns, ret)
			l.before = equity
		} else {
			// The second day's return is counted from the initial capital.
			l.before = b.options.InitialCapital
		}
	}
	b.days++
	return true
}

// measured is what a lane came to.
func (l *lane) measured(initial float64) (p Performance, turnover *float64) {
	n := len(l.returns)
	if n == 0 {
		return p, nil
	}
	return performance(l.returns, l.before/initial, l.worst), new(l.turnover * SessionsPerYear / float64(n))
}
