package jobs

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// job is what a document says of a job.
type job struct {
	Job       int64  `json:"job"`
	State     string `json:"state"`
	Attempt   int    `json:"attempt"`
	RunID     string `json:"run_id"`
	Parent    string `json:"parent_run_id"`
	Error     string `json:"error"`
	Existing  bool   `json:"existing"`
	Abandoned bool   `json:"abandoned"`
	Retries   int    `json:"retries"`
	Attempts  []struct {
		RunID  string `json:"run_id"`
		Worker string `json:"worker_run_id"`
		Error  string `json:"error"`
	} `json:"attempts"`
}

func document[T any](l *labtest.Lab, args ...string) (v T) {
	l.T.Helper()
	r := l.Must(append([]string{"--output", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		l.T.Fatalf("%v: %v", err, r)
	}
	return v
}

func submit(l *labtest.Lab, args ...string) job {
	l.T.Helper()
	return document[job](l, append([]string{"jobs", "submit"}, args...)...)
}

func show(l *labtest.Lab, id int64) job {
	l.T.Helper()
	return document[job](l, "jobs", "show", strconv.FormatInt(id, 10))
}

// statusOf is what the record says of a run.
func statusOf(l *labtest.Lab, id string) labtest.RunRow {
	l.T.Helper()
	for _, r := range l.Runs() {
		if r.ID == id {
			return r
		}
	}
	l.T.Fatalf("there is no run %s", id)
	return labtest.RunRow{}
}

// until waits until a job is in a state.
func until(l *labtest.Lab, id int64, state string) job {
	l.T.Helper()
	var j job
	l.Eventually(fmt.Sprintf("job %d is %s", id, state), func() bool {
		j = show(l, id)
		if j.State != state {
			time.Sleep(50 * time.Millisecond)
		}
		return j.State == state
	})
	return j
}

// exists waits until a file does.
func exists(l *labtest.Lab, name string) {
	l.T.Helper()
	l.Eventually(name+" is there", func() bool {
		_, err := os.Stat(l.Path(name))
		return err == nil
	})
}

func TestAJobIsARunUnderTheOneThatSubmittedIt(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("prices.csv", labtest.PriceFile(1, 50, "AAA"))
	first := submit(l, "--", "ingest", "prices.csv")
	second := submit(l, "--", "sh", "-c", "echo from the program; exit 7")
	worked := document[struct{ Succeeded, Failed int }](l, "worker", "--until-empty", "--slots", "2")
	if worked.Succeeded != 1 || worked.Failed != 1 {
		t.Fatalf("the worker says %+v", worked)
	}
	done := show(l, first.Job)
	if done.State != "succeeded" || done.Attempt != 1 || done.Parent != first.Parent {
		t.Fatalf("%+v", done)
	}
	run := statusOf(l, done.RunID)
	if run.Kind != "ingest" || run.Status != "SUCCESS" {
		t.Fatalf("its run is %+v", run)
	}
	if parent := l.MetaRows("SELECT parent_run_id FROM run_process WHERE run_id = '" + done.RunID + "'"); !strings.Contains(parent, done.Parent) || statusOf(l, done.Parent).Kind != "jobs.submit" {
		t.Fatalf("its run stands under %s, not %s", parent, done.Parent)
	}
	if log := l.Must("runs", "logs", done.RunID); !strings.Contains(log.Stdout, "ingest SUCCESS") {
		t.Fatalf("what it printed: %v", log)
	}
	failed := show(l, second.Job)
	if failed.State != "failed" || !strings.Contains(failed.Error, "exit status 7") {
		t.Fatalf("%+v", failed)
	}
	if log := l.Must("runs", "logs", failed.RunID); !strings.Contains(log.Stdout, "from the program") {
		t.Fatalf("what it printed: %v", log)
	}
	l.WantClosed()
	l.WantAgreement()
}

// The process of a job is stopped at a step, and then its worker is killed.
func TestAJobCountsOnceThoughItsWorkerIsKilled(t *testing.T) {
	t.Parallel()
	undisturbed := labtest.New(t)
	undisturbed.Write("prices.csv", labtest.PriceFile(1, 200, "AAA", "BBB"))
	undisturbed.Must("ingest", "prices.csv")
	for step, attempts := range map[string]int{
		"meta.start.before": 2, "meta.start.after": 2, "ingest.staged": 2, "fact.commit.before": 2, "fact.commit.after": 2,
		"meta.finish.before": 2, "meta.finish.after": 1, "ended": 1,
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Write("prices.csv", labtest.PriceFile(1, 200, "AAA", "BBB"))
			j := submit(l, "--", "ingest", "prices.csv")
			// A worker of its own passes the steps of its record, too: only the process of
			// the job gets the variable.
			worker := l.Start([]string{"QUANT_TEST_JOB_FAILPOINT=" + step + ":stop"}, "worker")
			child := 0
			l.Eventually("the process of the job stops", func() bool {
				for _, pid := range children(worker.Process.Pid) {
					if labtest.IsStopped(pid) {
						child = pid
					}
				}
				return child != 0
			})
			worker.Signal(syscall.SIGKILL)
			if r := worker.Wait(); r.Code != labtest.Killed {
				t.Fatalf("the worker ended by itself: %v", r)
			}
			l.Must("worker", "--until-empty")
			done := show(l, j.Job)
			if done.State != "succeeded" || done.Attempt != attempts {
				t.Fatalf("after the kill at %s: %+v", step, done)
			}
			if got, want := l.Prices(), undisturbed.Prices(); got != want {
				t.Fatalf("the prices are\n%s\nnot\n%s", got, want)
			}
			l.WantClosed()
			l.WantAgreement()
		})
	}
}

// Who is killed while the queue is made leaves none, or one that the next completes.
func TestAKillWhileTheQueueIsMadeLeavesOneThatWorks(t *testing.T) {
	t.Parallel()
	for _, step := range labtest.JobSteps {
		l := labtest.New(t)
		l.Write("prices.csv", labtest.PriceFile(1, 50, "AAA"))
		killed := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step + ":kill"}, "jobs", "submit", "--", "ingest", "prices.csv").Wait()
		if killed.Code != labtest.Killed {
			t.Fatalf("%s: it ended by itself: %v", step, killed)
		}
		j := submit(l, "--", "ingest", "prices.csv")
		l.Must("worker", "--until-empty")
		if done := show(l, j.Job); done.State != "succeeded" {
			t.Errorf("%s: %+v", step, done)
		}
		l.WantClosed()
		l.WantAgreement()
	}
}

func children(pid int) (list []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		text = append(append(text, ' '), more...)
	}
	for _, word := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(word); err == nil {
			list = append(list, n)
		}
	}
	return list
}

func TestWorkersThatAreKilledAtAnyMomentLoseNoJobAndDoNoneTwice(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	l, undisturbed := labtest.New(t), labtest.New(t)
	const files = 6
	for i := range files {
		name := fmt.Sprintf("f%d.csv", i)
		content := labtest.PriceFile(i, 100, fmt.Sprintf("S%d", i), "ALL")
		l.Write(name, content)
		undisturbed.Write(name, labtest.PriceFile(i, 100, fmt.Sprintf("S%d", i)))
		l.Write(name, labtest.PriceFile(i, 100, fmt.Sprintf("S%d", i)))
		undisturbed.Must("ingest", name)
	}
	var ids []int64
	for i := range files {
		ids = append(ids, submit(l, "--", "ingest", fmt.Sprintf("f%d.csv", i)).Job)
	}
	for range soak.Count(t, 4, 60) {
		a, b := l.Start(nil, "worker"), l.Start(nil, "worker", "--slots", "2")
		time.Sleep(time.Duration(r.IntN(900)) * time.Millisecond)
		a.Signal(syscall.SIGKILL)
		b.Signal(syscall.SIGKILL)
		a.Wait()
		b.Wait()
	}
	for i := 0; ; i++ {
		l.Must("worker", "--until-empty", "--slots", "2")
		again := false
		for _, id := range ids {
			switch j := show(l, id); j.State {
			case "succeeded":
			case "failed": // too many workers died with it
				if !strings.Contains(j.Error, "workers have died with it") {
					t.Fatalf("%+v", j)
				}
				l.Must("jobs", "retry", strconv.FormatInt(id, 10))
				again = true
			default:
				t.Fatalf("%+v", j)
			}
		}
		if !again {
			break
		}
		if i == 3 {
			t.Fatal("jobs do not succeed")
		}
	}
	if got, want := l.Prices(), undisturbed.Prices(); got != want {
		t.Fatalf("the prices are\n%s\nnot\n%s", labtest.Clipped(got), labtest.Clipped(want))
	}
	l.WantClosed()
	l.WantAgreement()
}

func TestAWorkerThatIsSuspendedKeepsItsJob(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	j := submit(l, "--", "sh", "-c", "touch begun; while [ ! -e go ]; do sleep 0.05; done")
	worker := l.Start(nil, "worker")
	exists(l, "begun")
	worker.Signal(syscall.SIGSTOP)
	other := l.Start(nil, "worker")
	time.Sleep(2500 * time.Millisecond) // two looks of the other one
	if now := show(l, j.Job); now.State != "running" || now.Attempt != 1 {
		t.Fatalf("%+v", now)
	}
	l.Write("go", nil)
	worker.Signal(syscall.SIGCONT)
	if done := until(l, j.Job, "succeeded"); done.Attempt != 1 {
		t.Fatalf("%+v", done)
	}
	for _, w := range []*labtest.Process{worker, other} {
		w.Signal(syscall.SIGINT)
		l.WantCode(w.Wait(), 0)
	}
	l.WantClosed()
}

func TestAJobThatRunsIsCancelledWithAllThatItStarted(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	running := submit(l, "--", "sh", "-c", "sh -c 'echo $$ > pid; sleep 300' & touch begun; wait")
	waiting := submit(l, "--", "symbols", "list")
	worker := l.Start(nil, "worker")
	exists(l, "begun")
	exists(l, "pid")
	begun := time.Now()
	l.Must("jobs", "cancel", strconv.FormatInt(running.Job, 10), strconv.FormatInt(waiting.Job, 10))
	done := until(l, running.Job, "cancelled")
	if took := time.Since(begun); took > 30*time.Second {
		t.Fatalf("it took %s", took)
	}
	if run := statusOf(l, done.RunID); run.Status != "FAIL" || run.Kind != "exec" {
		t.Fatalf("%+v", run)
	}
	pid, err := os.ReadFile(l.Path("pid"))
	labtest.Must(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	labtest.Must(t, err)
	l.Eventually("what it started has ended", func() bool { return syscall.Kill(n, 0) != nil })
	if j := show(l, waiting.Job); j.State != "cancelled" || j.Attempt != 0 {
		t.Fatalf("%+v", j)
	}
	l.Want(5, "jobs", "cancel", strconv.FormatInt(waiting.Job, 10))
	l.Want(4, "jobs", "cancel", "99")
	l.Must("jobs", "retry", strconv.FormatInt(waiting.Job, 10))
	until(l, waiting.Job, "succeeded")
	worker.Signal(syscall.SIGTERM)
	l.WantCode(worker.Wait(), 0)
	l.WantClosed()
}

func TestASignalDrainsAWorkerAndASecondOneGivesItsJobBack(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	first := submit(l, "--", "sh", "-c", "touch begun; while [ ! -e go ]; do sleep 0.05; done")
	later := submit(l, "--", "symbols", "list")
	worker := l.Start(nil, "worker")
	exists(l, "begun")
	worker.Signal(syscall.SIGINT)
	l.Eventually("it says so", func() bool { return strings.Contains(worker.Stderr.String(), "ending") })
	l.Write("go", nil)
	l.WantCode(worker.Wait(), 0)
	if a, b := show(l, first.Job), show(l, later.Job); a.State != "succeeded" || b.State != "queued" {
		t.Fatalf("%+v %+v", a, b)
	}
	labtest.Must(t, os.Remove(l.Path("go")))
	labtest.Must(t, os.Remove(l.Path("begun")))
	l.Must("jobs", "cancel", strconv.FormatInt(later.Job, 10))
	second := submit(l, "--", "sh", "-c", "touch begun; while [ ! -e go ]; do sleep 0.05; done")
	worker = l.Start(nil, "worker")
	exists(l, "begun")
	worker.Signal(syscall.SIGINT)
	l.Eventually("it says so", func() bool { return strings.Contains(worker.Stderr.String(), "ending") })
	worker.Signal(syscall.SIGINT)
	l.WantCode(worker.Wait(), 130)
	if j := show(l, second.Job); j.State != "queued" {
		t.Fatalf("%+v", j)
	}
	l.Write("go", nil)
	l.Must("worker", "--until-empty")
	if j := show(l, second.Job); j.State != "succeeded" {
		t.Fatalf("%+v", j)
	}
	l.WantClosed()
}

func TestAJobIsTriedAgainWhereThatMayHelp(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	passing := submit(l, "--retries", "3", "--retry-delay", "100ms", "--", "sh", "-c", "echo x >> tries; [ $(wc -l < tries) -ge 3 ]")
	hopeless := submit(l, "--retries", "3", "--", "ingest", "nothing.csv")
	slow := submit(l, "--timeout", "500ms", "--", "sleep", "60")
	worker := l.Must("worker", "--until-empty", "--slots", "3")
	if strings.Count(worker.Stderr, fmt.Sprintf("job %d exec retrying, ", passing.Job)) != 2 || strings.Contains(worker.Stderr, fmt.Sprintf("job %d exec failed", passing.Job)) {
		t.Errorf("what is tried again is no failure yet: %v", worker)
	}
	if j := show(l, passing.Job); j.State != "succeeded" || j.Attempt != 3 || len(j.Attempts) != 3 || !strings.Contains(j.Attempts[0].Error, "exit status 1") {
		t.Fatalf("%+v", j)
	}
	if j := show(l, hopeless.Job); j.State != "failed" || j.Attempt != 1 || !strings.Contains(j.Error, "nothing.csv") {
		t.Fatalf("%+v", j)
	}
	if j := show(l, slow.Job); j.State != "failed" || !strings.Contains(j.Error, "timed out after 500ms") {
		t.Fatalf("%+v", j)
	}
	l.WantClosed()
}

func TestTheMoreUrgentJobIsDoneFirstAndAUniqueOneOnce(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	for _, priority := range []string{"idle", "low", "normal", "high"} {
		submit(l, "--priority", priority, "--", "sh", "-c", "echo "+priority+" >> order")
	}
	one := submit(l, "--unique", "--", "symbols", "list")
	if again := submit(l, "--unique", "--", "symbols", "list"); !again.Existing || again.Job != one.Job {
		t.Fatalf("%+v", again)
	}
	l.Must("worker", "--until-empty")
	order, err := os.ReadFile(l.Path("order"))
	labtest.Must(t, err)
	if string(order) != "high\nnormal\nlow\nidle\n" {
		t.Fatalf("the order was %s", order)
	}
	if after := submit(l, "--unique", "--", "symbols", "list"); after.Existing {
		t.Fatalf("%+v", after)
	}
}
