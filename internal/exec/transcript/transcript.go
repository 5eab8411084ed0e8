// Package transcript keeps what a recorded program printed: one file a run, of a
// bounded size, that keeps the head and the tail. It owns the file's form, its
// masking, its reading and its following, and what of it may reach a terminal.
// Where the files are and which run each belongs to is its caller's.
//
// The file begins with one line of text, of headerSize bytes, that says how much
// was printed and how much of it is kept. Then comes the head, as it was printed
// (masked), and behind it a ring that holds the tail. Each piece of output is
// written first and then counted in the first line, by two plain writes, so that
// a writer that is killed leaves a file that reads well. At most one piece is
// then written and not counted; where that may have overwritten the oldest part
// of the ring, a reader leaves this part out.
package transcript

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/secret"
)

const (
	headerSize = 256
	// piece is the most that is written before it is counted.
	piece = 32 << 10
	// MinSize is the smallest size that a transcript can be given, but for 0.
	MinSize = 4 << 10
	// longLine is how much of a line is waited for before it is masked and
	// written in parts.
	longLine = 64 << 10
)

// header is the first line.
type header struct {
	head, ring int64 // the sizes of the two parts
	total      int64 // bytes that were to be written
	kept       int64 // of these, from the beginning, those that the disk took
	closed     bool  // its writer closed it
}

// errTorn is what a reader finds that looks while the line is being written.
var errTorn = errors.New("its first line is damaged")

const headerForm = "quant transcript 1 head=%d ring=%d total=%d kept=%d closed=%t"

func (h header) text() string {
	return fmt.Sprintf(headerForm, h.head, h.ring, h.total, h.kept, h.closed)
}

func (h header) line() []byte {
	line := bytes.Repeat([]byte{' '}, headerSize)
	text := h.text()
	copy(line, fmt.Sprintf("%s sum=%08x", text, crc32.ChecksumIEEE([]byte(text))))
	line[headerSize-1] = '\n'
	return line
}

func parseHeader(line []byte) (header, error) {
	var h header
	text, sum, _ := strings.Cut(strings.TrimRight(string(line), " \n"), " sum=")
	_, err := fmt.Sscanf(text, headerForm, &h.head, &h.ring, &h.total, &h.kept, &h.closed)
	switch {
	case err != nil:
		return header{}, err
	case text != h.text() || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text))):
		return header{}, errTorn
	case h.head < 0 || h.ring < 0 || h.kept < 0 || h.total < h.kept || h.head > 1<<50 || h.ring > 1<<50:
		return header{}, errors.New("its sizes are none")
	}
	return h, nil
}

// guard is how much of the ring's oldest part the piece may have overwritten
// that is being written. Before anything was overwritten it is 0.
func (h header) guard() int64 {
	if h.closed || h.kept-h.head+piece <= h.ring {
		return 0
	}
	return min(piece, h.ring)
}

// parts returns what of the output is there: [0, headEnd) and [tail, kept).
func (h header) parts() (headEnd, tail int64) {
	headEnd = min(h.kept, h.head)
	tail = max(headEnd, h.kept-h.ring+h.guard())
	return headEnd, min(tail, h.kept)
}

// cut is how many bytes are not there.
func (h header) cut() int64 {
	headEnd, tail := h.parts()
	return tail - headEnd + h.total - h.kept
}

// place is where in the file the byte stands that was printed as number at, and
// how many of its successors follow it there.
func (h header) place(at int64) (offset, run int64) {
	if at < h.head {
		return headerSize + at, h.head - at
	}
	if h.ring == 0 {
		return headerSize + h.head, 0
	}
	in := (at - h.head) % h.ring
	return headerSize + h.head + in, h.ring - in
}

// Writer writes a transcript. Safe for concurrent use. A disk that is full, or
// has no more room than is to be left to others (Leave), or any other trouble with
// the file, ends the keeping and not the program: from then on it only counts.
type Writer struct {
	mask *secret.Masker

	mu     sync.Mutex
	f      *os.File
	h      header
	err    error // why nothing more is kept
	leave  int64 // bytes of the disk
	seen   int64
	inputs []*Input
}

// Create makes the transcript of a run, at path, of at most size bytes beside
// its first line; 0 keeps nothing. Where the file cannot be made, the error is
// returned (Store) together with a Writer that only counts.
func Create(path string, size int64, mask *secret.Masker) (*Writer, error) {
	w := &Writer{mask: mask, h: header{head: size - size/2, ring: size / 2}}
	for _, v := range mask.Values() { // output is masked line by line
		if strings.ContainsAny(v, "\n\r") {
			for line := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == '\n' || r == '\r' }) {
				if len(line) >= 8 {
					mask.Know(line)
				}
			}
		}
	}
	w.err = os.MkdirAll(filepath.Dir(path), 0o700)
	if w.err == nil {
		w.f, w.err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	}
	if w.err == nil {
		_, w.err = w.f.WriteAt(w.h.line(), 0)
	}
	if w.err != nil {
		return w, quant.Errorf(quant.Store, "make the log %s: %w", path, w.err).WithHint("make room, or make the folder writable")
	}
	return w, nil
}

// Input takes one stream of a program. Its lines go whole into the transcript:
// masked, and not torn by those of another stream.
type Input struct {
	w       *Writer
	pending []byte
	last    string // the last line that shows something, masked
}

// Input returns a new stream.
func (w *Writer) Input() *Input {
	in := &Input{w: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inputs = append(w.inputs, in)
	return in
}

// Write takes what the program printed. It never fails. What does not end a
// line waits for its end: only then is it known what of it is a secret.
func (in *Input) Write(b []byte) (int, error) {
	in.w.mu.Lock()
	defer in.w.mu.Unlock()
	in.w.seen += int64(len(b))
	looked := len(in.pending) // there is no end of a line before
	in.pending = append(in.pending, b...)
	var out []byte
	for {
		end := bytes.IndexAny(in.pending[looked:], "\n\r")
		if end < 0 {
			break
		}
		end += looked
		looked = 0
		out = append(out, in.masked(in.pending[:end+1])...)
		in.pending = in.pending[end+1:]
		if len(out) >= piece {
			in.w.write(out)
			out = out[:0]
		}
	}
	in.w.write(out)
	for len(in.pending) > longLine {
		in.part()
	}
	if len(in.pending) == 0 {
		in.pending = nil // what it grew to is let go
	}
	return len(b), nil
}

// part writes the first part of a long line: up to a space, if there is one, and
// in any case not into a value that is known.
func (in *Input) part() {
	in.pending = in.w.mask.KnownBytes(in.pending)
	longest := 0
	for _, v := range in.w.mask.Values() {
		longest = max(longest, 3*len(v)) // in its longest form
	}
	end := max(len(in.pending)-max(longest, 1<<10), len(in.pending)/2)
	if space := bytes.LastIndexByte(in.pending[:end], ' '); space > end/2 {
		end = space + 1
	}
	in.w.write([]byte(in.masked(in.pending[:end])))
	in.pending = append([]byte(nil), in.pending[end:]...)
}

// masked is a line as it may be stored.
func (in *Input) masked(line []byte) string {
	text := in.w.mask.Text(string(line))
	if shows(text) {
		in.last = text
	}
	return text
}

// shows reports whether a line has anything to see, beside colours and the like.
func shows(line string) bool {
	return strings.ContainsFunc(withoutSequences(line), func(r rune) bool { return r > ' ' && r != 0x7f })
}

// LastLine is the last line so far that shows something, as the transcript has it
// and as a terminal may show it, without spaces at its ends; after Close it is that
// of the whole stream. Of a very long line it is the end.
func (in *Input) LastLine() string {
	in.w.mu.Lock()
	last := in.last
	in.w.mu.Unlock()
	return in.w.mask.Text(Plain(last)) // a sequence may have stood in a secret
}

// Plain is a text as one line of words that a terminal may show: without control
// sequences, and valid UTF-8.
func Plain(text string) string {
	var b strings.Builder
	screen := &Screen{W: &b}
	_, _ = io.WriteString(screen, withoutSequences(strings.TrimRight(text, "\r\n")))
	_ = screen.Close()
	return strings.Join(strings.Fields(strings.ToValidUTF8(b.String(), "\uFFFD")), " ")
}

func (w *Writer) write(b []byte) {
	for len(b) > 0 {
		n := int64(min(len(b), piece))
		w.h.total += n
		if w.err == nil {
			w.err = w.room()
		}
		if w.err == nil {
			w.err = w.keep(b[:n])
		}
		if w.f != nil {
			_, _ = w.f.WriteAt(w.h.line(), 0) // its block is there since the beginning
		}
		b = b[n:]
	}
}

// Leave sets how many bytes of its disk the transcript leaves to others: it does
// not grow where fewer are free.
func (w *Writer) Leave(bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave = bytes
}

// room is the error of a disk that has no more than is left to others.
func (w *Writer) room() error {
	var disk unix.Statfs_t
	if w.leave == 0 || w.h.kept >= w.h.head+w.h.ring || unix.Fstatfs(int(w.f.Fd()), &disk) != nil {
		return nil // the file does not grow, or the write tells
	}
	if uint64(disk.Bavail)*uint64(disk.Bsize) < uint64(w.leave)+piece {
		return unix.ENOSPC
	}
	return nil
}

// keep writes a piece to where it belongs.
func (w *Writer) keep(b []byte) error {
	for len(b) > 0 {
		offset, run := w.h.place(w.h.kept)
		if run == 0 { // into a ring that holds nothing
			w.h.kept += int64(len(b))
			return nil
		}
		n, err := w.f.WriteAt(b[:min(run, int64(len(b)))], offset)
		w.h.kept += int64(n)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Close writes what was waiting for the end of its line, and closes the file.
// It returns how many bytes the program printed, and how many of those, as they
// were to be stored, are not kept.
func (w *Writer) Close() (seen, cut int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, in := range w.inputs {
		for len(in.pending) > longLine {
			in.part()
		}
		w.write([]byte(in.masked(in.pending)))
		in.pending = nil
	}
	w.h.closed = true
	if w.f == nil {
		return w.seen, w.h.total
	}
	_, _ = w.f.WriteAt(w.h.line(), 0)
	_ = w.f.Close()
	return w.seen, w.h.cut()
}

// Stopped is why output was not kept any more from some point on, and how many
// bytes had been kept then; nil: all was kept that the size allows.
func (w *Writer) Stopped() (kept int64, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.h.total == w.h.kept {
		return w.h.kept, nil
	}
	return w.h.kept, w.err
}
