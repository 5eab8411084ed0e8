package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
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
			algo, alphas, err := flags.choice()
			if err != nil {
				return err
			}
			report, err := pipeline.Train(cmd.Context(), env.Session, pipeline.TrainOptions{Experiment: experiment, Algo: algo, Alphas: alphas})
			if err != nil {
				return err
			}
			return env.Print(trainReport{report})
		},
	}
	cmd.Flags().StringVar(&experiment, "experiment", "", "id of the experiment")
	flags.bind(cmd, "default: the experiment's")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// trainReport is the result of train.
type trainReport struct{ pipeline.TrainReport }

func (r trainReport) CSVRows() any { return r.Metrics.Folds }

func (r trainReport) Sections() []output.Section {
	lines := []string{
		fmt.Sprintf("model %s: %s", r.ModelID, r.Change),
		fmt.Sprintf("%d samples of %s, %s; %d days left out for want of a feature", r.Samples, quant.Count(int(r.Symbols), "symbol"), r.TrainRange, r.LeftOut),
		"file " + r.File,
	}
	if r.KnownAt != "" {
		lines = append(lines, "known at: "+string(r.KnownAt))
	}
	return append([]output.Section{{Lines: lines}}, metricsSections(r.Metrics)...)
}
