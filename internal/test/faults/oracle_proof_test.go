package faults

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

// An oracle that finds nothing proves nothing: each of these labs was spoilt by
// hand after an undisturbed command, and must be found out.
func TestTheOracleFindsWhatWasSpoiltByHand(t *testing.T) {
	t.Parallel()
	s := scenario{lab: data, args: more}
	l := s.stage(t)
	o := oracle{}
	var err error
	o.before, err = stateOf(t, l)
	labtest.Must(t, err)
	done := l.Must(more...)
	o.after, err = stateOf(t, l)
	labtest.Must(t, err)
	if found := append(o.judge(t, l, done, false), o.done(t, l, done)...); len(found) > 0 {
		t.Fatalf("nothing was spoilt, and it finds %v", found)
	}
	if found := o.leftBehind(t, l); len(found) > 0 {
		t.Fatalf("nothing was left, and it finds %v", found)
	}
	execute := func(driver, path string, statements ...string) func(*labtest.Lab) {
		return func(l *labtest.Lab) {
			db, err := sql.Open(driver, l.Path("data", path))
			labtest.Must(t, err)
			defer db.Close()
			for _, statement := range statements {
				if _, err := db.Exec(statement); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	meta := func(statements ...string) func(*labtest.Lab) { return execute("sqlite3", "meta.db", statements...) }
	facts := func(statements ...string) func(*labtest.Lab) { return execute("duckdb", "quant.duckdb", statements...) }
	for name, c := range map[string]struct {
		spoil func(*labtest.Lab)
		want  string
	}{
		"a symbol is gone":        {meta("DELETE FROM symbols WHERE symbol = 'KEEP'"), "lost: 1, such as symbols: KEEP"},
		"a run is gone":           {meta("PRAGMA foreign_keys = on", "DELETE FROM runs WHERE kind = 'symbols.add'"), "lost: "},
		"a run has another end":   {rewritten, "lost: "},
		"a run is open":           {meta("INSERT INTO runs (run_id, kind, status, started_at) VALUES ('01890000-0000-7000-8000-000000000000', 'config', 'RUNNING', '2026-01-01T00:00:00.000000Z')"), "still RUNNING"},
		"the ledger lacks a row":  {facts("DELETE FROM ledger"), "a SUCCESS without its ledger rows"},
		"the ledger has too many": {facts("INSERT INTO ledger SELECT * REPLACE ('01890000-0000-7000-8000-000000000001' AS run_id) FROM ledger LIMIT 1"), "which no record knows"},
		"a price is another":      {facts("UPDATE ohlcv SET close = close + 1 WHERE symbol = 'A'"), "ohlcv holds neither"},
		"half of the prices":      {facts("DELETE FROM ohlcv WHERE symbol = 'C' AND ts > '2015-03-01'"), "ohlcv holds neither"},
		"an artifact is cut":      {cut("data/meta.db.artifacts"), "is not what a run has"},
		"a page is broken":        {breakPage, "cannot be read"},
		"a temporary file":        {func(l *labtest.Lab) { l.Write("data/.x.quant-tmp-1", nil) }, "left behind"},
	} {
		t.Run(name, func(t *testing.T) {
			l := l.CopyOf(t)
			c.spoil(l)
			found := append(append(o.judge(t, l, done, false), o.done(t, l, done)...), o.leftBehind(t, l)...)
			if !strings.Contains(strings.Join(found, "\n"), c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
	if len(said(labtest.Result{Code: 2, Stderr: "panic: x\n\ngoroutine 1 [running]:"})) == 0 || len(said(labtest.Result{Code: 1})) == 0 ||
		len(said(labtest.Result{Code: 1000 + 6, Stderr: "x"})) == 0 || len(said(labtest.Result{Took: 2 * bound})) == 0 {
		t.Error("what a process says at its end is not judged")
	}
	lying := done
	lying.Stderr = strings.Replace(done.Stderr, "ingest SUCCESS", "ingest FAIL", 1)
	if found := o.judge(t, l, lying, false); len(found) == 0 {
		t.Error("a closing line that is not so is believed")
	}
}

func cut(dir string) func(*labtest.Lab) {
	return func(l *labtest.Lab) {
		files, err := filepath.Glob(l.Path(dir, "*", "*"))
		labtest.Must(l.T, err)
		for _, file := range files {
			labtest.Must(l.T, os.Chmod(file, 0o600))
			labtest.Must(l.T, os.Truncate(file, 5))
		}
	}
}

// rewritten gives a run another end, past the triggers that forbid it.
func rewritten(l *labtest.Lab) {
	db := l.OpenMeta("")
	defer db.Close()
	triggers, err := text(db, "SELECT name FROM sqlite_schema WHERE type = 'trigger'")
	labtest.Must(l.T, err)
	for _, name := range triggers {
		_, err := db.Exec("DROP TRIGGER " + name)
		labtest.Must(l.T, err)
	}
	_, err = db.Exec("UPDATE runs SET ended_at = '2099-01-01T00:00:00.000000Z' WHERE kind = 'symbols.add'")
	labtest.Must(l.T, err)
}

func breakPage(l *labtest.Lab) {
	b, err := os.ReadFile(l.Meta())
	labtest.Must(l.T, err)
	clear(b[len(b)/2/4096*4096:][:4096])
	labtest.Must(l.T, os.WriteFile(l.Meta(), b, 0o600))
}
