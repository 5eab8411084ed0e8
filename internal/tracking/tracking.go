// Package tracking is what clients that speak MLflow's protocol make of a lab:
// their experiments, runs, datasets and models, as runs and experiments of quant.
// It owns the rules (what an id means, how a run is resumed, what a name may be);
// the documents on the wire are those of server/mlflow, the rows the metastore's.
package tracking

import (
	"errors"
	"time"

	"quant/internal/artifact"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Options are what a Tracking rests on.
type Options struct {
	Store     metastore.Store
	Registry  *registry.Registry // masks, and makes the ids of runs
	Artifacts artifact.Store     // the contents of files
	Now       func() time.Time   // nil: time.Now
}

// Tracking is a lab as MLflow's clients see it. Safe for concurrent use.
type Tracking struct {
	Options
}

// New makes it; it touches nothing yet.
func New(o Options) *Tracking {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Tracking{Options: o}
}

// Marks of errors that a code of quant does not tell apart.
var (
	ErrExists = errors.New("it exists already")              // of a name that is taken
	ErrState  = errors.New("its state does not allow it")    // of what must be active or deleted first
	ErrLimit  = errors.New("it has more than a request may") // of a batch or a text that is too long
)
