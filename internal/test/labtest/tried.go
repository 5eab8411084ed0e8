package labtest

import (
	"os"
	"testing"
)

// CannotTry ends a test that this machine cannot run, and says why: as left out, or,
// where QUANT_TEST_EVERYTHING is set, as CI does, as failed. What was not tried is no
// pass there.
func CannotTry(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("QUANT_TEST_EVERYTHING") != "" {
		t.Fatalf("not tried: "+format, args...)
	}
	t.Skipf("not tried: "+format, args...)
}
