package postgres

import (
	"context"
	"strings"
	"testing"

	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/postgrestest"
)

// prepared is the URL of a prepared database of its own.
func prepared(t testing.TB) string {
	t.Helper()
	return postgrestest.Shared(t).Prepared(t, func(ctx context.Context, url string) error {
		db, err := Open(ctx, Options{URL: url, Create: true})
		if err != nil {
			return err
		}
		return db.Close()
	})
}

func openAt(t testing.TB, url string) *DB {
	t.Helper()
	db, err := Open(context.Background(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestPostgreSQLKeepsTheContract(t *testing.T) {
	t.Parallel()
	metastoretest.Run(t, func(t *testing.T) metastore.Store { return openAt(t, prepared(t)) })
}

func TestPostgreSQLKeepsTheContractForManyAtOnce(t *testing.T) {
	t.Parallel()
	metastoretest.RunTogether(t, func(t *testing.T) func(t *testing.T) metastore.Store {
		url := prepared(t)
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
		{`json_each(p.argv)`, `json_each(p.argv)`},
		{`FROM runs NOT INDEXED WHERE +r.status = ?`, `FROM runs WHERE r.status = $1`},
		{`FROM runs r INDEXED BY runs_kind WHERE a + b = a+1`, `FROM runs r WHERE a + b = a+1`},
		{`SELECT user, p.user, "user", user_us FROM run_process p`, `SELECT "user", p.user, "user", user_us FROM run_process p`},
		{`x NOT IN (1, 2.5e3)`, `x NOT IN (1, 2.5e3)`},
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
		if !strings.ContainsAny(text, "?+IuUC") && made != text && !strings.Contains(text, "user") {
			t.Errorf("%q became %q", text, made)
		}
	})
}
