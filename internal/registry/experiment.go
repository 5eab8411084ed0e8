package registry

import (
	"context"
	"errors"

	"quant"
	"quant/internal/metastore"
)

// ResolveExperiment finds the experiment that ref names: its id, or its name if
// only one has it. Errors: NotFound, or Invalid for a name of several.
func ResolveExperiment(ctx context.Context, store metastore.Store, ref string) (string, error) {
	found, err := store.GetExperiment(ctx, ref)
	if err == nil {
		return found.ExperimentID, nil
	}
	if !errors.Is(err, quant.NotFound) {
		return "", err
	}
	named, err := store.ListExperiments(ctx, metastore.ExperimentFilter{Name: ref, Limit: 3})
	switch {
	case err != nil:
		return "", err
	case len(named) == 1:
		return named[0].ExperimentID, nil
	case len(named) == 0:
		return "", quant.Errorf(quant.NotFound, "there is no experiment %q", ref).
			WithHint("`quant experiments list` shows them, `quant experiments create` makes one")
	}
	return "", quant.Errorf(quant.Invalid, "more than one experiment is named %q", ref).
		WithHint("give an id: %s, %s", named[0].ExperimentID, named[1].ExperimentID)
}
