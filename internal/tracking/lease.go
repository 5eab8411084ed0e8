package tracking

import (
	"context"
	"sync"
	"time"

	"quant"
	"quant/internal/metastore"
)

// DefaultLease is how long a client may be silent before its run is taken for
// abandoned: long enough for an epoch of a training that logs but once in each.
const DefaultLease = 24 * time.Hour

// noted is how old the stored sign of life of a client may become while it goes on.
const noted = time.Minute

// lives remembers when the last sign of life of each client was stored, so that
// thousands of points do not store it thousands of times.
type lives struct {
	mu     sync.Mutex
	stored map[string]time.Time // by the client's id
}

// mostLives bounds what is remembered; what is forgotten is stored once more.
const mostLives = 10000

// see returns the sign of life to store with a write; zero: none is due.
func (l *lives) see(clientID string, now quant.Time) quant.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, known := l.stored[clientID]; known && now.Sub(last) < noted {
		return quant.Time{}
	}
	if l.stored == nil || len(l.stored) >= mostLives {
		l.stored = map[string]time.Time{}
	}
	l.stored[clientID] = now.Time
	return now
}

func (l *lives) forget(clientID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.stored, clientID)
}

// Abandoned is what the text of a run says whose client vanished.
const Abandoned = "its client gave no sign of life"

// sweepAtOnce is how many runs one commit of Sweep closes.
const sweepAtOnce = 500

// Sweep ends the runs whose clients gave no sign of life for the lease, as FAIL, and
// returns the ids of those that it ended. The lease goes on over a restart of the
// server: what counts is stored. It is to be called now and then, from one
// goroutine.
func (t *Tracking) Sweep(ctx context.Context) ([]string, error) {
	now := t.now()
	since := quant.NewTime(now.Add(-t.Lease))
	var ended []string
	for {
		silent, err := t.Store.SilentClientRuns(ctx, since, sweepAtOnce)
		if err != nil || len(silent) == 0 {
			return ended, err
		}
		var ids []string
		for _, c := range silent {
			ids = append(ids, c.RunID)
			t.life.forget(c.ClientID)
		}
		closed, err := t.Store.FinishRuns(ctx, ids, metastore.RunEnd{
			Status: quant.Fail, EndedAt: now, ErrorText: Abandoned + " for " + t.Lease.String(),
		})
		if err != nil {
			return ended, err
		}
		ended = append(ended, closed...)
		if len(closed) == 0 {
			return ended, nil // they are ended by somebody else
		}
	}
}
