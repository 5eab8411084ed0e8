package jobs

import (
	"context"
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
