package inference

import (
	"context"
	"crypto/sha256"
	"math"
	"math/bits"

	"quant/internal/parallel"
)

const (
	// CSCVBlocks is into how many blocks of neighbouring sessions the returns of
	// trials are cut: 12,870 ways to choose half of them.
	CSCVBlocks = 16
	// MinimumCSCV is how many sessions that takes: ten a block.
	MinimumCSCV = 10 * CSCVBlocks
	// MaximumCSCV is how many trials are compared at most. More are refused, never
	// sampled: with so many, tables of 80 MiB are in memory.
	MaximumCSCV = 10_000
)

// Trials are the returns of several trials on the same sessions, as sums over
// blocks. Not for several goroutines.
type Trials struct {
	sessions, block int
	means           []float64
	sums, squares   []float64 // of returns without their trial's mean; CSCVBlocks a trial
	together        []float64 // by session: the sum of the trials' standardised returns
	seen            map[[sha256.Size]byte]bool
}

// Taken is what became of a trial that was added.
type Taken int

// What becomes of a trial: it is compared, or left out, for its returns are all the
// same, or those of another trial to the bit, which a setting that changes nothing
// makes: it is no further choice.
const (
	Compared Taken = iota
	Flat
	Same
)

// NewTrials is for trials of so many sessions each.
func NewTrials(sessions int) *Trials {
	return &Trials{sessions: sessions, block: sessions / CSCVBlocks, together: make([]float64, sessions), seen: map[[sha256.Size]byte]bool{}}
}

// Add takes the returns of one more trial, as many as there are sessions. The order of
// trials decides ties.
func (t *Trials) Add(returns []float64) Taken {
	m, dev := deviation(returns)
	if !(dev > 0) {
		return Flat
	}
	sum := digest(returns)
	if t.seen[sum] {
		return Same
	}
	t.seen[sum] = true
	t.means = append(t.means, m)
	for i, r := range returns {
		t.together[i] += (r - m) / dev
	}
	from := t.sessions - CSCVBlocks*t.block // blocks are of one length: the first sessions are in none
	for range CSCVBlocks {
		var sum, square float64
		for _, r := range returns[from : from+t.block] {
			sum += r - m
			square += float64((r - m) * (r - m))
		}
		t.sums, t.squares = append(t.sums, sum), append(t.squares, square)
		from += t.block
	}
	return Compared
}

// Len is how many trials are compared.
func (t *Trials) Len() int { return len(t.means) }

// MeanCorrelation is the mean of the correlations of every two trials; NaN below two.
func (t *Trials) MeanCorrelation() float64 {
	n := float64(t.Len())
	if n < 2 {
		return math.NaN()
	}
	// The variance of a sum is the sum of all covariances, here of correlations.
	var total float64
	for _, z := range t.together {
		total += float64(z * z)
	}
	return (total/float64(t.sessions-1) - n) / (n * (n - 1))
}

// Overfitting is what combinatorially symmetric cross-validation says of choosing
// the best of several trials by its Sharpe ratio.
type Overfitting struct {
	Trials       int
	Sessions     int // that are in a block
	Combinations int // of half of the blocks
	// Probability is how often the trial that was best in one half of the blocks was in the
	// lower half of all trials in the other (PBO). Where nothing but chance tells the
	// trials apart it is about 1/2.
	Probability float64
	// Loss is how often the chosen trial had a Sharpe ratio below 0 in the other half.
	Loss float64
	// Slope is that of the chosen trial's ratio in the other half over that in the half
	// that chose it, by least squares; NaN if the latter is always the same.
	Slope float64
}

// Overfitting computes the probability of backtest overfitting by combinatorially
// symmetric cross-validation (CSCV): Bailey, Borwein, Lopez de Prado and Zhu, "The
// Probability of Backtest Overfitting" (Journal of Computational Finance 20/4,
// 2017). Blocks keep the order of sessions and have one length, so up to 15 of the
// first sessions are in none. A trial that does not move in a half has a ratio of 0
// there; trials that are as good as another share the mean of their ranks, and of
// two that are best, the one that was added first is chosen.
//
// All figures are NaN below two trials or MinimumCSCV sessions, or above MaximumCSCV
// trials. The error is the cause of ctx.
func (t *Trials) Overfitting(ctx context.Context) (Overfitting, error) {
	n := t.Len()
	nan := math.NaN()
	out := Overfitting{Trials: n, Sessions: CSCVBlocks * t.block, Probability: nan, Loss: nan, Slope: nan}
	if n < 2 || n > MaximumCSCV || t.sessions < MinimumCSCV {
		return out, nil
	}
	sums, powers := t.tables(t.sums), t.tables(t.squares)
	var halves []uint // those with the first block; the others are what they leave
	for half := range uint(1) << CSCVBlocks {
		if half&1 == 1 && bits.OnesCount(half) == CSCVBlocks/2 {
			halves = append(halves, half)
		}
	}
	const every = uint(1)<<CSCVBlocks - 1
	type choice struct {
		in, out float64 // Sharpe ratios of the chosen trial, of a session
		low     bool    // it is in the lower half of all
	}
	choices := make([]choice, 2*len(halves))
	err := parallel.Blocks(ctx, len(halves), 16, func() func(lo, hi int) {
		one, other := make([]float64, n), make([]float64, n)
		return func(lo, hi int) {
			for k := lo; k < hi; k++ {
				t.ratios(one, sums, powers, halves[k])
				t.ratios(other, sums, powers, every&^halves[k])
				for j, half := range [2][2][]float64{{one, other}, {other, one}} {
					best := 0
					for i, ratio := range half[0] {
						if ratio > half[0][best] {
							best = i
						}
					}
					c := choice{in: half[0][best], out: half[1][best]}
					below, same := 0, 0
					for _, ratio := range half[1] {
						switch {
						case ratio < c.out:
							below++
						case ratio == c.out:
							same++
						}
					}
					// Rank / (n+1) <= 1/2, for the mean rank below + (same+1)/2.
					c.low = 2*below+same+1 <= n+1
					choices[2*k+j] = c
				}
			}
		}
	})
	if err != nil {
		return out, err
	}
	out.Combinations = len(choices)
	low, lost := 0, 0
	in, after := make([]float64, len(choices)), make([]float64, len(choices))
	for k, c := range choices {
		in[k], after[k] = c.in, c.out
		if c.low {
			low++
		}
		if c.out < 0 {
			lost++
		}
	}
	out.Probability, out.Loss = float64(low)/float64(len(choices)), float64(lost)/float64(len(choices))
	if m, dev := deviation(in); dev > 0 {
		other := mean(after)
		var xy float64
		for k, x := range in {
			xy += float64((x - m) * (after[k] - other))
		}
		out.Slope = xy / squares(in, m)
	}
	return out, nil
}

// halfBlocks is how many blocks share a table: a choice of blocks is the sum of one
// row of each of two tables.
const halfBlocks = CSCVBlocks / 2

// tables are, for the first and for the last blocks, the sums over every subset of
// them, by subset and trial.
func (t *Trials) tables(ofBlocks []float64) [2][][]float64 {
	n := t.Len()
	var out [2][][]float64
	for half := range out {
		rows := make([][]float64, 1<<halfBlocks)
		all := make([]float64, n<<halfBlocks)
		for subset := range rows {
			rows[subset] = all[subset*n : (subset+1)*n]
			if subset == 0 {
				continue
			}
			last := bits.Len(uint(subset)) - 1
			before := rows[subset&^(1<<last)]
			for i := range n {
				rows[subset][i] = before[i] + ofBlocks[i*CSCVBlocks+half*halfBlocks+last]
			}
		}
		out[half] = rows
	}
	return out
}

// ratios are the Sharpe ratios of a session of all trials in some of the blocks, half
// of them all.
func (t *Trials) ratios(to []float64, sums, squares [2][][]float64, blocks uint) {
	low, high := blocks&(1<<halfBlocks-1), blocks>>halfBlocks
	s0, s1, q0, q1 := sums[0][low], sums[1][high], squares[0][low], squares[1][high]
	n := float64(halfBlocks * t.block)
	for i, m := range t.means {
		sum, square := s0[i]+s1[i], q0[i]+q1[i]
		rest := square - float64(sum*sum)/n
		if !(rest > noDeviation*square) {
			to[i] = 0
			continue
		}
		to[i] = (m + sum/n) / math.Sqrt(rest/(n-1))
	}
}
