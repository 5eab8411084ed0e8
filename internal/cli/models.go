package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/feature"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/output"
)

func modelsCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "models",
			Short: "See the models that were trained",
		},
		Sub: []Command{modelsList(env), modelsShow(env)},
	}
}

// modelKind is the kind under which train records the model that it made.
const modelKind = "model"

// modelParams are params_json of a model. The file is named from the data
// folder.
type modelParams struct {
	Digest   string    `json:"digest"`
	File     string    `json:"file"`
	Alphas   []float64 `json:"alphas"` // to choose from
	Alpha    float64   `json:"alpha"`  // of the final model
	Seed     int64     `json:"seed"`
	Calendar string    `json:"calendar"`
	Samples  int       `json:"samples"`
}

// experimentRef begins a reference to the newest model of an experiment.
const experimentRef = "experiment:"

// resolveModel returns the model that ref names: by its id, or, as
// experiment:ID, the one of an experiment that was trained last, be it for the
// first time or again. NotFound if there is none.
func (e *Env) resolveModel(ctx context.Context, ref string) (quant.Model, error) {
	meta, err := e.MetaDB()
	if err != nil {
		return quant.Model{}, err
	}
	id, isExperiment := strings.CutPrefix(ref, experimentRef)
	if !isExperiment {
		m, err := meta.GetModel(ctx, ref)
		if errors.Is(err, quant.NotFound) {
			return m, quant.Errorf(quant.NotFound, "no model %q", ref).WithHint("`quant models list` shows the models; experiment:ID means the one trained last")
		}
		return m, err
	}
	if _, err := e.getExperiment(ctx, id); err != nil {
		return quant.Model{}, err
	}
	list, err := meta.ListModels(ctx, metastore.ModelFilter{ExperimentID: id})
	if err != nil {
		return quant.Model{}, err
	}
	if len(list) == 0 {
		return quant.Model{}, quant.Errorf(quant.NotFound, "experiment %s has no model yet", id).WithHint("quant train --experiment %s", id)
	}
	trained, err := meta.ListOutputs(ctx, modelKind) // newest run first
	if err != nil {
		return quant.Model{}, err
	}
	for _, io := range trained {
		if i := slices.IndexFunc(list, func(m quant.Model) bool { return m.ModelID == io.Name }); i >= 0 {
			return list[i], nil
		}
	}
	return list[0], nil // the newest row, where no run is recorded
}

// loadModel reads and verifies the file of a model.
func (e *Env) loadModel(m quant.Model) (model.Document, modelParams, error) {
	var p modelParams
	if err := json.Unmarshal(m.ParamsJSON, &p); err != nil || p.Digest == "" {
		return model.Document{}, p, quant.Errorf(quant.Store, "model %s has no digest of its file in params_json", m.ModelID).WithHint("train it again")
	}
	doc, err := model.Load(e.ModelDir(), p.Digest)
	return doc, p, err
}

// modelWriter is the run that made a model; "" if it is not recorded.
func (e *Env) modelWriter(ctx context.Context, id string) (string, error) {
	made, err := e.Meta.ListOutputs(ctx, modelKind)
	if err != nil {
		return "", err
	}
	run := ""
	for _, io := range made { // newest first: the oldest one made it
		if io.Name == id {
			run = io.RunID
		}
	}
	return run, nil
}

// recordReads notes what a module read, and the runs that had written it.
func (e *Env) recordReads(reads []model.Read) {
	writers := map[string]bool{}
	for _, r := range reads {
		e.record(quant.RunIO{Direction: quant.In, Kind: "table", Name: r.Name, Rows: ptr(r.Rows), FirstDate: r.First, LastDate: r.Last, Digest: quant.Text(r.Digest)})
		for _, run := range r.Writers {
			writers[run] = true
		}
	}
	for _, run := range sortedKeys(writers) {
		e.record(quant.RunIO{Direction: quant.In, Kind: "run", Name: run})
	}
}

// refusePriceLevels refuses features that move with the level of a price, of
// which a model learns the history of splits and little else.
func refusePriceLevels(list []model.Feature) error {
	for _, f := range list {
		if twin, level := priceLevel(f.Name); level {
			return quant.Errorf(quant.Refused, "feature %s moves with the price level: it means another thing for each symbol", f).
				WithHint("use its scale-free twin %s@%s", twin, f.Version)
		}
	}
	return nil
}

// priceLevel reports whether a feature is at price level, and its scale-free
// twin. What is not in the catalogue is the user's own.
func priceLevel(name string) (twin string, level bool) {
	catalogue, err := feature.Catalogue("")
	if err != nil {
		return "", false // there is no version of which it could be said
	}
	for _, e := range catalogue {
		if e.Name == name {
			return e.Twin, !e.ScaleFree
		}
	}
	return "", false
}

type modelList []quant.Model

func (l modelList) Sections() []output.Section {
	type row struct {
		Model      string `json:"model"`
		Experiment string `json:"experiment"`
		Algo       string `json:"algo"`
		Label      string `json:"label version"`
		Trained    string `json:"trained on"`
		IC         string `json:"ic"`
		RankIC     string `json:"rank ic"`
		Created    string `json:"created"`
	}
	rows := []row{}
	for _, m := range l {
		var metrics model.Metrics
		_ = json.Unmarshal(m.MetricsJSON, &metrics) // another program's may not fit: no figures then
		rows = append(rows, row{m.ModelID, string(m.ExperimentID), string(m.Algo), string(m.LabelVersion), string(m.TrainRange),
			figure(metrics.Overall.IC), figure(metrics.Overall.RankIC), m.CreatedAt.UTC().Format("2006-01-02 15:04:05Z")})
	}
	return []output.Section{{Rows: rows}}
}

func modelsList(env *Env) Command {
	var experiment string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the models, newest first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			if experiment != "" {
				if _, err := env.getExperiment(cmd.Context(), experiment); err != nil {
					return err
				}
			}
			list, err := meta.ListModels(cmd.Context(), metastore.ModelFilter{ExperimentID: experiment})
			if err != nil {
				return err
			}
			return env.Print(modelList(list))
		},
	}
	cmd.Flags().StringVar(&experiment, "experiment", "", "only those of this experiment")
	return Command{Command: cmd}
}

// modelReport is the result of models show.
type modelReport struct {
	quant.Model
	Digest       string              `json:"digest"`
	File         string              `json:"file"`
	Features     []model.Feature     `json:"features"`
	Label        model.Label         `json:"label"`
	Coefficients []model.Coefficient `json:"coefficients"` // of the final model
	Intercept    float64             `json:"intercept"`

	metrics model.Metrics
}

func (r modelReport) CSVRows() any { return r.Coefficients }

func (r modelReport) Sections() []output.Section {
	lines := []string{
		"model       " + r.ModelID, "experiment  " + string(r.ExperimentID), "algo        " + string(r.Algo),
		"label       " + r.Label.String(), "trained on  " + string(r.TrainRange), "created     " + r.CreatedAt.String(),
		"file        " + r.File + " (verified)",
	}
	return append([]output.Section{{Lines: lines}, {Title: "final model", Rows: r.Coefficients}}, metricsSections(r.metrics)...)
}

// metricsSections show how a model did.
func metricsSections(m model.Metrics) []output.Section {
	type row struct {
		Task     string `json:"task"`
		Train    string `json:"trained on"`
		Test     string `json:"tested on"`
		Samples  int    `json:"samples"`
		Purged   string `json:"purged"`
		Alpha    string `json:"alpha"`
		IC       string `json:"ic"`
		ICIR     string `json:"icir"`
		RankIC   string `json:"rank ic"`
		Loss     string `json:"loss"`
		Baseline string `json:"baseline"`
	}
	of := func(task string, m model.Measures) row {
		r := row{Task: task, Samples: m.Samples, IC: figure(m.IC), ICIR: figure(m.ICIR), RankIC: figure(m.RankIC)}
		if m.RMSE != nil {
			r.Loss, r.Baseline = "rmse "+figure(m.RMSE), figure(m.BaselineRMSE)
		} else if m.LogLoss != nil {
			r.Loss, r.Baseline = "auc "+figure(m.AUC)+" log loss "+figure(m.LogLoss), figure(m.BaselineAUC)+" "+figure(m.BaselineLogLoss)
		}
		return r
	}
	rows := []row{}
	for _, f := range m.Folds {
		r := of(f.TaskID, f.Measures)
		r.Train, r.Test = f.TrainFrom.String()+".."+f.TrainTo.String(), f.TestFrom.String()+".."+f.TestTo.String()
		r.Purged, r.Alpha = fmt.Sprint(f.Purged), fmt.Sprint(f.Alpha)
		rows = append(rows, r)
	}
	rows = append(rows, of("overall", m.Overall))
	return []output.Section{{Title: "out of sample", Rows: rows}}
}

func modelsShow(env *Env) Command {
	cmd := &cobra.Command{
		Use:   "show MODEL",
		Short: "Show a model, and verify its file",
		Long: `Show a model: its coefficients, and how its folds did on what they had not seen.
MODEL is an id, or experiment:ID for the model of an experiment that was trained
last. The file is read and its digest verified: one that was changed is refused (exit status 6),
a missing one is 8; training again writes it anew.`,
		Example: `  quant models show ridge-0123456789ab
  quant models show experiment:momentum`,
		Args: wantArgs(1, 1, "one model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := env.resolveModel(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			doc, p, err := env.loadModel(m)
			if err != nil {
				return err
			}
			env.record(quant.RunIO{Direction: quant.In, Kind: "file", Name: p.File, Digest: quant.Text(p.Digest)})
			report := modelReport{Model: m, Digest: p.Digest, File: p.File, Features: doc.Features, Label: doc.Label,
				Coefficients: doc.Final.Coefficients, Intercept: doc.Final.Intercept}
			if err := json.Unmarshal(m.MetricsJSON, &report.metrics); err != nil {
				return quant.Errorf(quant.Store, "model %s: metrics_json cannot be read: %w", m.ModelID, err).WithHint("train it again")
			}
			return env.Print(report)
		},
	}
	return Command{Command: cmd}
}
