package sqltext_test

import (
	"database/sql"
	"testing"

	"quant/internal/sqltext"

	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/mattn/go-sqlite3"
)

func TestWhateverATextHoldsItIsOneNameAndOneLiteralInBothDatabases(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"duckdb", "sqlite3"} {
		db, err := sql.Open(driver, map[string]string{"duckdb": "", "sqlite3": ":memory:"}[driver])
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, text := range []string{"plain", `it's`, `a "quoted" name`, `'); DROP TABLE x; --`, `\'`, `\"`, "가격", "", "a\nb", "?", "%s"} {
			var got string
			if err := db.QueryRow("SELECT " + sqltext.Literal(text)).Scan(&got); err != nil || got != text {
				t.Errorf("%s: the literal of %q reads %q, %v", driver, text, got, err)
			}
			if text == "" {
				continue // no name
			}
			if err := db.QueryRow("SELECT " + sqltext.Identifier(text) + " FROM (SELECT 'x' AS " + sqltext.Identifier(text) + ")").Scan(&got); err != nil || got != "x" {
				t.Errorf("%s: the column %q reads %q, %v", driver, text, got, err)
			}
		}
		var n int
		list := []string{"a", "b'c", "d"}
		if err := db.QueryRow("SELECT CAST('b''c' IN (" + sqltext.Literals(list) + ") AS INTEGER)").Scan(&n); err != nil || n != 1 {
			t.Errorf("%s: not in the list: %d, %v", driver, n, err)
		}
	}
	if got := sqltext.Literals(nil); got != "" {
		t.Errorf("no texts give %q", got)
	}
}
