package exec

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
)

const (
	// recordRoom is what the end of a run needs at most on the disk of the Meta DB:
	// its row, what was noted for it, and its output's and code's description.
	recordRoom = 1 << 20
	// leastRoom is what it needs at least.
	leastRoom = 256 << 10
	// othersRoom is what a log leaves free on that disk for what is recorded while
	// the program runs.
	othersRoom = 1 << 20
)

// room is disk space that is held for the record of a run, whatever the program
// and its log write meanwhile. It has no name: it goes with the process.
type room struct{ f *os.File }

// reserve holds room on the disk of the Meta DB. Store: there is none, so that the
// run's end could not be recorded.
func reserve(metaFile string) (*room, error) {
	f, err := durable.Nameless(filepath.Dir(metaFile))
	if err != nil {
		return nil, noRoom(err)
	}
	for size := int64(recordRoom); ; size /= 2 {
		err = durable.Allocate(f, size)
		switch {
		case err == nil:
			return &room{f}, nil
		case !isFull(err):
			f.Close()
			return &room{}, nil // a file system of another kind: the writes tell
		case size <= leastRoom:
			f.Close()
			return nil, noRoom(err)
		}
		_ = f.Truncate(0)
	}
}

func noRoom(err error) error {
	failed := quant.Errorf(quant.Store, "the program did not start: its end could not be recorded: %w", err)
	if !isFull(err) {
		return failed.WithHint("the folder of the Meta DB must be writable")
	}
	return failed.WithHint("make room on the disk of the lab; `quant gc --yes` removes what no run refers to")
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// release gives the room to the record.
func (r *room) release() {
	if r.f != nil {
		r.f.Close()
	}
}

// sameDisk reports whether two files or folders are on one file system.
func sameDisk(a, b string) bool {
	var one, two unix.Stat_t
	return unix.Stat(a, &one) == nil && unix.Stat(b, &two) == nil && one.Dev == two.Dev
}
