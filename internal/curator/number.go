package curator

import (
	"bytes"
	"math"
	"strconv"
)

// pow10 holds the powers of ten that a double holds exactly. It is never
// written.
var pow10 = [23]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// parseNumber reads a decimal number, correctly rounded: an optional sign,
// digits with or without thousand separators, a fraction, an exponent, spaces
// around it, and no currency sign. The fault is sound, missing, unreadable or notFinite (a NaN, an
// infinity, or beyond the range of a double); but for sound the number is NaN.
func parseNumber(b []byte) (float64, fault) {
	i, negative := 0, false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		negative = b[0] == '-'
		i = 1
	}
	// The exact case: a mantissa below 2^53 and a power of ten that a double
	// holds, so that one division or multiplication rounds once.
	var mantissa uint64
	digits, exp := 0, 0
	start := i
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		mantissa = mantissa*10 + uint64(b[i]-'0')
	}
	digits = i - start
	if i < len(b) && b[i] == '.' {
		i++
		start = i
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
			mantissa = mantissa*10 + uint64(b[i]-'0')
		}
		exp = start - i
		digits += i - start
	}
	if i == len(b) && digits > 0 && digits <= 19 && mantissa < 1<<53 && exp >= -22 {
		x := float64(mantissa) / pow10[-exp]
		if negative {
			x = -x
		}
		return x, sound
	}
	return parseRareNumber(b)
}

func parseRareNumber(b []byte) (float64, fault) {
	if trimmed := trimSpace(b); len(trimmed) < len(b) {
		return parseNumber(trimmed)
	}
	if isMissing(b) {
		return math.NaN(), missing
	}
	word := bytes.TrimLeft(b, "+-")
	if len(b)-len(word) <= 1 && (bytes.EqualFold(word, []byte("nan")) ||
		bytes.EqualFold(word, []byte("inf")) || bytes.EqualFold(word, []byte("infinity"))) {
		return math.NaN(), notFinite
	}
	plain, ok := withoutSeparators(b)
	if !ok {
		return math.NaN(), unreadable
	}
	x, err := strconv.ParseFloat(string(plain), 64)
	switch {
	case math.IsInf(x, 0):
		return math.NaN(), notFinite
	case err != nil:
		return math.NaN(), unreadable
	}
	return x, sound
}

// parseVolume is parseNumber for a volume in thousands, millions or billions:
// 3.4K, 199.59M, 1b. Any other text is unreadable.
func parseVolume(b []byte) (float64, fault) {
	b = trimSpace(b)
	if len(b) < 2 {
		return math.NaN(), unreadable
	}
	shift := ""
	switch b[len(b)-1] {
	case 'k', 'K':
		shift = "e3"
	case 'm', 'M':
		shift = "e6"
	case 'b', 'B':
		shift = "e9"
	default:
		return math.NaN(), unreadable
	}
	digits := b[:len(b)-1]
	if bytes.ContainsAny(digits, "eE") {
		return math.NaN(), unreadable
	}
	// Shifted as a decimal number, and so rounded once.
	return parseNumber(append(bytes.Clone(trimSpace(digits)), shift...))
}

// isMissing tells the spellings of a value that is not there.
func isMissing(b []byte) bool {
	switch len(b) {
	case 0:
		return true
	case 1:
		return b[0] == '-'
	case 2:
		return bytes.EqualFold(b, []byte("na"))
	case 3:
		return bytes.EqualFold(b, []byte("n/a"))
	case 4:
		return bytes.EqualFold(b, []byte("null"))
	}
	return false
}

// withoutSeparators checks the grammar [sign] digits [. digits] [e [sign]
// digits], where the digits before the point may be grouped by commas in
// threes, and returns the number without commas.
func withoutSeparators(b []byte) ([]byte, bool) {
	plain := make([]byte, 0, len(b))
	i := 0
	take := func() int {
		n := 0
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
			plain = append(plain, b[i])
			n++
		}
		return n
	}
	sign := func() {
		if i < len(b) && (b[i] == '-' || b[i] == '+') {
			plain = append(plain, b[i])
			i++
		}
	}
	sign()
	whole := take()
	grouped := i < len(b) && b[i] == ','
	if grouped && (whole < 1 || whole > 3) {
		return nil, false
	}
	for i < len(b) && b[i] == ',' {
		i++
		if take() != 3 {
			return nil, false
		}
	}
	fraction := 0
	if i < len(b) && b[i] == '.' {
		plain = append(plain, '.')
		i++
		fraction = take()
	}
	if whole+fraction == 0 {
		return nil, false
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		plain = append(plain, 'e')
		i++
		sign()
		if take() == 0 {
			return nil, false
		}
	}
	return plain, i == len(b)
}

// trimSpace cuts spaces and tabs, and what Excel calls a space (U+00A0).
func trimSpace(b []byte) []byte {
	if n := len(b); n > 0 && b[0]-'!' < 0x7f-'!' && b[n-1]-'!' < 0x7f-'!' {
		return b
	}
	for len(b) > 0 {
		switch {
		case b[0] == ' ' || b[0] == '\t':
			b = b[1:]
		case b[len(b)-1] == ' ' || b[len(b)-1] == '\t':
			b = b[:len(b)-1]
		case bytes.HasPrefix(b, []byte("\u00a0")):
			b = b[2:]
		case bytes.HasSuffix(b, []byte("\u00a0")):
			b = b[:len(b)-2]
		default:
			return b
		}
	}
	return b
}
