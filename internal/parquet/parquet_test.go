package parquet_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/parquet"

	_ "github.com/duckdb/duckdb-go/v2"
)

func TestAFileHasItsColumnsWithTheirTypes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, `it's "so" *[x]?.parquet`)
	at := time.Date(2026, 1, 15, 9, 30, 0, 123456000, time.UTC)
	columns := []parquet.Column{{"params.`a\"b`", parquet.Text}, {"x", parquet.Double}, {"X", parquet.BigInt}, {"b", parquet.Boolean}, {"t", parquet.Timestamp}}
	fill := func(row func([]any) error) error {
		return errors.Join(row([]any{"=1", 1.5, int64(7), true, at}), row([]any{nil, nil, nil, nil, nil}))
	}
	if err := parquet.Write(context.Background(), path, columns, false, fill); err != nil {
		t.Fatal(err)
	}
	if err := parquet.Write(context.Background(), path, columns, false, fill); !errors.Is(err, quant.Conflict) {
		t.Errorf("over an existing file: %v", err)
	}
	broken := errors.New("broken")
	if err := parquet.Write(context.Background(), path, columns, true, func(func([]any) error) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("an error of fill: %v", err)
	}
	if err := parquet.Write(context.Background(), path, columns, true, fill); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("in the folder stand %v (%v)", left, err)
	}
	plain := filepath.Join(dir, "plain.parquet")
	if err := os.Rename(path, plain); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT column_name, column_type FROM (DESCRIBE FROM '` + plain + `')`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			t.Fatal(err)
		}
		got = append(got, name+" "+typ)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if want := "params.`a\"b` VARCHAR, x DOUBLE, X_2 BIGINT, b BOOLEAN, t TIMESTAMP"; strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	var text string
	var x float64
	var n int64
	var back time.Time
	if err := db.QueryRow(`SELECT "params.`+"`a\"\"b`"+`", x, X_2, t FROM '`+plain+`' WHERE b`).Scan(&text, &x, &n, &back); err != nil || text != "=1" || x != 1.5 || n != 7 || !back.Equal(at) {
		t.Errorf("%q %v %d %s %v", text, x, n, back, err)
	}
}
