package metastoretest

import (
	"context"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func foreignTests() []test {
	ctx := context.Background()
	noon := startedAt(3600)
	elsewhere := func(name string, number int64) metastore.ClientExperiment {
		return metastore.ClientExperiment{Experiment: quant.Experiment{Name: name, CreatedAt: startedAt(1)}, Number: number, UpdatedAt: startedAt(2)}
	}
	return []test{
		{"AnExperimentFromElsewhereKeepsItsNumberIfThatIsFree", func(t *testing.T, s metastore.Store) {
			e := elsewhere("alpha", 246947514815320631)
			e.DeletedAt = noon
			stored, isNew, err := s.ImportClientExperiment(ctx, e, []metastore.ExperimentTag{{Name: "team", Value: "a"}})
			ok(t, err)
			equal(t, isNew, true)
			e.ExperimentID = stored.ExperimentID
			equal(t, stored, e)
			equal(t, one(s.GetClientExperiment(ctx, e.Number))(t), e)
			equal(t, one(s.ExperimentTags(ctx, e.ExperimentID))(t), []metastore.ExperimentTag{{ExperimentID: e.ExperimentID, Name: "team", Value: "a"}})
			taken, isNew, err := s.ImportClientExperiment(ctx, elsewhere("beta", e.Number), nil)
			ok(t, err)
			equal(t, isNew, true)
			equal(t, taken.Number, e.Number+1)
			zero, _, err := s.ImportClientExperiment(ctx, elsewhere("Default", 0), nil)
			ok(t, err)
			equal(t, zero.Number, 0)
			any, _, err := s.ImportClientExperiment(ctx, elsewhere("gamma", -1), nil)
			ok(t, err)
			equal(t, any.Number, e.Number+2)
		}},
		{"AnExperimentOfThatNameIsTheOne", func(t *testing.T, s metastore.Store) {
			number := one(s.CreateClientExperiment(ctx, quant.Experiment{Name: "alpha", CreatedAt: startedAt(1)}, nil))(t)
			e := elsewhere("alpha", 77)
			e.DeletedAt = noon
			stored, isNew, err := s.ImportClientExperiment(ctx, e, []metastore.ExperimentTag{{Name: "team", Value: "a"}})
			ok(t, err)
			equal(t, isNew, false)
			equal(t, stored, one(s.GetClientExperiment(ctx, number))(t))
			equal(t, len(one(s.ExperimentTags(ctx, stored.ExperimentID))(t)), 0)
		}},
		{"AnExperimentWithoutANameIsRefused", func(t *testing.T, s metastore.Store) {
			_, _, err := s.ImportClientExperiment(ctx, elsewhere(" ", 7), nil)
			refused(t, err, quant.Invalid)
			equal(t, len(one(s.ListClientExperiments(ctx))(t)), 0)
		}},
		{"OnlyAnEndedRunIsMarkedAsImportedAndOnce", func(t *testing.T, s metastore.Store) {
			mark := quant.Import{RunID: RunID(1), ImportedAt: noon, ByRunID: quant.Text(RunID(9))}
			refused(t, s.MarkImported(ctx, mark), quant.NotFound)
			r, p := newRun(1)
			ok(t, s.CreateRun(ctx, r, p))
			refused(t, s.MarkImported(ctx, mark), quant.Conflict)
			ok(t, s.FinishRun(ctx, successOf(1)))
			ok(t, s.MarkImported(ctx, mark))
			refused(t, s.MarkImported(ctx, mark), quant.Conflict)
			equal(t, one(s.Imports(ctx))(t), []quant.Import{mark})
		}},
	}
}
