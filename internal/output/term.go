// Package output is how quant speaks: results on stdout as a table, JSON or CSV,
// everything else (notices, progress, errors, the closing line) on stderr. It
// cleans what a hostile value could do to a terminal and masks known secrets
// on the way out. It knows no command.
package output

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"

	"quant"
	"quant/internal/secret"
)

// Streams are the three streams of a process.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// OSStreams are the streams of this process.
func OSStreams() Streams { return Streams{os.Stdin, os.Stdout, os.Stderr} }

// Format is how results are printed.
type Format string

// The formats of --output.
const (
	Table Format = "table"
	JSON  Format = "json"
	CSV   Format = "csv"
)

// Set reads a format, for --output.
func (f *Format) Set(s string) error {
	switch Format(s) {
	case Table, JSON, CSV:
		*f = Format(s)
		return nil
	}
	return fmt.Errorf("want table, json or csv")
}

// String returns the format's name.
func (f *Format) String() string { return string(*f) }

// Type names the flag's value in help texts.
func (f *Format) Type() string { return "table|json|csv" }

// Printer prints for one run. Safe for concurrent use, but for its exported
// fields.
type Printer struct {
	Format  Format
	Quiet   bool // no notices, no closing line; errors are printed all the same
	NoColor bool
	Exact   bool // CSV leaves texts as they are that a spreadsheet takes for formulas

	streams Streams
	mask    *secret.Masker // of what goes to stderr
	secrets *secret.Masker // of texts in results
	onFail  func(error)

	mu     sync.Mutex // of what follows; held while stdout takes its time
	out    *bufio.Writer
	outErr error
}

// NewPrinter prints to streams. In notices and errors it masks what mask finds;
// in results, which are data, only the values that secrets knows, and only in
// texts, before they are encoded. onFail is called once, when stdout no longer
// takes what is written to it; it may be nil.
func NewPrinter(streams Streams, mask, secrets *secret.Masker, onFail func(error)) *Printer {
	return &Printer{
		Format: Table, streams: streams, mask: mask, secrets: secrets, onFail: onFail,
		out: bufio.NewWriterSize(streams.Out, 64<<10),
	}
}

// Streams returns the streams themselves.
func (p *Printer) Streams() Streams { return p.streams }

// Out is stdout, buffered. What is written to it is not masked: Print does that.
func (p *Printer) Out() io.Writer { return (*stdout)(p) }

type stdout Printer

func (s *stdout) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outErr != nil {
		return 0, s.outErr
	}
	n, err := s.out.Write(b)
	(*Printer)(s).failed(err)
	return n, err
}

func (p *Printer) failed(err error) {
	if err != nil && p.outErr == nil {
		p.outErr = err
		if p.onFail != nil {
			p.onFail(err)
		}
	}
}

// Flush writes out what is buffered for stdout and returns the first error
// that stdout gave, if any. It waits as long as the reader does (a pager that
// somebody reads); once ctx has ended only a moment longer, and then returns
// its cause: the output is given up.
func (p *Printer) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- p.flush() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Second):
		return context.Cause(ctx)
	}
}

func (p *Printer) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outErr == nil {
		p.failed(p.out.Flush())
	}
	return p.outErr
}

// Notice prints a line to stderr, unless --quiet. Safe for concurrent use.
func (p *Printer) Notice(format string, args ...any) {
	if !p.Quiet {
		p.errLine(fmt.Sprintf(format, args...))
	}
}

// Warn prints a line to stderr, whatever --quiet says: what somebody must know
// to trust the result.
func (p *Printer) Warn(format string, args ...any) { p.errLine(fmt.Sprintf(format, args...)) }

// Error prints an error and its hint to stderr, whatever --quiet says.
func (p *Printer) Error(err error) {
	text := "quant: " + err.Error()
	if hint := quant.HintOf(err); hint != "" {
		text += "\n  hint: " + hint
	}
	p.errLine(text)
}

func (p *Printer) errLine(text string) {
	// A stderr that is gone cannot be reported anywhere.
	_, _ = io.WriteString(p.streams.Err, Clean(p.mask.Text(text))+"\n")
}

// IsTerminal reports whether a stream is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width is the width of the terminal behind a stream, in columns, or 0.
func Width(stream any) int {
	if f, ok := stream.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return w
		}
	}
	return 0
}

// Clean makes s harmless on a terminal: control characters (also C1 and the
// ones that turn the direction of writing) are shown as \x1b or \u202e, bytes
// that are no UTF-8 as \xff. Line feeds and tabs stay.
func Clean(s string) string {
	bad := func(r rune) bool {
		return r == unicode.ReplacementChar || r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case !bad(r):
			b.WriteRune(r)
		case r == unicode.ReplacementChar && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// cleanLine is Clean for one table cell: line feeds and tabs go as well.
func cleanLine(s string) string {
	s = Clean(s)
	if !strings.ContainsAny(s, "\n\t") {
		return s
	}
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(s)
}
