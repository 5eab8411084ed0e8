package metastoretest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func experimentTests() []test {
	ctx := context.Background()
	full := quant.Experiment{
		ExperimentID: "exp-1", Name: "모멘텀", Description: "does it\nhold?", FeatureSetID: "f1", LabelSetID: "l1",
		SplitPolicyJSON: quant.JSON(`{"kind":"walk_forward"}`), ParamsJSON: quant.JSON(`[1,2.50,"x"]`), CreatedAt: startedAt(0),
	}
	return []test{
		{"ACreatedExperimentReadsBackAsItWas", func(t *testing.T, s metastore.Store) {
			bare := quant.Experiment{ExperimentID: "O'Neill; --", Name: "n", CreatedAt: startedAt(1)}
			for _, want := range []quant.Experiment{full, bare} {
				ok(t, s.CreateExperiment(ctx, want))
				equal(t, one(s.GetExperiment(ctx, want.ExperimentID))(t), want)
			}
		}},
		{"AnyTextIsKeptInADescriptionExactly", func(t *testing.T, s metastore.Store) {
			for i, text := range awkward() {
				e := quant.Experiment{ExperimentID: fmt.Sprintf("e%d", i), Name: text, Description: quant.Text(text), CreatedAt: startedAt(i)}
				ok(t, s.CreateExperiment(ctx, e))
				got := one(s.ListExperiments(ctx, metastore.ExperimentFilter{Name: text}))(t)
				if len(got) != 1 || got[0].Description != e.Description {
					t.Fatalf("%.40q was not kept", text)
				}
			}
		}},
		{"ItsErrorsSayWhatIsWrong", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateExperiment(ctx, full))
			refused(t, s.CreateExperiment(ctx, full), quant.Conflict)
			_, err := s.GetExperiment(ctx, "none")
			refused(t, err, quant.NotFound)
			missing := full
			missing.ExperimentID = "none"
			refused(t, s.UpdateExperiment(ctx, missing), quant.NotFound)
			for _, breakIt := range []func(*quant.Experiment){
				func(e *quant.Experiment) { e.ExperimentID = "" },
				func(e *quant.Experiment) { e.ExperimentID = "  " },
				func(e *quant.Experiment) { e.Name = "" },
				func(e *quant.Experiment) { e.Name = "\xff" },
				func(e *quant.Experiment) { e.CreatedAt = quant.Time{} },
				func(e *quant.Experiment) { e.SplitPolicyJSON = quant.JSON(`{`) },
				func(e *quant.Experiment) { e.ParamsJSON = quant.JSON(`{'a':1}`) },
				func(e *quant.Experiment) { e.ParamsJSON = quant.JSON(`NaN`) },
			} {
				bad := full
				breakIt(&bad)
				refused(t, s.CreateExperiment(ctx, bad), quant.Invalid)
				refused(t, s.UpdateExperiment(ctx, bad), quant.Invalid)
			}
			equal(t, one(s.GetExperiment(ctx, "exp-1"))(t), full)
		}},
		{"AnUpdateReplacesTheExperiment", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateExperiment(ctx, full))
			want := quant.Experiment{ExperimentID: "exp-1", Name: "renamed", CreatedAt: startedAt(5)}
			ok(t, s.UpdateExperiment(ctx, want))
			equal(t, one(s.GetExperiment(ctx, "exp-1"))(t), want)
		}},
		{"AListIsNewestFirstUnlessToldOtherwise", func(t *testing.T, s metastore.Store) {
			for _, e := range []quant.Experiment{
				{ExperimentID: "c", Name: "x", CreatedAt: startedAt(1)},
				{ExperimentID: "b", Name: "y", CreatedAt: startedAt(2)},
				{ExperimentID: "a", Name: "x", CreatedAt: startedAt(2)},
			} {
				ok(t, s.CreateExperiment(ctx, e))
			}
			for _, tt := range []struct {
				filter metastore.ExperimentFilter
				want   string
			}{
				{metastore.ExperimentFilter{}, "a b c"},
				{metastore.ExperimentFilter{Order: "created_at"}, "c a b"},
				{metastore.ExperimentFilter{Order: "name"}, "a c b"},
				{metastore.ExperimentFilter{Order: "-name"}, "b a c"},
				{metastore.ExperimentFilter{Order: "-experiment_id"}, "c b a"},
				{metastore.ExperimentFilter{Name: "x"}, "a c"},
				{metastore.ExperimentFilter{Name: "x", Limit: 1}, "a"},
			} {
				var got []string
				for _, e := range one(s.ListExperiments(ctx, tt.filter))(t) {
					got = append(got, e.ExperimentID)
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("%+v: got %v, want %s", tt.filter, got, tt.want)
				}
			}
			_, err := s.ListExperiments(ctx, metastore.ExperimentFilter{Order: "params_json"})
			refused(t, err, quant.Invalid)
			_, err = s.ListExperiments(ctx, metastore.ExperimentFilter{Limit: -1})
			refused(t, err, quant.Invalid)
		}},
	}
}
