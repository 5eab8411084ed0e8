package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"quant/internal/output"
	"quant/internal/secret"
)

// accessLog writes a line for each request, masked, and with control characters as
// escapes. It is safe for concurrent use.
type accessLog struct {
	mu   sync.Mutex
	to   io.Writer // nil: nothing is written
	mask *secret.Masker
}

// line is: time, client, caller, method and path in quotes, status, bytes,
// milliseconds. What a query holds is not written.
func (l *accessLog) line(at time.Time, r *http.Request, status int, bytes int64, took time.Duration, who string) {
	if l.to == nil {
		return
	}
	if who == "" {
		who = "-"
	}
	l.write(fmt.Sprintf("%s %s %s %q %d %d %.1f", at.UTC().Format("2006-01-02T15:04:05.000Z"), host(r.RemoteAddr), word(who),
		r.Method+" "+r.URL.Path, status, bytes, float64(took.Microseconds())/1000))
}

// defect writes what a panic was, with its stack.
func (l *accessLog) defect(err error) {
	if l.to != nil {
		l.write(err.Error())
	}
}

// Write takes what net/http has to say of connections.
func (l *accessLog) Write(b []byte) (int, error) {
	if l.to != nil {
		l.write(strings.TrimRight(string(b), "\n"))
	}
	return len(b), nil
}

func (l *accessLog) write(text string) {
	if l.mask != nil {
		text = l.mask.Text(text)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.to, output.Clean(text)+"\n") // a log that cannot be written stops nobody
}

// word is a text without spaces.
func word(s string) string { return strings.ReplaceAll(s, " ", "_") }

// host is an address without its port.
func host(remote string) string {
	if i := strings.LastIndexByte(remote, ':'); i > 0 {
		return strings.Trim(remote[:i], "[]")
	}
	return remote
}
