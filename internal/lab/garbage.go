// Package lab looks after what stands beside the databases: it finds and
// removes what nothing refers to, and puts a whole lab into one file and back.
// What is recorded of runs is the metastore's, what is in the Fact DB the
// factstore's; keep decides neither which runs go nor when.
package lab

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"quant"
	"quant/internal/artifact"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Kind is a kind of garbage.
type Kind string

// The kinds.
const (
	Artifact Kind = "artifact" // a content that no run has
	Log      Kind = "log"      // what a program printed, or the plan of a pipeline, whose run is gone
	Leftover Kind = "leftover" // what a process that was killed could not take away
)

// Garbage is one file or folder that may go.
type Garbage struct {
	Kind  Kind
	Path  string
	Bytes int64

	content artifact.Content
	run     string
}

// Yard is where garbage is looked for.
type Yard struct {
	Meta      metastore.Store
	Artifacts artifact.Store
	// RunDirs are folders of files and folders whose names begin with the id of
	// their run.
	RunDirs []string
	// Leftovers are patterns of filepath.Match for the names of leftovers, by
	// folder.
	Leftovers map[string][]string
	// Before is the time of the last change from which on everything stays: what
	// is younger may belong to a run that has yet to say so.
	Before time.Time
}

// MinAge is the least age of garbage.
const MinAge = time.Hour

// Before returns the time for a Yard: minAge ago, or, if that is earlier, the
// start of the oldest run that is RUNNING, other than self. A content is stored
// by a run before its row is; that row may come at the run's end.
func Before(ctx context.Context, meta metastore.Store, now time.Time, minAge time.Duration, self string) (time.Time, error) {
	before := now.Add(-minAge)
	running, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running, Except: self, Brief: true})
	if err != nil {
		return time.Time{}, err
	}
	for _, run := range running {
		// The file system's clock is not the registry's.
		if started := run.StartedAt.Add(-time.Minute); started.Before(before) {
			before = started
		}
	}
	return before, nil
}

// Find calls fn for everything that may go: artifacts by digest, then logs,
// then leftovers. The first error of fn, or ctx's cause, ends it.
func (y Yard) Find(ctx context.Context, fn func(Garbage) error) error {
	err := y.Artifacts.Each(ctx, func(c artifact.Content) error {
		g := Garbage{Kind: Artifact, Path: c.Path, Bytes: c.Bytes, content: c}
		if c.Digest == "" {
			g.Kind = Leftover
		}
		if !c.Written.Before(y.Before) {
			return nil
		}
		if used, err := y.used(ctx, g); used || err != nil {
			return err
		}
		return fn(g)
	})
	if err != nil {
		return err
	}
	for _, dir := range y.RunDirs {
		found, err := Entries(dir)
		if err != nil {
			return err
		}
		for _, e := range found {
			if len(e.Name()) < 36 || !registry.IsRunID(e.Name()[:36]) || !(e.IsDir() || e.Type().IsRegular()) {
				continue
			}
			g := Garbage{Kind: Log, Path: filepath.Join(dir, e.Name()), run: e.Name()[:36]}
			if err := y.offer(ctx, g, fn); err != nil {
				return err
			}
		}
	}
	for dir, patterns := range y.Leftovers {
		found, err := Entries(dir)
		if err != nil {
			return err
		}
		for _, e := range found {
			if !(e.IsDir() || e.Type().IsRegular()) || !matches(patterns, e.Name()) {
				continue
			}
			if err := y.offer(ctx, Garbage{Kind: Leftover, Path: filepath.Join(dir, e.Name())}, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// offer hands g on if it is old and unused.
func (y Yard) offer(ctx context.Context, g Garbage, fn func(Garbage) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	old, bytes := y.old(g.Path)
	if !old {
		return nil
	}
	g.Bytes = bytes
	if used, err := y.used(ctx, g); used || err != nil {
		return err
	}
	return fn(g)
}

// Remove removes one finding, if it is still old and unused: nobody can begin
// to use it meanwhile. It tells whether it did.
func (y Yard) Remove(ctx context.Context, g Garbage) (gone bool, err error) {
	err = y.Artifacts.Remove(ctx, func() error {
		if old, _ := y.old(g.Path); !old {
			return nil
		}
		if used, err := y.used(ctx, g); used || err != nil {
			return err
		}
		gone = true
		if g.content.Path != "" {
			return y.Artifacts.Discard(g.content)
		}
		if err := os.RemoveAll(g.Path); err != nil { // follows no link
			return quant.Errorf(quant.Store, "remove %s: %w", g.Path, err).WithHint("make its folder writable")
		}
		return nil
	})
	return gone && err == nil, err
}

func (y Yard) used(ctx context.Context, g Garbage) (bool, error) {
	switch g.Kind {
	case Artifact:
		return y.Meta.ArtifactUsed(ctx, g.content.Digest)
	case Log:
		_, err := y.Meta.GetRun(ctx, g.run)
		if errors.Is(err, quant.NotFound) {
			return false, nil
		}
		return err == nil, err
	default:
		return false, nil
	}
}

// old tells whether nothing at path was changed since y.Before, and how many
// bytes are there. Links are not followed. What is gone is not old.
func (y Yard) old(path string) (old bool, bytes int64) {
	old = true
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.ModTime().Before(y.Before) {
			old = false
			return fs.SkipAll
		}
		if info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return old && err == nil, bytes
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := filepath.Match(p, name); ok {
			return true
		}
	}
	return false
}

// Entries reads a folder; none, or a link in its place, has none.
func Entries(dir string) ([]fs.DirEntry, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, quant.Errorf(quant.Store, "read the folder %s: %w", dir, err).WithHint("make it readable")
	}
	return list, nil
}
