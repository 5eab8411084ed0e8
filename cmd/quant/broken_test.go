package main

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// everyCommand is one harmless line of each command; file.csv is there.
var everyCommand = [][]string{
	{"config"}, {"symbols", "list"}, {"symbols", "add", "NEW"}, {"symbols", "set", "OLD", "--name", "x"}, {"symbols", "remove", "OLD"},
	{"symbols", "import", "symbols.csv"}, {"ingest", "first.csv"}, {"sql", "SELECT count(*) FROM ohlcv"}, {"sql", "--meta", "SELECT count(*) FROM runs"},
	{"runs", "list"}, {"runs", "show", "last"}, {"runs", "close", "last"}, {"doctor"}, {"doctor", "--fix"}, {"init-db"}, {"init-db", "--reset", "--yes"},
}

// furnished makes a lab with symbols, prices and a few runs. Both files are
// closed and complete.
func furnished(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	l.write("first.csv", priceFile(1, 200, "OLD", "BOTH"))
	l.write("symbols.csv", []byte("symbol,name\nIMP,imported\n"))
	l.must("symbols", "add", "KEEP", "--name", "kept")
	l.must("ingest", "first.csv")
	for i := range 40 {
		l.must("symbols", "add", fmt.Sprintf("S%d", i), "--name", strings.Repeat("long name ", 20))
	}
	db := l.openMeta("")
	_, err := db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	must(t, errors.Join(err, db.Close()))
	return l
}

// contents is the digest of every file under a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		sum := sha256.Sum256(b)
		out[path] = hex.EncodeToString(sum[:])
		return err
	}))
	return out
}

// somewhere reports whether a file under the lab has these bytes.
func (l *lab) somewhere(b []byte) bool {
	l.t.Helper()
	sum := sha256.Sum256(b)
	for _, digest := range contents(l.t, l.dir) {
		if digest == hex.EncodeToString(sum[:]) {
			return true
		}
	}
	return false
}

func TestANewerSchemaIsRefusedByEveryCommandAndNotTouched(t *testing.T) {
	t.Parallel()
	original := furnished(t)
	t.Run("meta", func(t *testing.T) {
		t.Parallel()
		l := original.copyOf(t)
		db := l.openMeta("")
		_, err := db.Exec("PRAGMA user_version = 4000; PRAGMA wal_checkpoint(TRUNCATE)")
		must(t, errors.Join(err, db.Close()))
		before := contents(t, l.path("data"))
		for _, args := range everyCommand {
			r := l.want(8, args...)
			if !strings.Contains(r.stderr, "newer") || !strings.Contains(r.stderr, "meta.db") {
				t.Errorf("not clear: %v", r)
			}
		}
		l.wantSameFiles(before)
	})
	t.Run("fact", func(t *testing.T) {
		t.Parallel()
		l := original.copyOf(t)
		db := l.openFacts("READ_WRITE")
		_, err := db.Exec("UPDATE schema_version SET version = 4000; CHECKPOINT")
		must(t, errors.Join(err, db.Close()))
		before, err := os.ReadFile(l.facts())
		must(t, err)
		for _, args := range everyCommand {
			code := 0
			switch args[0] + " " + args[len(args)-1] {
			case "symbols OLD", "ingest first.csv", "sql SELECT count(*) FROM ohlcv", "init-db init-db", "init-db --yes":
				code = 8
			case "doctor doctor", "doctor --fix":
				code = 1 // it names the fault
			case "runs last":
				if args[1] == "close" {
					code = 5
				}
			}
			r := l.want(code, args...)
			if (code == 8 || code == 1) && !strings.Contains(r.stderr+r.stdout, "newer") {
				t.Errorf("not clear: %v", r)
			}
		}
		after, err := os.ReadFile(l.facts())
		must(t, err)
		if !bytes.Equal(before, after) {
			t.Fatal("the Fact DB of a newer program has been changed")
		}
		if got := l.metaRows("SELECT name FROM symbols WHERE symbol = 'KEEP'"); got != "kept\n" {
			t.Fatalf("the reset was refused and yet the symbols are gone: %q", got)
		}
		l.wantClosed()
	})
}

func (l *lab) wantSameFiles(before map[string]string) {
	l.t.Helper()
	after := contents(l.t, l.path("data"))
	for path, digest := range before {
		if after[path] != digest {
			l.t.Errorf("%s has changed", path)
		}
	}
	for path := range after {
		if _, old := before[path]; !old && !strings.HasSuffix(path, ".lock") {
			l.t.Errorf("%s is new", path)
		}
	}
}

// damages are what can befall a database file.
func damages(t *testing.T, size int) map[string]func([]byte) []byte {
	t.Helper()
	out := map[string]func([]byte) []byte{
		"empty":        func([]byte) []byte { return nil },
		"text":         func([]byte) []byte { return []byte("symbol,name\nA,b\n") },
		"zeros":        func(b []byte) []byte { return make([]byte, len(b)) },
		"all inverted": func(b []byte) []byte { return flipped(b, 0, len(b), 0xff) },
		"page zeroed":  func(b []byte) []byte { c := bytes.Clone(b); clear(c[size/2/4096*4096:][:4096]); return c },
	}
	truncated, flips := []int{16, 4096, size / 2, size - 4096, size - 1}, []int{0, 60, 4096, 8200, size / 2, size - 100}
	if soak(t) {
		truncated, flips = append(truncated, 1, 100, 8192, size/3, size/4*3), append(flips, 17, 20, 101, 4100, 12300, size/3, size/4*3)
		for at := 0; at < size; at += 3001 {
			flips = append(flips, at)
		}
	}
	for _, at := range truncated {
		out[fmt.Sprintf("truncated to %d", at)] = func(b []byte) []byte { return bytes.Clone(b[:at]) }
	}
	for _, at := range flips {
		out[fmt.Sprintf("bits flipped at %d", at)] = func(b []byte) []byte { return flipped(b, at, at+1, 0x55) }
	}
	return out
}

func flipped(b []byte, from, to int, mask byte) []byte {
	c := bytes.Clone(b)
	for i := from; i < to; i++ {
		c[i] ^= mask
	}
	return c
}

func TestADamagedMetaDBIsReportedMovedAsideAndSavedFrom(t *testing.T) {
	t.Parallel()
	original := furnished(t)
	whole, err := os.ReadFile(original.meta())
	must(t, err)
	runs := len(original.runs())
	for name, damage := range damages(t, len(whole)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := original.copyOf(t)
			broken := damage(whole)
			must(t, os.WriteFile(l.meta(), broken, 0o600))
			examined := l.run("doctor")
			detected := l.wantBearable(examined, 0, 1, 8) != 0
			if strings.Contains(examined.stderr, "newer quant") {
				// The version number itself was hit: that cannot be told from a
				// newer schema, which nobody may touch.
				for _, remedy := range [][]string{{"doctor", "--fix"}, {"init-db", "--reset", "--yes"}} {
					l.want(8, remedy...)
				}
				if now, err := os.ReadFile(l.meta()); err != nil || !bytes.Equal(now, broken) {
					t.Fatal("it has been touched")
				}
				return
			}
			read := l.wantBearable(l.run("symbols", "list"), 0, 1, 8)
			wrote := l.wantBearable(l.run("symbols", "set", "KEEP", "--priority", "3"), 0, 1, 4, 8)
			if (read == 8 || wrote == 8) && !detected {
				t.Error("commands fail and doctor sees nothing")
			}
			if !detected {
				return // what was flipped stood nowhere: a name, free space
			}
			before, err := os.ReadFile(l.meta())
			must(t, err)
			for _, remedy := range [][]string{{"doctor", "--fix"}, {"init-db", "--reset", "--yes"}} {
				t.Run(remedy[0], func(t *testing.T) {
					l := l.copyOf(t)
					r := l.run(remedy...)
					l.wantBearable(r, 0, 1)
					if !l.somewhere(before) && r.code == 0 && strings.Contains(r.stderr, "moved to") {
						t.Fatalf("the damaged file is nowhere any more: %v", r)
					}
					if !strings.Contains(r.stderr, "moved to") && remedy[0] == "doctor" && !strings.Contains(r.stdout, "init-db --reset") {
						t.Fatalf("neither moved aside nor told how it is mended: %v", r)
					}
					said := closingLine.FindStringSubmatch(r.stderr)
					if said == nil || !slices.ContainsFunc(l.runs(), func(run runRow) bool {
						return run.ID == said[1] && run.Kind == remedy[0] && run.Status == said[3]
					}) {
						t.Fatalf("the remedy is not recorded: %v", r)
					}
					t.Logf("%s, %s: of %d runs %d are left, with those of this test", name, remedy[0], runs, len(l.runs())-1)
					l.wantClosed()
					if remedy[0] == "init-db" && r.code != 0 {
						t.Fatal(r)
					}
					l.must("symbols", "add", "AFTER")
					l.must("ingest", "first.csv")
					l.must("init-db")
				})
			}
		})
	}
}

// wantBearable checks that a command on a broken lab ended in one of these
// ways and, when it failed, said why, what and where.
func (l *lab) wantBearable(r result, codes ...int) int {
	l.t.Helper()
	for _, code := range codes {
		if r.code == code {
			l.wantCode(r, code)
			return code
		}
	}
	l.t.Errorf("want exit status of %v: %v", codes, r)
	return r.code
}

func TestADamagedFactDBIsReportedAndItsFileKept(t *testing.T) {
	t.Parallel()
	original := furnished(t)
	whole, err := os.ReadFile(original.facts())
	must(t, err)
	prices := original.prices()
	for name, damage := range damages(t, len(whole)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := original.copyOf(t)
			broken := damage(whole)
			must(t, os.WriteFile(l.facts(), broken, 0o600))
			doctor := l.run("doctor")
			detected := l.wantBearable(doctor, 0, 1) != 0
			query := l.run("sql", "--output", "csv", "SELECT symbol, sum(close), sum(volume) FROM ohlcv GROUP BY 1 ORDER BY 1")
			read := l.wantBearable(query, 0, 1, 8)
			if read == 8 && !detected {
				t.Errorf("queries fail and doctor sees nothing: %v", query)
			}
			l.wantClosed()
			if !detected {
				return // what was flipped stood nowhere
			}
			if now, err := os.ReadFile(l.facts()); err != nil || !bytes.Equal(now, broken) {
				t.Fatal("a command that reads has changed the damaged file")
			}
			l.wantBearable(l.run("symbols", "list"), 0)
			l.wantBearable(l.run("doctor", "--fix"), 0, 1)
			if !l.somewhere(broken) {
				t.Fatal("doctor --fix has changed or deleted the damaged Fact DB")
			}
			r := l.run("init-db", "--reset", "--yes")
			l.wantBearable(r, 0)
			if !l.somewhere(broken) {
				t.Fatalf("init-db --reset has deleted the damaged Fact DB: %v", r)
			}
			l.must("ingest", "first.csv")
			if l.prices() != prices {
				t.Fatal("the lab does not work after its reset")
			}
			l.wantClosed()
		})
	}
}

func TestWhatIsNoDatabaseOfQuantIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	foreignSQLite := func(t *testing.T, path string) {
		db, err := sql.Open("sqlite3", path)
		must(t, err)
		_, err = db.Exec("CREATE TABLE runs (id INTEGER PRIMARY KEY, note TEXT); INSERT INTO runs VALUES (1, 'somebody else''s')")
		must(t, errors.Join(err, db.Close()))
	}
	foreignDuckDB := func(t *testing.T, path string) {
		db, err := sql.Open("duckdb", path)
		must(t, err)
		_, err = db.Exec("CREATE TABLE ohlcv (mine INTEGER); INSERT INTO ohlcv VALUES (1)")
		must(t, errors.Join(err, db.Close()))
	}
	directory := func(t *testing.T, path string) {
		must(t, os.MkdirAll(filepath.Join(path, "inside"), 0o700))
		must(t, os.WriteFile(filepath.Join(path, "inside", "file"), []byte("precious"), 0o600))
	}
	for name, c := range map[string]struct {
		file string
		make func(*testing.T, string)
	}{
		"a directory for the Meta DB":          {"meta.db", directory},
		"a directory for the Fact DB":          {"quant.duckdb", directory},
		"a foreign SQLite file":                {"meta.db", foreignSQLite},
		"a DuckDB file for the Meta DB":        {"meta.db", foreignDuckDB},
		"a foreign DuckDB file":                {"quant.duckdb", foreignDuckDB},
		"an SQLite file for the Fact DB":       {"quant.duckdb", foreignSQLite},
		"a dangling link for the Meta DB":      {"meta.db", func(t *testing.T, path string) { must(t, os.Symlink("nowhere", path)) }},
		"a dangling link for the Fact DB":      {"quant.duckdb", func(t *testing.T, path string) { must(t, os.Symlink("nowhere", path)) }},
		"a fifo for the Meta DB":               {"meta.db", func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }},
		"a fifo for the Fact DB":               {"quant.duckdb", func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }},
		"a directory for the lock of the Meta": {"meta.db.lock", directory},
		"a directory for the lock of the Fact": {"quant.duckdb.lock", directory},
		"a file for the folder of the locks":   {"meta.db.live", func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("precious"), 0o600)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.write("first.csv", priceFile(1, 20, "A"))
			must(t, os.MkdirAll(l.path("data"), 0o700))
			c.make(t, l.path("data", c.file))
			before := contents(t, l.dir)
			isMeta := strings.HasPrefix(c.file, "meta.db")
			for _, args := range [][]string{{"symbols", "add", "X"}, {"ingest", "first.csv"}, {"init-db"}, {"doctor"}, {"symbols", "list"}, {"sql", "FROM ohlcv"}} {
				r := l.run(args...)
				l.wantBearable(r, 0, 1, 8)
				if strings.HasPrefix(name, "a dangling link for the Fact") && r.code == 0 {
					continue // the file is made where the link points to
				}
				needed := isMeta || args[0] == "ingest" || args[0] == "init-db" || args[0] == "sql"
				if reads := args[0] == "sql" || args[0] == "symbols" && args[1] == "list" || args[0] == "doctor"; needed && !reads && r.code != 8 {
					t.Errorf("want exit status 8: %v", r)
				}
				if r.code == 8 && !strings.Contains(r.stderr, "hint:") {
					t.Errorf("what is to be done? %v", r)
				}
			}
			after := contents(t, l.dir)
			for path, digest := range before {
				if after[path] != digest {
					t.Errorf("%s has changed", path)
				}
			}
			if strings.HasSuffix(c.file, ".lock") {
				return // no remedy knows it; the message names it
			}
			r := l.run("init-db", "--reset", "--yes")
			if strings.HasSuffix(c.file, ".live") {
				l.wantBearable(r, 0, 8)
				return
			}
			l.wantBearable(r, 0, 8)
			kept := contents(t, l.dir)
			for path, digest := range before {
				found := false
				for _, d := range kept {
					found = found || d == digest
				}
				if !found {
					t.Errorf("the reset has destroyed %s", path)
				}
			}
			if r.code == 0 {
				l.must("ingest", "first.csv")
				l.wantClosed()
			}
		})
	}
}

// asNobody makes the command run as a user who owns nothing here, when the
// test runs as root, to whom no folder is read-only.
func (l *lab) asNobody(cmd *exec.Cmd) {
	l.t.Helper()
	if os.Getuid() != 0 {
		return
	}
	program := filepath.Join(l.dir, "..", "quant")
	if _, err := os.Stat(program); err != nil {
		if os.Link(cmd.Path, program) != nil {
			b, err := os.ReadFile(cmd.Path)
			must(l.t, err)
			must(l.t, os.WriteFile(program, b, 0o755))
		}
		must(l.t, os.Chmod(program, 0o755))
	}
	must(l.t, os.Chmod(filepath.Dir(l.dir), 0o755))
	must(l.t, os.Chmod(l.dir, 0o755))
	cmd.Path = program
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

func (l *lab) runAsNobody(args ...string) result {
	l.t.Helper()
	cmd := l.command(args...)
	l.asNobody(cmd)
	return l.startCmd(cmd).wait()
}

// readOnly takes the right to write from everybody, and gives the right to
// read, for everything under dir.
func (l *lab) readOnly(dir string) {
	l.t.Helper()
	var paths []string
	must(l.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	for i := len(paths) - 1; i >= 0; i-- {
		info, err := os.Lstat(paths[i])
		must(l.t, err)
		mode := fs.FileMode(0o444)
		if info.IsDir() {
			mode = 0o555
		}
		must(l.t, os.Chmod(paths[i], mode))
	}
	l.t.Cleanup(func() {
		for _, path := range paths {
			_ = os.Chmod(path, 0o700)
		}
	})
}

func TestAReadOnlyFolderStopsWhatChangesAndNotWhatReads(t *testing.T) {
	t.Parallel()
	t.Run("with a lab in it", func(t *testing.T) {
		t.Parallel()
		l := furnished(t)
		l.readOnly(l.path("data"))
		must(t, os.Chmod(l.path("first.csv"), 0o644))
		must(t, os.Chmod(l.path("symbols.csv"), 0o644))
		before := contents(t, l.path("data"))
		for _, args := range everyCommand {
			r := l.runAsNobody(args...)
			switch {
			case args[0] == "doctor" && len(args) == 1:
				l.wantBearable(r, 1)
				if !strings.Contains(r.stdout, "cannot be written") {
					t.Errorf("doctor does not name the reason: %v", r)
				}
			case args[0] == "doctor":
				l.wantBearable(r, 1, 8)
			case args[0] == "config", args[0] == "sql", args[0] == "symbols" && args[1] == "list", args[0] == "runs" && args[1] != "close":
				l.wantBearable(r, 0)
				if !strings.Contains(r.stderr, "not recorded") {
					t.Errorf("it does not say that it is not recorded: %v", r)
				}
			default:
				l.wantBearable(r, 8)
				if !strings.Contains(r.stderr, "did not start") || !strings.Contains(r.stderr, "hint:") {
					t.Errorf("not clear: %v", r)
				}
			}
		}
		l.wantSameFiles(before)
	})
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		must(t, os.Mkdir(l.path("lab"), 0o700))
		l.readOnly(l.path("lab"))
		for _, args := range [][]string{{"config"}, {"symbols", "add", "X"}, {"init-db"}, {"symbols", "list"}, {"doctor"}, {"demo", "lab/demo"}} {
			r := l.runAsNobody(append(args, "--data-dir", "lab/data")...)
			switch args[0] {
			case "config":
				l.wantBearable(r, 0)
			case "doctor":
				l.wantBearable(r, 1)
			case "demo":
				l.wantBearable(r, 1, 2, 8)
			default:
				l.wantBearable(r, 8)
			}
			if !strings.Contains(r.stderr, "permission denied") {
				t.Errorf("it does not say why: %v", r)
			}
		}
		if left, err := os.ReadDir(l.path("lab")); err != nil || len(left) > 0 {
			t.Fatal(left, err)
		}
	})
}

func TestAFullDiskFailsTheRunAndLosesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("big.csv", priceFile(2, 3000, "A", "B", "C", "D", "E", "F", "G", "H"))
	l.write("first.csv", priceFile(1, 200, "OLD"))
	must(t, os.Mkdir(l.path("data"), 0o700))
	if err := mountTiny(l.path("data"), 6); err != nil {
		t.Logf("no file system of its own can be mounted (%v): the limit on the size of files stands for it", err)
		t.Run("limit", func(t *testing.T) { fullByLimit(t) })
		return
	}
	t.Cleanup(func() { must(t, unmount(l.path("data"))) })
	l.must("symbols", "add", "KEEP")
	l.must("ingest", "first.csv")
	prices := l.prices()
	fill(t, l.path("data", "filler"))
	for _, args := range [][]string{{"ingest", "big.csv"}, {"symbols", "add", "X"}, {"symbols", "list"}, {"ingest", "big.csv"}, {"init-db", "--reset", "--yes"}, {"doctor"}} {
		r := l.run(args...)
		switch strings.Join(args, " ") {
		case "symbols list":
			l.wantBearable(r, 0)
		case "doctor":
			l.wantBearable(r, 1)
		default:
			l.wantBearable(r, 8)
		}
		said := strings.ToLower(r.stderr + r.stdout)
		if !strings.Contains(said, "full") && !strings.Contains(said, "no space") && !strings.Contains(said, "mib are free") {
			t.Errorf("it does not say that the disk is full: %v", r)
		}
	}
	must(t, os.Remove(l.path("data", "filler")))
	l.must("config")
	l.wantClosed()
	l.wantAgreement()
	if l.prices() != prices || l.metaRows("SELECT symbol FROM symbols WHERE symbol = 'KEEP'") != "KEEP\n" {
		t.Fatal("acknowledged rows are gone")
	}
	l.wantSound()
	t.Run("limit", fullByLimit)
}

// wantSound is doctor on a file system too small to be without warnings.
func (l *lab) wantSound() {
	l.t.Helper()
	var c checkup
	decode(l.t, l.run("doctor", "--output", "json").stdout, &c)
	for _, f := range c.Findings {
		if f.Severity == "fault" && !strings.Contains(f.What, "are free") {
			l.t.Fatalf("%+v", c)
		}
	}
}

// fullByLimit forbids the process to write files larger than what is there.
func fullByLimit(t *testing.T) {
	l := furnished(t)
	prices := l.prices()
	l.write("big.csv", priceFile(2, 3000, "A", "B", "C", "D", "E", "F", "G", "H"))
	for _, blocks := range []int{0, 8, 40, 100, 400, 1100} { // of 512 bytes
		for _, args := range [][]string{{"ingest", "big.csv"}, {"symbols", "add", "X"}} {
			quant := l.command(args...)
			sh := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -f %d; exec "$@"`, blocks), "sh", quant.Path}, quant.Args[1:]...)...)
			sh.Dir, sh.Env = quant.Dir, quant.Env
			r := l.startCmd(sh).wait()
			l.wantBearable(r, 0, 1, 8)
			if args[0] == "ingest" && r.code == 0 {
				t.Errorf("with %d blocks it should not have fitted: %v", blocks, r)
			}
			if args[0] == "symbols" && r.code == 0 {
				l.must("symbols", "remove", "X")
			}
			l.must("config")
			l.wantClosed()
			l.wantAgreement()
		}
	}
	if l.prices() != prices {
		t.Fatal("acknowledged prices are gone")
	}
	l.doctor()
	l.must("ingest", "big.csv")
}

// fill takes all the room that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	defer f.Close()
	for _, size := range []int{1 << 16, 1 << 12, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

var movedTo = regexp.MustCompile(`moved to (\S+)`)

func TestARemedyOnABrokenLabSavesTheRunsAndRecordsItself(t *testing.T) {
	t.Parallel()
	original := furnished(t)
	whole, err := os.ReadFile(original.meta())
	must(t, err)
	runs := original.runs()
	for _, remedy := range [][]string{{"doctor", "--fix"}, {"init-db", "--reset", "--yes"}} {
		t.Run(remedy[0], func(t *testing.T) {
			t.Parallel()
			l := original.copyOf(t)
			broken := bytes.Clone(whole[:len(whole)-2*4096]) // the tail of the file is lost
			must(t, os.WriteFile(l.meta(), broken, 0o600))
			r := l.must(remedy...)
			moved := movedTo.FindStringSubmatch(r.stderr)
			if moved == nil {
				t.Fatalf("it does not say where the broken file is: %v", r)
			}
			if got, err := os.ReadFile(moved[1]); err != nil || !bytes.Equal(got, broken) {
				t.Fatalf("%s is not the broken file: %v", moved[1], err)
			}
			now := l.runs()
			if len(now) < len(runs)/2 {
				t.Fatalf("only %d of %d runs were saved", len(now)-1, len(runs))
			}
			t.Logf("%d of %d runs were saved", len(now)-1, len(runs))
			if last := now[len(now)-1]; last.Kind != remedy[0] || last.Status != "SUCCESS" {
				t.Fatalf("%+v", last)
			}
			l.must("runs", "list")
			l.must("symbols", "list")
		})
	}
}

func TestAKilledResetDestroysNothingAndCanBeRepeated(t *testing.T) {
	t.Parallel()
	times := 6
	if soak(t) {
		times = 60
	}
	original := newLab(t)
	original.write("first.csv", priceFile(1, 200, "OLD", "BOTH"))
	original.must("ingest", "first.csv")
	facts, err := os.ReadFile(original.facts())
	must(t, err)
	whole := original.copyOf(t).must("init-db", "--reset", "--yes").took
	for i := range times {
		l := original.copyOf(t)
		p := l.start(nil, "init-db", "--reset", "--yes")
		timer := time.AfterFunc(whole*time.Duration(i+1)/time.Duration(times), func() { _ = p.Process.Kill() })
		if r := p.wait(); r.code != killed {
			l.wantCode(r, 0)
		}
		timer.Stop()
		l.wantBearable(l.run("doctor"), 0, 1)
		l.wantClosed()
		if !l.somewhere(facts) {
			t.Fatal("the Fact DB is nowhere any more")
		}
		if runs := l.runs(); runs[0].Kind != "ingest" || runs[0].Status != "SUCCESS" {
			t.Fatalf("the runs are gone: %+v", runs)
		}
		l.must("init-db", "--reset", "--yes")
		l.must("ingest", "first.csv")
		l.doctor()
		if !l.somewhere(facts) {
			t.Fatal("the Fact DB is nowhere any more")
		}
	}
}
