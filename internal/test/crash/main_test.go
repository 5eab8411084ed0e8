// Package crash proves that kills, broken databases and full disks lose nothing
// that was acknowledged.
package crash

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
