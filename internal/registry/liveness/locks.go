package liveness

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/process"
)

// Locks proves with locks of the operating system that processes of one machine
// live: each process that has runs open holds one on a file of its own. The
// kernel lets it go when the process ends, however it ends. Locks is for
// concurrent use.
type Locks struct {
	dir     string
	process *Process

	mu   sync.Mutex
	held *os.File
}

// NewLocks makes the locks of a folder; it touches nothing yet. All processes that
// share a Meta DB must share the folder. process is this one; nil: it is read
// when it is needed.
func NewLocks(dir string, process *Process) *Locks { return &Locks{dir: dir, process: process} }

// Hold makes the lock file of this process, which bears the id of its first run,
// locks it until Release or the end of the process, and returns its name. Go opens
// files with O_CLOEXEC, so no child inherits the lock. Errors: Store when the file
// cannot be made, Locked when another process has it for longer than a moment.
func (l *Locks) Hold(ctx context.Context, runID string) (name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		f, err := l.lock(ctx, runID)
		if err != nil {
			return "", err
		}
		l.held = f
	}
	return filepath.Base(l.held.Name()), nil
}

// Release removes the lock file and lets the lock go: from then on a run of this
// process that is still open is taken for dead. A Hold afterwards makes a new
// lock.
func (l *Locks) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		// In this order: otherwise another process could take the file for that
		// of a dead run and find it gone.
		os.Remove(l.held.Name())
		l.held.Close()
		l.held = nil
	}
}

// leave lets the lock go and leaves its file, by which others on this machine know that a
// run of this process that is still open is dead; Sweep takes the file away.
func (l *Locks) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		l.held.Close()
		l.held = nil
	}
}

// Judge tells whether the process that recorded a run still lives. The lock
// decides; where its file is gone (somebody removed it), the process itself
// does: same boot, same pid, same start. Nothing here reads a wall clock, so
// setting it back changes nothing.
func (l *Locks) Judge(_ context.Context, p quant.RunProcess) Life {
	me := l.thisProcess()
	if p.RunID == "" || p.MachineID == "" || string(p.MachineID) != me.MachineID {
		return Unjudged
	}
	switch l.stateOf(string(p.LiveLock)) {
	case lockHeld:
		return Alive
	case lockFree:
		return Dead
	case lockUnknown:
		if p.BootID == "" || string(p.BootID) == me.BootID {
			if _, exists := process.StartOf(int(p.PID)); exists {
				return Unjudged
			}
		}
		return Dead
	}
	if p.BootID != "" && string(p.BootID) != me.BootID {
		return Dead
	}
	start, exists := process.StartOf(int(p.PID))
	if exists && start == string(p.ProcessStart) {
		return Alive
	}
	return Dead
}

// sweepPatience is how long a Sweep takes at most.
const sweepPatience = 100 * time.Millisecond

// Sweep removes lock files that dead processes left, as many as there is time
// for: the next one goes on.
func (l *Locks) Sweep(ctx context.Context) {
	dir, err := os.Open(l.dir)
	if err != nil {
		return
	}
	defer dir.Close()
	for begun := time.Now(); ctx.Err() == nil && time.Since(begun) < sweepPatience; {
		names, err := dir.Readdirnames(100)
		for _, name := range names {
			l.sweep(name)
		}
		if err != nil {
			return // io.EOF: these were all
		}
	}
}

func (l *Locks) thisProcess() *Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.process == nil {
		l.process = ThisProcess()
	}
	return l.process
}

func (l *Locks) path(name string) string { return filepath.Join(l.dir, name) }

func (l *Locks) lock(ctx context.Context, runID string) (*os.File, error) {
	path := l.path(runID)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(l.dir, 0o700); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, lockFailed(runID, err)
		}
		if err := durable.LockOn(f).Wait(ctx, durable.Exclusive, failpoint.Patience("live", 15*time.Second)); err != nil {
			f.Close()
			return nil, lockFailed(runID, err)
		}
		// A sweep may have found the file before it was locked and removed it.
		if onDisk, err := os.Stat(path); err == nil {
			if mine, err := f.Stat(); err == nil && os.SameFile(onDisk, mine) {
				return f, nil
			}
		}
		f.Close()
	}
}

func lockFailed(runID string, err error) error {
	if errors.Is(err, durable.ErrHeld) { // a sweep holds it for a moment
		return quant.Errorf(quant.Locked, "lock run %s: %w", runID, err).WithHint("try again when the other quant process has ended or goes on")
	}
	return quant.Errorf(quant.Store, "lock run %s: %w", runID, err).
		WithHint("the folder of the Meta DB must be writable, with space left")
}

// lockState is what a lock file tells.
type lockState int

const (
	lockMissing lockState = iota // no such file
	lockFree                     // the file is there and nobody holds it: its process is gone
	lockHeld                     // a living process holds it
	lockUnknown                  // this file system or this user cannot tell
)

func (l *Locks) stateOf(name string) lockState {
	if filepath.Base(name) != name || name == "." || name == ".." {
		return lockMissing // not a name that this program gave
	}
	f, err := os.OpenFile(l.path(name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return lockMissing
	}
	if err != nil {
		return lockUnknown
	}
	defer f.Close()
	// Shared, so that two who ask at once do not take each other for the owner.
	switch err := durable.LockOn(f).Try(durable.Shared); {
	case err == nil:
		return lockFree
	case errors.Is(err, durable.ErrHeld):
		return lockHeld
	default:
		return lockUnknown
	}
}

// sweep removes the lock file of a dead process. It does so under the file's
// own lock, so that a process that is about to take it finds it gone and makes
// another, and only while it is the file of that name.
func (l *Locks) sweep(name string) {
	path := l.path(name)
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if durable.LockOn(f).Try(durable.Exclusive) != nil {
		return
	}
	onDisk, err := os.Lstat(path)
	if err != nil {
		return
	}
	if mine, err := f.Stat(); err == nil && mine.Mode().IsRegular() && os.SameFile(onDisk, mine) {
		os.Remove(path)
	}
}
