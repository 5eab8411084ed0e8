package postgres

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"

	"quant"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/sqlite"
)

func TestTheDatabaseItselfRefusesNonsense(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	for _, s := range metastoretest.SoundRows() {
		must(db.Pool.Exec(s))
	}
	for _, s := range metastoretest.UnsoundRows() {
		_, err := db.Pool.Exec(s)
		if err == nil {
			t.Errorf("stored: %s", s)
		} else if e, is := errors.AsType[*pgconn.PgError](err); !is || e.Code[:2] != "23" && e.Code != "22P02" {
			t.Errorf("%s: %v", s, err)
		}
		// A trigger and a reference are a conflict, any other rule is named.
		if said := db.Classify("x", err); quant.CodeOf(said) != quant.Conflict && quant.CodeOf(said) != quant.Invalid {
			t.Errorf("%s: %v", s, said)
		}
	}
	must(db.Pool.Exec(metastoretest.EndOfRuns))
	for _, s := range metastoretest.UnsoundEnds() {
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

func TestARunningRunHasNoEnd(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	for _, s := range metastoretest.SoundRows() {
		must(db.Pool.Exec(s))
	}
	must(db.Pool.Exec(`DELETE FROM run_process`))
	must(db.Pool.Exec(`INSERT INTO run_process (run_id, changes, pid, exit_code, facts) SELECT run_id, 1, 7, 3, 'none' FROM runs`))
	var n int
	ok(t, db.Pool.QueryRow(`SELECT count(*) FROM run_process WHERE exit_code IS NOT NULL OR facts IS NOT NULL`).Scan(&n))
	if n != 0 {
		t.Error("it has one")
	}
}

func TestTheDatabaseAndGoAgreeOnEveryCharacterOfASymbol(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	var rule string
	ok(t, db.Pool.QueryRow(`SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = 'symbol has no space or control character'`).Scan(&rule))
	stored := map[string]bool{}
	rows, err := db.Pool.Query(`SELECT symbol FROM (SELECT ('A' || chr(c)) COLLATE "C" AS symbol FROM generate_series(1, 1114111) c
		WHERE (c < 196608 OR c >= 917504) AND c NOT BETWEEN 55296 AND 57343) s WHERE ` + rule)
	ok(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s string
		ok(t, rows.Scan(&s))
		stored[s] = true
	}
	ok(t, rows.Err())
	for c := rune(1); c <= unicode.MaxRune; c++ {
		if c >= 0x30000 && c < 0xe0000 || c >= 0xd800 && c <= 0xdfff || c == escape {
			continue
		}
		s := "A" + string(c)
		if valid := quant.ValidateSymbol(s) == nil; valid != stored[s] {
			t.Errorf("U+%04X: Go says %v, the database %v", c, valid, stored[s])
		}
	}
}

// lines are the rows of a query, each as one text.
func lines(t *testing.T, pool *sql.DB, query string) []string {
	t.Helper()
	rows, err := pool.Query(query)
	ok(t, err)
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var s string
		ok(t, rows.Scan(&s))
		all = append(all, s)
	}
	ok(t, rows.Err())
	slices.Sort(all)
	return all
}

// ofSeveral is what only a database has that several machines and roles share: leases,
// and who started a run.
var ofSeveral = regexp.MustCompile(`^(leases|batches|run_roles)[. :]|_keep_others|runs_note_role|run_process_live_lock`)

func same(t *testing.T, what string, sqlite, postgres []string) {
	t.Helper()
	postgres = slices.DeleteFunc(postgres, ofSeveral.MatchString)
	for _, s := range sqlite {
		if !slices.Contains(postgres, s) {
			t.Errorf("%s: SQLite alone has %s", what, s)
		}
	}
	for _, s := range postgres {
		if !slices.Contains(sqlite, s) {
			t.Errorf("%s: PostgreSQL alone has %s", what, s)
		}
	}
	if len(sqlite) == 0 {
		t.Errorf("%s: nothing was compared", what)
	}
}

func TestBothEnginesHaveOneSchema(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	file, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "meta.db")})
	ok(t, err)
	t.Cleanup(func() { _ = file.Close() })
	embeddedDB, db := file.Pool, openNew(t).Pool

	var version int
	ok(t, embeddedDB.QueryRow(`PRAGMA user_version`).Scan(&version))
	if here := len(must(embedded())); here != version {
		t.Errorf("the schema has number %d, and %d in SQLite: add a migration of that number", here, version)
	}

	same(t, "columns", lines(t, embeddedDB, `SELECT t.name || '.' || c.cid || ' ' || c.name || ' '
			|| CASE c.type WHEN 'TEXT' THEN 'text C' WHEN 'INTEGER' THEN 'bigint' WHEN 'REAL' THEN 'double precision' ELSE c.type END
			|| CASE WHEN c."notnull" THEN ' not null' ELSE '' END || coalesce(' default ' || c.dflt_value, '')
		FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'`),
		lines(t, db, `SELECT c.relname || '.' || (a.attnum - 1) || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
			|| coalesce((SELECT ' ' || collname FROM pg_collation WHERE oid = a.attcollation), '')
			|| CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relnamespace = 'quant'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND c.relname <> 'schema_migrations'`))

	// The key of run_io is an index, because its names are of any length.
	same(t, "keys", lines(t, embeddedDB, `SELECT name || ' (' || (SELECT group_concat(name) FROM (SELECT name FROM pragma_table_info(t.name) WHERE pk > 0 ORDER BY pk)) || ')'
		FROM sqlite_schema t WHERE type = 'table' AND name <> 'run_io'`),
		lines(t, db, `SELECT r.relname || ' (' || (SELECT string_agg(a.attname, ',' ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY k (num, n)
			JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num) || ')'
		FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid WHERE c.contype = 'p' AND c.connamespace = 'quant'::regnamespace AND r.relname <> 'schema_migrations'`))

	same(t, "references", lines(t, embeddedDB, `SELECT t.name || '.' || f."from" || ' -> ' || f."table" || '.' || f."to" || ' ' || f.on_delete || ' ' || f.on_update
		FROM sqlite_schema t JOIN pragma_foreign_key_list(t.name) f WHERE t.type = 'table'`),
		lines(t, db, `SELECT r.relname || '.' || a.attname || ' -> ' || p.relname || '.' || pa.attname || ' '
			|| CASE c.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'a' THEN 'NO ACTION' END || ' ' || CASE c.confupdtype WHEN 'c' THEN 'CASCADE' WHEN 'a' THEN 'NO ACTION' END
		FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid JOIN pg_class p ON p.oid = c.confrelid
		JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = c.conkey[1] JOIN pg_attribute pa ON pa.attrelid = p.oid AND pa.attnum = c.confkey[1]
		WHERE c.contype = 'f' AND c.connamespace = 'quant'::regnamespace`))

	var rules []string
	rule := regexp.MustCompile(`CONSTRAINT "([^"]+)"`)
	for _, table := range lines(t, embeddedDB, `SELECT name || char(10) || sql FROM sqlite_schema WHERE type = 'table'`) {
		name, definition, _ := strings.Cut(table, "\n")
		for _, found := range rule.FindAllStringSubmatch(definition, -1) {
			rules = append(rules, name+": "+found[1])
		}
	}
	same(t, "rules", rules, lines(t, db, `SELECT r.relname || ': ' || c.conname FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
		WHERE c.contype = 'c' AND c.connamespace = 'quant'::regnamespace`))

	same(t, "indexes", lines(t, embeddedDB, `SELECT tbl_name || ': ' || name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL`),
		lines(t, db, `SELECT tablename || ': ' || indexname FROM pg_indexes WHERE schemaname = 'quant' AND indexname NOT LIKE '%\_pkey' AND indexname <> 'run_io_key'`))

	// A process is never stored before its run here, so the trigger for that is missing.
	same(t, "triggers", lines(t, embeddedDB, `SELECT tbl_name || ': ' || name FROM sqlite_schema WHERE type = 'trigger' AND name <> 'runs_not_ended'`),
		lines(t, db, `SELECT r.relname || ': ' || t.tgname FROM pg_trigger t JOIN pg_class r ON r.oid = t.tgrelid
		WHERE NOT t.tgisinternal AND r.relnamespace = 'quant'::regnamespace`))
}
