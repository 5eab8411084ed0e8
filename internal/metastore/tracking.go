package metastore

import (
	"context"

	"quant"
)

// ClientExperiment is an experiment as clients of MLflow know it.
type ClientExperiment struct {
	quant.Experiment
	// Number is what clients call it by. It is given when the experiment is made,
	// by whomever, and never changes; 0 is the one they use when they name none.
	Number    int64      `json:"number" db:"number"`
	DeletedAt quant.Time `json:"deleted_at" db:"deleted_at"` // zero: active
	UpdatedAt quant.Time `json:"updated_at" db:"updated_at"`
}

// ExperimentTag is one word about an experiment: a companion of experiments.
type ExperimentTag struct {
	ExperimentID string `json:"experiment_id" db:"experiment_id"`
	Name         string `json:"name" db:"name"`
	Value        string `json:"value" db:"value"`
}

// RunClient is what a client of MLflow knows of a run that it made: a companion of
// runs. Of the runs that continue one another under a client's id, only the last
// is current.
type RunClient struct {
	RunID       string     `json:"run_id" db:"run_id"`
	ClientID    string     `json:"client_id" db:"client_id"`
	Status      string     `json:"status" db:"status"` // as the client says: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED
	SeenAt      quant.Time `json:"seen_at" db:"seen_at"`
	ContinuedBy quant.Text `json:"continued_by" db:"continued_by"` // run_id; "": it is current
}

// ClientRun is a run as clients of MLflow know it: one that a client made, or one
// that quant recorded in an experiment.
type ClientRun struct {
	RunDetail
	ClientID  string // of a run of quant: its run_id without hyphens
	Status    string // as the client says; "": no client made it
	Number    int64  // of its experiment
	DeletedAt quant.Time
}

// ClientBatch is what a client records of one run at once. NaNs are points whose
// value is no number; their Value is not looked at.
type ClientBatch struct {
	Batch
	NaNs []quant.MetricPoint
	// ClearTags are names of tags to take away; one that is not there is NotFound.
	ClearTags []string
	SeenAt    quant.Time // zero: the client's last sign of life stays as it is
}

// LatestMetric is the value of a metric that clients of MLflow show: of its points
// the one of the highest step; of several there, the one of the latest time; of
// several there, the greatest. NaN counts as 0 there.
type LatestMetric struct {
	RunID string
	Name  string
	Step  int64
	At    quant.Time
	Value float64
	NaN   bool
}

// Tracking is the repository of what clients of MLflow make and see. A run is
// named by the client's id; a run of quant by its run_id without hyphens.
type Tracking interface {
	// EnsureDefaultExperiment makes the experiment with number 0, unless there is
	// one: the oldest of e's name becomes it, or e.
	EnsureDefaultExperiment(ctx context.Context, e quant.Experiment) error
	// CreateClientExperiment stores an experiment with its tags, and returns its
	// number. e has no ExperimentID: it is made of the number. Conflict if one of
	// that name is there, deleted or not.
	CreateClientExperiment(ctx context.Context, e quant.Experiment, tags []ExperimentTag) (number int64, err error)
	// GetClientExperiment returns the experiment of a number; NotFound.
	GetClientExperiment(ctx context.Context, number int64) (ClientExperiment, error)
	// ClientExperimentNamed returns the one of a name: an active one rather than a
	// deleted one, then the oldest; NotFound.
	ClientExperimentNamed(ctx context.Context, name string) (ClientExperiment, error)
	// ListClientExperiments returns all, by number.
	ListClientExperiments(ctx context.Context) ([]ClientExperiment, error)
	// ExperimentTags returns the tags of an experiment, or of all for "", by
	// experiment and name.
	ExperimentTags(ctx context.Context, experimentID string) ([]ExperimentTag, error)
	// RenameClientExperiment gives an experiment another name. NotFound; Conflict if
	// another one has it.
	RenameClientExperiment(ctx context.Context, number int64, name string, at quant.Time) error
	// MarkClientExperiment deletes or restores an experiment with the runs that are
	// in it: those that clients made are marked too, or lose their mark. Runs of
	// quant stay as they are. NotFound.
	MarkClientExperiment(ctx context.Context, number int64, deleted bool, at quant.Time, byRunID string) error
	// SetExperimentTag stores or replaces a tag; NotFound if there is no experiment.
	SetExperimentTag(ctx context.Context, t ExperimentTag) error
	// DeleteExperimentTag takes a tag away; NotFound if there is none.
	DeleteExperimentTag(ctx context.Context, experimentID, name string) error

	// CreateClientRun stores a RUNNING run that a client made, with its process, what
	// the client knows of it, and a batch, in one durable commit.
	CreateClientRun(ctx context.Context, r quant.Run, p quant.RunProcess, c RunClient, b Batch) error
	// ClientRuns returns the runs of clients' ids, in their order; those that do not
	// exist, or stand in no experiment, are left out. Brief leaves out ConfigJSON
	// and Argv.
	ClientRuns(ctx context.Context, clientIDs []string, brief bool) ([]ClientRun, error)
	// ClientRunsOf is ClientRuns for run_ids.
	ClientRunsOf(ctx context.Context, runIDs []string) ([]ClientRun, error)
	// ParamsAndTagsOf returns the params and the tags of some runs, each list by run
	// and name.
	ParamsAndTagsOf(ctx context.Context, runIDs []string) ([]quant.Param, []quant.Tag, error)
	// LogClient stores a batch of one run, whose entries name no run, in one durable
	// commit, and keeps what LatestMetrics tells in step. Errors: NotFound for a run
	// or a tag to be cleared that does not exist, Conflict for a run that is deleted
	// and for a param of that name with another value, Invalid as Records.Log.
	LogClient(ctx context.Context, clientID string, b ClientBatch) error
	// EndClientRun closes the current run of a client's id, with the client's word
	// for how it ended, in one durable commit. Errors: NotFound; Conflict if it has
	// ended.
	EndClientRun(ctx context.Context, end RunEnd, status string, seen quant.Time) error
	// SetClientStatus changes the client's word for a RUNNING run that goes on.
	SetClientStatus(ctx context.Context, runID, status string, seen quant.Time) error
	// ContinueClientRun stores a RUNNING run that continues an ended one under the
	// client's id: it has all records of that one, and names it as an input. From
	// then on it is current. All in one durable commit. Errors: NotFound; Conflict
	// if the old one runs, or is continued already.
	ContinueClientRun(ctx context.Context, r quant.Run, p quant.RunProcess, c RunClient, oldRunID string) error
	// DeleteClientRun marks a run as deleted, also one that is RUNNING.
	DeleteClientRun(ctx context.Context, d quant.Deletion) error
	// LatestMetrics returns the latest values of all metrics of some runs, by run and
	// name: those of runs of quant are their sums' last.
	LatestMetrics(ctx context.Context, runIDs []string) ([]LatestMetric, error)
	// ClientHistory returns points of a metric of a run, NaNs among them, in the order
	// of time, step and value, without the first offset ones, at most limit (0: all).
	// A point that was logged twice, in all that it says, is one. steps, if not nil,
	// are those that are wanted.
	ClientHistory(ctx context.Context, runID, name string, steps []int64, offset, limit int) ([]LatestMetric, error)
	// ClientSteps returns the steps of a metric of a run, each once, ascending.
	ClientSteps(ctx context.Context, runID, name string) ([]int64, error)
	// HasNaN tells whether the latest value of a metric is NaN in any run.
	HasNaN(ctx context.Context, name string) (bool, error)
	// Named tells whether clients know every run of a kind by an id of its own, so that
	// all of them are found by ClientNamed or its heirs. It reads all of the kind.
	Named(ctx context.Context, kind string) (bool, error)
	// SeeClientRuns stores when clients gave their last sign of life, by run_id.
	SeeClientRuns(ctx context.Context, seen map[string]quant.Time) error
	// SilentClientRuns returns the current RUNNING runs whose clients gave no sign of
	// life since a time, the longest silent first.
	SilentClientRuns(ctx context.Context, since quant.Time, limit int) ([]RunClient, error)
}
