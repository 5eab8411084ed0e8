package factstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
)

// walSuffixes name the files that may stand beside a database and hold commits
// that are not in it yet.
func walSuffixes() []string { return []string{".wal", ".wal.checkpoint", ".wal.recovery"} }

// CommittedRuns tells which of the runs have committed facts. It never waits:
// quant.Locked at once if a process writes. Without a file no run has any.
func CommittedRuns(ctx context.Context, o Options, runIDs []string) (map[string]bool, error) {
	committed := map[string]bool{}
	if len(runIDs) == 0 {
		return committed, nil
	}
	o.Wait = 0
	db, err := OpenRead(ctx, o)
	if errors.Is(err, ErrMissing) && (o.isLake() || !logLeft(o.Path)) {
		return committed, nil
	}
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return db.CommittedOf(ctx, runIDs)
}

// CommittedOf tells which of the runs have committed facts.
func (db *DB) CommittedOf(ctx context.Context, runIDs []string) (map[string]bool, error) {
	committed, wanted := map[string]bool{}, make(map[string]bool, len(runIDs))
	for _, id := range runIDs {
		wanted[id] = true
	}
	ids, err := Values[string](ctx, db, "SELECT DISTINCT run_id FROM ledger")
	if err != nil {
		return nil, damaged(ctx, db.path, err)
	}
	for _, id := range ids {
		if wanted[id] {
			committed[id] = true
		}
	}
	return committed, nil
}

func logLeft(path string) bool {
	for _, suffix := range walSuffixes() {
		if _, err := os.Lstat(path + suffix); err == nil {
			return true
		}
	}
	return false
}

// Backup writes a consistent copy of the database to dst, which must not exist
// (quant.Conflict); of a lake, a file of the snapshot that db reads. A database opened for writing is checkpointed first. The
// copy is 0600 and durable, and stands at dst only when it is whole.
func (db *DB) Backup(ctx context.Context, dst string) error {
	if db.life != nil {
		return errShared(db.path)
	}
	if db.lake != nil {
		return db.copyToFile(ctx, dst)
	}
	if !db.readOnly {
		if _, err := db.conn.ExecContext(ctx, "CHECKPOINT"); err != nil {
			return failure("checkpoint fact db "+db.path, err)
		}
	}
	// The descriptors stay open until Close: closing one would drop the lock.
	return copyDatabase(ctx, db.path, dst, func(f *os.File) { db.held = append(db.held, f) })
}

// copyDatabase copies the file and its WALs; keep is given what it reads from.
// Each is copied before the first gets its name.
func copyDatabase(ctx context.Context, src, dst string, keep func(*os.File)) (err error) {
	suffixes := append(walSuffixes(), "") // the file itself last: it makes the copy one
	exists := func(name string) error {
		return quant.Errorf(quant.Conflict, "copy fact db: %s exists already", name).WithHint("choose another name")
	}
	for _, suffix := range suffixes {
		if _, err := os.Lstat(dst + suffix); err == nil {
			return exists(dst + suffix)
		}
	}
	var made []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range made {
			_ = os.Remove(name)
		}
		if quant.CodeOf(err) == quant.Failed && ctx.Err() == nil {
			err = storeError(err, "copy fact db %s to %s", src, dst)
		}
	}()
	copies := map[string]*durable.File{}
	defer func() {
		for _, c := range copies {
			c.Discard()
		}
	}()
	for _, suffix := range suffixes {
		c, err := copyFile(ctx, src+suffix, dst+suffix, keep)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		copies[suffix] = c
	}
	for _, suffix := range suffixes {
		c := copies[suffix]
		if c == nil {
			continue
		}
		if err := c.Create(); errors.Is(err, durable.ErrExists) {
			return exists(dst + suffix)
		} else if err != nil {
			return err
		}
		made = append(made, dst+suffix)
	}
	return nil
}

// copyFile copies src to what is to be dst.
func copyFile(ctx context.Context, src, dst string, keep func(*os.File)) (*durable.File, error) {
	in, err := os.Open(src)
	if err != nil {
		return nil, err
	}
	keep(in)
	if info, err := in.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", src)
	}
	out, err := durable.Begin(dst, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(out, contextReader{ctx, in}); err != nil {
		out.Discard()
		return nil, err
	}
	return out, nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// Move renames the Fact DB at o.Path, sound or not, with its WALs, to dst on
// the same file system, which must not exist (quant.Conflict). So a file
// becomes its own backup, and nothing can be written between the two. While
// another process has it open it waits as o says (quant.Locked); ErrMissing if
// there is neither a file nor a WAL.
func Move(ctx context.Context, o Options, dst string) error {
	if o.isLake() {
		return errNotOnLake("move the facts aside", backUpLake)
	}
	path, err := resolve(o.Path)
	if err != nil {
		return err
	}
	if occupied(dst) {
		return quant.Errorf(quant.Conflict, "move fact db: %s exists already", dst).WithHint("choose another name")
	}
	o.Path = path
	return writing(ctx, o, func() error { return move(path, dst) })
}

// MoveBack undoes Move: what it renamed to moved stands at o.Path again.
// quant.Conflict if another Fact DB has been made there since.
func MoveBack(ctx context.Context, o Options, moved string) error {
	if o.isLake() {
		return errNotOnLake("move the facts back", backUpLake)
	}
	path, err := resolve(o.Path)
	if err != nil {
		return err
	}
	o.Path = path
	return writing(ctx, o, func() error {
		lock, err := lockFile(path)
		if err != nil {
			return err
		}
		defer lock.Close()
		if occupied(path) {
			return quant.Errorf(quant.Conflict, "move fact db back: %s exists already", path).
				WithHint("the one that was moved is %s", moved)
		}
		// The file last: without its WAL it would open, and lack commits.
		return rename(moved, path, append(walSuffixes(), ""))
	})
}

// move renames src; *heldError if somebody has it open.
func move(src, dst string) error {
	_, err := os.Lstat(src)
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && !logLeft(src) {
		_, err := inspect(src)
		return err
	}
	lock, err := lockFile(src)
	if err != nil {
		return err
	}
	defer lock.Close()
	if !missing {
		release, err := hold(src)
		if err != nil {
			return err
		}
		defer release()
	}
	// The file first: without its WAL it would open, and lack commits.
	return rename(src, dst, append([]string{""}, walSuffixes()...))
}

// rename gives what is there of the files with these suffixes another name,
// durably.
func rename(src, dst string, suffixes []string) error {
	for _, suffix := range suffixes {
		if err := os.Rename(src+suffix, dst+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storeError(err, "move fact db %s", src)
		}
	}
	if err := durable.SyncFolder(filepath.Dir(dst)); err != nil {
		return storeError(err, "move fact db %s", src)
	}
	if filepath.Dir(src) == filepath.Dir(dst) {
		return nil
	}
	if err := durable.SyncFolder(filepath.Dir(src)); err != nil {
		return storeError(err, "move fact db %s", src)
	}
	return nil
}

func occupied(path string) bool {
	_, err := os.Lstat(path)
	return err == nil || logLeft(path)
}

// hold locks what stands at path against DuckDB in this and other processes.
// What cannot be opened, such as a folder, nobody has open as a database.
// *heldError if somebody has it.
func hold(path string) (release func(), err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Lstat(path); e == nil {
			return func() {}, nil // a link to nowhere
		}
		_, err := inspect(path)
		return nil, err
	}
	if err != nil {
		return nil, storeError(err, "lock fact db %s", path)
	}
	if !info.Mode().IsRegular() {
		return func() {}, nil
	}
	st := info.Sys().(*syscall.Stat_t)
	releaseHere, ok := acquire(fileID{uint64(st.Dev), uint64(st.Ino)})
	if !ok {
		return nil, &heldError{here: true}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return releaseHere, nil // renaming needs no permission on the file
	}
	if err != nil {
		releaseHere()
		return nil, storeError(err, "lock fact db %s", path)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock); err != nil {
		who := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		held := &heldError{}
		if unix.FcntlFlock(f.Fd(), unix.F_GETLK, &who) == nil && who.Type != unix.F_UNLCK {
			held.pid = int(who.Pid)
		}
		_ = f.Close()
		releaseHere()
		return nil, held
	}
	return func() {
		_ = f.Close()
		releaseHere()
	}, nil
}

// lockFile takes the lock that keeps creating, opening for writing and moving
// aside apart: *heldError if another has it. The file stays for ever, because
// removing a lock file would let two processes hold it.
func lockFile(path string) (*durable.Lock, error) {
	lock, err := durable.OpenLock(path + ".lock")
	if err != nil {
		return nil, storeError(err, "lock fact db %s", path)
	}
	err = lock.Try(durable.Exclusive)
	if err == nil {
		return lock, nil
	}
	lock.Close()
	if errors.Is(err, durable.ErrHeld) {
		return nil, &heldError{}
	}
	return nil, storeError(err, "lock fact db %s", path)
}

func makeFolder(dir string) error {
	if err := durable.MakeFolder(dir); err != nil {
		return storeError(err, "make the folder of the fact db")
	}
	return nil
}

// removeSpills removes what killed processes spilled.
func removeSpills(tempDir string) {
	entries, err := os.ReadDir(tempDir)
	if err != nil {
		return // nothing there
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "spill-")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil || pid <= 0 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		_ = os.RemoveAll(filepath.Join(tempDir, e.Name()))
	}
}

// Files hands out the database as it stands, its logs before the file itself,
// each by the suffix of its name ("" for the file). A database opened for
// reading keeps every writer out until Close, so that together they are
// consistent; for one opened for writing it is Failed.
func (db *DB) Files(take func(suffix string, size int64, r io.Reader) error) error {
	if db.life != nil {
		return errShared(db.path)
	}
	if db.lake != nil {
		return errNotOnLake("copy the facts", backUpLake)
	}
	if !db.readOnly {
		return quant.Errorf(quant.Failed, "fact db %s: its files are handed out to readers only", db.path)
	}
	for _, suffix := range append(walSuffixes(), "") {
		f, err := os.Open(db.path + suffix)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return storeError(err, "read fact db %s", db.path)
		}
		db.held = append(db.held, f) // closing it would drop the lock
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("not a regular file")
		}
		if err != nil {
			return storeError(err, "read fact db %s", db.path)
		}
		if err := take(suffix, info.Size(), f); err != nil {
			return err
		}
	}
	return nil
}

// Apart runs fn while no other process has the Fact DB at o.Path open, or can
// make one there: for putting another in its place. It waits as o says; there
// need be none.
func Apart(ctx context.Context, o Options, fn func() error) error {
	if o.isLake() {
		return errNotOnLake("put other facts in place", backUpLake)
	}
	path, err := resolve(o.Path)
	if err != nil {
		return err
	}
	o.Path = path
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	return writing(ctx, o, func() error {
		lock, err := lockFile(path)
		if err != nil {
			return err
		}
		defer lock.Close()
		if _, err := os.Lstat(path); err == nil {
			release, err := hold(path)
			if err != nil {
				return err
			}
			defer release()
		}
		return fn()
	})
}

// Resolve returns the one name that the file at path has for everybody, links
// resolved. Invalid for what can be no path.
func Resolve(path string) (string, error) { return resolve(path) }
