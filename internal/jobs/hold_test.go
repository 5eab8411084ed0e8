package jobs

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// A worker that was late takes its own job again, which others have given back meanwhile:
// what it then says of its first attempt does not end the second.
func TestWhatIsSaidOfAnEarlierAttemptDoesNotEndALaterOneOfTheSameWorker(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := OpenFile(ctx, filepath.Join(t.TempDir(), "jobs"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	submitted, err := s.Submit(ctx, Submission{Argv: []string{"symbols", "list"}, Command: "symbols.list", Retries: 5})
	if err != nil {
		t.Fatal(err)
	}
	w := holding{s.driver, s, &hands{has: map[int64]hold{}}}
	take := func(attempt int) {
		t.Helper()
		var got *riverdriver.JobGetAvailableResult
		for begun := time.Now(); got == nil || len(got.Jobs) == 0; time.Sleep(10 * time.Millisecond) {
			if got, err = w.GetExecutor().JobGetAvailable(ctx, &riverdriver.JobGetAvailableParams{ClientID: "worker", MaxToLock: 1, MaxAttemptedBy: 100, Queue: river.QueueDefault, Schema: s.schema}); err != nil {
				t.Fatal(err)
			}
			if time.Since(begun) > 30*time.Second {
				t.Fatal("it is not taken")
			}
		}
		if got.Jobs[0].Attempt != attempt {
			t.Fatalf("it is attempt %d", got.Jobs[0].Attempt)
		}
	}
	fail := func(attempt int, want rivertype.JobState) {
		t.Helper()
		text, err := json.Marshal(rivertype.AttemptError{At: time.Now(), Attempt: attempt, Error: "it failed"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.GetExecutor().JobSetStateIfRunningMany(ctx, many(riverdriver.JobSetStateErrorRetryable(submitted.ID, time.Now().Add(time.Hour), text, nil), s.schema)); err != nil {
			t.Fatal(err)
		}
		row, err := s.client.JobGet(ctx, submitted.ID)
		if err != nil {
			t.Fatal(err)
		}
		if row.State != want {
			t.Errorf("after attempt %d is said to have failed it is %s", attempt, row.State)
		}
	}
	take(1)
	if _, err := s.pool.ExecContext(ctx, `UPDATE river_job SET state = 'available'`); err != nil { // another worker took this one for dead
		t.Fatal(err)
	}
	take(2)
	fail(1, rivertype.JobStateRunning)
	fail(2, rivertype.JobStateRetryable)
}
