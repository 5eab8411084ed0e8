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
	return allOf(r.RunID, records)
}

type record struct {
	run      string
	validate func() error
}

// ClientRecords are what clients of MLflow know of a run beside what quant does.
type ClientRecords struct {
	RunClient
	Latest   []LatestMetric      // of the metrics that clients logged, by name
	NaNs     []quant.MetricPoint // by name and in the order of logging; Value is not looked at
	Datasets []quant.RunDataset  // by name and digest
	Models   []quant.RunModel    // by direction, model and step
}

// Validate reports something that is not of the run, or breaks a rule, as Invalid.
func (c ClientRecords) Validate() error {
	if n := len(c.ClientID); n < 1 || n > 256 {
		return quant.Errorf(quant.Invalid, "run %s: what clients call it by has %d bytes", c.RunID, n)
	}
	var records []record
	for _, m := range c.Latest {
		records = append(records, record{m.RunID, func() error { return quant.ValidateRecordName("metric", m.Name) }})
	}
	for _, p := range c.NaNs {
		records = append(records, record{p.RunID, func() error { return quant.ValidateRecordName("metric", p.Name) }})
	}
	for _, d := range c.Datasets {
		records = append(records, record{d.RunID, d.Validate})
	}
	for _, m := range c.Models {
		records = append(records, record{m.RunID, m.Validate})
	}
	return allOf(c.RunID, records)
}

// allOf checks records of one run.
func allOf(runID string, records []record) error {
	for _, one := range records {
		if one.run != runID {
			return quant.Errorf(quant.Invalid, "run %s: something of run %q is among its records", runID, one.run)
		}
		if one.validate == nil {
			continue
		}
		if err := one.validate(); err != nil {
			return quant.Errorf(quant.Invalid, "run %s: %w", runID, err)
		}
	}
	return nil
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
	// ClientRecordsOf returns what only clients of MLflow know of a run; found is false
	// for one that no client made.
	ClientRecordsOf(ctx context.Context, runID string) (records ClientRecords, found bool, err error)
	// ImportClientRecords stores what only clients know of an imported run whose points
	// are all there, and puts it into an experiment, in one commit. Errors: Invalid for
	// what is not of this run; Conflict for a run that was not imported, or that clients
	// know already.
	ImportClientRecords(ctx context.Context, records ClientRecords, experimentID string) error
	// Imports returns the marks of all imported runs, by run.
	Imports(ctx context.Context) ([]quant.Import, error)
}
