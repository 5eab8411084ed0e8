package postgres

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// escape begins a byte that PostgreSQL does not store in a text, a NUL or what is not
// UTF-8, as two hexadecimal digits. It is a noncharacter, which no text of people holds;
// one that does has its own bytes escaped.
const escape = '\ufdd0'

// carried is a text in the form in which PostgreSQL stores it: nearly always itself.
func carried(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) && !strings.ContainsRune(s, escape) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == 0 || r == escape || r == utf8.RuneError && size == 1 {
			for _, c := range []byte(s[i : i+size]) {
				b.WriteRune(escape)
				b.WriteString(hex.EncodeToString([]byte{c}))
			}
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// restored is the text that was carried.
func restored(s string) string {
	at := strings.IndexRune(s, escape)
	if at < 0 {
		return s
	}
	var b strings.Builder
	for ; at >= 0; at = strings.IndexRune(s, escape) {
		digits := at + utf8.RuneLen(escape)
		c, err := hex.DecodeString(s[digits:min(digits+2, len(s))])
		if err != nil || len(c) != 1 { // put there by somebody else
			b.WriteString(s[:digits])
			s = s[digits:]
			continue
		}
		b.WriteString(s[:at])
		b.WriteByte(c[0])
		s = s[digits+2:]
	}
	return b.String() + s
}
