package jobs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
)

// descendants are the processes that a process has started, and they.
func descendants(pid int) (list []int) {
	for _, child := range children(pid) {
		list = append(append(list, child), descendants(child)...)
	}
	return list
}

// A worker that was suspended with all that it does wakes when another has its job: what
// it then says of its own attempt does not hit the other's.
func TestAWorkerThatWakesLateLeavesTheAttemptOfAnotherAlone(t *testing.T) {
	t.Parallel()
	l := onServer(t)
	l.Env = append(l.Env, "QUANT_TEST_PATIENCE=lease=2s")
	j := submit(l, "--", "sh", "-c", "touch begun-$$; while [ ! -e go ]; do sleep 0.05; done")
	late := l.Start(nil, "worker")
	begun := func() (n int) {
		entries, _ := os.ReadDir(l.Dir)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "begun-") {
				n++
			}
		}
		return n
	}
	l.Eventually("the first attempt begins", func() bool { return begun() == 1 })
	suspended := append(descendants(late.Process.Pid), late.Process.Pid)
	for _, pid := range suspended {
		labtest.Must(t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	other := l.Start(nil, "worker")
	l.Eventually("another worker does the job again", func() bool { return begun() == 2 })
	for _, pid := range suspended {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	if r := late.Wait(); r.Code != 5 || !strings.Contains(r.Stderr, "the lease of this process was lost") {
		t.Errorf("the late worker: %v", r)
	}
	if now := show(l, j.Job); now.State != "running" || now.Attempt != 2 {
		t.Fatalf("after it: %+v", now)
	}
	l.Write("go", nil)
	if done := until(l, j.Job, "succeeded"); done.Attempt != 2 || len(done.Attempts) != 2 || done.Attempts[0].Worker == done.Attempts[1].Worker {
		t.Fatalf("%+v", done)
	}
	other.Signal(syscall.SIGINT)
	l.WantCode(other.Wait(), 0)
}

// A worker that was given a job, and is late to begin it, does not begin it once another
// has it.
func TestAWorkerThatIsLateToBeginAJobLeavesItToWhoHasIt(t *testing.T) {
	t.Parallel()
	l := onServer(t)
	l.Env = append(l.Env, "QUANT_TEST_PATIENCE=lease=2s")
	j := submit(l, "--", "sh", "-c", "echo once >>done; while [ ! -e go ]; do sleep 0.05; done")
	late := l.Start([]string{"QUANT_TEST_FAILPOINT=job.note:stop"}, "worker").Stopped()
	other := l.Start(nil, "worker")
	l.Eventually("another worker does the job", func() bool { _, err := os.Stat(l.Path("done")); return err == nil })
	late.Signal(syscall.SIGCONT)
	if r := late.Wait(); r.Code != 5 || strings.Contains(r.Stderr, fmt.Sprintf("job %d exec", j.Job)) {
		t.Errorf("the late worker: %v", r)
	}
	l.Write("go", nil)
	if done := until(l, j.Job, "succeeded"); len(done.Attempts) != 1 {
		t.Fatalf("%+v", done)
	}
	if said, _ := os.ReadFile(l.Path("done")); string(said) != "once\n" {
		t.Errorf("it was done: %q", said)
	}
	other.Signal(syscall.SIGINT)
	l.WantCode(other.Wait(), 0)
}

// A server that is gone when a job is about to begin is no failure of the job.
func TestAJobBeginsOnceTheServerIsBack(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, postgrestest.Options{Durable: true})
	l := labtest.New(t)
	l.Env = append(l.Env, "QUANT_META_URL="+server.Database(t))
	l.Must("init-db")
	j := submit(l, "--", "symbols", "list")
	worker := l.Start([]string{"QUANT_TEST_FAILPOINT=job.note:stop"}, "worker", "--until-empty").Stopped()
	server.Stop()
	worker.Signal(syscall.SIGCONT)
	l.Eventually("the worker asks in vain", func() bool { return strings.Contains(worker.Stderr.String(), "cannot be begun, and is begun later") })
	server.Restart(t)
	r := worker.Wait()
	l.WantCode(r, 0)
	if done := show(l, j.Job); done.State != "succeeded" || done.Attempt != 1 || len(done.Attempts) != 1 {
		t.Fatalf("%+v", done)
	}
	for _, raw := range []string{"SQLSTATE", "failed to connect", "dial unix"} {
		if strings.Contains(r.Stderr, raw) {
			t.Errorf("%q: %v", raw, r)
		}
	}
}

// A worker that is ended while the server is away does not know how its job ended, and says
// nothing of it: the next one asks the run.
func TestAJobThatSucceededUnseenIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, postgrestest.Options{})
	l := labtest.New(t)
	l.Env = append(l.Env, "QUANT_META_URL="+server.Database(t), "QUANT_TEST_PATIENCE=lease=2s")
	l.Must("init-db")
	j := submit(l, "--", "exec", "--", "sh", "-c", "echo done >>done")
	worker := l.Start([]string{"QUANT_TEST_FAILPOINT=job.ended:stop"}, "worker").Stopped()
	server.Stop()
	worker.Signal(syscall.SIGINT)
	worker.Signal(syscall.SIGCONT)
	l.Eventually("the worker asks in vain", func() bool { return strings.Contains(worker.Stderr.String(), "cannot be asked how it ended") })
	worker.Signal(syscall.SIGINT)
	time.Sleep(500 * time.Millisecond) // it gives up asking, and what it then says it says again
	server.Restart(t)
	worker.Wait()
	l.Must("worker", "--until-empty")
	if done := show(l, j.Job); done.State != "succeeded" || len(done.Attempts) != 1 {
		t.Errorf("%+v", done)
	}
	if text, err := os.ReadFile(l.Path("done")); err != nil || string(text) != "done\n" {
		t.Errorf("it was done so often: %q, %v", text, err)
	}
}

// The store gives a job to a worker, and its answer is lost on the way: nobody is dead, and
// the job is done all the same.
func TestAJobThatWentAstrayIsDone(t *testing.T) {
	t.Parallel()
	l := onServer(t)
	l.Env = append(l.Env, "QUANT_TEST_PATIENCE=astray=1s")
	worker := l.Start(nil, "worker")
	l.Eventually("the worker works", func() bool { return strings.Contains(worker.Stderr.String(), "working for") })
	var id string
	for _, r := range document[[]struct {
		RunID string `json:"run_id"`
		Kind  string `json:"kind"`
	}](l, "runs", "list", "--kind", "worker") {
		id = r.RunID
	}
	j := submit(l, "--at", time.Now().Add(24*time.Hour).Format(time.RFC3339), "--", "symbols", "list")
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, strings.TrimPrefix(l.Env[0], "QUANT_META_URL="))
	labtest.Must(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `UPDATE quant_jobs.river_job SET state = 'running', attempt = 1, attempted_at = now(), scheduled_at = now(), attempted_by = ARRAY[$1] WHERE id = $2`, id, j.Job)
	labtest.Must(t, err)
	if done := until(l, j.Job, "succeeded"); done.Attempt != 2 || len(done.Attempts) != 1 {
		t.Fatalf("%+v", done)
	}
	worker.Signal(syscall.SIGINT)
	l.WantCode(worker.Wait(), 0)
}

// What workers say of a job whose worker died is none of its retries.
func TestADeathIsNoRetry(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	j := submit(l, "--retries", "1", "--retry-delay", "100ms", "--", "sh", "-c", "echo x >>tries; touch begun; [ $(wc -l <tries) -gt 1 ] || sleep 60; exit 1")
	worker := l.Start(nil, "worker")
	exists(l, "begun")
	worker.Signal(syscall.SIGKILL)
	worker.Wait()
	l.Must("worker", "--until-empty")
	if done := show(l, j.Job); done.State != "failed" || len(done.Attempts) != 3 {
		t.Fatalf("%+v", done)
	}
}

// Who dies after an attempt was noted, before its process began, and who dies while seeing
// to that, cost the job none of its retries.
func TestAJobWhoseWorkersDiedBeforeItBeganIsDone(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	j := submit(l, "--", "symbols", "list")
	for _, at := range []string{"job.noted", "job.forestalled"} {
		l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=" + at}, "worker").Wait(), labtest.Killed)
	}
	l.Must("worker", "--until-empty")
	if done := show(l, j.Job); done.State != "succeeded" || len(done.Attempts) != 2 {
		t.Fatalf("%+v", done)
	}
	l.WantClosed()
}

// A job whose process found no server when it began, and was told not to wait for one, has
// not failed for good: it is tried again as its retries say.
func TestAJobWhoseProcessFoundNoServerIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wait     []string
		attempts int
	}{
		"a process that does not wait": {[]string{"--wait", "0s"}, 2},
		"one that waits":               {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := postgrestest.Start(t, postgrestest.Options{Durable: true})
			l := labtest.New(t)
			l.Env = append(l.Env, "QUANT_META_URL="+server.Database(t))
			l.Must("init-db")
			j := submit(l, append([]string{"--retries", "1", "--retry-delay", "100ms", "--", "symbols", "add", "A"}, c.wait...)...)
			worker := l.Start([]string{"QUANT_TEST_FAILPOINT=job.noted:stop"}, "worker", "--until-empty").Stopped()
			server.Stop()
			worker.Signal(syscall.SIGCONT)
			if c.wait != nil {
				l.Eventually("the worker asks in vain", func() bool { return strings.Contains(worker.Stderr.String(), "is asked again") })
			} else {
				l.Eventually("the process has found no server, and says that it waits", func() bool {
					logs, err := filepath.Glob(l.Path("data", "*.logs", "*.log"))
					labtest.Must(t, err)
					for _, name := range logs {
						if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), "waiting for the Meta DB's server") {
							return true
						}
					}
					return false
				})
			}
			server.Restart(t)
			l.WantCode(worker.Wait(), 0)
			done := show(l, j.Job)
			if done.State != "succeeded" || len(done.Attempts) != c.attempts {
				t.Fatalf("%+v", done)
			}
			if c.attempts > 1 && !strings.Contains(done.Attempts[0].Error, "its process recorded no run, and ended with exit status 8") {
				t.Errorf("the first attempt: %+v", done.Attempts[0])
			}
		})
	}
}

// A job with which workers die again and again is given up, and says which attempts those
// were and what to do; whoever then has it done again has it done as a new one.
func TestAJobWithWhichWorkersDieIsGivenUpUntilItIsTriedAgain(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	j := submit(l, "--retries", "2", "--", "symbols", "list")
	die := func() {
		l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=job.noted"}, "worker").Wait(), labtest.Killed)
	}
	for range 5 {
		die()
	}
	l.Must("worker", "--until-empty")
	given := show(l, j.Job)
	if given.State != "failed" || len(given.Attempts) != 5 {
		t.Fatalf("%+v", given)
	}
	says := []string{"given up: 5 workers have died with it (runs ", fmt.Sprintf("`quant jobs retry %d` does it again", j.Job)}
	for _, a := range given.Attempts {
		says = append(says, a.RunID[len(a.RunID)-8:])
	}
	table, list := l.Must("jobs", "show", fmt.Sprint(j.Job)), l.Must("jobs", "list")
	for _, words := range says {
		if !strings.Contains(given.Error, words) || !strings.Contains(table.Stdout, words) {
			t.Errorf("%q is missing: %s: %v", words, given.Error, table)
		}
	}
	if !strings.Contains(list.Stdout, "given up: 5 workers have died with it") {
		t.Errorf("%v", list)
	}
	l.Must("jobs", "retry", fmt.Sprint(j.Job))
	die()
	l.Must("worker", "--until-empty")
	if done := show(l, j.Job); done.State != "succeeded" || len(done.Attempts) != 7 || done.Retries != 2 {
		t.Fatalf("%+v", done)
	}
	l.WantClosed()
}

// A job at which nobody works any more is cancelled at once, whether or not its process had
// begun: no worker comes to see to it.
func TestAJobThatIsAbandonedIsCancelledAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failpoint []string
		run       string // what becomes of its run
	}{
		"while its process ran":  {nil, "process ended without finishing"},
		"before it was recorded": {[]string{"QUANT_TEST_FAILPOINT=job.noted"}, "it did not begin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			j := submit(l, "--", "sh", "-c", "touch begun; sleep 300")
			worker := l.Start(c.failpoint, "worker")
			if c.failpoint == nil {
				exists(l, "begun")
				worker.Signal(syscall.SIGKILL)
			}
			l.WantCode(worker.Wait(), labtest.Killed)
			l.Eventually("it is abandoned", func() bool { return show(l, j.Job).Abandoned })
			l.Must("jobs", "cancel", fmt.Sprint(j.Job))
			done := show(l, j.Job)
			if done.State != "cancelled" || !strings.Contains(done.Error, "cancelled: its worker, run ") || !strings.Contains(done.Error, "ended without finishing it") {
				t.Fatalf("%+v", done)
			}
			if run := statusOf(l, done.RunID); run.Status != "FAIL" || !strings.Contains(run.Error, c.run) {
				t.Errorf("its run: %+v", run)
			}
			l.Want(5, "jobs", "cancel", fmt.Sprint(j.Job))
			l.WantClosed()
		})
	}
}

// A job at which nobody works any more is called abandoned by all who show it, until a
// worker has looked.
func TestAJobThatIsAbandonedIsCalledThatEverywhere(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	j := submit(l, "--", "sh", "-c", "touch begun; while [ ! -e go ]; do sleep 0.05; done")
	worker := l.Start(nil, "worker")
	exists(l, "begun")
	if lives := show(l, j.Job); lives.State != "running" || lives.Abandoned {
		t.Fatalf("while its worker lives: %+v", lives)
	}
	worker.Signal(syscall.SIGKILL)
	worker.Wait()
	if gone := show(l, j.Job); gone.State != "running" || !gone.Abandoned {
		t.Errorf("jobs show: %+v", gone)
	}
	if list := document[[]job](l, "jobs", "list"); len(list) != 1 || !list[0].Abandoned {
		t.Errorf("jobs list: %+v", list)
	}
	for _, command := range [][]string{{"jobs", "list"}, {"jobs", "show", fmt.Sprint(j.Job)}} {
		if r := l.Must(command...); !strings.Contains(r.Stdout, "abandoned") {
			t.Errorf("%v", r)
		}
		if r := l.Must(append(command, "--output", "csv")...); !strings.HasPrefix(r.Stdout, "job,state,cancelling,abandoned,") || !strings.Contains(r.Stdout, ",running,false,true,") {
			t.Errorf("%v", r)
		}
	}
	server := l.Start(nil, "--output", "json", "serve", "--addr", "127.0.0.1:0")
	l.Eventually("the server says where it is", func() bool { return strings.HasSuffix(server.Stdout.String(), "}\n") })
	var said struct {
		URL string `json:"url"`
	}
	labtest.Decode(t, server.Stdout.String(), &said)
	for path, want := range map[string]string{"/jobs": ">abandoned<", fmt.Sprintf("/jobs/%d", j.Job): ">abandoned<", "/api/v1/jobs": `"abandoned":true`, fmt.Sprintf("/api/v1/jobs/%d", j.Job): `"abandoned":true`} {
		answer, err := http.Get(strings.TrimSuffix(said.URL, "/") + path)
		labtest.Must(t, err)
		text, err := io.ReadAll(answer.Body)
		labtest.Must(t, err)
		_ = answer.Body.Close()
		if !strings.Contains(strings.ReplaceAll(string(text), ": ", ":"), want) {
			t.Errorf("%s shows no %s: %s", path, want, labtest.Clipped(string(text)))
		}
	}
	server.Signal(syscall.SIGINT)
	server.Wait()
	watch := l.Start(nil, "jobs", "watch", "--every", "100ms")
	l.Eventually("the watch tells it", func() bool { return strings.Contains(watch.Stdout.String(), "abandoned") })
	l.Write("go", nil)
	l.Must("worker", "--until-empty")
	if r := watch.Wait(); r.Code != 0 || !strings.Contains(r.Stdout, "succeeded") {
		t.Errorf("%v", r)
	}
}
