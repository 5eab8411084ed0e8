package sandbox

import (
	"context"
	"io"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go-bindings"

	"quant"
	"quant/internal/sqltext"
)

// parquetFile is the Request.Store of a Parquet file, all of which is read.
const parquetFile = "parquet"

// The limits of a look into a Parquet file.
const (
	parquetTimeout = 10 * time.Second
	parquetMemory  = 512 << 20
)

// ReadParquet writes the first rows of a Parquet file to out as CSV, with its texts as
// they are. Like a query's text the file may be anybody's: it is read by a process of
// its own, which can open no other one. Errors: as of Run; Failed for what is no
// Parquet file.
func ReadParquet(ctx context.Context, path string, most int64, out io.Writer) (Result, error) {
	return Run(ctx, Request{
		Store: parquetFile, Path: path, SQL: "FROM " + parquetFile, Format: CSV, Exact: true,
		Limit: most, Timeout: parquetTimeout, MemoryLimit: parquetMemory,
	}, out)
}

// runParquet reads the file of a task.
func runParquet(t task, r *report, w *rowWriter) error {
	c, msg := openDuckWith(fileSettings(t.MemoryLimit*8/10), "")
	if c == nil {
		return quant.Errorf(quant.Failed, "open a Parquet file: %s", msg)
	}
	file := sqltext.Literal(t.Path)
	for _, statement := range []string{
		"SET allowed_paths = [" + file + "]", "SET enable_external_access = false", "SET lock_configuration = true",
	} {
		if msg := c.do(statement); msg != "" {
			return quant.Errorf(quant.Failed, "open a Parquet file: %s", msg)
		}
	}
	r.send(event{Kind: "opened"})
	var stmt duck.PreparedStatement
	if duck.Prepare(c.conn, "SELECT * FROM read_parquet("+file+", hive_partitioning = false, file_row_number = false)", &stmt) == duck.StateError {
		return quant.Errorf(quant.Failed, "this is no Parquet file that can be read: %s", quant.FirstLine(strings.ReplaceAll(duck.PrepareError(stmt), t.Path, "the file")))
	}
	// Nothing is closed: the process ends.
	return c.stream(stmt, w.begin, w.row, t.MemoryLimit)
}

// fileSettings are connectionSettings before a file has been allowed.
func fileSettings(memory int64) (settings [][2]string) {
	for _, s := range connectionSettings(memory, false) {
		if s[0] != "enable_external_access" && s[0] != "lock_configuration" {
			settings = append(settings, s)
		}
	}
	return settings
}

// do executes a statement of ours; "" or DuckDB's text.
func (c *duckConn) do(statement string) string {
	var result duck.Result
	defer duck.DestroyResult(&result)
	if duck.Query(c.conn, statement, &result) == duck.StateError {
		return duck.ResultError(&result)
	}
	return ""
}
