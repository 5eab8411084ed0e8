// Package provider says what a source of daily bars on the network is, and
// holds what every one of them needs around it: retry, rate limit, cache and
// redaction, each a Provider around another one. It judges no bar, knows no
// database and prints nothing.
//
// The order that works: Cached(Retrying(Limited(Redacted(a provider)))). So a
// cached answer costs no request, every attempt counts against the rate, and
// nothing outside the innermost layer has seen the key.
package provider

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Provider delivers daily bars. For one goroutine at a time.
type Provider interface {
	// Name is what rows from it are marked with: a short word, in lower case.
	Name() string
	// Daily returns a symbol's bars. The error is a *Failure, or the cause of
	// ctx as soon as that ends.
	Daily(ctx context.Context, q Query) (Series, error)
}

// Query says which bars.
type Query struct {
	Symbol string
	Full   bool // the whole history; else its recent end, as long as the provider likes
	Fresh  bool // not from a cache
}

// Size is the word for what Full says: full or compact.
func (q Query) Size() string {
	if q.Full {
		return "full"
	}
	return "compact"
}

// Series is what a provider answered.
type Series struct {
	Raw    []byte // the answer as it came, the key masked
	Rows   []Row  // in the answer's order
	Cached bool   // it had been asked before
}

// Row is one day as the provider spells it; "" is not there. Open, High, Low,
// Close and Volume are raw, as traded; AdjustedClose accounts for splits and
// dividends.
type Row struct {
	Date, Open, High, Low, Close, AdjustedClose, Volume string
}

// Kind tells what a Failure means for what comes next.
type Kind string

// Temporary: the same request may succeed later. Lost: this symbol cannot be
// had, others may. Denied: no symbol can be had in this run.
const (
	Temporary Kind = "temporary"
	Lost      Kind = "lost"
	Denied    Kind = "denied"
)

// Failure is why a provider did not deliver. It has no cause: what a library
// says may hold the key.
type Failure struct {
	Kind  Kind
	Msg   string        // what was wrong, in lower case
	Hint  string        // what to do next; may be empty
	After time.Duration // not to be tried again before; 0: not said
}

// Error returns the message.
func (f *Failure) Error() string { return f.Msg }

// Failed makes a Failure.
func Failed(kind Kind, format string, args ...any) *Failure {
	return &Failure{Kind: kind, Msg: fmt.Sprintf(format, args...)}
}

// Clock is the time, and how to let it pass. The zero Clock is the real one.
type Clock struct {
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error // returns the cause of ctx when that ends first
}

func (c Clock) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c Clock) sleep(ctx context.Context, d time.Duration) error {
	if c.Sleep != nil {
		return c.Sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// failureOf is the *Failure in err's chain, nil if there is none.
func failureOf(err error) *Failure {
	f, _ := errors.AsType[*Failure](err)
	return f
}
