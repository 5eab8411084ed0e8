package registry

import (
	"runtime/debug"

	"quant"
)

// Panicked makes the error of a run that panicked, with the stack of the
// goroutine. Call it in the deferred function that recovered.
func Panicked(value any) error {
	return quant.Errorf(quant.Failed, "panic: %v\n\n%s", value, debug.Stack())
}
