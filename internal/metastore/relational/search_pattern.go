package relational

import (
	"database/sql/driver"
	"strings"
	"unicode/utf8"
)

// Pattern is a pattern that a statement binds, and compares with GLOB.
type Pattern interface {
	driver.Valuer // as GLOB has it: * is any text, ? any one character
	// Like is the pattern as LIKE has it, which minds the case: % is any text, _ any one
	// character, and \ takes the meaning from the next one.
	Like() string
}

// pattern is one of metastore.Like.
type pattern struct{ text string }

// patternOf is a pattern of metastore.Like; folded, A to Z are a to z in it.
func patternOf(text string, folded bool) Pattern {
	if folded {
		text = strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, text)
	}
	return pattern{text}
}

// each calls fn for every character of the pattern, and says whether it stands for
// itself.
func (p pattern) each(fn func(c rune, itself bool)) {
	escaped := false
	for _, c := range p.text {
		if !escaped && c == '\\' {
			escaped = true
			continue
		}
		fn(c, escaped || c != '%' && c != '_')
		escaped = false
	}
}

// Value is documented at Pattern.
func (p pattern) Value() (driver.Value, error) {
	var b strings.Builder
	p.each(func(c rune, itself bool) {
		switch {
		case !itself && c == '%':
			b.WriteByte('*')
		case !itself:
			b.WriteByte('?')
		case c == '*' || c == '?' || c == '[':
			b.WriteString("[" + string(c) + "]")
		default:
			b.WriteRune(c)
		}
	})
	return b.String(), nil
}

// Like is documented at Pattern.
func (p pattern) Like() string {
	var b strings.Builder
	p.each(func(c rune, itself bool) {
		if itself && (c == '%' || c == '_' || c == '\\') {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	})
	return b.String()
}

// beginningOf is the text with which every match of a pattern begins, up to a NUL, which
// not every engine keeps in its place.
func beginningOf(text string) string {
	var b strings.Builder
	fixed := true
	pattern{text}.each(func(c rune, itself bool) {
		if fixed = fixed && itself && c != 0; fixed {
			b.WriteRune(c)
		}
	})
	return b.String()
}

// behind is the first text that comes after all that begin with prefix, in the order of
// bytes; ok is false where none does.
func behind(prefix string) (after string, ok bool) {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case last == utf8.MaxRune: // the one before it goes on
		case last == 0xd7ff: // surrogates are no characters
			return prefix + "\ue000", true
		default:
			return prefix + string(last+1), true
		}
	}
	return "", false
}
