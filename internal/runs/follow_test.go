package runs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/exec/transcript"
	"quant/internal/metastore"
	"quant/internal/runs"
	"quant/internal/secret"
)

// watchedText is a run of a watch in one line.
func watchedText(r runs.Watched) string {
	text := fmt.Sprintf("%s %s %s", r.Kind, r.Status, r.Name)
	for _, m := range r.Metrics {
		text += fmt.Sprintf(" %s@%d=%v", m.Name, m.LastStep, m.Last)
	}
	return strings.Join(strings.Fields(text), " ")
}

func TestAWatchOfNamedRunsShowsWhatMovesAndEndsWithThem(t *testing.T) {
	t.Parallel()
	s, a, _ := looking(t)
	ctx := t.Context()
	running, err := s.Registry.Start(ctx, "exec", nil)
	ok(t, err)
	w := runs.Watch{Meta: s.Meta, Registry: s.Registry, Now: time.Now, Named: []string{a, running}}
	var seen []string
	step := 0
	ok(t, w.Follow(ctx, time.Millisecond, func(r runs.Watched) error {
		if r.RunID == running {
			seen = append(seen, watchedText(r))
			switch step++; step {
			case 1:
				ok(t, s.Registry.Log(ctx, running, metastore.Batch{Metrics: []quant.MetricPoint{{Name: "loss", Step: 3, Value: 0.5}}}))
			case 2:
				ok(t, s.Registry.Fail(ctx, running, errors.New("it broke\nmore")))
			}
		} else if got := watchedText(r); got != "train SUCCESS loss@1=0.5" {
			t.Error(got)
		}
		return nil
	}))
	if got := strings.Join(seen, ", "); got != "exec RUNNING, exec RUNNING loss@3=0.5, exec FAIL loss@3=0.5" {
		t.Error(got)
	}
	if err := w.Err(); !w.Ended() || !errors.Is(err, quant.Failed) || !strings.HasPrefix(err.Error(), "1 run of 2 runs ended as FAIL: "+quant.ShortID(running)) {
		t.Error(err)
	}
	w.Named = []string{a}
	ok(t, w.Look(ctx))
	if err := w.Err(); err != nil || !w.Ended() {
		t.Error(err)
	}
	w.Named = []string{"01900000-0000-7000-8000-000000000000"}
	if err := w.Look(ctx); !errors.Is(err, quant.NotFound) {
		t.Error(err)
	}
}

func TestAWatchOfAllGoesOnUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	s, _, b := looking(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	running, err := s.Registry.Start(ctx, "exec", nil)
	ok(t, err)
	w := runs.Watch{Meta: s.Meta, Now: time.Now, Self: s.RunID(), Limit: 1, All: true}
	ok(t, w.Look(ctx))
	if list := w.Runs(); len(list) != 1 || list[0].RunID != running || list[0].ElapsedUS < 0 || w.Ended() || w.Err() != nil {
		t.Errorf("%+v", list)
	}
	// What ran at the last look is shown to have ended, although it is not among
	// the newest any more.
	ok(t, s.Registry.Success(ctx, running))
	newest, err := s.Registry.Start(ctx, "config", nil)
	ok(t, err)
	ok(t, s.Registry.Success(ctx, newest))
	enough := errors.New("enough")
	told := map[string]quant.Status{}
	err = w.Follow(ctx, time.Millisecond, func(r runs.Watched) error {
		if told[r.RunID] = r.Status; r.RunID == running && r.Status == quant.Success {
			cancel(enough)
		}
		return nil
	})
	if !errors.Is(err, enough) || told[running] != quant.Success || told[s.RunID()] != "" || told[b] != "" || told[newest] != quant.Success {
		t.Errorf("%v %v", told, err)
	}
	stop := errors.New("stop")
	w = runs.Watch{Meta: s.Meta, Now: time.Now, Limit: 5}
	if err := w.Follow(t.Context(), time.Millisecond, func(runs.Watched) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// locked is a Meta DB that somebody else holds while held is set.
type locked struct {
	metastore.Store
	held bool
}

func (l *locked) ListRuns(ctx context.Context, f metastore.RunFilter) ([]metastore.RunDetail, error) {
	if l.held {
		return nil, quant.Errorf(quant.Locked, "held")
	}
	return l.Store.ListRuns(ctx, f)
}

func TestALockedMetaDBLeavesAWatchStale(t *testing.T) {
	t.Parallel()
	s, _, _ := looking(t)
	ctx := t.Context()
	meta := &locked{Store: s.Meta, held: true}
	at := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	w := runs.Watch{Meta: meta, Now: func() time.Time { return at }, Limit: 5}
	if err := w.Look(ctx); !errors.Is(err, quant.Locked) {
		t.Error("the first look has nothing to show:", err)
	}
	meta.held = false
	ok(t, w.Look(ctx))
	n := len(w.Runs())
	if _, stale := w.Stale(); stale || n != 2 {
		t.Errorf("%d runs, stale: %v", n, stale)
	}
	meta.held, at = true, at.Add(time.Hour)
	ok(t, w.Look(ctx))
	if asOf, stale := w.Stale(); !stale || asOf.Hour() != 0 || len(w.Runs()) != n {
		t.Errorf("%v %v %v", asOf, stale, w.Runs())
	}
	meta.held = false
	ok(t, w.Look(ctx))
	if asOf, stale := w.Stale(); stale || asOf.Hour() != 1 {
		t.Error(asOf, stale)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// text is a buffer that goroutines share.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (x *text) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(b)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func TestALogIsFollowedFromBeforeItIsMadeUntilItsRunEnds(t *testing.T) {
	t.Parallel()
	s, _, _ := looking(t)
	ctx := t.Context()
	id, err := s.Registry.Start(ctx, "exec", nil)
	ok(t, err)
	o := runs.LogOptions{Meta: s.Meta, Registry: s.Registry, RunID: id, Path: s.LogFile(id), Every: time.Millisecond}
	if _, err := runs.OpenLog(ctx, o, false); !errors.Is(err, quant.NotFound) || !strings.Contains(err.Error(), "has no log") {
		t.Error(err)
	}
	var got text
	done := make(chan error, 1)
	go func() {
		log, err := runs.OpenLog(ctx, o, true)
		if err == nil {
			err = errors.Join(log.Follow(ctx, &got, -1), log.Close())
		}
		done <- err
	}()
	// Whoever looks between the making of the file and its first bytes waits too.
	ok(t, os.MkdirAll(filepath.Dir(o.Path), 0o700))
	ok(t, os.WriteFile(o.Path, nil, 0o600))
	select {
	case err := <-done:
		t.Fatalf("following ended before the log was begun: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	ok(t, os.Remove(o.Path))
	w, err := transcript.Create(o.Path, 1<<20, &secret.Masker{})
	ok(t, err)
	in := w.Input()
	for _, line := range []string{"one\n", "two\n"} {
		_, err := in.Write([]byte(line))
		ok(t, err)
		for begun := time.Now(); !strings.HasSuffix(got.String(), line); time.Sleep(time.Millisecond) {
			select {
			case err := <-done:
				t.Fatalf("following ended before the run did: %v", err)
			default:
			}
			if time.Since(begun) > time.Minute {
				t.Fatalf("%q is not shown: %q", line, got.String())
			}
		}
	}
	_, err = in.Write([]byte("three\n"))
	ok(t, err)
	w.Close()
	ok(t, s.Registry.Success(ctx, id))
	ok(t, <-done)
	if got.String() != "one\ntwo\nthree\n" {
		t.Errorf("%q", got.String())
	}

	// A log that was there once is told from one that never was.
	ok(t, s.Meta.SaveProgram(ctx, quant.Program{RunID: id, Path: "true"}))
	ok(t, os.Remove(o.Path))
	if _, err := runs.OpenLog(ctx, o, true); !errors.Is(err, quant.NotFound) || !strings.Contains(err.Error(), "is gone") {
		t.Error(err)
	}
	o.RunID = "01900000-0000-7000-8000-000000000000"
	if _, err := runs.OpenLog(ctx, o, true); !errors.Is(err, quant.NotFound) {
		t.Error(err)
	}
	o.RunID, err = s.Registry.Start(ctx, "exec", nil)
	ok(t, err)
	o.Path = filepath.Join(t.TempDir(), "never")
	waiting, cancel := context.WithCancelCause(ctx)
	enough := errors.New("enough")
	time.AfterFunc(5*time.Millisecond, func() { cancel(enough) })
	if _, err := runs.OpenLog(waiting, o, true); !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestAPlotKeepsTheSpikesOfThoseThatHaveTheMetric(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	ctx := t.Context()
	long, err := s.Registry.Start(ctx, "exec", nil)
	ok(t, err)
	run, err := s.Meta.GetRun(ctx, long)
	ok(t, err)
	batch := metastore.Batch{Tags: []quant.Tag{{Name: quant.NameTag, Value: "a\nname"}}}
	for i := range 5000 {
		p := quant.MetricPoint{Name: "acc", Step: int64(i), Value: 1, LoggedAt: quant.NewTime(run.StartedAt.Add(time.Duration(i) * time.Second))}
		if i == 3123 {
			p.Value = 9
		}
		if i == 4000 {
			p.Value = -9
		}
		batch.Metrics = append(batch.Metrics, p)
	}
	ok(t, s.Registry.Log(ctx, long, batch))
	missing := ""
	o := runs.PlotOptions{
		Metric: "acc", X: runs.ByTime, Columns: 40,
		Clean:   func(text string) string { return strings.ReplaceAll(text, "\n", " ") },
		Missing: func(id string) { missing += id },
	}
	plot, err := runs.ReadPlot(ctx, s.Meta, []string{a, long}, o)
	ok(t, err)
	if len(plot.Runs) != 1 || missing != a || plot.X != "time" || plot.Metric != "acc" {
		t.Fatalf("%+v, missing %s", plot, missing)
	}
	course := plot.Runs[0]
	low, high, last := 0.0, 0.0, 0.0
	for _, p := range course.Drawn {
		low, high, last = min(low, p.Value), max(high, p.Value), p.X
	}
	if course.Points != 5000 || len(course.Drawn) > 4*40 || low != -9 || high != 9 || last != 4999 || course.Name != "a\nname" {
		t.Errorf("%d points, %d drawn, %v to %v, the last at %v", course.Points, len(course.Drawn), low, high, last)
	}
	for format, head := range map[string]string{runs.PNG: "\x89PNG", runs.SVG: "<"} {
		picture, err := plot.Picture(format, 400, 300)
		if err != nil || !strings.HasPrefix(string(picture), head) {
			t.Errorf("%s: %.20q %v", format, picture, err)
		}
	}
	lines, err := plot.Text(60, 10)
	if all := strings.Join(lines, "\n"); err != nil || !strings.Contains(all, quant.ShortID(long)+" a name") {
		t.Errorf("%s\n%v", all, err)
	}

	o.LogY = true
	plot, err = runs.ReadPlot(ctx, s.Meta, []string{long}, o)
	ok(t, err)
	for _, p := range plot.Runs[0].Drawn {
		if p.Value <= 0 {
			t.Error(p)
		}
	}
	ok(t, s.Registry.Log(ctx, b, metastore.Batch{Metrics: []quant.MetricPoint{{Name: "below", Value: -1}}}))
	o = runs.PlotOptions{Metric: "below", X: runs.ByStep, LogY: true, Columns: 40}
	plot, err = runs.ReadPlot(ctx, s.Meta, []string{b}, o)
	ok(t, err)
	if _, err := plot.Text(60, 10); !errors.Is(err, quant.Invalid) {
		t.Error(err)
	}
	if _, err := plot.Picture(runs.SVG, 400, 300); !errors.Is(err, quant.Invalid) {
		t.Error(err)
	}
	o.Metric = "nosuch"
	if _, err := runs.ReadPlot(ctx, s.Meta, []string{a, b}, o); !errors.Is(err, quant.NotFound) {
		t.Error(err)
	}
}

func TestAnArtifactOfARunIsFoundByItsName(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	found, err := runs.Artifact(t.Context(), s.Meta, a, quant.PythonPackages)
	ok(t, err)
	content, err := s.Artifacts().Reader(t.Context(), found.Digest)
	ok(t, err)
	defer content.Close()
	if text, cut, err := content.Text(5); text != "numpy" || !cut || err != nil {
		t.Errorf("%q %v %v", text, cut, err)
	}
	if _, err := runs.Artifact(t.Context(), s.Meta, b, quant.PythonPackages); !errors.Is(err, quant.NotFound) {
		t.Error(err)
	}
}
