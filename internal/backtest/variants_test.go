package backtest

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"quant"
	"quant/internal/test/soak"
)

// roughMarket is a small market in which bars are missing, symbols leave and come
// back, and delistings and halts are known; with decisions that name too much, too
// little, nothing, and symbols that are not there.
func roughMarket(random *rand.Rand) (Market, []Decision) {
	n, sessions := 1+random.IntN(12), 5+random.IntN(60)
	m := Market{}
	for s := range sessions {
		m.Sessions = append(m.Sessions, quant.Date(100+s))
	}
	gaps := []float64{0, 0.02, 0.3}[random.IntN(3)]
	for k := range n {
		m.Symbols = append(m.Symbols, fmt.Sprintf("S%02d", k))
		closes, p := make([]float64, sessions), math.Exp(8*random.Float64()-2)
		from, to := 0, sessions
		if random.IntN(4) == 0 {
			from, to = random.IntN(sessions), random.IntN(sessions)
		}
		for s := range closes {
			if p *= math.Exp(0.05 * random.NormFloat64()); random.IntN(500) == 0 {
				p *= 1e-12
			}
			closes[s] = p
			if s < from || s > to || random.Float64() < gaps {
				closes[s] = []float64{0, math.NaN(), math.Inf(1)}[random.IntN(3)]
			}
		}
		m.Close = append(m.Close, closes)
		for day := random.IntN(2 * sessions); day < sessions && random.IntN(2) == 0; day += 4 + random.IntN(20) {
			e := Known{Symbol: m.Symbols[k], Kind: KindHalt, Date: m.Sessions[day]}
			end := e.Date + quant.Date(random.IntN(3))
			e.End = &end
			if random.IntN(2) == 0 {
				e.Kind = KindDelisting
				if random.IntN(2) == 0 {
					e.Return = new(-random.Float64())
				}
			}
			m.Known = append(m.Known, e)
		}
	}
	var decisions []Decision
	dusty := random.IntN(5) == 0 // weights that are too small to be bought
	for s, every := 0, 1+random.IntN(3); s < sessions; s += every {
		d := Decision{AsOf: m.Sessions[s]}
		total := []float64{1, 1, 1 + 5e-10, 0.7}[random.IntN(4)]
		if dusty && random.IntN(10) == 0 {
			total = 1e-13
		}
		var sum float64
		for k := range n + 1 {
			if random.IntN(2) == 0 && random.IntN(12) > 0 {
				d.Weights = append(d.Weights, Weight{fmt.Sprintf("S%02d", k), 0.1 + random.Float64()})
				sum += d.Weights[len(d.Weights)-1].Weight
			}
		}
		for i := range d.Weights {
			if d.Weights[i].Weight *= total / sum; dusty && random.IntN(40) == 0 {
				d.Weights[i].Weight = 5e-324
			}
		}
		decisions = append(decisions, d)
	}
	return m, decisions
}

// printed is a value with every float in full.
func printed(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAReplayAndItsVariantsHaveTheBitsOfPlainOnes(t *testing.T) {
	t.Parallel()
	together, parted := 0, 0
	for seed := range soak.Count(t, 600, 20_000) {
		random := rand.New(rand.NewPCG(uint64(seed), 7))
		m, decisions := roughMarket(random)
		o := defaults()
		o.Lag, o.FeeBps, o.SlippageBps = random.IntN(4), []float64{0, 5, 7.5, 800}[random.IntN(4)], []float64{0, 0, 3, 900}[random.IntN(4)]
		o.DelistAfter, o.DelistingReturn, o.CashRate = 1+random.IntN(5), []float64{-0.3, -1, 0}[random.IntN(3)], []float64{0, 0.03, -0.01}[random.IntN(3)]
		p, err := prepare(m, decisions, Options{})
		if err != nil {
			t.Fatal(err)
		}
		result := p.simulate(o, detail{trades: true})
		if got, want := printed(t, result), printed(t, p.simulatePlainly(o, detail{trades: true})); got != want {
			t.Fatalf("seed %d: a replay is\n%s\nand plainly\n%s", seed, got, want)
		}
		if got, want := printed(t, p.simulate(o, detail{rejoin: true})), printed(t, p.simulatePlainly(o, detail{rejoin: true})); got != want {
			t.Fatalf("seed %d: a benchmark is\n%s\nand plainly\n%s", seed, got, want)
		}
		list, err := p.variants(t.Context(), o, &result.Metrics)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range list {
			want := p.simulatePlainly(v.options(o), detail{}).Metrics
			if got, want := printed(t, []any{v.performance, v.turnover}), printed(t, []any{want.Performance, want.Turnover}); got != want {
				t.Fatalf("seed %d: the variant with lag %d and costs %v + %v is\n%s\nand plainly\n%s", seed, v.lag, v.feeBps, v.slippageBps, got, want)
			}
		}
		for _, lag := range sensitivityLags {
			of := o
			of.Lag = lag
			side := newSideBySide(p, of)
			side.add(0, 0)
			side.add(50, 0)
			if side.run() {
				together++
			} else {
				parted++
			}
		}
	}
	if together < 3*parted || parted == 0 {
		t.Errorf("the variants of %d replays ran side by side, those of %d did not", together, parted)
	}
}
