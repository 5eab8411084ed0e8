package factstore_test

import (
	"database/sql/driver"
	"path/filepath"
	"testing"

	"quant"
)

func TestADigestIsOfTheRowsAndNotOfTheirOrder(t *testing.T) {
	t.Parallel()
	db := openWrite(t, filepath.Join(t.TempDir(), "quant.duckdb"))
	digest := func(query string) string {
		_, d, err := db.Digest(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a := digest("SELECT range AS x, 'a' AS y FROM range(1000)")
	if b := digest("SELECT range AS x, 'a' AS y FROM range(1000) ORDER BY 1 DESC"); a != b {
		t.Errorf("the order changes the digest: %s, %s", a, b)
	}
	for _, other := range []string{
		"SELECT range AS x, 'a' AS y FROM range(999)", "SELECT range AS x, 'b' AS y FROM range(1000)", "SELECT 'a' AS y, range AS x FROM range(1000)",
		"SELECT nullif(range, 7) AS x, 'a' AS y FROM range(1000)", "SELECT least(range, 998) AS x, 'a' AS y FROM range(1000)",
	} {
		if digest(other) == a {
			t.Errorf("%s has the same digest", other)
		}
	}
}

func TestRowsThatGoComputedAreAppendedToATempTable(t *testing.T) {
	t.Parallel()
	db := openWrite(t, filepath.Join(t.TempDir(), "quant.duckdb"))
	if _, err := db.Stage(t.Context(), "CREATE TEMP TABLE x (symbol TEXT, ts DATE, v DOUBLE)"); err != nil {
		t.Fatal(err)
	}
	d, _ := quant.ParseDate("2024-02-29")
	if err := db.Append(t.Context(), "x", func(row func(...driver.Value) error) error {
		if err := row("A", d, 0.1); err != nil {
			return err
		}
		return row("B", d+1, nil)
	}); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := db.QueryRow(t.Context(), "SELECT string_agg(concat_ws(' ', symbol, ts, v), ';' ORDER BY symbol) FROM temp.main.x").Scan(&got); err != nil || got != "A 2024-02-29 0.1;B 2024-03-01" {
		t.Errorf("%q %v", got, err)
	}
}
