package session_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/session/sessiontest"
)

// said keeps what a session says.
type said struct {
	mu   sync.Mutex
	text []string
}

func (s *said) add(kind, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, kind+": "+text)
}
func (s *said) Notice(format string, args ...any) { s.add("notice", fmt.Sprintf(format, args...)) }
func (s *said) Warn(format string, args ...any)   { s.add("warning", fmt.Sprintf(format, args...)) }
func (s *said) Failed(err error)                  { s.add("failed", err.Error()) }

// begun is a session whose run has started, in a lab of its own.
func begun(t *testing.T, voice session.Voice) *session.Session {
	t.Helper()
	at := place.In(t.TempDir())
	l := lab.New(lab.Options{Place: at, Facts: facts.Committed(at)})
	if err := l.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := session.New(session.Options{Lab: l, Voice: voice, Calendar: "XNYS", Settings: map[string]string{"QUANT_CALENDAR": "XNYS"}})
	if _, err := s.Start(t.Context(), session.Command{Kind: "outer", Args: []string{"outer", "--api-key", "hunter2"}}, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

func detail(t *testing.T, s *session.Session, id string) metastore.RunDetail {
	t.Helper()
	run, err := s.Meta.GetRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestARunInsideIsRecordedWithItsCommandAndItsParent(t *testing.T) {
	t.Parallel()
	s := begun(t, nil)
	id, err := s.Inside(t.Context(), session.Command{Kind: "features", Args: []string{"features", "--set", "v1"}, Flags: map[string]string{"set": "v1"}},
		func(_ context.Context, inner *session.Session) error {
			if run := detail(t, s, inner.RunID()); run.Status != quant.Running {
				t.Errorf("it is %s while it runs", run.Status)
			}
			inner.Record(quant.RunIO{Direction: quant.Out, Kind: "meta", Name: "models"})
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	run := detail(t, s, id)
	if run.Status != quant.Success || run.Kind != "features" || string(run.Process.ParentRunID) != s.RunID() || !run.Process.Changes {
		t.Errorf("%+v", run)
	}
	if want := `{"args":[],"argv":["quant","features","--set","v1"],"flags":{"set":"v1"},"settings":{"QUANT_CALENDAR":"XNYS"}}`; string(run.ConfigJSON) != want {
		t.Errorf("config %s, want %s", run.ConfigJSON, want)
	}
	if io, err := s.Meta.RunIO(t.Context(), id); err != nil || len(io) != 1 {
		t.Errorf("%v, %v", io, err)
	}
	if outer := detail(t, s, s.RunID()); strings.Contains(string(outer.ConfigJSON), "hunter2") {
		t.Errorf("a secret is recorded: %s", outer.ConfigJSON)
	}
}

func TestAFailedOrPanickingRunInsideIsClosedAndTold(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(context.Context, *session.Session) error{
		"error": func(context.Context, *session.Session) error { return quant.Errorf(quant.Refused, "no such luck") },
		"panic": func(context.Context, *session.Session) error { panic("no such luck") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard := &said{}
			s := begun(t, heard)
			id, err := s.Inside(t.Context(), session.Command{Kind: "labels"}, do)
			if err == nil || !strings.Contains(err.Error(), "no such luck") {
				t.Fatal(err)
			}
			if run := detail(t, s, id); run.Status != quant.Fail || !strings.Contains(string(run.ErrorText), "no such luck") {
				t.Errorf("%s: %s", run.Status, run.ErrorText)
			}
			if len(heard.text) != 2 || !strings.HasPrefix(heard.text[0], "failed: ") || !strings.Contains(heard.text[1], "labels FAIL") {
				t.Errorf("it said %q", heard.text)
			}
			if run := detail(t, s, s.RunID()); run.Status != quant.Running {
				t.Errorf("the run around it is %s", run.Status)
			}
		})
	}
}

func TestWhatAFailedRunCommittedIsSaid(t *testing.T) {
	t.Parallel()
	s := begun(t, nil)
	id, _ := s.Inside(t.Context(), session.Command{Kind: "ingest"}, func(ctx context.Context, inner *session.Session) error {
		return inner.WriteFacts(ctx, func(db *factstore.DB) error {
			if err := factstoretest.Write(ctx, db, inner.RunID(), "INSERT INTO labels VALUES ('A', DATE '2024-01-02', 'fwd_ret_1d', 0.5, 'v1')"); err != nil {
				return err
			}
			return errors.New("too late")
		})
	})
	if run := detail(t, s, id); !strings.HasSuffix(string(run.ErrorText), "facts committed") {
		t.Errorf("%s", run.ErrorText)
	}
}

// Who forces the outer run to its end ends the runs inside it first, once each.
func TestEndingARunEndsThoseInsideIt(t *testing.T) {
	t.Parallel()
	s := begun(t, nil)
	cause := quant.Errorf(quant.Failed, "pulled the plug")
	id, err := s.Inside(t.Context(), session.Command{Kind: "train"}, func(ctx context.Context, inner *session.Session) error {
		_ = s.End(ctx, cause)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{id, s.RunID()} {
		if found := detail(t, s, run); found.Status != quant.Fail || !strings.Contains(string(found.ErrorText), "pulled the plug") {
			t.Errorf("%s %s: %s", found.Kind, found.Status, found.ErrorText)
		}
	}
}

func TestNothingRunsInsideARunThatHasEnded(t *testing.T) {
	t.Parallel()
	s := begun(t, nil)
	if err := s.End(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.Inside(t.Context(), session.Command{Kind: "train"}, func(context.Context, *session.Session) error { t.Error("it ran"); return nil })
	if !errors.Is(err, quant.Conflict) {
		t.Error(err)
	}
}

// Pages and programs act through one session at the same time.
func TestManyActAtOnceInsideOneRun(t *testing.T) {
	t.Parallel()
	const many = 50
	s := sessiontest.Begin(t)
	ids, errs := make([]string, many), make([]error, many)
	var acting sync.WaitGroup
	for i := range many {
		acting.Go(func() {
			ids[i], errs[i] = s.Inside(t.Context(), session.Command{Kind: "log", Args: []string{"log", strconv.Itoa(i)}}, func(_ context.Context, inner *session.Session) error {
				inner.Log(metastore.Batch{Tags: []quant.Tag{{Name: "number", Value: strconv.Itoa(i)}}})
				switch i % 3 {
				case 1:
					return quant.Errorf(quant.Refused, "not number %d", i)
				case 2:
					panic(i)
				}
				return nil
			})
		})
	}
	acting.Wait()
	for i, id := range ids {
		if failed := i%3 != 0; (errs[i] != nil) != failed {
			t.Errorf("%d: %v", i, errs[i])
		}
		run := s.Recorded(id)
		tags, err := s.Meta.Tags(t.Context(), id)
		want := quant.Success
		if i%3 != 0 {
			want = quant.Fail
		}
		if err != nil || run.Status != want || string(run.Process.ParentRunID) != s.RunID() || len(tags) != 1 || tags[0].Value != strconv.Itoa(i) {
			t.Errorf("%d: %s inside %s with %v, %v", i, run.Status, run.Process.ParentRunID, tags, err)
		}
	}
	if err := s.End(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// Who begins a run while the one around it ends leaves none open.
func TestNoRunInsideStaysOpenWhenTheOneAroundItEndsMeanwhile(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	var acting sync.WaitGroup
	for range 20 {
		acting.Go(func() {
			_, _ = s.Inside(t.Context(), session.Command{Kind: "log"}, func(context.Context, *session.Session) error { return nil })
		})
	}
	if err := s.End(t.Context(), nil); err != nil {
		t.Error(err)
	}
	acting.Wait()
	open, err := s.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true, Status: quant.Running, Limit: 100})
	if err != nil || len(open) != 0 {
		t.Errorf("still open: %+v, %v", open, err)
	}
}

// Who ends a run while it still writes facts says what has been committed by then.
func TestAForcedEndSaysWhatIsCommittedByThen(t *testing.T) {
	t.Parallel()
	s := begun(t, nil)
	id, _ := s.Inside(t.Context(), session.Command{Kind: "ingest"}, func(ctx context.Context, inner *session.Session) error {
		return inner.WriteFacts(ctx, func(db *factstore.DB) error {
			if err := factstoretest.Write(ctx, db, inner.RunID(), "INSERT INTO labels VALUES ('A', DATE '2024-01-02', 'fwd_ret_1d', 0.5, 'v1')"); err != nil {
				return err
			}
			_ = s.End(ctx, quant.Errorf(quant.Failed, "pulled the plug"))
			return nil
		})
	})
	if run := detail(t, s, id); run.Status != quant.Fail || !strings.HasSuffix(string(run.ErrorText), "facts committed") {
		t.Errorf("%s: %s", run.Status, run.ErrorText)
	}
}

func TestASessionWithoutARegistryStartsNothing(t *testing.T) {
	t.Parallel()
	s := session.New(session.Options{Lab: lab.New(lab.Options{Place: place.In(t.TempDir())})})
	_, err := s.Inside(t.Context(), session.Command{Kind: "train"}, func(context.Context, *session.Session) error { t.Error("it ran"); return nil })
	if !errors.Is(err, quant.Store) || quant.HintOf(err) == "" {
		t.Error(err)
	}
	s.Record(quant.RunIO{}) // of no run: nothing to record it with
	s.Log(metastore.Batch{})
}

func TestEveryOpeningOfTheFactDBHasTheMemoryThatIsSet(t *testing.T) {
	t.Parallel()
	at := place.In(t.TempDir())
	l := lab.New(lab.Options{Place: at, Facts: facts.Committed(at)})
	if err := l.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := session.New(session.Options{Lab: l, Voice: &said{}, Calendar: "XNYS", Memory: 600 << 20})
	if _, err := s.Start(t.Context(), session.Command{Kind: "outer", Args: []string{"outer"}}, ""); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func(context.Context, func(*factstore.DB) error) error{
		"for this run": s.WriteFacts, "for runs inside": s.WriteFactsInside,
	} {
		if err := open(t.Context(), func(db *factstore.DB) error {
			var limit string
			err := db.QueryRow(t.Context(), "SELECT current_setting('memory_limit')").Scan(&limit)
			if limit != "600.0 MiB" {
				t.Errorf("%s: %q", name, limit)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}
