package backtest

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"quant"
	"quant/internal/test/soak"
)

// bookReference is a second account of books that may be short, pay for impact, are
// filled at the open or in parts: maps and names instead of slices and numbers, bisection
// instead of Newton's method, and the money of each position instead of lots.
type bookReference struct {
	o                           Options
	m                           Market
	cash                        float64
	shares, mark                map[string]float64
	since                       map[string]int // sessions without a bar
	waits                       map[string]float64
	waitsImpact                 map[string]float64
	ordered                     map[string]float64 // price at which what waits was ordered
	begun, closed               bool
	equity, inCash, paid        []float64
	borrow, interest, impact    float64
	calls, scaled, unaffordable int
	wanted, missed              float64
}

func (r *bookReference) index(symbol string) int { return slices.Index(r.m.Symbols, symbol) }

// bar is the close of a symbol at session s.
func (r *bookReference) bar(symbol string, s int) (float64, bool) {
	k := r.index(symbol)
	if k < 0 {
		return 0, false
	}
	p := r.m.Close[k][s]
	return p, p > 0 && !math.IsInf(p, 0)
}

func (r *bookReference) known(symbol string, s int) *Known {
	day := r.m.Sessions[s]
	for i, e := range r.m.Known {
		if e.Symbol == symbol && e.Date <= day && (e.End == nil || day <= *e.End) {
			return &r.m.Known[i]
		}
	}
	return nil
}

func (r *bookReference) quote(symbol string, s int, open bool) (float64, bool) {
	p, ok := r.bar(symbol, s)
	if !ok || r.known(symbol, s) != nil {
		return 0, false
	}
	if open {
		p = r.m.Open[r.index(symbol)][s]
	}
	return p, p > 0 && !math.IsInf(p, 0)
}

func (r *bookReference) volume(symbol string, s int) float64 {
	if v := r.m.Volume[r.index(symbol)][s]; v > 0 {
		return v
	}
	return 0
}

func (r *bookReference) value(at map[string]float64) (net, gross float64) {
	for _, symbol := range slices.Sorted(maps.Keys(r.shares)) {
		v := r.shares[symbol] * at[symbol]
		net, gross = net+v, gross+math.Abs(v)
	}
	return net, gross
}

func (r *bookReference) coefficient(symbol string, s int) float64 {
	if r.o.Impact == 0 || s < 0 {
		return 0
	}
	adv, vol := r.m.ADV[r.index(symbol)][s], r.m.Vol[r.index(symbol)][s]
	if math.IsNaN(adv) || math.IsNaN(vol) || adv <= 0 {
		return 0
	}
	return r.o.Impact * vol * math.Pow(adv, -0.5)
}

func (r *bookReference) toll(money, coefficient float64) float64 {
	return math.Abs(money)*(r.o.FeeBps+r.o.SlippageBps)/1e4 + coefficient*math.Pow(math.Abs(money), 1.5)
}

// bisect is the largest x from low to high that is good; low, if none is.
func bisect(low, high float64, good func(float64) bool) float64 {
	if good(high) {
		return high
	}
	for range 200 {
		if mid := (low + high) / 2; good(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// settle trades amounts of money, what makes positions grow as far as the margin lets it.
// It returns what was traded.
func (r *bookReference) settle(s int, open bool, money, coefficient map[string]float64, at map[string]float64) (done map[string]float64, held bool) {
	margin := 1.0
	if r.o.LongShort {
		margin = r.o.MarginInitial
	}
	names := slices.Sorted(maps.Keys(money))
	part := func(symbol string, by float64) float64 {
		have, move := r.shares[symbol]*at[symbol], money[symbol]
		less := 0.0
		if have > 0 && move < 0 {
			less = max(move, -have)
		} else if have < 0 && move > 0 {
			less = min(move, -have)
		}
		return less + (move-less)*by
	}
	net, _ := r.value(at)
	all := r.cash + net
	good := func(by float64) bool {
		equity, gross := all, 0.0
		for symbol := range r.shares {
			if _, moves := money[symbol]; !moves {
				gross += math.Abs(r.shares[symbol] * at[symbol])
			}
		}
		for _, symbol := range names {
			move := part(symbol, by)
			equity -= r.toll(move, coefficient[symbol])
			gross += math.Abs(r.shares[symbol]*at[symbol] + move)
		}
		return equity-margin*gross >= -1e-12*all
	}
	by := bisect(0, 1, good)
	done = map[string]float64{}
	for _, symbol := range names {
		move := money[symbol]
		if by < 1 {
			move = part(symbol, by)
		}
		done[symbol] = move
		r.pay(symbol, move, coefficient[symbol], at)
	}
	if !r.o.LongShort {
		r.cash = max(r.cash, 0) // rounding
	}
	return done, by == 1
}

func (r *bookReference) pay(symbol string, move, coefficient float64, at map[string]float64) {
	if move == 0 {
		return
	}
	toll := r.toll(move, coefficient)
	r.impact += coefficient * math.Pow(math.Abs(move), 1.5)
	r.paid[len(r.paid)-1] += toll
	r.cash -= move + toll
	left := r.shares[symbol] + move/at[symbol]
	if had := r.shares[symbol]; had != 0 && math.Abs(left) <= 1e-12*math.Abs(had) {
		delete(r.shares, symbol)
		delete(r.since, symbol)
		return
	}
	if had := r.shares[symbol]; had*move >= 0 || had*left < 0 {
		r.since[symbol] = 0 // shares came in with the day's bar
	}
	r.shares[symbol], r.mark[symbol] = left, at[symbol]
}

// prices are what positions are worth at the fill.
func (r *bookReference) prices(s int, open bool) map[string]float64 {
	at := maps.Clone(r.mark)
	for _, symbol := range r.m.Symbols {
		if p, ok := r.quote(symbol, s, open); ok {
			at[symbol] = p
		}
	}
	return at
}

func (r *bookReference) giveUp() {
	for symbol, shares := range r.waits {
		r.missed += math.Abs(shares * r.ordered[symbol])
	}
	r.waits = map[string]float64{}
}

func (r *bookReference) decide(s int, d Decision, asof int) {
	r.giveUp()
	at := r.prices(s, r.o.Open)
	want := map[string]float64{}
	for _, w := range d.Weights {
		want[w.Symbol] = w.Weight
	}
	names := maps.Clone(want)
	for symbol := range r.shares {
		names[symbol] = 0
	}
	net, _ := r.value(at)
	equity := r.cash + net
	stuck, sum := 0.0, 0.0
	coefficient := map[string]float64{}
	var list []string
	for _, symbol := range slices.Sorted(maps.Keys(names)) {
		if _, ok := r.quote(symbol, s, r.o.Open); !ok {
			stuck += r.shares[symbol] * at[symbol]
			continue
		}
		list = append(list, symbol)
		sum += want[symbol]
		coefficient[symbol] = r.coefficient(symbol, asof)
	}
	limit := func(symbol string) float64 {
		if r.o.MaxVolumeShare == 0 {
			return math.Inf(1)
		}
		return r.o.MaxVolumeShare * r.volume(symbol, s) * at[symbol]
	}
	aim := func(symbol string, x float64) float64 {
		if !r.o.LongShort && sum*x > max(x-stuck, 0) {
			return want[symbol] / sum * max(x-stuck, 0)
		}
		return want[symbol] * x
	}
	move := func(symbol string, x float64) float64 { return aim(symbol, x) - r.shares[symbol]*at[symbol] }
	over := func(x float64) float64 {
		total := x - equity
		for _, symbol := range list {
			total += r.toll(max(-limit(symbol), min(limit(symbol), move(symbol, x))), coefficient[symbol])
		}
		return total
	}
	good := func(x float64) bool { return over(x) <= 0 }
	low := 0.0
	if !r.o.LongShort {
		low = stuck
	}
	if equity <= 0 || over(low) > 1e-12*equity {
		r.unaffordable++
		return
	}
	x := bisect(low, equity, good)
	money, whole := map[string]float64{}, map[string]float64{}
	for _, symbol := range list {
		v := move(symbol, x)
		if want[symbol] != 0 && math.Abs(v) <= 1e-12*equity {
			v = 0
		}
		whole[symbol] = v
		r.wanted += math.Abs(v)
		money[symbol] = max(-limit(symbol), min(limit(symbol), v))
	}
	done, fits := r.settle(s, r.o.Open, money, coefficient, at)
	if !fits {
		r.scaled++
	}
	for _, symbol := range list {
		rest := whole[symbol] - done[symbol]
		if math.Abs(rest) <= 1e-12*equity {
			continue
		}
		if r.o.MaxVolumeShare == 0 {
			r.missed += math.Abs(rest)
			continue
		}
		r.waits[symbol], r.waitsImpact[symbol], r.ordered[symbol] = rest/at[symbol], coefficient[symbol], at[symbol]
	}
	r.begun = r.begun || len(r.shares) > 0
}

func (r *bookReference) goOn(s int) {
	at := r.prices(s, r.o.Open)
	net, _ := r.value(at)
	equity := r.cash + net
	if equity <= 0 {
		return
	}
	money := map[string]float64{}
	for symbol, shares := range r.waits {
		if p, ok := r.quote(symbol, s, r.o.Open); ok {
			most := r.o.MaxVolumeShare * r.volume(symbol, s) * p
			money[symbol] = max(-most, min(most, shares*p))
		}
	}
	done, _ := r.settle(s, r.o.Open, money, r.waitsImpact, at)
	for symbol, v := range done {
		left := r.waits[symbol] - v/at[symbol]
		if r.waits[symbol] = left; math.Abs(left*at[symbol]) <= 1e-12*equity {
			delete(r.waits, symbol)
		}
	}
	r.begun = r.begun || len(r.shares) > 0
}

// look sees the closes of session s.
func (r *bookReference) look(s int) {
	for _, symbol := range slices.Sorted(maps.Keys(r.shares)) {
		p, ok := r.bar(symbol, s)
		if ok {
			r.mark[symbol], r.since[symbol] = p, 0
		} else {
			r.since[symbol]++
		}
		of := r.o.DelistingReturn
		out := r.known(symbol, s)
		switch {
		case out != nil && out.Kind == KindDelisting:
			if out.Return != nil {
				of = *out.Return
			}
		case out != nil && !ok:
			r.since[symbol] = 0
			fallthrough
		default:
			awaited := slices.ContainsFunc(r.m.Known, func(e Known) bool {
				return e.Symbol == symbol && e.Kind == KindDelisting && e.Date > r.m.Sessions[s]
			})
			if ok || awaited || r.since[symbol] < r.o.DelistAfter {
				continue
			}
		}
		r.cash += r.shares[symbol] * r.mark[symbol] * (1 + of)
		if shares, waiting := r.waits[symbol]; waiting {
			r.missed += math.Abs(shares * r.ordered[symbol])
		}
		delete(r.shares, symbol)
		delete(r.waits, symbol)
		delete(r.since, symbol)
	}
}

func (r *bookReference) margins(s int) {
	net, gross := r.value(r.mark)
	equity := r.cash + net
	if equity > 0 && equity >= r.o.MarginMaintenance*gross-1e-9*equity {
		return
	}
	r.giveUp()
	if equity > 0 {
		r.calls++
		var list []string
		stays := 0.0
		for _, symbol := range slices.Sorted(maps.Keys(r.shares)) {
			if _, ok := r.quote(symbol, s, false); ok {
				list = append(list, symbol)
			} else {
				stays += math.Abs(r.shares[symbol] * r.mark[symbol])
			}
		}
		gone := 1 - bisect(0, 1, func(keep float64) bool {
			left, total := equity, stays
			for _, symbol := range list {
				v := r.shares[symbol] * r.mark[symbol]
				left -= r.toll((1-keep)*v, r.coefficient(symbol, s-1))
				total += math.Abs(v) * keep
			}
			return left >= r.o.MarginInitial*total
		})
		for _, symbol := range list {
			r.pay(symbol, -gone*r.shares[symbol]*r.mark[symbol], r.coefficient(symbol, s-1), r.mark)
		}
		net, _ = r.value(r.mark)
		equity = r.cash + net
	}
	if equity <= 0 {
		r.closed = true
		for _, symbol := range slices.Sorted(maps.Keys(r.shares)) {
			r.pay(symbol, -r.shares[symbol]*r.mark[symbol], 0, r.mark)
		}
	}
}

func (r *bookReference) run(ds []Decision) {
	r.cash = r.o.InitialCapital
	r.shares, r.mark, r.since, r.waits, r.waitsImpact, r.ordered = map[string]float64{}, map[string]float64{}, map[string]int{}, map[string]float64{}, map[string]float64{}, map[string]float64{}
	var pending *Decision
	wait, asof := 0, 0
	for s, day := range r.m.Sessions {
		r.paid = append(r.paid, 0)
		if r.begun && !r.closed {
			short := 0.0
			for _, symbol := range slices.Sorted(maps.Keys(r.shares)) {
				short += max(0, -r.shares[symbol]*r.mark[symbol])
			}
			earned := (r.cash-short)*math.Expm1(math.Log1p(r.o.CashRate)/252) + short*math.Expm1(math.Log1p(r.o.ShortRebate)/252)
			r.interest += earned
			r.borrow += short * r.o.BorrowBps / 2_520_000
			r.cash += earned - short*r.o.BorrowBps/2_520_000
		}
		if r.begun && !r.o.Open {
			r.look(s)
		}
		due := false
		if pending != nil {
			wait--
			due = wait == 0
		}
		take := func() {
			if i := slices.IndexFunc(ds, func(d Decision) bool { return d.AsOf == day }); i >= 0 {
				pending, wait, asof = &ds[i], r.o.Lag, s
				due = due || wait == 0
			}
		}
		if r.o.Lag == 0 {
			take()
		}
		switch {
		case r.closed:
		case due:
			r.decide(s, *pending, asof)
			pending = nil
		case len(r.waits) > 0:
			r.goOn(s)
		}
		if r.o.Lag > 0 {
			due = false
			take()
		}
		if r.begun && r.o.Open {
			r.look(s)
		}
		if r.begun && r.o.LongShort && !r.closed {
			r.margins(s)
		}
		if r.begun {
			net, _ := r.value(r.mark)
			r.equity, r.inCash = append(r.equity, r.cash+net), append(r.inCash, r.cash)
		} else {
			r.paid = r.paid[:0]
		}
	}
	r.giveUp()
}

// randomBook is a random case with what a book may be.
func randomBook(r *rand.Rand) (Market, []Decision, Options) {
	m, ds, o := randomCase(r)
	if r.IntN(3) == 0 {
		m.Known = randomKnown(r, m)
	}
	o.FeeBps, o.SlippageBps = min(o.FeeBps, 100), min(o.SlippageBps, 100)
	if r.IntN(4) > 0 {
		o.LongShort = true
		o.MarginInitial = []float64{0.5, 0.5, 1, 0.25, 0.3 + 0.6*r.Float64()}[r.IntN(5)]
		o.MarginMaintenance = o.MarginInitial * []float64{0.5, 1, r.Float64() + 0.01}[r.IntN(3)]
		if o.MarginMaintenance > o.MarginInitial {
			o.MarginMaintenance = o.MarginInitial
		}
		o.BorrowBps = []float64{0, 50, 3000 * r.Float64()}[r.IntN(3)]
		o.ShortRebate = []float64{0, 0.02, o.CashRate}[r.IntN(3)]
		lever := []float64{1, 2, 0.9 / o.MarginInitial, 4}[r.IntN(4)]
		for i := range ds {
			for k := range ds[i].Weights {
				w := &ds[i].Weights[k]
				if w.Weight *= lever; r.IntN(2) == 0 {
					w.Weight = -w.Weight
				}
			}
		}
		if r.IntN(3) == 0 { // rough days, which call for margin
			for k := range m.Close {
				for s := range m.Close[k] {
					if m.Close[k][s] > 0 && r.IntN(20) == 0 {
						m.Close[k][s] *= 0.3 + 2*r.Float64()
					}
				}
			}
		}
	}
	if r.IntN(2) == 0 {
		o.Open, o.Lag = true, max(o.Lag, 1)
	}
	if r.IntN(2) == 0 {
		o.MaxVolumeShare = []float64{0.01, 0.1, 1}[r.IntN(3)]
	}
	if r.IntN(2) == 0 {
		o.Impact = []float64{0.1, 1, 2}[r.IntN(3)] * r.Float64()
	}
	for k := range m.Close {
		n := len(m.Sessions)
		open, volume, adv, vol := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		size := o.InitialCapital * math.Exp(3*r.NormFloat64())
		for s := range open {
			open[s] = m.Close[k][s] * math.Exp(0.02*r.NormFloat64())
			if r.IntN(30) == 0 {
				open[s] = []float64{math.NaN(), 0}[r.IntN(2)]
			}
			volume[s] = size * math.Exp(r.NormFloat64())
			adv[s], vol[s] = 4*size*math.Exp(r.NormFloat64()), 0.05*r.Float64()
			if r.IntN(20) == 0 {
				volume[s], adv[s] = []float64{0, math.NaN()}[r.IntN(2)], math.NaN()
			}
		}
		m.Open, m.Volume, m.ADV, m.Vol = append(m.Open, open), append(m.Volume, volume), append(m.ADV, adv), append(m.Vol, vol)
	}
	return m, ds, o
}

func TestAPlainSecondAccountOfBooksAgrees(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	seen := map[string]int{}
	for n := range soak.Count(t, 2500, 200_000) {
		m, ds, o := randomBook(r)
		got, err := Simulate(m, ds, o)
		if err != nil {
			t.Fatal(n, err)
		}
		if o.plain() && !o.Open {
			continue
		}
		want := bookReference{o: o, m: m}
		want.run(ds)
		if len(got.Days) != len(want.equity) {
			t.Fatalf("case %d: %d days, plainly %d\n%+v\n%+v", n, len(got.Days), len(want.equity), o, got.Days[:min(3, len(got.Days))])
		}
		scale := o.InitialCapital
		for i, d := range got.Days {
			scale = max(scale, math.Abs(d.Cash), math.Abs(d.Positions))
			if math.Abs(d.Equity-want.equity[i]) > 1e-9*scale || math.Abs(d.Cash-want.inCash[i]) > 1e-9*scale || math.Abs(d.Costs-want.paid[i]) > 1e-9*scale {
				t.Fatalf("case %d, day %d of %d: equity %v cash %v costs %v, plainly %v %v %v\n%+v", n, i, len(got.Days), d.Equity, d.Cash, d.Costs, want.equity[i], want.inCash[i], want.paid[i], o)
			}
		}
		b := got.Metrics.Book
		for _, c := range []struct {
			name      string
			got, want float64
		}{
			{"interest", got.Metrics.Interest, want.interest}, {"borrow", b.Borrow, want.borrow}, {"impact", b.ImpactCost, want.impact}, {"margin calls", float64(b.MarginCalls), float64(want.calls)},
		} {
			if math.Abs(c.got-c.want) > 1e-9*max(scale, math.Abs(c.want)) {
				t.Fatalf("case %d: %s %v, plainly %v", n, c.name, c.got, c.want)
			}
		}
		ruined := slices.ContainsFunc(want.equity, func(x float64) bool { return x < 1e-9*o.InitialCapital }) // what is counted then is rounding
		if !o.plain() && !ruined {
			if math.Abs(b.Ordered-want.wanted) > 1e-8*scale*float64(len(ds)+1) || math.Abs(b.unfilled-want.missed) > 1e-8*scale*float64(len(ds)+1) || b.Scaled != int64(want.scaled) || b.Unaffordable != int64(want.unaffordable) {
				t.Fatalf("case %d: ordered %v, unfilled %v, scaled %d, unaffordable %d, plainly %v %v %d %d\n%+v", n, b.Ordered, b.unfilled, b.Scaled, b.Unaffordable, want.wanted, want.missed, want.scaled, want.unaffordable, o)
			}
		}
		// Where nothing is left but rounding, rounding says whether it is above zero.
		nothing := slices.ContainsFunc(want.equity, func(x float64) bool { return math.Abs(x) < 1e-12*o.InitialCapital })
		if !nothing && (b.ClosedOn != nil) != want.closed {
			t.Fatalf("case %d: closed on %v, plainly %v", n, b.ClosedOn, want.closed)
		}
		for name, is := range map[string]bool{
			"short": b.ShortPnL != 0, "borrow": b.Borrow > 0, "impact": b.ImpactCost > 0, "open": o.Open, "call": b.MarginCalls > 0, "closed": want.closed,
			"scaled": b.Scaled > 0, "capped": b.FilledShare != nil && *b.FilledShare < 1 && o.MaxVolumeShare > 0, "delisted": got.Metrics.Delisted > 0 && o.LongShort, "long": !o.LongShort,
		} {
			if is {
				seen[name]++
			}
		}
	}
	for _, name := range []string{"short", "borrow", "impact", "open", "call", "closed", "scaled", "capped", "delisted", "long"} {
		if seen[name] < 25 {
			t.Errorf("%s was seen in %d cases only", name, seen[name])
		}
	}
	t.Log(seen)
}

// The trades of a book, the interest and the borrow fee are all that changes equity, and
// each day's equity is its cash and what is held.
func TestABookBalancesEveryDayAndItsTradesAddUp(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for n := range soak.Count(t, 1000, 50_000) {
		m, ds, o := randomBook(r)
		got, err := Simulate(m, ds, o)
		if err != nil {
			t.Fatal(err)
		}
		held, scale := map[quant.Date]float64{}, o.InitialCapital
		for _, h := range got.Holdings {
			held[h.TS] += h.Qty * h.Price
			if h.Qty == 0 || h.Qty < 0 && !o.LongShort {
				t.Fatalf("case %d: %+v", n, h)
			}
		}
		for _, d := range got.Days {
			scale = max(scale, math.Abs(d.Cash), math.Abs(d.Positions))
			if !near(d.Equity, d.Cash+d.Positions) || math.Abs(held[d.TS]-d.Positions) > 1e-9*scale || d.Cash < 0 && !o.LongShort {
				t.Fatalf("case %d: %+v, holdings of %v", n, d, held[d.TS])
			}
		}
		var pnl, long, short float64
		for _, x := range got.Trades {
			if pnl += x.PnL; x.Qty < 0 {
				short += x.PnL
			} else {
				long += x.PnL
			}
		}
		gained := got.Metrics.FinalEquity - o.InitialCapital
		borrow := 0.0
		if b := got.Metrics.Book; b != nil {
			borrow = b.Borrow
			if math.Abs(b.LongPnL-long) > 1e-9*scale || math.Abs(b.ShortPnL-short) > 1e-9*scale {
				t.Fatalf("case %d: %v and %v of long and short trades, told %v and %v", n, long, short, b.LongPnL, b.ShortPnL)
			}
		}
		if off := pnl + got.Metrics.Interest - borrow - gained; math.Abs(off) > 1e-9*scale*float64(1+len(ds)) {
			t.Fatalf("case %d: the trades made %v, interest %v, borrow %v, and equity gained %v: %v off", n, pnl, got.Metrics.Interest, borrow, gained, off)
		}
	}
}

// What comes after a session changes nothing up to it. A fill at the open knows the open,
// and nothing else of its session.
func TestABookBeforeADayDoesNotDependOnWhatComesAfterIt(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for n := range soak.Count(t, 600, 30_000) {
		m, ds, o := randomBook(r)
		if len(m.Sessions) < 3 {
			continue
		}
		m.Known = nil // known before its day, it keeps the rule from closing
		cut := 1 + r.IntN(len(m.Sessions)-2)
		before, err := Simulate(m, ds, o)
		if err != nil {
			t.Fatal(err)
		}
		later := m
		change := func(of [][]float64, from int) [][]float64 {
			var list [][]float64
			for _, one := range of {
				one = slices.Clone(one)
				for s := from; s < len(one); s++ {
					if one[s] > 0 {
						one[s] *= 0.5 + r.Float64()
					}
				}
				list = append(list, one)
			}
			return list
		}
		opens := o.Open && o.MaxVolumeShare == 0 && r.IntN(2) == 0
		from := cut + 1
		if opens {
			from = cut
		}
		later.Close, later.Volume, later.ADV, later.Vol = change(m.Close, from), change(m.Volume, from), change(m.ADV, from), change(m.Vol, from)
		later.Open = change(m.Open, cut+1)
		after, err := Simulate(later, ds, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range before.Days {
			if before.Days[i].TS > m.Sessions[cut] || opens && before.Days[i].TS == m.Sessions[cut] {
				break
			}
			if x, y := before.Days[i], after.Days[i]; x.Equity != y.Equity || x.Cash != y.Cash || x.Costs != y.Costs {
				t.Fatalf("case %d: day %s is %+v, and with other prices after it %+v", n, x.TS, x, y)
			}
		}
		if !opens {
			continue
		}
		// What was bought or sold at the open of the cut is the same, whatever its close.
		bought := func(of Result) map[string]float64 {
			list := map[string]float64{}
			for _, x := range of.Trades {
				if x.EntryTS == m.Sessions[cut] {
					list[x.Symbol] += x.Qty * x.EntryPrice
				}
			}
			return list
		}
		if x, y := bought(before), bought(after); !maps.EqualFunc(x, y, func(a, b float64) bool { return near(a, b) }) {
			t.Fatalf("case %d: at the open of %s %v, and with another close %v", n, m.Sessions[cut], x, y)
		}
	}
}
