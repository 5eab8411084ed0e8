package curator

import (
	"bufio"
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"
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
	place  string // what a row is called in an error

	written int            // rows
	numbers [][]numberCell // by column, as far as numberCell says
}

// numberCell is a cell that the file has as a number. Kept are those of the first
// rows, which may be a header, and the first one behind them.
type numberCell struct {
	row    int   // from 0, of those that say something
	number int64 // of the row in the file
	text   string
}

// maxHeader is how many rows a header may have.
const maxHeader = 3

func newLineWriter(w io.Writer, first int64) *lineWriter {
	return &lineWriter{w: bufio.NewWriterSize(w, 1<<16), line: first, place: "row"}
}

// row writes a row so that it stands on the line of its number in the file,
// which rises. The first row that says something is the header. A row
// that is shorter than the header is filled up, and of a longer one the empty
// end is left out. The error is that of the writer below.
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
		if c.number {
			l.note(i, number, c.text)
			c.text = unmarked(c.text)
		}
		l.text(c.text)
	}
	l.line++
	l.written++
	return l.w.WriteByte('\n')
}

func (l *lineWriter) note(column int, number int64, text string) {
	for len(l.numbers) <= column {
		l.numbers = append(l.numbers, nil)
	}
	if list := l.numbers[column]; len(list) == 0 || list[len(list)-1].row < maxHeader {
		l.numbers[column] = append(list, numberCell{l.written, number, text})
	}
}

// numberAt is the first cell of a column that the file has as a number, of the rows
// from this one to before that one; to 0: to the end. It may be called once all
// rows are written.
func (l *lineWriter) numberAt(column, from, to int) (numberCell, bool) {
	if column >= 0 && column < len(l.numbers) {
		for _, c := range l.numbers[column] {
			if c.row >= from && (to == 0 || c.row < to) {
				return c, true
			}
		}
	}
	return numberCell{}, false
}

// unmarked writes a number without a point, as 12125e-3, so that it is the same
// number whatever begins the fraction of the file's texts.
func unmarked(number string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	whole, fraction, ok := strings.Cut(mantissa, ".")
	if !ok {
		return number
	}
	shift, err := strconv.Atoi(cmp.Or(exponent, "0"))
	if err != nil {
		return number
	}
	fraction = strings.TrimRight(fraction, "0")
	if shift -= len(fraction); shift == 0 {
		return whole + fraction
	}
	return whole + fraction + "e" + strconv.Itoa(shift)
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
