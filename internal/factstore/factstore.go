// Package factstore owns the Fact DB: the DuckDB file with its tables, the
// lock that one writing process or many reading ones hold on it, the staged
// merge that keeps the keys of its tables unique, and the ledger that leads
// every change back to the run that made it. It knows no provider, no
// strategy and no Meta DB: what a bar must look like is the curator's rule,
// and which run a process is, the registry's.
//
// Open late and close early: a reader shuts writers out, too.
package factstore

import (
	"context"
	"errors"
	"time"

	"quant"
	"quant/internal/lab/place"
)

// EngineVersion is the version of DuckDB that is linked in.
const EngineVersion = "v1.5.5"

// What a quant.Store error of this package may wrap; ask with errors.Is.
var (
	// ErrMissing: there is no Fact DB at the path.
	ErrMissing = errors.New("no fact db")
	// ErrDamaged: the file is no Fact DB, or cannot be read any more.
	ErrDamaged = errors.New("damaged")
	// ErrOlder: the file must be brought up to date first.
	ErrOlder = errors.New("older than the program")
	// ErrNewer: the file's schema, or its format, is newer than the program.
	ErrNewer = errors.New("newer than the program")
)

// Options say which Fact DB, and how to open it. Only Path is required, or URL and what
// it needs.
type Options struct {
	Path string
	// URL says that the facts are on DuckLake, and where: see place.LakeURL. Path is
	// then not looked at; Extensions and TempDir are required.
	URL string
	// Extensions is the folder of the extensions that DuckLake needs: see CheckExtensions.
	Extensions string
	// Cloud is what a data path in a bucket leaves out; Know is told the secrets of the
	// credentials that are used there, so that they are masked. nil: nobody is.
	Cloud place.Cloud
	Know  func(values ...string)
	// Newest: a reader of a lake reads in each statement what is stored by then, not the
	// snapshot that was the newest when it opened.
	Newest bool
	// Snapshot: a reader of a lake reads this snapshot; 0: the newest. SnapshotOf says of
	// which lake it is (see Snapshots); "": of this one.
	Snapshot   int64
	SnapshotOf string
	// Late: a writer on a lake takes the writers' lock for each COMMIT alone, so that
	// others can write while it computes. Its transaction fails with ErrOvertaken where
	// one of them did. On a file it means nothing.
	Late bool

	Wait        time.Duration      // how long to wait for the lock; 0 or less: not at all
	Waiting     func(Wait)         // called when the wait begins (after some 200 ms), then about every 5 s; may be nil
	Upgrading   func(from, to int) // called before a file of an older schema is changed, which may take a minute; may be nil
	Now         func() time.Time   // the clock; nil: time.Now
	TempDir     string             // where DuckDB spills to, in a folder of its own; "": <Path>.tmp
	Threads     int                // 0: one a core
	Yields      bool               // a reader stays away while a process waits to write: see Wanted
	MemoryLimit int64              // bytes that the engine may hold before it spills to disk; 0: DefaultMemory
	// Near is a folder in which a reader of a lake in a bucket keeps what it reads of the
	// files, for those who open it with the same one, NearBytes of it (0:
	// nearby.Most); "": nothing is kept.
	Near      string
	NearBytes int64
	// Fence is given each COMMIT of facts and ledger of these runs: it calls commit, or
	// fails with why these runs may commit nothing any more; nil: commit is called.
	Fence func(ctx context.Context, runIDs []string, commit func() error) error
}

// Wait is a wait for the lock.
type Wait struct {
	Path    string
	PID     int    // process that holds the file; 0 if unknown
	Program string // that process's program; "" if unknown
	Waited  time.Duration
}

// Commit is what became of the facts that a DB was given to write.
type Commit int

// NoneCommitted: every transaction was rolled back, or there was none.
// Committed: at least one transaction is durable. Unknown: a COMMIT failed and
// the database could not say what became of it; CommittedRuns can, once the DB
// is closed.
const (
	NoneCommitted Commit = iota
	Committed
	Unknown
)

// Delta counts what a merge did to a table, in rows.
type Delta struct {
	Inserted, Updated, Unchanged, Deleted int64
	// Of ohlcv alone: how many of Updated only have their adjusted close
	// scaled by their symbol's one factor, and how many rows were added to
	// ohlcv_revisions.
	Rescaled, Revisions int64
}

// LedgerRow is one table that one transaction of a run changed.
type LedgerRow struct {
	RunID       string     `json:"run_id"`
	Table       string     `json:"table_name"`
	Inserted    int64      `json:"rows_inserted"`
	Updated     int64      `json:"rows_updated"`
	Deleted     int64      `json:"rows_deleted"`
	CommittedAt quant.Time `json:"committed_at"`
}

// TableCount is one table and its number of rows.
type TableCount struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
}

// Problem is one finding of Check.
type Problem struct {
	Object string // table, row or file that is concerned
	What   string // what is wrong
	Mend   string // what to do about it
}
