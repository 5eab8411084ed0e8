package doctor

import (
	"context"
	"errors"

	"quant"
	"quant/internal/artifact"
)

// objects checks that the bucket of the lab has every content that a run names, whole as
// far as its length tells; with Deep it reads them. One that this machine alone has is put
// there with Fix.
func (e *examination) objects(ctx context.Context, stored []quant.Artifact) {
	const mend = "log the artifact again, or bring the object back from a version of the bucket"
	store := e.Artifacts()
	there := map[string]int64{}
	err := store.Each(ctx, func(c artifact.Content) error {
		if c.Object {
			there[c.Digest] = c.Bytes
		}
		return nil
	})
	if err != nil {
		e.failed("artifacts", err)
		return
	}
	for _, a := range stored {
		if ctx.Err() != nil {
			return
		}
		object := "artifact " + a.Digest
		bytes, found := there[a.Digest]
		switch {
		case !found:
			e.missing(ctx, store, a)
		case bytes != a.Bytes:
			e.add(Fault, object, mend, "the object %s has %d bytes, not %d (%q of run %s)", store.Where(a.Digest), bytes, a.Bytes, a.Name, a.RunID)
		case e.Deep:
			if err := store.Verify(ctx, a.Digest); err != nil {
				e.add(Fault, object, mend, "%v (%q of run %s)", err, a.Name, a.RunID)
			}
		}
	}
}

// missing says of a content that the bucket lacks where it may be, and with Fix puts it
// there where this machine has it.
func (e *examination) missing(ctx context.Context, store artifact.Store, a quant.Artifact) {
	object := "artifact " + a.Digest
	here := artifact.Store{Dir: store.Dir}
	switch err := here.Verify(ctx, a.Digest); {
	case err == nil && e.Fix:
		if _, err := store.Upload(ctx, a.Digest); err != nil {
			e.failed(object, err)
			return
		}
		e.add(Fixed, object, "", "its content was on this machine alone, and was put into %s (%q of run %s)", store.Where(a.Digest), a.Name, a.RunID)
	case err == nil:
		e.add(Warning, object, "`quant doctor --fix` puts it there", "its content is on this machine alone, not at %s (%q of run %s)", store.Where(a.Digest), a.Name, a.RunID)
	case errors.Is(err, quant.NotFound) && e.contentsElsewhere(ctx, a.RunID):
		e.add(Fault, object, "run `quant doctor --fix` on the machine that logged it", "the object %s is missing (%q of run %s)", store.Where(a.Digest), a.Name, a.RunID)
	default:
		e.add(Fault, object, "log the artifact again, or bring the object back from a version of the bucket", "the object %s is missing (%q of run %s)", store.Where(a.Digest), a.Name, a.RunID)
	}
}
