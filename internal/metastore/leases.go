package metastore

import (
	"context"
	"errors"
	"time"
)

// ErrLeaseLost marks the Conflict of a process that was taken for dead: its lease had
// ended and another process has closed its runs. What it still wanted to write was
// not written.
var ErrLeaseLost = errors.New("the lease of this process was lost")

// Lease is how a process proves to those that share no machine with it that it lives.
type Lease struct {
	Name      string // run_process.live_lock of its runs
	Host      string
	MachineID string
	BootID    string
	PID       int64
}

// Leases is a Store that processes of several machines share. All times are the
// database's: the clocks of the machines may say what they like.
type Leases interface {
	// Now is the database's time.
	Now(ctx context.Context) (time.Time, error)
	// TakeLease stores the lease of this process, which lasts so long unless it is
	// renewed. Its token is greater than that of every earlier lease. From then on
	// each transaction in which this Store writes begins by proving that the lease
	// still is this one, and until it ends nobody can revoke the lease; else it is
	// refused as Conflict, marked ErrLeaseLost. A transaction in which nothing is said
	// for so long ends by itself.
	TakeLease(ctx context.Context, l Lease, lasts time.Duration) (HeldLease, error)
	// LeaseStands tells whether there is a lease of this name that has not ended.
	LeaseStands(ctx context.Context, name string) (bool, error)
	// Abandoned returns the RUNNING runs whose lease has ended or is gone, newest
	// first, without ConfigJSON and Argv: at most limit (0: all), whose ids are less
	// than before ("": any). Runs that no lease was taken for are none.
	Abandoned(ctx context.Context, before string, limit int) ([]RunDetail, error)
	// RevokeLeases takes away, of these leases, those of ended by their clock, and
	// those of dead whatever their clock says. It returns the names of all that are
	// gone then, whoever took them. One whose process is writing at this moment
	// stays.
	RevokeLeases(ctx context.Context, ended, dead []string) (gone []string, err error)
	// StillRunning fails within a transaction, as Conflict, unless all these runs are
	// RUNNING, and keeps them so until it ends.
	StillRunning(ctx context.Context, runIDs []string) error
	// NothingDead tells in one look that there is nothing for Abandoned and nothing for
	// SweepLeases, and that no process of this machine but the one of this lease has
	// RUNNING runs.
	NothingDead(ctx context.Context, machineID, lease string) (bool, error)
	// SweepLeases takes away leases that ended and that no RUNNING run bears.
	SweepLeases(ctx context.Context) error
}

// HeldLease is a lease of this process.
type HeldLease interface {
	// Renew makes the lease last from now on, on a connection of its own, so that no
	// long statement delays it. Conflict, marked ErrLeaseLost: it is gone.
	Renew(ctx context.Context) error
	// End takes the lease away and closes its connection.
	End(ctx context.Context) error
}
