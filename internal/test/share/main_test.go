// Package share proves that a process which reads the Fact DB whenever it likes, as a
// server does, never keeps writers out: they wait for less than a second, and reading
// goes on behind them.
package share

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
