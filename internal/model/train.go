package model

import (
	"context"
	"math"
	"slices"

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
	Proof    *Proof   // of a program: that it does not look ahead; nil otherwise

	judged *judged
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
	s, err := LoadSamples(ctx, db, cal, spec)
	if err != nil {
		return Trained{}, err
	}
	return s.Train(ctx, nil, ProofNone)
}

// Samples are what a model is trained and judged on, in memory.
type Samples struct {
	spec  Spec
	cal   *calendar.Calendar
	given map[string]LearnedFold // by task
	*loaded
}

// LoadSamples reads the samples of a spec. Errors: those of Train that data gives
// cause for.
func LoadSamples(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, spec Spec) (*Samples, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	d, err := load(ctx, db, cal, spec)
	if err != nil {
		return nil, err
	}
	return &Samples{spec: spec, cal: cal, loaded: d}, nil
}

// Reads are what was read.
func (s *Samples) Reads() []Read { return s.reads }

// Train trains and judges, as package function Train does, without the Fact DB.
// Of ByProgram, work calls the program, and scope says of how many folds it is proved
// that it does not look ahead. Errors then also: Failed, the program ended otherwise
// than well; Refused, what it handed back breaks the protocol, or it looks ahead.
func (s *Samples) Train(ctx context.Context, work *Workshop, scope ProofScope) (Trained, error) {
	w := s.walk()
	learner := learner(linear{})
	var program *programLearner
	if s.spec.Algo == ByProgram {
		program = &programLearner{of: s, work: work, scope: scope}
		learner = program
	}
	out := Trained{Document: Document{
		Format: Format, ExperimentID: s.spec.ExperimentID, Algo: s.spec.Algo, Features: s.spec.Features, Label: s.spec.Label,
		SplitPolicy: s.spec.Policy, Alphas: s.spec.Alphas, Seed: s.spec.Seed, Calendar: s.cal.Identity(), Folds: []Fold{}, Program: s.spec.Program,
	}}
	j, err := w.judge(ctx, givenLearner{learner, s, program})
	out.Reads = s.reads
	if err != nil {
		return out, err
	}
	out.Metrics = j.metrics
	for _, l := range j.learned {
		out.Document.Folds = append(out.Document.Folds, l.fold)
	}
	if program != nil {
		if out.Proof, err = program.prove(ctx, w, j); err != nil {
			return out, err
		}
	}
	if out.Document.Final, err = learner.final(ctx, w); err != nil {
		return out, err
	}
	if out.Metrics.Overall.ICDays == 0 {
		out.Notices = append(out.Notices, "no day of the test blocks has 5 names or more: there is no IC")
	}
	out.Document.Data = Data{Samples: len(s.y), LeftOut: s.incomplete, Digest: s.digest}
	out.Samples, out.LeftOut, out.Symbols = len(s.y), s.incomplete, s.symbols
	out.judged = j
	return out, nil
}

func (s *Samples) walk() walk {
	return walk{spec: s.spec, cal: s.cal, d: &s.sampleSet}
}

// walk is a walk through the folds of a policy, over samples.
type walk struct {
	spec Spec
	cal  *calendar.Calendar
	d    *sampleSet
}

// learned is what a learner made of a fold.
type learned struct {
	fold      Fold
	predictor predictor
	embargoed int       // in the inner split
	eta       []float64 // of the test samples, one block after the other
	scores    []float64 // of a program: as it wrote them
}

// learner learns from the fit part of a fold and predicts its test.
type learner interface {
	learn(ctx context.Context, w walk, s split) (learned, error)
	// final learns from all samples.
	final(ctx context.Context, w walk) (Fold, error)
}

// predictor predicts the test samples of a fold again, from features of other values.
type predictor interface {
	predict(ctx context.Context, d *sampleSet, s split) ([]float64, error)
}

// judged is what became of every fold.
type judged struct {
	splits  []split
	learned []learned
	metrics Metrics
}

// judge learns fold after fold and judges each on its test.
func (w walk) judge(ctx context.Context, l learner) (*judged, error) {
	out := &judged{}
	var err error
	if out.splits, err = w.spec.Policy.splits(w.d); err != nil {
		return nil, err
	}
	for _, s := range out.splits {
		one, err := l.learn(ctx, w, s)
		if err != nil {
			return nil, err
		}
		one.fold.TestFrom, one.fold.TestTo = ptr(w.cal.At(s.test[0].First)), ptr(w.cal.At(s.test[len(s.test)-1].Last))
		out.learned = append(out.learned, one)
	}
	etas := make([][]float64, len(out.learned))
	for k, one := range out.learned {
		etas[k] = one.eta
	}
	out.metrics, err = w.measured(ctx, out.splits, etas)
	if err != nil {
		return nil, err
	}
	for k, s := range out.splits {
		m, fold := &out.metrics.Folds[k], out.learned[k].fold
		m.TrainFrom, m.TrainTo, m.TrainLabelEnd, m.TrainSamples, m.Alpha = fold.TrainFrom, fold.TrainTo, fold.TrainLabelEnd, fold.Samples, fold.Alpha
		if m.Embargoed = out.learned[k].embargoed; w.spec.Policy.Method == Combinatorial {
			m.Embargoed = s.embargoed
		}
	}
	return out, nil
}

// measured are the measures of what was predicted of the tests of the folds.
func (w walk) measured(ctx context.Context, splits []split, etas [][]float64) (Metrics, error) {
	if w.spec.Policy.Method == Combinatorial {
		return w.measuredPaths(ctx, splits, etas)
	}
	var m Metrics
	first, last := splits[0].test[0], splits[len(splits)-1].test[0]
	j := w.judging(first.lo, len(w.d.y))
	for k, s := range splits {
		b := s.test[0]
		if err := j.take(ctx, b, etas[k], w.naive(s.fit)); err != nil {
			return m, err
		}
		m.Folds = append(m.Folds, w.foldMetrics(s, j.measure(span{b.lo, b.hi})))
	}
	m.Overall = j.measure(span{first.lo, last.hi})
	return m, nil
}

func (w walk) foldMetrics(s split, m Measures) FoldMetrics {
	first, last := s.test[0], s.test[len(s.test)-1]
	return FoldMetrics{
		TaskID: s.task, TestFrom: w.cal.At(first.First), TestTo: w.cal.At(last.Last), TestLabelEnd: w.cal.At(last.Last + w.spec.Label.Horizon),
		Purged: s.purged, TestGroups: s.groups, Measures: m,
	}
}

// judging judges the samples from one on to another.
func (w walk) judging(from, to int) *judging {
	return &judging{algo: w.judgedAs(), horizon: w.spec.Label.Horizon, d: w.d, from: from, eta: make([]float64, to-from), baseline: make([]float64, to-from)}
}

// judgedAs is the linear algorithm whose measures are those of the label.
func (w walk) judgedAs() Algo {
	if w.spec.Label.Direction {
		return Logistic
	}
	return Ridge
}

// take judges what was predicted of a block.
func (j *judging) take(ctx context.Context, b block, eta []float64, naive float64) error {
	copy(j.eta[b.lo-j.from:], eta)
	for i := b.lo; i < b.hi; i++ {
		j.baseline[i-j.from] = naive
	}
	return j.days(ctx, b.lo, b.hi)
}

// naive is what the baseline of a model that learned from these samples predicts:
// their mean, as eta.
func (w walk) naive(fit []span) float64 {
	y := w.d.y[fit[0].lo:fit[0].hi]
	if len(fit) > 1 {
		y = slices.Clone(y)
		for _, s := range fit[1:] {
			y = append(y, w.d.y[s.lo:s.hi]...)
		}
	}
	mean := correlation.Mean(y)
	if w.judgedAs() == Logistic {
		return math.Log(mean / (1 - mean))
	}
	return mean
}

// linear fits a linear function.
type linear struct{}

func (linear) learn(ctx context.Context, w walk, s split) (learned, error) {
	fold, f, embargoed, err := w.fold(ctx, s.task, s.fit)
	if err != nil {
		return learned{}, err
	}
	eta, err := f.predict(ctx, w.d, s)
	return learned{fold: fold, predictor: f, embargoed: embargoed, eta: eta}, err
}

func (linear) final(ctx context.Context, w walk) (Fold, error) {
	fold, _, _, err := w.fold(ctx, TaskFinal, []span{{0, len(w.d.y)}})
	return fold, err
}

func (f *fitted) predict(ctx context.Context, d *sampleSet, s split) ([]float64, error) {
	out, at := make([]float64, s.testSamples()), 0
	for _, b := range s.test {
		to := out[at : at+b.hi-b.lo]
		err := parallel.Blocks(ctx, b.hi-b.lo, etaBlock, func() func(lo, hi int) {
			return func(lo, hi int) { f.etas(to[lo:hi], d.x, b.lo+lo, b.lo+hi) }
		})
		if err != nil {
			return nil, err
		}
		at += b.hi - b.lo
	}
	return out, nil
}

// learnedFrom tells of the samples that a fold learns from.
func (w walk) learnedFrom(task string, fit []span) Fold {
	n := 0
	for _, s := range fit {
		n += s.hi - s.lo
	}
	first, last := w.d.until(fit[0].hi), w.d.until(fit[len(fit)-1].hi)
	from, to := first[len(w.d.until(fit[0].lo))].session, last[len(last)-1].session
	return Fold{TaskID: task, TrainFrom: w.cal.At(from), TrainTo: w.cal.At(to), TrainLabelEnd: w.cal.At(to + w.spec.Label.Horizon), Samples: n}
}

// fold fits the model of some samples; nothing else is looked at.
func (w walk) fold(ctx context.Context, task string, fit []span) (fold Fold, f *fitted, embargoed int, err error) {
	alpha, embargoed, err := w.chooseAlpha(ctx, fit)
	if err != nil {
		return fold, nil, 0, err
	}
	fits, err := learning{w.d, fit}.fit(ctx, w.spec.Algo, []float64{alpha})
	if err != nil {
		return fold, nil, 0, err
	}
	f = fits[0]
	fold = w.learnedFrom(task, fit)
	fold.Alpha, fold.Intercept = alpha, f.intercept
	for j, feature := range w.spec.Features {
		fold.Coefficients = append(fold.Coefficients, Coefficient{feature, f.coefficient[j], f.mean[j], f.deviation[j]})
	}
	return fold, f, embargoed, nil
}

// chooseAlpha chooses the penalty with the smallest loss (squared error, or log
// loss) in a purged and embargoed k-fold inside some samples, the larger one of
// equals. A part that leaves nothing to learn from is passed over; if every one
// does, the largest penalty is the cautious choice. embargoed counts the times that
// a sample was left out by the embargo.
func (w walk) chooseAlpha(ctx context.Context, fit []span) (alpha float64, embargoed int, err error) {
	alphas := w.spec.Alphas
	largest := alphas[len(alphas)-1]
	parts := w.inner(fit)
	if len(alphas) == 1 || parts == nil {
		return largest, 0, nil
	}
	loss := make([]float64, len(alphas))
	for _, part := range parts {
		embargoed += part.embargoed
		l := learning{w.d, part.fit}
		if !l.teaches(w.spec.Algo) {
			continue
		}
		fits, err := l.fit(ctx, w.spec.Algo, alphas)
		if err != nil {
			return 0, 0, err
		}
		for _, b := range part.test {
			if err := w.losses(ctx, loss, fits, b); err != nil {
				return 0, 0, err
			}
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

// inner splits samples to parts that are judged in turn, each by the others that the
// policy keeps; nil: there are too few sessions.
func (w walk) inner(fit []span) []split {
	var days []sessionStart
	var ends []int
	for _, s := range fit {
		for k := len(w.d.until(s.lo)); k < len(w.d.until(s.hi)); k++ {
			days, ends = append(days, w.d.days[k]), append(ends, w.d.end(k))
		}
	}
	if len(days) < innerBlocks {
		return nil
	}
	var parts []split
	for from, k := 0, 0; k < innerBlocks; k++ {
		rest := len(days) - from
		to := from + (rest+innerBlocks-k-1)/(innerBlocks-k)
		part, window := split{}, block{First: days[from].session, Last: days[to-1].session}
		var test []span
		for i, day := range days {
			switch {
			case i >= from && i < to:
				test = appendSpan(test, span{day.at, ends[i]})
			case w.spec.Policy.keeps(window, day.session):
				part.fit = appendSpan(part.fit, span{day.at, ends[i]})
			case !w.spec.Policy.meets(window, day.session):
				part.embargoed += ends[i] - day.at
			}
		}
		for _, s := range test {
			part.test = append(part.test, block{First: window.First, Last: window.Last, lo: s.lo, hi: s.hi})
		}
		parts, from = append(parts, part), to
	}
	return parts
}

// losses adds to loss that of each fit on the samples of b, one after the other.
func (w walk) losses(ctx context.Context, loss []float64, fits []*fitted, b block) error {
	return parallel.Blocks(ctx, len(fits), 1, func() func(lo, hi int) {
		eta := make([]float64, etaBlock)
		return func(k, _ int) {
			for lo := b.lo; lo < b.hi; lo += etaBlock {
				hi := min(lo+etaBlock, b.hi)
				fits[k].etas(eta, w.d.x, lo, hi)
				for i, y := range w.d.y[lo:hi] {
					loss[k] += lossOf(w.spec.Algo, eta[i], y)
				}
			}
		}
	})
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
