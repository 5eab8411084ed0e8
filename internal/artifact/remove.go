package artifact

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
)

// patience is how long Hold and Remove wait for each other.
func patience() time.Duration { return failpoint.Patience("artifacts", 30*time.Second) }

// Hold keeps every content where it is until release is called: no Remove takes
// place meanwhile, of any process. Any number may hold at once. Errors: ctx's
// cause, Locked after 30 seconds, Store when there can be no lock.
func (s Store) Hold(ctx context.Context) (release func(), err error) {
	return s.lock(ctx, durable.Shared)
}

// Remove calls remove once nobody holds, and keeps everybody from holding until
// it returns: what it then finds unused stays so, since a content that is to be
// used is put first, and is young after that. Errors: those of Hold, and
// remove's.
func (s Store) Remove(ctx context.Context, remove func() error) error {
	release, err := s.lock(ctx, durable.Exclusive)
	if err != nil {
		return err
	}
	defer release()
	return remove()
}

// lock takes the lock on a file that stays for ever, because removing a lock
// file would let two processes hold it.
func (s Store) lock(ctx context.Context, how durable.Hold) (release func(), err error) {
	lock, err := s.openLock(s.Dir + ".lock")
	if err != nil {
		return nil, quant.Errorf(quant.Store, "lock the artifacts in %s: %w", s.Dir, err).WithHint("make its folder writable")
	}
	limit := patience()
	err = lock.Wait(ctx, how, limit)
	switch {
	case err == nil:
		return lock.Close, nil
	case errors.Is(err, durable.ErrHeld):
		err = quant.Errorf(quant.Locked, "the artifacts in %s are held by another process, still after %v", s.Dir, limit).
			WithHint("try again when its backup or gc has finished")
	case ctx.Err() == nil:
		err = quant.Errorf(quant.Store, "lock the artifacts in %s: %w", s.Dir, err).WithHint("the file system must support locks")
	}
	lock.Close()
	return nil, err
}

// Delete removes the file of a content, and its folder if it was the last one
// in it. It must run inside Remove. One that is gone already is no error. An object of a
// bucket RemoveObject removes.
func (s Store) Delete(c Content) error {
	if err := os.Remove(c.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return quant.Errorf(quant.Store, "remove an artifact: %w", err).WithHint("make its folder writable")
	}
	if dir := filepath.Dir(c.Path); dir != s.Dir {
		os.Remove(dir) // if nothing else is in it
	}
	return nil
}
