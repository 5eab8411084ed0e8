package supervisor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"quant/internal/test/soak"
)

func printed(d Decision, err error) string {
	var b strings.Builder
	bits := math.Float64bits
	fmt.Fprintf(&b, "%x %x %x %v\n", bits(d.Gross), bits(d.Turnover), bits(d.Exempt), err)
	for _, r := range d.Rows {
		fmt.Fprintf(&b, "%s %x %x %v %v %t %s\n", r.Symbol, bits(r.Weight), bits(r.Score), r.Approved, r.Flags, r.Flags == nil, r.Reason)
	}
	return b.String()
}

// chain decides so many times, each from what the one before it holds; the rough
// ones have names that leave, have no bar or no score, or stand there twice.
func chain(r *rand.Rand, symbols, top, times int, rough bool, each func([]Proposed, []Held) Decision) {
	scores := make([]float64, symbols)
	var last Decision
	for range times {
		for k := range scores {
			scores[k] = 0.8*scores[k] + math.Round(8*r.NormFloat64())/8
		}
		type ranked struct {
			k     int
			score float64
		}
		var best []Proposed
		taken := make([]bool, symbols)
		for len(best) < top {
			at := ranked{-1, math.Inf(-1)}
			for k, score := range scores {
				if !taken[k] && score > at.score {
					at = ranked{k, score}
				}
			}
			if at.k < 0 {
				break
			}
			taken[at.k] = true
			p := Proposed{Symbol: fmt.Sprintf("S%03d", at.k), Score: at.score, Weight: 1 / float64(top)}
			if rough && r.IntN(6) == 0 {
				p.Weight *= 2 * r.Float64()
			}
			p.NoBar = rough && r.IntN(10) == 0
			best = append(best, p)
		}
		if rough && r.IntN(60) == 0 && len(best) > 0 {
			best = append(best, best[0])
		}
		var held []Held
		var total float64
		for k := range symbols {
			symbol := fmt.Sprintf("S%03d", k)
			for _, row := range last.Rows {
				if row.Symbol != symbol || !row.Approved {
					continue
				}
				h := Held{Symbol: symbol, Weight: row.Weight * math.Exp(0.02*r.NormFloat64()), Score: scores[k]}
				if rough && r.IntN(8) == 0 {
					h.Score = math.NaN()
				}
				if rough && r.IntN(12) == 0 {
					h.Left = []Flag{LeftUniverse, LeftMarket}[r.IntN(2)]
				}
				total += h.Weight
				held = append(held, h)
			}
		}
		for i := range held {
			held[i].Weight /= max(total, 1)
		}
		last = each(best, held)
	}
}

func TestADeciderDecidesWhatAPlainOneDoes(t *testing.T) {
	t.Parallel()
	for seed := range soak.Count(t, 300, 10_000) {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		policy := Policy{GrossExposureCap: 0.3 + 0.7*r.Float64(), MaxWeightPerSymbol: 0.05 + r.Float64()/2, MaxPositions: 1 + r.IntN(12), TurnoverCap: r.Float64() / 2}
		if r.IntN(2) == 0 {
			policy.GrossExposureCap, policy.ScoreFloor = 1, new(r.NormFloat64())
		}
		d := NewDecider(policy)
		chain(r, 5+r.IntN(30), 1+r.IntN(12), 20, true, func(p []Proposed, h []Held) Decision {
			want, err := decidePlainly(policy, p, h)
			got, gotErr := d.Decide(p, h)
			if printed(got, gotErr) != printed(want, err) {
				t.Fatalf("seed %d: %v %v decide\n%s\nand plainly\n%s", seed, p, h, printed(got, gotErr), printed(want, err))
			}
			return got
		})
	}
}

// BenchmarkDecide decides on a day for the best 50 of 300 names, which change faster
// than the turnover cap allows.
func BenchmarkDecide(b *testing.B) {
	policy := Policy{GrossExposureCap: 1, MaxWeightPerSymbol: 0.05, MaxPositions: 50, TurnoverCap: 0.30}
	type day struct {
		p []Proposed
		h []Held
	}
	var days []day
	d := NewDecider(policy)
	chain(rand.New(rand.NewPCG(1, 1)), 300, 50, 100, false, func(p []Proposed, h []Held) Decision {
		days = append(days, day{p, h})
		got, err := d.Decide(p, h)
		if err != nil {
			b.Fatal(err)
		}
		return got
	})
	b.Run("now", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := d.Decide(days[i%100].p, days[i%100].h); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plainly", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := decidePlainly(policy, days[i%100].p, days[i%100].h); err != nil {
				b.Fatal(err)
			}
		}
	})
}
