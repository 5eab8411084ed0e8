package runlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quant"
	"quant/internal/logstream"
	"quant/internal/metastore"
)

func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := Open(t.Context(), filepath.Join(t.TempDir(), "data"))
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (l *Lab) start(t *testing.T) *Run {
	t.Helper()
	r, err := l.Start(t.Context(), "train", nil)
	must(t, err)
	return r
}

func TestWhatIsLoggedAtOnceByManyIsAllThere(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := l.start(t)
	const writers, points = 8, 2000
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range points {
				if err := r.MetricAt(int64(i), fmt.Sprintf("m%d", w), float64(i)); err != nil {
					t.Error(err)
				}
			}
			if err := r.Param(fmt.Sprintf("p%d", w), w); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	must(t, r.Close(nil))
	metrics, err := l.lab.Meta.Metrics(t.Context(), r.ID())
	must(t, err)
	if len(metrics) != writers {
		t.Fatal(len(metrics))
	}
	for _, m := range metrics {
		if m.Points != points || m.Last != points-1 || m.Min != 0 {
			t.Errorf("%+v", m)
		}
	}
	if params, _ := l.lab.Meta.Params(t.Context(), r.ID()); len(params) != writers {
		t.Error(params)
	}
	if run, _ := l.lab.Meta.GetRun(t.Context(), r.ID()); run.Status != quant.Success || run.Kind != "train" {
		t.Errorf("%+v", run)
	}
}

func TestPointsAreStoredWithoutBeingAskedFor(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := l.start(t)
	must(t, r.Metric("loss", 1))
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if m, err := l.lab.Meta.Metrics(t.Context(), r.ID()); err != nil || len(m) == 1 {
			must(t, err)
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("never stored")
		}
	}
}

func TestAFlushStoresThePointsThatWait(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := l.start(t)
	must(t, r.MetricAt(1, "loss", 0.5))
	must(t, r.Flush())
	metrics, err := l.lab.Meta.Metrics(t.Context(), r.ID())
	must(t, err)
	if len(metrics) != 1 || metrics[0].Last != 0.5 {
		t.Errorf("%+v", metrics)
	}
	must(t, r.Close(nil))
}

func TestARunEndsAsItsProgramSays(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := func(id string, status quant.Status, text string) {
		t.Helper()
		run, err := l.lab.Meta.GetRun(t.Context(), id)
		must(t, err)
		if run.Status != status || !strings.Contains(string(run.ErrorText), text) {
			t.Errorf("%+v", run.Run)
		}
	}
	failed := l.start(t)
	must(t, failed.Metric("loss", 1))
	must(t, failed.Close(errors.New("no memory")))
	must(t, failed.Close(nil)) // the first end counts
	want(failed.ID(), quant.Fail, "no memory")
	if m, _ := l.lab.Meta.Metrics(t.Context(), failed.ID()); len(m) != 1 {
		t.Error("the point of a run that failed is lost")
	}

	var panicked string
	func() {
		defer func() { _ = recover() }()
		_ = l.Track(t.Context(), "train", nil, func(_ context.Context, r *Run) error {
			panicked = r.ID()
			must(t, r.Metric("loss", 1))
			panic("boom")
		})
	}()
	want(panicked, quant.Fail, "panic: boom")
	if m, _ := l.lab.Meta.Metrics(t.Context(), panicked); len(m) != 1 {
		t.Error("the point of a run that panicked is lost")
	}

	// A run that was joined is not ended by its guest.
	open := l.start(t)
	guest, err := l.Join(t.Context(), open.ID())
	must(t, err)
	must(t, guest.Metric("loss", 2))
	must(t, guest.Close(errors.New("of no account")))
	want(open.ID(), quant.Running, "")
	must(t, open.Close(nil))
	// One that has ended may still be logged to.
	late, err := l.Join(t.Context(), open.ID())
	must(t, err)
	must(t, late.Note("looked at again"))
	if err := open.Note("too late"); !errors.Is(err, quant.Conflict) {
		t.Error(err)
	}
	if err := open.Metric("loss", 1); !errors.Is(err, quant.Conflict) {
		t.Error(err)
	}
}

func TestAClosedLabRefusesWhatIsAskedOfIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	must(t, l.Close())
	if _, err := l.Start(t.Context(), "train", nil); err == nil {
		t.Error("a run was started")
	}
	if _, err := l.Join(t.Context(), "last"); err == nil {
		t.Error("a run was joined")
	}
	if err := l.Track(t.Context(), "train", nil, func(context.Context, *Run) error { t.Error("it ran"); return nil }); err == nil {
		t.Error("a run was tracked")
	}
	must(t, l.Close())
}

func TestAClosedLabLeavesNoRunOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := Open(t.Context(), dir)
	must(t, err)
	id := l.start(t).ID()
	must(t, l.Close())
	l, err = Open(t.Context(), dir)
	must(t, err)
	defer l.Close()
	run, err := l.lab.Meta.GetRun(t.Context(), id)
	must(t, err)
	if run.Status != quant.Fail || !strings.Contains(string(run.ErrorText), "closed before") {
		t.Errorf("%+v", run.Run)
	}
}

func TestErrorsAreTyped(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := l.start(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("1"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "b"), []byte("2"), 0o600))
	must(t, r.Artifact(t.Context(), filepath.Join(dir, "a"), "x"))
	must(t, r.Artifact(t.Context(), filepath.Join(dir, "a"), "x"))
	must(t, r.Artifact(t.Context(), dir, "all"))
	must(t, r.Param("lr", 1))
	_, joined := l.Join(t.Context(), "01234567")
	_, opened := Open(t.Context(), "")
	for what, c := range map[string]struct {
		err  error
		code quant.Code
	}{
		"NaN":              {r.Metric("loss", math.NaN()), quant.Invalid},
		"infinite":         {r.Metric("loss", math.Inf(-1)), quant.Invalid},
		"no name":          {r.Metric("", 1), quant.Invalid},
		"a second value":   {r.Param("lr", 2), quant.Conflict},
		"a control":        {r.Tag("a\x1b", "x"), quant.Invalid},
		"an empty note":    {r.Note(" "), quant.Invalid},
		"a NUL":            {r.Note("a\x00"), quant.Invalid},
		"no file":          {r.Artifact(t.Context(), filepath.Join(dir, "none"), ""), quant.NotFound},
		"a way out":        {r.Artifact(t.Context(), filepath.Join(dir, "a"), "../a"), quant.Invalid},
		"other content":    {r.Artifact(t.Context(), filepath.Join(dir, "b"), "x"), quant.Conflict},
		"no such run":      {joined, quant.NotFound},
		"no folder":        {opened, quant.Usage},
		"no name of bytes": {r.ArtifactFrom(t.Context(), strings.NewReader("x"), ""), quant.Invalid},
	} {
		if !errors.Is(c.err, c.code) {
			t.Errorf("%s: %v, want %s", what, c.err, c.code)
		}
	}
}

// busy is a registry whose store is Locked for some calls.
type busy struct {
	logstream.Sink
	calls atomic.Int64
}

func (b *busy) Log(ctx context.Context, runID string, batch metastore.Batch) error {
	if b.calls.Add(-1) >= 0 {
		return quant.Errorf(quant.Locked, "held")
	}
	return b.Sink.Log(ctx, runID, batch)
}

func TestPointsThatTheStoreCannotTakeWaitAndTheirErrorIsTold(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := l.start(t)
	sink := &busy{Sink: l.lab.Registry}
	sink.calls.Store(1)
	r.points = logstream.NewBatcher(t.Context(), logstream.BatcherOptions{Sink: sink, RunID: r.ID(), Limits: logstream.Limits{Records: 2}})
	must(t, r.Metric("loss", 1))
	if err := r.Metric("loss", 2); !errors.Is(err, quant.Locked) {
		t.Error(err)
	}
	must(t, r.Metric("loss", 3))
	must(t, r.Close(nil))
	if m, _ := l.lab.Meta.Metrics(t.Context(), r.ID()); len(m) != 1 || m[0].Points != 3 || m[0].Last != 3 {
		t.Error(m)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	t.Setenv("SOME_API_TOKEN", "tokentokentoken")
	l := newLab(t)
	r := l.start(t)
	must(t, r.Params(map[string]any{"db_password": "hunter22", "note": "with tokentokentoken inside"}))
	must(t, r.Close(errors.New("refused tokentokentoken")))
	params, err := l.lab.Meta.Params(t.Context(), r.ID())
	must(t, err)
	run, err := l.lab.Meta.GetRun(t.Context(), r.ID())
	must(t, err)
	if got := fmt.Sprint(params, run.ErrorText); strings.Contains(got, "hunter22") || strings.Contains(got, "tokentoken") || !strings.Contains(got, "***") {
		t.Error(got)
	}
}

func TestInsideARunItIsJoinedAndOthersAreItsChildren(t *testing.T) {
	dir := t.TempDir()
	outer, err := Open(t.Context(), dir)
	must(t, err)
	defer outer.Close()
	if _, err := outer.Current(t.Context()); !errors.Is(err, quant.NotFound) && os.Getenv("QUANT_RUN_ID") == "" {
		t.Error(err)
	}
	r := outer.start(t)
	t.Setenv("QUANT_DATA_DIR", dir)
	t.Setenv("QUANT_RUN_ID", r.ID())
	inner, err := OpenEnvironment(t.Context())
	must(t, err)
	defer inner.Close()
	current, err := inner.Current(t.Context())
	must(t, err)
	must(t, current.Metric("loss", 0.5))
	must(t, current.Close(nil))
	child := inner.start(t)
	must(t, child.Close(nil))
	list, err := outer.lab.Meta.ListRuns(t.Context(), metastore.RunFilter{Parent: r.ID(), All: true})
	must(t, err)
	if len(list) != 1 || list[0].RunID != child.ID() {
		t.Error(list)
	}
	if m, _ := outer.lab.Meta.Metrics(t.Context(), r.ID()); len(m) != 1 {
		t.Error(m)
	}
	t.Setenv("QUANT_RUN_ID", "gibberish")
	odd, err := OpenEnvironment(t.Context())
	must(t, err)
	defer odd.Close()
	if _, err := odd.Current(t.Context()); !errors.Is(err, quant.Invalid) {
		t.Error(err)
	}
}

func TestItIsLight(t *testing.T) {
	t.Parallel()
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	must(t, err)
	if !strings.Contains(string(deps), "quant/internal/registry") {
		t.Fatal("go list shows nothing")
	}
	for _, heavy := range []string{"duckdb", "cobra", "quant/internal/cli", "quant/internal/factstore"} {
		if strings.Contains(string(deps), heavy) {
			t.Errorf("quant/runlog imports %s", heavy)
		}
	}
}
