package correlation

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// plainRanks counts what is below and what is equal.
func plainRanks(x []float64) []float64 {
	out := make([]float64, len(x))
	for a := range x {
		out[a] = 0.5
		for b := range x {
			switch {
			case x[b] < x[a]:
				out[a]++
			case x[b] == x[a]:
				out[a] += 0.5
			}
		}
	}
	return out
}

func TestRanksCountWhatIsBelowAndShareWhatIsEqual(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	draws := []func() float64{
		rng.NormFloat64,
		func() float64 { return float64(rng.IntN(7) - 3) },
		func() float64 { return math.Copysign(0, rng.NormFloat64()) },
		func() float64 {
			return []float64{math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, -5e-324, 0, 1, math.Nextafter(1, 2)}[rng.IntN(9)]
		},
		func() float64 { return math.Float64frombits(rng.Uint64() &^ (1 << 62)) }, // any finite number
	}
	var r Ranker
	var got []float64
	for _, n := range []int{0, 1, 2, 5, fewNames, fewNames + 1, 100, 1000} {
		for k, draw := range draws {
			x := make([]float64, n)
			for i := range x {
				x[i] = draw()
			}
			before := slices.Clone(x)
			if got = r.Ranks(got, x); !slices.Equal(got, plainRanks(x)) {
				t.Errorf("draw %d of %d: %v\ngive %v\nwant %v", k, n, x, got, plainRanks(x))
			}
			if !slices.EqualFunc(x, before, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }) {
				t.Errorf("draw %d of %d: the list was changed", k, n)
			}
		}
	}
}

func TestPearsonOfAConstantIsNoNumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		x, y []float64
		want float64
	}{
		{[]float64{1, 2, 3}, []float64{2, 4, 6}, 1},
		{[]float64{1, 2, 3}, []float64{6, 4, 2}, -1},
		{[]float64{1, 2, 3, 4}, []float64{1, 3, 2, 4}, 0.8},
		{[]float64{1, 1, 1}, []float64{1, 2, 3}, math.NaN()},
		{[]float64{1, 2, 3}, []float64{0.1, 0.1, 0.1}, math.NaN()},
		{nil, nil, math.NaN()},
	} {
		if got := Pearson(c.x, c.y); math.IsNaN(got) != math.IsNaN(c.want) || math.Abs(got-c.want) > 1e-15 {
			t.Errorf("%v and %v: %v, want %v", c.x, c.y, got, c.want)
		}
	}
}

func BenchmarkRanks(b *testing.B) {
	x := make([]float64, 1000)
	for i := range x {
		x[i] = rand.NormFloat64()
	}
	var r Ranker
	var to []float64
	for b.Loop() {
		to = r.Ranks(to, x)
	}
}
