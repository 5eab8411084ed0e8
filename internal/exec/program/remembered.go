package program

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"quant/internal/durable"
)

// Memory keeps what interpreters said of themselves, each answer in a file, with the
// state of all that it depends on: the interpreter, what is on its path and could be,
// the files that put more on it, and the records of its packages. An answer whose
// files are not all as they were is no answer. What cannot be read or written is as
// if it were not there. Safe for concurrent use, also by several processes.
type Memory struct {
	Dir string // "": nothing is remembered
	// Keep tells whether a text may be written down; nil: any.
	Keep func(text string) bool
	Now  func() time.Time // nil: time.Now
}

// settled is how long everything must have been as it is when an interpreter is
// asked: what changes later then has another time, on any file system.
const settled = 2 * time.Second

// remembered is the content of a file of a Memory.
type remembered struct {
	Key    string               `json:"key"`
	Python Python               `json:"python"`
	State  map[string]fileState `json:"state"` // by path
}

// fileState is what a change of a file or folder changes; zero: there is none.
type fileState struct {
	Device  uint64 `json:"device,omitempty"`
	Inode   uint64 `json:"inode,omitempty"`
	Size    int64  `json:"size,omitempty"`
	Changed int64  `json:"changed,omitempty"` // its status, ns: nobody can set that time
	Mode    uint32 `json:"mode,omitempty"`
}

func stateOf(path string) fileState {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return fileState{}
	}
	return fileState{uint64(s.Dev), s.Ino, s.Size, s.Ctim.Nano(), uint32(s.Mode)} //nolint:unconvert // of other types elsewhere
}

// Ask is AskPython, or what that said before where nothing has changed.
func (m Memory) Ask(ctx context.Context, interpreter Interpreter) (Python, error) {
	if m.Dir == "" {
		return AskPython(ctx, interpreter)
	}
	if m.Now == nil {
		m.Now = time.Now
	}
	key := keyOf(interpreter)
	file := filepath.Join(m.Dir, fmt.Sprintf("%x.json", sha256.Sum256([]byte(key))))
	if p, known := read(file, key); known {
		return p, nil
	}
	begun := m.Now()
	p, err := AskPython(ctx, interpreter)
	if err == nil {
		m.write(file, key, interpreter, p, begun)
	}
	return p, err
}

// keyOf is all by which a start of an interpreter differs from another one that is
// told by no file: where it is, where it is started, and what Python reads of the
// environment.
func keyOf(i Interpreter) string {
	var env []string
	for _, e := range i.Env {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "PYTHON") || strings.HasPrefix(name, "CONDA") || strings.HasPrefix(name, "SETUPTOOLS") ||
			slices.Contains([]string{"HOME", "PATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "LD_LIBRARY_PATH"}, name) {
			env = append(env, e)
		}
	}
	slices.Sort(env)
	return strings.Join(append([]string{askPython, i.Path, i.Dir}, env...), "\x00")
}

func read(file, key string) (Python, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Python{}, false
	}
	var r remembered
	if json.Unmarshal(text, &r) != nil || r.Key != digest(key) || len(r.State) == 0 {
		return Python{}, false
	}
	for path, state := range r.State {
		if stateOf(path) != state {
			return Python{}, false
		}
	}
	return r.Python, true
}

// digest stands for a key in a file: the environment is nobody's business.
func digest(key string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte("remembered "+key))) }

func (m Memory) write(file, key string, i Interpreter, p Python, begun time.Time) {
	own, err := filepath.EvalSymlinks(i.Path)
	if err != nil {
		return
	}
	// A program that only chooses an interpreter may choose another one next time.
	if said, err := filepath.EvalSymlinks(p.Executable); err != nil || said != own || len(p.Depends) == 0 {
		return
	}
	r := remembered{Key: digest(key), Python: p, State: map[string]fileState{}}
	r.Python.Depends = nil
	for _, path := range append(p.Depends, i.Path, own) {
		if !filepath.IsAbs(path) {
			return
		}
		state := stateOf(path)
		if state.Changed >= begun.Add(-settled).UnixNano() {
			return
		}
		r.State[path] = state
	}
	text, err := json.Marshal(r)
	if err != nil || m.Keep != nil && !m.Keep(string(text)) {
		return
	}
	if os.MkdirAll(m.Dir, 0o700) == nil {
		_ = durable.Replace(file, 0o600, durable.Bytes(text)) // as if it were not there
	}
}
