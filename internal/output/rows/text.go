package rows

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendQuoted appends a JSON string. Bytes that are no UTF-8 become U+FFFD, and
// what a terminal would obey is escaped.
func AppendQuoted(b, s []byte) []byte { return appendQuoted(b, s, `\u0008`, `\u000c`, "\ufffd") }

// appendQuoted is AppendQuoted with these spellings of a backspace, a form feed
// and a byte that is no UTF-8.
func appendQuoted(b, s []byte, backspace, formFeed, invalid string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f {
			b = append(b, c)
			i++
			continue
		}
		if c < utf8.RuneSelf {
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			case '\t':
				b = append(b, `\t`...)
			case '\b':
				b = append(b, backspace...)
			case '\f':
				b = append(b, formFeed...)
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, invalid...)
		case r == '\u2028', r == '\u2029', unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			// Valid as they are, but for JavaScript and for terminals.
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}

// AppendClean appends text for a terminal: control characters, invisible format
// characters (which can reverse what is read) and bytes that are no UTF-8 are
// shown as escapes, so that data can neither move the cursor nor hide itself.
func AppendClean(b, s []byte) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f {
			b = append(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		switch {
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < utf8.RuneSelf || r == utf8.RuneError && n == 1:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		case r < 0xa0:
			b = append(b, '\\', 'x', hexDigits[r>>4], hexDigits[r&15])
		case r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Cf, r):
			b = append(b, '\\', 'u')
			b = append(b, padHex(r)...)
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return b
}

func padHex(r rune) string {
	s := strconv.FormatInt(int64(r), 16)
	for len(s) < 4 {
		s = "0" + s
	}
	return s
}
