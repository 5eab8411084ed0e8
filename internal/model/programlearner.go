package model

import (
	"context"
	"math"
	"math/rand/v2"
	"os"

	"quant"
	"quant/internal/factstore"
	"quant/internal/parquet"
)

// ProofScope says of how many folds it is proved that a program does not look ahead.
type ProofScope string

// The scopes. ProofOne takes a fold by the seed.
const (
	ProofNone ProofScope = "none"
	ProofOne  ProofScope = "one"
	ProofAll  ProofScope = "all"
)

// ParseProofScope reads a scope; Usage for another word.
func ParseProofScope(s string) (ProofScope, error) {
	if p := ProofScope(s); p == ProofNone || p == ProofOne || p == ProofAll {
		return p, nil
	}
	return "", quant.Errorf(quant.Usage, "proof %q is not known", s).WithHint("use one, all or none")
}

// Proof tells how it was proved that the predictions of a program do not depend on
// later rows.
type Proof struct {
	Scope ProofScope  `json:"scope"`
	Folds []FoldProof `json:"folds"`
}

// FoldProof is the proof of one fold: its predictions up to a day came out the same
// from rows that end with that day, and, where the program kept a model, from rows
// whose features after it were changed, by the model that was kept.
type FoldProof struct {
	TaskID  string     `json:"task_id"`
	Until   quant.Date `json:"until"`
	Rows    int        `json:"rows"`
	ByModel bool       `json:"by_model"`
}

// proofTolerance is how far two predictions of one row may be apart, of the larger one
// and of the deviation of all: libraries add up in another order for another number
// of rows.
const proofTolerance = 1e-5

// programLearner has a program learn.
type programLearner struct {
	of    *Samples
	work  *Workshop
	scope ProofScope
	quiet bool // what it writes beside predictions is not told of, and not kept
	keeps bool // it kept something of a fold
}

// fitRows are what a program learns from: features, label, t1 and weight.
func (p *programLearner) fitRows(w walk, fit []span) []parquet.Series {
	r := p.rows(w.d, fit)
	var y, weight []float64
	var end []quant.Date
	for _, s := range fit {
		y = append(y, w.d.y[s.lo:s.hi]...)
		for k := len(w.d.until(s.lo)); k < len(w.d.until(s.hi)); k++ {
			t1 := w.cal.At(w.d.days[k].session + w.spec.Label.Horizon)
			for range w.d.end(k) - w.d.days[k].at {
				end = append(end, t1)
			}
		}
	}
	weight = p.uniqueness(w, fit)
	return append(r.series(w.spec.Features),
		parquet.Series{Name: columnLabel, Floats: y}, parquet.Series{Name: columnLabelEnd, Days: end}, parquet.Series{Name: columnWeight, Floats: weight})
}

// rows are samples as a program is handed them.
func (p *programLearner) rows(d *sampleSet, of []span) rows {
	r := rows{names: p.of.names, x: make([][]float64, d.width)}
	for _, s := range of {
		r.symbol = append(r.symbol, p.of.symbol[s.lo:s.hi]...)
		for k := len(d.until(s.lo)); k < len(d.until(s.hi)); k++ {
			for range d.end(k) - d.days[k].at {
				r.day = append(r.day, p.of.dates[k])
			}
		}
		for j := range d.x {
			r.x[j] = append(r.x[j], d.x[j][s.lo:s.hi]...)
		}
	}
	return r
}

// uniqueness is the average uniqueness of the labels of samples (Lopez de Prado, ch.
// 4): the mean over the sessions of (t, t1] of 1 / the number of labels of that
// symbol, among these samples, whose own (t, t1] holds the session.
func (p *programLearner) uniqueness(w walk, fit []span) []float64 {
	h := w.spec.Label.Horizon
	type at struct{ session, row int }
	of := make([][]at, len(p.of.names))
	row := 0
	for _, s := range fit {
		for k := len(w.d.until(s.lo)); k < len(w.d.until(s.hi)); k++ {
			for i := w.d.days[k].at; i < w.d.end(k); i++ {
				n := p.of.symbol[i]
				of[n] = append(of[n], at{w.d.days[k].session, row})
				row++
			}
		}
	}
	out := make([]float64, row)
	for _, list := range of {
		if len(list) == 0 {
			continue
		}
		first := list[0].session + 1
		length := list[len(list)-1].session + h - first + 1
		count := make([]int, length+1)
		for _, a := range list {
			count[a.session+1-first]++
			count[a.session+h-first+1]--
		}
		share := make([]float64, length+1) // sums of 1 / count before each session
		now := 0
		for s := range length {
			now += count[s]
			share[s+1] = share[s]
			if now > 0 {
				share[s+1] += 1 / float64(now)
			}
		}
		for _, a := range list {
			from := a.session + 1 - first
			out[a.row] = (share[from+h] - share[from]) / float64(h)
		}
	}
	return out
}

func testSpans(s split) []span {
	var list []span
	for _, b := range s.test {
		list = append(list, span{b.lo, b.hi})
	}
	return list
}

// whatIs tells of a row that was not asked for of a fold.
func (p *programLearner) whatIs(s split) inside {
	return func(symbol int32, day quant.Date) string {
		for k, d := range p.of.dates {
			if d != day {
				continue
			}
			for i := p.of.days[k].at; i < p.of.end(k); i++ {
				if p.of.symbol[i] != symbol {
					continue
				}
				for _, f := range s.fit {
					if i >= f.lo && i < f.hi {
						return "is in-sample: the fold learned from it"
					}
				}
				return "belongs to another fold, or was purged from this one"
			}
			return "was not asked for: the symbol has no sample on that day"
		}
		return "was not asked for: no sample is of that day"
	}
}

// learn implements learner.
func (p *programLearner) learn(ctx context.Context, w walk, s split) (learned, error) {
	asked := p.rows(w.d, testSpans(s))
	scores, kept, err := p.train(ctx, w, s, asked)
	if err != nil {
		return learned{}, err
	}
	p.keeps = p.keeps || len(kept) > 0
	fold := w.learnedFrom(s.task, s.fit)
	fold.Files, fold.Predictions = kept, digestOf(asked, scores)
	return learned{fold: fold, predictor: &programPredictor{p, w, kept}, eta: w.etasOf(scores), scores: scores}, nil
}

// train calls the program to learn from the fit part of a fold and to predict rows.
func (p *programLearner) train(ctx context.Context, w walk, s split, asked rows) (scores []float64, kept []KeptFile, err error) {
	c, err := p.work.call(ctx, w.spec, w.spec.Features, handed{stage: StageTrain, task: s.task, fit: p.fitRows(w, s.fit), predict: asked.series(w.spec.Features), keeps: !p.quiet})
	defer os.RemoveAll(c.folder)
	if err != nil {
		return nil, nil, err
	}
	scores, err = p.work.scores(ctx, w.spec, c, s.task, asked, p.whatIs(s))
	return scores, c.kept, err
}

// score calls the program to predict rows by what it kept.
func (p *programLearner) score(ctx context.Context, w walk, s split, kept []KeptFile, asked rows) ([]float64, error) {
	c, err := p.work.call(ctx, w.spec, w.spec.Features, handed{stage: StageScore, task: s.task, predict: asked.series(w.spec.Features), kept: kept})
	defer os.RemoveAll(c.folder)
	if err != nil {
		return nil, err
	}
	return p.work.scores(ctx, w.spec, c, s.task, asked, p.whatIs(s))
}

// final implements learner: the program learns from all samples, unless it kept
// nothing of any fold, for then nothing could score by it.
func (p *programLearner) final(ctx context.Context, w walk) (Fold, error) {
	all := []span{{0, len(w.d.y)}}
	fold := w.learnedFrom(TaskFinal, all)
	if !p.keeps {
		return fold, nil
	}
	c, err := p.work.call(ctx, w.spec, w.spec.Features, handed{stage: StageFit, task: TaskFinal, fit: p.fitRows(w, all), keeps: true})
	defer os.RemoveAll(c.folder)
	fold.Files = c.kept
	return fold, err
}

// digestOf is that of scores of rows.
func digestOf(r rows, scores []float64) string {
	_, digest := factstore.RowDigest(factstore.Column{Numbers: r.symbol, Texts: r.names}, factstore.Column{Dates: r.day}, factstore.Column{Floats: scores})
	return digest
}

// smallest is the probability that stands for 0 where its logarithm is needed.
const smallest = 1e-15

// etasOf are the scores of a program as those of a linear model: of a direction the
// logarithm of the odds.
func (w walk) etasOf(scores []float64) []float64 {
	if !w.spec.Label.Direction {
		return scores
	}
	out := make([]float64, len(scores))
	for i, p := range scores {
		p = min(max(p, smallest), 1-smallest)
		out[i] = math.Log(p / (1 - p))
	}
	return out
}

// programPredictor predicts a fold's test by what the program kept of it.
type programPredictor struct {
	p    *programLearner
	w    walk
	kept []KeptFile
}

func (q *programPredictor) predict(ctx context.Context, d *sampleSet, s split) ([]float64, error) {
	if len(q.kept) == 0 {
		return nil, quant.Errorf(quant.Refused, "the program kept no model of %s, and so cannot predict again", s.task).
			WithHint("let it write its model into QUANT_MODEL, or use --importance drop")
	}
	scores, err := q.p.score(ctx, q.w, s, q.kept, q.p.rows(d, testSpans(s)))
	if err != nil {
		return nil, err
	}
	return q.w.etasOf(scores), nil
}

// prove has folds predicted anew without what comes after a day within their test,
// and by the kept model with that changed; what is predicted up to the day may not
// move. Refused: it does, and then the program looks ahead, or draws numbers that its
// seed does not fix.
func (p *programLearner) prove(ctx context.Context, w walk, j *judged) (*Proof, error) {
	proof := &Proof{Scope: p.scope, Folds: []FoldProof{}}
	rng := rand.New(rand.NewPCG(uint64(w.spec.Seed), 0x70726f6f66))
	one := rng.IntN(len(j.splits))
	for k, s := range j.splits {
		share := 0.25 + rng.Float64()/2
		if p.scope == ProofNone || p.scope == ProofOne && k != one {
			continue
		}
		asked := p.rows(w.d, testSpans(s))
		until, ok := dayWithin(asked, share)
		if !ok {
			continue
		}
		early := asked.until(until)
		was := j.learned[k]
		compare := func(scores []float64, how string) error {
			i := apart(was.eta, w.etasOf(scores), len(early.day))
			if i < 0 {
				return nil
			}
			again, _, err := p.again(ctx, w, s, asked)
			if err != nil {
				return err
			}
			name, day := asked.names[asked.symbol[i]], asked.day[i]
			if l := apart(was.eta, w.etasOf(again), len(was.eta)); l >= 0 {
				return quant.Errorf(quant.Refused, "the program is not repeatable: of the same rows its score of %s on %s (%s) was %v, and then %v", asked.names[asked.symbol[l]], asked.day[l], s.task, was.eta[l], w.etasOf(again)[l]).
					WithHint("fix its chance with QUANT_SEED, and its threads; or --proof none, which is stamped on the model")
			}
			return quant.Errorf(quant.Refused, "the program looks ahead: its score of %s on %s (%s) is %v, and %v %s %s", name, day, s.task, was.eta[i], w.etasOf(scores)[i], how, until).
				WithHint("compute nothing of a row from rows of later days, in QUANT_PREDICT neither")
		}
		quiet := *p
		quiet.quiet = true
		cut, _, err := quiet.train(ctx, w, s, early)
		if err != nil {
			return nil, err
		}
		if err := compare(cut, "when it is handed no row after"); err != nil {
			return nil, err
		}
		kept := was.fold.Files
		if len(kept) > 0 {
			changed, err := p.score(ctx, w, s, kept, asked.changedAfter(until))
			if err != nil {
				return nil, err
			}
			if err := compare(changed[:len(early.day)], "by the model that it kept, when features are others after"); err != nil {
				return nil, err
			}
		}
		proof.Folds = append(proof.Folds, FoldProof{TaskID: s.task, Until: until, Rows: len(early.day), ByModel: len(kept) > 0})
	}
	return proof, nil
}

// again trains a fold once more, on the same rows.
func (p *programLearner) again(ctx context.Context, w walk, s split, asked rows) ([]float64, []KeptFile, error) {
	quiet := *p
	quiet.quiet = true
	return quiet.train(ctx, w, s, asked)
}

// dayWithin is the day of rows about which so large a share of the days comes before;
// there is none unless a day follows it.
func dayWithin(r rows, share float64) (quant.Date, bool) {
	var days []quant.Date
	for _, day := range r.day {
		if len(days) == 0 || days[len(days)-1] != day {
			days = append(days, day)
		}
	}
	if len(days) < 2 {
		return 0, false
	}
	return days[min(int(share*float64(len(days))), len(days)-2)], true
}

// apart is the first of n scores that is another one, or -1.
func apart(a, b []float64, n int) int {
	mean, squares := 0.0, 0.0
	for _, v := range a {
		mean += v / float64(len(a))
	}
	for _, v := range a {
		squares += (v - mean) * (v - mean) / float64(len(a))
	}
	deviation := math.Sqrt(squares)
	for i := range n {
		if d := math.Abs(a[i] - b[i]); d > proofTolerance*max(math.Abs(a[i]), math.Abs(b[i]), deviation) {
			return i
		}
	}
	return -1
}

// WritePredictions writes what a program predicted of the tests of its folds, beside
// the labels: a Parquet file of fold, symbol, ts, score and label.
func (s *Samples) WritePredictions(ctx context.Context, path string, t Trained) error {
	p := &programLearner{of: s}
	w := s.walk()
	var tasks []string
	var task, symbol []int32
	var day []quant.Date
	var score, y []float64
	for k, split := range t.judged.splits {
		asked := p.rows(w.d, testSpans(split))
		tasks = append(tasks, split.task)
		for range asked.day {
			task = append(task, int32(k))
		}
		symbol, day, score = append(symbol, asked.symbol...), append(day, asked.day...), append(score, t.judged.learned[k].scores...)
		for _, b := range split.test {
			y = append(y, w.d.y[b.lo:b.hi]...)
		}
	}
	return parquet.WriteSeries(ctx, path, parquet.Parquet, []parquet.Series{
		{Name: parquet.ColumnFold, Texts: tasks, Numbers: task}, {Name: parquet.ColumnSymbol, Texts: s.names, Numbers: symbol},
		{Name: parquet.ColumnDay, Days: day}, {Name: parquet.ColumnScore, Floats: score}, {Name: columnLabel, Floats: y},
	})
}
