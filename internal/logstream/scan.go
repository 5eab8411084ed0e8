package logstream

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// scan reads a line of points as a program writes it by the thousand: metric or
// metrics, value, step and time, names without an escape, nothing twice. Of such a
// line it makes the same document as the parser of JSON, and false of any other,
// which says nothing about that line. Its texts are parts of line.
func (p *parser) scan(line string, doc *document) bool {
	s := scanner{text: line}
	if !s.take('{') {
		return false
	}
	for {
		at, name, ok := s.plain()
		if !ok || !s.take(':') {
			return false
		}
		key := -1
		switch name {
		case "metric":
			key = metric
		case "metrics":
			key = metrics
		case "value":
			key = value
		case "step":
			key = step
		case "time":
			key = when
		}
		if key < 0 || doc.one[key].kind != 0 {
			return false
		}
		switch key {
		case metrics:
			doc.one[key] = scalar{kind: '{', at: at + 1}
			if !p.scanPoints(&s, doc) {
				return false
			}
		case metric, when:
			at, text, ok := s.plain()
			if !ok {
				return false
			}
			if key == metric {
				text = p.kept(text)
			}
			doc.one[key] = scalar{'"', text, at + 1}
		default:
			at, text, ok := s.number()
			if !ok {
				return false
			}
			doc.one[key] = scalar{jsontext.Kind('0'), text, at + 1}
		}
		if s.take('}') {
			break
		}
		if !s.take(',') {
			return false
		}
	}
	s.space()
	return s.at == len(line)
}

// scanPoints reads the object of metrics.
func (p *parser) scanPoints(s *scanner, doc *document) bool {
	if !s.take('{') {
		return false
	}
	doc.many = p.pairs[:0]
	defer func() { p.pairs = doc.many }()
	for {
		at, name, ok := s.plain()
		if !ok || !s.take(':') {
			return false
		}
		if len(doc.many) == fewPairs {
			return false // the parser finds a name that stands twice faster
		}
		for _, other := range doc.many {
			if other.name == name {
				return false
			}
		}
		valueAt, text, ok := s.number()
		if !ok {
			return false
		}
		doc.many = append(doc.many, pair{p.kept(name), at + 1, scalar{jsontext.Kind('0'), text, valueAt + 1}})
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// fewPairs is for how many members each is compared with those before it.
const fewPairs = 32

// kept is a part of a line as a text of its own: a name outlives its line.
func (p *parser) kept(part string) string {
	if same, ok := p.names[part]; ok {
		return same
	}
	return p.intern(strings.Clone(part))
}

// scanner reads tokens of JSON from a text; what it cannot read it leaves.
type scanner struct {
	text string
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
		s.at++
	}
}

// take passes over a character, and white space before it.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// plain reads a string of printable ASCII without an escape; at is its quote.
func (s *scanner) plain() (at int, text string, ok bool) {
	s.space()
	at = s.at
	if at >= len(s.text) || s.text[at] != '"' {
		return at, "", false
	}
	for i := at + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.at = i + 1
			return at, s.text[at+1 : i], true
		case c < ' ' || c > '~' || c == '\\':
			return at, "", false
		}
	}
	return at, "", false
}

// number reads a number as JSON writes it.
func (s *scanner) number() (at int, text string, ok bool) {
	s.space()
	at = s.at
	i := at
	if i < len(s.text) && s.text[i] == '-' {
		i++
	}
	whole := s.digits(i)
	if whole == i || s.text[i] == '0' && whole > i+1 {
		return at, "", false
	}
	i = whole
	if i < len(s.text) && s.text[i] == '.' {
		part := s.digits(i + 1)
		if part == i+1 {
			return at, "", false
		}
		i = part
	}
	if i < len(s.text) && (s.text[i] == 'e' || s.text[i] == 'E') {
		i++
		if i < len(s.text) && (s.text[i] == '+' || s.text[i] == '-') {
			i++
		}
		power := s.digits(i)
		if power == i {
			return at, "", false
		}
		i = power
	}
	s.at = i
	return at, s.text[at:i], true
}

// digits is where the digits from i on end.
func (s *scanner) digits(i int) int {
	for i < len(s.text) && s.text[i] >= '0' && s.text[i] <= '9' {
		i++
	}
	return i
}
