package sandbox

import (
	"database/sql/driver"
	"errors"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/output/rows"
)

// recursiveAction is SQLite's SQLITE_RECURSIVE, which the driver does not name.
const recursiveAction = 33

// metaFunctions are the SQLite functions that a query may call. Absent are
// those that load code, register tokenizers, read an index's inside, write a
// log, or tell about the connection's writes.
const metaFunctions = " -> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws cos cosh" +
	" count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor format" +
	" glob group_concat hex if ifnull iif instr json json_array json_array_insert json_array_length json_error_position json_extract" +
	" json_group_array json_group_object json_insert json_object json_patch json_pretty json_quote json_remove json_replace" +
	" json_set json_type json_valid jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object" +
	" jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set julianday lag last_value lead length like" +
	" likelihood likely ln log log10 log2 lower ltrim max median min mod nth_value ntile nullif octet_length percent_rank" +
	" percentile percentile_cont percentile_disc pi pow power printf quote radians random randomblob rank replace round" +
	" row_number rtrim sign sin sinh sqlite_source_id sqlite_version sqrt strftime string_agg substr substring subtype sum tan" +
	" tanh time timediff total trim trunc typeof unhex unicode unistr unistr_quote unixepoch unlikely upper zeroblob "

// metaPragmas may be asked through their table functions (pragma_table_info and
// so on); they only describe the schema.
const metaPragmas = " table_info table_xinfo table_list index_list index_info index_xinfo foreign_key_list "

// authorize is SQLite's question before each action of a statement that is
// being compiled.
func authorize(action int, arg1, arg2, _ string) int {
	switch action {
	case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, recursiveAction:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_FUNCTION:
		if strings.Contains(metaFunctions, " "+strings.ToLower(arg2)+" ") {
			return sqlite3.SQLITE_OK
		}
	case sqlite3.SQLITE_PRAGMA:
		if strings.Contains(metaPragmas, " "+strings.ToLower(arg1)+" ") {
			return sqlite3.SQLITE_OK
		}
	}
	return sqlite3.SQLITE_DENY
}

// vetSQLite makes sure that a text is one statement whose first word reads.
func vetSQLite(sql string) error {
	n, err := countStatements(sql)
	switch {
	case err != nil:
		return err
	case n == 0:
		return errEmpty()
	case n > 1:
		return quant.Errorf(quant.Refused, "there are %d statements, one is allowed", n).WithHint("run them one by one")
	}
	for _, word := range []string{"select", "with", "values", "explain"} {
		if _, ok := cutWord(skipBlank(sql), word); ok {
			return nil
		}
	}
	return quant.Errorf(quant.Refused, "the statement is not one that only reads").
		WithHint("write one SELECT, WITH, VALUES or EXPLAIN QUERY PLAN")
}

func openSQLite(t task, immutable bool) (*sqlite3.SQLiteConn, error) {
	q := url.Values{"mode": {"ro"}, "_query_only": {"1"}, "_busy_timeout": {strconv.FormatInt(t.Wait.Milliseconds(), 10)}}
	if immutable {
		q.Set("immutable", "1")
	}
	conn, err := (&sqlite3.SQLiteDriver{}).Open("file:" + (&url.URL{Path: t.Path}).EscapedPath() + "?" + q.Encode())
	if err != nil {
		return nil, err
	}
	c := conn.(*sqlite3.SQLiteConn)
	for _, p := range []string{
		"PRAGMA temp_store = MEMORY", "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON", "PRAGMA mmap_size = 0",
		"PRAGMA hard_heap_limit = " + strconv.FormatInt(t.MemoryLimit, 10),
		"SELECT count(*) FROM sqlite_schema",
	} {
		if err := drain(c, p); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	for id, max := range map[int]int{
		sqlite3.SQLITE_LIMIT_LENGTH: 256 << 20, sqlite3.SQLITE_LIMIT_SQL_LENGTH: maxSQLBytes + 64,
		sqlite3.SQLITE_LIMIT_ATTACHED: 0, sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 500, sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 200,
		sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000, sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1, sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
	} {
		c.SetLimit(id, max)
	}
	c.RegisterAuthorizer(authorize)
	return c, nil
}

func drain(c *sqlite3.SQLiteConn, sql string) error {
	rows, err := c.Query(sql, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	dest := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(dest); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// runSQLite runs the query on the Meta DB. In a folder that cannot be written,
// where SQLite can make no index of the log, the file is read as it stands if
// it has no log beside it.
func runSQLite(t task, r *report, w *rowWriter) error {
	if err := vetSQLite(t.SQL); err != nil {
		return err
	}
	c, err := openSQLite(t, false)
	if err != nil && isCode(err, sqlite3.ErrCantOpen, sqlite3.ErrReadonly) {
		if log, serr := os.Stat(t.Path + "-wal"); errors.Is(serr, os.ErrNotExist) || serr == nil && log.Size() == 0 {
			c, err = openSQLite(t, true)
		}
	}
	switch {
	case err != nil && isCode(err, sqlite3.ErrBusy, sqlite3.ErrLocked):
		return quant.Errorf(quant.Locked, "the Meta DB is held by another process: %w", err).WithHint("wait for it to end, or wait longer with --wait")
	case err != nil:
		return quant.Errorf(quant.Store, "open the Meta DB: %w", err).WithHint("`quant doctor` examines it")
	}
	r.send(event{Kind: "opened"})
	stmt, err := c.Prepare(t.SQL)
	if err != nil {
		return errSQLite(err, t.MemoryLimit)
	}
	if stmt.NumInput() > 0 {
		return quant.Errorf(quant.Refused, "the query has a parameter, and nothing to fill it with").WithHint("write the value itself")
	}
	found, err := stmt.Query(nil) //nolint:staticcheck // the deadline is kept by killing the process
	if err != nil {
		return errSQLite(err, t.MemoryLimit)
	}
	return untyped(w, found.Columns(), found.Next, func(err error) error { return errSQLite(err, t.MemoryLimit) })
}

// untyped writes rows whose columns have no types of Arrow: next fills in one after the
// other, until io.EOF; failed explains any other error of it.
func untyped(w *rowWriter, names []string, next func(dest []driver.Value) error, failed func(error) error) error {
	dest := make([]driver.Value, len(names))
	var err error
	if w.typed {
		held := &heldRows{names: names, types: make([]string, len(names))}
		for err = next(dest); err == nil; err = next(dest) {
			held.add(dest)
			if w.limit > 0 && int64(len(held.rows)) > w.limit {
				err = io.EOF
				break
			}
		}
		if !errors.Is(err, io.EOF) {
			return failed(err)
		}
		return held.write(w)
	}
	cells := make([]rows.Cell, len(names))
	cols := make([]rows.Column, len(names))
	// The first row tells whether a column holds numbers.
	err = next(dest)
	for i, name := range names {
		cols[i].Name = name
		switch dest[i].(type) {
		case int64, float64:
			cols[i].Right = true
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		if berr := w.begin(cols); berr != nil {
			return berr
		}
	}
	for ; err == nil; err = next(dest) {
		for i, v := range dest {
			cells[i] = sqliteCell(cells[i].Text[:0], v)
		}
		if werr := w.row(cells); werr != nil {
			return werr
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return failed(err)
}

func sqliteCell(b []byte, v driver.Value) rows.Cell {
	switch v := v.(type) {
	case nil:
		return rows.Cell{Kind: rows.Null, Text: b}
	case int64:
		return rows.Cell{Kind: rows.Number, Text: strconv.AppendInt(b, v, 10)}
	case float64:
		b, k := appendFloat(b, v, 64)
		return rows.Cell{Kind: k, Text: b}
	case bool:
		return rows.Cell{Kind: rows.Bool, Text: strconv.AppendBool(b, v)}
	case string:
		return rows.Cell{Kind: rows.Text, Text: append(b, v...)}
	case []byte:
		return rows.Cell{Kind: rows.Text, Text: appendHex(b, v)}
	case time.Time:
		return rows.Cell{Kind: rows.Text, Text: appendGoTime(b, v)}
	}
	return rows.Cell{Kind: rows.Null, Text: b}
}

func isCode(err error, codes ...sqlite3.ErrNo) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	for _, c := range codes {
		if ok && e.Code == c {
			return true
		}
	}
	return false
}

func errSQLite(err error, memory int64) error {
	msg := string(rows.AppendClean(nil, []byte(err.Error())))
	switch {
	case isCode(err, sqlite3.ErrNomem, sqlite3.ErrTooBig):
		return errMemory(memory)
	case isCode(err, sqlite3.ErrAuth) || strings.Contains(msg, "not authorized") || strings.Contains(msg, "prohibited"):
		return quant.Errorf(quant.Refused, "query: %s", msg).
			WithHint("a query reads the lab's own tables only; it writes nothing, attaches nothing and loads nothing")
	case isCode(err, sqlite3.ErrReadonly):
		return quant.Errorf(quant.Refused, "query: %s", msg).WithHint("a query writes nothing")
	case isCode(err, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrIoErr):
		return quant.Errorf(quant.Store, "read the Meta DB: %s", msg).WithHint("`quant doctor` examines it")
	case isCode(err, sqlite3.ErrError):
		return quant.Errorf(quant.Usage, "query: %s", msg).WithHint(`"SELECT name, sql FROM sqlite_schema" shows what there is`)
	}
	return quant.Errorf(quant.Failed, "query: %s", msg)
}

// countStatements counts what stands between semicolons in SQLite's language,
// blanks and comments not counted. A text or comment that does not end is a
// Usage error; so is nothing else: grammar is SQLite's.
func countStatements(sql string) (int, error) {
	n, open := 0, false
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
			i++
			continue
		case strings.HasPrefix(sql[i:], "--"):
			end := strings.IndexByte(sql[i:], '\n')
			if end < 0 {
				return n, nil
			}
			i += end + 1
			continue
		case strings.HasPrefix(sql[i:], "/*"):
			end := strings.Index(sql[i+2:], "*/")
			if end < 0 {
				return n, nil // SQLite lets a comment end with the text
			}
			i += end + 4
			continue
		case c == ';':
			open = false
			i++
			continue
		}
		if !open {
			n, open = n+1, true
		}
		if closing := strings.IndexByte("'\"`[", c); closing >= 0 {
			end := strings.IndexByte(sql[i+1:], "'\"`]"[closing])
			if end < 0 {
				return n, quant.Errorf(quant.Usage, "query: the text that begins with %c at byte %d does not end", c, i+1).WithHint("close it, and double a quote that belongs to it")
			}
			i += end + 2 // a doubled quote just opens the next one
			continue
		}
		i++
	}
	return n, nil
}
