package jobs

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

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
