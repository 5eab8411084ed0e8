// Package serving proves what a real server does: how it begins and ends, what it
// leaves when it is killed, whom it lets in, and that a crowd or a slow client does
// not stop it.
package serving

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
