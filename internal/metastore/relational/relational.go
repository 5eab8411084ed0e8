// Package relational is what every SQL engine of the Meta DB shares: the
// statements, transactions that are joined, the plan of a search. One text of a
// statement serves all engines; what they spell otherwise is a Dialect's. It
// does not decide where a database is, how it is made, migrated or saved: that is
// its engine's (sqlite, postgres), which embeds a DB.
package relational

import (
	"database/sql"
	"fmt"
	"time"

	"quant"
)

// DB is the part of an open Meta DB that no engine has alone. Its methods may be
// called from several goroutines, once Pool is set.
type DB struct {
	Pool  *sql.DB
	Shown string // the database as the caller named it, for messages

	dialect Dialect
	wait    time.Duration
	outage  Outage
	// writing holds one token: writers of this process queue here, so that they
	// neither poll for the engine's lock against each other nor fill the pool. nil
	// where the engine takes several writers at once.
	writing chan struct{}
}

// Options says what a DB is of.
type Options struct {
	Shown     string
	Dialect   Dialect
	Wait      time.Duration // how long a writer waits for others of this process
	OneWriter bool          // the engine takes one writer at a time
	Outage    Outage
}

// Outage is what becomes of a method when the engine's server is away. The zero value: it
// fails.
type Outage struct {
	Patience time.Duration   // how long a server that is away is waited for
	Waiting  func(why error) // is told that it is waited for; nil: nobody is
}

// New makes a DB whose Pool its engine sets before anything else is called.
func New(o Options) *DB {
	db := &DB{Shown: o.Shown, dialect: o.Dialect, wait: o.Wait, outage: o.Outage}
	if o.OneWriter {
		db.writing = make(chan struct{}, 1)
	}
	return db
}

// Classify is documented at Dialect.
func (db *DB) Classify(what string, err error) error { return db.dialect.Classify(what, err) }

// Close closes the pool. Use of the DB afterwards is a Failed error.
func (db *DB) Close() error { return db.Classify("close", db.Pool.Close()) }

// StoreError is a Store error that errors.Is recognises as mark and as cause;
// either may be nil.
func StoreError(mark, cause error, format string, args ...any) *quant.Error {
	e := &quant.Error{Code: quant.Store, Msg: fmt.Sprintf(format, args...)}
	switch {
	case mark != nil && cause != nil:
		e.Err = fmt.Errorf("%w: %w", mark, cause)
	case mark != nil:
		e.Err = mark
	default:
		e.Err = cause
	}
	return e
}
