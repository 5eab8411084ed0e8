package model

import (
	"context"
	"math"
	"slices"

	"quant/internal/parallel"
)

// moments are all that ridge learns of samples: their number, the means of the
// features and of the label (the last one), and the lower half of the sums of
// products of what is left without the means, row by row.
type moments struct {
	n    float64
	mean []float64
	sum  []float64 // of products
}

func newMoments(variables int) *moments {
	return &moments{mean: make([]float64, variables), sum: make([]float64, variables*(variables+1)/2)}
}

// add joins the moments of further samples (Chan, Golub and LeVeque, 1979).
func (m *moments) add(o *moments) {
	if o.n == 0 {
		return
	}
	if m.n == 0 {
		m.n = o.n
		copy(m.mean, o.mean)
		copy(m.sum, o.sum)
		return
	}
	n := m.n + o.n
	weight, share := m.n*o.n/n, o.n/n
	at := 0
	for i := range m.mean {
		di := o.mean[i] - m.mean[i]
		for j := range i + 1 {
			dj := o.mean[j] - m.mean[j]
			m.sum[at] += o.sum[at] + float64(float64(di*dj)*weight)
			at++
		}
	}
	for i := range m.mean {
		m.mean[i] += float64((o.mean[i] - m.mean[i]) * share)
	}
	m.n = n
}

// momentsRoom is one goroutine's room for a session's deviations from the mean.
type momentsRoom struct{ z [][]float64 }

// of makes m the moments of the samples [lo, hi) of one session.
func (room *momentsRoom) of(m *moments, d *sampleSet, lo, hi int) {
	n := hi - lo
	m.n = float64(n)
	if room.z == nil {
		room.z = make([][]float64, d.width+1)
	}
	for j := range room.z {
		x := d.y[lo:hi]
		if j < d.width {
			x = d.x[j][lo:hi]
		}
		mean := 0.0
		for _, v := range x {
			mean += v
		}
		mean /= m.n
		z := slices.Grow(room.z[j][:0], n)[:n]
		for i, v := range x {
			z[i] = v - mean
		}
		m.mean[j], room.z[j] = mean, z
	}
	at := 0
	for i, zi := range room.z {
		for _, zj := range room.z[:i+1] {
			m.sum[at] = dot(zi, zj)
			at++
		}
	}
}

// dot is the sum of products, in four sums of every fourth.
func dot(a, b []float64) float64 {
	var s0, s1, s2, s3 float64
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += float64(a[i] * b[i])
		s1 += float64(a[i+1] * b[i+1])
		s2 += float64(a[i+2] * b[i+2])
		s3 += float64(a[i+3] * b[i+3])
	}
	for ; i < len(a); i++ {
		s0 += float64(a[i] * b[i])
	}
	return (s0 + s1) + (s2 + s3)
}

// momentsBlock is how many sessions are summed before they are added to the spans
// that they are of.
const momentsBlock = 64

// momentsOf are the moments of each of the spans, which begin and end between
// sessions, from one pass over the samples. Those of a span are the sessions' own,
// added in the order of time: they depend on no other span, and on no sample
// outside.
func (d *sampleSet) momentsOf(ctx context.Context, spans []span) (map[span]*moments, error) {
	out := map[span]*moments{}
	var list []span
	for _, s := range spans {
		if _, known := out[s]; !known && s.lo < s.hi {
			list = append(list, s)
			out[s] = newMoments(d.width + 1)
		}
	}
	block := make([]*moments, min(momentsBlock, len(d.days)))
	for k := range block {
		block[k] = newMoments(d.width + 1)
	}
	for from := 0; from < len(d.days); from += momentsBlock {
		days := d.days[from:min(from+momentsBlock, len(d.days))]
		if err := parallel.Blocks(ctx, len(days), 1, func() func(lo, hi int) {
			var room momentsRoom
			return func(k, _ int) { room.of(block[k], d, days[k].at, d.end(from+k)) }
		}); err != nil {
			return nil, err
		}
		if err := parallel.Blocks(ctx, len(list), 1, func() func(lo, hi int) {
			return func(k, _ int) {
				for i, day := range days {
					if s := list[k]; day.at >= s.lo && day.at < s.hi {
						out[s].add(block[i])
					}
				}
			}
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// scale standardises by the moments.
func (m *moments) scale(width int) scale {
	s := scale{slices.Clone(m.mean[:width]), make([]float64, width)}
	for j := range s.deviation {
		s.deviation[j] = deviationOf(m.sum[j*(j+1)/2+j], m.n, s.mean[j])
	}
	return s
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
