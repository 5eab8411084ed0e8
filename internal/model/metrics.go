package model

import (
	"cmp"
	"math"
	"slices"

	"quant"
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
	Embargoed     int        `json:"embargoed"` // times that a sample was left out by the embargo, in the inner split
	Alpha         float64    `json:"alpha"`
	Measures
}

// Metrics are a model's, as models.metrics_json has them.
type Metrics struct {
	Overall Measures      `json:"overall"` // of the test blocks together
	Folds   []FoldMetrics `json:"folds"`
}

// measure judges predictions eta of the samples [lo, hi) against baseline; both
// are indexed as the samples are.
func measure(algo Algo, horizon int, d *sampleSet, lo, hi int, eta, baseline []float64) Measures {
	m := Measures{Samples: hi - lo}
	pred := eta
	if algo == Logistic {
		pred = make([]float64, len(eta))
		for i := lo; i < hi; i++ {
			pred[i] = sigmoid(eta[i])
		}
	}
	var ics, rankICs []float64
	for i := lo; i < hi; {
		j := i
		for j < hi && d.t[j] == d.t[i] {
			j++
		}
		m.Sessions++
		if j-i >= minNames {
			if ic := correlation(pred[i:j], d.y[i:j]); !math.IsNaN(ic) {
				ics = append(ics, ic)
				// Ranks of eta, where probabilities may have run into 0 or 1.
				rankICs = appendNumber(rankICs, correlation(ranks(eta[i:j]), ranks(d.y[i:j])))
			}
		}
		i = j
	}
	m.EffectiveSample = float64(m.Sessions) / float64(horizon)
	m.ICDays = len(ics)
	m.IC, m.ICIR = meanAndRatio(ics)
	m.RankIC, m.RankICIR = meanAndRatio(rankICs)
	if hi == lo {
		return m
	}
	n := float64(hi - lo)
	mean := func(loss func(i int) float64) float64 {
		sum := 0.0
		for i := lo; i < hi; i++ {
			sum += loss(i)
		}
		return sum / n
	}
	if algo == Ridge {
		square := func(x float64) float64 { return x * x }
		m.RMSE = number(math.Sqrt(mean(func(i int) float64 { return square(eta[i] - d.y[i]) })))
		m.BaselineRMSE = number(math.Sqrt(mean(func(i int) float64 { return square(baseline[i] - d.y[i]) })))
		return m
	}
	m.LogLoss = number(mean(func(i int) float64 { return logLoss(eta[i], d.y[i]) }))
	m.BaselineLogLoss = number(mean(func(i int) float64 { return logLoss(baseline[i], d.y[i]) }))
	m.AUC = number(areaUnderCurve(eta[lo:hi], d.y[lo:hi]))
	m.BaselineAUC = number(areaUnderCurve(baseline[lo:hi], d.y[lo:hi]))
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
	m := average(list)
	squares := 0.0
	for _, v := range list {
		squares += float64((v - m) * (v - m))
	}
	if deviation := math.Sqrt(squares / float64(len(list)-1)); len(list) > 1 && deviation > 1e-12 {
		ratio = number(m / deviation)
	}
	return number(m), ratio
}

func average(list []float64) float64 {
	sum := 0.0
	for _, v := range list {
		sum += v
	}
	return sum / float64(len(list))
}

// correlation is Pearson's, NaN where one side does not vary.
func correlation(a, b []float64) float64 {
	ma, mb := average(a), average(b)
	var ab, aa, bb float64
	for i := range a {
		da, db := a[i]-ma, b[i]-mb
		ab += float64(da * db)
		aa += float64(da * da)
		bb += float64(db * db)
	}
	if alike(a) || alike(b) {
		return math.NaN()
	}
	return max(-1, min(1, ab/(math.Sqrt(aa)*math.Sqrt(bb))))
}

func alike(list []float64) bool {
	for _, v := range list {
		if v != list[0] {
			return false
		}
	}
	return true
}

// ranks are from 1; equal values share the mean of their places.
func ranks(list []float64) []float64 {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(list[i], list[j]) })
	out := make([]float64, len(list))
	for i := 0; i < len(order); {
		j := i + 1 // whatever it is equal to
		for j < len(order) && list[order[j]] == list[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			out[k] = float64(i+j+1) / 2
		}
		i = j
	}
	return out
}

// areaUnderCurve is the chance that a label of 1 has a higher score than one of
// 0, ties counted half (Mann and Whitney); NaN where one of the two is missing.
func areaUnderCurve(score, label []float64) float64 {
	r := ranks(score)
	sum, ones := 0.0, 0.0
	for i, y := range label {
		if y > 0 {
			sum += r[i]
			ones++
		}
	}
	return (sum - ones*(ones+1)/2) / (ones * (float64(len(label)) - ones))
}
