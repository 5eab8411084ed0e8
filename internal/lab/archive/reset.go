package archive

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Copy is the backup of one database.
type Copy struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"` // "" of what is no regular file
}

// Reset says what making both databases anew came to.
type Reset struct {
	Copies []Copy           // of the Meta DB, then of the Fact DB if there was one
	Lost   map[string]int64 // rows that could not be carried over, by table; the copy has them
	IO     []quant.RunIO    // the copies that stand there; filled in as far as it got
}

// Anew backs both databases up, each beside itself, and makes the Meta DB anew,
// with what is recorded of runs carried over. The Fact DB's file itself becomes its
// backup, so that there is none afterwards, and the Meta DB is backed up and reset
// in one step: nothing can be written between a backup and its reset. When the Meta
// DB cannot be reset the Fact DB is put back. Errors: Locked while another run that
// may change something lives; Store, also marked factstore.ErrNewer.
func Anew(ctx context.Context, f *facts.Store) (r Reset, err error) {
	if err := f.Lab.InFiles("make the lab anew"); err != nil {
		return r, err
	}
	meta, err := metastore.AsFile(f.Lab.Meta)
	if err != nil {
		return r, err
	}
	live, err := f.Lab.LiveRuns(ctx, f.Self)
	if err != nil {
		return r, err
	}
	for _, run := range live {
		if run.Process.Changes && run.Process.PID != int64(os.Getpid()) {
			return r, quant.Errorf(quant.Locked, "run %s (%s, process %d) is still running", quant.ShortID(run.RunID), run.Kind, run.Process.PID).
				WithHint("wait for it to end, then reset")
		}
	}
	// Whatever else is wrong with the Fact DB a reset puts right; a newer one is
	// in order, and not ours to replace.
	options := f.Options(ctx)
	db, err := factstore.OpenRead(ctx, options)
	switch {
	case err == nil:
		db.Close()
	case errors.Is(err, factstore.ErrMissing), errors.Is(err, factstore.ErrDamaged), errors.Is(err, factstore.ErrOlder):
	default: // newer, held, or not to be judged now
		return r, err
	}
	if _, err := f.Lab.TakeUp(ctx); err != nil {
		return r, err
	}
	stamp := f.Lab.Now().UTC().Format("20060102T150405Z") + "-" + quant.ShortID(f.Self)
	metaCopy, err := copyPath(f.Lab.MetaPath, stamp, place.MetaDB)
	if err != nil {
		return r, err
	}
	factCopy := ""
	if f.Exists() {
		// Beside the file: a rename does not leave its file system.
		if factCopy, err = copyPath(options.Path, stamp, place.FactDB); err != nil {
			return r, err
		}
		if err := factstore.Move(ctx, options, factCopy); err != nil {
			return r, err
		}
	}
	failpoint.Hit("reset.moved")
	carried, err := meta.Reset(ctx, metaCopy)
	if err != nil {
		if factCopy == "" {
			return r, err
		}
		closing, stop := registry.Closing(ctx)
		defer stop()
		if back := factstore.MoveBack(closing, options, factCopy); back != nil {
			r.IO = append(r.IO, copyOf(factCopy, ""))
			return r, errors.Join(err, back)
		}
		_ = os.Remove(filepath.Dir(factCopy)) // if nothing else is in it
		return r, err
	}
	r.Lost = carried.Lost
	paths := []string{metaCopy}
	if factCopy != "" {
		paths = append(paths, factCopy)
	}
	for _, path := range paths {
		r.IO = append(r.IO, copyOf(path, "")) // even if it cannot be read
	}
	for _, path := range paths {
		c := Copy{Path: path}
		if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
			if c.Digest, c.Bytes, err = durable.DigestFile(path); err != nil {
				return r, quant.Errorf(quant.Store, "read the backup: %w", err)
			}
		}
		r.Copies = append(r.Copies, c)
		r.IO = append(r.IO, copyOf(path, c.Digest))
	}
	return r, nil
}

// copyPath names the backup of a database, in a folder of its own beside the
// file that the database is, and makes that folder.
func copyPath(database, stamp, name string) (string, error) {
	folder := filepath.Join(place.BackupDir(place.Real(database)), stamp)
	if err := durable.MakeFolder(folder); err != nil {
		return "", quant.Errorf(quant.Store, "make the backup folder: %w", err).WithHint("check that you may write %s", filepath.Dir(place.Real(database)))
	}
	return filepath.Join(folder, name), nil
}

func copyOf(path, digest string) quant.RunIO {
	return quant.RunIO{Direction: quant.Out, Kind: quant.IOBackup, Name: path, Digest: quant.Text(digest)}
}
