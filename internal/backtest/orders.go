package backtest

import (
	"math"
	"slices"
)

// ticket is an order at a session, in money: what is bought is positive, what is sold
// negative.
type ticket struct {
	k       int
	price   float64
	weight  float64 // of equity, of a decision
	holding float64 // value of the position before it; negative: short
	wanted  float64
	limit   float64 // most that the session's volume lets through
	impact  float64 // see impactOf
	change  float64 // what is traded
}

// working is what a session's volume left of an order, in shares. It waits for the next
// sessions, and is given up where a decision is filled, its symbol leaves the market, or
// the account's margin is called.
type working struct {
	k      int
	qty    float64
	price  float64 // when it was ordered
	impact float64
}

// impactOf is what the square-root model says of trades in symbol k by what is known at
// the close of session asof: a trade of a value v costs v x Impact x volatility of a
// day's return x sqrt(v / average value of a day), which is impactOf x v^1.5. The form
// is that of Grinold and Kahn, Active Portfolio Management, 2nd ed. (2000), chapter 16;
// Almgren, Thum, Hauptmann and Li, Direct Estimation of Equity Market Impact, Risk 18(7)
// (2005), measure an exponent of 0.6 +- 0.04 where this has 0.5. Where nothing is known
// it is 0, which is counted.
func (a *account) impactOf(k, asof int) float64 {
	if a.options.Impact == 0 {
		return 0
	}
	if asof >= 0 {
		if adv, vol := a.market.ADV[k][asof], a.market.Vol[k][asof]; adv > 0 && vol >= 0 && !math.IsInf(adv, 0) && !math.IsInf(vol, 0) {
			return a.options.Impact * vol / math.Sqrt(adv)
		}
	}
	a.metrics.Book.ImpactUnknown++
	return 0
}

// limitOf is the value of symbol k that session s lets be traded.
func (a *account) limitOf(k, s int, price float64) float64 {
	if a.options.MaxVolumeShare == 0 {
		return math.Inf(1)
	}
	if v := a.market.Volume[k][s]; v > 0 && !math.IsInf(v, 0) {
		return a.options.MaxVolumeShare * v * price
	}
	return 0
}

// costOf is what trading change costs.
func (a *account) costOf(t *ticket, change float64) float64 {
	size := math.Abs(change)
	return size*((a.options.FeeBps+a.options.SlippageBps)/1e4) + t.impact*size*math.Sqrt(size)
}

func clamp(x, limit float64) float64 { return max(-limit, min(limit, x)) }

// order brings the account to the targets of a decision of session asof at the prices
// of session s, as fill does: each weight is of equity after all costs. It may sell
// short, trades no more than the session's volume lets through, and pays for the impact.
// What would grow beyond the initial margin is scaled: see restrain.
func (a *account) order(s, asof int, targets []target) (day traded) {
	a.abandonAll()
	b := a.metrics.Book
	a.orders, a.tickets = a.orders[:0], a.tickets[:0]
	var frozen, frozenGross float64 // held, and not traded
	equity := a.cash
	i, j := 0, 0
	for i < len(a.held) || j < len(targets) { // both ascending by k
		var t ticket
		switch {
		case j == len(targets) || i < len(a.held) && a.held[i] < targets[j].k:
			t.k, i = a.held[i], i+1
		case i == len(a.held) || targets[j].k < a.held[i]:
			t.k, t.weight, j = targets[j].k, targets[j].weight, j+1
		default:
			t.k, t.weight, i, j = a.held[i], targets[j].weight, i+1, j+1
		}
		price, ok := a.fillPrice(t.k, s)
		if t.k >= 0 {
			t.holding = float64(a.qty[t.k] * a.last[t.k])
		}
		equity += t.holding
		if !ok {
			frozen, frozenGross = frozen+t.holding, frozenGross+math.Abs(t.holding)
			a.metrics.Dropped++
			continue
		}
		t.price, t.limit, t.impact = price, a.limitOf(t.k, s, price), a.impactOf(t.k, asof)
		a.orders, a.tickets = append(a.orders, order{t.k, price}), append(a.tickets, t)
	}
	x, ok := a.balance(equity, frozen)
	if !ok {
		b.Unaffordable++
		return day
	}
	aim := a.aim(frozen)
	for i := range a.tickets {
		t := &a.tickets[i]
		value, _ := aim(t.weight, x)
		t.wanted = value - t.holding
		if t.weight != 0 && math.Abs(t.wanted) <= dust*equity {
			t.wanted = 0
		}
		t.change = clamp(t.wanted, t.limit)
		b.Ordered += math.Abs(t.wanted)
	}
	if a.restrain(equity, frozenGross) {
		b.Scaled++
	}
	for i := range a.tickets {
		t := &a.tickets[i]
		a.apply(t, s, &day, "")
		rest := t.wanted - t.change
		switch {
		case math.Abs(rest) <= dust*equity:
		case a.options.MaxVolumeShare > 0:
			a.working = append(a.working, working{t.k, rest / t.price, t.price, t.impact})
		default:
			b.unfilled += math.Abs(rest)
		}
	}
	a.settled(s, &day)
	return day
}

// settled ends a session's orders.
func (a *account) settled(s int, day *traded) {
	if a.cash < 0 && !a.options.LongShort {
		a.cash = 0 // rounding
	}
	a.hold(a.orders)
	a.metrics.Fees += day.fees
	a.metrics.Slippage += day.slippage
	a.metrics.Book.ImpactCost += day.impact
	a.start(s, len(a.held) > 0)
}

// aim returns what a weight is to be worth where equity is x, and how fast that rises
// with x. A book that is only long shares what the frozen leave where that is less, in
// proportion.
func (a *account) aim(frozen float64) func(weight, x float64) (value, slope float64) {
	var gross float64
	for i := range a.tickets {
		gross += a.tickets[i].weight
	}
	return func(weight, x float64) (value, slope float64) {
		if room := max(x-frozen, 0); !a.options.LongShort && gross*x > room {
			return weight / gross * room, weight / gross
		}
		return weight * x, weight
	}
}

// balance returns the x with x + costs of bringing the tickets to their weights of x =
// equity, which is equity after costs. Not ok: they would cost more than there is.
// Newton's method within a bracket, so that it ends where the costs of the impact bend
// the line.
func (a *account) balance(equity, frozen float64) (x float64, ok bool) {
	aim, cost := a.aim(frozen), (a.options.FeeBps+a.options.SlippageBps)/1e4
	over := func(x float64) (excess, slope float64) {
		excess, slope = x-equity, 1
		for i := range a.tickets {
			t := &a.tickets[i]
			value, rises := aim(t.weight, x)
			change := value - t.holding
			if excess += a.costOf(t, clamp(change, t.limit)); math.Abs(change) < t.limit {
				slope += math.Copysign(rises*(cost+1.5*t.impact*math.Sqrt(math.Abs(change))), rises*change)
			}
		}
		return excess, slope
	}
	low, high := 0.0, equity
	if !a.options.LongShort {
		low = frozen
	}
	if excess, _ := over(low); !(equity > 0) || excess > dust*equity {
		return 0, false
	}
	x = high
	for range 200 {
		excess, slope := over(x)
		if excess > 0 {
			high = x
		} else {
			low = x
		}
		next := x - excess/slope
		if math.Abs(next-x) <= 1e-16*equity {
			break
		}
		if !(next > low && next < high) {
			if next = low + (high-low)/2; next == low || next == high {
				break
			}
		}
		x = next
	}
	return x, true
}

// restrain scales what makes positions grow, all alike, so that equity after the trades
// is the initial margin of longs and shorts; of a book that is only long, all of them:
// it borrows nothing. What makes positions smaller is traded as it is. It reports whether
// it had to.
func (a *account) restrain(equity, frozenGross float64) bool {
	margin := 1.0
	if a.options.LongShort {
		margin = a.options.MarginInitial
	}
	scaled := func(t *ticket, by float64) float64 {
		reduces := 0.0
		if t.holding*t.change < 0 {
			reduces = clamp(t.change, math.Abs(t.holding))
		}
		return reduces + by*(t.change-reduces)
	}
	fits := func(by float64) bool {
		after, gross := equity, frozenGross
		for i := range a.tickets {
			t := &a.tickets[i]
			change := t.change
			if by < 1 {
				change = scaled(t, by)
			}
			after -= a.costOf(t, change)
			gross += math.Abs(t.holding + change)
		}
		return after-margin*gross >= -dust*equity
	}
	if fits(1) {
		return false
	}
	low, high := 0.0, 1.0
	for range 64 {
		if by := (low + high) / 2; fits(by) {
			low = by
		} else {
			high = by
		}
	}
	for i := range a.tickets {
		a.tickets[i].change = scaled(&a.tickets[i], low)
	}
	return true
}

// apply trades what a ticket says at session s. reason is that of what it closes; "":
// Closed or Reduced.
func (a *account) apply(t *ticket, s int, day *traded, reason string) {
	if t.change == 0 {
		return
	}
	size := math.Abs(t.change)
	fees, slippage, impact := size*a.options.FeeBps/1e4, size*a.options.SlippageBps/1e4, t.impact*size*math.Sqrt(size)
	a.cash -= t.change + fees + slippage + impact
	day.fees += fees
	day.slippage += slippage
	day.impact += impact
	day.buys += max(t.change, 0)
	day.sells += max(-t.change, 0)
	slippage += impact
	qty, change := a.qty[t.k], t.change/t.price
	why := func(otherwise string) string {
		if reason != "" {
			return reason
		}
		return otherwise
	}
	switch {
	case qty == 0 || (qty > 0) == (change > 0):
		a.buy(t.k, s, change, t.price, fees, slippage)
	case math.Abs(qty+change) <= dust*math.Abs(qty):
		a.sell(t.k, s, qty, t.price, fees, slippage, why(Closed), true)
	case math.Abs(change) < math.Abs(qty):
		a.sell(t.k, s, -change, t.price, fees, slippage, why(Reduced), false)
	default: // to the other side
		part := math.Abs(qty / change)
		a.sell(t.k, s, qty, t.price, fees*part, slippage*part, why(Closed), true)
		a.buy(t.k, s, qty+change, t.price, fees*(1-part), slippage*(1-part))
	}
}

// work trades what waits of earlier orders, as far as the volume of session s and the
// margin let it.
func (a *account) work(s int) (day traded) {
	equity := a.cash
	var gross float64
	for _, k := range a.held {
		equity += float64(a.qty[k] * a.last[k])
		gross += math.Abs(float64(a.qty[k] * a.last[k]))
	}
	if equity <= 0 {
		return day
	}
	a.orders, a.tickets = a.orders[:0], a.tickets[:0]
	waits := a.working[:0]
	var of []working
	for _, w := range a.working {
		price, ok := a.fillPrice(w.k, s)
		if !ok {
			waits = append(waits, w)
			continue
		}
		t := ticket{k: w.k, price: price, wanted: w.qty * price, impact: w.impact, limit: a.limitOf(w.k, s, price), holding: float64(a.qty[w.k] * a.last[w.k])}
		t.change = clamp(t.wanted, t.limit)
		gross -= math.Abs(t.holding)
		a.orders, a.tickets, of = append(a.orders, order{t.k, price}), append(a.tickets, t), append(of, w)
	}
	a.restrain(equity, gross)
	for i := range a.tickets {
		t, w := &a.tickets[i], of[i]
		a.apply(t, s, &day, "")
		if w.qty = (t.wanted - t.change) / t.price; math.Abs(t.wanted-t.change) > dust*equity {
			waits = append(waits, w)
		}
	}
	slices.SortFunc(waits, func(a, b working) int { return a.k - b.k })
	a.working = waits
	a.settled(s, &day)
	return day
}

// abandon gives up what waits in symbol k.
func (a *account) abandon(k int) {
	a.working = slices.DeleteFunc(a.working, func(w working) bool {
		if w.k == k {
			a.metrics.Book.unfilled += math.Abs(w.qty * w.price)
		}
		return w.k == k
	})
}

func (a *account) abandonAll() {
	for len(a.working) > 0 {
		a.abandon(a.working[0].k)
	}
}

// marginSlack is the share of equity by which a margin may be missed: what rounding
// leaves of an order that was scaled to it calls for nothing.
const marginSlack = 1e-9

// callMargin holds the account to its margins at the close of session s. Where equity is
// less than the maintenance margin of longs and shorts, all that is traded that day is
// reduced in one proportion, at the close and whatever the volume, until equity is the
// initial margin again; what waits is given up. Where nothing is left of equity, all is
// closed at the last prices, and the account with it: what is owed stays.
func (a *account) callMargin(s int, day *traded) {
	b := a.metrics.Book
	value := func() (equity, gross float64) {
		equity = a.cash
		for _, k := range a.held {
			v := float64(a.qty[k] * a.last[k])
			equity, gross = equity+v, gross+math.Abs(v)
		}
		return equity, gross
	}
	equity, gross := value()
	if equity > 0 && equity >= a.options.MarginMaintenance*gross-marginSlack*equity {
		return
	}
	a.abandonAll()
	a.orders, a.tickets = a.orders[:0], a.tickets[:0]
	var called traded
	if equity > 0 {
		b.MarginCalls++
		for _, k := range a.held {
			if price, ok := a.tradable(k, s); ok {
				t := ticket{k: k, price: price, holding: float64(a.qty[k] * a.last[k]), impact: a.impactOf(k, s-1)}
				a.orders, a.tickets, gross = append(a.orders, order{k, price}), append(a.tickets, t), gross-math.Abs(t.holding)
			}
		}
		fits := func(keep float64) bool {
			after, total := equity, gross
			for i := range a.tickets {
				t := &a.tickets[i]
				after -= a.costOf(t, (1-keep)*t.holding)
				total += math.Abs(keep * t.holding)
			}
			return after >= a.options.MarginInitial*total
		}
		low, high := 0.0, 1.0
		for range 64 {
			if keep := (low + high) / 2; fits(keep) {
				low = keep
			} else {
				high = keep
			}
		}
		for i := range a.tickets {
			t := &a.tickets[i]
			t.change = -(1 - low) * t.holding
			a.apply(t, s, &called, MarginCall)
		}
		a.settled(s, &called)
		equity, _ = value()
	}
	if equity <= 0 {
		b.ClosedOn = &a.market.Sessions[s]
		a.orders = a.orders[:0]
		var closing traded
		for _, k := range a.held {
			t := ticket{k: k, price: a.last[k], holding: float64(a.qty[k] * a.last[k])}
			t.change = -t.holding
			a.orders = append(a.orders, order{k, t.price})
			a.apply(&t, s, &closing, MarginCall)
		}
		a.settled(s, &closing)
		called.add(closing)
	}
	day.add(called)
}

// add adds what a later part of the session came to.
func (t *traded) add(more traded) {
	t.buys += more.buys
	t.sells += more.sells
	t.fees += more.fees
	t.slippage += more.slippage
	t.impact += more.impact
}
