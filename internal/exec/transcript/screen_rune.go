package transcript

import (
	"unicode/utf8"

	"quant/internal/output"
)

// character reads one character beyond ASCII and says how a terminal may show
// it.
func character(in []byte) (n int, shown string, whole bool) {
	if !utf8.FullRune(in) {
		return 1, output.Clean(string(in[:1])), false
	}
	_, n = utf8.DecodeRune(in)
	return n, output.Clean(string(in[:n])), true
}
