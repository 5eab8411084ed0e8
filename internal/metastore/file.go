package metastore

import (
	"context"
	"errors"

	"quant"
)

// ErrNewer marks the Store error of a database whose schema is newer than this
// program knows. Such a database is in order: the newer program opens it, and it
// must be neither reset nor moved aside.
var ErrNewer = errors.New("made by a newer quant")

// ErrOlder marks the Store error of a database whose schema is older than this
// program's, opened for reading only: it must be brought up to date first.
var ErrOlder = errors.New("made by an older quant")

// ErrAway marks the Store error of a database whose server could not be reached for as
// long as that was waited for. It says nothing of the database.
var ErrAway = errors.New("its server is away")

// ErrDamaged marks the Store error of what stands in the database's place but is
// no usable Meta DB: a directory, an empty file, another program's file, a
// truncated or corrupt database.
var ErrDamaged = errors.New("damaged")

// ErrSchema marks a database that is sound but lacks tables or columns that this
// program made: somebody changed it by hand.
var ErrSchema = errors.New("not the schema of this program")

// FileStore is a Store whose database is a file of this machine, with what only
// the owner of such a file can do. A server makes, saves and mends its database
// by its own means, and is no FileStore.
type FileStore interface {
	Store

	// Created reports whether opening the store made the file.
	Created() bool
	// Migrated returns the schema versions before and after the store was opened
	// and the backup that was taken in between; three zero values when its schema
	// was current.
	Migrated() (from, to int, backup string)

	// Backup writes a consistent copy of the database, taken while others may
	// write, to a file that must not exist yet, and makes it durable. Errors:
	// Conflict if something stands at path, Failed inside a Tx.
	Backup(ctx context.Context, path string) error
	// Reset backs the database up to a file that must not exist yet (as Backup
	// does; "" takes none), drops everything and makes the schema anew, in one
	// transaction: nothing can be written between the backup and the reset. runs
	// and their companions are carried over; rows that break the schema's rules
	// stay out and are counted in the result. An error after the backup leaves it
	// where it is. Errors: Failed inside a Tx; Store, marked ErrDamaged, when what
	// is to be carried over cannot be read.
	Reset(ctx context.Context, backupPath string) (Carried, error)
	// Damage examines the file and returns an error marked ErrDamaged if it is not
	// sound, so that a remedy can decide to start anew before it records itself in
	// a file that is falling apart. Rows that break a rule are no damage (Check
	// names them), nor is a read that fails: that is a Store error without a mark.
	Damage(ctx context.Context) error
	// Seal closes the store so that its file alone is the whole database: written
	// out, read again, and durable, so that it can be given another name. Nobody
	// else may have it open. After an error it must not be given one. Close may
	// follow.
	Seal(ctx context.Context) error
	// Salvage takes over what can be read from another file, usually damaged and
	// moved aside: rows that this schema accepts and does not hold yet, of the
	// named tables, or of all that it knows for nil. The other file is not changed.
	// Errors: Store, marked ErrDamaged, when nothing at all can be read, and without
	// a mark when the disk, the memory or a limit kept it from reading or writing;
	// Invalid for a table that is not known. After an error nothing was taken over.
	Salvage(ctx context.Context, brokenPath string, tables []string) (Carried, error)
}

// Carried counts what Reset or Salvage took over and what it could not read or
// had to leave out, by table.
type Carried struct {
	Rows map[string]int64 `json:"rows"`
	Lost map[string]int64 `json:"lost"` // that are known of; at least so many
	// Unread says, a clause each, what could not be read, or why it is not certain
	// that all was. Only Salvage has any.
	Unread []string `json:"unread,omitempty"`
}

// Whole reports whether everything was read and taken over.
func (c Carried) Whole() bool { return len(c.Unread) == 0 && c.LostRows() == 0 }

// LostRows is how many rows are known to be lost.
func (c Carried) LostRows() int64 {
	lost := int64(0)
	for _, n := range c.Lost {
		lost += n
	}
	return lost
}

// AsFile returns the store as a FileStore; Refused for one that is no file.
func AsFile(s Store) (FileStore, error) {
	if file, ok := s.(FileStore); ok {
		return file, nil
	}
	return nil, quant.Errorf(quant.Refused, "this Meta DB is not a file of this machine").
		WithHint("back it up and mend it by the means of its own server")
}
