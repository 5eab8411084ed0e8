package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/model"
	"quant/internal/output"
	"quant/internal/pipeline"
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
			list, err := pipeline.ListModels(cmd.Context(), env.Session, experiment)
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
type modelReport struct{ pipeline.ModelReport }

func (r modelReport) CSVRows() any { return r.Coefficients }

func (r modelReport) Sections() []output.Section {
	if r.KnownAt != "" {
		return []output.Section{{Lines: []string{"model       " + r.ModelID, "algo        " + string(r.Algo), "created     " + r.CreatedAt.String(), "known at    " + string(r.KnownAt)}}}
	}
	lines := []string{
		"model       " + r.ModelID, "experiment  " + string(r.ExperimentID), "algo        " + string(r.Algo),
		"label       " + r.Label.String(), "trained on  " + string(r.TrainRange), "created     " + r.CreatedAt.String(),
		"file        " + r.File + " (verified)",
	}
	if r.Program != nil {
		return append([]output.Section{{Lines: append(lines, programLines(r.Program, r.Files, r.Proof)...)}}, metricsSections(r.Metrics)...)
	}
	return append([]output.Section{{Lines: lines}, {Title: "final model", Rows: r.Coefficients}}, metricsSections(r.Metrics)...)
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
		r.Purged = fmt.Sprint(f.Purged)
		if f.Alpha > 0 { // a program has none
			r.Alpha = fmt.Sprint(f.Alpha)
		}
		rows = append(rows, r)
	}
	overall := "overall"
	if len(m.Paths) > 0 {
		overall = "mean of paths"
	}
	rows = append(rows, of(overall, m.Overall))
	return append([]output.Section{{Title: "out of sample", Rows: rows}}, spreadSections(m)...)
}

// spreadSections show how the figures spread over the paths of combinatorial purged
// cross-validation; none of a walk-forward.
func spreadSections(m model.Metrics) []output.Section {
	if len(m.Spread) == 0 {
		return nil
	}
	type row struct {
		Figure    string `json:"figure"`
		Mean      string `json:"mean"`
		Deviation string `json:"deviation"`
		Min       string `json:"min"`
		Median    string `json:"median"`
		Max       string `json:"max"`
	}
	rows := []row{}
	for _, name := range slices.Sorted(maps.Keys(m.Spread)) {
		d := m.Spread[name]
		rows = append(rows, row{name, figure(&d.Mean), figure(d.Deviation), figure(&d.Min), figure(&d.Median), figure(&d.Max)})
	}
	return []output.Section{{Title: fmt.Sprintf("over %s", quant.Count(len(m.Paths), "path")), Rows: rows}}
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
			report, err := pipeline.ShowModel(cmd.Context(), env.Session, args[0])
			if err != nil {
				return err
			}
			return env.Print(modelReport{report})
		},
	}
	return Command{Command: cmd}
}
