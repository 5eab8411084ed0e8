package durable

import "os"

// Nameless makes a file (0600) in dir, open for reading and writing, that has no
// name: it goes with the process that has it open, however that ends. "" is the
// folder for temporary files. Errors: the operating system's.
func Nameless(dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	if f, err := openNameless(dir); err == nil {
		return f, nil
	}
	// Not every file system makes one at once. One that is killed before the name is
	// gone leaves an empty file, with a name that is found.
	f, err := TemporaryFile(dir, "nameless")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
