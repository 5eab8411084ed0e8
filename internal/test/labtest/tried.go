package labtest

import (
	"testing"

	"quant/internal/test/tried"
)

// CannotTry is tried.Cannot.
func CannotTry(t testing.TB, format string, args ...any) {
	t.Helper()
	tried.Cannot(t, format, args...)
}
