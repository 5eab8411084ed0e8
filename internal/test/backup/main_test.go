// Package backup proves that whole labs and single runs can be kept, given away
// and brought back: backup, restore, deletion, export and import, also when they
// are killed.
package backup

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
