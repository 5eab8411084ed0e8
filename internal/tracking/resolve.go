package tracking

import (
	"context"
	"errors"
	"strconv"

	"quant"
	"quant/internal/metastore"
)

// target is a run that a client names, and where its records stand.
type target struct {
	clientID   string
	runID      string // of the current run of the client's id
	experiment string // the number that clients know
	client     bool   // a client made it
}

// target finds a run, deleted or not; NotFound.
func (t *Tracking) target(ctx context.Context, clientID string) (target, error) {
	r, err := t.find(ctx, clientID)
	if err != nil {
		return target{}, err
	}
	return targetOf(r), nil
}

// activeTarget is target for what needs a run that is not deleted.
func (t *Tracking) activeTarget(ctx context.Context, clientID string) (target, error) {
	r, err := t.findActive(ctx, clientID)
	if err != nil {
		return target{}, err
	}
	return targetOf(r), nil
}

func targetOf(r metastore.ClientRun) target {
	return target{r.ClientID, r.RunID, strconv.FormatInt(r.Number, 10), r.Status != ""}
}

// sawRun stores a sign of life of the client of a run, where one is due.
func (t *Tracking) sawRun(ctx context.Context, run target) error {
	if !run.client {
		return nil
	}
	seen := t.life.see(run.clientID, t.now())
	if seen.IsZero() {
		return nil
	}
	return t.writes.do(ctx, func(ctx context.Context) error {
		return t.Store.SeeClientRuns(ctx, map[string]quant.Time{run.runID: seen})
	})
}

// experiment is an experiment by its id and by the number that clients know.
type experiment struct{ id, number string }

// experimentIDs finds experiments by their numbers; those that do not exist are left
// out.
func (t *Tracking) experimentIDs(ctx context.Context, numbers []string) ([]experiment, error) {
	var all []experiment
	for _, n := range numbers {
		e, err := t.row(ctx, n)
		if errors.Is(err, quant.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, experiment{e.ExperimentID, strconv.FormatInt(e.Number, 10)})
	}
	return all, nil
}

// experimentNumber is the number of an experiment, which never changes; that of the
// default one for an experiment that is gone.
func (t *Tracking) experimentNumber(ctx context.Context, id string) (string, error) {
	if number, known := t.numbers.Load(id); known {
		return number.(string), nil
	}
	all, err := t.Store.ListClientExperiments(ctx)
	if err != nil {
		return "", err
	}
	for _, e := range all {
		t.numbers.Store(e.ExperimentID, strconv.FormatInt(e.Number, 10))
	}
	if number, known := t.numbers.Load(id); known {
		return number.(string), nil
	}
	return "0", nil
}
