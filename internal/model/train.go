package model

import (
	"context"
	"math"

	"quant/internal/calendar"
	"quant/internal/correlation"
	"quant/internal/factstore"
	"quant/internal/parallel"
)

// Trained is a model, how well it did, and what it was made from.
type Trained struct {
	Document Document
	Metrics  Metrics
	Reads    []Read
	Samples  int
	LeftOut  int64 // labels whose day lacks a feature
	Symbols  int64
	Notices  []string // what the user should know, a sentence each
}

// Train reads features_daily and labels, fits one model for each fold of the
// spec's policy and a final one on all samples, and judges those of the folds
// on what they have not seen. The same data and the same spec give the same
// document, to the byte. It changes no fact.
//
// Usage: the spec breaks a rule. NotFound: a feature or the label has no rows.
// Refused: too few samples for the folds, samples that are no sessions of cal,
// labels that are all alike. Failed: logistic did not converge.
func Train(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, spec Spec) (Trained, error) {
	if err := spec.Validate(); err != nil {
		return Trained{}, err
	}
	d, err := load(ctx, db, cal, spec)
	if err != nil {
		return Trained{}, err
	}
	w := walk{spec: spec, cal: cal, d: &d.sampleSet}
	out, err := w.train(ctx)
	if err != nil {
		return Trained{}, err
	}
	out.Document.Data = Data{Samples: len(d.y), LeftOut: d.incomplete, Digest: d.digest}
	out.Samples, out.LeftOut, out.Symbols, out.Reads = len(d.y), d.incomplete, d.symbols, d.reads
	return out, nil
}

// walk is a walk-forward over samples.
type walk struct {
	spec    Spec
	cal     *calendar.Calendar
	d       *sampleSet
	moments map[span]*moments // of every span that a fit learns from
}

func (w walk) train(ctx context.Context) (Trained, error) {
	out := Trained{Document: Document{
		Format: Format, ExperimentID: w.spec.ExperimentID, Algo: w.spec.Algo, Features: w.spec.Features, Label: w.spec.Label,
		SplitPolicy: w.spec.Policy, Alphas: w.spec.Alphas, Seed: w.spec.Seed, Calendar: w.cal.Identity(), Folds: []Fold{},
	}}
	blocks, err := w.spec.Policy.walkForward(w.d.days, len(w.d.y))
	if err != nil {
		return out, err
	}
	n := len(w.d.y)
	if err := w.sum(ctx, blocks); err != nil {
		return out, err
	}
	j := judging{algo: w.spec.Algo, horizon: w.spec.Label.Horizon, d: w.d, from: blocks[0].lo, eta: make([]float64, n-blocks[0].lo), baseline: make([]float64, n-blocks[0].lo)}
	for k, b := range blocks {
		hi := w.trainingEnd(b)
		fold, f, embargoed, err := w.fold(ctx, FoldTask(k+1), hi)
		if err != nil {
			return out, err
		}
		fold.TestFrom, fold.TestTo = ptr(w.cal.At(b.First)), ptr(w.cal.At(b.Last))
		out.Document.Folds = append(out.Document.Folds, fold)
		naive := w.naive(hi)
		err = parallel.Blocks(ctx, b.hi-b.lo, partSize, func() func(lo, hi int) {
			return func(lo, hi int) { f.etas(j.eta[b.lo-j.from+lo:], w.d.x, b.lo+lo, b.lo+hi) }
		})
		if err != nil {
			return out, err
		}
		for i := b.lo; i < b.hi; i++ {
			j.baseline[i-j.from] = naive
		}
		if err := j.days(ctx, b.lo, b.hi); err != nil {
			return out, err
		}
		out.Metrics.Folds = append(out.Metrics.Folds, FoldMetrics{
			TaskID: fold.TaskID, TrainFrom: fold.TrainFrom, TrainTo: fold.TrainTo, TrainLabelEnd: fold.TrainLabelEnd, TrainSamples: fold.Samples,
			TestFrom: *fold.TestFrom, TestTo: *fold.TestTo, TestLabelEnd: w.cal.At(b.Last + w.spec.Label.Horizon),
			Purged: b.lo - hi, Embargoed: embargoed, Alpha: fold.Alpha,
			Measures: j.measure(b.lo, b.hi),
		})
	}
	out.Metrics.Overall = j.measure(blocks[0].lo, blocks[len(blocks)-1].hi)
	final, _, _, err := w.fold(ctx, TaskFinal, n)
	out.Document.Final = final
	if out.Metrics.Overall.ICDays == 0 {
		out.Notices = append(out.Notices, "no day of the test blocks has 5 names or more: there is no IC")
	}
	return out, err
}

// sum computes the moments of every span that a fit of the walk learns from.
func (w *walk) sum(ctx context.Context, blocks []block) (err error) {
	var spans []span
	ends := []int{len(w.d.y)}
	for _, b := range blocks {
		ends = append(ends, w.trainingEnd(b))
	}
	for _, hi := range ends {
		spans = append(spans, span{0, hi})
		for _, b := range w.inner(hi) {
			l, _ := w.around(b, hi)
			spans = append(spans, l.spans...)
		}
	}
	w.moments, err = w.d.momentsOf(ctx, spans)
	return err
}

// fit fits one function for each penalty. Errors: those of ridge and logistic.
func (w walk) fit(ctx context.Context, l learning, alphas []float64) ([]*fitted, error) {
	m := newMoments(w.d.width + 1)
	for _, s := range l.spans {
		if s.lo < s.hi {
			m.add(w.moments[s])
		}
	}
	if w.spec.Algo == Logistic {
		return l.logistic(ctx, m, alphas)
	}
	return m.ridge(alphas)
}

// trainingEnd is the end of the samples from which a fold learns: those before
// its block that the policy keeps. They are a prefix, because all samples have
// one horizon.
func (w walk) trainingEnd(b block) int {
	before := w.d.until(b.lo)
	k := len(before)
	for k > 0 && !w.spec.Policy.keeps(b, before[k-1].session) {
		k--
	}
	if k == len(before) {
		return b.lo
	}
	return before[k].at
}

// naive is what the baseline of a model that learned from the first hi samples
// predicts: their mean, as eta.
func (w walk) naive(hi int) float64 {
	mean := correlation.Mean(w.d.y[:hi])
	if w.spec.Algo == Logistic {
		return math.Log(mean / (1 - mean))
	}
	return mean
}

// fold fits the model of the first hi samples; nothing after them is looked at.
func (w walk) fold(ctx context.Context, task string, hi int) (fold Fold, f *fitted, embargoed int, err error) {
	alpha, embargoed, err := w.chooseAlpha(ctx, hi)
	if err != nil {
		return fold, nil, 0, err
	}
	fits, err := w.fit(ctx, learning{w.d, []span{{0, hi}}}, []float64{alpha})
	if err != nil {
		return fold, nil, 0, err
	}
	f = fits[0]
	learned := w.d.until(hi)
	last := learned[len(learned)-1].session
	fold = Fold{
		TaskID: task, TrainFrom: w.cal.At(learned[0].session), TrainTo: w.cal.At(last), TrainLabelEnd: w.cal.At(last + w.spec.Label.Horizon),
		Samples: hi, Alpha: alpha, Intercept: f.intercept,
	}
	for j, feature := range w.spec.Features {
		fold.Coefficients = append(fold.Coefficients, Coefficient{feature, f.coefficient[j], f.mean[j], f.deviation[j]})
	}
	return fold, f, embargoed, nil
}

// chooseAlpha chooses the penalty with the smallest loss (squared error, or log
// loss) in a purged and embargoed k-fold inside the first hi samples, the
// larger one of equals. A part that leaves nothing to learn from is passed
// over; if every one does, the largest penalty is the cautious choice.
// embargoed counts the times that a sample was left out by the embargo.
func (w walk) chooseAlpha(ctx context.Context, hi int) (alpha float64, embargoed int, err error) {
	alphas := w.spec.Alphas
	largest := alphas[len(alphas)-1]
	parts := w.inner(hi)
	if len(alphas) == 1 || parts == nil {
		return largest, 0, nil
	}
	loss := make([]float64, len(alphas))
	for _, b := range parts {
		l, left := w.around(b, hi)
		embargoed += left
		if !l.teaches(w.spec.Algo) {
			continue
		}
		fits, err := w.fit(ctx, l, alphas)
		if err != nil {
			return 0, 0, err
		}
		if err := w.losses(ctx, loss, fits, b); err != nil {
			return 0, 0, err
		}
	}
	best := len(alphas) - 1
	for k := best - 1; k >= 0; k-- {
		if loss[k] < loss[best] {
			best = k
		}
	}
	return alphas[best], embargoed, nil
}

// inner are the parts of the first hi samples that are judged in turn; nil: there
// are too few sessions.
func (w walk) inner(hi int) []block {
	starts := w.d.until(hi)
	if len(starts) < innerBlocks {
		return nil
	}
	return cut(starts, hi, 0, innerBlocks)
}

// losses adds to loss that of each fit on the samples of b.
func (w walk) losses(ctx context.Context, loss []float64, fits []*fitted, b block) error {
	parts := learning{w.d, []span{{b.lo, b.hi}}}.parts()
	sums := make([]float64, len(parts)*len(fits))
	err := parallel.Blocks(ctx, len(parts), 1, func() func(lo, hi int) {
		eta := make([]float64, partSize)
		return func(k, _ int) {
			for n, f := range fits {
				f.etas(eta, w.d.x, parts[k].lo, parts[k].hi)
				sum := 0.0
				for i, y := range w.d.y[parts[k].lo:parts[k].hi] {
					sum += lossOf(w.spec.Algo, eta[i], y)
				}
				sums[k*len(fits)+n] = sum
			}
		}
	})
	for k := range parts {
		for n := range fits {
			loss[n] += sums[k*len(fits)+n]
		}
	}
	return err
}

// around is what may be learned from, of the first hi samples, when b, a block
// of them, is what is judged.
func (w walk) around(b block, hi int) (l learning, embargoed int) {
	before := w.trainingEnd(b)
	after := hi
	starts := w.d.until(hi)
	for k := len(w.d.until(b.hi)); k < len(starts); k++ {
		if w.spec.Policy.keeps(b, starts[k].session) {
			after = starts[k].at
			break
		}
		if !w.spec.Policy.meets(b, starts[k].session) {
			embargoed += min(w.d.end(k), hi) - starts[k].at
		}
	}
	return learning{w.d, []span{{0, before}, {after, hi}}}, embargoed
}

// teaches reports whether there is something to learn from.
func (l learning) teaches(algo Algo) bool {
	n := l.count()
	if n == 0 || algo == Ridge {
		return n > 0
	}
	ones := l.ones()
	return ones > 0 && ones < n
}

func lossOf(algo Algo, eta, y float64) float64 {
	if algo == Logistic {
		return logLoss(eta, y)
	}
	return float64((eta - y) * (eta - y))
}

func ptr[T any](v T) *T { return &v }
