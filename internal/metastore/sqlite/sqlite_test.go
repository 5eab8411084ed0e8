package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/failpoint"
	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/relational"
	"quant/internal/test/soak"
)

// TestMain lets a test run this binary again as one process among many.
func TestMain(m *testing.M) {
	if path := os.Getenv("QUANT_TEST_CHILD"); path != "" {
		child(path, os.Getenv("QUANT_TEST_KILL_AT"))
		return
	}
	os.Exit(m.Run())
}

// child waits for a line on stdin, opens the database, records runs, and kills
// itself at a failpoint if told so.
func child(path, killAt string) {
	if killAt != "" {
		failpoint.Set(func(name string) {
			if name == killAt {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		})
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	db, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	if db.Created() {
		fmt.Println("created")
	}
	for n := range 20 {
		if err := record(db, os.Getpid()*100+n); err != nil {
			fmt.Println("record:", err)
			os.Exit(1)
		}
	}
	if err := db.Close(); err != nil {
		fmt.Println("close:", err)
		os.Exit(1)
	}
}

func record(db *DB, n int) error {
	r, p := aRun(n)
	return errors.Join(
		db.CreateRun(context.Background(), r, p),
		db.UpdateRunConfig(context.Background(), r.RunID, quant.JSON(`{"a":1}`), metastore.Batch{}),
		db.FinishRun(context.Background(), metastore.RunEnd{RunID: r.RunID, Status: quant.Success, EndedAt: r.StartedAt}),
	)
}

func aRun(n int) (quant.Run, quant.RunProcess) {
	id := metastoretest.RunID(n)
	at := quant.NewTime(time.Date(2026, 1, 15, 9, 30, n, 0, time.UTC))
	return quant.Run{RunID: id, Kind: "config", Status: quant.Running, StartedAt: at}, quant.RunProcess{RunID: id, Changes: true}
}

func TestSQLiteKeepsTheContract(t *testing.T) {
	t.Parallel()
	metastoretest.Run(t, func(t *testing.T) metastore.Store { return openAt(t, filepath.Join(t.TempDir(), "meta.db")) })
}

func TestSQLiteKeepsTheContractOfFiles(t *testing.T) {
	t.Parallel()
	metastoretest.RunFile(t, func(t *testing.T) metastore.FileStore { return openAt(t, filepath.Join(t.TempDir(), "meta.db")) })
}

func TestSQLiteKeepsTheContractForManyAtOnce(t *testing.T) {
	t.Parallel()
	metastoretest.RunTogether(t, func(t *testing.T) func(t *testing.T) metastore.Store {
		path := filepath.Join(t.TempDir(), "meta.db")
		return func(t *testing.T) metastore.Store { return openAt(t, path) }
	})
}

func openAt(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(context.Background(), Options{Path: path, Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func noon() time.Time { return time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// raw runs statements on a file as any SQLite tool would.
func raw(t testing.TB, path string, statements ...string) {
	t.Helper()
	pool := sql.OpenDB(connector(dsn(path, time.Second, "mode=rwc")))
	pool.SetMaxOpenConns(1)
	defer func() { ok(t, pool.Close()) }()
	for _, s := range statements {
		if _, err := pool.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// names lists a folder.
func names(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	ok(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func refused(t testing.TB, err error, code quant.Code, hint string) {
	t.Helper()
	if quant.CodeOf(err) != code {
		t.Fatalf("error %v has code %q, want %q", err, quant.CodeOf(err), code)
	}
	if !strings.Contains(quant.HintOf(err), hint) {
		t.Fatalf("error %v hints %q, want something of %q", err, quant.HintOf(err), hint)
	}
}

func TestANewDatabaseIsPrivateAndInItsPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "made", "for 100%", "메타?#;.db")
	db := openAt(t, path)
	if !db.Created() {
		t.Error("it does not say that it made the file")
	}
	for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir, filepath.Join(dir, "made"): 0o700 | fs.ModeDir} {
		if info := must(os.Stat(p)); info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", p, info.Mode(), want)
		}
	}
	ok(t, record(db, 1))
	if info := must(os.Stat(path + "-wal")); info.Mode() != 0o600 {
		t.Errorf("the log has mode %v", info.Mode())
	}
	ok(t, db.Close())
	if got, want := names(t, filepath.Dir(path)), "메타?#;.db 메타?#;.db.lock"; got != want {
		t.Errorf("the folder holds %s, want %s", got, want)
	}
	again := openAt(t, path)
	if again.Created() {
		t.Error("it says that it made a file that was there")
	}
	must(again.GetRun(context.Background(), metastoretest.RunID(1)))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		ok(t, again.Pool.QueryRow("PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

func TestOfManyHandlesOnAnEmptyFolderOneMakesTheDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "meta.db")
	var made atomic.Int64
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			db, err := Open(context.Background(), Options{Path: path})
			if err != nil {
				t.Error(err)
				return
			}
			if db.Created() {
				made.Add(1)
			}
			if err := errors.Join(record(db, n), db.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("%d made it", made.Load())
	}
	if got := len(must(openAt(t, path).ListRuns(context.Background(), metastore.RunFilter{Status: quant.Success}))); got != 64 {
		t.Errorf("%d runs, want 64", got)
	}
}

func TestManyProcessesOnAnEmptyFolderRecordEveryRun(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "meta.db")
	count := soak.Count(t, 8, 64)
	children := make([]*exec.Cmd, count)
	outputs := make([]bytes.Buffer, count)
	var starts []*os.File
	for i := range children {
		r, w, err := os.Pipe()
		ok(t, err)
		children[i] = exec.Command(os.Args[0])
		children[i].Env = append(os.Environ(), "QUANT_TEST_CHILD="+path)
		children[i].Stdin, children[i].Stdout, children[i].Stderr = r, &outputs[i], &outputs[i]
		ok(t, children[i].Start())
		ok(t, r.Close())
		starts = append(starts, w)
	}
	for _, w := range starts {
		ok(t, w.Close()) // all at once
	}
	made := 0
	for i, c := range children {
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %s", err, outputs[i].String())
		}
		made += strings.Count(outputs[i].String(), "created")
	}
	if made != 1 {
		t.Errorf("%d made the database", made)
	}
	db := openAt(t, path)
	if got := len(must(db.ListRuns(context.Background(), metastore.RunFilter{Status: quant.Success}))); got != 20*count {
		t.Errorf("%d closed runs, want %d", got, 20*count)
	}
	if found := must(db.Check(context.Background())); found != nil {
		t.Error(found)
	}
}

func TestAKilledCreatorLeavesAllOrNothing(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"meta.create.before", "meta.create.after", "meta.start.before", "meta.start.after", "meta.config.before", "meta.config.after", "meta.finish.before", "meta.finish.after"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data", "meta.db")
			c := exec.Command(os.Args[0])
			c.Env = append(os.Environ(), "QUANT_TEST_CHILD="+path, "QUANT_TEST_KILL_AT="+at)
			err := c.Run()
			if e, is := errors.AsType[*exec.ExitError](err); !is || !e.Sys().(syscall.WaitStatus).Signaled() {
				t.Fatalf("the child was to be killed: %v", err)
			}
			db := openAt(t, path)
			if db.Created() != (at == "meta.create.before") {
				t.Errorf("created: %v", db.Created())
			}
			runs := must(db.ListRuns(context.Background(), metastore.RunFilter{}))
			want := map[string]string{
				"meta.start.after": "RUNNING null", "meta.config.before": "RUNNING null",
				"meta.config.after": `RUNNING {"a":1}`, "meta.finish.before": `RUNNING {"a":1}`, "meta.finish.after": `SUCCESS {"a":1}`,
			}[at]
			got := ""
			for _, r := range runs {
				got += string(r.Status) + " " + string(must(r.ConfigJSON.MarshalJSON()))
			}
			if got != want {
				t.Errorf("runs: %s, want %s", got, want)
			}
			if found := must(db.Check(context.Background())); found != nil {
				t.Error(found)
			}
			if strings.Contains(names(t, filepath.Dir(path)), "creating") {
				t.Error("the killed creator's file is still there")
			}
		})
	}
}

func TestALogThatOutlivedItsDatabaseIsSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "meta.db")
	old := openAt(t, path)
	_, err := old.EnsureSymbols(context.Background(), []string{"OLD"})
	ok(t, err)
	log := must(os.ReadFile(path + "-wal"))
	ok(t, old.Close())
	ok(t, os.Remove(path))
	ok(t, os.WriteFile(path+"-wal", log, 0o600))
	db := openAt(t, path)
	if got := must(db.ListSymbols(context.Background(), metastore.SymbolFilter{})); len(got) != 0 {
		t.Errorf("the old log was replayed: %v", got)
	}
	if got := must(os.ReadFile(path + ".broken-20260115T120000Z-wal")); !bytes.Equal(got, log) {
		t.Error("the old log was not kept")
	}
}

func TestWhatIsNoMetaDBIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	whole := func(t *testing.T, path string) []byte {
		db, err := Open(context.Background(), Options{Path: path})
		ok(t, err)
		ok(t, record(db, 1))
		ok(t, db.Close())
		ok(t, os.Remove(path+".lock"))
		return must(os.ReadFile(path))
	}
	for name, make := range map[string]func(t *testing.T, path string){
		"a directory":   func(t *testing.T, path string) { ok(t, os.Mkdir(path, 0o700)) },
		"an empty file": func(t *testing.T, path string) { ok(t, os.WriteFile(path, nil, 0o600)) },
		"an empty file with a log": func(t *testing.T, path string) {
			ok(t, os.WriteFile(path, nil, 0o600))
			ok(t, os.WriteFile(path+"-wal", []byte("precious"), 0o600))
		},
		"a text": func(t *testing.T, path string) {
			ok(t, os.WriteFile(path, []byte(strings.Repeat("symbol,ts,close\n", 1000)), 0o600))
		},
		"a short text":             func(t *testing.T, path string) { ok(t, os.WriteFile(path, []byte("hello"), 0o600)) },
		"another program's SQLite": func(t *testing.T, path string) { raw(t, path, `CREATE TABLE runs (x)`) },
		"another's application_id": func(t *testing.T, path string) { raw(t, path, `PRAGMA application_id = 7; CREATE TABLE runs (x)`) },
		"one without a version": func(t *testing.T, path string) {
			raw(t, path, fmt.Sprintf(`PRAGMA application_id = %d; CREATE TABLE runs (x)`, applicationID))
		},
		"a truncated one":  func(t *testing.T, path string) { ok(t, os.WriteFile(path, whole(t, path)[:3*4096], 0o600)) },
		"a cut-off header": func(t *testing.T, path string) { ok(t, os.WriteFile(path, whole(t, path)[:60], 0o600)) },
		"a pipe":           func(t *testing.T, path string) { ok(t, unix.Mkfifo(path, 0o600)) },
		"a flipped header": func(t *testing.T, path string) {
			b := whole(t, path)
			b[3] ^= 0x10
			ok(t, os.WriteFile(path, b, 0o600))
		},
		"an odd page size": func(t *testing.T, path string) {
			b := whole(t, path)
			b[16] = 0x33
			ok(t, os.WriteFile(path, b, 0o600))
		},
		"a zeroed first kB": func(t *testing.T, path string) {
			b := whole(t, path)
			clear(b[:1024])
			ok(t, os.WriteFile(path, b, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "meta.db")
			make(t, path)
			before := names(t, dir)
			info := must(os.Stat(path))
			var bytesBefore []byte
			if info.Mode().IsRegular() {
				bytesBefore = must(os.ReadFile(path))
			}
			for _, readOnly := range []bool{false, true} {
				_, err := Open(context.Background(), Options{Path: path, ReadOnly: readOnly})
				refused(t, err, quant.Store, "quant init-db --reset")
				if !errors.Is(err, metastore.ErrDamaged) || errors.Is(err, metastore.ErrNewer) {
					t.Errorf("not marked as damaged: %v", err)
				}
				if !strings.Contains(err.Error(), path) {
					t.Errorf("the error does not name the file: %v", err)
				}
			}
			if after := names(t, dir); after != before {
				t.Errorf("the folder held %s, now %s", before, after)
			}
			if info.Mode().IsRegular() && !bytes.Equal(bytesBefore, must(os.ReadFile(path))) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestANewerDatabaseIsRefusedUnchanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "meta.db")
	ok(t, openAt(t, path).Close())
	raw(t, path, `PRAGMA user_version = 99`)
	before := must(os.ReadFile(path))
	for _, readOnly := range []bool{false, true} {
		_, err := Open(context.Background(), Options{Path: path, ReadOnly: readOnly})
		refused(t, err, quant.Store, "newer program")
		if !errors.Is(err, metastore.ErrNewer) || errors.Is(err, metastore.ErrDamaged) {
			t.Errorf("not marked as newer: %v", err)
		}
		if want := fmt.Sprintf("schema 99, this program knows %d", len(must(embedded()))); !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
		if strings.Contains(quant.HintOf(err), "reset") {
			t.Error("it proposes a reset")
		}
	}
	if !bytes.Equal(before, must(os.ReadFile(path))) || names(t, dir) != "meta.db meta.db.lock" {
		t.Error("something was changed")
	}
}

func TestALinkToNothingIsNotFilledIn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	ok(t, os.Symlink(filepath.Join(t.TempDir(), "not mounted", "meta.db"), path))
	_, err := Open(context.Background(), Options{Path: path})
	refused(t, err, quant.Store, "mounted")
}

func TestALockedDatabaseIsNamedAfterTheWait(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	holder := openAt(t, path)
	db, err := Open(context.Background(), Options{Path: path, Wait: 30 * time.Millisecond})
	ok(t, err)
	defer func() { _ = db.Close() }()
	ok(t, holder.Tx(context.Background(), func(context.Context) error {
		err := record(db, 1)
		refused(t, err, quant.Locked, "")
		if !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
		// Reading goes on beside a writer.
		_, err = db.ListRuns(context.Background(), metastore.RunFilter{})
		return err
	}))
	// A transaction that writes outside itself waits for itself.
	ok(t, db.Tx(context.Background(), func(context.Context) error {
		r, p := aRun(1)
		refused(t, db.CreateRun(context.Background(), r, p), quant.Locked, "")
		return nil
	}))
	ok(t, record(db, 1))
}

func TestALockedCreationIsNamedAfterTheWait(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	unlock, err := lock(context.Background(), path, path, time.Second)
	ok(t, err)
	_, err = Open(context.Background(), Options{Path: path, Wait: 10 * time.Millisecond})
	refused(t, err, quant.Locked, "try again")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Open(cancelled, Options{Path: path})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	unlock()
	openAt(t, path)
}

func TestManyHandlesWritingAtOnceNeverSeeALock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	openAt(t, path)
	const handles = 64
	commits := soak.Count(t, 10, 40)
	var all sync.WaitGroup
	for h := range handles {
		all.Go(func() {
			db, err := Open(context.Background(), Options{Path: path})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = db.Close() }()
			for c := range commits {
				if err := db.CreateSymbol(context.Background(), quant.Symbol{Symbol: fmt.Sprintf("S%d.%d", h, c)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := len(must(openAt(t, path).ListSymbols(context.Background(), metastore.SymbolFilter{}))); got != handles*commits {
		t.Errorf("%d symbols, want %d", got, handles*commits)
	}
}

func TestReadOnlyReadsAndNeverWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "meta.db")
	_, err := Open(context.Background(), Options{Path: path, ReadOnly: true})
	refused(t, err, quant.Store, "init-db")
	if !errors.Is(err, fs.ErrNotExist) || names(t, dir) != "" {
		t.Errorf("%v; the folder holds %s", err, names(t, dir))
	}
	writer := openAt(t, path)
	ok(t, record(writer, 1))
	db, err := Open(context.Background(), Options{Path: path, ReadOnly: true})
	ok(t, err)
	defer func() { _ = db.Close() }()
	must(db.GetRun(context.Background(), metastoretest.RunID(1)))
	r, p := aRun(2)
	refused(t, db.CreateRun(context.Background(), r, p), quant.Store, "")
	if found := must(db.Check(context.Background())); found != nil {
		t.Error(found)
	}
	ok(t, db.Backup(context.Background(), filepath.Join(t.TempDir(), "backup.db")))
}

// asNobody runs f with the file rights of a user who owns nothing.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with its rights
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestAFolderWithoutRightsIsSaidSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "meta.db")
	db := openAt(t, path)
	ok(t, record(db, 1))
	ok(t, db.Close())
	ok(t, os.Chmod(path, 0o444))
	ok(t, os.Chmod(filepath.Dir(dir), 0o755))
	ok(t, os.Chmod(dir, 0o555))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	asNobody(t, func() {
		ctx := context.Background()
		db, err := Open(ctx, Options{Path: path, ReadOnly: true})
		if err != nil {
			t.Errorf("read-only: %v", err)
			return
		}
		if _, err := db.GetRun(ctx, metastoretest.RunID(1)); err != nil {
			t.Error(err)
		}
		_ = db.Close()

		db, err = Open(ctx, Options{Path: path})
		if err == nil {
			r, p := aRun(2)
			err = db.CreateRun(ctx, r, p)
			_ = db.Close()
		}
		if quant.CodeOf(err) != quant.Store || errors.Is(err, metastore.ErrDamaged) || !strings.Contains(quant.HintOf(err), "you may") {
			t.Errorf("writing: %v; hint %q", err, quant.HintOf(err))
		}
		_, err = Open(ctx, Options{Path: filepath.Join(dir, "new", "meta.db")})
		if quant.CodeOf(err) != quant.Store || errors.Is(err, metastore.ErrDamaged) {
			t.Errorf("creating: %v", err)
		}
	})
	// With something in the log, the file alone would be an old state.
	ok(t, os.WriteFile(path+"-wal", []byte("something"), 0o444))
	asNobody(t, func() {
		_, err := Open(context.Background(), Options{Path: path, ReadOnly: true})
		if quant.CodeOf(err) != quant.Store || !strings.Contains(err.Error(), "not closed properly") {
			t.Errorf("with a log: %v", err)
		}
	})
	if got := names(t, dir); got != "meta.db meta.db-wal meta.db.lock" {
		t.Errorf("the folder holds %s", got)
	}
}

func TestAFullDiskInsideATransactionLosesAllOfIt(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	db.Pool.SetMaxOpenConns(1)
	ctx := context.Background()
	var pages int
	ok(t, db.Pool.QueryRow(`PRAGMA page_count`).Scan(&pages))
	must(db.Pool.Exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+2)))
	err := db.Tx(ctx, func(ctx context.Context) error {
		ok(t, db.CreateSymbol(ctx, quant.Symbol{Symbol: "FIRST"}))
		err := db.CreateSymbol(ctx, quant.Symbol{Symbol: "BIG", Name: quant.Text(strings.Repeat("x", 100_000))})
		refused(t, err, quant.Store, "room")
		// The caller goes on as if nothing had happened.
		_ = db.CreateSymbol(ctx, quant.Symbol{Symbol: "LAST"})
		return nil
	})
	if got := must(db.ListSymbols(ctx, metastore.SymbolFilter{})); (err == nil) != (len(got) == 2) || err != nil && len(got) != 0 {
		t.Errorf("error %v, and %v stored", err, got)
	}
	ok(t, db.CreateSymbol(ctx, quant.Symbol{Symbol: "AFTER"}))
}

func TestTheSchemaHasTheColumnsOfTheModels(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	for table, model := range map[string]any{
		"symbols": quant.Symbol{}, "experiments": quant.Experiment{}, "models": quant.Model{},
		"runs": quant.Run{}, "run_process": quant.RunProcess{}, "run_io": quant.RunIO{},
		"run_params": quant.Param{}, "run_tags": quant.Tag{}, "run_metrics": quant.Metric{}, "run_metric_points": quant.MetricPoint{},
		"run_notes": quant.Note{}, "run_artifacts": quant.Artifact{}, "run_programs": quant.Program{},
		"run_deletions": quant.Deletion{}, "run_imports": quant.Import{}, "tokens": quant.Token{},
	} {
		var want, got []string
		for i := range reflect.TypeOf(model).NumField() {
			f := reflect.TypeOf(model).Field(i)
			kind := "TEXT"
			if k := f.Type; k == reflect.TypeFor[float64]() || k == reflect.TypeFor[*float64]() {
				kind = "REAL"
			} else if k := f.Type.Kind(); k == reflect.Pointer || k == reflect.Int64 || k == reflect.Bool {
				kind = "INTEGER"
			}
			want = append(want, f.Tag.Get("db")+" "+kind)
		}
		for _, c := range must(columnsOf(context.Background(), db.Pool, "main", table)) {
			got = append(got, c.name+" "+c.kind)
		}
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("%s:\ngot  %v\nwant %v", table, got, want)
		}
	}
	for table, columns := range relational.TableColumns() {
		var got []string
		for _, c := range must(columnsOf(context.Background(), db.Pool, "main", table)) {
			got = append(got, c.name)
		}
		if strings.Join(got, ", ") != columns {
			t.Errorf("%s: statements name %s, the table has %v", table, columns, got)
		}
	}
}
