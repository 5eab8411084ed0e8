// Package objectstore reads and writes objects below a prefix of a bucket of an
// S3-compatible store. Objects are made once and not changed; how they are named, and
// what they hold, is the caller's. Contents stream: none is held in memory.
//
// What a store or a network refuses for now (no connection, a connection cut, nothing
// moving, statuses of 500 and more, "slow down") is tried again with growing pauses until
// the bound of Options; what no repetition mends is an error at once.
package objectstore

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"quant"
	"quant/internal/lab/place"
)

// Options say which objects, and who asks.
type Options struct {
	At    place.S3
	Cloud place.Cloud
	// Know is told the secrets of the credentials that are used, so that they are masked;
	// nil: nobody is.
	Know func(values ...string)
	// Patience is how long a request is repeated that the store does not serve; 0: a
	// minute. Stall is after how long without a byte it counts as not served; 0: 30 s.
	Patience, Stall time.Duration
}

const (
	standardPatience = time.Minute
	standardStall    = 30 * time.Second

	// partSize is how much of a content one request takes: one that is larger is sent in
	// parts, of which few go at once.
	partSize    = 64 << 20
	partsAtOnce = 3
)

// Bucket is what lies below the prefix. Safe for concurrent use. It connects when it is
// first asked.
type Bucket struct {
	o Options

	opening sync.Mutex
	client  *minio.Core // nil: not yet
	sender  *minio.Core // of contents in parts: it sends a part again, and not all of them
	keys    *keyring
	skew    atomic.Int64 // the store's clock less this machine's, in nanoseconds
	asked   atomic.Bool  // skew is known
}

// New names a bucket; it touches nothing.
func New(o Options) *Bucket {
	if o.Patience == 0 {
		o.Patience = standardPatience
	}
	if o.Stall == 0 {
		o.Stall = standardStall
	}
	return &Bucket{o: o}
}

// URL names an object to a person; "" names the bucket and the prefix.
func (b *Bucket) URL(key string) string { return b.o.At.URL() + key }

// Object is what a store says of one object.
type Object struct {
	Key     string // below the prefix
	Bytes   int64
	Written time.Time // by the store's clock
	Mark    string    // the store's, of this content: another one has another
}

// Stat says what there is of an object. NotFound: there is none. Other errors: Store,
// ctx's cause.
func (b *Bucket) Stat(ctx context.Context, key string) (o Object, err error) {
	err = b.try(ctx, "look at", key, func(ctx context.Context, c *minio.Core, _ func()) error {
		info, err := c.StatObject(ctx, b.o.At.Bucket, b.o.At.Prefix+key, minio.StatObjectOptions{})
		o = Object{Key: key, Bytes: info.Size, Written: info.LastModified, Mark: info.ETag}
		return err
	})
	return o, err
}

// Put makes an object of a content unless there is one of that key, which then stays as
// it is; made tells which. Errors: Store, ctx's cause.
func (b *Bucket) Put(ctx context.Context, key string, content io.ReaderAt, size int64) (made bool, err error) {
	sender := func(c *minio.Core) *minio.Core { return c }
	if size > partSize {
		// Not every store heeds the condition at the end of an upload in parts.
		if _, err := b.Stat(ctx, key); quant.CodeOf(err) != quant.NotFound {
			return false, err
		}
		sender = func(*minio.Core) *minio.Core { return b.sender }
	}
	unconditional := false
	err = b.try(ctx, "write", key, func(ctx context.Context, c *minio.Core, moved func()) error {
		o := minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: partSize, NumThreads: partsAtOnce}
		if !unconditional {
			o.SetMatchETagExcept("*")
		}
		body := &moving{io.NewSectionReader(content, 0, size), moved}
		_, err := sender(c).Client.PutObject(ctx, b.o.At.Bucket, b.o.At.Prefix+key, body, size, o)
		if err != nil && !unconditional && notImplemented(err) {
			// A store that knows no conditions: its objects are looked at before they are
			// made, and two who make one at once make the same.
			unconditional = true
			return errAgain
		}
		made = err == nil
		if is(err, http.StatusPreconditionFailed) {
			return nil
		}
		return err
	})
	return made && err == nil, err
}

// Touch makes an empty object, or one anew. Errors: those of Put.
func (b *Bucket) Touch(ctx context.Context, key string) error {
	return b.try(ctx, "write", key, func(ctx context.Context, c *minio.Core, _ func()) error {
		_, err := c.Client.PutObject(ctx, b.o.At.Bucket, b.o.At.Prefix+key, strings.NewReader(""), 0, minio.PutObjectOptions{})
		return err
	})
}

// Get writes the content of an object to w. A connection that is cut is taken up where
// it ended. What comes is not verified. Errors: NotFound, Store, ctx's cause, and w's as
// they are.
func (b *Bucket) Get(ctx context.Context, key string, w io.Writer) error {
	return b.get(ctx, Object{Key: key}, 0, -1, w)
}

// GetPart is Get of length bytes of o from offset on, as Stat has found it: Store if the
// object has another mark by now.
func (b *Bucket) GetPart(ctx context.Context, o Object, offset, length int64, w io.Writer) error {
	return b.get(ctx, o, offset, length, w)
}

// get is Get of length bytes from offset on; -1: all of them.
func (b *Bucket) get(ctx context.Context, from Object, offset, length int64, w io.Writer) error {
	out := &writing{w: w}
	err := b.try(ctx, "read", from.Key, func(ctx context.Context, c *minio.Core, moved func()) error {
		var o minio.GetObjectOptions
		if from.Mark != "" {
			if err := o.SetMatchETag(from.Mark); err != nil {
				return err
			}
		}
		end := int64(0) // to the end
		if length >= 0 {
			end = offset + length - 1
			if out.n >= length {
				return nil
			}
		}
		if offset+out.n > 0 || length >= 0 {
			if err := o.SetRange(offset+out.n, end); err != nil {
				return err
			}
		}
		body, info, _, err := c.GetObject(ctx, b.o.At.Bucket, b.o.At.Prefix+from.Key, o)
		if err != nil {
			if out.n > 0 && is(err, http.StatusRequestedRangeNotSatisfiable) {
				return nil // all of it had come
			}
			return err
		}
		defer body.Close()
		was := out.n
		_, err = io.Copy(out, &moving{body, moved})
		if err == nil && (out.n-was < info.Size || out.n < length) {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	if out.err != nil {
		return out.err
	}
	return err
}

// List calls fn for every object whose key begins with prefix, in the order of keys.
// Errors: Store, ctx's cause, fn's.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(Object) error) error {
	const page = 1000
	for after := ""; ; {
		var found []Object
		err := b.try(ctx, "list", prefix, func(ctx context.Context, c *minio.Core, moved func()) error {
			found = found[:0]
			for o := range c.ListObjectsIter(ctx, b.o.At.Bucket, minio.ListObjectsOptions{Prefix: b.o.At.Prefix + prefix, Recursive: true, StartAfter: after, MaxKeys: page}) {
				if o.Err != nil {
					return o.Err
				}
				moved()
				found = append(found, Object{Key: o.Key, Bytes: o.Size, Written: o.LastModified})
				if len(found) == page {
					break
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, o := range found {
			after = o.Key
			key, below := strings.CutPrefix(o.Key, b.o.At.Prefix)
			if !below {
				continue
			}
			o.Key = key
			if err := fn(o); err != nil {
				return err
			}
		}
		if len(found) < page {
			return nil
		}
	}
}

// Delete removes an object. It is asked for once: a request that is repeated might remove
// what another has made anew meanwhile. One that is not there is no error. Errors: Store,
// ctx's cause.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.once(ctx, "remove", key, b.remove(key))
}

// DeleteOwn is Delete of an object that nobody else makes: it is asked for until it is
// done.
func (b *Bucket) DeleteOwn(ctx context.Context, key string) error {
	return b.try(ctx, "remove", key, b.remove(key))
}

// DeleteBelow removes all objects whose keys begin with prefix, which nobody makes any
// more: first the one of prefix and first, then the others. Errors: Store, ctx's cause.
func (b *Bucket) DeleteBelow(ctx context.Context, prefix, first string) error {
	if err := b.DeleteOwn(ctx, prefix+first); err != nil {
		return err
	}
	return b.List(ctx, prefix, func(o Object) error { return b.DeleteOwn(ctx, o.Key) })
}

func (b *Bucket) remove(key string) request {
	return func(ctx context.Context, c *minio.Core, _ func()) error {
		return c.RemoveObject(ctx, b.o.At.Bucket, b.o.At.Prefix+key, minio.RemoveObjectOptions{})
	}
}

// RemoveUnfinished ends uploads in parts below prefix that were begun before a time of
// the store's clock: their writers died. Errors: Store, ctx's cause.
func (b *Bucket) RemoveUnfinished(ctx context.Context, prefix string, before time.Time) (n int, err error) {
	err = b.try(ctx, "list the uploads of", prefix, func(ctx context.Context, c *minio.Core, _ func()) error {
		for u := range c.ListIncompleteUploads(ctx, b.o.At.Bucket, b.o.At.Prefix+prefix, true) {
			if u.Err != nil {
				return u.Err
			}
			if !u.Initiated.Before(before) {
				continue
			}
			if err := c.AbortMultipartUpload(ctx, b.o.At.Bucket, u.Key, u.UploadID); err != nil && !is(err, http.StatusNotFound) {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// Now is the time by the store's clock, to the second. Errors: those of Stat.
func (b *Bucket) Now(ctx context.Context) (time.Time, error) {
	if !b.asked.Load() {
		if _, err := b.Stat(ctx, "clock"); err != nil && quant.CodeOf(err) != quant.NotFound {
			return time.Time{}, err
		}
	}
	return time.Now().Add(time.Duration(b.skew.Load())), nil
}

// moving tells of each piece that passes.
type moving struct {
	io.Reader
	moved func()
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n > 0 {
		m.moved()
	}
	return n, err
}

// ReadAt and Seek let a content be sent in parts, and again, where it can be.
func (m *moving) ReadAt(p []byte, off int64) (int, error) {
	at, can := m.Reader.(io.ReaderAt)
	if !can {
		return 0, io.ErrClosedPipe
	}
	n, err := at.ReadAt(p, off)
	if n > 0 {
		m.moved()
	}
	return n, err
}

// Seek is io.Seeker's.
func (m *moving) Seek(offset int64, whence int) (int64, error) {
	to, can := m.Reader.(io.Seeker)
	if !can {
		return 0, io.ErrClosedPipe
	}
	return to.Seek(offset, whence)
}

// writing counts what was written, and keeps its own error apart.
type writing struct {
	w   io.Writer
	n   int64
	err error
}

func (w *writing) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	if err != nil {
		w.err = err
	}
	return n, err
}
