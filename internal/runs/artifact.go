package runs

import (
	"context"

	"quant"
	"quant/internal/metastore"
)

// Artifact returns the artifact of a run that has this name. NotFound: it has
// none.
func Artifact(ctx context.Context, meta metastore.Store, runID, name string) (quant.Artifact, error) {
	list, err := meta.Artifacts(ctx, runID)
	if err != nil {
		return quant.Artifact{}, err
	}
	for _, a := range list {
		if a.Name == name {
			return a, nil
		}
	}
	return quant.Artifact{}, quant.Errorf(quant.NotFound, "run %s has no artifact %q", runID, quant.Clip(name, 200)).
		WithHint("`quant runs artifact %s` lists them", quant.ShortID(runID))
}
