package relational

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"quant"
	"quant/internal/failpoint"
)

// txKey finds the transaction of one DB in a context.
type txKey struct{ db *DB }

// txState is a transaction that methods called with its context join.
type txState struct {
	conn     *sql.Conn
	readOnly bool // a Snapshot: methods that write are refused

	mu     sync.Mutex
	doomed error // why it can no longer commit
	over   bool
}

func (st *txState) doom(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.doomed == nil {
		st.doomed = err
	}
}

func (st *txState) usable() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over {
		return quant.Errorf(quant.Failed, "meta db: the transaction of this context is over")
	}
	if st.doomed != nil {
		return quant.Errorf(quant.Failed, "meta db: a transaction inside this one failed, it will be rolled back: %w", st.doomed)
	}
	return nil
}

// Tx is documented at metastore.Store.
func (db *DB) Tx(ctx context.Context, fn func(ctx context.Context) error) error {
	if st := db.current(ctx); st != nil {
		return st.join(ctx, fn)
	}
	return db.begin(ctx, "", fn)
}

// InTx tells whether a context belongs to a transaction of this DB.
func (db *DB) InTx(ctx context.Context) bool { return db.current(ctx) != nil }

func (db *DB) current(ctx context.Context) *txState {
	st, _ := ctx.Value(txKey{db}).(*txState)
	return st
}

func (st *txState) join(ctx context.Context, fn func(ctx context.Context) error) (err error) {
	if err := st.usable(); err != nil {
		return err
	}
	returned := false
	defer func() {
		switch {
		case !returned:
			st.doom(errors.New("it panicked"))
		case err != nil:
			st.doom(err)
		}
	}()
	err = fn(ctx)
	returned = true
	return err
}

// begin runs fn in a transaction of its own; point names the failpoints around
// its commit.
func (db *DB) begin(ctx context.Context, point string, fn func(ctx context.Context) error) error {
	release, err := db.Queue(ctx)
	if err != nil {
		return err
	}
	defer release()
	// Not sql.Tx: it starts a goroutine for each transaction, which costs as
	// much as the statements of a recorded run.
	conn, err := db.Pool.Conn(ctx)
	if err != nil {
		return db.Classify("begin a transaction", err)
	}
	defer func() { _ = conn.Close() }()
	if err := db.dialect.Begin(ctx, conn); err != nil {
		return db.Classify("begin a transaction", err)
	}
	st := &txState{conn: conn}
	committed := false
	defer func() {
		st.mu.Lock()
		st.over = true
		st.mu.Unlock()
		if !committed {
			db.dialect.Rollback(conn)
		}
	}()
	if err := fn(context.WithValue(ctx, txKey{db}, st)); err != nil {
		return err
	}
	if err := st.usable(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return db.Classify("commit", err)
	}
	if point != "" {
		failpoint.Hit(point + ".before")
	}
	if _, err := conn.ExecContext(context.WithoutCancel(ctx), "COMMIT"); err != nil {
		return commitError{db.Classify("commit", err)}
	}
	committed = true
	if point != "" {
		failpoint.Hit(point + ".after")
	}
	return nil
}

// commitError is the error of a COMMIT: what it should have stored may be stored.
type commitError struct{ error }

func (e commitError) Unwrap() error { return e.error }

// Queue waits until no other goroutine of this process writes, where the engine
// takes one writer at a time.
func (db *DB) Queue(ctx context.Context) (release func(), err error) {
	if db.writing == nil {
		return func() {}, nil
	}
	release = func() { <-db.writing }
	select {
	case db.writing <- struct{}{}:
		return release, nil
	default:
	}
	limit := time.NewTimer(db.wait)
	defer limit.Stop()
	select {
	case db.writing <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, db.Classify("wait for meta db "+db.Shown, ctx.Err())
	case <-limit.C:
		return nil, quant.Errorf(quant.Locked, "meta db %s is held by another transaction of this process (waited %s)", db.Shown, db.wait)
	}
}

// How often a method is run again that the engine had give way to others, and the
// longest pause before it, which grows with every try.
const (
	mostTries  = 10
	retryPause = 10 * time.Millisecond
)

// Write runs the statements of one method: all of them or none, in a
// transaction of their own or inside the caller's. A statement that fails
// there leaves the caller's transaction as it was before the method. fn may be
// called again after it failed, and then begins anew: where the engine had it give way to
// others, and where its server was away and is back in time, unless that may have
// committed.
func (db *DB) Write(ctx context.Context, what, point string, fn func(ctx context.Context, q Querier) error) error {
	return db.write(ctx, what, point, false, fn)
}

// write is Write. once: what fn has stored it finds and does not store again, so that it is
// called again also where it may have been committed.
func (db *DB) write(ctx context.Context, what, point string, once bool, fn func(ctx context.Context, q Querier) error) error {
	st := db.current(ctx)
	if st == nil {
		if err := ctx.Err(); err != nil {
			return db.Classify(what, err)
		}
		// From here on it is all or nothing anyway; a context that can be
		// cancelled would cost the driver a goroutine for each statement.
		whole := context.WithoutCancel(ctx)
		var away outlasting
		for tries := 1; ; tries++ {
			err := db.begin(whole, point, func(ctx context.Context) error {
				return fn(ctx, db.current(ctx).conn)
			})
			if err != nil && db.dialect.Away(err) && (once || !isA[commitError](err)) && db.outlast(ctx, &away, err) {
				continue
			}
			if err == nil || tries >= mostTries || ctx.Err() != nil || !db.dialect.Again(err) {
				return db.Classify(what, err)
			}
			time.Sleep(rand.N(time.Duration(tries) * retryPause)) // apart from whom it met
		}
	}
	if err := st.usable(); err != nil {
		return err
	}
	if st.readOnly {
		return quant.Errorf(quant.Failed, "%s: inside a snapshot, which only reads", what)
	}
	if _, err := st.conn.ExecContext(ctx, "SAVEPOINT method"); err != nil {
		return db.Classify(what, err)
	}
	done := "RELEASE method"
	failed := fn(ctx, st.conn)
	if failed != nil {
		done = "ROLLBACK TO method; RELEASE method"
	}
	// Some failures (a full disk, an interrupt) make SQLite end the whole
	// transaction; what came later would be committed one by one.
	if _, err := st.conn.ExecContext(context.WithoutCancel(ctx), done); err != nil {
		st.doom(err)
		if failed == nil {
			failed = err
		}
	}
	return db.Classify(what, failed)
}

// Reader returns what to read from: the caller's transaction, or the pool.
func (db *DB) Reader(ctx context.Context) (Querier, error) {
	st := db.current(ctx)
	if st == nil {
		return db.Pool, nil
	}
	if err := st.usable(); err != nil {
		return nil, err
	}
	return st.conn, nil
}
