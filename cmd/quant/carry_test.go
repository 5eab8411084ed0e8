package main

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
)

// carrySteps are the failpoints of an import, in its order.
var carrySteps = []string{"carry.contents", "carry.rows", "carry.committed"}

// recorded puts a param, points, an artifact and a log to a run.
func (l *lab) recorded(runID string) {
	l.t.Helper()
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: l.meta()})
	must(l.t, err)
	defer db.Close()
	run, err := db.GetRun(ctx, runID)
	must(l.t, err)
	digest, size, err := artifact.Store{Dir: l.meta() + ".artifacts"}.Put(ctx, strings.NewReader("equity of "+runID))
	must(l.t, err)
	b := metastore.Batch{
		Params:    []quant.Param{{RunID: runID, Name: "top_k", Value: "5"}},
		Artifacts: []quant.Artifact{{RunID: runID, Name: "plots/equity.png", Digest: digest, Bytes: size, LoggedAt: run.EndedAt}},
	}
	for i := range 2500 {
		b.Metrics = append(b.Metrics, quant.MetricPoint{RunID: runID, Name: "loss", Step: int64(i), Value: 1 / float64(i+1), LoggedAt: run.EndedAt})
	}
	must(l.t, db.Log(ctx, b))
	must(l.t, os.MkdirAll(l.meta()+".logs", 0o700))
	must(l.t, os.WriteFile(filepath.Join(l.meta()+".logs", runID+".log"), []byte("printed\n"), 0o600))
}

// exported is a file of two runs from a lab of their own.
func exported(t *testing.T) (file string, ids []string) {
	t.Helper()
	l := newLab(t)
	for _, name := range []string{"AAPL", "MSFT"} {
		l.must("symbols", "add", name)
		id := l.lastRun().ID
		l.recorded(id)
		ids = append(ids, id)
	}
	l.must("runs", "export", ids[1], ids[0], "two.qrx")
	if r := l.runOf("runs.export"); r.Status != string(quant.Success) {
		t.Fatalf("recorded as %+v", r)
	}
	return l.path("two.qrx"), ids
}

func TestAnImportThatIsKilledHasImportedAllOrNothing(t *testing.T) {
	t.Parallel()
	file, ids := exported(t)
	for _, step := range carrySteps {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.must("symbols", "add", "IBM")
			r := l.start([]string{"QUANT_TEST_FAILPOINT=" + step}, "runs", "import", file).wait()
			l.wantCode(r, killed)
			want := 0
			if step == "carry.committed" {
				want = len(ids)
			}
			if got := strings.Count(l.metaRows("SELECT run_id FROM run_imports"), "\n"); got != want {
				t.Fatalf("%d runs are imported, want %d", got, want)
			}
			for _, table := range []string{"runs r JOIN run_imports USING (run_id)", "run_artifacts", "run_params", "run_metrics"} {
				if got := l.metaRows("SELECT count(*) FROM " + table); strings.TrimSpace(got) != fmt.Sprint(want) {
					t.Errorf("%s: %s", table, got)
				}
			}
			l.must("runs", "import", file)
			l.must("runs", "export", ids[0], ids[1], "again.qrx")
			sameFile(t, file, l.path("again.qrx"))
			l.must("doctor")
			l.wantClosed()
		})
	}
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	must(t, err)
	y, err := os.ReadFile(b)
	must(t, err)
	if !bytes.Equal(x, y) {
		t.Fatalf("%s and %s differ", a, b)
	}
}

func TestAnExportThatIsKilledLeavesNoFile(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("symbols", "add", "IBM")
	id := l.lastRun().ID
	l.recorded(id)
	r := l.start([]string{"QUANT_TEST_FAILPOINT=meta.finish.before"}, "runs", "export", id, "one.qrx").wait()
	l.wantCode(r, killed) // the file is whole before the run is closed
	first, err := os.ReadFile(l.path("one.qrx"))
	must(t, err)
	l.want(5, "runs", "export", id, "one.qrx")
	l.must("runs", "export", id, "one.qrx", "--force")
	again, err := os.ReadFile(l.path("one.qrx"))
	must(t, err)
	if !bytes.Equal(first, again) {
		t.Error("it was exported as another file")
	}
}

func TestImportedRunsAreNoFaultAndKeepTheirText(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("init-db")
	l.write("prices.csv", []byte("date,symbol,open,high,low,close,volume\n2024-01-02,IBM,162,163,160,161,3825000\n"))
	l.must("ingest", "prices.csv")
	success := l.lastRun().ID
	l.write("prices.csv", []byte("date,symbol,open,high,low,close,volume\n2024-01-03,IBM,162,163,160,161,3825000\n"))
	l.wantCode(l.start([]string{"QUANT_TEST_FAILPOINT=fact.commit.after"}, "ingest", "prices.csv").wait(), killed)
	l.must("config") // closes the run that was killed
	var args []string
	for _, r := range l.runs() {
		args = append(args, r.ID)
	}
	l.must(append(append([]string{"runs", "export"}, args...), "all.qrx")...)

	other := newLab(t)
	other.must("init-db")
	other.must("ingest", l.path("prices.csv")) // with facts of its own
	other.must("runs", "import", l.path("all.qrx"))
	before := other.metaRows("SELECT run_id, error_text FROM runs JOIN run_imports USING (run_id) ORDER BY 1")
	r := other.must("doctor")
	if strings.Contains(r.stdout, "fault") || strings.Contains(r.stdout, success) {
		t.Errorf("doctor says: %s", r.stdout)
	}
	if after := other.metaRows("SELECT run_id, error_text FROM runs JOIN run_imports USING (run_id) ORDER BY 1"); after != before {
		t.Errorf("texts were %s, now %s", before, after)
	}
	other.must(append(append([]string{"runs", "export"}, args...), "all.qrx")...)
	sameFile(t, l.path("all.qrx"), other.path("all.qrx"))
}

func TestAHostileFileLeavesARowThatSaysWhy(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("bad.qrx", []byte("PK\x03\x04 no export\x1b[31m"))
	r := l.want(2, "runs", "import", "bad.qrx")
	if strings.Contains(r.stderr, "\x1b") {
		t.Errorf("stderr has control characters: %q", r.stderr)
	}
	l.wantFail(l.runOf("runs.import"), 2, "the file of runs, at its beginning")
	l.want(4, "runs", "import", "nosuch.qrx")
	l.want(2, "runs", "import", ".")
	l.want(2, "runs", "import", "bad.qrx", "--max-size", "0")
	l.wantClosed()
}

func TestExportAndImportThroughPipes(t *testing.T) {
	t.Parallel()
	file, ids := exported(t)
	l := newLab(t)
	cmd := l.command("runs", "import", "-")
	in, err := os.Open(file)
	must(t, err)
	defer in.Close()
	cmd.Stdin = in
	l.wantCode(l.startCmd(cmd).wait(), 0)
	r := l.must("-q", "runs", "export", ids[0], ids[1], "-")
	whole, err := os.ReadFile(file)
	must(t, err)
	if r.stdout != string(whole) {
		t.Errorf("stdout has %d bytes, the file %d", len(r.stdout), len(whole))
	}
}
