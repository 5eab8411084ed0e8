package record

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

func TestManyProcessesAtOnceOnAnEmptyFolderAreAllRecorded(t *testing.T) {
	t.Parallel()
	processes, commands := soak.Count(t, 16, 64), soak.Count(t, 5, 20)
	l := labtest.New(t)
	results := make([][]labtest.Result, processes)
	var all sync.WaitGroup
	ready := make(chan struct{})
	for n := range processes {
		all.Go(func() {
			<-ready
			for i := range commands {
				lines := [][]string{
					{"config"},
					{"symbols", "add", fmt.Sprintf("S%d-%d", n, i)},
					{"symbols", "list", "--output", "json"},
					{"runs", "list", "--limit", "2"},
					{"symbols", "add", fmt.Sprintf("ALL-%d", i)},
				}
				results[n] = append(results[n], l.Run(lines[(n+i)%len(lines)]...))
			}
		})
	}
	close(ready)
	all.Wait()

	news, said := 0, map[string]bool{}
	for _, list := range results {
		for _, r := range list {
			l.WantCode(r, 0)
			news += strings.Count(r.Stderr, "new lab at")
			if id := r.Acknowledged(); id == "" || said[id] {
				t.Fatalf("no run of its own: %v", r)
			} else {
				said[id] = true
			}
			if strings.Contains(r.Stderr, "not recorded") || strings.Contains(r.Stderr, "locked") {
				t.Fatal(r)
			}
		}
	}
	if news != 1 {
		t.Fatalf("%d processes say that they made the lab", news)
	}
	runs := l.Runs()
	if len(runs) != processes*commands {
		t.Fatalf("%d runs, want %d", len(runs), processes*commands)
	}
	for _, run := range runs {
		if run.Status != "SUCCESS" || !said[run.ID] {
			t.Fatalf("%+v", run)
		}
	}
	if got := l.MetaRows("PRAGMA integrity_check") + l.MetaRows("PRAGMA foreign_key_check"); got != "ok\n" {
		t.Fatal(got)
	}
	if got := l.MetaRows("SELECT count(*) FROM runs JOIN run_process USING (run_id)"); got != fmt.Sprintln(processes*commands) {
		t.Fatalf("%s runs have a process", got)
	}
	l.WantTidy()
	l.Doctor()
}

func TestManyFirstIngestsAtOnceWaitForEachOther(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	var all sync.WaitGroup
	results := make([]labtest.Result, 6)
	for n := range results {
		l.Write(fmt.Sprintf("%d.csv", n), labtest.PriceFile(n, 50, fmt.Sprintf("S%d", n)))
		all.Go(func() { results[n] = l.Run("ingest", fmt.Sprintf("%d.csv", n), "--wait", "80s") })
	}
	all.Wait()
	for _, r := range results {
		l.WantCode(r, 0)
	}
	if got := l.FactRows("SELECT count(*), count(DISTINCT symbol) FROM ohlcv"); got != "300 6\n" {
		t.Fatal(got)
	}
	if got := l.FactRows("SELECT count(*), count(DISTINCT committed_at) FROM ledger"); got != "6 6\n" {
		t.Fatalf("committed_at does not name one run: %s", got)
	}
	l.WantClosed()
	l.WantTidy()
	l.Doctor()
}

// writing starts an ingest that has stopped inside its Fact DB transaction.
func writing(l *labtest.Lab, args ...string) *labtest.Process {
	l.T.Helper()
	l.Write("writing.csv", labtest.PriceFile(9, 50, "W"))
	return l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged:stop"}, append([]string{"ingest", "writing.csv"}, args...)...).Stopped()
}

func TestTheRunListBesideALongWriterAnswersAtOnceAndLeavesTheWriterAlone(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	writer := writing(l)
	fastest := time.Hour
	for range 4 { // this machine may be busy with something else
		r := l.Must("runs", "list", "--output", "json")
		fastest = min(fastest, r.Took)
		var list []struct {
			RunID  string `json:"run_id"`
			Kind   string
			Status string
		}
		labtest.Decode(t, r.Stdout, &list)
		if list[0].Kind != "ingest" || list[0].Status != "RUNNING" {
			t.Fatalf("the writer is not shown as RUNNING: %v", r)
		}
	}
	if fastest > time.Second {
		t.Fatalf("runs list took %v", fastest)
	}
	for _, args := range [][]string{{"runs", "show", "last"}, {"symbols", "list"}, {"config"}, {"runs", "list", "--all"}} {
		if r := l.Must(args...); r.Took > 10*time.Second {
			t.Fatalf("it waited for the Fact DB: %v", r)
		}
	}
	r := l.Want(5, "runs", "close", l.RunOf("ingest").ID)
	if !strings.Contains(r.Stderr, "still lives") || l.RunOf("ingest").Status != "RUNNING" {
		t.Fatal(r)
	}
	l.Want(5, "init-db", "--reset", "--yes", "--wait", "100ms")
	writer.Signal(syscall.SIGCONT)
	l.WantCode(writer.Wait(), 0)
	if run := l.RunOf("ingest"); run.Status != "SUCCESS" {
		t.Fatalf("%+v", run)
	}
	l.Doctor()
}

func TestALockedFactDBIsWaitedForAndItsHolderIsNamed(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("symbols", "add", "X")
	l.Write("a.csv", labtest.PriceFile(1, 20, "A"))
	l.Must("ingest", "a.csv")
	writer := writing(l)
	id := l.LastRun().ID
	holder := fmt.Sprintf("held by run %s (ingest), process %d", id[len(id)-8:], writer.Process.Pid)
	for _, args := range [][]string{
		{"ingest", "a.csv"}, {"sql", "FROM ohlcv"}, {"init-db"}, {"symbols", "remove", "X"},
	} {
		r := l.Want(5, append(args, "--wait", "600ms")...)
		l.WantFail(l.LastRun(), 5, "held by")
		if !strings.Contains(r.Stderr, holder) {
			t.Errorf("the holder (%s) is not named: %v", holder, r)
		}
		if r.Took < 600*time.Millisecond || r.Took > 20*time.Second {
			t.Errorf("--wait 600ms was not honoured: %v", r)
		}
	}
	if r := l.Want(5, "ingest", "a.csv", "--wait", "0s"); r.Took > 10*time.Second {
		t.Errorf("--wait 0s waits: %v", r)
	}
	if c := l.Must("doctor", "--wait", "100ms"); !strings.Contains(c.Stdout, "not examined") {
		t.Errorf("doctor does not say that it could not look: %v", c)
	}
	patient := l.Start(nil, "ingest", "a.csv", "--wait", "80s")
	reader := l.Start(nil, "sql", "SELECT count(*) AS bars FROM ohlcv", "--output", "csv", "--wait", "80s")
	for _, p := range []*labtest.Process{patient, reader} {
		l.Eventually("the wait is announced", func() bool { return strings.Contains(p.Stderr.String(), holder) })
	}
	writer.Signal(syscall.SIGCONT)
	l.WantCode(writer.Wait(), 0)
	l.WantCode(patient.Wait(), 0)
	if r := reader.Wait(); r.Code != 0 || r.Stdout != "bars\n70\n" {
		t.Fatal(r)
	}
	l.WantClosed()
	l.Doctor()
}

func TestALockedMetaDBStopsWhatChangesAndNotWhatReads(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("symbols", "add", "X")
	db := l.OpenMeta("")
	conn, err := db.Conn(t.Context())
	labtest.Must(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
	labtest.Must(t, err)
	if !soak.Full(t) { // else as long as it takes
		l.Env = append(l.Env, "QUANT_TEST_PATIENCE=meta=500ms")
	}
	changing, reading := l.Start(nil, "symbols", "add", "Y"), l.Start(nil, "symbols", "list", "--output", "csv")
	c := changing.Wait()
	l.WantCode(c, 5)
	if !strings.Contains(c.Stderr, "locked") || !strings.Contains(c.Stderr, "meta.db") || !strings.Contains(c.Stderr, "hint:") {
		t.Errorf("not clear: %v", c)
	}
	r := reading.Wait()
	l.WantCode(r, 0)
	if !strings.Contains(r.Stderr, "not recorded") || !strings.Contains(r.Stdout, "X,") {
		t.Errorf("a reader says that it is not recorded, and goes on: %v", r)
	}
	l.Env = nil
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	labtest.Must(t, err)
	labtest.Must(t, conn.Close())
	if got := l.MetaRows("SELECT symbol FROM symbols"); got != "X\n" {
		t.Fatal(got)
	}
	l.Must("symbols", "add", "Y")
	l.WantClosed()
	l.WantTidy()
}
