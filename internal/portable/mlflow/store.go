// Package mlflow brings the stores of MLflow over: what its tracking server keeps in
// a folder of files or in a SQLite file, and the artifacts beside them. It reads what
// others wrote and trusts none of it; what is stored, and under what names, follows
// the rules of package tracking.
package mlflow

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"quant"
	"quant/internal/portable/sqlitefile"
)

// A source is a store of MLflow, in whichever form. What is wrong with one thing is
// told to the notes and that thing left out; an error ends the whole. Each calls fn in
// an order that stays the same while the store does, and ends with fn's first error.
type source interface {
	eachExperiment(ctx context.Context, fn func(experiment) error) error
	// eachRun is given every run without its points.
	eachRun(ctx context.Context, fn func(run) error) error
	// eachPoint is given the points of a run: of each metric in the order of logging.
	eachPoint(ctx context.Context, r run, fn func(point) error) error
	// runOf finds the id, the experiment and the times of another run by its id: of the
	// parent of a run, say.
	runOf(ctx context.Context, beside run, id string) (r run, found bool, err error)
	eachLoggedModel(ctx context.Context, fn func(loggedModel) error) error
	eachRegisteredModel(ctx context.Context, fn func(registeredModel) error) error
	// others counts what the store has beside these, by its own words for it.
	others(ctx context.Context) (map[string]int64, error)
	close()
}

// Times are milliseconds since 1970 in UTC, 0 where there is none.

type pair struct{ Key, Value string }

type experiment struct {
	ID, Name         string
	ArtifactLocation string
	Deleted          bool
	Created, Updated int64
	Tags             []pair
}

type run struct {
	ID, ExperimentID string
	Name, User       string
	Status           status
	Start, End       int64
	Deleted          bool
	DeletedAt        int64
	ArtifactURI      string
	Params, Tags     []pair
	Inputs           []input
	ModelInputs      []string // model ids
	ModelOutputs     []modelOutput
	folder           string // where a store of files has it
}

type status string

const (
	running   status = "RUNNING"
	scheduled status = "SCHEDULED"
	finished  status = "FINISHED"
	failed    status = "FAILED"
	killed    status = "KILLED"
)

// statuses are in the order of MLflow's numbers for them, from 1.
var statuses = []status{running, scheduled, finished, failed, killed}

type point struct {
	Key             string
	Value           float64
	Timestamp, Step int64
}

type input struct {
	Dataset dataset
	Tags    []pair
}

type dataset struct{ Name, Digest, SourceType, Source, Schema, Profile string }

type modelOutput struct {
	ModelID string
	Step    int64
}

type loggedModel struct {
	ID, ExperimentID, Name string
	ArtifactLocation       string
	Created, Updated       int64
	Status                 string // PENDING, READY, FAILED, UNSPECIFIED
	StatusMessage          string
	Deleted                bool
	ModelType, SourceRunID string
	Params, Tags           []pair
	Metrics                []modelMetric
	folder                 string // where a store of files has it
}

type modelMetric struct {
	point
	RunID                      string
	DatasetName, DatasetDigest string
}

type registeredModel struct {
	Name, Description string
	Created, Updated  int64
	Tags              []pair
	Aliases           []alias
	Versions          []modelVersion
}

type alias struct {
	Name    string
	Version int64
}

type modelVersion struct {
	Version              int64
	Created, Updated     int64
	Description, User    string
	Stage, Source        string
	RunID, RunLink       string
	ModelID              string
	Status, StatusDetail string
	Tags                 []pair
}

// modelStatuses are in the order of MLflow's numbers for them, from 0.
var modelStatuses = []string{"UNSPECIFIED", "PENDING", "READY", "FAILED"}

// A Note says what was not brought over as it stood, and why.
type Note struct {
	Object string `json:"object"` // run 0123..., experiment 7, ...
	Why    string `json:"why"`
	// Skipped: nothing of the object was brought over.
	Skipped bool `json:"skipped"`
}

// maxNotes is how many notes are kept; more are counted.
const maxNotes = 1000

type notes struct {
	list    []Note
	skipped int64
	told    int64
}

func (n *notes) add(note Note) {
	n.told++
	if note.Skipped {
		n.skipped++
	}
	if len(n.list) < maxNotes {
		n.list = append(n.list, note)
	}
}

func (n *notes) skip(object string, err error) {
	n.add(Note{Object: object, Why: err.Error(), Skipped: true})
}

// IsStore tells whether path is, by its content, of the form of a store: a folder, or a
// SQLite file. Whether it is MLflow's, Import tells. What cannot be read is none.
func IsStore(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if info.IsDir() {
		return true // nothing else that is imported is a folder
	}
	return sqlitefile.Is(path)
}

// open opens a store by its content.
func open(ctx context.Context, path string, n *notes) (source, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, quant.Errorf(quant.NotFound, "there is no %s", path)
	case err != nil:
		return nil, quant.Errorf(quant.Failed, "open the store of MLflow: %w", err)
	case info.IsDir():
		return openFolder(ctx, path, n)
	}
	return openDatabase(ctx, path, n)
}
