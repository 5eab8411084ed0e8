package lab

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// staging is how the name ends of what is to take a place.
const staging = ".restoring"

// RunningText is how a run is closed that was RUNNING in a backup.
const RunningText = "was running when the backup was taken"

// Staged is a lab that was taken out of a backup and stands beside the places
// that it is to take.
type Staged struct {
	Manifest Manifest
	Closed   int // runs that were RUNNING in it

	lab   Lab
	parts []string // the places, links resolved
}

// places are where the parts of the lab stand: the names that are exchanged.
func (l Lab) places() []string {
	return []string{l.FactFile, Real(l.Artifacts.Dir), Real(l.LogDir), Real(l.ModelDir), Real(l.RunDir), l.MetaFile}
}

// Stage takes a backup of size bytes apart and makes of it a lab in which no run
// is RUNNING but self, whose row is in meta: what remains is to Swap. Nothing
// that stands there is touched. Errors: Refused for what is no whole backup;
// Store, also marked factstore.ErrNewer, for databases that this program cannot
// use, and when there is no room.
func Stage(ctx context.Context, lab Lab, facts factstore.Options, r io.Reader, size int64, meta metastore.Store, self string) (_ *Staged, err error) {
	s := &Staged{lab: lab, parts: lab.places()}
	s.discard()
	defer func() {
		if err != nil {
			s.discard()
			if quant.CodeOf(err) == quant.Failed && ctx.Err() == nil {
				err = quant.Errorf(quant.Store, "take the backup apart: %w", err).WithHint("make room, or make the folder writable; nothing was changed")
			}
		}
	}()
	if s.Manifest, err = Read(ctx, r, size, s.take); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.lab.Artifacts.Dir, s.lab.LogDir, s.lab.ModelDir, s.lab.RunDir} {
		if err := syncTree(Real(dir) + staging); err != nil {
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
		path = filepath.Join(Real(s.lab.Artifacts.Dir)+staging, file[:2], file[2:])
	case logs:
		path = filepath.Join(Real(s.lab.LogDir)+staging, file)
	case models:
		path = filepath.Join(Real(s.lab.ModelDir)+staging, file)
	case runFiles:
		path = filepath.Join(Real(s.lab.RunDir)+staging, filepath.FromSlash(file))
	default:
		path = s.lab.MetaFile + staging
		if suffix, facts := strings.CutPrefix(name, factsMember); facts {
			path = s.lab.FactFile + staging + suffix
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
	staged, err := s.lab.OpenMeta(ctx, s.lab.MetaFile+staging)
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
		clause := registry.NoFactsCommitted
		if naming[run.RunID] {
			clause = registry.FactsCommitted
		}
		end.ErrorText = registry.WithFacts(RunningText, clause)
		if run.RunID == s.Manifest.RunID { // that took the backup, and a backup is whole or not there
			end.Status, end.ErrorText = quant.Success, ""
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
		os.RemoveAll(s.lab.MetaFile + staging + suffix)
	}
	return errors.Join(err, syncPath(s.lab.MetaFile+staging))
}

// committed tells which runs have committed facts in the staged Fact DB.
func (s *Staged) committed(ctx context.Context, o factstore.Options, runs []metastore.RunDetail) (map[string]bool, error) {
	o.Path = s.lab.FactFile + staging
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

// discard removes what is staged.
func (s *Staged) discard() {
	for _, part := range s.parts {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal", ".lock", ".wal", ".wal.checkpoint", ".wal.recovery", ".tmp", ".backups"} {
			os.RemoveAll(part + staging + suffix)
		}
	}
}

// Discard gives up what was staged.
func (s *Staged) Discard() { s.discard() }

// suffixes are the files that belong to a part, itself first.
func suffixes() []string {
	return []string{"", "-wal", "-shm", "-journal", ".wal", ".wal.checkpoint", ".wal.recovery"}
}

// move is one renaming; both are named from the folder of the Meta DB.
type move struct{ From, To string }

// Swap moves what stands there aside and the staged lab into its place: all of
// it or, if the process is killed first, nothing; once it has begun, the next
// command finishes it. It must run while nobody else uses the lab. It returns
// where the old parts are. Errors: Store; what was begun is finished by the next
// command.
func (s *Staged) Swap(now time.Time) (aside []string, err error) {
	stamp := ".before-restore-" + now.UTC().Format("20060102T150405.000000Z")
	dir := filepath.Dir(s.lab.MetaFile)
	var out, in []move
	for _, part := range s.parts {
		for _, suffix := range suffixes() {
			if _, err := os.Lstat(part + suffix); err == nil {
				out = append(out, move{relative(dir, part+suffix), relative(dir, part+stamp+suffix)})
				if suffix == "" {
					aside = append(aside, part+stamp)
				}
			}
			if _, err := os.Lstat(part + staging + suffix); err == nil {
				in = append(in, move{relative(dir, part+staging+suffix), relative(dir, part+suffix)})
			}
		}
	}
	text, err := json.Marshal(append(out, in...))
	if err != nil {
		return nil, err
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "put the restored lab in its place: %w", err).WithHint("make the folder writable; the next command goes on with it")
	}
	if err := writeDurably(journalOf(s.lab.MetaFile), text); err != nil {
		return nil, failed(err)
	}
	failpoint.Hit("restore.journal")
	if err := finish(s.lab.MetaFile); err != nil {
		return nil, err
	}
	return aside, nil
}

func relative(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil {
		return rel
	}
	return path
}

func journalOf(metaFile string) string { return metaFile + staging + ".json" }

// finish carries out the moves of a journal, those that are not done yet, and
// takes it away. None: nothing to do. A move is done when what it moves is gone.
func finish(metaFile string) error {
	journal := journalOf(metaFile)
	text, err := os.ReadFile(journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "finish the restore that %s describes: %w", journal, err).
			WithHint("make its folder writable, then run any command again")
	}
	if err != nil {
		return failed(err)
	}
	var moves []move
	if err := json.Unmarshal(text, &moves); err != nil {
		return failed(err)
	}
	dir := filepath.Dir(metaFile)
	folders := map[string]bool{dir: true}
	for _, m := range moves {
		from, to := m.From, m.To
		if !filepath.IsAbs(from) {
			from, to = filepath.Join(dir, from), filepath.Join(dir, to)
		}
		if strings.Contains(filepath.Base(to), ".before-restore-") {
			// What stands there may be the new part already.
			if _, err := os.Lstat(to); err == nil {
				continue
			}
		}
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failed(err)
		}
		folders[filepath.Dir(to)] = true
		failpoint.Hit("restore.move")
	}
	for folder := range folders {
		if err := syncPath(folder); err != nil {
			return failed(err)
		}
	}
	failpoint.Hit("restore.moved")
	if err := errors.Join(os.Remove(journal), syncPath(dir)); err != nil {
		return failed(err)
	}
	return nil
}

// writeDurably writes a file, whole or not at all.
func writeDurably(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// syncTree makes the names in a folder and those below it durable; there need
// be none.
func syncTree(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncPath(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
