// Package chain proves what the production chain makes: models, whole pipelines
// and prices of a provider, also after an interruption.
package chain

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
