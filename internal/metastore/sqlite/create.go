package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
	"quant/internal/metastore/relational"
)

// fileSuffixes are those of the files that SQLite keeps next to a database.
func fileSuffixes() []string { return []string{"-wal", "-shm", "-journal"} }

// create makes the database: built under another name, then renamed into
// place, so that being killed at any moment leaves the whole file or none. Of
// several processes that find none, the lock lets one make it.
func (db *DB) create(ctx context.Context) error {
	if err := durable.MakeFolder(filepath.Dir(db.path)); err != nil {
		return relational.StoreError(nil, err, "meta db %s: make its folder: %v", db.Shown, err).
			WithHint("check that you may write there, or name another folder with --data-dir")
	}
	unlock, err := lock(ctx, db.path, db.Shown, db.wait)
	if err != nil {
		return err
	}
	defer unlock()
	if found, err := db.exists(); found || err != nil {
		return err // somebody else was quicker
	}
	if err := db.build(ctx); err != nil {
		return db.notWritten("create", err)
	}
	db.created = true
	return nil
}

func (db *DB) build(ctx context.Context) error {
	// SQLite would replay a log that outlived its database into the new one.
	aside := ""
	for _, suffix := range fileSuffixes() {
		if _, err := os.Lstat(db.path + suffix); err != nil {
			continue
		}
		if aside == "" {
			var err error
			if aside, err = freeName(db.path+place.Broken, db.now()); err != nil {
				return db.fileError(err)
			}
		}
		if err := os.Rename(db.path+suffix, aside+suffix); err != nil {
			return db.fileError(err)
		}
	}
	// Under the lock, a file of this name is what a killed creator left.
	unfinished := db.path + place.Creating
	for _, suffix := range append(fileSuffixes(), "") {
		if err := os.Remove(unfinished + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return db.fileError(err)
		}
	}
	// The log and the shared memory take their mode from the database file.
	file, err := os.OpenFile(unfinished, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return db.fileError(err)
	}
	if err := file.Close(); err != nil {
		return db.fileError(err)
	}
	err = db.fill(ctx, unfinished)
	if err == nil {
		err = db.settle(ctx, unfinished)
	}
	if err == nil {
		failpoint.Hit("meta.create.before")
		if err = durable.Publish(unfinished, db.path); err != nil {
			err = db.fileError(err)
		}
	}
	if err != nil {
		for _, suffix := range append(fileSuffixes(), "") {
			_ = os.Remove(unfinished + suffix)
		}
		return err
	}
	failpoint.Hit("meta.create.after")
	return nil
}

// fill makes the schema in an empty file that nobody else sees.
func (db *DB) fill(ctx context.Context, path string) (err error) {
	pool := sql.OpenDB(connector(dsn(path, db.wait, "mode=rw")))
	pool.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, pool.Close()) }()
	// Without a log, so that what the commit wrote is in the file, or the commit has
	// failed. The file is made durable once, whole, before it gets its name.
	if _, err := pool.ExecContext(ctx, "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF"); err != nil {
		return err
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := apply(ctx, tx, db.schema, 0); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return err
	}
	return tx.Commit()
}

func (db *DB) fileError(err error) error {
	return relational.StoreError(nil, err, "meta db %s: %v", db.Shown, err).
		WithHint("check that you may write its folder and that the disk has room, or name another with --sqlite")
}

// freeName returns a name of this beginning and the time that nothing bears, alone
// or with one of SQLite's suffixes.
func freeName(beginning string, now time.Time) (string, error) {
	base := beginning + now.UTC().Format("20060102T150405Z")
	for n := 1; n < 1000; n++ {
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		taken := false
		for _, suffix := range append(fileSuffixes(), "") {
			if _, err := os.Lstat(name + suffix); err == nil {
				taken = true
			} else if !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if !taken {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s: every name is taken", base)
}

// lock takes the lock that stands for making, migrating and moving the
// database, on a file of its own: no lock on the database itself outlives its
// renaming. The file stays, because removing it would let two hold the lock.
func lock(ctx context.Context, path, shown string, wait time.Duration) (unlock func(), err error) {
	failed := func(err error, hint string) error {
		return relational.StoreError(nil, err, "meta db %s: lock %s: %v", shown, path+".lock", err).WithHint("%s", hint)
	}
	l, err := durable.OpenLock(path + ".lock")
	if err != nil {
		return nil, failed(err, "check that you may write its folder, or name another with --sqlite")
	}
	err = l.Wait(ctx, durable.Exclusive, wait)
	switch {
	case err == nil:
		return l.Close, nil
	case errors.Is(err, durable.ErrHeld):
		err = quant.Errorf(quant.Locked, "meta db %s is being made or migrated by another process (waited %s)", shown, wait).
			WithHint("try again when the other program has finished with it")
	case ctx.Err() != nil:
		err = quant.Errorf(quant.Failed, "wait for the lock of meta db %s: %w", shown, ctx.Err())
	default:
		err = failed(err, "the file system must support locks")
	}
	l.Close()
	return nil, err
}
