package labtest

import (
	"os"
	"sync"
	"testing"
)

// Prepared is a lab that a package makes once, and copies for each test. It
// belongs into a package-level variable; Main removes it.
type Prepared struct {
	Make func(l *Lab) // fills an empty folder; no process may be left

	once sync.Once
	dir  string
}

// Copy is a lab with what Make made. For several goroutines at once.
func (p *Prepared) Copy(t *testing.T) *Lab {
	t.Helper()
	p.once.Do(func() {
		dir, err := os.MkdirTemp("", "quant-prepared-")
		Must(t, err)
		prepared.add(dir)
		p.Make(&Lab{T: t, Dir: dir})
		p.dir = dir
	})
	if p.dir == "" {
		t.Fatal("the prepared lab could not be made; see the test that came first")
	}
	return (&Lab{T: t, Dir: p.dir}).CopyOf(t)
}

// prepared are the folders to remove when the tests of this process have ended.
var prepared folders

type folders struct {
	mu   sync.Mutex
	dirs []string
}

func (f *folders) add(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirs = append(f.dirs, dir)
}

func (f *folders) remove() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, dir := range f.dirs {
		os.RemoveAll(dir)
	}
}

// cleaning runs the tests and removes what they prepared.
type cleaning struct{ *testing.M }

func (c cleaning) Run() int {
	defer prepared.remove()
	return c.M.Run()
}
