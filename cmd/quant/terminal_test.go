package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// onTerminal runs quant with a terminal as all three of its streams.
type onTerminal struct {
	*process
	screen  *stream
	drained chan struct{} // closed when all that was written is on the screen
	tty     *os.File
}

func (l *lab) onTerminal(env []string, args ...string) *onTerminal {
	l.t.Helper()
	cmd := l.command(args...)
	cmd.Env = append(append(cmd.Env, "TERM=xterm"), env...)
	master, slave, err := pty.Open()
	must(l.t, err)
	must(l.t, pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 120}))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	o := &onTerminal{screen: &stream{}, drained: make(chan struct{}), tty: master}
	o.process = l.startCmd(cmd)
	must(l.t, slave.Close())
	go func() {
		_, _ = io.Copy(o.screen, master) // ends with EIO once the process has closed the terminal
		close(o.drained)
	}()
	l.t.Cleanup(func() {
		<-o.done
		_ = master.Close()
		<-o.drained
	})
	return o
}

// waitFor waits until the screen shows a text.
func (o *onTerminal) waitFor(text string) {
	o.lab.t.Helper()
	o.lab.eventually("the terminal shows "+text, func() bool { return strings.Contains(o.screen.String(), text) })
}

func (o *onTerminal) typing(text string) {
	o.lab.t.Helper()
	_, err := o.tty.WriteString(text)
	must(o.lab.t, err)
}

// end waits for the process and for all that it wrote.
func (o *onTerminal) end(code int) string {
	o.lab.t.Helper()
	r := o.wait()
	select {
	case <-o.drained:
	case <-time.After(patience):
		o.lab.t.Fatalf("the terminal is still open\n%s", o.screen)
	}
	if r.code != code {
		o.lab.t.Fatalf("want exit status %d, got %d\n%s", code, r.code, o.screen)
	}
	return o.screen.String()
}

func TestResetAsksOnATerminalAndOnlyYesGoesOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typed string
		code  int
	}{
		"yes": {"yes\n", 0}, "no": {"no\n", 6}, "an empty line": {"\n", 6}, "y": {"y\n", 6}, "the end of the input": {"\x04", 6}, "a long line": {strings.Repeat("yes", 60) + "\n", 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.must("symbols", "add", "KEEP")
			o := l.onTerminal(nil, "init-db", "--reset")
			o.waitFor("Type yes")
			o.typing(c.typed)
			o.end(c.code)
			kept := l.metaRows("SELECT symbol FROM symbols") == "KEEP\n"
			if kept != (c.code != 0) {
				t.Fatalf("kept: %v\n%s", kept, o.screen)
			}
			if run := l.lastRun(); run.Kind != "init-db" || int(run.Exit.Int64) != c.code {
				t.Fatalf("%+v", run)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		l.must("symbols", "add", "KEEP")
		o := l.onTerminal(nil, "init-db", "--reset")
		o.waitFor("Type yes")
		o.typing("\x03")
		o.end(130)
		l.wantFail(l.lastRun(), 130, "ended by SIGINT")
		if l.metaRows("SELECT symbol FROM symbols") != "KEEP\n" {
			t.Fatal("interrupted, and the symbols are gone")
		}
	})
	t.Run("where nobody can be asked", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		l.must("symbols", "add", "KEEP")
		cmd := l.command("init-db", "--reset")
		cmd.Stdin = strings.NewReader("yes\n")
		r := l.startCmd(cmd).wait()
		l.wantCode(r, 2)
		if !strings.Contains(r.stderr, "--yes") || l.metaRows("SELECT symbol FROM symbols") != "KEEP\n" {
			t.Fatal(r)
		}
	})
}

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("init-db")
	l.want(2, "init-db", "extra")
	coloured := func(env []string, args ...string) bool {
		t.Helper()
		o := l.onTerminal(env, args...)
		o.end(0)
		o.waitFor("runs.list SUCCESS")
		return strings.Contains(o.screen.String(), "\x1b[3")
	}
	if !coloured(nil, "runs", "list") {
		t.Error("a terminal shows no colours")
	}
	for name, got := range map[string]bool{
		"NO_COLOR":                 coloured([]string{"NO_COLOR=1"}, "runs", "list"),
		"--no-color":               coloured(nil, "runs", "list", "--no-color"),
		"--output json":            coloured(nil, "runs", "list", "--output", "json"),
		"--output csv":             coloured(nil, "runs", "list", "--output", "csv"),
		"a pipe":                   strings.Contains(l.must("runs", "list").stdout, "\x1b"),
		"--no-color before":        coloured(nil, "--no-color", "runs", "list"),
		"NO_COLOR and many colors": coloured([]string{"NO_COLOR=yes", "COLORTERM=truecolor", "CLICOLOR_FORCE="}, "runs", "list"),
	} {
		if got {
			t.Errorf("colours with %s", name)
		}
	}
	if !coloured([]string{"NO_COLOR="}, "runs", "list") {
		t.Error("an empty NO_COLOR counts as none")
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("big.csv.gz", gzipped(t, priceFile(1, 3000, "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L")))
	o := l.onTerminal(nil, "ingest", "big.csv.gz")
	o.end(0)
	o.waitFor("ingest SUCCESS")
	if !strings.Contains(o.screen.String(), "%") || !strings.Contains(o.screen.String(), "\r") {
		t.Errorf("a terminal shows no progress: %q", o.screen)
	}
	q := l.onTerminal(nil, "ingest", "big.csv.gz", "--quiet")
	if text := q.end(0); strings.Contains(text, "%") || strings.Contains(text, "SUCCESS") {
		t.Errorf("--quiet is not quiet: %q", text)
	}
	r := l.must("ingest", "big.csv.gz")
	if strings.ContainsAny(r.stdout+r.stderr, "\r\x1b%") {
		t.Errorf("a pipe gets progress: %v", r)
	}
}

func TestAHostileNameDoesNothingToATerminal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.want(2, "symbols", "add", "A", "--name", "\x1b[31mred\x1b[0m\x07back") // refused, and kept in its run
	l.must("symbols", "add", "A", "--name", "\u202eback")
	for _, args := range [][]string{{"symbols", "list"}, {"symbols", "list", "--output", "csv"}, {"symbols", "list", "--output", "json"}, {"runs", "list"}, {"runs", "show", "last"}, {"sql", "--meta", "SELECT name FROM symbols"}, {"sql", "--meta", "SELECT argv FROM run_process", "--output", "json"}, {"\x1b]0;title\x07"}, {"init-db", "--sqlite", "\x1b[31mm.db"}} {
		o := l.onTerminal([]string{"NO_COLOR=1"}, args...)
		<-o.done
		if s := o.screen.String(); strings.ContainsAny(s, "\x1b\x07\u202e") {
			t.Errorf("%q: control characters reach the terminal: %q", args, s)
		}
	}
	if _, err := os.Stat(l.path("data")); errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}
