package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/session"
)

// ExperimentOptions are an experiment as it is asked for.
type ExperimentOptions struct {
	ID          string // up to 64 letters, digits, _, . and -
	Name        string // "": the id
	Description string
	Features    string // comma list, each with its version; a version alone: its scale-free features
	Label       string // with its version
	From, To    string // of the samples' days, YYYY-MM-DD; "": no bound
	Folds       int
	Embargo     *int // sessions; nil: the label's horizon
	MinTrain    int  // sessions that the first fold trains on at least
	Seed        int64
	Algo        model.Algo // "": what fits the label
	Alphas      []float64  // to choose from; nil: model.DefaultAlphas
}

// Experiment is the row that the options ask for, checked; created_at is not set.
// Usage: a value cannot be used. Refused: a feature moves with the price level.
func (o ExperimentOptions) Experiment() (quant.Experiment, error) {
	e := quant.Experiment{ExperimentID: o.ID, Name: o.Name, Description: quant.Text(o.Description)}
	if e.Name == "" {
		e.Name = o.ID
	}
	if len(o.ID) > 64 || strings.Trim(o.ID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" || o.ID == "" {
		return e, quant.Errorf(quant.Usage, "experiment id %q cannot be used", o.ID).WithHint("use up to 64 letters, digits, _, . and -")
	}
	spec := model.Spec{ExperimentID: o.ID, Algo: model.Ridge, Alphas: model.DefaultAlphas(), Seed: o.Seed}
	var err error
	if spec.Features, err = model.ParseFeatures(o.Features); err != nil {
		return e, err
	}
	if err := refusePriceLevels(spec.Features, nil); err != nil {
		return e, err
	}
	if spec.Label, err = model.ParseLabel(o.Label); err != nil {
		return e, err
	}
	spec.Policy = model.Policy{Method: model.Method, Folds: o.Folds, Horizon: spec.Label.Horizon, Embargo: spec.Label.Horizon, MinTrainSessions: o.MinTrain}
	if o.Embargo != nil {
		spec.Policy.Embargo = *o.Embargo
	}
	if spec.Policy.From, err = optionalDate(o.From); err != nil {
		return e, err
	}
	if spec.Policy.To, err = optionalDate(o.To); err != nil {
		return e, err
	}
	if spec.Label.Direction {
		spec.Algo = model.Logistic
	}
	choose(&spec, o.Algo, o.Alphas)
	if spec.Algo == model.ByProgram {
		return e, quant.Errorf(quant.Usage, "a program is named when it trains, and no algorithm of an experiment").
			WithHint("leave --algo out, and then: quant train --experiment %s --algo program -- python train.py", o.ID)
	}
	if err := spec.Validate(); err != nil {
		return e, err
	}
	e.FeatureSetID, e.LabelSetID = quant.Text(model.Join(spec.Features)), quant.Text(spec.Label.String())
	if e.SplitPolicyJSON, err = quant.NewJSON(spec.Policy); err != nil {
		return e, err
	}
	e.ParamsJSON, err = quant.NewJSON(trainParams{spec.Algo, spec.Alphas, spec.Seed})
	return e, err
}

// refuseOwnPriceLevels is refusePriceLevels for features of the lab's own sets.
func refuseOwnPriceLevels(ctx context.Context, s *session.Session, features string) error {
	list, err := model.ParseFeatures(features)
	if err != nil {
		return err
	}
	sets, err := setsFor(ctx, s, versionsOf(list)...)
	if err != nil {
		return err
	}
	return refusePriceLevels(list, sets)
}

// choose lets what is named beat what the spec has.
func choose(spec *model.Spec, algo model.Algo, alphas []float64) {
	if algo != "" {
		spec.Algo = algo
	}
	if alphas != nil {
		spec.Alphas = alphas
	}
}

// trainParams are the choices of an experiment that params_json holds.
type trainParams struct {
	Algo   model.Algo `json:"algo"`
	Alphas []float64  `json:"alpha"`
	Seed   int64      `json:"seed"`
}

// specOf is what an experiment trains. Invalid: it was not made by
// CreateExperiment.
func specOf(e quant.Experiment) (model.Spec, error) {
	s := model.Spec{ExperimentID: e.ExperimentID}
	unusable := func(err error) (model.Spec, error) {
		return s, quant.Errorf(quant.Invalid, "experiment %s cannot be trained: %w", e.ExperimentID, err).
			WithHint("create another one with `quant experiments create`")
	}
	var err error
	if s.Features, err = model.ParseFeatures(string(e.FeatureSetID)); err != nil {
		return unusable(err)
	}
	if s.Label, err = model.ParseLabel(string(e.LabelSetID)); err != nil {
		return unusable(err)
	}
	if err := json.Unmarshal(e.SplitPolicyJSON, &s.Policy); err != nil {
		return unusable(err)
	}
	var params trainParams
	if err := json.Unmarshal(e.ParamsJSON, &params); err != nil {
		return unusable(err)
	}
	s.Algo, s.Alphas, s.Seed = params.Algo, params.Alphas, params.Seed
	return s, nil
}

func optionalDate(text string) (*quant.Date, error) {
	if text == "" {
		return nil, nil
	}
	d, err := quant.ParseDate(text)
	return &d, err
}

// ExperimentChange is an experiment and what became of it.
type ExperimentChange struct {
	Change string `json:"change"` // created or unchanged
	quant.Experiment
}

// CreateExperiment creates an experiment; the same again is left as it is.
// Conflict: another one has the id. Other errors: those of
// ExperimentOptions.Experiment.
func CreateExperiment(ctx context.Context, s *session.Session, o ExperimentOptions) (ExperimentChange, error) {
	var err error
	if o.Features, err = wholeVersions(ctx, s, o.Features); err != nil {
		return ExperimentChange{}, err
	}
	wanted, err := o.Experiment()
	if err != nil {
		return ExperimentChange{}, err
	}
	if err := refuseOwnPriceLevels(ctx, s, o.Features); err != nil {
		return ExperimentChange{}, err
	}
	meta, err := s.MetaDB()
	if err != nil {
		return ExperimentChange{}, err
	}
	wanted.CreatedAt = quant.NewTime(s.Now())
	done := ExperimentChange{"created", wanted}
	err = meta.Tx(ctx, func(ctx context.Context) error {
		old, err := meta.GetExperiment(ctx, wanted.ExperimentID)
		if errors.Is(err, quant.NotFound) {
			return meta.CreateExperiment(ctx, wanted)
		}
		if err != nil {
			return err
		}
		if differing := experimentDifference(old, wanted); differing != "" {
			return quant.Errorf(quant.Conflict, "experiment %s exists already, with another %s", old.ExperimentID, differing).
				WithHint("choose another id, or look at it: quant experiments show %s", old.ExperimentID)
		}
		done = ExperimentChange{"unchanged", old}
		return nil
	})
	if err == nil && done.Change == "created" {
		recordMeta(s, "experiments", 1)
	}
	return done, err
}

// experimentDifference names the first column in which two differ.
func experimentDifference(a, b quant.Experiment) string {
	for _, column := range []struct{ name, a, b string }{
		{"name", a.Name, b.Name}, {"description", string(a.Description), string(b.Description)},
		{"feature set", string(a.FeatureSetID), string(b.FeatureSetID)}, {"label", string(a.LabelSetID), string(b.LabelSetID)},
		{"split policy", string(a.SplitPolicyJSON), string(b.SplitPolicyJSON)}, {"choice of algorithm, alpha or seed", string(a.ParamsJSON), string(b.ParamsJSON)},
	} {
		if column.a != column.b {
			return column.name
		}
	}
	return ""
}

// GetExperiment reads an experiment; NotFound if there is none.
func GetExperiment(ctx context.Context, s *session.Session, id string) (quant.Experiment, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return quant.Experiment{}, err
	}
	found, err := meta.GetExperiment(ctx, id)
	if errors.Is(err, quant.NotFound) {
		return found, quant.Errorf(quant.NotFound, "no experiment %q", id).WithHint("`quant experiments list` shows them, `quant experiments create` makes one")
	}
	return found, err
}

// ListExperiments returns the experiments, newest first.
func ListExperiments(ctx context.Context, s *session.Session) ([]quant.Experiment, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	return meta.ListExperiments(ctx, metastore.ExperimentFilter{})
}

// ExperimentReport is an experiment with its models.
type ExperimentReport struct {
	quant.Experiment
	Models []string `json:"models"` // newest first
}

// ShowExperiment reads an experiment and names its models; NotFound if there is
// none.
func ShowExperiment(ctx context.Context, s *session.Session, id string) (ExperimentReport, error) {
	e, err := GetExperiment(ctx, s, id)
	if err != nil {
		return ExperimentReport{}, err
	}
	models, err := s.Meta.ListModels(ctx, metastore.ModelFilter{ExperimentID: e.ExperimentID})
	if err != nil {
		return ExperimentReport{}, err
	}
	report := ExperimentReport{e, []string{}}
	for _, m := range models {
		report.Models = append(report.Models, m.ModelID)
	}
	return report, nil
}
