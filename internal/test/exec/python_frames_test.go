package exec

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quant/internal/test/labtest"
	"quant/internal/test/tried"
)

// withPackages runs a program of testdata/python on a Python that has what it needs.
func withPackages(l *labtest.Lab, name string) labtest.Result {
	l.T.Helper()
	program := tried.Python(l.T, "QUANT_TEST_FRAMES_PYTHON", filepath.Join("testdata", "python", "requirements.txt"))
	sdk, err := filepath.Abs("../../../sdk/python")
	labtest.Must(l.T, err)
	script, err := filepath.Abs(filepath.Join("testdata", "python", name))
	labtest.Must(l.T, err)
	cmd := exec.Command(program, script)
	own := l.Command()
	cmd.Dir, cmd.Env = own.Dir, append(own.Env, "PYTHONPATH="+sdk, "PYTHONDONTWRITEBYTECODE=1", "HOME="+l.Path())
	return l.StartCmd(cmd).Wait()
}

func TestFramesOfALab(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("prices.csv", labtest.PriceFile(1, 40, "AAPL", "IBM", "MSFT"))
	l.Must("ingest", "prices.csv")
	if r := withPackages(l, "frames.py"); r.Code != 0 {
		t.Fatalf("exit status %d: %s", r.Code, r.Stderr)
	}
	// Each import is a child of the run that computed it.
	same(t, l.MetaRows(`SELECT DISTINCT child.kind FROM run_process p JOIN runs child USING (run_id) JOIN runs parent ON parent.run_id = p.parent_run_id WHERE parent.kind = 'fit' ORDER BY 1`),
		[]string{"features.import", "predictions.import"})
	l.Must("doctor")
}

// A notebook's run ends when its kernel does, in whatever way.
func TestRunsOfNotebooks(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("config")
	if r := withPackages(l, "kernels.py"); r.Code != 0 {
		t.Fatalf("exit status %d: %s", r.Code, r.Stderr)
	}
	l.Eventually("all have ended", func() bool { return !strings.Contains(l.MetaRows(ofOwnRuns), "RUNNING") })
	const gone = "|FAIL|the program ended without finishing the run"
	same(t, l.MetaRows(ofOwnRuns), []string{
		"killed" + gone, "restarted" + gone, "again|SUCCESS|", "block|SUCCESS|", "raised|FAIL|ZeroDivisionError: division by zero",
		"interrupted|FAIL|KeyboardInterrupt", "after|SUCCESS|", "left|FAIL|the session ended before the run did: end it with run.end()",
	})
	same(t, l.MetaRows("SELECT kind || '|' || group_concat(name || '|' || points, ',') FROM run_metrics JOIN runs USING (run_id) GROUP BY kind ORDER BY kind"),
		[]string{"again|loss|2", "block|한글|1", "interrupted|loss|1", "killed|loss|1", "left|loss|1", "restarted|loss|1"})
	l.Must("doctor")
}
