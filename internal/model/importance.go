package model

import (
	"context"
	"math/rand/v2"
	"slices"

	"quant"
)

// ImportanceMethod says how the importance of features is measured.
type ImportanceMethod string

// The methods. Both measure out of sample, on the tests of the folds.
const (
	NoImportance ImportanceMethod = ""
	// ByPermutation predicts with the values of one feature dealt out anew among the
	// names of each day (Breiman, 2001).
	ByPermutation ImportanceMethod = "permutation"
	// ByDrop trains every fold anew without the feature.
	ByDrop ImportanceMethod = "drop"
	// ByBoth is both.
	ByBoth ImportanceMethod = "both"
)

// ParseImportance reads a method; Usage for another word.
func ParseImportance(s string) (ImportanceMethod, error) {
	switch m := ImportanceMethod(s); m {
	case NoImportance, ByPermutation, ByDrop, ByBoth:
		return m, nil
	}
	return "", quant.Errorf(quant.Usage, "importance %q is not known", s).WithHint("use permutation, drop or both")
}

// Importance is how much worse the predictions are without a feature. NULL where a
// figure does not exist.
type Importance struct {
	Method  ImportanceMethod `json:"method"` // permutation or drop
	Feature Feature          `json:"feature"`
	Repeats int              `json:"repeats"` // permutations, of which the figures are the means
	// IC and RankIC are those with all features less those without this one: above 0
	// the feature helps. Loss is the root of the mean squared error, or the log loss,
	// without it less that with it: above 0 it helps.
	IC     *float64 `json:"ic"`
	RankIC *float64 `json:"rank_ic"`
	Loss   *float64 `json:"loss"`
}

// How often a feature is permuted: a linear model costs nothing to ask again, a program
// a call for each fold.
const (
	linearRepeats  = 5
	programRepeats = 1
)

// Importances measures the importance of each feature of a trained model, in the order
// of its features, permutation first. The same seed gives the same figures. Refused
// also: by permutation, where a program kept no model; by drop, of a single feature.
func (s *Samples) Importances(ctx context.Context, t Trained, method ImportanceMethod, work *Workshop) ([]Importance, error) {
	var list []Importance
	if method == ByPermutation || method == ByBoth {
		for j := range s.spec.Features {
			one, err := s.permuted(ctx, t, j)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
	}
	if method == ByDrop || method == ByBoth {
		if len(s.spec.Features) < 2 {
			return nil, quant.Errorf(quant.Refused, "without %s there is no feature left to train on", s.spec.Features[0]).WithHint("use --importance permutation")
		}
		for j := range s.spec.Features {
			one, err := s.dropped(ctx, t, j, work)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
	}
	return list, nil
}

// permuted is the importance of a feature by permutation.
func (s *Samples) permuted(ctx context.Context, t Trained, feature int) (Importance, error) {
	w := s.walk()
	one := Importance{Method: ByPermutation, Feature: s.spec.Features[feature], Repeats: linearRepeats}
	if s.spec.Algo == ByProgram {
		one.Repeats = programRepeats
	}
	changed := s.sampleSet
	changed.x = slices.Clone(s.x)
	var sum differences
	for repeat := range one.Repeats {
		rng := rand.New(rand.NewPCG(uint64(s.spec.Seed), uint64(feature)<<32|uint64(repeat)))
		column := slices.Clone(s.x[feature])
		for k := range s.days {
			day := column[s.days[k].at:s.end(k)]
			rng.Shuffle(len(day), func(a, b int) { day[a], day[b] = day[b], day[a] })
		}
		changed.x[feature] = column
		etas := make([][]float64, len(t.judged.splits))
		for k, split := range t.judged.splits {
			eta, err := t.judged.learned[k].predictor.predict(ctx, &changed, split)
			if err != nil {
				return one, err
			}
			etas[k] = eta
		}
		m, err := w.measured(ctx, t.judged.splits, etas)
		if err != nil {
			return one, err
		}
		sum.add(t.Metrics.Overall, m.Overall)
	}
	one.IC, one.RankIC, one.Loss = sum.means()
	return one, nil
}

// dropped is the importance of a feature by leaving it out.
func (s *Samples) dropped(ctx context.Context, t Trained, feature int, work *Workshop) (Importance, error) {
	one := Importance{Method: ByDrop, Feature: s.spec.Features[feature], Repeats: 1}
	rest, without := *s, *s.loaded
	without.x = slices.Delete(slices.Clone(s.x), feature, feature+1)
	without.width--
	rest.loaded = &without
	rest.spec.Features = slices.Delete(slices.Clone(s.spec.Features), feature, feature+1)
	l := learner(linear{})
	if s.spec.Algo == ByProgram {
		l = &programLearner{of: &rest, work: work, quiet: true}
	}
	j, err := rest.walk().judge(ctx, l)
	if err != nil && s.spec.Algo == ByProgram && ctx.Err() == nil {
		return one, quant.Errorf(quant.CodeOf(err), "importance by drop, trained without %s: %w", one.Feature, err).
			WithHint("drop hands out fewer columns: let the program take them from the list `features` of QUANT_PROTOCOL (docs/models.md), or use --importance permutation")
	}
	if err != nil {
		return one, err
	}
	var sum differences
	sum.add(t.Metrics.Overall, j.metrics.Overall)
	one.IC, one.RankIC, one.Loss = sum.means()
	return one, nil
}

// differences add up how much worse measures are than others.
type differences struct{ ic, rankIC, loss []float64 }

func (d *differences) add(with, without Measures) {
	less := func(list *[]float64, a, b *float64) {
		if a != nil && b != nil {
			*list = append(*list, *a-*b)
		}
	}
	less(&d.ic, with.IC, without.IC)
	less(&d.rankIC, with.RankIC, without.RankIC)
	less(&d.loss, without.RMSE, with.RMSE)
	less(&d.loss, without.LogLoss, with.LogLoss)
}

func (d *differences) means() (ic, rankIC, loss *float64) {
	mean := func(list []float64) *float64 {
		m, _ := meanAndRatio(list)
		return m
	}
	return mean(d.ic), mean(d.rankIC), mean(d.loss)
}
