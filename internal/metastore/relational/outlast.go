package relational

import (
	"context"
	"errors"
	"time"
)

// The pauses between two questions whether a server is back: the first, and the longest
// of those that follow it.
const (
	firstPause   = 20 * time.Millisecond
	longestPause = time.Second
)

// outlasting is how long a method has waited for a server.
type outlasting struct{ since time.Time }

// outlast waits, after err told that the server is away, until it can be asked again. It
// returns false where that has not come within the patience for one method, or ctx ended.
func (db *DB) outlast(ctx context.Context, o *outlasting, err error) bool {
	if db.outage.Patience <= 0 || ctx.Err() != nil {
		return false
	}
	if o.since.IsZero() {
		o.since = time.Now()
		if db.outage.Waiting != nil {
			db.outage.Waiting(err)
		}
	}
	asking, stop := context.WithDeadline(ctx, o.since.Add(db.outage.Patience))
	defer stop()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		select {
		case <-asking.Done():
			return false
		case <-time.After(pause):
		}
		if err := db.Pool.PingContext(asking); err == nil || asking.Err() == nil && !db.dialect.Away(err) {
			return true // or says better than this what is wrong
		}
	}
}

// Repeated does what may be done twice, and does it again where the server was away and is
// back in time.
func (db *DB) Repeated(ctx context.Context, do func() error) error {
	var away outlasting
	for {
		if err := do(); err == nil || !db.dialect.Away(err) || !db.outlast(ctx, &away, err) {
			return err
		}
	}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
