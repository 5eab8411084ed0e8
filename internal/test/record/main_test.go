// Package record proves that nothing runs unrecorded, that every end is told
// truly, and that what is recorded can be seen again.
package record

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
