package backtest

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"quant"
	"quant/internal/test/soak"
)

// reference is a second backtester, written plainly and apart from the first:
// maps for a day at a time, an order book of one pending decision, bisection
// for equity after costs, and cash flows instead of lots.
type reference struct {
	o       Options
	closes  map[quant.Date]map[string]float64
	known   []Known
	cash    float64
	shares  map[string]float64
	price   map[string]float64 // last one seen since the purchase
	missing map[string]int     // sessions without a bar
	flow    map[string]float64 // money out of and into a position since it was flat
	opening float64            // E_0
	begun   bool

	equity, inCash, returns, drawdowns, turnovers, costs []float64
	episodes                                             []float64
	delisted, gaps, dropped                              int
	interest                                             float64
}

func (r *reference) value() float64 {
	total := 0.0
	for _, s := range slices.Sorted(maps.Keys(r.shares)) {
		total += r.shares[s] * r.price[s]
	}
	return total
}

func (r *reference) run(m Market, ds []Decision) {
	r.closes = map[quant.Date]map[string]float64{}
	for s, day := range m.Sessions {
		r.closes[day] = map[string]float64{}
		for k, name := range m.Symbols {
			if p := m.Close[k][s]; p > 0 && !math.IsInf(p, 0) {
				r.closes[day][name] = p
			}
		}
	}
	for _, e := range m.Known {
		covers := len(m.Sessions) > 0 && e.Date > m.Sessions[len(m.Sessions)-1]
		for _, day := range m.Sessions {
			covers = covers || e.Date <= day && (e.End == nil || day <= *e.End)
		}
		if covers {
			r.known = append(r.known, e)
		}
	}
	r.cash, r.opening = r.o.InitialCapital, r.o.InitialCapital
	r.shares, r.price, r.missing, r.flow = map[string]float64{}, map[string]float64{}, map[string]int{}, map[string]float64{}
	byDay := map[quant.Date]Decision{}
	for _, d := range ds {
		byDay[d.AsOf] = d
	}
	var pending *Decision
	wait := 0
	for _, day := range m.Sessions {
		if r.begun {
			earned := r.cash * (math.Exp(math.Log1p(r.o.CashRate)/252) - 1)
			r.cash += earned
			r.interest += earned
		}
		r.look(day)
		spent, turned := 0.0, 0.0
		execute := func() {
			spent, turned = r.execute(day, *pending)
			pending = nil
		}
		if pending != nil {
			if wait--; wait == 0 {
				execute()
			}
		}
		if d, ok := byDay[day]; ok {
			pending, wait = &d, r.o.Lag
			if wait == 0 {
				execute()
			}
		}
		if r.begun {
			r.note(spent, turned)
		}
	}
}

// out is what is known of a symbol on a day.
func (r *reference) out(day quant.Date, symbol string) *Known {
	for i, e := range r.known {
		if e.Symbol == symbol && e.Date <= day && (e.End == nil || day <= *e.End) {
			return &r.known[i]
		}
	}
	return nil
}

// look sees the day's closes.
func (r *reference) look(day quant.Date) {
	for _, s := range slices.Sorted(maps.Keys(r.shares)) {
		p, ok := r.closes[day][s]
		if ok {
			r.price[s], r.missing[s] = p, 0
		}
		of := r.o.DelistingReturn
		if out := r.out(day, s); out != nil && out.Kind == "delisting" {
			if out.Return != nil {
				of = *out.Return
			}
		} else {
			if ok {
				continue
			}
			r.missing[s]++
			if out != nil {
				r.missing[s] = 0
			}
			awaited := slices.ContainsFunc(r.known, func(e Known) bool { return e.Symbol == s && e.Kind == "delisting" && e.Date > day })
			if awaited || r.missing[s] < r.o.DelistAfter {
				r.gaps++
				continue
			}
		}
		got := r.shares[s] * r.price[s] * (1 + of)
		r.cash += got
		r.episodes = append(r.episodes, r.flow[s]+got)
		r.delisted++
		for _, m := range []map[string]float64{r.shares, r.price, r.flow} {
			delete(m, s)
		}
		delete(r.missing, s)
	}
}

func (r *reference) execute(day quant.Date, d Decision) (spent, turned float64) {
	want := map[string]float64{}
	for _, w := range d.Weights {
		if w.Weight > 0 {
			want[w.Symbol] = w.Weight
		}
	}
	names := map[string]bool{}
	for s := range want {
		names[s] = true
	}
	for s := range r.shares {
		names[s] = true
	}
	equity := r.cash + r.value()
	stuck, gross := 0.0, 0.0
	tradable := []string{}
	for _, s := range slices.Sorted(maps.Keys(names)) {
		if _, ok := r.closes[day][s]; ok && r.out(day, s) == nil {
			tradable = append(tradable, s)
			gross += want[s]
		} else {
			r.dropped++
			stuck += r.shares[s] * r.price[s]
		}
	}
	aim := func(s string, x float64) float64 {
		room := x - stuck
		if gross*x > room {
			return want[s] / gross * room
		}
		return want[s] * x
	}
	c := (r.o.FeeBps + r.o.SlippageBps) / 1e4
	over := func(x float64) bool { // x is more than equity after costs can be
		sum := 0.0
		for _, s := range tradable {
			sum += math.Abs(aim(s, x) - r.shares[s]*r.closes[day][s])
		}
		return x+c*sum > equity
	}
	low, high := stuck, equity
	if !over(high) {
		low = high
	}
	for range 200 {
		if mid := (low + high) / 2; over(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	bought, sold := 0.0, 0.0
	for _, s := range tradable {
		p := r.closes[day][s]
		have := r.shares[s] * p
		move := aim(s, low) - have
		if want[s] > 0 && math.Abs(move) <= 1e-12*equity || move == 0 {
			continue
		}
		if move > 0 {
			bought += move
		} else {
			sold -= move
		}
		toll := math.Abs(move) * c
		spent += toll
		r.cash -= move + toll
		r.flow[s] -= move + toll
		if want[s] == 0 {
			r.episodes = append(r.episodes, r.flow[s])
			delete(r.shares, s)
			delete(r.flow, s)
			delete(r.price, s)
			delete(r.missing, s)
			continue
		}
		r.shares[s] += move / p
		r.price[s] = p
		r.missing[s] = 0
	}
	r.begun = r.begun || bought > 0
	return spent, max(bought, sold)
}

func (r *reference) note(spent, turned float64) {
	now := r.cash + r.value()
	before := r.opening
	if n := len(r.equity); n > 1 {
		before = r.equity[n-1]
	}
	if len(r.equity) > 0 {
		ret := 0.0
		if before > 0 {
			ret = now/before - 1
		}
		r.returns = append(r.returns, ret)
	}
	top := r.opening
	for _, e := range append(slices.Clone(r.equity), now) {
		top = max(top, e)
	}
	r.equity = append(r.equity, now)
	r.inCash = append(r.inCash, r.cash)
	r.drawdowns = append(r.drawdowns, now/top-1)
	share := 0.0
	if now > 0 {
		share = turned / now
	}
	r.turnovers = append(r.turnovers, share)
	r.costs = append(r.costs, spent)
}

// randomCase is a market with late listings, gaps and delistings, decisions
// with any of what a decision may be, and options.
func randomCase(r *rand.Rand) (Market, []Decision, Options) {
	sessions, symbols := 1+r.IntN(80), 1+r.IntN(8)
	m := Market{}
	day := quant.Date(10000)
	for range sessions {
		day += quant.Date(1 + r.IntN(3))
		m.Sessions = append(m.Sessions, day)
	}
	for k := range symbols {
		m.Symbols = append(m.Symbols, fmt.Sprintf("S%02d", k))
		closes := make([]float64, sessions)
		p := math.Exp(r.NormFloat64() * 2)
		first, last := 0, sessions
		if r.IntN(4) == 0 {
			first = r.IntN(sessions)
		}
		if r.IntN(3) == 0 {
			last = r.IntN(sessions + 1)
		}
		gaps := 0.0
		if r.IntN(2) == 0 {
			gaps = r.Float64() * 0.4
		}
		for s := range closes {
			p *= math.Exp(r.NormFloat64() * 0.05)
			closes[s] = p
			if s < first || s >= last || r.Float64() < gaps {
				closes[s] = [...]float64{math.NaN(), 0, -1, math.Inf(1)}[r.IntN(4)]
			}
		}
		m.Close = append(m.Close, closes)
	}
	o := defaults()
	o.Lag = r.IntN(4)
	if r.IntN(3) > 0 {
		o.FeeBps, o.SlippageBps = r.Float64()*100, r.Float64()*100
	}
	if r.IntN(8) == 0 {
		o.FeeBps = 3000
	}
	if r.IntN(3) == 0 {
		o.CashRate = r.Float64()*0.2 - 0.02
	}
	o.DelistAfter = 1 + r.IntN(12)
	o.DelistingReturn = []float64{-0.3, -1, 0, 0.2}[r.IntN(4)]
	o.InitialCapital = math.Exp(r.Float64() * 18)
	var ds []Decision
	often := []float64{0.05, 0.3, 1}[r.IntN(3)]
	for _, day := range m.Sessions {
		if r.Float64() >= often {
			continue
		}
		d := Decision{AsOf: day}
		if r.IntN(8) > 0 {
			sum := 0.0
			for k := range symbols {
				if r.IntN(2) == 0 {
					w := r.Float64()
					if r.IntN(3) == 0 {
						w = 1
					}
					sum += w
					d.Weights = append(d.Weights, Weight{m.Symbols[k], w})
				}
			}
			if r.IntN(10) == 0 {
				d.Weights = append(d.Weights, Weight{"NOBARS", 0.5})
				sum += 0.5
			}
			gross := []float64{1, 1, 0.3, r.Float64()}[r.IntN(4)]
			for i := range d.Weights {
				d.Weights[i].Weight *= gross / sum
			}
			r.Shuffle(len(d.Weights), func(i, j int) { d.Weights[i], d.Weights[j] = d.Weights[j], d.Weights[i] })
		}
		ds = append(ds, d)
	}
	m.Known = randomKnown(r, m)
	return m, ds, o
}

// randomKnown are delistings and halts, some of them on days with bars, before the
// first session, between two, or after the last; in half of all cases.
func randomKnown(r *rand.Rand, m Market) []Known {
	var list []Known
	if r.IntN(2) == 0 {
		return nil
	}
	for _, symbol := range append(slices.Clone(m.Symbols), "NOBARS") {
		day := m.Sessions[0] - 5
		for r.IntN(3) > 0 {
			day += quant.Date(r.IntN(40))
			e := Known{Symbol: symbol, Kind: KindHalt, Date: day, End: new(day + quant.Date(r.IntN(30)))}
			if r.IntN(2) == 0 {
				e.Kind = KindDelisting
				if r.IntN(3) > 0 {
					e.Return = new([]float64{-1, -0.5, 0.05}[r.IntN(3)])
				}
			}
			day = *e.End + 1
			if last := r.IntN(4) == 0; last {
				e.End = nil
				list = append(list, e)
				break
			}
			list = append(list, e)
		}
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

func TestAPlainSecondBacktesterAgrees(t *testing.T) {
	t.Parallel()
	filled, delisted, frozen, ruined := 0, 0, 0, 0
	seed := soak.Seed(t)
	for i := range soak.Count(t, 1000, 20_000) {
		m, ds, o := randomCase(rand.New(rand.NewPCG(seed, uint64(i))))
		got, err := Simulate(m, ds, o)
		if err != nil {
			t.Fatalf("case %d: %v", i, err)
		}
		want := reference{o: o}
		want.run(m, ds)
		if len(got.Days) != len(want.equity) {
			t.Fatalf("case %d: %d days, want %d", i, len(got.Days), len(want.equity))
		}
		scale := o.InitialCapital
		if lowest := slices.Min(append(want.equity, scale)); !(lowest >= 1e-9*scale) {
			ruined++ // what is left is the rounding of either, or nothing, of which the reference makes NaN
			continue
		}
		for s, d := range got.Days {
			if !near(d.Equity/scale, want.equity[s]/scale) || !near(d.Cash/scale, want.inCash[s]/scale) || !near(d.Costs/scale, want.costs[s]/scale) ||
				!near(d.Drawdown, want.drawdowns[s]) || !near(d.Turnover, want.turnovers[s]) || (s == 0) != (d.Ret == nil) || s > 0 && !near(*d.Ret, want.returns[s-1]) {
				t.Fatalf("case %d, %s: %+v; want equity %v cash %v costs %v drawdown %v turnover %v returns %v", i, d.TS, d,
					want.equity[s], want.inCash[s], want.costs[s], want.drawdowns[s], want.turnovers[s], want.returns)
			}
		}
		g := got.Metrics
		if int(g.Delisted) != want.delisted || int(g.Gaps) != want.gaps || int(g.Dropped) != want.dropped || !near(g.Interest/scale, want.interest/scale) || int(g.NumTrades) != len(want.episodes) {
			t.Fatalf("case %d: %+v; want delisted %d gaps %d dropped %d interest %v episodes %d", i, g, want.delisted, want.gaps, want.dropped, want.interest, len(want.episodes))
		}
		if len(want.episodes) > 0 {
			sum := 0.0
			for _, e := range want.episodes {
				sum += e
			}
			if mean := sum / float64(len(want.episodes)); !near(*g.AvgTrade/scale, mean/scale) {
				t.Fatalf("case %d: avg_trade %v, want %v", i, *g.AvgTrade, mean)
			}
		}
		if len(got.Days) > 0 {
			filled++
		}
		if g.Delisted > 0 {
			delisted++
		}
		if g.Dropped > 0 {
			frozen++
		}
	}
	t.Logf("%d with fills, %d with delistings, %d with dropped orders; %d lost all and were left out", filled, delisted, frozen, ruined)
}

func TestTheAccountBalancesEveryDayAndItsTradesAddUp(t *testing.T) {
	t.Parallel()
	seed := soak.Seed(t)
	for i := range soak.Count(t, 1000, 20_000) {
		m, ds, o := randomCase(rand.New(rand.NewPCG(seed, uint64(i))))
		r, err := Simulate(m, ds, o)
		if err != nil {
			t.Fatal(err)
		}
		book := map[quant.Date]float64{}
		for _, h := range r.Holdings {
			if h.Qty <= 0 || h.Price <= 0 || h.Value != h.Qty*h.Price {
				t.Fatalf("case %d: %+v", i, h)
			}
			book[h.TS] += h.Value
		}
		for _, d := range r.Days {
			if d.Cash < 0 || d.Equity != d.Cash+d.Positions || !near(d.Positions/o.InitialCapital, book[d.TS]/o.InitialCapital) || d.Drawdown > 0 {
				t.Fatalf("case %d: %+v, book %v", i, d, book[d.TS])
			}
		}
		var pnl, fees, slippage float64
		open := map[string]float64{}
		for _, x := range r.Trades {
			pnl += x.PnL
			fees += x.Fees
			slippage += x.Slippage
			if x.Qty <= 0 || (x.Reason == Open) != (x.ExitTS == nil) || x.ExitTS != nil && *x.ExitTS < x.EntryTS {
				t.Fatalf("case %d: %+v", i, x)
			}
			if x.Reason == Open {
				open[x.Symbol] += x.Qty
			}
		}
		within := max(0.01, 1e-12*o.InitialCapital*float64(len(r.Trades)))
		if change := r.Metrics.FinalEquity - o.InitialCapital - r.Metrics.Interest; math.Abs(pnl-change) > within {
			t.Fatalf("case %d: trades earn %v, equity changed by %v (%d trades)", i, pnl, change, len(r.Trades))
		}
		if !near(fees/o.InitialCapital, r.Metrics.Fees/o.InitialCapital) || !near(slippage/o.InitialCapital, r.Metrics.Slippage/o.InitialCapital) {
			t.Fatalf("case %d: trades paid %v and %v, the account %v and %v", i, fees, slippage, r.Metrics.Fees, r.Metrics.Slippage)
		}
		for _, d := range r.Delistings {
			if math.Abs(d.PnL-d.Qty*d.LastPrice*d.Return) > 1e-9*d.Qty*d.LastPrice || d.LastBar > d.ClosedOn || d.TradedAgain != nil && *d.TradedAgain <= d.ClosedOn {
				t.Fatalf("case %d: %+v", i, d)
			}
		}
		if int64(len(r.Delistings)) != r.Metrics.Delisted {
			t.Fatalf("case %d: %d of %d delistings are told", i, len(r.Delistings), r.Metrics.Delisted)
		}
		if int64(len(open)) != r.Metrics.OpenPositions {
			t.Fatalf("case %d: %d symbols are open, want %d", i, len(open), r.Metrics.OpenPositions)
		}
	}
}

func TestNothingBeforeADayDependsOnPricesAfterIt(t *testing.T) {
	t.Parallel()
	seed := soak.Seed(t)
	for i := range soak.Count(t, 1000, 20_000) {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		m, ds, o := randomCase(rng)
		whole, err := Simulate(m, ds, o)
		if err != nil {
			t.Fatal(err)
		}
		cut := 1 + rng.IntN(len(m.Sessions))
		other := Market{Sessions: m.Sessions, Symbols: m.Symbols, Known: m.Known}
		short := Market{Sessions: m.Sessions[:cut], Symbols: m.Symbols, Known: m.Known}
		for _, closes := range m.Close {
			changed := slices.Clone(closes)
			for s := cut; s < len(changed); s++ {
				changed[s] = []float64{math.NaN(), rng.Float64() * 100}[rng.IntN(2)]
			}
			other.Close = append(other.Close, changed)
			short.Close = append(short.Close, closes[:cut])
		}
		early := slices.DeleteFunc(slices.Clone(ds), func(d Decision) bool { return d.AsOf > m.Sessions[cut-1] })
		for name, again := range map[string]struct {
			m  Market
			ds []Decision
		}{"other prices": {other, ds}, "no prices": {short, early}} {
			r, err := Simulate(again.m, again.ds, o)
			if err != nil {
				t.Fatal(err)
			}
			for s, d := range whole.Days {
				if d.TS >= m.Sessions[cut-1] && d.TS != m.Sessions[cut-1] {
					break
				}
				e := r.Days[s]
				if d.Equity != e.Equity || d.Cash != e.Cash || d.Positions != e.Positions || d.Costs != e.Costs || d.Turnover != e.Turnover || d.Drawdown != e.Drawdown {
					t.Fatalf("case %d, %s after %s: %+v became %+v", i, name, m.Sessions[cut-1], d, e)
				}
			}
		}
	}
}

func TestTheSameArgumentsGiveTheSameBits(t *testing.T) {
	t.Parallel()
	m, ds, o := randomCase(rand.New(rand.NewPCG(4, 17)))
	a, _ := Simulate(m, ds, o)
	b, _ := Simulate(m, ds, o)
	if digestOf(Summary{}, a) != digestOf(Summary{}, b) {
		t.Error("two replays differ")
	}
	curve, _ := simulate(m, ds, o, detail{})
	for i := range a.Days {
		if a.Days[i].Equity != curve.Days[i].Equity {
			t.Fatal("the replay without trades differs")
		}
	}
}

// Without gaps the account's growth between fills does not depend on its size,
// and each fill takes something from it.
func TestNoCostBeatsSomeCostWithTheSameFills(t *testing.T) {
	t.Parallel()
	seed := soak.Seed(t)
	for i := range soak.Count(t, 1000, 20_000) {
		m, ds, o := randomCase(rand.New(rand.NewPCG(seed, uint64(i))))
		m.Known = nil
		for _, closes := range m.Close {
			p := 10.
			for s := range closes {
				if closes[s] > 0 && closes[s] < 1e9 {
					p = closes[s]
				}
				closes[s] = p
			}
		}
		o.CashRate = math.Abs(o.CashRate)
		var final []float64
		for _, bps := range []float64{0, 5, 50} {
			o.FeeBps, o.SlippageBps = bps/2, bps/2
			r, err := Simulate(m, ds, o)
			if err != nil {
				t.Fatal(err)
			}
			final = append(final, r.Metrics.FinalEquity/o.InitialCapital)
			if bps > 0 && r.Metrics.FirstFill != nil && !(final[len(final)-1] < final[len(final)-2]) {
				t.Fatalf("case %d: %v", i, final)
			}
		}
	}
}
