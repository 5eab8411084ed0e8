package strategy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func sidesOf(list []Candidate) string {
	var text []string
	for _, c := range list {
		text = append(text, fmt.Sprintf("%d:%s:%.4g", c.Rank, c.Symbol, c.Weight))
	}
	return strings.Join(text, " ")
}

func TestTheBestAreProposedLongAndTheWorstShort(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	r := &Signals{Symbols: []string{"A", "B", "C", "D", "E", "F"}, scores: []float64{3, 1, nan, 2, 1, -4}}
	r.Days = append(r.Days, 1)
	for _, c := range []struct {
		topK, shortK int
		long, short  float64
		fill, want   string
	}{
		{2, 0, 1, 1, FillNone, "1:A:0.5 2:F:-0.5 3:D:0.5 4:E:-0.5"}, // B and E have one score: B stands before E
		{1, 3, 1.3, 0.3, FillNone, "1:A:1.3 2:F:-0.1 3:E:-0.1 4:B:-0.1"},
		{4, 4, 1, 1, FillNone, "1:A:0.25 2:F:-0.25 3:D:0.25 4:E:-0.25"}, // 5 names for 8 places: 2 a side
		{4, 4, 1, 1, FillRedistribute, "1:A:0.5 2:F:-0.5 3:D:0.5 4:E:-0.5"},
		{2, 2, 0, 1, FillNone, "1:F:-0.5 2:E:-0.5"},
	} {
		s := Strategy{Portfolio: Portfolio{TopK: c.topK, ShortK: c.shortK, Weighting: Equal, Fill: c.fill, Side: LongShort, LongExposure: &c.long, ShortExposure: &c.short}}
		s.Universe.Symbols = r.Symbols
		if got := sidesOf(s.Propose(r, 0)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// No name is on both sides, no long scores below a short, and each side keeps to its
// exposure.
func TestTheSidesOfRandomSignalsDoNotMeet(t *testing.T) {
	t.Parallel()
	for seed := range 2000 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 9))
		n := 1 + rnd.IntN(12)
		r := &Signals{scores: make([]float64, n)}
		r.Days = append(r.Days, 1)
		for k := range r.scores {
			r.Symbols = append(r.Symbols, fmt.Sprintf("S%02d", k))
			if r.scores[k] = math.Round(rnd.NormFloat64() * 2); rnd.IntN(5) == 0 {
				r.scores[k] = math.NaN()
			}
		}
		long, short := 2*rnd.Float64(), 2*rnd.Float64()
		s := Strategy{Portfolio: Portfolio{TopK: 1 + rnd.IntN(6), ShortK: 1 + rnd.IntN(6), Weighting: Equal, Side: LongShort, LongExposure: &long, ShortExposure: &short}}
		s.Portfolio.Fill = []string{FillNone, FillRedistribute}[rnd.IntN(2)]
		s.Universe.Symbols = r.Symbols
		worstLong, bestShort := math.Inf(1), math.Inf(-1)
		var longs, shorts float64
		var seen []string
		for _, c := range s.Propose(r, 0) {
			if slices.Contains(seen, c.Symbol) || c.Weight == 0 {
				t.Fatalf("seed %d: %+v", seed, c)
			}
			seen = append(seen, c.Symbol)
			if c.Weight > 0 {
				longs, worstLong = longs+c.Weight, min(worstLong, c.Score)
			} else {
				shorts, bestShort = shorts-c.Weight, max(bestShort, c.Score)
			}
		}
		if worstLong < bestShort || longs > long+1e-12 || shorts > short+1e-12 {
			t.Fatalf("seed %d: longs %v from %v, shorts %v to %v", seed, longs, worstLong, shorts, bestShort)
		}
	}
}
