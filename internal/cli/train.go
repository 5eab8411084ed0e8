package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/model"
	"quant/internal/output"
	"quant/internal/parquet"
	"quant/internal/pipeline"
)

func trainCommand(env *Env) Command {
	var o pipeline.TrainOptions
	flags := trainFlags{algos: "ridge, logistic or program", also: "; for a program K=V, which it is handed"}
	var validation, importance, format, proof, workers string
	cmd := &cobra.Command{
		Use:   "train --experiment ID [flags] [-- PROGRAM [ARG...]]",
		Short: "Train the model of an experiment and judge it out of sample",
		Long: `Train the model of an experiment on features_daily and labels: one for each fold
of its walk-forward split, judged on the fold's test block, and a final one on
everything. Scaling and the choice of alpha happen inside the training part of a
fold. A day that lacks a feature or the label is no sample.

ridge predicts the return of a label fwd_ret_<h>d, logistic the probability of a
direction_<h>d. alpha is the weight of the squared coefficients, as in
scikit-learn's Ridge; for logistic it is 1/C.

program trains with a program of your own, in any language. It is called once a
fold and for the final fit: the environment names what it learns from (QUANT_FIT),
what it predicts (QUANT_PREDICT), where its predictions go (QUANT_PREDICTIONS) and
where it keeps its model (QUANT_MODEL). docs/models.md has the protocol, and
examples/models programs that are ready. Its predictions are checked row by row:
one that is missing, was not asked for, is in-sample or no finite number is refused
with its day (exit status 6), as is a program that looks ahead: of one fold (--proof)
its predictions must come out the same when it is not handed what comes later. A
program that fails or is ended makes no model. It works in a session of its own,
without the lab in its environment, and no process of it is left. What it prints is
on stderr and in the log of the run.

--validation cpcv judges by combinatorial purged cross-validation instead: every
combination of --test-groups of --groups groups of sessions is predicted by a model
of all others, purged and embargoed at both sides, and the figures are given as a
distribution over the paths through all groups. Such folds learned from what came
after their test; only the final fit can score, days after all its labels.

--importance measures how much worse the predictions of the tests are without each
feature: permutation deals its values out anew among the names of each day, drop
trains without it. The figures are kept with the run (artifact importance.csv).

With --workers 4 the folds are learned by four processes of this machine, as jobs
(quant jobs list); with --workers queue by whatever quant worker processes run, on
any machine. The model is the same, to the byte. The proof and the final fit follow
in this process. A training that was killed goes on with the folds that were learned.

The model is a readable file in DATA-DIR/models, named by its digest; the same
data gives the same file and the same model id, and training again changes
nothing. Facts stay as they are. Exit status 4: no such experiment, features or
labels; 6: too few samples, or a feature that moves with the price level.`,
		Example: `  quant train --experiment momentum
  quant train --experiment momentum --algo ridge --param alpha=1,10,100
  quant train --experiment momentum --algo program -- python examples/models/lightgbm_model.py
  quant train --experiment momentum --workers 4 -- python examples/models/lightgbm_model.py
  quant train --experiment momentum --validation cpcv --groups 10 --test-groups 2 --importance permutation`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Program = args; len(args) > 0 && (flags.algo == "" || flags.algo == string(model.ByProgram)) {
				o.Params, flags.params = flags.params, nil
			}
			if o.Algo, o.Alphas, err = flags.choice(); err != nil {
				return err
			}
			if o.Validation, err = pipeline.ParseValidation(validation); err != nil {
				return err
			}
			if o.Importance, err = model.ParseImportance(importance); err != nil {
				return err
			}
			if o.Format, err = parquet.ParseFormat(format); err != nil {
				return err
			}
			if o.Proof, err = model.ParseProofScope(proof); err != nil {
				return err
			}
			for name, to := range map[string]*int{"groups": &o.Groups, "test-groups": &o.TestGroups} {
				if !cmd.Flags().Changed(name) {
					*to = 0
				}
			}
			if o.Unit.Fingerprint != "" {
				oneProcessor()
			} else if o.Dispatch, err = env.dispatch(workers); err != nil {
				return err
			}
			report, err := pipeline.Train(cmd.Context(), env.Session, o)
			if err != nil || o.Unit.Fingerprint != "" {
				return err
			}
			return env.Print(trainReport{report})
		},
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
			return quant.Errorf(quant.Usage, "train takes no argument before --, got %q", args[0]).
				WithHint("write: quant train --experiment ID --algo program -- PROGRAM [ARG...]")
		}
		return nil
	}
	f := cmd.Flags()
	f.StringVar(&o.Experiment, "experiment", "", "id of the experiment")
	flags.bind(cmd, "default: the experiment's")
	f.StringVar(&validation, "validation", "", "walk_forward or cpcv (default: the experiment's, a walk-forward)")
	f.IntVar(&o.Groups, "groups", model.DefaultGroups, "groups of sessions of cpcv")
	f.IntVar(&o.TestGroups, "test-groups", model.DefaultTestGroups, "of these, the test of one fold")
	f.StringVar(&importance, "importance", "", "permutation, drop or both: measure the importance of each feature out of sample")
	f.StringVar(&format, "format", string(parquet.Parquet), "parquet or csv: what a program is handed and writes")
	f.StringVar(&proof, "proof", string(model.ProofOne), "one, all or none: of how many folds it is proved that a program does not look ahead")
	f.Var(newDuration(&o.Timeout, 0), "timeout", "longest that one call of a program may take (0: no limit)")
	bindWorkers(cmd, &workers, "learn the folds", &o.Unit)
	return Command{Command: cmd, Traits: Traits{Changes: changesUnlessUnit}}
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
	lines = append(lines, programLines(r.Program, r.Files, r.Proof)...)
	return append(append([]output.Section{{Lines: lines}}, metricsSections(r.Metrics)...), importanceSections(r.Importance)...)
}

// programLines tell of the program of a model; none of a linear one.
func programLines(p *model.Program, kept []model.KeptFile, proof *model.Proof) []string {
	if p == nil {
		return nil
	}
	lines := []string{"program " + strings.Join(p.Argv, " ")}
	if len(kept) == 0 {
		lines = append(lines, "it kept no model: it cannot score")
	} else {
		var bytes int64
		for _, k := range kept {
			bytes += k.Bytes
		}
		lines = append(lines, fmt.Sprintf("it kept %s, %d bytes, of the final fit", quant.Count(len(kept), "file"), bytes))
	}
	switch {
	case proof == nil || proof.Scope == model.ProofNone:
		lines = append(lines, "NOT PROVED: whether it looks ahead was not tried")
	case len(proof.Folds) == 0:
		lines = append(lines, "NOT PROVED: no fold has two days in its test")
	default:
		for _, f := range proof.Folds {
			how := "without what follows"
			if f.ByModel {
				how += ", and by the model that it kept with that changed"
			}
			lines = append(lines, fmt.Sprintf("proved of %s: its %s up to %s come out the same %s", f.TaskID, quant.Count(f.Rows, "prediction"), f.Until, how))
		}
	}
	return lines
}

// importanceSections show the importance of features; none where it was not measured.
func importanceSections(list []model.Importance) []output.Section {
	if len(list) == 0 {
		return nil
	}
	type row struct {
		Feature string `json:"feature"`
		Method  string `json:"method"`
		IC      string `json:"ic"`
		RankIC  string `json:"rank ic"`
		Loss    string `json:"loss"`
	}
	rows := []row{}
	for _, i := range list {
		rows = append(rows, row{i.Feature.String(), string(i.Method), figure(i.IC), figure(i.RankIC), figure(i.Loss)})
	}
	return []output.Section{{Title: "importance, out of sample: what is lost without the feature", Rows: rows}}
}
