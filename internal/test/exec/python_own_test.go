package exec

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"quant/internal/test/labtest"
)

// ofOwnRuns are the runs that programs started, oldest first.
const ofOwnRuns = `SELECT kind || '|' || status || '|' || coalesce(error_text, '') FROM runs WHERE kind NOT IN ('log', 'config') ORDER BY started_at, run_id`

func TestPythonStartsARunOfItsOwn(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	r := python(l, nil, `
import os, subprocess, sys
import quant_run
assert "QUANT_RUN_ID" not in os.environ
with quant_run.start("fit", params={"lr": 0.1}, tags={"team": "alpha"}, name="mine") as run:
    assert os.environ["QUANT_RUN_ID"] == run.id
    run.metric("loss", 0.5)
    assert run.flush()
    run.metric("loss", 0.25)
    subprocess.run(["quant", "symbols", "add", "AAPL"], check=True, stdout=subprocess.DEVNULL)
    with quant_run.start("fit.inner") as inner:
        quant_run.run().metric("x", 1)
assert "QUANT_RUN_ID" not in os.environ
assert run.end()
try:
    with quant_run.start("fit"):
        raise ValueError("boom")
except ValueError:
    pass
try:
    with quant_run.start("fit"):
        sys.exit(3)
except SystemExit:
    pass
failed = quant_run.start("fit")
assert failed.end("no memory")
quant_run.start("script")
raise KeyError("at the end")
`)
	if r.Code != 1 || !strings.Contains(r.Stderr, "KeyError: 'at the end'") {
		t.Fatalf("exit status %d: %s", r.Code, r.Stderr)
	}
	same(t, l.MetaRows(ofOwnRuns), []string{
		"fit|SUCCESS|", "symbols.add|SUCCESS|", "fit.inner|SUCCESS|", "fit|FAIL|ValueError: boom", "fit|FAIL|exit status 3",
		"fit|FAIL|no memory", "script|FAIL|KeyError: 'at the end'",
	})
	id := strings.TrimSpace(l.MetaRows("SELECT run_id FROM run_tags WHERE name = 'name' AND value = 'mine'"))
	same(t, l.MetaRows("SELECT child.kind FROM run_process p JOIN runs child USING (run_id) WHERE p.parent_run_id = '"+id+"' AND child.kind <> 'log' ORDER BY child.started_at"),
		[]string{"symbols.add", "fit.inner"})
	same(t, l.MetaRows("SELECT name || '|' || points || '|' || last FROM run_metrics WHERE run_id = '"+id+"'"), []string{"loss|2|0.25"})
	same(t, l.MetaRows("SELECT name || '|' || value FROM run_params WHERE run_id = '"+id+"'"), []string{"lr|0.1"})
	if of, files := pythonOf(l, id); files != "python-packages.txt\n" || of.Version == "" {
		t.Errorf("the Python of the run is not recorded: %+v, %q", of, files)
	}
	l.Must("doctor")
}

// A process that dies without a word, whatever it still runs, leaves a run that
// failed, and what it had handed over.
func TestTheDeathOfPythonEndsItsOwnRun(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	p := startPython(l, nil, `
import os, sys, time
import quant_run
run = quant_run.start("notebook")
run.metric("loss", 0.5)
if os.fork() == 0:  # as a worker does that outlives its parent
    time.sleep(60)
open("ready", "w").write(run.id)
time.sleep(60)
`)
	l.Eventually("the run has begun", func() bool { b, err := os.ReadFile(l.Path("ready")); return err == nil && len(b) > 0 })
	same(t, l.MetaRows(ofOwnRuns), []string{"notebook|RUNNING|"})
	p.Signal(syscall.SIGKILL)
	<-p.Done
	l.Eventually("its run has ended", func() bool { return l.MetaRows(ofOwnRuns) != "notebook|RUNNING|\n" })
	same(t, l.MetaRows(ofOwnRuns), []string{"notebook|FAIL|the program ended without finishing the run"})
	same(t, l.MetaRows("SELECT name || '|' || points FROM run_metrics"), []string{"loss|1"})
}

func TestPythonStartsNothingThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("config")
	for script, want := range map[string]string{
		`quant_run.start("")`:                                  "go with --start",
		`quant_run.start("fit", experiment="none")`:            "none",
		`quant_run.start("fit", quant="no-such-quant")`:        "is not on PATH",
		`quant_run.start("fit", data_dir="/proc/no/such/lab")`: "the run was not started",
		`quant_run.start("fit", params={"a": "x" * 9000})`:     "longer than 8192 bytes",
	} {
		r := python(l, nil, "import quant_run; "+script)
		if r.Code != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: exit status %d: %s", script, r.Code, r.Stderr)
		}
	}
	// The one that had begun when its params were refused.
	same(t, l.MetaRows("SELECT status FROM runs WHERE kind = 'fit'"), []string{"FAIL"})
}

// same compares rows of a query, the cells of one joined by |.
func same(t *testing.T, got string, want []string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// Wherever a program and its threads and processes start, end and leave runs, each run
// ends as what it was.
func TestPythonEndsItsOwnRunsTruly(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("config")
	r := python(l, nil, `
import multiprocessing, os, subprocess, sys, threading, time
import quant_run

def work(i):
    quant_run.run().metric("worker", i)

# Several at once, and ended in another order than they began.
def one(i):
    run = quant_run.start("thread")
    run.metric("a", i)
    time.sleep(0.05)
    assert run.end()
threads = [threading.Thread(target=one, args=(i,)) for i in range(3)]
for t in threads: t.start()
for t in threads: t.join()
assert "QUANT_RUN_ID" not in os.environ, os.environ["QUANT_RUN_ID"]
outer, inner = quant_run.start("outer"), quant_run.start("inner")
assert outer.end() and os.environ["QUANT_RUN_ID"] == inner.id
assert inner.end() and "QUANT_RUN_ID" not in os.environ
assert outer.end() and inner.end()

with quant_run.start("학습", params={"율": 0.1}, tags={"팀": "가"}, name="한글") as run:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=work, args=(i,)) for i in range(3)]
    for w in workers: w.start()
    for w in workers: w.join()
    assert [w.exitcode for w in workers] == [0, 0, 0]

script = "import os, signal, sys, threading, time, quant_run\nquant_run.start(sys.argv[1]).metric('x', 1)\n"
for name, end, status in (
    ("os._exit", "os._exit(0)", 0),
    ("SIGTERM", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -15),
    ("sys.exit", "sys.exit(4)", 4),
    ("said", "sys.exit('no data')", 1),
    ("zero", "sys.exit(0)", 0),
    ("in a thread", "t = threading.Thread(target=sys.exit, args=(4,)); t.start(); t.join()", 0),
):
    got = subprocess.run([sys.executable, "-c", script + end, name], stderr=subprocess.DEVNULL).returncode
    assert got == status, (name, got)
`)
	if r.Code != 0 {
		t.Fatalf("exit status %d: %s", r.Code, r.Stderr)
	}
	const gone = "|FAIL|the program ended without finishing the run"
	l.Eventually("all have ended", func() bool { return !strings.Contains(l.MetaRows(ofOwnRuns), "RUNNING") })
	same(t, l.MetaRows(ofOwnRuns), []string{
		"thread|SUCCESS|", "thread|SUCCESS|", "thread|SUCCESS|", "outer|SUCCESS|", "inner|SUCCESS|", "학습|SUCCESS|",
		"os._exit" + gone, "SIGTERM" + gone, "sys.exit|FAIL|exit status 4", "said|FAIL|exit status no data", "zero|SUCCESS|", "in a thread|SUCCESS|",
	})
	same(t, l.MetaRows("SELECT sum(points) FROM run_metrics WHERE name = 'worker'"), []string{"3"})
}

// A run that a program starts inside one that quant exec runs is a child of it.
func TestPythonStartsARunInsideAnother(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	python, err := exec.LookPath("python3")
	if err != nil {
		labtest.CannotTry(t, "there is no python3 here")
	}
	sdk, err := filepath.Abs("../../../sdk/python")
	labtest.Must(t, err)
	l.Env = append(l.Env, "PYTHONPATH="+sdk, "HOME="+os.Getenv("HOME"))
	l.Must("exec", "--", python, "-c", "import quant_run\nwith quant_run.start('fit') as run: run.metric('x', 1)\nquant_run.run().metric('y', 2)")
	same(t, l.MetaRows("SELECT parent.kind || '|' || child.kind || '|' || child.status FROM run_process p JOIN runs child USING (run_id) JOIN runs parent ON parent.run_id = p.parent_run_id WHERE child.kind = 'fit'"), []string{"exec|fit|SUCCESS"})
	same(t, l.MetaRows("SELECT kind || '|' || name FROM run_metrics JOIN runs USING (run_id) ORDER BY 1"), []string{"exec|y", "fit|x"})
}

// What is run again of a program's own run is the program.
func TestRunsThatPythonStartedAreRunAgain(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("config")
	python, err := exec.LookPath("python3")
	if err != nil {
		labtest.CannotTry(t, "there is no python3 here")
	}
	sdk, err := filepath.Abs("../../../sdk/python")
	labtest.Must(t, err)
	l.Env = append(l.Env, "PYTHONPATH="+sdk, "PYTHONDONTWRITEBYTECODE=1", "HOME="+os.Getenv("HOME"))
	l.Write("fit.py", []byte("import sys, quant_run\nwith quant_run.start('fit', params={'lr': sys.argv[1]}): pass\n"))
	l.Write("ipykernel_launcher.py", []byte("import quant_run\nwith quant_run.start('notebook'): pass\n"))
	for _, args := range [][]string{{"fit.py", "0.1"}, {"-m", "ipykernel_launcher"}} {
		cmd := l.Command()
		cmd.Path, cmd.Args = python, append([]string{"python3"}, args...)
		if r := l.StartCmd(cmd).Wait(); r.Code != 0 {
			t.Fatal(r)
		}
	}
	l.Must("runs", "rerun", "last:fit", "--set-arg", "2=0.2")
	same(t, l.MetaRows("SELECT value FROM run_params JOIN runs USING (run_id) WHERE kind = 'fit' ORDER BY started_at"), []string{"0.1", "0.2"})
	if r := l.Run("runs", "rerun", "last:notebook"); r.Code == 0 || !strings.Contains(r.Stderr, "cells are not on record") {
		t.Errorf("exit status %d: %s", r.Code, r.Stderr)
	}
}
