package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/relational"
	"quant/internal/test/soak"
)

// sample statements that the rules accept, one a table, as a user types them.
func sampleRows() []string {
	return []string{
		`INSERT INTO symbols (symbol) VALUES ('AAPL')`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('e', 'n', '2026-01-15T09:30:00.000000Z')`,
		`INSERT INTO models (model_id, experiment_id, created_at) VALUES ('m', 'e', '2026-01-15T09:30:00.000000Z')`,
		`INSERT INTO runs (run_id, kind, status, started_at) VALUES ('019bc0de-0001-7000-8000-000000000001', 'k', 'RUNNING', '2026-01-15T09:30:00.000000Z')`,
		`INSERT INTO run_process (run_id, changes, pid) VALUES ('019bc0de-0001-7000-8000-000000000001', 1, 7)`,
		`INSERT INTO run_io (run_id, direction, kind, name) VALUES ('019bc0de-0001-7000-8000-000000000001', 'in', 'file', 'a')`,
	}
}

func TestTheDatabaseItselfRefusesNonsense(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	for _, s := range sampleRows() {
		must(db.Pool.Exec(s))
	}
	insertRun := func(columns, values string) string {
		return `INSERT INTO runs (run_id, kind, ` + columns + `) VALUES ('019bc0de-0002-7000-8000-000000000001', 'k', ` + values + `)`
	}
	runAt := func(at string) string { return insertRun(`status, started_at`, `'RUNNING', `+at) }
	runID := func(id string) string {
		return `INSERT INTO runs (run_id, kind, status, started_at) VALUES (` + id + `, 'k', 'RUNNING', '2026-01-15T09:30:00.000000Z')`
	}
	const at = `'2026-01-15T09:30:00.000000Z'`
	for _, s := range []string{
		`INSERT INTO symbols (symbol) VALUES (NULL)`,
		`INSERT INTO symbols (symbol) VALUES ('')`,
		`INSERT INTO symbols (symbol) VALUES ('A B')`,
		`INSERT INTO symbols (symbol) VALUES ('A' || char(0))`,
		`INSERT INTO symbols (symbol) VALUES (char(12288))`,
		`INSERT INTO symbols (symbol) VALUES (CAST(x'ff41' AS TEXT))`,
		`INSERT INTO symbols (symbol) VALUES ('` + strings.Repeat("x", 65) + `')`,
		`INSERT INTO symbols (symbol) VALUES ('` + strings.Repeat("가", 22) + `')`,
		`INSERT INTO symbols (symbol) VALUES (x'4141')`,
		`INSERT INTO symbols (symbol) VALUES ('AAPL')`,
		`INSERT INTO symbols (symbol, name) VALUES ('B', 'a' || char(13) || 'b')`,
		`INSERT INTO symbols (symbol, name) VALUES ('B', 'a' || char(0))`,
		`INSERT INTO symbols (symbol, name) VALUES ('B', CAST(x'41ff41' AS TEXT))`,
		`INSERT INTO symbols (symbol, sector) VALUES ('B', char(27) || '[2J')`,
		`INSERT INTO symbols (symbol, sector) VALUES ('B', char(127))`,
		`INSERT INTO symbols (symbol, currency) VALUES ('B', char(9))`,
		`INSERT INTO symbols (symbol, currency) VALUES ('B', char(133))`,
		`INSERT INTO symbols (symbol, is_active) VALUES ('B', 2)`,
		`INSERT INTO symbols (symbol, is_active) VALUES ('B', NULL)`,
		`INSERT INTO symbols (symbol, is_active) VALUES ('B', 'yes')`,
		`INSERT INTO symbols (symbol, priority) VALUES ('B', 1.5)`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES (NULL, 'n', ` + at + `)`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('x', NULL, ` + at + `)`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('x', ' ', ` + at + `)`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('x', 'n', NULL)`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('x', 'n', '2026-01-15')`,
		`INSERT INTO experiments (experiment_id, name, created_at, params_json) VALUES ('x', 'n', ` + at + `, '{')`,
		`INSERT INTO experiments (experiment_id, name, created_at, params_json) VALUES ('x', 'n', ` + at + `, '{a:1}')`,
		`INSERT INTO experiments (experiment_id, name, created_at, split_policy_json) VALUES ('x', 'n', ` + at + `, '')`,
		`INSERT INTO models (model_id, experiment_id, created_at) VALUES ('x', 'none', ` + at + `)`,
		`INSERT INTO models (model_id, created_at) VALUES ('', ` + at + `)`,
		`INSERT INTO models (model_id, created_at) VALUES ('x', 'now')`,
		`INSERT INTO models (model_id, created_at, metrics_json) VALUES ('x', ` + at + `, 'NaN')`,
		`DELETE FROM experiments`,
		insertRun(`status, started_at`, `'DONE', `+at),
		insertRun(`status, started_at`, `'running', `+at),
		insertRun(`status, started_at`, `NULL, `+at),
		insertRun(`status, started_at, ended_at`, `'RUNNING', `+at+`, `+at),
		insertRun(`status, started_at`, `'SUCCESS', `+at),
		insertRun(`status, started_at, ended_at`, `'SUCCESS', `+at+`, 'later'`),
		insertRun(`status, started_at, ended_at, error_text`, `'SUCCESS', `+at+`, `+at+`, 'x'`),
		insertRun(`status, started_at, ended_at, error_text`, `'SUCCESS', `+at+`, `+at+`, ''`),
		insertRun(`status, started_at, ended_at`, `'FAIL', `+at+`, `+at),
		insertRun(`status, started_at, ended_at, error_text`, `'FAIL', `+at+`, `+at+`, ''`),
		insertRun(`status, started_at, error_text`, `'RUNNING', `+at+`, 'x'`),
		insertRun(`status, started_at, config_json`, `'RUNNING', `+at+`, '{"a":}'`),
		insertRun(`status, started_at, config_json`, `'RUNNING', `+at+`, x'7b7d'`),
		runAt(`NULL`),
		runAt(`'2026-01-15 09:30:00.000000Z'`),
		runAt(`'2026-01-15T09:30:00.000Z'`),
		runAt(`'2026-01-15T09:30:00.0000000Z'`),
		runAt(`'2026-01-15T09:30:00.000000+00:00'`),
		runAt(`'2026-02-30T09:30:00.000000Z'`),
		runAt(`'2026-13-01T09:30:00.000000Z'`),
		runAt(`'2026-01-15T24:00:00.000000Z'`),
		runAt(`'2026-01-15T09:60:00.000000Z'`),
		runAt(`'2026-01-15T09:30:60.000000Z'`),
		runAt(`'+026-01-15T09:30:00.000000Z'`),
		runAt(`'2026-01-15T09:30:00.000000z'`),
		runAt(at + ` || char(0) || 'x'`),
		runAt(`1768469400`),
		runID(`NULL`),
		runID(`''`),
		runID(`'019bc0de-0001-4000-8000-000000000001'`),
		runID(`'019BC0DE-0001-7000-8000-000000000001'`),
		runID(`'019bc0de-0001-7000-c000-000000000001'`),
		runID(`'019bc0de00017000800000000000000000001'`),
		runID(`'019bc0de-0001-7000-8000-00000000000g'`),
		runID(`'019bc0de-0001-7000-8000-00000000000-'`),
		runID(`'019bc0de-0001-7000-8000-000000000001' || char(0)`),
		`INSERT INTO run_process (run_id, changes, pid) VALUES ('019bc0de-0009-7000-8000-000000000001', 1, 7)`,
		`UPDATE run_process SET changes = 2`,
		`UPDATE run_process SET facts = 'perhaps'`,
		`UPDATE run_process SET facts = ''`,
		`UPDATE run_process SET changes = NULL`,
		`UPDATE run_process SET git_dirty = 7`,
		`UPDATE run_process SET argv = '['`,
		`UPDATE run_process SET pid = 'x'`,
		`UPDATE run_io SET direction = 'both'`,
		`UPDATE run_io SET name = ''`,
		`UPDATE run_io SET kind = ''`,
		`UPDATE run_io SET rows = 'many'`,
		`UPDATE run_io SET first_date = '2024-02-30'`,
		`UPDATE run_io SET last_date = '20240201'`,
		`UPDATE runs SET run_id = '019bc0de-0009-7000-8000-000000000001'`,
		`UPDATE runs SET kind = 'other'`,
		`UPDATE runs SET started_at = '2027-01-15T09:30:00.000000Z'`,
	} {
		if _, err := db.Pool.Exec(s); err == nil {
			t.Errorf("stored: %s", s)
		} else if e, is := errors.AsType[sqlite3.Error](err); !is || e.Code != sqlite3.ErrConstraint {
			t.Errorf("%s: %v", s, err)
		}
	}
	// An ended run keeps its end.
	must(db.Pool.Exec(`UPDATE runs SET status = 'FAIL', ended_at = ` + at + `, error_text = 'x'`))
	for _, s := range []string{
		`UPDATE runs SET status = 'RUNNING', ended_at = NULL, error_text = NULL`,
		`UPDATE runs SET status = 'SUCCESS', error_text = NULL`,
		`UPDATE runs SET ended_at = '2027-01-15T09:30:00.000000Z'`,
	} {
		_, err := db.Pool.Exec(s)
		if quant.CodeOf(db.Classify("x", err)) != quant.Conflict {
			t.Errorf("%s: %v", s, err)
		}
	}
	must(db.Pool.Exec(`UPDATE runs SET error_text = 'y'`))
	must(db.Pool.Exec(`DELETE FROM runs`))
	var left int
	ok(t, db.Pool.QueryRow(`SELECT (SELECT count(*) FROM run_process) + (SELECT count(*) FROM run_io)`).Scan(&left))
	if left != 0 {
		t.Errorf("%d companions outlived their run", left)
	}
}

func TestARefusalNamesTheRuleThatWasBroken(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	r, p := aRun(1)
	r.RunID, p.RunID = "nonsense", "nonsense"
	err := db.CreateRun(context.Background(), r, p)
	if want := "create run nonsense: rule broken: run_id is a version 7 UUID in lower case"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestEveryTimeThatGoWritesIsAccepted(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	for n, s := range []string{
		"1970-01-01T00:00:00.000000Z", "2024-02-29T23:59:59.999999Z", "2026-12-31T23:59:59.999500Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000001Z",
	} {
		r, p := aRun(n)
		r.StartedAt = must(quant.ParseTime(s))
		ok(t, db.CreateRun(context.Background(), r, p))
		if got := must(db.GetRun(context.Background(), r.RunID)).StartedAt.String(); got != s {
			t.Errorf("%s came back as %s", s, got)
		}
	}
}

func TestTheDatabaseAndGoAgreeOnEveryCharacterOfASymbol(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	must(db.Pool.Exec(`WITH RECURSIVE n (c) AS (SELECT 0 UNION ALL SELECT c + 1 FROM n WHERE c < 0x10ffff)
		INSERT OR IGNORE INTO symbols (symbol) SELECT 'A' || char(c) FROM n WHERE (c < 0x30000 OR c >= 0xe0000) AND c NOT BETWEEN 0xd800 AND 0xdfff`))
	stored := map[string]bool{}
	for _, s := range must(relational.Texts(context.Background(), db.Pool, `SELECT symbol FROM symbols`)) {
		stored[s] = true
	}
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if c >= 0x30000 && c < 0xe0000 || c >= 0xd800 && c <= 0xdfff {
			continue
		}
		s := "A" + string(c)
		if valid := quant.ValidateSymbol(s) == nil; valid != stored[s] {
			t.Errorf("U+%04X: Go says %v, the database %v", c, valid, stored[s])
		}
	}
}

// fillRuns makes n ended runs in one statement: a hundredth of them change
// something, half of those fail; every kind has a thousandth.
func fillRuns(t testing.TB, db *DB, n int) {
	t.Helper()
	conn := must(db.Pool.Conn(context.Background())) // a temporary table belongs to one
	defer func() { ok(t, conn.Close()) }()
	for _, s := range []string{
		`CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d - 1)
			SELECT i, printf('%%08x-%%04x-7000-8000-%%012x', 0x019bc0de + (i >> 6), (i & 63) << 10, (i * 2654435761) & 0xffffffffffff) AS id,
			strftime('%%Y-%%m-%%dT%%H:%%M:%%S.000000Z', 1768469400 + i, 'unixepoch') AS at FROM n`,
		`INSERT INTO runs SELECT id, 'kind' || (i %% 1000), CASE WHEN i %% 200 = 0 THEN 'FAIL' WHEN i %% 20000 = 7 THEN 'RUNNING' ELSE 'SUCCESS' END,
			at, CASE WHEN i %% 20000 = 7 THEN NULL ELSE at END, '{}', CASE WHEN i %% 200 = 0 THEN 'x' END FROM n`,
		`INSERT INTO run_process (run_id, changes, pid, parent_run_id) SELECT id, i %% 100 = 0, i,
			CASE WHEN i %% 20000 = 5 THEN (SELECT id FROM n WHERE i = 0) END FROM n`,
		`DROP TABLE n`,
	} {
		if strings.Contains(s, "%d") {
			s = fmt.Sprintf(s, n)
		} else {
			s = strings.ReplaceAll(s, "%%", "%")
		}
		if _, err := conn.ExecContext(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestEveryQueryOnRunsUsesAnIndex(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	for _, tt := range everyQuery(db) {
		query, args := tt.query.SQL, tt.query.Args
		var plan []string
		rows, err := db.Pool.Query(`EXPLAIN QUERY PLAN `+query, args...)
		ok(t, err)
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			ok(t, rows.Scan(&id, &parent, &unused, &detail))
			plan = append(plan, detail)
		}
		ok(t, rows.Err())
		all := strings.Join(plan, "\n")
		for _, want := range tt.want {
			if !strings.Contains(all, want) {
				t.Errorf("%s: no %q in\n%s", tt.name, want, all)
			}
		}
		// What is read of named runs is sorted: that costs what is returned.
		if strings.Contains(all, "TEMP B-TREE") && !strings.Contains(query, "json_each") {
			t.Errorf("%s sorts:\n%s", tt.name, all)
		}
	}
}

type planned struct {
	name  string
	query relational.Query
	want  []string // parts of the plan
}

// everyQuery is each single filter of ListRuns, ResolveRun, and what is read of named
// runs.
func everyQuery(db *DB) []planned {
	byFilter := func(name string, f metastore.RunFilter, want ...string) planned {
		return planned{name, must(db.ListQuery(f)), want}
	}
	late := must(quant.ParseTime("2026-01-15T09:59:00.000000Z"))
	const key = "SEARCH p USING PRIMARY KEY (run_id=?)"
	ofRuns := must(db.LookUps([]string{metastoretest.RunID(0), metastoretest.RunID(1)}, "loss", quant.NameTag))
	return []planned{
		byFilter("default", metastore.RunFilter{Limit: 20}, "SCAN p USING INDEX run_process_changes", "SEARCH r USING PRIMARY KEY (run_id=?)"),
		byFilter("all", metastore.RunFilter{All: true, Limit: 20}, "SCAN r", key),
		byFilter("kind", metastore.RunFilter{All: true, Kind: "kind7", Limit: 20}, "SEARCH r USING INDEX runs_kind (kind=?)", key),
		byFilter("running", metastore.RunFilter{All: true, Status: quant.Running}, "SEARCH r USING INDEX runs_status (status=?)", key),
		byFilter("fail", metastore.RunFilter{All: true, Status: quant.Fail, Limit: 20}, "SEARCH r USING INDEX runs_status (status=?)"),
		byFilter("success", metastore.RunFilter{All: true, Status: quant.Success, Limit: 20}, "SEARCH r USING INDEX runs_status (status=?)"),
		byFilter("running that change", metastore.RunFilter{Status: quant.Running}, "SEARCH r USING INDEX runs_status (status=?)", key),
		byFilter("running of a kind", metastore.RunFilter{All: true, Kind: "kind7", Status: quant.Running}, "SEARCH r USING INDEX runs_status (status=?)"),
		byFilter("fail of a kind", metastore.RunFilter{All: true, Kind: "kind7", Status: quant.Fail}, "SEARCH r USING INDEX runs_kind (kind=?)"),
		byFilter("since, all", metastore.RunFilter{All: true, Since: late, Limit: 20}, "SEARCH r USING PRIMARY KEY (run_id>?)"),
		byFilter("since", metastore.RunFilter{Since: late, Limit: 20}, "SEARCH p USING INDEX run_process_changes (run_id>?)"),
		byFilter("parent", metastore.RunFilter{All: true, Parent: metastoretest.RunID(0)}, "SEARCH p USING INDEX run_process_parent (parent_run_id=?)"),
		byFilter("parent, that change", metastore.RunFilter{Parent: metastoretest.RunID(0)}, "SEARCH p USING INDEX run_process_parent (parent_run_id=?)"),
		byFilter("except", metastore.RunFilter{Except: metastoretest.RunID(0), Limit: 20}, "run_process_changes"),
		{"beginning", db.ResolveQuery("019"), []string{"SEARCH runs USING PRIMARY KEY (run_id>? AND run_id<?)"}},
		{"runs by id", ofRuns["runs"], []string{"SEARCH r USING PRIMARY KEY (run_id=?)", key}},
		{"params of runs", ofRuns["params"], []string{"SEARCH t USING PRIMARY KEY (run_id=?)"}},
		{"metrics of runs", ofRuns["metrics"], []string{"SEARCH t USING PRIMARY KEY (run_id=?)"}},
		{"inputs of runs", ofRuns["io"], []string{"SEARCH t USING PRIMARY KEY (run_id=?)"}},
		{"names of runs", ofRuns["names"], []string{"SEARCH t USING PRIMARY KEY (run_id=? AND name=?)"}},
		{"sample", ofRuns["sample"], []string{"SEARCH p USING PRIMARY KEY (run_id=? AND name=? AND point=?)"}},
		{"end", db.ResolveQuery("abcd"), []string{"SEARCH runs USING COVERING INDEX runs_suffix (<expr>=?)"}},
	}
}

// TestALongHistory makes its lab once, and has the test that takes the runs away
// come last.
func TestALongHistory(t *testing.T) {
	long := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	fillRuns(t, long, soak.Count(t, 200_000, 1_000_000))
	t.Run("does not slow a look-up", func(t *testing.T) { slowsNoLookUp(t, long) })
	t.Run("holds nobody up while its reads are cleared", func(t *testing.T) { holdsNobodyUp(t, long) })
}

// slowsNoLookUp compares the best of several tries; a query that walks the
// history takes hundreds of times as long.
func slowsNoLookUp(t *testing.T, long *DB) {
	t.Helper()
	short := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	fillRuns(t, short, 1_000)
	for _, tt := range everyQuery(short) {
		query, args := tt.query.SQL, tt.query.Args
		quick, slow := best(t, short, query, args), best(t, long, query, args)
		if slow > 2*quick+5*time.Millisecond {
			t.Errorf("%s: %s with a short history, %s with a long one", tt.name, quick, slow)
		}
		t.Logf("%-20s %s with a short history, %s with a long one", tt.name, quick, slow)
	}
}

func holdsNobodyUp(t *testing.T, long *DB) {
	t.Helper()
	ctx := context.Background()
	before := quant.NewTime(noon().AddDate(1, 0, 0))
	all := must(long.CountReads(ctx, before))
	enough := int64(soak.Count(t, 20_000, 1_000_000))
	begun, total, longest := time.Now(), int64(0), time.Duration(0)
	for after := ""; ; {
		one := time.Now()
		gone, next, err := long.ClearReads(ctx, before, after, 2000)
		ok(t, err)
		longest = max(longest, time.Since(one))
		total += gone
		if after = next; next == "" || total >= enough {
			break
		}
	}
	t.Logf("%d reading runs cleared in %v, %.0f a second; the longest transaction took %v", total, time.Since(begun), float64(total)/time.Since(begun).Seconds(), longest)
	if left := must(long.CountReads(ctx, before)); total < min(all, enough) || left != all-total {
		t.Errorf("%d of %d went, and %d are left", total, all, left)
	}
	if longest > 10*time.Second {
		t.Errorf("one transaction held the database for %v, longer than writers wait", longest)
	}
}

func best(t *testing.T, db *DB, query string, args []any) time.Duration {
	t.Helper()
	least := time.Hour
	for range 10 {
		start := time.Now()
		rows, err := db.Pool.Query(query, args...)
		ok(t, err)
		defer rows.Close()
		for rows.Next() {
		}
		ok(t, rows.Err())
		least = min(least, time.Since(start))
	}
	return least
}

func FuzzResolveRun(f *testing.F) {
	db := openAt(f, filepath.Join(f.TempDir(), "meta.db"))
	fillRuns(f, db, 1_000)
	for _, seed := range []string{"", "0", "019bc0de", "0000", "abcd", "%", "_", "*", "[", "'", "\"", "-", "last", "019BC0DE", "019bc0de-0000-7000-8000-000000000000", "\x00", "\xff", "000000000000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		ids, err := db.ResolveRun(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) > 3 || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
			t.Fatalf("%q: %v", ref, ids)
		}
		for _, id := range ids {
			if ref == "" || !strings.HasPrefix(id, ref) && !(len(ref) >= 4 && strings.HasSuffix(id, ref)) {
				t.Fatalf("%q found %s", ref, id)
			}
		}
	})
}

func FuzzRulesOf(f *testing.F) {
	for _, m := range must(embedded()) {
		f.Add(m.sql)
	}
	f.Add(`CONSTRAINT "a" CHECK ((x IN ('(', ')')) AND "y)" = 1) CONSTRAINT "b" CHECK (`)
	f.Fuzz(func(t *testing.T, definition string) {
		for _, r := range rulesOf(definition) {
			if !strings.Contains(definition, r.name) || !strings.Contains(definition, r.expr) {
				t.Fatalf("%q is no part of the definition", r)
			}
		}
	})
}

func TestRulesAreReadFromADefinition(t *testing.T) {
	t.Parallel()
	got := rulesOf(`CREATE TABLE t (x TEXT, CONSTRAINT "a (b)" CHECK (x IN ('(', ')') OR ("y)" = 1)), CONSTRAINT "c"
		CHECK (x), CONSTRAINT "d" UNIQUE (x), CONSTRAINT "e" CHECK (1))`)
	want := []rule{{"a (b)", `x IN ('(', ')') OR ("y)" = 1)`}, {"c", "x"}, {"e", "1"}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// Each constraint of the schema is found.
	for _, m := range must(embedded()) {
		if found, all := len(rulesOf(m.sql)), strings.Count(m.sql, "CONSTRAINT \""); found != all {
			t.Errorf("%s: %d of %d", m.name, found, all)
		}
	}
}
