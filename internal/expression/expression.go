// Package expression is the language of feature expressions: Mean($close, 20)/$close
// over the sessions of one symbol, and CSRank(...) over the symbols of one session,
// close to what users of Qlib write. It parses, checks types and units, derives look-back
// and first row, and computes over columns in memory; it reads no files and starts no
// goroutines. A value depends on its session and earlier ones alone: there is no way to
// write a look into the future.
package expression

import (
	"fmt"
	"strings"

	"quant"
)

// Named is a feature as its author writes it: a name and an expression.
type Named struct{ Name, Text string }

// What a text may cost, so that one from a stranger stays small.
const (
	MaxText     = 8 << 10 // bytes of an expression
	MaxDepth    = 100     // of nested brackets and operators
	MaxWindow   = 2520    // sessions of one window or lag: ten years
	MaxLookback = 5040    // sessions that a feature reads before its own
	MaxFeatures = 2000    // of a program
	MaxNodes    = 50_000  // of a program, after equal parts are shared
)

// Error is what is wrong in an expression, and where. It is quant.Invalid.
type Error struct {
	Column  int // of the first letter that is wrong, counted in letters from 1
	Problem string
	Hint    string // what to write instead; may be ""
}

func (e *Error) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Problem) }

// Unwrap gives the error its code and its hint.
func (e *Error) Unwrap() error {
	return &quant.Error{Code: quant.Invalid, Msg: e.Error(), Hint: e.Hint}
}

// Expr is a parsed expression with types, units and look-back. It does not change, so
// any number of goroutines may read it.
type Expr struct {
	text string
	root *node
}

// Text is the expression as it was written.
func (e *Expr) Text() string { return e.text }

// String spells the expression in one way, whatever blanks and brackets it was written
// with: two expressions of one spelling are the same.
func (e *Expr) String() string {
	var b strings.Builder
	e.root.spell(&b)
	return b.String()
}

// Lookback is the number of sessions before its own that a value reads.
func (e *Expr) Lookback() int { return e.root.lookback }

// node is a call of a function, a field of the bars, or a number. Operators are calls.
type node struct {
	function *function // nil: a field or a number
	args     []*node
	window   int     // sessions of a window or a lag
	quantile float64 // of Quantile
	group    string  // of a function over a cross-section: "", or sector
	field    string  // close, ...
	number   float64
	column   int

	boolean  bool
	unit     unit
	lookback int
	section  int // how many cross-sections are nested in it
	depth    int
}

func (n *node) constant() bool { return n.function == nil && n.field == "" }

func (n *node) spell(b *strings.Builder) {
	switch {
	case n.field != "":
		b.WriteString("$" + n.field)
	case n.function == nil:
		b.WriteString(number(n.number))
	default:
		b.WriteString(n.function.Name + "(")
		for i, a := range n.args {
			if i > 0 {
				b.WriteString(",")
			}
			a.spell(b)
		}
		b.WriteString(n.parameters() + ")")
	}
}

// parameters spells what a call has beside its columns.
func (n *node) parameters() string {
	text := ""
	if n.function.window != nil {
		text += fmt.Sprintf(",%d", n.window)
	}
	if n.function.quantile {
		text += "," + number(n.quantile)
	}
	if n.group != "" {
		text += "," + n.group
	}
	return text
}
