package mlflow

import (
	"math"
	"strconv"
	"strings"
)

// scanned is a request that reads the plain form of its document by itself: fields
// that it knows, each once, of the type of the protocol, and texts without an escape.
// What it makes of such a document is what decodeDocument does. false says nothing
// about the document, and leaves in the request what was read.
type scanned interface{ scan(doc []byte) bool }

// scanner reads a document from the front.
type scanner struct {
	text string
	at   int
	keys map[string]string // texts that come again and again, each kept once
}

// next is the next byte behind blanks, 0 at the end.
func (s *scanner) next() byte {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ' ', '\n', '\t', '\r':
			s.at++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// plain reads a text without an escape, as a part of the document.
func (s *scanner) plain() (string, bool) {
	if !s.take('"') {
		return "", false
	}
	for from := s.at; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[from : s.at-1], true
		case c == '\\', c < ' ':
			return "", false
		}
	}
	return "", false
}

// kept reads a text that outlives the document.
func (s *scanner) kept(into *string) bool {
	text, ok := s.plain()
	if !ok {
		return false
	}
	own, known := s.keys[text]
	if !known {
		if s.keys == nil {
			s.keys = map[string]string{}
		}
		own = strings.Clone(text)
		s.keys[own] = own
	}
	*into = own
	return true
}

func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}

// number reads what JSON calls a number; whole: it has neither a fraction nor an
// exponent.
func (s *scanner) number() (text string, whole, ok bool) {
	s.next()
	from := s.at
	if s.at < len(s.text) && s.text[s.at] == '-' {
		s.at++
	}
	first := s.at
	if !s.digits() || s.text[first] == '0' && s.at > first+1 {
		return "", false, false
	}
	whole = true
	if s.at < len(s.text) && s.text[s.at] == '.' {
		s.at++
		if whole = false; !s.digits() {
			return "", false, false
		}
	}
	if s.at < len(s.text) && s.text[s.at]|0x20 == 'e' {
		s.at++
		if s.at < len(s.text) && (s.text[s.at] == '+' || s.text[s.at] == '-') {
			s.at++
		}
		if whole = false; !s.digits() {
			return "", false, false
		}
	}
	return s.text[from:s.at], whole, true
}

func (s *scanner) integer(into *Int) bool {
	text, whole, ok := s.number()
	if !ok || !whole {
		return false
	}
	v, err := strconv.ParseInt(text, 10, 64)
	*into = Int{v, true}
	return err == nil
}

func (s *scanner) float(into *Float) bool {
	text, _, ok := s.number()
	if !ok {
		return false
	}
	v, err := strconv.ParseFloat(text, 64)
	*into = Float{v, true}
	return err == nil && !math.IsInf(v, 0)
}

// object reads the fields of an object, by which each is read; the number that it
// returns for a name is that of the field, and none comes twice.
func (s *scanner) object(read func(name string) (field int, ok bool)) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for seen := 0; ; {
		name, ok := s.plain()
		if !ok || !s.take(':') {
			return false
		}
		field, ok := read(name)
		if !ok || seen&(1<<field) != 0 {
			return false
		}
		seen |= 1 << field
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// array reads the elements of an array.
func (s *scanner) array(read func() bool) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for read() {
		if s.take(']') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
	return false
}

func (s *scanner) logged(m *logged) bool {
	ok := s.object(func(name string) (int, bool) {
		switch name {
		case "key":
			return 0, s.kept(&m.Key)
		case "value":
			return 1, s.float(&m.Value)
		case "timestamp":
			return 2, s.integer(&m.Timestamp)
		case "step":
			return 3, s.integer(&m.Step)
		case "model_id":
			return 4, s.kept(&m.ModelID)
		case "dataset_name":
			return 5, s.kept(&m.DatasetName)
		case "dataset_digest":
			return 6, s.kept(&m.DatasetDigest)
		}
		return 0, false
	})
	return ok && m.Key != "" && m.Value.Set && m.Timestamp.Set
}

func (s *scanner) tags(into *[]tag) bool {
	*into = []tag{}
	return s.array(func() bool {
		var t tag
		ok := s.object(func(name string) (int, bool) {
			switch name {
			case "key":
				return 0, s.kept(&t.Key)
			case "value":
				return 1, s.kept(&t.Value)
			}
			return 0, false
		})
		*into = append(*into, t)
		return ok && t.Key != ""
	})
}

func (b *logBatch) scan(doc []byte) bool {
	s := scanner{text: string(doc)}
	ok := s.object(func(name string) (int, bool) {
		switch name {
		case "run_id":
			return 0, s.kept(&b.RunID)
		case "metrics":
			// About as many as there are: one that is whole is not shorter.
			b.Metrics = make([]logged, 0, min(strings.Count(s.text, `"value"`), len(s.text)/len(`{"key":"a","value":1,"timestamp":1}`)))
			return 1, s.array(func() bool {
				b.Metrics = append(b.Metrics, logged{})
				return s.logged(&b.Metrics[len(b.Metrics)-1])
			})
		case "params":
			return 2, s.tags(&b.Params)
		case "tags":
			return 3, s.tags(&b.Tags)
		}
		return 0, false
	})
	return ok && b.RunID != "" && s.next() == 0 && s.at == len(s.text)
}
