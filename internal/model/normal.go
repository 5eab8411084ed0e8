package model

import (
	"context"
	"math"

	"quant/internal/parallel"
)

// A model that is kept is fitted with sums that run over its samples one after the
// other, so that its last digits are those of the definition. Each sum is one
// goroutine's; different sums run side by side.

// chunk is how many samples are standardised before their products are added.
const chunk = 1 << 16

// means are the means of the features and, last, of the label.
func (l learning) means(ctx context.Context) ([]float64, error) {
	n := float64(l.count())
	means := make([]float64, l.width+1)
	err := parallel.Blocks(ctx, len(means), 1, func() func(lo, hi int) {
		return func(j, _ int) {
			for _, s := range l.spans {
				for _, v := range l.column(j)[s.lo:s.hi] {
					means[j] += v
				}
			}
			means[j] /= n
		}
	})
	return means, err
}

// column is a feature, or behind the last one the label.
func (l learning) column(j int) []float64 {
	if j == l.width {
		return l.y
	}
	return l.x[j]
}

// scale is that of the samples; means are theirs.
func (l learning) scale(ctx context.Context, means []float64) (scale, error) {
	n := float64(l.count())
	s := scale{means[:l.width:l.width], make([]float64, l.width)}
	err := parallel.Blocks(ctx, l.width, 1, func() func(lo, hi int) {
		return func(j, _ int) {
			squares, mean := 0.0, means[j]
			for _, s := range l.spans {
				for _, v := range l.x[j][s.lo:s.hi] {
					d := v - mean
					squares += float64(d * d)
				}
			}
			s.deviation[j] = deviationOf(squares, n, mean)
		}
	})
	return s, err
}

// standardised calls fn for chunk after chunk with the standardised features of its
// samples and what its labels are more than their mean, a column each; lo is its
// first sample.
func (l learning) standardised(ctx context.Context, s scale, mean float64, fn func(lo int, z [][]float64) error) error {
	room := make([][]float64, l.width+1)
	for j := range room {
		room[j] = make([]float64, min(chunk, l.count()))
	}
	z := make([][]float64, len(room))
	for _, of := range l.spans {
		for lo := of.lo; lo < of.hi; lo += chunk {
			hi := min(lo+chunk, of.hi)
			if err := parallel.Blocks(ctx, len(room), 1, func() func(lo, hi int) {
				return func(j, _ int) {
					z[j] = room[j][:hi-lo]
					if j == l.width {
						for i, y := range l.y[lo:hi] {
							z[j][i] = y - mean
						}
						return
					}
					mean, deviation := s.mean[j], s.deviation[j]
					for i, v := range l.x[j][lo:hi] {
						z[j][i] = (v - mean) / deviation
					}
				}
			}); err != nil {
				return err
			}
			if err := fn(lo, z); err != nil {
				return err
			}
		}
	}
	return nil
}

// normal are the normal equations of ridge: of the standardised features the lower
// half of the products, row by row, and their products with the label less its mean.
func (l learning) normal(ctx context.Context, s scale, mean float64) (gram, right []float64, err error) {
	p := l.width
	gram, right = make([]float64, p*p), make([]float64, p)
	err = l.standardised(ctx, s, mean, func(_ int, z [][]float64) error {
		return parallel.Blocks(ctx, p, 1, func() func(lo, hi int) {
			return func(k, _ int) {
				i := p - 1 - k // the longest row first
				row := gram[i*p : i*p+i+1]
				j := 0
				for ; j+4 <= len(row); j += 4 {
					addProducts(row[j:j+4], z[i], z[j], z[j+1], z[j+2], z[j+3])
				}
				for ; j < len(row); j++ {
					row[j] = addProduct(row[j], z[i], z[j])
				}
				right[i] = addProduct(right[i], z[i], z[p])
			}
		})
	})
	return gram, right, err
}

// addProduct adds the products of two columns to a sum, one after the other.
func addProduct(sum float64, a, b []float64) float64 {
	b = b[:len(a)]
	for i, v := range a {
		sum += float64(v * b[i])
	}
	return sum
}

// addProducts is addProduct for four sums at once: each waits for its own last
// addition alone.
func addProducts(sums, a, b0, b1, b2, b3 []float64) {
	s0, s1, s2, s3 := sums[0], sums[1], sums[2], sums[3]
	b0, b1, b2, b3 = b0[:len(a)], b1[:len(a)], b2[:len(a)], b3[:len(a)]
	for i, v := range a {
		s0 += float64(v * b0[i])
		s1 += float64(v * b1[i])
		s2 += float64(v * b2[i])
		s3 += float64(v * b3[i])
	}
	sums[0], sums[1], sums[2], sums[3] = s0, s1, s2, s3
}

// curvature returns the loss, its gradient (the intercept's last) and the lower
// half of its Hessian. Each is a sum over the samples, one after the other.
func (l learning) curvature(ctx context.Context, f *fitted, alpha float64) (loss float64, grad, hess []float64, err error) {
	p := l.width
	m := p + 1
	grad, hess = make([]float64, m), make([]float64, m*m)
	size := min(chunk, l.count())
	eta, lost, slope, ones := make([]float64, size), make([]float64, size), make([]float64, size), make([]float64, size)
	for i := range ones {
		ones[i] = 1
	}
	weighted := make([][]float64, m) // of each column, times the curvature at the sample
	for j := range weighted {
		weighted[j] = make([]float64, size)
	}
	err = l.standardised(ctx, f.scale, 0, func(lo int, z [][]float64) error {
		n := len(z[p])
		z = append(z[:p:p], ones[:n])
		if err := parallel.Blocks(ctx, n, etaBlock, func() func(lo, hi int) {
			return func(from, to int) {
				f.etas(eta[from:to], l.x, lo+from, lo+to)
				for i := from; i < to; i++ {
					y := l.y[lo+i]
					prob := sigmoid(eta[i])
					lost[i], slope[i] = logLoss(eta[i], y), prob-y
					w := float64(prob * (1 - prob))
					for j := range weighted {
						weighted[j][i] = float64(w * z[j][i])
					}
				}
			}
		}); err != nil {
			return err
		}
		for _, v := range lost[:n] {
			loss += v
		}
		return parallel.Blocks(ctx, m, 1, func() func(lo, hi int) {
			return func(k, _ int) {
				i := m - 1 - k
				grad[i] = addProduct(grad[i], slope[:n], z[i])
				row := hess[i*m : i*m+i+1]
				j := 0
				for ; j+4 <= len(row); j += 4 {
					addProducts(row[j:j+4], weighted[i][:n], z[j], z[j+1], z[j+2], z[j+3])
				}
				for ; j < len(row); j++ {
					row[j] = addProduct(row[j], weighted[i][:n], z[j])
				}
			}
		})
	})
	if err != nil {
		return 0, nil, nil, err
	}
	for j, c := range f.coefficient {
		loss += float64(alpha / 2 * float64(c*c))
		grad[j] += float64(alpha * c)
		hess[j*m+j] += alpha
	}
	return loss, grad, hess, nil
}

// deviationOf is the population's; what does not vary gets 1, and so the
// coefficient 0.
func deviationOf(squares, n, mean float64) float64 {
	// What rounding makes of a constant is no variation.
	if deviation := math.Sqrt(squares / n); deviation > 1e-12*math.Abs(mean) {
		return deviation
	}
	return 1
}
