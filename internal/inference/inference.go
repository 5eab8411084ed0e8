// Package inference says how far figures of a sample may be believed, and what
// they say of risk. Pure functions over lists of numbers: nothing is read, kept or
// changed. Every sum runs in the order of its list, products are rounded before
// they are added, and work on several cores is cut in the same way everywhere, so
// that the same numbers give the same bits on every machine.
//
// Returns are those of a session, decimal, without NaN, unless a function says
// otherwise. What cannot be said is NaN; nobody stores or prints one: a caller
// makes it NULL. docs/judging.md has each formula with its source and how to read
// it.
package inference

import (
	"math"
	"slices"
)

// SessionsPerYear turns figures of a session into those of a year.
const SessionsPerYear = 252

// noDeviation is the deviation, as a share of the distance from zero, up to which
// numbers are the same but for rounding.
const noDeviation = 1e-12

// mean is NaN of nothing.
func mean(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// squares is the sum of squared distances from m.
func squares(x []float64, m float64) float64 {
	var sum float64
	for _, v := range x {
		sum += float64((v - m) * (v - m))
	}
	return sum
}

// deviation is the mean and the sample deviation, which is 0 where the numbers are
// the same but for rounding; NaN below two.
func deviation(x []float64) (m, dev float64) {
	m = mean(x)
	if len(x) < 2 {
		return m, math.NaN()
	}
	dev = math.Sqrt(squares(x, m) / float64(len(x)-1))
	if dev <= noDeviation*math.Abs(m) {
		dev = 0
	}
	return m, dev
}

// Sharpe is the yearly Sharpe ratio: mean / sample deviation x sqrt(252), without a
// risk-free rate. NaN below two returns or without a deviation.
func Sharpe(returns []float64) float64 {
	m, dev := deviation(returns)
	if !(dev > 0) {
		return math.NaN()
	}
	return m / dev * math.Sqrt(SessionsPerYear)
}

// quantile of numbers in ascending order, 0 <= p <= 1, linear between neighbours
// (numpy's default, type 7 of Hyndman and Fan 1996). NaN of nothing.
func quantile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := p * float64(len(sorted)-1)
	k := min(int(at), len(sorted)-1)
	if k+1 == len(sorted) {
		return sorted[k]
	}
	return sorted[k] + float64((at-float64(k))*(sorted[k+1]-sorted[k]))
}

func ascending(x []float64) []float64 {
	sorted := slices.Clone(x)
	slices.Sort(sorted)
	return sorted
}
