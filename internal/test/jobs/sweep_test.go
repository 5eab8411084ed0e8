package jobs

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"quant/internal/config"
	"quant/internal/test/labtest"
)

const sweptStrategy = `strategy_id: s
version: "1"
universe: {type: symbols, symbols: [A, B, C]}
signal: {type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance: {frequency: daily, asof_policy: close}
portfolio: {top_k: 2, weighting: equal}
backtest: {fee_bps: 5}
`

const sweptTrials = 12 // two units

// swept is a lab with prices and features, and the sweep that is tried in it.
func swept(t *testing.T) (*labtest.Lab, []string) {
	t.Helper()
	l := labtest.New(t)
	l.Write("p.csv", labtest.PriceFile(1, 300, "A", "B", "C"))
	l.Write("s.yaml", []byte(sweptStrategy))
	l.Write(".env", []byte("QUANT_CALENDAR=data\n"))
	l.Must("ingest", "p.csv")
	l.Must("features")
	days := strings.Fields(l.FactRows("SELECT CAST(min(ts) AS TEXT), CAST(max(ts) AS TEXT) FROM features_daily"))
	return l, []string{"sweep", "--strategy", "s.yaml", "--set", "portfolio.top_k=1,2,3", "--set", "execution.lag_days=0,1,2,3", "--from", days[0], "--to", days[len(days)-1], "--output", "json"}
}

// results are those of the trials, without the ids of their runs, and the digests of
// what is stored.
func results(t *testing.T, l *labtest.Lab, stdout string) string {
	t.Helper()
	var report struct {
		Trials []map[string]any
		Failed int
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || len(report.Trials) != sweptTrials || report.Failed != 0 {
		t.Fatalf("%d trials, %d failed: %v", len(report.Trials), report.Failed, err)
	}
	for _, trial := range report.Trials {
		delete(trial, "run_id")
		delete(trial, "recommend_run_id")
	}
	text, err := json.Marshal(report.Trials)
	if err != nil {
		t.Fatal(err)
	}
	digests := l.FactRows(`SELECT strategy_id, (SELECT sum(hash(version, "asof", symbol, weight, score, approved, risk_flags, reason)) FROM targets t WHERE t.strategy_id = s.strategy_id),
		(SELECT sum(hash("asof", status, proposed, approved, gross, turnover, digest)) FROM target_sets x WHERE x.strategy_id = s.strategy_id), result_digest
		FROM (SELECT DISTINCT backtest_summary.strategy_id, backtest_details.result_digest FROM backtest_details JOIN backtest_summary USING (run_id)) s ORDER BY ALL`)
	return string(text) + "\n" + digests
}

// wantOnce holds that each trial was stored once by a run that ended SUCCESS.
func wantOnce(t *testing.T, l *labtest.Lab) {
	t.Helper()
	for _, kind := range []string{"recommend", "backtest"} {
		n := 0
		for _, r := range l.Runs() {
			if r.Kind == kind && r.Status == "SUCCESS" {
				n++
			}
		}
		if n != sweptTrials {
			t.Errorf("%d runs of %s ended SUCCESS, for %d trials", n, kind, sweptTrials)
		}
	}
}

func TestASweepWithWorkersGivesWhatOneProcessGives(t *testing.T) {
	t.Parallel()
	l, sweep := swept(t)
	alone := l.CopyOf(t)
	want := results(t, alone, alone.Must(sweep...).Stdout)
	for _, workers := range []string{"1", "2"} {
		t.Run(workers, func(t *testing.T) {
			t.Parallel()
			l := l.CopyOf(t)
			if got := results(t, l, l.Must(append(sweep, "--workers", workers)...).Stdout); got != want {
				t.Errorf("with workers\n%s\nand without\n%s", got, want)
			}
			wantOnce(t, l)
			l.WantClosed()
			l.WantAgreement()
			l.Must("doctor")
			if hosts := l.MetaRows("SELECT count(*) FROM run_tags WHERE name = 'unit_host'"); !strings.Contains(hosts, fmt.Sprint(2*sweptTrials)) {
				t.Errorf("runs that say where they were worked out: %s", hosts)
			}
		})
	}
	t.Run("queue", func(t *testing.T) {
		t.Parallel()
		l := l.CopyOf(t)
		worker := l.Start(nil, "worker", "--slots", "2")
		if got := results(t, l, l.Must(append(sweep, "--workers", "queue")...).Stdout); got != want {
			t.Errorf("with workers\n%s\nand without\n%s", got, want)
		}
		worker.Signal(syscall.SIGTERM)
		if r := worker.Wait(); r.Code != 0 && r.Code != 128+int(syscall.SIGTERM) {
			t.Errorf("the worker: %v", r)
		}
		wantOnce(t, l)
		l.WantClosed()
	})
}

func TestASweepWhoseWorkersOrItselfAreKilledGivesTheSameWhenRunAgain(t *testing.T) {
	t.Parallel()
	prepared, sweep := swept(t)
	alone := prepared.CopyOf(t)
	want := results(t, alone, alone.Must(sweep...).Stdout)
	sweep = append(sweep, "--workers", "2")
	again := func(t *testing.T, l *labtest.Lab) {
		t.Helper()
		l.Must("runs", "list")
		l.WantClosed()
		l.WantAgreement()
		if got := results(t, l, l.Must(sweep...).Stdout); got != want {
			t.Errorf("run again\n%s\nundisturbed\n%s", got, want)
		}
		l.WantClosed()
		l.WantAgreement()
		l.Must("doctor")
	}
	for _, step := range []string{"sweep.unit.trials", "outputs.written", "outputs.manifest.before", "outputs.manifest.after", "meta.finish.before"} {
		t.Run("unit "+step, func(t *testing.T) {
			t.Parallel()
			l := prepared.CopyOf(t)
			parent := l.Start([]string{"QUANT_TEST_JOB_FAILPOINT=" + step + ":stop"}, sweep...)
			l.Eventually("a unit stops", func() bool {
				for _, pid := range children(parent.Process.Pid) {
					if labtest.IsStopped(pid) {
						return true
					}
				}
				return false
			})
			units := children(parent.Process.Pid)
			parent.Signal(syscall.SIGKILL)
			if r := parent.Wait(); r.Code != labtest.Killed {
				t.Fatalf("the sweep ended by itself: %v", r)
			}
			l.Eventually("its units have died with it", func() bool {
				for _, pid := range units {
					if syscall.Kill(pid, 0) == nil {
						return false
					}
				}
				return true
			})
			again(t, l)
			wantOnce(t, l)
		})
	}
	for _, step := range []string{"sweep.dispatched", "outputs.take.before", "fact.commit.before", "fact.commit.after", "outputs.take.after", "sweep.taken"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := prepared.CopyOf(t)
			l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=" + step + ":kill"}, sweep...).Wait(), labtest.Killed)
			again(t, l)
			wantOnce(t, l)
		})
	}
}

func TestASweepThatIsEndedLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	l, sweep := swept(t)
	parent := l.Start(nil, append(sweep, "--workers", "queue")...)
	l.Eventually("its units wait", func() bool { return strings.Count(l.Run("jobs", "list").Stdout, "queued") == 2 })
	parent.Signal(syscall.SIGINT)
	l.WantCode(parent.Wait(), 128+int(syscall.SIGINT))
	if list := l.Must("jobs", "list").Stdout; strings.Count(list, "cancelled") != 2 {
		t.Errorf("its jobs are\n%s", list)
	}
	l.WantClosed()
}

// stoppedSweep starts a sweep whose units stop in the middle, and returns the process of
// one and of the sweep, and the number of its job.
func stoppedSweep(t *testing.T, l *labtest.Lab, sweep []string) (parent *labtest.Process, unit, job int) {
	t.Helper()
	parent = l.Start([]string{"QUANT_TEST_JOB_FAILPOINT=sweep.unit.trials:stop"}, sweep...)
	l.Eventually("a unit stops", func() bool {
		for _, pid := range children(parent.Process.Pid) {
			if labtest.IsStopped(pid) {
				unit = pid
			}
		}
		return unit != 0
	})
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", unit))
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range strings.Split(string(environ), "\x00") {
		if value, found := strings.CutPrefix(one, config.Job+"="); found {
			number, _, _ := strings.Cut(value, ":")
			job, _ = strconv.Atoi(number)
		}
	}
	if job == 0 {
		t.Fatalf("the process of a unit does not say of which job it is: %q", environ)
	}
	return parent, unit, job
}

// endOf waits for a sweep to end, and wakes those of its units that were asked to end:
// what is stopped does not hear it.
func endOf(l *labtest.Lab, parent *labtest.Process) (r labtest.Result) {
	ended := make(chan labtest.Result, 1)
	go func() { ended <- parent.Wait() }()
	l.Eventually("the sweep ends", func() bool {
		for _, pid := range children(parent.Process.Pid) {
			if labtest.IsStopped(pid) && pending(pid, syscall.SIGTERM) {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
		select {
		case r = <-ended:
			return true
		default:
			return false
		}
	})
	return r
}

// pending tells whether a signal waits for a process.
func pending(pid int, s syscall.Signal) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, line := range strings.Split(string(status), "\n") {
		if mask, found := strings.CutPrefix(line, "ShdPnd:"); found {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits&(1<<(s-1)) != 0
		}
	}
	return false
}

// wantNothingOfTrials holds that no trial is stored, and no run is left open.
func wantNothingOfTrials(t *testing.T, l *labtest.Lab) {
	t.Helper()
	l.WantClosed()
	l.WantAgreement()
	for _, r := range l.Runs() {
		if r.Kind == "recommend" || r.Kind == "backtest" {
			t.Errorf("run %s of a trial is recorded as %s", r.Kind, r.Status)
		}
	}
	if stored := l.FactRows("SELECT strategy_id FROM targets UNION ALL SELECT strategy_id FROM backtest_summary"); strings.Contains(stored, "s#") {
		t.Errorf("rows of trials are stored: %s", stored)
	}
}

// Whoever cancels a unit that runs ends the sweep, which says so and leaves nothing half.
func TestAUnitThatRunsIsCancelled(t *testing.T) {
	t.Parallel()
	prepared, sweep := swept(t)
	alone := prepared.CopyOf(t)
	want := results(t, alone, alone.Must(sweep...).Stdout)
	sweep = append(sweep, "--workers", "2")
	l := prepared.CopyOf(t)
	parent, _, job := stoppedSweep(t, l, sweep)
	l.Must("jobs", "cancel", fmt.Sprint(job))
	ended := endOf(l, parent)
	l.WantCode(ended, 1)
	if !strings.Contains(ended.Stderr, fmt.Sprintf("job %d of this run was cancelled", job)) {
		t.Errorf("the sweep says: %s", ended.Stderr)
	}
	if list := l.Must("jobs", "list", "--state", "running,queued,retrying").Stdout; strings.Contains(list, "sweep") {
		t.Errorf("jobs are left: %s", list)
	}
	wantNothingOfTrials(t, l)
	if got := results(t, l, l.Must(sweep...).Stdout); got != want {
		t.Errorf("run again\n%s\nundisturbed\n%s", got, want)
	}
	wantOnce(t, l)
}

// A unit whose process dies is done again, by the sweep that lives.
func TestAUnitThatDiesIsDoneAgain(t *testing.T) {
	t.Parallel()
	prepared, sweep := swept(t)
	alone := prepared.CopyOf(t)
	want := results(t, alone, alone.Must(sweep...).Stdout)
	l := prepared.CopyOf(t)
	parent := l.Start([]string{"QUANT_TEST_JOB_FAILPOINT=sweep.unit.trials:stop"}, append(sweep, "--workers", "2")...)
	killed := 0
	ended := make(chan labtest.Result, 1)
	go func() { ended <- parent.Wait() }()
	var r labtest.Result
	l.Eventually("the sweep ends", func() bool {
		for _, pid := range children(parent.Process.Pid) {
			switch {
			case !labtest.IsStopped(pid):
			case killed == 0:
				killed = pid
				_ = syscall.Kill(pid, syscall.SIGKILL)
			case pid != killed:
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
		select {
		case r = <-ended:
			return true
		default:
			return false
		}
	})
	l.WantCode(r, 0)
	if killed == 0 {
		t.Fatal("no unit was killed")
	}
	if got := results(t, l, r.Stdout); got != want {
		t.Errorf("with a unit killed\n%s\nundisturbed\n%s", got, want)
	}
	failed := 0
	for _, run := range l.Runs() {
		if run.Kind == "sweep" && run.Status == "FAIL" {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d attempts failed, for one that was killed", failed)
	}
	wantOnce(t, l)
	l.WantClosed()
	l.WantAgreement()
}

// Ctrl-C ends a sweep and what its own workers do.
func TestASweepThatIsEndedEndsItsOwnUnits(t *testing.T) {
	t.Parallel()
	l, sweep := swept(t)
	parent, unit, _ := stoppedSweep(t, l, append(sweep, "--workers", "2"))
	parent.Signal(syscall.SIGINT)
	l.WantCode(endOf(l, parent), 128+int(syscall.SIGINT))
	l.Eventually("its unit has ended", func() bool { return syscall.Kill(unit, 0) != nil })
	if list := l.Must("jobs", "list", "--state", "running,queued,retrying").Stdout; strings.Contains(list, "sweep") {
		t.Errorf("jobs are left: %s", list)
	}
	wantNothingOfTrials(t, l)
}

// What a sweep that was killed has left in its own queue is told as abandoned, and any
// worker clears it away.
func TestWhatAKilledSweepLeavesInItsQueueIsClearedAway(t *testing.T) {
	t.Parallel()
	l, sweep := swept(t)
	parent, unit, job := stoppedSweep(t, l, append(sweep, "--workers", "1")) // the second unit waits
	parent.Signal(syscall.SIGKILL)
	l.WantCode(parent.Wait(), labtest.Killed)
	l.Eventually("its unit has died with it", func() bool { return syscall.Kill(unit, 0) != nil })
	list := l.Must("jobs", "list")
	if strings.Count(list.Stdout, "abandoned") != 1 || strings.Count(list.Stdout, "queued") != 1 || !strings.Contains(list.Stderr, "nobody works at 1 job any more") {
		t.Errorf("jobs after the kill: %s", list)
	}
	l.Must("worker", "--until-empty")
	list = l.Must("jobs", "list")
	if strings.Count(list.Stdout, "cancelled") != 2 || strings.Contains(list.Stderr, "nobody works") {
		t.Errorf("jobs %d and the one after it, once a worker has looked: %s", job, list)
	}
	wantNothingOfTrials(t, l)
}
