package curator

import (
	"bufio"
	"io"
	"slices"
	"strings"

	"quant"
)

// cell is a value of a table's row, as text.
type cell struct {
	text   string
	number bool // the file has it as a number
}

// lineWriter writes the rows of a table as lines of CSV.
type lineWriter struct {
	w      *bufio.Writer
	line   int64 // of the text, that is written next
	width  int   // of the header; 0 before it
	header bool
	held   []cell // the first row, until the second says whether it is as wide
	heldAt int64
	symbol []bool // columns whose name says that they hold symbols
	place  string // what a row is called in an error
}

func newLineWriter(w io.Writer, first int64) *lineWriter {
	return &lineWriter{w: bufio.NewWriterSize(w, 1<<16), line: first, place: "row"}
}

// row writes a row so that it stands on the line of its number in the file,
// which rises. The first row that says something is the header. A row
// that is shorter than the header is filled up, and of a longer one the empty
// end is left out. quant.Invalid: a symbol is a number, and so has lost its
// zeros; the error of the writer below.
func (l *lineWriter) row(number int64, cells []cell) error {
	for len(cells) > 0 && cells[len(cells)-1].text == "" && (l.width == 0 || len(cells) > l.width) {
		cells = cells[:len(cells)-1]
	}
	switch {
	case len(cells) == 0:
		return nil
	case !l.header:
		l.header, l.held, l.heldAt = true, slices.Clone(cells), number
		return nil
	}
	if err := l.writeHeld(len(cells)); err != nil {
		return err
	}
	return l.write(number, cells)
}

// writeHeld writes the first row. Where it is one of several of a header, its
// last cell may stand for further ones.
func (l *lineWriter) writeHeld(next int) error {
	if l.held == nil {
		return nil
	}
	cells := l.held
	l.held, l.width = nil, len(cells)
	if isLevelName(cells[0].text) {
		l.width = max(len(cells), next)
	}
	l.symbol = make([]bool, l.width)
	for i, c := range cells {
		w, ok := wordOf(c.text)
		l.symbol[i] = ok && w.rank == rankName && w.field == symbol && !isLevelName(cells[0].text)
	}
	return l.write(l.heldAt, cells)
}

func (l *lineWriter) write(number int64, cells []cell) error {
	for ; l.line < number; l.line++ {
		if err := l.w.WriteByte('\n'); err != nil {
			return err
		}
	}
	for i := range max(len(cells), l.width) {
		if i > 0 {
			_ = l.w.WriteByte(',') // the writer keeps its first error, and the line's end returns it
		}
		if i >= len(cells) {
			continue
		}
		c := cells[i]
		if c.number && i < l.width && l.symbol[i] {
			return quant.Errorf(quant.Invalid, "%s %d: the symbol %s is a number, and a symbol is text: 005930 keeps its zeros", l.place, number, clip(c.text)).
				WithHint("write the column as text when the file is made")
		}
		l.text(c.text)
	}
	l.line++
	return l.w.WriteByte('\n')
}

// text writes a field; it stays on one line.
func (l *lineWriter) text(s string) {
	if !strings.ContainsAny(s, "\",\r\n") {
		_, _ = l.w.WriteString(s)
		return
	}
	_ = l.w.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"':
			_, _ = l.w.WriteString(`""`)
		case '\r', '\n':
			_ = l.w.WriteByte(' ')
		default:
			_ = l.w.WriteByte(c)
		}
	}
	_ = l.w.WriteByte('"')
}

// close writes what is held back.
func (l *lineWriter) close() error {
	if err := l.writeHeld(0); err != nil {
		return err
	}
	return l.w.Flush()
}
