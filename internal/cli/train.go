package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/output"
)

func trainCommand(env *Env) Command {
	var experiment string
	var flags trainFlags
	cmd := &cobra.Command{
		Use:   "train --experiment ID",
		Short: "Train the model of an experiment and judge it out of sample",
		Long: `Train the model of an experiment on features_daily and labels: one for each fold
of its walk-forward split, judged on the fold's test block, and a final one on
everything. Scaling and the choice of alpha happen inside the training part of a
fold. A day that lacks a feature or the label is no sample.

ridge predicts the return of a label fwd_ret_<h>d, logistic the probability of a
direction_<h>d. alpha is the weight of the squared coefficients, as in
scikit-learn's Ridge; for logistic it is 1/C.

The model is a readable file in DATA-DIR/models, named by its digest; the same
data gives the same file and the same model id, and training again changes
nothing. Facts stay as they are. Exit status 4: no such experiment, features or
labels; 6: too few samples, or a feature that moves with the price level.`,
		Example: `  quant train --experiment momentum
  quant train --experiment momentum --algo ridge --param alpha=1,10,100`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if experiment == "" {
				return quant.Errorf(quant.Usage, "no experiment is named").WithHint("quant train --experiment ID; `quant experiments list` shows them")
			}
			// Flags first: a bad one is said before anything is opened.
			var check trainParams
			if err := flags.apply(&check); err != nil {
				return err
			}
			return env.train(cmd.Context(), experiment, flags)
		},
	}
	cmd.Flags().StringVar(&experiment, "experiment", "", "id of the experiment")
	flags.bind(cmd, "default: the experiment's")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func (e *Env) train(ctx context.Context, experiment string, flags trainFlags) error {
	found, err := e.getExperiment(ctx, experiment)
	if err != nil {
		return err
	}
	spec, err := specOf(found)
	if err != nil {
		return err
	}
	params := trainParams{spec.Algo, spec.Alphas, spec.Seed}
	if err := flags.apply(&params); err != nil {
		return err
	}
	spec.Algo, spec.Alphas = params.Algo, params.Alphas
	if err := spec.Validate(); err != nil {
		return err
	}
	if err := refusePriceLevels(spec.Features); err != nil {
		return err
	}
	e.logParams("experiment_id", spec.ExperimentID, "algo", string(spec.Algo), "label", spec.Label.String(), "features", listOf(spec.Features),
		"alphas", decimals(spec.Alphas), "seed", strconv.FormatInt(spec.Seed, 10), "folds", strconv.Itoa(spec.Policy.Folds),
		"horizon", strconv.Itoa(spec.Policy.Horizon), "embargo", strconv.Itoa(spec.Policy.Embargo), "min_train_sessions", strconv.Itoa(spec.Policy.MinTrainSessions))
	if e.Run != nil {
		e.Run.Log(metastore.Batch{Tags: []quant.Tag{{Name: quant.ExperimentTag, Value: experiment}}})
	}
	var trained model.Trained
	err = e.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := e.calendar(ctx, db)
		if err != nil {
			return err
		}
		trained, err = model.Train(ctx, db, cal, spec)
		return err
	})
	e.recordReads(trained.Reads)
	if err != nil {
		return err
	}
	report, err := e.keepModel(ctx, trained)
	if err != nil {
		return err
	}
	e.logMeasured("", 0, trained.Metrics.Overall)
	e.logMeasured("", 0, struct {
		Alpha float64 `json:"alpha"`
	}{report.Alpha})
	for i, fold := range trained.Metrics.Folds {
		e.logMeasured("fold.", i, fold.Measures)
	}
	for _, notice := range trained.Notices {
		e.Notice("%s", notice)
	}
	return e.Print(report)
}

// keepModel writes the model's file and then its row: a file without a row
// harms nothing.
func (e *Env) keepModel(ctx context.Context, t model.Trained) (trainReport, error) {
	doc := t.Document
	digest, err := model.Save(e.ModelDir(), doc)
	if err != nil {
		return trainReport{}, err
	}
	name, err := model.FileName(digest)
	if err != nil {
		return trainReport{}, err
	}
	report := trainReport{
		ModelID: model.ID(doc.Algo, digest), ExperimentID: doc.ExperimentID, Algo: doc.Algo, Digest: digest, File: place.ModelName(name),
		TrainRange: doc.Final.TrainFrom.String() + ".." + doc.Final.TrainTo.String(), Samples: t.Samples, LeftOut: t.LeftOut, Symbols: t.Symbols,
		Alpha: doc.Final.Alpha, Metrics: t.Metrics, Notices: append([]string{}, t.Notices...),
	}
	var versions []string
	for _, f := range doc.Features {
		if !slices.Contains(versions, f.Version) {
			versions = append(versions, f.Version)
		}
	}
	m := quant.Model{
		ModelID: report.ModelID, ExperimentID: quant.Text(doc.ExperimentID), Algo: quant.Text(doc.Algo), TrainRange: quant.Text(report.TrainRange),
		FeatureVersion: quant.Text(strings.Join(versions, ",")), LabelVersion: quant.Text(doc.Label.Version), CreatedAt: quant.NewTime(e.Now()),
	}
	if m.ParamsJSON, err = quant.NewJSON(modelParams{digest, report.File, doc.Alphas, doc.Final.Alpha, doc.Seed, doc.Calendar, t.Samples}); err != nil {
		return report, err
	}
	if m.MetricsJSON, err = quant.NewJSON(t.Metrics); err != nil {
		return report, err
	}
	report.Change, err = e.storeModel(ctx, m)
	if err != nil {
		return report, err
	}
	if report.Change != "unchanged" {
		e.record(quant.RunIO{Direction: quant.Out, Kind: "meta", Name: "models", Rows: ptr(int64(1))})
	}
	e.record(quant.RunIO{
		Direction: quant.Out, Kind: modelKind, Name: report.ModelID, Digest: quant.Text(digest),
		FirstDate: quant.Text(doc.Final.TrainFrom.String()), LastDate: quant.Text(doc.Final.TrainLabelEnd.String()),
	})
	return report, nil
}

func (e *Env) storeModel(ctx context.Context, m quant.Model) (change string, err error) {
	err = e.Meta.Tx(ctx, func(ctx context.Context) error {
		old, err := e.Meta.GetModel(ctx, m.ModelID)
		if errors.Is(err, quant.NotFound) {
			change = "created"
			return e.Meta.CreateModel(ctx, m)
		}
		if err != nil {
			return err
		}
		m.CreatedAt = old.CreatedAt
		if string(old.ParamsJSON) == string(m.ParamsJSON) && string(old.MetricsJSON) == string(m.MetricsJSON) && old.TrainRange == m.TrainRange {
			change = "unchanged"
			return nil
		}
		// The same model, judged by another version of the program.
		change = "updated"
		return e.Meta.UpdateModel(ctx, m)
	})
	return change, err
}

// trainReport is the result of train.
type trainReport struct {
	ModelID      string        `json:"model_id"`
	ExperimentID string        `json:"experiment_id"`
	Algo         model.Algo    `json:"algo"`
	Change       string        `json:"change"` // created, updated or unchanged
	Digest       string        `json:"digest"`
	File         string        `json:"file"` // from the data folder
	TrainRange   string        `json:"train_range"`
	Samples      int           `json:"samples"`
	LeftOut      int64         `json:"left_out"` // labels whose day lacks a feature
	Symbols      int64         `json:"symbols"`
	Alpha        float64       `json:"alpha"` // of the final model
	Metrics      model.Metrics `json:"metrics"`
	Notices      []string      `json:"notices"`
}

func (r trainReport) CSVRows() any { return r.Metrics.Folds }

func (r trainReport) Sections() []output.Section {
	lines := []string{
		fmt.Sprintf("model %s: %s", r.ModelID, r.Change),
		fmt.Sprintf("%d samples of %s, %s; %d days left out for want of a feature", r.Samples, quant.Count(int(r.Symbols), "symbol"), r.TrainRange, r.LeftOut),
		"file " + r.File,
	}
	return append([]output.Section{{Lines: lines}}, metricsSections(r.Metrics)...)
}
