package lab

import (
	"context"
	"errors"
	"os"
	"quant/internal/lab/place"
	"time"

	"golang.org/x/sys/unix"

	"quant"
)

// Claim is one process's use of a lab. All that work with a lab share it; who
// puts another lab in its place has it alone. It is a lock on the folder of
// liveness locks, which stays where it is; it goes with the process, however
// that ends.
type Claim struct {
	path string // of the Meta DB
	f    *os.File
}

// patience is how long one waits for a lab that is being replaced.
const patience = 30 * time.Second

// Use claims the lab of a Meta DB, at its real path, together with others. Where
// no lock can be made (a folder that may not be written) nothing is claimed:
// nobody can put another lab there either. Errors: Locked when the lab is being
// replaced for longer than a process waits; Store when a restore that was killed
// cannot be finished.
func Use(ctx context.Context, metaFile string) (*Claim, error) {
	c := &Claim{path: metaFile}
	live := place.LiveDir(metaFile)
	_ = os.MkdirAll(live, 0o700) // else there can be no lock, nor a run
	f, err := os.OpenFile(live, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return c, nil
	}
	c.f = f
	if err := c.wait(ctx, unix.LOCK_SH); err != nil {
		c.Release()
		return nil, err
	}
	if _, err := os.Lstat(place.JournalFile(metaFile)); err != nil {
		return c, nil
	}
	if err := c.wait(ctx, unix.LOCK_EX); err == nil {
		err = finish(metaFile) // or somebody else has meanwhile
		if err == nil {
			err = c.wait(ctx, unix.LOCK_SH)
		}
		if err != nil {
			c.Release()
			return nil, err
		}
		return c, nil
	}
	c.Release()
	return nil, quant.Errorf(quant.Locked, "the restore of the lab of %s was killed, and other processes still use it", metaFile).
		WithHint("try again when they have ended: the next command finishes it")
}

// Alone runs fn while no other process uses the lab; Locked if one does for
// longer than wait, or waits for the same.
func (c *Claim) Alone(ctx context.Context, wait time.Duration, fn func() error) error {
	if c.f == nil {
		return quant.Errorf(quant.Store, "the lab of %s cannot be locked", c.path).WithHint("make its folder writable")
	}
	// Only one tries at a time: who tries lets its own lock go for a moment.
	turn, err := os.OpenFile(place.TurnFile(c.path), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return quant.Errorf(quant.Store, "lock the lab of %s: %w", c.path, err).WithHint("make its folder writable")
	}
	defer turn.Close()
	used := quant.Errorf(quant.Locked, "another quant process uses the lab of %s", c.path).
		WithHint("wait for it to end (`quant runs list --all --status running` shows it), then try again")
	if err := unix.Flock(int(turn.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return used
	}
	defer func() { _ = unix.Flock(int(c.f.Fd()), unix.LOCK_SH) }()
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for unix.Flock(int(c.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		select {
		case <-time.After(2 * time.Millisecond): // the others come and go in milliseconds
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return used
		}
	}
	return fn()
}

// Release gives the claim up.
func (c *Claim) Release() {
	if c != nil && c.f != nil {
		c.f.Close()
		c.f = nil
	}
}

func (c *Claim) wait(ctx context.Context, how int) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := unix.Flock(int(c.f.Fd()), how|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil // a file system without locks: as before there were any
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return quant.Errorf(quant.Locked, "the lab of %s is being replaced by another process (waited %s)", c.path, patience).
				WithHint("try again when `quant restore` has finished")
		}
	}
}
