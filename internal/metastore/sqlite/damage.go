package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// EngineVersion returns the version of SQLite that is linked in.
func EngineVersion() string {
	v, _, _ := sqlite3.Version()
	return "v" + v
}

// Damage is documented at metastore.FileStore.
func (db *DB) Damage(ctx context.Context) error {
	problems, err := db.checkPages(ctx, db.Pool)
	switch {
	case isDamage(err):
		return relational.StoreError(metastore.ErrDamaged, err, "meta db %s: cannot be examined: %v", db.Shown, err).WithHint("%s", hintDamaged)
	case err != nil:
		return unjudged(db.Shown, err)
	case len(problems) > 0:
		return relational.StoreError(metastore.ErrDamaged, nil, "meta db %s: %s", db.Shown, brief(problems[0].What)).WithHint("%s", hintDamaged)
	}
	return nil
}

// brief is the first of the faults that SQLite lists in one line of its check.
func brief(what string) string {
	for line := range strings.Lines(what) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "***") {
			return line
		}
	}
	return what
}

// Examine looks once more at a file that was found damaged, before anything is done
// about it: it reads all of it, and has SQLite examine it, from the beginning. nil:
// it is sound. Errors: Store marked metastore.ErrDamaged, or metastore.ErrNewer;
// Store marked neither, or Locked, when it cannot be judged now, because something
// could not be read. This process must not have it open.
func Examine(ctx context.Context, o Options) error {
	db, err := prepared(o)
	if err != nil {
		return err
	}
	found, err := db.exists()
	if err == nil && !found {
		err = fs.ErrNotExist
	}
	if err == nil {
		_, err = db.connect(ctx)
	}
	if err == nil {
		err = db.Damage(ctx)
		_ = db.Pool.Close() // before it is read by other means
	}
	switch {
	case err == nil, errors.Is(err, metastore.ErrNewer):
		return err
	case errors.Is(err, metastore.ErrDamaged):
		return db.confirmed(ctx, err)
	case quant.CodeOf(err) == quant.Locked:
		return err
	}
	return unjudged(db.Shown, err)
}

var errUnjudged = errors.New("cannot be judged now")

// unjudged is the Store error of a file of which nothing can be said.
func unjudged(shown string, cause error) error {
	if errors.Is(cause, errUnjudged) {
		return cause
	}
	return relational.StoreError(errUnjudged, cause, "meta db %s cannot be judged now, and nothing was moved: %v", shown, cause).
		WithHint("a read that fails is no damage: check the disk and the system's limits, then run it again; if the file can never be read again, move it away yourself")
}

// readPiece is as much as SQLite reads of a file at once.
const readPiece = 4 << 10

// readThrough reads a file, if there is one, to its end, as SQLite reads it: piece by
// piece, each at its place. Errors: the operating system's; ctx's.
func readThrough(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	buffer := make([]byte, readPiece)
	for at := int64(0); ; at += readPiece {
		_, err := f.ReadAt(buffer, at)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// confirmed is an error of opening, or of examining, a database, when nobody in this
// process has it open. SQLite calls a file damaged also when the disk did not give a
// page of it: what cannot be read at all cannot be judged. Of one that is shorter
// than its header says it tells what it is: cut off.
func (db *DB) confirmed(ctx context.Context, err error) error {
	if !errors.Is(err, metastore.ErrDamaged) {
		return err
	}
	if info, e := os.Stat(db.path); e != nil || !info.Mode().IsRegular() {
		return err
	}
	for _, suffix := range []string{"", "-wal"} {
		if e := readThrough(ctx, db.path+suffix); e != nil {
			return unjudged(db.Shown, e)
		}
	}
	if short := cutOff(db.path); short != "" {
		return relational.StoreError(metastore.ErrDamaged, err, "meta db %s is truncated: %s", db.Shown, short).WithHint("%s", hintDamaged)
	}
	return err
}

// cutOff says how much shorter than its header says a file is; "" if it is not, or
// has no header to say so.
func cutOff(path string) string {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return "" // a pipe would wait for a writer
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	header := make([]byte, 100)
	if _, err := f.ReadAt(header, 0); err != nil || !bytes.HasPrefix(header, []byte(magic)) {
		return ""
	}
	size := pageSizeOf(header)
	pages := int64(binary.BigEndian.Uint32(header[28:]))
	if size == 0 || !bytes.Equal(header[24:28], header[92:96]) || info.Size() >= pages*size {
		return ""
	}
	return fmt.Sprintf("it has %d bytes, and its header says %d pages of %d bytes (%d)", info.Size(), pages, size, pages*size)
}

// magic begins every SQLite database.
const magic = "SQLite format 3\x00"

// pageSizeOf is the page size in a header; 0 for one that no database has.
func pageSizeOf(header []byte) int64 {
	switch size := int64(binary.BigEndian.Uint16(header[16:])); {
	case size == 1:
		return 1 << 16
	case size >= 512 && size&(size-1) == 0:
		return size
	}
	return 0
}
