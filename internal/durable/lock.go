package durable

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld is the error of a lock that somebody else has.
var ErrHeld = errors.New("somebody else holds the lock")

// Hold is how a lock is held.
type Hold int

// The ways to hold a lock.
const (
	Shared    Hold = unix.LOCK_SH // together with others that share it
	Exclusive Hold = unix.LOCK_EX // alone
)

// Lock is a lock on an open file (flock). It keeps apart processes, and two
// Locks of one process; it goes with Close, or with the process however that
// ends, and is not inherited by children. Not for concurrent use.
type Lock struct {
	// LongestPause is how long Wait sleeps at most between two tries; 0 means
	// 20 ms.
	LongestPause time.Duration

	f *os.File
}

// OpenLock opens the file of a lock, and makes it (0600) if it is missing; a
// link is refused. Nothing is locked yet. The file is to stay for ever, because
// removing the file of a lock lets two processes hold it. Errors: the operating
// system's.
func OpenLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return &Lock{f: f}, nil
}

// LockOn is a lock on a file, or folder, that is open already. Close closes it.
func LockOn(f *os.File) *Lock { return &Lock{f: f} }

// Try takes the lock, or holds one that it has in another way: then there may be
// a moment in between in which it is held in none, and after an error it may be
// lost. Errors: ErrHeld at once if somebody else has it; else the operating
// system's, of a file system that has no locks.
func (l *Lock) Try(how Hold) error {
	for {
		err := unix.Flock(int(l.f.Fd()), int(how)|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrHeld
		case !errors.Is(err, unix.EINTR):
			return os.NewSyscallError("flock", err)
		}
	}
}

// Wait tries until it has the lock, for as long as limit. Errors: ErrHeld after
// limit, ctx's cause, and those of Try.
func (l *Lock) Wait(ctx context.Context, how Hold, limit time.Duration) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	longest := l.LongestPause
	if longest == 0 {
		longest = 20 * time.Millisecond
	}
	for pause := time.Millisecond; ; pause = min(2*pause, longest) {
		if err := l.Try(how); !errors.Is(err, ErrHeld) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return ErrHeld
		}
	}
}

// Close gives the lock up and closes its file.
func (l *Lock) Close() { l.f.Close() }
