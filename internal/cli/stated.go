package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
	"quant/internal/stated"
)

func featuresImport(env *Env) Command {
	var o pipeline.StatedOptions
	var features string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import features that another program computed, from Parquet, Arrow or CSV",
		Long: `Import features of a version of their own from a file that pandas, polars or
another program wrote: Parquet, Arrow (Feather version 2) or CSV.

Long has a row a value: symbol, ts, feature_name, feature_value. Wide has symbol,
ts and a column a feature; or, with --feature, ts and a column a symbol. A column
known_at (or --known-at) says when a row was known; without it, that is the close
of ts. A row that was known later looks ahead, and is not taken.

Rows without a symbol of the lab, a session that has been, or a number are kept
in rejects; too many of them (--max-reject-ratio), or values that are all but the
return that followed, store nothing (exit status 6). Rows that look ahead, the
others being stored: 3. The same file again changes nothing; one that states the
past otherwise replaces it, and what it was stays in stated_revisions.

Nobody here can compute such features again: every report that rests on them says
"known at: as stated by its source".`,
		Example: `  quant features import signals.parquet --feature-version my_signals
  quant features import momentum.csv --feature-version my_panel --feature momentum
  quant features import funda.feather --feature-version funda --known-at filed --map symbol=tic`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.File = args[0]
			if cmd.Flags().Changed("features") {
				o.Features = []string{}
				for name := range strings.SplitSeq(features, ",") {
					o.Features = append(o.Features, strings.TrimSpace(name))
				}
			}
			report, err := pipeline.ImportFeatures(cmd.Context(), env.Session, o)
			return printStated(env, report, "features_daily", err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Set, "feature-version", "", "version of the features, of its own")
	f.StringVar(&o.Feature, "feature", "", "name of the feature, where the file has none")
	f.StringVar(&features, "features", "", "only these, separated by commas (default: all that are numbers)")
	bindStated(cmd, &o)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func predictionsCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{Use: "predictions", Short: "Bring in scores that another program computed"},
		Sub:     []Command{predictionsImport(env)},
	}
}

func predictionsImport(env *Env) Command {
	var o pipeline.StatedOptions
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import the scores of a model that another program trained, from Parquet, Arrow or CSV",
		Long: `Import scores as the predictions of a model of the algorithm "imported", which is
made, under the task "imported". A strategy ranks by them with
signal: {type: model_score, inputs: {model_id: MODEL, task_id: imported}}.

The file has symbol, ts and score (and calibrated_score, if it likes), or ts and a
column a symbol. A column known_at (or --known-at) says when a score was known;
without it, that is the close of ts. What is not taken, and the exit statuses, are
as of "quant features import".

What the model was trained on is not known, so that in-sample scores cannot be told:
every report that rests on them says "known at: as stated by its source".`,
		Example: `  quant predictions import scores.parquet --model my_model
  quant predictions import yhat.csv --model my_model --map score=yhat`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.File = args[0]
			report, err := pipeline.ImportPredictions(cmd.Context(), env.Session, o)
			return printStated(env, report, "predictions", err)
		},
	}
	cmd.Flags().StringVar(&o.Set, "model", "", "name of the model, of its own")
	bindStated(cmd, &o)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func bindStated(cmd *cobra.Command, o *pipeline.StatedOptions) {
	f := cmd.Flags()
	f.StringVar(&o.Layout, "layout", "", "how the values stand: long or wide (default: what the columns show)")
	f.StringVar(&o.KnownAt, "known-at", "", "column that says when a row was known (default: known_at; without one, the close of ts)")
	f.StringArrayVar(&o.Map, "map", nil, "FIELD=COLUMN, such as symbol=Ticker or my_name='Mom 12-1' (may be given again)")
	f.StringVar(&o.Encoding, "encoding", "utf-8", "of a text file, such as cp949, cp1252, shift-jis or utf-16")
	f.StringVar(&o.Timezone, "timezone", "", "time zone of instants and of times without one (default: that of the exchange)")
	f.Float64Var(&o.MaxRejectRatio, "max-reject-ratio", pipeline.DefaultMaxRejectRatio, "share of bad rows, 0 to 1, above which nothing is stored")
	f.BoolVar(&o.Replace, "replace", false, "delete what stands of it and is not in the file")
	f.BoolVar(&o.AcceptStated, "accept-stated", false, "take also values that are all but the return that followed")
}

// printStated prints what an import did, also where it was refused or done in part.
func printStated(env *Env, report stated.Report, table string, err error) error {
	if err != nil && !errors.Is(err, quant.Refused) && !errors.Is(err, quant.Partial) || report.Digest == "" {
		return err
	}
	return errors.Join(err, env.Print(statedReport{report, table}))
}

type statedReport struct {
	stated.Report
	table string
}

func (r statedReport) CSVRows() any { return r.Features }

func (r statedReport) Sections() []output.Section {
	lines := []string{fmt.Sprintf("%s: %s, %s, %s; %s, %d rows read, %d rejected, %d collapsed", r.Set, r.Format, r.Layout, short(r.Digest), quant.Count(int(r.Symbols), "symbol"), r.RowsRead, r.RowsRejected, r.RowsCollapsed)}
	if r.Refused {
		lines = append(lines, r.table+": unchanged")
	} else {
		lines = append(lines, fmt.Sprintf("%s: %d values inserted, %d updated, %d unchanged, %d deleted; %d empty, %d not finite", r.table, r.ValuesInserted, r.ValuesUpdated, r.ValuesUnchanged, r.ValuesDeleted, r.ValuesMissing, r.ValuesNotFinite),
			"known at: "+r.KnownAt)
	}
	for _, reason := range r.Reasons {
		var examples []string
		for _, e := range reason.Examples {
			examples = append(examples, strings.TrimRight(fmt.Sprintf("row %d: %s %s %s", e.Row, e.Symbol, e.TS, e.Detail), " "))
		}
		lines = append(lines, fmt.Sprintf("rejected %d: %s (%s)", reason.Rows, reason.Reason, strings.Join(examples, "; ")))
	}
	sections := []output.Section{{Lines: lines}}
	if len(r.Features) > 0 {
		sections = append(sections, output.Section{Rows: r.Features})
	}
	return sections
}
