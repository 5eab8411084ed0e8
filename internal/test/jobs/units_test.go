package jobs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// learns is a program that learns the mean of the labels, keeps it, and predicts it
// with a tenth of the first feature. It waits while there is a file hold, and fails while
// there is one called fail.
const learns = `#!/bin/sh
set -e
if [ -e hold ]; then echo $$ >> learning; fi
while [ -e hold ]; do sleep 0.05; done
if [ -e fail ]; then echo "nothing can be learned" >&2; exit 3; fi
if [ -n "$QUANT_FIT" ]; then
  awk -F, 'NR==1{for(i=1;i<=NF;i++) c[$i]=i; next} {s+=$c["label"]; n++} END{printf "%.12f\n", s/n}' "$QUANT_FIT" > "$QUANT_MODEL/mean"
  echo "{\"fitted\": $(cat "$QUANT_MODEL/mean")}" > "$QUANT_METRICS"
fi
if [ -n "$QUANT_PREDICT" ]; then
  awk -F, -v mean="$(cat "$QUANT_MODEL/mean")" 'NR==1{print "symbol,ts,score"; next} {printf "%s,%s,%.12f\n", $1, $2, mean+0.1*$3}' "$QUANT_PREDICT" > "$QUANT_PREDICTIONS"
fi
`

// learning is a lab with an experiment of four folds, and trainings of it.
func learning(t *testing.T) (l *labtest.Lab, linear, byProgram []string) {
	t.Helper()
	l = labtest.New(t)
	l.Write("p.csv", labtest.PriceFile(1, 300, "A", "B", "C", "D", "E", "F"))
	l.Write(".env", []byte("QUANT_CALENDAR=data\n"))
	l.Write("code/learns.sh", []byte(learns))
	l.Must("ingest", "p.csv")
	l.Must("features")
	l.Must("labels", "--horizon", "5")
	l.Must("experiments", "create", "e", "--features", "ret_5d@v1,ret_20d@v1,vol_20d@v1", "--label", "fwd_ret_5d@v1", "--folds", "4", "--seed", "7")
	train := []string{"train", "--experiment", "e", "--output", "json"}
	return l, append(train, "--importance", "permutation"), append(train, "--format", "csv", "--", "sh", "code/learns.sh")
}

// with is a command line with flags before its program.
func with(line []string, flags ...string) []string {
	for i, word := range line {
		if word == "--" {
			return append(append(append([]string{}, line[:i]...), flags...), line[i:]...)
		}
	}
	return append(append([]string{}, line...), flags...)
}

// trained is all that the newest training of a lab came to: what it printed, the
// model's file, what stands of it, and what is recorded of its run.
func trained(t *testing.T, l *labtest.Lab, r labtest.Result) string {
	t.Helper()
	var report struct{ File string }
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || report.File == "" || r.Code != 0 {
		t.Fatalf("%v: %v", err, r)
	}
	run := strings.TrimSpace(l.MetaRows("SELECT run_id FROM runs JOIN run_process USING (run_id) WHERE kind = 'train' AND status = 'SUCCESS' AND changes = 1 ORDER BY run_id DESC LIMIT 1"))
	return strings.ReplaceAll(strings.Join([]string{strings.Replace(r.Stdout, `"change": "unchanged"`, `"change": "created"`, 1), // run again after it was stored
		content(t, l, report.File),
		l.MetaRows("SELECT model_id, params_json, metrics_json, train_range FROM models ORDER BY 1"),
		l.MetaRows("SELECT name, points, last_step, last, min, max FROM run_metrics WHERE run_id = '" + run + "' ORDER BY 1"),
		l.MetaRows("SELECT direction, kind, name, digest FROM run_io WHERE run_id = '" + run + "' AND kind NOT IN ('run', 'meta') ORDER BY 1, 2, 3"),
		l.MetaRows("SELECT name, digest FROM run_artifacts WHERE run_id = '" + run + "' AND name <> 'program.log' ORDER BY 1"),
	}, "\n"), l.Path(), "LAB") // a model says where its program was started
}

func TestATrainingWithWorkersGivesWhatOneProcessGives(t *testing.T) {
	t.Parallel()
	prepared, linear, byProgram := learning(t)
	for name, line := range map[string][]string{"linear": linear, "program": byProgram} {
		alone := prepared.CopyOf(t)
		want := trained(t, alone, alone.Must(line...))
		for _, workers := range []string{"1", "3"} {
			t.Run(name+" "+workers, func(t *testing.T) {
				t.Parallel()
				l := prepared.CopyOf(t)
				if got := trained(t, l, l.Must(with(line, "--workers", workers)...)); got != want {
					t.Error(firstDifference(got, want))
				}
				wantUnits(t, l, 4)
				wantNothingStaged(t, l)
				l.Must("repro", "last")
			})
		}
		t.Run(name+" queue", func(t *testing.T) {
			t.Parallel()
			l := prepared.CopyOf(t)
			worker := l.Start(nil, "worker", "--slots", "2")
			if got := trained(t, l, l.Must(with(line, "--workers", "queue")...)); got != want {
				t.Error(firstDifference(got, want))
			}
			worker.Signal(syscall.SIGTERM)
			worker.Wait()
			wantUnits(t, l, 4)
			wantNothingStaged(t, l)
		})
	}
}

// firstDifference says where two texts of lines differ first.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "with workers\n" + a[i] + "\nand without\n" + b[i]
		}
	}
	return fmt.Sprintf("with workers %d lines, and without %d", len(a), len(b))
}

// content is that of a file in the data folder.
func content(t *testing.T, l *labtest.Lab, name string) string {
	t.Helper()
	text, err := os.ReadFile(l.Path("data", name))
	labtest.Must(t, err)
	return string(text)
}

// wantUnits holds that so many units ended well, and nothing of them is left.
func wantUnits(t *testing.T, l *labtest.Lab, want int) {
	t.Helper()
	l.WantClosed()
	l.WantAgreement()
	if got := strings.TrimSpace(l.MetaRows("SELECT count(DISTINCT run_id) FROM runs JOIN run_io USING (run_id) WHERE status = 'SUCCESS' AND run_io.kind = 'staged'")); got != strconv.Itoa(want) {
		t.Errorf("%s units were staged, want %d", got, want)
	}
	l.Must("doctor")
}

// wantNothingStaged holds that no outputs are left of units that ended well.
func wantNothingStaged(t *testing.T, l *labtest.Lab) {
	t.Helper()
	staged, err := filepath.Glob(l.Path("data", "*.outputs", "*"))
	labtest.Must(t, err)
	for _, folder := range staged { // what a unit left that was killed, gc removes
		if run := statusOf(l, filepath.Base(folder)); run.Status == "SUCCESS" {
			t.Errorf("the outputs of a unit that ended well are left: %s", folder)
		}
	}
}

// stoppedUnit waits until one of the units that a process started is stopped.
func stoppedUnit(l *labtest.Lab, parent *labtest.Process) (pid int) {
	l.T.Helper()
	l.Eventually("a unit stops", func() bool {
		for _, child := range children(parent.Process.Pid) {
			if labtest.IsStopped(child) {
				pid = child
			}
		}
		return pid != 0
	})
	return pid
}

// ended reports whether a child has ended, though nobody has waited for it.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// gone waits until processes have ended.
func gone(l *labtest.Lab, pids []int) {
	l.T.Helper()
	l.Eventually("its units have died with it", func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
	})
}

// killed tries a command line with workers, killed with its units while one of them is
// at a step, and killed itself at others; what it comes to when it is run again is what
// of says of it in a lab where nothing happened.
func killed(t *testing.T, prepared *labtest.Lab, line, unitSteps, steps []string, units int, of func(*testing.T, *labtest.Lab, labtest.Result) string) {
	t.Helper()
	alone := prepared.CopyOf(t)
	want := of(t, alone, alone.Must(line...))
	line = with(line, "--workers", "2")
	n := soak.Count(t, 2, 5) // of the steps
	unitSteps, steps = unitSteps[:min(n, len(unitSteps))], steps[:min(n, len(steps))]
	again := func(t *testing.T, l *labtest.Lab) {
		t.Helper()
		l.Must("runs", "list")
		l.WantClosed()
		l.WantAgreement()
		if got := of(t, l, l.Must(line...)); got != want {
			t.Error(firstDifference(got, want))
		}
		wantUnits(t, l, units)
	}
	for _, step := range unitSteps {
		t.Run("unit "+step, func(t *testing.T) {
			t.Parallel()
			l := prepared.CopyOf(t)
			parent := l.Start([]string{"QUANT_TEST_JOB_FAILPOINT=" + step + ":stop"}, line...)
			stoppedUnit(l, parent)
			units := children(parent.Process.Pid)
			parent.Signal(syscall.SIGKILL)
			if r := parent.Wait(); r.Code != labtest.Killed {
				t.Fatalf("it ended by itself: %v", r)
			}
			gone(l, units)
			again(t, l)
		})
	}
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := prepared.CopyOf(t)
			l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=" + step + ":kill"}, line...).Wait(), labtest.Killed)
			again(t, l)
			if step != "fact.commit.after" && step != "outputs.take.after" { // then gc removes them: they are not asked for again
				wantNothingStaged(t, l)
			}
		})
	}
	t.Run("a unit that dies is worked out again", func(t *testing.T) {
		t.Parallel()
		l := prepared.CopyOf(t)
		parent := l.Start([]string{"QUANT_TEST_JOB_FAILPOINT=" + unitSteps[0] + ":stop"}, line...)
		labtest.Must(t, syscall.Kill(stoppedUnit(l, parent), syscall.SIGKILL))
		l.Eventually("a job is tried again", func() bool {
			for _, pid := range children(parent.Process.Pid) {
				if labtest.IsStopped(pid) {
					_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended meanwhile
				}
			}
			return ended(parent.Process.Pid)
		})
		if got := of(t, l, parent.Wait()); got != want {
			t.Error(firstDifference(got, want))
		}
		wantUnits(t, l, units)
		if n := strings.TrimSpace(l.MetaRows("SELECT count(*) FROM runs WHERE status = 'FAIL' AND error_text LIKE '%ended without finishing%'")); n != "1" {
			t.Errorf("%s runs died, want 1", n)
		}
	})
	t.Run("a unit that dies each time ends it", func(t *testing.T) {
		t.Parallel()
		l := prepared.CopyOf(t)
		r := l.Start([]string{"QUANT_TEST_JOB_FAILPOINT=" + unitSteps[0] + ":kill"}, line...).Wait()
		l.WantCode(r, 1)
		if !strings.Contains(r.Stderr, "of this run failed: ") || !strings.Contains(r.Stderr, "ended without finishing") {
			t.Errorf("it does not say why it failed: %v", r)
		}
		l.WantClosed()
		l.WantAgreement()
		if list := l.Must("jobs", "list").Stdout; strings.Contains(list, "running") || strings.Contains(list, "queued") || strings.Contains(list, "retrying") {
			t.Errorf("jobs are left:\n%s", list)
		}
		again(t, l)
	})
}

func TestATrainingWhoseWorkersOrItselfAreKilledGivesTheSameWhenRunAgain(t *testing.T) {
	t.Parallel()
	prepared, _, byProgram := learning(t)
	killed(t, prepared, byProgram, []string{"train.unit.learned", "outputs.manifest.after", "outputs.written", "outputs.manifest.before", "meta.finish.before"},
		[]string{"train.dispatched", "train.stored"}, 4, trained)
}

// A program that fails ends its training with its cause, one that works is ended with
// it, and what was learned before a file beside its code changed is learned again.
func TestATrainingByAProgramWithWorkers(t *testing.T) {
	t.Parallel()
	prepared, _, line := learning(t)
	line = with(line, "--workers", "2")
	t.Run("it fails", func(t *testing.T) {
		t.Parallel()
		l := prepared.CopyOf(t)
		l.Write("fail", nil)
		r := l.Want(1, line...)
		if !strings.Contains(r.Stderr, "of this run failed: ") || !strings.Contains(r.Stderr, "nothing can be learned") {
			t.Errorf("it does not say why: %v", r)
		}
		if list := l.Must("jobs", "list").Stdout; strings.Contains(list, "running") || strings.Contains(list, "queued") || strings.Contains(list, "retrying") {
			t.Errorf("jobs are left:\n%s", list)
		}
		l.WantClosed()
		labtest.Must(t, os.Remove(l.Path("fail")))
		l.Must(line...)
		wantUnits(t, l, 4)
	})
	t.Run("it works while its training is killed", func(t *testing.T) {
		t.Parallel()
		l := prepared.CopyOf(t)
		l.Write("hold", nil)
		parent := l.Start(nil, line...)
		var programs []int
		l.Eventually("two programs learn", func() bool {
			programs = nil
			text, _ := os.ReadFile(l.Path("learning"))
			for _, word := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(word); err == nil {
					programs = append(programs, pid)
				}
			}
			return len(programs) == 2 || ended(parent.Process.Pid)
		})
		units := children(parent.Process.Pid)
		parent.Signal(syscall.SIGKILL)
		if r := parent.Wait(); r.Code != labtest.Killed {
			t.Fatalf("it ended by itself: %v", r)
		}
		gone(l, append(units, programs...))
		labtest.Must(t, os.Remove(l.Path("hold")))
		l.Must(line...)
		wantUnits(t, l, 4)
	})
	for name, taken := range map[string]bool{"data.csv": true, "code/module.py": false} {
		t.Run("a change of "+name, func(t *testing.T) {
			t.Parallel()
			l := prepared.CopyOf(t)
			l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=train.dispatched:kill"}, line...).Wait(), labtest.Killed)
			l.Write(name, []byte("another"))
			if r := l.Must(line...); strings.Contains(r.Stderr, "4 of 4 folds were learned by a training that did not come to its end") != taken {
				t.Errorf("folds are taken over: %v, want %v\n%v", !taken, taken, r)
			}
			wantUnits(t, l, map[bool]int{true: 4, false: 8}[taken])
		})
	}
	t.Run("a unit is no run to repeat", func(t *testing.T) {
		t.Parallel()
		l := prepared.CopyOf(t)
		l.Must(line...)
		unit := strings.Fields(l.MetaRows("SELECT run_id FROM run_io WHERE kind = 'staged' LIMIT 1"))[0]
		if r := l.Want(6, "repro", unit); !strings.Contains(r.Stderr, "worked out a part of what run") {
			t.Error(r)
		}
		if list := l.Must("runs", "list", "--limit", "0").Stdout; strings.Contains(list, unit[len(unit)-8:]) {
			t.Errorf("units are among the runs that change something:\n%s", list)
		}
	})
}

// featured is a lab with prices of seven symbols, one of them shorter than the others, of
// which features stand that a later bar made stale, and a computation of them.
func featured(t *testing.T) (*labtest.Lab, []string) {
	t.Helper()
	l := labtest.New(t)
	l.Write("p.csv", labtest.PriceFile(1, 120, "A", "B", "C", "D", "E", "F"))
	l.Write("q.csv", labtest.PriceFile(2, 150, "C"))
	l.Write("r.csv", labtest.PriceFile(3, 40, "G"))
	l.Write(".env", []byte("QUANT_CALENDAR=data\n"))
	l.Must("ingest", "p.csv")
	l.Must("features", "--symbols", "A,B,C")
	l.Must("ingest", "q.csv", "r.csv")
	l.Write("f.yaml", []byte("version: mine\ndescription: three\nfeatures:\n  M5: Mean($close, 5) / $close\n  R2: $close / Ref($close, 2) - 1\n  S9: Std($close, 9)\n"))
	return l, []string{"features", "--output", "json"}
}

// computed is all that stands of features, and what is recorded of the newest
// computation of them.
func computed(t *testing.T, l *labtest.Lab, r labtest.Result) string {
	t.Helper()
	if r.Code != 0 {
		t.Fatal(r)
	}
	run := strings.TrimSpace(l.MetaRows("SELECT run_id FROM runs JOIN run_process USING (run_id) WHERE kind = 'features' AND status = 'SUCCESS' AND changes = 1 ORDER BY run_id DESC LIMIT 1"))
	wrote := strings.TrimSpace(l.FactRows("SELECT run_id FROM ledger ORDER BY committed_at DESC LIMIT 1")) // another one, where it was killed after it had committed
	return strings.Join([]string{
		l.FactRows("SELECT symbol, ts, feature_name, feature_version, feature_value, hash(feature_value) FROM features_daily ORDER BY ALL"),
		l.FactRows("SELECT *, hash(ret_1d, ret_5d, ret_20d, ret_60d) FROM returns ORDER BY ALL"),
		l.FactRows("SELECT table_name, rows_inserted, rows_updated, rows_deleted FROM ledger WHERE run_id = '" + wrote + "' ORDER BY ALL"),
		l.FactRows("SELECT * EXCLUDE (run_id) FROM fact_slices ORDER BY ALL"),
		l.MetaRows("SELECT direction, run_io.kind, name, digest FROM run_io WHERE run_id = '" + run + "' AND direction = 'in' AND kind <> 'run' ORDER BY 1, 2, 3"),
	}, "\n")
}

func TestFeaturesWithWorkersAreThoseOfOneProcess(t *testing.T) {
	t.Parallel()
	prepared, builtIn := featured(t)
	for name, c := range map[string]struct {
		line  []string
		units int
	}{"v1": {builtIn, 3}, "file": {[]string{"features", "--file", "f.yaml", "--output", "json"}, 4}, "alpha158": {[]string{"features", "--feature-version", "alpha158", "--symbols", "G,B,C,A", "--output", "json"}, 4}} {
		line := c.line
		alone := prepared.CopyOf(t)
		r := alone.Must(line...)
		want, says := computed(t, alone, r), r.Stdout
		for _, workers := range []string{"1", "3"} {
			t.Run(name+" "+workers, func(t *testing.T) {
				t.Parallel()
				l := prepared.CopyOf(t)
				r := l.Must(with(line, "--workers", workers)...)
				if got := computed(t, l, r); got != want {
					t.Error(firstDifference(got, want))
				}
				if r.Stdout != says {
					t.Error(firstDifference(r.Stdout, says))
				}
				wantUnits(t, l, c.units)
				wantNothingStaged(t, l)
				l.Must("repro", "last")
				if r := l.Must(with(line, "--workers", workers)...); !strings.Contains(r.Stderr, "nothing changed") {
					t.Errorf("it is done again: %v", r)
				}
				wantUnits(t, l, c.units)
			})
		}
	}
}

func TestFeaturesWhoseWorkersOrThemselvesAreKilledAreTheSameWhenComputedAgain(t *testing.T) {
	t.Parallel()
	prepared, line := featured(t)
	killed(t, prepared, line, []string{"outputs.written", "meta.finish.before", "outputs.manifest.before", "outputs.manifest.after"},
		[]string{"fact.commit.before", "outputs.take.after", "features.dispatched", "outputs.take.before", "fact.commit.after"}, 3, computed)
}

const modelStrategy = `strategy_id: m
version: "1"
universe: {type: symbols, symbols: [A, B, C, D, E, F]}
signal: {type: model_score, inputs: {model_id: "experiment:e", task_id: wf}}
rebalance: {frequency: daily, asof_policy: close}
portfolio: {top_k: 2, weighting: equal}
backtest: {fee_bps: 5}
`

// A pipeline comes to the same with workers, and is skipped by one without, and the
// other way round.
func TestAPipelineWithWorkersGivesWhatOneProcessGives(t *testing.T) {
	t.Parallel()
	prepared, _, _ := learning(t)
	prepared.Write("m.yaml", []byte(modelStrategy))
	days := strings.Fields(prepared.FactRows("SELECT CAST(min(ts) AS TEXT), CAST(max(ts) AS TEXT) FROM features_daily"))
	line := []string{"pipeline", "run", "--strategy", "m.yaml", "--from", days[0], "--to", days[len(days)-1], "--output", "json", "--format", "csv", "--", "sh", "code/learns.sh"}
	workers := with(line, "--workers", "2")
	came := func(l *labtest.Lab) string {
		return l.FactRows(`SELECT (SELECT sum(hash(symbol, ts, model_id, task_id, score)) FROM predictions), (SELECT sum(hash("asof", symbol, weight, score)) FROM targets),
			(SELECT string_agg(result_digest, ' ') FROM backtest_details)`) +
			l.MetaRows("SELECT json_extract(config_json, '$.argv'), json_extract(config_json, '$.flags.workers') FROM runs JOIN run_process USING (run_id) WHERE kind = 'train' AND changes = 1")
	}
	alone, divided := prepared.CopyOf(t), prepared.CopyOf(t)
	alone.Must(line...)
	divided.Must(workers...)
	if got, want := came(divided), came(alone); got != want {
		t.Error(firstDifference(got, want))
	}
	wantUnits(t, divided, 4)
	for l, again := range map[*labtest.Lab][]string{alone: workers, divided: line} {
		if r := l.Must(again...); !strings.Contains(r.Stderr, "nothing to do: every stage stands as it is") {
			t.Errorf("it is done again: %v", r)
		}
	}
	divided.Must("repro", strings.TrimSpace(divided.MetaRows("SELECT run_id FROM runs WHERE kind = 'pipeline.run' ORDER BY run_id LIMIT 1")))
}
