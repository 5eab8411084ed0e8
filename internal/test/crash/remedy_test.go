package crash

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// broken is a lab with symbols, runs and what a program printed, whose Meta DB has
// lost its header: every row of it can still be read.
type broken struct {
	*labtest.Lab
	file []byte
	runs []string
}

var printing = labtest.Prepared{Make: func(l *labtest.Lab) {
	l.Must("symbols", "add", "KEEP", "--name", "kept")
	l.Must("exec", "--", "echo", "printed")
	for i := range 10 {
		l.Must("symbols", "add", fmt.Sprintf("S%d", i))
	}
	checkpointed(l)
	old := time.Now().Add(-48 * time.Hour)
	logs, err := filepath.Glob(l.Path("data", "meta.db.logs", "*"))
	labtest.Must(l.T, err)
	if len(logs) != 1 {
		l.T.Fatal(logs)
	}
	labtest.Must(l.T, os.Chtimes(logs[0], old, old))
}}

func checkpointed(l *labtest.Lab) {
	l.T.Helper()
	db := l.OpenMeta("")
	_, err := db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	labtest.Must(l.T, errors.Join(err, db.Close()))
}

func newBroken(t *testing.T) broken {
	t.Helper()
	l := printing.Copy(t)
	b := broken{Lab: l}
	for _, run := range l.Runs() {
		b.runs = append(b.runs, run.ID)
	}
	whole, err := os.ReadFile(l.Meta())
	labtest.Must(t, err)
	b.file = flipped(whole, 0, 100, 0xff)
	labtest.Must(t, os.WriteFile(l.Meta(), b.file, 0o600))
	return b
}

// wantAll checks that every run of the broken file is recorded again, that its
// symbols are there, and that what its program printed still is.
func (b broken) wantAll(l *labtest.Lab) {
	l.T.Helper()
	var now []string
	for _, run := range l.Runs() {
		now = append(now, run.ID)
	}
	for _, id := range b.runs {
		if !slices.Contains(now, id) {
			l.T.Errorf("run %s is gone", id)
		}
	}
	b.wantPrinted(l)
}

func (b broken) wantPrinted(l *labtest.Lab) {
	l.T.Helper()
	if logs, err := filepath.Glob(l.Path("data", "meta.db.logs", "*")); err != nil || len(logs) != 1 {
		l.T.Errorf("what the program printed: %v, %v", logs, err)
	}
}

func (b broken) copyOf(t *testing.T) *labtest.Lab {
	t.Helper()
	return b.CopyOf(t)
}

func TestKillAtEveryStepOfARemedyLosesNothingThatTheNextCannotSave(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	for _, remedy := range [][]string{{"doctor", "--fix"}, {"init-db", "--reset", "--yes"}} {
		for _, step := range []string{
			"meta.create.before", "meta.create.after", "remedy.staged", "restore.journal", "restore.move", "restore.move#2", "restore.move#3",
			"restore.moved", "meta.start.before", "meta.start.after",
		} {
			t.Run(remedy[0]+" "+step, func(t *testing.T) {
				t.Parallel()
				l := b.copyOf(t)
				r := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step}, remedy...).Wait()
				l.WantCode(r, labtest.Killed)
				// Whatever is run next: nothing of it takes the rest for nobody's.
				wantBearable(l, l.Run("gc", "--yes"), 0, 8)
				b.wantPrinted(l)
				wantBearable(l, l.Run("doctor"), 0, 1)
				l.Must("doctor", "--fix")
				if !somewhere(l, b.file) {
					t.Error("the broken file is nowhere any more")
				}
				b.wantAll(l)
				l.Must("gc", "--yes")
				b.wantAll(l)
				if got := l.MetaRows("SELECT name FROM symbols WHERE symbol = 'KEEP'"); got != "kept\n" {
					t.Errorf("the symbols are gone: %q", got)
				}
				l.WantClosed()
				l.WantAgreement()
			})
		}
	}
}

// What a remedy moved aside and did not save, as one of a former version that was
// killed, is taken up again.
func TestWhatWasMovedAsideAndNotSavedIsTakenUp(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	aside := b.Meta() + ".broken-20260115T093000Z"
	labtest.Must(t, os.Rename(b.Meta(), aside))
	r := b.Must("symbols", "add", "AFTER")
	if !strings.Contains(r.Stderr, filepath.Base(aside)) {
		t.Errorf("a new lab is made and no word said of the old: %v", r)
	}
	var c labtest.Checkup
	labtest.Decode(t, b.Must("doctor", "--output", "json").Stdout, &c)
	if !c.Has("warning", "meta.db.broken-", "its runs may be missing") {
		t.Errorf("%+v", c)
	}
	r = b.Must("gc", "--yes")
	if !strings.Contains(r.Stderr, filepath.Base(aside)) {
		t.Errorf("gc does not say why it removes nothing: %v", r)
	}
	b.wantPrinted(b.Lab)
	r = b.Must("doctor", "--fix")
	if !strings.Contains(r.Stdout, "0 rows lost") {
		t.Errorf("%v", r)
	}
	b.wantAll(b.Lab)
	b.Must("runs", "delete", b.runs[1])
	b.Must("runs", "purge", "--yes", b.runs[1])
	b.Must("doctor", "--fix")
	if slices.ContainsFunc(b.Runs(), func(run labtest.RunRow) bool { return run.ID == b.runs[1] }) {
		t.Error("what was saved once is saved again, after it was purged")
	}
	if r := b.Must("gc", "--yes"); strings.Contains(r.Stderr, "broken") {
		t.Errorf("%v", r)
	}
}

// What could not be read is not told as saved, and nothing that may belong to it is
// taken for nobody's.
func TestARemedyTellsOnlyWhatItRead(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	whole := flipped(b.file, 0, 100, 0xff)
	for name, file := range map[string][]byte{
		"cut to 30 %": whole[:len(whole)*30/100],
		"one page":    whole[:4096],
		"text":        []byte("symbol,name\n"),
		"empty":       nil,
		"zeros":       make([]byte, len(whole)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := b.copyOf(t)
			labtest.Must(t, os.WriteFile(l.Meta(), file, 0o600))
			r := l.Run("doctor")
			if cut := fmt.Sprintf("it has %d bytes, and its header says %d pages", len(file), len(whole)/4096); len(file) >= 4096 && name != "zeros" && !strings.Contains(r.Stdout, cut) {
				t.Errorf("it does not say %q: %v", cut, r)
			}
			r = l.Must("doctor", "--fix")
			if strings.Contains(r.Stdout, "0 rows lost") || !strings.Contains(r.Stdout, "not all of it was taken over") {
				t.Errorf("%v", r)
			}
			r = l.Must("gc", "--yes")
			b.wantPrinted(l)
			if !strings.Contains(r.Stderr, "moved aside") {
				t.Errorf("gc does not say why: %v", r)
			}
			aside := movedAside(l)
			if got, err := os.ReadFile(aside); err != nil || !bytes.Equal(got, file) {
				t.Errorf("%s: %v", aside, err)
			}
			labtest.Must(t, os.Remove(aside))
			if r := l.Must("gc", "--yes"); strings.Contains(r.Stderr, "moved aside") {
				t.Errorf("%v", r)
			}
		})
	}
}

func movedAside(l *labtest.Lab) string {
	l.T.Helper()
	found, err := filepath.Glob(l.Meta() + ".broken-*Z")
	labtest.Must(l.T, err)
	if len(found) != 1 {
		l.T.Fatal(found)
	}
	return found[0]
}

// tiny mounts a file system of 8 MiB at the data folder of a lab.
func tiny(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	labtest.Must(t, os.Mkdir(l.Path("data"), 0o700))
	if err := labtest.MountTiny(l.Path("data"), 8); err != nil {
		labtest.CannotTry(t, "no file system of its own can be mounted: %v", err)
	}
	t.Cleanup(func() { labtest.Must(t, labtest.Unmount(l.Path("data"))) })
	return l
}

// leave fills the disk of a lab but for so many KiB.
func leave(l *labtest.Lab, kib int) {
	l.T.Helper()
	room := filepath.Join(l.Path("data"), "room")
	labtest.Must(l.T, os.WriteFile(room, make([]byte, kib<<10), 0o600))
	fill(l.T, l.Path("data", "filler"))
	labtest.Must(l.T, os.Remove(room))
}

// rooms are steps of the KiB that are left, up to where all fits.
func rooms(t *testing.T, most int) (kib []int) {
	step := most / 12
	if soak.Full(t) {
		step = most / 100
	}
	for n := 0; n <= most; n += step {
		kib = append(kib, n)
	}
	return kib
}

// empty takes everything away from the data folder of a lab.
func empty(l *labtest.Lab) {
	l.T.Helper()
	list, err := os.ReadDir(l.Path("data"))
	labtest.Must(l.T, err)
	for _, e := range list {
		labtest.Must(l.T, os.RemoveAll(l.Path("data", e.Name())))
	}
}

func TestANearlyFullDiskInstallsNoDatabaseThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		most int
	}{{[]string{"symbols", "add", "X"}, 900}, {[]string{"init-db"}, 1800}} {
		t.Run(c.args[0], func(t *testing.T) {
			t.Parallel()
			l := tiny(t)
			failed := 0
			for _, kib := range rooms(t, c.most) {
				leave(l, kib)
				if wantBearable(l, l.Run(c.args...), 0, 8) != 0 {
					failed++
				}
				labtest.Must(t, os.Remove(l.Path("data", "filler")))
				if _, err := os.Lstat(l.Meta()); err == nil {
					wantReadable(l, l.Meta())
				}
				l.Must(c.args...)
				l.Must("init-db")
				l.Must("sql", "SELECT count(*) FROM ohlcv")
				l.WantClosed()
				if t.Failed() {
					t.Fatalf("with %d KiB left", kib)
				}
				empty(l)
			}
			if failed == 0 {
				t.Error("the disk was never full")
			}
		})
	}
}

// A backup or a file of runs on a nearly full disk is whole, or it is not there; and
// a lab that is restored there is the old one or the new.
func TestANearlyFullDiskTakesWholeFilesOnly(t *testing.T) {
	t.Parallel()
	from := printing.Copy(t)
	run := from.RunOf("exec").ID
	from.Must("backup", "whole.qbak")
	whole := from.Path("whole.qbak")
	l := tiny(t)
	failed := 0
	for _, kib := range rooms(t, 1200) {
		leave(l, kib)
		for _, args := range [][]string{{"backup", l.Path("data", "b.qbak")}, {"runs", "export", run, l.Path("data", "runs.quant")}} {
			r := from.Run(args...)
			file := args[len(args)-1]
			_, err := os.Lstat(file)
			if code := wantBearable(from, r, 0, 1, 8); (code == 0) != (err == nil) {
				t.Errorf("with %d KiB left: %v, %v", kib, err, r)
			}
			if r.Code != 0 {
				failed++
				continue
			}
			if args[0] == "backup" {
				from.Must("backup", "--verify", file)
			} else {
				labtest.New(t).Must("runs", "import", file)
			}
			labtest.Must(t, os.Remove(file))
		}
		labtest.Must(t, os.Remove(l.Path("data", "filler")))
		l.Must("symbols", "add", "OLD")
		leave(l, kib)
		r := l.Run("restore", "--yes", whole)
		code := wantBearable(l, r, 0, 8)
		labtest.Must(t, os.Remove(l.Path("data", "filler")))
		l.Must("config")
		wantReadable(l, l.Meta())
		want := "OLD\n"
		if code == 0 {
			want = "KEEP\n"
		}
		if got := l.MetaRows("SELECT symbol FROM symbols WHERE symbol IN ('OLD', 'KEEP')"); got != want {
			t.Errorf("with %d KiB left it is the lab of %q, want %q: %v", kib, got, want, r)
		}
		l.WantClosed()
		empty(l)
	}
	if failed == 0 {
		t.Error("the disk was never full")
	}
}

// wantReadable has SQLite examine a file.
func wantReadable(l *labtest.Lab, path string) {
	l.T.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	labtest.Must(l.T, err)
	defer db.Close()
	var said string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&said); err != nil || said != "ok" {
		l.T.Fatalf("%s: %q, %v", path, said, err)
	}
}

func TestARemedyOnANearlyFullDiskSavesAllOrMovesNothing(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	l := tiny(t)
	failed, mended := 0, 0
	for _, kib := range rooms(t, 900) {
		labtest.Must(t, os.CopyFS(l.Path("data"), os.DirFS(b.Path("data"))))
		leave(l, kib)
		code := wantBearable(l, l.Run("doctor", "--fix"), 0, 1, 8)
		labtest.Must(t, os.Remove(l.Path("data", "filler")))
		if code == 8 {
			failed++
			if now, err := os.ReadFile(l.Meta()); err == nil && !bytes.Equal(now, b.file) {
				wantReadable(l, l.Meta()) // it was swapped, and the run could not be recorded
			}
		} else {
			mended++
		}
		wantBearable(l, l.Run("doctor", "--fix"), 1) // so small a disk is a fault
		b.wantAllIn(l, kib)
		empty(l)
	}
	if failed == 0 || mended == 0 {
		t.Errorf("%d failed, %d went well", failed, mended)
	}
}

func (b broken) wantAllIn(l *labtest.Lab, kib int) {
	l.T.Helper()
	b.wantAll(l)
	if l.T.Failed() {
		l.T.Fatalf("with %d KiB left", kib)
	}
}

// inject runs quant with system calls that fail, as strace does it; the test is left
// out where strace is not there or may not trace.
func inject(l *labtest.Lab, path, rule string, args ...string) labtest.Result {
	l.T.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		labtest.CannotTry(l.T, "no strace here")
	}
	quant := l.Command(args...)
	cmd := exec.Command(strace, append([]string{"-f", "-qq", "-o", l.Path("trace"), "-P", path, "-e", "inject=" + rule, quant.Path}, quant.Args[1:]...)...)
	cmd.Dir, cmd.Env = quant.Dir, quant.Env
	r := l.StartCmd(cmd).Wait()
	if strings.Contains(r.Stderr, "PTRACE_TRACEME") || strings.Contains(r.Stderr, "strace: ") {
		labtest.CannotTry(l.T, "strace cannot trace here: %v", r)
	}
	return r
}

// A read that fails is no damage: a sound database stays where it is, at the first
// failure and at every later one, and so it is with one that is broken.
func TestAReadThatFailsMovesNothing(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	sound := printing.Copy(t)
	whole, err := os.ReadFile(sound.Meta())
	labtest.Must(t, err)
	rules := []string{"pread64:error=EIO:when=1", "pread64:error=EIO:when=2", "pread64:error=EAGAIN:when=3+", "pread64:error=EIO:when=9+", "pread64:error=EIO", "read:error=EIO", "openat:error=EMFILE:when=2+", "openat:error=EACCES", "openat:error=EIO:when=1"}
	if soak.Full(t) {
		for n := 2; n < 60; n += 3 {
			rules = append(rules, fmt.Sprintf("pread64:error=EIO:when=%d", n), fmt.Sprintf("pread64:error=EIO:when=%d+", n))
		}
	}
	for _, rule := range rules {
		for _, remedy := range [][]string{{"doctor", "--fix"}, {"init-db", "--reset", "--yes"}} {
			t.Run(rule+" "+remedy[0], func(t *testing.T) {
				t.Parallel()
				l := sound.CopyOf(t)
				r := inject(l, l.Meta(), rule, remedy...)
				wantBearable(l, r, 0, 1, 8)
				if aside, _ := filepath.Glob(l.Meta() + ".broken-*"); aside != nil {
					t.Fatalf("a sound database was moved aside: %v", r)
				}
				if strings.Contains(r.Stderr, "malformed") || strings.Contains(r.Stderr, "damaged") {
					t.Errorf("it is called damaged: %v", r)
				}
				l.Must("symbols", "list")
				if r.Code == 8 && remedy[0] == "doctor" {
					if now, err := os.ReadFile(l.Meta()); err != nil || len(now) < len(whole) {
						t.Error(len(now), err)
					}
				}

				l = b.copyOf(t)
				r = inject(l, l.Meta(), rule, remedy...)
				if code := wantBearable(l, r, 0, 1, 8); code == 8 {
					if now, err := os.ReadFile(l.Meta()); err != nil || !bytes.Equal(now, b.file) {
						wantReadable(l, l.Meta()) // the new one was made, and could not be used
						b.wantAll(l)
					}
				}
				l.Must("doctor", "--fix")
				b.wantAll(l)
			})
		}
	}
}

// A reset that is killed once it has moved the Fact DB has done nothing: it comes back.
func TestTheFactDBOfAKilledResetComesBack(t *testing.T) {
	t.Parallel()
	l := furnished.Copy(t)
	prices := l.Prices()
	r := l.Start([]string{"QUANT_TEST_FAILPOINT=reset.moved"}, "init-db", "--reset", "--yes").Wait()
	l.WantCode(r, labtest.Killed)
	l.Must("runs", "list")
	var c labtest.Checkup
	labtest.Decode(t, l.Want(1, "doctor", "--output", "json").Stdout, &c)
	if !c.Has("fault", "quant.duckdb", "a reset that was cut short") {
		t.Fatalf("%+v", c)
	}
	l.Must("doctor", "--fix")
	if l.Prices() != prices {
		t.Error("the prices are not back")
	}
	l.Must("init-db", "--reset", "--yes")
	if r := l.Must("doctor"); strings.Contains(r.Stdout, "cut short") {
		t.Errorf("%v", r)
	}
}

// When the renaming fails after the first move, the old one comes back.
func TestAMoveThatFailsIsTakenBack(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	for when := 1; when <= 4; when++ {
		l := b.copyOf(t)
		r := inject(l, l.Path("data", "meta.db.restoring"), fmt.Sprintf("rename,renameat,renameat2:error=EIO:when=%d", when), "doctor", "--fix")
		if code := wantBearable(l, r, 0, 8); code == 8 {
			if now, err := os.ReadFile(l.Meta()); err != nil || !bytes.Equal(now, b.file) {
				t.Errorf("the old one is not in its place (%v): %v", err, r)
			}
			if left, _ := filepath.Glob(l.Meta() + ".restoring*"); left != nil {
				t.Errorf("%v is left: %v", left, r)
			}
		}
		l.Must("doctor", "--fix")
		b.wantAll(l)
	}
}
