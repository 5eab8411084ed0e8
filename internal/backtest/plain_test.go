package backtest

import (
	"math"
	"slices"

	"quant"
)

// simulatePlainly is a replay written for reading: one variant at a time, a struct an
// order and a slice of lots a symbol. Whatever replays faster gives its bits.
func (p *prepared) simulatePlainly(options Options, of detail) Result {
	market, decisions := p.market, p.decisions
	plan, spans := p.plan(options.Lag), p.spans
	n := len(market.Symbols)
	a := &plainAccount{
		market: market, options: options, whole: of.trades, spans: spans, cash: options.InitialCapital,
		qty: make([]float64, n), last: make([]float64, n), lastBar: make([]int, n),
		lots: make([][]plainLot, n), episode: make([]float64, n),
	}
	a.metrics.Decisions = int64(len(decisions))
	a.metrics.Cancelled, a.metrics.Unfilled = plan.cancelled, plan.unfilled
	interest := math.Pow(1+options.CashRate, 1./SessionsPerYear) - 1
	a.days, a.returns = make([]Day, 0, len(market.Sessions)), make([]float64, len(market.Sessions))
	for s := range market.Sessions {
		var day plainTraded
		if a.started {
			a.metrics.Interest += a.cash * interest
			a.cash += a.cash * interest
			a.mark(s)
		}
		if d := plan.due[s]; d >= 0 {
			day = a.fill(s, p.targets[d])
		}
		if of.rejoin {
			a.rejoin(s, &day)
		}
		if a.started {
			a.close(s, day)
		}
	}
	return a.result()
}

// account is the state of a replay. Slices by symbol have the market's order.
type plainAccount struct {
	market  Market
	options Options
	whole   bool
	spans   [][]span // by symbol

	cash    float64
	held    []int        // symbols with a position, ascending
	qty     []float64    // shares
	last    []float64    // last price of what is held
	lastBar []int        // and its session
	lots    [][]plainLot // oldest first
	episode []float64    // pnl since the position was last flat

	started  bool
	peak     float64
	days     []Day
	returns  []float64 // of days, which point to them
	holdings []Holding
	trades   []Trade
	closed   []plainClosing
	metrics  Metrics
	wins     int64
	earned   float64 // by the episodes that have ended
	exposure float64 // sum over days

	orders []plainOrder // of a fill, used again by the next
	merged []int
}

// lot is shares bought together.
type plainLot struct {
	session        int
	price, qty     float64
	left           float64 // of qty
	fees, slippage float64 // of the purchase, for qty
}

// traded is what a session's fill came to, in money.
type plainTraded struct{ buys, sells, fees, slippage float64 }

// price is the close of symbol k at session s, or false.
func (a *plainAccount) price(k, s int) (float64, bool) {
	if k < 0 {
		return 0, false
	}
	p := a.market.Close[k][s]
	return p, p > 0 && !math.IsInf(p, 0)
}

// tradable is the close at which symbol k may be bought and sold at session s, or
// false.
func (a *plainAccount) tradable(k, s int) (float64, bool) {
	if k < 0 || a.spanAt(k, s) != nil {
		return 0, false
	}
	return a.price(k, s)
}

// spanAt is what is known to keep symbol k from being traded at session s; nil:
// nothing.
func (a *plainAccount) spanAt(k, s int) *span {
	for i := range a.spans[k] {
		if x := &a.spans[k][i]; x.first <= s && s <= x.last {
			return x
		}
	}
	return nil
}

// mark values what is held at session s, and closes what has left the market.
func (a *plainAccount) mark(s int) {
	stay := a.held[:0]
	for _, k := range a.held {
		p, ok := a.price(k, s)
		if ok {
			a.last[k], a.lastBar[k] = p, s
		}
		if x := a.spanAt(k, s); x != nil && x.known.Kind == KindDelisting {
			a.delist(k, s, x)
			continue
		}
		if !ok && a.gone(k, s) {
			a.delist(k, s, nil)
			continue
		}
		if !ok {
			a.metrics.Gaps++
		}
		stay = append(stay, k)
	}
	a.held = stay
}

// gone reports whether the rule closes a position in symbol k, which has no bar at
// session s.
func (a *plainAccount) gone(k, s int) bool {
	since := a.lastBar[k]
	for _, x := range a.spans[k] {
		switch {
		case x.known.Kind == KindDelisting && x.first > s:
			return false
		case x.known.Kind == KindHalt && x.first <= s:
			since = max(since, min(x.last, s))
		}
	}
	return s-since >= a.options.DelistAfter
}

// closing is a position that was closed as Delisted.
type plainClosing struct {
	Delisting
	k, s  int
	money float64 // that it gave
	over  bool    // it was bought back
}

// delist closes the position in symbol k at session s, because of what is known or,
// for nil, by the rule.
func (a *plainAccount) delist(k, s int, known *span) {
	c := plainClosing{k: k, s: s, Delisting: Delisting{
		Symbol: a.market.Symbols[k], LastBar: a.market.Sessions[a.lastBar[k]], ClosedOn: a.market.Sessions[s],
		LastPrice: a.last[k], Return: a.options.DelistingReturn, Qty: a.qty[k], Cause: CauseRule,
	}}
	if known != nil {
		c.Cause, c.Reason = CauseKnown, known.known.Reason
		if known.known.Return != nil {
			c.Return = *known.known.Return
		}
	}
	p := c.LastPrice * (1 + c.Return)
	c.money = c.Qty * p
	c.PnL = c.money - c.Qty*c.LastPrice
	a.cash += c.money
	a.metrics.Delisted++
	a.closed = append(a.closed, c)
	a.sell(k, s, a.qty[k], p, 0, 0, Delisted)
}

// rejoin buys back at session s what trades again.
func (a *plainAccount) rejoin(s int, day *plainTraded) {
	cost := (a.options.FeeBps + a.options.SlippageBps) / 1e4
	for i := range a.closed {
		c := &a.closed[i]
		p, ok := a.tradable(c.k, s)
		if c.over || !ok || s == c.s {
			continue
		}
		c.over = true
		value := min(c.money, a.cash) / (1 + cost)
		if value <= 0 {
			continue
		}
		fees, slippage := value*a.options.FeeBps/1e4, value*a.options.SlippageBps/1e4
		a.cash = max(a.cash-value-fees-slippage, 0)
		day.buys += value
		day.fees += fees
		day.slippage += slippage
		a.metrics.Fees += fees
		a.metrics.Slippage += slippage
		a.buy(c.k, s, value/p, p, fees, slippage)
		at, _ := slices.BinarySearch(a.held, c.k)
		a.held = slices.Insert(a.held, at, c.k)
	}
}

// delistings are the positions that were closed as Delisted, with what became of
// their symbols.
func (a *plainAccount) delistings() []Delisting {
	var list []Delisting
	for _, c := range a.closed {
		for s := c.s + 1; s < len(a.market.Sessions); s++ {
			if _, ok := a.price(c.k, s); ok {
				c.TradedAgain, c.Untraded = &a.market.Sessions[s], a.spanAt(c.k, s) != nil
				break
			}
		}
		list = append(list, c.Delisting)
	}
	return list
}

// order is one symbol at a fill.
type plainOrder struct {
	k              int
	weight         float64
	price, holding float64 // holding is the value of the position
}

// fill brings the account to the targets at the closes of session s.
func (a *plainAccount) fill(s int, targets []target) (day plainTraded) {
	orders := a.orders[:0]
	var frozen float64 // held, and without a bar
	equity := a.cash
	i, j := 0, 0
	for i < len(a.held) || j < len(targets) { // both ascending by k
		o := plainOrder{}
		switch {
		case j == len(targets) || i < len(a.held) && a.held[i] < targets[j].k:
			o.k, i = a.held[i], i+1
		case i == len(a.held) || targets[j].k < a.held[i]:
			o.k, o.weight, j = targets[j].k, targets[j].weight, j+1
		default:
			o.k, o.weight, i, j = a.held[i], targets[j].weight, i+1, j+1
		}
		price, ok := a.tradable(o.k, s)
		if o.k >= 0 {
			o.price, o.holding = price, a.qty[o.k]*a.last[o.k]
		}
		equity += o.holding
		if !ok {
			frozen += o.holding
			a.metrics.Dropped++
			continue
		}
		orders = append(orders, o)
	}
	a.orders = orders
	cost := (a.options.FeeBps + a.options.SlippageBps) / 1e4
	after := settlePlainly(equity, cost, orders)
	var gross float64
	for _, o := range orders {
		gross += o.weight
	}
	if gross*after > after-frozen { // more than what there is beside the frozen
		for i := range orders {
			orders[i].weight /= gross
		}
		after = settlePlainly(equity-frozen, cost, orders)
	}
	for _, o := range orders {
		change := o.weight*after - o.holding
		if o.weight > 0 && math.Abs(change) <= dust*equity || change == 0 {
			continue
		}
		fees, slippage := math.Abs(change)*a.options.FeeBps/1e4, math.Abs(change)*a.options.SlippageBps/1e4
		a.cash -= change + fees + slippage
		day.fees += fees
		day.slippage += slippage
		switch {
		case change > 0:
			day.buys += change
			a.buy(o.k, s, change/o.price, o.price, fees, slippage)
		case o.weight == 0:
			day.sells -= change
			a.sell(o.k, s, a.qty[o.k], o.price, fees, slippage, Closed)
		default:
			day.sells -= change
			a.sell(o.k, s, -change/o.price, o.price, fees, slippage, Reduced)
		}
	}
	if a.cash < 0 {
		a.cash = 0 // the rounding of the sums above: some 1e-16 of equity
	}
	a.hold(orders)
	a.metrics.Fees += day.fees
	a.metrics.Slippage += day.slippage
	if !a.started && day.buys > 0 {
		a.started, a.peak = true, a.options.InitialCapital
		first := a.market.Sessions[s]
		a.metrics.FirstFill = &first
	}
	return day
}

// hold makes held what is held after orders: both are ascending by symbol, and so is
// their union.
func (a *plainAccount) hold(orders []plainOrder) {
	merged := a.merged[:0]
	i, j := 0, 0
	for i < len(a.held) || j < len(orders) {
		k := 0
		switch {
		case j == len(orders) || i < len(a.held) && a.held[i] < orders[j].k:
			k, i = a.held[i], i+1
		case i == len(a.held) || orders[j].k < a.held[i]:
			k, j = orders[j].k, j+1
		default:
			k, i, j = a.held[i], i+1, j+1
		}
		if a.qty[k] > 0 {
			merged = append(merged, k)
		}
	}
	a.held, a.merged = merged, a.held
}

// settlePlainly returns the x with x + cost x sum|weight x - holding| = budget, which
// is equity after costs when budget is equity before them. The left side is
// convex, piecewise linear and rising in x (cost < 1, weights up to 1 in sum),
// so that Newton's method from the right, from x = budget, walks from piece to
// piece to the exact root, in at most one step a piece; there are as many
// pieces as orders, and two or three steps in practice.
func settlePlainly(budget, cost float64, orders []plainOrder) float64 {
	x := budget
	if cost == 0 {
		return x
	}
	for range len(orders) + 2 {
		// On x's piece, sum|...| = slope x + offset.
		var slope, offset float64
		for _, o := range orders {
			if o.weight*x > o.holding {
				slope += o.weight
				offset -= o.holding
			} else {
				slope -= o.weight
				offset += o.holding
			}
		}
		next := (budget - cost*offset) / (1 + cost*slope)
		if !(next < x) {
			break // the piece of the root
		}
		x = next
	}
	return x
}

func (a *plainAccount) buy(k, s int, qty, price, fees, slippage float64) {
	a.qty[k] += qty
	a.last[k], a.lastBar[k] = price, s
	if a.whole {
		a.lots[k] = append(a.lots[k], plainLot{session: s, price: price, qty: qty, left: qty, fees: fees, slippage: slippage})
	}
}

// sell takes qty shares out of the oldest lots, and all of them unless the
// reason is Reduced. fees and slippage are those of this sale.
func (a *plainAccount) sell(k, s int, qty, price, fees, slippage float64, reason string) {
	a.qty[k] -= qty
	if reason != Reduced {
		a.qty[k] = 0
	}
	if !a.whole {
		return
	}
	remaining := qty
	lots := a.lots[k]
	for len(lots) > 0 && (remaining > 0 || reason != Reduced) {
		l := &lots[0]
		take := min(l.left, remaining)
		if reason != Reduced || l.left-take <= dust*l.qty {
			take = l.left
		}
		share := take / qty
		a.trade(k, *l, take, price, fees*share, slippage*share, &a.market.Sessions[s], reason)
		remaining -= take
		l.left -= take
		if l.left <= 0 {
			lots = lots[1:]
		}
	}
	a.lots[k] = lots
	if reason != Reduced {
		a.metrics.NumTrades++
		a.earned += a.episode[k]
		if a.episode[k] > 0 {
			a.wins++
		}
		a.episode[k] = 0
	}
}

// trade notes a round trip of qty shares of a lot.
func (a *plainAccount) trade(k int, l plainLot, qty, price, fees, slippage float64, exit *quant.Date, reason string) {
	part := qty / l.qty
	t := Trade{
		Symbol: a.market.Symbols[k], EntryTS: a.market.Sessions[l.session], EntryPrice: l.price, Qty: qty,
		ExitTS: exit, ExitPrice: price, Fees: l.fees*part + fees, Slippage: l.slippage*part + slippage, Reason: reason,
	}
	t.PnL = qty*(price-l.price) - t.Fees - t.Slippage
	t.PnLPct = t.PnL / (qty * l.price)
	a.episode[k] += t.PnL
	a.trades = append(a.trades, t)
}

// close notes the account at the close of session s.
func (a *plainAccount) close(s int, day plainTraded) {
	d := Day{TS: a.market.Sessions[s], Cash: a.cash, Costs: day.fees + day.slippage}
	for _, k := range a.held {
		d.Positions += a.qty[k] * a.last[k]
	}
	d.Equity = d.Cash + d.Positions
	a.peak = max(a.peak, d.Equity)
	d.Drawdown = d.Equity/a.peak - 1
	d.Turnover = plainRatio(max(day.buys, day.sells), d.Equity)
	if n := len(a.days); n > 0 {
		before := a.days[n-1].Equity
		if n == 1 {
			before = a.options.InitialCapital
		}
		ret := &a.returns[n]
		if *ret = 0; before > 0 { // nothing stays nothing
			*ret = d.Equity/before - 1
		}
		d.Ret = ret
	}
	a.exposure += plainRatio(d.Positions, d.Equity)
	a.days = append(a.days, d)
	if !a.whole {
		return
	}
	for _, k := range a.held {
		value := a.qty[k] * a.last[k]
		a.holdings = append(a.holdings, Holding{TS: d.TS, Symbol: a.market.Symbols[k], Qty: a.qty[k], Price: a.last[k], Value: value, Weight: plainRatio(value, d.Equity)})
	}
}

func plainRatio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// result marks what is still held and measures.
func (a *plainAccount) result() Result {
	m := &a.metrics
	m.OpenPositions = int64(len(a.held))
	if a.whole {
		for _, k := range a.held {
			for _, l := range a.lots[k] {
				a.trade(k, l, l.left, a.last[k], 0, 0, nil, Open)
			}
		}
		if m.NumTrades > 0 {
			m.WinRate = new(float64(a.wins) / float64(m.NumTrades))
			m.AvgTrade = new(a.earned / float64(m.NumTrades))
		}
	}
	if n := len(a.market.Sessions); n > 0 {
		last := a.market.Sessions[n-1]
		m.LastSession = &last
	}
	m.FinalEquity = a.options.InitialCapital
	if len(a.days) > 0 {
		m.FinalEquity = a.days[len(a.days)-1].Equity
		m.FirstPurchase = a.days[0].Turnover
		m.AvgExposure = new(a.exposure / float64(len(a.days)))
		var turnover, worst float64
		for i := range a.days {
			worst = min(worst, a.days[i].Drawdown)
			if i > 0 {
				turnover += a.days[i].Turnover
			}
		}
		returns := a.returns[1:len(a.days)]
		m.Performance = performance(returns, m.FinalEquity/a.options.InitialCapital, worst)
		if len(returns) > 0 {
			m.Turnover = new(turnover * SessionsPerYear / float64(len(returns)))
		}
	}
	return Result{Days: a.days, Holdings: a.holdings, Trades: a.trades, Delistings: a.delistings(), Metrics: *m}
}
