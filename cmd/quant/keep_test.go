package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/artifact"
	room "quant/internal/lab"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
)

// keepSteps are the failpoints of what looks after runs and labs.
var keepSteps = []string{
	"meta.delete.before", "meta.delete.after", "meta.undelete.before", "meta.undelete.after",
	"meta.purge.before", "meta.purge.after", "meta.clear.before", "meta.clear.after",
	"restore.staged", "restore.journal", "restore.move", "restore.moved",
}

func TestKillWhileRunsAreDeletedOrPurgedLeavesAllOrNone(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		name    string
		command []string
		left    string // runs of kind symbols.add, and how many are deleted
	}{
		{"meta.delete.before", []string{"runs", "delete"}, "3 0\n"},
		{"meta.delete.after", []string{"runs", "delete"}, "3 3\n"},
		{"meta.undelete.before", []string{"runs", "restore"}, "3 3\n"},
		{"meta.undelete.after", []string{"runs", "restore"}, "3 0\n"},
		{"meta.purge.before", []string{"runs", "purge", "--yes"}, "3 3\n"},
		{"meta.purge.after", []string{"runs", "purge", "--yes"}, "0 0\n"},
	} {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			var ids []string
			for _, s := range []string{"A", "B", "C"} {
				ids = append(ids, l.must("symbols", "add", s).acknowledged())
			}
			if step.command[1] != "delete" {
				l.must(append([]string{"runs", "delete"}, ids...)...)
			}
			r := l.start([]string{"QUANT_TEST_FAILPOINT=" + step.name}, append(step.command, ids...)...).wait()
			l.wantCode(r, killed)
			if got := l.metaRows("SELECT count(*), count(d.run_id) FROM runs r LEFT JOIN run_deletions d USING (run_id) WHERE kind = 'symbols.add'"); got != step.left {
				t.Errorf("%q, want %q", got, step.left)
			}
			l.doctor()
			l.wantClosed()
		})
	}
}

// plant gives a lab an artifact, a log and a model file, past its commands.
func (l *lab) plant(content string) (digest string) {
	l.t.Helper()
	w := l.writer()
	defer w.close()
	id, digest, err := w.log(context.Background(), content)
	must(l.t, err)
	l.write("data/runs/"+id+"/plan.json", []byte(content))
	l.write("data/models/"+strings.TrimPrefix(digest, "sha256:")+".json", []byte(content))
	return digest
}

// recorder is a program of its own that records runs in the lab.
type recorder struct {
	db       *sqlite.DB
	registry *registry.Registry
	store    artifact.Store
	logs     string
}

func (l *lab) writer() *recorder {
	l.t.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: l.meta()})
	must(l.t, err)
	return &recorder{db, registry.New(registry.Options{Store: db, LiveDir: l.meta() + ".live"}), artifact.Store{Dir: l.meta() + ".artifacts"}, l.meta() + ".logs"}
}

func (r *recorder) close() {
	r.registry.Close()
	r.db.Close()
}

// log records a run with a log and an artifact of this content.
func (r *recorder) log(ctx context.Context, content string) (id, digest string, err error) {
	if id, err = r.registry.Start(ctx, "exec", nil); err != nil {
		return "", "", err
	}
	if err := errors.Join(os.MkdirAll(r.logs, 0o700), os.WriteFile(filepath.Join(r.logs, id+".log"), []byte(content), 0o600)); err != nil {
		return "", "", err
	}
	digest, size, err := r.store.Put(ctx, strings.NewReader(content))
	if err != nil {
		return "", "", err
	}
	err = r.registry.Log(ctx, id, metastore.Batch{
		Artifacts: []quant.Artifact{{Name: "out", Digest: digest, Bytes: size}},
		Metrics:   []quant.MetricPoint{{Name: "loss", Step: quant.AutoStep, Value: float64(len(content))}, {Name: "loss", Step: quant.AutoStep, Value: 1}},
		Params:    []quant.Param{{Name: "p", Value: "1"}}, Tags: []quant.Tag{{Name: "t", Value: "v"}}, Notes: []quant.Note{{Text: "n"}},
	})
	return id, digest, errors.Join(err, r.registry.Success(ctx, id))
}

// state is what a lab holds beyond the runs that only look after it.
func (l *lab) state() string {
	l.t.Helper()
	return l.prices() + l.metaRows("SELECT * FROM symbols ORDER BY 1") +
		l.metaRows("SELECT run_id, kind, name, digest FROM runs JOIN run_artifacts USING (run_id) ORDER BY 1, 3") +
		l.metaRows("SELECT * FROM run_metrics ORDER BY 1, 2") + l.files("data/runs", "data/models", "data/meta.db.logs", "data/meta.db.artifacts")
}

// files are the files in folders of the lab, with what they hold.
func (l *lab) files(dirs ...string) string {
	l.t.Helper()
	var b strings.Builder
	for _, dir := range dirs {
		must(l.t, filepath.WalkDir(l.path(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			fmt.Fprintf(&b, "%s %q\n", strings.TrimPrefix(path, l.dir), text)
			return err
		}))
	}
	return b.String()
}

func TestAKillOfARestoreLeavesTheOldLabOrTheNewOne(t *testing.T) {
	t.Parallel()
	source := newLab(t)
	source.write("first.csv", priceFile(1, 20, "OLD"))
	source.write("second.csv", priceFile(2, 20, "NEW"))
	source.must("ingest", "second.csv")
	source.plant("new content")
	source.must("backup", "b.tar")
	news := source.state()
	b, err := os.ReadFile(source.path("b.tar"))
	must(t, err)

	old := newLab(t)
	old.write("first.csv", priceFile(1, 20, "OLD"))
	old.must("ingest", "first.csv")
	old.plant("old content")
	old.write("b.tar", b)
	olds := old.state()

	for _, step := range []string{"restore.staged", "restore.journal", "restore.move", "restore.move#2", "restore.move#3", "restore.move#4", "restore.move#5", "restore.move#6", "restore.move#7", "restore.move#8", "restore.move#9", "restore.moved", "meta.finish.before#2"} {

		t.Run(strings.ReplaceAll(step, "#", "-"), func(t *testing.T) {
			t.Parallel()
			l := old.copyOf(t)
			r := l.start([]string{"QUANT_TEST_FAILPOINT=" + step}, "restore", "b.tar", "--yes").wait()
			l.wantCode(r, killed)
			want := news
			if step == "restore.staged" {
				want = olds
			}
			report := l.doctor() // any command finishes what was begun
			if got := l.state(); got != want {
				t.Fatalf("neither lab:\n%s\nwant\n%s\n%+v", clipped(got), clipped(want), report)
			}
			l.wantClosed()
			l.wantAgreement()
			run := l.runOf("restore")
			if run.Status != "FAIL" || !strings.Contains(run.Error, "process ended without finishing") {
				t.Errorf("recorded as %+v", run)
			}
			l.must("restore", "b.tar", "--yes")
			if got := l.state(); got != news {
				t.Fatalf("restored again it is another:\n%s", clipped(got))
			}
			l.doctor()
			left, err := filepath.Glob(l.path("data", "*.restoring*"))
			must(t, err)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestARestoreIsRefusedWhileTheLabIsUsed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("p.csv", priceFile(1, 5, "A"))
	l.must("ingest", "p.csv")
	l.must("backup", "b.tar")
	p := l.start([]string{"QUANT_TEST_FAILPOINT=meta.start.after:stop"}, "config").stopped()
	r := l.want(5, "restore", "b.tar", "--yes", "--wait", "50ms")
	if !strings.Contains(r.stderr, "is still running") {
		t.Error(r)
	}
	l.wantFail(l.runOf("restore"), 5, "is still running")
	p.signal(syscall.SIGCONT)
	l.wantCode(p.wait(), 0)
	db := l.openFacts("READ_ONLY") // another program
	r = l.want(5, "restore", "b.tar", "--yes", "--wait", "0s")
	if !strings.Contains(r.stderr, "held by") {
		t.Error(r)
	}
	db.Close()
	l.must("restore", "b.tar", "--yes")
	l.doctor()
}

func TestARestoreMendsABrokenLab(t *testing.T) {
	t.Parallel()
	source := newLab(t)
	source.write("p.csv", priceFile(1, 5, "A"))
	source.must("ingest", "p.csv")
	source.plant("content")
	source.must("backup", "b.tar")
	want := source.state()
	b, err := os.ReadFile(source.path("b.tar"))
	must(t, err)
	for name, broken := range map[string]func(l *lab){
		"no lab":                func(l *lab) { must(t, os.RemoveAll(l.path("data"))) },
		"a torn Meta DB":        func(l *lab) { must(t, os.Truncate(l.meta(), 5000)) },
		"a Meta DB of nonsense": func(l *lab) { l.write("data/meta.db", []byte("nonsense")) },
		"a torn Fact DB":        func(l *lab) { must(t, os.Truncate(l.facts(), 5000)) },
		"no artifacts":          func(l *lab) { must(t, os.RemoveAll(l.meta()+".artifacts")) },
		"a folder as Fact DB":   func(l *lab) { must(t, errors.Join(os.Remove(l.facts()), os.Mkdir(l.facts(), 0o700))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := source.copyOf(t)
			l.write("b.tar", b)
			broken(l)
			l.must("restore", "b.tar", "--yes")
			if got := l.state(); got != want {
				t.Errorf("%s\nwant %s", clipped(got), clipped(want))
			}
			if run := l.runOf("restore"); run.Status != "SUCCESS" {
				t.Errorf("recorded as %+v", run)
			}
			l.doctor()
		})
	}
}

// While symbols are added, prices ingested and artifacts logged, runs deleted
// and purged and contents collected, each backup is a lab of its own that doctor
// finds sound.
func TestABackupTakenInAStormRestoresToASoundLab(t *testing.T) {
	t.Parallel()
	backups, wide := 3, 2
	if soak(t) {
		backups, wide = 10, 4
	}
	l := newLab(t)
	for n := range 5 {
		l.write(fmt.Sprintf("p%d.csv", n), priceFile(n, 50, fmt.Sprintf("S%d", n), "ALL"))
	}
	l.must("ingest", "p0.csv")
	l.plant("the first")
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var storm sync.WaitGroup
	w := l.writer()
	t.Cleanup(w.close)
	for n := range wide {
		storm.Go(func() {
			for i := 0; !stopped(); i++ {
				r := l.run("ingest", fmt.Sprintf("p%d.csv", (n+i)%5))
				if r.code != 0 {
					t.Error(r)
				}
			}
		})
		storm.Go(func() {
			for i := 0; !stopped(); i++ {
				if r := l.run("symbols", "add", fmt.Sprintf("N%d-%d", n, i)); r.code != 0 {
					t.Error(r)
				}
			}
		})
		storm.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			for i := 0; !stopped(); i++ {
				id, _, err := w.log(context.Background(), fmt.Sprintf("%d %s", random.IntN(50), bytes.Repeat([]byte("x"), random.IntN(100_000))))
				if err == nil && i%2 == 0 {
					_, err = w.db.DeleteRuns(context.Background(), []quant.Deletion{{RunID: id, DeletedAt: quant.NewTime(time.Now())}})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	collected := 0
	storm.Go(func() {
		for !stopped() {
			for _, command := range [][]string{{"runs", "purge", "--deleted", "--yes"}, {"gc", "--yes", "--reads", "--older-than", "0s"}} {
				// A backup may hold the artifacts for longer than gc waits.
				r := l.run(command...)
				held := r.code == 5 && strings.Contains(r.stderr, "held by another process")
				if r.code != 0 && !held {
					t.Error(r)
				}
				if command[0] == "gc" && r.code == 0 {
					collected++
				}
			}
			// Days pass for what nobody has, and no open run can have put.
			oldest, err := room.Before(context.Background(), w.db, time.Now().Add(-time.Minute), 0, "")
			if err != nil {
				t.Error(err)
				return
			}
			oldest = oldest.Add(time.Minute - 50*time.Millisecond) // a file's clock has coarse ticks
			err = w.store.Remove(context.Background(), func() error {
				return w.store.Each(context.Background(), func(c artifact.Content) error {
					used, err := w.db.ArtifactUsed(context.Background(), c.Digest)
					if used || err != nil || !c.Written.Before(oldest) {
						return err
					}
					old := time.Now().Add(-48 * time.Hour)
					return os.Chtimes(c.Path, old, old)
				})
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	for n := range backups {
		name := fmt.Sprintf("b%d.tar", n)
		l.must("backup", name)
		l.must("backup", "--verify", name)
	}
	close(stop)
	storm.Wait()
	if collected == 0 {
		t.Error("gc never came to its work")
	}
	for n := range backups {
		other := newLab(t)
		b, err := os.ReadFile(l.path(fmt.Sprintf("b%d.tar", n)))
		must(t, err)
		other.write("b.tar", b)
		other.must("restore", "b.tar")
		other.must("doctor", "--deep")
		other.wantClosed()
		other.wantAgreement()
		if run := other.runOf("backup"); run.Status != "SUCCESS" {
			t.Errorf("the backup in itself: %+v", run)
		}
		t.Logf("backup %d: %d runs", n, len(other.runs()))
	}
	l.must("doctor", "--deep")
}

func TestAKilledBackupLeavesNoFile(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("symbols", "add", "A")
	l.write("b.tar", []byte("precious"))
	r := l.want(5, "backup", "b.tar")
	if got, _ := os.ReadFile(l.path("b.tar")); string(got) != "precious" {
		t.Fatalf("it was replaced: %v", r)
	}
	l.wantCode(l.start([]string{"QUANT_TEST_FAILPOINT=meta.finish.before"}, "backup", "c.tar").wait(), killed)
	l.must("backup", "--verify", "c.tar") // it was whole before the run was closed
	l.must("backup", "--force", "b.tar")
	l.must("backup", "--verify", "b.tar")
	l.doctor()
}

func TestRunsThatWereRunningInABackupAreClosedTruly(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("p.csv", priceFile(1, 5, "A"))
	l.must("ingest", "p.csv")
	w := l.writer()
	t.Cleanup(w.close)
	var ids []string
	for _, options := range [][]registry.StartOption{nil, nil, {registry.ReadsOnly()}} {
		id, err := w.registry.Start(context.Background(), "exec", nil, options...)
		must(t, err)
		ids = append(ids, id)
	}
	db := l.openFacts("READ_WRITE")
	_, err := db.Exec("INSERT INTO ledger (run_id, table_name, rows_inserted, rows_updated, rows_deleted, committed_at) VALUES (?, 'labels', 1, 0, 0, now()::TIMESTAMP)", ids[0])
	must(t, errors.Join(err, db.Close()))
	l.must("backup", "b.tar")
	other := newLab(t)
	b, err := os.ReadFile(l.path("b.tar"))
	must(t, err)
	other.write("b.tar", b)
	other.must("restore", "b.tar")
	for i, want := range []string{"facts committed", "no facts committed", "no facts committed"} {
		got := other.metaRows("SELECT status, error_text, exit_code IS NULL FROM runs JOIN run_process USING (run_id) WHERE run_id = '" + ids[i] + "'")
		if got != "FAIL was running when the backup was taken; "+want+" 1\n" {
			t.Errorf("%q, want %s", got, want)
		}
	}
	for _, run := range l.runs() { // and here they run on
		if run.ID == ids[0] && run.Status != "RUNNING" {
			t.Errorf("%+v", run)
		}
	}
}

func TestABackupOfALabThatLacksAContentSaysSo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("symbols", "add", "A")
	missing, damaged := l.plant("missing"), l.plant("damaged")
	store := artifact.Store{Dir: l.meta() + ".artifacts"}
	for digest, damage := range map[string]func(string) error{missing: os.Remove, damaged: func(path string) error {
		return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("DAMAGED"), 0o600))
	}} {
		path, err := store.Path(digest)
		must(t, err)
		must(t, damage(path))
	}
	l.want(1, "doctor")
	r := l.want(3, "backup", "b.tar")
	if !strings.Contains(r.stderr, "lacks the contents of 2 artifacts") {
		t.Error(r)
	}
	l.wantFail(l.runOf("backup"), 3, "lacks the contents")
	l.must("backup", "--verify", "b.tar")
	l.want(3, "restore", "b.tar", "--yes")
	l.want(1, "doctor")
}

func TestAKillOfARestoreAtAnyMomentLeavesTheOldLabOrTheNewOne(t *testing.T) {
	t.Parallel()
	times := 6
	if soak(t) {
		times = 100
	}
	l := newLab(t)
	l.write("first.csv", priceFile(1, 200, "OLD"))
	l.write("second.csv", priceFile(2, 200, "NEW"))
	var states []string
	for n, name := range []string{"first", "second"} {
		l.must("ingest", name+".csv")
		l.plant(strings.Repeat(name, 10_000))
		l.must("backup", name+".tar")
		states = append(states, l.state())
		if n == 1 && states[0] == states[1] {
			t.Fatal("both labs are the same")
		}
	}
	took := l.must("restore", "first.tar", "--yes").took
	now, killedThem := 0, 0
	random := rand.New(rand.NewPCG(7, 7))
	for range times {
		p := l.start(nil, "restore", []string{"first.tar", "second.tar"}[1-now], "--yes")
		time.Sleep(time.Duration(random.Int64N(int64(took))))
		_ = p.Process.Kill()
		if r := p.wait(); r.code == killed {
			killedThem++
		}
		l.doctor()
		switch l.state() {
		case states[now]:
		case states[1-now]:
			now = 1 - now
		default:
			t.Fatal("neither lab")
		}
		l.wantClosed()
		l.wantAgreement()
	}
	t.Logf("%d of %d restores were killed", killedThem, times)
	l.must("restore", "second.tar", "--yes")
	if l.state() != states[1] {
		t.Error("in the end it is another")
	}
}

func TestOthersSeeTheOldLabOrTheNewOneWhileItIsReplaced(t *testing.T) {
	t.Parallel()
	rounds := 3
	if soak(t) {
		rounds = 30
	}
	l := newLab(t)
	l.write("a.csv", priceFile(1, 5, "A"))
	l.write("b.csv", priceFile(2, 5, "B"))
	l.must("ingest", "a.csv")
	l.must("backup", "a.tar")
	l.must("symbols", "remove", "--force", "A")
	l.must("ingest", "b.csv")
	l.must("backup", "b.tar") // prices of A and B, symbol B
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond): // restores need a gap
				}
				symbols := l.run("symbols", "list", "--output", "csv")
				facts := l.run("sql", "--output", "csv", "SELECT count(*) FROM ohlcv")
				if symbols.code != 0 || facts.code != 0 || strings.Contains(symbols.stderr+facts.stderr, "not recorded") {
					t.Errorf("%v\n%v", symbols, facts)
				}
				if lines := strings.Count(symbols.stdout, "\n"); lines != 2 {
					t.Errorf("neither lab: %v", symbols)
				}
			}
		})
	}
	restored, refused := 0, 0
	for restored < rounds {
		switch r := l.run("restore", []string{"a.tar", "b.tar"}[restored%2], "--yes"); r.code {
		case 0:
			restored++
		case 5:
			refused++
		default:
			t.Fatal(r)
		}
	}
	close(stop)
	others.Wait()
	t.Logf("%d restores, %d refused since others used the lab", restored, refused)
	l.wantClosed()
	l.doctor()
}
