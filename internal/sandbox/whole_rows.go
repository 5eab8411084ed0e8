package sandbox

import (
	"bytes"
	"io"
)

// wholeRows passes the rows of a JSON result on, each only when all of it is
// there, so that a result which ends early (a deadline, a killed child) can
// still be closed as a valid document: the exit status says that it is not
// complete. A line feed stands in the text only between rows.
type wholeRows struct {
	out     io.Writer
	held    []byte // from the last separator on
	written bool
}

func (w *wholeRows) Write(b []byte) (int, error) {
	w.held = append(w.held, b...)
	end := bytes.LastIndexByte(w.held, '\n')
	if end < 1 {
		return len(b), nil
	}
	if w.held[end-1] == ',' {
		end-- // the comma belongs to the row that follows
	}
	if _, err := w.out.Write(w.held[:end]); err != nil {
		return 0, err
	}
	w.written = true
	w.held = append(w.held[:0], w.held[end:]...)
	return len(b), nil
}

// finish ends the document: with what the child wrote last when it came to its
// end, otherwise after the last whole row, if there was one.
func (w *wholeRows) finish(complete bool) error {
	tail := w.held
	if !complete {
		if !w.written {
			return nil
		}
		tail = []byte("\n]\n")
	}
	_, err := w.out.Write(tail)
	return err
}
