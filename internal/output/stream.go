package output

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

	"quant/internal/output/rows"
)

// Stream prints a list of structs while it comes, each row as soon as it is
// there: as JSON one array, as CSV a header and a line a row, as a table what
// line makes of it. Close it, also after an error: only then is the document
// whole. Not safe for concurrent use.
type Stream[T any] struct {
	p    *Printer
	line func(T) string
	json *rows.Array
	err  error
}

// NewStream begins a stream on stdout.
func NewStream[T any](p *Printer, line func(T) string) *Stream[T] {
	s := &Stream[T]{p: p, line: line}
	switch p.Format {
	case JSON:
		s.json = rows.NewArray(p.Out())
		s.err = s.json.Begin()
	case CSV:
		s.err = p.writeCSV([]T{}, true)
	}
	return s
}

// Add prints a row; it is with the reader when Add returns, if that reads.
func (s *Stream[T]) Add(ctx context.Context, row T) error {
	switch s.p.Format {
	case JSON:
		var doc bytes.Buffer
		enc := json.NewEncoder(&doc)
		enc.SetEscapeHTML(false)
		enc.SetIndent("  ", "  ")
		if err := enc.Encode(row); err != nil {
			return err
		}
		if s.err == nil {
			s.err = s.json.Add(append([]byte("  "), bytes.TrimRight(escapeControls(s.p.secrets.KnownJSON(doc.Bytes())), "\n")...))
		}
	case CSV:
		if s.err == nil {
			s.err = s.p.writeCSV([]T{row}, false)
		}
	default:
		if s.err == nil {
			_, s.err = io.WriteString(s.p.Out(), cleanLine(s.p.secrets.Known(s.line(row)))+"\n")
		}
	}
	if s.err == nil {
		s.err = s.p.Flush(ctx)
	}
	return s.err
}

// Close ends the document.
func (s *Stream[T]) Close() error {
	if s.json != nil && s.err == nil {
		s.err = s.json.End()
	}
	return s.err
}
