// Package sqlite is the SQLite backend of the Meta DB. It owns the file: how
// it is made, migrated, moved aside and saved, and every statement that knows
// SQLite. It does not decide what is recorded or when; that is the registry's.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"quant/internal/failpoint"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// applicationID stands in the header of every Meta DB ("qntM"), so that
// another program's SQLite file is not taken for one.
const applicationID = 0x716e744d

// Options says which database to open and how.
type Options struct {
	Path string
	Wait time.Duration // how long to wait for a lock; 0 is 15 s
	// ReadOnly makes every write a Store error and creates no database. Where
	// it may, SQLite still keeps its shared memory (-shm, -wal) beside the file.
	ReadOnly bool
	// Fleeting, with ReadOnly, leaves no such file behind: nobody else had the
	// database open, so its file alone is read. For a look so short that a writer
	// who comes meanwhile can be put up with: the look may then fail.
	Fleeting bool
	Now      func() time.Time // names backups and files moved aside; nil is time.Now
	// BackupDir is where a backup goes before a migration; "" is the folder
	// backups beside the file.
	BackupDir string
}

// DB is an open Meta DB. Its methods may be called from several goroutines.
type DB struct {
	*relational.DB
	path     string // absolute
	wait     time.Duration
	now      func() time.Time
	schema   []migration
	readOnly bool
	fleeting bool

	created  bool
	from, to int
	backup   string
}

var _ metastore.FileStore = (*DB)(nil)

// Open opens the Meta DB at o.Path. A file that does not exist is made, in one
// step that other processes see whole or not at all; an older schema is
// migrated after a backup. A file that exists and is current costs one cheap
// check.
//
// Errors: Store, marked metastore.ErrNewer or metastore.ErrDamaged where that is the reason, and
// then nothing was changed; Locked when another process kept it for longer
// than o.Wait.
func Open(ctx context.Context, o Options) (*DB, error) {
	schema, err := embedded()
	if err != nil {
		return nil, err
	}
	return open(ctx, o, schema)
}

// prepared is a DB that is not open.
func prepared(o Options) (*DB, error) {
	schema, err := embedded()
	if err != nil {
		return nil, err
	}
	return prepare(o, schema)
}

func prepare(o Options, schema []migration) (*DB, error) {
	abs, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, relational.StoreError(nil, err, "meta db %s: %v", o.Path, err)
	}
	db := &DB{
		path: abs, wait: o.Wait, now: o.Now, schema: schema,
		readOnly: o.ReadOnly, fleeting: o.Fleeting,
	}
	if db.wait <= 0 {
		db.wait = failpoint.Patience("meta", 15*time.Second)
	}
	if db.now == nil {
		db.now = time.Now
	}
	db.DB = relational.New(relational.Options{Shown: o.Path, Dialect: dialect{o.Path, db.wait}, Wait: db.wait, OneWriter: true})
	return db, nil
}

func open(ctx context.Context, o Options, schema []migration) (*DB, error) {
	db, err := prepare(o, schema)
	if err != nil {
		return nil, err
	}
	found, err := db.exists()
	if err != nil {
		return nil, err
	}
	if !found {
		if o.ReadOnly {
			return nil, relational.StoreError(nil, fs.ErrNotExist, "meta db %s does not exist", o.Path).
				WithHint("quant init-db makes it")
		}
		if err := db.create(ctx); err != nil {
			return nil, err
		}
	}
	version, err := db.connect(ctx)
	if err != nil {
		return nil, db.confirmed(ctx, err)
	}
	if version < len(schema) && !(o.ReadOnly && readable(schema, version)) {
		if o.ReadOnly {
			_ = db.Pool.Close()
			return nil, relational.StoreError(metastore.ErrOlder, nil, "meta db %s has schema %d, this program needs %d", o.Path, version, len(schema)).
				WithHint("any command that may write there brings it up to date, such as quant init-db")
		}
		if err := db.migrate(ctx, o.BackupDir); err != nil {
			_ = db.Pool.Close()
			return nil, err
		}
	}
	return db, nil
}

// exists reports whether something stands at the path, and refuses what can be
// seen to be no database without opening it: SQLite would take an empty file
// for a database and throw away a log that lies beside it.
func (db *DB) exists() (found bool, err error) {
	info, err := os.Stat(db.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if link, err := os.Lstat(db.path); err == nil {
			if link.Mode()&fs.ModeSymlink == 0 {
				return db.exists() // somebody has made it in between
			}
			return false, relational.StoreError(nil, nil, "meta db %s is a symbolic link to nothing", db.Shown).
				WithHint("bring back what the link points to (is a disk not mounted?), or remove the link")
		}
		return false, nil
	case err != nil:
		return false, relational.StoreError(nil, err, "meta db %s: %v", db.Shown, err).
			WithHint("check the path and that you may read its folder, or name another with --sqlite")
	case info.IsDir():
		return false, relational.StoreError(metastore.ErrDamaged, nil, "meta db %s is a directory", db.Shown).WithHint(hintDamaged)
	case !info.Mode().IsRegular():
		return false, relational.StoreError(metastore.ErrDamaged, nil, "meta db %s is not a regular file", db.Shown).WithHint(hintDamaged)
	case info.Size() == 0:
		return false, relational.StoreError(metastore.ErrDamaged, nil, "meta db %s is an empty file", db.Shown).WithHint(hintDamaged)
	}
	return true, nil
}

// connect opens the pool and returns the schema version of a database that is
// ours and not too new.
func (db *DB) connect(ctx context.Context) (version int, err error) {
	mode := "mode=rw&_txlock=immediate"
	if db.readOnly {
		mode = "mode=ro"
		// A reader cannot take away the files that SQLite puts beside the
		// database for it; beside one that is refused there shall be none.
		if _, e := os.Stat(db.path + "-wal"); errors.Is(e, fs.ErrNotExist) {
			version, _, err := db.openPool(ctx, mode+"&immutable=1")
			if err != nil {
				return 0, db.Classify("open", err)
			}
			if db.fleeting {
				return version, nil
			}
			_ = db.Pool.Close()
		}
	}
	version, wal, err := db.openPool(ctx, mode)
	if err != nil && db.readOnly && is(err, cantShare...) {
		// No shared memory can be made here, so the log cannot be read; without
		// a log the file alone is the whole database.
		if info, e := os.Stat(db.path + "-wal"); e == nil && info.Size() > 0 {
			return 0, relational.StoreError(nil, err, "meta db %s was not closed properly, and its folder cannot be written to put that right", db.Shown).
				WithHint("open it once from where its folder can be written")
		}
		version, wal, err = db.openPool(ctx, mode+"&immutable=1")
	}
	if err != nil {
		return 0, db.Classify("open", err)
	}
	if !wal && !db.readOnly {
		// A copy made by Backup comes without its log. Not being able to switch
		// now only costs speed.
		_, _ = db.Pool.ExecContext(ctx, "PRAGMA journal_mode = WAL")
	}
	return version, nil
}

// openPool opens the pool and reads what the header says. After an error the pool
// is closed. The codes of the driver are kept.
func (db *DB) openPool(ctx context.Context, mode string) (version int, wal bool, err error) {
	db.Pool = sql.OpenDB(connector(dsn(db.path, db.wait, mode)))
	// One writer, and a few readers beside it.
	db.Pool.SetMaxOpenConns(4)
	db.Pool.SetMaxIdleConns(4)
	defer func() {
		if err != nil {
			_ = db.Pool.Close()
		}
	}()
	var id int64
	if err := db.Pool.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return 0, false, err
	}
	if id != applicationID {
		return 0, false, relational.StoreError(metastore.ErrDamaged, nil, "meta db %s is another program's SQLite database", db.Shown).WithHint(hintDamaged)
	}
	if err := db.Pool.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, false, err
	}
	if version < 1 {
		return 0, false, relational.StoreError(metastore.ErrDamaged, nil, "meta db %s has no schema version", db.Shown).WithHint(hintDamaged)
	}
	if version > len(db.schema) {
		return 0, false, relational.StoreError(metastore.ErrNewer, nil, "meta db %s was made by a newer quant (schema %d, this program knows %d)", db.Shown, version, len(db.schema)).
			WithHint("use the newer program; the file was not changed and needs no repair")
	}
	var journal string
	if err := db.Pool.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return 0, false, err
	}
	return version, journal == "wal", nil
}

// cantShare is how SQLite says that a read-only folder or a full disk keeps it
// from the shared memory of the log.
var cantShare = []sqlite3.ErrNoExtended{
	sqlite3.ErrNoExtended(sqlite3.ErrCantOpen), sqlite3.ErrNoExtended(sqlite3.ErrReadonly),
	sqlite3.ErrReadonlyRecovery, sqlite3.ErrReadonly.Extend(5), sqlite3.ErrReadonly.Extend(6),
	sqlite3.ErrIoErrSHMOpen, sqlite3.ErrIoErrSHMSize, sqlite3.ErrIoErrSHMMap,
}

// connector makes connections without the driver's name, which is global.
type connector string

func (c connector) Connect(context.Context) (driver.Conn, error) {
	return (&sqlite3.SQLiteDriver{}).Open(string(c))
}

func (c connector) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

// dsn names the database for the driver: every connection waits, keeps foreign
// keys, and makes its commits durable.
func dsn(path string, wait time.Duration, more string) string {
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	return fmt.Sprintf("file:%s?_busy_timeout=%d&_synchronous=FULL&_foreign_keys=on&_stmt_cache_size=32&%s",
		escaped, max(wait.Milliseconds(), 1), more)
}

// Created reports whether this Open made the file.
func (db *DB) Created() bool { return db.created }

// Migrated returns the schema versions before and after this Open and the
// backup it took in between; three zero values when it did not migrate.
func (db *DB) Migrated() (from, to int, backup string) { return db.from, db.to, db.backup }
