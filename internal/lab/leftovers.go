package lab

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"quant"
	"quant/internal/artifact"
	"quant/internal/durable"
	"quant/internal/lab/place"
	"quant/internal/metastore"
)

// What killed processes could not take away is found in three ways: in the folders
// where files of the lab are made, by the one form of temporary names; by the names
// of databases on their way; and beside files outside the lab, by the notes that
// their runs made before they began (targets.go).

// stagedOutputs are the folders of staged outputs, whose names are ids of runs. One that
// is older than every open run nobody takes in: its unit was killed, or the run for
// which it worked ended first.
const stagedOutputs = "????????-????-7???-????-????????????"

// leftovers are the patterns of what killed processes leave behind in the lab, by
// folder.
func (l *Lab) leftovers() (map[string][]string, error) {
	patterns := map[string][]string{}
	add := func(dir string, more ...string) {
		patterns[filepath.Clean(dir)] = append(patterns[filepath.Clean(dir)], more...)
	}
	add(l.ScratchDir(), place.Repetition+"*", place.Proof+"*", place.Checkout+"*", place.Training+"*")
	if dir := l.OutputsDir(); dir != "" { // in a bucket: stagedObjects
		add(dir, stagedOutputs)
	}
	dirs, err := l.makingDirs()
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		add(dir, durable.TemporaryPattern)
	}
	// A database that bears its name is not made any more.
	for path, making := range map[string]string{l.MetaFile(): place.Creating, l.FactPath: place.Building} {
		if _, err := os.Stat(path); err == nil {
			name := place.Literal(filepath.Base(path)) + making
			add(filepath.Dir(path), name, name+"-wal", name+"-shm", name+"-journal", name+".wal", name+".wal.checkpoint", name+".wal.recovery")
		}
	}
	// A restore that had begun to move things has been finished by now.
	for _, path := range []string{l.MetaFile(), l.FactPath, l.ModelDir(), l.RunDir()} {
		add(filepath.Dir(path), place.Literal(filepath.Base(path))+"*"+place.Staging+"*")
	}
	// The temporary names of former versions.
	meta := place.Literal(filepath.Base(l.MetaFile()))
	add(l.ModelDir(), ".model-[0-9]*")
	add(l.LogDir(), ".import-[0-9]*")
	add(l.ReportDir(), ".report-[0-9]*")
	add(filepath.Dir(l.MetaFile()), ".quant-backup-[0-9]*", meta+".salvage-[0-9]*", meta+".partial-[0-9]*")
	add(place.BackupDir(l.MetaFile()), meta+".*.partial-[0-9]*")
	for _, dir := range dirs {
		switch filepath.Dir(dir) {
		case filepath.Clean(l.RunDir()):
			add(dir, ".plan-[0-9]*")
		case filepath.Clean(l.CacheRoot()):
			add(dir, ".part-[0-9]*")
		}
	}
	return patterns, nil
}

// makingDirs are the folders of the lab in which files get their names. Those of
// artifacts are the artifact store's.
func (l *Lab) makingDirs() ([]string, error) {
	dirs := []string{
		l.DataDir, l.ScratchDir(), l.ModelDir(), l.LogDir(), l.ReportDir(), l.RunDir(), l.TargetDir(), filepath.Dir(l.MetaFile()), filepath.Dir(l.FactPath),
		place.BackupDir(l.MetaFile()), place.BackupDir(l.FactPath),
	}
	for _, above := range []string{l.RunDir(), l.CacheRoot()} {
		within, err := Entries(above)
		if err != nil {
			return nil, err
		}
		for _, e := range within {
			if e.IsDir() {
				dirs = append(dirs, filepath.Join(above, e.Name()))
			}
		}
	}
	for i := range dirs {
		dirs[i] = filepath.Clean(dirs[i])
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// beside are the patterns of former versions beside a file that they made at a
// path: these noted nothing.
func beside(path string) []string {
	return []string{".quant-backup-[0-9]*", ".quant-export-[0-9]*", place.Literal(filepath.Base(path)) + ".partial-[0-9]*", ".quant-[0-9]*.parquet.part"}
}

// yard is where garbage of the lab is looked for that was last changed before a
// time.
func (l *Lab) yard(ctx context.Context, meta metastore.Store, before time.Time) (yard, error) {
	y := yard{Meta: meta, Artifacts: l.Artifacts(), RunDirs: []string{l.LogDir(), l.RunDir()}, Before: before, Staged: l.stagedObjects()}
	if _, err := os.Stat(l.NearDir()); err == nil {
		y.Near = l.NearDir()
	}
	var err error
	if y.Leftovers, err = l.leftovers(); err != nil {
		return y, err
	}
	add := func(dir string, more ...string) {
		for _, p := range more {
			if dir = filepath.Clean(dir); !slices.Contains(y.Leftovers[dir], p) {
				y.Leftovers[dir] = append(y.Leftovers[dir], p)
			}
		}
	}
	if y.Targets, err = l.endedTargets(ctx, meta); err != nil {
		return y, err
	}
	for _, t := range y.Targets {
		add(filepath.Dir(t.Path), durable.TemporaryPatternOf(t.Path))
	}
	for _, kind := range []string{quant.IOFile, quant.IOBackup} {
		made, err := meta.ListOutputs(ctx, kind)
		if err != nil {
			return y, err
		}
		for _, io := range made {
			if filepath.IsAbs(io.Name) {
				add(filepath.Dir(io.Name), beside(io.Name)...)
			}
		}
	}
	return y, nil
}

// findLeftovers calls fn for what killed processes left. A folder outside the lab
// that cannot be read is passed over.
func (y yard) findLeftovers(ctx context.Context, fn func(garbage) error) error {
	if err := y.Staged.find(ctx, y.Before, fn); err != nil {
		return err
	}
	for _, dir := range slices.Sorted(maps.Keys(y.Leftovers)) {
		found, err := Entries(dir)
		if errors.Is(err, os.ErrPermission) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range found {
			if !(e.IsDir() || e.Type().IsRegular()) || !matches(y.Leftovers[dir], e.Name()) {
				continue
			}
			if err := y.offer(ctx, garbage{Kind: Leftover, Path: filepath.Join(dir, e.Name())}, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// Left is a file or folder that a process which was killed could not take away.
type Left struct {
	Path  string
	Bytes int64
}

// Leftovers returns what killed processes left, in and outside the lab, by path
// within a folder; what an open run other than self may be at work on is left out.
// Errors: Store; ctx's cause.
func (l *Lab) Leftovers(ctx context.Context, self string) ([]Left, error) {
	meta, err := l.MetaDB()
	if err != nil {
		return nil, err
	}
	before, err := youngest(ctx, meta, l.Now(), 0, self)
	if err != nil {
		return nil, err
	}
	y, err := l.yard(ctx, meta, before)
	if err != nil {
		return nil, err
	}
	var all []Left
	note := func(g garbage) error {
		all = append(all, Left{g.Path, g.Bytes})
		return nil
	}
	err = y.Artifacts.Each(ctx, func(c artifact.Content) error {
		if c.Digest != "" || !c.Written.Before(before) {
			return nil
		}
		return note(garbage{Path: c.Path, Bytes: c.Bytes})
	})
	if err != nil {
		return nil, err
	}
	return all, y.findLeftovers(ctx, note)
}
