package nearby

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"quant"
	"quant/internal/lab/place"
	"quant/internal/objectstore"
	"quant/internal/test/objectstest"
)

// store is a bucket with one object, and counts who reads contents from it.
type store struct {
	t       *testing.T
	server  *objectstest.Server
	front   *objectstest.Front
	at      place.S3
	bucket  *objectstore.Bucket
	content []byte
	reads   atomic.Int64
	status  atomic.Int64 // that GET is answered with; 0: served
}

const object = "main/prices/a b.parquet"

func newStore(t *testing.T, size int) *store {
	t.Helper()
	s := &store{t: t, server: objectstest.Shared(t)}
	s.front = s.server.Front(t, false)
	s.front.Fail(func(r *http.Request) objectstest.Fault {
		if r.Method == http.MethodGet {
			s.reads.Add(1)
			return objectstest.Fault{Status: int(s.status.Load())}
		}
		return objectstest.Fault{}
	})
	at, err := place.ParseObjects(objectstest.In(s.front.Endpoint, s.server.Bucket(t)), place.Cloud{})
	if err != nil {
		t.Fatal(err)
	}
	s.at = at.S3
	s.bucket = objectstore.New(objectstore.Options{At: s.at, Patience: 100 * time.Millisecond})
	s.write(size, 1)
	return s
}

// write makes the object another one.
func (s *store) write(size int, seed byte) {
	s.t.Helper()
	s.content = make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(s.content)
	if err := s.bucket.DeleteOwn(s.t.Context(), object); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.bucket.Put(s.t.Context(), object, bytes.NewReader(s.content), int64(size)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) serve(folder *Folder) *Server {
	s.t.Helper()
	server, err := Serve(s.bucket, s.at, folder)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(server.Close)
	return server
}

// ask asks a server for a range; "": all.
func (s *store) ask(server *Server, method, key, bytes string) (status int, body []byte, header http.Header) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, server.At.Endpoint+"/"+server.At.Bucket+"/"+server.At.Prefix+"main/prices/a%20b.parquet", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key+"/20260115/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
	if bytes != "" {
		r.Header.Set("Range", "bytes="+bytes)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, nil
	}
	defer a.Body.Close()
	body, err = io.ReadAll(a.Body)
	if err != nil {
		return 0, body, a.Header
	}
	return a.StatusCode, body, a.Header
}

func (s *store) want(server *Server, from, to int) {
	s.t.Helper()
	status, body, header := s.ask(server, http.MethodGet, server.KeyID, fmt.Sprintf("%d-%d", from, to-1))
	if status != http.StatusPartialContent || !bytes.Equal(body, s.content[from:to]) || header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(s.content)) {
		s.t.Errorf("%d to %d: status %d, %d bytes, %v", from, to, status, len(body), header)
	}
}

func TestWhatOneProcessReadTheNextReadsFromTheDisk(t *testing.T) {
	t.Parallel()
	s := newStore(t, 3*blockSize+12345)
	dir := filepath.Join(t.TempDir(), "near")
	first := s.serve(In(dir, 0))
	status, body, header := s.ask(first, http.MethodHead, first.KeyID, "")
	if status != http.StatusOK || len(body) != 0 || header.Get("Content-Length") != strconv.Itoa(len(s.content)) || header.Get("ETag") == "" {
		t.Errorf("HEAD: %d %v", status, header)
	}
	if n := s.reads.Load(); n != 0 {
		t.Errorf("HEAD read %d times", n)
	}
	for _, r := range [][2]int{{len(s.content) - 8, len(s.content)}, {0, 4}, {blockSize - 1, blockSize + 1}, {0, len(s.content)}, {2*blockSize + 7, 2*blockSize + 8}} {
		s.want(first, r[0], r[1])
	}
	if _, body, _ := s.ask(first, http.MethodGet, first.KeyID, "-10"); !bytes.Equal(body, s.content[len(s.content)-10:]) {
		t.Errorf("the last ten: %d bytes", len(body))
	}
	if status, body, _ := s.ask(first, http.MethodGet, first.KeyID, ""); status != http.StatusOK || !bytes.Equal(body, s.content) {
		t.Errorf("all: %d, %d bytes", status, len(body))
	}
	if n := s.reads.Load(); n != 4 { // the last block, the first, the second, the third
		t.Errorf("the store was read %d times", n)
	}
	for range 20 {
		from := rand.IntN(len(s.content) - 1)
		s.want(s.serve(In(dir, 0)), from, from+1+rand.IntN(len(s.content)-from))
	}
	if n := s.reads.Load(); n != 4 {
		t.Errorf("with all of it on the disk the store was read %d times more", n-4)
	}
}

func TestABlockThatIsNotWhatWasKeptIsReadAnew(t *testing.T) {
	t.Parallel()
	s := newStore(t, 2*blockSize)
	dir := t.TempDir()
	s.want(s.serve(In(dir, 0)), 0, 2*blockSize)
	kept, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("%v, %v", kept, err)
	}
	for i, path := range kept {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(path, content[:len(content)-i], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := s.reads.Load()
	s.want(s.serve(In(dir, 0)), 0, 2*blockSize)
	if s.reads.Load() == before {
		t.Error("what was changed was served")
	}
	before = s.reads.Load()
	s.want(s.serve(In(dir, 0)), 0, 2*blockSize)
	if n := s.reads.Load() - before; n != 0 {
		t.Errorf("it was read %d times after it was kept again", n)
	}
}

func TestAnObjectWithAnotherContentIsNeverServedFromTheOldOne(t *testing.T) {
	t.Parallel()
	s := newStore(t, 2*blockSize)
	dir := t.TempDir()
	old := s.serve(In(dir, 0))
	s.want(old, 0, blockSize)
	s.write(2*blockSize, 2)
	s.want(s.serve(In(dir, 0)), 0, 2*blockSize)
	// Who knows the old one gets no part of the new one, and is told.
	if status, _, _ := s.ask(old, http.MethodGet, old.KeyID, fmt.Sprint(blockSize, "-")); status == http.StatusPartialContent {
		t.Error("half of the old object and half of the new one were served as one")
	}
	if quant.CodeOf(old.Failed()) != quant.Store {
		t.Errorf("it says: %v", old.Failed())
	}
}

func TestAFolderKeepsWhatWasUsedLastAndNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	s := newStore(t, 20*blockSize)
	dir := t.TempDir()
	folder := In(dir, 8*blockSize)
	server := s.serve(folder)
	for n := range 20 {
		s.want(server, n*blockSize, (n+1)*blockSize)
		old := time.Now().Add(time.Duration(n-100) * time.Minute)
		kept, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) > 10 {
			t.Fatalf("%d blocks are kept, and 8 may be", len(kept))
		}
		for _, path := range kept {
			if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) < time.Minute {
				_ = os.Chtimes(path, old, old)
			}
		}
	}
	before := s.reads.Load()
	s.want(server, 19*blockSize, 20*blockSize)
	if n := s.reads.Load() - before; n != 0 {
		t.Error("the one that was used last is gone")
	}
}

func TestNobodyElseIsServedAndAStoreThatFailsIsTold(t *testing.T) {
	t.Parallel()
	s := newStore(t, blockSize)
	server := s.serve(In(t.TempDir(), 0))
	if status, body, _ := s.ask(server, http.MethodGet, "NEARsomebody", ""); status != http.StatusForbidden || len(body) != 0 {
		t.Errorf("a stranger gets %d and %d bytes", status, len(body))
	}
	if status, _, _ := s.ask(server, http.MethodPut, server.KeyID, ""); status != http.StatusNotImplemented {
		t.Errorf("who writes gets %d", status)
	}
	s.status.Store(http.StatusForbidden)
	if status, _, _ := s.ask(server, http.MethodGet, server.KeyID, "0-9"); status != http.StatusBadRequest {
		t.Errorf("while the store refuses: %d", status)
	}
	if err := server.Failed(); quant.CodeOf(err) != quant.Store || quant.HintOf(err) == "" {
		t.Errorf("it says: %v", err)
	}
	s.status.Store(0)
	s.want(server, 0, blockSize)
	// A folder that cannot be written is no reason not to serve.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(s.serve(In(filepath.Join(file, "near"), 0)), 0, blockSize)
}
