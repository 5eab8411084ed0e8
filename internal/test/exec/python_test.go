package exec

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quant/internal/test/labtest"
)

// python runs a script that uses sdk/python in the lab.
func python(l *labtest.Lab, env []string, script string) labtest.Result {
	l.T.Helper()
	return startPython(l, env, script).Wait()
}

func startPython(l *labtest.Lab, env []string, script string) *labtest.Process {
	l.T.Helper()
	program, err := exec.LookPath("python3")
	if err != nil {
		l.T.Skip("not run: there is no python3 here")
	}
	sdk, err := filepath.Abs("../../../sdk/python")
	labtest.Must(l.T, err)
	cmd := l.Command("python3", "-c", script)
	cmd.Path, cmd.Args = program, []string{"python3", "-c", script}
	// A version manager's python3 finds its versions below the true home.
	cmd.Env = append(append(cmd.Env, "PYTHONPATH="+sdk, "PYTHONDONTWRITEBYTECODE=1", "HOME="+os.Getenv("HOME")), env...)
	return l.StartCmd(cmd)
}

// reading is a lab with a run to log to, and its id.
func reading(t *testing.T) (*labtest.Lab, string) {
	t.Helper()
	l := labtest.New(t)
	l.Must("config")
	return l, l.RunOf("config").ID
}

const recorded = `SELECT 'param', name, value FROM run_params UNION ALL SELECT 'tag', name, value FROM run_tags UNION ALL
	SELECT 'metric', name, points || ' ' || last_step || ' ' || round(last, 3) FROM run_metrics UNION ALL
	SELECT 'note', note, text FROM run_notes UNION ALL SELECT 'artifact', name, bytes FROM run_artifacts ORDER BY 1, 2`

func TestPythonRecordsInsideARun(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	l.Write("plots/loss.txt", []byte("abc"))
	r := python(l, []string{"QUANT_RUN_ID=" + id}, `
import quant_run
class Scalar:  # as numpy's and torch's
    def __float__(self): return 0.125
run = quant_run.run()
run.param("lr", 0.1)
run.params({"optim": {"name": "adam", "betas": [0.9, 0.99]}, "flag": True, "none": None, "api_key": "hunter22"})
for i in range(3):
    run.metric("loss", 1 / (i + 1), step=i)
run.metrics({"acc": Scalar(), "f1": 1})
run.tag("name", "first")
run.tags({"team": "alpha"})
run.note("한글\nsecond line")
run.artifact("plots/loss.txt", name="loss/loss.txt")
run.artifact("plots")
for wrong in (lambda: run.param("", 1), lambda: run.note(" "), lambda: run.tag("t", "v" * 9000), lambda: run.note("\ud800")):
    try:
        wrong()
    except ValueError:
        continue
    raise SystemExit("taken")
assert run.close() and run.close()
try:
    run.note("late")
except quant_run.QuantError:
    pass
else:
    raise SystemExit("recorded after close")
`)
	if r.Code != 0 || r.Stderr != "" || r.Stdout != "" {
		t.Fatal(r)
	}
	want := `artifact loss.txt 3
artifact loss/loss.txt 3
metric acc 1 0 0.125
metric f1 1 0 1.0
metric loss 3 2 0.333
note 1 한글
second line
param api_key ***
param flag true
param lr 0.1
param none None
param optim.betas [0.9, 0.99]
param optim.name adam
tag name first
tag team alpha
`
	if got := l.MetaRows(recorded); got != want {
		t.Errorf("%s", got)
	}
	if run := l.RunOf("log"); run.Status != "SUCCESS" {
		t.Error(run)
	}
	if got := l.MetaRows("SELECT count(*) FROM run_process p JOIN runs r USING (run_id) WHERE kind = 'log' AND parent_run_id = '" + id + "'"); got != "1\n" {
		t.Error(got)
	}
	l.WantClosed()
}

func TestPythonLeavesOutWhatIsNotFiniteAndRefusesWhatIsNoNumber(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	r := python(l, []string{"QUANT_RUN_ID=" + id}, `
import quant_run
class Array:  # of one element, as numpy's
    ndim = 1
    def __float__(self): raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
    def item(self): return True
class Bool:  # as numpy's bool_ and torch's
    ndim = 0
    def item(self): return True
    def __str__(self): return "True"
run, strict = quant_run.run(), quant_run.run(strict=True)
for number in (float("nan"), 0.5, float("inf"), float("nan")):
    run.metric("loss", number)
run.metrics({"acc": float("nan"), "f1": 1.0})
run.params({"own": True, "theirs": Bool(), "list": [Bool(), 1]})
run.tag("flag", Bool())
for wrong in (Array(), None, 1j, "half", 10**400, [1.0], object()):
    try:
        run.metric("x", wrong)
    except ValueError as error:
        assert "metric 'x'" in str(error), error
        continue
    raise SystemExit("taken")
for call in (lambda: strict.metric("x", float("nan")), lambda: strict.metric("x", float("-inf")), lambda: run.metric("x", 1, step=[])):
    try:
        call()
    except ValueError:
        continue
    raise SystemExit("taken")
assert run.close() and strict.close()
`)
	if r.Code != 0 || strings.Count(r.Stderr, "\n") != 2 || !strings.Contains(r.Stderr, "metric 'loss': nan is no finite number") || !strings.Contains(r.Stderr, "metric 'acc'") {
		t.Fatal(r)
	}
	want := "metric f1 1 0 1.0\nmetric loss 1 0 0.5\nparam list [true, 1]\nparam own true\nparam theirs true\ntag flag true\n"
	if got := l.MetaRows(recorded); got != want {
		t.Errorf("%s", got)
	}
}

func TestPythonSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	if r := python(l, nil, "import quant_run; quant_run.run()"); r.Code != 1 || !strings.Contains(r.Stderr, "QuantError: no run to record to: start the program with `quant exec") {
		t.Error(r)
	}
	if r := python(l, []string{"QUANT_RUN_ID=" + id}, "import quant_run; quant_run.run(quant='no-such-quant')"); r.Code != 1 || !strings.Contains(r.Stderr, "is not on PATH: install quant") {
		t.Error(r)
	}
}

func TestPythonTellsOfAFailedRecordOnceAndGoesOn(t *testing.T) {
	t.Parallel()
	l, _ := reading(t)
	r := python(l, nil, `
import quant_run, time
run = quant_run.run("00000000")
for i in range(2000):
    run.metric("loss", i)
print("trained", run.close())
`)
	if r.Code != 0 || r.Stdout != "trained False\n" || strings.Count(r.Stderr, "quant_run: quant log failed (exit status 4)") != 1 || !strings.Contains(r.Stderr, `no run "00000000"`) {
		t.Error(r)
	}
	// A line that is refused costs only itself.
	r = python(l, nil, `
import quant_run
run = quant_run.run("last:config")
run.param("lr", 1)
run.param("lr", 2)
run.metric("loss", 1)
print(run.flush())
run.metric("loss", 2)
print(run.close())
`)
	if r.Code != 0 || r.Stdout != "False\nTrue\n" || strings.Count(r.Stderr, "quant_run: ") != 1 || !strings.Contains(r.Stderr, `param "lr" is "1" already`) {
		t.Error(r)
	}
	if got := l.MetaRows("SELECT points, last FROM run_metrics"); got != "2 2\n" && got != "2 2.0\n" {
		t.Error(got)
	}
}

func TestPythonKeepsWhatAProgramRecordedBeforeItsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"an exception": "raise KeyError('x')",
		"exit":         "sys.exit(3)",
		"_exit":        "os._exit(0)",
		"kill -9":      "os.kill(os.getpid(), 9)",
		"interrupt":    "os.kill(os.getpid(), 2); time.sleep(60)",
		"SIGTERM":      "os.kill(os.getpid(), 15); time.sleep(60)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, id := reading(t)
			python(l, []string{"QUANT_RUN_ID=" + id}, `
import os, sys, time, quant_run
run = quant_run.run()
for i in range(5000):
    run.metric("loss", i)
`+end)
			l.Eventually("all points are stored", func() bool {
				return l.MetaRows("SELECT coalesce(sum(points), 0) FROM run_metrics") == "5000\n"
			})
			l.Eventually("its record is closed", func() bool { return l.RunOf("log").Status == "SUCCESS" })
		})
	}
}

func TestPythonSurvivesAnInterruptOfItsTerminal(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	p := startPython(l, []string{"QUANT_RUN_ID=" + id}, `
import sys, time, quant_run
run = quant_run.run()
run.metric("loss", 1)
try:
    open("ready", "w").close()
    time.sleep(60)
except KeyboardInterrupt:
    run.metric("loss", 2)
    sys.exit(0 if run.close() else 1)
`)
	l.Eventually("it records", func() bool { _, err := os.Stat(l.Path("ready")); return err == nil })
	p.Signal(syscall.SIGINT)
	if r := p.Wait(); r.Code != 0 || r.Stderr != "" {
		t.Error(r)
	}
	if got := l.MetaRows("SELECT sum(points) FROM run_metrics"); got != "2\n" {
		t.Error(got)
	}
}

func TestPythonThreadsAndForksTearNothing(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	r := python(l, []string{"QUANT_RUN_ID=" + id}, `
import multiprocessing, os, threading, quant_run
run = quant_run.run()

def work(name, n):
    for i in range(n):
        run.metric(name, i, step=i)

threads = [threading.Thread(target=work, args=("thread%d" % i, 500)) for i in range(8)]
for t in threads: t.start()
workers = [multiprocessing.get_context("fork").Process(target=work, args=("worker%d" % i, 500)) for i in range(4)]
for w in workers: w.start()
pid = os.fork()
if pid == 0:
    work("fork", 500)
    os._exit(0 if run.close() else 1)
assert os.waitpid(pid, 0)[1] == 0
for w in workers: w.join()
assert all(w.exitcode == 0 for w in workers)
for t in threads: t.join()
assert run.close()
`)
	if r.Code != 0 || strings.Contains(r.Stderr, "quant_run") {
		t.Fatal(r)
	}
	if got := l.MetaRows("SELECT count(*), sum(points), min(points), max(last) FROM run_metrics"); got != "13 6500 500 499\n" && got != "13 6500 500 499.0\n" {
		t.Error(got)
	}
	if got := l.MetaRows("SELECT count(*), min(status) FROM runs WHERE kind = 'log'"); got != "6 SUCCESS\n" {
		t.Error(got)
	}
}
