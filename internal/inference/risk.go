package inference

import (
	"cmp"
	"math"
	"slices"
)

// MinimumTail is how many returns ValueAtRisk and ExpectedShortfall need of a tail
// of that probability: so many that one is expected in it. 20 for 5 %, 100 for 1 %.
func MinimumTail(tail float64) int { return int(math.Ceil(1/tail - 1e-9)) }

// ValueAtRisk is the return of a session that is undercut with probability tail, by
// the returns that there were: their quantile, linear between neighbours. A return,
// so a loss is negative. NaN below MinimumTail.
func ValueAtRisk(returns []float64, tail float64) float64 {
	if len(returns) < MinimumTail(tail) {
		return math.NaN()
	}
	return quantile(ascending(returns), tail)
}

// ExpectedShortfall is the mean of the worst returns of a session, a share tail of
// them: of the floor((n-1) tail) + 1 lowest, as empyrical's
// conditional_value_at_risk has it. A loss is negative. NaN below MinimumTail.
func ExpectedShortfall(returns []float64, tail float64) float64 {
	if len(returns) < MinimumTail(tail) {
		return math.NaN()
	}
	return mean(ascending(returns)[:int(float64(len(returns)-1)*tail)+1])
}

// Drawdown is a fall below the highest value so far, up to the first value that is
// as high again. Places in the series.
type Drawdown struct {
	Peak, Trough int
	Recovery     int     // -1: not yet
	Depth        float64 // value at the trough / that at the peak - 1, below 0
}

// Drawdowns are all of a series whose first value is above 0, the deepest first; of two
// as deep, the earlier. The peak is the last place at the highest value. A debt is deeper
// than -1.
func Drawdowns(values []float64) []Drawdown {
	var list []Drawdown
	peak, below := 0, false
	for i, v := range values {
		if v >= values[peak] {
			if below {
				list[len(list)-1].Recovery = i
			}
			peak, below = i, false
			continue
		}
		if !below {
			list, below = append(list, Drawdown{Peak: peak, Trough: i, Recovery: -1}), true
		}
		d := &list[len(list)-1]
		if depth := v/values[peak] - 1; depth < d.Depth {
			d.Trough, d.Depth = i, depth
		}
	}
	slices.SortStableFunc(list, func(a, b Drawdown) int { return cmp.Compare(a.Depth, b.Depth) })
	return list
}

// RollingSharpe is Sharpe of the last window returns at each place, NaN before
// there are so many. Each is summed anew, so that no rounding is carried on.
func RollingSharpe(returns []float64, window int) []float64 {
	return rolling(len(returns), window, func(from, to int) float64 { return Sharpe(returns[from:to]) })
}

// RollingBeta is the beta of the last window returns against those of a benchmark,
// NaN before there are so many, and where the benchmark has no deviation.
func RollingBeta(returns, benchmark []float64, window int) []float64 {
	return rolling(len(returns), window, func(from, to int) float64 {
		x, y := benchmark[from:to], returns[from:to]
		mx, dx := deviation(x)
		if !(dx > 0) {
			return math.NaN()
		}
		my := mean(y)
		var xy float64
		for i, v := range x {
			xy += float64((v - mx) * (y[i] - my))
		}
		return xy / squares(x, mx)
	})
}

func rolling(n, window int, of func(from, to int) float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
		if i+1 >= window {
			out[i] = of(i+1-window, i+1)
		}
	}
	return out
}
