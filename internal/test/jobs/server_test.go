package jobs

import (
	"context"
	"database/sql"
	neturl "net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // looks into the server

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

// A server that is gone when a job ends is waited for: by the job's process, which then
// ends its run, and, where that was killed, by the worker, which takes neither the run for
// missing nor its log away.
func TestAJobOutlivesAServerThatIsGoneWhenItEnds(t *testing.T) {
	t.Parallel()
	for name, attempts := range map[string]int{"its process waits": 1, "its process is killed": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := postgrestest.Start(t, postgrestest.Options{Durable: true})
			l := labtest.New(t)
			l.Env = append(l.Env, "QUANT_META_URL="+server.Database(t))
			l.Must("init-db")
			j := submit(l, "--retries", "1", "--retry-delay", "100ms", "--", "sh", "-c", "echo said; touch begun; while [ ! -e go ]; do sleep 0.05; done; touch over")
			worker := l.Start(nil, "worker", "--until-empty")
			l.Eventually("the program of the job begins", func() bool { _, err := os.Stat(l.Path("begun")); return err == nil })
			server.Stop()
			if attempts > 1 {
				for _, pid := range children(worker.Process.Pid) {
					labtest.Must(t, syscall.Kill(pid, syscall.SIGKILL))
				}
				l.Eventually("the worker asks in vain", func() bool { return strings.Contains(worker.Stderr.String(), "is asked again") })
				l.Write("go", nil)
			} else {
				l.Write("go", nil)
				l.Eventually("the program is over", func() bool { _, err := os.Stat(l.Path("over")); return err == nil })
			}
			server.Restart(t)
			if r := worker.Wait(); r.Code != 0 {
				t.Fatalf("the worker: %v", r)
			}
			done := show(l, j.Job)
			if done.State != "succeeded" || done.Attempt != attempts {
				t.Fatalf("%+v", done)
			}
			for i, a := range done.Attempts {
				if r := l.Must("runs", "logs", a.RunID); !strings.Contains(r.Stdout, "said") {
					t.Errorf("the log of attempt %d: %v", i+1, r)
				}
			}
		})
	}
}

// Schedules of a team stand on its server: machines with data folders of their own see
// the same ones, and two workers at once do a time of one once, by the server's clock.
func TestATimeOfATeamsScheduleIsDoneOnceByWorkersOfTwoMachines(t *testing.T) {
	t.Parallel()
	l := onServer(t)
	l.Must("schedule", "add", "yearly", "--cron", "0 0 1 1 *", "--", "sh", "-c", "echo x >> "+l.Path("done"))
	l.Must("schedule", "add", "skipped", "--cron", "0 0 1 1 *", "--missed", "skip", "--", "sh", "-c", "echo y >> "+l.Path("done"))
	l.Want(5, "schedule", "add", "yearly", "--cron", "0 0 1 1 *", "--", "true")
	if r := l.Want(4, "schedule", "remove", "yearl"); !strings.Contains(r.Stderr, "did you mean yearly?") {
		t.Fatalf("%v", r)
	}
	if _, err := os.Stat(l.Path("data", "schedules.json")); !os.IsNotExist(err) {
		t.Fatalf("they stand in a file: %v", err)
	}
	url := strings.TrimPrefix(l.Env[len(l.Env)-1], "QUANT_META_URL=")
	db, err := sql.Open("pgx", url)
	labtest.Must(t, err)
	defer db.Close()
	// They were added two years ago, while no worker was there.
	_, err = db.Exec(`UPDATE quant_jobs.quant_schedules SET document = regexp_replace(document, '"added_at":"\d+', '"added_at":"' || extract(year FROM now()) - 2)`)
	labtest.Must(t, err)
	other := labtest.New(t)
	other.Env = append(other.Env, "QUANT_META_URL="+url)
	before := document[[]scheduled](other, "schedule", "list")
	if len(before) != 2 || before[0].Overdue < 2 || before[0].LastAt != "" {
		t.Fatalf("another machine sees %+v", before)
	}
	a, b := l.Start(nil, "worker", "--until-empty"), other.Start(nil, "worker", "--until-empty")
	ra, rb := a.Wait(), b.Wait()
	l.WantCode(ra, 0)
	l.WantCode(rb, 0)
	if n := strings.Count(ra.Stderr+rb.Stderr, "schedule yearly: 2 times missed"); n != 1 {
		t.Fatalf("what was missed is told %d times: %v %v", n, ra, rb)
	}
	l.Must("worker", "--until-empty")
	if done, err := os.ReadFile(l.Path("done")); err != nil || string(done) != "x\n" {
		t.Fatalf("done was %q: %v", done, err)
	}
	for _, s := range document[[]scheduled](other, "schedule", "list") {
		want := map[string]string{"yearly": "succeeded", "skipped": "cancelled"}[s.Name]
		if s.LastState != want || s.LastMissed != 2 || s.Overdue != 0 {
			t.Fatalf("%+v", s)
		}
	}
	l.Must("schedule", "remove", "yearly")
	if left := document[[]scheduled](other, "schedule", "list"); len(left) != 1 {
		t.Fatalf("%+v", left)
	}
}

// Who submitted a job stands on it and on its run, also where another role's worker does
// it; the role that recorded a run stands on that.
func TestWhoSubmittedAJobStandsOnItAndItsRun(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, postgrestest.Options{Durable: true})
	l := labtest.New(t)
	url := server.Database(t)
	l.Env = append(l.Env, "QUANT_META_URL="+url)
	l.Must("init-db")
	l.Must("jobs", "submit", "--", "symbols", "list")
	parsed, err := neturl.Parse(url)
	labtest.Must(t, err)
	server.Exec(t, strings.TrimPrefix(parsed.Path, "/"), `CREATE ROLE ann LOGIN SUPERUSER`) // what she may is tested elsewhere
	ann := labtest.New(t)
	ann.Env = append(ann.Env, "QUANT_META_URL="+strings.Replace(url, "quant@", "ann@", 1))
	// A job that submits another: that is ann's as well, though the worker's role puts it
	// into the queue.
	j := submit(ann, "--", "jobs", "submit", "--", "symbols", "list")
	l.Must("worker", "--until-empty")
	type identified struct {
		User string `json:"user"`
		Role string `json:"role"`
		Tags []struct {
			Name, Value string
		} `json:"tags"`
	}
	done := show(l, j.Job)
	if got := document[identified](l, "jobs", "show", strconv.FormatInt(j.Job, 10)); got.User != "ann" {
		t.Fatalf("job of %q", got.User)
	}
	inner := document[[]struct {
		Job  int64  `json:"job"`
		User string `json:"user"`
	}](l, "jobs", "list", "--limit", "1")
	if inner[0].Job == j.Job || inner[0].User != "ann" {
		t.Fatalf("what it submitted: %+v", inner)
	}
	run := document[identified](l, "runs", "show", done.RunID)
	if run.Role == "" || run.Role == "ann" || len(run.Tags) != 1 || run.Tags[0].Name != "by" || run.Tags[0].Value != "ann" {
		t.Fatalf("its run: %+v", run)
	}
	submission := document[identified](l, "runs", "show", j.Parent)
	if submission.Role != "ann" || len(submission.Tags) != 0 {
		t.Fatalf("the run that submitted it: %+v", submission)
	}
	if r := l.Must("runs", "show", done.RunID); !strings.Contains(r.Stdout, "asked_by       ann") {
		t.Fatalf("%v", r)
	}
}
