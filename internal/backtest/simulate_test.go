package backtest

import (
	"errors"
	"math"
	"testing"

	"quant"
)

// defaults are the options of a strategy that says nothing.
func defaults() Options {
	return Options{InitialCapital: 1_000_000, DelistAfter: 10, DelistingReturn: -0.30}
}

// oneSymbol is a market of A, on days 0, 1, 2, ...; 0 is no bar.
func oneSymbol(closes ...float64) Market {
	m := Market{Symbols: []string{"A"}, Close: [][]float64{closes}}
	for i := range closes {
		m.Sessions = append(m.Sessions, quant.Date(i))
	}
	return m
}

func hold(day int, weight float64) Decision {
	return Decision{AsOf: quant.Date(day), Weights: []Weight{{"A", weight}}}
}

func TestASaleTakesTheOldestSharesFirst(t *testing.T) {
	t.Parallel()
	o := defaults()
	o.InitialCapital, o.FeeBps = 1000, 0
	r, err := Simulate(oneSymbol(10, 10, 10, 10), []Decision{hold(0, 0.2), hold(1, 0.5), hold(2, 0.1), {AsOf: 3}}, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		entry, exit int
		qty         float64
		reason      string
	}{{0, 2, 20, Reduced}, {1, 2, 20, Reduced}, {1, 3, 10, Closed}}
	if len(r.Trades) != len(want) {
		t.Fatalf("%+v", r.Trades)
	}
	for i, w := range want {
		if x := r.Trades[i]; int(x.EntryTS) != w.entry || int(*x.ExitTS) != w.exit || math.Abs(x.Qty-w.qty) > 1e-9 || x.Reason != w.reason {
			t.Errorf("trade %d is %+v, want %+v", i, x, w)
		}
	}
	if r.Metrics.NumTrades != 1 || r.Metrics.OpenPositions != 0 {
		t.Errorf("%+v", r.Metrics)
	}
}

func TestADecisionIsFilledLagSessionsLaterUnlessANewerOneCameBefore(t *testing.T) {
	t.Parallel()
	closes := []float64{10, 11, 12, 13, 14, 15}
	for _, c := range []struct {
		lag       int
		decisions []Decision
		first     int // session of the first fill
		cancelled int64
	}{
		{0, []Decision{hold(1, 1)}, 1, 0},
		{2, []Decision{hold(1, 1)}, 3, 0},
		{2, []Decision{hold(1, 1), hold(3, 0.5)}, 3, 0}, // filled at the close at which the newer one is made
		{2, []Decision{hold(1, 1), hold(2, 0.5)}, 4, 1},
		{1, []Decision{hold(1, 1), hold(2, 0.5)}, 2, 0},
	} {
		o := defaults()
		o.Lag = c.lag
		r, err := Simulate(oneSymbol(closes...), c.decisions, o)
		if err != nil || r.Metrics.FirstFill == nil || int(*r.Metrics.FirstFill) != c.first || r.Metrics.Cancelled != c.cancelled {
			t.Errorf("%+v: %+v, %v", c, r.Metrics, err)
		}
	}
}

func TestAnOrderWithoutABarIsDroppedAndNotCarried(t *testing.T) {
	t.Parallel()
	r, err := Simulate(oneSymbol(10, 0, 12, 13), []Decision{hold(1, 1)}, defaults())
	if err != nil || r.Metrics.FirstFill != nil || r.Metrics.Dropped != 1 || len(r.Days) != 0 || r.Metrics.FinalEquity != 1e6 {
		t.Errorf("%+v, %v", r.Metrics, err)
	}
}

// Of A, half of the account, nothing can be sold: B gets the half that is there.
func TestWhatCannotBeSoldIsNotSpent(t *testing.T) {
	t.Parallel()
	m := Market{Symbols: []string{"A", "B"}, Close: [][]float64{{10, 0, 10}, {5, 5, 10}}, Sessions: []quant.Date{0, 1, 2}}
	o := defaults()
	o.FeeBps = 100
	r, err := Simulate(m, []Decision{hold(0, 0.5), {AsOf: 1, Weights: []Weight{{"B", 1}}}}, o)
	if err != nil {
		t.Fatal(err)
	}
	x := 1e6 / 1.005 // E' + 0.01 E'/2 = 1e6
	y := x / 2 / 1.01
	if d := r.Days[1]; d.Cash < 0 || d.Cash > 1e-6 || math.Abs(d.Equity-(x/2+y)) > 1e-6 || r.Metrics.Dropped != 1 || r.Metrics.Gaps != 1 {
		t.Errorf("%+v, want equity %v", d, x/2+y)
	}
	if got := r.Metrics.FinalEquity; math.Abs(got-(x/2+2*y)) > 1e-6 {
		t.Errorf("ends at %v", got)
	}
}

func TestAMarketOrADecisionThatMakesNoSenseIsInvalid(t *testing.T) {
	t.Parallel()
	m := oneSymbol(10, 11)
	for name, run := range map[string]func() error{
		"a decision on no session": func() error { _, err := Simulate(m, []Decision{hold(7, 1)}, defaults()); return err },
		"decisions out of order":   func() error { _, err := Simulate(m, []Decision{hold(1, 1), hold(0, 1)}, defaults()); return err },
		"two of one day":           func() error { _, err := Simulate(m, []Decision{hold(1, 1), hold(1, 1)}, defaults()); return err },
		"a symbol twice": func() error {
			_, err := Simulate(m, []Decision{{Weights: []Weight{{"A", 0.1}, {"A", 0.1}}}}, defaults())
			return err
		},
		"a weight that is no number": func() error { _, err := Simulate(m, []Decision{hold(0, math.NaN())}, defaults()); return err },
		"closes too few": func() error {
			_, err := Simulate(Market{Sessions: m.Sessions, Symbols: m.Symbols, Close: [][]float64{{1}}}, nil, defaults())
			return err
		},
		"sessions out of order": func() error {
			_, err := Simulate(Market{Sessions: []quant.Date{1, 1}, Symbols: m.Symbols, Close: m.Close}, nil, defaults())
			return err
		},
		"symbols out of order": func() error {
			_, err := Simulate(Market{Sessions: m.Sessions, Symbols: []string{"B", "A"}, Close: append(m.Close, m.Close...)}, nil, defaults())
			return err
		},
		"a cost above everything": func() error { o := defaults(); o.FeeBps = 20_000; _, err := Simulate(m, nil, o); return err },
	} {
		if err := run(); !errors.Is(err, quant.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := Simulate(Market{}, nil, defaults()); err != nil || r.Metrics.FinalEquity != 1e6 {
		t.Errorf("nothing at all: %+v, %v", r, err)
	}
}
