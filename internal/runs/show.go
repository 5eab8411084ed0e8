package runs

import (
	"context"

	"quant"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
)

// Report is everything that is known about a run.
type Report struct {
	quant.Run
	Process  quant.RunProcess      `json:"process"`
	Role     quant.Text            `json:"role"` // of the database, that recorded it; null: the database has none
	Inputs   []quant.RunIO         `json:"inputs"`
	Outputs  []quant.RunIO         `json:"outputs"`
	Ledger   []factstore.LedgerRow `json:"ledger"` // null: not read
	Children []Row                 `json:"children"`

	Name      quant.Text       `json:"name"`
	Params    []quant.Param    `json:"params"`
	Metrics   []Metric         `json:"metrics"`
	Tags      []quant.Tag      `json:"tags"`
	Notes     []quant.Note     `json:"notes"`
	Artifacts []quant.Artifact `json:"artifacts"`
	Program   *quant.Program   `json:"program"` // null: it ran none
	Deletion  *quant.Deletion  `json:"deletion"`
	Import    *quant.Import    `json:"import"`

	// LedgerErr says why the ledger could not be read.
	LedgerErr error `json:"-"`
}

// sampled is how many points of a metric are read to show its course.
const sampled = 40

// Metric is a metric with some of its points, spread evenly.
type Metric struct {
	quant.Metric
	Sample []float64 `json:"sample"`
}

// RoleOf is the role of the database that recorded a run; "": a file has none. Errors:
// Store.
func RoleOf(ctx context.Context, meta metastore.Store, id string) (quant.Text, error) {
	db, has := meta.(interface {
		RoleOf(ctx context.Context, runID string) (string, error)
	})
	if !has {
		return "", nil
	}
	role, err := db.RoleOf(ctx, id)
	return quant.Text(role), err
}

// Show reads everything that is known about a run. The ledger is read without
// waiting for the Fact DB. Errors: NotFound, Store.
func Show(ctx context.Context, s *session.Session, id string) (Report, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return Report{}, err
	}
	run, err := meta.GetRun(ctx, id)
	if err != nil {
		return Report{}, err
	}
	report := Report{Run: run.Run, Process: run.Process, Inputs: []quant.RunIO{}, Outputs: []quant.RunIO{}}
	if report.Role, err = RoleOf(ctx, meta, id); err != nil {
		return Report{}, err
	}
	all, err := meta.RunIO(ctx, id)
	if err != nil {
		return Report{}, err
	}
	for _, io := range all {
		if io.Direction == quant.In {
			report.Inputs = append(report.Inputs, io)
		} else {
			report.Outputs = append(report.Outputs, io)
		}
	}
	children, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Parent: id})
	if err != nil {
		return Report{}, err
	}
	report.Children = rows(children)
	if err := report.readRecords(ctx, meta, id); err != nil {
		return Report{}, err
	}
	report.Ledger, report.LedgerErr = ledgerOf(ctx, s, run)
	return report, nil
}

// ledgerOf reads the ledger rows of a run without waiting for the Fact DB.
func ledgerOf(ctx context.Context, s *session.Session, run metastore.RunDetail) ([]factstore.LedgerRow, error) {
	if !run.Process.Changes || !s.HasFactDB() {
		return []factstore.LedgerRow{}, nil
	}
	return s.Facts().Ledger(ctx, run.RunID)
}

// readRecords fills in what the run recorded of itself and what became of it.
func (r *Report) readRecords(ctx context.Context, meta metastore.Store, id string) error {
	found, err := meta.RecordsOf(ctx, []string{id})
	if err != nil {
		return err
	}
	notes, err := meta.Notes(ctx, id)
	if err != nil {
		return err
	}
	marks, err := meta.MarksOf(ctx, id)
	if err != nil {
		return err
	}
	r.Params, r.Tags, r.Notes, r.Artifacts = nonNil(found.Params), nonNil(found.Tags), nonNil(notes), nonNil(found.Artifacts)
	r.Deletion, r.Import = marks.Deletion, marks.Import
	if len(found.Programs) > 0 {
		r.Program = &found.Programs[0]
	}
	for _, t := range r.Tags {
		if t.Name == quant.NameTag {
			r.Name = quant.Text(t.Value)
		}
	}
	r.Metrics = []Metric{}
	for _, m := range found.Metrics {
		points, err := meta.MetricSample(ctx, id, m.Name, sampled)
		if err != nil {
			return err
		}
		shown := Metric{m, []float64{}}
		for _, p := range points {
			shown.Sample = append(shown.Sample, p.Value)
		}
		r.Metrics = append(r.Metrics, shown)
	}
	return nil
}

// nonNil is a list that is never null in JSON.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
