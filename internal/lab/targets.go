package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"quant"
	"quant/internal/durable"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// target is the note of a file outside the lab that a run is making: beside it
// stands its temporary file, which nobody would find once the process is killed.
type target struct {
	Note string // the note's file
	Run  string
	Path string // of the file that is being made, absolute
}

// left tells whether a temporary file of the target is there.
func (t target) left() (bool, error) {
	found, err := Entries(filepath.Dir(t.Path))
	return slices.ContainsFunc(found, func(e os.DirEntry) bool {
		return matches([]string{durable.TemporaryPatternOf(t.Path)}, e.Name())
	}), err
}

// Target notes that a run is about to make files at paths, which may lie outside
// the lab, and returns what takes the notes away once they are made or given up, but for one beside whose file a
// temporary one could not be removed.
// "" and "-" are no paths. A note that cannot be stored is left out: it is for who
// tidies up.
func (l *Lab) Target(runID string, paths ...string) (done func()) {
	var notes []target
	making, err := l.makingDirs()
	if err != nil || !registry.IsRunID(runID) {
		return func() {}
	}
	for _, path := range paths {
		if path == "" || path == "-" {
			continue
		}
		path, err := filepath.Abs(path)
		if err != nil || slices.ContainsFunc(making, func(dir string) bool { return sameFolder(dir, filepath.Dir(path)) }) {
			continue
		}
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			continue // nothing can be made there
		}
		sum := sha256.Sum256([]byte(path))
		note := filepath.Join(l.TargetDir(), runID+"."+hex.EncodeToString(sum[:8]))
		for range 3 { // another run may just have taken the empty folder away
			if durable.MakeFolder(l.TargetDir()) == nil && durable.Replace(note, 0o600, durable.Bytes([]byte(path))) == nil {
				notes = append(notes, target{Note: note, Path: path})
				break
			}
		}
	}
	return func() {
		for _, t := range notes {
			if left, err := t.left(); !left && err == nil { // else gc goes on with it
				_ = os.Remove(t.Note)
			}
		}
		if notes != nil {
			_ = os.Remove(l.TargetDir()) // only when empty
		}
	}
}

func sameFolder(a, b string) bool {
	if abs, err := filepath.Abs(a); err == nil && abs == b {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// maxPath is more than a path can have.
const maxPath = 64 << 10

// endedTargets are the notes of runs that are not RUNNING any more.
func (l *Lab) endedTargets(ctx context.Context, meta metastore.Store) ([]target, error) {
	found, err := Entries(l.TargetDir())
	if err != nil {
		return nil, err
	}
	var ended []target
	for _, e := range found {
		name := e.Name()
		if !e.Type().IsRegular() || len(name) < 36 || !registry.IsRunID(name[:36]) {
			continue
		}
		t := target{Note: filepath.Join(l.TargetDir(), name), Run: name[:36]}
		if info, err := e.Info(); err != nil || info.Size() > maxPath {
			continue
		}
		text, err := os.ReadFile(t.Note)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, quant.Errorf(quant.Store, "read %s: %w", t.Note, err).WithHint("make it readable")
		}
		if t.Path = string(text); !filepath.IsAbs(t.Path) {
			continue
		}
		run, err := meta.GetRun(ctx, t.Run)
		if err != nil && !errors.Is(err, quant.NotFound) {
			return nil, err
		}
		if err != nil || run.Status != quant.Running {
			ended = append(ended, t)
		}
	}
	return ended, nil
}

// forgetTargets takes away the notes beside whose files nothing is left.
func (y yard) forgetTargets() error {
	for _, t := range y.Targets {
		if left, err := t.left(); left || err != nil {
			continue // what cannot be read now may be another time
		}
		if err := os.Remove(t.Note); err != nil && !errors.Is(err, os.ErrNotExist) {
			return quant.Errorf(quant.Store, "remove %s: %w", t.Note, err).WithHint("make its folder writable")
		}
		_ = os.Remove(filepath.Dir(t.Note)) // only when empty
	}
	return nil
}
