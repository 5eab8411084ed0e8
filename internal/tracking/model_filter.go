package tracking

import (
	"strings"

	"quant"
)

// modelComparison is one comparison of a filter of logged or registered models.
type modelComparison struct {
	of, key string // what stands before the first dot ("": nothing), and behind it
	op      string // upper case
	text    string // the value: what stood in quotes, or the number
	quoted  bool
	list    []string // of IN; nil: no list
	written string   // the value as it stands
}

func (c modelComparison) named() string {
	if c.of == "" {
		return c.key
	}
	return c.of + "." + c.key
}

// modelFilter reads a filter: comparisons with AND between them.
type modelFilter struct {
	all, rest string
}

// parseModelFilter reads one; "" is none. Invalid.
func parseModelFilter(filter string) ([]modelComparison, error) {
	if err := checkLength(filter); err != nil {
		return nil, err
	}
	f := modelFilter{all: filter, rest: strings.TrimSpace(filter)}
	var list []modelComparison
	for f.rest != "" {
		if len(list) > 0 && !f.word("AND") {
			return nil, f.wrong()
		}
		c, ok := f.comparison()
		if !ok {
			return nil, f.wrong()
		}
		if list = append(list, c); len(list) > maxComparisons {
			return nil, tooMany()
		}
	}
	return list, nil
}

func (f *modelFilter) wrong() error {
	at := f.rest
	if at == "" {
		at = "it ends too early"
	}
	return invalidf("Invalid clause(s) in filter string: %s. Expected comparisons separated by AND, such as name = 'model' AND tags.`stage` = 'final'", quant.Clip(at, 100))
}

func (f *modelFilter) space() { f.rest = strings.TrimSpace(f.rest) }

// word takes a keyword away that stands next, in any case.
func (f *modelFilter) word(w string) bool {
	f.space()
	if len(f.rest) < len(w) || !strings.EqualFold(f.rest[:len(w)], w) {
		return false
	}
	if len(f.rest) > len(w) && isNameByte(f.rest[len(w)]) {
		return false
	}
	f.rest = f.rest[len(w):]
	return true
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}

func (f *modelFilter) comparison() (c modelComparison, ok bool) {
	name, quoted, ok := f.name()
	if !ok {
		return c, false
	}
	c.key = name
	if !quoted && strings.HasPrefix(f.rest, ".") {
		c.of, f.rest = name, f.rest[1:]
		f.space()
		whole := f.rest
		if c.key, quoted, ok = f.name(); !ok {
			return c, false
		}
		for !quoted && len(f.rest) > 1 && (f.rest[0] == '.' || f.rest[0] == '-' || f.rest[0] == '/') && isNameByte(f.rest[1]) {
			more := 1
			for more < len(f.rest) && isNameByte(f.rest[more]) {
				more++
			}
			f.rest = f.rest[more:]
			c.key = whole[:len(whole)-len(f.rest)]
		}
	}
	if c.op, ok = f.op(); !ok {
		return c, false
	}
	before := f.rest
	ok = f.value(&c)
	c.written = strings.TrimSpace(before[:len(before)-len(f.rest)])
	return c, ok
}

// name takes a name: letters, digits and _, or anything in back-quotes or double
// quotes.
func (f *modelFilter) name() (name string, quoted, ok bool) {
	f.space()
	if f.rest != "" && (f.rest[0] == '`' || f.rest[0] == '"') {
		end := strings.IndexByte(f.rest[1:], f.rest[0])
		if end < 1 {
			return "", false, false
		}
		name, f.rest = f.rest[1:end+1], f.rest[end+2:]
		return name, true, true
	}
	n := 0
	for n < len(f.rest) && isNameByte(f.rest[n]) {
		n++
	}
	name, f.rest = f.rest[:n], f.rest[n:]
	return name, false, n > 0
}

func (f *modelFilter) op() (string, bool) {
	f.space()
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if strings.HasPrefix(f.rest, op) {
			f.rest = f.rest[len(op):]
			return op, true
		}
	}
	for _, op := range []string{"LIKE", "ILIKE", "IN"} {
		if f.word(op) {
			return op, true
		}
	}
	if f.word("NOT") && f.word("IN") {
		return "NOT IN", true
	}
	return "", false
}

func (f *modelFilter) value(c *modelComparison) bool {
	f.space()
	if !strings.HasPrefix(f.rest, "(") {
		return f.scalar(&c.text, &c.quoted)
	}
	f.rest = f.rest[1:]
	for c.list = []string{}; ; {
		var one string
		var quoted bool
		if f.space(); len(c.list) > 0 && strings.HasPrefix(f.rest, ")") { // after a last comma
			f.rest = f.rest[1:]
			return true
		}
		if !f.scalar(&one, &quoted) || !quoted {
			return false
		}
		c.list = append(c.list, one)
		f.space()
		switch {
		case strings.HasPrefix(f.rest, ","):
			f.rest = f.rest[1:]
		case strings.HasPrefix(f.rest, ")"):
			f.rest = f.rest[1:]
			return true
		default:
			return false
		}
	}
}

// scalar takes a text in single or double quotes, in which a doubled quote stands
// for one, or a number.
func (f *modelFilter) scalar(text *string, quoted *bool) bool {
	f.space()
	if f.rest == "" {
		return false
	}
	if q := f.rest[0]; q == '\'' || q == '"' {
		var b strings.Builder
		for i := 1; i < len(f.rest); i++ {
			switch {
			case f.rest[i] != q:
				b.WriteByte(f.rest[i])
			case i+1 < len(f.rest) && f.rest[i+1] == q:
				b.WriteByte(q)
				i++
			default:
				*text, *quoted, f.rest = b.String(), true, f.rest[i+1:]
				return true
			}
		}
		return false
	}
	n := strings.IndexFunc(f.rest, func(r rune) bool { return !strings.ContainsRune("0123456789+-.eE", r) })
	if n < 0 {
		n = len(f.rest)
	}
	*text, f.rest = f.rest[:n], f.rest[n:]
	return n > 0 && (f.rest == "" || !isNameByte(f.rest[0]))
}
