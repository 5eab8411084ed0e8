package metastore

import (
	"context"

	"quant"
)

// Foreign is what bringing a store of MLflow over takes beside Tracking and Registered.
type Foreign interface {
	// ImportClientExperiment stores an experiment with its tags, as it was elsewhere, in
	// one durable commit, unless there is one of its name, active or not: that one is
	// returned as it is, with isNew false. e has no ExperimentID: it is made of the
	// number, which is e's if that is not negative and free, else the next. Errors:
	// Invalid.
	ImportClientExperiment(ctx context.Context, e ClientExperiment, tags []ExperimentTag) (stored ClientExperiment, isNew bool, err error)
	// MarkImported marks a run that has ended as one that ran elsewhere. Errors: NotFound;
	// Conflict for a run that is RUNNING, or marked already.
	MarkImported(ctx context.Context, mark quant.Import) error
}
