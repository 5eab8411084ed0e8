// Package artifact keeps the contents of artifacts: files named by the digest
// of what they hold, written whole or not at all, verified when they are read.
// Which run has which artifact, and under what name, is the Meta DB's.
//
// The contents of a lab lie in a folder of its machine, or where all machines of a
// team's lab see them (Shared): in a folder, or in a bucket of an object store. Before a
// bucket the folder of each machine holds copies, of what was written and read there.
package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
)

// oldTemporary is how the name of a temporary file began before they had one
// form; gc still finds them.
const oldTemporary = ".new-"

// Store is a folder of contents: ab/cdef... for sha256:abcdef.... Safe for
// concurrent use, also by several processes, and with Shared by several machines.
type Store struct {
	Dir string
	// Shared says that machines share the contents; nil: they are this one's.
	Shared *Shared
}

// Put stores what r gives until its end and returns its digest and size. The
// content is durable when Put returns; one that is there already is left as it
// is, but for its time, which becomes the present, unless it was damaged: then
// it is written anew. After an error nothing is kept. Errors: ctx's cause, Store
// when the folder cannot be written (also when the disk is full), Locked when
// contents are being removed for longer than a process waits, else what r gave.
func (s Store) Put(ctx context.Context, r io.Reader) (digest string, size int64, err error) {
	if err := s.claim(ctx); err != nil {
		return "", 0, err
	}
	if err := s.makeFolder(s.Dir); err != nil {
		return "", 0, s.failed(err)
	}
	f, err := durable.Begin(filepath.Join(s.Dir, "artifact"), s.mode())
	if err != nil {
		return "", 0, s.failed(err)
	}
	defer f.Discard()
	sum := durable.NewSum()
	in := &source{ctx: ctx, r: r}
	_, err = io.Copy(io.MultiWriter(sum, f), in)
	switch {
	case in.err != nil:
		return "", 0, in.err
	case err != nil:
		return "", 0, s.failed(err)
	}
	digest, size = sum.Digest(), sum.Size()
	path, err := s.Path(digest)
	if err != nil {
		return "", 0, err
	}
	if s.inBucket() {
		if err := s.Shared.put(ctx, f, digest, size); err != nil {
			return "", 0, err
		}
	}
	// From here on nobody removes what is found, and it is found young.
	release, err := s.Hold(ctx)
	if err != nil {
		return "", 0, err
	}
	defer release()
	if s.verifyHere(digest) == nil {
		if unix.Utimes(path, nil) == nil { // now, by the clock of the file system
			return digest, size, nil
		}
	}
	if err := s.place(f, path); err != nil {
		return "", 0, s.failed(err)
	}
	return digest, size, nil
}

// place gives a finished file its place, durably. It must run while s is held:
// gc takes away folders that have become empty.
func (s Store) place(f *durable.File, path string) error {
	if err := s.makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := f.SetPath(path); err != nil {
		return err
	}
	if err := f.Replace(); err != nil {
		return err
	}
	// The folder of path may be new, if by the doing of another process.
	return durable.SyncFolder(s.Dir)
}

// source reads until ctx ends, and keeps apart what went wrong with reading.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (s Store) failed(err error) error {
	return quant.Errorf(quant.Store, "store an artifact in %s: %w", s.Dir, err).WithHint("make room, or make the folder writable; nothing was stored")
}

// Path returns where on this machine the content with this digest stands, or would.
// Invalid: it is no digest.
func (s Store) Path(digest string) (string, error) {
	name, found := durable.DigestHex(digest)
	if !found {
		return "", quant.Errorf(quant.Invalid, "%q is no digest of an artifact", digest)
	}
	return filepath.Join(s.Dir, name[:2], name[2:]), nil
}

// Open verifies a content and returns it open at its beginning; one that lies in a bucket
// is read into the folder first, unless it is there. Errors: NotFound if there is none,
// Refused if it is not what was stored, Invalid for what is no digest, Store if it cannot
// be read, ctx's cause.
func (s Store) Open(ctx context.Context, digest string) (*os.File, error) {
	f, err := s.openHere(digest)
	if !s.inBucket() {
		return f, err
	}
	if err == nil {
		path, _ := s.Path(digest)
		_ = unix.Utimes(path, nil) // gc takes copies away that nobody reads
		return f, nil
	}
	if quant.CodeOf(err) == quant.Invalid {
		return nil, err
	}
	return s.fetch(ctx, digest)
}

func (s Store) openHere(digest string) (*os.File, error) {
	path, err := s.Path(digest)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe in its place would wait for a writer
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "the content %s is not in %s", digest, s.Dir).
			WithHint("was the folder moved or emptied? a backup or another lab's export may have it")
	}
	if err != nil {
		return nil, quant.Errorf(quant.Store, "open an artifact: %w", err).WithHint("make it readable")
	}
	if err := verify(f, digest); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func verify(f *os.File, digest string) error {
	info, err := f.Stat()
	if err != nil {
		return quant.Errorf(quant.Store, "read an artifact: %w", err)
	}
	if !info.Mode().IsRegular() {
		return quant.Errorf(quant.Refused, "the content %s (%s) is no regular file", digest, f.Name())
	}
	sum := durable.NewSum()
	if _, err := io.Copy(sum, f); err != nil {
		return quant.Errorf(quant.Store, "read an artifact: %w", err)
	}
	if sum.Digest() != digest {
		return quant.Errorf(quant.Refused, "the content %s (%s) was changed since it was stored", digest, f.Name()).
			WithHint("log the artifact again, or bring the file back from a backup")
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// Verify reads a content where it lies and returns the error that Open would.
func (s Store) Verify(ctx context.Context, digest string) error {
	if s.inBucket() {
		return s.Shared.verify(ctx, digest)
	}
	return s.verifyHere(digest)
}

func (s Store) verifyHere(digest string) error {
	f, err := s.openHere(digest)
	if err != nil {
		return err
	}
	return f.Close()
}

// Content is one file of the folder, or one object of the bucket.
type Content struct {
	Digest  string // "" for what a writer that died left behind
	Path    string // of an object its URL
	Bytes   int64
	Written time.Time // or used again, by the clock of the lab
	// Object: it is one of the bucket. Copy: it is a file, and the bucket has it too.
	Object, Copy bool
}

// Each calls fn for every content, in the order of digests, after what dead
// writers may have left; files that are neither are passed over. Objects of a bucket come
// before the files. It reads no content. The first error of fn, or ctx's cause, ends it.
func (s Store) Each(ctx context.Context, fn func(Content) error) error {
	if !s.inBucket() {
		return s.each(ctx, fn)
	}
	there := map[sum]struct{}{}
	err := s.Shared.each(ctx, func(c Content) error {
		there[sumOf(c.Digest)] = struct{}{}
		return fn(c)
	})
	if err != nil {
		return err
	}
	return s.each(ctx, func(c Content) error {
		if c.Digest != "" {
			_, c.Copy = there[sumOf(c.Digest)]
		}
		return fn(c)
	})
}

func (s Store) each(ctx context.Context, fn func(Content) error) error {
	err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile, or there never was a folder
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(s.Dir, path)
		if err != nil {
			return err
		}
		digest := durable.DigestPrefix + strings.ReplaceAll(filepath.ToSlash(rel), "/", "")
		at, err := s.Path(digest)
		switch {
		case err == nil && at == path:
		case durable.IsTemporary(rel), strings.HasPrefix(rel, oldTemporary):
			digest = ""
		default:
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		return fn(Content{Digest: digest, Path: path, Bytes: info.Size(), Written: info.ModTime()})
	})
	if err != nil && quant.CodeOf(err) == quant.Failed && ctx.Err() == nil {
		return quant.Errorf(quant.Store, "read the folder of artifacts: %w", err)
	}
	return err
}
