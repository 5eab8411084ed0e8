package quant

import "strings"

// DatasetContextTag is the tag of a dataset that says what it was used for.
const DatasetContextTag = "mlflow.data.context"

// RunDataset is a dataset that a run was given, as a client described it: a
// companion of runs. Source is what the client said; nobody follows it.
type RunDataset struct {
	RunID      string `json:"run_id" db:"run_id"`
	Name       string `json:"name" db:"name"`
	Digest     string `json:"digest" db:"digest"` // the client's own
	SourceType string `json:"source_type" db:"source_type"`
	Source     string `json:"source" db:"source"`
	Schema     Text   `json:"schema" db:"schema"`
	Profile    Text   `json:"profile" db:"profile"`
	Context    Text   `json:"context" db:"context"`     // the value of DatasetContextTag
	TagsJSON   JSON   `json:"tags_json" db:"tags_json"` // [[name, value], ...] in the order given
}

// Validate reports the first rule that the dataset breaks, as Invalid.
func (d RunDataset) Validate() error {
	if err := required("dataset", "run_id", d.RunID, "name", d.Name, "digest", d.Digest); err != nil {
		return err
	}
	for _, text := range []string{d.SourceType, d.Source, string(d.Schema), string(d.Profile), string(d.Context)} {
		if err := validText("dataset "+d.Name, text); err != nil {
			return err
		}
	}
	return validJSON("dataset "+d.Name, "tags_json", d.TagsJSON)
}

// RunModel says that a run used a logged model, or made it: a companion of runs.
type RunModel struct {
	RunID     string    `json:"run_id" db:"run_id"`
	Direction Direction `json:"direction" db:"direction"`
	ModelID   string    `json:"model_id" db:"model_id"`
	Step      int64     `json:"step" db:"step"`
}

// Validate reports the first rule that the entry breaks, as Invalid.
func (m RunModel) Validate() error {
	if m.Direction != In && m.Direction != Out {
		return Errorf(Invalid, "model %q of a run: direction %q is neither in nor out", m.ModelID, m.Direction)
	}
	return required("model of a run", "run_id", m.RunID, "model_id", m.ModelID)
}

// LoggedModel is a model that a client logged: metadata and a folder of files. It
// is not one of quant's own models (Model), and nobody here loads it.
type LoggedModel struct {
	ModelID       string            `json:"model_id" db:"model_id"` // m-<32 hex digits>
	ExperimentID  string            `json:"experiment_id" db:"experiment_id"`
	Name          string            `json:"name" db:"name"`
	SourceRunID   Text              `json:"source_run_id" db:"source_run_id"` // the run that made it, by the id that clients know
	ModelType     Text              `json:"model_type" db:"model_type"`
	Status        LoggedModelStatus `json:"status" db:"status"`
	StatusMessage Text              `json:"status_message" db:"status_message"`
	CreatedAt     Time              `json:"created_at" db:"created_at"`
	UpdatedAt     Time              `json:"updated_at" db:"updated_at"`
	DeletedAt     Time              `json:"deleted_at" db:"deleted_at"`
}

// LoggedModelStatus is how far the logging of a model got.
type LoggedModelStatus string

// The states of a logged model.
const (
	LoggedModelUnspecified LoggedModelStatus = "UNSPECIFIED"
	LoggedModelPending     LoggedModelStatus = "PENDING"
	LoggedModelReady       LoggedModelStatus = "READY"
	LoggedModelFailed      LoggedModelStatus = "FAILED"
)

// IsLoggedModelID tells whether a text has the form of the id of a logged model.
func IsLoggedModelID(s string) bool {
	return len(s) == 34 && strings.HasPrefix(s, "m-") && strings.Trim(s[2:], "0123456789abcdef") == ""
}

// Validate reports the first rule that the model breaks, as Invalid.
func (m LoggedModel) Validate() error {
	if !IsLoggedModelID(m.ModelID) {
		return Errorf(Invalid, "logged model: id %q is not m-<32 hex digits>", m.ModelID)
	}
	if err := required("logged model", "experiment_id", m.ExperimentID, "name", m.Name); err != nil {
		return err
	}
	switch m.Status {
	case LoggedModelUnspecified, LoggedModelPending, LoggedModelReady, LoggedModelFailed:
	default:
		return Errorf(Invalid, "logged model %s: status %q is none of UNSPECIFIED, PENDING, READY, FAILED", m.ModelID, string(m.Status))
	}
	if m.CreatedAt.IsZero() || m.UpdatedAt.IsZero() {
		return Errorf(Invalid, "logged model %s: created_at or updated_at is missing", m.ModelID)
	}
	for _, text := range []string{m.Name, string(m.SourceRunID), string(m.ModelType), string(m.StatusMessage)} {
		if err := validText("logged model "+m.ModelID, text); err != nil {
			return err
		}
	}
	return nil
}

// LoggedModelParam is one setting of a logged model, written once.
type LoggedModelParam struct {
	ModelID string `json:"model_id" db:"model_id"`
	Name    string `json:"name" db:"name"`
	Value   string `json:"value" db:"value"`
}

// LoggedModelTag is one word about a logged model that may change or go.
type LoggedModelTag struct {
	ModelID string `json:"model_id" db:"model_id"`
	Name    string `json:"name" db:"name"`
	Value   string `json:"value" db:"value"`
}

// LoggedModelMetric is one measured value of a logged model.
type LoggedModelMetric struct {
	ModelID       string   `json:"model_id" db:"model_id"`
	Name          string   `json:"name" db:"name"`
	LoggedAt      Time     `json:"logged_at" db:"logged_at"`
	Step          int64    `json:"step" db:"step"`
	RunID         string   `json:"run_id" db:"run_id"` // that measured it, by the id that clients know
	Value         *float64 `json:"value" db:"value"`   // finite; nil: not a number
	DatasetName   Text     `json:"dataset_name" db:"dataset_name"`
	DatasetDigest Text     `json:"dataset_digest" db:"dataset_digest"`
}

// ClientArtifact is a file that a client put below the artifact root and that is
// no run's, by the digest of its content: one of a logged model, or of whatever
// the client calls so.
type ClientArtifact struct {
	Path     string `json:"path" db:"path"` // below the root; the rules of an Artifact's name
	Digest   string `json:"digest" db:"digest"`
	Bytes    int64  `json:"bytes" db:"bytes"`
	LoggedAt Time   `json:"logged_at" db:"logged_at"`
}

// Validate reports the first rule that the file breaks, as Invalid.
func (a ClientArtifact) Validate() error {
	return Artifact{RunID: "none", Name: a.Path, Digest: a.Digest, Bytes: a.Bytes, LoggedAt: a.LoggedAt}.Validate()
}

// RegisteredModel is a name under which versions of models are registered.
type RegisteredModel struct {
	Name        string `json:"name" db:"name"`
	Description Text   `json:"description" db:"description"`
	LastVersion int64  `json:"last_version" db:"last_version"` // the highest that was ever given
	CreatedAt   Time   `json:"created_at" db:"created_at"`
	UpdatedAt   Time   `json:"updated_at" db:"updated_at"`
}

// Validate reports the first rule that the model breaks, as Invalid.
func (m RegisteredModel) Validate() error {
	if err := required("registered model", "name", m.Name); err != nil {
		return err
	}
	if m.CreatedAt.IsZero() || m.UpdatedAt.IsZero() {
		return Errorf(Invalid, "registered model %s: created_at or updated_at is missing", m.Name)
	}
	for _, text := range []string{m.Name, string(m.Description)} {
		if err := validText("registered model "+m.Name, text); err != nil {
			return err
		}
	}
	return nil
}

// RegisteredModelTag is one word about a registered model.
type RegisteredModelTag struct {
	Model string `json:"model" db:"model"`
	Name  string `json:"name" db:"name"`
	Value string `json:"value" db:"value"`
}

// RegisteredModelAlias is a name for one version of a registered model.
type RegisteredModelAlias struct {
	Model   string `json:"model" db:"model"`
	Alias   string `json:"alias" db:"alias"`
	Version int64  `json:"version" db:"version"`
}

// StageDeleted is the stage of a version that was deleted. Its row stays, so that
// its number is never given again.
const StageDeleted = "Deleted_Internal"

// ModelVersion is one version of a registered model. Source and Location are what
// clients are told; nobody here follows them.
type ModelVersion struct {
	Model         string `json:"model" db:"model"`
	Version       int64  `json:"version" db:"version"` // from 1; the store numbers them
	Description   Text   `json:"description" db:"description"`
	Stage         string `json:"stage" db:"stage"`
	Source        string `json:"source" db:"source"`
	Location      string `json:"location" db:"location"` // of its files
	RunID         Text   `json:"run_id" db:"run_id"`     // the run that made it, by the id that clients know
	RunLink       Text   `json:"run_link" db:"run_link"`
	ModelID       Text   `json:"model_id" db:"model_id"` // the logged model that it is
	Status        string `json:"status" db:"status"`
	StatusMessage Text   `json:"status_message" db:"status_message"`
	CreatedAt     Time   `json:"created_at" db:"created_at"`
	UpdatedAt     Time   `json:"updated_at" db:"updated_at"`
}

// Validate reports the first rule that the version breaks, as Invalid.
func (v ModelVersion) Validate() error {
	if err := required("model version", "model", v.Model, "stage", v.Stage, "status", v.Status); err != nil {
		return err
	}
	if v.CreatedAt.IsZero() || v.UpdatedAt.IsZero() {
		return Errorf(Invalid, "version of model %s: created_at or updated_at is missing", v.Model)
	}
	for _, text := range []string{string(v.Description), v.Source, v.Location, string(v.RunID), string(v.RunLink), string(v.ModelID), string(v.StatusMessage)} {
		if err := validText("version of model "+v.Model, text); err != nil {
			return err
		}
	}
	return nil
}

// ModelVersionTag is one word about a version of a registered model.
type ModelVersionTag struct {
	Model   string `json:"model" db:"model"`
	Version int64  `json:"version" db:"version"`
	Name    string `json:"name" db:"name"`
	Value   string `json:"value" db:"value"`
}
