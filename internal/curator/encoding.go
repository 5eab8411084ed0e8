package curator

import (
	"strings"

	"quant"
	"quant/internal/textencoding"
)

// decode makes the splitter read the text as UTF-8, and say what does not.
func (s *splitter) decode(e textencoding.Encoding) {
	if e.Mark() != "" {
		r := s.r.(interface{ Discard(n int) (int, error) })
		_, _ = r.Discard(len(e.Mark())) // it was looked at, so it is there
	}
	refuse := func(line int64, what, hint string) error {
		return &lineError{line, quant.Errorf(quant.Invalid, "%s: line %d: is not %s", s.path, line, what).WithHint("%s", hint)}
	}
	if e.IsUTF8() {
		s.check = checkUTF8
		s.wrong = func(line int64, data []byte) error { return refuse(line, "UTF-8", textencoding.Hint(data)) }
		return
	}
	s.r = e.Reader(s.r)
	s.check = checkDecoded
	s.wrong = func(line int64, _ []byte) error {
		if e.Mark() != "" {
			return refuse(line, e.Name()+", as its first bytes say", "the file may be damaged: fetch it again, or save it as UTF-8")
		}
		return refuse(line, strings.ToUpper(e.Name()), "leave --encoding out if the file is UTF-8, or name another: "+textencoding.Known)
	}
}
