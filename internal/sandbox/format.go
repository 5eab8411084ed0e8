package sandbox

import (
	"bufio"
	"bytes"
	"strconv"

	prettytext "github.com/jedib0t/go-pretty/v6/text"
)

// sink writes one result in one format: begin, then row for each row, then end
// unless the query failed. Cells are only valid during the call.
type sink interface {
	begin(cols []column) error
	row(cells []cell) error
	end() error
}

func newSink(format string, out *bufio.Writer) sink {
	switch format {
	case JSON:
		return &jsonSink{out: out}
	case CSV:
		return &csvSink{out: out}
	}
	return &tableSink{out: out}
}

// csvSink writes RFC 4180 with LF: a header always, NULL as nothing and an
// empty text as "". Nested values stand as JSON, a BLOB as hexadecimal digits.
// Cells that a spreadsheet would take for a formula are written as they are:
// the format is for programs, and a changed value would be a wrong one.
type csvSink struct {
	out *bufio.Writer
	buf []byte
}

func (s *csvSink) begin(cols []column) error {
	cells := make([]cell, len(cols))
	for i, c := range cols {
		cells[i] = cell{kind: text, text: []byte(c.name)}
	}
	return s.row(cells)
}

func (s *csvSink) row(cells []cell) error {
	b := s.buf[:0]
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		switch c.kind {
		case null:
		case number, bare:
			b = append(b, c.text...)
		default:
			b = appendCSV(b, c.text)
		}
	}
	s.buf = append(b, '\n')
	_, err := s.out.Write(s.buf)
	return err
}

func (s *csvSink) end() error { return nil }

func appendCSV(b, t []byte) []byte {
	if len(t) > 0 && bytes.IndexByte(t, ',') < 0 && bytes.IndexByte(t, '"') < 0 &&
		bytes.IndexByte(t, '\n') < 0 && bytes.IndexByte(t, '\r') < 0 {
		return append(b, t...)
	}
	b = append(b, '"')
	for {
		i := bytes.IndexByte(t, '"')
		if i < 0 {
			break
		}
		b = append(b, t[:i+1]...)
		b = append(b, '"')
		t = t[i+1:]
	}
	b = append(b, t...)
	return append(b, '"')
}

// jsonSink writes one array of objects, one object a line, keys in the order of
// the columns. When two columns have one name the later ones are called
// name_2, name_3 and so on.
type jsonSink struct {
	out  *bufio.Writer
	keys [][]byte // each with the punctuation around it
	rows int64
	buf  []byte
}

func (s *jsonSink) begin(cols []column) error {
	for i, name := range uniqueNames(cols) {
		k := []byte{','}
		if i == 0 {
			k = k[:0]
		}
		s.keys = append(s.keys, append(appendQuoted(k, []byte(name)), ':'))
	}
	return s.out.WriteByte('[')
}

func (s *jsonSink) row(cells []cell) error {
	b := s.buf[:0]
	if s.rows > 0 {
		b = append(b, ',')
	}
	s.rows++
	b = append(b, '\n', '{')
	for i, c := range cells {
		b = append(b, s.keys[i]...)
		b = appendJSON(b, c)
	}
	s.buf = append(b, '}')
	_, err := s.out.Write(s.buf)
	return err
}

func (s *jsonSink) end() error {
	if s.rows > 0 {
		if err := s.out.WriteByte('\n'); err != nil {
			return err
		}
	}
	_, err := s.out.WriteString("]\n")
	return err
}

func uniqueNames(cols []column) []string {
	taken := make(map[string]bool, len(cols))
	for _, c := range cols {
		taken[c.name] = true
	}
	seen := make(map[string]bool, len(cols))
	names := make([]string, len(cols))
	for i, c := range cols {
		name := c.name
		for n := 2; seen[name]; n++ {
			if try := c.name + "_" + strconv.Itoa(n); !taken[try] {
				name = try
			}
		}
		seen[name], taken[name] = true, true
		names[i] = name
	}
	return names
}

// How much of a result decides a table's widths.
const (
	measuredRows  = 1000
	measuredBytes = 1 << 20
)

// tableSink writes columns padded to the widest of the first rows; a wider cell
// that comes later pushes its row to the right. NULL is shown as NULL, and
// control characters as escapes.
type tableSink struct {
	out    *bufio.Writer
	cols   []column
	widths []int
	held   []byte // the first rows' texts
	ends   []int  // where each of them ends in held
	flown  bool   // held has been written
	buf    []byte
}

func (s *tableSink) begin(cols []column) error {
	s.cols = cols
	s.widths = make([]int, len(cols))
	for i, c := range cols {
		s.widths[i] = displayWidth(appendClean(nil, []byte(c.name)))
	}
	return nil
}

func (s *tableSink) row(cells []cell) error {
	if s.flown {
		s.buf = s.buf[:0]
		for i, c := range cells {
			start := len(s.buf)
			s.buf = appendShown(s.buf, c)
			t := append([]byte(nil), s.buf[start:]...)
			s.buf = s.pad(s.buf[:start], i, t)
		}
		s.buf = append(s.buf, '\n')
		_, err := s.out.Write(s.buf)
		return err
	}
	for i, c := range cells {
		start := len(s.held)
		s.held = appendShown(s.held, c)
		s.widths[i] = max(s.widths[i], displayWidth(s.held[start:]))
		s.ends = append(s.ends, len(s.held))
	}
	if len(s.ends) >= measuredRows*len(s.cols) || len(s.held) >= measuredBytes {
		return s.fly()
	}
	return nil
}

// fly writes the header and the held rows.
func (s *tableSink) fly() error {
	s.flown = true
	b := s.buf[:0]
	for i, c := range s.cols {
		b = s.pad(b, i, appendClean(nil, []byte(c.name)))
	}
	b = append(b, '\n')
	for i, w := range s.widths {
		if i > 0 {
			b = append(b, "  "...)
		}
		b = append(b, bytes.Repeat([]byte{'-'}, w)...)
	}
	b = append(b, '\n')
	start := 0
	for n, end := range s.ends {
		i := n % len(s.cols)
		b = s.pad(b, i, s.held[start:end])
		start = end
		if i == len(s.cols)-1 {
			b = append(b, '\n')
		}
	}
	s.held, s.ends = nil, nil
	_, err := s.out.Write(b)
	s.buf = nil
	return err
}

func (s *tableSink) end() error {
	if s.flown {
		return nil
	}
	return s.fly()
}

func (s *tableSink) pad(b []byte, i int, t []byte) []byte {
	if i > 0 {
		b = append(b, "  "...)
	}
	gap := s.widths[i] - displayWidth(t)
	if s.cols[i].right {
		for range gap {
			b = append(b, ' ')
		}
		return append(b, t...)
	}
	b = append(b, t...)
	if i < len(s.cols)-1 {
		for range gap {
			b = append(b, ' ')
		}
	}
	return b
}

func appendShown(b []byte, c cell) []byte {
	if c.kind == null {
		return append(b, "NULL"...)
	}
	return appendClean(b, c.text)
}

// displayWidth counts terminal cells of clean text; East Asian wide characters
// take two.
func displayWidth(t []byte) int {
	for _, c := range t {
		if c >= 0x80 {
			return prettytext.StringWidth(string(t))
		}
	}
	return len(t)
}
