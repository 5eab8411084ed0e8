package backup

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
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

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
			l := labtest.New(t)
			var ids []string
			for _, s := range []string{"A", "B", "C"} {
				ids = append(ids, l.Must("symbols", "add", s).Acknowledged())
			}
			if step.command[1] != "delete" {
				l.Must(append([]string{"runs", "delete"}, ids...)...)
			}
			r := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step.name}, append(step.command, ids...)...).Wait()
			l.WantCode(r, labtest.Killed)
			if got := l.MetaRows("SELECT count(*), count(d.run_id) FROM runs r LEFT JOIN run_deletions d USING (run_id) WHERE kind = 'symbols.add'"); got != step.left {
				t.Errorf("%q, want %q", got, step.left)
			}
			l.Doctor()
			l.WantClosed()
		})
	}
}

// plant gives a lab an artifact, a log and a model file, past its commands.
func plant(l *labtest.Lab, content string) (digest string) {
	l.T.Helper()
	w := writer(l)
	defer w.close()
	id, digest, err := w.log(context.Background(), content)
	labtest.Must(l.T, err)
	l.Write("data/runs/"+id+"/plan.json", []byte(content))
	l.Write("data/models/"+strings.TrimPrefix(digest, "sha256:")+".json", []byte(content))
	return digest
}

// recorder is a program of its own that records runs in the lab.
type recorder struct {
	db       *sqlite.DB
	registry *registry.Registry
	store    artifact.Store
	logs     string
}

func writer(l *labtest.Lab) *recorder {
	l.T.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: l.Meta()})
	labtest.Must(l.T, err)
	return &recorder{db, registry.New(registry.Options{Store: db, Liveness: liveness.NewLocks(l.Meta()+".live", nil)}), artifact.Store{Dir: l.Meta() + ".artifacts"}, l.Meta() + ".logs"}
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
func state(l *labtest.Lab) string {
	l.T.Helper()
	return l.Prices() + l.MetaRows("SELECT * FROM symbols ORDER BY 1") +
		l.MetaRows("SELECT run_id, kind, name, digest FROM runs JOIN run_artifacts USING (run_id) ORDER BY 1, 3") +
		l.MetaRows("SELECT * FROM run_metrics ORDER BY 1, 2") + files(l, "data/runs", "data/models", "data/meta.db.logs", "data/meta.db.artifacts")
}

// files are the files in folders of the lab, with what they hold.
func files(l *labtest.Lab, dirs ...string) string {
	l.T.Helper()
	var b strings.Builder
	for _, dir := range dirs {
		labtest.Must(l.T, filepath.WalkDir(l.Path(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			fmt.Fprintf(&b, "%s %q\n", strings.TrimPrefix(path, l.Dir), text)
			return err
		}))
	}
	return b.String()
}

func TestAKillOfARestoreLeavesTheOldLabOrTheNewOne(t *testing.T) {
	t.Parallel()
	source := labtest.New(t)
	source.Write("first.csv", labtest.PriceFile(1, 20, "OLD"))
	source.Write("second.csv", labtest.PriceFile(2, 20, "NEW"))
	source.Must("ingest", "second.csv")
	plant(source, "new content")
	source.Must("backup", "b.tar")
	news := state(source)
	b, err := os.ReadFile(source.Path("b.tar"))
	labtest.Must(t, err)

	old := labtest.New(t)
	old.Write("first.csv", labtest.PriceFile(1, 20, "OLD"))
	old.Must("ingest", "first.csv")
	plant(old, "old content")
	old.Write("b.tar", b)
	olds := state(old)

	for _, step := range []string{"restore.staged", "restore.journal", "restore.move", "restore.move#2", "restore.move#3", "restore.move#4", "restore.move#5", "restore.move#6", "restore.move#7", "restore.move#8", "restore.move#9", "restore.moved", "meta.finish.before#2"} {

		t.Run(strings.ReplaceAll(step, "#", "-"), func(t *testing.T) {
			t.Parallel()
			l := old.CopyOf(t)
			r := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step}, "restore", "b.tar", "--yes").Wait()
			l.WantCode(r, labtest.Killed)
			want := news
			if step == "restore.staged" {
				want = olds
			}
			report := l.Doctor() // any command finishes what was begun
			if got := state(l); got != want {
				t.Fatalf("neither lab:\n%s\nwant\n%s\n%+v", labtest.Clipped(got), labtest.Clipped(want), report)
			}
			l.WantClosed()
			l.WantAgreement()
			run := l.RunOf("restore")
			if run.Status != "FAIL" || !strings.Contains(run.Error, "process ended without finishing") {
				t.Errorf("recorded as %+v", run)
			}
			l.Must("restore", "b.tar", "--yes")
			if got := state(l); got != news {
				t.Fatalf("restored again it is another:\n%s", labtest.Clipped(got))
			}
			l.Doctor()
			left, err := filepath.Glob(l.Path("data", "*.restoring*"))
			labtest.Must(t, err)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestARestoreIsRefusedWhileTheLabIsUsed(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("p.csv", labtest.PriceFile(1, 5, "A"))
	l.Must("ingest", "p.csv")
	l.Must("backup", "b.tar")
	p := l.Start([]string{"QUANT_TEST_FAILPOINT=meta.start.after:stop"}, "config").Stopped()
	r := l.Want(5, "restore", "b.tar", "--yes", "--wait", "50ms")
	if !strings.Contains(r.Stderr, "is still running") {
		t.Error(r)
	}
	l.WantFail(l.RunOf("restore"), 5, "is still running")
	p.Signal(syscall.SIGCONT)
	l.WantCode(p.Wait(), 0)
	db := l.OpenFacts("READ_ONLY") // another program
	r = l.Want(5, "restore", "b.tar", "--yes", "--wait", "0s")
	if !strings.Contains(r.Stderr, "held by") {
		t.Error(r)
	}
	db.Close()
	l.Must("restore", "b.tar", "--yes")
	l.Doctor()
}

func TestARestoreMendsABrokenLab(t *testing.T) {
	t.Parallel()
	source := labtest.New(t)
	source.Write("p.csv", labtest.PriceFile(1, 5, "A"))
	source.Must("ingest", "p.csv")
	plant(source, "content")
	source.Must("backup", "b.tar")
	want := state(source)
	b, err := os.ReadFile(source.Path("b.tar"))
	labtest.Must(t, err)
	for name, broken := range map[string]func(l *labtest.Lab){
		"no lab":                func(l *labtest.Lab) { labtest.Must(t, os.RemoveAll(l.Path("data"))) },
		"a torn Meta DB":        func(l *labtest.Lab) { labtest.Must(t, os.Truncate(l.Meta(), 5000)) },
		"a Meta DB of nonsense": func(l *labtest.Lab) { l.Write("data/meta.db", []byte("nonsense")) },
		"a torn Fact DB":        func(l *labtest.Lab) { labtest.Must(t, os.Truncate(l.Facts(), 5000)) },
		"no artifacts":          func(l *labtest.Lab) { labtest.Must(t, os.RemoveAll(l.Meta()+".artifacts")) },
		"a folder as Fact DB":   func(l *labtest.Lab) { labtest.Must(t, errors.Join(os.Remove(l.Facts()), os.Mkdir(l.Facts(), 0o700))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := source.CopyOf(t)
			l.Write("b.tar", b)
			broken(l)
			l.Must("restore", "b.tar", "--yes")
			if got := state(l); got != want {
				t.Errorf("%s\nwant %s", labtest.Clipped(got), labtest.Clipped(want))
			}
			if run := l.RunOf("restore"); run.Status != "SUCCESS" {
				t.Errorf("recorded as %+v", run)
			}
			l.Doctor()
		})
	}
}

// While symbols are added, prices ingested and artifacts logged, runs deleted
// and purged and contents collected, each backup is a lab of its own that doctor
// finds sound.
func TestABackupTakenInAStormRestoresToASoundLab(t *testing.T) {
	t.Parallel()
	backups, wide := soak.Count(t, 3, 10), soak.Count(t, 2, 4)
	l := labtest.New(t)
	for n := range 5 {
		l.Write(fmt.Sprintf("p%d.csv", n), labtest.PriceFile(n, 50, fmt.Sprintf("S%d", n), "ALL"))
	}
	l.Must("ingest", "p0.csv")
	plant(l, "the first")
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
	w := writer(l)
	t.Cleanup(w.close)
	for n := range wide {
		storm.Go(func() {
			for i := 0; !stopped(); i++ {
				r := l.Run("ingest", fmt.Sprintf("p%d.csv", (n+i)%5))
				if r.Code != 0 {
					t.Error(r)
				}
			}
		})
		storm.Go(func() {
			for i := 0; !stopped(); i++ {
				if r := l.Run("symbols", "add", fmt.Sprintf("N%d-%d", n, i)); r.Code != 0 {
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
				r := l.Run(command...)
				held := r.Code == 5 && strings.Contains(r.Stderr, "held by another process")
				if r.Code != 0 && !held {
					t.Error(r)
				}
				if command[0] == "gc" && r.Code == 0 {
					collected++
				}
			}
			// Days pass for what nobody has, and no open run can have put.
			oldest := time.Now()
			open, err := w.db.ListRuns(context.Background(), metastore.RunFilter{All: true, Status: quant.Running, Brief: true})
			if err != nil {
				t.Error(err)
				return
			}
			for _, run := range open {
				if run.StartedAt.Before(oldest) {
					oldest = run.StartedAt.Time
				}
			}
			oldest = oldest.Add(-50 * time.Millisecond) // a file's clock has coarse ticks
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
		l.Must("backup", name)
		l.Must("backup", "--verify", name)
	}
	close(stop)
	storm.Wait()
	if collected == 0 {
		t.Error("gc never came to its work")
	}
	for n := range backups {
		other := labtest.New(t)
		b, err := os.ReadFile(l.Path(fmt.Sprintf("b%d.tar", n)))
		labtest.Must(t, err)
		other.Write("b.tar", b)
		other.Must("restore", "b.tar")
		other.Must("doctor", "--deep")
		other.WantClosed()
		other.WantAgreement()
		if run := other.RunOf("backup"); run.Status != "SUCCESS" {
			t.Errorf("the backup in itself: %+v", run)
		}
		t.Logf("backup %d: %d runs", n, len(other.Runs()))
	}
	l.Must("doctor", "--deep")
}

func TestAKilledBackupLeavesNoFile(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("symbols", "add", "A")
	l.Write("b.tar", []byte("precious"))
	r := l.Want(5, "backup", "b.tar")
	if got, _ := os.ReadFile(l.Path("b.tar")); string(got) != "precious" {
		t.Fatalf("it was replaced: %v", r)
	}
	l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=meta.finish.before"}, "backup", "c.tar").Wait(), labtest.Killed)
	l.Must("backup", "--verify", "c.tar") // it was whole before the run was closed
	l.Must("backup", "--force", "b.tar")
	l.Must("backup", "--verify", "b.tar")
	l.Doctor()
}

func TestRunsThatWereRunningInABackupAreClosedTruly(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("p.csv", labtest.PriceFile(1, 5, "A"))
	l.Must("ingest", "p.csv")
	w := writer(l)
	t.Cleanup(w.close)
	var ids []string
	for _, options := range [][]registry.StartOption{nil, nil, {registry.ReadsOnly()}} {
		id, err := w.registry.Start(context.Background(), "exec", nil, options...)
		labtest.Must(t, err)
		ids = append(ids, id)
	}
	db := l.OpenFacts("READ_WRITE")
	_, err := db.Exec("INSERT INTO ledger (run_id, table_name, rows_inserted, rows_updated, rows_deleted, committed_at) VALUES (?, 'labels', 1, 0, 0, now()::TIMESTAMP)", ids[0])
	labtest.Must(t, errors.Join(err, db.Close()))
	l.Must("backup", "b.tar")
	other := labtest.New(t)
	b, err := os.ReadFile(l.Path("b.tar"))
	labtest.Must(t, err)
	other.Write("b.tar", b)
	other.Must("restore", "b.tar")
	for i, want := range []string{"facts committed", "no facts committed", "no facts committed"} {
		got := other.MetaRows("SELECT status, error_text, exit_code IS NULL FROM runs JOIN run_process USING (run_id) WHERE run_id = '" + ids[i] + "'")
		if got != "FAIL was running when the backup was taken; "+want+" 1\n" {
			t.Errorf("%q, want %s", got, want)
		}
	}
	for _, run := range l.Runs() { // and here they run on
		if run.ID == ids[0] && run.Status != "RUNNING" {
			t.Errorf("%+v", run)
		}
	}
}

func TestABackupOfALabThatLacksAContentSaysSo(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("symbols", "add", "A")
	missing, damaged := plant(l, "missing"), plant(l, "damaged")
	store := artifact.Store{Dir: l.Meta() + ".artifacts"}
	for digest, damage := range map[string]func(string) error{missing: os.Remove, damaged: func(path string) error {
		return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("DAMAGED"), 0o600))
	}} {
		path, err := store.Path(digest)
		labtest.Must(t, err)
		labtest.Must(t, damage(path))
	}
	l.Want(1, "doctor")
	r := l.Want(3, "backup", "b.tar")
	if !strings.Contains(r.Stderr, "lacks the contents of 2 artifacts") {
		t.Error(r)
	}
	l.WantFail(l.RunOf("backup"), 3, "lacks the contents")
	l.Must("backup", "--verify", "b.tar")
	l.Want(3, "restore", "b.tar", "--yes")
	l.Want(1, "doctor")
}

func TestAKillOfARestoreAtAnyMomentLeavesTheOldLabOrTheNewOne(t *testing.T) {
	t.Parallel()
	times := soak.Count(t, 6, 100)
	l := labtest.New(t)
	l.Write("first.csv", labtest.PriceFile(1, 200, "OLD"))
	l.Write("second.csv", labtest.PriceFile(2, 200, "NEW"))
	var states []string
	for n, name := range []string{"first", "second"} {
		l.Must("ingest", name+".csv")
		plant(l, strings.Repeat(name, 10_000))
		l.Must("backup", name+".tar")
		states = append(states, state(l))
		if n == 1 && states[0] == states[1] {
			t.Fatal("both labs are the same")
		}
	}
	took := l.Must("restore", "first.tar", "--yes").Took
	now, killedThem := 0, 0
	random := soak.Random(t)
	for range times {
		p := l.Start(nil, "restore", []string{"first.tar", "second.tar"}[1-now], "--yes")
		time.Sleep(time.Duration(random.Int64N(int64(took))))
		_ = p.Process.Kill()
		if r := p.Wait(); r.Code == labtest.Killed {
			killedThem++
		}
		l.Doctor()
		switch state(l) {
		case states[now]:
		case states[1-now]:
			now = 1 - now
		default:
			t.Fatal("neither lab")
		}
		l.WantClosed()
		l.WantAgreement()
	}
	t.Logf("%d of %d restores were killed", killedThem, times)
	l.Must("restore", "second.tar", "--yes")
	if state(l) != states[1] {
		t.Error("in the end it is another")
	}
}

func TestOthersSeeTheOldLabOrTheNewOneWhileItIsReplaced(t *testing.T) {
	t.Parallel()
	rounds := soak.Count(t, 3, 30)
	l := labtest.New(t)
	l.Write("a.csv", labtest.PriceFile(1, 5, "A"))
	l.Write("b.csv", labtest.PriceFile(2, 5, "B"))
	l.Must("ingest", "a.csv")
	l.Must("backup", "a.tar")
	l.Must("symbols", "remove", "--force", "A")
	l.Must("ingest", "b.csv")
	l.Must("backup", "b.tar") // prices of A and B, symbol B
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
				symbols := l.Run("symbols", "list", "--output", "csv")
				facts := l.Run("sql", "--output", "csv", "SELECT count(*) FROM ohlcv")
				if symbols.Code != 0 || facts.Code != 0 || strings.Contains(symbols.Stderr+facts.Stderr, "not recorded") {
					t.Errorf("%v\n%v", symbols, facts)
				}
				if lines := strings.Count(symbols.Stdout, "\n"); lines != 2 {
					t.Errorf("neither lab: %v", symbols)
				}
			}
		})
	}
	restored, refused := 0, 0
	for restored < rounds {
		switch r := l.Run("restore", []string{"a.tar", "b.tar"}[restored%2], "--yes"); r.Code {
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
	l.WantClosed()
	l.Doctor()
}
