package metastore

import (
	"context"

	"quant"
)

// EndedRun is a run that has ended, with everything recorded of it but its
// points: what is carried from one lab to another.
type EndedRun struct {
	RunDetail
	IO      []quant.RunIO
	Batch   Batch          // without Metrics
	Program *quant.Program // nil: it ran none
}

// Validate reports the first rule that the run, or something recorded of it,
// breaks, as Invalid.
func (r EndedRun) Validate() error {
	if err := r.Run.Validate(); err != nil {
		return err
	}
	if err := validFacts(r.RunID, r.Status, r.Process.Facts); err != nil {
		return err
	}
	if r.Status == quant.Running {
		return quant.Errorf(quant.Invalid, "run %s: it has not ended", r.RunID)
	}
	if len(r.Batch.Metrics) > 0 {
		return quant.Errorf(quant.Invalid, "run %s: its points come after it", r.RunID)
	}
	records := []record{{r.Process.RunID, nil}}
	if r.Program != nil {
		records = append(records, record{r.Program.RunID, nil})
	}
	for _, io := range r.IO {
		records = append(records, record{io.RunID, io.Validate})
	}
	for _, p := range r.Batch.Params {
		records = append(records, record{p.RunID, p.Validate})
	}
	for _, t := range r.Batch.Tags {
		records = append(records, record{t.RunID, t.Validate})
	}
	for _, n := range r.Batch.Notes {
		records = append(records, record{n.RunID, n.Validate})
	}
	for _, a := range r.Batch.Artifacts {
		records = append(records, record{a.RunID, a.Validate})
	}
	for _, one := range records {
		if one.run != r.RunID {
			return quant.Errorf(quant.Invalid, "run %s: something of run %q is among its records", r.RunID, one.run)
		}
		if one.validate == nil {
			continue
		}
		if err := one.validate(); err != nil {
			return quant.Errorf(quant.Invalid, "run %s: %w", r.RunID, err)
		}
	}
	return nil
}

type record struct {
	run      string
	validate func() error
}

// Portable is what carrying runs from one lab to another takes.
type Portable interface {
	// Snapshot runs fn with one state of the database: what its reads find does
	// not change while others write. A write with fn's ctx is refused. fn must not
	// keep that ctx. Inside a Tx it joins that.
	Snapshot(ctx context.Context, fn func(ctx context.Context) error) error
	// IsDeleted tells whether the run exists and is marked as deleted.
	IsDeleted(ctx context.Context, runID string) (bool, error)
	// EachPoint calls fn for every point of a run, by metric in byte order and
	// number, one at a time. fn must not use the store.
	EachPoint(ctx context.Context, runID string, fn func(quant.MetricPoint) error) error
	// ImportRun stores a run that has ended elsewhere, as it is, with its
	// companions, and marks it as imported, in one commit. Errors: Conflict if the
	// id exists; Invalid for what breaks a rule, or is not of this run.
	ImportRun(ctx context.Context, r EndedRun, mark quant.Import) error
	// ImportPoints stores points of an imported run: of each metric those that
	// follow the ones it has, in their order. Errors: Invalid for what breaks a
	// rule or is numbered otherwise; Conflict for a run that was not imported.
	ImportPoints(ctx context.Context, points []quant.MetricPoint) error
	// Imports returns the marks of all imported runs, by run.
	Imports(ctx context.Context) ([]quant.Import, error)
}
