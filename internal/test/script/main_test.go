// Package script holds the program to its acceptance tests: the sessions of
// testdata/script, in which every command stands with what it prints.
package script

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
