// Package tracking is what clients that speak MLflow's protocol make of a lab:
// their experiments, runs, datasets and models, as runs and experiments of quant.
// It owns the rules (what an id means, how a run is resumed, what a name may be);
// the documents on the wire are those of server/mlflow, the rows the metastore's.
package tracking

import (
	"context"
	"sync"
	"time"

	"quant"
	"quant/internal/artifact"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Kind is the kind of the runs that clients make.
const Kind = "mlflow"

// Options are what a Tracking rests on.
type Options struct {
	Store     metastore.Store
	Registry  *registry.Registry // masks, and makes the ids of runs
	Artifacts artifact.Store     // the contents of files
	Now       func() time.Time   // nil: time.Now
	// RunID is the run that serving is recorded as: it deletes what clients delete.
	RunID string
	// Lease is how long a client may be silent before Sweep takes its run for
	// abandoned; 0: DefaultLease.
	Lease time.Duration
	// Datasets makes a condition on the runs that have a dataset; nil: by what was
	// logged of them.
	Datasets func(ctx context.Context, c DatasetCondition) (metastore.Expr, error)
}

// Tracking is a lab as MLflow's clients see it. Safe for concurrent use.
type Tracking struct {
	Options

	writes committer
	life   lives

	numbers sync.Map // of experiments, by their ids

	ready sync.Mutex
	begun bool // the default experiment is there
	named bool // clients know all of their runs by ids
}

// New makes it; it touches nothing yet.
func New(o Options) *Tracking {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	if o.Datasets == nil {
		o.Datasets = datasetCondition
	}
	t := &Tracking{Options: o}
	t.writes.store = o.Store
	return t
}

func (t *Tracking) now() quant.Time { return quant.NewTime(t.Now()) }

// millis is a time as clients say it.
func millis(t quant.Time) int64 { return t.UnixMilli() }

// lastMillis is the last moment of the year 9999, the last that is stored.
const lastMillis = 253402300799999

// timeOf is a time that a client says; Invalid for one that cannot be stored.
func timeOf(name string, ms int64) (quant.Time, error) {
	if ms < 0 || ms > lastMillis {
		return quant.Time{}, invalidf("Invalid value %d for parameter '%s' supplied: it is not a number of milliseconds since 1970 before the year 10000", ms, name)
	}
	return quant.NewTime(time.UnixMilli(ms)), nil
}
