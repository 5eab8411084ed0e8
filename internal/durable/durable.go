// Package durable owns what a file on disk may be relied on for: that it is
// there whole or not at all and stays there after a power loss, that its digest
// is the one of what was written, and that a lock on it is waited for.
//
// A file is written under a temporary name in its own folder, its mode set, its
// contents synced, given its name in one step, and its folder synced. The names
// of temporary files and folders have one form, so that what a killed process
// left is found by one pattern.
//
// Errors are those of the operating system. Who calls says what they mean.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrExists is the error of a file that is made only where none stands.
var ErrExists = errors.New("something of that name exists already")

// Error is a step on the way of a file to its place that the disk refused: no
// room, no permission, no such folder. Its text is that of the cause.
type Error struct {
	Path string // the file that was to be made
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Create makes a file that is not there yet, with what fill writes. ErrExists:
// something stands at path, be it a link to nowhere; also where it came while
// fill wrote. Else as Replace.
func Create(path string, mode fs.FileMode, fill func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return &Error{path, ErrExists}
	}
	return write(path, mode, fill, (*File).Create)
}

// Replace makes a file with what fill writes, in the place of what stands there;
// a link is replaced, not followed. Until it returns nil a reader finds the old
// file, or none. After an error the old file is untouched and no temporary file
// is left; only if the folder cannot be synced the new file stands there, whole,
// and a power loss may take it back. Errors: *Error for what the disk refused,
// also where fill made another error of it; else fill's, as it is.
func Replace(path string, mode fs.FileMode, fill func(io.Writer) error) error {
	return write(path, mode, fill, (*File).Replace)
}

func write(path string, mode fs.FileMode, fill func(io.Writer) error, finish func(*File) error) error {
	f, err := Begin(path, mode)
	if err != nil {
		return err
	}
	defer f.Discard()
	if err := fill(f); err != nil {
		if f.failed != nil {
			return f.failed
		}
		return err
	}
	return finish(f)
}

// Bytes is a fill that writes b.
func Bytes(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// From is a fill that writes what r gives until its end.
func From(r io.Reader) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	}
}

// File is a file on its way to its place, which Replace or Create give it.
// Discard ends it in any case. For one goroutine at a time.
type File struct {
	path      string
	mode      fs.FileMode
	f         *os.File
	folder    *os.File
	failed    error // of a Write
	completed bool  // contents and mode are durable
	named     bool  // the temporary name is gone
}

// Begin makes the temporary file of path, of mode 0600, in the folder of path,
// which must exist. Errors: *Error.
func Begin(path string, mode fs.FileMode) (*File, error) {
	failed := func(err error) (*File, error) { return nil, &Error{path, err} }
	// Opened first: a folder that cannot be opened cannot be synced.
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return failed(err)
	}
	var f *os.File
	err = run("begin", func() (err error) {
		f, err = os.CreateTemp(filepath.Dir(path), temporaryPattern(path)) // 0600
		return err
	})
	if err != nil {
		folder.Close()
		return failed(err)
	}
	return &File{path: path, mode: mode, f: f, folder: folder}, nil
}

// Name is the path of the temporary file, for an engine that writes files by
// name. It must write in place: a file that it puts there instead is another.
func (f *File) Name() string { return f.f.Name() }

// Write appends to the contents. Errors: *Error.
func (f *File) Write(b []byte) (n int, err error) {
	err = run("write", func() (err error) {
		n, err = f.f.Write(b)
		return err
	})
	if err != nil {
		f.failed = &Error{f.path, err}
		return n, f.failed
	}
	return n, nil
}

// SetPath has the file get another name, in another folder of the same file
// system: for one whose name depends on its contents. Errors: *Error.
func (f *File) SetPath(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return &Error{path, err}
	}
	f.folder.Close()
	f.path, f.folder = path, folder
	return nil
}

// Replace gives the file its name, in the place of what has it; see the function
// of that name. Errors: *Error.
func (f *File) Replace() error { return f.finish(os.Rename) }

// Create gives the file its name if nothing has it. Errors: *Error, that wraps
// ErrExists if something has.
func (f *File) Create() error { return f.finish(renameNew) }

// Discard takes the temporary file away, unless it has got its name. It may be
// called any number of times.
func (f *File) Discard() {
	f.f.Close()
	f.folder.Close()
	if !f.named {
		os.Remove(f.f.Name())
		f.named = true
	}
}

func (f *File) finish(rename func(from, to string) error) error {
	if f.failed != nil {
		return f.failed // what is written is not whole
	}
	if err := f.complete(); err != nil {
		return &Error{f.path, err}
	}
	if err := run("rename", func() error { return rename(f.f.Name(), f.path) }); err != nil {
		return &Error{f.path, err}
	}
	f.named = true
	if err := run("sync folder", func() error { return syncFolder(f.folder) }); err != nil {
		return &Error{f.path, err}
	}
	return nil
}

// complete makes the contents and the mode durable, once.
func (f *File) complete() error {
	if f.completed {
		return nil
	}
	if f.mode != 0o600 {
		if err := run("mode", func() error { return f.f.Chmod(f.mode) }); err != nil {
			return err
		}
	}
	if err := run("sync", f.f.Sync); err != nil {
		return err
	}
	if err := run("close", f.f.Close); err != nil {
		return err
	}
	f.completed = true
	return nil
}

// renameNew renames a file unless something has the name. A file system that
// knows no such renaming may know links, which refuse a name as well; of one
// that knows neither, what comes between looking and renaming is replaced.
func renameNew(from, to string) error {
	err := renameExclusive(from, to)
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	if err == nil || !unsupported(err) {
		return err
	}
	switch err := os.Link(from, to); {
	case err == nil:
		os.Remove(from)
		return nil
	case errors.Is(err, fs.ErrExist):
		return ErrExists
	}
	if _, err := os.Lstat(to); err == nil {
		return ErrExists
	}
	return os.Rename(from, to)
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM)
}

// Publish gives a file that an engine wrote under a name of its own its place,
// durably: it is synced, renamed over what stands at to, and the folder of to
// synced. Both must be on one file system. Nobody may have it open, because
// closing it drops the locks that this process has on it. Errors: the operating
// system's.
func Publish(from, to string) error {
	if err := SyncFile(from); err != nil {
		return err
	}
	if err := run("rename", func() error { return os.Rename(from, to) }); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(to))
}

// SyncFile makes the contents of a file durable. It must not be given a file on
// which this process has POSIX locks, such as a database that it has open:
// closing it drops them. Errors: the operating system's.
func SyncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(run("sync", f.Sync), f.Close())
}

// SyncFolder makes the names in a folder durable: what was made, renamed or
// removed there. A file system that cannot sync folders is let pass. Errors: the
// operating system's.
func SyncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(run("sync folder", func() error { return syncFolder(f) }), f.Close())
}

func syncFolder(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil // network and FUSE file systems that keep no such promise
	}
	return err
}

// MakeFolder makes a folder, and those above it that are missing, for the user
// alone (0700) and durably. One that is there is left as it is. Errors: the
// operating system's.
func MakeFolder(dir string) error {
	var missing []string
	for p := filepath.Clean(dir); ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || !errors.Is(err, fs.ErrNotExist) || p == filepath.Dir(p) {
			break
		}
		missing = append(missing, p)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range missing {
		if err := SyncFolder(filepath.Dir(p)); err != nil {
			return err
		}
	}
	return nil
}

// fault is what a test makes happen before a step; nil outside of tests.
var fault atomic.Pointer[func(step string) error]

// run takes a step, unless a test makes it fail.
func run(step string, do func() error) error {
	if f := fault.Load(); f != nil {
		if err := (*f)(step); err != nil {
			return err
		}
	}
	return do()
}
