// Package server proves that stock clients work against quant serve as they do
// against the servers that they were made for.
package server

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
