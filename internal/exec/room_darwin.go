package exec

import "os"

// allocate gives a file so many bytes of the disk.
func allocate(f *os.File, size int64) error {
	_, err := f.WriteAt(make([]byte, size), 0)
	return err
}
