package inference

import (
	"math"
	"testing"
)

// series are returns that need no random numbers.
func series(n int, of float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		x := float64(i)
		out[i] = 0.0004 + 0.011*math.Sin(x*2.399+of) + 0.004*math.Cos(of*x)
	}
	return out
}

// 1,000 trials of ten years.
func BenchmarkOverfitting(b *testing.B) {
	trials := NewTrials(2516)
	for k := range 1000 {
		trials.Add(series(2516, 1+float64(k)/7))
	}
	b.ResetTimer()
	for range b.N {
		if _, err := trials.Overfitting(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// Ten years.
func BenchmarkBootstrap(b *testing.B) {
	returns := series(2516, 1)
	for range b.N {
		if _, err := Bootstrap(b.Context(), returns); err != nil {
			b.Fatal(err)
		}
	}
}
