package sandbox

import (
	"strings"
	"testing"
)

func TestTheColumnsThatDuckDBKeepsForItselfAreQuotedAndNothingElse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"SELECT asof FROM targets":                         `SELECT "asof" FROM targets`,
		"SELECT max(asof), t.ASOF FROM targets t":          `SELECT max("asof"), t."ASOF" FROM targets t`,
		"SELECT 1 x FROM a ASOF JOIN b USING (asof)":       `SELECT 1 x FROM a ASOF JOIN b USING ("asof")`,
		"FROM a asof /* c */ left join b ON asof > 1":      `FROM a asof /* c */ left join b ON "asof" > 1`,
		"SELECT basis_asof, asof_day, \"asof\" FROM x":     "SELECT basis_asof, asof_day, \"asof\" FROM x",
		"SELECT 'asof', 'it''s asof' -- asof\n, asof":      "SELECT 'asof', 'it''s asof' -- asof\n, \"asof\"",
		`SELECT E'\' asof ', $$ asof $$, $a$ asof $a$, $1`: `SELECT E'\' asof ', $$ asof $$, $a$ asof $a$, $1`,
		"SELECT asof":     `SELECT "asof"`,
		"SELECT 'asof":    "SELECT 'asof",
		"SELECT /* asof":  "SELECT /* asof",
		"SELECT $x$ asof": "SELECT $x$ asof",
		"SELECT 시점 asof":  `SELECT 시점 "asof"`,
		"":                "",
	} {
		if got := quoteColumns(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzQuotingColumnsTouchesNothingElse(f *testing.F) {
	for _, s := range []string{"SELECT asof FROM t", "'asof' \"asof\" $$asof$$ --asof", "E'\\", "$a$", "/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := quoteColumns(s); strings.ReplaceAll(got, `"`, "") != strings.ReplaceAll(s, `"`, "") {
			t.Errorf("%q became %q", s, got)
		}
	})
}
