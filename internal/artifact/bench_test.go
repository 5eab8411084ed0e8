package artifact

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"path/filepath"
	"testing"
	"time"

	"quant/internal/lab/place"
	"quant/internal/objectstore"
	"quant/internal/test/objectstest"
)

// BenchmarkObjects sets storing and reading a content of 1 MiB in a bucket beside a bare
// client's request for the same.
func BenchmarkObjects(b *testing.B) {
	server := objectstest.Shared(b)
	at, err := place.ParseObjects(objectstest.In(server.Endpoint(), server.Bucket(b)), place.Cloud{})
	if err != nil {
		b.Fatal(err)
	}
	bucket := objectstore.New(objectstore.Options{At: at.S3})
	s := Store{Dir: filepath.Join(b.TempDir(), "a"), Shared: &Shared{Bucket: bucket, Lab: named("one"), Now: time.Now}}
	content := make([]byte, 1<<20)
	n := uint64(0)
	next := func() *bytes.Reader {
		n++
		binary.LittleEndian.PutUint64(content, n)
		return bytes.NewReader(content)
	}
	var digests []string
	b.Run("put", func(b *testing.B) {
		for b.Loop() {
			digest, _, err := s.Put(context.Background(), next())
			if err != nil {
				b.Fatal(err)
			}
			digests = append(digests, digest)
		}
	})
	b.Run("bare put", func(b *testing.B) {
		for b.Loop() {
			r := next()
			if _, err := bucket.Put(context.Background(), "bare/"+string(rune('a'+n%26))+time.Now().Format("150405.000000000"), r, r.Size()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			other := Store{Dir: filepath.Join(b.TempDir(), "b", time.Now().Format("150405.000000000")), Shared: s.Shared}
			f, err := other.Open(context.Background(), digests[i%len(digests)])
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
	b.Run("bare get", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			if err := bucket.Get(context.Background(), digestKey(digests[i%len(digests)]), io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func digestKey(digest string) string { return key(contentsName, digest[len("sha256:"):]) }
