// Package exec proves what a program sees and leaves behind when quant runs it,
// logs for it, and runs it again.
package exec

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
