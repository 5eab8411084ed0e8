// Package sqlitefile reads the tables of a SQLite file that another program made
// and that is not trusted: by name, without a statement from outside, and never
// writing. What the tables mean is the caller's.
package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"quant"
)

// magic is how every SQLite file begins.
const magic = "SQLite format 3\x00"

// Is tells whether the file at path begins as a SQLite file does. A path that is
// no regular file, or that cannot be read, does not.
func Is(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe in its place would wait for a writer
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	head := make([]byte, len(magic))
	n, _ := f.ReadAt(head, 0)
	return string(head[:n]) == magic
}

// File is one such file, open for reading. Its methods are called from one
// goroutine at a time.
type File struct {
	path   string
	db     *sql.DB
	conn   *sql.Conn
	tables map[string][]string // the columns of each ordinary table
	rowids map[string]bool     // tables whose rows are numbered as they come
}

// maxValue is the longest text that is read, in bytes; a longer one is an error of
// its row.
const maxValue = 64 << 20

// Open opens the file at path. Its writers may go on: what one read finds is one
// state, and none is kept waiting longer than that takes. Errors: NotFound; Invalid
// for what is no SQLite file or is damaged; Locked where a writer does not let go.
func Open(ctx context.Context, path string) (*File, error) {
	if !Is(path) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, quant.Errorf(quant.NotFound, "there is no file %s", path)
		}
		return nil, quant.Errorf(quant.Invalid, "%s is no SQLite file", path)
	}
	whole, err := filepath.Abs(path)
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "open %s: %w", path, err)
	}
	dsn := "file:" + (&url.URL{Path: whole}).EscapedPath() + "?mode=ro&_query_only=1&_busy_timeout=5000"
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "open %s: %w", path, err)
	}
	f := &File{path: path, db: db, tables: map[string][]string{}, rowids: map[string]bool{}}
	if f.conn, err = db.Conn(ctx); err == nil {
		err = f.prepare(ctx)
	}
	if err != nil {
		_ = f.Close()
		return nil, f.failed("open", err)
	}
	return f, nil
}

// Close ends the use of the file.
func (f *File) Close() error {
	if f.conn != nil {
		_ = f.conn.Close()
	}
	return f.db.Close()
}

// prepare makes the connection distrust the file, and looks at its schema. Views and
// virtual tables are left out: they are statements of whoever made the file.
func (f *File) prepare(ctx context.Context) error {
	for _, pragma := range []string{"trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "cache_size = -8192"} {
		if _, err := f.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	err := f.conn.Raw(func(raw any) error {
		if c, ok := raw.(*sqlite3.SQLiteConn); ok {
			c.SetLimit(sqlite3.SQLITE_LIMIT_LENGTH, maxValue)
			c.SetLimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
		}
		return nil
	})
	if err != nil {
		return err
	}
	rows, err := f.conn.QueryContext(ctx, `SELECT t.name, c.name, t.wr = 0 FROM pragma_table_list t, pragma_table_xinfo(t.name) c
		WHERE t.schema = 'main' AND t.type = 'table' AND c.hidden = 0 ORDER BY t.name, c.cid`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var table, column string
		var numbered bool
		if err := rows.Scan(&table, &column, &numbered); err != nil {
			return err
		}
		f.rowids[table] = numbered
		f.tables[table] = append(f.tables[table], column)
	}
	return rows.Err()
}

// Has tells whether the file has an ordinary table with these columns.
func (f *File) Has(table string, columns ...string) bool {
	have, found := f.tables[table]
	if !found {
		return false
	}
	for _, c := range columns {
		if !slices.Contains(have, c) {
			return false
		}
	}
	return true
}

// Count is the number of rows of a table; 0 where there is none.
func (f *File) Count(ctx context.Context, table string) (int64, error) {
	if !f.Has(table) {
		return 0, nil
	}
	var n int64
	if err := f.conn.QueryRowContext(ctx, `SELECT count(*) FROM `+quoted(table)).Scan(&n); err != nil {
		return 0, f.failed("count "+table+" of", err)
	}
	return n, nil
}

// Together runs fn, whose reads all find one state of the file. Its writers may have
// to wait that long.
func (f *File) Together(ctx context.Context, fn func() error) error {
	if _, err := f.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return f.failed("read", err)
	}
	err := fn()
	if _, e := f.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); err == nil && e != nil {
		err = f.failed("read", e)
	}
	return err
}

// Query says which rows of a table are read.
type Query struct {
	Table   string
	Columns []string // those that the table does not have are NULL
	Where   []Equal  // all of them; one whose column the table does not have holds of every row
	// Order names columns. Without it, rows come as they were inserted.
	Order []string
}

// Equal is the condition that a column has a value: a string or an int64.
type Equal struct {
	Column string
	Value  any
}

// Each calls fn for every row of a query. A table that is not there has none. The row
// is fn's only until it returns; fn must not use the file. The first error of fn ends
// it and is returned.
func (f *File) Each(ctx context.Context, q Query, fn func(Row) error) error {
	if !f.Has(q.Table) {
		return nil
	}
	var list, where, order []string
	for _, c := range q.Columns {
		if f.Has(q.Table, c) {
			list = append(list, quoted(c))
		} else {
			list = append(list, "NULL")
		}
	}
	var args []any
	for _, e := range q.Where {
		if f.Has(q.Table, e.Column) {
			where, args = append(where, quoted(e.Column)+" = ?"), append(args, e.Value)
		}
	}
	for _, c := range q.Order {
		if f.Has(q.Table, c) {
			order = append(order, quoted(c))
		}
	}
	text := `SELECT ` + strings.Join(list, ", ") + ` FROM ` + quoted(q.Table)
	if len(where) > 0 {
		text += ` WHERE ` + strings.Join(where, " AND ")
	}
	switch {
	case len(order) > 0:
		text += ` ORDER BY ` + strings.Join(order, ", ")
	case f.rowids[q.Table]:
		text += ` ORDER BY rowid`
	}
	rows, err := f.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return f.failed("read "+q.Table+" of", err)
	}
	defer rows.Close()
	row := Row{columns: q.Columns, values: make([]any, len(q.Columns))}
	into := make([]any, len(q.Columns))
	for i := range into {
		into[i] = &row.values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return f.failed("read "+q.Table+" of", err)
		}
		if err := fn(row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return f.failed("read "+q.Table+" of", err)
	}
	return nil
}

// failed names the file in an error of the engine.
func (f *File) failed(what string, err error) error {
	var engine sqlite3.Error
	if errors.As(err, &engine) && (engine.Code == sqlite3.ErrBusy || engine.Code == sqlite3.ErrLocked) {
		return quant.Errorf(quant.Locked, "%s %s: %w", what, f.path, err).WithHint("another program writes it; try again, or import a copy of the file")
	}
	if engine.Code == sqlite3.ErrCantOpen || engine.Code == sqlite3.ErrReadonly {
		return quant.Errorf(quant.Failed, "%s %s: %w", what, f.path, err).
			WithHint("a file with a write-ahead log is read in a folder that you may write; import a copy of it")
	}
	return quant.Errorf(quant.Invalid, "%s %s: %w", what, f.path, err).WithHint("is it damaged? `sqlite3 FILE 'PRAGMA integrity_check'` tells")
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Row is one row of a table, whatever its columns hold.
type Row struct {
	columns []string
	values  []any
}

func (r Row) value(column string) any {
	if i := slices.Index(r.columns, column); i >= 0 {
		return r.values[i]
	}
	return nil
}

// Text is a value as text; "" for NULL, and for a text that is not UTF-8 with an
// error.
func (r Row) Text(column string) (string, error) {
	switch v := r.value(column).(type) {
	case nil:
		return "", nil
	case string:
		return checked(column, v)
	case []byte:
		return checked(column, string(v))
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case bool:
		return strconv.FormatBool(v), nil
	default:
		return "", fmt.Errorf("%s is neither text nor a number", column)
	}
}

func checked(column, s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%s is not UTF-8", column)
	}
	return s, nil
}

// Null tells whether there is no value.
func (r Row) Null(column string) bool { return r.value(column) == nil }

// Int is a value as a whole number; 0 for NULL.
func (r Row) Int(column string) (int64, error) {
	switch v := r.value(column).(type) {
	case nil:
		return 0, nil
	case int64:
		return v, nil
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	case float64:
		if n := int64(v); float64(n) == v {
			return n, nil
		}
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s is no whole number", column)
}

// Real is a value as a number; 0 for NULL.
func (r Row) Real(column string) (float64, error) {
	switch v := r.value(column).(type) {
	case nil:
		return 0, nil
	case float64:
		return v, nil
	case int64:
		return float64(v), nil
	}
	return 0, fmt.Errorf("%s is no number", column)
}
