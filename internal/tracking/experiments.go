package tracking

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"quant"
	"quant/internal/metastore"
)

// Experiment is an experiment with its tags.
type Experiment struct {
	metastore.ClientExperiment
	Tags []metastore.ExperimentTag
}

// ID is what clients call it by.
func (e Experiment) ID() string { return strconv.FormatInt(e.Number, 10) }

// ArtifactLocation is where clients are to put its artifacts: always this server,
// whatever a client asked for when it made the experiment.
func (e Experiment) ArtifactLocation() string { return "mlflow-artifacts:/" + e.ID() }

// ArtifactURI is where clients are to put the artifacts of a run.
func ArtifactURI(number int64, clientID string) string {
	return fmt.Sprintf("mlflow-artifacts:/%d/%s/artifacts", number, clientID)
}

// The experiment that clients use when they name none.
const (
	defaultExperiment   = "Default"
	defaultExperimentID = "mlflow-0"
)

// prepare makes sure that there is an experiment with number 0.
func (t *Tracking) prepare(ctx context.Context) error {
	t.ready.Lock()
	defer t.ready.Unlock()
	if t.begun {
		return nil
	}
	err := t.Store.EnsureDefaultExperiment(ctx, quant.Experiment{
		ExperimentID: defaultExperimentID, Name: defaultExperiment, Description: "where clients of MLflow record that name no experiment", CreatedAt: t.now(),
	})
	t.begun = err == nil
	return err
}

// numberOf reads the id of an experiment; "" is 0.
func numberOf(id string) (int64, error) {
	if id == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return 0, invalidf("Invalid experiment ID '%s'. Experiment ID must be a valid integer.", quant.Clip(id, 100))
	}
	if n < 0 {
		return 0, notFoundf("No Experiment with id=%s exists", quant.Clip(id, 100))
	}
	return n, nil
}

// row returns the experiment of an id, whether it is deleted or not.
func (t *Tracking) row(ctx context.Context, id string) (metastore.ClientExperiment, error) {
	n, err := numberOf(id)
	if err != nil {
		return metastore.ClientExperiment{}, err
	}
	if err := t.prepare(ctx); err != nil {
		return metastore.ClientExperiment{}, err
	}
	e, err := t.Store.GetClientExperiment(ctx, n)
	if errors.Is(err, quant.NotFound) {
		err = notFoundf("No Experiment with id=%d exists", n)
	}
	return e, err
}

// active is row for what needs one that is not deleted.
func (t *Tracking) active(ctx context.Context, id string) (metastore.ClientExperiment, error) {
	e, err := t.row(ctx, id)
	if err == nil && !e.DeletedAt.IsZero() {
		err = invalidf("The experiment %d must be in the 'active' state. Current state is deleted.", e.Number)
	}
	return e, err
}

func (t *Tracking) tagged(ctx context.Context, row metastore.ClientExperiment) (Experiment, error) {
	tags, err := t.Store.ExperimentTags(ctx, row.ExperimentID)
	return Experiment{row, tags}, err
}

// CreateExperiment makes an experiment and returns its id. Errors: Invalid; one
// marked ErrExists for a name that is taken, by a deleted one as well.
func (t *Tracking) CreateExperiment(ctx context.Context, name, artifactLocation string, tags []Tag) (string, error) {
	if err := validExperimentName(name); err != nil {
		return "", err
	}
	if _, after, found := strings.Cut(artifactLocation, "#"); found && after != "" {
		return "", invalidf("'artifact_location' URL can't include fragments or params.")
	}
	var rows []metastore.ExperimentTag
	for _, tag := range tags {
		if err := validExperimentTag(tag); err != nil {
			return "", err
		}
		rows = append(rows, metastore.ExperimentTag{Name: t.mask(tag.Key), Value: t.maskValue(tag.Key, tag.Value)})
	}
	if err := t.prepare(ctx); err != nil {
		return "", err
	}
	number, err := t.Store.CreateClientExperiment(ctx, quant.Experiment{Name: t.mask(name), CreatedAt: t.now()}, rows)
	if errors.Is(err, quant.Conflict) {
		return "", marked(quant.Conflict, ErrExists, "Experiment(name=%s) already exists.", quant.Clip(name, 200))
	}
	return strconv.FormatInt(number, 10), err
}

func validExperimentName(name string) error {
	switch {
	case strings.TrimSpace(name) == "" || !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return invalidf("Invalid experiment name: '%s'", strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", ""), ""))
	case utf8.RuneCountInString(name) > maxExperimentName:
		return invalidf("'name' exceeds the maximum length of %d characters", maxExperimentName)
	}
	return nil
}

func validExperimentTag(tag Tag) error {
	if err := validName("key", "key", tag.Key); err != nil {
		return err
	}
	if utf8.RuneCountInString(tag.Value) > maxExperimentTag {
		return invalidf("'value' exceeds the maximum length of %d characters", maxExperimentTag)
	}
	return nil
}

func (t *Tracking) mask(text string) string {
	return t.Registry.Mask.Text(strings.ToValidUTF8(text, "\uFFFD"))
}

func (t *Tracking) maskValue(name, value string) string {
	return t.Registry.Mask.Record(name, strings.ToValidUTF8(value, "\uFFFD"))
}

// GetExperiment returns an experiment, deleted or not.
func (t *Tracking) GetExperiment(ctx context.Context, id string) (Experiment, error) {
	row, err := t.row(ctx, id)
	if err != nil {
		return Experiment{}, err
	}
	return t.tagged(ctx, row)
}

// ExperimentNamed returns the experiment of a name, deleted or not; NotFound.
func (t *Tracking) ExperimentNamed(ctx context.Context, name string) (Experiment, error) {
	if err := t.prepare(ctx); err != nil {
		return Experiment{}, err
	}
	row, err := t.Store.ClientExperimentNamed(ctx, name)
	if errors.Is(err, quant.NotFound) {
		err = notFoundf("Could not find experiment with name '%s'", quant.Clip(name, 500))
	}
	if err != nil {
		return Experiment{}, err
	}
	return t.tagged(ctx, row)
}

// RenameExperiment gives an active experiment another name.
func (t *Tracking) RenameExperiment(ctx context.Context, id, name string) error {
	if err := validExperimentName(name); err != nil {
		return err
	}
	e, err := t.row(ctx, id)
	if err != nil {
		return err
	}
	if !e.DeletedAt.IsZero() {
		return marked(quant.Conflict, ErrState, "Cannot rename a non-active experiment.")
	}
	err = t.Store.RenameClientExperiment(ctx, e.Number, t.mask(name), t.now())
	if errors.Is(err, quant.Conflict) {
		err = marked(quant.Conflict, ErrExists, "Experiment(name=%s) already exists.", quant.Clip(name, 200))
	}
	return err
}

// DeleteExperiment marks an active experiment as deleted, and the runs that clients
// made in it.
func (t *Tracking) DeleteExperiment(ctx context.Context, id string) error {
	return t.markExperiment(ctx, id, true)
}

// RestoreExperiment takes back DeleteExperiment.
func (t *Tracking) RestoreExperiment(ctx context.Context, id string) error {
	return t.markExperiment(ctx, id, false)
}

func (t *Tracking) markExperiment(ctx context.Context, id string, deleted bool) error {
	e, err := t.row(ctx, id)
	if err == nil && e.DeletedAt.IsZero() != deleted {
		err = notFoundf("No Experiment with id=%d exists", e.Number) // none in that state
	}
	if err != nil {
		return err
	}
	return t.Store.MarkClientExperiment(ctx, e.Number, deleted, t.now(), t.RunID)
}

// SetExperimentTag stores or replaces a tag of an active experiment.
func (t *Tracking) SetExperimentTag(ctx context.Context, id string, tag Tag) error {
	if err := validExperimentTag(tag); err != nil {
		return err
	}
	e, err := t.active(ctx, id)
	if err != nil {
		return err
	}
	return t.Store.SetExperimentTag(ctx, metastore.ExperimentTag{ExperimentID: e.ExperimentID, Name: t.mask(tag.Key), Value: t.maskValue(tag.Key, tag.Value)})
}

// DeleteExperimentTag takes a tag of an active experiment away.
func (t *Tracking) DeleteExperimentTag(ctx context.Context, id, key string) error {
	e, err := t.active(ctx, id)
	if err != nil {
		return err
	}
	err = t.Store.DeleteExperimentTag(ctx, e.ExperimentID, t.mask(key))
	if errors.Is(err, quant.NotFound) {
		err = notFoundf("No tag with name: %s in experiment with id %d", quant.Clip(key, 250), e.Number)
	}
	return err
}
