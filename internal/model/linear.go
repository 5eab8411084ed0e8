package model

import (
	"context"
	"math"
	"slices"

	"quant"
	"quant/internal/parallel"
)

// sampleSet holds samples in the order of (t, symbol).
type sampleSet struct {
	width int
	x     [][]float64 // by feature: of each sample
	y     []float64
	days  []sessionStart // ascending, each with the first of its samples
}

// end is the end of the samples of the session at a position of days.
func (d *sampleSet) end(k int) int {
	if k+1 < len(d.days) {
		return d.days[k+1].at
	}
	return len(d.y)
}

// until are the sessions of the samples before hi, which begins one or is the end.
func (d *sampleSet) until(hi int) []sessionStart {
	k, _ := slices.BinarySearchFunc(d.days, hi, func(day sessionStart, hi int) int { return day.at - hi })
	return d.days[:k]
}

// span is the samples [lo, hi).
type span struct{ lo, hi int }

// learning is what a fit may look at: spans of samples in the order of time, each
// of whole sessions. Nothing in this file reads a sample outside of them. A sum is
// one of parts that are cut by what the spans hold alone, added in that order, and
// products are rounded before they are added, so that the same samples give the
// same bits, whatever comes after them and however many cores there are.
type learning struct {
	*sampleSet
	spans []span
}

func (l learning) count() int {
	n := 0
	for _, s := range l.spans {
		n += s.hi - s.lo
	}
	return n
}

// partSize is how many samples are one part of a sum.
const partSize = 8192

// parts are the spans, cut.
func (l learning) parts() []span {
	var parts []span
	for _, s := range l.spans {
		for lo := s.lo; lo < s.hi; lo += partSize {
			parts = append(parts, span{lo, min(lo+partSize, s.hi)})
		}
	}
	return parts
}

// scale standardises features: (x - mean) / deviation. The deviation is the
// population's; a feature that does not vary gets 1, and so the coefficient 0.
type scale struct{ mean, deviation []float64 }

// fitted is a linear function of standardised features: a return for Ridge,
// the logarithm of the odds for Logistic.
type fitted struct {
	scale
	intercept   float64
	coefficient []float64
}

// eta is the value of the function of one row of x, which is by feature.
func (f *fitted) eta(x [][]float64, row int) float64 {
	sum := f.intercept
	for j, c := range f.coefficient {
		sum += float64(c * ((x[j][row] - f.mean[j]) / f.deviation[j]))
	}
	return sum
}

// etaBlock is how many samples are computed feature by feature before the next
// ones: few enough to stay in the nearest cache.
const etaBlock = 1024

// etas writes the value of the function of the samples [lo, hi), by feature in x,
// to to, which begins with that of lo.
func (f *fitted) etas(to []float64, x [][]float64, lo, hi int) {
	for from := lo; from < hi; from += etaBlock {
		end := min(from+etaBlock, hi)
		out := to[from-lo : end-lo]
		for i := range out {
			out[i] = f.intercept
		}
		for j, c := range f.coefficient {
			mean, deviation := f.mean[j], f.deviation[j]
			for i, v := range x[j][from:end] {
				out[i] += float64(c * ((v - mean) / deviation))
			}
		}
	}
}

// ridge minimises sum (y - b0 - z'b)^2 + alpha |b|^2 over standardised z, the
// intercept unpenalised, by the normal equations (Hoerl and Kennard, 1970), which
// the moments of the samples make. alpha > 0 makes them positive definite. It
// fits one function for each penalty.
func (m *moments) ridge(alphas []float64) ([]*fitted, error) {
	p := len(m.mean) - 1
	s := m.scale(p)
	label := p * (p + 1) / 2 // the row of the label's products
	var out []*fitted
	for _, alpha := range alphas {
		a, b := make([]float64, p*p), make([]float64, p)
		for i := range p {
			for j := range i + 1 {
				a[i*p+j] = m.sum[i*(i+1)/2+j] / float64(s.deviation[i]*s.deviation[j])
			}
			a[i*p+i] += alpha
			b[i] = m.sum[label+i] / s.deviation[i]
		}
		if !solve(a, b) {
			return nil, quant.Errorf(quant.Refused, "ridge with alpha %v cannot be solved: the features repeat each other", alpha).WithHint("use a larger alpha, or fewer features")
		}
		out = append(out, &fitted{s, m.mean[p], b})
	}
	return out, nil
}

// The end of Newton's iteration.
const (
	newtonSteps  = 100
	newtonEnough = 1e-9 // of the step, relative to the coefficients; the next one would be about its square
)

// logistic minimises sum log(1 + exp(-s eta)) + alpha/2 |b|^2, s = 1 for a
// label of 1 and -1 for 0, the intercept unpenalised, by Newton's method with
// halved steps: one function for each penalty. m are the moments of the samples.
// Refused: the labels are all alike; Failed: the iteration did not come to an end.
func (l learning) logistic(ctx context.Context, m *moments, alphas []float64) ([]*fitted, error) {
	ones := l.ones()
	n := l.count()
	if ones == 0 || ones == n {
		return nil, quant.Errorf(quant.Refused, "every label of the %d training samples is the same: there is no direction to learn", n).
			WithHint("train on a longer range")
	}
	s := m.scale(l.width)
	var out []*fitted
	near := &fitted{s, math.Log(float64(ones) / float64(n-ones)), make([]float64, l.width)}
	for _, alpha := range alphas {
		// The fit of one penalty is not far from that of the next.
		f := &fitted{s, near.intercept, append([]float64(nil), near.coefficient...)}
		if err := l.newton(ctx, f, alpha); err != nil {
			return nil, err
		}
		out, near = append(out, f), f
	}
	return out, nil
}

// ones counts the labels above 0.
func (l learning) ones() int {
	n := 0
	for _, s := range l.spans {
		for _, y := range l.y[s.lo:s.hi] {
			if y > 0 {
				n++
			}
		}
	}
	return n
}

func (l learning) newton(ctx context.Context, f *fitted, alpha float64) error {
	trial := &fitted{f.scale, 0, make([]float64, l.width)}
	now, step, hess, err := l.curvature(ctx, f, alpha)
	if err != nil {
		return err
	}
	for range newtonSteps {
		if !solve(hess, step) {
			break
		}
		biggest, size := math.Abs(step[l.width]), math.Abs(f.intercept)
		for j, c := range f.coefficient {
			biggest, size = max(biggest, math.Abs(step[j])), max(size, math.Abs(c))
		}
		move := func(to *fitted, share float64) {
			for j, c := range f.coefficient {
				to.coefficient[j] = c - float64(share*step[j])
			}
			to.intercept = f.intercept - float64(share*step[l.width])
		}
		if biggest <= newtonEnough*(1+size) {
			move(f, 1)
			return nil
		}
		var next float64
		var grad []float64
		for share := 1.0; share > 1e-9; share /= 2 {
			move(trial, share)
			if next, grad, hess, err = l.curvature(ctx, trial, alpha); err != nil {
				return err
			}
			if next <= now*(1+1e-12) {
				break
			}
		}
		*f, *trial = *trial, *f
		now, step = next, grad
	}
	return quant.Errorf(quant.Failed, "logistic with alpha %v did not converge in %d steps", alpha, newtonSteps).
		WithHint("use a larger alpha, or fewer features")
}

// curvature returns the loss, its gradient (the intercept's last) and the lower
// half of its Hessian.
func (l learning) curvature(ctx context.Context, f *fitted, alpha float64) (loss float64, grad, hess []float64, err error) {
	p := l.width
	m := p + 1
	parts := l.parts()
	sums := make([][]float64, len(parts)) // of each: loss, gradient, Hessian
	if err := parallel.Blocks(ctx, len(parts), 1, func() func(lo, hi int) {
		eta, z := make([]float64, partSize), make([]float64, m)
		z[p] = 1
		return func(k, _ int) {
			s := parts[k]
			f.etas(eta, l.x, s.lo, s.hi)
			sum := make([]float64, 1+m+m*m)
			grad, hess := sum[1:1+m], sum[1+m:]
			for n, y := range l.y[s.lo:s.hi] {
				for j, x := range l.x {
					z[j] = (x[s.lo+n] - f.mean[j]) / f.deviation[j]
				}
				sum[0] += logLoss(eta[n], y)
				prob := sigmoid(eta[n])
				d, w := prob-y, float64(prob*(1-prob))
				for i, zi := range z {
					grad[i] += float64(d * zi)
					wz := float64(w * zi)
					row := hess[i*m : i*m+i+1]
					for j := range row {
						row[j] += float64(wz * z[j])
					}
				}
			}
			sums[k] = sum
		}
	}); err != nil {
		return 0, nil, nil, err
	}
	total := make([]float64, 1+m+m*m)
	for _, sum := range sums {
		for i, v := range sum {
			total[i] += v
		}
	}
	loss, grad, hess = total[0], total[1:1+m], total[1+m:]
	for j, c := range f.coefficient {
		loss += float64(alpha / 2 * float64(c*c))
		grad[j] += float64(alpha * c)
		hess[j*m+j] += alpha
	}
	return loss, grad, hess, nil
}

// solve solves a x = b by Cholesky's decomposition of a, of which the lower
// half is given, row by row; x replaces b. It reports false when a is not
// positive definite.
func solve(a, b []float64) bool {
	n := len(b)
	for i := range n {
		for j := 0; j <= i; j++ {
			sum := a[i*n+j]
			for k := range j {
				sum -= float64(a[i*n+k] * a[j*n+k])
			}
			if i != j {
				a[i*n+j] = sum / a[j*n+j]
				continue
			}
			if !(sum > 0) || math.IsInf(sum, 0) {
				return false
			}
			a[i*n+i] = math.Sqrt(sum)
		}
	}
	for i := range n {
		for k := range i {
			b[i] -= float64(a[i*n+k] * b[k])
		}
		b[i] /= a[i*n+i]
	}
	for i := n - 1; i >= 0; i-- {
		for k := i + 1; k < n; k++ {
			b[i] -= float64(a[k*n+i] * b[k])
		}
		b[i] /= a[i*n+i]
	}
	return true
}

func sigmoid(eta float64) float64 {
	if eta >= 0 {
		return 1 / (1 + math.Exp(-eta))
	}
	e := math.Exp(eta)
	return e / (1 + e)
}

// logLoss is -log of the probability that was given to the label y, 0 or 1.
func logLoss(eta, y float64) float64 {
	if y > 0 {
		eta = -eta
	}
	return max(eta, 0) + math.Log1p(math.Exp(-math.Abs(eta)))
}
