package model

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
)

// A fold can be learned by a process of its own: LearnFold is what Train does of one
// fold, and Train, given what came of it, judges that in place of learning again. What
// was learned stands for the samples that it was learned from, which their digest names;
// of others the fold is learned anew, so that a model does not depend on who learned its
// folds.

// LearnedFold is what was learned of a fold, and predicted of its test.
type LearnedFold struct {
	Fold      Fold     `json:"fold"`
	Embargoed int      `json:"embargoed"` // in the inner split
	Samples   string   `json:"samples"`   // of Samples.Digest
	Wrote     []Writes `json:"wrote"`     // what a program left beside its predictions

	eta, scores []float64 // of the test samples; scores of a program alone
}

// Writes is a file that a program left of a fold: see Workshop.Wrote.
type Writes struct {
	Task string `json:"task"`
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// Digest names the samples and the sessions that they are of, so all that a fold of a
// spec is learned from.
func (s *Samples) Digest() string {
	sum := durable.NewSum()
	_, _ = io.WriteString(sum, s.digest) // it cannot fail
	for _, day := range s.days {
		_, _ = fmt.Fprint(sum, " ", day.session-s.days[0].session, " ", s.cal.At(day.session), " ", s.cal.At(day.session+s.spec.Label.Horizon))
	}
	return sum.Digest()
}

// Tasks are the folds of the spec's policy. Refused: there are too few samples.
func (s *Samples) Tasks() ([]string, error) {
	splits, err := s.spec.Policy.splits(&s.sampleSet)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, one := range splits {
		list = append(list, one.task)
	}
	return list, nil
}

// LearnFold learns one fold as Train does, and predicts its test. NotFound: the policy
// has no such fold. Otherwise the errors of Train.
func (s *Samples) LearnFold(ctx context.Context, work *Workshop, task string) (LearnedFold, error) {
	splits, err := s.spec.Policy.splits(&s.sampleSet)
	if err != nil {
		return LearnedFold{}, err
	}
	for _, one := range splits {
		if one.task != task {
			continue
		}
		l := learner(linear{})
		if s.spec.Algo == ByProgram {
			l = &programLearner{of: s, work: work}
		}
		out, err := l.learn(ctx, s.walk(), one)
		return LearnedFold{Fold: out.fold, Embargoed: out.embargoed, Samples: s.Digest(), Wrote: []Writes{}, eta: out.eta, scores: out.scores}, err
	}
	return LearnedFold{}, quant.Errorf(quant.NotFound, "the samples have no fold %s: they are split into %d", task, len(splits))
}

// Given hands Train what was learned of folds elsewhere.
func (s *Samples) Given(list []LearnedFold) {
	s.given = map[string]LearnedFold{}
	digest := s.Digest()
	for _, l := range list {
		if l.Samples == digest {
			s.given[l.Fold.TaskID] = l
		}
	}
}

// IsKeptIn reports whether all that a program kept of the fold is in a folder of models.
func (l LearnedFold) IsKeptIn(modelDir string) bool {
	for _, k := range l.Fold.Files {
		name, err := ContentName(k.Digest)
		if err != nil {
			return false
		}
		if info, err := os.Stat(filepath.Join(modelDir, name)); err != nil || info.Size() != k.Bytes {
			return false
		}
	}
	return true
}

// givenLearner takes what was learned elsewhere of the folds, and learns the others.
type givenLearner struct {
	learner
	of      *Samples
	program *programLearner // nil: a linear one
}

func (g givenLearner) learn(ctx context.Context, w walk, s split) (learned, error) {
	l, ok := g.of.given[s.task]
	if !ok || len(l.eta) != s.testSamples() {
		return g.learner.learn(ctx, w, s)
	}
	out := learned{fold: l.Fold, embargoed: l.Embargoed, eta: l.eta, scores: l.scores}
	if g.program == nil {
		out.predictor, out.scores = l.Fold.fitted(), nil
		return out, nil
	}
	g.program.keeps = g.program.keeps || len(l.Fold.Files) > 0
	out.predictor = &programPredictor{g.program, w, l.Fold.Files}
	return out, g.program.work.wroteElsewhere(l)
}

// wroteElsewhere tells of the files that a program left where a fold was learned.
func (w *Workshop) wroteElsewhere(l LearnedFold) error {
	if w.Wrote == nil {
		return nil
	}
	folder, err := os.MkdirTemp(w.Folder, "elsewhere-*")
	if err != nil {
		return quant.Errorf(quant.Failed, "take what a program wrote of %s: %w", l.Fold.TaskID, err).WithHint("make room, or make the data folder writable")
	}
	defer os.RemoveAll(folder)
	for _, wrote := range l.Wrote {
		path := filepath.Join(folder, filepath.Base(wrote.Name))
		if err := os.WriteFile(path, wrote.Data, 0o600); err != nil {
			return quant.Errorf(quant.Failed, "take %s of %s: %w", wrote.Name, wrote.Task, err).WithHint("make room")
		}
		if err := w.Wrote(wrote.Task, wrote.Name, path); err != nil {
			return err
		}
	}
	return nil
}

// learnedRelation is the name of what Stage stages: a row for each test sample.
const learnedRelation = "predictions"

// Stage stages what was learned, and returns the number of rows. The outputs' note is to
// be l.
func (l LearnedFold) Stage(ctx context.Context, to *factstore.OutputsWriter) (int64, error) {
	columns := []factstore.Column{{Name: "eta", Bigints: bitsOf(l.eta)}}
	if l.scores != nil {
		columns = append(columns, factstore.Column{Name: "score", Bigints: bitsOf(l.scores)})
	}
	return to.WriteColumns(ctx, learnedRelation, columns...)
}

// bitsOf are numbers as a file keeps them to the bit, also the sign of 0.
func bitsOf(list []float64) []int64 {
	out := make([]int64, len(list))
	for i, x := range list {
		out[i] = int64(math.Float64bits(x))
	}
	return out
}

// ReadLearned reads what Stage has staged. Store: it is something else.
func ReadLearned(ctx context.Context, db *factstore.DB, o *factstore.Outputs) (l LearnedFold, err error) {
	if err := json.Unmarshal(o.Note, &l); err != nil {
		return l, quant.Errorf(quant.Store, "the outputs of run %s are no fold: %w", quant.ShortID(o.RunID), err)
	}
	relation := factstore.OutputsRelation([]*factstore.Outputs{o}, learnedRelation)
	if relation == "" {
		return l, quant.Errorf(quant.Store, "the outputs of run %s have no predictions", quant.ShortID(o.RunID))
	}
	var eta, scores []int64
	scored := l.Fold.Predictions != ""
	columns := "eta"
	if scored {
		columns += ", score"
	}
	err = db.Columns(ctx, "SELECT "+columns+" FROM "+relation, nil, func(c *factstore.Chunk) error {
		eta = c.AppendBigints(eta, 0)
		if scored {
			scores = c.AppendBigints(scores, 1)
		}
		return nil
	})
	l.eta = numbersOf(eta)
	if scored {
		l.scores = numbersOf(scores)
	}
	return l, err
}

func numbersOf(bits []int64) []float64 {
	out := make([]float64, len(bits))
	for i, b := range bits {
		out[i] = math.Float64frombits(uint64(b))
	}
	return out
}
