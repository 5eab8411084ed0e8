package metastoretest

import (
	"context"
	"strings"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func modelTests() []test {
	ctx := context.Background()
	full := quant.Model{
		ModelID: "m-1", ExperimentID: "exp-1", Algo: "ridge", ParamsJSON: quant.JSON(`{"alpha":0.1}`), TrainRange: "2020..2024",
		FeatureVersion: "v1", LabelVersion: "v2", MetricsJSON: quant.JSON(`{"ic":0.03}`), CreatedAt: startedAt(0),
	}
	withExperiment := func(t *testing.T, s metastore.Store) {
		t.Helper()
		ok(t, s.CreateExperiment(ctx, quant.Experiment{ExperimentID: "exp-1", Name: "n", CreatedAt: startedAt(0)}))
	}
	return []test{
		{"ACreatedModelReadsBackAsItWas", func(t *testing.T, s metastore.Store) {
			withExperiment(t, s)
			for _, want := range []quant.Model{full, {ModelID: "bare '; --", CreatedAt: startedAt(1)}} {
				ok(t, s.CreateModel(ctx, want))
				equal(t, one(s.GetModel(ctx, want.ModelID))(t), want)
			}
		}},
		{"AModelOfAnUnknownExperimentIsNotFound", func(t *testing.T, s metastore.Store) {
			refused(t, s.CreateModel(ctx, full), quant.NotFound)
			withExperiment(t, s)
			ok(t, s.CreateModel(ctx, full))
			moved := full
			moved.ExperimentID = "none"
			refused(t, s.UpdateModel(ctx, moved), quant.NotFound)
			equal(t, one(s.GetModel(ctx, "m-1"))(t), full)
		}},
		{"ItsErrorsSayWhatIsWrong", func(t *testing.T, s metastore.Store) {
			withExperiment(t, s)
			ok(t, s.CreateModel(ctx, full))
			refused(t, s.CreateModel(ctx, full), quant.Conflict)
			_, err := s.GetModel(ctx, "none")
			refused(t, err, quant.NotFound)
			missing := full
			missing.ModelID = "none"
			refused(t, s.UpdateModel(ctx, missing), quant.NotFound)
			for _, breakIt := range []func(*quant.Model){
				func(m *quant.Model) { m.ModelID = "" },
				func(m *quant.Model) { m.CreatedAt = quant.Time{} },
				func(m *quant.Model) { m.ParamsJSON = quant.JSON(`{`) },
				func(m *quant.Model) { m.MetricsJSON = quant.JSON("\x00") },
			} {
				bad := full
				breakIt(&bad)
				refused(t, s.CreateModel(ctx, bad), quant.Invalid)
				refused(t, s.UpdateModel(ctx, bad), quant.Invalid)
			}
		}},
		{"AnUpdateReplacesTheModel", func(t *testing.T, s metastore.Store) {
			withExperiment(t, s)
			ok(t, s.CreateModel(ctx, full))
			want := quant.Model{ModelID: "m-1", Algo: "gbm", CreatedAt: startedAt(3)}
			ok(t, s.UpdateModel(ctx, want))
			equal(t, one(s.GetModel(ctx, "m-1"))(t), want)
		}},
		{"AListIsFilteredOrderedAndCut", func(t *testing.T, s metastore.Store) {
			withExperiment(t, s)
			for _, m := range []quant.Model{
				{ModelID: "c", Algo: "ridge", CreatedAt: startedAt(1)},
				{ModelID: "b", Algo: "gbm", ExperimentID: "exp-1", CreatedAt: startedAt(2)},
				{ModelID: "a", Algo: "ridge", ExperimentID: "exp-1", CreatedAt: startedAt(2)},
			} {
				ok(t, s.CreateModel(ctx, m))
			}
			for _, tt := range []struct {
				filter metastore.ModelFilter
				want   string
			}{
				{metastore.ModelFilter{}, "a b c"},
				{metastore.ModelFilter{Order: "created_at"}, "c a b"},
				{metastore.ModelFilter{Order: "algo"}, "b a c"},
				{metastore.ModelFilter{Order: "-model_id"}, "c b a"},
				{metastore.ModelFilter{ExperimentID: "exp-1"}, "a b"},
				{metastore.ModelFilter{Algo: "ridge"}, "a c"},
				{metastore.ModelFilter{Algo: "ridge", ExperimentID: "exp-1", Limit: 5}, "a"},
				{metastore.ModelFilter{Limit: 1}, "a"},
			} {
				var got []string
				for _, m := range one(s.ListModels(ctx, tt.filter))(t) {
					got = append(got, m.ModelID)
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("%+v: got %v, want %s", tt.filter, got, tt.want)
				}
			}
			_, err := s.ListModels(ctx, metastore.ModelFilter{Order: "1"})
			refused(t, err, quant.Invalid)
		}},
	}
}
