package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant"
)

// patience bounds every wait of these tests; reaching it is a failure.
const patience = 90 * time.Second

// soak reports whether the heavy counts are asked for.
func soak(t *testing.T) bool {
	t.Helper()
	yes := os.Getenv("QUANT_SOAK") == "1"
	if yes {
		t.Log("QUANT_SOAK=1: full counts")
	} else {
		t.Log("small counts; QUANT_SOAK=1 runs the full ones")
	}
	return yes
}

// lab is a working directory in which quant runs.
type lab struct {
	t   *testing.T
	dir string
	env []string // beyond a bare PATH, HOME and TMPDIR

	mu   sync.Mutex
	said bytes.Buffer // everything on stdout and stderr so far
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return &lab{t: t, dir: t.TempDir()}
}

func (l *lab) path(names ...string) string {
	return filepath.Join(append([]string{l.dir}, names...)...)
}

func (l *lab) meta() string  { return l.path("data", "meta.db") }
func (l *lab) facts() string { return l.path("data", "quant.duckdb") }

func (l *lab) write(name string, content []byte) {
	l.t.Helper()
	must(l.t, os.MkdirAll(filepath.Dir(l.path(name)), 0o700))
	must(l.t, os.WriteFile(l.path(name), content, 0o600))
}

// copyOf makes a lab with the same files; nothing may run in l.
func (l *lab) copyOf(t *testing.T) *lab {
	t.Helper()
	c := newLab(t)
	must(t, os.CopyFS(c.dir, os.DirFS(l.dir)))
	must(t, os.Chmod(c.path("data"), 0o700))
	return c
}

// result is how a process ended. A process that a signal killed has code
// 1000+n, which no exit status equals.
type result struct {
	line           string
	stdout, stderr string
	code           int
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("%s\nexit %d after %v\n--- stdout\n%s--- stderr\n%s", r.line, r.code, r.took, clipped(r.stdout), clipped(r.stderr))
}

func clipped(s string) string {
	if len(s) > 4000 {
		return s[:2000] + "\n[...]\n" + s[len(s)-2000:]
	}
	return s
}

func (l *lab) command(args ...string) *exec.Cmd {
	l.t.Helper()
	program, err := exec.LookPath("quant")
	must(l.t, err)
	cmd := exec.Command(program, args...)
	cmd.Args[0] = "quant"
	cmd.Dir = l.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8", noRaceSleep}, l.env...)
	return cmd
}

// process is a quant that runs.
type process struct {
	*exec.Cmd
	lab            *lab
	begun          time.Time
	stdout, stderr *stream
	done           chan struct{}
	end            result
}

// stream collects what a process writes, readable while it writes.
type stream struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// start runs quant with these variables (NAME=VALUE) before the arguments; it
// is killed when the test ends.
func (l *lab) start(env []string, args ...string) *process {
	l.t.Helper()
	cmd := l.command(args...)
	cmd.Env = append(cmd.Env, env...)
	return l.startCmd(cmd)
}

func (l *lab) startCmd(cmd *exec.Cmd) *process {
	l.t.Helper()
	p := &process{Cmd: cmd, lab: l, begun: time.Now(), stdout: &stream{}, stderr: &stream{}, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.stderr
	}
	must(l.t, cmd.Start())
	go func() {
		err := cmd.Wait()
		p.end = result{line: strings.Join(cmd.Args, " "), stdout: p.stdout.String(), stderr: p.stderr.String(), took: time.Since(p.begun)}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.end.code = 1000 + int(status.Signal())
		} else {
			p.end.code = cmd.ProcessState.ExitCode()
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.end.stderr += "\n(wait: " + err.Error() + ")"
		}
		l.mu.Lock()
		l.said.WriteString(p.end.stdout + p.end.stderr)
		l.mu.Unlock()
		close(p.done)
	}()
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
	})
	return p
}

// wait returns how the process ended.
func (p *process) wait() result {
	p.lab.t.Helper()
	select {
	case <-p.done:
		return p.end
	case <-time.After(patience):
		p.lab.t.Fatalf("%s does not end\n--- stderr\n%s", strings.Join(p.Args, " "), p.stderr)
		return result{}
	}
}

func (p *process) signal(s syscall.Signal) {
	p.lab.t.Helper()
	must(p.lab.t, syscall.Kill(p.Process.Pid, s))
}

// stopped waits until the process has stopped itself (failpoint :stop).
func (p *process) stopped() *process {
	p.lab.t.Helper()
	p.lab.eventually("the process stops at its failpoint", func() bool {
		select {
		case <-p.done:
			p.lab.t.Fatalf("it ended instead of stopping: %v", p.end)
		default:
		}
		return processState(p.Process.Pid) == 'T'
	})
	return p
}

// processState is the state letter of a process, as ps has it; 0 for none.
func processState(pid int) byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		after := strings.TrimSpace(string(text[bytes.LastIndexByte(text, ')')+1:]))
		return after[0]
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		return 0
	}
	state, _ := exec.Command("ps", "-o", "state=", "-p", fmt.Sprint(pid)).Output()
	if state = bytes.TrimSpace(state); len(state) > 0 {
		return state[0]
	}
	return 0
}

// eventually polls until ok.
func (l *lab) eventually(what string, ok func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			l.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// run runs quant to its end.
func (l *lab) run(args ...string) result {
	l.t.Helper()
	return l.start(nil, args...).wait()
}

// must runs quant and fails the test unless it exits with 0.
func (l *lab) must(args ...string) result {
	l.t.Helper()
	return l.want(0, args...)
}

// want runs quant and fails the test unless it exits with code.
func (l *lab) want(code int, args ...string) result {
	l.t.Helper()
	r := l.run(args...)
	l.wantCode(r, code)
	return r
}

func (l *lab) wantCode(r result, code int) {
	l.t.Helper()
	if r.code != code {
		l.t.Fatalf("want exit status %d: %v", code, r)
	}
	for _, never := range []string{"goroutine ", "SIGSEGV", "panic: runtime"} {
		if strings.Contains(r.stderr, never) {
			l.t.Fatalf("%q on stderr: %v", never, r)
		}
	}
	if code > 0 && code < 1000 && r.stderr == "" {
		l.t.Fatalf("a failure without a word: %v", r)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run row as the Meta DB has it.
type runRow struct {
	ID, Kind, Status, Error string
	Exit                    sql.NullInt64
}

// openMeta opens the Meta DB with SQLite alone, past every rule of quant.
func (l *lab) openMeta(options string) *sql.DB {
	l.t.Helper()
	return openSQLite(l.t, l.meta(), options)
}

func openSQLite(t *testing.T, path, options string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=20000"+options)
	must(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

// runs reads all runs, oldest first.
func (l *lab) runs() []runRow { return runsIn(l.t, l.meta()) }

func runsIn(t *testing.T, path string) []runRow {
	t.Helper()
	db := openSQLite(t, path, "&mode=ro")
	defer db.Close()
	rows, err := db.Query("SELECT r.run_id, kind, status, coalesce(error_text, ''), exit_code FROM runs r LEFT JOIN run_process USING (run_id) ORDER BY r.run_id")
	must(t, err)
	defer rows.Close()
	var out []runRow
	for rows.Next() {
		var r runRow
		must(t, rows.Scan(&r.ID, &r.Kind, &r.Status, &r.Error, &r.Exit))
		out = append(out, r)
	}
	must(t, rows.Err())
	return out
}

// lastRun is the run recorded last.
func (l *lab) lastRun() runRow {
	l.t.Helper()
	runs := l.runs()
	if len(runs) == 0 {
		l.t.Fatal("nothing is recorded")
	}
	return runs[len(runs)-1]
}

// runOf finds the last run of a kind.
func (l *lab) runOf(kind string) runRow {
	l.t.Helper()
	runs := l.runs()
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Kind == kind {
			return runs[i]
		}
	}
	l.t.Fatalf("no run of kind %s in %v", kind, runs)
	return runRow{}
}

// wantClosed fails the test if a run is RUNNING.
func (l *lab) wantClosed() {
	l.t.Helper()
	for _, r := range l.runs() {
		if r.Status == string(quant.Running) {
			l.t.Fatalf("run %s (%s) is still RUNNING", r.ID, r.Kind)
		}
	}
}

// wantFail checks how a failed run was recorded.
func (l *lab) wantFail(r runRow, exit int64, texts ...string) {
	l.t.Helper()
	if r.Status != string(quant.Fail) || !r.Exit.Valid || r.Exit.Int64 != exit {
		l.t.Fatalf("recorded as %+v, want FAIL with exit status %d", r, exit)
	}
	for _, text := range texts {
		if !strings.Contains(r.Error, text) {
			l.t.Fatalf("error_text lacks %q: %q", text, r.Error)
		}
	}
}

// openFacts opens the Fact DB with DuckDB alone, for reading.
func (l *lab) openFacts(mode string) *sql.DB {
	l.t.Helper()
	db, err := sql.Open("duckdb", l.facts()+"?access_mode="+mode)
	must(l.t, err)
	must(l.t, db.Ping())
	l.t.Cleanup(func() { db.Close() })
	return db
}

// prices returns every row of ohlcv but for its ingested_at, in key order.
func (l *lab) prices() string {
	return l.factRows("SELECT symbol, ts, open, high, low, close, volume, adjusted_close, source FROM ohlcv ORDER BY symbol, ts")
}

func (l *lab) factRows(query string) string {
	l.t.Helper()
	db := l.openFacts("READ_ONLY")
	defer db.Close()
	return textRows(l.t, db, query)
}

func (l *lab) metaRows(query string) string {
	l.t.Helper()
	db := l.openMeta("&mode=ro")
	defer db.Close()
	return textRows(l.t, db, query)
}

func textRows(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), query)
	must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(t, err)
	cells, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	var b strings.Builder
	for rows.Next() {
		must(t, rows.Scan(into...))
		fmt.Fprintln(&b, cells...)
	}
	must(t, rows.Err())
	return b.String()
}

// wantAgreement checks with SQL alone that every SUCCESS which says that it
// wrote rows of a table has them in the ledger.
func (l *lab) wantAgreement() {
	l.t.Helper()
	if _, err := os.Stat(l.facts()); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if l.factRows("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'ledger'") == "0\n" {
		return // killed before the file had a schema
	}
	ledger := l.factRows("SELECT run_id || ' ' || table_name FROM ledger")
	said := l.metaRows("SELECT run_id || ' ' || name FROM runs JOIN run_io USING (run_id) WHERE status = 'SUCCESS' AND direction = 'out' AND run_io.kind = 'table' AND rows > 0")
	for line := range strings.Lines(said) {
		if !strings.Contains(ledger, line) {
			l.t.Fatalf("a SUCCESS without its ledger row: %s", line)
		}
	}
}

// closingLine is the line that acknowledges a run.
var closingLine = regexp.MustCompile(`(?m)^run ([0-9a-f-]{36}) (\S+) (SUCCESS|FAIL) \S+$`)

// acknowledged returns the run that a process said it closed as SUCCESS.
func (r result) acknowledged() string {
	m := closingLine.FindAllStringSubmatch(r.stderr, -1)
	if len(m) == 0 || m[len(m)-1][3] != string(quant.Success) {
		return ""
	}
	return m[len(m)-1][1]
}

// priceFile is a CSV of days rows for each symbol; every value depends on salt.
func priceFile(salt, days int, symbols ...string) []byte {
	var b bytes.Buffer
	b.WriteString("symbol,date,open,high,low,close,volume,adj close\n")
	first := time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, s := range symbols {
		for d := range days {
			p := 10 + float64((i*31+d*7+salt*13)%1000)/8
			fmt.Fprintf(&b, "%s,%s,%g,%g,%g,%g,%d,%g\n", s, first.AddDate(0, 0, d).Format(time.DateOnly), p, p+2, p-1, p+1, 1000+d, p+0.5)
		}
	}
	return b.Bytes()
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	must(t, errors.Join(err, w.Close()))
	return out.Bytes()
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("not one JSON document: %v\n%s", err, clipped(text))
	}
}

// finding is one entry of doctor's JSON.
type finding struct{ Severity, Object, What, Mend string }

type checkup struct {
	Healthy  bool
	Findings []finding
}

// doctor runs doctor, which must find no fault.
func (l *lab) doctor() checkup {
	l.t.Helper()
	var c checkup
	decode(l.t, l.must("doctor", "--output", "json").stdout, &c)
	return c
}

func (c checkup) has(severity, object, what string) bool {
	for _, f := range c.Findings {
		if f.Severity == severity && strings.Contains(f.Object, object) && strings.Contains(f.What, what) {
			return true
		}
	}
	return false
}
