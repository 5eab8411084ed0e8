package tracking

import (
	"context"
	"strings"

	"quant"
)

// target is a run that a client names, and where its records stand.
type target struct {
	runID      string // of the current run of the client's id
	experiment string // the number that clients know
	client     bool   // a client made it
}

// target finds a run; NotFound.
func (t *Tracking) target(ctx context.Context, clientID string) (target, error) {
	id := clientID
	if isClientID(id) {
		id = strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	}
	run, err := t.Store.GetRun(ctx, id)
	if err != nil {
		return target{}, quant.Errorf(quant.NotFound, "Run with id=%s not found", clientID)
	}
	tags, err := t.Store.Tags(ctx, id)
	if err != nil {
		return target{}, err
	}
	found := target{runID: id, experiment: "0", client: run.Kind == "mlflow"}
	for _, tag := range tags {
		if tag.Name == quant.ExperimentTag {
			found.experiment = tag.Value
		}
	}
	return found, nil
}

// sawRun notes a sign of life of the client of a run.
func (t *Tracking) sawRun(target) {}

// experiment is an experiment by its id and by the number that clients know.
type experiment struct{ id, number string }

// experimentIDs finds experiments by their numbers; those that do not exist are left
// out.
func (t *Tracking) experimentIDs(_ context.Context, numbers []string) ([]experiment, error) {
	var all []experiment
	for _, n := range numbers {
		all = append(all, experiment{n, n})
	}
	return all, nil
}

// activeExperiment finds an experiment that is not deleted. NotFound.
func (t *Tracking) activeExperiment(ctx context.Context, number string) (experiment, error) {
	_, err := t.Store.GetExperiment(ctx, number)
	return experiment{number, number}, err
}

// experimentNumber is the number of an experiment.
func (t *Tracking) experimentNumber(_ context.Context, id string) (string, error) { return id, nil }
