package backtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"quant"
	"quant/internal/price"
)

// largeMarket is 1,000 symbols on 2,516 sessions.
func largeMarket() Market {
	const symbols, sessions = 1000, 2516
	random := rand.New(rand.NewPCG(1, 2))
	m := Market{}
	for s := range sessions {
		m.Sessions = append(m.Sessions, quant.Date(10_000+s))
	}
	for k := range symbols {
		m.Symbols = append(m.Symbols, fmt.Sprintf("S%04d", k))
		closes, p := make([]float64, sessions), 100.0
		for s := range closes {
			p *= math.Exp(0.0003 + 0.02*random.NormFloat64())
			closes[s] = math.Round(p*100) / 100
		}
		m.Close = append(m.Close, closes)
	}
	return m
}

// fifty are decisions of a day that hold fifty names of a market, a few of which
// change from day to day, as a cap on turnover leaves them.
func fifty(m Market) []Decision {
	random := rand.New(rand.NewPCG(3, 4))
	held := make([]bool, len(m.Symbols))
	for n := 0; n < 50; {
		if k := random.IntN(len(held)); !held[k] {
			held[k], n = true, n+1
		}
	}
	var decisions []Decision
	for _, day := range m.Sessions {
		for n := 0; n < 6; {
			if k := random.IntN(len(held)); held[k] {
				held[k], n = false, n+1
			}
		}
		for n := 0; n < 6; {
			if k := random.IntN(len(held)); !held[k] {
				held[k], n = true, n+1
			}
		}
		d := Decision{AsOf: day}
		for k, is := range held {
			if is {
				w := 0.02
				if random.IntN(4) == 0 {
					w *= random.Float64()
				}
				d.Weights = append(d.Weights, Weight{m.Symbols[k], w})
			}
		}
		decisions = append(decisions, d)
	}
	return decisions
}

// BenchmarkReplay replays daily top 50 of 1,000 symbols on 2,516 sessions, with every
// lag and cost: what a trial of a sweep costs beside its decisions and its rows.
func BenchmarkReplay(b *testing.B) {
	m := largeMarket()
	req := Request{StrategyID: "s", Version: "1", Options: defaults(), Universe: m.Symbols}
	req.Lag, req.FeeBps, req.SlippageBps = 1, 5, 2
	decisions := fifty(m)
	b.Run("now", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := replay(b.Context(), m, decisions, req, price.Basis{}, "", nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("digests", func(b *testing.B) {
		r, result, err := replay(b.Context(), m, decisions, req, price.Basis{}, "", nil)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			digestOf(r.Summary, result)
			trialDigest(req.TrialDigest, m, decisions)
		}
	})
	b.Run("plainly", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := prepare(m, decisions, Options{})
			if err != nil {
				b.Fatal(err)
			}
			p.simulatePlainly(req.Options, detail{trades: true})
			for _, lag := range []int{0, 1} {
				o := req.Options
				o.Lag = lag
				p.simulatePlainly(o, detail{})
			}
			for _, lag := range []int{0, 1, 2, 5} {
				for _, bps := range []float64{0, 5, 10, 20, 50} {
					o := req.Options
					o.Lag, o.FeeBps, o.SlippageBps = lag, bps, 0
					p.simulatePlainly(o, detail{})
				}
			}
		}
	})
}
