// Package rows writes rows of typed cells, as they come, as a table, JSON or CSV.
// All that prints rows prints them with it: the results of commands and of
// queries. It masks nothing and knows no stream: its callers do.
package rows

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"

	prettytext "github.com/jedib0t/go-pretty/v6/text"

	"quant"
)

// The formats.
const (
	Table = "table"
	JSON  = "json"
	CSV   = "csv"
	Lines = "lines" // for programs: JSON, a line with the columns and their types, then an array a row
)

// Layout is how rows look where a format leaves a choice.
type Layout int

// The layouts.
const (
	// Query is for the result of a query, which may have millions of rows. JSON
	// has a row on each line; of columns of one name the later ones are called
	// name_2, name_3 and so on. CSV tells an empty text, "", from NULL, which is
	// nothing. A table has a rule under its header, says NULL, is as wide as its
	// first rows need and is written while they come; what a terminal would obey is
	// escaped.
	Query Layout = iota
	// Report is for the result of a command, which a person reads. JSON has a
	// member on each line. In CSV and in a table NULL and an empty text are nothing.
	// A table is held until its end, is as wide as all its rows need, and sets a
	// column with a number to the right; its texts must have been cleaned.
	Report
)

// Kind says how a cell's text stands in JSON.
type Kind uint8

// The kinds of cells.
const (
	Null   Kind = iota // no text
	Text               // quoted in JSON
	Number             // a JSON number
	Bool               // true or false
	Nested             // a JSON document
)

// Cell is one value of one row.
type Cell struct {
	Kind  Kind
	Text  []byte
	Paint func(text string) string // colours it in a table; nil: it has none
}

// Column is one column.
type Column struct {
	Name  string
	Right bool   // set to the right in a table
	Type  string // of its values, in the database's words; "": not known. Lines tells it
}

// Writer writes rows: Begin, then Row for each, then End unless reading them
// failed. The cells of a row are as many as the columns, and are only read during
// the call. Errors are those of the io.Writer. Not for concurrent use.
type Writer interface {
	Begin(columns []Column) error
	Row(cells []Cell) error
	End() error
}

// Formulas is the one rule about cells of a CSV that a spreadsheet would take for
// formulas: a text, also a column's name, that begins with = + - @, a tab or a
// carriage return, and is neither a finite decimal number nor the name of a flag
// (--data-dir), gets a ' before it. Neither tables nor JSON are read by
// spreadsheets: there texts are as they are.
type Formulas struct {
	Exact   bool  // leave them as they are
	Guarded int64 // how many texts got a '
}

// guards tells whether a text gets a ', and counts it.
func (f *Formulas) guards(text []byte) bool {
	if f.Exact || len(text) == 0 || bytes.IndexByte([]byte("=+-@\t\r"), text[0]) < 0 {
		return false
	}
	if _, isNumber := quant.ParseNumber(string(text)); isNumber || isFlag(text) {
		return false
	}
	f.Guarded++
	return true
}

// isFlag tells whether a text is -- and a word of letters, digits and hyphens.
func isFlag(text []byte) bool {
	word, ok := bytes.CutPrefix(text, []byte("--"))
	return ok && len(word) > 0 && word[0] >= 'a' && word[0] <= 'z' && len(bytes.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789-")) == 0
}

// New returns a Writer of a format; of an unknown one a table is made. out should
// be buffered: each row is a Write of its own. formulas rules what a CSV does with
// formulas, and counts.
func New(out io.Writer, format string, layout Layout, formulas *Formulas) Writer {
	switch format {
	case JSON:
		return &jsonWriter{array: Array{out: out}, report: layout == Report}
	case CSV:
		return &csvWriter{out: out, report: layout == Report, formulas: formulas}
	case Lines:
		return &linesWriter{out: out}
	}
	if layout == Report {
		return &reportTable{out: out}
	}
	return &queryTable{out: out}
}

// csvWriter writes RFC 4180 with LF, a header always. Nested values stand as JSON.
type csvWriter struct {
	out      io.Writer
	report   bool
	formulas *Formulas
	buf      []byte
	guarded  []byte
}

func (w *csvWriter) Begin(columns []Column) error {
	cells := make([]Cell, len(columns))
	for i, c := range columns {
		cells[i] = Cell{Kind: Text, Text: []byte(c.Name)}
	}
	return w.Row(cells)
}

func (w *csvWriter) Row(cells []Cell) error {
	b := w.buf[:0]
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		if c.Kind == Text && w.formulas.guards(c.Text) {
			w.guarded = append(append(w.guarded[:0], '\''), c.Text...)
			c.Text = w.guarded
		}
		switch {
		case c.Kind == Null:
		case c.Kind == Number, c.Kind == Bool, !w.quotes(c.Text):
			b = append(b, c.Text...)
		default:
			b = appendCSV(b, c.Text)
		}
	}
	w.buf = append(b, '\n')
	_, err := w.out.Write(w.buf)
	return err
}

func (w *csvWriter) End() error { return nil }

// quotes tells whether a text must stand in quotes. In a report also one that
// begins with a space, which some readers take away, and \., which ends the data
// for PostgreSQL.
func (w *csvWriter) quotes(t []byte) bool {
	if bytes.ContainsAny(t, ",\"\n\r") {
		return true
	}
	if !w.report {
		return len(t) == 0
	}
	first, _ := utf8.DecodeRune(t)
	return len(t) > 0 && unicode.IsSpace(first) || string(t) == `\.`
}

// appendCSV writes a text in quotes.
func appendCSV(b, t []byte) []byte {
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

// Array is the frame of a JSON array whose elements come one after the other.
type Array struct {
	out io.Writer
	n   int
	buf []byte
}

// NewArray returns an array that is written to out.
func NewArray(out io.Writer) *Array { return &Array{out: out} }

// Begin writes the beginning. Errors are those of the io.Writer.
func (a *Array) Begin() error {
	_, err := a.out.Write([]byte("["))
	return err
}

// Add writes an element, indented as it is to stand. Errors are those of the
// io.Writer.
func (a *Array) Add(element []byte) error {
	a.buf = a.buf[:0]
	if a.n > 0 {
		a.buf = append(a.buf, ',')
	}
	a.n++
	a.buf = append(append(a.buf, '\n'), element...)
	_, err := a.out.Write(a.buf)
	return err
}

// End writes the end. Errors are those of the io.Writer.
func (a *Array) End() error {
	end := "]\n"
	if a.n > 0 {
		end = "\n]\n"
	}
	_, err := io.WriteString(a.out, end)
	return err
}

// jsonWriter writes one array of objects, their members in the order of the
// columns.
type jsonWriter struct {
	array  Array
	report bool
	keys   [][]byte // each with what stands around it
	buf    []byte
}

func (w *jsonWriter) Begin(columns []Column) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	if !w.report {
		names = UniqueNames(names)
	}
	for i, name := range names {
		var key []byte
		if i > 0 {
			key = append(key, ',')
		}
		if w.report {
			key = append(key, "\n    "...)
		}
		key = append(w.quoted(key, []byte(name)), ':')
		if w.report {
			key = append(key, ' ')
		}
		w.keys = append(w.keys, key)
	}
	return w.array.Begin()
}

func (w *jsonWriter) Row(cells []Cell) error {
	b := w.buf[:0]
	if w.report {
		b = append(b, "  "...)
	}
	b = append(b, '{')
	for i, c := range cells {
		b = append(b, w.keys[i]...)
		switch c.Kind {
		case Null:
			b = append(b, "null"...)
		case Text:
			b = w.quoted(b, c.Text)
		default:
			b = append(b, c.Text...)
		}
	}
	if w.report {
		b = append(b, "\n  "...)
	}
	w.buf = append(b, '}')
	return w.array.Add(w.buf)
}

func (w *jsonWriter) End() error { return w.array.End() }

func (w *jsonWriter) quoted(b, text []byte) []byte {
	if w.report {
		return appendQuoted(b, text, `\b`, `\f`, `\ufffd`)
	}
	return AppendQuoted(b, text)
}

// UniqueNames gives each column a name of its own: of columns of one name the later
// ones are called name_2, name_3 and so on.
func UniqueNames(columns []string) []string {
	taken := make(map[string]bool, len(columns))
	for _, c := range columns {
		taken[c] = true
	}
	seen := make(map[string]bool, len(columns))
	names := make([]string, len(columns))
	for i, c := range columns {
		name := c
		for n := 2; seen[name]; n++ {
			if try := c + "_" + strconv.Itoa(n); !taken[try] {
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

// queryTable writes columns padded to the widest of the first rows; a wider cell
// that comes later pushes its row to the right. NULL is shown as NULL, and
// control characters as escapes.
type queryTable struct {
	out     io.Writer
	cols    []Column
	widths  []int
	held    []byte // the first rows' texts
	ends    []int  // where each of them ends in held
	written bool   // held has been written
	buf     []byte
}

func (s *queryTable) Begin(cols []Column) error {
	s.cols = cols
	s.widths = make([]int, len(cols))
	for i, c := range cols {
		s.widths[i] = displayWidth(AppendClean(nil, []byte(c.Name)))
	}
	return nil
}

func (s *queryTable) Row(cells []Cell) error {
	if s.written {
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
		return s.writeHeld()
	}
	return nil
}

// writeHeld writes the header and the held rows.
func (s *queryTable) writeHeld() error {
	s.written = true
	b := s.buf[:0]
	for i, c := range s.cols {
		b = s.pad(b, i, AppendClean(nil, []byte(c.Name)))
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

func (s *queryTable) End() error {
	if s.written {
		return nil
	}
	return s.writeHeld()
}

func (s *queryTable) pad(b []byte, i int, t []byte) []byte {
	if i > 0 {
		b = append(b, "  "...)
	}
	gap := s.widths[i] - displayWidth(t)
	if s.cols[i].Right {
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

func appendShown(b []byte, c Cell) []byte {
	if c.Kind == Null {
		return append(b, "NULL"...)
	}
	return AppendClean(b, c.Text)
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

// reportTable holds the rows until the end.
type reportTable struct {
	out     io.Writer
	columns []Column
	rows    [][]Cell
}

func (w *reportTable) Begin(columns []Column) error {
	w.columns = slices.Clone(columns)
	return nil
}

func (w *reportTable) Row(cells []Cell) error {
	held := slices.Clone(cells)
	for i := range held {
		held[i].Text = bytes.Clone(held[i].Text)
		w.columns[i].Right = w.columns[i].Right || held[i].Kind == Number
	}
	w.rows = append(w.rows, held)
	return nil
}

func (w *reportTable) End() error {
	if len(w.columns) == 0 {
		return nil
	}
	header := make([]Cell, len(w.columns))
	for i, c := range w.columns {
		header[i] = Cell{Kind: Text, Text: []byte(c.Name)}
	}
	w.rows = slices.Insert(w.rows, 0, header)
	widths := make([]int, len(w.columns))
	for _, cells := range w.rows {
		for i, c := range cells {
			widths[i] = max(widths[i], displayWidth(c.Text))
		}
	}
	var b, line []byte
	for _, cells := range w.rows {
		line = line[:0]
		for i, c := range cells {
			if i > 0 {
				line = append(line, "  "...)
			}
			gap := bytes.Repeat([]byte{' '}, widths[i]-displayWidth(c.Text))
			if w.columns[i].Right {
				line = append(line, gap...)
			}
			if c.Paint != nil {
				line = append(line, c.Paint(string(c.Text))...)
			} else {
				line = append(line, c.Text...)
			}
			if !w.columns[i].Right {
				line = append(line, gap...)
			}
		}
		b = append(append(b, bytes.TrimRight(line, " ")...), '\n')
	}
	_, err := w.out.Write(b)
	return err
}
