package lab

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
)

// Claim is one process's use of a lab. All that work with a lab share it; who
// puts another lab in its place has it alone. It is a lock on the folder of
// liveness locks, which stays where it is; it goes with the process, however
// that ends.
type Claim struct {
	path string        // of the Meta DB
	lock *durable.Lock // nil: there can be none
}

// patience is how long one waits for a lab that is being replaced.
func patience() time.Duration { return failpoint.Patience("claim", 30*time.Second) }

// Use claims the lab of a Meta DB, at its real path, together with others. Where
// no lock can be made (a folder that may not be written) nothing is claimed:
// nobody can put another lab there either. Errors: Locked when the lab is being
// replaced for longer than a process waits; Store when a restore or a remedy that
// was killed cannot be finished.
func Use(ctx context.Context, metaFile string) (*Claim, error) {
	c := &Claim{path: metaFile}
	live := place.LiveDir(metaFile)
	_ = os.MkdirAll(live, 0o700) // else there can be no lock, nor a run
	f, err := os.OpenFile(live, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return c, nil
	}
	c.lock = durable.LockOn(f)
	if err := c.wait(ctx, durable.Shared); err != nil {
		c.Release()
		return nil, err
	}
	if _, err := os.Lstat(place.JournalFile(metaFile)); err != nil {
		return c, nil
	}
	if err := c.wait(ctx, durable.Exclusive); err == nil {
		err = finish(metaFile) // or somebody else has meanwhile
		if err == nil {
			err = c.wait(ctx, durable.Shared)
		}
		if err != nil {
			c.Release()
			return nil, err
		}
		return c, nil
	}
	c.Release()
	return nil, quant.Errorf(quant.Locked, "the restore or the remedy of the lab of %s was killed, and other processes still use it", metaFile).
		WithHint("try again when they have ended: the next command finishes it")
}

// Alone runs fn while no other process uses the lab; Locked if one does for
// longer than wait, or waits for the same; or if afterwards the claim could not be
// shared again.
func (c *Claim) Alone(ctx context.Context, wait time.Duration, fn func() error) (err error) {
	if c.lock == nil {
		return quant.Errorf(quant.Store, "the lab of %s cannot be locked", c.path).WithHint("make its folder writable")
	}
	// Only one tries at a time: who tries lets its own lock go for a moment.
	turn, err := durable.OpenLock(place.TurnFile(c.path))
	if err != nil {
		return quant.Errorf(quant.Store, "lock the lab of %s: %w", c.path, err).WithHint("make its folder writable")
	}
	defer turn.Close()
	used := quant.Errorf(quant.Locked, "another quant process uses the lab of %s", c.path).
		WithHint("wait for it to end (`quant runs list --all --status running` shows it), then try again")
	if err := turn.Try(durable.Exclusive); err != nil {
		return used
	}
	defer func() { // it may wait for who finishes what fn left
		if lost := c.wait(context.WithoutCancel(ctx), durable.Shared); err == nil {
			err = lost
		}
	}()
	c.lock.LongestPause = 2 * time.Millisecond // the others come and go in milliseconds
	if err := c.lock.Wait(ctx, durable.Exclusive, wait); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return used
	}
	return fn()
}

// Release gives the claim up.
func (c *Claim) Release() {
	if c != nil && c.lock != nil {
		c.lock.Close()
		c.lock = nil
	}
}

func (c *Claim) wait(ctx context.Context, how durable.Hold) error {
	limit := patience()
	err := c.lock.Wait(ctx, how, limit)
	switch {
	case errors.Is(err, durable.ErrHeld):
		return quant.Errorf(quant.Locked, "the lab of %s is being replaced by another process (waited %s)", c.path, limit).
			WithHint("try again when `quant restore`, `quant doctor --fix` or `quant init-db --reset` has finished")
	case ctx.Err() != nil:
		return err
	}
	return nil // also on a file system without locks: as before there were any
}
