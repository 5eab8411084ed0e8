package crash

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

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// everyCommand is one harmless line of each command; file.csv is there.
var everyCommand = [][]string{
	{"config"}, {"symbols", "list"}, {"symbols", "add", "NEW"}, {"symbols", "set", "OLD", "--name", "x"}, {"symbols", "remove", "OLD"},
	{"symbols", "import", "symbols.csv"}, {"ingest", "first.csv"}, {"sql", "SELECT count(*) FROM ohlcv"}, {"sql", "--meta", "SELECT count(*) FROM runs"},
	{"runs", "list"}, {"runs", "show", "last"}, {"runs", "close", "last"}, {"doctor"}, {"doctor", "--fix"}, {"init-db"}, {"init-db", "--reset", "--yes"},
}

// furnished is a lab with symbols, prices and a few runs. Both files are closed
// and complete.
var furnished = labtest.Prepared{Make: func(l *labtest.Lab) {
	l.Write("first.csv", labtest.PriceFile(1, 200, "OLD", "BOTH"))
	l.Write("symbols.csv", []byte("symbol,name\nIMP,imported\n"))
	l.Must("symbols", "add", "KEEP", "--name", "kept")
	l.Must("ingest", "first.csv")
	for i := range 40 {
		l.Must("symbols", "add", fmt.Sprintf("S%d", i), "--name", strings.Repeat("long name ", 20))
	}
	db := l.OpenMeta("")
	_, err := db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	labtest.Must(l.T, errors.Join(err, db.Close()))
}}

// contents is the digest of every file under a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	labtest.Must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
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
func somewhere(l *labtest.Lab, b []byte) bool {
	l.T.Helper()
	sum := sha256.Sum256(b)
	for _, digest := range contents(l.T, l.Dir) {
		if digest == hex.EncodeToString(sum[:]) {
			return true
		}
	}
	return false
}

func TestANewerSchemaIsRefusedByEveryCommandAndNotTouched(t *testing.T) {
	t.Parallel()
	original := furnished.Copy(t)
	t.Run("meta", func(t *testing.T) {
		t.Parallel()
		l := original.CopyOf(t)
		db := l.OpenMeta("")
		_, err := db.Exec("PRAGMA user_version = 4000; PRAGMA wal_checkpoint(TRUNCATE)")
		labtest.Must(t, errors.Join(err, db.Close()))
		before := contents(t, l.Path("data"))
		for _, args := range everyCommand {
			r := l.Want(8, args...)
			if !strings.Contains(r.Stderr, "newer") || !strings.Contains(r.Stderr, "meta.db") {
				t.Errorf("not clear: %v", r)
			}
		}
		wantSameFiles(l, before)
	})
	t.Run("fact", func(t *testing.T) {
		t.Parallel()
		l := original.CopyOf(t)
		db := l.OpenFacts("READ_WRITE")
		_, err := db.Exec("UPDATE schema_version SET version = 4000; CHECKPOINT")
		labtest.Must(t, errors.Join(err, db.Close()))
		before, err := os.ReadFile(l.Facts())
		labtest.Must(t, err)
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
			r := l.Want(code, args...)
			if (code == 8 || code == 1) && !strings.Contains(r.Stderr+r.Stdout, "newer") {
				t.Errorf("not clear: %v", r)
			}
		}
		after, err := os.ReadFile(l.Facts())
		labtest.Must(t, err)
		if !bytes.Equal(before, after) {
			t.Fatal("the Fact DB of a newer program has been changed")
		}
		if got := l.MetaRows("SELECT name FROM symbols WHERE symbol = 'KEEP'"); got != "kept\n" {
			t.Fatalf("the reset was refused and yet the symbols are gone: %q", got)
		}
		l.WantClosed()
	})
}

func wantSameFiles(l *labtest.Lab, before map[string]string) {
	l.T.Helper()
	after := contents(l.T, l.Path("data"))
	for path, digest := range before {
		if after[path] != digest {
			l.T.Errorf("%s has changed", path)
		}
	}
	for path := range after {
		if _, old := before[path]; !old && !strings.HasSuffix(path, ".lock") {
			l.T.Errorf("%s is new", path)
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
	if soak.Full(t) {
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
	original := furnished.Copy(t)
	whole, err := os.ReadFile(original.Meta())
	labtest.Must(t, err)
	runs := len(original.Runs())
	for name, damage := range damages(t, len(whole)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := original.CopyOf(t)
			broken := damage(whole)
			labtest.Must(t, os.WriteFile(l.Meta(), broken, 0o600))
			examined := l.Run("doctor")
			detected := wantBearable(l, examined, 0, 1, 8) != 0
			if strings.Contains(examined.Stderr, "newer quant") {
				// The version number itself was hit: that cannot be told from a
				// newer schema, which nobody may touch.
				for _, remedy := range [][]string{{"doctor", "--fix"}, {"init-db", "--reset", "--yes"}} {
					l.Want(8, remedy...)
				}
				if now, err := os.ReadFile(l.Meta()); err != nil || !bytes.Equal(now, broken) {
					t.Fatal("it has been touched")
				}
				return
			}
			read := wantBearable(l, l.Run("symbols", "list"), 0, 1, 8)
			wrote := wantBearable(l, l.Run("symbols", "set", "KEEP", "--priority", "3"), 0, 1, 4, 8)
			if (read == 8 || wrote == 8) && !detected {
				t.Error("commands fail and doctor sees nothing")
			}
			if !detected {
				return // what was flipped stood nowhere: a name, free space
			}
			before, err := os.ReadFile(l.Meta())
			labtest.Must(t, err)
			for _, remedy := range [][]string{{"doctor", "--fix"}, {"init-db", "--reset", "--yes"}} {
				t.Run(remedy[0], func(t *testing.T) {
					l := l.CopyOf(t)
					r := l.Run(remedy...)
					wantBearable(l, r, 0, 1)
					if !somewhere(l, before) && r.Code == 0 && strings.Contains(r.Stderr, "moved to") {
						t.Fatalf("the damaged file is nowhere any more: %v", r)
					}
					if !strings.Contains(r.Stderr, "moved to") && remedy[0] == "doctor" && !strings.Contains(r.Stdout, "init-db --reset") {
						t.Fatalf("neither moved aside nor told how it is mended: %v", r)
					}
					said := labtest.ClosingLine.FindStringSubmatch(r.Stderr)
					if said == nil || !slices.ContainsFunc(l.Runs(), func(run labtest.RunRow) bool {
						return run.ID == said[1] && run.Kind == remedy[0] && run.Status == said[3]
					}) {
						t.Fatalf("the remedy is not recorded: %v", r)
					}
					t.Logf("%s, %s: of %d runs %d are left, with those of this test", name, remedy[0], runs, len(l.Runs())-1)
					l.WantClosed()
					if remedy[0] == "init-db" && r.Code != 0 {
						t.Fatal(r)
					}
					l.Must("symbols", "add", "AFTER")
					l.Must("ingest", "first.csv")
					l.Must("init-db")
				})
			}
		})
	}
}

// wantBearable checks that a command on a broken lab ended in one of these
// ways and, when it failed, said why, what and where.
func wantBearable(l *labtest.Lab, r labtest.Result, codes ...int) int {
	l.T.Helper()
	for _, code := range codes {
		if r.Code == code {
			l.WantCode(r, code)
			return code
		}
	}
	l.T.Errorf("want exit status of %v: %v", codes, r)
	return r.Code
}

func TestADamagedFactDBIsReportedAndItsFileKept(t *testing.T) {
	t.Parallel()
	original := furnished.Copy(t)
	whole, err := os.ReadFile(original.Facts())
	labtest.Must(t, err)
	prices := original.Prices()
	for name, damage := range damages(t, len(whole)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := original.CopyOf(t)
			broken := damage(whole)
			labtest.Must(t, os.WriteFile(l.Facts(), broken, 0o600))
			doctor := l.Run("doctor")
			detected := wantBearable(l, doctor, 0, 1) != 0
			query := l.Run("sql", "--output", "csv", "SELECT symbol, sum(close), sum(volume) FROM ohlcv GROUP BY 1 ORDER BY 1")
			read := wantBearable(l, query, 0, 1, 8)
			if read == 8 && !detected {
				t.Errorf("queries fail and doctor sees nothing: %v", query)
			}
			l.WantClosed()
			if !detected {
				return // what was flipped stood nowhere
			}
			if now, err := os.ReadFile(l.Facts()); err != nil || !bytes.Equal(now, broken) {
				t.Fatal("a command that reads has changed the damaged file")
			}
			wantBearable(l, l.Run("symbols", "list"), 0)
			wantBearable(l, l.Run("doctor", "--fix"), 0, 1)
			if !somewhere(l, broken) {
				t.Fatal("doctor --fix has changed or deleted the damaged Fact DB")
			}
			r := l.Run("init-db", "--reset", "--yes")
			wantBearable(l, r, 0)
			if !somewhere(l, broken) {
				t.Fatalf("init-db --reset has deleted the damaged Fact DB: %v", r)
			}
			l.Must("ingest", "first.csv")
			if l.Prices() != prices {
				t.Fatal("the lab does not work after its reset")
			}
			l.WantClosed()
		})
	}
}

func TestWhatIsNoDatabaseOfQuantIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	foreignSQLite := func(t *testing.T, path string) {
		db, err := sql.Open("sqlite3", path)
		labtest.Must(t, err)
		_, err = db.Exec("CREATE TABLE runs (id INTEGER PRIMARY KEY, note TEXT); INSERT INTO runs VALUES (1, 'somebody else''s')")
		labtest.Must(t, errors.Join(err, db.Close()))
	}
	foreignDuckDB := func(t *testing.T, path string) {
		db, err := sql.Open("duckdb", path)
		labtest.Must(t, err)
		_, err = db.Exec("CREATE TABLE ohlcv (mine INTEGER); INSERT INTO ohlcv VALUES (1)")
		labtest.Must(t, errors.Join(err, db.Close()))
	}
	directory := func(t *testing.T, path string) {
		labtest.Must(t, os.MkdirAll(filepath.Join(path, "inside"), 0o700))
		labtest.Must(t, os.WriteFile(filepath.Join(path, "inside", "file"), []byte("precious"), 0o600))
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
		"a dangling link for the Meta DB":      {"meta.db", func(t *testing.T, path string) { labtest.Must(t, os.Symlink("nowhere", path)) }},
		"a dangling link for the Fact DB":      {"quant.duckdb", func(t *testing.T, path string) { labtest.Must(t, os.Symlink("nowhere", path)) }},
		"a fifo for the Meta DB":               {"meta.db", func(t *testing.T, path string) { labtest.Must(t, syscall.Mkfifo(path, 0o600)) }},
		"a fifo for the Fact DB":               {"quant.duckdb", func(t *testing.T, path string) { labtest.Must(t, syscall.Mkfifo(path, 0o600)) }},
		"a directory for the lock of the Meta": {"meta.db.lock", directory},
		"a directory for the lock of the Fact": {"quant.duckdb.lock", directory},
		"a file for the folder of the locks":   {"meta.db.live", func(t *testing.T, path string) { labtest.Must(t, os.WriteFile(path, []byte("precious"), 0o600)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Write("first.csv", labtest.PriceFile(1, 20, "A"))
			labtest.Must(t, os.MkdirAll(l.Path("data"), 0o700))
			c.make(t, l.Path("data", c.file))
			before := contents(t, l.Dir)
			isMeta := strings.HasPrefix(c.file, "meta.db")
			for _, args := range [][]string{{"symbols", "add", "X"}, {"ingest", "first.csv"}, {"init-db"}, {"doctor"}, {"symbols", "list"}, {"sql", "FROM ohlcv"}} {
				r := l.Run(args...)
				wantBearable(l, r, 0, 1, 8)
				if strings.HasPrefix(name, "a dangling link for the Fact") && r.Code == 0 {
					continue // the file is made where the link points to
				}
				needed := isMeta || args[0] == "ingest" || args[0] == "init-db" || args[0] == "sql"
				if reads := args[0] == "sql" || args[0] == "symbols" && args[1] == "list" || args[0] == "doctor"; needed && !reads && r.Code != 8 {
					t.Errorf("want exit status 8: %v", r)
				}
				if r.Code == 8 && !strings.Contains(r.Stderr, "hint:") {
					t.Errorf("what is to be done? %v", r)
				}
			}
			after := contents(t, l.Dir)
			for path, digest := range before {
				if after[path] != digest {
					t.Errorf("%s has changed", path)
				}
			}
			if strings.HasSuffix(c.file, ".lock") {
				return // no remedy knows it; the message names it
			}
			r := l.Run("init-db", "--reset", "--yes")
			if strings.HasSuffix(c.file, ".live") {
				wantBearable(l, r, 0, 8)
				return
			}
			wantBearable(l, r, 0, 8)
			kept := contents(t, l.Dir)
			for path, digest := range before {
				found := false
				for _, d := range kept {
					found = found || d == digest
				}
				if !found {
					t.Errorf("the reset has destroyed %s", path)
				}
			}
			if r.Code == 0 {
				l.Must("ingest", "first.csv")
				l.WantClosed()
			}
		})
	}
}

// asNobody makes the command run as a user who owns nothing here, when the
// test runs as root, to whom no folder is read-only.
func asNobody(l *labtest.Lab, cmd *exec.Cmd) {
	l.T.Helper()
	if os.Getuid() != 0 {
		return
	}
	program := filepath.Join(l.Dir, "..", "quant")
	if _, err := os.Stat(program); err != nil {
		if os.Link(cmd.Path, program) != nil {
			b, err := os.ReadFile(cmd.Path)
			labtest.Must(l.T, err)
			labtest.Must(l.T, os.WriteFile(program, b, 0o755))
		}
		labtest.Must(l.T, os.Chmod(program, 0o755))
	}
	labtest.Must(l.T, os.Chmod(filepath.Dir(l.Dir), 0o755))
	labtest.Must(l.T, os.Chmod(l.Dir, 0o755))
	cmd.Path = program
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

func runAsNobody(l *labtest.Lab, args ...string) labtest.Result {
	l.T.Helper()
	cmd := l.Command(args...)
	asNobody(l, cmd)
	return l.StartCmd(cmd).Wait()
}

// readOnly takes the right to write from everybody, and gives the right to
// read, for everything under dir.
func readOnly(l *labtest.Lab, dir string) {
	l.T.Helper()
	var paths []string
	labtest.Must(l.T, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	for i := len(paths) - 1; i >= 0; i-- {
		info, err := os.Lstat(paths[i])
		labtest.Must(l.T, err)
		mode := fs.FileMode(0o444)
		if info.IsDir() {
			mode = 0o555
		}
		labtest.Must(l.T, os.Chmod(paths[i], mode))
	}
	l.T.Cleanup(func() {
		for _, path := range paths {
			_ = os.Chmod(path, 0o700)
		}
	})
}

func TestAReadOnlyFolderStopsWhatChangesAndNotWhatReads(t *testing.T) {
	t.Parallel()
	t.Run("with a lab in it", func(t *testing.T) {
		t.Parallel()
		l := furnished.Copy(t)
		readOnly(l, l.Path("data"))
		labtest.Must(t, os.Chmod(l.Path("first.csv"), 0o644))
		labtest.Must(t, os.Chmod(l.Path("symbols.csv"), 0o644))
		before := contents(t, l.Path("data"))
		for _, args := range everyCommand {
			r := runAsNobody(l, args...)
			switch {
			case args[0] == "doctor" && len(args) == 1:
				wantBearable(l, r, 1)
				if !strings.Contains(r.Stdout, "cannot be written") {
					t.Errorf("doctor does not name the reason: %v", r)
				}
			case args[0] == "doctor":
				wantBearable(l, r, 1, 8)
			case args[0] == "config", args[0] == "sql", args[0] == "symbols" && args[1] == "list", args[0] == "runs" && args[1] != "close":
				wantBearable(l, r, 0)
				if !strings.Contains(r.Stderr, "not recorded") {
					t.Errorf("it does not say that it is not recorded: %v", r)
				}
			default:
				wantBearable(l, r, 8)
				if !strings.Contains(r.Stderr, "did not start") || !strings.Contains(r.Stderr, "hint:") {
					t.Errorf("not clear: %v", r)
				}
			}
		}
		wantSameFiles(l, before)
	})
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		l := labtest.New(t)
		labtest.Must(t, os.Mkdir(l.Path("lab"), 0o700))
		readOnly(l, l.Path("lab"))
		for _, args := range [][]string{{"config"}, {"symbols", "add", "X"}, {"init-db"}, {"symbols", "list"}, {"doctor"}, {"demo", "lab/demo"}} {
			r := runAsNobody(l, append(args, "--data-dir", "lab/data")...)
			switch args[0] {
			case "config":
				wantBearable(l, r, 0)
			case "doctor":
				wantBearable(l, r, 1)
			case "demo":
				wantBearable(l, r, 1, 2, 8)
			default:
				wantBearable(l, r, 8)
			}
			if !strings.Contains(r.Stderr, "permission denied") {
				t.Errorf("it does not say why: %v", r)
			}
		}
		if left, err := os.ReadDir(l.Path("lab")); err != nil || len(left) > 0 {
			t.Fatal(left, err)
		}
	})
}

func TestAFullDiskFailsTheRunAndLosesNothing(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("big.csv", labtest.PriceFile(2, 3000, "A", "B", "C", "D", "E", "F", "G", "H"))
	l.Write("first.csv", labtest.PriceFile(1, 200, "OLD"))
	labtest.Must(t, os.Mkdir(l.Path("data"), 0o700))
	if err := labtest.MountTiny(l.Path("data"), 6); err != nil {
		t.Logf("no file system of its own can be mounted (%v): the limit on the size of files stands for it", err)
		t.Run("limit", func(t *testing.T) { fullByLimit(t) })
		return
	}
	t.Cleanup(func() { labtest.Must(t, labtest.Unmount(l.Path("data"))) })
	l.Must("symbols", "add", "KEEP")
	l.Must("ingest", "first.csv")
	prices := l.Prices()
	fill(t, l.Path("data", "filler"))
	for _, args := range [][]string{{"ingest", "big.csv"}, {"symbols", "add", "X"}, {"symbols", "list"}, {"ingest", "big.csv"}, {"init-db", "--reset", "--yes"}, {"doctor"}} {
		r := l.Run(args...)
		switch strings.Join(args, " ") {
		case "symbols list":
			wantBearable(l, r, 0)
		case "doctor":
			wantBearable(l, r, 1)
		default:
			wantBearable(l, r, 8)
		}
		said := strings.ToLower(r.Stderr + r.Stdout)
		if !strings.Contains(said, "full") && !strings.Contains(said, "no space") && !strings.Contains(said, "mib are free") {
			t.Errorf("it does not say that the disk is full: %v", r)
		}
	}
	labtest.Must(t, os.Remove(l.Path("data", "filler")))
	l.Must("config")
	l.WantClosed()
	l.WantAgreement()
	if l.Prices() != prices || l.MetaRows("SELECT symbol FROM symbols WHERE symbol = 'KEEP'") != "KEEP\n" {
		t.Fatal("acknowledged rows are gone")
	}
	wantSound(l)
	t.Run("limit", fullByLimit)
}

// wantSound is doctor on a file system too small to be without warnings.
func wantSound(l *labtest.Lab) {
	l.T.Helper()
	var c labtest.Checkup
	labtest.Decode(l.T, l.Run("doctor", "--output", "json").Stdout, &c)
	for _, f := range c.Findings {
		if f.Severity == "fault" && !strings.Contains(f.What, "are free") {
			l.T.Fatalf("%+v", c)
		}
	}
}

// fullByLimit forbids the process to write files larger than what is there.
func fullByLimit(t *testing.T) {
	l := furnished.Copy(t)
	prices := l.Prices()
	l.Write("big.csv", labtest.PriceFile(2, 3000, "A", "B", "C", "D", "E", "F", "G", "H"))
	for _, blocks := range []int{0, 8, 40, 100, 400, 1100} { // of 512 bytes
		for _, args := range [][]string{{"ingest", "big.csv"}, {"symbols", "add", "X"}} {
			quant := l.Command(args...)
			sh := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -f %d; exec "$@"`, blocks), "sh", quant.Path}, quant.Args[1:]...)...)
			sh.Dir, sh.Env = quant.Dir, quant.Env
			r := l.StartCmd(sh).Wait()
			wantBearable(l, r, 0, 1, 8)
			if args[0] == "ingest" && r.Code == 0 {
				t.Errorf("with %d blocks it should not have fitted: %v", blocks, r)
			}
			if args[0] == "symbols" && r.Code == 0 {
				l.Must("symbols", "remove", "X")
			}
			l.Must("config")
			l.WantClosed()
			l.WantAgreement()
		}
	}
	if l.Prices() != prices {
		t.Fatal("acknowledged prices are gone")
	}
	l.Doctor()
	l.Must("ingest", "big.csv")
}

// fill takes all the room that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	labtest.Must(t, err)
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
	original := furnished.Copy(t)
	whole, err := os.ReadFile(original.Meta())
	labtest.Must(t, err)
	runs := original.Runs()
	for _, remedy := range [][]string{{"doctor", "--fix"}, {"init-db", "--reset", "--yes"}} {
		t.Run(remedy[0], func(t *testing.T) {
			t.Parallel()
			l := original.CopyOf(t)
			broken := bytes.Clone(whole[:len(whole)-2*4096]) // the tail of the file is lost
			labtest.Must(t, os.WriteFile(l.Meta(), broken, 0o600))
			r := l.Must(remedy...)
			moved := movedTo.FindStringSubmatch(r.Stderr)
			if moved == nil {
				t.Fatalf("it does not say where the broken file is: %v", r)
			}
			if got, err := os.ReadFile(moved[1]); err != nil || !bytes.Equal(got, broken) {
				t.Fatalf("%s is not the broken file: %v", moved[1], err)
			}
			now := l.Runs()
			if len(now) < len(runs)/2 {
				t.Fatalf("only %d of %d runs were saved", len(now)-1, len(runs))
			}
			t.Logf("%d of %d runs were saved", len(now)-1, len(runs))
			if last := now[len(now)-1]; last.Kind != remedy[0] || last.Status != "SUCCESS" {
				t.Fatalf("%+v", last)
			}
			l.Must("runs", "list")
			l.Must("symbols", "list")
		})
	}
}

func TestAKilledResetDestroysNothingAndCanBeRepeated(t *testing.T) {
	t.Parallel()
	times := soak.Count(t, 6, 60)
	original := labtest.New(t)
	original.Write("first.csv", labtest.PriceFile(1, 200, "OLD", "BOTH"))
	original.Must("ingest", "first.csv")
	facts, err := os.ReadFile(original.Facts())
	labtest.Must(t, err)
	whole := original.CopyOf(t).Must("init-db", "--reset", "--yes").Took
	for i := range times {
		l := original.CopyOf(t)
		p := l.Start(nil, "init-db", "--reset", "--yes")
		timer := time.AfterFunc(whole*time.Duration(i+1)/time.Duration(times), func() { _ = p.Process.Kill() })
		if r := p.Wait(); r.Code != labtest.Killed {
			l.WantCode(r, 0)
		}
		timer.Stop()
		wantBearable(l, l.Run("doctor"), 0, 1)
		l.WantClosed()
		if !somewhere(l, facts) {
			t.Fatal("the Fact DB is nowhere any more")
		}
		if runs := l.Runs(); runs[0].Kind != "ingest" || runs[0].Status != "SUCCESS" {
			t.Fatalf("the runs are gone: %+v", runs)
		}
		l.Must("init-db", "--reset", "--yes")
		l.Must("ingest", "first.csv")
		l.Doctor()
		if !somewhere(l, facts) {
			t.Fatal("the Fact DB is nowhere any more")
		}
	}
}

// A block of the Fact DB that is not what was written there is named with its file and the
// way back by whatever reads it, and a backup brings the facts back.
func TestADamagedBlockOfTheFactDBIsNamedWithTheWayBack(t *testing.T) {
	t.Parallel()
	const block, header = 256 << 10, 3 * 4096
	original := furnished.Copy(t)
	original.Must("backup", "backup.tar")
	whole, err := os.ReadFile(original.Facts())
	labtest.Must(t, err)
	prices, named, queried := original.Prices(), 0, 0
	for at := header; at < len(whole); at += block {
		l := original.CopyOf(t)
		labtest.Must(t, os.WriteFile(l.Facts(), flipped(whole, at+100, at+200, 0x5a), 0o600))
		if l.Run("doctor").Code == 0 {
			continue // nothing stands there any more
		}
		r := l.Run("ingest", "first.csv")
		if wantBearable(l, r, 0, 8) == 0 {
			continue // it reads other blocks
		}
		named++
		for _, words := range []string{"fact db ", filepath.Base(l.Facts()), "Corrupt database file", "`quant restore FILE`", "`quant init-db --reset`"} {
			if !strings.Contains(r.Stderr, words) {
				t.Errorf("block at %d: %q is missing: %v", at, words, r)
			}
		}
		if r := l.Run("sql", "FROM ohlcv ORDER BY ALL"); wantBearable(l, r, 0, 8) == 8 {
			queried++
			for _, words := range []string{"Fact DB", filepath.Base(l.Facts()), "`quant restore FILE`", "`quant init-db --reset`"} {
				if !strings.Contains(r.Stderr, words) {
					t.Errorf("block at %d: %q is missing: %v", at, words, r)
				}
			}
		}
		l.Must("restore", "backup.tar", "--yes")
		if got := l.Prices(); got != prices {
			t.Errorf("block at %d: after the restore the prices are %s", at, labtest.Clipped(got))
		}
	}
	if named == 0 || queried == 0 {
		t.Errorf("an ingest met %d damaged blocks, and a query %d", named, queried)
	}
}
