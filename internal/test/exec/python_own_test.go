package exec

import (
	"os"
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
