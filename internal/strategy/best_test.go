package strategy

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The best are the head of all in order: by score, ties by symbol; NaN is none.
func TestTheBestAreTheHeadOfASortedList(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		scores := make([]float64, r.IntN(40))
		symbols := make([]string, len(scores))
		for n := range scores {
			symbols[n] = fmt.Sprintf("S%02d", n)
			switch scores[n] = float64(r.IntN(6) - 3); r.IntN(6) { // many ties
			case 0:
				scores[n] = math.NaN()
			case 1:
				scores[n] = math.Copysign(0, float64(r.IntN(2))-0.5)
			case 2:
				scores[n] = math.Inf(1 - 2*r.IntN(2))
			}
		}
		var all []Candidate
		for n, x := range scores {
			if x == x {
				all = append(all, Candidate{N: n, Symbol: symbols[n], Score: x})
			}
		}
		slices.SortStableFunc(all, func(a, b Candidate) int { return cmp.Compare(b.Score, a.Score) })
		for k := 1; k < len(scores)+3; k++ {
			got, want := best(scores, symbols, k), all[:min(k, len(all))]
			same := slices.EqualFunc(got, want, func(a, b Candidate) bool {
				return a.N == b.N && a.Symbol == b.Symbol && math.Float64bits(a.Score) == math.Float64bits(b.Score)
			})
			if !same {
				t.Fatalf("seed %d, the best %d of %v are %v, not %v", seed, k, scores, got, want)
			}
		}
	}
}
