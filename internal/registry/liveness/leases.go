package liveness

import (
	"context"
	"errors"
	"sync"
	"time"

	"quant"
	"quant/internal/failpoint"
	"quant/internal/metastore"
)

// LeaseTime is how long a process that says nothing is taken for alive.
const LeaseTime = 15 * time.Second

func leaseTime() time.Duration { return failpoint.Patience("lease", LeaseTime) }

// renewEvery leaves a lease time for several tries.
func renewEvery() time.Duration { return leaseTime() / 5 }

// longestPause is how long a commit of facts may begin after its fence was asked. The
// store ends a transaction of a process that says nothing for a lease.
func longestPause() time.Duration { return leaseTime() / 3 }

// Leases proves that processes of several machines live: each process that has runs
// open renews a lease in the Meta DB that they share. A lease ends by the clock of the
// database. Among the processes of one machine that share a folder, Locks tell at
// once; a lock says nothing of what it is not there for. Whose lease was revoked can
// write nothing any more (metastore.Leases.TakeLease), so that a process that was
// suspended or cut off may wake when it likes. Leases is for concurrent use.
type Leases struct {
	store   metastore.Leases
	locks   *Locks
	process *Process
	told    func(asked time.Duration, now time.Time)

	mu   sync.Mutex
	name string
	held metastore.HeldLease
	stop context.CancelFunc
	done chan struct{} // closed when nothing is renewed any more
	lost chan struct{} // closed when the lease is gone
}

// NewLeases makes the leases of a store; it touches nothing yet. locks are those of a
// folder of this machine. told hears at each renewal what time the database says it is,
// and when it was asked, by SinceBoot.
func NewLeases(store metastore.Leases, locks *Locks, process *Process, told func(asked time.Duration, now time.Time)) *Leases {
	return &Leases{store: store, locks: locks, process: process, told: told, lost: make(chan struct{})}
}

// Hold takes the lease of this process, which bears the id of its first run, and
// renews it until Release. Errors: those of Locks.Hold; the store's; Conflict when the
// lease was lost: this process starts no run any more.
func (l *Leases) Hold(ctx context.Context, runID string) (name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		select {
		case <-l.lost:
			return "", quant.Errorf(quant.Conflict, "start a run: %w", metastore.ErrLeaseLost).
				WithHint("this process was suspended or cut off for too long; start it again")
		default:
			return l.name, nil
		}
	}
	name, err = l.locks.Hold(ctx, runID)
	if err != nil {
		return "", err
	}
	held, err := l.store.TakeLease(ctx, metastore.Lease{
		Name: name, Host: l.process.Host, MachineID: l.process.MachineID, BootID: l.process.BootID, PID: int64(l.process.PID),
	}, leaseTime())
	if err != nil {
		l.locks.Release()
		return "", err
	}
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.name, l.held, l.stop, l.done = name, held, stop, make(chan struct{})
	go l.renew(renewing, held, l.done)
	return name, nil
}

// Lost is closed when the lease of this process is gone.
func (l *Leases) Lost() <-chan struct{} { return l.lost }

// renew renews until ctx ends or the lease is gone.
func (l *Leases) renew(ctx context.Context, held metastore.HeldLease, done chan struct{}) {
	defer close(done)
	every := renewEvery()
	for pause := every; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		// Less than a lease: a connection that hangs is given up in time for another.
		trying, stop := context.WithTimeout(ctx, every)
		asked := SinceBoot()
		now, err := held.Renew(trying)
		stop()
		pause = every
		switch {
		case errors.Is(err, metastore.ErrLeaseLost):
			close(l.lost)
			return
		case err != nil:
			pause = every / 3
		default:
			l.told(asked, now)
		}
	}
}

// Release ends the lease and lets the lock go. Where the store cannot be told, it may not
// know of the end of the runs either: then others on this machine see it at once, by the
// lock, and those elsewhere when the lease ends.
func (l *Leases) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		return
	}
	l.stop()
	<-l.done
	ending, stop := context.WithTimeout(context.Background(), renewEvery())
	defer stop()
	if err := l.held.End(ending); err != nil {
		l.locks.leave()
	} else {
		l.locks.Release()
	}
	l.held, l.name = nil, ""
}

// Judge tells whether the process that recorded a run still lives: dead is whose lock
// on this machine is free, or whose lease has ended or is gone.
func (l *Leases) Judge(ctx context.Context, p quant.RunProcess) Life {
	if p.RunID == "" || p.LiveLock == "" {
		return Unjudged
	}
	if l.LockFree(p) {
		return Dead
	}
	stands, err := l.store.LeaseStands(ctx, string(p.LiveLock))
	switch {
	case err != nil:
		return Unjudged
	case stands:
		return Alive
	}
	return Dead
}

// LockFree reports whether the kernel proves that a process is dead: it ran since
// this machine was started, its lock is here, and nobody holds it. Machines made of
// one image share an id, and containers a kernel, so a lock that is not here proves
// nothing.
func (l *Leases) LockFree(p quant.RunProcess) bool {
	return p.BootID != "" && string(p.BootID) == l.process.BootID && l.locks.stateOf(string(p.LiveLock)) == lockFree
}

// LockHere reports whether the lock of a process lies in the folder of this one: both
// work in one data folder.
func (l *Leases) LockHere(p quant.RunProcess) bool {
	return l.locks.stateOf(string(p.LiveLock)) != lockMissing
}

// NothingDead tells in one look that there is nothing to close and nothing to sweep, for
// which it sweeps the files of locks: see metastore.Leases.NothingDead.
func (l *Leases) NothingDead(ctx context.Context, machine string) (bool, error) {
	l.mu.Lock()
	name := l.name
	l.mu.Unlock()
	nothing, err := l.store.NothingDead(ctx, machine, name)
	if nothing {
		l.locks.Sweep(ctx)
	}
	return nothing, err
}

// Abandoned are the RUNNING runs of any machine whose lease has ended or is gone: see
// metastore.Leases.Abandoned.
func (l *Leases) Abandoned(ctx context.Context, before string, limit int) ([]metastore.RunDetail, error) {
	return l.store.Abandoned(ctx, before, limit)
}

// Revoke takes the leases of dead runs away, and returns
// the runs whose process can write nothing any more.
func (l *Leases) Revoke(ctx context.Context, runs []metastore.RunDetail) ([]metastore.RunDetail, error) {
	var ended, dead []string
	for _, run := range runs {
		if l.LockFree(run.Process) {
			dead = append(dead, string(run.Process.LiveLock))
		} else {
			ended = append(ended, string(run.Process.LiveLock))
		}
	}
	gone, err := l.store.RevokeLeases(ctx, ended, dead)
	if err != nil {
		return nil, err
	}
	revoked := make(map[quant.Text]bool, len(gone))
	for _, name := range gone {
		revoked[quant.Text(name)] = true
	}
	var sure []metastore.RunDetail
	for _, run := range runs {
		if revoked[run.Process.LiveLock] {
			sure = append(sure, run)
		}
	}
	return sure, nil
}

// Fence runs a commit of facts while nobody can revoke the lease of this process or
// end these runs; tx begins a transaction of the store. Conflict: it was taken for
// dead, one of the runs has ended, or the process was suspended on the way; then
// nothing was committed.
func (l *Leases) Fence(ctx context.Context, tx func(context.Context, func(context.Context) error) error, runIDs []string, commit func() error) error {
	asked, committed := SinceBoot(), false
	err := tx(ctx, func(ctx context.Context) error {
		if err := l.store.StillRunning(ctx, runIDs); err != nil {
			return err
		}
		over := l.stay(ctx)
		defer over()
		failpoint.Hit("fact.fence")
		if paused := SinceBoot() - asked; paused > longestPause() {
			return quant.Errorf(quant.Conflict, "commit facts: this process stood still for %s just before", paused.Round(time.Second)).
				WithHint("nothing was committed; run it again")
		}
		err := commit()
		committed = err == nil
		return err
	})
	if committed {
		return nil // whatever became of a transaction that wrote nothing
	}
	return err
}

// stay keeps the transaction of ctx busy, until over is called, so that a long commit
// is no silence.
func (l *Leases) stay(ctx context.Context) (over func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(renewEvery()):
				_, _ = l.store.Now(ctx) // what it says does not matter
			}
		}
	}()
	return func() { close(stop); <-done }
}

// Sweep takes away the files and leases that dead processes left.
func (l *Leases) Sweep(ctx context.Context) {
	l.locks.Sweep(ctx)
	_ = l.store.SweepLeases(ctx)
}
