package model

import (
	"context"
	"math"
	"slices"

	"quant/internal/correlation"
)

// measuredPaths are the measures of Combinatorial: of each fold, of each path, and
// how these spread.
func (w walk) measuredPaths(ctx context.Context, splits []split, etas [][]float64) (Metrics, error) {
	m := Metrics{}
	n := len(w.d.y)
	// groups are the blocks by number, and of each fold where in its predictions they
	// begin.
	groups := make([]block, w.spec.Policy.Groups)
	at := make([][]int, len(splits))
	naive := make([]float64, len(splits))
	for k, s := range splits {
		at[k] = make([]int, len(groups))
		naive[k] = w.naive(s.fit)
		j, spans, next := w.judging(0, n), []span(nil), 0
		for i, b := range s.test {
			groups[s.groups[i]-1], at[k][s.groups[i]-1] = b, next
			if err := j.take(ctx, b, etas[k][next:next+b.hi-b.lo], naive[k]); err != nil {
				return m, err
			}
			spans, next = append(spans, span{b.lo, b.hi}), next+b.hi-b.lo
		}
		m.Folds = append(m.Folds, w.foldMetrics(s, j.measure(spans...)))
	}
	for _, path := range w.spec.Policy.paths(splits) {
		j := w.judging(0, n)
		for g, k := range path {
			b := groups[g]
			if err := j.take(ctx, b, etas[k][at[k][g]:at[k][g]+b.hi-b.lo], naive[k]); err != nil {
				return m, err
			}
		}
		m.Paths = append(m.Paths, j.measure(span{0, n}))
	}
	m.Overall, m.Spread = spreadOf(m.Paths)
	return m, nil
}

// spreadOf sums up the measures of paths, figure by figure. Those that count samples
// are the same of every path, and so are left out of the spread.
func spreadOf(paths []Measures) (mean Measures, spread map[string]*Distribution) {
	values := map[string][]float64{}
	for _, p := range paths {
		for name, value := range figuresOf(p) {
			values[name] = append(values[name], value)
		}
	}
	mean, spread = paths[0], map[string]*Distribution{}
	means := map[string]float64{}
	for name, list := range values {
		d := distributionOf(list)
		spread[name], means[name] = d, d.Mean
	}
	for name, to := range mean.figures() {
		*to = nil
		if v, ok := means[name]; ok {
			*to = &v
		}
	}
	return mean, spread
}

// figures are the measures that may not exist, by their JSON names.
func (m *Measures) figures() map[string]**float64 {
	return map[string]**float64{
		"ic": &m.IC, "icir": &m.ICIR, "rank_ic": &m.RankIC, "rank_icir": &m.RankICIR, "rmse": &m.RMSE, "baseline_rmse": &m.BaselineRMSE,
		"auc": &m.AUC, "baseline_auc": &m.BaselineAUC, "log_loss": &m.LogLoss, "baseline_log_loss": &m.BaselineLogLoss,
	}
}

func figuresOf(m Measures) map[string]float64 {
	out := map[string]float64{}
	for name, value := range m.figures() {
		if *value != nil {
			out[name] = **value
		}
	}
	return out
}

// distributionOf describes numbers, of which there is at least one.
func distributionOf(list []float64) *Distribution {
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	d := &Distribution{Paths: n, Mean: correlation.Mean(sorted), Min: sorted[0], Max: sorted[n-1], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2}
	if n > 1 {
		squares := 0.0
		for _, v := range list {
			squares += float64((v - d.Mean) * (v - d.Mean))
		}
		d.Deviation = number(math.Sqrt(squares / float64(n-1)))
	}
	return d
}
