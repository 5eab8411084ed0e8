package metastore

import (
	"context"

	"quant"
)

// Registered is the repository of what clients log beside params, metrics and tags:
// files, datasets, models, and the registry of models. A run is named by its run_id;
// the ids of runs inside logged models and versions are texts of the client.
type Registered interface {
	ClientFiles
	Inputs
	LoggedModels
	ModelRegistry
}

// ClientFiles is the repository of the files that clients put and take away as
// they like. Contents are the artifact store's.
type ClientFiles interface {
	// PutArtifact stores an artifact of a run, in the place of one of that name
	// with whatever content, in one durable commit. Errors: Invalid; NotFound for a
	// run that does not exist; Conflict for a deleted one, and for a name that is a
	// folder of another or lies below one.
	PutArtifact(ctx context.Context, a quant.Artifact) error
	// RemoveArtifacts takes the artifact of that name away from these runs, and
	// those below it as a folder; it returns how many there were. Errors: Conflict
	// where one of the runs is deleted.
	RemoveArtifacts(ctx context.Context, runIDs []string, name string) (int64, error)
	// ArtifactsBelow returns the artifacts of these runs whose name is name or lies
	// below it as a folder ("": all), by name and then in the order of run ids.
	ArtifactsBelow(ctx context.Context, runIDs []string, name string) ([]quant.Artifact, error)

	// PutClientArtifact is PutArtifact for a file that is no run's.
	PutClientArtifact(ctx context.Context, a quant.ClientArtifact) error
	// RemoveClientArtifacts is RemoveArtifacts for files that are no run's.
	RemoveClientArtifacts(ctx context.Context, path string) (int64, error)
	// ClientArtifactsBelow is ArtifactsBelow for files that are no run's.
	ClientArtifactsBelow(ctx context.Context, path string) ([]quant.ClientArtifact, error)
}

// Inputs is the repository of the datasets and logged models of runs.
type Inputs interface {
	// LogInputs stores what runs were given and made in one durable commit, each
	// also as an input or output of its run (quant.RunIO) where there is none yet. A
	// dataset of the same name and digest, and a model of the same direction and
	// step, stays as it is. Errors: Invalid; NotFound for a run that does not exist;
	// Conflict for a deleted one.
	LogInputs(ctx context.Context, datasets []quant.RunDataset, models []quant.RunModel) error
	// DatasetsOf returns the datasets of these runs, by run, name and digest.
	DatasetsOf(ctx context.Context, runIDs []string) ([]quant.RunDataset, error)
	// ModelsOf returns the logged models of these runs, by run, direction, model and
	// step.
	ModelsOf(ctx context.Context, runIDs []string) ([]quant.RunModel, error)
	// DatasetsOfExperiments returns which datasets the runs of these experiments were
	// given, each once, by experiment, name, digest and context; at most limit.
	DatasetsOfExperiments(ctx context.Context, experimentIDs []string, limit int) ([]DatasetSummary, error)
}

// DatasetSummary is one dataset of an experiment.
type DatasetSummary struct {
	ExperimentID string
	Name, Digest string
	Context      quant.Text
}

// LoggedModelDetail is a logged model with everything recorded of it.
type LoggedModelDetail struct {
	quant.LoggedModel
	Params  []quant.LoggedModelParam  // by name
	Tags    []quant.LoggedModelTag    // by name
	Metrics []quant.LoggedModelMetric // by name, time, step and run
}

// LoggedModels is the repository of the models that clients log. A deleted one is
// NotFound, but for GetLoggedModels with deleted.
type LoggedModels interface {
	// CreateLoggedModel stores a model with its params and tags, in one durable
	// commit. Errors: Invalid; Conflict if the id exists or a param is named twice
	// with other values.
	CreateLoggedModel(ctx context.Context, m quant.LoggedModel, params []quant.LoggedModelParam, tags []quant.LoggedModelTag) error
	// LoggedModelsOf returns these models in the order of the ids, those left out
	// that do not exist or, unless deleted is set, are deleted.
	LoggedModelsOf(ctx context.Context, ids []string, deleted bool) ([]LoggedModelDetail, error)
	// ChangeLoggedModel reads one that is not deleted, lets fn change it and stores
	// it, in one transaction. NotFound.
	ChangeLoggedModel(ctx context.Context, id string, fn func(*quant.LoggedModel)) error
	// LogLoggedModel adds params, tags and metrics to models that exist, in one
	// durable commit. A tag is replaced, a metric that is there already stays.
	// Errors: NotFound; Conflict for a param with another value.
	LogLoggedModel(ctx context.Context, params []quant.LoggedModelParam, tags []quant.LoggedModelTag, metrics []quant.LoggedModelMetric) error
	// DeleteLoggedModelTag takes a tag away; NotFound for the model and for the tag.
	DeleteLoggedModelTag(ctx context.Context, id, name string) error
	// SearchLoggedModels returns the models found that are not deleted, and whether
	// there are more.
	SearchLoggedModels(ctx context.Context, s LoggedModelSearch) (found []LoggedModelDetail, more bool, err error)
}

// ModelField is a value of a logged model, a registered model or a version.
type ModelField string

// The fields.
const (
	AttributeField ModelField = "attribute"
	TagField       ModelField = "tag"
	ParamField     ModelField = "param"
	MetricField    ModelField = "metric"
)

// ModelCondition is a condition on models: all of a search are met. A model that
// has no such value does not meet it. Op is one of = != < <= > >= LIKE ILIKE IN
// NOT IN; the patterns of LIKE have % and _, and no escape.
type ModelCondition struct {
	Of    ModelField
	Name  string
	Op    string
	Value any // string, float64, int64, or []string of IN and NOT IN
}

// ModelOrder is one key of an order; models without the value come last.
type ModelOrder struct {
	Of   ModelField // AttributeField or MetricField
	Name string
	Desc bool
	// DatasetName and DatasetDigest choose the metric's values by dataset; "": any.
	DatasetName, DatasetDigest string
}

// LoggedModelSearch says which logged models to find. Attributes are name,
// model_id, model_type, status, source_run_id, experiment_id, created_at and
// updated_at; times compare with int64 milliseconds.
type LoggedModelSearch struct {
	ExperimentIDs []string
	Where         []ModelCondition
	// Datasets, where there are any: metrics count only if they were measured on
	// one of these, and a model without such a metric is not found.
	Datasets []DatasetFilter
	Order    []ModelOrder // then the newest first
	Offset   int
	Limit    int
}

// DatasetFilter names a dataset; Digest "": any of that name.
type DatasetFilter struct{ Name, Digest string }

// RegisteredModelDetail is a registered model with its tags, aliases and the
// latest version of each stage.
type RegisteredModelDetail struct {
	quant.RegisteredModel
	Tags    []quant.RegisteredModelTag   // by name
	Aliases []quant.RegisteredModelAlias // by alias
	Latest  []ModelVersionDetail         // by version
}

// ModelVersionDetail is a version with its tags and aliases.
type ModelVersionDetail struct {
	quant.ModelVersion
	Tags    []quant.ModelVersionTag // by name
	Aliases []string                // in order
}

// ModelSearch says which registered models or versions to find. Attributes of a
// model: name, created_at, updated_at. Of a version: name, version, run_id,
// source, created_at, updated_at.
type ModelSearch struct {
	Where []ModelCondition
	// Hidden is a tag whose models are left out where it has the value true; "":
	// none.
	Hidden string
	Order  []ModelOrder // then by name, and the highest version first
	Offset int
	Limit  int
}

// ModelRegistry is the repository of registered models and their versions. A
// deleted version is NotFound everywhere, and its number is not given again.
type ModelRegistry interface {
	// CreateRegisteredModel stores a model with its tags. Conflict if the name is
	// taken.
	CreateRegisteredModel(ctx context.Context, m quant.RegisteredModel, tags []quant.RegisteredModelTag) error
	GetRegisteredModel(ctx context.Context, name string) (RegisteredModelDetail, error)
	// DescribeRegisteredModel replaces the description.
	DescribeRegisteredModel(ctx context.Context, name string, description quant.Text, at quant.Time) error
	// RenameRegisteredModel gives the model and its versions another name. NotFound;
	// Conflict if that is taken.
	RenameRegisteredModel(ctx context.Context, name, newName string, at quant.Time) error
	// DeleteRegisteredModel removes the model with its versions, tags and aliases.
	DeleteRegisteredModel(ctx context.Context, name string) error
	SearchRegisteredModels(ctx context.Context, s ModelSearch) (found []RegisteredModelDetail, more bool, err error)
	// SetRegisteredModelTag stores or replaces a tag. NotFound for the model.
	SetRegisteredModelTag(ctx context.Context, t quant.RegisteredModelTag) error
	// DeleteRegisteredModelTag takes a tag away, where there is one. NotFound for the
	// model.
	DeleteRegisteredModelTag(ctx context.Context, model, name string) error
	// SetRegisteredModelAlias stores or moves an alias. NotFound for the version.
	SetRegisteredModelAlias(ctx context.Context, a quant.RegisteredModelAlias) error
	// DeleteRegisteredModelAlias takes an alias away, where there is one. NotFound for
	// the model.
	DeleteRegisteredModelAlias(ctx context.Context, model, alias string) error

	// CreateModelVersion stores a version under the next number, which it returns.
	// NotFound for the model.
	CreateModelVersion(ctx context.Context, v quant.ModelVersion, tags []quant.ModelVersionTag) (int64, error)
	GetModelVersion(ctx context.Context, model string, version int64) (ModelVersionDetail, error)
	// ModelVersionOf returns the version that an alias names; NotFound for the alias.
	ModelVersionOf(ctx context.Context, model, alias string) (ModelVersionDetail, error)
	// DescribeModelVersion replaces the description.
	DescribeModelVersion(ctx context.Context, model string, version int64, description quant.Text, at quant.Time) error
	// StageModelVersion moves a version to a stage, and the others that are there to
	// archive where that is not "".
	StageModelVersion(ctx context.Context, model string, version int64, stage, archive string, at quant.Time) error
	// DeleteModelVersion takes a version away with its aliases; what it said is
	// removed, its number stays taken.
	DeleteModelVersion(ctx context.Context, model string, version int64, at quant.Time) error
	SearchModelVersions(ctx context.Context, s ModelSearch) (found []ModelVersionDetail, more bool, err error)
	// SetModelVersionTag stores or replaces a tag. NotFound for the version.
	SetModelVersionTag(ctx context.Context, t quant.ModelVersionTag) error
	// DeleteModelVersionTag takes a tag away, where there is one. NotFound for the
	// version.
	DeleteModelVersionTag(ctx context.Context, model string, version int64, name string) error
}
