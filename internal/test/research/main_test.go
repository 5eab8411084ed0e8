// Package research proves that the pages of facts show what the commands print, of the
// same lab, while both are at work.
package research

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
