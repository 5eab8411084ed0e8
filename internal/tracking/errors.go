package tracking

import (
	"errors"

	"quant"
)

// Marks of errors that a code of quant does not tell apart.
var (
	ErrExists = errors.New("it exists already")           // of a name that is taken
	ErrState  = errors.New("its state does not allow it") // of what must be active or deleted first
)

// The messages are those of MLflow's own server where clients match them.

func invalidf(format string, args ...any) error { return quant.Errorf(quant.Invalid, format, args...) }

func notFoundf(format string, args ...any) error {
	return quant.Errorf(quant.NotFound, format, args...)
}

// marked is an error with a code, a message and a mark.
func marked(code quant.Code, mark error, format string, args ...any) error {
	e := quant.Errorf(code, format, args...)
	e.Err = mark
	return e
}
