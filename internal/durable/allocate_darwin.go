package durable

import "os"

// Allocate gives a file its first size bytes of the disk: writing them cannot fail
// for want of room later. syscall.ENOSPC where there is none.
func Allocate(f *os.File, size int64) error {
	_, err := f.WriteAt(make([]byte, size), 0)
	return err
}
