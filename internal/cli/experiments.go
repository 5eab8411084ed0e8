package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/output"
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

// trainParams are the choices of an experiment that params_json holds.
type trainParams struct {
	Algo   model.Algo `json:"algo"`
	Alphas []float64  `json:"alpha"`
	Seed   int64      `json:"seed"`
}

// trainFlags are the flags that experiments create and train share.
type trainFlags struct {
	algo   string
	params []string
}

func (f *trainFlags) bind(cmd *cobra.Command, otherwise string) {
	cmd.Flags().StringVar(&f.algo, "algo", "", "ridge or logistic ("+otherwise+")")
	cmd.Flags().StringArrayVar(&f.params, "param", nil, "alpha=1,10,100: penalties to choose from, inside the training part of each fold")
}

// apply changes what the flags name.
func (f *trainFlags) apply(p *trainParams) error {
	var err error
	if f.algo != "" {
		if p.Algo, err = model.ParseAlgo(f.algo); err != nil {
			return err
		}
	}
	for _, param := range f.params {
		name, value, _ := strings.Cut(param, "=")
		if name != "alpha" {
			return quant.Errorf(quant.Usage, "--param %q is not known", name).WithHint("there is one: --param alpha=1,10,100")
		}
		p.Alphas = nil
		for part := range strings.SplitSeq(value, ",") {
			alpha, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
			if err != nil {
				return quant.Errorf(quant.Usage, "alpha %q is not a number", part).WithHint("such as --param alpha=1,10,100")
			}
			p.Alphas = append(p.Alphas, alpha)
		}
	}
	return nil
}

// experimentFlags are an experiment as flags say it.
type experimentFlags struct {
	name, description, features, label, from, to string
	folds, embargo, minTrain                     int
	seed                                         int64
	trainFlags
}

// experiment returns what the flags ask for, checked; created_at is not set.
func (f experimentFlags) experiment(id string) (quant.Experiment, error) {
	e := quant.Experiment{ExperimentID: id, Name: f.name, Description: quant.Text(f.description)}
	if e.Name == "" {
		e.Name = id
	}
	if len(id) > 64 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" || id == "" {
		return e, quant.Errorf(quant.Usage, "experiment id %q cannot be used", id).WithHint("use up to 64 letters, digits, _, . and -")
	}
	features, err := model.ParseFeatures(f.features)
	if err != nil {
		return e, err
	}
	if err := refusePriceLevels(features); err != nil {
		return e, err
	}
	label, err := model.ParseLabel(f.label)
	if err != nil {
		return e, err
	}
	policy := model.Policy{Method: model.Method, Folds: f.folds, Horizon: label.Horizon, Embargo: f.embargo, MinTrainSessions: f.minTrain}
	if f.embargo == ofTheLabel {
		policy.Embargo = label.Horizon
	}
	if policy.From, err = optionalDate(f.from); err != nil {
		return e, err
	}
	if policy.To, err = optionalDate(f.to); err != nil {
		return e, err
	}
	params := trainParams{Algo: model.Ridge, Alphas: model.DefaultAlphas(), Seed: f.seed}
	if label.Direction {
		params.Algo = model.Logistic
	}
	if err := f.apply(&params); err != nil {
		return e, err
	}
	spec := model.Spec{ExperimentID: id, Algo: params.Algo, Features: features, Label: label, Policy: policy, Alphas: params.Alphas, Seed: params.Seed}
	if err := spec.Validate(); err != nil {
		return e, err
	}
	e.FeatureSetID, e.LabelSetID = quant.Text(model.Join(features)), quant.Text(label.String())
	if e.SplitPolicyJSON, err = quant.NewJSON(policy); err != nil {
		return e, err
	}
	e.ParamsJSON, err = quant.NewJSON(params)
	return e, err
}

// ofTheLabel is the embargo that is the label's horizon.
const ofTheLabel = -1

func optionalDate(s string) (*quant.Date, error) {
	if s == "" {
		return nil, nil
	}
	d, err := quant.ParseDate(s)
	return &d, err
}

// specOf is what an experiment trains. Invalid: it was not made by experiments
// create.
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

// experimentChange is the result of experiments create.
type experimentChange struct {
	Change string `json:"change"` // created or unchanged
	quant.Experiment
}

func (c experimentChange) Sections() []output.Section {
	return []output.Section{{Lines: append([]string{"experiment " + c.ExperimentID + ": " + c.Change}, experimentLines(c.Experiment)...)}}
}

func experimentLines(e quant.Experiment) []string {
	lines := []string{"name       " + e.Name}
	for _, part := range []struct{ name, value string }{
		{"about", string(e.Description)}, {"features", string(e.FeatureSetID)}, {"label", string(e.LabelSetID)},
		{"split", string(e.SplitPolicyJSON)}, {"params", string(e.ParamsJSON)}, {"created", e.CreatedAt.String()},
	} {
		if part.value != "" {
			lines = append(lines, fmt.Sprintf("%-10s %s", part.name, part.value))
		}
	}
	return lines
}

func experimentsCreate(env *Env) Command {
	var flags experimentFlags
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
			wanted, err := flags.experiment(args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("embargo") && flags.embargo < 0 {
				return quant.Errorf(quant.Usage, "--embargo %d is negative", flags.embargo).WithHint("leave it out for the label's horizon")
			}
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			wanted.CreatedAt = quant.NewTime(env.Now())
			change, err := env.createExperiment(cmd.Context(), meta, wanted)
			if err != nil {
				return err
			}
			return env.Print(change)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.name, "name", "", "name for people (default: the id)")
	f.StringVar(&flags.description, "description", "", "what the experiment asks")
	f.StringVar(&flags.features, "features", "", "comma list, such as ret_20d@v1,vol_20d@v1")
	f.StringVar(&flags.label, "label", "", "such as fwd_ret_60d@v1 or direction_60d@v1")
	f.StringVar(&flags.from, "from", "", "first day of a sample (default: the first there is)")
	f.StringVar(&flags.to, "to", "", "last day of a sample (default: the last there is)")
	f.IntVar(&flags.folds, "folds", model.DefaultFolds, "test blocks, 1 to 100")
	f.IntVar(&flags.embargo, "embargo", ofTheLabel, "sessions (default the label's horizon)")
	f.Lookup("embargo").DefValue = ""
	f.IntVar(&flags.minTrain, "min-train", model.DefaultMinTrainSessions, "sessions that the first fold has to train on, at least")
	f.Int64Var(&flags.seed, "seed", 0, "kept with the models; no algorithm of today draws a number")
	flags.bind(cmd, "default: what fits the label")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func (e *Env) createExperiment(ctx context.Context, meta metastore.Store, wanted quant.Experiment) (experimentChange, error) {
	done := experimentChange{"created", wanted}
	err := meta.Tx(ctx, func(ctx context.Context) error {
		old, err := meta.GetExperiment(ctx, wanted.ExperimentID)
		if errors.Is(err, quant.NotFound) {
			return meta.CreateExperiment(ctx, wanted)
		}
		if err != nil {
			return err
		}
		wanted.CreatedAt = old.CreatedAt
		if differing := experimentDifference(old, wanted); differing != "" {
			return quant.Errorf(quant.Conflict, "experiment %s exists already, with another %s", old.ExperimentID, differing).
				WithHint("choose another id, or look at it: quant experiments show %s", old.ExperimentID)
		}
		done = experimentChange{"unchanged", old}
		return nil
	})
	if err == nil && done.Change == "created" {
		e.record(quant.RunIO{Direction: quant.Out, Kind: "meta", Name: "experiments", Rows: ptr(int64(1))})
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
		features := string(e.FeatureSetID)
		if list := strings.Split(features, ","); len(list) > 4 {
			features = someOf(list, 3)
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
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			list, err := meta.ListExperiments(cmd.Context(), metastore.ExperimentFilter{})
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
	quant.Experiment
	Models []string `json:"models"` // newest first
}

func (r experimentReport) Sections() []output.Section {
	lines := append([]string{"experiment " + r.ExperimentID}, experimentLines(r.Experiment)...)
	models := "none yet: quant train --experiment " + r.ExperimentID
	if len(r.Models) > 0 {
		models = someOf(r.Models, 10)
	}
	return []output.Section{{Lines: append(lines, "models     "+models)}}
}

func experimentsShow(env *Env) Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show an experiment and its models",
		Args:  wantArgs(1, 1, "one id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := env.getExperiment(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			models, err := env.Meta.ListModels(cmd.Context(), metastore.ModelFilter{ExperimentID: e.ExperimentID})
			if err != nil {
				return err
			}
			report := experimentReport{e, []string{}}
			for _, m := range models {
				report.Models = append(report.Models, m.ModelID)
			}
			return env.Print(report)
		},
	}
	return Command{Command: cmd}
}

func (e *Env) getExperiment(ctx context.Context, id string) (quant.Experiment, error) {
	meta, err := e.MetaDB()
	if err != nil {
		return quant.Experiment{}, err
	}
	found, err := meta.GetExperiment(ctx, id)
	if errors.Is(err, quant.NotFound) {
		return found, quant.Errorf(quant.NotFound, "no experiment %q", id).WithHint("`quant experiments list` shows them, `quant experiments create` makes one")
	}
	return found, err
}
