package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"quant"
)

func makeFile(t *testing.T, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a?b#c%20 d.db") // a name that an URI must escape
	db, err := sql.Open("sqlite3", filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(statements, `VACUUM INTO '`+path+`'`) {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRowsAreReadByTheNamesOfTablesAndColumns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	f := openFile(t, makeFile(t,
		`CREATE TABLE "odd ""name" (k TEXT, n, r REAL, b BLOB)`,
		`INSERT INTO "odd ""name" VALUES ('b', 1, 0.5, NULL), ('a', '7', 2, x'00ff'), ('b', 'x', NULL, 'text')`))
	var got []string
	read := func(q Query) {
		got = nil
		err := f.Each(ctx, q, func(r Row) error {
			k, err1 := r.Text("k")
			n, err2 := r.Int("n")
			missing, err3 := r.Text("missing")
			if err1 != nil || err3 != nil || missing != "" || !r.Null("missing") {
				t.Errorf("k %v, missing %q %v", err1, missing, err3)
			}
			if err2 != nil {
				k += "!"
			}
			if n == 7 {
				k += "7"
				if _, err := r.Text("b"); err == nil {
					t.Error("bytes that are no UTF-8 are a text")
				}
			}
			got = append(got, k)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, list ...string) {
		t.Helper()
		if len(got) != len(list) {
			t.Fatalf("%s: %v", what, got)
		}
		for i := range list {
			if got[i] != list[i] {
				t.Errorf("%s: %v, want %v", what, got, list)
			}
		}
	}
	q := Query{Table: `odd "name`, Columns: []string{"k", "n", "missing", "b"}}
	read(q)
	want("as inserted", "b", "a7", "b!")
	q.Order = []string{"k", "nothing"}
	read(q)
	want("ordered", "a7", "b", "b!")
	q.Where = []Equal{{"k", "b"}, {"nothing", "x"}}
	read(q)
	want("selected", "b", "b!")
	read(Query{Table: "nothing", Columns: []string{"k"}})
	want("no such table")
	stop := errors.New("stop")
	if err := f.Each(ctx, Query{Table: `odd "name`, Columns: []string{"k"}}, func(Row) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of the reader: %v", err)
	}
	if n, err := f.Count(ctx, `odd "name`); n != 3 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
}

func TestNothingOfTheFileRunsAndNothingIsWritten(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := makeFile(t, `CREATE TABLE a (k)`, `INSERT INTO a VALUES (1)`, `CREATE VIEW v AS SELECT 1 AS k`,
		`CREATE VIRTUAL TABLE s USING rtree(id, x, y)`, `CREATE TABLE g (k, w AS (k + 1))`)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path)
	if !f.Has("a", "k") || f.Has("v") || f.Has("s") || f.Has("a", "z") || f.Has("g", "w") {
		t.Errorf("tables: %v", f.tables)
	}
	if _, err := f.conn.ExecContext(ctx, `INSERT INTO a VALUES (2)`); err == nil {
		t.Error("the file was written to")
	}
	if _, err := f.conn.ExecContext(ctx, `ATTACH 'other.db' AS other`); err == nil {
		t.Error("another file was attached")
	}
	if err := f.Together(ctx, func() error { return nil }); err != nil {
		t.Error(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file was changed (%v)", err)
	}
}

func TestWhatIsNoSQLiteFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("SQLite format 3, they say"), 0o600); err != nil {
		t.Fatal(err)
	}
	head := filepath.Join(dir, "head")
	if err := os.WriteFile(head, []byte(magic+"and nothing of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]quant.Code{text: quant.Invalid, head: quant.Invalid, dir: quant.Invalid, filepath.Join(dir, "no"): quant.NotFound} {
		if _, err := Open(context.Background(), path); !errors.Is(err, code) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A file whose writer keeps a write-ahead log is read while that writes.
func TestAFileWithAWriteAheadLogIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "wal.db")
	db, err := sql.Open("sqlite3", path+"?_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range []string{`CREATE TABLE a (k)`, `INSERT INTO a VALUES (1)`} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	f := openFile(t, path)
	err = f.Together(ctx, func() error {
		for range 2 {
			if n, err := f.Count(ctx, "a"); err != nil || n != 1 {
				t.Errorf("%d rows, %v", n, err)
			}
			if _, err := db.Exec(`INSERT INTO a VALUES (2)`); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Count(ctx, "a"); err != nil || n != 3 {
		t.Errorf("%d rows afterwards, %v", n, err)
	}
}
