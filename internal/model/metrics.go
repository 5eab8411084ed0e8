package model

import (
	"context"
	"math"

	"quant"
	"quant/internal/correlation"
	"quant/internal/parallel"
)

// minNames is the number of names below which a day has no IC.
const minNames = 5

// Measures say how well predictions agreed with labels that the model had not
// seen. NULL where a figure does not exist.
type Measures struct {
	Samples  int `json:"samples"`
	Sessions int `json:"sessions"`
	// EffectiveSample is Sessions / horizon: labels of neighbouring days overlap,
	// so that Sessions of them say no more than so many.
	EffectiveSample float64 `json:"effective_sample"`

	// IC is the mean over days of the cross-sectional correlation (Pearson) of
	// prediction and label, on days with at least 5 names that are not all
	// alike; ICIR its mean over its sample deviation; RankIC and RankICIR the
	// same of their ranks (Spearman, ties averaged).
	IC       *float64 `json:"ic"`
	ICIR     *float64 `json:"icir"`
	RankIC   *float64 `json:"rank_ic"`
	RankICIR *float64 `json:"rank_icir"`
	ICDays   int      `json:"ic_days"`

	// Of ridge. The baseline predicts the mean label of the training part.
	RMSE         *float64 `json:"rmse"`
	BaselineRMSE *float64 `json:"baseline_rmse"`

	// Of logistic, over all samples together. The baseline gives everything the
	// share of ones in the training part.
	AUC             *float64 `json:"auc"`
	BaselineAUC     *float64 `json:"baseline_auc"`
	LogLoss         *float64 `json:"log_loss"`
	BaselineLogLoss *float64 `json:"baseline_log_loss"`
}

// FoldMetrics are the measures of one fold on its test block.
type FoldMetrics struct {
	TaskID        string     `json:"task_id"`
	TrainFrom     quant.Date `json:"train_from"`
	TrainTo       quant.Date `json:"train_to"`
	TrainLabelEnd quant.Date `json:"train_label_end"` // the last t1
	TrainSamples  int        `json:"train_samples"`
	TestFrom      quant.Date `json:"test_from"`
	TestTo        quant.Date `json:"test_to"`
	TestLabelEnd  quant.Date `json:"test_label_end"`
	Purged        int        `json:"purged"`    // samples before the block whose label window meets its window
	Embargoed     int        `json:"embargoed"` // times that a sample was left out by the embargo, in the inner split; of Combinatorial, around its test groups
	Alpha         float64    `json:"alpha"`
	TestGroups    []int      `json:"test_groups,omitempty"` // of Combinatorial, counted from 1
	Measures
}

// Metrics are a model's, as models.metrics_json has them.
type Metrics struct {
	Overall Measures      `json:"overall"` // of the test blocks together; of Combinatorial, the mean over its paths
	Folds   []FoldMetrics `json:"folds"`
	// Of Combinatorial: each path through the test groups by itself, and how the
	// figures spread over the paths.
	Paths  []Measures               `json:"paths,omitempty"`
	Spread map[string]*Distribution `json:"spread,omitempty"`
}

// Distribution is how a figure spreads over the paths on which it exists.
type Distribution struct {
	Paths     int      `json:"paths"`
	Mean      float64  `json:"mean"`
	Deviation *float64 `json:"deviation"` // sample; null of one path
	Min       float64  `json:"min"`
	Median    float64  `json:"median"`
	Max       float64  `json:"max"`
}

// judging judges predictions against the labels and a baseline.
type judging struct {
	algo          Algo
	horizon       int
	d             *sampleSet
	from          int // the sample that eta and baseline begin with
	eta, baseline []float64

	ic, rankIC map[int]float64 // by the first sample of a session, NaN where there is none
}

// days judges the sessions of the samples [lo, hi), each by itself.
func (j *judging) days(ctx context.Context, lo, hi int) error {
	if j.ic == nil {
		j.ic, j.rankIC = map[int]float64{}, map[int]float64{}
	}
	from := len(j.d.until(lo))
	days := j.d.days[from:len(j.d.until(hi))]
	ic, rankIC := make([]float64, len(days)), make([]float64, len(days))
	err := parallel.Blocks(ctx, len(days), 1, func() func(lo, hi int) {
		var ranker correlation.Ranker
		var pred, a, b []float64
		return func(k, _ int) {
			ic[k], rankIC[k] = math.NaN(), math.NaN()
			at, end := days[k].at, j.d.end(from+k)
			if end-at < minNames {
				return
			}
			eta, y := j.eta[at-j.from:end-j.from], j.d.y[at:end]
			pred = append(pred[:0], eta...)
			if j.algo == Logistic {
				for i, e := range eta {
					pred[i] = sigmoid(e)
				}
			}
			if ic[k] = correlation.Pearson(pred, y); !math.IsNaN(ic[k]) {
				// Ranks of eta, where probabilities may have run into 0 or 1.
				a, b = ranker.Ranks(a, eta), ranker.Ranks(b, y)
				rankIC[k] = correlation.Pearson(a, b)
			}
		}
	})
	for k, day := range days {
		j.ic[day.at], j.rankIC[day.at] = ic[k], rankIC[k]
	}
	return err
}

// measure sums up samples, of whole sessions that days has judged.
func (j *judging) measure(of ...span) Measures {
	m := Measures{}
	d, algo, horizon := j.d, j.algo, j.horizon
	var eta, baseline, y []float64
	if len(of) == 1 {
		lo, hi := of[0].lo, of[0].hi
		eta, baseline, y = j.eta[lo-j.from:hi-j.from], j.baseline[lo-j.from:hi-j.from], d.y[lo:hi]
	}
	var ics, rankICs []float64
	for _, s := range of {
		m.Samples += s.hi - s.lo
		if len(of) > 1 {
			eta, baseline, y = append(eta, j.eta[s.lo-j.from:s.hi-j.from]...), append(baseline, j.baseline[s.lo-j.from:s.hi-j.from]...), append(y, d.y[s.lo:s.hi]...)
		}
		for _, day := range d.days[len(d.until(s.lo)):len(d.until(s.hi))] {
			m.Sessions++
			ics, rankICs = appendNumber(ics, j.ic[day.at]), appendNumber(rankICs, j.rankIC[day.at])
		}
	}
	m.EffectiveSample = float64(m.Sessions) / float64(horizon)
	m.ICDays = len(ics)
	m.IC, m.ICIR = meanAndRatio(ics)
	m.RankIC, m.RankICIR = meanAndRatio(rankICs)
	if m.Samples == 0 {
		return m
	}
	n := float64(m.Samples)
	mean := func(loss func(i int) float64) float64 {
		sum := 0.0
		for i := range y {
			sum += loss(i)
		}
		return sum / n
	}
	if algo == Ridge {
		square := func(x float64) float64 { return float64(x * x) }
		m.RMSE = number(math.Sqrt(mean(func(i int) float64 { return square(eta[i] - y[i]) })))
		m.BaselineRMSE = number(math.Sqrt(mean(func(i int) float64 { return square(baseline[i] - y[i]) })))
		return m
	}
	m.LogLoss = number(mean(func(i int) float64 { return logLoss(eta[i], y[i]) }))
	m.BaselineLogLoss = number(mean(func(i int) float64 { return logLoss(baseline[i], y[i]) }))
	m.AUC = number(areaUnderCurve(eta, y))
	m.BaselineAUC = number(areaUnderCurve(baseline, y))
	return m
}

// number is x, or nil where x is none.
func number(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func appendNumber(list []float64, x float64) []float64 {
	if math.IsNaN(x) {
		return list
	}
	return append(list, x)
}

// meanAndRatio returns the mean and mean / sample deviation.
func meanAndRatio(list []float64) (mean, ratio *float64) {
	if len(list) == 0 {
		return nil, nil
	}
	m := correlation.Mean(list)
	squares := 0.0
	for _, v := range list {
		squares += float64((v - m) * (v - m))
	}
	if deviation := math.Sqrt(squares / float64(len(list)-1)); len(list) > 1 && deviation > 1e-12 {
		ratio = number(m / deviation)
	}
	return number(m), ratio
}

// areaUnderCurve is the chance that a label of 1 has a higher score than one of
// 0, ties counted half (Mann and Whitney); NaN where one of the two is missing.
func areaUnderCurve(score, label []float64) float64 {
	var ranker correlation.Ranker
	r := ranker.Ranks(nil, score)
	sum, ones := 0.0, 0.0
	for i, y := range label {
		if y > 0 {
			sum += r[i]
			ones++
		}
	}
	return (sum - ones*(ones+1)/2) / (ones * (float64(len(label)) - ones))
}
