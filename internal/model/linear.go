package model

import (
	"math"

	"quant"
)

// sampleSet holds samples in the order of (t, symbol).
type sampleSet struct {
	width int
	x     []float64 // len = width x number of samples, a sample after another
	y     []float64
	t     []int // session of each sample, ascending
}

func (d *sampleSet) row(i int) []float64 { return d.x[i*d.width : (i+1)*d.width] }

// span is the samples [lo, hi).
type span struct{ lo, hi int }

// learning is what a fit may look at: spans of samples in the order of time.
// Nothing in this file reads a sample outside of them. Every sum runs over them
// in that order, by one goroutine, and products are rounded before they are
// added, so that the same samples give the same bits.
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

func (l learning) each(fn func(x []float64, y float64)) {
	for _, s := range l.spans {
		for i := s.lo; i < s.hi; i++ {
			fn(l.row(i), l.y[i])
		}
	}
}

// scale standardises features: (x - mean) / deviation. The deviation is the
// population's; a feature that does not vary gets 1, and so the coefficient 0.
type scale struct{ mean, deviation []float64 }

func (l learning) scale() scale {
	n := float64(l.count())
	s := scale{make([]float64, l.width), make([]float64, l.width)}
	l.each(func(x []float64, _ float64) {
		for j, v := range x {
			s.mean[j] += v
		}
	})
	for j := range s.mean {
		s.mean[j] /= n
	}
	l.each(func(x []float64, _ float64) {
		for j, v := range x {
			d := v - s.mean[j]
			s.deviation[j] += float64(d * d)
		}
	})
	for j, sum := range s.deviation {
		s.deviation[j] = math.Sqrt(sum / n)
		// What rounding makes of a constant is no variation.
		if !(s.deviation[j] > 1e-12*math.Abs(s.mean[j])) {
			s.deviation[j] = 1
		}
	}
	return s
}

func (s scale) apply(z, x []float64) {
	for j, v := range x {
		z[j] = (v - s.mean[j]) / s.deviation[j]
	}
}

// fitted is a linear function of standardised features: a return for Ridge,
// the logarithm of the odds for Logistic.
type fitted struct {
	scale
	intercept   float64
	coefficient []float64
}

// eta is the value of the function; z is room for the standardised features.
func (f *fitted) eta(z, x []float64) float64 {
	f.apply(z, x)
	sum := f.intercept
	for j, c := range f.coefficient {
		sum += float64(c * z[j])
	}
	return sum
}

// fit fits one function for each penalty. Refused: the labels are all alike,
// where they must not be; Failed: the iteration did not come to an end.
func (l learning) fit(algo Algo, alphas []float64) ([]*fitted, error) {
	if algo == Logistic {
		return l.logistic(alphas)
	}
	return l.ridge(alphas)
}

// ridge minimises sum (y - b0 - z'b)^2 + alpha |b|^2 over standardised z, the
// intercept unpenalised, by the normal equations (Hoerl and Kennard, 1970).
// alpha > 0 makes them positive definite.
func (l learning) ridge(alphas []float64) ([]*fitted, error) {
	s, p := l.scale(), l.width
	mean := 0.0
	l.each(func(_ []float64, y float64) { mean += y })
	mean /= float64(l.count())
	gram, right, z := make([]float64, p*p), make([]float64, p), make([]float64, p)
	l.each(func(x []float64, y float64) {
		s.apply(z, x)
		d := y - mean
		for i, zi := range z {
			right[i] += float64(zi * d)
			row := gram[i*p : i*p+i+1]
			for j := range row {
				row[j] += float64(zi * z[j])
			}
		}
	})
	var out []*fitted
	for _, alpha := range alphas {
		a := append([]float64(nil), gram...)
		for i := range p {
			a[i*p+i] += alpha
		}
		b := append([]float64(nil), right...)
		if !solve(a, b) {
			return nil, quant.Errorf(quant.Refused, "ridge with alpha %v cannot be solved: the features repeat each other", alpha).WithHint("use a larger alpha, or fewer features")
		}
		out = append(out, &fitted{s, mean, b})
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
// halved steps.
func (l learning) logistic(alphas []float64) ([]*fitted, error) {
	ones := 0
	l.each(func(_ []float64, y float64) {
		if y > 0 {
			ones++
		}
	})
	n := l.count()
	if ones == 0 || ones == n {
		return nil, quant.Errorf(quant.Refused, "every label of the %d training samples is the same: there is no direction to learn", n).
			WithHint("train on a longer range")
	}
	s := l.scale()
	var out []*fitted
	near := &fitted{s, math.Log(float64(ones) / float64(n-ones)), make([]float64, l.width)}
	for _, alpha := range alphas {
		// The fit of one penalty is not far from that of the next.
		f := &fitted{s, near.intercept, append([]float64(nil), near.coefficient...)}
		if err := l.newton(f, alpha); err != nil {
			return nil, err
		}
		out, near = append(out, f), f
	}
	return out, nil
}

func (l learning) newton(f *fitted, alpha float64) error {
	trial := &fitted{f.scale, 0, make([]float64, l.width)}
	now, step, hess := l.curvature(f, alpha)
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
			if next, grad, hess = l.curvature(trial, alpha); next <= now*(1+1e-12) {
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
func (l learning) curvature(f *fitted, alpha float64) (loss float64, grad, hess []float64) {
	p := l.width
	m := p + 1
	grad, hess = make([]float64, m), make([]float64, m*m)
	z := make([]float64, m)
	z[p] = 1
	l.each(func(x []float64, y float64) {
		eta := f.eta(z[:p], x)
		loss += logLoss(eta, y)
		prob := sigmoid(eta)
		d, w := prob-y, float64(prob*(1-prob))
		for i, zi := range z {
			grad[i] += float64(d * zi)
			wz := float64(w * zi)
			row := hess[i*m : i*m+i+1]
			for j := range row {
				row[j] += float64(wz * z[j])
			}
		}
	})
	for j, c := range f.coefficient {
		loss += float64(alpha / 2 * float64(c*c))
		grad[j] += float64(alpha * c)
		hess[j*m+j] += alpha
	}
	return loss, grad, hess
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
