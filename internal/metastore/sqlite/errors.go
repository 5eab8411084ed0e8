package sqlite

import (
	"context"
	"errors"
	"strings"

	"github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// classify is documented at relational.Dialect.
func classify(path, wait, what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*quant.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return quant.Errorf(quant.Failed, "%s: %w", what, err)
	}
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return quant.Errorf(quant.Failed, "%s: %w", what, err)
	}
	switch e.Code {
	case sqlite3.ErrConstraint:
		switch e.ExtendedCode {
		case sqlite3.ErrConstraintUnique, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintRowID:
			return quant.Errorf(quant.Conflict, "%s: it exists already: %w", what, err)
		case sqlite3.ErrConstraintForeignKey:
			return quant.Errorf(quant.Conflict, "%s: another row refers to it: %w", what, err)
		case sqlite3.ErrConstraintTrigger:
			return quant.Errorf(quant.Conflict, "%s: %w", what, err)
		}
		rule := strings.TrimPrefix(e.Error(), "CHECK constraint failed: ")
		return &quant.Error{Code: quant.Invalid, Msg: what + ": rule broken: " + rule, Err: err}
	case sqlite3.ErrTooBig, sqlite3.ErrMismatch:
		return quant.Errorf(quant.Invalid, "%s: %w", what, err)
	case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrProtocol:
		return quant.Errorf(quant.Locked, "%s: meta db %s is locked by another process (waited %s): %w", what, path, wait, err).
			WithHint("try again when the other program has finished with it")
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return relational.StoreError(metastore.ErrDamaged, err, "%s: meta db %s is damaged: %v", what, path, err).WithHint(hintDamaged)
	case sqlite3.ErrFull:
		return relational.StoreError(nil, err, "%s: meta db %s: the disk is full: %v", what, path, err).
			WithHint("make room on the disk and run the command again")
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm, sqlite3.ErrAuth:
		return relational.StoreError(nil, err, "%s: meta db %s: %v", what, path, reason(e)).
			WithHint("check that you may read and write the file and its folder, or name another with --sqlite")
	case sqlite3.ErrIoErr:
		return relational.StoreError(nil, err, "%s: meta db %s: %v", what, path, reason(e)).
			WithHint("check the disk, then run quant doctor")
	case sqlite3.ErrInterrupt:
		return quant.Errorf(quant.Failed, "%s: %w", what, err)
	}
	if msg := e.Error(); strings.HasPrefix(msg, "no such ") || strings.Contains(msg, "has no column") {
		return relational.StoreError(metastore.ErrSchema, err, "%s: the schema of meta db %s is not the one this program made: %v", what, path, err).
			WithHint("run quant doctor")
	}
	return quant.Errorf(quant.Failed, "%s: %w", what, err)
}

// isDamage reports whether an error of the driver says something of the file: that
// it is no sound database. What the disk, the memory, a lock or a limit refuses says
// nothing of it.
func isDamage(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return false
	}
	switch e.Code {
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrError, sqlite3.ErrFormat, sqlite3.ErrTooBig, sqlite3.ErrMismatch, sqlite3.ErrSchema:
		return true
	}
	return false
}

const hintDamaged = "quant init-db --reset moves it aside (it deletes nothing) and makes a new one; quant doctor --fix also saves what can be read"

// reason adds what the system said to SQLite's text, which leaves it out.
func reason(e sqlite3.Error) string {
	if e.SystemErrno != 0 && !strings.Contains(e.Error(), e.SystemErrno.Error()) {
		return e.Error() + ": " + e.SystemErrno.Error()
	}
	return e.Error()
}

// is reports whether err carries one of the driver's extended codes.
func is(err error, codes ...sqlite3.ErrNoExtended) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return false
	}
	for _, c := range codes {
		if e.ExtendedCode == c {
			return true
		}
	}
	return false
}
