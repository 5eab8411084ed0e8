package portable_test

import (
	"bytes"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/tracking"
)

// clients is a lab as clients of MLflow see it.
func (l testLab) clients() *tracking.Tracking {
	return tracking.New(tracking.Options{Store: l.Meta, Registry: registry.New(registry.Options{Store: l.Meta}), Artifacts: l.Artifacts()})
}

func TestAClientOfTheOtherLabFindsItsRunInItsExperiment(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a, b := newLab(t), newLab(t)
	from, to := a.clients(), b.clients()
	for _, name := range []string{"first", "second"} { // the other lab has other numbers
		must(to.CreateExperiment(ctx, name, "", nil))
	}
	experiment := must(from.CreateExperiment(ctx, "momentum", "", []tracking.Tag{{Key: "team", Value: "alpha"}}))
	run := must(from.CreateRun(ctx, tracking.NewRun{ExperimentID: experiment, UserID: "ann", Name: "one"}))
	ok(t, from.Log(ctx, run.ClientID, tracking.LogBatch{
		Metrics: []tracking.Metric{
			{Key: "ic", Value: 0.2, Step: 4, Timestamp: 7}, {Key: "ic", Value: 0.125, Step: 4, Timestamp: 7}, // the greatest counts
			{Key: "ic", Value: 0.5, Step: 1, Timestamp: 9}, {Key: "loss", Value: 2, Step: 1, Timestamp: 7}, {Key: "loss", Value: math.NaN(), Step: 2, Timestamp: 8},
		},
		Params: []tracking.Param{{Key: "window", Value: "20"}},
	}))
	ok(t, from.LogInputs(ctx, run.ClientID, tracking.RunInputs{Datasets: []tracking.Dataset{{Name: "prices", Digest: "d1", SourceType: "local", Source: "{}", Tags: []tracking.Tag{{Key: "mlflow.data.context", Value: "training"}}}}}))
	model := must(from.CreateLoggedModel(ctx, tracking.NewModel{Experiment: experiment, Name: "ridge", SourceRunID: run.ClientID, Params: []tracking.Param{{Key: "alpha", Value: "1"}}}))
	ok(t, from.LogOutputs(ctx, run.ClientID, []tracking.ModelUse{{ModelID: model.ID}}))
	ok(t, from.PutFile(ctx, experiment+"/models/"+model.ID+"/artifacts/MLmodel", strings.NewReader("flavors: {}")))
	ok(t, from.PutFile(ctx, experiment+"/"+run.ClientID+"/artifacts/notes.txt", strings.NewReader("well")))
	finished := tracking.Finished
	must(from.UpdateRun(ctx, tracking.RunUpdate{ID: run.ClientID, Status: &finished}))

	want := must(from.GetRun(ctx, run.ClientID))
	file := a.export(t, want.RunID)
	must(b.take(file))
	if again := b.export(t, want.RunID); !bytes.Equal(again, file) {
		t.Error("exported from the other lab it is another file")
	}
	if done := must(b.take(file)); !slices.Equal(done.Skipped, []string{want.RunID}) {
		t.Errorf("imported again: %+v", done)
	}

	e := must(to.ExperimentNamed(ctx, "momentum"))
	if e.ID() == experiment || len(e.Tags) != 1 || e.Tags[0].Value != "alpha" {
		t.Errorf("experiment %s %+v", e.ID(), e.Tags)
	}
	page := must(to.SearchRuns(ctx, tracking.RunSearch{ExperimentIDs: []string{e.ID()}, Filter: "metrics.ic > 0.19 AND datasets.name = 'prices'", OrderBy: []string{"run_id ASC"}}))
	if len(page.Runs) != 1 || page.Runs[0].ClientID != run.ClientID {
		t.Fatalf("found %+v", page.Runs)
	}
	got := page.Runs[0]
	if got.Status() != tracking.Finished || got.Name() != "one" || !sameMetrics(got.Metrics, want.Metrics) || !reflect.DeepEqual(got.Params, want.Params) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	models, _, err := to.SearchLoggedModels(ctx, tracking.ModelSearch{Experiments: []string{e.ID()}})
	ok(t, err)
	if len(models) != 1 || models[0].ID != model.ID || len(models[0].Params) != 1 {
		t.Fatalf("models %+v", models)
	}
	content := must(to.OpenFile(ctx, e.ID()+"/models/"+model.ID+"/artifacts/MLmodel"))
	defer content.Close()
	if text := must(io.ReadAll(content)); string(text) != "flavors: {}" {
		t.Errorf("the model's file is %q", text)
	}
	if problems := must(b.Meta.Check(ctx)); len(problems) > 0 {
		t.Errorf("the lab is not sound: %v", problems)
	}
}

func sameMetrics(a, b []metastore.LatestMetric) bool {
	return slices.EqualFunc(a, b, func(x, y metastore.LatestMetric) bool {
		return x.Name == y.Name && x.Step == y.Step && x.At.Equal(y.At.Time) && x.Value == y.Value && x.NaN == y.NaN
	})
}

func TestARunOfClientsFromAFileWithoutThemHasAnID(t *testing.T) {
	t.Parallel()
	a, b := newLab(t), newLab(t)
	from := a.clients()
	run := must(from.CreateRun(t.Context(), tracking.NewRun{Name: "old"}))
	killed := tracking.Killed
	must(from.UpdateRun(t.Context(), tracking.RunUpdate{ID: run.ClientID, Status: &killed}))
	list := parts(t, a.export(t, run.RunID))
	for i := range list {
		switch {
		case list[i].name == "quant-export.json":
			list[i].text = strings.Replace(list[i].text, `"version":3`, `"version":2`, 1)
		case strings.HasSuffix(list[i].name, "/run.json"):
			head, _, _ := strings.Cut(list[i].text, `,"client":`)
			list[i].text = head + "}\n"
		case list[i].name == "manifest.json":
			list[i].text = ""
		}
	}
	must(b.take(pack(list)))
	if found := must(b.Meta.ClientRunsOf(t.Context(), []string{run.RunID})); len(found) != 0 {
		t.Errorf("in no experiment, and found: %+v", found)
	}
	if named := must(b.Meta.Named(t.Context(), tracking.Kind)); !named {
		t.Error("clients have no id for it")
	}
	if run := must(b.Meta.GetRun(t.Context(), run.RunID)); run.Status != quant.Fail {
		t.Errorf("%+v", run)
	}
}
