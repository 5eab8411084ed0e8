package backup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant"
	"quant/internal/artifact"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/test/labtest"
)

// recorded puts a param, points, an artifact and a log to a run.
func recorded(l *labtest.Lab, runID string) {
	l.T.Helper()
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: l.Meta()})
	labtest.Must(l.T, err)
	defer db.Close()
	run, err := db.GetRun(ctx, runID)
	labtest.Must(l.T, err)
	digest, size, err := artifact.Store{Dir: l.Meta() + ".artifacts"}.Put(ctx, strings.NewReader("equity of "+runID))
	labtest.Must(l.T, err)
	b := metastore.Batch{
		Params:    []quant.Param{{RunID: runID, Name: "top_k", Value: "5"}},
		Artifacts: []quant.Artifact{{RunID: runID, Name: "plots/equity.png", Digest: digest, Bytes: size, LoggedAt: run.EndedAt}},
	}
	for i := range 2500 {
		b.Metrics = append(b.Metrics, quant.MetricPoint{RunID: runID, Name: "loss", Step: int64(i), Value: 1 / float64(i+1), LoggedAt: run.EndedAt})
	}
	labtest.Must(l.T, db.Log(ctx, b))
	labtest.Must(l.T, os.MkdirAll(l.Meta()+".logs", 0o700))
	labtest.Must(l.T, os.WriteFile(filepath.Join(l.Meta()+".logs", runID+".log"), []byte("printed\n"), 0o600))
}

// exported is a file of two runs from a lab of their own.
func exported(t *testing.T) (file string, ids []string) {
	t.Helper()
	l := labtest.New(t)
	for _, name := range []string{"AAPL", "MSFT"} {
		l.Must("symbols", "add", name)
		id := l.LastRun().ID
		recorded(l, id)
		ids = append(ids, id)
	}
	l.Must("runs", "export", ids[1], ids[0], "two.qrx")
	if r := l.RunOf("runs.export"); r.Status != string(quant.Success) {
		t.Fatalf("recorded as %+v", r)
	}
	return l.Path("two.qrx"), ids
}

func TestAnImportThatIsKilledHasImportedAllOrNothing(t *testing.T) {
	t.Parallel()
	file, ids := exported(t)
	for _, step := range labtest.PortableSteps {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Must("symbols", "add", "IBM")
			r := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step}, "runs", "import", file).Wait()
			l.WantCode(r, labtest.Killed)
			want := 0
			if step == "carry.committed" {
				want = len(ids)
			}
			if got := strings.Count(l.MetaRows("SELECT run_id FROM run_imports"), "\n"); got != want {
				t.Fatalf("%d runs are imported, want %d", got, want)
			}
			for _, table := range []string{"runs r JOIN run_imports USING (run_id)", "run_artifacts", "run_params", "run_metrics"} {
				if got := l.MetaRows("SELECT count(*) FROM " + table); strings.TrimSpace(got) != fmt.Sprint(want) {
					t.Errorf("%s: %s", table, got)
				}
			}
			l.Must("runs", "import", file)
			l.Must("runs", "export", ids[0], ids[1], "again.qrx")
			sameFile(t, file, l.Path("again.qrx"))
			l.Must("doctor")
			l.WantClosed()
		})
	}
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	labtest.Must(t, err)
	y, err := os.ReadFile(b)
	labtest.Must(t, err)
	if !bytes.Equal(x, y) {
		t.Fatalf("%s and %s differ", a, b)
	}
}

func TestAnExportThatIsKilledLeavesNoFile(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("symbols", "add", "IBM")
	id := l.LastRun().ID
	recorded(l, id)
	r := l.Start([]string{"QUANT_TEST_FAILPOINT=meta.finish.before"}, "runs", "export", id, "one.qrx").Wait()
	l.WantCode(r, labtest.Killed) // the file is whole before the run is closed
	first, err := os.ReadFile(l.Path("one.qrx"))
	labtest.Must(t, err)
	l.Want(5, "runs", "export", id, "one.qrx")
	l.Must("runs", "export", id, "one.qrx", "--force")
	again, err := os.ReadFile(l.Path("one.qrx"))
	labtest.Must(t, err)
	if !bytes.Equal(first, again) {
		t.Error("it was exported as another file")
	}
}

func TestImportedRunsAreNoFaultAndKeepTheirText(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	l.Write("prices.csv", []byte("date,symbol,open,high,low,close,volume\n2024-01-02,IBM,162,163,160,161,3825000\n"))
	l.Must("ingest", "prices.csv")
	success := l.LastRun().ID
	l.Write("prices.csv", []byte("date,symbol,open,high,low,close,volume\n2024-01-03,IBM,162,163,160,161,3825000\n"))
	l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=fact.commit.after"}, "ingest", "prices.csv").Wait(), labtest.Killed)
	l.Must("config") // closes the run that was killed
	var args []string
	for _, r := range l.Runs() {
		args = append(args, r.ID)
	}
	l.Must(append(append([]string{"runs", "export"}, args...), "all.qrx")...)

	other := labtest.New(t)
	other.Must("init-db")
	other.Must("ingest", l.Path("prices.csv")) // with facts of its own
	other.Must("runs", "import", l.Path("all.qrx"))
	before := other.MetaRows("SELECT run_id, error_text FROM runs JOIN run_imports USING (run_id) ORDER BY 1")
	r := other.Must("doctor")
	if strings.Contains(r.Stdout, "fault") || strings.Contains(r.Stdout, success) {
		t.Errorf("doctor says: %s", r.Stdout)
	}
	if after := other.MetaRows("SELECT run_id, error_text FROM runs JOIN run_imports USING (run_id) ORDER BY 1"); after != before {
		t.Errorf("texts were %s, now %s", before, after)
	}
	other.Must(append(append([]string{"runs", "export"}, args...), "all.qrx")...)
	sameFile(t, l.Path("all.qrx"), other.Path("all.qrx"))
}

func TestAHostileFileLeavesARowThatSaysWhy(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("bad.qrx", []byte("PK\x03\x04 no export\x1b[31m"))
	r := l.Want(2, "runs", "import", "bad.qrx")
	if strings.Contains(r.Stderr, "\x1b") {
		t.Errorf("stderr has control characters: %q", r.Stderr)
	}
	l.WantFail(l.RunOf("runs.import"), 2, "the file of runs, at its beginning")
	l.Want(4, "runs", "import", "nosuch.qrx")
	l.Want(2, "runs", "import", ".")
	l.Want(2, "runs", "import", "bad.qrx", "--max-size", "0")
	l.WantClosed()
}

func TestExportAndImportThroughPipes(t *testing.T) {
	t.Parallel()
	file, ids := exported(t)
	l := labtest.New(t)
	cmd := l.Command("runs", "import", "-")
	in, err := os.Open(file)
	labtest.Must(t, err)
	defer in.Close()
	cmd.Stdin = in
	l.WantCode(l.StartCmd(cmd).Wait(), 0)
	r := l.Must("-q", "runs", "export", ids[0], ids[1], "-")
	whole, err := os.ReadFile(file)
	labtest.Must(t, err)
	if r.Stdout != string(whole) {
		t.Errorf("stdout has %d bytes, the file %d", len(r.Stdout), len(whole))
	}
}
