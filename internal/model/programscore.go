package model

import (
	"cmp"
	"context"
	"os"
	"slices"

	"quant"
)

// gather keeps a row for a program to predict.
func (p *predicted) gather(symbol int32, day quant.Date, task int, x [][]float64, row int) {
	if p.x == nil {
		p.x = make([][]float64, len(x))
	}
	for j := range x {
		p.x[j] = append(p.x[j], x[j][row])
	}
	p.symbol, p.day, p.task, p.score = append(p.symbol, symbol), append(p.day, day), append(p.task, int32(task)), append(p.score, 0)
}

// Predict has the program of the model predict the rows that were read, by the model
// that it kept of each fit that scores one of their days: in the order of time, with
// one call for each. It does nothing for a linear model. Errors: those of the call;
// Refused: the program kept no model, or what it hands back breaks the protocol.
func (s *Scoring) Predict(ctx context.Context, work *Workshop) error {
	doc := s.req.Model
	if doc.Algo != ByProgram {
		return nil
	}
	spec := Spec{Algo: doc.Algo, Features: doc.Features, Label: doc.Label, Policy: doc.SplitPolicy, Seed: doc.Seed, Program: doc.Program}
	for k := range len(s.models) + 1 {
		fold := doc.Final
		if folds := doc.walkForwardFolds(); k < len(folds) {
			fold = folds[k]
		}
		var of []int
		for i, task := range s.p.task {
			if int(task) == k {
				of = append(of, i)
			}
		}
		if len(of) == 0 {
			continue
		}
		if len(fold.Files) == 0 {
			return quant.Errorf(quant.Refused, "the program kept no model of %s, and so %s cannot score", fold.TaskID, s.req.ModelID).
				WithHint("let it write its model into QUANT_MODEL, and train again")
		}
		slices.SortFunc(of, func(a, b int) int {
			return cmp.Or(cmp.Compare(s.p.day[a], s.p.day[b]), cmp.Compare(s.p.names.List[s.p.symbol[a]], s.p.names.List[s.p.symbol[b]]))
		})
		r := rows{names: s.p.names.List, x: make([][]float64, len(s.p.x))}
		for _, i := range of {
			r.symbol, r.day = append(r.symbol, s.p.symbol[i]), append(r.day, s.p.day[i])
			for j := range s.p.x {
				r.x[j] = append(r.x[j], s.p.x[j][i])
			}
		}
		scores, err := s.call(ctx, work, spec, fold, r)
		if err != nil {
			return err
		}
		for n, i := range of {
			s.p.score[i] = scores[n]
		}
	}
	return nil
}

func (s *Scoring) call(ctx context.Context, work *Workshop, spec Spec, fold Fold, r rows) ([]float64, error) {
	c, err := work.call(ctx, spec, spec.Features, handed{stage: StageScore, task: fold.TaskID, predict: r.series(spec.Features), kept: fold.Files})
	defer os.RemoveAll(c.folder)
	if err != nil {
		return nil, err
	}
	return work.scores(ctx, spec, c, fold.TaskID, r, func(int32, quant.Date) string { return "was not asked for" })
}
