package labtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"quant"

	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/mattn/go-sqlite3"
)

// StoredInCodes is a regular expression of the tables of the Fact DB that views of
// the contract read: how rows lie in them follows from what stored them, and when.
const StoredInCodes = "^(coded_.*|(predictions|targets|proposals|backtest_trades|backtest_positions)_(coded|other))$"

// RunRow is a run as the Meta DB has it.
type RunRow struct {
	ID, Kind, Status, Error string
	Exit                    sql.NullInt64
}

// OpenMeta opens the Meta DB with SQLite alone, past every rule of quant.
func (l *Lab) OpenMeta(options string) *sql.DB {
	l.T.Helper()
	return openSQLite(l.T, l.Meta(), options)
}

func openSQLite(t *testing.T, path, options string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=20000"+options)
	Must(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

// Runs reads all runs, oldest first.
func (l *Lab) Runs() []RunRow { return RunsIn(l.T, l.Meta()) }

// RunsIn reads all runs of the Meta DB at path, oldest first.
func RunsIn(t *testing.T, path string) []RunRow {
	t.Helper()
	db := openSQLite(t, path, "&mode=ro")
	defer db.Close()
	rows, err := db.Query("SELECT r.run_id, kind, status, coalesce(error_text, ''), exit_code FROM runs r LEFT JOIN run_process USING (run_id) ORDER BY r.run_id")
	Must(t, err)
	defer rows.Close()
	var out []RunRow
	for rows.Next() {
		var r RunRow
		Must(t, rows.Scan(&r.ID, &r.Kind, &r.Status, &r.Error, &r.Exit))
		out = append(out, r)
	}
	Must(t, rows.Err())
	return out
}

// LastRun is the run recorded last.
func (l *Lab) LastRun() RunRow {
	l.T.Helper()
	runs := l.Runs()
	if len(runs) == 0 {
		l.T.Fatal("nothing is recorded")
	}
	return runs[len(runs)-1]
}

// RunOf finds the last run of a kind.
func (l *Lab) RunOf(kind string) RunRow {
	l.T.Helper()
	runs := l.Runs()
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Kind == kind {
			return runs[i]
		}
	}
	l.T.Fatalf("no run of kind %s in %v", kind, runs)
	return RunRow{}
}

// WantClosed fails the test if a run is RUNNING.
func (l *Lab) WantClosed() {
	l.T.Helper()
	for _, r := range l.Runs() {
		if r.Status == string(quant.Running) {
			l.T.Fatalf("run %s (%s) is still RUNNING", r.ID, r.Kind)
		}
	}
}

// WantFail checks how a failed run was recorded.
func (l *Lab) WantFail(r RunRow, exit int64, texts ...string) {
	l.T.Helper()
	if r.Status != string(quant.Fail) || !r.Exit.Valid || r.Exit.Int64 != exit {
		l.T.Fatalf("recorded as %+v, want FAIL with exit status %d", r, exit)
	}
	for _, text := range texts {
		if !strings.Contains(r.Error, text) {
			l.T.Fatalf("error_text lacks %q: %q", text, r.Error)
		}
	}
}

// OpenFacts opens the Fact DB with DuckDB alone, past every rule of quant; mode
// is DuckDB's access_mode.
func (l *Lab) OpenFacts(mode string) *sql.DB {
	l.T.Helper()
	db, err := sql.Open("duckdb", l.Facts()+"?access_mode="+mode)
	Must(l.T, err)
	Must(l.T, db.Ping())
	l.T.Cleanup(func() { db.Close() })
	return db
}

// Prices returns every row of ohlcv but for its ingested_at, in key order.
func (l *Lab) Prices() string {
	return l.FactRows("SELECT symbol, ts, open, high, low, close, volume, adjusted_close, source FROM ohlcv ORDER BY symbol, ts")
}

// FactRows is what a query of the Fact DB returns, as TextRows has it.
func (l *Lab) FactRows(query string) string {
	l.T.Helper()
	db := l.OpenFacts("READ_ONLY")
	defer db.Close()
	return TextRows(l.T, db, query)
}

// MetaRows is what a query of the Meta DB returns, as TextRows has it.
func (l *Lab) MetaRows(query string) string {
	l.T.Helper()
	db := l.OpenMeta("&mode=ro")
	defer db.Close()
	return TextRows(l.T, db, query)
}

// TextRows is a line for each row of a query, its cells apart by spaces.
func TextRows(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), query)
	Must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	Must(t, err)
	cells, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	var b strings.Builder
	for rows.Next() {
		Must(t, rows.Scan(into...))
		fmt.Fprintln(&b, cells...)
	}
	Must(t, rows.Err())
	return b.String()
}

// WantAgreement checks with SQL alone that every SUCCESS which says that it
// wrote rows of a table has them in the ledger.
func (l *Lab) WantAgreement() {
	l.T.Helper()
	if _, err := os.Stat(l.Facts()); errors.Is(err, fs.ErrNotExist) {
		return
	}
	db := l.OpenFacts("READ_ONLY")
	defer db.Close()
	if TextRows(l.T, db, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'ledger'") == "0\n" {
		return // killed before the file had a schema
	}
	ledger := TextRows(l.T, db, "SELECT run_id || ' ' || table_name FROM ledger")
	said := l.MetaRows("SELECT run_id || ' ' || name FROM runs JOIN run_io USING (run_id) WHERE status = 'SUCCESS' AND direction = 'out' AND run_io.kind = 'table' AND rows > 0")
	for line := range strings.Lines(said) {
		if !strings.Contains(ledger, line) {
			l.T.Fatalf("a SUCCESS without its ledger row: %s", line)
		}
	}
}

// Finding is one entry of doctor's JSON.
type Finding struct{ Severity, Object, What, Mend string }

// Checkup is what doctor says.
type Checkup struct {
	Healthy  bool
	Findings []Finding
}

// Doctor runs doctor, which must find no fault.
func (l *Lab) Doctor() Checkup {
	l.T.Helper()
	var c Checkup
	Decode(l.T, l.Must("doctor", "--output", "json").Stdout, &c)
	return c
}

// Has reports whether there is a finding of this severity that names the object
// and says what.
func (c Checkup) Has(severity, object, what string) bool {
	for _, f := range c.Findings {
		if f.Severity == severity && strings.Contains(f.Object, object) && strings.Contains(f.What, what) {
			return true
		}
	}
	return false
}

// WantTidy checks that no process left files behind which nobody owns.
func (l *Lab) WantTidy() {
	l.T.Helper()
	entries, err := os.ReadDir(l.Path("data"))
	Must(l.T, err)
	for _, e := range entries {
		switch e.Name() {
		case "meta.db", "meta.db.lock", "meta.db.live", "meta.db-wal", "meta.db-shm", "meta.db.reserve", "quant.duckdb", "quant.duckdb.lock", "quant.duckdb.wanted.lock":
		default:
			l.T.Fatalf("left behind: data/%s", e.Name())
		}
	}
	live, err := os.ReadDir(l.Path("data", "meta.db.live"))
	Must(l.T, err)
	if len(live) > 0 {
		l.T.Fatalf("%d lock files of runs that have ended", len(live))
	}
}
