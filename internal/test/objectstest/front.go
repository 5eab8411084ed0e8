package objectstest

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Fault is how one request fails; the zero value: it does not.
type Fault struct {
	Status int           // it is answered with this, without being done
	Delay  time.Duration // it is answered so late
	// Cut ends the connection: before the request is done, or, with After, once so many
	// bytes of the answer have gone.
	Cut   bool
	After int64
	// Lost ends the connection after the request was done, without an answer.
	Lost bool
}

// Front is a proxy before the server.
type Front struct {
	Endpoint string
	// Requests counts those that came.
	Requests atomic.Int64

	server *httptest.Server
	mu     sync.Mutex
	fault  func(r *http.Request) Fault
}

// Front opens a proxy of a test's own; secure: it takes TLS.
func (s *Server) Front(t testing.TB, secure bool) *Front {
	t.Helper()
	f := s.open(secure)
	t.Cleanup(f.server.Close)
	return f
}

func (s *Server) open(secure bool) *Front {
	f := &Front{}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "store"
			r.Out.Host = r.In.Host // which is signed
		},
		Transport: s.client(), FlushInterval: -1,
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.Requests.Add(1)
		f.mu.Lock()
		var fault Fault
		if f.fault != nil {
			fault = f.fault(r)
		}
		f.mu.Unlock()
		if fault.Delay > 0 {
			select {
			case <-time.After(fault.Delay):
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
		switch {
		case fault.Status != 0:
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(fault.Status)
			code := "InternalError"
			if fault.Status == http.StatusForbidden {
				code = "AccessDenied"
			}
			_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>`+code+`</Code><Message>asked for by a test</Message></Error>`)
		case fault.Lost:
			pass.ServeHTTP(&lost{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		case fault.Cut && fault.After == 0:
			panic(http.ErrAbortHandler)
		case fault.Cut:
			pass.ServeHTTP(&cut{w, fault.After}, r)
		default:
			pass.ServeHTTP(w, r)
		}
	})
	f.server = httptest.NewUnstartedServer(handler)
	if secure {
		f.server.StartTLS()
	} else {
		f.server.Start()
	}
	f.Endpoint = f.server.URL
	return f
}

// Fail has requests fail as fault says; nil: none does. One is asked about at a time.
func (f *Front) Fail(fault func(r *http.Request) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// CA is a file with the certificate of a proxy that takes TLS.
func (f *Front) CA(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// cut ends the connection after some bytes of the answer.
type cut struct {
	http.ResponseWriter
	left int64
}

// Write is io.Writer's.
func (c *cut) Write(b []byte) (int, error) {
	if int64(len(b)) >= c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		if f, can := c.ResponseWriter.(http.Flusher); can {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	c.left -= int64(len(b))
	return c.ResponseWriter.Write(b)
}

// lost takes an answer in, and gives it to nobody.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }
func (l *lost) WriteHeader(int)             {}

// Every has each n-th request fail, from the first on.
func Every(n int64, fault Fault) func(*http.Request) Fault {
	var count atomic.Int64
	return func(*http.Request) Fault {
		if (count.Add(1)-1)%n == 0 {
			return fault
		}
		return Fault{}
	}
}

// Size is the length that a request says, or -1.
func Size(r *http.Request) int64 {
	n, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil {
		return r.ContentLength
	}
	return n
}
