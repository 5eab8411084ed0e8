package relational

import (
	"context"
	"database/sql"
)

// Dialect is what an engine does and says otherwise than another. The statements
// of this package are one text for all engines, written with ? or ?1 for what they
// bind; a Dialect gives the fragments that no two engines spell alike. Its methods
// may be called from several goroutines.
type Dialect interface {
	// Begin begins a transaction that may write, and waits for whoever keeps it from
	// that as long as the engine was told to.
	Begin(ctx context.Context, conn *sql.Conn) error
	// BeginReading begins one that reads one state of the database, fixed by the time
	// it returns.
	BeginReading(ctx context.Context, conn *sql.Conn) error
	// Rollback ends a transaction, unless the engine has ended it by itself; a
	// connection that cannot is thrown away.
	Rollback(conn *sql.Conn)

	// TableNames is the query for the names of all tables of the Meta DB, in order.
	TableNames() string

	// Classify gives an error of the driver its code and a message that says what was
	// being done to which object. An error that has a code already is returned as it
	// is, as are a caller's own errors.
	Classify(what string, err error) error
	// Duplicate tells whether an error is that a key exists already.
	Duplicate(err error) bool
	// NoParent tells whether an error is that a row that is referred to does not exist.
	NoParent(err error) bool
}
