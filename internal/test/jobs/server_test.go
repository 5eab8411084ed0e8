package jobs

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"quant/internal/metastore/postgres"
	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
)

// onServer is a lab whose Meta DB, and so its jobs, stand in a database of PostgreSQL.
func onServer(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	l.Env = append(l.Env, "QUANT_META_URL="+postgrestest.Shared(t).Prepared(t, func(ctx context.Context, url string) error {
		db, err := postgres.Open(ctx, postgres.Options{URL: url, Create: true})
		if err != nil {
			return err
		}
		return db.Close()
	}))
	return l
}

func TestAJobOfATeamCountsOnceThoughItsWorkerIsKilled(t *testing.T) {
	t.Parallel()
	undisturbed := labtest.New(t)
	undisturbed.Write("prices.csv", labtest.PriceFile(1, 200, "AAA", "BBB"))
	undisturbed.Must("ingest", "prices.csv")
	for step, attempts := range map[string]int{"ingest.staged": 2, "fact.commit.after": 2, "ended": 1} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := onServer(t)
			l.Write("prices.csv", labtest.PriceFile(1, 200, "AAA", "BBB"))
			j := submit(l, "--", "ingest", "prices.csv")
			worker := l.Start([]string{"QUANT_TEST_JOB_FAILPOINT=" + step + ":stop"}, "worker")
			l.Eventually("the process of the job stops", func() bool {
				for _, pid := range children(worker.Process.Pid) {
					if labtest.IsStopped(pid) {
						return true
					}
				}
				return false
			})
			worker.Signal(syscall.SIGKILL)
			worker.Wait()
			again := l.Must("worker", "--until-empty")
			done := show(l, j.Job)
			if done.State != "succeeded" || done.Attempt != attempts {
				t.Fatalf("after the kill at %s: %+v: %v", step, done, again)
			}
			if got, want := l.Prices(), undisturbed.Prices(); got != want {
				t.Fatalf("the prices are\n%s\nnot\n%s", labtest.Clipped(got), labtest.Clipped(want))
			}
			if running := l.Must("runs", "list", "--all", "--status", "RUNNING", "--output", "csv"); strings.Count(running.Stdout, "\n") > 2 { // its header, and the list itself
				t.Fatalf("runs are left open: %v", running)
			}
		})
	}
}

// A worker that cannot ask how a run ended waits until it can: it takes neither the run
// for missing, nor its log away, and ends the job as the run did.
func TestAJobOutlivesAServerThatIsGoneWhenItEnds(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, postgrestest.Options{Durable: true})
	l := labtest.New(t)
	l.Env = append(l.Env, "QUANT_META_URL="+server.Database(t))
	l.Must("init-db")
	j := submit(l, "--retries", "1", "--retry-delay", "100ms", "--", "sh", "-c", "echo said; touch begun; while [ ! -e go ]; do sleep 0.05; done")
	worker := l.Start(nil, "worker", "--until-empty")
	l.Eventually("the program of the job begins", func() bool { _, err := os.Stat(l.Path("begun")); return err == nil })
	server.Stop()
	l.Write("go", nil)
	l.Eventually("the worker asks in vain", func() bool { return strings.Contains(worker.Stderr.String(), "is asked again") })
	server.Restart(t)
	if r := worker.Wait(); r.Code != 0 {
		t.Fatalf("the worker: %v", r)
	}
	done := show(l, j.Job)
	if done.State != "succeeded" || done.Attempt != 2 { // the first could not record its end
		t.Fatalf("%+v", done)
	}
	for i, a := range done.Attempts {
		if r := l.Must("runs", "logs", a.RunID); !strings.Contains(r.Stdout, "said") {
			t.Errorf("the log of attempt %d: %v", i+1, r)
		}
	}
}
