package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/calendar"
	"quant/internal/config"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/output"
	"quant/internal/pipeline"
	"quant/internal/registry"
	"quant/internal/strategy"
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

// pipelineFlags are the flags of pipeline run.
type pipelineFlags struct {
	pipeline.Arguments
	stages  string
	symbols string
	lag     int
	resume  string
	force   bool
	dryRun  bool
}

func pipelineRun(env *Env) Command {
	var flags pipelineFlags
	cmd := &cobra.Command{
		Use:   "run --strategy FILE [--from DAY --to DAY] [--ingest FILE...]",
		Short: "Run the stages that a strategy needs, and skip those that nothing would change",
		Long: `Run the stages ingest, features, labels, train, score, recommend and backtest, in
this order, each as a run of its own under this one. Train and score run only
where the strategy ranks by a model. Without --ingest or --provider the prices
stay as they are.

A stage whose inputs and results have not changed since a run that succeeded is
skipped; --force runs it all the same, and ends in the same facts. The first
failure ends the pipeline, with the exit status of the stage; --resume goes on
with the plan of that run.

--dry-run checks everything, prints the plan on one line that begins with
PLAN_JSON, and neither writes a fact nor asks a provider. The plan is kept in
DATA-DIR/runs/RUN/plan.json. --from and --to default to those of the strategy's
backtest.

Exit status: 0 done, or nothing to do; 6 --resume after the strategy file was
changed; else that of the stage that failed.`,
		Example: `  quant pipeline run --strategy momentum.yaml --from 2010-01-01 --to 2012-12-31 --ingest prices.csv.gz
  quant pipeline run --strategy momentum.yaml --stages recommend,backtest --set portfolio.top_k=3
  quant pipeline run --strategy momentum.yaml --dry-run
  quant pipeline run --resume last`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && len(flags.Ingest) == 0 {
				return noArgs(cmd, args)
			}
			flags.Ingest = append(flags.Ingest, args...) // --ingest a.csv b.csv
			if cmd.Flags().Changed("lag") {
				flags.Lag = &flags.lag
			}
			return env.runPipeline(cmd, flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.Strategy, "strategy", "", "the strategy file")
	f.StringVar(&flags.From, "from", "", "first day of decisions, YYYY-MM-DD")
	f.StringVar(&flags.To, "to", "", "last day, YYYY-MM-DD")
	f.StringArrayVar(&flags.Ingest, "ingest", nil, "price file to ingest first; may be repeated, or followed by more files")
	f.StringVar(&flags.Provider, "provider", "", "provider to fetch prices from first, such as alphavantage")
	f.StringVar(&flags.stages, "stages", "", "only these stages, a comma list (default: all)")
	f.StringVar(&flags.symbols, "symbols", "", "compute features and labels of these symbols, a comma list (default: the universe)")
	f.StringArrayVar(&flags.Set, "set", nil, "KEY=VALUE over the strategy file, such as portfolio.top_k=5; may be repeated")
	f.BoolVar(&flags.AcceptRaw, "accept-raw", false, "take raw closes that move as in a split for prices")
	f.IntVar(&flags.lag, "lag", 0, "sessions from the decision to its fill in the backtest (default: the strategy's)")
	f.StringVar(&flags.resume, "resume", "", "go on with the plan of this run (last: the newest pipeline)")
	f.BoolVar(&flags.force, "force", false, "run every stage, also one that nothing would change, or whose strategy file was changed")
	f.BoolVar(&flags.dryRun, "dry-run", false, "only check, and print the plan")
	return Command{Command: cmd, Traits: Traits{Changes: func(l Line) bool { return l.Flags["dry-run"] != "true" }}}
}

// chain is one execution of the pipeline.
type chain struct {
	*Env
	meta  metastore.Store
	plan  pipeline.Plan
	model string // the model that train made or left standing

	code  string
	state *pipeline.State   // nil: to be read again
	files map[string]string // digests, by path; files are taken to stay as they are while the pipeline runs
}

func (e *Env) runPipeline(cmd *cobra.Command, flags pipelineFlags) error {
	ctx := cmd.Context()
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	c := &chain{Env: e, meta: meta, files: map[string]string{}}
	var resumed *pipeline.Plan
	if flags.resume != "" {
		if resumed, err = c.takeOver(cmd, &flags); err != nil || resumed == nil {
			return err
		}
	}
	if err := c.makePlan(ctx, flags); err != nil {
		return err
	}
	if resumed != nil && resumed.Strategy.Digest != c.plan.Strategy.Digest && !flags.force {
		return quant.Errorf(quant.Refused, "strategy file %s has changed since run %s", c.plan.Strategy.Path, quant.ShortID(flags.resume)).
			WithHint("start again with `quant pipeline run --strategy ...`, or go on with the changed file: --force")
	}
	if resumed != nil && resumed.Calendar != c.plan.Calendar && !flags.force {
		return quant.Errorf(quant.Refused, "run %s counted the sessions of %s, and now they are those of %s", quant.ShortID(flags.resume), resumed.Calendar, c.plan.Calendar).
			WithHint("set QUANT_CALENDAR=%s, or go on with the other calendar: --force", resumed.Calendar)
	}
	if err := c.judgeAll(ctx); err != nil {
		return err
	}
	if err := c.keepPlan(); err != nil {
		return err
	}
	failpoint.Hit("pipeline.planned")
	if flags.dryRun {
		return e.Print(planReport{c.masked()})
	}
	report, err := c.runStages(ctx)
	if len(report.Stages) > 0 {
		if printed := e.Print(report); err == nil {
			err = printed
		}
	}
	return err
}

// makePlan checks the request and resolves it; nothing is written.
func (c *chain) makePlan(ctx context.Context, flags pipelineFlags) error {
	req := pipeline.Request{Arguments: flags.Arguments, Force: flags.force, Calendar: c.Settings.Value(config.Calendar)}
	a := &req.Arguments
	if a.Strategy == "" {
		return quant.Errorf(quant.Usage, "no strategy file").WithHint("quant pipeline run --strategy FILE")
	}
	if a.Lag != nil && *a.Lag < 0 {
		return quant.Errorf(quant.Usage, "--lag %d is negative", *a.Lag).WithHint("0 fills at the close that the signal used, 1 a session later")
	}
	if len(a.Ingest) > 0 && a.Provider != "" {
		return quant.Errorf(quant.Usage, "--ingest and --provider exclude each other").WithHint("ingest the files first, with quant ingest")
	}
	var err error
	if a.Stages == nil {
		if a.Stages, err = pipeline.ParseStages(flags.stages); err != nil {
			return err
		}
	}
	if a.Symbols == nil && flags.symbols != "" {
		if a.Symbols, err = symbolList(flags.symbols); err != nil {
			return err
		}
	}
	for _, file := range a.Ingest {
		if _, err := c.digestOf(file); err != nil {
			return err
		}
	}
	digest, err := c.digestOf(a.Strategy)
	if err != nil {
		return err
	}
	s, err := c.chosenStrategy(ctx, a)
	if err != nil {
		return err
	}
	req.Strategy = pipeline.Strategy{Path: a.Strategy, Digest: digest, StrategyID: s.ID, Version: s.Version}
	req.Universe, req.Everything, req.Signal = s.Universe, s.Everything, s.Signal
	from, err := planDay("from", a.From)
	if err != nil {
		return err
	}
	to, err := planDay("to", a.To)
	if err != nil {
		return err
	}
	if from > to {
		return quant.Errorf(quant.Usage, "--from %s is after --to %s", from, to).WithHint("give the earlier day first")
	}
	if req.RebalanceDays, err = c.rebalanceDays(ctx, s.Frequency, from, to); err != nil {
		return err
	}
	c.plan = pipeline.NewPlan(req)
	if t := req.Signal.Training; t != nil && !slices.Contains(a.Stages, pipeline.StageTrain) {
		newest, err := pipeline.ResolveModel(ctx, c.Session, experimentRef+t.Experiment)
		if err != nil {
			return err
		}
		c.model = newest.ModelID
	}
	return nil
}

// chosen is what the chain needs to know of the strategy.
type chosen struct {
	ID, Version string
	Universe    []string
	Everything  bool
	Signal      pipeline.Signal
	Frequency   calendar.Frequency
}

// chosenStrategy reads the strategy file, and fills in the days that the
// command line does not say.
func (c *chain) chosenStrategy(ctx context.Context, a *pipeline.Arguments) (chosen, error) {
	var out chosen
	s, err := pipeline.OpenStrategy(ctx, c.Session, a.Strategy, a.Set)
	if err != nil {
		return out, err
	}
	for _, notice := range s.Notices() {
		c.Notice("%s", notice)
	}
	if a.From == "" && s.Backtest.From != nil {
		a.From = s.Backtest.From.String()
	}
	if a.To == "" && s.Backtest.To != nil {
		a.To = s.Backtest.To.String()
	}
	out = chosen{ID: s.ID, Version: s.Version, Universe: s.Universe.Symbols, Everything: s.Universe.Type == strategy.UniverseAll, Frequency: s.Rebalance.Frequency}
	out.Signal, err = c.signal(ctx, s.Signal)
	return out, err
}

// signal resolves what the strategy ranks by to what must be computed first.
func (c *chain) signal(ctx context.Context, s strategy.Signal) (pipeline.Signal, error) {
	if s.Type == strategy.FactorRank {
		return pipeline.Signal{FeatureVersion: s.Inputs.FeatureVersion}, nil
	}
	id, trains := strings.CutPrefix(s.Inputs.ModelID, experimentRef)
	if !trains {
		m, err := c.meta.GetModel(ctx, id)
		if err != nil {
			return pipeline.Signal{}, err
		}
		return pipeline.Signal{FeatureVersion: string(m.FeatureVersion), ModelID: id}, nil
	}
	experiment, err := c.meta.GetExperiment(ctx, id)
	if err != nil {
		return pipeline.Signal{}, err
	}
	features, err := model.ParseFeatures(string(experiment.FeatureSetID))
	if err != nil {
		return pipeline.Signal{}, err
	}
	label, err := model.ParseLabel(string(experiment.LabelSetID))
	if err != nil {
		return pipeline.Signal{}, err
	}
	for _, f := range features {
		if f.Version != features[0].Version {
			return pipeline.Signal{}, quant.Errorf(quant.Invalid, "experiment %s takes features of the versions %s and %s, and a pipeline computes one", id, features[0].Version, f.Version).
				WithHint("create an experiment on the features of one version: v2 has those of v1")
		}
	}
	return pipeline.Signal{
		FeatureVersion: features[0].Version,
		Training:       &pipeline.Training{Experiment: id, LabelVersion: label.Version, Horizon: label.Horizon},
	}, nil
}

func planDay(flag, text string) (quant.Date, error) {
	if text == "" {
		return 0, quant.Errorf(quant.Usage, "--%s is missing, and the strategy's backtest does not say it", flag).WithHint("--%s YYYY-MM-DD", flag)
	}
	d, err := quant.ParseDate(text)
	if err != nil {
		return 0, quant.Errorf(quant.Usage, "--%s: %w", flag, err).WithHint("--%s YYYY-MM-DD", flag)
	}
	return d, nil
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

func (c *chain) rebalanceDays(ctx context.Context, frequency calendar.Frequency, from, to quant.Date) (int, error) {
	count := func(db *factstore.DB) (int, error) {
		cal, err := c.calendar(ctx, db)
		if err != nil {
			return 0, err
		}
		days, err := cal.Rebalances(frequency, from, to)
		return len(days), err
	}
	if c.Settings.Value(config.Calendar) != calendar.Data {
		return count(nil)
	}
	if !c.HasFactDB() {
		return 0, nil
	}
	n := 0
	err := c.ReadFacts(ctx, func(db *factstore.DB) (err error) {
		n, err = count(db)
		return err
	})
	return n, err
}

// takeOver reads the plan of an earlier run into flags. nil: there is nothing
// to go on with, which has been said.
func (c *chain) takeOver(cmd *cobra.Command, flags *pipelineFlags) (*pipeline.Plan, error) {
	ctx := cmd.Context()
	for _, name := range []string{"strategy", "from", "to", "ingest", "provider", "stages", "symbols", "set", "accept-raw", "lag"} {
		if cmd.Flags().Changed(name) {
			return nil, quant.Errorf(quant.Usage, "--resume takes the plan of a run as it is, and --%s would change it", name).
				WithHint("leave --%s out, or start a new pipeline without --resume", name)
		}
	}
	id, err := c.resolvePipeline(ctx, flags.resume)
	if err != nil {
		return nil, err
	}
	flags.resume = id
	run, err := c.meta.GetRun(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case run.Kind != "pipeline.run":
		return nil, quant.Errorf(quant.Usage, "run %s is of the kind %s, no pipeline", quant.ShortID(id), run.Kind).
			WithHint("`quant runs list --kind pipeline.run` lists the pipelines")
	case run.Status == quant.Running:
		return nil, quant.Errorf(quant.Conflict, "run %s has not ended yet", quant.ShortID(id)).WithHint("wait until it has")
	}
	doc, err := os.ReadFile(c.PlanFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "run %s ended before it had a plan", quant.ShortID(id)).WithHint("start again: quant pipeline run --strategy ...")
	} else if err != nil {
		return nil, quant.Errorf(quant.Store, "read the plan of run %s: %w", quant.ShortID(id), err)
	}
	noted, err := c.meta.RunIO(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, io := range noted {
		if io.Direction == quant.Out && io.Kind == "file" && place.IsPlanFile(io.Name) && string(io.Digest) != pipeline.Digest(doc) {
			return nil, quant.Errorf(quant.Refused, "the plan of run %s is not the one that it made", quant.ShortID(id)).WithHint("start again: quant pipeline run --strategy ...")
		}
	}
	plan, err := pipeline.ParsePlan(doc)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(doc, []byte("***")) {
		return nil, quant.Errorf(quant.Refused, "the plan of run %s cannot be taken over: a secret in it was masked", quant.ShortID(id)).
			WithHint("give secrets in the environment or in .env, never on the command line")
	}
	if run.Status == quant.Success && run.Process.Changes && !flags.force {
		c.Notice("nothing to do: run %s has finished", quant.ShortID(id))
		return nil, c.Print(pipelineReport{RunID: c.Run.ID, Stages: []stageReport{}})
	}
	c.record(quant.RunIO{Direction: quant.In, Kind: "run", Name: id})
	flags.Arguments = plan.Arguments
	if here, err := os.Getwd(); err == nil && run.Process.WorkDir != "" && here != string(run.Process.WorkDir) {
		there := func(path *string) {
			if !filepath.IsAbs(*path) {
				*path = filepath.Join(string(run.Process.WorkDir), *path)
			}
		}
		there(&flags.Strategy)
		for i := range flags.Ingest {
			there(&flags.Ingest[i])
		}
	}
	return &plan, nil
}

// resolvePipeline finds the run that ref names; "last" is the newest pipeline
// that came as far as a plan.
func (c *chain) resolvePipeline(ctx context.Context, ref string) (string, error) {
	if ref != registry.Last {
		return c.Resolve(ctx, ref)
	}
	newest, err := c.meta.ListRuns(ctx, metastore.RunFilter{Kind: "pipeline.run", Except: c.Run.ID, Limit: 100, Brief: true})
	if err != nil {
		return "", err
	}
	for _, run := range newest {
		if _, err := os.Stat(c.PlanFile(run.RunID)); err == nil {
			return run.RunID, nil
		}
	}
	return "", quant.Errorf(quant.NotFound, "there is no pipeline to go on with").WithHint("start one: quant pipeline run --strategy FILE")
}

// judgeAll decides, before anything runs, what each stage would do. A stage
// that reads what one before it may change is taken to run.
func (c *chain) judgeAll(ctx context.Context) error {
	var first pipeline.Stage
	for i := range c.plan.Stages {
		step := &c.plan.Stages[i]
		switch {
		case step.Action == pipeline.Skip:
			continue
		case c.plan.Force:
			step.Reason = "--force"
			continue
		case first != "":
			step.Reason = fmt.Sprintf("%s runs before it", first)
			continue
		}
		if err := c.judge(ctx, step); err != nil {
			return err
		}
		if step.Action == pipeline.Run {
			first = step.Stage
		}
	}
	return nil
}

// judge looks for a run whose results the stage would only repeat.
func (c *chain) judge(ctx context.Context, step *pipeline.Step) error {
	if step.Stage == pipeline.StageIngest && c.plan.Arguments.Provider != "" {
		step.Action, step.Reason = pipeline.Run, "only the provider knows whether there is anything new"
		return nil
	}
	in, state, err := c.inputs(ctx, step)
	if err != nil {
		return err
	}
	id, err := pipeline.Standing(ctx, c.meta, step.Stage, step.WithModel(c.model), in, state)
	if err != nil {
		return err
	}
	step.Action, step.Reason, step.Since = pipeline.Run, "no earlier result stands", quant.Text(id)
	if id == "" {
		return nil
	}
	step.Action, step.Reason = pipeline.Skip, pipeline.Unchanged(id)
	return c.leftBy(ctx, step.Stage, id)
}

// leftBy takes over what later stages need of a run that did this one.
func (c *chain) leftBy(ctx context.Context, stage pipeline.Stage, id string) error {
	if stage != pipeline.StageTrain {
		return nil
	}
	noted, err := c.meta.RunIO(ctx, id)
	if err == nil {
		c.model = pipeline.ModelOf(noted)
	}
	return err
}

// inputs gathers what decides the result of a stage, as it is now.
func (c *chain) inputs(ctx context.Context, step *pipeline.Step) (pipeline.Inputs, pipeline.State, error) {
	in := pipeline.Inputs{Settings: map[string]string{config.Calendar: c.plan.Calendar}, Files: map[string]string{}, Meta: map[string]string{}}
	fail := func(err error) (pipeline.Inputs, pipeline.State, error) { return in, pipeline.State{}, err }
	if c.code == "" {
		var err error
		if c.code, err = c.Env.Build.Identity(digestOfFile); err != nil {
			return fail(err)
		}
	}
	in.Code = c.code
	paths := []string{}
	switch step.Stage {
	case pipeline.StageIngest:
		paths = c.plan.Arguments.Ingest
	case pipeline.StageRecommend, pipeline.StageBacktest:
		paths = []string{c.plan.Arguments.Strategy}
	}
	for _, path := range paths {
		digest, err := c.digestOf(path)
		if err != nil {
			return fail(err)
		}
		in.Files[path] = digest
	}
	if err := c.metaInputs(ctx, step, in.Meta); err != nil {
		return fail(err)
	}
	if c.state == nil {
		c.state = &pipeline.State{}
		if c.HasFactDB() {
			err := c.ReadFacts(ctx, func(db *factstore.DB) error {
				state, err := pipeline.ReadState(ctx, db)
				c.state = &state
				return err
			})
			if err != nil {
				return fail(err)
			}
		}
	}
	return in, *c.state, nil
}

// metaInputs notes the rows of the Meta DB that a stage may depend on.
func (c *chain) metaInputs(ctx context.Context, step *pipeline.Step, into map[string]string) error {
	note := func(name string, v any) error {
		doc, err := quant.NewJSON(v)
		into[name] = pipeline.Digest(doc)
		return err
	}
	if step.Stage == pipeline.StageIngest {
		// It adds the symbols of its files; they stand until one is removed.
		removed, err := c.meta.ListRuns(ctx, metastore.RunFilter{All: true, Kind: "symbols.remove", Limit: 1, Brief: true})
		if err != nil || len(removed) == 0 {
			return err
		}
		into["symbols removed"] = removed[0].RunID
		return nil
	}
	symbols, err := c.meta.ListSymbols(ctx, metastore.SymbolFilter{})
	if err != nil {
		return err
	}
	if err := note("symbols", symbols); err != nil {
		return err
	}
	args := step.WithModel(c.model)
	if id := after(args, "--experiment"); id != "" {
		experiment, err := c.meta.GetExperiment(ctx, id)
		if err != nil {
			return err
		}
		if err := note("experiment", experiment); err != nil {
			return err
		}
	}
	id := after(args, "--model")
	if step.Stage == pipeline.StageRecommend || step.Stage == pipeline.StageBacktest {
		id = c.model
	}
	if id == "" || id == pipeline.UntrainedModel {
		return nil
	}
	model, err := c.meta.GetModel(ctx, id)
	if errors.Is(err, quant.NotFound) {
		return nil // the stage says so itself
	} else if err != nil {
		return err
	}
	return note("model", model)
}

// experimentRef begins a reference to the newest model of an experiment.
const experimentRef = "experiment:"

// after returns the argument that follows a flag.
func after(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// digestOf returns the digest of a file's bytes, reading it once.
func (c *chain) digestOf(path string) (string, error) {
	if digest, known := c.files[path]; known {
		return digest, nil
	}
	digest, err := digestOfFile(path)
	if err != nil {
		return "", err
	}
	c.files[path] = digest
	return digest, nil
}

// digestOfFile is sha256:<hex> of a file's bytes.
func digestOfFile(path string) (string, error) {
	digest, _, err := fileDigest(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", quant.Errorf(quant.NotFound, "file %s does not exist", path).WithHint("check the path, and the folder you are in")
	case err != nil:
		return "", quant.Errorf(quant.Failed, "read %s: %w", path, err)
	case digest == "":
		return "", quant.Errorf(quant.Invalid, "%s is no file", path).WithHint("name files")
	}
	return digest, nil
}

// masked is the plan as it may be stored and printed.
func (c *chain) masked() pipeline.Plan {
	p := c.plan
	text := func(s *string) { *s = c.Mask.Text(*s) }
	list := func(l []string) []string {
		l = slices.Clone(l)
		for i := range l {
			text(&l[i])
		}
		return l
	}
	text(&p.Strategy.Path)
	text(&p.Arguments.Strategy)
	p.Arguments.Ingest, p.Arguments.Set = list(p.Arguments.Ingest), list(p.Arguments.Set)
	p.Stages = slices.Clone(p.Stages)
	for i := range p.Stages {
		p.Stages[i].Args = c.Mask.Args(p.Stages[i].Args)
	}
	return p
}

// keepPlan writes the plan where the run's files are, whole or not at all.
func (c *chain) keepPlan() error {
	doc, err := c.masked().JSON()
	if err != nil {
		return err
	}
	path := c.PlanFile(c.Run.ID)
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "keep the plan in %s: %w", path, err).WithHint("check that you may write there")
	}
	if err := durable.MakeFolder(filepath.Dir(path)); err != nil {
		return failed(err)
	}
	if err := durable.Replace(path, 0o600, durable.Bytes(append(doc, '\n'))); err != nil {
		return failed(err)
	}
	c.record(quant.RunIO{Direction: quant.Out, Kind: "file", Name: path, Digest: quant.Text(pipeline.Digest(append(doc, '\n')))})
	return nil
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

// stageStatus is how a stage ended.
type stageStatus string

const (
	stageRan     stageStatus = "ran"
	stageSkipped stageStatus = "skipped"
	stageFailed  stageStatus = "failed"
)

// pipelineReport is the result of pipeline run.
type pipelineReport struct {
	RunID    string            `json:"run_id"`
	Stages   []stageReport     `json:"stages"`
	Backtest *backtestHeadline `json:"backtest"` // null: there is none
}

type stageReport struct {
	Stage      pipeline.Stage `json:"stage"`
	RunID      quant.Text     `json:"run_id"` // that ran it, or whose results stand
	Status     stageStatus    `json:"status"`
	DurationUS int64          `json:"duration_us"`
	Rows       *int64         `json:"rows"` // changed; null if it did not run
	Reason     string         `json:"reason"`
}

// backtestHeadline is the first thing that one wants to know of a strategy.
type backtestHeadline struct {
	RunID     string   `json:"run_id"`
	CAGR      *float64 `json:"cagr"`
	Sharpe    *float64 `json:"sharpe"`
	MaxDD     *float64 `json:"max_dd"`
	Vol       *float64 `json:"vol"`
	Turnover  *float64 `json:"turnover"`
	WinRate   *float64 `json:"win_rate"`
	AvgTrade  *float64 `json:"avg_trade"`
	NumTrades *int64   `json:"num_trades"`
}

func (r pipelineReport) CSVRows() any { return r.Stages }

func (r pipelineReport) Sections() []output.Section {
	type row struct {
		Stage  pipeline.Stage `json:"stage"`
		Run    string         `json:"run"`
		Status stageStatus    `json:"status"`
		Took   string         `json:"took"`
		Rows   *int64         `json:"rows"`
		Why    string         `json:"why"`
	}
	rows := []row{}
	for _, s := range r.Stages {
		line := row{Stage: s.Stage, Run: quant.ShortID(string(s.RunID)), Status: s.Status, Rows: s.Rows, Why: s.Reason}
		if s.Status != stageSkipped {
			line.Took = quant.Micros(&s.DurationUS)
		}
		rows = append(rows, line)
	}
	sections := []output.Section{{Rows: rows}}
	if b := r.Backtest; b != nil {
		measured := func(name string, v *float64) string {
			if v == nil {
				return name + " -"
			}
			return fmt.Sprintf("%s %.4g", name, *v)
		}
		trades := int64(0)
		if b.NumTrades != nil {
			trades = *b.NumTrades
		}
		sections = append(sections, output.Section{Lines: []string{fmt.Sprintf("backtest %s: %s, %s, %s, %s, %s; %s", quant.ShortID(b.RunID),
			measured("cagr", b.CAGR), measured("sharpe", b.Sharpe), measured("max_dd", b.MaxDD), measured("vol", b.Vol), measured("turnover", b.Turnover),
			quant.Count(int(trades), "trade"))}})
	}
	return sections
}

// runStages runs what is not left out, judging each stage when its turn has
// come, and stops at the first that fails.
func (c *chain) runStages(ctx context.Context) (pipelineReport, error) {
	report := pipelineReport{RunID: c.Run.ID, Stages: []stageReport{}}
	ran := 0
	backtest := ""
	for i := range c.plan.Stages {
		step := &c.plan.Stages[i]
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		// Until a stage has run, what the plan says of the next one holds.
		if ran > 0 && len(step.Args) > 0 && !c.plan.Force {
			if err := c.judge(ctx, step); err != nil {
				return report, err
			}
		}
		if step.Action == pipeline.Skip {
			if step.Since != "" {
				c.record(quant.RunIO{Direction: quant.In, Kind: "run", Name: string(step.Since)})
			}
			if slices.Contains(c.plan.Arguments.Stages, step.Stage) {
				c.Notice("%s: %s, skipped", step.Stage, step.Reason)
			}
			report.Stages = append(report.Stages, stageReport{Stage: step.Stage, RunID: step.Since, Status: stageSkipped, Reason: step.Reason})
			if step.Stage == pipeline.StageBacktest {
				backtest = string(step.Since)
			}
			continue
		}
		done, err := c.runStage(ctx, step)
		report.Stages = append(report.Stages, done)
		ran++
		if err != nil {
			return report, err
		}
		if step.Stage == pipeline.StageBacktest {
			backtest = string(done.RunID)
		}
	}
	if ran == 0 {
		c.Notice("nothing to do: every stage stands as it is (--force runs them all the same)")
	}
	if backtest == "" {
		return report, nil
	}
	var err error
	report.Backtest, err = c.headline(ctx, backtest)
	return report, err
}

// runStage runs a stage as a run of its own.
func (c *chain) runStage(ctx context.Context, step *pipeline.Step) (stageReport, error) {
	done := stageReport{Stage: step.Stage, Status: stageRan, Reason: step.Reason}
	c.state = nil // as it is now, not as it was when the plan was made
	in, state, err := c.inputs(ctx, step)
	if err != nil {
		done.Status = stageFailed
		return done, err
	}
	args := step.WithModel(c.model)
	var notes []quant.RunIO
	if c.plan.Arguments.Provider == "" || step.Stage != pipeline.StageIngest {
		notes = pipeline.Notes(step.Stage, args, in, state)
	}
	failpoint.Hit("pipeline.stage.before")
	c.state = nil // whatever it does, the tables are looked at again
	begun := time.Now()
	c.Notice("\n$ quant %s", strings.Join(c.Mask.Args(args), " "))
	id, err := c.Exec(ctx, append(c.childFlags(), args...), io.Discard, notes...)
	failpoint.Hit("pipeline.stage.after")
	done.RunID, done.DurationUS = quant.Text(id), time.Since(begun).Microseconds()
	if err == nil {
		err = c.leftBy(ctx, step.Stage, id)
	}
	if err != nil {
		done.Status = stageFailed
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		return done, quant.Errorf(quant.CodeOf(err), "the stage %s failed: run %s", step.Stage, quant.ShortID(id)).
			WithHint("mend it and go on with: quant pipeline run --resume %s", quant.ShortID(c.Run.ID))
	}
	noted, err := c.meta.RunIO(ctx, id)
	if err != nil {
		return done, err
	}
	done.Rows = ptr(pipeline.Changed(noted))
	return done, nil
}

// childFlags are the global flags under which a stage runs: the same lab, and
// JSON, which is not shown.
func (e *Env) childFlags() []string {
	args := []string{
		"--data-dir", e.Settings.Value(config.DataDir), "--sqlite", e.Settings.Value(config.SQLitePath), "--duckdb", e.Settings.Value(config.DuckDBPath),
		"--log-level", e.Settings.Value(config.LogLevel), "--wait", e.tree.Globals.Wait.String(), "--output", "json",
	}
	if e.tree.Globals.Quiet {
		args = append(args, "--quiet")
	}
	return args
}

// headline reads the figures of a backtest.
func (c *chain) headline(ctx context.Context, runID string) (*backtestHeadline, error) {
	h := &backtestHeadline{RunID: runID}
	err := c.ReadFacts(ctx, func(db *factstore.DB) error {
		return db.QueryRow(ctx, `SELECT cagr, sharpe, max_dd, vol, turnover, win_rate, avg_trade, num_trades FROM backtest_summary WHERE run_id = ?`, runID).
			Scan(&h.CAGR, &h.Sharpe, &h.MaxDD, &h.Vol, &h.Turnover, &h.WinRate, &h.AvgTrade, &h.NumTrades)
	})
	if err != nil {
		return nil, quant.Errorf(quant.Store, "read the figures of backtest %s: %w", quant.ShortID(runID), err)
	}
	return h, nil
}
