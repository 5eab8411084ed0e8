package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/artifact"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Parts is where the parts of a lab stand, and how its databases are opened.
type Parts struct {
	MetaFile  string // links resolved
	FactFile  string
	Artifacts artifact.Store
	LogDir    string
	ModelDir  string
	RunDir    string // what a run keeps in a folder of its own: plans
	// Facts runs fn with the Fact DB open for reading; nobody can write meanwhile.
	Facts func(ctx context.Context, fn func(*factstore.DB) error) error
	// OpenMeta opens another Meta DB.
	OpenMeta func(ctx context.Context, path string) (metastore.Store, error)
}

// Write writes the whole lab to w, in a consistent state, while others may
// work: nobody can commit facts between the copy of one database and that of
// the other, and no artifact goes meanwhile. scratch is a folder with room for a
// copy of the Meta DB. Errors: Locked if the Fact DB is written to for too long;
// Store if something cannot be read or written.
func Write(ctx context.Context, lab Parts, meta metastore.Store, w io.Writer, scratch string, m Manifest, now func() time.Time) (Manifest, error) {
	file, err := metastore.AsFile(meta)
	if err != nil {
		return m, err
	}
	release, err := lab.Artifacts.Hold(ctx)
	if err != nil {
		return m, err
	}
	defer release()
	b := &backup{Parts: lab, ctx: ctx, out: newWriter(w), scratch: scratch}
	b.out.manifest.RunID, b.out.manifest.Quant = m.RunID, m.Quant
	copied := filepath.Join(scratch, "meta.db")
	state := func() error {
		if err := file.Backup(ctx, copied); err != nil {
			return err
		}
		b.out.manifest.TakenAt = quant.NewTime(now())
		return nil
	}
	if err := b.databases(state, copied); err != nil {
		return m, b.failed(err)
	}
	if err := b.rest(copied); err != nil {
		return m, b.failed(err)
	}
	return b.out.manifest, b.failed(b.out.close())
}

type backup struct {
	Parts
	ctx     context.Context
	out     *writer
	scratch string
}

func (b *backup) failed(err error) error {
	if err == nil || quant.CodeOf(err) != quant.Failed {
		return err
	}
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	return quant.Errorf(quant.Store, "write the backup: %w", err).WithHint("make room, or name another place; nothing was changed")
}

// databases copies both, the Meta DB while nobody can commit facts.
func (b *backup) databases(state func() error, copied string) error {
	for {
		if _, err := os.Stat(b.FactFile); err == nil {
			break
		}
		if err := state(); err != nil {
			return err
		}
		if _, err := os.Stat(b.FactFile); err != nil {
			return b.file(metaMember, copied)
		}
		_ = os.Remove(copied) // it was made meanwhile: once more, with it
	}
	err := b.Facts(b.ctx, func(db *factstore.DB) error {
		err := db.Files(func(suffix string, size int64, r io.Reader) error {
			_, err := b.out.add(b.ctx, factsMember+suffix, size, r)
			return err
		})
		if err != nil {
			return err
		}
		return state()
	})
	if err != nil {
		return err
	}
	return b.file(metaMember, copied)
}

// file adds a file that does not change any more. Errors of fs.ErrNotExist and
// of what is no regular file leave the backup as it is.
func (b *backup) file(name, path string) error {
	f, size, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = b.out.add(b.ctx, name, size, f)
	return err
}

var errNotRegular = errors.New("not a regular file")

// openRegular opens a plain file, through no link.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		err = errNotRegular
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

var modelFile = regexp.MustCompile(`^[0-9a-f]{64}\.json$`)

// rest copies what stands beside the databases, as the copied Meta DB knows it.
func (b *backup) rest(copied string) error {
	meta, err := b.OpenMeta(b.ctx, copied)
	if err != nil {
		return err
	}
	defer func() { _ = meta.Close() }()
	stored, err := meta.StoredArtifacts(b.ctx)
	if err != nil {
		return err
	}
	for _, a := range stored {
		if err := b.artifact(a); err != nil {
			return err
		}
	}
	printed, err := lab.Entries(b.LogDir)
	if err != nil {
		return err
	}
	for _, e := range printed {
		if len(e.Name()) < 36 || !memberName.MatchString(logs+e.Name()) {
			continue
		}
		if _, err := meta.GetRun(b.ctx, e.Name()[:36]); errors.Is(err, quant.NotFound) {
			continue
		} else if err != nil {
			return err
		}
		if err := b.log(e.Name()); err != nil {
			return err
		}
	}
	if err := b.runFiles(meta); err != nil {
		return err
	}
	trained, err := lab.Entries(b.ModelDir)
	if err != nil {
		return err
	}
	for _, e := range trained {
		if !modelFile.MatchString(e.Name()) {
			continue
		}
		if err := b.file(models+e.Name(), filepath.Join(b.ModelDir, e.Name())); err != nil && !skippable(err) {
			return err
		}
	}
	return nil
}

// runFiles copies what the runs that the copied Meta DB knows keep in folders.
func (b *backup) runFiles(meta metastore.Store) error {
	folders, err := lab.Entries(b.RunDir)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() || !registry.IsRunID(folder.Name()) {
			continue
		}
		if _, err := meta.GetRun(b.ctx, folder.Name()); errors.Is(err, quant.NotFound) {
			continue
		} else if err != nil {
			return err
		}
		files, err := lab.Entries(filepath.Join(b.RunDir, folder.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			name := runFiles + folder.Name() + "/" + f.Name()
			if !memberName.MatchString(name) {
				continue
			}
			if err := b.file(name, filepath.Join(b.RunDir, folder.Name(), f.Name())); err != nil && !skippable(err) {
				return err
			}
		}
	}
	return nil
}

func skippable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotRegular)
}

func (b *backup) artifact(a quant.Artifact) error {
	path, err := b.Artifacts.Path(a.Digest)
	if err != nil {
		return err
	}
	f, size, err := openRegular(path)
	if skippable(err) {
		b.out.manifest.Missing = append(b.out.manifest.Missing, a.Digest)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	digest, err := b.out.add(b.ctx, artifacts+strings.TrimPrefix(a.Digest, durable.DigestPrefix), size, f)
	if err == nil && digest != a.Digest {
		b.out.manifest.Missing = append(b.out.manifest.Missing, a.Digest)
	}
	return err
}

// log copies what a program printed, which may be growing: first to a place
// where it does not.
func (b *backup) log(name string) error {
	f, _, err := openRegular(filepath.Join(b.LogDir, name))
	if skippable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	still, err := durable.TemporaryFile(b.scratch, "log")
	if err != nil {
		return err
	}
	defer os.Remove(still.Name())
	defer still.Close()
	size, err := io.Copy(still, ending{b.ctx, f})
	if err == nil {
		_, err = still.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	_, err = b.out.add(b.ctx, logs+name, size, still)
	return err
}

// Room estimates the bytes of a backup from what stands there.
func (l Parts) Room() int64 {
	total := int64(1 << 20)
	for _, path := range []string{l.MetaFile, l.MetaFile + "-wal", l.MetaFile, l.FactFile, l.FactFile + ".wal", l.Artifacts.Dir, l.LogDir, l.ModelDir, l.RunDir} {
		_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // it may have gone
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				total += info.Size() + 1024
			}
			return nil
		})
	}
	return total
}

// CheckRoom refuses, as Store, what does not fit beside dir.
func CheckRoom(dir string, bytes int64) error {
	var space unix.Statfs_t
	if err := unix.Statfs(dir, &space); err != nil {
		return nil // the writing will tell
	}
	if free := int64(space.Bavail) * int64(space.Bsize); free < bytes {
		return quant.Errorf(quant.Store, "%s has room for %d MiB, and this takes about %d MiB", dir, free>>20, bytes>>20).
			WithHint("make room, or name another place; nothing was changed")
	}
	return nil
}
