package registry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
)

// live makes the lock file of this registry, which bears the id of its first
// run, locks it until Close or the end of the process, and returns its name.
// Go opens files with O_CLOEXEC, so no child inherits the lock; the kernel lets
// it go when the process ends, however it ends.
func (g *Registry) live(runID string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lock == nil {
		f, err := g.takeLock(runID)
		if err != nil {
			return "", err
		}
		g.lock = f
	}
	return filepath.Base(g.lock.Name()), nil
}

// Close removes the lock file and lets the lock go: from then on a run of this
// registry that is still open is taken for dead. Only a registry that starts
// runs needs it. Starting another run afterwards makes a new lock.
func (g *Registry) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lock != nil {
		// In this order: otherwise another process could take the file for that
		// of a dead run and find it gone.
		os.Remove(g.lock.Name())
		g.lock.Close()
		g.lock = nil
	}
}

func (g *Registry) takeLock(runID string) (*os.File, error) {
	path := g.lockPath(runID)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(g.LiveDir, 0o700); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, lockFailed(runID, err)
		}
		if err := durable.LockOn(f).Take(durable.Exclusive); err != nil {
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

func (g *Registry) lockState(name string) lockState {
	if filepath.Base(name) != name || name == "." || name == ".." {
		return lockMissing // not a name that this program gave
	}
	f, err := os.OpenFile(g.lockPath(name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
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
func (g *Registry) sweep(name string) {
	path := g.lockPath(name)
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
