package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// manyRuns fills a database so that trees have several levels, records go on in other
// pages, and numbers are of every form.
func manyRuns(t *testing.T, db *DB) {
	t.Helper()
	newEvaluator(t, db, rand.New(rand.NewPCG(1, 2)), 400)
	first := must(relational.Texts(context.Background(), db.Pool, `SELECT min(run_id) FROM runs`))[0]
	b := metastore.Batch{}
	for n, v := range []string{"0", "-1", "300", "70000", "5000000000", "9007199254740993", "-9223372036854775808", "1e300", "0.1", "-0.0", strings.Repeat("long ", 1600)} {
		b.Params = append(b.Params, quant.Param{RunID: first, Name: fmt.Sprint("form ", n), Value: v})
	}
	ok(t, db.Log(context.Background(), b))
}

// behindItsBack changes rows while SQLite does not know of an index.
func behindItsBack(t *testing.T, path, index, change string) {
	t.Helper()
	run := func(statements ...string) {
		raw := must(sql.Open("sqlite3", "file:"+path+"?_foreign_keys=off"))
		raw.SetMaxOpenConns(1)
		defer raw.Close()
		for _, s := range statements {
			if _, err := raw.Exec(s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	hide := []string{`PRAGMA ignore_check_constraints = ON`, `PRAGMA writable_schema = ON`,
		`CREATE TABLE hidden AS SELECT * FROM sqlite_schema WHERE name = '` + index + `'`, `DELETE FROM sqlite_schema WHERE name = '` + index + `'`}
	run(hide...)
	run(`PRAGMA ignore_check_constraints = ON`, change, `PRAGMA writable_schema = ON`, `INSERT INTO sqlite_schema SELECT * FROM hidden`, `DROP TABLE hidden`)
}

func TestWhatThePagesDoNotProveIsFoundAsSQLiteFindsIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	manyRuns(t, db)
	proven := func(when string) {
		ok(t, db.OnSnapshot(context.Background(), func(q relational.Querier) error {
			if left := must(db.unproven(context.Background(), q)); len(left) > 0 {
				t.Errorf("%s, not proven: %v", when, left)
			}
			return nil
		}))
	}
	proven("in the log")
	must(db.Pool.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`))
	proven("in the file")
	must(db.Pool.Exec(`UPDATE run_tags SET value = value || '!'`))
	proven("in both")
	ok(t, db.Close())
	whole := must(os.ReadFile(path))

	for _, c := range []struct{ index, change string }{
		{"runs_kind", `DELETE FROM runs WHERE run_id = (SELECT run_id FROM runs ORDER BY run_id LIMIT 1 OFFSET 200)`},
		{"runs_suffix", `DELETE FROM runs WHERE run_id = (SELECT run_id FROM runs ORDER BY run_id LIMIT 1 OFFSET 201)`},
		{"runs_ended", `DELETE FROM runs WHERE run_id = (SELECT max(run_id) FROM runs WHERE ended_at IS NOT NULL)`},
		{"run_process_host", `UPDATE run_process SET host = host || 'x' WHERE run_id = (SELECT max(run_id) FROM run_process WHERE host IS NOT NULL)`},
		{"run_process_changes", `UPDATE run_process SET changes = 1 WHERE run_id = (SELECT max(run_id) FROM run_process WHERE changes = 0)`},
		{"run_process_exit", `UPDATE run_process SET exit_code = 77 WHERE run_id = (SELECT min(run_id) FROM run_process)`},
		{"run_params_value", `UPDATE run_params SET value = value || 'x' WHERE name = 'form 10'`},
		{"run_params_number", `UPDATE run_params SET number = 301 WHERE name = 'form 2'`},
		{"run_metrics_last", `DELETE FROM run_metrics WHERE run_id = (SELECT min(run_id) FROM run_metrics)`},
		{"run_metrics_min", `UPDATE run_metrics SET min = min - 1e-9 WHERE run_id = (SELECT max(run_id) FROM run_metrics)`},
	} {
		t.Run(c.index, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "meta.db")
			ok(t, os.WriteFile(path, whole, 0o600))
			behindItsBack(t, path, c.index, c.change)
			db := openAt(t, path)
			want := must(relational.Texts(context.Background(), db.Pool, `PRAGMA integrity_check(20)`))
			var got []string
			for _, p := range must(db.Check(context.Background())) {
				if p.Object == db.Shown {
					got = append(got, p.What)
				}
			}
			want = slices.DeleteFunc(want, func(s string) bool {
				return strings.HasPrefix(s, "CHECK") || strings.HasPrefix(s, "NULL value")
			})
			if len(want) == 0 || want[0] == "ok" || !slices.Equal(got, want) {
				t.Errorf("found %q, SQLite finds %q", got, want)
			}
		})
	}
}

func TestRowsThatBreakARuleAreFoundThoughTheDatabaseMayNotBeWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	manyRuns(t, db)
	ok(t, db.Close())
	raw := must(sql.Open("sqlite3", "file:"+path))
	must(raw.Exec(`PRAGMA ignore_check_constraints = ON; UPDATE run_metric_points SET logged_at = 'yesterday' WHERE point = 1 AND run_id = (SELECT max(run_id) FROM run_metric_points)`))
	ok(t, raw.Close())
	for _, readOnly := range []bool{false, true} {
		db := must(Open(context.Background(), Options{Path: path, ReadOnly: readOnly}))
		found := must(db.Check(context.Background()))
		if !slices.ContainsFunc(found, func(p metastore.Problem) bool { return strings.Contains(p.What, "logged_at has the form") }) {
			t.Errorf("read-only %v: %v", readOnly, found)
		}
		ok(t, db.Close())
	}
}

func TestNumbersAreOrderedAsTheyAre(t *testing.T) {
	t.Parallel()
	ascending := []cell{
		{}, realCell(math.Inf(-1)), wholeCell(math.MinInt64), wholeCell(-1<<53 - 1), wholeCell(-1), realCell(-0.5), wholeCell(0), realCell(0.5), wholeCell(1),
		wholeCell(1 << 53), wholeCell(1<<53 + 1), realCell(1<<53 + 2), wholeCell(math.MaxInt64), realCell(1 << 63), realCell(math.Inf(1)),
		{kind: isText}, {kind: isText, bytes: []byte("a")}, {kind: isText, bytes: []byte("a\x00")}, {kind: isBlob, bytes: []byte("a")},
	}
	for i := range ascending {
		for j := range ascending {
			if got := ascending[i].compare(&ascending[j]); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%d against %d: %d", i, j, got)
			}
		}
	}
	if a, b := realCell(math.Copysign(0, -1)), wholeCell(0); a.bits != b.bits {
		t.Errorf("-0 is %x", a.bits)
	}
}
