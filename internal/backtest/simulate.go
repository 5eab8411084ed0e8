package backtest

import (
	"math"
	"slices"

	"quant"
)

// Market is the closes of some symbols on the sessions that are replayed.
type Market struct {
	Sessions []quant.Date // of the calendar, ascending, none left out
	Symbols  []string     // distinct, in byte order
	// Close[k][s] is the close of Symbols[k] on Sessions[s], on the symbol's
	// basis. What is no positive finite number (NaN) is no bar.
	Close [][]float64
	// What fills need beside closes, on the same basis and in the same order; each may
	// be nil where Options do not ask for it. The first two are the session's open and
	// its volume in shares; the others are what Liquidity says.
	Open, Volume, ADV, Vol [][]float64
	// Known are the delistings and halts that the lab knows of; those of other
	// symbols count for nothing.
	Known []Known
}

// Weight is a symbol's share of equity, decimal; negative: short.
type Weight struct {
	Symbol string  `json:"symbol"`
	Weight float64 `json:"weight"`
}

// Decision is what was decided with what was known at the close of AsOf, a
// session: hold exactly these weights. None means: to cash.
type Decision struct {
	AsOf    quant.Date
	Weights []Weight
}

// Options are the rules of the account. Bps are of the value traded.
type Options struct {
	Lag             int // sessions from a decision's AsOf to its fill
	FeeBps          float64
	SlippageBps     float64
	InitialCapital  float64
	CashRate        float64 // interest on cash, a year, decimal; a session earns (1 + CashRate)^(1/252) - 1
	DelistAfter     int     // sessions without a bar after which a position is closed
	DelistingReturn float64 // decimal, on the last price; -1 at least; where Market.Known has no other

	Open           bool    // fills are at the session's open; with a lag of 1 or more
	MaxVolumeShare float64 // most of a session's volume that is traded; 0: no limit
	Impact         float64 // coefficient of the square-root impact; see impactOf
	// LongShort lets weights be negative. What follows is of such an account.
	LongShort         bool
	BorrowBps         float64 // a year, of what is short, by 1/252 a session
	ShortRebate       float64 // interest on the value of what is short, a year, decimal, as CashRate
	MarginInitial     float64 // least equity after an order, as a share of longs and shorts
	MarginMaintenance float64 // least equity at a close, as a share of longs and shorts
}

// plain reports whether fills cost no more than basis points, are whole, and leave
// nothing short: what fill and sideBySide do.
func (o Options) plain() bool { return !o.LongShort && o.MaxVolumeShare == 0 && o.Impact == 0 }

// NeedsBars reports whether a replay needs more of a market than closes.
func (o Options) NeedsBars() bool { return o.Open || o.MaxVolumeShare > 0 || o.Impact > 0 }

// Validate reports the first option that makes no sense, as Invalid.
func (o Options) Validate() error {
	bad := func(name string, v any, hint string) error {
		return quant.Errorf(quant.Invalid, "backtest: %s %v makes no sense", name, v).WithHint("%s", hint)
	}
	finite := func(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
	switch {
	case o.Lag < 0 || o.Lag > 252:
		return bad("lag_days", o.Lag, "0 to 252 sessions")
	case !finite(o.FeeBps) || o.FeeBps < 0 || o.FeeBps > 5000:
		return bad("fee_bps", o.FeeBps, "basis points, 0 to 5000")
	case !finite(o.SlippageBps) || o.SlippageBps < 0 || o.SlippageBps > 4000:
		return bad("slippage_bps", o.SlippageBps, "basis points, 0 to 4000")
	case !finite(o.InitialCapital) || o.InitialCapital < 1e-3 || o.InitialCapital > 1e15:
		return bad("initial_capital", o.InitialCapital, "a positive amount of money, up to 1e15")
	case !finite(o.CashRate) || o.CashRate <= -1 || o.CashRate > 10:
		return bad("cash_rate", o.CashRate, "a year, decimal: 0.03 is 3 percent")
	case o.DelistAfter < 1:
		return bad("delist_after", o.DelistAfter, "1 session or more")
	case !finite(o.DelistingReturn) || o.DelistingReturn < -1 || o.DelistingReturn > 10:
		return bad("delisting_return", o.DelistingReturn, "decimal, -1 or more: -0.3 loses 30 percent")
	case o.Open && o.Lag == 0:
		return quant.Errorf(quant.Invalid, "backtest: a fill at the open with lag 0 looks ahead: that open is before the close that the decision knows").
			WithHint("lag 1 is the open after the decision: --lag 1, or execution.lag_days: 1")
	case !(o.MaxVolumeShare >= 0 && o.MaxVolumeShare <= 1):
		return bad("max_volume_share", o.MaxVolumeShare, "decimal, above 0 and at most 1; 0 is no limit")
	case !(o.Impact >= 0 && o.Impact <= 10):
		return bad("impact", o.Impact, "0 to 10; about 1 is what is observed")
	case !(o.BorrowBps >= 0 && o.BorrowBps <= 100_000):
		return bad("borrow_bps", o.BorrowBps, "basis points a year, 0 to 100000")
	case !(o.ShortRebate > -1 && o.ShortRebate <= 10):
		return bad("short_rebate", o.ShortRebate, "a year, decimal: 0.03 is 3 percent")
	case o.LongShort && !(o.MarginInitial > 0 && o.MarginInitial <= 1):
		return bad("margin_initial", o.MarginInitial, "decimal, above 0 and at most 1: 0.5 lets longs and shorts be twice equity")
	case o.LongShort && !(o.MarginMaintenance > 0 && o.MarginMaintenance <= o.MarginInitial):
		return bad("margin_maintenance", o.MarginMaintenance, "decimal, above 0 and at most margin_initial")
	}
	return nil
}

// Result is a replay.
type Result struct {
	Days     []Day     // from the session of the first fill; empty if nothing was ever bought
	Holdings []Holding // in the order of TS, symbol
	Trades   []Trade   // in the order of their end; then the open ones
	// Delistings are the positions that were closed as Delisted, in the order in
	// which they were.
	Delistings []Delisting
	Metrics    Metrics
}

// SessionsPerYear annualises.
const SessionsPerYear = 252

// dust is the share of equity below which a difference between a position and
// its target is the rounding of its computation, and not traded.
const dust = 1e-12

// Simulate replays decisions, in ascending order of AsOf, on a market. It is a
// pure function: sums run in the order of sessions and symbols, so that the
// same arguments give the same bits, and nothing at a session depends on later
// prices; Delisting.TradedAgain alone, which is no part of the account, does. At
// the close of each session, in this order: interest on cash; positions in what has
// left the market are closed; the decision that is due is filled. A decision is due
// Options.Lag sessions after its AsOf, unless another one was made before that. With
// Options.Open the fill comes before the closings, at the open. Orders that wait, what
// an account may be short, and margins: see order, work and callMargin.
//
// A position is closed on the first session of a delisting that Market.Known has;
// or by the rule, after DelistAfter sessions without a bar. The rule does not count
// the sessions of a known halt, and closes nothing before the last known delisting
// of the symbol: when that left the market is known. What was closed may be bought
// again by a later decision once it trades again. From the first to the last day of
// what is known a symbol is not traded, as if it had no bar.
//
// A fill makes equity after costs, E', and holds weight x E' of each symbol:
// E' = E - c x sum|w E' - h|, see settle. A symbol without a bar is not traded:
// a position in it stays, and if that leaves too little cash for the others
// they get what there is, in proportion to their weights. A symbol that the
// decision does not name is sold whole.
//
// Invalid: options or a market that make no sense, a decision that is not of a
// session or out of order, weights that name a symbol twice, or, unless
// Options.LongShort, are negative or add up to more than 1 (1e-9 over it is rounding,
// and scaled); costs that could take more than what is traded with.
func Simulate(market Market, decisions []Decision, options Options) (Result, error) {
	return simulate(market, decisions, options, detail{trades: true})
}

// detail says what a replay is for.
type detail struct {
	trades bool // note trades and holdings
	// rejoin buys what was closed as Delisted back at the close of the first session
	// on which it trades again, with what the closing gave, costs included.
	rejoin bool
}

func simulate(market Market, decisions []Decision, options Options, of detail) (Result, error) {
	if err := options.Validate(); err != nil {
		return Result{}, err
	}
	p, err := prepare(market, decisions, options)
	if err != nil {
		return Result{}, err
	}
	return p.simulate(options, of), nil
}

// simulate replays with valid options. It is for concurrent use.
func (p *prepared) simulate(options Options, of detail) Result {
	market, decisions := p.market, p.decisions
	plan, spans := p.plan(options.Lag), p.spans
	n := len(market.Symbols)
	a := &account{
		market: market, options: options, whole: of.trades, spans: spans, cash: options.InitialCapital,
		qty: make([]float64, n), last: make([]float64, n), lastBar: make([]int, n),
		lots: newLots(n, of.trades), episode: make([]float64, n),
	}
	a.metrics.Decisions = int64(len(decisions))
	a.metrics.Cancelled, a.metrics.Unfilled = plan.cancelled, plan.unfilled
	interest := dailyInterest(options.CashRate)
	a.rebate = dailyInterest(options.ShortRebate)
	if options.NeedsBars() || options.LongShort {
		a.metrics.Book = newBook(options)
	}
	a.days, a.returns = make([]Day, 0, len(market.Sessions)), make([]float64, len(market.Sessions))
	for s := range market.Sessions {
		var day traded
		if a.started {
			a.accrue(interest)
			if options.Open {
				a.markOpen(s)
			} else {
				a.mark(s)
			}
		}
		switch d := plan.due[s]; {
		case a.metrics.Book.over():
		case d >= 0 && options.plain():
			day = a.fill(s, p.targets[d])
		case d >= 0:
			day = a.order(s, p.sessions[d], p.targets[d])
		case len(a.working) > 0:
			day = a.work(s)
		}
		if options.Open && a.started {
			a.mark(s)
		}
		if of.rejoin {
			a.rejoin(s, &day)
		}
		if options.LongShort && a.started && !a.metrics.Book.over() {
			a.callMargin(s, &day)
		}
		if a.started {
			a.close(s, day)
		}
	}
	return a.result()
}

// dailyInterest is what a session earns at a rate a year.
func dailyInterest(rate float64) float64 {
	return math.Pow(1+rate, 1./SessionsPerYear) - 1
}

// accrue adds what money earned since the session before. What is short lies as
// collateral beside the account's own money: it earns ShortRebate, and what is borrowed
// costs BorrowBps. A debt, of longs that were bought with borrowed money, costs CashRate.
func (a *account) accrue(interest float64) {
	if !a.options.LongShort {
		earned := float64(a.cash * interest)
		a.metrics.Interest += earned
		a.cash += earned
		return
	}
	if a.metrics.Book.over() {
		return
	}
	var short float64
	for _, k := range a.held {
		if a.qty[k] < 0 {
			short -= float64(a.qty[k] * a.last[k])
		}
	}
	earned := float64((a.cash-short)*interest) + float64(short*a.rebate)
	borrow := short * a.options.BorrowBps / 1e4 / SessionsPerYear
	a.metrics.Interest += earned
	a.metrics.Book.Borrow += borrow
	a.cash += earned - borrow
}

// prepared is a market and decisions that were checked, for replays of any lag and
// cost.
type prepared struct {
	market    Market
	decisions []Decision
	spans     [][]span
	sessions  []int      // of the decisions
	targets   [][]target // of each decision, in the order of symbols
}

// plan says what is filled when.
type plan struct {
	due                 []int32 // by session: a decision, or -1
	cancelled, unfilled int64
}

// target is a symbol's weight in a decision; in the order of symbols.
type target struct {
	k      int // index in Market.Symbols; -1: not there, so it has no bars
	weight float64
}

// prepare checks a market and decisions for replays of any lag and cost whose other
// options are these.
func prepare(market Market, decisions []Decision, options Options) (*prepared, error) {
	for k, symbol := range market.Symbols {
		if k > 0 && symbol <= market.Symbols[k-1] {
			return nil, quant.Errorf(quant.Invalid, "market: symbol %q is out of order", symbol)
		}
	}
	if len(market.Close) != len(market.Symbols) {
		return nil, quant.Errorf(quant.Invalid, "market: %d series of closes for %d symbols", len(market.Close), len(market.Symbols))
	}
	for k, closes := range market.Close {
		if len(closes) != len(market.Sessions) {
			return nil, quant.Errorf(quant.Invalid, "market: %d closes of %s for %d sessions", len(closes), market.Symbols[k], len(market.Sessions))
		}
	}
	for _, need := range []struct {
		name   string
		wanted bool
		series [][]float64
	}{{"opens", options.Open, market.Open}, {"volumes", options.MaxVolumeShare > 0, market.Volume}, {"average values", options.Impact > 0, market.ADV}, {"volatilities", options.Impact > 0, market.Vol}} {
		whole := len(need.series) == len(market.Symbols)
		for _, one := range need.series {
			whole = whole && len(one) == len(market.Sessions)
		}
		if need.wanted && !whole {
			return nil, quant.Errorf(quant.Invalid, "market: the %s of some symbols or sessions are missing", need.name)
		}
	}
	for s := 1; s < len(market.Sessions); s++ {
		if market.Sessions[s] <= market.Sessions[s-1] {
			return nil, quant.Errorf(quant.Invalid, "market: session %s is out of order", market.Sessions[s])
		}
	}
	p := &prepared{market: market, decisions: decisions, sessions: make([]int, len(decisions)), targets: make([][]target, len(decisions))}
	for i, d := range decisions {
		s, found := slices.BinarySearch(market.Sessions, d.AsOf)
		if !found {
			return nil, quant.Errorf(quant.Invalid, "the decision of %s is on no session of the market", d.AsOf).
				WithHint("decisions and backtest must use the same QUANT_CALENDAR")
		}
		if i > 0 && s <= p.sessions[i-1] {
			return nil, quant.Errorf(quant.Invalid, "the decision of %s is out of order", d.AsOf)
		}
		p.sessions[i] = s
	}
	reader := targetReader{signed: options.LongShort, index: make(map[string]int32, len(market.Symbols)), named: make([]int32, len(market.Symbols))}
	for k, symbol := range market.Symbols {
		reader.index[symbol] = int32(k)
		reader.named[k] = -1
	}
	total := 0
	for _, d := range decisions {
		total += len(d.Weights)
	}
	reader.all = make([]target, 0, total)
	for i, d := range decisions {
		var err error
		if p.targets[i], err = reader.read(i, d); err != nil {
			return nil, err
		}
	}
	if cost := (options.FeeBps + options.SlippageBps) / 1e4; options.LongShort && cost*reader.gross >= 1 {
		return nil, quant.Errorf(quant.Invalid, "backtest: fees and slippage of %v bps, of %v times equity, are more than all equity", cost*1e4, reader.gross).
			WithHint("lower backtest.fee_bps or supervisor.gross_exposure_cap")
	}
	var err error
	p.spans, err = spansOf(market)
	return p, err
}

func (p *prepared) plan(lag int) plan {
	plan := plan{due: make([]int32, len(p.market.Sessions))}
	for s := range plan.due {
		plan.due[s] = -1
	}
	for i, s := range p.sessions {
		at := s + lag
		switch {
		case i+1 < len(p.sessions) && p.sessions[i+1] < at:
			plan.cancelled++
		case at >= len(plan.due):
			plan.unfilled++
		default:
			plan.due[at] = int32(i)
		}
	}
	return plan
}

// targetReader makes targets of decisions.
type targetReader struct {
	signed bool    // weights may be negative, and more than 1 in sum
	gross  float64 // the largest sum of absolute weights
	index  map[string]int32
	named  []int32 // by symbol: the last decision that named it
	all    []target
}

func (r *targetReader) read(number int, d Decision) ([]target, error) {
	from := len(r.all)
	var unknown map[string]bool // named, and not in the market
	var sum, gross float64
	ascending := true
	for _, w := range d.Weights {
		if !(w.Weight >= 0 || r.signed && w.Weight < 0) || math.IsInf(w.Weight, 0) {
			return nil, quant.Errorf(quant.Invalid, "the decision of %s: weight %v of %s: a backtest is long only", d.AsOf, w.Weight, w.Symbol).
				WithHint("`quant recommend` decides anew")
		}
		k, found := r.index[w.Symbol]
		twice := unknown[w.Symbol]
		if found {
			twice = r.named[k] == int32(number)
			r.named[k] = int32(number)
		} else {
			if k = -1; unknown == nil {
				unknown = map[string]bool{}
			}
			unknown[w.Symbol] = true
		}
		if twice {
			return nil, quant.Errorf(quant.Invalid, "the decision of %s names %s twice", d.AsOf, w.Symbol)
		}
		sum += w.Weight
		gross += math.Abs(w.Weight)
		if w.Weight != 0 {
			ascending = ascending && (len(r.all) == from || r.all[len(r.all)-1].k <= int(k))
			r.all = append(r.all, target{int(k), w.Weight})
		}
	}
	r.gross = max(r.gross, gross)
	if sum > 1+1e-9 && !r.signed {
		return nil, quant.Errorf(quant.Invalid, "the decision of %s: the weights add up to %v: a backtest borrows no money", d.AsOf, sum).
			WithHint("supervisor.gross_exposure_cap of 1 or less keeps them within the account")
	}
	targets := r.all[from:len(r.all):len(r.all)]
	if !ascending {
		slices.SortStableFunc(targets, func(a, b target) int { return a.k - b.k })
	}
	return targets, nil
}

// account is the state of a replay. Slices by symbol have the market's order.
type account struct {
	market  Market
	options Options
	whole   bool
	spans   [][]span // by symbol

	cash    float64
	held    []int     // symbols with a position, ascending
	qty     []float64 // shares
	last    []float64 // last price of what is held
	lastBar []int     // and its session
	lots    lots
	episode []float64 // pnl since the position was last flat

	started  bool
	peak     float64
	days     []Day
	returns  []float64 // of days, which point to them
	rows     []Holding
	trades   []Trade
	closed   []closing
	metrics  Metrics
	wins     int64
	earned   float64 // by the episodes that have ended
	exposure float64 // sum over days

	rebate  float64   // of a session
	working []working // orders that wait, ascending by symbol

	// Of a fill, used again by the next: the orders with the weight and the value of
	// the position of each, and what is held after them.
	orders   []order
	weights  []float64
	holdings []float64
	merged   []int
	tickets  []ticket
}

// lot is shares bought together.
type lot struct {
	session        int
	price, qty     float64
	left           float64 // of qty
	fees, slippage float64 // of the purchase, for qty
}

// lots are the shares of every symbol, in queues of one slice: a replay of ten years
// buys some hundred thousand lots, and holds few of them at once.
type lots struct {
	all         []lot
	next        []int32 // after a lot in its queue, or in that of the free ones; -1: none
	first, last []int32 // of a symbol's queue; -1: none
	free        int32
}

func newLots(symbols int, wanted bool) lots {
	l := lots{free: -1}
	if wanted {
		l.first, l.last = make([]int32, symbols), make([]int32, symbols)
		for k := range l.first {
			l.first[k], l.last[k] = -1, -1
		}
	}
	return l
}

func (l *lots) push(k int, x lot) {
	at := l.free
	if at >= 0 {
		l.free = l.next[at]
		l.all[at], l.next[at] = x, -1
	} else {
		at = int32(len(l.all))
		l.all, l.next = append(l.all, x), append(l.next, -1)
	}
	if l.first[k] < 0 {
		l.first[k] = at
	} else {
		l.next[l.last[k]] = at
	}
	l.last[k] = at
}

// oldest is the first lot of a symbol, nil without one. It is valid until the next
// push.
func (l *lots) oldest(k int) *lot {
	if l.first[k] < 0 {
		return nil
	}
	return &l.all[l.first[k]]
}

// pop takes the oldest lot of a symbol away.
func (l *lots) pop(k int) {
	at := l.first[k]
	l.first[k] = l.next[at]
	l.next[at], l.free = l.free, at
}

// traded is what a session's fill came to, in money.
type traded struct{ buys, sells, fees, slippage, impact float64 }

// price is the close of symbol k at session s, or false.
func (a *account) price(k, s int) (float64, bool) {
	if k < 0 {
		return 0, false
	}
	p := a.market.Close[k][s]
	return p, p > 0 && !math.IsInf(p, 0)
}

// tradable is the close at which symbol k may be bought and sold at session s, or
// false.
func (a *account) tradable(k, s int) (float64, bool) {
	if k < 0 || a.spanAt(k, s) != nil {
		return 0, false
	}
	return a.price(k, s)
}

// fillPrice is the price at which symbol k may be bought and sold by a fill at session
// s, or false: the close, or with Options.Open the open of a session that has both.
func (a *account) fillPrice(k, s int) (float64, bool) {
	p, ok := a.tradable(k, s)
	if !ok || !a.options.Open {
		return p, ok
	}
	p = a.market.Open[k][s]
	return p, p > 0 && !math.IsInf(p, 0)
}

// markOpen values what is held at the open of session s, as far as that is known.
func (a *account) markOpen(s int) {
	for _, k := range a.held {
		if p, ok := a.fillPrice(k, s); ok {
			a.last[k] = p
		}
	}
}

// spanAt is what is known to keep symbol k from being traded at session s; nil:
// nothing.
func (a *account) spanAt(k, s int) *span {
	for i := range a.spans[k] {
		if x := &a.spans[k][i]; x.first <= s && s <= x.last {
			return x
		}
	}
	return nil
}

// mark values what is held at session s, and closes what has left the market.
func (a *account) mark(s int) {
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
func (a *account) gone(k, s int) bool {
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

// delistingReturn is that of what is known, or for nil of the rule.
func (o Options) delistingReturn(known *span) float64 {
	if known != nil && known.known.Return != nil {
		return *known.known.Return
	}
	return o.DelistingReturn
}

// closing is a position that was closed as Delisted.
type closing struct {
	Delisting
	k, s  int
	money float64 // that it gave
	over  bool    // it was bought back
}

// delist closes the position in symbol k at session s, because of what is known or,
// for nil, by the rule.
func (a *account) delist(k, s int, known *span) {
	c := closing{k: k, s: s, Delisting: Delisting{
		Symbol: a.market.Symbols[k], LastBar: a.market.Sessions[a.lastBar[k]], ClosedOn: a.market.Sessions[s],
		LastPrice: a.last[k], Return: a.options.delistingReturn(known), Qty: a.qty[k], Cause: CauseRule,
	}}
	if known != nil {
		c.Cause, c.Reason = CauseKnown, known.known.Reason
	}
	p := c.LastPrice * (1 + c.Return)
	c.money = float64(c.Qty * p)
	c.PnL = c.money - float64(c.Qty*c.LastPrice)
	a.cash += c.money
	a.metrics.Delisted++
	a.closed = append(a.closed, c)
	a.abandon(k)
	a.sell(k, s, a.qty[k], p, 0, 0, Delisted, true)
}

// rejoin buys back at session s what trades again.
func (a *account) rejoin(s int, day *traded) {
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
func (a *account) delistings() []Delisting {
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
type order struct {
	k     int
	price float64
}

// fill brings the account to the targets at the closes of session s.
func (a *account) fill(s int, targets []target) (day traded) {
	orders, weights, holdings := a.orders[:0], a.weights[:0], a.holdings[:0]
	var frozen float64 // held, and without a bar
	equity := a.cash
	i, j := 0, 0
	for i < len(a.held) || j < len(targets) { // both ascending by k
		var k int
		var weight, holding float64
		switch {
		case j == len(targets) || i < len(a.held) && a.held[i] < targets[j].k:
			k, i = a.held[i], i+1
		case i == len(a.held) || targets[j].k < a.held[i]:
			k, weight, j = targets[j].k, targets[j].weight, j+1
		default:
			k, weight, i, j = a.held[i], targets[j].weight, i+1, j+1
		}
		price, ok := a.fillPrice(k, s)
		if k >= 0 {
			holding = float64(a.qty[k] * a.last[k])
		}
		equity += holding
		if !ok {
			frozen += holding
			a.metrics.Dropped++
			continue
		}
		orders, weights, holdings = append(orders, order{k, price}), append(weights, weight), append(holdings, holding)
	}
	a.orders, a.weights, a.holdings = orders, weights, holdings
	cost := (a.options.FeeBps + a.options.SlippageBps) / 1e4
	after := settle(equity, cost, weights, holdings)
	var gross float64
	for _, w := range weights {
		gross += w
	}
	if gross*after > after-frozen { // more than what there is beside the frozen
		for i := range weights {
			weights[i] /= gross
		}
		after = settle(equity-frozen, cost, weights, holdings)
	}
	for i, o := range orders {
		weight, holding := weights[i], holdings[i]
		change := float64(weight*after) - holding
		if weight > 0 && math.Abs(change) <= dust*equity || change == 0 {
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
		case weight == 0:
			day.sells -= change
			a.sell(o.k, s, a.qty[o.k], o.price, fees, slippage, Closed, true)
		default:
			day.sells -= change
			a.sell(o.k, s, -change/o.price, o.price, fees, slippage, Reduced, false)
		}
	}
	if a.cash < 0 {
		a.cash = 0 // the rounding of the sums above: some 1e-16 of equity
	}
	a.hold(orders)
	a.metrics.Fees += day.fees
	a.metrics.Slippage += day.slippage
	a.start(s, day.buys > 0)
	return day
}

// start begins the account's days with its first position.
func (a *account) start(s int, opened bool) {
	if a.started || !opened {
		return
	}
	a.started, a.peak = true, a.options.InitialCapital
	first := a.market.Sessions[s]
	a.metrics.FirstFill = &first
}

// hold makes held what is held after orders: both are ascending by symbol, and so is
// their union.
func (a *account) hold(orders []order) {
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
		if q := a.qty[k]; q > 0 || q < 0 && a.options.LongShort {
			merged = append(merged, k)
		}
	}
	a.held, a.merged = merged, a.held
}

// settle returns the x with x + cost x sum|weight x - holding| = budget, which
// is equity after costs when budget is equity before them. The left side is
// convex, piecewise linear and rising in x (cost < 1, weights up to 1 in sum),
// so that Newton's method from the right, from x = budget, walks from piece to
// piece to the exact root, in at most one step a piece; there are as many
// pieces as orders, and two or three steps in practice.
func settle(budget, cost float64, weights, holdings []float64) float64 {
	x := budget
	if cost == 0 {
		return x
	}
	weights = weights[:len(holdings)]
	for range len(holdings) + 2 {
		// On x's piece, sum|...| = slope x + offset. Which side of its piece an order is
		// on cannot be foreseen, so its sign is moved to the summands without a branch:
		// + weight and - holding where weight x > holding, else the negatives.
		var slope, offset float64
		for i, h := range holdings {
			buys := math.Float64bits(h-float64(weights[i]*x)) & signBit
			slope += math.Float64frombits(math.Float64bits(weights[i]) ^ buys ^ signBit)
			offset += math.Float64frombits(math.Float64bits(h) ^ buys)
		}
		next := (budget - float64(cost*offset)) / (1 + float64(cost*slope))
		if !(next < x) {
			break // the piece of the root
		}
		x = next
	}
	return x
}

// signBit is that of a float.
const signBit = 1 << 63

func (a *account) buy(k, s int, qty, price, fees, slippage float64) {
	a.qty[k] += qty
	a.last[k], a.lastBar[k] = price, s
	if a.whole {
		a.lots.push(k, lot{session: s, price: price, qty: qty, left: qty, fees: fees, slippage: slippage})
	}
}

// sell takes qty shares out of the oldest lots, and all there are for whole. Of a short
// position they are covered, and negative like it. fees and slippage are those of this
// order.
func (a *account) sell(k, s int, qty, price, fees, slippage float64, reason string, whole bool) {
	a.qty[k] -= qty
	if whole {
		a.qty[k] = 0
	}
	if !a.whole {
		return
	}
	sign := 1.0
	if qty < 0 {
		sign = -1
	}
	remaining := sign * qty
	for remaining > 0 || whole {
		l := a.lots.oldest(k)
		if l == nil {
			break
		}
		left := sign * l.left
		take := min(left, remaining)
		if whole || left-take <= dust*(sign*l.qty) {
			take = left
		}
		share := take / (sign * qty)
		a.trade(k, l, sign*take, price, fees*share, slippage*share, &a.market.Sessions[s], reason)
		remaining -= take
		l.left -= sign * take
		if sign*l.left <= 0 {
			a.lots.pop(k)
		}
	}
	if whole {
		a.metrics.NumTrades++
		a.earned += a.episode[k]
		if a.episode[k] > 0 {
			a.wins++
		}
		a.episode[k] = 0
	}
}

// trade notes a round trip of qty shares of a lot.
func (a *account) trade(k int, l *lot, qty, price, fees, slippage float64, exit *quant.Date, reason string) {
	part := qty / l.qty
	t := Trade{
		Symbol: a.market.Symbols[k], EntryTS: a.market.Sessions[l.session], EntryPrice: l.price, Qty: qty,
		ExitTS: exit, ExitPrice: price, Fees: l.fees*part + fees, Slippage: l.slippage*part + slippage, Reason: reason,
	}
	t.PnL = float64(qty*(price-l.price)) - t.Fees - t.Slippage
	t.PnLPct = t.PnL / math.Abs(qty*l.price)
	a.episode[k] += t.PnL
	a.trades = append(a.trades, t)
	if b := a.metrics.Book; b != nil && qty < 0 {
		b.ShortPnL += t.PnL
	} else if b != nil {
		b.LongPnL += t.PnL
	}
}

// close notes the account at the close of session s.
func (a *account) close(s int, day traded) {
	d := Day{TS: a.market.Sessions[s], Cash: a.cash, Costs: day.fees + day.slippage + day.impact}
	for _, k := range a.held {
		d.Positions += float64(a.qty[k] * a.last[k])
	}
	d.Equity = d.Cash + d.Positions
	a.peak = max(a.peak, d.Equity)
	d.Drawdown = d.Equity/a.peak - 1
	if d.Equity > 0 { // of nothing, or of a debt, nothing is a share
		d.Turnover = max(day.buys, day.sells) / d.Equity
	}
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
	if d.Equity > 0 {
		a.exposure += d.Positions / d.Equity
	}
	if a.metrics.Book != nil {
		a.expose(d.Equity)
	}
	a.days = append(a.days, d)
	if !a.whole {
		return
	}
	for _, k := range a.held {
		value := a.qty[k] * a.last[k]
		a.rows = append(a.rows, Holding{TS: d.TS, Symbol: a.market.Symbols[k], Qty: a.qty[k], Price: a.last[k], Value: value, Weight: ratio(value, d.Equity)})
	}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// result marks what is still held and measures.
func (a *account) result() Result {
	m := &a.metrics
	m.OpenPositions = int64(len(a.held))
	a.abandonAll()
	if a.whole {
		for _, k := range a.held {
			for l := a.lots.oldest(k); l != nil; l = a.lots.oldest(k) {
				a.trade(k, l, l.left, a.last[k], 0, 0, nil, Open)
				a.lots.pop(k)
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
		m.Book.measure(len(a.days), a.exposure)
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
	return Result{Days: a.days, Holdings: a.rows, Trades: a.trades, Delistings: a.delistings(), Metrics: *m}
}
