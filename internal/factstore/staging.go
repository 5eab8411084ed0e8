package factstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab/place"
	"quant/internal/objectstore"
)

// staging is where units of work stage their outputs, by run: a folder, or a bucket in
// which the files of a lake lie.
type staging interface {
	// shown names the outputs of a run to a person.
	shown(runID string) string
	// begin makes the folder of this machine in which a unit writes its files.
	// quant.Conflict: the run has staged some already.
	begin(ctx context.Context, runID string) (dir string, err error)
	// put makes a file that a unit has written in its folder last.
	put(ctx context.Context, runID, file string) error
	// seal makes the manifest, after all files.
	seal(ctx context.Context, runID string, doc []byte) error
	// manifest reads the manifest of a run. fs.ErrNotExist: there is none.
	manifest(ctx context.Context, runID string) ([]byte, error)
	// sealed are the runs that have a manifest.
	sealed(ctx context.Context) ([]string, error)
	// fetch returns where a file of a run lies on this machine, of at most so many bytes,
	// as long as the DB is open. What is in it is not verified. fs.ErrNotExist: it is
	// missing, or larger.
	fetch(ctx context.Context, runID, file string, most int64) (path string, err error)
	// discard removes what a unit that failed has staged; remove what was taken in.
	// What they cannot remove is garbage, which `quant gc` finds.
	discard(runID string)
	remove(runID string)
}

// staging is that of this Fact DB.
func (db *DB) staging() staging {
	switch {
	case db.lake == nil:
		return stagingFolder{place.OutputsBeside(db.path)}
	case db.lake.bucket != nil:
		return db.lake.bucket
	}
	return stagingFolder{place.OutputsWithin(filepath.Clean(db.lake.folder))}
}

// stagingFolder has a folder for each run.
type stagingFolder struct{ above string }

func (s stagingFolder) dir(runID string) string { return filepath.Join(s.above, runID) }

func (s stagingFolder) shown(runID string) string { return s.dir(runID) }

func (s stagingFolder) begin(_ context.Context, runID string) (string, error) {
	if err := durable.MakeFolder(s.above); err != nil {
		return "", storeError(err, "make the folder of staged outputs")
	}
	dir := s.dir(runID)
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return "", stagedAlready(dir)
	} else if err != nil {
		return "", storeError(err, "stage outputs")
	}
	return dir, nil
}

func stagedAlready(where string) error {
	return quant.Errorf(quant.Conflict, "stage outputs: %s exists already", where).WithHint("a run stages its outputs once; `quant gc` removes what nobody takes in")
}

func (s stagingFolder) put(_ context.Context, runID, file string) error {
	if err := durable.SyncFile(filepath.Join(s.dir(runID), file)); err != nil {
		return storeError(err, "stage outputs")
	}
	return nil
}

func (s stagingFolder) seal(_ context.Context, runID string, doc []byte) error {
	if err := durable.Create(filepath.Join(s.dir(runID), manifestFile), 0o600, durable.Bytes(doc)); err != nil {
		return storeError(err, "stage outputs")
	}
	if err := durable.SyncFolder(s.above); err != nil {
		return storeError(err, "stage outputs")
	}
	return nil
}

func (s stagingFolder) manifest(_ context.Context, runID string) ([]byte, error) {
	doc, err := readRegular(filepath.Join(s.dir(runID), manifestFile), longestManifest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = storeError(err, "read outputs")
	}
	return doc, err
}

func (s stagingFolder) sealed(context.Context) (runIDs []string, err error) {
	entries, err := os.ReadDir(s.above)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, storeError(err, "look for staged outputs")
	}
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(s.above, e.Name(), manifestFile)); err == nil {
			runIDs = append(runIDs, e.Name())
		}
	}
	return runIDs, nil
}

func (s stagingFolder) fetch(_ context.Context, runID, file string, most int64) (string, error) {
	path := filepath.Join(s.dir(runID), file)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return "", fs.ErrNotExist
	}
	return path, nil
}

func (s stagingFolder) discard(runID string) { s.remove(runID) }

func (s stagingFolder) remove(runID string) { _ = os.RemoveAll(s.dir(runID)) }

// removalPatience is how long is tried to remove outputs from a bucket.
const removalPatience = 30 * time.Second

// stagingBucket has objects below the id of each run. They are written by a unit in a
// folder of its machine, and read from one in which they are verified, so that the
// engine never reads what may change meanwhile. Safe for concurrent use.
type stagingBucket struct {
	bucket *objectstore.Bucket
	temp   string // above the folders of this machine

	mu     sync.Mutex
	copies string // the folder of both kinds; "": not made yet
}

func (s *stagingBucket) shown(runID string) string { return s.bucket.URL(runID) }

// here is the folder of a run on this machine, which goes when the DB is closed.
func (s *stagingBucket) here(runID string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies == "" {
		if err := os.MkdirAll(s.temp, 0o700); err != nil {
			return "", storeError(err, "make the folder for temporary files")
		}
		dir, _, err := durable.TemporaryFolder(s.temp, "outputs")
		if err != nil {
			return "", storeError(err, "make a folder for outputs")
		}
		s.copies = dir
	}
	dir := filepath.Join(s.copies, runID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", storeError(err, "make a folder for outputs")
	}
	return dir, nil
}

// close removes the folders of this machine.
func (s *stagingBucket) close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies != "" {
		_ = os.RemoveAll(s.copies)
		s.copies = ""
	}
}

func (s *stagingBucket) begin(ctx context.Context, runID string) (string, error) {
	if err := s.bucket.List(ctx, runID+"/", func(objectstore.Object) error { return stagedAlready(s.shown(runID)) }); err != nil {
		return "", err
	}
	return s.here(runID)
}

func (s *stagingBucket) put(ctx context.Context, runID, file string) error {
	dir, err := s.here(runID)
	if err != nil {
		return err
	}
	from := filepath.Join(dir, file)
	f, err := os.Open(from)
	if err != nil {
		return storeError(err, "stage outputs")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return storeError(err, "stage outputs")
	}
	if err := s.make(ctx, runID, file, f, info.Size()); err != nil {
		return err
	}
	_ = os.Remove(from)
	return nil
}

func (s *stagingBucket) seal(ctx context.Context, runID string, doc []byte) error {
	return s.make(ctx, runID, manifestFile, bytes.NewReader(doc), int64(len(doc)))
}

// make makes an object. One that is there is of this run, whose request was done without
// an answer; were it another, the digest in the manifest, or of it, would tell.
func (s *stagingBucket) make(ctx context.Context, runID, file string, content io.ReaderAt, size int64) error {
	_, err := s.bucket.Put(ctx, path.Join(runID, file), content, size)
	return err
}

func (s *stagingBucket) manifest(ctx context.Context, runID string) ([]byte, error) {
	doc := bounded{most: longestManifest}
	err := s.bucket.Get(ctx, path.Join(runID, manifestFile), &doc)
	if quant.CodeOf(err) == quant.NotFound {
		err = fs.ErrNotExist
	}
	return doc.held, err
}

func (s *stagingBucket) sealed(ctx context.Context) (runIDs []string, err error) {
	err = s.bucket.List(ctx, "", func(o objectstore.Object) error {
		if runID, file := path.Split(o.Key); file == manifestFile {
			runIDs = append(runIDs, path.Clean(runID))
		}
		return nil
	})
	return runIDs, err
}

func (s *stagingBucket) fetch(ctx context.Context, runID, file string, most int64) (string, error) {
	dir, err := s.here(runID)
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, file)
	if info, err := os.Lstat(to); err == nil && info.Size() == most {
		return to, nil // read before
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", storeError(err, "read outputs")
	}
	err = s.bucket.Get(ctx, path.Join(runID, file), &bounded{to: f, most: most})
	if closed := f.Close(); closed != nil && err == nil {
		err = storeError(closed, "read outputs")
	}
	switch {
	case err == nil:
		return to, nil
	case errors.Is(err, errTooLong), quant.CodeOf(err) == quant.NotFound:
		err = fs.ErrNotExist
	case quant.CodeOf(err) != quant.Store && ctx.Err() == nil:
		err = storeError(err, "read outputs")
	}
	_ = os.Remove(to)
	return "", err
}

func (s *stagingBucket) discard(runID string) {
	s.remove(runID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies != "" {
		_ = os.RemoveAll(filepath.Join(s.copies, runID))
	}
}

// remove takes the manifest first: without it nobody takes the rest for outputs.
func (s *stagingBucket) remove(runID string) {
	ctx, cancel := context.WithTimeout(context.Background(), removalPatience)
	defer cancel()
	_ = s.bucket.DeleteBelow(ctx, runID+"/", manifestFile)
}

// errTooLong says that more came than was to.
var errTooLong = errors.New("it is longer than was said")

// bounded takes so many bytes at most, into memory or into a file.
type bounded struct {
	to   io.Writer // nil: memory
	most int64
	held []byte
}

// Write is io.Writer's. errTooLong: there is no room for all of b.
func (w *bounded) Write(b []byte) (int, error) {
	if int64(len(b)) > w.most {
		return 0, errTooLong
	}
	w.most -= int64(len(b))
	if w.to != nil {
		return w.to.Write(b)
	}
	w.held = append(w.held, b...)
	return len(b), nil
}
