// Package metastore is the contract of the Meta DB: what exists (symbols,
// experiments, models) and what happened (runs and their companions). It holds
// no SQL; each backend lives in a folder of its own (sqlite) and must pass the
// behaviour suite in metastoretest.
//
// Every method may be called from several goroutines. Errors carry a
// quant.Code: NotFound, Conflict, Invalid, Locked (somebody else holds the
// database), Store (missing, damaged, foreign or too new).
package metastore

import (
	"context"

	"quant"
)

// Store is one open Meta DB: what every backend has. What only a backend in a
// file has is a FileStore's.
type Store interface {
	// Tx runs fn in one transaction: committed when fn returns nil, rolled
	// back when it returns an error or panics. A Tx inside a Tx joins it; when
	// the inner one fails the outer one can no longer commit, even if its fn
	// swallows the error. Methods called with the ctx that fn receives are part
	// of the transaction, and only those. fn must not keep that ctx.
	Tx(ctx context.Context, fn func(ctx context.Context) error) error

	Symbols
	Experiments
	Models
	Runs
	Records
	Overview
	Parts
	Deletions
	Portable
	Searches
	Tracking
	Tokens
	Registered
	Foreign
	Whole

	// Tables returns every table with its number of rows, in name order.
	Tables(ctx context.Context) ([]TableCount, error)
	// Check examines the database (integrity, constraints, foreign keys,
	// values that a hand-written statement could have stored) and returns what
	// is wrong, worst first; nil when all is well.
	Check(ctx context.Context) ([]Problem, error)
	// Close ends the use of the store; a second call does nothing.
	Close() error
}

// TableCount is one table and its number of rows.
type TableCount struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
}

// Problem is one finding of Check.
type Problem struct {
	Object string // table, row or file that is concerned
	What   string // what is wrong
	Mend   string // what to do about it
}

// Symbols is the repository of symbols.
type Symbols interface {
	CreateSymbol(ctx context.Context, s quant.Symbol) error // Conflict if the ticker exists
	GetSymbol(ctx context.Context, symbol string) (quant.Symbol, error)
	ListSymbols(ctx context.Context, f SymbolFilter) ([]quant.Symbol, error)
	UpdateSymbol(ctx context.Context, s quant.Symbol) error
	DeleteSymbol(ctx context.Context, symbol string) error
	// EnsureSymbols adds those tickers that are missing, with default values,
	// in one statement for each batch, and returns the ones it added, sorted.
	EnsureSymbols(ctx context.Context, tickers []string) ([]string, error)
}

// SymbolFilter selects symbols; the zero filter selects all, by ticker in byte
// order.
type SymbolFilter struct {
	Active   *bool
	Sector   string
	Currency string
	Order    Order // symbol (default), name, priority
	Limit    int   // 0: no limit
}

// Order names a column, with "-" before it for descending order. The key
// breaks ties, ascending. An unknown column is Invalid.
type Order string

// Experiments is the repository of experiments.
type Experiments interface {
	CreateExperiment(ctx context.Context, e quant.Experiment) error
	GetExperiment(ctx context.Context, id string) (quant.Experiment, error)
	ListExperiments(ctx context.Context, f ExperimentFilter) ([]quant.Experiment, error)
	UpdateExperiment(ctx context.Context, e quant.Experiment) error
}

// ExperimentFilter selects experiments; the zero filter selects all, newest
// first.
type ExperimentFilter struct {
	Name  string
	Order Order // -created_at (default), name, experiment_id
	Limit int
}

// Models is the repository of models.
type Models interface {
	CreateModel(ctx context.Context, m quant.Model) error // NotFound if its experiment does not exist
	GetModel(ctx context.Context, id string) (quant.Model, error)
	ListModels(ctx context.Context, f ModelFilter) ([]quant.Model, error)
	UpdateModel(ctx context.Context, m quant.Model) error
}

// ModelFilter selects models; the zero filter selects all, newest first.
type ModelFilter struct {
	ExperimentID string
	Algo         string
	Order        Order // -created_at (default), algo, model_id
	Limit        int
}

// RunDetail is a run with its process.
type RunDetail struct {
	quant.Run
	Process quant.RunProcess `json:"process"`
}

// Runs is the repository of runs and their companions. A run id is a version 7
// UUID whose head is its start time, so that id order is time order; lists are
// newest first by id.
type Runs interface {
	// CreateRun stores a RUNNING run with its process, in one durable commit.
	// Conflict if the id exists.
	CreateRun(ctx context.Context, r quant.Run, p quant.RunProcess) error
	// UpdateRunConfig replaces config_json of a RUNNING run and stores a batch, as
	// Log does, in one durable commit: Conflict if it has ended, NotFound if there
	// is none.
	UpdateRunConfig(ctx context.Context, runID string, config quant.JSON, b Batch) error
	// FinishRun closes a RUNNING run, with its inputs and outputs, in one
	// durable commit. Conflict if it has ended already (nothing is changed),
	// NotFound if there is none.
	FinishRun(ctx context.Context, end RunEnd) error
	// FinishRuns closes those of several runs that are RUNNING, all alike and in one
	// durable commit, and returns their ids; the others are left alone. end has a
	// status, a time, a text and facts, and nothing else: Invalid.
	FinishRuns(ctx context.Context, runIDs []string, end RunEnd) (closed []string, err error)
	// SettleFacts replaces what a FAIL run says of its facts, in its error_text
	// and in its process, once somebody has checked.
	SettleFacts(ctx context.Context, runID string, facts quant.Facts, errorText string) error
	GetRun(ctx context.Context, runID string) (RunDetail, error)
	// ListRuns costs no more than what it returns, however many runs there are,
	// for every single filter. Several together cost what one of them selects;
	// leaving out the runs that only read counts as a filter beside Kind, Status
	// and Parent.
	ListRuns(ctx context.Context, f RunFilter) ([]RunDetail, error)
	// RunningOn returns the RUNNING runs of a machine, newest first, without
	// ConfigJSON and Argv: at most limit (0: all), whose ids are less than before
	// ("": any). It costs no more than what it returns, however many runs of other
	// machines are RUNNING.
	RunningOn(ctx context.Context, machineID, before string, limit int) ([]RunDetail, error)
	// CountRunningOn is how many there are.
	CountRunningOn(ctx context.Context, machineID string) (int64, error)
	// ResolveRun returns the ids of at most three runs whose id is ref, begins
	// with ref, or ends with ref (at least 4 characters), by index. An exact id
	// is returned alone. ref is lower case.
	ResolveRun(ctx context.Context, ref string) ([]string, error)
	// RunIO returns what a run read and wrote, inputs first, then by kind and name, snapshots
	// of a lake last.
	RunIO(ctx context.Context, runID string) ([]quant.RunIO, error)
	// ListOutputs returns what all runs wrote of one kind, newest run first, then
	// by name, in one pass.
	ListOutputs(ctx context.Context, kind string) ([]quant.RunIO, error)
	// IONames returns the names of a kind that runs read or wrote, each once, in order.
	IONames(ctx context.Context, kind string) ([]string, error)
	// EachClaim calls fn for every run that says something of facts: that it changed
	// a table, or how it failed. Newest first, deleted ones too; none is kept. The
	// first error of fn ends it and is returned.
	EachClaim(ctx context.Context, fn func(Claim) error) error
}

// Claim is what the record of a run says of the facts that it changed.
type Claim struct {
	RunID, Kind string
	Status      quant.Status
	Tables      []string    // of which it says that it changed rows, in order
	Facts       quant.Facts // of a run that failed
	ErrorText   string      // where Facts is FactsNotChecked
	Changes     bool        // it may have changed something
	Imported    bool        // it ran in another lab, on that one's facts
}

// RunEnd is how a run ends.
type RunEnd struct {
	RunID      string
	Status     quant.Status // SUCCESS or FAIL
	EndedAt    quant.Time
	ErrorText  string      // for FAIL, and only then
	Facts      quant.Facts // for FAIL: what it had committed; "" says nothing
	ExitCode   *int64      // nil when nobody saw the end
	DurationUS *int64
	GitDirty   *bool // stored when not nil
	IO         []quant.RunIO
	Batch      Batch          // stored in the same commit, as Log does
	Program    *quant.Program // stored in the same commit, as SaveProgram does, when not nil
}

// Validate reports the first rule that the end breaks, as Invalid.
func (e RunEnd) Validate() error {
	switch {
	case e.Status != quant.Success && e.Status != quant.Fail:
		return quant.Errorf(quant.Invalid, "run %s: it ends as SUCCESS or FAIL, not %q", e.RunID, e.Status)
	case e.EndedAt.IsZero():
		return quant.Errorf(quant.Invalid, "run %s: ended_at is missing", e.RunID)
	case (e.Status == quant.Fail) != (e.ErrorText != ""):
		return quant.Errorf(quant.Invalid, "run %s: a FAIL has error_text, any other status has none", e.RunID)
	}
	if err := validFacts(e.RunID, e.Status, e.Facts); err != nil {
		return err
	}
	for _, io := range e.IO {
		if io.RunID != e.RunID {
			return quant.Errorf(quant.Invalid, "run %s: its input or output %q names run %q", e.RunID, io.Name, io.RunID)
		}
		if err := io.Validate(); err != nil {
			return err
		}
	}
	if err := e.Batch.Validate(); err != nil {
		return err
	}
	if p := e.Program; p != nil {
		if p.RunID != e.RunID {
			return quant.Errorf(quant.Invalid, "run %s: its program names run %q", e.RunID, p.RunID)
		}
		return p.Validate()
	}
	return nil
}

func validFacts(runID string, status quant.Status, facts quant.Facts) error {
	if err := facts.Validate(); err != nil {
		return quant.Errorf(quant.Invalid, "run %s: %w", runID, err)
	}
	if facts != "" && status != quant.Fail {
		return quant.Errorf(quant.Invalid, "run %s: a FAIL says whether it had committed facts, any other status says nothing", runID)
	}
	return nil
}

// RunFilter selects runs; the zero filter selects those that may change
// something, newest first.
type RunFilter struct {
	All     bool // also the runs that only read
	Kind    string
	Status  quant.Status
	Since   quant.Time // started at or after
	Parent  string     // run_id of the parent
	Except  string     // this run_id is left out
	Deleted bool       // only deleted runs, which are left out otherwise
	Brief   bool       // without ConfigJSON and Argv, which can be long
	Limit   int        // 0: no limit
}

// Batch is what is recorded of runs at once. An entry names its run.
type Batch struct {
	// Mark is what the store knows the batch by, where that is wanted: see Records.Log.
	Mark      Mark
	Params    []quant.Param
	Metrics   []quant.MetricPoint
	Tags      []quant.Tag
	Notes     []quant.Note
	Artifacts []quant.Artifact
}

// Mark is the place of a batch among those of one writer, which come one after the other.
type Mark struct {
	Stream string // of the writer, drawn by it; "": the batch has no mark
	Number int64  // higher than that of each batch before it
}

// Len is the number of entries.
func (b Batch) Len() int {
	return len(b.Params) + len(b.Metrics) + len(b.Tags) + len(b.Notes) + len(b.Artifacts)
}

// Validate reports the first rule that an entry breaks, as Invalid.
func (b Batch) Validate() error {
	for _, p := range b.Params {
		if err := p.Validate(); err != nil {
			return err
		}
	}
	for _, m := range b.Metrics {
		if err := m.Validate(); err != nil {
			return err
		}
	}
	for _, t := range b.Tags {
		if err := t.Validate(); err != nil {
			return err
		}
	}
	for _, n := range b.Notes {
		if err := n.Validate(); err != nil {
			return err
		}
	}
	for _, a := range b.Artifacts {
		if err := a.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Records is the repository of what runs record of themselves. Lists are by
// name, points and notes by number; a run without any, or no such run, is an
// empty list.
type Records interface {
	// Log stores a batch in one durable commit: all of it or nothing. Points and
	// notes are numbered in their order; AutoStep is resolved. A param or artifact
	// that is there already with the same value or content is left alone, a tag is
	// replaced. Errors: Invalid for an entry that breaks a rule; NotFound for a
	// run that does not exist; Conflict for a param or artifact of that name with
	// another value or content (also within the batch), and for a deleted run.
	// A run may have ended. Of a stream, a batch whose number is not higher than that of
	// one which is stored is taken for stored, so that one whose COMMIT had no answer is
	// sent again, by Log itself or by whoever calls it.
	Log(ctx context.Context, b Batch) error
	// DeleteTag takes a tag away; NotFound if there is none.
	DeleteTag(ctx context.Context, runID, name string) error

	Params(ctx context.Context, runID string) ([]quant.Param, error)
	Tags(ctx context.Context, runID string) ([]quant.Tag, error)
	Metrics(ctx context.Context, runID string) ([]quant.Metric, error)
	// MetricPoints returns the points of one metric by number; limit > 0: only so
	// many, the last ones.
	MetricPoints(ctx context.Context, runID, name string, limit int) ([]quant.MetricPoint, error)
	Notes(ctx context.Context, runID string) ([]quant.Note, error)
	Artifacts(ctx context.Context, runID string) ([]quant.Artifact, error)
	// ArtifactUsed tells whether any run, deleted ones included, has an artifact of
	// this digest, or a file of a client that is no run's.
	ArtifactUsed(ctx context.Context, digest string) (bool, error)
	// TaggedRuns returns the newest runs that have the tag with this value, those
	// deleted left out.
	TaggedRuns(ctx context.Context, name, value string, limit int) ([]string, error)

	// SaveProgram stores or replaces what is known of the program of a run.
	SaveProgram(ctx context.Context, p quant.Program) error
	// GetProgram returns it; NotFound if the run ran none.
	GetProgram(ctx context.Context, runID string) (quant.Program, error)
	// ProgramsOf returns those of several runs, in no order; a run that ran none has
	// none.
	ProgramsOf(ctx context.Context, runIDs []string) ([]quant.Program, error)
}
