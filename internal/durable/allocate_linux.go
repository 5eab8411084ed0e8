package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Allocate gives a file its first size bytes of the disk: writing them cannot fail
// for want of room later. syscall.ENOSPC where there is none.
func Allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = f.WriteAt(make([]byte, size), 0)
	}
	return err
}
