package transcript

import "strings"

// withoutSequences is a text without the control sequences of ECMA-48: with their
// parameters (CSI, to which colours belong), with the strings that they carry (OSC,
// as a title or a link; DCS, SOS, PM and APC), and those of two or three characters.
// Of a string without an end only its beginning is taken away, so that what may be
// the text of the line stays.
func withoutSequences(text string) string {
	if strings.IndexByte(text, 0x1b) < 0 && strings.IndexByte(text, 0xc2) < 0 {
		return text // nothing begins one
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		n := escape(text[i:])
		if n == 0 {
			b.WriteByte(text[i])
			n = 1
		}
		i += n
	}
	return b.String()
}

// escape is how many bytes the control sequence at the head of text has, 0 where
// there is none.
func escape(text string) int {
	kind, n := byte(0), 2
	switch {
	case len(text) > 1 && text[0] == 0x1b:
		kind = text[1]
	case len(text) > 1 && text[0] == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f: // C1 in UTF-8
		kind = text[1] - 0x40
	}
	switch {
	case kind == '[':
		n += span(text[n:], 0x30, 0x3f)
		n += span(text[n:], 0x20, 0x2f)
		if n < len(text) && text[n] >= 0x40 && text[n] <= 0x7e {
			n++
		}
		return n
	case kind == ']' || kind == 'P' || kind == 'X' || kind == '^' || kind == '_':
		return n + stringLength(text[n:], kind == ']')
	case text[0] != 0x1b:
		return 0
	case kind >= 0x20 && kind <= 0x2f:
		n += span(text[n:], 0x20, 0x2f)
		if n < len(text) && text[n] >= 0x30 && text[n] <= 0x7e {
			n++
		}
		return n
	case kind >= 0x30 && kind <= 0x7e:
		return n
	}
	return 1 // a lone ESC says nothing
}

// stringLength is how long a control string is with what ends it: ST, and for one
// of the system also BEL. A new sequence or a cancelling character ends it too, and
// is no part of it or says nothing; 0: it has no end.
func stringLength(text string, bell bool) int {
	for i := range len(text) {
		switch c := text[i]; {
		case c == 0x07 && bell, c == 0x18, c == 0x1a:
			return i + 1
		case c == 0x9c && i > 0 && text[i-1] == 0xc2:
			return i + 1
		case c == 0x1b && i+1 < len(text) && text[i+1] == '\\':
			return i + 2
		case c == 0x1b && i+1 < len(text):
			return i
		}
	}
	return 0
}

// span is how many bytes from the head of text are between two others.
func span(text string, first, last byte) (n int) {
	for n < len(text) && text[n] >= first && text[n] <= last {
		n++
	}
	return n
}
