package logstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

// stream is a Stream over text and what it warned of.
func stream(in io.Reader, sink Sink, clock Clock) (Stream, *[]string) {
	warned := &[]string{}
	return Stream{
		In: in, Sink: sink, Clock: clock, Now: func() time.Time { return now.Time }, Run: "r",
		Resolve: func(_ context.Context, ref string) (string, error) {
			if ref == "last" {
				return "other", nil
			}
			return "", quant.Errorf(quant.NotFound, "no run %q", ref)
		},
		Keep: func(_ context.Context, path, name string) ([]quant.Artifact, error) {
			return []quant.Artifact{{Name: name, Digest: "of " + path}}, nil
		},
		Mask: func(text string) string { return strings.ReplaceAll(text, "hunter22", "***") },
		Warn: func(format string, args ...any) { *warned = append(*warned, fmt.Sprintf(format, args...)) },
	}, warned
}

// sinkOf keeps whole batches.
type sinkOf struct{ all metastore.Batch }

func (s *sinkOf) Log(_ context.Context, _ string, b metastore.Batch) error {
	s.all.Params = append(s.all.Params, b.Params...)
	s.all.Metrics = append(s.all.Metrics, b.Metrics...)
	s.all.Tags = append(s.all.Tags, b.Tags...)
	s.all.Notes = append(s.all.Notes, b.Notes...)
	s.all.Artifacts = append(s.all.Artifacts, b.Artifacts...)
	return nil
}

func TestLinesBecomeEntriesOfTheirRuns(t *testing.T) {
	t.Parallel()
	sink := &sinkOf{}
	s, warned := stream(strings.NewReader(`{"metrics":{"a":1,"b":2},"step":7}

{"param":"p","value":"x","run":"last"}
{"tag":"t","value":"y"}
{"note":"n","run":"last"}
{"artifact":"plot.png","name":"plots/a.png","time":"2026-01-15T00:00:00Z"}`), sink, newClock())
	report, err := s.Store(t.Context())
	must(t, err)
	must(t, report.Err())
	if report.Lines != 5 || report.Stored != 5 || report.Metrics != 2 || report.Params != 1 || report.Tags != 1 || report.Notes != 1 || report.Artifacts != 1 || report.RunID != "r" || report.Bad == nil {
		t.Errorf("%+v", report)
	}
	a := sink.all
	if a.Metrics[1].RunID != "r" || a.Metrics[1].Step != 7 || a.Params[0].RunID != "other" || a.Tags[0].RunID != "r" || a.Notes[0].RunID != "other" {
		t.Errorf("%+v", a)
	}
	if got := a.Artifacts[0]; got.RunID != "r" || got.Name != "plots/a.png" || got.Digest != "of plot.png" || got.LoggedAt.String() != "2026-01-15T00:00:00.000000Z" {
		t.Errorf("%+v", got)
	}
	if len(*warned) != 0 {
		t.Error(*warned)
	}
	outputs := ""
	for _, o := range report.Outputs() {
		outputs += fmt.Sprintf("%s %s %d, ", o.Direction, o.Name, *o.Rows)
	}
	if outputs != "out run_params 1, out run_metric_points 2, out run_tags 1, out run_notes 1, out run_artifacts 1, " {
		t.Error(outputs)
	}
}

const withBadLines = `{"metric":"loss","value":0}
{"metric":"loss","value":NaN}
{"metric":"loss","value":2}
{"metric":"loss","value":3}
{"note":"x","run":"hunter22"}
{"artifact":"-"}
{"metric":"loss","value":6}
`

func TestBadLinesAreToldInTheirOrderAndLeftOut(t *testing.T) {
	t.Parallel()
	sink := &fakeSink{refuse: map[float64]error{3: quant.Errorf(quant.Conflict, "hunter22 is written once")}}
	s, warned := stream(strings.NewReader(withBadLines), sink, newClock())
	report, err := s.Store(t.Context())
	must(t, err)
	if err := report.Err(); !errors.Is(err, quant.Partial) || !strings.HasPrefix(err.Error(), "bad lines: 4 of 7, the first is line 2, column 26: NaN is no finite number") || !strings.HasSuffix(err.Error(), "; the others are stored") {
		t.Error(err)
	}
	got := ""
	for _, bad := range report.Bad {
		got += fmt.Sprintf("%d:%d %s\n", bad.Line, bad.Column, bad.Reason)
	}
	if got != "2:26 NaN is no finite number\n4:0 *** is written once\n5:0 no run \"***\"\n6:0 an artifact of a line is a file, not standard input\n" {
		t.Error(got)
	}
	if w := strings.Join(*warned, "\n"); len(*warned) != 4 || !strings.Contains(w, "left out: line 4: ") {
		t.Error(w)
	}
	if got := strings.ReplaceAll(sink.stored(), "|", " "); got != "r0 r2 r6" {
		t.Error(got)
	}
}

func TestAStrictStreamEndsAtItsFirstBadLine(t *testing.T) {
	t.Parallel()
	for refused, want := range map[float64]string{
		-1: "bad lines: 1 of 2, the first is line 2, column 26: ", // what the parser finds
		0:  "bad lines: 1 of 1, the first is line 1: no",          // what the store finds comes before it
	} {
		sink := &fakeSink{refuse: map[float64]error{refused: quant.Errorf(quant.Conflict, "no")}}
		s, warned := stream(strings.NewReader(withBadLines), sink, newClock())
		s.Strict = true
		report, err := s.Store(t.Context())
		must(t, err)
		if err := report.Err(); !errors.Is(err, quant.Invalid) || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "with --strict nothing after it is") {
			t.Error(err)
		}
		if got := sink.stored(); len(*warned) != 0 || refused < 0 && got != "r0" || refused == 0 && got != "" {
			t.Errorf("%q %v", got, *warned)
		}
	}
}

func TestAStreamWhoseLinesNameNoRun(t *testing.T) {
	t.Parallel()
	sink := &fakeSink{}
	s, _ := stream(strings.NewReader(`{"metric":"loss","value":1}`+"\n"+`{"metric":"loss","value":2,"run":"last"}`), sink, newClock())
	s.Run, s.NoRun = "", quant.Errorf(quant.Usage, "no run is named")
	report, err := s.Store(t.Context())
	must(t, err)
	if err := report.Err(); !errors.Is(err, quant.Partial) || !strings.Contains(err.Error(), "line 1: no run is named") {
		t.Error(err)
	}
	wantStored(t, sink, "other2")
	s, _ = stream(strings.NewReader(`{"metric":"loss","value":1}`), sink, newClock())
	s.Run, s.NoRun = "", quant.Errorf(quant.Usage, "no run is named")
	report, err = s.Store(t.Context())
	must(t, err)
	if err := report.Err(); !errors.Is(err, quant.Usage) || !strings.HasSuffix(err.Error(), "nothing is stored") {
		t.Error(err)
	}
}

// eventually waits for what other goroutines do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("never: %s", what)
		}
	}
}

// waiting is how many timers wait.
func (c *fakeClock) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

func TestLinesAreStoredOnceTheyAreOldWhileTheStreamGoesOn(t *testing.T) {
	t.Parallel()
	clock, sink := newClock(), &fakeSink{}
	in, out := io.Pipe()
	s, _ := stream(in, sink, clock)
	done := make(chan error, 1)
	go func() {
		_, err := s.Store(t.Context())
		done <- err
	}()
	for i, want := range []string{"r0", "r0|r1"} {
		_, err := fmt.Fprintf(out, `{"metric":"loss","value":%d}`+"\n", i)
		must(t, err)
		eventually(t, "the line waits", func() bool { return clock.waiting() == 1 })
		clock.advance(limits.Age)
		eventually(t, "it is stored", func() bool { return sink.stored() == want })
	}
	must(t, out.Close())
	must(t, <-done)
}

func TestAStreamThatIsInterruptedKeepsWhatItHadRead(t *testing.T) {
	t.Parallel()
	clock, sink := newClock(), &fakeSink{}
	in, out := io.Pipe()
	defer out.Close()
	s, _ := stream(in, sink, clock)
	signal := errors.New("a signal")
	ctx, interrupt := context.WithCancelCause(t.Context())
	type result struct {
		Report
		err error
	}
	done := make(chan result, 1)
	go func() {
		report, err := s.Store(ctx)
		done <- result{report, err}
	}()
	_, err := io.WriteString(out, `{"metric":"loss","value":1}`+"\n")
	must(t, err)
	eventually(t, "the line waits", func() bool { return clock.waiting() == 1 })
	interrupt(signal)
	r := <-done
	if !errors.Is(r.err, signal) || r.err.Error() != signal.Error() || r.Stored != 1 {
		t.Errorf("%+v %v", r.Report, r.err)
	}
	wantStored(t, sink, "r1")
}

func TestAStreamWaitsForABusyStoreAndSaysWhatItStored(t *testing.T) {
	t.Parallel()
	clock := newClock()
	const line = `{"metric":"loss","value":1}`
	sink := &fakeSink{errs: []error{errBusy, errBusy, nil}}
	s, _ := stream(strings.NewReader(line), sink, clock)
	report, err := s.Store(t.Context())
	must(t, err)
	if report.Stored != 1 || sink.calls != 3 {
		t.Errorf("%+v in %d calls", report, sink.calls)
	}

	sink = &fakeSink{errs: []error{quant.Errorf(quant.Locked, "held").WithHint("wait"), errBusy}, during: func(context.Context) { clock.advance(limits.Retry) }}
	s, _ = stream(strings.NewReader(line), sink, clock)
	if _, err := s.Store(t.Context()); !errors.Is(err, quant.Locked) || err.Error() != "0 lines stored, then: held" || quant.HintOf(err) != "wait" || sink.calls != 1 {
		t.Errorf("%v after %d calls", err, sink.calls)
	}

	s, _ = stream(io.MultiReader(strings.NewReader(line+"\n"), &failing{errors.New("broken")}), &fakeSink{}, clock)
	if report, err := s.Store(t.Context()); err == nil || err.Error() != "1 line stored, then: read standard input: broken" || report.Stored != 1 {
		t.Errorf("%+v %v", report, err)
	}
}

func TestEntriesAreReadFromArguments(t *testing.T) {
	t.Parallel()
	points, err := Metrics([]string{"loss=5e-1", "acc= 1"}, 7)
	must(t, err)
	if len(points) != 2 || points[0] != (quant.MetricPoint{Name: "loss", Value: 0.5, Step: 7}) || points[1].Value != 1 {
		t.Error(points)
	}
	params, err := Params([]string{"eq=a=b", "empty="})
	must(t, err)
	if fmt.Sprint(params) != fmt.Sprint([]quant.Param{{Name: "eq", Value: "a=b"}, {Name: "empty"}}) {
		t.Error(params)
	}
	tags, err := Tags([]string{"team=alpha"})
	must(t, err)
	if len(tags) != 1 || tags[0] != (quant.Tag{Name: "team", Value: "alpha"}) {
		t.Error(tags)
	}
	for arg, code := range map[string]quant.Code{"a": quant.Usage, "=1": quant.Invalid, "a=": quant.Invalid, "a=x": quant.Invalid, "a=nan": quant.Invalid, "a=+Inf": quant.Invalid, "a=1e999": quant.Invalid, "a\x1b=1": quant.Invalid} {
		if points, err := Metrics([]string{"good=1", arg}, 0); !errors.Is(err, code) || points != nil {
			t.Errorf("%q: %v %v", arg, points, err)
		}
	}
	for _, arg := range []string{"a", "=1"} {
		if _, err := Params([]string{arg}); err == nil {
			t.Errorf("param %q", arg)
		}
		if _, err := Tags([]string{arg}); err == nil {
			t.Errorf("tag %q", arg)
		}
	}
}

// The line that ends a run is the last that is read, and only the stream that started
// the run may say it.
func TestALineEndsTheRunOfItsOwnStream(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		end Ending
		bad string
	}{
		`{"metric":"a","value":1}` + "\n" + `{"end":"SUCCESS"}` + "\n" + `{"metric":"a","value":2}`: {end: Ending{Status: quant.Success}},
		`{"metric":"a","value":1}` + "\n" + `{"end":"FAIL","error":"boom"}`:                         {end: Ending{quant.Fail, "boom"}},
		`{"metric":"a","value":1}` + "\n" + `{"end":"DONE"}`:                                        {bad: `a run ends as SUCCESS or FAIL, not "DONE"`},
		`{"metric":"a","value":1}` + "\n" + `{"end":"SUCCESS","error":"x"}`:                         {bad: `"error" does not go with SUCCESS`},
		`{"metric":"a","value":1}` + "\n" + `{"end":"FAIL","run":"last"}`:                           {bad: "not another"},
		`{"metric":"a","value":1}` + "\n" + `{"metric":"a","value":1,"error":"x"}`:                  {bad: `"error" does not go with "metric"`},
	} {
		sink := &sinkOf{}
		s, _ := stream(strings.NewReader(text), sink, newClock())
		s.Own = true
		report, err := s.Store(t.Context())
		must(t, err)
		switch {
		case len(sink.all.Metrics) != 1:
			t.Errorf("%s: stored %+v", text, sink.all.Metrics)
		case want.bad != "":
			if report.End != nil || len(report.Bad) != 1 || !strings.Contains(report.Bad[0].Reason, want.bad) {
				t.Errorf("%s: %+v %+v", text, report.End, report.Bad)
			}
		case report.End == nil || *report.End != want.end || len(report.Bad) != 0:
			t.Errorf("%s: %+v %+v", text, report.End, report.Bad)
		}
		s, _ = stream(strings.NewReader(`{"end":"SUCCESS"}`), sink, newClock())
		if report, err = s.Store(t.Context()); err != nil || len(report.Bad) != 1 || report.End != nil {
			t.Errorf("a stream ended a run that it did not start: %+v %v", report, err)
		}
	}
}
