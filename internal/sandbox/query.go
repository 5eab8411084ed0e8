// Package sandbox runs one reading SQL query that a user wrote, on the Fact DB
// (DuckDB) or the Meta DB (SQLite), and streams its rows as a table, JSON, CSV or
// an Arrow stream.
//
// A query is untrusted text, and no database engine can be stopped reliably
// from within (one scalar call can run for a minute after its cancellation, and
// memory limits are soft). So the query runs in a child process: the same
// executable, started with the hidden argument ChildArg, without environment,
// with limits on memory and files, killed at its deadline. The text is parsed
// and examined before a database that holds data sees it: exactly one reading
// statement, and no function that is not on the list in functions.txt.
//
// The package records nothing and creates nothing: recording is its caller's,
// and making databases is factstore's and metastore's.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"quant"
	"quant/internal/output/rows"
)

// ChildArg is the first argument of a child process. A program that calls Run
// must call ChildMain when it finds it in os.Args[1], before anything else.
const ChildArg = "__query"

// The values of Request.Store.
const (
	Fact = "fact" // the Fact DB, a DuckDB file
	Meta = "meta" // the Meta DB, a SQLite file
)

// The values of Request.Format.
const (
	Table = "table"
	JSON  = "json"
	CSV   = "csv"

	// For programs, with the types of the columns. Those of the Meta DB, which has none,
	// are what all their values are; there the whole result is held.

	Arrow = "arrow"    // an Arrow stream: TIMESTAMP is UTC, HUGEINT a decimal of 38 digits, what Arrow lacks a text as in CSV
	Lines = rows.Lines // the columns on a line of JSON, then an array a row
)

var formats = []string{Table, JSON, CSV, Arrow, Lines}

// What a Request that leaves these fields zero gets.
const (
	DefaultTimeout           = 5 * time.Minute
	DefaultMemoryLimit int64 = 2 << 30
	minMemoryLimit     int64 = 64 << 20
	maxSQLBytes              = 1 << 20
)

// Request is one query and the limits that it runs under.
type Request struct {
	Store  string // Fact or Meta
	Path   string // of the database file
	Server string // the URL of the Meta DB where it is on a server, in place of Path
	// Environ is NAME=VALUE, where PostgreSQL's own variables are looked for.
	Environ []string
	Attach  *Attachment // the facts where they are in no file, in place of Path; else nil
	SQL     string      // one reading statement; comments and a trailing semicolon are fine
	Format  string      // Table, JSON, CSV, Arrow or Lines
	Exact   bool        // CSV leaves texts as they are that a spreadsheet takes for formulas

	Limit       int64         // most rows to write; 0: all
	Timeout     time.Duration // from the opened database to the last row written; 0: DefaultTimeout
	Wait        time.Duration // how long to retry while a writer holds the file
	MemoryLimit int64         // bytes; 0: DefaultMemoryLimit; at least 64 MiB. Nothing is spilled to disk

	// SchemaVersion is the newest schema of the Fact DB that the program knows;
	// a file that has a newer one, or none, is a Store error. 0: not checked.
	SchemaVersion int

	// WayBack is what to do about a Fact DB in a file that is damaged, a hint; "": it is
	// examined.
	WayBack string

	// Secrets are masked wherever they occur in a text of the result.
	Secrets []string

	// OnWait is called once, from another goroutine, when the file is found
	// locked and Wait allows to try again; pid is 0 when it is not known.
	OnWait func(pid int)

	// Executable is the program to start; it must be the calling program
	// itself, which is also the default.
	Executable string
}

// Attachment is how the query process comes to facts that are in no file.
type Attachment struct {
	// Statements load what is needed, attach the facts for reading and make them the
	// default, on an engine that holds nothing. They run before the configuration is
	// locked, and are the program's own.
	Statements []string
	// Folder is all that the engine may read afterwards.
	Folder string
}

// Result is what a query wrote. After an error it says how far the query came,
// as far as that is known.
type Result struct {
	Rows    int64    // rows written
	Cut     bool     // Limit was reached and there was at least one row more
	Guarded int64    // texts of the CSV that got a ' before them
	Columns []string // names as the database gave them; two may be equal
}

// Run executes the query in a child process and writes its rows to out while
// they come; it never holds the whole result. It returns when the child is gone.
//
// Errors: Usage (the text is empty, does not parse, or names what does not
// exist; it wraps a Position where that is known), Refused (it is not one reading statement, or uses something that is
// not allowed), Locked (a writer held the file for longer than Wait), Store
// (the file is missing, damaged or too new), Failed (deadline, memory, an error
// while running). The cause of ctx, and an error of out.Write, are returned as
// they are. After an error the output may be incomplete; JSON is closed after the
// last whole row, so that it is valid all the same.
//
// Run may be called from several goroutines, each with a writer of its own. If
// out.Write does not return within two seconds of the child's end (a paused
// pager), Run returns without waiting for it.
func Run(ctx context.Context, req Request, out io.Writer) (Result, error) {
	if err := req.complete(); err != nil {
		return Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return Result{}, context.Cause(ctx)
	}
	// The death signal of a child follows the thread that started it, not the
	// process: keep this thread until the child is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	c, err := startChild(req)
	if err != nil {
		return Result{}, quant.Errorf(quant.Failed, "start the query process: %w", err)
	}
	if req.Format != JSON {
		return c.follow(ctx, req, out)
	}
	rows := &wholeRows{out: out}
	res, err := c.follow(ctx, req, rows)
	if c.abandoned {
		return res, err
	}
	if closing := rows.finish(err == nil); err == nil {
		err = closing
	}
	return res, err
}

// complete fills the defaults in and checks what the parent can check.
func (r *Request) complete() error {
	if r.Timeout == 0 {
		r.Timeout = DefaultTimeout
	}
	if r.WayBack == "" {
		r.WayBack = "`quant doctor` examines it"
	}
	if r.MemoryLimit == 0 {
		r.MemoryLimit = DefaultMemoryLimit
	}
	switch {
	case r.Store != Fact && r.Store != Meta && r.Store != parquetFile:
		return quant.Errorf(quant.Usage, "query: store %q is neither %s nor %s", r.Store, Fact, Meta)
	case !slices.Contains(formats, r.Format):
		return quant.Errorf(quant.Usage, "output format %q is none of %s", r.Format, strings.Join(formats, ", "))
	case r.Limit < 0:
		return quant.Errorf(quant.Usage, "limit %d is negative", r.Limit).WithHint("leave --limit out for all rows")
	case r.Timeout < 0:
		return quant.Errorf(quant.Usage, "timeout %s is negative", r.Timeout)
	case r.MemoryLimit < minMemoryLimit:
		return quant.Errorf(quant.Usage, "memory limit of %s is less than %s", bytesText(r.MemoryLimit), bytesText(minMemoryLimit))
	case len(r.SQL) > maxSQLBytes:
		return quant.Errorf(quant.Usage, "the query is %s long, more than %s", bytesText(int64(len(r.SQL))), bytesText(maxSQLBytes))
	case !utf8.ValidString(r.SQL):
		return quant.Errorf(quant.Usage, "the query is not UTF-8")
	case strings.IndexByte(r.SQL, 0) >= 0:
		return quant.Errorf(quant.Usage, "the query contains a NUL byte")
	}
	if strings.TrimSpace(r.SQL) == "" {
		return errEmpty()
	}
	if r.Server != "" || r.Attach != nil {
		return nil
	}
	abs, err := filepath.Abs(r.Path)
	if err != nil {
		return quant.Errorf(quant.Store, "find %s: %w", r.Path, err)
	}
	r.Path = abs
	switch info, err := os.Stat(abs); {
	case errors.Is(err, os.ErrNotExist):
		return quant.Errorf(quant.Store, "%s does not exist at %s", storeName(r.Store), abs).WithHint("create it with `quant init-db`")
	case err != nil:
		return quant.Errorf(quant.Store, "%s: %w", storeName(r.Store), err)
	case !info.Mode().IsRegular():
		return quant.Errorf(quant.Store, "%s at %s is not a regular file", storeName(r.Store), abs).WithHint("name the database file itself")
	}
	return nil
}

func errEmpty() *quant.Error {
	return quant.Errorf(quant.Usage, "the query is empty").WithHint(`give one statement, for example "SELECT count(*) FROM ohlcv"`)
}

func storeName(store string) string {
	if store == Meta {
		return "Meta DB"
	}
	return "Fact DB"
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}

// event is what the child tells its parent, one JSON document each: waiting
// and opened on the way, done as its last word.
type event struct {
	Kind    string     `json:"kind"` // waiting, opened, done
	PID     int        `json:"pid,omitempty"`
	Rows    int64      `json:"rows,omitempty"`
	Cut     bool       `json:"cut,omitempty"`
	Guarded int64      `json:"guarded,omitempty"`
	Columns []string   `json:"columns,omitempty"`
	Code    quant.Code `json:"code,omitempty"` // empty: the query succeeded
	Msg     string     `json:"msg,omitempty"`
	Hint    string     `json:"hint,omitempty"`
	At      *Position  `json:"at,omitempty"`
}

// task is what the parent tells the child.
type task struct {
	Store, Path, Server string
	Attach              *Attachment
	SQL, Format         string
	Exact               bool
	Limit, MemoryLimit  int64
	Wait                time.Duration
	SchemaVersion       int
	WayBack             string
	Secrets             []string
}

// child is the parent's view of a running query process.
type child struct {
	cmd     *exec.Cmd
	control *os.File // both ways: task out, events in
	data    *os.File // what the query writes
	stderr  *firstBytes

	abandoned bool // out did not take what it was given; a goroutine still waits for it
}

func startChild(req Request) (*child, error) {
	theirs, ours, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	dataOut, dataIn, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	defer dataIn.Close()

	exe := req.Executable
	if exe == "" {
		if exe, err = executable(); err != nil {
			return nil, errors.Join(err, ours.Close(), dataOut.Close())
		}
	}
	c := &child{control: ours, data: dataOut, stderr: &firstBytes{}}
	c.cmd = &exec.Cmd{
		Path:        exe,
		Args:        []string{"quant", ChildArg},
		Env:         slices.Concat([]string{"TZ=UTC", "LC_ALL=C.UTF-8", "GOTRACEBACK=none"}, raceEnv, serverEnv(req)),
		Dir:         "/",
		Stderr:      c.stderr,
		ExtraFiles:  []*os.File{theirs, dataIn},
		SysProcAttr: childAttributes(),
	}
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(err, ours.Close(), dataOut.Close())
	}
	return c, nil
}

func (c *child) follow(ctx context.Context, req Request, out io.Writer) (Result, error) {
	defer c.control.Close()
	defer c.data.Close()

	copied := make(chan error, 1)
	go func() { copied <- copyOut(out, c.data) }()
	events := make(chan event, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(events)
		err := json.NewEncoder(c.control).Encode(task{
			Store: req.Store, Path: req.Path, Server: req.Server, Attach: req.Attach, SQL: req.SQL, Format: req.Format, Exact: req.Exact,
			Limit: req.Limit, MemoryLimit: req.MemoryLimit, Wait: req.Wait, SchemaVersion: req.SchemaVersion, WayBack: req.WayBack, Secrets: req.Secrets,
		})
		for in := json.NewDecoder(io.LimitReader(c.control, 64<<20)); err == nil; {
			var e event
			if err = in.Decode(&e); err == nil {
				select {
				case events <- e:
				case <-stop:
					return
				}
			}
		}
	}()

	deadline := time.NewTimer(req.Wait + req.Timeout)
	defer deadline.Stop()
	var (
		last  event
		cause error // why the child was killed; nil if it was not
		wrote error
		dry   bool // the data pipe is at its end
	)
	for !dry || events != nil {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				events = nil
			case e.Kind == "waiting" && req.OnWait != nil:
				req.OnWait(e.PID)
			case e.Kind == "opened":
				deadline.Reset(req.Timeout)
			case e.Kind == "done":
				last = e
			}
			continue
		case wrote = <-copied:
			dry = true
			if wrote == nil {
				continue
			}
			cause = wrote
		case <-ctx.Done():
			cause = context.Cause(ctx)
		case <-deadline.C:
			cause = quant.Errorf(quant.Failed, "query ran longer than %s", req.Timeout).WithHint("allow it more with --timeout, or ask for less")
		}
		break
	}
	if cause != nil {
		killChild(c.cmd)
	}
	state := c.wait()
	if !dry {
		select {
		case wrote := <-copied:
			if cause == nil {
				cause = wrote
			}
		case <-time.After(2 * time.Second):
			c.abandoned = true
		}
	}
	res := Result{Rows: last.Rows, Cut: last.Cut, Guarded: last.Guarded, Columns: last.Columns}
	switch {
	case cause != nil:
		return res, cause
	case last.Kind != "done":
		return res, c.exitError(state, req)
	case last.Code != "":
		err := &quant.Error{Code: last.Code, Msg: last.Msg, Hint: last.Hint}
		if last.At != nil {
			err.Err = *last.At
		}
		return res, err
	}
	return res, nil
}

func (c *child) wait() *os.ProcessState {
	_ = c.cmd.Wait() // how it ended is in the state; why, in the events
	return c.cmd.ProcessState
}

// exitError explains a child that ended without its last word.
func (c *child) exitError(state *os.ProcessState, req Request) error {
	text := c.stderr.String()
	status, _ := state.Sys().(syscall.WaitStatus)
	for _, sign := range []string{"out of memory", "cannot allocate memory", "pthread_create failed", "bad_alloc", "failed to create new OS thread"} {
		if strings.Contains(strings.ToLower(text), sign) {
			return errMemory(req.MemoryLimit)
		}
	}
	if status.Signaled() && status.Signal() == syscall.SIGKILL {
		return quant.Errorf(quant.Failed, "the query process was killed from outside, most likely because the machine ran out of memory").
			WithHint("select fewer rows or columns, or aggregate earlier")
	}
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line != "" {
		line = ": " + string(rows.AppendClean(nil, []byte(line)))
	}
	return quant.Errorf(quant.Failed, "the query process crashed (%s)%s", state, line).
		WithHint("the databases are unharmed, they were open for reading only; simplify the query")
}

func errMemory(limit int64) *quant.Error {
	return quant.Errorf(quant.Failed, "the query needed more memory than %s", bytesText(limit)).
		WithHint("select fewer rows or columns, aggregate earlier, or leave ORDER BY out")
}

// copyOut copies until the pipe's end; its error is always the writer's.
func copyOut(out io.Writer, data io.Reader) error {
	buf := make([]byte, 128<<10)
	for {
		n, rerr := data.Read(buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return err
			}
		}
		if rerr != nil {
			return nil
		}
	}
}

// firstBytes keeps the first 4 KiB that are written to it and swallows the rest. It
// is read after the process has been waited for.
type firstBytes struct{ buf []byte }

func (h *firstBytes) Write(p []byte) (int, error) {
	if room := 4096 - len(h.buf); room > 0 {
		h.buf = append(h.buf, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (h *firstBytes) String() string { return string(h.buf) }
