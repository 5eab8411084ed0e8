package app

import (
	"testing"
	"time"
)

// The documents promise it, and the tests that end processes shorten it.
func TestACommandMayTakeTenSecondsToStop(t *testing.T) {
	t.Parallel()
	if patience != 10*time.Second {
		t.Errorf("a command may take %s to stop", patience)
	}
}
