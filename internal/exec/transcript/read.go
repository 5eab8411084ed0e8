package transcript

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"quant"
)

// Reader reads a transcript, also while it is being written.
type Reader struct {
	f *os.File
	h header
}

// Open opens the transcript at path. Errors: NotFound if there is none, also while
// it is being made and has no header yet; Store if it cannot be read or is none.
func Open(path string) (*Reader, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "there is no log %s", path)
	}
	if err != nil {
		return nil, quant.Errorf(quant.Store, "open a log: %w", err).WithHint("make it readable")
	}
	return From(f)
}

// From is Open of a transcript that is open; it closes f after an error.
func From(f *os.File) (*Reader, error) {
	r := &Reader{f: f}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, quant.Errorf(quant.Store, "the log %s is no regular file", f.Name())
	}
	if err := r.refresh(); err != nil {
		f.Close()
		if errors.Is(err, io.EOF) {
			return nil, quant.Errorf(quant.NotFound, "the log %s is not begun", f.Name())
		}
		return nil, err
	}
	return r, nil
}

// Close closes it.
func (r *Reader) Close() error { return r.f.Close() }

func (r *Reader) refresh() error {
	line := make([]byte, headerSize)
	var h header
	err := errTorn
	for try := 0; errors.Is(err, errTorn) && try < 100; try++ {
		if _, err := r.f.ReadAt(line, 0); err != nil {
			return quant.Errorf(quant.Store, "read the log %s: %w", r.f.Name(), err)
		}
		h, err = parseHeader(line)
	}
	if err != nil {
		return quant.Errorf(quant.Store, "the file %s is not a log of quant: %w", r.f.Name(), err)
	}
	r.h = h
	return nil
}

// Total is how many bytes were to be stored when the reader last looked, and
// Cut how many of these are not there.
func (r *Reader) Total() int64 { return r.h.total }

// Cut is documented at Total.
func (r *Reader) Cut() int64 { return r.h.cut() }

// marker is what stands for a part that is not there.
func marker(n int64, atLineStart bool) string {
	s := fmt.Sprintf("[quant: %d bytes of output are not kept]\n", n)
	if !atLineStart {
		return "\n" + s
	}
	return s
}

// Copy writes what is there to w, and for what is not a line that says how much
// that is. lines >= 0: only the last so many lines.
func (r *Reader) Copy(w io.Writer, lines int) error {
	if err := r.refresh(); err != nil {
		return err
	}
	c := &cursor{r: r, w: w, atLineStart: true}
	if lines >= 0 {
		at, err := r.lastLines(lines)
		if err != nil {
			return err
		}
		c.at = at
	}
	return c.advance(true)
}

// CopyFrom writes to w what is there from the byte at on, of all that were to be
// stored, at most limit bytes and what says how much is not there, and returns the
// byte with which to go on. One that is overwritten already goes on with what is
// there.
func (r *Reader) CopyFrom(w io.Writer, at, limit int64) (next int64, err error) {
	if err := r.refresh(); err != nil {
		return at, err
	}
	c := &cursor{r: r, w: w, at: min(max(at, 0), r.h.kept), atLineStart: true, limit: limit}
	err = c.advance(false)
	return c.at, err
}

// LastLines returns the byte with which the last n lines begin, for CopyFrom.
func (r *Reader) LastLines(n int) (int64, error) {
	if err := r.refresh(); err != nil {
		return 0, err
	}
	return r.lastLines(n)
}

// lastLines returns where the last n lines begin, of those that are there.
func (r *Reader) lastLines(n int) (int64, error) {
	if n == 0 {
		return r.h.kept, nil
	}
	headEnd, tail := r.h.parts()
	low := tail
	if headEnd == tail {
		low = 0
	}
	at, found := r.h.kept, 0
	buf := make([]byte, piece)
	for at > low {
		from := max(low, at-piece)
		chunk := buf[:at-from]
		if err := r.readAt(chunk, from); err != nil {
			return 0, err
		}
		for i := len(chunk) - 1; i >= 0; i-- {
			if chunk[i] != '\n' || from+int64(i) == r.h.kept-1 {
				continue
			}
			if found++; found >= n {
				return from + int64(i) + 1, nil
			}
		}
		at = from
	}
	if low > 0 { // the tail has no more lines: say what is missing before them
		return headEnd, nil
	}
	return low, nil
}

func (r *Reader) readAt(b []byte, at int64) error {
	for len(b) > 0 {
		offset, run := r.h.place(at)
		if run == 0 {
			return quant.Errorf(quant.Store, "the log %s is damaged", r.f.Name())
		}
		n := min(run, int64(len(b)))
		if _, err := r.f.ReadAt(b[:n], offset); err != nil {
			return quant.Errorf(quant.Store, "read the log %s: %w", r.f.Name(), err)
		}
		b, at = b[n:], at+n
	}
	return nil
}

// cursor is a place in a transcript from which on it is copied.
type cursor struct {
	r           *Reader
	w           io.Writer
	at          int64 // the next byte
	told        int64 // of what the disk did not take, what was said
	limit       int64 // how many bytes are still copied; 0: any number
	atLineStart bool
}

// advance copies what there is beyond the cursor; final: nothing more will come.
func (c *cursor) advance(final bool) error {
	buf := make([]byte, piece)
	for {
		if err := c.r.refresh(); err != nil {
			return err
		}
		h := c.r.h
		headEnd, tail := h.parts()
		if c.at >= headEnd && c.at < tail {
			if err := c.gap(tail - c.at); err != nil {
				return err
			}
			c.at = tail
		}
		if c.at >= h.kept {
			if lost := h.total - h.kept; final && lost > c.told {
				if err := c.gap(lost - c.told); err != nil {
					return err
				}
				c.told = lost
			}
			return nil
		}
		n := min(h.kept-c.at, piece)
		if c.at < headEnd {
			n = min(n, headEnd-c.at)
		}
		if c.limit > 0 {
			n = min(n, c.limit)
		}
		if err := c.r.readAt(buf[:n], c.at); err != nil {
			return err
		}
		if c.at >= headEnd && !h.closed {
			// A writer that goes on may have overwritten it meanwhile.
			if err := c.r.refresh(); err != nil {
				return err
			}
			if _, tail := c.r.h.parts(); tail > c.at {
				continue
			}
		}
		if _, err := c.w.Write(buf[:n]); err != nil {
			return err
		}
		c.at += n
		c.atLineStart = buf[n-1] == '\n'
		if c.limit == n {
			return nil
		}
		if c.limit > 0 {
			c.limit -= n
		}
	}
}

func (c *cursor) gap(n int64) error {
	_, err := io.WriteString(c.w, marker(n, c.atLineStart))
	c.atLineStart = true
	return err
}

// Follow is Copy, and then goes on with what is written until over says that
// nothing more will come, or ctx ends. over is asked about every interval.
func (r *Reader) Follow(ctx context.Context, w io.Writer, lines int, interval time.Duration, over func(context.Context) (bool, error)) error {
	if err := r.refresh(); err != nil {
		return err
	}
	c := &cursor{r: r, w: w, atLineStart: true}
	if lines >= 0 {
		at, err := r.lastLines(lines)
		if err != nil {
			return err
		}
		c.at = at
	}
	for {
		ended, err := over(ctx) // asked first: what was written before the end is there then
		if err != nil {
			return err
		}
		if err := c.advance(ended); err != nil || ended {
			return err
		}
		if f, ok := w.(interface{ Flush() error }); ok {
			if err := f.Flush(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(interval):
		}
	}
}

// Screen passes output on to a terminal and takes from it what could rewrite the
// screen, the title or the clipboard, or hide a part of a line: of all control
// sequences only colours remain, and not even these without Colour. A lone
// carriage return begins a new line, so that every state of a progress bar can
// be read; other control characters are shown as \x1b.
type Screen struct {
	W      io.Writer
	Colour bool

	held     []byte // a sequence or character that is not whole yet
	coloured bool
}

// maxSequence bounds what is held back of a sequence.
const maxSequence = 64

// Write is io.Writer's.
func (s *Screen) Write(b []byte) (int, error) {
	in := append(s.held, b...)
	out, rest := s.clean(nil, in, false)
	s.held = append([]byte(nil), rest...)
	_, err := s.W.Write(out)
	return len(b), err
}

// Close writes what was held back, and ends a colour that was left on.
func (s *Screen) Close() error {
	out, _ := s.clean(nil, s.held, true)
	s.held = nil
	if s.coloured {
		out = append(out, "\x1b[0m"...)
	}
	_, err := s.W.Write(out)
	return err
}

func (s *Screen) clean(out, in []byte, final bool) (cleaned, rest []byte) {
	for len(in) > 0 {
		c := in[0]
		switch {
		case c == '\r':
			if len(in) == 1 && !final {
				return out, in
			}
			if len(in) > 1 && in[1] == '\n' {
				in = in[1:]
				continue
			}
			out, in = append(out, '\n'), in[1:]
		case c == 0x1b && len(in) > 1 && in[1] == '[' || c == 0x1b && len(in) == 1 && !final:
			n, whole := sequence(in)
			if !whole && !final && len(in) < maxSequence {
				return out, in
			}
			if whole && in[n-1] == 'm' {
				if s.Colour {
					out = append(out, in[:n]...)
					s.coloured = !bytes.Equal(in[:n], []byte("\x1b[0m")) && !bytes.Equal(in[:n], []byte("\x1b[m"))
				}
				in = in[n:]
				continue
			}
			if whole && in[n-1] == 'K' { // erases what is not there after a line of its own
				in = in[n:]
				continue
			}
			out, in = append(out, `\x1b`...), in[1:]
		case c < 0x20 && c != '\n' && c != '\t' || c == 0x7f:
			out, in = fmt.Appendf(out, `\x%02x`, c), in[1:]
		case c < 0x80:
			out, in = append(out, c), in[1:]
		default:
			n, shown, whole := character(in)
			if !whole && !final {
				return out, in
			}
			out, in = append(out, shown...), in[n:]
		}
	}
	return out, nil
}

// sequence is how long the control sequence at the head of in is.
func sequence(in []byte) (n int, whole bool) {
	for i := 2; i < len(in) && i < maxSequence; i++ {
		switch c := in[i]; {
		case c >= 0x40 && c <= 0x7e:
			return i + 1, true
		case c >= '0' && c <= '9' || c == ';' || c == ':':
		default:
			return i, true // ends in a byte that ends none
		}
	}
	return len(in), false
}
