package sandbox

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go-bindings"

	"quant"
	"quant/internal/output/rows"
	"quant/internal/sqltext"
)

// connectionSettings are the settings of every connection that sees a user's text.
// lock_configuration makes them final.
func connectionSettings(memory int64, readOnly bool) [][2]string {
	mode := "AUTOMATIC"
	if readOnly {
		mode = "READ_ONLY"
	}
	return [][2]string{
		{"access_mode", mode},
		{"temp_directory", ""}, // spills nothing; only while external access is on can it be set
		{"enable_external_access", "false"},
		{"autoinstall_known_extensions", "false"},
		{"autoload_known_extensions", "false"},
		{"allow_community_extensions", "false"},
		{"allow_unsigned_extensions", "false"},
		{"max_temp_directory_size", "0B"},
		{"memory_limit", strconv.FormatInt(memory/1024, 10) + "KiB"},
		{"disabled_optimizers", "top_n_window_elimination"}, // DuckDB 1.5.5 gets some wrong
		{"lock_configuration", "true"},
	}
}

// duckConn is one database with its one connection.
type duckConn struct {
	db   duck.Database
	conn duck.Connection

	torn error // of a file that turns out to be damaged; nil: there is no file
}

// openDuck opens path, or an empty database in memory for "". The error is
// DuckDB's text.
func openDuck(path string, memory int64) (*duckConn, string) {
	return openDuckWith(connectionSettings(memory, path != ""), path)
}

func openDuckWith(settings [][2]string, path string) (*duckConn, string) {
	var config duck.Config
	if duck.CreateConfig(&config) == duck.StateError {
		return nil, "cannot make a configuration"
	}
	defer duck.DestroyConfig(&config)
	for _, s := range settings {
		if duck.SetConfig(config, s[0], s[1]) == duck.StateError {
			return nil, "cannot set " + s[0]
		}
	}
	c := &duckConn{}
	var msg string
	if duck.OpenExt(path, &c.db, config, &msg) == duck.StateError {
		duck.Close(&c.db)
		return nil, msg
	}
	if duck.Connect(c.db, &c.conn) == duck.StateError {
		duck.Close(&c.db)
		return nil, "cannot connect"
	}
	return c, ""
}

func (c *duckConn) close() {
	duck.Disconnect(&c.conn)
	duck.Close(&c.db)
}

// tree returns the syntax tree of sql as JSON. Nothing of it is executed.
func (c *duckConn) tree(sql string) ([]byte, error) {
	var stmt duck.PreparedStatement
	defer duck.DestroyPrepare(&stmt)
	const q = "SELECT json_serialize_sql($1::VARCHAR, skip_null := true, skip_empty := true)::VARCHAR"
	if duck.Prepare(c.conn, q, &stmt) == duck.StateError {
		return nil, quant.Errorf(quant.Failed, "examine the query: %s", duck.PrepareError(stmt))
	}
	if duck.BindVarchar(stmt, 1, sql) == duck.StateError {
		return nil, quant.Errorf(quant.Failed, "examine the query: it cannot be bound")
	}
	var tree []byte
	err := c.stream(stmt, func([]rows.Column) error { return nil }, func(cells []rows.Cell) error {
		tree = append(tree, cells[0].Text...)
		return nil
	}, 0)
	return tree, err
}

// stream executes a prepared statement and hands its rows over as they come.
func (c *duckConn) stream(stmt duck.PreparedStatement, begin func([]rows.Column) error, row func([]rows.Cell) error, memory int64) error {
	var cells []rows.Cell
	var bufs [][]byte
	return c.chunks(stmt, func(cols []rows.Column, _ []*reader) error {
		cells, bufs = make([]rows.Cell, len(cols)), make([][]byte, len(cols))
		return begin(cols)
	}, func(readers []*reader, size int) error {
		for at := range size {
			for i, r := range readers {
				b, k := r.append(bufs[i][:0], at)
				bufs[i] = b
				cells[i] = rows.Cell{Kind: k, Text: b}
			}
			if err := row(cells); err != nil {
				return err
			}
		}
		return nil
	}, memory)
}

// chunks executes a prepared statement and hands its chunks over as they come: size
// rows, which the readers, one a column, are bound to until each returns.
func (c *duckConn) chunks(stmt duck.PreparedStatement, begin func([]rows.Column, []*reader) error, each func(readers []*reader, size int) error, memory int64) error {
	var pending duck.PendingResult
	defer duck.DestroyPending(&pending)
	if duck.PendingPreparedStreaming(stmt, &pending) == duck.StateError {
		return c.failed(duck.PendingError(pending), memory)
	}
	var res duck.Result
	defer duck.DestroyResult(&res)
	if duck.ExecutePending(pending, &res) == duck.StateError {
		return c.failed(duck.ResultError(&res), memory)
	}
	n := int(duck.ColumnCount(&res))
	cols := make([]rows.Column, n)
	readers := make([]*reader, n)
	for i := range n {
		t := duck.ColumnLogicalType(&res, duck.IdxT(i))
		r, err := newReader(t)
		duck.DestroyLogicalType(&t)
		name := duck.ColumnName(&res, duck.IdxT(i))
		if err != nil {
			return quant.Errorf(quant.Usage, "column %s: %w", name, err).WithHint("cast it: CAST(%s AS VARCHAR)", name)
		}
		readers[i] = r
		cols[i] = rows.Column{Name: name, Right: r.right(), Type: r.typeName()}
	}
	if err := begin(cols, readers); err != nil {
		return err
	}
	for {
		chunk := duck.FetchChunk(res)
		if chunk.Ptr == nil {
			break
		}
		size := int(duck.DataChunkGetSize(chunk))
		for i, r := range readers {
			r.bind(duck.DataChunkGetVector(chunk, duck.IdxT(i)))
		}
		err := each(readers, size)
		duck.DestroyDataChunk(&chunk)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
	}
	if msg := duck.ResultError(&res); msg != "" {
		return c.failed(msg, memory)
	}
	return nil
}

func (c *duckConn) failed(msg string, memory int64) error {
	if c.torn != nil && strings.Contains(msg, "Corrupt database file") { // DuckDB has a text for it only
		return c.torn
	}
	if strings.HasPrefix(msg, "Out of Memory Error") || strings.Contains(msg, "bad_alloc") || strings.Contains(msg, "failed to allocate") {
		return errMemory(memory)
	}
	return errSQL(msg)
}

// runDuckDB examines the query on an empty database, then opens the Fact DB and
// runs it there.
func runDuckDB(t task, r *report, w *rowWriter) error {
	prefix, sql := cutExplain(t.SQL)
	blank, msg := openDuck("", minMemoryLimit)
	if blank == nil {
		return quant.Errorf(quant.Failed, "examine the query: %s", msg)
	}
	tree, err := blank.tree(sql)
	if quoted := quoteColumns(sql); err == nil && quoted != sql && notParsed(tree) {
		// Only what is no statement as it stands is read as if its columns were quoted.
		sql = quoted
		tree, err = blank.tree(sql)
	}
	blank.close()
	if err != nil {
		return err
	}
	if err := vetTree(tree, parsePermits(functionList)); err != nil {
		return withinText(err, t.SQL, sql)
	}

	c, err := openFact(t, r)
	if err != nil {
		return err
	}
	if t.SchemaVersion > 0 {
		if err := c.checkSchema(t); err != nil {
			return err
		}
	}
	r.send(event{Kind: "opened"})
	var stmt duck.PreparedStatement
	if duck.Prepare(c.conn, prefix+sql, &stmt) == duck.StateError {
		return withinText(c.failed(duck.PrepareError(stmt), t.MemoryLimit), t.SQL, prefix+sql)
	}
	switch kind := duck.PreparedStatementType(stmt); {
	case prefix == "" && kind != duck.StatementTypeSelect, prefix != "" && kind != duck.StatementTypeExplain:
		return quant.Errorf(quant.Refused, "the statement is not one that only reads").WithHint("write one SELECT")
	case duck.NParams(stmt) > 0:
		return errPart("a parameter")
	}
	// Nothing is closed: the process ends, and closing could take long.
	if w.arrow != nil {
		return c.chunks(stmt, w.beginArrow, w.chunk, t.MemoryLimit)
	}
	return c.stream(stmt, w.begin, w.row, t.MemoryLimit)
}

// withinText makes a position in what was run one in the user's text; where that was
// changed, it is not known.
func withinText(err error, text, ran string) error {
	e, is := errors.AsType[*quant.Error](err)
	if !is || e.Err == nil || text == ran {
		return err
	}
	at, bytes := errors.AsType[offset](e.Err)
	if e.Err = nil; bytes && strings.HasSuffix(text, ran) {
		e.Err = at + offset(len(text)-len(ran))
	}
	return e
}

// checkSchema refuses a file whose schema is newer than the task knows.
func (c *duckConn) checkSchema(t task) error {
	var stmt duck.PreparedStatement
	defer duck.DestroyPrepare(&stmt)
	none := quant.Errorf(quant.Store, "the Fact DB %s does not say its schema version", t.Path).WithHint("%s", t.WayBack)
	if duck.Prepare(c.conn, "SELECT max(version)::VARCHAR FROM schema_version", &stmt) == duck.StateError {
		return none
	}
	version := ""
	err := c.stream(stmt, func([]rows.Column) error { return nil }, func(cells []rows.Cell) error {
		version = string(cells[0].Text)
		return nil
	}, t.MemoryLimit)
	if err != nil {
		return quant.Errorf(quant.Store, "read the schema version of the Fact DB %s: %w", t.Path, err).WithHint("%s", t.WayBack)
	}
	switch v, err := strconv.Atoi(version); {
	case err != nil:
		return none
	case v > t.SchemaVersion:
		return quant.Errorf(quant.Store, "the Fact DB %s was made by a newer quant (schema %d, this program knows %d)", t.Path, v, t.SchemaVersion).
			WithHint("use the newer program; nothing was changed")
	}
	return nil
}

// openFact opens the Fact DB, waiting for a writer as long as the task allows.
func openFact(t task, r *report) (*duckConn, error) {
	if t.Attach != nil {
		return openAttached(t)
	}
	const step = 50 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		c, msg := openDuck(t.Path, t.MemoryLimit*8/10)
		if c != nil {
			c.torn = quant.Errorf(quant.Store, "the Fact DB %s is damaged: a block of it is not what was written there", t.Path).WithHint("%s", t.WayBack)
			return c, nil
		}
		pid, locked := lockHolder(msg)
		first, _, _ := strings.Cut(msg, "\n")
		switch {
		case !locked:
			return nil, quant.Errorf(quant.Store, "open the Fact DB %s: %s", t.Path, rows.AppendClean(nil, []byte(first))).WithHint("%s", t.WayBack)
		case waited >= t.Wait:
			who := "another process"
			if pid != 0 {
				who = "process " + strconv.Itoa(pid)
			}
			return nil, quant.Errorf(quant.Locked, "the Fact DB is held by %s, which writes to it (waited %s)", who, t.Wait).
				WithHint("wait for it to end, or wait longer with --wait")
		case waited == 0:
			r.send(event{Kind: "waiting", PID: pid})
		}
		time.Sleep(step)
	}
}

// openAttached opens facts that are in no file. Nobody is waited for.
func openAttached(t task) (*duckConn, error) {
	var first, last [][2]string // what must be set before the facts are attached, and what ends all access
	for _, s := range connectionSettings(t.MemoryLimit*8/10, false) {
		if s[0] == "enable_external_access" || s[0] == "lock_configuration" {
			last = append(last, s)
		} else {
			first = append(first, s)
		}
	}
	failed := func(msg string) error {
		line, _, _ := strings.Cut(msg, "\n")
		return quant.Errorf(quant.Store, "open the facts: %s", rows.AppendClean(nil, []byte(line))).WithHint("`quant doctor` examines them")
	}
	c, msg := openDuckWith(first, "")
	if c == nil {
		return nil, failed(msg)
	}
	statements := append(slices.Clone(t.Attach.Statements), "SET allowed_directories = ["+sqltext.Literal(t.Attach.Folder)+"]")
	for _, s := range last {
		statements = append(statements, "SET "+s[0]+" = "+sqltext.Literal(s[1]))
	}
	for _, s := range statements {
		var res duck.Result
		state := duck.Query(c.conn, s, &res)
		msg := duck.ResultError(&res)
		duck.DestroyResult(&res)
		if state == duck.StateError {
			return nil, failed(msg)
		}
	}
	return c, nil
}

// lockHolder reads DuckDB's complaint about a lock.
func lockHolder(msg string) (pid int, locked bool) {
	if !strings.Contains(msg, "Could not set lock on file") {
		return 0, false
	}
	if m := regexp.MustCompile(`\(PID (\d+)\)`).FindStringSubmatch(msg); m != nil {
		pid, _ = strconv.Atoi(m[1])
	}
	return pid, true
}
