package quant

import (
	"errors"
	"fmt"
	"strings"
)

// Code says what kind of failure an error is. Each code has one exit status
// (see docs/exit-codes.md). A Code is itself an error, so that a caller asks
// with errors.Is(err, quant.NotFound).
type Code string

// The codes, and the exit status that the command line gives each.
const (
	Failed   Code = "failed"    // 1: something went wrong that no other code names
	Usage    Code = "usage"     // 2: the command line itself is wrong
	Invalid  Code = "invalid"   // 2: a value breaks a rule of its noun
	Partial  Code = "partial"   // 3: some of the work was done, and says which
	NotFound Code = "not found" // 4: the named object does not exist
	Conflict Code = "conflict"  // 5: the object exists already, or with other values
	Locked   Code = "locked"    // 5: somebody else holds it; trying again may help
	Refused  Code = "refused"   // 6: a quality gate or a rule said no
	Provider Code = "provider"  // 7: a data provider did not deliver
	Store    Code = "store"     // 8: a database is missing, damaged, foreign or too new
)

// Error lets a Code stand as the target of errors.Is.
func (c Code) Error() string { return string(c) }

// Error is the one error type of quant: a code for programs, a message for
// people that names the object and what was wrong, and a hint that says what
// to do next.
type Error struct {
	Code Code
	Msg  string // lower case, names the object; contains the text of Err
	Hint string // what to do next; may be empty
	Err  error  // the cause; may be nil
}

// Errorf makes an error with the message of fmt.Errorf; %w keeps the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Msg: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint returns the error with a hint that says what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Msg }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is this error's code.
func (e *Error) Is(target error) bool { return target == error(e.Code) }

// CodeOf returns the code of the outermost *Error in err's chain, Failed for
// any other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Failed
}

// HintOf returns the outermost hint in err's chain that is not empty.
func HintOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// exitStatus is the one table of exit statuses (docs/exit-codes.md).
var exitStatus = map[Code]int{
	Failed: 1, Usage: 2, Invalid: 2, Partial: 3, NotFound: 4, Conflict: 5,
	Locked: 5, Refused: 6, Provider: 7, Store: 8,
}

// Codes returns every code, in the order of its exit status.
func Codes() []Code {
	return []Code{Failed, Usage, Invalid, Partial, NotFound, Conflict, Locked, Refused, Provider, Store}
}

// ExitStatus is the status with which a process that ends in this code exits.
func (c Code) ExitStatus() int {
	if s, ok := exitStatus[c]; ok {
		return s
	}
	return exitStatus[Failed]
}

// Exit is an error with an exit status of its own, whatever the code of Err is:
// that of another program that ran in our place, or of a failure to run it.
type Exit struct {
	Status int
	Err    error
	// Silent: nothing is said about it. The program has spoken for itself.
	Silent bool
}

// Error returns the message of Err.
func (e Exit) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e Exit) Unwrap() error { return e.Err }

// ExitStatus returns 0 for nil, the status of an Exit, 128+n for an error that a
// signal n caused, and else the status of CodeOf(err).
func ExitStatus(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[Exit](err); ok {
		return e.Status
	}
	if s, ok := errors.AsType[Signalled](err); ok {
		return 128 + s.Number
	}
	return CodeOf(err).ExitStatus()
}

// Signalled is the error of work that a signal ended.
type Signalled struct {
	Number int
	Name   string // SIGINT, SIGTERM, SIGHUP, SIGPIPE
	Detail string // what it meant here; may be empty
}

// Error says which signal ended the work.
func (s Signalled) Error() string {
	if s.Detail != "" {
		return "ended by " + s.Name + ": " + s.Detail
	}
	return "ended by " + s.Name
}

// SomeOf names the first of a list, for messages, and how many more there are.
func SomeOf(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return strings.Join(list[:most], ", ") + fmt.Sprintf(", ... (%d more)", len(list)-most)
}
