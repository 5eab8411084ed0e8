package backtest

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"quant"
)

// shorts are the options of an account that may be short, without costs.
func shorts() Options {
	o := defaults()
	o.InitialCapital, o.LongShort, o.MarginInitial, o.MarginMaintenance = 1000, true, 0.5, 0.25
	return o
}

func simulated(t *testing.T, m Market, o Options, ds ...Decision) Result {
	t.Helper()
	r, err := Simulate(m, ds, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantEquity(t *testing.T, r Result, want ...float64) {
	t.Helper()
	if got := equities(r); !sameMoney(got, want) {
		t.Errorf("equity %v, want %v", got, want)
	}
}

func two(a, b []float64) Market {
	m := Market{Symbols: []string{"A", "B"}, Close: [][]float64{a, b}}
	for s := range a {
		m.Sessions = append(m.Sessions, quant.Date(100+s))
	}
	return m
}

// A short makes what its price loses. It pays for what is borrowed each session, its
// proceeds lie in the account and earn the rebate, and the account's own money the
// cash rate.
func TestAShortMakesWhatItsPriceLosesLessTheFee(t *testing.T) {
	t.Parallel()
	m := oneSymbol(10, 8, 12)
	r := simulated(t, m, shorts(), hold(0, -1))
	wantEquity(t, r, 1000, 1200, 800)
	if d := r.Days[0]; d.Cash != 2000 || d.Positions != -1000 {
		t.Errorf("%+v", d)
	}
	if x := r.Trades[0]; x.Qty != -100 || x.PnL != -200 || x.PnLPct != -0.2 || x.Reason != Open {
		t.Errorf("%+v", x)
	}
	o := shorts()
	o.BorrowBps, o.CashRate, o.ShortRebate = 252, 0.1, 0.05
	r = simulated(t, m, o, hold(0, -1))
	cash, rebate := math.Pow(1.1, 1./252)-1, math.Pow(1.05, 1./252)-1
	first := 1200 + 1000*cash + 1000*rebate - 0.1
	second := first - 400 + (first)*cash + 800*rebate - 0.08
	wantEquity(t, r, 1000, first, second)
	if b := r.Metrics.Book; math.Abs(b.Borrow-0.18) > 1e-12 || b.ShortPnL != -200 || b.LongPnL != 0 || math.Abs(*b.AvgGross-(1+800/first+1200/second)/3) > 1e-12 || *b.AvgNet != -*b.AvgGross {
		t.Errorf("%+v", b)
	}
}

// A position that goes to the other side ends one trade and begins another, whose costs
// are in proportion; the oldest shares that are short are covered first.
func TestAPositionGoesToTheOtherSide(t *testing.T) {
	t.Parallel()
	o := shorts()
	o.FeeBps = 100
	r := simulated(t, oneSymbol(10, 10, 10, 10), o, hold(0, 0.5), hold(1, -0.5), hold(2, -1), hold(3, -0.25))
	var got []string
	for _, x := range r.Trades {
		text, _ := json.Marshal([]any{math.Round(x.Qty*100) / 100, math.Round(x.Fees*100) / 100, math.Round(x.PnL*100) / 100, x.Reason, int(x.EntryTS - r.Days[0].TS)})
		got = append(got, string(text))
	}
	want := []string{`[49.75,9.95,-9.95,"CLOSED",0]`, `[-49.26,9.85,-9.85,"REDUCED",1]`, `[-24.45,4.89,-4.89,"REDUCED",2]`, `[-24.32,2.43,-2.43,"OPEN",2]`}
	if !slices.Equal(got, want) {
		t.Errorf("trades %v, want %v", got, want)
	}
	var pnl float64
	for _, x := range r.Trades {
		pnl += x.PnL
	}
	if gained := r.Metrics.FinalEquity - 1000; math.Abs(pnl-gained) > 1e-9 || r.Metrics.NumTrades != 1 {
		t.Errorf("trades made %v, equity gained %v; %d trades", pnl, gained, r.Metrics.NumTrades)
	}
}

// What is short and leaves the market is bought back at the last price x (1 + return):
// the guess of a loss is a gain for it.
func TestADelistedShortIsBoughtBackAtTheDelistingReturn(t *testing.T) {
	t.Parallel()
	o := shorts()
	o.DelistAfter, o.DelistingReturn = 2, -0.3
	r := simulated(t, oneSymbol(10, math.NaN(), math.NaN(), math.NaN()), o, hold(0, -0.5))
	wantEquity(t, r, 1000, 1000, 1150, 1150)
	if d := r.Delistings[0]; d.Qty != -50 || d.PnL != 150 || !strings.Contains(d.String(), "gained 150.00") {
		t.Errorf("%+v %s", d, d)
	}
}

// What would need more than the initial margin is opened as far as it goes, all alike.
func TestAnOrderBeyondTheInitialMarginIsScaled(t *testing.T) {
	t.Parallel()
	o := shorts()
	r := simulated(t, two([]float64{10, 10}, []float64{20, 20}), o, Decision{AsOf: 100, Weights: []Weight{{"A", 2}, {"B", -2}}})
	if h := r.Holdings; math.Abs(h[0].Weight-1) > 1e-9 || math.Abs(h[1].Weight+1) > 1e-9 || r.Metrics.Book.Scaled != 1 {
		t.Errorf("%+v %+v", h[:2], r.Metrics.Book)
	}
	if n := strings.Join(r.Metrics.Book.notices(), "; "); !strings.Contains(n, "1 fill scaled to the initial margin of 50 %") {
		t.Error(n)
	}
}

// Below the maintenance margin all is reduced until equity is the initial margin again;
// below nothing the account is closed, and what is owed stays.
func TestAMarginCallReducesAllAndAnAccountWithoutEquityIsClosed(t *testing.T) {
	t.Parallel()
	o := shorts()
	// 1000 long, 1000 short; B rises by 60 %: equity 400, longs and shorts 2600.
	m := two([]float64{10, 10, 10, 10}, []float64{10, 16, 16, 40})
	r := simulated(t, m, o, Decision{AsOf: 100, Weights: []Weight{{"A", 1}, {"B", -1}}})
	b := r.Metrics.Book
	wantEquity(t, r, 1000, 400, 400, 400-1.5*16*100*(800./2600))
	if h := r.Holdings[2]; b.MarginCalls != 1 || r.Trades[0].Reason != MarginCall || math.Abs(h.Value-1000*800./2600) > 1e-9 {
		t.Errorf("%+v %+v %+v", b, r.Trades, h)
	}
	if b.ClosedOn == nil || *b.ClosedOn != 103 || len(r.Holdings) != 6 {
		t.Errorf("%+v %+v", b, r.Holdings)
	}
	o.BorrowBps = 100
	r = simulated(t, two([]float64{10, 10, 10, 10}, []float64{10, 40, 40, 1}), o, Decision{AsOf: 100, Weights: []Weight{{"A", 1}, {"B", -1}}}, Decision{AsOf: 102, Weights: []Weight{{"A", 1}}})
	if got := equities(r); got[1] > -1999 || got[2] != got[1] || got[3] != got[1] || len(r.Holdings) != 2 || r.Metrics.CAGR != nil || *r.Metrics.MaxDD > -2.9 {
		t.Errorf("%v %+v %+v", got, r.Holdings, r.Metrics)
	}
	if n := strings.Join(r.Metrics.Book.notices(), "; "); !strings.HasPrefix(n, "ACCOUNT CLOSED on "+quant.Date(101).String()) {
		t.Error(n)
	}
}

// A fill at the open is at the session's own open, not at its close, and one day's close
// is worth no more than that.
func TestAFillAtTheOpenIsAtTheOpenAfterTheDecision(t *testing.T) {
	t.Parallel()
	o := defaults()
	o.InitialCapital, o.Open, o.Lag = 1000, true, 1
	m := oneSymbol(10, 12, 14)
	m.Open = [][]float64{{9, 10, 13}}
	r := simulated(t, m, o, hold(0, 1), hold(1, 0))
	wantEquity(t, r, 1200, 1300)
	if x := r.Trades[0]; x.EntryPrice != 10 || x.ExitPrice != 13 || x.PnL != 300 {
		t.Errorf("%+v", x)
	}
	o.Lag = 0
	if _, err := Simulate(m, nil, o); err == nil || !strings.Contains(err.Error(), "looks ahead") || !strings.Contains(quant.HintOf(err), "--lag 1") {
		t.Error(err)
	}
}

// What the volume of a session does not let through waits for the next ones, in shares,
// until a decision is filled; and the impact is that of the formula.
func TestVolumeCapsAFillAndImpactCostsTheSquareRoot(t *testing.T) {
	t.Parallel()
	o := defaults()
	o.InitialCapital, o.MaxVolumeShare = 1000, 0.1
	m := oneSymbol(10, 10, 20, 20, 20)
	m.Volume = [][]float64{{300, 200, 0, 400, 1000}}
	r := simulated(t, m, o, hold(0, 0.8), hold(4, 0.8))
	var qty []float64
	for _, h := range r.Holdings {
		qty = append(qty, h.Qty)
	}
	// 80 shares: 30, 20, none; then 30 more, for 600 of 500 in cash: 25.
	if !sameMoney(qty, []float64{30, 50, 50, 75, 60}) {
		t.Errorf("held %v", qty)
	}
	if b := r.Metrics.Book; math.Abs(b.Ordered-1100) > 1e-9 || math.Abs(*b.FilledShare-(1-50./1100)) > 1e-9 {
		t.Errorf("%+v %v", b, *b.FilledShare)
	}
	o.MaxVolumeShare, o.Impact = 0, 0.5
	m.ADV, m.Vol = [][]float64{{10_000, 1, 1, 1, 1}}, [][]float64{{0.02, 1, 1, 1, 1}}
	r = simulated(t, m, o, hold(0, 0.8))
	value := r.Days[0].Positions
	if want := 0.5 * 0.02 * math.Sqrt(value/10_000) * value; math.Abs(r.Metrics.Book.ImpactCost-want) > 1e-9 || math.Abs(r.Days[0].Equity-(1000-want)) > 1e-9 || math.Abs(value-0.8*r.Days[0].Equity) > 1e-9 {
		t.Errorf("impact %v, want %v; %+v", r.Metrics.Book.ImpactCost, want, r.Days[0])
	}
}

// Liquidity is the mean value and the deviation of returns of the last 20 sessions, and
// knows nothing later.
func TestLiquidityIsKnownAtTheClose(t *testing.T) {
	t.Parallel()
	var close, volume []float64
	for s := range 60 {
		close, volume = append(close, 10*math.Exp(0.02*math.Sin(float64(s*s)))), append(volume, float64(100+s%7))
	}
	close[30], volume[40] = math.NaN(), math.NaN()
	adv, vol := Liquidity(close, volume)
	for s := range close {
		var values, returns []float64
		last := math.NaN()
		for i := max(0, s-20); i <= s; i++ {
			if math.IsNaN(close[i]) {
				continue
			}
			if i > s-20 && !math.IsNaN(volume[i]) {
				values = append(values, close[i]*volume[i])
			}
			if !math.IsNaN(last) {
				returns = append(returns, (close[i]-last)/last)
			}
			last = close[i]
		}
		mean := func(of []float64) (m float64) {
			for _, x := range of {
				m += x / float64(len(of))
			}
			return m
		}
		m, squares := mean(returns), 0.0
		for _, x := range returns {
			squares += (x - m) * (x - m)
		}
		deviation := math.Sqrt(squares / float64(len(returns)-1))
		if len(returns) < 2 {
			deviation = math.NaN()
		}
		if math.Abs(adv[s]-mean(values)) > 1e-9 || math.IsNaN(vol[s]) != math.IsNaN(deviation) || math.Abs(vol[s]-deviation) > 1e-12 {
			t.Fatalf("session %d: %v and %v, want %v and %v", s, adv[s], vol[s], mean(values), deviation)
		}
	}
	early, earlyVol := Liquidity(close[:40], volume[:40])
	if !slices.Equal(early[20:], adv[20:40]) || earlyVol[39] != vol[39] {
		t.Error("what comes later changes it")
	}
}
