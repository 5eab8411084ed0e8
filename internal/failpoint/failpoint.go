// Package failpoint names the steps at which a test may stop the process:
// before and after each durable write, in both databases. It also names the
// waits that a test may shorten. Nothing happens unless a test binary sets a
// hook; the program never does.
package failpoint

import (
	"sync/atomic"
	"time"
)

var (
	hook     atomic.Pointer[func(name string)]
	patience atomic.Pointer[func(name string, standard time.Duration) time.Duration]
	clock    atomic.Pointer[func() time.Time]
)

// Hit marks a step.
func Hit(name string) {
	if f := hook.Load(); f != nil {
		(*f)(name)
	}
}

// Set makes f run at every step; nil stops that. For tests only.
func Set(f func(name string)) {
	if f == nil {
		hook.Store(nil)
		return
	}
	hook.Store(&f)
}

// Patience is how long the wait of this name lasts at most: standard, unless a
// test says otherwise.
func Patience(name string, standard time.Duration) time.Duration {
	if f := patience.Load(); f != nil {
		return (*f)(name, standard)
	}
	return standard
}

// SetPatience makes f decide every wait that has a name; nil stops that. For
// tests only.
func SetPatience(f func(name string, standard time.Duration) time.Duration) {
	if f == nil {
		patience.Store(nil)
		return
	}
	patience.Store(&f)
}

// Now is the time by the clock of this machine, unless a test says otherwise: the one
// from which the program takes what time it is.
func Now() time.Time {
	if f := clock.Load(); f != nil {
		return (*f)()
	}
	return time.Now()
}

// SetClock makes f say what Now is; nil stops that. For tests only.
func SetClock(f func() time.Time) {
	if f == nil {
		clock.Store(nil)
		return
	}
	clock.Store(&f)
}
