package factstore

import (
	"context"
	"slices"
)

// Each commit to a lake is a snapshot, with a number of its own, which can be read for
// as long as it is kept.

// Snapshots are the snapshots of a lake that a DB has to do with.
type Snapshots struct {
	// Lake tells the lake from all others: a digest of what was drawn when it was made.
	// Numbers of snapshots mean something within one lake only.
	Lake    string
	Read    int64   // the one that it reads, or read before it wrote; 0: none that is known
	Written []int64 // those that it committed
}

// Snapshots tells which snapshots of a lake were read and committed. Of facts in a file
// it tells none. It is for the goroutine that works with db.
func (db *DB) Snapshots() Snapshots {
	if db.lake == nil {
		return Snapshots{}
	}
	return Snapshots{Lake: db.lake.id, Read: db.lake.snapshot, Written: slices.Clone(db.lake.written)}
}

// lastSnapshot is the query for the number of the newest snapshot that this connection
// committed.
const lastSnapshot = "SELECT id FROM ducklake_last_committed_snapshot('" + catalog + "')"

// noteCommit keeps the number of the snapshot that was committed just now. The facts are
// committed whatever becomes of it; a number that cannot be had is left out.
func (db *DB) noteCommit(ctx context.Context) {
	var id *int64
	if err := db.conn.QueryRowContext(ctx, lastSnapshot).Scan(&id); err == nil && id != nil {
		db.lake.written = append(db.lake.written, *id)
	}
}
