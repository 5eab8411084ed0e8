package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/model"
	"quant/internal/output"
	"quant/internal/parquet"
	"quant/internal/pipeline"
	"quant/internal/session"
)

func pipelineCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "pipeline",
			Short: "Run the whole chain, from prices to a judged strategy",
		},
		Sub: []Command{pipelineRun(env)},
	}
}

// pipelineFlags are the flags of pipeline run that are no options as they stand.
type pipelineFlags struct {
	pipeline.RunOptions
	stages  string
	symbols string
	lag     int

	// Of the program behind --.
	trainer       pipeline.Trainer
	format, proof string
	timeout       time.Duration

	workers string
}

// programFlags are the flags that need a program behind --.
func programFlags() []string { return []string{"param", "format", "proof", "timeout"} }

// program is the program that trains, with its flags; nil: there is neither.
func (f pipelineFlags) program(cmd *cobra.Command, argv []string) (_ *pipeline.Trainer, err error) {
	t := f.trainer
	t.Program, t.TimeoutUS = argv, f.timeout.Microseconds()
	if t.Params == nil {
		t.Params = []string{}
	}
	if t.Format, err = parquet.ParseFormat(f.format); err != nil {
		return nil, err
	}
	if t.Proof, err = model.ParseProofScope(f.proof); err != nil {
		return nil, err
	}
	if len(argv) == 0 && !slices.ContainsFunc(programFlags(), cmd.Flags().Changed) {
		return nil, nil
	}
	return &t, nil
}

// options are the options that the flags say.
func (f pipelineFlags) options(cmd *cobra.Command) (pipeline.RunOptions, error) {
	o := f.RunOptions
	if cmd.Flags().Changed("lag") {
		o.Lag = &f.lag
	}
	if o.Resume != "" {
		if o.Trainer != nil && len(o.Trainer.Program) > 0 {
			return o, quant.Errorf(quant.Usage, "--resume takes the plan of a run as it is, with its program").WithHint("leave out what stands behind --")
		}
		o.Trainer = nil
		for _, name := range append([]string{"strategy", "from", "to", "ingest", "provider", "features", "stages", "symbols", "set", "accept-raw", "lag"}, programFlags()...) {
			if cmd.Flags().Changed(name) {
				return o, quant.Errorf(quant.Usage, "--resume takes the plan of a run as it is, and --%s would change it", name).
					WithHint("leave --%s out, or start a new pipeline without --resume", name)
			}
		}
		return o, nil
	}
	var err error
	if o.Stages, err = pipeline.ParseStages(f.stages); err != nil {
		return o, err
	}
	if f.symbols != "" {
		o.Symbols, err = symbolList(f.symbols)
	}
	return o, err
}

func pipelineRun(env *Env) Command {
	var flags pipelineFlags
	cmd := &cobra.Command{
		Use:   "run --strategy FILE [--from DAY --to DAY] [--ingest FILE...] [-- PROGRAM [ARG...]]",
		Short: "Run the stages that a strategy needs, and skip those that nothing would change",
		Long: `Run the stages ingest, features, labels, train, score, recommend and backtest, in
this order, each as a run of its own under this one. Train and score run only
where the strategy ranks by a model. Without --ingest or --provider the prices
stay as they are.

A program behind -- trains the model of the strategy's experiment, as with quant
train; --param, --format, --proof and --timeout are those of train. A strategy file
names no program: what runs stands on the command line.

A stage whose inputs and results have not changed since a run that succeeded is
skipped; --force runs it all the same, and ends in the same facts. The first
failure ends the pipeline, with the exit status of the stage; --resume goes on
with the plan of that run.

With --workers 4 groups of symbols of features and folds of train are done by four
processes of this machine, as jobs (quant jobs list), with --workers queue by
whatever quant worker processes run, on any machine. Results, digests and what is
skipped are the same.

--dry-run checks everything, prints the plan on one line that begins with
PLAN_JSON, and neither writes a fact nor asks a provider. The plan is kept in
DATA-DIR/runs/RUN/plan.json. --from and --to default to those of the strategy's
backtest.

Exit status: 0 done, or nothing to do; 6 --resume after the strategy file was
changed; else that of the stage that failed.`,
		Example: `  quant pipeline run --strategy momentum.yaml --from 2010-01-01 --to 2012-12-31 --ingest prices.csv.gz
  quant pipeline run --strategy momentum.yaml --stages recommend,backtest --set portfolio.top_k=3
  quant pipeline run --strategy momentum.yaml --dry-run
  quant pipeline run --strategy by_model.yaml --param max_depth=3 -- python examples/models/lightgbm_model.py
  quant pipeline run --strategy by_model.yaml --workers 4 -- python examples/models/lightgbm_model.py
  quant pipeline run --resume last`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			var program []string
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				args, program = args[:dash], args[dash:]
			}
			if len(args) > 0 && len(flags.Ingest) == 0 {
				return noArgs(cmd, args)
			}
			flags.Ingest = append(flags.Ingest, args...) // --ingest a.csv b.csv
			var err error
			if flags.Trainer, err = flags.program(cmd, program); err != nil {
				return err
			}
			o, err := flags.options(cmd)
			if err != nil {
				return err
			}
			dispatch, err := env.dispatch(flags.workers)
			if err != nil {
				return err
			}
			report, err := pipeline.Run(cmd.Context(), env.Session, stageRunner{env: env, dispatch: dispatch}, o)
			if err == nil && o.DryRun && len(report.Plan.Stages) > 0 {
				return env.Print(planReport{report.Plan})
			}
			if err == nil || len(report.Stages) > 0 {
				if printed := env.Print(pipelineReport{report}); err == nil {
					err = printed
				}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.Strategy, "strategy", "", "the strategy file")
	f.StringVar(&flags.From, "from", "", "first day of decisions, YYYY-MM-DD")
	f.StringVar(&flags.To, "to", "", "last day, YYYY-MM-DD")
	f.StringArrayVar(&flags.Ingest, "ingest", nil, "price file to ingest first; may be repeated, or followed by more files")
	f.StringVar(&flags.Provider, "provider", "", "provider to fetch prices from first, such as alphavantage")
	f.StringVar(&flags.Features, "features", "", "YAML file that defines the version of features that the strategy reads")
	f.StringVar(&flags.stages, "stages", "", "only these stages, a comma list (default: all)")
	f.StringVar(&flags.symbols, "symbols", "", "compute features and labels of these symbols, a comma list (default: the universe)")
	f.StringArrayVar(&flags.Set, "set", nil, "KEY=VALUE over the strategy file, such as portfolio.top_k=5; may be repeated")
	f.BoolVar(&flags.AcceptRaw, "accept-raw", false, "take raw closes that move as in a split for prices")
	f.StringArrayVar(&flags.trainer.Params, "param", nil, "K=V, which the program behind -- is handed; may be repeated")
	f.StringVar(&flags.format, "format", string(parquet.Parquet), "parquet or csv: what the program is handed and writes")
	f.StringVar(&flags.proof, "proof", string(model.ProofOne), "one, all or none: of how many folds it is proved that the program does not look ahead")
	f.Var(newDuration(&flags.timeout, 0), "timeout", "longest that one call of the program may take (0: no limit)")
	f.IntVar(&flags.lag, "lag", 0, "sessions from the decision to its fill in the backtest (default: the strategy's)")
	f.Var((*filled)(&flags.workers), workersFlag, "have "+dividedStages+" done by so many processes, or by the workers of the queue: a number, or queue")
	f.StringVar(&flags.Resume, "resume", "", "go on with the plan of this run (last: the newest pipeline)")
	f.BoolVar(&flags.Force, "force", false, "run every stage, also one that nothing would change, or whose strategy file was changed")
	f.BoolVar(&flags.DryRun, "dry-run", false, "only check, and print the plan")
	return Command{Command: cmd, Traits: Traits{Changes: func(l Line) bool { return l.Flags["dry-run"] != "true" }}}
}

// symbolList reads a comma list of symbols, in byte order.
func symbolList(list string) ([]string, error) {
	var out []string
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		if err := quant.ValidateSymbol(s); err != nil {
			return nil, quant.Errorf(quant.Usage, "--symbols: %w", err).WithHint("--symbols AAPL,IBM")
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// planReport is the result of a dry run.
type planReport struct{ pipeline.Plan }

func (p planReport) CSVRows() any { return p.Stages }

func (p planReport) Sections() []output.Section {
	doc, err := p.JSON()
	if err != nil {
		doc = []byte("{}") // texts always have a JSON form
	}
	return []output.Section{{Lines: []string{"PLAN_JSON: " + string(doc)}}}
}

// pipelineReport is the result of pipeline run.
type pipelineReport struct{ pipeline.Report }

func (r pipelineReport) CSVRows() any { return r.Stages }

func (r pipelineReport) Sections() []output.Section {
	type row struct {
		Stage  pipeline.Stage       `json:"stage"`
		Run    string               `json:"run"`
		Status pipeline.StageStatus `json:"status"`
		Took   string               `json:"took"`
		Rows   *int64               `json:"rows"`
		Why    string               `json:"why"`
	}
	rows := []row{}
	for _, s := range r.Stages {
		line := row{Stage: s.Stage, Run: quant.ShortID(string(s.RunID)), Status: s.Status, Rows: s.Rows, Why: s.Reason}
		if s.Status != pipeline.StageSkipped {
			line.Took = quant.Micros(&s.DurationUS)
		}
		rows = append(rows, line)
	}
	sections := []output.Section{{Rows: rows}}
	if b := r.Backtest; b != nil {
		measured := func(name string, v *float64, show func(*float64) string) string {
			if v == nil {
				return name + " -"
			}
			return name + " " + show(v)
		}
		trades := int64(0)
		if b.NumTrades != nil {
			trades = *b.NumTrades
		}
		sections = append(sections, output.Section{Lines: []string{fmt.Sprintf("backtest %s: %s, %s, %s, %s, %s; %s", quant.ShortID(b.RunID),
			measured("cagr", b.CAGR, percent), measured("sharpe", b.Sharpe, number), measured("max_dd", b.MaxDD, percent), measured("vol", b.Vol, percent), measured("turnover", b.Turnover, percent),
			quant.Count(int(trades), "trade"))}})
	}
	return sections
}

// stageRunner runs stages for a person: with the key of a provider, and with bars
// where the person can see them.
type stageRunner struct {
	pipeline.InProcess
	env      *Env
	dispatch pipeline.Dispatch // of the stages that can be divided; nil: none is
}

func (r stageRunner) Run(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
	return r.InProcess.Run(ctx, s, r.divided(attended(r.env, call)), notes)
}

// dividedStages are the stages whose units workers do.
const dividedStages = "groups of symbols of features and folds of train"

// divided is a call whose units workers do, where it has any. How they are done is no
// part of what the stage is asked for.
func (r stageRunner) divided(call pipeline.Call) pipeline.Call {
	switch o := call.(type) {
	case pipeline.FeaturesOptions:
		o.Dispatch = r.dispatch
		return o
	case pipeline.TrainOptions:
		o.Dispatch = r.dispatch
		return o
	}
	return call
}

// attended is a call with what the command of its stage adds to its options.
func attended(env *Env, call pipeline.Call) pipeline.Call {
	switch o := call.(type) {
	case pipeline.IngestOptions:
		bar := &progress{env: env}
		o.Progress, o.Shown, o.Unexamined = bar.show, bar.clear, env.Quiet
		return o
	case pipeline.FetchOptions:
		bar := &symbolBar{env: env}
		o.Key, o.Progress, o.Shown, o.Unexamined = env.Settings.Value(config.AlphaVantageKey), bar.show, bar.clear, env.Quiet
		return o
	}
	return call
}
