package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"quant"
	"quant/internal/lab/place"
	"quant/internal/registry"
)

// checkFiles looks at what belongs to runs and stands beside the Meta DB: the
// contents of artifacts, with Deep also byte by byte, logs, and what is left of
// a restore.
func (e *examination) checkFiles(ctx context.Context) {
	if e.Meta == nil {
		return
	}
	stored, err := e.Meta.StoredArtifacts(ctx)
	if err != nil {
		e.failed("run_artifacts", err)
		return
	}
	if e.Artifacts().Shared == nil || e.Artifacts().Shared.Bucket == nil {
		for _, a := range stored {
			if ctx.Err() != nil {
				return
			}
			e.content(ctx, a)
		}
	} else {
		e.objects(ctx, stored)
	}
	if n := len(e.contents); n > 0 {
		e.add(Note, "artifacts", "run `quant doctor` there", "contents that %s logged are on another machine or in another data folder", quant.Count(n, "run"))
	}
	if list, err := os.ReadDir(e.LogDir()); err == nil {
		e.logs(ctx, list)
	}
	e.leftovers(ctx)
	marked, err := e.Meta.Deletions(ctx, quant.Time{})
	if err != nil {
		e.failed("run_deletions", err)
		return
	}
	if len(marked) > 0 {
		e.add(Note, "runs", "`quant runs list --deleted` shows them, `quant runs purge --deleted` removes them for good", "%d are deleted", len(marked))
	}
}

// leftovers names what killed processes could not take away.
func (e *examination) leftovers(ctx context.Context) {
	left, err := e.Leftovers(ctx, e.store.Self)
	if err != nil {
		e.failed("temporary files", err)
		return
	}
	for _, l := range left {
		e.add(Note, l.Path, "`quant gc --yes` removes it once it is as old as its --min-age", "a process that was killed left it behind (%s)", quant.Count(int(l.Bytes), "byte"))
	}
}

// content checks that a content is there and has its size. Reading all of it
// can take long.
func (e *examination) content(ctx context.Context, a quant.Artifact) {
	const mend = "bring the file back from a backup, or log the artifact again"
	object := "artifact " + a.Digest
	path, err := e.Artifacts().Path(a.Digest)
	if err != nil {
		return // a rule of the table: Check has named it
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && e.contentsElsewhere(ctx, a.RunID):
		e.contents[a.RunID] = true
	case errors.Is(err, fs.ErrNotExist):
		e.add(Fault, object, mend, "its content is missing (%q of run %s)", a.Name, a.RunID)
	case err != nil:
		e.failed(object, quant.Errorf(quant.Store, "%s: %w", path, err).WithHint("make it readable"))
	case !info.Mode().IsRegular():
		e.add(Fault, object, mend, "its content %s is no regular file", path)
	case info.Size() != a.Bytes:
		e.add(Fault, object, mend, "its content has %d bytes, not %d (%q of run %s)", info.Size(), a.Bytes, a.Name, a.RunID)
	case e.Deep:
		if err := e.Artifacts().Verify(ctx, a.Digest); err != nil {
			e.add(Fault, object, mend, "%v (%q of run %s)", err, a.Name, a.RunID)
		}
	}
}

// logs counts those whose runs are gone.
func (e *examination) logs(ctx context.Context, list []fs.DirEntry) {
	orphans, some := 0, ""
	for _, entry := range list {
		if len(entry.Name()) < 36 || !registry.IsRunID(entry.Name()[:36]) {
			continue
		}
		id := entry.Name()[:36]
		found, err := e.Meta.ResolveRun(ctx, id)
		if err != nil {
			e.failed("run "+id, err)
			return
		}
		if len(found) == 0 {
			if orphans++; some == "" {
				some = entry.Name()
			}
		}
	}
	switch {
	case orphans > 0 && e.unsalvaged != "":
		e.add(Note, e.LogDir(), "", "%d logs are of runs that are not recorded here, such as %s; %s may have them", orphans, some, e.unsalvaged)
	case orphans > 0:
		e.add(Note, e.LogDir(), "`quant gc` shows and removes them", "%d logs are of runs that are gone, such as %s", orphans, some)
	}
}

// restored names what restores moved aside.
func (e *examination) restored() {
	for _, path := range []string{e.MetaPath, e.FactPath, e.ArtifactDir(), e.LogDir()} {
		aside, _ := filepath.Glob(place.Literal(path) + place.Aside + "*")
		for _, old := range aside {
			if !strings.HasSuffix(old, "-wal") && !strings.HasSuffix(old, "-shm") && !strings.HasSuffix(old, ".wal") && !strings.HasSuffix(old, ".lock") {
				e.add(Note, old, "delete it once you need nothing in it any more", "it was moved aside by a restore")
			}
		}
	}
}
