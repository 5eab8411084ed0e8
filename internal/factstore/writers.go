package factstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"quant/internal/durable"
)

// wantedFile ends the name of the file, beside the database, that processes which
// wait to write hold a shared lock on, and which is gone when none does. It holds the id
// of one of them.
const wantedFile = ".wanted.lock"

// Wanted reports whether another process, or another opening of this one, waits to
// write to the Fact DB at path (or to move it), and which; pid is 0 where that is not
// known. It takes microseconds. On a file system without locks nobody is seen.
func Wanted(path string) (pid int, wanted bool) {
	path, err := resolve(path)
	if err != nil {
		return 0, false
	}
	f, err := os.OpenFile(path+wantedFile, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false // nobody has ever waited
	}
	lock := durable.LockOn(f)
	defer lock.Close()
	if !errors.Is(lock.Try(durable.Exclusive), durable.ErrHeld) {
		return 0, false
	}
	var text [20]byte
	n, _ := f.ReadAt(text[:], 0) // what cannot be read is not known
	pid, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid, true
}

// writing is whileHeld for who wants the file alone. Readers that yield see it while it
// waits.
func writing(ctx context.Context, o Options, try func() error) error {
	var unmark func()
	defer func() {
		if unmark != nil {
			unmark()
		}
	}()
	return whileHeld(ctx, o, func() error {
		err := try()
		var held *heldError
		if unmark == nil && o.Wait > 0 && errors.As(err, &held) && !held.here {
			unmark = want(ctx, o.Path+wantedFile)
		}
		return err
	})
}

// want shows that this process waits to write, until unmark is called. Where that
// cannot be shown, it only waits longer.
func want(ctx context.Context, path string) (unmark func()) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return func() {}
		}
		mark := durable.LockOn(f)
		mark.LongestPause = time.Millisecond // who looks holds it for microseconds
		if mark.Wait(ctx, durable.Shared, 100*time.Millisecond) != nil {
			mark.Close()
			return func() {}
		}
		// Who leaves last takes the file away, perhaps between the two steps.
		here, err := f.Stat()
		if there, e := os.Lstat(path); err != nil || e != nil || !os.SameFile(here, there) {
			mark.Close()
			if ctx.Err() != nil || err != nil {
				return func() {}
			}
			continue
		}
		_ = f.Truncate(0) // whose id stands there is told for comfort alone
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		return func() {
			if mark.Try(durable.Exclusive) == nil { // nobody else waits
				_ = os.Remove(path)
			}
			mark.Close()
		}
	}
}

// Holder is the process that kept a Fact DB from being opened, of a quant.Locked error
// of this package; pid is 0 and program "" where they are not known.
func Holder(err error) (pid int, program string) {
	var held *heldError
	if !errors.As(err, &held) {
		return 0, ""
	}
	if held.program != "" {
		program = filepath.Base(held.program)
	}
	return held.pid, program
}
