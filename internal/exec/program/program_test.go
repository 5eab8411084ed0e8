package program

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func script(t testing.TB, dir, name, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAProgramIsFoundAsAShellFindsIt(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	script(t, one, "p", "", 0o644)
	want := script(t, two, "p", "", 0o755)
	if err := os.Mkdir(filepath.Join(one, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Find("p", one+":/no/such:"+two); err != nil || got != want {
		t.Errorf("%q %v", got, err)
	}
	for name, c := range map[string]struct {
		program, path string
		want          error
	}{
		"nowhere":            {"p", "/no/such", fs.ErrNotExist},
		"no name":            {"", two, fs.ErrNotExist},
		"not executable":     {"p", one, fs.ErrPermission},
		"a folder":           {"d", one, fs.ErrPermission},
		"a path":             {one + "/p", "", fs.ErrPermission},
		"a path to nothing":  {one + "/x", "", fs.ErrNotExist},
		"below a plain file": {one + "/p/x", "", fs.ErrNotExist},
	} {
		if _, err := Find(c.program, c.path); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatAProgramPrintsPassesAndIsCopied(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	copied := map[bool]string{}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	errs, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	pid := 0
	result, err := Command{
		Path: "/bin/sh", Argv: []string{"sh", "-c", "echo out; echo $$ >&2; echo $V; kill -USR1 $$"}, Env: []string{"V=value"},
		In: null, Out: w, Err: errs, Started: func(p int) { pid = p },
		Copy: func(out bool, b []byte) { mu.Lock(); defer mu.Unlock(); copied[out] += string(b) },
	}.Run()
	w.Close()
	passed, _ := io.ReadAll(r)
	if err != nil || !result.Status.Signaled() || result.Status.Signal() != syscall.SIGUSR1 || pid == 0 {
		t.Errorf("%v %v", result.Status, err)
	}
	if string(passed) != "out\nvalue\n" || copied[true] != string(passed) || !strings.HasSuffix(copied[false], "\n") {
		t.Errorf("%q %v", passed, copied)
	}
}

func TestTheInterpreterOfAScriptIsFoundInItsFirstLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	python := script(t, dir, "python3", "", 0o755)
	for name, c := range map[string]struct{ text, want string }{
		"env":           {"#!/usr/bin/env python3\n", python},
		"env -S":        {"#!/usr/bin/env -S A=1 python3 -u\n", python},
		"a path":        {"#!/opt/bin/python3.12 -I\n", "/opt/bin/python3.12"},
		"another":       {"#!/bin/sh\nexec python3\n", ""},
		"env another":   {"#!/usr/bin/env ruby\n", ""},
		"env nothing":   {"#!/usr/bin/env\n", ""},
		"no first line": {"print(1)\n", ""},
		"empty":         {"", ""},
		"pythonic":      {"#!/usr/bin/pythonista\n", ""},
	} {
		if got := PythonOf(script(t, dir, "script", c.text, 0o755), dir); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := PythonOf(python, ""); got != python {
		t.Errorf("%q", got)
	}
}

func TestAnInterpreterThatHangsOrLiesIsGivenUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	for name, text := range map[string]string{"hangs": "sleep 60 & sleep 60", "lies": "echo hello", "floods": "yes", "fails": "exit 1"} {
		if _, err := AskPython(ctx, Interpreter{Path: script(t, dir, name, "#!/bin/sh\n"+text+"\n", 0o755)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if time.Since(begun) > 30*time.Second {
		t.Error("it was waited for")
	}
}

func FuzzAFirstLineNamesAnInterpreterOrNone(f *testing.F) {
	f.Add([]byte("#!/usr/bin/env -S python3 -u\n"))
	f.Add([]byte("#! python\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(path, text, 0o700); err != nil {
			t.Fatal(err)
		}
		if got := PythonOf(path, ""); got != "" && !isPython(got) {
			t.Errorf("%q", got)
		}
	})
}

func TestACommandLineMentionsPythonWhereItRunsIt(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"env|A=1|python3.11|x.py":               "python3.11, named",
		"/usr/bin/nice|-n|5|/opt/bin/python|x":  "/opt/bin/python, named",
		"sh|-c|cd x && exec python3 x.py":       "python3, named",
		"timeout|5|bash|-ec|a=$(python3 -V)":    "python3, named",
		"uv|run|x.py":                           "uv",
		"env|A=1|poetry|run|x":                  "poetry",
		"torchrun|--nproc|2|x.py":               "torchrun",
		"echo|python3":                          "",
		"grep|-c|python3 x|file":                "",
		"sh|x.sh|python is fine":                "",
		"sh|-c|echo pythonic":                   "",
		"cat|poetry":                            "",
		"env|sh|-c|nohup pypy3 x.py >out 2>&1 ": "pypy3, named",
	} {
		word, named := Mentioned(strings.Split(line, "|"))
		if named {
			word += ", named"
		}
		if word != want {
			t.Errorf("%s: %q, want %q", line, word, want)
		}
	}
	dir := t.TempDir()
	for text, want := range map[string]string{
		"#!/bin/sh\n# python2\nexec /opt/bin/python3 \"$@\"\n": "python3", "#!/bin/sh\nls\n": "", "exec python3\n": "", "": "",
	} {
		if got := NamedIn(script(t, dir, "s", text, 0o755)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestThePythonsOfAProgramAreTheLastOfEachChain(t *testing.T) {
	t.Parallel()
	tool, mine, other := Interpreter{Path: "/tool/python"}, Interpreter{Path: "/mine/python"}, Interpreter{Path: "/other/python"}
	launcher := tool
	launcher.Launcher = true
	type step struct {
		pid int
		is  Interpreter
	}
	for name, c := range map[string]struct {
		steps []step
		want  string
	}{
		"one":                           {[]step{{1, mine}}, "/mine/python"},
		"a tool that is replaced":       {[]step{{1, tool}, {1, mine}}, "/mine/python"},
		"a tool that stays":             {[]step{{1, launcher}, {2, mine}}, "/mine/python"},
		"a tool alone":                  {[]step{{1, launcher}}, "/tool/python"},
		"a child":                       {[]step{{1, mine}, {2, other}}, "/mine/python /other/python"},
		"a child that was forked first": {[]step{{1, mine}, {2, mine}, {2, other}}, "/mine/python /other/python"},
		"workers":                       {[]step{{1, mine}, {2, mine}, {3, mine}}, "/mine/python"},
	} {
		w := &Watcher{stop: func() {}, done: make(chan struct{}), last: map[int]int{}}
		close(w.done)
		for _, s := range c.steps {
			w.add(s.pid, s.is)
		}
		var got []string
		for _, i := range w.Stop() {
			got = append(got, i.Path)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}
