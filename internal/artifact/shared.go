package artifact

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
	"quant/internal/objectstore"
)

// Shared is what contents are that all machines of a lab share. Safe for concurrent use.
//
// In a bucket, a content is written once under its digest, after it was looked for, and
// never changed. Nobody there keeps a lock, so what removes and what writes find each other
// by objects: who is to use a content that is there already says so first (used/DIGEST,
// made anew), and then looks whether somebody is about to remove it (removing/DIGEST/...);
// who removes says so first, and then looks for the other. Each of two sees the other, or
// comes after it, because what a store has confirmed everybody sees.
type Shared struct {
	// Bucket has the contents; nil: the folder of the Store is seen by all machines, and
	// has them.
	Bucket *objectstore.Bucket
	// Lab tells one lab from another: contents of two do not lie in one place, because
	// each would remove the other's.
	Lab func(ctx context.Context) (string, error)
	// Now is the lab's clock.
	Now func() time.Time

	mu      sync.Mutex
	claimed bool
}

// The names in a bucket, and in a shared folder.
const (
	contentsName = "sha256"
	usedName     = "used"
	removingName = "removing"
	labName      = "lab"
)

const (
	// fresh is how young a content is that need not be said to be used: gc leaves what is
	// younger than an hour, and than the oldest open run.
	fresh = 30 * time.Second
	// removalTime is how long a removal may take from its announcement on; one that takes
	// longer removes nothing. After twice that an announcement is of a process that died.
	removalTime = 30 * time.Second
)

// SharedIn is the folder of contents in a folder that all machines see.
func SharedIn(folder string) string { return filepath.Join(folder, contentsName) }

func (s Store) inBucket() bool { return s.Shared != nil && s.Shared.Bucket != nil }

// inFolder: the folder is one of several machines and users.
func (s Store) inFolder() bool { return s.Shared != nil && s.Shared.Bucket == nil }

// Where names the place of a content to a person, wherever it lies.
func (s Store) Where(digest string) string {
	if s.inBucket() {
		if name, found := durable.DigestHex(digest); found {
			return s.Shared.Bucket.URL(key(contentsName, name))
		}
	}
	if at, err := s.Path(digest); err == nil {
		return at
	}
	return digest
}

// mode is that of a content's file.
func (s Store) mode() os.FileMode {
	if s.inFolder() {
		return 0o444
	}
	return 0o400
}

// makeFolder makes a folder of contents; in one of several users, as open as that is.
func (s Store) makeFolder(dir string) error {
	if !s.inFolder() {
		return durable.MakeFolder(dir)
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	root := filepath.Dir(s.Dir)
	info, err := os.Stat(root)
	if err != nil {
		return err // it is mounted, or made, by whoever runs the machines
	}
	for _, d := range []string{s.Dir, dir} {
		if err := os.Mkdir(d, 0o700); os.IsExist(err) {
			continue
		} else if err != nil {
			return err
		}
		if err := os.Chmod(d, info.Mode()&(os.ModePerm|os.ModeSetgid|os.ModeSticky)); err != nil {
			return err
		}
		if err := durable.SyncFolder(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// openLock opens the lock of the contents, in a folder of several users for all of them.
func (s Store) openLock(path string) (*durable.Lock, error) {
	if !s.inFolder() {
		return durable.OpenLock(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(filepath.Dir(path)); err == nil {
		_ = f.Chmod(info.Mode() & 0o666) // another's is as it should be
	}
	return durable.LockOn(f), nil
}

// claim writes down whose contents these are, or finds it written. Conflict: they are
// another lab's.
func (s Store) claim(ctx context.Context) error {
	if s.Shared == nil || s.Shared.Lab == nil {
		return nil
	}
	s.Shared.mu.Lock()
	defer s.Shared.mu.Unlock()
	if s.Shared.claimed {
		return nil
	}
	mine, err := s.Shared.Lab(ctx)
	if err != nil {
		return err
	}
	whose, where, err := s.owner(ctx, mine)
	if err != nil {
		return err
	}
	if whose != mine {
		return quant.Errorf(quant.Conflict, "%s has the artifacts of another lab (%s), not of this one (%s)", where, quant.Clip(whose, 80), mine).
			WithHint("give each lab a place of its own with QUANT_OBJECTS_URL; if this lab was brought back and it is its own, remove the object %q there", labName)
	}
	s.Shared.claimed = true
	return nil
}

// owner is who is written down as the owner of the contents: mine, if nobody was.
func (s Store) owner(ctx context.Context, mine string) (whose, where string, err error) {
	var text strings.Builder
	if s.inBucket() {
		b := s.Shared.Bucket
		where = b.URL("")
		err = b.Get(ctx, labName, &limited{&text, 1 << 10})
		if quant.CodeOf(err) == quant.NotFound {
			if _, err = b.Put(ctx, labName, strings.NewReader(mine), int64(len(mine))); err == nil {
				err = b.Get(ctx, labName, &limited{&text, 1 << 10})
			}
		}
		return text.String(), where, err
	}
	where = filepath.Dir(s.Dir)
	file := filepath.Join(where, labName)
	if _, err := os.Lstat(file); os.IsNotExist(err) {
		_ = durable.Create(file, 0o444, durable.Bytes([]byte(mine))) // or another did; what is read counts
	}
	f, err := os.Open(file)
	if err == nil {
		defer f.Close()
		_, err = io.Copy(&text, io.LimitReader(f, 1<<10))
	}
	if err != nil {
		return "", where, quant.Errorf(quant.Store, "the folder of the lab's artifacts: %w", err).WithHint("make the folder, or mount it, and make it writable for all who work in the lab")
	}
	return text.String(), where, nil
}

// limited takes in up to so many bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, quant.Errorf(quant.Refused, "the object %q is longer than %d bytes", labName, l.left)
	}
	l.left -= len(p)
	return l.w.Write(p)
}

// key is the name of an object about a content.
func key(kind, name string) string { return kind + "/" + name[:2] + "/" + name[2:] }

type sum [32]byte

// sumOf is a digest in few bytes; of no digest, zeros.
func sumOf(digest string) (s sum) {
	if name, found := durable.DigestHex(digest); found {
		_, _ = hex.Decode(s[:], []byte(name))
	}
	return s
}

// put writes a finished file into the bucket, unless its content is there: then it is
// said to be used.
func (sh *Shared) put(ctx context.Context, f *durable.File, digest string, size int64) error {
	content, err := os.Open(f.Name())
	if err != nil {
		return quant.Errorf(quant.Store, "read %s again: %w", f.Name(), err)
	}
	defer content.Close()
	name, _ := durable.DigestHex(digest)
	for begun := time.Now(); ; {
		if err := sh.have(ctx, name, content, size, 3); err != nil {
			return err
		}
		removing, err := sh.beingRemoved(ctx, name)
		if err != nil || !removing {
			return err
		}
		if time.Since(begun) > patience()+2*removalTime {
			return quant.Errorf(quant.Locked, "%s is being removed by another process, still after %v", sh.Bucket.URL(key(contentsName, name)), time.Since(begun).Round(time.Second)).
				WithHint("try again when its gc has finished")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// have sees to it that a content is in the bucket, and young. It may come and go meanwhile,
// so many times.
func (sh *Shared) have(ctx context.Context, name string, content io.ReaderAt, size int64, times int) error {
	object, err := sh.Bucket.Stat(ctx, key(contentsName, name))
	if quant.CodeOf(err) == quant.NotFound {
		made, err := sh.Bucket.Put(ctx, key(contentsName, name), content, size)
		if err != nil || made {
			return err
		}
		if times > 1 {
			return sh.have(ctx, name, content, size, times-1) // another made it meanwhile
		}
		return quant.Errorf(quant.Store, "the store says of the object %s that it is there, and that it is not", sh.Bucket.URL(key(contentsName, name))).
			WithHint("try again; if it stays so, look at the object with the store's own means")
	}
	if err != nil {
		return err
	}
	if object.Bytes != size {
		return quant.Errorf(quant.Refused, "the object %s has %d bytes, not %d: it was changed since it was stored", sh.Bucket.URL(object.Key), object.Bytes, size).
			WithHint("remove it, and log the artifact again")
	}
	now, err := sh.Bucket.Now(ctx)
	if err != nil {
		return err
	}
	if now.Sub(object.Written) < fresh {
		return nil
	}
	return sh.Bucket.Touch(ctx, key(usedName, name))
}

// beingRemoved reports whether somebody is about to remove a content. An announcement
// whose process died is taken away.
func (sh *Shared) beingRemoved(ctx context.Context, name string) (removing bool, err error) {
	var all []objectstore.Object
	err = sh.Bucket.List(ctx, key(removingName, name)+"/", func(o objectstore.Object) error {
		all = append(all, o)
		return nil
	})
	if err != nil || len(all) == 0 {
		return false, err
	}
	now, err := sh.Bucket.Now(ctx)
	if err != nil {
		return false, err
	}
	for _, o := range all {
		if now.Sub(o.Written) < 2*removalTime {
			continue
		}
		if err := sh.Bucket.DeleteOwn(ctx, o.Key); err != nil {
			return false, err
		}
	}
	return true, nil // what is there is looked at again
}

// RemoveObject removes an object of the bucket that was last written and used before a
// time of the lab's clock, unless used says that it is in use; gone tells whether it did.
// Errors: Store, ctx's cause, used's; Conflict if the contents are another lab's.
func (s Store) RemoveObject(ctx context.Context, c Content, before time.Time, used func() (bool, error)) (gone bool, err error) {
	name, found := durable.DigestHex(c.Digest)
	if !found || !s.inBucket() {
		return false, quant.Errorf(quant.Invalid, "%q is no object of the lab", c.Path)
	}
	if err := s.claim(ctx); err != nil {
		return false, err
	}
	b := s.Shared.Bucket
	behind, err := s.Shared.behind(ctx)
	if err != nil {
		return false, err
	}
	announced := time.Now()
	announcement := path.Join(key(removingName, name), fmt.Sprintf("%016x", rand.Uint64()))
	if err := b.Touch(ctx, announcement); err != nil {
		return false, err
	}
	defer func() {
		if e := b.DeleteOwn(context.WithoutCancel(ctx), announcement); err == nil {
			err = e
		}
	}()
	for _, k := range []string{key(contentsName, name), key(usedName, name)} {
		o, err := b.Stat(ctx, k)
		if quant.CodeOf(err) == quant.NotFound {
			continue
		}
		if err != nil || !o.Written.Add(behind).Before(before) {
			return false, err
		}
	}
	if used, err := used(); used || err != nil {
		return false, err
	}
	if time.Since(announced) > removalTime {
		return false, nil // those who wait for it may have given it up
	}
	if err := b.Delete(ctx, key(contentsName, name)); err != nil {
		return false, err
	}
	_ = b.Delete(ctx, key(usedName, name)) // it says nothing of a content that is gone
	return true, nil
}

// behind is what the clock of the bucket is behind the lab's.
func (sh *Shared) behind(ctx context.Context) (time.Duration, error) {
	there, err := sh.Bucket.Now(ctx)
	if err != nil {
		return 0, err
	}
	return sh.Now().Sub(there), nil
}

// each calls fn for every object that is a content.
func (sh *Shared) each(ctx context.Context, fn func(Content) error) error {
	behind, err := sh.behind(ctx)
	if err != nil {
		return err
	}
	used := map[sum]time.Time{}
	err = sh.Bucket.List(ctx, usedName+"/", func(o objectstore.Object) error {
		used[sumOf(digestOf(usedName, o.Key))] = o.Written
		return nil
	})
	if err != nil {
		return err
	}
	return sh.Bucket.List(ctx, contentsName+"/", func(o objectstore.Object) error {
		digest := digestOf(contentsName, o.Key)
		if digest == "" {
			return nil
		}
		written := o.Written
		if again := used[sumOf(digest)]; again.After(written) {
			written = again
		}
		return fn(Content{Digest: digest, Path: sh.Bucket.URL(o.Key), Bytes: o.Bytes, Written: written.Add(behind), Object: true})
	})
}

// digestOf is the digest in the key of an object; "": it is no content.
func digestOf(kind, object string) string {
	digest := durable.DigestPrefix + strings.ReplaceAll(strings.TrimPrefix(object, kind+"/"), "/", "")
	if name, found := durable.DigestHex(digest); found && key(kind, name) == object {
		return digest
	}
	return ""
}

// RemoveUnfinished ends what writers into the bucket that died before a time of the lab's
// clock had sent in part, and says how many they were. Errors: Store, ctx's cause.
func (s Store) RemoveUnfinished(ctx context.Context, before time.Time) (int, error) {
	if !s.inBucket() {
		return 0, nil
	}
	behind, err := s.Shared.behind(ctx)
	if err != nil {
		return 0, err
	}
	return s.Shared.Bucket.RemoveUnfinished(ctx, contentsName+"/", before.Add(-behind))
}

// fetch reads an object into the folder, verified, and opens it. Where the folder cannot
// be written it is read into a file without a name.
func (s Store) fetch(ctx context.Context, digest string) (*os.File, error) {
	name, _ := durable.DigestHex(digest)
	if durable.MakeFolder(s.Dir) == nil {
		if f, err := durable.Begin(filepath.Join(s.Dir, "artifact"), s.mode()); err == nil {
			defer f.Discard()
			if err := s.Shared.get(ctx, digest, name, f); err != nil {
				return nil, err
			}
			if file, err := s.keepCopy(ctx, f, digest); err == nil {
				return file, nil
			}
		}
	}
	f, err := durable.Nameless("")
	if err != nil {
		return nil, quant.Errorf(quant.Store, "make a file to read an artifact into: %w", err).WithHint("make room in the folder for temporary files")
	}
	if err := s.Shared.get(ctx, digest, name, f); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, quant.Errorf(quant.Store, "read an artifact: %w", err)
	}
	return f, nil
}

// keepCopy gives a verified copy its place, and opens it.
func (s Store) keepCopy(ctx context.Context, f *durable.File, digest string) (*os.File, error) {
	at, err := s.Path(digest)
	if err != nil {
		return nil, err
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.place(f, at); err != nil {
		return nil, err
	}
	return os.Open(at)
}

// get writes a content to w. NotFound: it is not in the bucket. Refused: what is there
// is not what was stored.
func (sh *Shared) get(ctx context.Context, digest, name string, w io.Writer) error {
	sum := durable.NewSum()
	err := sh.Bucket.Get(ctx, key(contentsName, name), io.MultiWriter(sum, w))
	switch {
	case quant.CodeOf(err) == quant.NotFound:
		return quant.Errorf(quant.NotFound, "the content %s is not in %s", digest, sh.Bucket.URL("")).
			WithHint("was it logged before QUANT_OBJECTS_URL was set? then it is on the machine that logged it, and `quant doctor --fix` puts it there")
	case err != nil:
		return err
	case sum.Digest() != digest:
		return quant.Errorf(quant.Refused, "the object %s was changed since it was stored: it holds %s", sh.Bucket.URL(key(contentsName, name)), sum.Digest()).
			WithHint("remove it and log the artifact again, or bring it back from a version of the bucket")
	}
	return nil
}

func (sh *Shared) verify(ctx context.Context, digest string) error {
	name, found := durable.DigestHex(digest)
	if !found {
		return quant.Errorf(quant.Invalid, "%q is no digest of an artifact", digest)
	}
	return sh.get(ctx, digest, name, io.Discard)
}

// Upload puts a content that is on this machine alone into the bucket; done tells whether
// it was one. Errors: those of Put.
func (s Store) Upload(ctx context.Context, digest string) (done bool, err error) {
	if !s.inBucket() {
		return false, nil
	}
	f, err := s.openHere(digest)
	if quant.CodeOf(err) == quant.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	stored, _, err := s.Put(ctx, f)
	return stored == digest, err
}
