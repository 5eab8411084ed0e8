package rows

import (
	"io"
	"strings"
)

// linesWriter writes a JSON document a line: the columns, with names of their own and
// their types, then an array for each row. A DECIMAL is a text there, since a reader
// of JSON makes a double of a number.
type linesWriter struct {
	out    io.Writer
	quoted []bool // the column's numbers are texts
	buf    []byte
}

func (w *linesWriter) Begin(columns []Column) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	b := append(w.buf[:0], `{"columns":[`...)
	for i, name := range UniqueNames(names) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = AppendQuoted(b, []byte(name))
		b = append(b, `,"type":`...)
		b = AppendQuoted(b, []byte(columns[i].Type))
		b = append(b, '}')
		w.quoted = append(w.quoted, strings.HasPrefix(columns[i].Type, "DECIMAL"))
	}
	w.buf = append(b, "]}\n"...)
	_, err := w.out.Write(w.buf)
	return err
}

func (w *linesWriter) Row(cells []Cell) error {
	b := append(w.buf[:0], '[')
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case c.Kind == Null:
			b = append(b, "null"...)
		case c.Kind == Text || w.quoted[i]:
			b = AppendQuoted(b, c.Text)
		case string(c.Text) == "-0":
			b = append(b, "-0.0"...) // readers take -0 for the whole number 0
		default:
			b = append(b, c.Text...)
		}
	}
	w.buf = append(b, "]\n"...)
	_, err := w.out.Write(w.buf)
	return err
}

func (w *linesWriter) End() error { return nil }
