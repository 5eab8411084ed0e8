package factstore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
)

var clock = time.Date(2026, 1, 15, 9, 30, 0, 123456789, time.UTC)

func options(path string) factstore.Options {
	o := factstore.Options{Path: path, Now: func() time.Time { return clock }, Threads: 2, MemoryLimit: 512e6}
	if os.Getenv(lakeEnv) != "" {
		return onLake(o)
	}
	return o
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "lab", "quant.duckdb") }

func openWrite(t *testing.T, path string) *factstore.DB {
	t.Helper()
	db, err := factstore.OpenWrite(t.Context(), options(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func closeDB(t *testing.T, db *factstore.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, db *factstore.DB, query string, args ...any) {
	t.Helper()
	if err := db.ExecUnchecked(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func number(t *testing.T, db *factstore.DB, query string, args ...any) int64 {
	t.Helper()
	var n int64
	if err := db.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// writeBars commits n bars of a symbol in a run.
func writeBars(ctx context.Context, db *factstore.DB, run, symbol string, n int) ([]factstore.LedgerRow, error) {
	return db.Write(ctx, run, func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Insert(ctx, factstore.OHLCV, "SELECT ?, DATE '2020-01-01' + CAST(i AS INTEGER), 2, 3, 1, 2, 10 + i, NULL, 'test', CAST(? AS TIMESTAMP) FROM range(?) r(i)", symbol, tx.Now, n)
		return err
	})
}

func mustWriteBars(t *testing.T, db *factstore.DB, run, symbol string, n int) []factstore.LedgerRow {
	t.Helper()
	rows, err := writeBars(t.Context(), db, run, symbol, n)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func wantCode(t *testing.T, err error, code quant.Code, parts ...string) {
	t.Helper()
	if quant.CodeOf(err) != code {
		t.Fatalf("error %v has code %q, want %q", err, quant.CodeOf(err), code)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error()+"\n"+quant.HintOf(err), part) {
			t.Errorf("error %q with hint %q does not say %q", err, quant.HintOf(err), part)
		}
	}
}

func wantSound(t *testing.T, db *factstore.DB) {
	t.Helper()
	problems, err := db.Check(t.Context())
	if err != nil || problems != nil {
		t.Fatalf("Check: %v, %v", problems, err)
	}
}

func TestEngineVersionIsTheLinkedOne(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	var v string
	if err := db.QueryRow(t.Context(), "SELECT version()").Scan(&v); err != nil || v != factstore.EngineVersion {
		t.Fatalf("linked %q, EngineVersion %q, %v", v, factstore.EngineVersion, err)
	}
}

func TestOpenWriteMakesThePrivateFileAndItsFolders(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	if !db.Created() || db.Upgraded() {
		t.Errorf("created %v, upgraded %v", db.Created(), db.Upgraded())
	}
	wantSound(t, db)
	closeDB(t, db)
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "quant.duckdb quant.duckdb.lock" {
		t.Errorf("left behind: %s", got)
	}
	again := openWrite(t, path)
	if again.Created() || again.Upgraded() {
		t.Error("made again")
	}
	counts, err := again.Tables(t.Context())
	schema, readErr := os.ReadFile("schema.sql")
	if readErr != nil {
		t.Fatal(readErr)
	}
	// Seven tables of the contract are views; two of them of three tables that stand there.
	if want := strings.Count(string(schema), "CREATE TABLE IF NOT EXISTS") - 3 + 7; err != nil || len(counts) != want {
		t.Errorf("tables %v, %v", counts, err)
	}
}

func TestPathsAreTakenLiterally(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"we?ird.duckdb", "50%zz.duckdb", "it's \"q\".duckdb", "a*b[c].duckdb", "한글 데이터.duckdb", "x#y;z.duckdb"} {
		path := filepath.Join(t.TempDir(), name)
		db := openWrite(t, path)
		mustWriteBars(t, db, "r1", "A", 3)
		closeDB(t, db)
		read, err := factstore.OpenRead(t.Context(), options(path))
		if err != nil {
			t.Fatal(err)
		}
		if n := number(t, read, "SELECT count(*) FROM ohlcv"); n != 3 {
			t.Errorf("%s holds %d rows", name, n)
		}
		closeDB(t, read)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestAReaderNeitherMakesNorChangesAnything(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	_, err := factstore.OpenRead(t.Context(), options(path))
	wantCode(t, err, quant.Store, path, "init-db")
	if !errors.Is(err, factstore.ErrMissing) {
		t.Error("not ErrMissing")
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("the folder was made")
	}
	closeDB(t, openWrite(t, path))
	before, _ := os.ReadFile(path)
	db, err := factstore.OpenRead(t.Context(), options(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.ExecUnchecked(t.Context(), "DELETE FROM ledger"); err == nil {
		t.Error("a reader deleted")
	}
	if _, err := writeBars(t.Context(), db, "r", "A", 1); err == nil {
		t.Error("a reader wrote")
	}
	run(t, db, "CREATE TEMP TABLE x AS SELECT 1")
	wantSound(t, db)
	closeDB(t, db)
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("a reader changed the file")
	}
}

func TestTheSameFileIsNotOpenedTwiceInOneProcess(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	o := options(path)
	o.Wait = time.Hour
	_, err := factstore.OpenRead(t.Context(), o)
	wantCode(t, err, quant.Locked, "in this process")
	link := filepath.Join(t.TempDir(), "link.duckdb")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	o.Path = link
	_, err = factstore.OpenWrite(t.Context(), o)
	wantCode(t, err, quant.Locked, "in this process")
	wantCode(t, factstore.Move(t.Context(), options(path), path+".moved"), quant.Locked)
	closeDB(t, db)
	read, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, read)
}

func TestCommittedAtGrowsWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	now := clock
	o := options(path)
	o.Now = func() time.Time { return now }
	var last time.Time
	for i, step := range []time.Duration{0, 0, -time.Hour, 0, -24 * time.Hour, 48 * time.Hour, 0, 500, -1} {
		now = now.Add(step)
		db, err := factstore.OpenWrite(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		rows := mustWriteBars(t, db, "run", string(rune('A'+i)), 2)
		at := rows[0].CommittedAt.Time
		if !at.After(last) || at.Location() != time.UTC || at.Nanosecond()%1000 != 0 {
			t.Errorf("step %d: committed at %v after %v", i, at, last)
		}
		if want := now.Truncate(time.Microsecond); want.After(last) && !at.Equal(want) {
			t.Errorf("step %d: committed at %v, the clock says %v", i, at, want)
		}
		if n := number(t, db, "SELECT count(*) FROM ohlcv WHERE ingested_at = ?", at); n != 2 {
			t.Errorf("step %d: %d rows carry the time", i, n)
		}
		last = at
		wantSound(t, db)
		closeDB(t, db)
	}
}

func TestWriteThatChangesNothingLeavesNoTrace(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	rows, err := db.Write(t.Context(), "r1", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Delete(ctx, "ohlcv", "symbol = ?", "NONE")
		return err
	})
	if err != nil || rows != nil || db.State() != factstore.NoneCommitted {
		t.Errorf("%v, %v, state %v", rows, err, db.State())
	}
	if n := number(t, db, "SELECT count(*) FROM ledger"); n != 0 {
		t.Errorf("%d ledger rows", n)
	}
}

func TestWriteLedgersEachChangedTableOnce(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	mustWriteBars(t, db, "r0", "A", 5)
	rows, err := db.Write(t.Context(), "r1", func(ctx context.Context, tx *factstore.Tx) error {
		if n, err := tx.Delete(ctx, "ohlcv", "symbol = ? AND ts < DATE '2020-01-03'", "A"); err != nil || n != 2 {
			t.Errorf("deleted %d, %v", n, err)
		}
		_, err := tx.Insert(ctx, factstore.Rejects, "VALUES ('sha256:0', 1, 'bad', NULL, NULL, NULL, 'x', ?, ?)", tx.RunID, tx.Now)
		tx.CountUnchecked("ohlcv", 0, 1, 0)
		return err
	})
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v, %v", rows, err)
	}
	at := rows[0].CommittedAt
	want := []factstore.LedgerRow{{"r1", "ohlcv", 0, 1, 2, at}, {"r1", "rejects", 1, 0, 0, at}}
	if rows[0] != want[0] || rows[1] != want[1] {
		t.Errorf("ledger %v, want %v", rows, want)
	}
	stored, err := db.Ledger(t.Context(), "r1")
	if err != nil || len(stored) != 2 || stored[0] != want[0] || stored[1] != want[1] {
		t.Errorf("stored %v, %v", stored, err)
	}
	wantSound(t, db)
	facts, err := db.SymbolFacts(t.Context(), "A")
	if err != nil || len(facts) != 1 || facts["ohlcv"] != 3 {
		t.Errorf("facts %v, %v", facts, err)
	}
	if s, err := db.Symbols(t.Context()); err != nil || len(s) != 1 || s[0] != "A" {
		t.Errorf("symbols %v, %v", s, err)
	}
}

func TestWriteRollsBackOnErrorPanicAndCancellation(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	insert := func(ctx context.Context, tx *factstore.Tx) {
		if err := tx.ExecUnchecked(ctx, "INSERT INTO ledger VALUES ('x', 'x', 1, 0, 0, CAST(? AS TIMESTAMP))", tx.Now); err != nil {
			t.Error(err)
		}
		tx.CountUnchecked("ohlcv", 1, 0, 0)
	}
	boom := errors.New("boom")
	if _, err := db.Write(t.Context(), "r", func(ctx context.Context, tx *factstore.Tx) error { insert(ctx, tx); return boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	func() {
		defer func() {
			if recover() != "bang" {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = db.Write(t.Context(), "r", func(ctx context.Context, tx *factstore.Tx) error { insert(ctx, tx); panic("bang") })
	}()
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := db.Write(ctx, "r", func(ctx context.Context, tx *factstore.Tx) error { insert(ctx, tx); cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := db.Write(t.Context(), "r", func(ctx context.Context, _ *factstore.Tx) error {
		_, err := writeBars(ctx, db, "inner", "A", 1)
		return err
	}); err == nil {
		t.Error("a Write inside a Write passed")
	}
	if n := number(t, db, "SELECT count(*) FROM ledger"); n != 0 || db.State() != factstore.NoneCommitted {
		t.Errorf("%d ledger rows, state %v", n, db.State())
	}
	mustWriteBars(t, db, "r", "A", 1)
	if db.State() != factstore.Committed {
		t.Error("not committed")
	}
}
