package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// RunningText is how a run is closed that was RUNNING in a backup.
const RunningText = "was running when the backup was taken"

// Staged is a lab that was taken out of a backup and stands beside the places
// that it is to take.
type Staged struct {
	Manifest Manifest
	Closed   int // runs that were RUNNING in it

	lab    Parts
	places []string // real paths
}

// places are where the parts of the lab stand: the names that are exchanged.
func (l Parts) places() []string {
	return []string{l.FactFile, place.Real(l.Artifacts.Dir), place.Real(l.LogDir), place.Real(l.ModelDir), place.Real(l.RunDir), l.MetaFile}
}

// Stage takes a backup of size bytes apart and makes of it a lab in which no run
// is RUNNING but self, whose row is in meta: what remains is to Swap. Nothing
// that stands there is touched. Errors: Refused for what is no whole backup;
// Store, also marked factstore.ErrNewer, for databases that this program cannot
// use, and when there is no room.
func Stage(ctx context.Context, from Parts, facts factstore.Options, r io.Reader, size int64, meta metastore.Store, self string) (_ *Staged, err error) {
	s := &Staged{lab: from, places: from.places()}
	s.Discard()
	defer func() {
		if err != nil {
			s.Discard()
			if quant.CodeOf(err) == quant.Failed && ctx.Err() == nil {
				err = quant.Errorf(quant.Store, "take the backup apart: %w", err).WithHint("make room, or make the folder writable; nothing was changed")
			}
		}
	}()
	if s.Manifest, err = Read(ctx, r, size, s.take); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.lab.Artifacts.Dir, s.lab.LogDir, s.lab.ModelDir, s.lab.RunDir} {
		if err := syncTree(place.Real(dir) + place.Staging); err != nil {
			return nil, err
		}
	}
	if err := s.settle(ctx, facts, meta, self); err != nil {
		return nil, err
	}
	failpoint.Hit("restore.staged")
	return s, nil
}

// take writes one member into its place beside the real one.
func (s *Staged) take(name string, _ int64, r io.Reader) error {
	var path string
	switch folder, file, _ := strings.Cut(name, "/"); folder + "/" {
	case artifacts:
		path = filepath.Join(place.Real(s.lab.Artifacts.Dir)+place.Staging, file[:2], file[2:])
	case logs:
		path = filepath.Join(place.Real(s.lab.LogDir)+place.Staging, file)
	case models:
		path = filepath.Join(place.Real(s.lab.ModelDir)+place.Staging, file)
	case runFiles:
		path = filepath.Join(place.Real(s.lab.RunDir)+place.Staging, filepath.FromSlash(file))
	default:
		path = s.lab.MetaFile + place.Staging
		if suffix, facts := strings.CutPrefix(name, factsMember); facts {
			path = s.lab.FactFile + place.Staging + suffix
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if strings.HasPrefix(name, artifacts) {
		err = errors.Join(err, f.Chmod(0o400))
	}
	return errors.Join(err, f.Close())
}

// settle opens both staged databases, which brings them up to date, closes the
// runs that were RUNNING, and records the run that restores.
func (s *Staged) settle(ctx context.Context, facts factstore.Options, meta metastore.Store, self string) error {
	staged, err := s.lab.OpenMeta(ctx, s.lab.MetaFile+place.Staging)
	if err != nil {
		return err
	}
	defer func() {
		if staged != nil {
			_ = staged.Close()
		}
	}()
	running, err := staged.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running, Brief: true})
	if err != nil {
		return err
	}
	naming, err := s.committed(ctx, facts, running)
	if err != nil {
		return err
	}
	for _, run := range running {
		end := metastore.RunEnd{RunID: run.RunID, Status: quant.Fail, EndedAt: s.Manifest.TakenAt}
		if end.EndedAt.IsZero() || end.EndedAt.Before(run.StartedAt.Time) {
			end.EndedAt = run.StartedAt
		}
		end.Facts = quant.FactsNone
		if naming[run.RunID] {
			end.Facts = quant.FactsCommitted
		}
		end.ErrorText = registry.WithFacts(RunningText, end.Facts)
		if run.RunID == s.Manifest.RunID { // that took the backup, and a backup is whole or not there
			end.Status, end.ErrorText, end.Facts = quant.Success, "", ""
		}
		if err := staged.FinishRun(ctx, end); err != nil {
			return err
		}
		s.Closed++
	}
	own, err := meta.GetRun(ctx, self)
	if err != nil {
		return err
	}
	if err := staged.CreateRun(ctx, own.Run, own.Process); err != nil {
		return err
	}
	err = staged.Close()
	staged = nil
	for _, suffix := range []string{"-wal", "-shm", ".lock", ".backups"} { // the file is closed
		os.RemoveAll(s.lab.MetaFile + place.Staging + suffix)
	}
	return errors.Join(err, durable.SyncFile(s.lab.MetaFile+place.Staging))
}

// committed tells which runs have committed facts in the staged Fact DB.
func (s *Staged) committed(ctx context.Context, o factstore.Options, runs []metastore.RunDetail) (map[string]bool, error) {
	o.Path = s.lab.FactFile + place.Staging
	o.TempDir = o.Path + ".tmp"
	if _, err := os.Stat(o.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	db, err := factstore.OpenWrite(ctx, o) // takes its log in
	if err != nil {
		return nil, err
	}
	defer os.Remove(o.Path + ".lock")
	defer db.Close()
	ids := make([]string, len(runs))
	for i, run := range runs {
		ids[i] = run.RunID
	}
	naming, err := db.NamingRuns(ctx, ids)
	if err != nil {
		return nil, err
	}
	committed := map[string]bool{}
	for id, tables := range naming {
		for _, table := range tables {
			committed[id] = committed[id] || table == "ledger"
		}
	}
	return committed, db.Close()
}

// Discard gives up what was staged.
func (s *Staged) Discard() { lab.Discard(s.places) }

// Swap puts the staged lab in its place; see lab.Swap.
func (s *Staged) Swap(now time.Time) (aside []string, err error) {
	return lab.Swap(s.lab.MetaFile, s.places, now)
}

// syncTree makes the names in a folder and those below it durable; there need
// be none.
func syncTree(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return durable.SyncFolder(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
