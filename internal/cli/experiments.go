package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/model"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func experimentsCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "experiments",
			Short: "Create and see experiments: which features shall explain which label",
		},
		Sub: []Command{experimentsCreate(env), experimentsList(env), experimentsShow(env)},
	}
}

// trainFlags are the flags that experiments create and train share.
type trainFlags struct {
	algo   string
	params []string

	algos, also string // what the flags say of themselves
}

func (f *trainFlags) bind(cmd *cobra.Command, otherwise string) {
	cmd.Flags().StringVar(&f.algo, "algo", "", f.algos+" ("+otherwise+")")
	cmd.Flags().StringArrayVar(&f.params, "param", nil, "alpha=1,10,100: penalties to choose from, inside the training part of each fold"+f.also)
}

// choice is what the flags name; nothing of what they leave open.
func (f *trainFlags) choice() (algo model.Algo, alphas []float64, err error) {
	if f.algo != "" {
		if algo, err = model.ParseAlgo(f.algo); err != nil {
			return algo, nil, err
		}
	}
	alphas, err = pipeline.ParseParams(f.params)
	return algo, alphas, err
}

// ofTheLabel is the embargo that is the label's horizon.
const ofTheLabel = -1

// experimentChange is the result of experiments create.
type experimentChange struct {
	pipeline.ExperimentChange
	verbose bool
}

func (c experimentChange) Sections() []output.Section {
	return []output.Section{{Lines: append([]string{"experiment " + c.ExperimentID + ": " + c.Change}, experimentLines(c.Experiment, c.verbose)...)}}
}

// featuresInWords are the features of an experiment for a person; verbose: every one.
func featuresInWords(e quant.Experiment, verbose bool) string {
	list, err := model.ParseFeatures(string(e.FeatureSetID))
	if err != nil || verbose {
		return string(e.FeatureSetID) // what no version of quant wrote is shown as it is
	}
	return model.InWords(list)
}

func verboseFlag(cmd *cobra.Command, verbose *bool) {
	cmd.Flags().BoolVar(verbose, "verbose", false, "name every feature, also of a version with many")
}

func experimentLines(e quant.Experiment, verbose bool) []string {
	lines := []string{"name       " + e.Name}
	for _, part := range []struct{ name, value string }{
		{"about", string(e.Description)}, {"features", featuresInWords(e, verbose)}, {"label", string(e.LabelSetID)},
		{"split", string(e.SplitPolicyJSON)}, {"params", string(e.ParamsJSON)}, {"created", e.CreatedAt.String()},
	} {
		if part.value != "" {
			lines = append(lines, fmt.Sprintf("%-10s %s", part.name, part.value))
		}
	}
	return lines
}

func experimentsCreate(env *Env) Command {
	var o pipeline.ExperimentOptions
	flags := trainFlags{algos: "ridge or logistic"}
	var embargo int
	var verbose bool
	cmd := &cobra.Command{
		Use:   "create ID --features LIST --label LABEL",
		Short: "Create an experiment",
		Long: `Create an experiment: the features, the label and the purged and embargoed
walk-forward split that its models are trained and judged with. The same again
is fine; other values under an ID that exists are a conflict (exit status 5).

Features are named with their version, as are labels: fwd_ret_<h>d or
direction_<h>d, h sessions ahead. A feature that moves with the price level is
refused (6), and its scale-free twin named.

The sessions are cut into a first training part and --folds test blocks. Each
block is judged by a model that learned from what came before it, less the
samples whose label window meets that of the block. --embargo (default: the
label's horizon) also keeps training samples away from the end of a test block,
where they may follow one: in the inner split that chooses alpha. --from and
--to bound the days of the samples; a label ends h sessions later.`,
		Example: `  quant experiments create momentum --features ret_20d@v1,vol_20d@v1 --label fwd_ret_60d@v1
  quant experiments create updown --features ret_20d@v1 --label direction_20d@v1 --folds 8 --to 2020-12-31`,
		Args: wantArgs(1, 1, "one id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if cmd.Flags().Changed("embargo") {
				if embargo == ofTheLabel {
					return quant.Errorf(quant.Usage, "--embargo %d is negative", embargo).WithHint("leave it out for the label's horizon")
				}
				o.Embargo = &embargo
			}
			var err error
			if o.Algo, o.Alphas, err = flags.choice(); err != nil {
				return err
			}
			change, err := pipeline.CreateExperiment(cmd.Context(), env.Session, o)
			if err != nil {
				return err
			}
			return env.Print(experimentChange{change, verbose})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "name for people (default: the id)")
	f.StringVar(&o.Description, "description", "", "what the experiment asks")
	f.StringVar(&o.Features, "features", "", "comma list, such as ret_20d@v1,vol_20d@v1")
	f.StringVar(&o.Label, "label", "", "such as fwd_ret_60d@v1 or direction_60d@v1")
	f.StringVar(&o.From, "from", "", "first day of a sample (default: the first there is)")
	f.StringVar(&o.To, "to", "", "last day of a sample (default: the last there is)")
	f.IntVar(&o.Folds, "folds", model.DefaultFolds, "test blocks, 1 to 100")
	f.Var(newWhole(&embargo, ofTheLabel), "embargo", "sessions (default the label's horizon)")
	f.IntVar(&o.MinTrain, "min-train", model.DefaultMinTrainSessions, "sessions that the first fold has to train on, at least")
	f.Int64Var(&o.Seed, "seed", 0, "kept with the models, and handed to a program; the linear algorithms draw no number")
	flags.bind(cmd, "default: what fits the label")
	verboseFlag(cmd, &verbose)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

type experimentList []quant.Experiment

func (l experimentList) Sections() []output.Section {
	type row struct {
		Experiment string `json:"experiment"`
		Name       string `json:"name"`
		Features   string `json:"features"`
		Label      string `json:"label"`
		Created    string `json:"created"`
	}
	rows := []row{}
	for _, e := range l {
		features := featuresInWords(e, false)
		if list := strings.Split(strings.ReplaceAll(features, ", ", ","), ","); len(list) > 4 {
			features = quant.SomeOf(list, 3)
		}
		rows = append(rows, row{e.ExperimentID, e.Name, features, string(e.LabelSetID), e.CreatedAt.UTC().Format("2006-01-02 15:04:05Z")})
	}
	return []output.Section{{Rows: rows}}
}

func experimentsList(env *Env) Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the experiments, newest first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := pipeline.ListExperiments(cmd.Context(), env.Session)
			if err != nil {
				return err
			}
			return env.Print(experimentList(list))
		},
	}
	return Command{Command: cmd}
}

// experimentReport is the result of experiments show.
type experimentReport struct {
	pipeline.ExperimentReport
	verbose bool
}

func (r experimentReport) Sections() []output.Section {
	lines := append([]string{"experiment " + r.ExperimentID}, experimentLines(r.Experiment, r.verbose)...)
	models := "none yet: quant train --experiment " + r.ExperimentID
	if len(r.Models) > 0 {
		models = quant.SomeOf(r.Models, 10)
	}
	return []output.Section{{Lines: append(lines, "models     "+models)}}
}

func experimentsShow(env *Env) Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show an experiment and its models",
		Args:  wantArgs(1, 1, "one id"),

		ValidArgsFunction: completeWord(env, "EXPERIMENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := pipeline.ShowExperiment(cmd.Context(), env.Session, args[0])
			if err != nil {
				return err
			}
			return env.Print(experimentReport{report, verbose})
		},
	}
	verboseFlag(cmd, &verbose)
	return Command{Command: cmd}
}
