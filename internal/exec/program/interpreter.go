package program

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"quant/internal/process"
)

// Interpreter is a Python that a program was seen to run, and how to start it as
// the program did.
type Interpreter struct {
	Path string
	Env  []string
	Dir  string // the folder that it was started in; "": not known
	// Launcher says that it only started another program: it was replaced by
	// another one (poetry run), or runs a tool that does nothing else (conda run).
	Launcher bool
}

// same reports whether two interpreters have the same packages, as far as can be
// told from outside.
func (i Interpreter) same(other Interpreter) bool {
	if i.Path != other.Path {
		return false
	}
	for _, name := range []string{"PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE"} {
		if variable(i.Env, name) != variable(other.Env, name) {
			return false
		}
	}
	return true
}

func variable(env []string, name string) string {
	for _, pair := range env {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	return ""
}

// command is what a process was started as.
type command struct {
	file string // what it executes, without symbolic links
	args []string
	env  []string
	dir  string
}

// interpreter is the Python that a process is: as it was named, since that is
// where a virtual environment is, where that is what it executes.
func (p command) interpreter() Interpreter {
	i := Interpreter{Path: p.file, Env: p.env, Dir: p.dir, Launcher: launches(p.args)}
	name := p.args[0]
	switch {
	case strings.Contains(name, "/"):
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.dir, name)
		}
	default:
		found, err := Find(name, variable(p.env, "PATH"))
		if err != nil {
			return i
		}
		if name = found; !filepath.IsAbs(name) {
			name = filepath.Join(p.dir, name)
		}
	}
	if file, err := filepath.EvalSymlinks(name); err == nil && file == p.file {
		i.Path = name
	}
	return i
}

// launchers are the tools written in Python that run others' programs with a
// Python that need not be theirs.
var launchers = []string{"conda", "mamba", "poetry", "pipenv", "pdm", "hatch", "tox", "nox", "pixi", "rye", "virtualenv", "papermill", "jupyter", "jupyter-nbconvert", "jupyter-execute", "accelerate"}

// IsLauncher reports whether a program of this name, written in Python, runs others'
// programs with a Python that need not be its own.
func IsLauncher(name string) bool { return slices.Contains(launchers, filepath.Base(name)) }

// launches reports whether a Python runs one of the launchers.
func launches(args []string) bool {
	for at := 1; at < len(args); at++ {
		switch arg := args[at]; {
		case arg == "-m" && at+1 < len(args):
			return IsLauncher(args[at+1])
		case arg == "-X" || arg == "-W":
			at++
		case strings.HasPrefix(arg, "-"):
		default:
			return IsLauncher(arg)
		}
	}
	return false
}

const (
	shortestLook = time.Millisecond
	longestLook  = 100 * time.Millisecond
	// settledLook is the time between two looks once a Python was seen.
	settledLook = 500 * time.Millisecond
	// rest is the time between two looks for each file that a look reads, which takes
	// about a twentieth of that.
	rest = 200 * time.Microsecond
	// maxProcesses is how many processes of a program are looked at.
	maxProcesses = 512
	// maxInterpreters is how many different ones of a program are told.
	maxInterpreters = 8
)

// Watcher learns which Pythons a program runs, by looking at its processes while
// they run. A process that ends within a few milliseconds, or that has left the
// program (a daemon), may be missed; so may one that starts late and is over within
// a hundredth of the program's time by then, of a tenth of a second at most; and, on
// a machine that is busy, one that lives for some tens of milliseconds.
type Watcher struct {
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex
	seen []Interpreter
	last map[int]int // the index in seen of what a process was last
}

// Watch begins to look at a program that has started. found is told, before Watch
// returns or in the watcher's goroutine, of each interpreter that differs from those before, also of
// launchers.
func Watch(ctx context.Context, pid int, found func(Interpreter)) *Watcher {
	ctx, stop := context.WithCancel(ctx)
	w := &Watcher{stop: stop, done: make(chan struct{}), last: map[int]int{}}
	known := map[int]uint64{}
	reads := w.look(pid, known, found) // at once: it may be over soon
	go func() {
		defer close(w.done)
		w.watch(ctx, pid, reads, known, found)
	}()
	return w
}

// Stop ends looking, and returns what was seen: the interpreter of the program
// itself first, then others, without launchers unless there is nothing else.
func (w *Watcher) Stop() []Interpreter {
	w.stop()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	var list, launched []Interpreter
	for _, i := range w.seen {
		if i.Launcher {
			launched = append(launched, i)
		} else {
			list = append(list, i)
		}
	}
	if len(list) == 0 && len(launched) > 0 {
		list = launched[len(launched)-1:]
	}
	return list
}

func (w *Watcher) watch(ctx context.Context, root, reads int, known map[int]uint64, found func(Interpreter)) {
	begun := time.Now()
	for {
		past := time.Since(begun)
		wait := min(max(shortestLook, past/100), longestLook)
		if w.settled() {
			wait = max(wait, min(settledLook, past))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, time.Duration(reads)*rest)):
		}
		reads = w.look(root, known, found)
	}
}

// settled reports whether a Python was seen that is no launcher.
func (w *Watcher) settled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.seen, func(i Interpreter) bool { return !i.Launcher })
}

// look looks at every process of the program once, and returns how many files it
// read. known is what each process was at the last look.
func (w *Watcher) look(root int, known map[int]uint64, found func(Interpreter)) (reads int) {
	list, reads := process.Family(root, maxProcesses)
	for _, pid := range list {
		image, ok := process.Image(pid)
		if !ok || known[pid] == image {
			continue
		}
		p, ok := startedAs(pid)
		if !ok {
			continue // it is just becoming another program, or has ended
		}
		if !isPython(p.file) {
			known[pid] = image
			w.forget(pid)
			continue
		}
		if len(p.args) == 0 || p.args[0] == "" {
			continue
		}
		known[pid] = image
		if i := p.interpreter(); w.add(pid, i) {
			found(i)
		}
	}
	if len(known) > 2*maxProcesses {
		for pid := range known {
			if !slices.Contains(list, pid) {
				delete(known, pid)
			}
		}
	}
	return reads + len(list)
}

// startedAs is what a process was started as; of one that is no Python, the file
// alone.
func startedAs(pid int) (p command, ok bool) {
	var err error
	if p.file, err = process.Executable(pid); err != nil || !isPython(p.file) {
		return p, err == nil
	}
	if p.args, err = process.Args(pid); err != nil || len(p.args) == 0 {
		return p, false
	}
	if p.env, err = process.Environ(pid); err != nil {
		return p, false
	}
	p.dir = process.Folder(pid)
	return p, true
}

// add notes an interpreter, and reports whether there was none like it.
func (w *Watcher) add(pid int, i Interpreter) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := slices.IndexFunc(w.seen, i.same)
	isNew := at < 0
	if isNew {
		if len(w.seen) == maxInterpreters {
			return false
		}
		at = len(w.seen)
		w.seen = append(w.seen, i)
	} else if !i.Launcher {
		w.seen[at].Launcher = false
	}
	before, was := w.last[pid]
	w.last[pid] = at
	if was && before != at && !slices.Contains(slices.Collect(maps.Values(w.last)), before) {
		w.seen[before].Launcher = true // a child that was just forked was what its parent still is
	}
	return isNew
}

// forget is called for a process that is no Python, or not any more.
func (w *Watcher) forget(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.last, pid)
}
