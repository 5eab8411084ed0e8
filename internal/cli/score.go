package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/model"
	"quant/internal/output"
	"quant/internal/pipeline"
)

// scoreFlags say what to score.
type scoreFlags struct {
	model, asof, from, to string
	skip, allow           bool
}

// options checks the flags.
func (f scoreFlags) options() (pipeline.ScoreOptions, error) {
	o := pipeline.ScoreOptions{Model: f.model}
	if f.model == "" {
		return o, quant.Errorf(quant.Usage, "no model is named").WithHint("quant score --model MODEL --asof DATE; `quant models list` shows them")
	}
	from, to := f.from, f.to
	switch {
	case f.asof != "" && (from != "" || to != ""):
		return o, quant.Errorf(quant.Usage, "--asof names one day, --from and --to a range").WithHint("give one of the two")
	case f.asof != "":
		from, to = f.asof, f.asof
	case from == "" || to == "":
		return o, quant.Errorf(quant.Usage, "no days are named").WithHint("--asof 2024-01-31, or --from 2024-01-01 --to 2024-12-31")
	}
	switch {
	case f.skip && f.allow:
		return o, quant.Errorf(quant.Usage, "--skip-in-sample leaves out what --allow-in-sample scores").WithHint("give one of the two")
	case f.skip:
		o.InSample = model.SkipInSample
	case f.allow:
		o.InSample = model.AllowInSample
	}
	var err error
	if o.From, err = quant.ParseDate(from); err != nil {
		return o, err
	}
	o.To, err = quant.ParseDate(to)
	return o, err
}

func scoreCommand(env *Env) Command {
	var flags scoreFlags
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "score --model MODEL (--asof DATE | --from DATE --to DATE)",
		Short: "Write a model's predictions, out of sample",
		Long: `Write a model's predictions, one a symbol and day that has every feature, from
the features of that very day. MODEL is an id, or experiment:ID for the model of
an experiment that was trained last.

Each day is scored by the latest of the model's fits whose training labels had
all ended before it: a fold (task wf:1, wf:2, ...) or the final one (task
final). Days that none of them can score out of sample are refused, and nothing
is written (exit status 6). --skip-in-sample leaves them out instead;
--allow-in-sample scores them by the final model under the task in_sample, which
a backtest refuses.

score is the predicted return (ridge) or the logarithm of the odds (logistic),
calibrated_score the predicted return or the probability. Predictions of other
days stay as they are; the same again changes nothing.

A model that a program trained is scored by that program, from the folder in which
it was started then, by the model that it kept; both are what it wrote. A file of its
command line that was changed since is refused (6).`,
		Example: `  quant score --model ridge-0123456789ab --asof 2024-01-31
  quant score --model experiment:momentum --from 2015-01-01 --to 2024-12-31 --skip-in-sample`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := flags.options()
			if err != nil {
				return err
			}
			o.Timeout = timeout
			done, err := pipeline.Score(cmd.Context(), env.Session, o)
			if err != nil {
				return err
			}
			return env.Print(scoreReport{done})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.model, "model", "", "id, or experiment:ID")
	f.StringVar(&flags.asof, "asof", "", "one day")
	f.StringVar(&flags.from, "from", "", "first day")
	f.StringVar(&flags.to, "to", "", "last day")
	f.BoolVar(&flags.skip, "skip-in-sample", false, "leave out the days that cannot be scored out of sample")
	f.Var(newDuration(&timeout, 0), "timeout", "longest that one call of a program may take (0: no limit)")
	f.BoolVar(&flags.allow, "allow-in-sample", false, "score these days, too, under the task in_sample")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// scoreReport is the result of score.
type scoreReport struct{ model.Scored }

func (r scoreReport) CSVRows() any { return r.Tasks }

func (r scoreReport) Sections() []output.Section {
	return []output.Section{
		{Lines: []string{fmt.Sprintf("predictions of %s: %d inserted, %d updated, %d unchanged, %d deleted", r.ModelID, r.Inserted, r.Updated, r.Unchanged, r.Deleted)}},
		{Rows: r.Tasks},
	}
}
