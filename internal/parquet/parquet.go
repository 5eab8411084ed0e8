// Package parquet writes a table of typed columns to a Parquet file, through
// DuckDB in memory. It owns that the file is there whole or not at all; it
// knows nothing of what the columns hold.
package parquet

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"quant"
	"quant/internal/durable"
	"quant/internal/sqltext"
)

// Type is the type of a column, in DuckDB's words.
type Type string

// The types of columns, with the Go type of their values; nil is NULL.
const (
	Text      Type = "VARCHAR"   // string
	Double    Type = "DOUBLE"    // float64
	BigInt    Type = "BIGINT"    // int64
	Boolean   Type = "BOOLEAN"   // bool
	Date      Type = "DATE"      // time.Time at midnight UTC
	Timestamp Type = "TIMESTAMP" // time.Time, UTC, microseconds
)

// Column is one column.
type Column struct {
	Name string
	Type Type
}

// Write writes a file. fill calls row once for each, with the columns' values in
// their order; an error of fill is returned as it is. Of names that differ in
// case alone the later ones get a number. A file that exists is a Conflict,
// unless replace. What cannot be written is Failed; then nothing was.
func Write(ctx context.Context, path string, columns []Column, replace bool, fill func(row func(values []any) error) error) (err error) {
	failed := func(err error) error {
		return quant.Errorf(quant.Failed, "write %s: %w", path, err).WithHint("check that its folder exists, has room and may be written to")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return failed(err)
	}
	exists := quant.Errorf(quant.Conflict, "%s exists", path).WithHint("name another file, or replace it with --force")
	switch info, err := os.Lstat(abs); {
	case err == nil && (!replace || info.IsDir()):
		return exists
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return failed(err)
	}
	part, err := durable.Begin(abs, 0o600)
	if err != nil {
		return failed(err)
	}
	defer part.Discard()

	engine, err := duckdb.NewConnector("?autoinstall_known_extensions=false&autoload_known_extensions=false&allow_community_extensions=false&threads=1", nil)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = engine.Close() }()
	conn, err := engine.Connect(ctx)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = conn.Close() }()
	run := func(text string) error {
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, text, nil)
		return err
	}
	var made, named []string
	taken := map[string]bool{}
	for i, c := range columns {
		name := c.Name
		for n := 2; taken[strings.ToLower(name)]; n++ {
			name = fmt.Sprintf("%s_%d", c.Name, n)
		}
		taken[strings.ToLower(name)] = true
		made = append(made, fmt.Sprintf("c%d %s", i, c.Type))
		named = append(named, fmt.Sprintf("c%d AS %s", i, sqltext.Identifier(name)))
	}
	if err := run("CREATE TEMP TABLE rows (" + strings.Join(made, ", ") + ")"); err != nil {
		return failed(err)
	}
	rows, err := duckdb.NewAppender(conn, "temp", "main", "rows")
	if err != nil {
		return failed(err)
	}
	values := make([]driver.Value, len(columns))
	n := 0
	err = fill(func(cells []any) error {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range values {
			values[i] = cells[i]
		}
		return rows.AppendRow(values...)
	})
	if err != nil {
		_ = rows.Close()
		return err
	}
	if err := rows.CloseWithCancel(ctx); err != nil {
		return failed(err)
	}
	text := "COPY (SELECT " + strings.Join(named, ", ") + " FROM rows) TO " + sqltext.Literal(part.Name()) + " (FORMAT parquet, USE_TMP_FILE false)"
	if err := run(text); err != nil {
		return failed(err)
	}
	publish := part.Create
	if replace {
		publish = part.Replace
	}
	err = publish()
	if errors.Is(err, durable.ErrExists) {
		return exists
	}
	if err != nil {
		return failed(err)
	}
	return nil
}
