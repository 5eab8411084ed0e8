package runs

import (
	"context"
	"errors"

	"quant"
	"quant/internal/metastore"
)

// Artifact returns the artifact of a run that has this name. NotFound: it has
// none.
func Artifact(ctx context.Context, meta metastore.Store, runID, name string) (quant.Artifact, error) {
	a, err := meta.ArtifactOf(ctx, runID, name)
	if errors.Is(err, quant.NotFound) {
		err = quant.Errorf(quant.NotFound, "run %s has no artifact %q", runID, quant.Clip(name, 200)).
			WithHint("`quant runs artifact %s` lists them", quant.ShortID(runID))
	}
	return a, err
}
