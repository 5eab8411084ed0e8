package output

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// Screen is a terminal that a command draws on, over and over: its other
// screen, so that what stood there before comes back at the end. Not safe for
// concurrent use.
type Screen struct {
	p       *Printer
	out     *os.File
	in      *os.File // nil: the keys are not ours to read
	before  *term.State
	keys    chan byte
	resized chan os.Signal
}

// What a terminal obeys (xterm, and all that is like it).
const (
	otherScreen = "\x1b[?1049h\x1b[?25l" // and no cursor
	firstScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
)

// OpenScreen takes the terminal behind stdout; nil if there is none. If stdin is a terminal too, its keys come through Keys, Ctrl-C
// among them, and are not shown. Close gives all of it back.
func (p *Printer) OpenScreen() (*Screen, error) {
	out, ok := p.streams.Out.(*os.File)
	if !ok || !IsTerminal(out) {
		return nil, nil
	}
	s := &Screen{p: p, out: out, keys: make(chan byte), resized: make(chan os.Signal, 1)}
	if in, ok := p.streams.In.(*os.File); ok && IsTerminal(in) {
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return nil, err
		}
		s.in, s.before = in, before
		go s.read()
	}
	signal.Notify(s.resized, syscall.SIGWINCH)
	_, err := io.WriteString(p.Out(), otherScreen)
	return s, err
}

// read passes keys on until stdin ends; nothing else can end a read of it.
func (s *Screen) read() {
	var b [1]byte
	for {
		if n, err := s.in.Read(b[:]); err != nil || n == 0 {
			return
		}
		s.keys <- b[0]
	}
}

// Keys are the bytes that are typed.
func (s *Screen) Keys() <-chan byte { return s.keys }

// Resized is told when the terminal has another size.
func (s *Screen) Resized() <-chan os.Signal { return s.resized }

// Size is how many columns and lines there are; 80 and 24 if the terminal does
// not say.
func (s *Screen) Size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// Draw shows lines, as Printer.Screen gives them, in place of what was there;
// those that do not fit are left out.
func (s *Screen) Draw(ctx context.Context, lines []string) error {
	_, height := s.Size()
	var b strings.Builder
	b.WriteString(home)
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + eraseLine)
	}
	b.WriteString(eraseBelow)
	if _, err := io.WriteString(s.p.Out(), b.String()); err != nil {
		return err
	}
	return s.p.Flush(ctx)
}

// Close gives the terminal back as it was, also after an error or a panic of
// who drew.
func (s *Screen) Close(ctx context.Context) error {
	signal.Stop(s.resized)
	_, err := io.WriteString(s.p.Out(), firstScreen)
	if err == nil {
		err = s.p.Flush(ctx)
	}
	if s.in != nil {
		if restored := term.Restore(int(s.in.Fd()), s.before); err == nil {
			err = restored
		}
	}
	return err
}
