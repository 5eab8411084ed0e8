package sandbox

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/mattn/go-sqlite3"
)

func names(t *testing.T, driver, q string) []string {
	t.Helper()
	db, err := sql.Open(driver, "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(q)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if rows.Err() != nil || len(list) == 0 {
		t.Fatalf("%d names, %v", len(list), rows.Err())
	}
	return list
}

func TestEveryFunctionOfTheLinkedDuckDBIsClassified(t *testing.T) {
	t.Parallel()
	p := parsePermits(functionList)
	for line := range strings.Lines(functionList) {
		if f := strings.Fields(line); f[0] != "#" && (len(f) != 3 || f[0] != "allow" && f[0] != "deny") {
			t.Errorf("functions.txt: %q", line)
		}
	}
	for _, n := range names(t, "duckdb", `SELECT DISTINCT CASE WHEN function_type IN ('table', 'table_macro') THEN 'table ' ELSE 'expr ' END || function_name
		FROM duckdb_functions() WHERE function_type <> 'pragma'
		UNION SELECT 'view ' || CASE schema_name WHEN 'main' THEN '' ELSE schema_name || '.' END || view_name FROM duckdb_views() WHERE internal`) {
		if _, known := p[n]; !known {
			t.Errorf("%s is not classified: review it and add it to functions.txt", n)
		}
	}
}

func TestEveryFunctionOfTheLinkedSQLiteIsClassified(t *testing.T) {
	t.Parallel()
	const denied = " auth_enabled auth_user_add auth_user_change auth_user_delete authenticate changes fts3_tokenizer" +
		" last_insert_rowid load_extension match matchinfo offsets optimize rtreecheck rtreedepth rtreenode snippet" +
		" sqlite_compileoption_get sqlite_compileoption_used sqlite_log total_changes "
	for _, n := range names(t, "sqlite3", "SELECT DISTINCT name FROM pragma_function_list") {
		allowed := strings.Contains(metaFunctions, " "+n+" ")
		if allowed == strings.Contains(denied, " "+n+" ") {
			t.Errorf("%s is not classified once: review it", n)
		}
	}
}

// FuzzCountStatements holds the splitter against SQLite itself: whatever is
// counted as one statement has nothing left to run after its first.
func FuzzCountStatements(f *testing.F) {
	for _, s := range []string{"", ";", "select 1", "select 1;", "select ';'; select 2", "select \"a;\"\"b\" -- ;\n;", "select [a;] /* ; */", "select 'a''", "/* x", "--", "select `;`;;", "select 1 -- \r; delete from t", "select 1;\x0bselect 2", "\ufeffselect 1; select 2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.IndexByte(s, 0) >= 0 {
			return
		}
		n, err := countStatements(s)
		if err == nil && n == 1 && strings.Count(s, ";") == 0 {
			return
		}
		if n2, err2 := countStatements(s + "\n;select 1"); err == nil && err2 == nil && n2 < n {
			t.Errorf("%q: %d statements, %d with one more", s, n, n2)
		}
		db, derr := sql.Open("sqlite3", ":memory:")
		if derr != nil {
			t.Fatal(derr)
		}
		defer db.Close()
		db.SetMaxOpenConns(1)
		if _, derr = db.Exec("CREATE TABLE canary(x)"); derr != nil {
			t.Fatal(derr)
		}
		// Appended after the text, a DELETE must be seen as a second statement
		// whenever SQLite would run it.
		both := s + "; INSERT INTO canary VALUES (1)"
		m, merr := countStatements(both)
		_, _ = db.ExecContext(context.Background(), both)
		var ran int
		if derr = db.QueryRow("SELECT count(*) FROM canary").Scan(&ran); derr == nil && ran > 0 && merr == nil && n > 0 && m <= 1 {
			t.Errorf("%q counts %d, and SQLite ran two", both, m)
		}
	})
}

func FuzzVetTreeNeverPanics(f *testing.F) {
	for _, s := range []string{`{}`, `{"error":true}`, `{"statements":[{"node":{"type":"SELECT_NODE"}}]}`, `{"statements":[[{"class":"FUNCTION","function_name":"abs"}]]}`, `{"statements":[{"type":"TABLE_FUNCTION","function":3}]}`} {
		f.Add([]byte(s))
	}
	p := parsePermits(functionList)
	f.Fuzz(func(t *testing.T, tree []byte) { _ = vetTree(tree, p) })
}

func TestDatesAreRightForEveryCalendarEdge(t *testing.T) {
	t.Parallel()
	for days, want := range map[int32]string{0: "1970-01-01", -1: "1969-12-31", 11016: "2000-02-29", 19782: "2024-02-29", -719528: "0000-01-01", -719529: "-0001-12-31", 2932896: "9999-12-31", 2932897: "+10000-01-01"} {
		if got := string(appendDate(nil, days)); got != want {
			t.Errorf("%d: %s, want %s", days, got, want)
		}
	}
}
