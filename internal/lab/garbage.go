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
	"quant/internal/durable"
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
	// Copy is a file of this machine whose content all machines of the lab share.
	Copy Kind = "copy"
	// ReadingRun is garbage only where it is asked for.
	ReadingRun Kind = "reading run"
)

// MinAge is the least age of garbage: what is younger may belong to a run that has
// yet to say so.
const MinAge = time.Hour

// CollectOptions say what is collected.
type CollectOptions struct {
	MinAge time.Duration // what is younger stays; at least MinAge
	Remove bool          // else it is only counted
	// Reads also clears reading runs that ended before ReadsBefore.
	Reads       bool
	ReadsBefore time.Time
}

// Collected is what was found, and with Remove removed.
type Collected struct {
	Before time.Time // what is younger stayed
	Found  []Count   // one a kind
	// Held are the Meta DBs that were moved aside and not wholly taken over: what no
	// run of this one refers to may be theirs, and no artifact and no log is garbage.
	Held []string
	// ReadsPerSecond is how fast reading runs were cleared; nil without any.
	ReadsPerSecond *float64
	IO             []quant.RunIO // what was removed
}

// Count is how much there is of a kind of garbage.
type Count struct {
	Kind  Kind  `json:"kind"`
	Count int64 `json:"count"`
	Bytes int64 `json:"bytes"`
}

// Collect finds, and on request removes, what nothing in the lab refers to and old
// reading runs; self is the run that does. What an open run may yet refer to stays,
// however old it is. After an error it tells what was removed before. Errors: Usage
// for an age less than MinAge; Store; ctx's cause.
func (l *Lab) Collect(ctx context.Context, self string, o CollectOptions) (done Collected, err error) {
	if o.MinAge < MinAge {
		return done, quant.Errorf(quant.Usage, "--min-age %s is less than %s", o.MinAge, MinAge).
			WithHint("what is that young may belong to a run that has yet to say so")
	}
	meta, err := l.MetaDB()
	if err != nil {
		return done, err
	}
	if done.Before, err = youngest(ctx, meta, l.Now(), o.MinAge, self); err != nil {
		return done, err
	}
	if o.Reads {
		if err := done.clearReads(ctx, meta, quant.NewTime(o.ReadsBefore), o.Remove); err != nil {
			return done, err
		}
	}
	y, err := l.yard(ctx, meta, done.Before)
	if err != nil {
		return done, err
	}
	unsalvaged, err := l.Unsalvaged()
	if err != nil {
		return done, err
	}
	for _, a := range unsalvaged {
		done.Held = append(done.Held, a.Path)
	}
	y.Held = len(unsalvaged) > 0
	counts := map[Kind]*Count{}
	kinds := []Kind{Artifact, Log, Leftover}
	if y.Artifacts.Shared != nil || y.Near != "" {
		kinds = append(kinds, Copy)
	}
	for _, kind := range kinds {
		counts[kind] = &Count{Kind: kind}
	}
	err = y.find(ctx, func(g garbage) error {
		if o.Remove {
			if gone, err := y.remove(ctx, g); err != nil || !gone {
				return err
			}
		}
		counts[g.Kind].Count++
		counts[g.Kind].Bytes += g.Bytes
		return nil
	})
	if o.Remove && err == nil {
		var n int
		n, err = y.Artifacts.RemoveUnfinished(ctx, y.Before)
		counts[Leftover].Count += int64(n)
	}
	if o.Remove && err == nil {
		var n int
		n, err = y.Staged.removeUnfinished(ctx, y.Before)
		counts[Leftover].Count += int64(n)
	}
	for _, kind := range kinds {
		done.Found = append(done.Found, *counts[kind])
		if n := counts[kind].Count; o.Remove && n > 0 {
			done.IO = append(done.IO, quant.RunIO{Direction: quant.Out, Kind: quant.IORemoved, Name: string(kind), Rows: &n})
		}
	}
	if o.Remove && err == nil {
		err = y.forgetTargets()
	}
	return done, err
}

// readsAtOnce is how many runs one commit looks at: few enough that nobody
// waits long for the Meta DB.
const readsAtOnce = 2000

// clearReads counts, and on request clears, old reading runs.
func (c *Collected) clearReads(ctx context.Context, meta metastore.Store, before quant.Time, remove bool) error {
	if !remove {
		n, err := meta.CountReads(ctx, before)
		c.Found = append(c.Found, Count{Kind: ReadingRun, Count: n})
		return err
	}
	begun, total := time.Now(), int64(0)
	defer func() {
		if total > 0 {
			c.IO = append(c.IO, quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: "runs", Rows: &total})
		}
	}()
	for after := ""; ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		gone, next, err := meta.ClearReads(ctx, before, after, readsAtOnce)
		if err != nil {
			return err
		}
		total += gone
		if after = next; next == "" {
			break
		}
	}
	c.Found = append(c.Found, Count{Kind: ReadingRun, Count: total})
	if total > 0 {
		speed := float64(total) / max(time.Since(begun).Seconds(), 1e-6)
		c.ReadsPerSecond = &speed
	}
	return nil
}

// garbage is one file or folder that may go.
type garbage struct {
	Kind  Kind
	Path  string
	Bytes int64

	content artifact.Content
	run     string
	staged  string // the run whose outputs in a bucket it is; "": it is none
}

// yard is where garbage is looked for.
type yard struct {
	Meta      metastore.Store
	Artifacts artifact.Store
	// RunDirs are folders of files and folders whose names begin with the id of
	// their run.
	RunDirs []string
	// Leftovers are patterns of filepath.Match for the names of leftovers, by
	// folder.
	Leftovers map[string][]string
	// Near is the folder of blocks of a lake in a bucket; "": there are none. Their times
	// are those of their last use.
	Near string
	// Staged are outputs of units in a bucket; nil: they are in no bucket.
	Staged *stagedObjects
	// Targets are the notes of files outside the lab that a run wanted to make which
	// has ended.
	Targets []target
	// Before is the time of the last change from which on everything stays.
	Before time.Time
	// Held: artifacts and logs stay, whoever refers to them.
	Held bool
}

// youngest returns the time for a yard: minAge ago, or, if that is earlier, the
// start of the oldest run that is RUNNING, other than self. A content is stored
// by a run before its row is; that row may come at the run's end.
func youngest(ctx context.Context, meta metastore.Store, now time.Time, minAge time.Duration, self string) (time.Time, error) {
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

// find calls fn for everything that may go: artifacts by digest, then logs,
// then leftovers. The first error of fn, or ctx's cause, ends it.
func (y yard) find(ctx context.Context, fn func(garbage) error) error {
	err := y.Artifacts.Each(ctx, func(c artifact.Content) error {
		g := garbage{Kind: Artifact, Path: c.Path, Bytes: c.Bytes, content: c}
		switch {
		case c.Digest == "":
			g.Kind = Leftover
		case c.Copy:
			g.Kind = Copy
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
			g := garbage{Kind: Log, Path: filepath.Join(dir, e.Name()), run: e.Name()[:36]}
			if err := y.offer(ctx, g, fn); err != nil {
				return err
			}
		}
	}
	if y.Near != "" {
		found, err := Entries(y.Near)
		if err != nil {
			return err
		}
		for _, e := range found {
			if e.Type().IsRegular() && !durable.IsTemporary(e.Name()) {
				if err := y.offer(ctx, garbage{Kind: Copy, Path: filepath.Join(y.Near, e.Name())}, fn); err != nil {
					return err
				}
			}
		}
	}
	return y.findLeftovers(ctx, fn)
}

// offer hands g on if it is old and unused.
func (y yard) offer(ctx context.Context, g garbage, fn func(garbage) error) error {
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

// remove removes one finding, if it is still old and unused: nobody can begin
// to use it meanwhile. It tells whether it did.
func (y yard) remove(ctx context.Context, g garbage) (gone bool, err error) {
	if g.staged != "" {
		return y.Staged.remove(ctx, g.staged, y.Before)
	}
	if g.content.Object {
		return y.Artifacts.RemoveObject(ctx, g.content, y.Before, func() (bool, error) { return y.used(ctx, g) })
	}
	err = y.Artifacts.Remove(ctx, func() error {
		if old, _ := y.old(g.Path); !old {
			return nil
		}
		if used, err := y.used(ctx, g); used || err != nil {
			return err
		}
		gone = true
		if g.content.Path != "" {
			return y.Artifacts.Delete(g.content)
		}
		if err := os.RemoveAll(g.Path); err != nil { // follows no link
			return quant.Errorf(quant.Store, "remove %s: %w", g.Path, err).WithHint("make its folder writable")
		}
		return nil
	})
	return gone && err == nil, err
}

func (y yard) used(ctx context.Context, g garbage) (bool, error) {
	switch g.Kind {
	case Artifact, Log:
		if y.Held {
			return true, nil
		}
	}
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
func (y yard) old(path string) (old bool, bytes int64) {
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
