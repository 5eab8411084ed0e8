package postgres

import (
	"strings"
	"testing"

	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/postgrestest"
)

// prepared is the URL of a prepared database of its own.
func prepared(t testing.TB) string {
	t.Helper()
	return postgrestest.Shared(t).Prepared(t, prepare)
}

// recycled is prepared for a test that leaves the schema as it is.
func recycled(t testing.TB) string {
	t.Helper()
	return postgrestest.Shared(t).Recycled(t, prepare, versionTable)
}

func openAt(t testing.TB, url string) *DB {
	t.Helper()
	return opened(t, Options{URL: url})
}

func TestPostgreSQLKeepsTheContract(t *testing.T) {
	t.Parallel()
	metastoretest.Run(t, func(t *testing.T) metastore.Store { return openAt(t, recycled(t)) })
}

func TestPostgreSQLKeepsTheContractForManyAtOnce(t *testing.T) {
	t.Parallel()
	metastoretest.RunTogether(t, func(t *testing.T) func(t *testing.T) metastore.Store {
		url := recycled(t)
		return func(t *testing.T) metastore.Store { return openAt(t, url) }
	})
}

// TestAStatementIsWrittenAsPostgreSQLTakesIt also holds that nothing in quotes or in a
// comment is touched.
func TestAStatementIsWrittenAsPostgreSQLTakesIt(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{
		{`SELECT 1`, `SELECT 1`},
		{`a = ? AND b = ?`, `a = $1 AND b = $2`},
		{`a = ?2 AND b = ? AND c = ?1`, `a = $2 AND b = $3 AND c = $1`},
		{`'?' || "?1" || ? -- ?
			/* ? */ ?`, `'?' || "?1" || $1 -- ?
			/* ? */ $2`},
		{`'it''s ?' = ?`, `'it''s ?' = $1`},
		{`'not closed ?`, `'not closed ?`},
		{`'`, `'`},
		{`/* ?`, `/* ?`},
		{`x IN (SELECT value FROM json_each(?))`, `x IN (SELECT value FROM (SELECT ordinality - 1 AS key, value FROM unnest(CAST($1 AS text[])) WITH ORDINALITY AS u (value, ordinality)) AS listed)`},
		{`FROM json_each(?2) j CROSS JOIN runs r ON r.run_id = j.value`, `FROM (SELECT ordinality - 1 AS key, value FROM unnest(CAST($2 AS text[])) WITH ORDINALITY AS u (value, ordinality)) j JOIN runs r ON r.run_id = j.value`},
		{`(SELECT group_concat(value, ' ' ORDER BY key) FROM json_each(p.argv))`, `(SELECT string_agg(value, ' ' ORDER BY key) FROM (SELECT ordinality - 1 AS key, value COLLATE "C" AS value
			FROM json_array_elements_text(CASE json_typeof(CAST(p.argv AS json)) WHEN 'array' THEN CAST(p.argv AS json) END) WITH ORDINALITY AS u (value, ordinality)) AS listed)`},
		{`FROM runs NOT INDEXED WHERE +r.status = ?`, `FROM runs WHERE r.status = $1`},
		{`FROM runs r INDEXED BY runs_kind WHERE a + b = a+1`, `FROM runs r WHERE a + b = a+1`},
		{`SELECT user, p.user, "user", user_us FROM run_process p`, `SELECT "user", p.user, "user", user_us FROM run_process p`},
		{`x NOT IN (1, 2.5e3)`, `x NOT IN (1, 2.5e3)`},
		{`x GLOB ? AND y.GLOB = 'GLOB'`, `x LIKE $1 AND y.GLOB = 'GLOB'`},
		{`이름 = ?`, `이름 = $1`},
	} {
		if got := translate(tt[0]); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(tt[1]), " ") {
			t.Errorf("%s\n got %s\nwant %s", tt[0], got, tt[1])
		}
	}
}

func FuzzAStatementIsWritten(f *testing.F) {
	for _, s := range []string{`a = ?`, `'?`, `json_each(?1) j`, `CROSS JOIN`, `INDEXED BY`, `NOT INDEXED`, `+a`, `--`, `/*`, `?99999999999999999999`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		made := translate(text)
		if !strings.ContainsAny(text, "?+IuUCG") && made != text && !strings.Contains(text, "user") {
			t.Errorf("%q became %q", text, made)
		}
	})
}
