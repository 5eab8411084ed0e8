package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// RunningText is how a run is closed that was RUNNING in a backup.
const RunningText = "was running when the backup was taken"

// RestoreOptions say how a lab is brought back.
type RestoreOptions struct {
	// Confirm is asked before a lab that stands there is replaced; its error ends the
	// restore, and nothing was changed. nil: nobody is asked.
	Confirm func(ctx context.Context, metaFile, factFile string) error
}

// Restored says what a restore brought back.
type Restored struct {
	Backup
	Runs       int64    // in the restored lab
	Closed     int      // of them, those that were RUNNING in the backup
	MovedAside []string // what stood in their places, real paths
}

// Verify reads a backup to its end and checks every digest. Errors: NotFound;
// Usage for what is no plain file; Refused for what is no whole backup, or was
// changed.
func Verify(ctx context.Context, path string) (Backup, error) {
	f, size, err := openBackup(path)
	if err != nil {
		return Backup{}, err
	}
	defer f.Close()
	m, err := read(ctx, f, size, func(string, int64, io.Reader) error { return nil })
	if err != nil {
		return Backup{}, named(path, err)
	}
	return Backup{Manifest: m, Bytes: size}, nil
}

// Restore brings the lab back from a backup, in place of what stands there, which
// is moved aside. The lab is open, with the run of f in it, and goes on with the
// restored Meta DB, which has that run too. Every digest is checked before anything
// is moved. Errors: those of Verify; Locked while another run of the lab lives, or
// another process uses it, for longer than f waits; Store, also marked
// factstore.ErrNewer, for databases that this program cannot use, and when there is
// no room.
func Restore(ctx context.Context, f *facts.Store, path string, o RestoreOptions) (done Restored, err error) {
	in, size, err := openBackup(path)
	if err != nil {
		return done, err
	}
	defer in.Close()
	if f.Lab.MetaURL != "" || f.Lab.FactsURL != "" {
		return restoreOnServer(ctx, f, path, in, size)
	}
	here, err := partsOf(f)
	if err != nil {
		return done, err
	}
	if err := nobodyElse(ctx, f); err != nil {
		return done, err
	}
	fresh := f.Lab.Opening.Meta == lab.Created && f.Lab.Opening.MovedAside == ""
	if (!fresh || f.Exists()) && o.Confirm != nil {
		if err := o.Confirm(ctx, here.MetaPath, here.factFile); err != nil {
			return done, err
		}
	}
	if err := checkRoom(filepath.Dir(here.MetaPath), size+size/8+1<<20); err != nil {
		return done, err
	}
	next, err := stage(ctx, here, true, in, size)
	if err != nil {
		return done, named(path, err)
	}
	swapped := false
	err = f.Lab.Replace(ctx, f.Wait, func() error {
		return factstore.Apart(ctx, f.Options(ctx), func() (err error) {
			swapped = true
			done.MovedAside, err = lab.Swap(here.MetaPath, next.places, f.Lab.Now())
			return err
		})
	})
	if err != nil {
		if !swapped {
			next.discard()
		}
		return done, err
	}
	if fresh {
		done.MovedAside = slices.DeleteFunc(done.MovedAside, func(old string) bool {
			return strings.HasPrefix(old, here.MetaPath+place.Aside) && removeEmpty(ctx, f, old)
		})
	}
	done.Backup, done.Closed = Backup{Manifest: next.manifest, Bytes: size}, next.closed
	members := int64(len(done.Members))
	done.IO = []quant.RunIO{{Direction: quant.In, Kind: quant.IOBackup, Name: path, Rows: &members}}
	tables, err := f.Lab.Meta.Tables(ctx)
	if err != nil {
		return done, err
	}
	for _, t := range tables {
		if t.Table == "runs" {
			done.Runs = t.Rows
		}
	}
	return done, nil
}

// restoreOnServer is Restore into a team's stores, which must be empty: the backup becomes a
// lab in files for a while, and that is moved.
func restoreOnServer(ctx context.Context, f *facts.Store, path string, in io.Reader, size int64) (done Restored, err error) {
	meta, err := f.Lab.MetaDB()
	if err != nil {
		return done, err
	}
	if err := metastore.Vacant(ctx, meta, preparing); err != nil {
		return done, err
	}
	if err := checkRoom(f.Lab.DataDir, 2*size+1<<20); err != nil {
		return done, err
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "take the backup apart: %w", err).WithHint("make room, or make the data folder writable; nothing was changed")
	}
	scratch, remove, err := durable.TemporaryFolder(f.Lab.DataDir, "restore")
	if err != nil {
		return done, failed(err)
	}
	defer func() { _ = remove() }()
	if scratch, err = filepath.Abs(scratch); err != nil {
		return done, failed(err)
	}
	from := place.In(scratch)
	next, err := stage(ctx, parts{Place: from, factFile: from.FactPath, facts: f}, false, in, size)
	if err != nil {
		return done, named(path, err)
	}
	if _, err := lab.Swap(from.MetaPath, next.places, f.Lab.Now()); err != nil {
		return done, err
	}
	moved, err := Move(ctx, f, from)
	if err != nil {
		return done, err
	}
	done.Backup, done.Closed = Backup{Manifest: next.manifest, Bytes: size}, next.closed
	members := int64(len(done.Members))
	done.IO = []quant.RunIO{{Direction: quant.In, Kind: quant.IOBackup, Name: path, Rows: &members}}
	for _, t := range moved.Meta {
		if t.Table == "runs" {
			done.Runs = t.Rows
		}
	}
	return done, nil
}

// openBackup opens a backup, which must be a plain file.
func openBackup(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, quant.Errorf(quant.NotFound, "there is no backup %s", path).WithHint("name the file that `quant backup` wrote")
	}
	if err != nil {
		return nil, 0, quant.Errorf(quant.Failed, "open the backup: %w", err).WithHint("make it readable")
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = quant.Errorf(quant.Usage, "%s is no plain file", path).WithHint("name the file that `quant backup` wrote")
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func named(path string, err error) error {
	if !errors.Is(err, quant.Refused) {
		return err
	}
	return quant.Errorf(quant.Refused, "%s: %w", path, err).WithHint("%s", quant.HintOf(err))
}

// removeEmpty removes the Meta DB that the run was recorded in before it went on in
// the restored one, if no other run came into it.
func removeEmpty(ctx context.Context, f *facts.Store, path string) bool {
	old, err := f.Lab.OpenMeta(ctx, path)
	if err != nil {
		return false
	}
	runs, err := old.ListRuns(ctx, metastore.RunFilter{All: true, Limit: 2, Brief: true})
	if err := errors.Join(err, old.Close()); err != nil || len(runs) != 1 || runs[0].RunID != f.Self {
		return false
	}
	os.Remove(path + ".lock")
	return os.Remove(path) == nil
}

// nobodyElse refuses while another run of this lab lives, after waiting for its
// end.
func nobodyElse(ctx context.Context, f *facts.Store) error {
	deadline := time.NewTimer(f.Wait)
	defer deadline.Stop()
	for {
		others, err := f.Lab.LiveRuns(ctx, f.Self)
		if err != nil || len(others) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(f.Wait, 20*time.Millisecond)):
			if f.Wait > 0 {
				continue
			}
		case <-deadline.C:
		}
		return quant.Errorf(quant.Locked, "run %s (%s, process %d) is still running", quant.ShortID(others[0].RunID), others[0].Kind, others[0].Process.PID).
			WithHint("wait for it to end, then restore; --wait waits longer")
	}
}

// staged is a lab that was taken out of a backup and stands beside the places
// that it is to take.
type staged struct {
	manifest Manifest
	closed   int // runs that were RUNNING in it

	parts
	places  []string // real paths
	records bool     // the present run goes on in it
}

// places are where the parts of the lab stand: the names that are exchanged.
func (p parts) places() []string {
	return []string{p.factFile, place.Real(p.ArtifactDir()), place.Real(p.LogDir()), place.Real(p.ModelDir()), place.Real(p.RunDir()), place.Real(p.DelistingsFile()), place.Real(p.UniversesFile()), p.CalendarFile(), p.MetaPath}
}

// stage takes a backup of size bytes apart and makes of it a lab in which no run
// is RUNNING but, where it records that, the present one: what remains is to swap them. Nothing that
// stands there is touched.
func stage(ctx context.Context, from parts, records bool, r io.Reader, size int64) (_ *staged, err error) {
	s := &staged{parts: from, places: from.places(), records: records}
	s.discard()
	defer func() {
		if err != nil {
			s.discard()
			if quant.CodeOf(err) == quant.Failed && ctx.Err() == nil {
				err = quant.Errorf(quant.Store, "take the backup apart: %w", err).WithHint("make room, or make the folder writable; nothing was changed")
			}
		}
	}()
	if s.manifest, err = read(ctx, r, size, s.take); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.ArtifactDir(), s.LogDir(), s.ModelDir(), s.RunDir()} {
		if err := syncTree(place.Real(dir) + place.Staging); err != nil {
			return nil, err
		}
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	failpoint.Hit("restore.staged")
	return s, nil
}

// take writes one member into its place beside the real one.
func (s *staged) take(name string, _ int64, r io.Reader) error {
	var path string
	suffix, facts := strings.CutPrefix(name, factsMember)
	switch {
	case strings.HasPrefix(name, artifacts):
		digits := strings.TrimPrefix(name, artifacts)
		path = filepath.Join(place.Real(s.ArtifactDir())+place.Staging, digits[:2], digits[2:])
	case facts:
		path = s.factFile + place.Staging + suffix
	case name == metaMember:
		path = s.MetaPath + place.Staging
	default:
		path = fileOf(s.Place, name, place.Staging)
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
func (s *staged) settle(ctx context.Context) error {
	meta, err := s.facts.Lab.OpenMeta(ctx, s.MetaPath+place.Staging)
	if err != nil {
		return err
	}
	defer func() { _ = meta.Close() }() // it is sealed, or not used
	running, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running, Brief: true})
	if err != nil {
		return err
	}
	naming, err := s.committed(ctx, running)
	if err != nil {
		return err
	}
	for _, run := range running {
		end := metastore.RunEnd{RunID: run.RunID, Status: quant.Fail, EndedAt: s.manifest.TakenAt}
		if end.EndedAt.IsZero() || end.EndedAt.Before(run.StartedAt.Time) {
			end.EndedAt = run.StartedAt
		}
		end.Facts = quant.FactsNone
		if naming[run.RunID] {
			end.Facts = quant.FactsCommitted
		}
		end.ErrorText = registry.WithFacts(RunningText, end.Facts)
		if run.RunID == s.manifest.RunID { // that took the backup, and a backup is whole or not there
			end.Status, end.ErrorText, end.Facts = quant.Success, "", ""
		}
		if err := meta.FinishRun(ctx, end); err != nil {
			return err
		}
		s.closed++
	}
	if s.records {
		own, err := s.facts.Lab.Meta.GetRun(ctx, s.facts.Self)
		if err != nil {
			return err
		}
		if err := meta.CreateRun(ctx, own.Run, own.Process); err != nil {
			return err
		}
	}
	file, err := metastore.AsFile(meta)
	if err == nil {
		err = file.Seal(ctx)
	}
	for _, suffix := range []string{".lock", ".backups"} {
		os.RemoveAll(s.MetaPath + place.Staging + suffix)
	}
	return err
}

// committed tells which runs have committed facts in the staged Fact DB.
func (s *staged) committed(ctx context.Context, runs []metastore.RunDetail) (map[string]bool, error) {
	o := s.facts.Options(ctx)
	o.Path, o.URL = s.factFile+place.Staging, ""
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
			committed[id] = committed[id] || table == factstore.Ledger
		}
	}
	return committed, db.Close()
}

// discard gives up what was staged.
func (s *staged) discard() { lab.Discard(s.places) }

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
