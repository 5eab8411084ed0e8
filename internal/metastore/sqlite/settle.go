package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"quant"
	"quant/internal/durable"
	"quant/internal/metastore/relational"
)

// Seal is documented at metastore.FileStore.
func (db *DB) Seal(ctx context.Context) error {
	err := db.Pool.Close() // it may leave its log behind without a word
	if err == nil {
		err = db.settle(ctx, db.path)
	}
	if err == nil {
		err = durable.SyncFile(db.path)
	}
	return db.notWritten("write out", err)
}

// notWritten is classify for a file that is being made: what is wrong with that is no
// damage of the one that stands there.
func (db *DB) notWritten(what string, err error) error {
	if isDamage(err) {
		return relational.StoreError(nil, err, "%s: meta db %s: what was written cannot be read again: %v", what, db.Shown, err).
			WithHint("check the disk, then run the command again; nothing was changed")
	}
	err = db.Classify(what, err)
	if err != nil && quant.CodeOf(err) == quant.Failed && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return relational.StoreError(nil, err, "meta db %s: %v", db.Shown, err).WithHint("check the disk, then run the command again; nothing was changed")
	}
	return err
}

// settle makes a database that nobody has open a file that is whole by itself: what
// its log holds is written into it, the log is gone, and what was written is read
// again. Closing does the same and says nothing when the disk refuses it, so that a
// file must not get its name without this. It is not made durable.
func (db *DB) settle(ctx context.Context, path string) error {
	if err := db.checkpoint(ctx, path); err != nil {
		return err
	}
	for _, suffix := range fileSuffixes() {
		info, err := os.Lstat(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && suffix != "-shm" && info.Size() > 0 {
			err = fmt.Errorf("%s still holds %d bytes that are not in the database", path+suffix, info.Size())
		}
		if err == nil {
			err = os.Remove(path + suffix)
		}
		if err != nil {
			return db.fileError(err)
		}
	}
	return db.reread(ctx, path)
}

// checkpoint writes the log into the database, whatever mode it was made in, and
// leaves it in the one that a Meta DB is used in.
func (db *DB) checkpoint(ctx context.Context, path string) (err error) {
	pool := sql.OpenDB(connector(dsn(path, db.wait, "mode=rw")))
	pool.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, pool.Close()) }()
	var mode string
	if err := pool.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its journal mode is %s and cannot be changed", mode)
	}
	var busy, pages, written int64
	if err := pool.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &written); err != nil {
		return err
	}
	if busy != 0 || pages != written {
		return fmt.Errorf("only %d of the %d pages of its log could be written into it", written, pages)
	}
	return nil
}

// reread lets SQLite examine the file alone, as it is on the disk.
func (db *DB) reread(ctx context.Context, path string) (err error) {
	pool := sql.OpenDB(connector(dsn(path, db.wait, "mode=ro&immutable=1")))
	pool.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, pool.Close()) }()
	found, err := db.pageProblems(ctx, pool, "quick_check")
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("what was written cannot be read: %s", found[0].What)
	}
	return err
}
