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
	"sync"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/artifact"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
)

// Backup is a backup of a lab and what is in it.
type Backup struct {
	Manifest
	Bytes int64         // of the file
	IO    []quant.RunIO // what was read or written; filled in as far as it got
}

// CreateOptions say how a backup is taken.
type CreateOptions struct {
	Force   bool      // replace what stands at the path
	Stdout  io.Writer // where the path - leads
	Program string    // the version of the program, for the manifest
}

// parts are where the parts of a lab stand, and how its databases are opened.
type parts struct {
	place.Place // absolute; the Meta DB's links are resolved
	factFile    string
	facts       *facts.Store
}

func partsOf(f *facts.Store) (p parts, err error) {
	p.facts, p.FactPath = f, f.Lab.FactPath
	if p.factFile, err = factstore.Resolve(f.Lab.FactPath); err != nil {
		return p, err
	}
	if p.MetaPath, err = filepath.Abs(f.Lab.MetaFile()); err != nil {
		return p, quant.Errorf(quant.Failed, "find the Meta DB: %w", err)
	}
	if p.DataDir, err = filepath.Abs(f.Lab.DataDir); err != nil {
		return p, quant.Errorf(quant.Failed, "find the model files: %w", err)
	}
	return p, nil
}

// Create puts the whole lab into one file at path, in a consistent state, while
// others may work: nobody can commit facts between the copy of one database and
// that of the other, and no artifact goes meanwhile. The file is there whole or not
// at all; - is Stdout. What the lab lacks is in Missing and no error. Errors:
// Conflict if something stands at path; Locked if the Fact DB is written to for
// too long; Store if something cannot be read or written, or there is no room.
func Create(ctx context.Context, f *facts.Store, path string, o CreateOptions) (b Backup, err error) {
	if _, err := f.Lab.MetaDB(); err != nil {
		return b, err
	}
	here, err := partsOf(f)
	if err != nil {
		return b, err
	}
	toStdout := path == "-"
	dir := filepath.Dir(path)
	if toStdout {
		dir = filepath.Dir(here.MetaPath)
	}
	taken := quant.Errorf(quant.Conflict, "%s exists already", path).WithHint("name another file, or give --force to replace it")
	if _, err := os.Lstat(path); err == nil && !toStdout && !o.Force {
		return b, taken
	}
	if err := checkRoom(dir, here.room()); err != nil {
		return b, err
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "write the backup %s: %w", path, err).WithHint("make room, or name another place; nothing was changed")
	}
	beside := "backup"
	if !toStdout {
		defer f.Lab.Target(f.Self, path)()
		beside = filepath.Base(path) // what is noted
	}
	scratch, remove, err := durable.TemporaryFolder(dir, beside)
	if err != nil {
		return b, failed(err)
	}
	defer func() { _ = remove() }()
	out := o.Stdout
	var file *durable.File
	if !toStdout {
		if file, err = durable.Begin(path, 0o600); err != nil {
			return b, failed(err)
		}
		defer file.Discard()
		out = file
	}
	counting := &byteCount{w: out}
	b.Manifest, err = here.write(ctx, counting, scratch, o.Program)
	b.Bytes = counting.n
	if err != nil {
		return b, err
	}
	members := int64(len(b.Members))
	b.IO = []quant.RunIO{{Direction: quant.Out, Kind: quant.IOBackup, Name: path, Rows: &members}}
	if toStdout {
		return b, nil
	}
	publish := file.Create
	if o.Force {
		publish = file.Replace
	}
	err = publish()
	if errors.Is(err, durable.ErrExists) {
		return b, taken
	}
	if err != nil {
		return b, failed(err)
	}
	return b, nil
}

type byteCount struct {
	w io.Writer
	n int64
}

func (c *byteCount) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// write writes the lab to w. scratch is a folder with room for a copy of the
// Meta DB.
func (p parts) write(ctx context.Context, w io.Writer, scratch, program string) (Manifest, error) {
	release, err := p.facts.Lab.Artifacts().Hold(ctx)
	if err != nil {
		return Manifest{}, err
	}
	defer release()
	b := &backup{parts: p, ctx: ctx, out: newWriter(w), scratch: scratch}
	b.out.manifest.RunID, b.out.manifest.Quant = p.facts.Self, program
	copied := filepath.Join(scratch, place.MetaDB)
	state := func(ctx context.Context) error {
		b.out.manifest.TakenAt = quant.NewTime(p.facts.Lab.Now())
		return p.facts.Lab.CopyMeta(ctx, copied)
	}
	take := b.databases
	if p.facts.Lab.FactsURL != "" {
		take = b.lake
	}
	if err := take(state, copied); err != nil {
		return Manifest{}, b.failed(err)
	}
	if err := b.rest(copied); err != nil {
		return Manifest{}, b.failed(err)
	}
	return b.out.manifest, b.failed(b.out.close())
}

type backup struct {
	parts
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
func (b *backup) databases(state func(ctx context.Context) error, copied string) error {
	for {
		if _, err := os.Stat(b.factFile); err == nil {
			break
		}
		if err := state(b.ctx); err != nil {
			return err
		}
		if _, err := os.Stat(b.factFile); err != nil {
			return b.file(metaMember, copied)
		}
		_ = os.Remove(copied) // it was made meanwhile: once more, with it
	}
	err := b.facts.Read(b.ctx, func(db *factstore.DB) error {
		err := db.Files(func(suffix string, size int64, r io.Reader) error {
			_, err := b.out.add(b.ctx, factsMember+suffix, size, r)
			return err
		})
		if err != nil {
			return err
		}
		return state(b.ctx)
	})
	if err != nil {
		return err
	}
	return b.file(metaMember, copied)
}

// lake copies both where the facts are on DuckLake: first one snapshot is fixed, then one
// state of the Meta DB, so that every fact's run is in it; and if facts were committed
// between the two, it is done again. Nobody waits.
func (b *backup) lake(state func(ctx context.Context) error, copied string) error {
	moved := errors.New("facts were committed meanwhile")
	file := filepath.Join(b.scratch, place.FactDB)
	_, inFile := b.facts.Lab.Meta.(metastore.FileStore)
	for tries := 1; ; tries++ {
		err := b.facts.Read(b.ctx, func(db *factstore.DB) error {
			stands := func() error {
				if is, err := db.Stands(b.ctx); err != nil || !is {
					return errors.Join(err, moved)
				}
				return nil
			}
			var err error
			if !inFile {
				err = b.facts.Lab.Meta.Snapshot(b.ctx, func(ctx context.Context) error {
					if err := stands(); err != nil {
						return err
					}
					return state(ctx)
				})
			} else if err = state(b.ctx); err == nil {
				err = stands()
			}
			if err != nil {
				return err
			}
			return db.Backup(b.ctx, file)
		})
		switch {
		case errors.Is(err, factstore.ErrMissing): // nobody has made the lake
			if err := state(b.ctx); err != nil {
				return err
			}
			return b.file(metaMember, copied)
		case errors.Is(err, moved) && tries < mostTries:
			_ = os.Remove(copied)
			continue
		case errors.Is(err, moved):
			return quant.Errorf(quant.Locked, "facts are committed again and again while the lab is backed up").WithHint("try again when fewer write")
		case err != nil:
			return err
		}
		if err := b.file(factsMember, file); err != nil {
			return err
		}
		_ = os.Remove(file)
		return b.file(metaMember, copied)
	}
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

var modelFile = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{64}\.json$`) })

// rest copies what stands beside the databases, as the copied Meta DB knows it.
func (b *backup) rest(copied string) error {
	meta, err := b.facts.Lab.OpenMeta(b.ctx, copied)
	if err != nil {
		return err
	}
	defer func() { _ = meta.Close() }()
	return eachContent(b.ctx, b.Place, b.facts.Lab.Artifacts(), meta, func(member, path string) error {
		switch {
		case strings.HasPrefix(member, artifacts):
			return b.artifact(member, path)
		case strings.HasPrefix(member, logs):
			return b.log(member, path)
		}
		if err := b.file(member, path); err != nil && !skippable(err) {
			return err
		}
		return nil
	})
}

func skippable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotRegular)
}

func (b *backup) artifact(member, path string) error {
	want := durable.DigestPrefix + strings.TrimPrefix(member, artifacts)
	f, size, err := openRegular(path)
	if skippable(err) { // a bucket may have it
		f, size, err = openContent(b.ctx, b.facts.Lab.Artifacts(), want)
	}
	if errors.Is(err, quant.NotFound) || errors.Is(err, quant.Refused) {
		b.out.manifest.Missing = append(b.out.manifest.Missing, want)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	digest, err := b.out.add(b.ctx, member, size, f)
	if err == nil && digest != want {
		b.out.manifest.Missing = append(b.out.manifest.Missing, want)
	}
	return err
}

// openContent opens a content, verified. Errors are those of artifact.Store's Open.
func openContent(ctx context.Context, contents artifact.Store, digest string) (*os.File, int64, error) {
	f, err := contents.Open(ctx, digest)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, quant.Errorf(quant.Store, "read an artifact: %w", err)
	}
	return f, info.Size(), nil
}

// log copies what a program printed, which may be growing: first to a place
// where it does not.
func (b *backup) log(member, path string) error {
	f, _, err := openRegular(path)
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
	_, err = b.out.add(b.ctx, member, size, still)
	return err
}

// room estimates the bytes of a backup from what stands there.
func (p parts) room() int64 {
	return p.beside() + sizeOf(p.MetaPath, p.MetaPath+"-wal", p.MetaPath, p.factFile, p.factFile+".wal")
}

// beside estimates the bytes of what stands beside the databases.
func (p parts) beside() int64 {
	return 1<<20 + sizeOf(p.ArtifactDir(), p.LogDir(), p.ModelDir(), p.RunDir())
}

// sizeOf is the size of files and of those in folders.
func sizeOf(paths ...string) (total int64) {
	for _, path := range paths {
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

// checkRoom refuses, as Store, what does not fit beside dir.
func checkRoom(dir string, bytes int64) error {
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
