package registry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"quant"
)

// takeLock makes the run's lock file and locks it for the life of this
// process. Go opens files with O_CLOEXEC, so no child inherits the lock; the
// kernel lets it go when the process ends, however it ends.
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
		if err := flock(f, unix.LOCK_EX); err != nil {
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

// releaseLock removes the lock file, then lets the lock go: the other way
// round another process could take the file for that of a dead run.
func (g *Registry) releaseLock(run *Run) {
	if run.lock != nil {
		os.Remove(run.lock.Name())
		run.lock.Close()
		run.lock = nil
	}
}

// lockState is what a run's lock file tells.
type lockState int

const (
	lockMissing lockState = iota // no such file
	lockFree                     // the file is there and nobody holds it: its process is gone
	lockHeld                     // a living process holds it
	lockUnknown                  // this file system or this user cannot tell
)

func (g *Registry) lockState(runID string) lockState {
	if filepath.Base(runID) != runID || runID == "." || runID == ".." {
		return lockUnknown
	}
	f, err := os.OpenFile(g.lockPath(runID), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return lockMissing
	}
	if err != nil {
		return lockUnknown
	}
	defer f.Close()
	// Shared, so that two who ask at once do not take each other for the owner.
	switch err := flock(f, unix.LOCK_SH|unix.LOCK_NB); {
	case err == nil:
		return lockFree
	case errors.Is(err, unix.EWOULDBLOCK):
		return lockHeld
	default:
		return lockUnknown
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
