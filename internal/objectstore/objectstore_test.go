package objectstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quant"
	"quant/internal/lab/place"
	"quant/internal/test/objectstest"
)

// in is a bucket of its own of a store that a front leads to.
func in(t *testing.T, s *objectstest.Server, endpoint string, o Options) *Bucket {
	t.Helper()
	at, err := place.ParseObjects(objectstest.In(endpoint, s.Bucket(t)), place.Cloud{})
	if err != nil {
		t.Fatal(err)
	}
	o.At = at.S3
	return New(o)
}

func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(b)
	return b
}

func got(t *testing.T, b *Bucket, key string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.Get(t.Context(), key, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func put(t *testing.T, b *Bucket, key string, text []byte) bool {
	t.Helper()
	made, err := b.Put(t.Context(), key, bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestAnObjectIsMadeOnceAndReadAgain(t *testing.T) {
	t.Parallel()
	s := objectstest.Shared(t)
	var known sync.Map
	b := in(t, s, s.Endpoint(), Options{Know: func(values ...string) {
		for _, v := range values {
			known.Store(v, true)
		}
	}})
	if _, err := b.Stat(t.Context(), "a/b"); !errors.Is(err, quant.NotFound) {
		t.Fatal(err)
	}
	if err := b.Get(t.Context(), "a/b", io.Discard); !errors.Is(err, quant.NotFound) {
		t.Fatal(err)
	}
	if !put(t, b, "a/b", []byte("first")) || put(t, b, "a/b", []byte("other")) {
		t.Error("an object was made twice, or not at all")
	}
	if text := got(t, b, "a/b"); string(text) != "first" {
		t.Errorf("%q", text)
	}
	o, err := b.Stat(t.Context(), "a/b")
	if err != nil || o.Bytes != 5 {
		t.Fatal(o, err)
	}
	if now, err := b.Now(t.Context()); err != nil || now.Sub(o.Written).Abs() > time.Minute {
		t.Error(now, o.Written, err)
	}
	put(t, b, "empty", nil)
	if text := got(t, b, "empty"); len(text) != 0 {
		t.Errorf("%q", text)
	}
	if err := b.Touch(t.Context(), "a/mark"); err != nil {
		t.Fatal(err)
	}
	if err := b.Touch(t.Context(), "a/mark"); err != nil {
		t.Fatal(err)
	}
	var keys []string
	if err := b.List(t.Context(), "a/", func(o Object) error { keys = append(keys, o.Key); return nil }); err != nil || strings.Join(keys, " ") != "a/b a/mark" {
		t.Error(keys, err)
	}
	for range 2 {
		if err := b.Delete(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Stat(t.Context(), "a/b"); !errors.Is(err, quant.NotFound) {
		t.Fatal(err)
	}
	if _, told := known.Load(objectstest.Secret); !told {
		t.Error("nobody was told the secret that is to be masked")
	}
}

func TestManyObjectsAreListedInOrder(t *testing.T) {
	t.Parallel()
	s := objectstest.Shared(t)
	bucket := s.Bucket(t)
	at, err := place.ParseObjects(objectstest.In(s.Endpoint(), bucket), place.Cloud{})
	if err != nil {
		t.Fatal(err)
	}
	b := New(Options{At: at.S3})
	const n = 2345 // three pages
	dir := s.File(bucket, "lab/many")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, string([]byte{'a' + byte(i/1000), '0' + byte(i/100%10), '0' + byte(i/10%10), '0' + byte(i%10)})), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	last, count := "", 0
	err = b.List(t.Context(), "many/", func(o Object) error {
		if o.Key <= last {
			t.Errorf("%s after %s", o.Key, last)
		}
		last = o.Key
		count++
		return nil
	})
	if err != nil || count != n {
		t.Error(count, err)
	}
}

func TestWhatAStoreRefusesForNowIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := objectstest.Shared(t)
	large := content(3 << 20)
	for name, fault := range map[string]objectstest.Fault{
		"an error of the store": {Status: http.StatusInternalServerError},
		"too many requests":     {Status: http.StatusServiceUnavailable},
		"a cut connection":      {Cut: true},
		"a lost answer":         {Lost: true},
		"an answer in pieces":   {Cut: true, After: 1 << 20},
		"a store that is slow":  {Delay: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			front := s.Front(t, false)
			b := in(t, s, front.Endpoint, Options{Stall: time.Second})
			front.Fail(objectstest.Every(2, fault))
			put(t, b, "large", large) // who did not hear that it was made finds it made
			if text := got(t, b, "large"); !bytes.Equal(text, large) {
				t.Errorf("%d bytes came back, of %d", len(text), len(large))
			}
			if o, err := b.Stat(t.Context(), "large"); err != nil || o.Bytes != int64(len(large)) {
				t.Error(o, err)
			}
		})
	}
}

func TestWhatDoesNotMendIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := objectstest.Shared(t)
	front := s.Front(t, false)
	b := in(t, s, front.Endpoint, Options{Patience: time.Second})
	front.Fail(objectstest.Every(1, objectstest.Fault{Status: http.StatusServiceUnavailable}))
	_, err := b.Put(t.Context(), "k", strings.NewReader("x"), 1)
	if !errors.Is(err, quant.Store) || !strings.Contains(err.Error(), b.URL("k")) || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "tries") || quant.HintOf(err) == "" {
		t.Error(err, quant.HintOf(err))
	}
	before := front.Requests.Load()
	if err := b.Delete(t.Context(), "k"); !errors.Is(err, quant.Store) || front.Requests.Load() != before+1 {
		t.Error("a removal was repeated:", err)
	}
	front.Fail(objectstest.Every(1, objectstest.Fault{Status: http.StatusForbidden}))
	before = front.Requests.Load()
	if err := b.Get(t.Context(), "k", io.Discard); !errors.Is(err, quant.Store) || front.Requests.Load() != before+1 || !strings.Contains(quant.HintOf(err), "credentials") {
		t.Error(err, front.Requests.Load()-before)
	}
	front.Fail(nil)
	missing := b.o.At
	missing.Bucket = "there-is-none"
	if err := New(Options{At: missing}).Get(t.Context(), "k", io.Discard); !errors.Is(err, quant.Store) || !strings.Contains(quant.HintOf(err), "bucket") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := b.Stat(ctx, "k"); !errors.Is(err, stop) {
		t.Error(err)
	}
	full := errors.New("the disk is full")
	put(t, b, "whole", []byte("content"))
	if err := b.Get(t.Context(), "whole", failing{full}); !errors.Is(err, full) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestAStoreIsTrustedByItsCertificate(t *testing.T) {
	t.Parallel()
	s := objectstest.Shared(t)
	front := s.Front(t, true)
	b := in(t, s, front.Endpoint, Options{})
	_, err := b.Stat(t.Context(), "k")
	if !errors.Is(err, quant.Store) || !strings.Contains(quant.HintOf(err), "AWS_CA_BUNDLE") {
		t.Error(err, quant.HintOf(err))
	}
	trusted := New(Options{At: b.o.At, Cloud: place.Cloud{CABundle: front.CA(t)}})
	put(t, trusted, "k", []byte("over TLS"))
	if text := got(t, trusted, "k"); string(text) != "over TLS" {
		t.Errorf("%q", text)
	}
	if _, err := New(Options{At: b.o.At, Cloud: place.Cloud{CABundle: "/nowhere"}}).Stat(t.Context(), "k"); !errors.Is(err, quant.Usage) {
		t.Error(err)
	}
}

func TestALargeContentGoesInPartsAndIsNotHeld(t *testing.T) {
	t.Parallel()
	s := objectstest.Shared(t)
	front := s.Front(t, false)
	b := in(t, s, front.Endpoint, Options{})
	var parts atomic.Int64
	front.Fail(func(r *http.Request) objectstest.Fault {
		if r.URL.Query().Has("partNumber") && parts.Add(1) == 2 {
			return objectstest.Fault{Status: http.StatusInternalServerError}
		}
		return objectstest.Fault{}
	})
	const size = 2*partSize + 12345
	file, err := os.Create(filepath.Join(t.TempDir(), "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("end"), size-3); err != nil {
		t.Fatal(err)
	}
	if made, err := b.Put(t.Context(), "large", file, size); err != nil || !made {
		t.Fatal(made, err)
	}
	if parts.Load() < 4 {
		t.Error("it went in", parts.Load(), "parts")
	}
	if made, err := b.Put(t.Context(), "large", file, size); err != nil || made {
		t.Fatal("made twice: ", made, err)
	}
	var end tail
	if err := b.Get(t.Context(), "large", &end); err != nil || end.n != size || string(end.last) != "end" {
		t.Error(end.n, string(end.last), err)
	}
	if n, err := b.RemoveUnfinished(t.Context(), "", time.Now().Add(time.Hour)); err != nil || n != 0 {
		t.Error("uploads were left unfinished:", n, err)
	}
}

// tail counts what is written to it, and keeps the end.
type tail struct {
	n    int64
	last []byte
}

func (e *tail) Write(p []byte) (int, error) {
	e.n += int64(len(p))
	e.last = append(e.last[:0], p[max(0, len(p)-3):]...)
	return len(p), nil
}
