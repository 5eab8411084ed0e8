package relational

import (
	"context"
	"database/sql"
	"iter"

	"quant"
	"quant/internal/metastore"
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

	// Again tells whether an error says that the same statements would now succeed:
	// the engine chose the transaction to give way to others that ran beside it.
	Again(err error) bool
	// Away tells whether an error says that the engine's server could not be asked, or went
	// away while it was: of a transaction that had not been told to commit, nothing is
	// stored.
	Away(err error) bool

	// Once is the statement that marks a batch as stored, in the transaction that stores it,
	// and changes nothing where that was done before; "": whether a transaction was
	// committed is always known, or nobody could be asked.
	Once(m metastore.Mark) (query string, args []any)

	// LockRuns is the statement that keeps others from changing what is recorded of the
	// runs in a list, until the transaction ends; "" where there is one writer at a
	// time. Statements after it see what those others have committed.
	LockRuns() string
	// Alone is the statement that keeps others who say it with the same name apart until
	// the transaction ends; "" where there is one writer at a time.
	Alone() string
	// Points stores points of metrics.
	Points() Points

	// Head is the beginning of a text that an index holds of it where texts may be of any
	// length, as SQL in which %s is the text; "": an index holds the whole text.
	Head() string
	// LookUp is the statement that has the engine look rows up by their keys, because they
	// are few, or choose for itself again, until the transaction ends; "": it does anyhow.
	LookUp(few bool) string
	// Explain returns the engine's own words of how it answers a statement, a step each,
	// indented by what it serves.
	Explain(ctx context.Context, q Querier, query string, args []any) ([]string, error)

	// Last is the last characters of a text, as SQL.
	Last(text, characters string) string
	// TextArray is the aggregate that makes a JSON array of texts in their order, as text.
	TextArray(text string) string
	// OtherColumns is the query for the names of a table's columns, but for run_id.
	OtherColumns() string
	// TableNames is the query for the names of all tables of the Meta DB, in order.
	TableNames() string

	// StoreWhole calls store with the rules off that only hold for whoever records, until
	// it returns, in the transaction of conn.
	StoreWhole(ctx context.Context, conn *sql.Conn, tables []string, store func() error) error
	// StoreRows adds rows to a table, in the transaction of conn. A value is nil, an int64,
	// a float64 or a string.
	StoreRows(ctx context.Context, conn *sql.Conn, table string, columns []string, rows iter.Seq2[[]any, error]) error

	// Classify gives an error of the driver its code and a message that says what was
	// being done to which object. An error that has a code already is returned as it
	// is, as are a caller's own errors.
	Classify(what string, err error) error
	// Duplicate tells whether an error is that a key exists already.
	Duplicate(err error) bool
	// NoParent tells whether an error is that a row that is referred to does not exist.
	NoParent(err error) bool
}

// Points stores points of one metric after the other.
type Points interface {
	// Of begins the points of a metric of which left are left to store; the first has
	// the number first. at is the time of all of them; zero: each has its own. n is how
	// many of them Add has to be told before Store.
	Of(runID, name string, first int64, at quant.Time, left int) (n int)
	Add(step int64, value float64, at quant.Time)
	Store(ctx context.Context, q Querier) error
}
