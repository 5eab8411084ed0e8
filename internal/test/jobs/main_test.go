// Package jobs proves what real workers do with jobs: that a job is done once whatever
// becomes of its worker, and that it is cancelled, retried and ended as asked.
package jobs

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
