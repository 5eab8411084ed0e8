package main

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestManyProcessesAtOnceOnAnEmptyFolderAreAllRecorded(t *testing.T) {
	t.Parallel()
	processes, commands := 16, 5
	if soak(t) {
		processes, commands = 64, 20
	}
	l := newLab(t)
	results := make([][]result, processes)
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
				results[n] = append(results[n], l.run(lines[(n+i)%len(lines)]...))
			}
		})
	}
	close(ready)
	all.Wait()

	news, said := 0, map[string]bool{}
	for _, list := range results {
		for _, r := range list {
			l.wantCode(r, 0)
			news += strings.Count(r.stderr, "new lab at")
			if id := r.acknowledged(); id == "" || said[id] {
				t.Fatalf("no run of its own: %v", r)
			} else {
				said[id] = true
			}
			if strings.Contains(r.stderr, "not recorded") || strings.Contains(r.stderr, "locked") {
				t.Fatal(r)
			}
		}
	}
	if news != 1 {
		t.Fatalf("%d processes say that they made the lab", news)
	}
	runs := l.runs()
	if len(runs) != processes*commands {
		t.Fatalf("%d runs, want %d", len(runs), processes*commands)
	}
	for _, run := range runs {
		if run.Status != "SUCCESS" || !said[run.ID] {
			t.Fatalf("%+v", run)
		}
	}
	if got := l.metaRows("PRAGMA integrity_check") + l.metaRows("PRAGMA foreign_key_check"); got != "ok\n" {
		t.Fatal(got)
	}
	if got := l.metaRows("SELECT count(*) FROM runs JOIN run_process USING (run_id)"); got != fmt.Sprintln(processes*commands) {
		t.Fatalf("%s runs have a process", got)
	}
	l.wantTidy()
	l.doctor()
}

func TestManyFirstIngestsAtOnceWaitForEachOther(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var all sync.WaitGroup
	results := make([]result, 6)
	for n := range results {
		l.write(fmt.Sprintf("%d.csv", n), priceFile(n, 50, fmt.Sprintf("S%d", n)))
		all.Go(func() { results[n] = l.run("ingest", fmt.Sprintf("%d.csv", n), "--wait", "80s") })
	}
	all.Wait()
	for _, r := range results {
		l.wantCode(r, 0)
	}
	if got := l.factRows("SELECT count(*), count(DISTINCT symbol) FROM ohlcv"); got != "300 6\n" {
		t.Fatal(got)
	}
	if got := l.factRows("SELECT count(*), count(DISTINCT committed_at) FROM ledger"); got != "6 6\n" {
		t.Fatalf("committed_at does not name one run: %s", got)
	}
	l.wantClosed()
	l.wantTidy()
	l.doctor()
}

// writing starts an ingest that has stopped inside its Fact DB transaction.
func (l *lab) writing(args ...string) *process {
	l.t.Helper()
	l.write("writing.csv", priceFile(9, 50, "W"))
	return l.start([]string{"QUANT_TEST_FAILPOINT=ingest.merged:stop"}, append([]string{"ingest", "writing.csv"}, args...)...).stopped()
}

func TestTheRunListBesideALongWriterAnswersAtOnceAndLeavesTheWriterAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("init-db")
	writer := l.writing()
	fastest := time.Hour
	for range 4 { // this machine may be busy with something else
		r := l.must("runs", "list", "--output", "json")
		fastest = min(fastest, r.took)
		var list []struct {
			RunID  string `json:"run_id"`
			Kind   string
			Status string
		}
		decode(t, r.stdout, &list)
		if list[0].Kind != "ingest" || list[0].Status != "RUNNING" {
			t.Fatalf("the writer is not shown as RUNNING: %v", r)
		}
	}
	if fastest > time.Second {
		t.Fatalf("runs list took %v", fastest)
	}
	for _, args := range [][]string{{"runs", "show", "last"}, {"symbols", "list"}, {"config"}, {"runs", "list", "--all"}} {
		if r := l.must(args...); r.took > 10*time.Second {
			t.Fatalf("it waited for the Fact DB: %v", r)
		}
	}
	r := l.want(5, "runs", "close", l.runOf("ingest").ID)
	if !strings.Contains(r.stderr, "still lives") || l.runOf("ingest").Status != "RUNNING" {
		t.Fatal(r)
	}
	l.want(5, "init-db", "--reset", "--yes", "--wait", "100ms")
	writer.signal(syscall.SIGCONT)
	l.wantCode(writer.wait(), 0)
	if run := l.runOf("ingest"); run.Status != "SUCCESS" {
		t.Fatalf("%+v", run)
	}
	l.doctor()
}

func TestALockedFactDBIsWaitedForAndItsHolderIsNamed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("symbols", "add", "X")
	l.write("a.csv", priceFile(1, 20, "A"))
	l.must("ingest", "a.csv")
	writer := l.writing()
	id := l.lastRun().ID
	holder := fmt.Sprintf("held by run %s (ingest), process %d", id[len(id)-8:], writer.Process.Pid)
	for _, args := range [][]string{
		{"ingest", "a.csv"}, {"sql", "FROM ohlcv"}, {"init-db"}, {"symbols", "remove", "X"},
	} {
		r := l.want(5, append(args, "--wait", "600ms")...)
		l.wantFail(l.lastRun(), 5, "held by")
		if !strings.Contains(r.stderr, holder) {
			t.Errorf("the holder (%s) is not named: %v", holder, r)
		}
		if r.took < 600*time.Millisecond || r.took > 20*time.Second {
			t.Errorf("--wait 600ms was not honoured: %v", r)
		}
	}
	if r := l.want(5, "ingest", "a.csv", "--wait", "0s"); r.took > 10*time.Second {
		t.Errorf("--wait 0s waits: %v", r)
	}
	if c := l.must("doctor", "--wait", "100ms"); !strings.Contains(c.stdout, "not examined") {
		t.Errorf("doctor does not say that it could not look: %v", c)
	}
	patient := l.start(nil, "ingest", "a.csv", "--wait", "80s")
	reader := l.start(nil, "sql", "SELECT count(*) AS bars FROM ohlcv", "--output", "csv", "--wait", "80s")
	for _, p := range []*process{patient, reader} {
		l.eventually("the wait is announced", func() bool { return strings.Contains(p.stderr.String(), holder) })
	}
	writer.signal(syscall.SIGCONT)
	l.wantCode(writer.wait(), 0)
	l.wantCode(patient.wait(), 0)
	if r := reader.wait(); r.code != 0 || r.stdout != "bars\n70\n" {
		t.Fatal(r)
	}
	l.wantClosed()
	l.doctor()
}

func TestALockedMetaDBStopsWhatChangesAndNotWhatReads(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("symbols", "add", "X")
	db := l.openMeta("")
	conn, err := db.Conn(t.Context())
	must(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
	must(t, err)
	changing, reading := l.start(nil, "symbols", "add", "Y"), l.start(nil, "symbols", "list", "--output", "csv")
	c := changing.wait()
	l.wantCode(c, 5)
	if !strings.Contains(c.stderr, "locked") || !strings.Contains(c.stderr, "meta.db") || !strings.Contains(c.stderr, "hint:") {
		t.Errorf("not clear: %v", c)
	}
	r := reading.wait()
	l.wantCode(r, 0)
	if !strings.Contains(r.stderr, "not recorded") || !strings.Contains(r.stdout, "X,") {
		t.Errorf("a reader says that it is not recorded, and goes on: %v", r)
	}
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	must(t, err)
	must(t, conn.Close())
	if got := l.metaRows("SELECT symbol FROM symbols"); got != "X\n" {
		t.Fatal(got)
	}
	l.must("symbols", "add", "Y")
	l.wantClosed()
	l.wantTidy()
}
