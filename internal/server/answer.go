package server

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// answer is a response that is measured, whose client must take each piece of it in
// time, and that is known as a stream of events when it is one.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	code    int // 0: nothing was sent
	bytes   int64
	refused bool
	enter   func() (left func()) // called when it turns out a stream of events
	left    func()
}

func newAnswer(w http.ResponseWriter, enter func() func()) *answer {
	return &answer{ResponseWriter: w, control: http.NewResponseController(w), enter: enter}
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader sends the status.
func (a *answer) WriteHeader(code int) {
	if a.code == 0 && code >= 200 {
		a.code = code
		if a.left == nil && strings.HasPrefix(a.Header().Get("Content-Type"), "text/event-stream") {
			a.left = a.enter()
		}
	}
	a.inTime()
	a.ResponseWriter.WriteHeader(code)
}

// inTime gives the client the time for one more piece.
func (a *answer) inTime() { _ = a.control.SetWriteDeadline(time.Now().Add(stallTime)) }

// Write sends a piece.
func (a *answer) Write(b []byte) (int, error) {
	if a.code == 0 {
		a.WriteHeader(http.StatusOK)
	} else {
		a.inTime()
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// piece is how much of a file is sent between two looks at the clock.
const piece = 256 << 10

// ReadFrom sends a file as the system can do best, piece by piece.
func (a *answer) ReadFrom(src io.Reader) (total int64, err error) {
	if a.code == 0 {
		a.WriteHeader(http.StatusOK)
	}
	for {
		a.inTime()
		n, err := io.CopyN(a.ResponseWriter, src, piece)
		total += n
		a.bytes += n
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Flush sends what is buffered.
func (a *answer) Flush() {
	if a.code == 0 {
		a.WriteHeader(http.StatusOK)
	}
	a.inTime()
	_ = a.control.Flush()
}

func (a *answer) begun() bool { return a.code != 0 }

// status is what was sent, or what will be for an answer without a word.
func (a *answer) status() int {
	if a.code == 0 {
		return http.StatusOK
	}
	return a.code
}

// close gives what is still buffered its time.
func (a *answer) close() {
	if a.left != nil {
		a.left()
	}
	a.inTime()
}

// body is what a client sends, each piece in time, and all of it in time unless it is
// a stream.
type body struct {
	io.ReadCloser
	answer *answer
	until  time.Time // zero: no end
	ended  bool
}

// boundBody bounds the size and the time of a request's body. The caller ends it.
func boundBody(a *answer, r *http.Request, stream bool) *body {
	b := &body{ReadCloser: r.Body, answer: a, ended: r.Body == nil || r.Body == http.NoBody}
	if b.ended {
		return b
	}
	if !stream {
		b.until = time.Now().Add(bodyTime)
		b.ReadCloser = http.MaxBytesReader(a.ResponseWriter, r.Body, maxBody)
	}
	r.Body = b
	return b
}

// Read reads a piece.
func (b *body) Read(p []byte) (int, error) {
	limit := time.Now().Add(stallTime)
	if !b.until.IsZero() && b.until.Before(limit) {
		limit = b.until
	}
	_ = b.answer.control.SetReadDeadline(limit)
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended = true
		// From here on the connection is only watched for its end.
		_ = b.answer.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// end leaves a client that has not sent all of a body a moment for the rest.
func (b *body) end() {
	if !b.ended {
		_ = b.answer.control.SetReadDeadline(time.Now().Add(closingTime))
	}
}

// streams are the answers that go on until their client leaves.
type streams struct {
	mu     sync.Mutex
	next   int
	open   map[int]func()
	ending bool
}

func newStreams() *streams { return &streams{open: map[int]func(){}} }

// enter remembers a stream, which cancel ends; left forgets it.
func (s *streams) enter(cancel func()) (left func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		cancel()
		return func() {}
	}
	s.next++
	id := s.next
	s.open[id] = cancel
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, id)
	}
}

// end ends all streams, and those that come.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for _, cancel := range s.open {
		cancel()
	}
}

// count is how many there are.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
