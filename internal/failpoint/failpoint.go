// Package failpoint names the steps at which a test may stop the process:
// before and after each durable write, in both databases. Nothing happens
// unless a test binary sets a hook; the program never does.
package failpoint

import "sync/atomic"

var hook atomic.Pointer[func(name string)]

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
