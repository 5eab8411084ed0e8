package nearby

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/lab/place"
	"quant/internal/objectstore"
)

// Server serves the objects below a prefix of a bucket to an engine of this process, for
// reading. It is reached by the loopback interface alone, with a key that it has drawn,
// which nobody but the engine is told.
type Server struct {
	At place.S3 // as the engine is to reach it
	// KeyID is what the engine is to call itself. Secret is of no use: the key is one.
	KeyID, Secret string

	bucket  *objectstore.Bucket
	of      place.S3
	folder  *Folder
	server  *http.Server
	ctx     context.Context
	cancel  context.CancelFunc
	mu      sync.Mutex
	objects map[string]objectstore.Object
	failed  error
}

// Serve begins to serve what lies at of, until Close. The error says why this machine
// cannot.
func Serve(bucket *objectstore.Bucket, of place.S3, folder *Folder) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{At: of, KeyID: "NEAR" + rand.Text(), Secret: rand.Text(), bucket: bucket, of: of, folder: folder, objects: map[string]objectstore.Object{}}
	s.At.Endpoint, s.At.PathStyle = "http://"+l.Addr().String(), true
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.server.Serve(l) }() // until Close
	return s, nil
}

// Close ends the server and what it is asked for. nil: nothing.
func (s *Server) Close() {
	if s != nil {
		s.cancel()
		_ = s.server.Close()
	}
}

// Failed is why the store did not give an object that the engine asked for, the last one;
// nil: it gave all. nil, too, of no server.
func (s *Server) Failed() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// ServeHTTP answers HEAD and GET of objects, with at most one range.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, within := strings.CutPrefix(r.URL.Path, "/"+s.of.Bucket+"/"+s.of.Prefix)
	switch {
	case !strings.Contains(r.Header.Get("Authorization"), "Credential="+s.KeyID+"/"):
		w.WriteHeader(http.StatusForbidden)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead, !within || key == "" || strings.HasSuffix(key, "/"):
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	o, err := s.stat(key)
	if err != nil {
		s.fail(w, err)
		return
	}
	from, end, partial, ok := asked(r.Header.Get("Range"), o.Bytes)
	if !ok {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	h := w.Header()
	h.Set("ETag", strconv.Quote(o.Mark))
	h.Set("Last-Modified", o.Written.UTC().Format(http.TimeFormat))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(end-from, 10))
	status := http.StatusOK
	if partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(end-1, 10)+"/"+strconv.FormatInt(o.Bytes, 10))
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(status)
		return
	}
	begun := false
	err = s.blocks(o, from, end, func(part []byte) error {
		if !begun {
			begun = true
			w.WriteHeader(status)
		}
		_, err := w.Write(part)
		if err != nil {
			panic(http.ErrAbortHandler) // the engine has gone
		}
		return nil
	})
	switch {
	case err != nil && begun:
		s.note(err)
		panic(http.ErrAbortHandler)
	case err != nil:
		s.fail(w, err)
	case !begun:
		w.WriteHeader(status) // of no byte
	}
}

// fail answers with an error that a repetition may mend only where the store was asked
// as long as that makes sense already: none.
func (s *Server) fail(w http.ResponseWriter, err error) {
	s.note(err)
	for name := range w.Header() {
		w.Header().Del(name)
	}
	status := http.StatusBadRequest // nobody repeats it
	if quant.CodeOf(err) == quant.NotFound {
		status = http.StatusNotFound
	}
	w.WriteHeader(status)
}

func (s *Server) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

// stat asks the store for an object, once.
func (s *Server) stat(key string) (objectstore.Object, error) {
	s.mu.Lock()
	o, known := s.objects[key]
	s.mu.Unlock()
	if known {
		return o, nil
	}
	o, err := s.bucket.Stat(s.ctx, key)
	if err == nil {
		s.mu.Lock()
		s.objects[key] = o
		s.mu.Unlock()
	}
	return o, err
}

// asked reads a header Range: the bytes from up to end of so many.
func asked(header string, size int64) (from, end int64, partial, ok bool) {
	spec, is := strings.CutPrefix(header, "bytes=")
	if header == "" {
		return 0, size, false, true
	}
	first, last, cut := strings.Cut(spec, "-")
	if !is || !cut || strings.Contains(spec, ",") {
		return 0, 0, false, false
	}
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		return max(0, size-n), size, true, err == nil && n > 0 && size > 0
	}
	from, err := strconv.ParseInt(first, 10, 64)
	end = size
	if err == nil && last != "" {
		end, err = strconv.ParseInt(last, 10, 64)
		end = min(end+1, size)
	}
	return from, end, true, err == nil && 0 <= from && from < end
}

// blocks hands the bytes from up to end of an object to fn, in their order, and keeps the
// blocks in which they lie.
func (s *Server) blocks(o objectstore.Object, from, end int64, fn func([]byte) error) error {
	sizeOf := func(n int64) int64 { return min(blockSize, o.Bytes-n*blockSize) }
	nameOf := func(n int64) string { return name(s.of.Store(), s.of.Bucket, s.of.Prefix, o.Key, o.Mark, o.Bytes, n) }
	pass := func(n int64, block []byte) error {
		at := n * blockSize
		return fn(block[max(0, from-at):min(int64(len(block)), end-at)])
	}
	for n := from / blockSize; n*blockSize < end; {
		if block := s.folder.get(nameOf(n), sizeOf(n)); block != nil {
			if err := pass(n, block); err != nil {
				return err
			}
			n++
			continue
		}
		missing := n + 1
		for missing*blockSize < end && missing-n < blocksAtOnce && s.folder.get(nameOf(missing), sizeOf(missing)) == nil {
			missing++
		}
		var got bytes.Buffer
		length := min(missing*blockSize, o.Bytes) - n*blockSize
		got.Grow(int(length))
		if err := s.bucket.GetPart(s.ctx, o, n*blockSize, length, &got); err != nil {
			return err
		}
		for ; n < missing; n++ {
			block := got.Next(int(sizeOf(n)))
			s.folder.put(nameOf(n), block)
			if err := pass(n, block); err != nil {
				return err
			}
		}
	}
	return nil
}
