// Package browser proves the pages in a real browser, headless: how they look at three
// widths in light and dark, and what they do when somebody uses them. The program that
// drives the browser is folder driver.
package browser

import (
	"testing"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
