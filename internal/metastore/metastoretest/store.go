package metastoretest

import (
	"context"
	"slices"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func storeTests() []test {
	ctx := context.Background()
	return []test{
		{"ANewStoreIsSoundAndEmpty", func(t *testing.T, s metastore.Store) {
			equal(t, len(one(s.Check(ctx))(t)), 0)
			var names []string
			for _, c := range one(s.Tables(ctx))(t) {
				names = append(names, c.Table)
				equal(t, c.Rows, 0)
			}
			equal(t, names, []string{
				"client_artifacts", "client_experiments", "experiment_tags", "experiments", "logged_model_metrics", "logged_model_params",
				"logged_model_tags", "logged_models", "model_version_tags", "model_versions", "models", "registered_model_aliases",
				"registered_model_tags", "registered_models", "run_artifacts", "run_clients", "run_datasets", "run_deletions", "run_imports",
				"run_io", "run_metric_latest", "run_metric_nans", "run_metric_points", "run_metrics", "run_models", "run_notes", "run_params",
				"run_process", "run_programs", "run_tags", "runs", "symbols", "tokens",
			})
		}},
		{"TablesCountsRows", func(t *testing.T, s metastore.Store) {
			fill(t, s)
			equal(t, slices.DeleteFunc(one(s.Tables(ctx))(t), func(c metastore.TableCount) bool { return c.Rows == 0 }), []metastore.TableCount{
				{Table: "client_experiments", Rows: 1},
				{Table: "experiments", Rows: 1},
				{Table: "models", Rows: 1},
				{Table: "run_io", Rows: 1},
				{Table: "run_process", Rows: 3},
				{Table: "runs", Rows: 3},
				{Table: "symbols", Rows: 2},
			})
		}},
		{"AStoreInUseIsSound", func(t *testing.T, s metastore.Store) {
			fill(t, s)
			equal(t, len(one(s.Check(ctx))(t)), 0)
		}},
		{"AClosedStoreSaysSo", func(t *testing.T, s metastore.Store) {
			ok(t, s.Close())
			ok(t, s.Close())
			_, err := s.GetRun(ctx, RunID(1))
			refused(t, err, quant.Failed)
		}},
	}
}

// fill stores something of everything.
func fill(t *testing.T, s metastore.Store) {
	t.Helper()
	ctx := context.Background()
	one(s.EnsureSymbols(ctx, []string{"AAPL", "삼성전자"}))(t)
	ok(t, s.CreateExperiment(ctx, quant.Experiment{ExperimentID: "e", Name: "e", CreatedAt: startedAt(0)}))
	ok(t, s.CreateModel(ctx, quant.Model{ModelID: "m", ExperimentID: "e", CreatedAt: startedAt(0)}))
	for n := 1; n <= 3; n++ {
		createRun(t, s, n, func(_ *quant.Run, p *quant.RunProcess) { p.Argv = quant.JSON(`["quant"]`) })
	}
	end := successOf(1)
	end.IO = []quant.RunIO{{RunID: RunID(1), Direction: quant.Out, Kind: quant.IOTable, Name: "ohlcv", Rows: pointer(int64(7))}}
	ok(t, s.FinishRun(ctx, end))
	ok(t, s.FinishRun(ctx, failOf(2, "it failed")))
}
