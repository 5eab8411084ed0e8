package jobs

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"quant/internal/metastore/postgrestest"
)

// stores are a queue in a file and one on a server, both empty.
func stores(t *testing.T) map[string]*Store {
	t.Helper()
	file, err := OpenFile(t.Context(), filepath.Join(t.TempDir(), "meta.db.jobs"), true)
	if err != nil {
		t.Fatal(err)
	}
	server, err := OpenServer(t.Context(), postgrestest.Shared(t).Prepared(t, func(context.Context, string) error { return nil }), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close(); server.Close() })
	return map[string]*Store{"file": file, "server": server}
}

func take(t *testing.T, s *Store, n int) []*rivertype.JobRow {
	t.Helper()
	got, err := s.driver.GetExecutor().JobGetAvailable(t.Context(), &riverdriver.JobGetAvailableParams{ClientID: "worker", MaxToLock: n, MaxAttemptedBy: 100, Queue: "default", Schema: s.schema})
	if err != nil {
		t.Fatal(err)
	}
	return got.Jobs
}

func users(rows []*rivertype.JobRow) (list string) {
	for _, row := range rows {
		list += string(jobOf(row).User) + " "
	}
	return list
}

func put(t *testing.T, s *Store, user, priority string, n int) {
	t.Helper()
	for i := range n {
		if _, err := s.Submit(t.Context(), Submission{Argv: []string{"log", "note", "값 " + strconv.Itoa(i)}, Command: "log.note", User: user, Priority: priority}); err != nil {
			t.Fatal(err)
		}
	}
}

// finish ends what runs.
func finish(t *testing.T, s *Store, rows []*rivertype.JobRow) {
	t.Helper()
	for _, row := range rows {
		done := time.Now()
		if _, err := s.driver.GetExecutor().JobSetStateIfRunningMany(t.Context(), many(riverdriver.JobSetStateCompleted(row.ID, done, nil), s.schema)); err != nil {
			t.Fatal(err)
		}
	}
}

// A thousand jobs of one user delay the one of another by the job that runs, no more.
func TestUsersTakeTurns(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			put(t, s, "ann", "", 1000)
			running := take(t, s, 1)
			if got := users(running); got != "ann " {
				t.Fatalf("alone: %s", got)
			}
			put(t, s, "bob", "", 2)
			put(t, s, "홍길동", "", 1)
			finish(t, s, running)
			// One slot: who has waited longest for a turn is next, though all of ann's are older.
			for _, want := range []string{"bob ", "홍길동 ", "ann ", "bob ", "ann ", "ann "} {
				running = take(t, s, 1)
				if got := users(running); got != want {
					t.Fatalf("next is %s, not %s", got, want)
				}
				finish(t, s, running)
				time.Sleep(2 * time.Millisecond) // the file's clock has milliseconds
			}
			// Several slots: nobody has two while another waits.
			put(t, s, "bob", "", 3)
			if got := users(take(t, s, 4)); got != "bob ann bob ann " && got != "ann bob ann bob " {
				t.Fatalf("four slots: %s", got)
			}
			// What is more urgent comes first, whosever it is.
			put(t, s, "ann", "high", 1)
			if got := take(t, s, 1); users(got) != "ann " || got[0].Priority != 1 {
				t.Fatalf("the urgent one: %s", users(got))
			}
		})
	}
}

func TestAClaimIsMadeOnceAndCountsAnAttempt(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			put(t, s, "ann", "", 40)
			got := make(chan []*rivertype.JobRow, 8)
			for range 8 {
				go func() {
					var mine []*rivertype.JobRow
					for range 5 {
						r, err := s.driver.GetExecutor().JobGetAvailable(context.WithoutCancel(t.Context()), &riverdriver.JobGetAvailableParams{ClientID: "worker", MaxToLock: 3, Queue: "default", Schema: s.schema})
						if err != nil {
							t.Error(err)
							break
						}
						mine = append(mine, r.Jobs...)
					}
					got <- mine
				}()
			}
			seen := map[int64]bool{}
			for range 8 {
				for _, row := range <-got {
					if seen[row.ID] || row.Attempt != 1 || row.State != rivertype.JobStateRunning || len(row.AttemptedBy) != 1 || row.AttemptedBy[0] != "worker" || row.AttemptedAt == nil {
						t.Errorf("%+v, seen %v", row, seen[row.ID])
					}
					seen[row.ID] = true
				}
			}
			for rows := take(t, s, 100); len(rows) > 0; rows = take(t, s, 100) {
				for _, row := range rows {
					seen[row.ID] = true
				}
			}
			if len(seen) != 40 {
				t.Fatalf("%d of 40 were taken", len(seen))
			}
		})
	}
}

func TestTheTimeLeftIsGuessedOrUnknown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		waiting, running, done []tallied
		slots                  int
		seconds                float64
		unknown                string
	}{
		"nothing":      {slots: 0},
		"nobody works": {waiting: []tallied{{"a", 1, 0}}, done: []tallied{{"a", 9, 2}}, unknown: "no worker is at work"},
		"never done":   {waiting: []tallied{{"a", 1, 0}}, slots: 2, unknown: "no job of the kind a has succeeded yet"},
		"shared out":   {waiting: []tallied{{"a", 10, 0}, {"b", 2, 0}}, done: []tallied{{"a", 9, 2}, {"b", 1, 5}}, slots: 3, seconds: 10},
		"the longest":  {waiting: []tallied{{"a", 2, 0}}, running: []tallied{{"a", 1, 3}}, done: []tallied{{"a", 1, 10}}, slots: 9, seconds: 10},
		"overdue":      {running: []tallied{{"a", 1, 30}}, done: []tallied{{"a", 1, 10}}, slots: 1, seconds: 30},
	} {
		if seconds, unknown := guess(c.waiting, c.running, c.done, c.slots); seconds != c.seconds || unknown != c.unknown {
			t.Errorf("%s: %v, %q", name, seconds, unknown)
		}
	}
	for seconds, want := range map[float64]string{0.2: "1s", 42.4: "42s", 90: "2m", 3000: "50m", 7300: "2h0m", 400000: "5 days"} {
		if got := Roughly(seconds); got != want {
			t.Errorf("%v: %s, not %s", seconds, got, want)
		}
	}
}

// What stands in a queue of its own, as the units of a sweep do, only its workers take.
func TestAQueueOfItsOwnIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			if _, err := s.Submit(t.Context(), Submission{Argv: []string{"log", "note", "own"}, Command: "log.note", User: "ann", Queue: "own"}); err != nil {
				t.Fatal(err)
			}
			if got := take(t, s, 5); len(got) != 0 {
				t.Fatalf("a worker of all took %s", users(got))
			}
			put(t, s, "bob", "", 1)
			got, err := s.driver.GetExecutor().JobGetAvailable(t.Context(), &riverdriver.JobGetAvailableParams{ClientID: "worker", MaxToLock: 5, Queue: "own", Schema: s.schema})
			if err != nil || users(got.Jobs) != "ann " {
				t.Fatalf("its own worker took %q, %v", users(got.Jobs), err)
			}
		})
	}
}
