package inference

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"quant/internal/parallel"
)

const (
	// Resamples is how many series Bootstrap draws.
	Resamples = 2000
	// Level is the probability of its intervals.
	Level = 0.95
	// MinimumBootstrap is how many returns Bootstrap needs: three months.
	MinimumBootstrap = 63
)

// BlockLength is the mean length of the blocks of a stationary bootstrap of the
// series, at least 1: Politis and White, "Automatic Block-Length Selection for the
// Dependent Bootstrap" (Econometric Reviews 23, 2004), as corrected by Patton,
// Politis and White (28, 2009). NaN where the series has no deviation, or fewer
// than MinimumBootstrap numbers.
func BlockLength(x []float64) float64 {
	n := len(x)
	m, dev := deviation(x)
	if n < MinimumBootstrap || !(dev > 0) {
		return math.NaN()
	}
	e := make([]float64, n)
	for i, v := range x {
		e[i] = v - m
	}
	dot := func(a, b []float64) float64 {
		var sum float64
		for i, v := range a {
			sum += float64(v * b[i])
		}
		return sum
	}
	size := float64(n)
	quiet := max(5, int(math.Log10(size))) // so many correlations in a row must say nothing
	most := int(math.Ceil(math.Sqrt(size))) + quiet
	critical := 2 * math.Sqrt(math.Log10(size)/size)
	covariance, correlation := make([]float64, most+1), make([]float64, most+1)
	last := -1 // the lag after which they do
	for l := range most + 1 {
		product := dot(e[l:], e[:n-l])
		covariance[l] = product / size
		late, early := e[l+1:], e[:n-l-1]
		correlation[l] = math.Abs(product) / math.Sqrt(dot(late, late)*dot(early, early))
		if l >= quiet && last < 0 && slices.Max(correlation[l-quiet:l]) < critical {
			last = l - quiet
		}
	}
	window := most
	if last >= 0 {
		window = min(2*max(last, 1), most)
	}
	var g float64
	spectrum := covariance[0]
	for k := 1; k <= window; k++ {
		weight := 1.0
		if share := float64(k) / float64(window); share > 0.5 {
			weight = 2 * (1 - share)
		}
		g += float64(2 * weight * float64(k) * covariance[k])
		spectrum += float64(2 * weight * covariance[k])
	}
	length := math.Cbrt(g*g/(spectrum*spectrum)) * math.Cbrt(size)
	return max(1, min(length, math.Ceil(min(3*math.Sqrt(size), size/3))))
}

// Interval is between which values a figure is with probability Level; NaN: not
// known.
type Interval struct{ Low, High float64 }

// Intervals are those of a series of returns.
type Intervals struct {
	Block  float64  // BlockLength
	Sharpe Interval // of a year
	CAGR   Interval // (product of 1 + return)^(252/n) - 1
	MaxDD  Interval // deepest fall from the highest value so far, the start included; 0 or less
}

// Bootstrap draws Resamples series of as many returns by the stationary bootstrap
// (Politis and Romano, "The Stationary Bootstrap", Journal of the American
// Statistical Association 89, 1994), blocks of BlockLength on average out of the
// circle of the returns, and returns the percentile interval of each figure. What is
// drawn is fixed by the returns alone: the same give the same bits. NaN below
// MinimumBootstrap and without a deviation; a figure is NaN that some series has
// not: a Sharpe ratio of equal returns, growth from an account that was lost. The
// error is the cause of ctx.
func Bootstrap(ctx context.Context, returns []float64) (Intervals, error) {
	none := Interval{math.NaN(), math.NaN()}
	out := Intervals{Block: BlockLength(returns), Sharpe: none, CAGR: none, MaxDD: none}
	if math.IsNaN(out.Block) {
		return out, nil
	}
	n := len(returns)
	m := mean(returns)
	centred := make([]float64, n)
	for i, r := range returns {
		centred[i] = r - m
	}
	// A block goes on unless a number of 64 bits is below this.
	threshold := uint64(math.MaxUint64)
	if p := 1 / out.Block; p < 1 {
		threshold = uint64(math.Ldexp(p, 64))
	}
	sum := digest(returns)
	seed := binary.LittleEndian.Uint64(sum[:])
	sharpe, growth, deepest := make([]float64, Resamples), make([]float64, Resamples), make([]float64, Resamples)
	err := parallel.Blocks(ctx, Resamples, 50, func() func(lo, hi int) {
		return func(lo, hi int) {
			for k := lo; k < hi; k++ {
				draw := stream(seed + uint64(k))
				sharpe[k], growth[k], deepest[k] = resample(&draw, threshold, m, centred, returns)
			}
		}
	})
	if err != nil {
		return out, err
	}
	for k, g := range growth {
		growth[k] = math.Pow(g, SessionsPerYear/float64(n)) - 1
	}
	for _, figure := range []struct {
		drawn []float64
		into  *Interval
	}{{sharpe, &out.Sharpe}, {growth, &out.CAGR}, {deepest, &out.MaxDD}} {
		if slices.ContainsFunc(figure.drawn, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) {
			continue
		}
		slices.Sort(figure.drawn)
		*figure.into = Interval{quantile(figure.drawn, (1-Level)/2), quantile(figure.drawn, (1+Level)/2)}
	}
	return out, nil
}

// resample draws one series and measures it. centred are the returns without their
// mean m.
func resample(draw *generator, threshold uint64, m float64, centred, returns []float64) (sharpe, growth, deepest float64) {
	n := len(returns)
	var sum, square float64
	growth = 1.0
	high, low := 1.0, 1.0 // low is the deepest value as a share of the highest before it
	at := n
	for t := range n {
		if at++; t == 0 || draw.next() < threshold {
			start, _ := bits.Mul64(draw.next(), uint64(n))
			at = int(start)
		} else if at >= n {
			at = 0
		}
		c := centred[at]
		sum += c
		square += float64(c * c)
		growth *= 1 + returns[at]
		if growth > high {
			high = growth
		} else if growth < low*high {
			low = growth / high
		}
	}
	size := float64(n)
	variance := (square - float64(sum*sum)/size) / (size - 1)
	if !(variance > noDeviation*square/size) {
		sharpe = math.NaN()
	} else {
		sharpe = (m + sum/size) / math.Sqrt(variance) * math.Sqrt(SessionsPerYear)
	}
	if slices.Min(returns) <= -1 { // nothing grows from nothing
		return sharpe, math.NaN(), math.NaN()
	}
	return sharpe, growth, low - 1
}

// digest tells returns from all others.
func digest(returns []float64) [sha256.Size]byte {
	text := make([]byte, 0, 8*len(returns))
	for _, r := range returns {
		text = binary.LittleEndian.AppendUint64(text, math.Float64bits(r))
	}
	return sha256.Sum256(text)
}

// generator is xoshiro256++ of Blackman and Vigna (2019).
type generator struct{ a, b, c, d uint64 }

// stream is the generator that a number names, filled by SplitMix64 as its authors
// advise. Neighbouring numbers name unrelated ones: each is mixed before it is used.
func stream(seed uint64) generator {
	x := mix(seed)
	word := func() uint64 {
		x += 0x9e3779b97f4a7c15
		return mix(x)
	}
	return generator{word(), word(), word(), word()}
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (g *generator) next() uint64 {
	out := bits.RotateLeft64(g.a+g.d, 23) + g.a
	t := g.b << 17
	g.c ^= g.a
	g.d ^= g.b
	g.b ^= g.c
	g.a ^= g.d
	g.c ^= t
	g.d = bits.RotateLeft64(g.d, 45)
	return out
}
