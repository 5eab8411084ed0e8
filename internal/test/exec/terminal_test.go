package exec

import (
	"errors"
	"os"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

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
			l := labtest.New(t)
			l.Must("symbols", "add", "KEEP")
			o := l.OnTerminal(nil, "init-db", "--reset")
			o.WaitFor("Type yes")
			o.Typing(c.typed)
			o.End(c.code)
			kept := l.MetaRows("SELECT symbol FROM symbols") == "KEEP\n"
			if kept != (c.code != 0) {
				t.Fatalf("kept: %v\n%s", kept, o.Screen)
			}
			if run := l.LastRun(); run.Kind != "init-db" || int(run.Exit.Int64) != c.code {
				t.Fatalf("%+v", run)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		l := labtest.New(t)
		l.Must("symbols", "add", "KEEP")
		o := l.OnTerminal(nil, "init-db", "--reset")
		o.WaitFor("Type yes")
		o.Typing("\x03")
		o.End(130)
		l.WantFail(l.LastRun(), 130, "ended by SIGINT")
		if l.MetaRows("SELECT symbol FROM symbols") != "KEEP\n" {
			t.Fatal("interrupted, and the symbols are gone")
		}
	})
	t.Run("where nobody can be asked", func(t *testing.T) {
		t.Parallel()
		l := labtest.New(t)
		l.Must("symbols", "add", "KEEP")
		cmd := l.Command("init-db", "--reset")
		cmd.Stdin = strings.NewReader("yes\n")
		r := l.StartCmd(cmd).Wait()
		l.WantCode(r, 2)
		if !strings.Contains(r.Stderr, "--yes") || l.MetaRows("SELECT symbol FROM symbols") != "KEEP\n" {
			t.Fatal(r)
		}
	})
}

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	l.Want(2, "init-db", "extra")
	coloured := func(env []string, args ...string) bool {
		t.Helper()
		o := l.OnTerminal(env, args...)
		o.End(0)
		o.WaitFor("runs.list SUCCESS")
		return strings.Contains(o.Screen.String(), "\x1b[3")
	}
	if !coloured(nil, "runs", "list") {
		t.Error("a terminal shows no colours")
	}
	for name, got := range map[string]bool{
		"NO_COLOR":                 coloured([]string{"NO_COLOR=1"}, "runs", "list"),
		"--no-color":               coloured(nil, "runs", "list", "--no-color"),
		"--output json":            coloured(nil, "runs", "list", "--output", "json"),
		"--output csv":             coloured(nil, "runs", "list", "--output", "csv"),
		"a pipe":                   strings.Contains(l.Must("runs", "list").Stdout, "\x1b"),
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
	l := labtest.New(t)
	l.Write("big.csv.gz", labtest.Gzipped(t, labtest.PriceFile(1, 3000, "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L")))
	o := l.OnTerminal(nil, "ingest", "big.csv.gz")
	o.End(0)
	o.WaitFor("ingest SUCCESS")
	if !strings.Contains(o.Screen.String(), "%") || !strings.Contains(o.Screen.String(), "\r") {
		t.Errorf("a terminal shows no progress: %q", o.Screen)
	}
	q := l.OnTerminal(nil, "ingest", "big.csv.gz", "--quiet")
	if text := q.End(0); strings.Contains(text, "%") || strings.Contains(text, "SUCCESS") {
		t.Errorf("--quiet is not quiet: %q", text)
	}
	r := l.Must("ingest", "big.csv.gz")
	if strings.ContainsAny(r.Stdout+r.Stderr, "\r\x1b%") {
		t.Errorf("a pipe gets progress: %v", r)
	}
}

func TestAHostileNameDoesNothingToATerminal(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Want(2, "symbols", "add", "A", "--name", "\x1b[31mred\x1b[0m\x07back") // refused, and kept in its run
	l.Must("symbols", "add", "A", "--name", "\u202eback")
	for _, args := range [][]string{{"symbols", "list"}, {"symbols", "list", "--output", "csv"}, {"symbols", "list", "--output", "json"}, {"runs", "list"}, {"runs", "show", "last"}, {"sql", "--meta", "SELECT name FROM symbols"}, {"sql", "--meta", "SELECT argv FROM run_process", "--output", "json"}, {"\x1b]0;title\x07"}, {"init-db", "--sqlite", "\x1b[31mm.db"}} {
		o := l.OnTerminal([]string{"NO_COLOR=1"}, args...)
		<-o.Done
		if s := o.Screen.String(); strings.ContainsAny(s, "\x1b\x07\u202e") {
			t.Errorf("%q: control characters reach the terminal: %q", args, s)
		}
	}
	if _, err := os.Stat(l.Path("data")); errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}
