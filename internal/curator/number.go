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
// digits with or without thousand separators, a fraction after a point, an
// exponent, spaces and one sign of a currency around it. The fault is sound, missing, unreadable or notFinite (a NaN, an
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

func parseRareNumber(b []byte) (float64, fault) { return parseMarked(b, pointMark) }

// decimalMark is what stands between the whole part of a file's numbers and their
// fraction.
type decimalMark byte

const (
	unknownMark decimalMark = iota // no comma was seen: one is asked about
	pointMark
	commaMark
)

// parse reads a number of a file. doubtful: the mark is not known, and the number
// has a comma that may be it.
func (m decimalMark) parse(b []byte) (x float64, k fault, doubtful bool) {
	switch m {
	case commaMark:
		x, k = parseMarked(b, commaMark)
	default:
		x, k = parseNumber(b)
		if m == unknownMark && bytes.IndexByte(b, ',') >= 0 {
			doubtful = commaIn(b).doubtful()
		}
	}
	return x, k, doubtful
}

// parseMarked reads a number with all that may be around and within it.
func parseMarked(b []byte, mark decimalMark) (float64, fault) {
	b = trimSpace(b)
	if isMissing(b) {
		return math.NaN(), missing
	}
	b = bare(b)
	word := bytes.TrimLeft(b, "+-")
	if len(b)-len(word) <= 1 && (bytes.EqualFold(word, []byte("nan")) ||
		bytes.EqualFold(word, []byte("inf")) || bytes.EqualFold(word, []byte("infinity"))) {
		return math.NaN(), notFinite
	}
	plain, ok := withoutSeparators(b, mark)
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

// currencies are the signs of which one may stand before or behind a number.
var currencies = [][]byte{[]byte("US$"), []byte("$"), []byte("€"), []byte("£"), []byte("¥"), []byte("₩"), []byte("원"), []byte("円"), []byte("元")}

// bare is a number without one sign of a currency before or behind it, or one
// percent sign behind it. The value stays as it is written: 98.5% is 98.5.
func bare(b []byte) []byte {
	if len(b) == 0 || b[0]-'0' <= 9 && b[len(b)-1]-'0' <= 9 {
		return b
	}
	if cut, ok := bytes.CutSuffix(b, []byte{'%'}); ok {
		return trimSpace(cut)
	}
	sign := b[:0]
	rest := b
	if b[0] == '-' || b[0] == '+' {
		sign, rest = b[:1], b[1:]
	}
	for _, c := range currencies {
		if cut, ok := bytes.CutPrefix(rest, c); ok {
			return append(bytes.Clone(sign), trimSpace(cut)...)
		}
		if cut, ok := bytes.CutSuffix(rest, c); ok {
			return append(bytes.Clone(sign), trimSpace(cut)...)
		}
	}
	return b
}

// marks is what the commas and points of a number say of its file.
type marks struct {
	comma, point bool // that it begins the fraction
	either       bool // the comma may part thousands or begin the fraction
	thousands    bool // the point most likely begins the fraction, and may part thousands
}

// commaIn looks at one number; a number without a comma or point says nothing.
func commaIn(b []byte) (m marks) {
	b = bytes.TrimLeft(bare(trimSpace(b)), "+-")
	for len(b) > 1 && b[len(b)-1]-'0' > 9 { // 199,59M
		b = b[:len(b)-1]
	}
	commas, points := bytes.Count(b, []byte{','}), bytes.Count(b, []byte{'.'})
	if len(b) == 0 || commas+points == 0 {
		return m
	}
	lastComma, lastPoint := bytes.LastIndexByte(b, ','), bytes.LastIndexByte(b, '.')
	switch {
	case commas > 0 && points > 0:
		m.comma, m.point = lastComma > lastPoint, lastPoint > lastComma
	case commas > 1:
		m.point = true
	case points > 1:
		m.comma = true
	case points == 1:
		m.thousands = len(b)-lastPoint-1 == 3 && lastPoint > 0 && lastPoint <= 3 && b[0] != '0'
		m.point = !m.thousands
	case len(b)-lastComma-1 != 3 || lastComma == 0 || lastComma > 3 || b[0] == '0':
		m.comma = true
	default:
		m.either = true
	}
	return m
}

// doubtful: the number alone does not tell what its comma is, or tells that it
// begins a fraction.
func (m marks) doubtful() bool { return m.either || m.comma }

// parseVolume is parseNumber for a volume in thousands, millions or billions:
// 3.4K, 199.59M, 1b. Any other text is unreadable.
func parseVolume(b []byte, mark decimalMark) (float64, fault) {
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
	shifted := append(bytes.Clone(trimSpace(digits)), shift...)
	if mark == commaMark {
		return parseMarked(shifted, mark)
	}
	return parseNumber(shifted)
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

// withoutSeparators checks the grammar [sign] digits [mark digits] [e [sign]
// digits], where the digits before the mark may be grouped in threes by one of
// the other mark, a space or an apostrophe, and returns the number with a point
// and without groups.
func withoutSeparators(b []byte, mark decimalMark) ([]byte, bool) {
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
	decimal, group := byte('.'), ","
	if mark == commaMark {
		decimal, group = ',', "."
	}
	sign()
	whole := take()
	for _, other := range [...]string{group, " ", "\u00a0", "\u202f", "'", "\u2019"} {
		if !bytes.HasPrefix(b[i:], []byte(other)) {
			continue
		}
		if whole < 1 || whole > 3 {
			return nil, false
		}
		for bytes.HasPrefix(b[i:], []byte(other)) {
			i += len(other)
			if take() != 3 {
				return nil, false
			}
		}
		break
	}
	fraction := 0
	if i < len(b) && b[i] == decimal {
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
