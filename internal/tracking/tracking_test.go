package tracking_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/secret"
	"quant/internal/tracking"
)

// place is a lab of a test, whose clock the test moves.
type place struct {
	*tracking.Tracking
	t     *testing.T
	store metastore.Store
	path  string

	mu  sync.Mutex
	now time.Time
}

func (p *place) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

func opened(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, now: time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC), path: filepath.Join(t.TempDir(), "meta.db")}
	p.open()
	return p
}

// open opens the lab, again as after a restart.
func (p *place) open() {
	p.t.Helper()
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: p.path})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = store.Close() })
	clock := func() time.Time {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.now
	}
	mask := &secret.Masker{}
	mask.Know("hunter2hunter2")
	p.store = store
	p.Tracking = tracking.New(tracking.Options{
		Store: store, Registry: registry.New(registry.Options{Store: store, Now: clock, Mask: mask}), Now: clock, Lease: time.Hour,
	})
}

func (p *place) run(n tracking.NewRun) tracking.Run {
	p.t.Helper()
	r, err := p.CreateRun(context.Background(), n)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *place) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) get(id string) tracking.Run {
	p.t.Helper()
	r, err := p.GetRun(context.Background(), id)
	p.ok(err)
	return r
}

func (p *place) refuses(err error, code quant.Code, text string) {
	p.t.Helper()
	if !errors.Is(err, code) || !strings.Contains(fmt.Sprint(err), text) {
		p.t.Errorf("got %v, want %s: %s", err, code, text)
	}
}

func (p *place) sound() {
	p.t.Helper()
	found, err := p.store.Check(context.Background())
	p.ok(err)
	if len(found) > 0 {
		p.t.Errorf("%v", found)
	}
}

func text(s string) *string { return &s }

func TestARunOfAClientIsARunOfQuant(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	parent := p.run(tracking.NewRun{UserID: "ann", Name: "outer"})
	ms := int64(1700000000123)
	r := p.run(tracking.NewRun{UserID: "ann", Name: "first", Start: &ms, Tags: []tracking.Tag{
		{Key: "mlflow.parentRunId", Value: parent.ClientID}, {Key: "mlflow.source.name", Value: "train.py"}, {Key: "name", Value: "mine"}, {Key: "experiment", Value: "x"},
		{Key: "note", Value: "hunter2hunter2"},
	}})
	id, err := registry.Resolve(ctx, p.store, "@first", "")
	p.ok(err)
	row, err := p.store.GetRun(ctx, id)
	p.ok(err)
	if row.Kind != tracking.Kind || row.Status != quant.Running || row.StartedAt.UnixMilli() != ms || row.Process.ParentRunID != quant.Text(parent.RunID) ||
		row.Process.User != "ann" || row.Process.MachineID != "" || string(row.Process.Argv) != `["train.py"]` {
		t.Errorf("%+v", row)
	}
	p.ok(p.LogMetric(ctx, r.ClientID, tracking.Metric{Key: "m", Value: math.Inf(1), Timestamp: 5}))
	p.ok(p.SetTag(ctx, r.ClientID, tracking.Tag{Key: "mlflow.runName", Value: "renamed"}))
	got := p.get(r.ClientID)
	var tags []string
	for _, tag := range got.Tags {
		tags = append(tags, tag.Key+"="+tag.Value)
	}
	want := []string{"experiment=x", "mlflow.parentRunId=" + parent.ClientID, "mlflow.runName=renamed", "mlflow.source.name=train.py", "name=mine", "note=***"}
	if !slices.Equal(tags, want) {
		t.Errorf("%q", tags)
	}
	if got.Name() != "renamed" || got.Metrics[0].Value != math.MaxFloat64 || got.Status() != tracking.Running {
		t.Errorf("%+v", got)
	}
	end := ms + 1500
	_, err = p.UpdateRun(ctx, tracking.RunUpdate{ID: r.ClientID, Status: text(tracking.Killed), End: &end})
	p.ok(err)
	row, err = p.store.GetRun(ctx, id)
	p.ok(err)
	if row.Status != quant.Fail || !strings.Contains(string(row.ErrorText), "KILLED") || row.EndedAt.UnixMilli() != end || *row.Process.DurationUS != 1_500_000 {
		t.Errorf("%+v", row)
	}
	p.sound()
}

func TestWhatHasEndedStaysEnded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	r := p.run(tracking.NewRun{Name: "n"})
	p.ok(p.Log(ctx, r.ClientID, tracking.LogBatch{Metrics: []tracking.Metric{{Key: "m", Value: 1}, {Key: "n", Value: math.NaN()}}, Params: []tracking.Param{{Key: "p", Value: "1"}}}))
	first := p.get(r.ClientID).RunID
	status := func(word string) tracking.Run {
		t.Helper()
		u, err := p.UpdateRun(ctx, tracking.RunUpdate{ID: r.ClientID, Status: &word})
		p.ok(err)
		return u
	}
	if u := status(tracking.Finished); u.RunID != first || u.Status() != tracking.Finished {
		t.Errorf("%+v", u)
	}
	if u := status(tracking.Finished); u.RunID != first {
		t.Errorf("the same end again makes run %s", u.RunID)
	}
	second := status(tracking.Running)
	if second.RunID == first || second.ClientID != r.ClientID || second.Status() != tracking.Running || len(second.Params) != 1 || len(second.Metrics) != 2 || second.StartedAt != r.StartedAt {
		t.Errorf("%+v", second)
	}
	p.ok(p.LogMetric(ctx, r.ClientID, tracking.Metric{Key: "m", Value: 2, Step: 1}))
	third := status(tracking.Failed)
	if third.RunID != second.RunID || third.Status() != tracking.Failed {
		t.Errorf("%+v", third)
	}
	if fourth := status(tracking.Killed); fourth.RunID == third.RunID || fourth.Status() != tracking.Killed {
		t.Errorf("another end does not continue it: %+v", fourth)
	}
	for _, name := range []string{r.ClientID, strings.ToUpper(r.ClientID)} {
		if id, err := registry.Resolve(ctx, p.store, name, ""); err != nil || id != p.get(r.ClientID).RunID {
			t.Errorf("what clients call it is run %q, %v", id, err)
		}
	}
	old, err := p.store.GetRun(ctx, first)
	p.ok(err)
	points, err := p.store.MetricPoints(ctx, first, "m", 0)
	p.ok(err)
	if old.Status != quant.Success || len(points) != 1 {
		t.Errorf("%+v, %d points", old, len(points))
	}
	page, err := p.SearchRuns(ctx, tracking.RunSearch{ExperimentIDs: []string{"0"}})
	p.ok(err)
	if len(page.Runs) != 1 || page.Runs[0].ClientID != r.ClientID {
		t.Errorf("%d runs", len(page.Runs))
	}
	p.sound()
}

func TestAnAbandonedRunIsEndedAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	silent, busy, deleted := p.run(tracking.NewRun{Name: "silent"}), p.run(tracking.NewRun{Name: "busy"}), p.run(tracking.NewRun{Name: "deleted"})
	p.ok(p.DeleteRun(ctx, deleted.ClientID))
	for range 5 {
		p.pass(10 * time.Minute)
		p.ok(p.LogMetric(ctx, busy.ClientID, tracking.Metric{Key: "m"}))
		ended, err := p.Sweep(ctx)
		if err != nil || len(ended) > 0 {
			t.Fatal(ended, err)
		}
	}
	p.ok(p.store.Close())
	p.open()
	p.pass(11 * time.Minute)
	ended, err := p.Sweep(ctx)
	if err != nil || len(ended) != 2 || slices.Contains(ended, busy.RunID) {
		t.Fatal(ended, err)
	}
	row, err := p.store.GetRun(ctx, silent.RunID)
	p.ok(err)
	if row.Status != quant.Fail || !strings.HasPrefix(string(row.ErrorText), tracking.Abandoned) {
		t.Errorf("%+v", row)
	}
	if got := p.get(silent.ClientID); got.Status() != tracking.Failed {
		t.Errorf("%+v", got)
	}
	p.ok(p.LogMetric(ctx, silent.ClientID, tracking.Metric{Key: "late"})) // a run may have ended
	p.sound()
}

func TestADeletedRunIsReadButNotWritten(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	r := p.run(tracking.NewRun{Name: "n"})
	p.ok(p.SetTag(ctx, r.ClientID, tracking.Tag{Key: "k", Value: "v"}))
	p.ok(p.DeleteRun(ctx, r.ClientID))
	if got := p.get(r.ClientID); got.DeletedAt.IsZero() {
		t.Errorf("%+v", got)
	}
	const inactive = "must be in the 'active' state"
	p.refuses(p.LogMetric(ctx, r.ClientID, tracking.Metric{Key: "m"}), quant.Invalid, inactive)
	p.refuses(p.SetTag(ctx, r.ClientID, tracking.Tag{Key: "k"}), quant.Invalid, inactive)
	p.refuses(p.DeleteTag(ctx, r.ClientID, "k"), quant.Invalid, inactive)
	p.refuses(p.Log(ctx, r.ClientID, tracking.LogBatch{}), quant.Invalid, inactive)
	_, err := p.UpdateRun(ctx, tracking.RunUpdate{ID: r.ClientID, Status: text(tracking.Finished)})
	p.refuses(err, quant.Invalid, inactive)
	p.ok(p.RestoreRun(ctx, r.ClientID))
	p.ok(p.DeleteTag(ctx, r.ClientID, "k"))
	p.refuses(p.DeleteTag(ctx, r.ClientID, "k"), quant.NotFound, "No tag with name: k")
}

func TestTheLimitsAreThoseOfTheReference(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	r := p.run(tracking.NewRun{Name: "n"})
	many := func(n int) (list []tracking.Metric) {
		for range n {
			list = append(list, tracking.Metric{Key: "m"})
		}
		return list
	}
	p.ok(p.Log(ctx, r.ClientID, tracking.LogBatch{Metrics: many(1000)}))
	p.refuses(p.Log(ctx, r.ClientID, tracking.LogBatch{Metrics: many(1001)}), quant.Invalid, "can contain at most 1000 metrics. Got 1001 metrics")
	p.refuses(p.Log(ctx, r.ClientID, tracking.LogBatch{Params: make([]tracking.Param, 101)}), quant.Invalid, "")
	p.refuses(p.Log(ctx, r.ClientID, tracking.LogBatch{Metrics: many(1000), Tags: []tracking.Tag{{Key: "a"}}}), quant.Invalid, "at most 1000 metrics, params, and tags")
	p.refuses(p.Log(ctx, r.ClientID, tracking.LogBatch{Params: []tracking.Param{{Key: "a"}, {Key: "a"}}}), quant.Invalid, "Duplicate parameter keys have been submitted: ['a']")
	p.ok(p.LogParam(ctx, r.ClientID, tracking.Param{Key: "p", Value: strings.Repeat("x", 6000)}))
	p.refuses(p.LogParam(ctx, r.ClientID, tracking.Param{Key: "q", Value: strings.Repeat("x", 6001)}), quant.Invalid, "exceeds the maximum length of 6000")
	p.refuses(p.SetTag(ctx, r.ClientID, tracking.Tag{Key: strings.Repeat("k", 251)}), quant.Invalid, "exceeds the maximum length of 250")
	for _, name := range []string{"../x", "a/../b", "/a", "a//b", "a/", ".", "..", "a\nb", "a;b", ""} {
		if err := p.LogMetric(ctx, r.ClientID, tracking.Metric{Key: name}); !errors.Is(err, quant.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	p.ok(p.LogMetric(ctx, r.ClientID, tracking.Metric{Key: "a b/c.d-e:f_é"}))
	p.refuses(p.LogMetric(ctx, r.ClientID, tracking.Metric{Key: "m", Timestamp: -1}), quant.Invalid, "parameter 'timestamp'")
	p.ok(p.LogParam(ctx, r.ClientID, tracking.Param{Key: "same", Value: "1"}))
	p.ok(p.LogParam(ctx, r.ClientID, tracking.Param{Key: "same", Value: "1"}))
	p.refuses(p.LogParam(ctx, r.ClientID, tracking.Param{Key: "same", Value: "2"}), quant.Invalid,
		"Changing param values is not allowed. Param with key='same' was already logged with value='1'")
	p.refuses(p.LogMetric(ctx, "nobody", tracking.Metric{Key: "m"}), quant.NotFound, "Run with id=nobody not found")
	_, err := p.CreateRun(ctx, tracking.NewRun{ExperimentID: "77"})
	p.refuses(err, quant.NotFound, "No Experiment with id=77 exists")
	_, err = p.CreateRun(ctx, tracking.NewRun{Name: "a", Tags: []tracking.Tag{{Key: "mlflow.runName", Value: "b"}}})
	p.refuses(err, quant.Invalid, "with different values")
	_, err = p.SearchRuns(ctx, tracking.RunSearch{Max: 123456789})
	p.refuses(err, quant.Invalid, "Invalid value 123456789 for parameter 'max_results' supplied")
	_, err = p.SearchRuns(ctx, tracking.RunSearch{Max: 100000})
	p.ok(err)
}

func TestExperimentsAreNamedOnceAndDeletedWithTheirRuns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	p.ok(p.store.CreateExperiment(ctx, quant.Experiment{ExperimentID: "own", Name: "same", CreatedAt: quant.NewTime(p.now)}))
	p.ok(p.store.CreateExperiment(ctx, quant.Experiment{ExperimentID: "own2", Name: "same", CreatedAt: quant.NewTime(p.now)}))
	_, err := p.CreateExperiment(ctx, "same", "", nil)
	if !errors.Is(err, tracking.ErrExists) {
		t.Error(err)
	}
	id, err := p.CreateExperiment(ctx, "e", "s3://elsewhere", []tracking.Tag{{Key: "k", Value: "v"}})
	p.ok(err)
	e, err := p.GetExperiment(ctx, id)
	p.ok(err)
	if e.ArtifactLocation() != "mlflow-artifacts:/"+id || len(e.Tags) != 1 {
		t.Errorf("%+v", e)
	}
	r := p.run(tracking.NewRun{ExperimentID: id})
	p.ok(p.DeleteExperiment(ctx, id))
	p.refuses(p.DeleteExperiment(ctx, id), quant.NotFound, "No Experiment with id="+id)
	if got := p.get(r.ClientID); got.DeletedAt.IsZero() {
		t.Error("its run is not deleted")
	}
	_, err = p.CreateExperiment(ctx, "e", "", nil)
	if !errors.Is(err, tracking.ErrExists) {
		t.Errorf("the name of a deleted one is free: %v", err)
	}
	if err := p.RenameExperiment(ctx, id, "f"); !errors.Is(err, tracking.ErrState) {
		t.Error(err)
	}
	_, err = p.CreateRun(ctx, tracking.NewRun{ExperimentID: id})
	p.refuses(err, quant.Invalid, "Current state is deleted")
	p.ok(p.RestoreExperiment(ctx, id))
	if got := p.get(r.ClientID); !got.DeletedAt.IsZero() {
		t.Error("its run is not restored")
	}
	p.pass(time.Second)
	p.ok(p.RenameExperiment(ctx, id, "f"))
	names := func(s tracking.ExperimentSearch) (list []string) {
		t.Helper()
		found, _, err := p.SearchExperiments(ctx, s)
		p.ok(err)
		for _, e := range found {
			list = append(list, e.ID()+e.Name)
		}
		return list
	}
	if got := names(tracking.ExperimentSearch{OrderBy: []string{"name DESC", "experiment_id"}}); !slices.Equal(got, []string{"1same", "2same", id + "f", "0Default"}) {
		t.Error(got)
	}
	if got := names(tracking.ExperimentSearch{Filter: "tags.k ILIKE 'V' AND last_update_time > 0"}); !slices.Equal(got, []string{id + "f"}) {
		t.Error(got)
	}
	if got := names(tracking.ExperimentSearch{View: metastore.OnlyDeleted}); got != nil {
		t.Error(got)
	}
}

func TestRunsThatQuantRecordedAreSeen(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	p.ok(p.store.CreateExperiment(ctx, quant.Experiment{ExperimentID: "own", Name: "own", CreatedAt: quant.NewTime(p.now)}))
	run, process, err := p.Registry.PrepareElsewhere(registry.Elsewhere{Kind: "train", Started: p.now, User: "bob"})
	p.ok(err)
	p.ok(p.store.CreateRun(ctx, run, process))
	at := quant.NewTime(p.now)
	p.ok(p.store.FinishRun(ctx, metastore.RunEnd{RunID: run.RunID, Status: quant.Success, EndedAt: at, Batch: metastore.Batch{
		Tags:    []quant.Tag{{RunID: run.RunID, Name: quant.ExperimentTag, Value: "own"}, {RunID: run.RunID, Name: quant.NameTag, Value: "mine"}},
		Metrics: []quant.MetricPoint{{RunID: run.RunID, Name: "ic", Step: 3, Value: 0.5, LoggedAt: at}},
	}}))
	page, err := p.SearchRuns(ctx, tracking.RunSearch{ExperimentIDs: []string{"1"}, Filter: "run_name = 'mine' AND metrics.ic > 0.4 AND status = 'FINISHED' AND user_id = 'bob'"})
	p.ok(err)
	if len(page.Runs) != 1 || page.Runs[0].ClientID != strings.ReplaceAll(run.RunID, "-", "") || page.Runs[0].Metrics[0].Step != 3 || page.Runs[0].Status() != tracking.Finished {
		t.Errorf("%+v", page)
	}
	p.ok(p.LogMetric(ctx, page.Runs[0].ClientID, tracking.Metric{Key: "ic", Value: 9, Step: 1}))
	if got := p.get(page.Runs[0].ClientID); got.Metrics[0].Value != 0.5 {
		t.Errorf("%+v", got.Metrics)
	}
	p.sound()
}

func TestManyClientsLoseNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	ids := make([]string, 8)
	for i := range ids {
		ids[i] = p.run(tracking.NewRun{Name: fmt.Sprint(i)}).ClientID
	}
	const clients, points = 40, 25
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for n := range points {
				id := ids[(c+n)%len(ids)]
				if err := p.LogMetric(ctx, id, tracking.Metric{Key: "m", Value: float64(n), Step: int64(n), Timestamp: int64(c)}); err != nil {
					t.Error(err)
				}
				if err := p.LogMetric(ctx, "nobody", tracking.Metric{Key: "m"}); !errors.Is(err, quant.NotFound) {
					t.Error(err)
				}
				if err := p.LogParam(ctx, id, tracking.Param{Key: "p", Value: fmt.Sprint(c)}); err != nil && !errors.Is(err, quant.Invalid) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	total := 0
	for _, id := range ids {
		list, _, err := p.History(ctx, id, "m", 0, 0)
		p.ok(err)
		total += len(list)
		if got := p.get(id); len(got.Params) != 1 {
			t.Errorf("%+v", got.Params)
		}
	}
	if total != clients*points {
		t.Errorf("%d points of %d", total, clients*points)
	}
	p.sound()
}
