package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/backtest"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/parquet"
	"quant/internal/registry"
	"quant/internal/session"
	"quant/internal/strategy"
)

// RunKind is the kind of a pipeline's run.
const RunKind = "pipeline.run"

// RunOptions are what a pipeline is asked for.
type RunOptions struct {
	Arguments
	// Resume names the run whose plan is gone on with; Arguments are those of that
	// plan then. registry.Last is the newest pipeline that came as far as a plan.
	Resume string
	Force  bool // run every stage, and go on with a plan whose strategy file or calendar was changed
	DryRun bool // only check, and make the plan
	// Model is what the strategy's alias for a model is taken for, unless one is
	// trained; "": the one trained last. Only a repetition gives it.
	Model string
}

// Command is what a pipeline that is run again elsewhere is recorded as.
func (o RunOptions) Command() session.Command {
	c := &commandLine{session.Command{Kind: RunKind, Args: []string{"pipeline", "run"}, Flags: map[string]string{}, Operands: []string{}, Reads: o.DryRun}}
	c.yes("force", o.Force)
	c.text("strategy", o.Strategy)
	c.text("from", o.From)
	c.text("to", o.To)
	c.text("stages", strings.ReplaceAll(names(o.Stages), " ", ""))
	c.each("ingest", o.Ingest)
	c.text("provider", o.Provider)
	c.text("features", o.Features)
	c.each("set", o.Set)
	c.text("symbols", strings.Join(o.Symbols, ","))
	c.yes("accept-raw", o.AcceptRaw)
	c.flag("lag", strconv.Itoa(valueOf(o.Lag)), o.Lag != nil)
	c.text("resume", o.Resume)
	c.yes("dry-run", o.DryRun)
	t := valueOf(o.Trainer)
	c.each("param", t.Params)
	c.word("format", string(t.Format), string(parquet.Parquet))
	c.word("proof", string(t.Proof), string(model.ProofOne))
	c.flag("timeout", t.timeout().String(), t.TimeoutUS != 0)
	c.text(workersFlag, "")
	c.operands(t.Program)
	return c.Command
}

// StageStatus is how a stage ended.
type StageStatus string

// The ends of a stage.
const (
	StageRan     StageStatus = "ran"
	StageSkipped StageStatus = "skipped"
	StageFailed  StageStatus = "failed"
)

// Report is the result of a pipeline.
type Report struct {
	RunID    string        `json:"run_id"`
	Stages   []StageReport `json:"stages"`
	Backtest *Headline     `json:"backtest"` // null: there is none
	Plan     Plan          `json:"-"`        // masked, as it was kept; empty: there was nothing to go on with
}

// StageReport is what became of a stage.
type StageReport struct {
	Stage      Stage       `json:"stage"`
	RunID      quant.Text  `json:"run_id"` // that ran it, or whose results stand
	Status     StageStatus `json:"status"`
	DurationUS int64       `json:"duration_us"`
	Rows       *int64      `json:"rows"` // changed; null if it did not run
	Reason     string      `json:"reason"`
}

// Headline is the first thing that one wants to know of a strategy.
type Headline struct {
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

// chain is one execution of the pipeline.
type chain struct {
	*session.Session
	runner Runner
	meta   metastore.Store
	plan   Plan
	model  string // the model that train made or left standing

	code  string
	state *tableState       // nil: to be read again
	files map[string]string // digests, by path; files are taken to stay as they are while the pipeline runs
}

// Run runs the stages that a strategy needs, each by r as a run inside that of s,
// and leaves out those that would change nothing; the first failure ends it. It
// keeps the plan in the lab. The report says how far it came, also beside an
// error, which has the code of the stage that failed. Errors of its own: Usage and
// Invalid for what is asked for, NotFound for what it names, Conflict for a
// pipeline that still runs, Refused for a plan that cannot be gone on with.
func Run(ctx context.Context, s *session.Session, r Runner, o RunOptions) (Report, error) {
	none := Report{RunID: s.RunID(), Stages: []StageReport{}}
	meta, err := s.MetaDB()
	if err != nil {
		return none, err
	}
	c := &chain{Session: s, runner: r, meta: meta, files: map[string]string{}}
	var resumed *Plan
	if o.Resume != "" {
		if resumed, err = c.takeOver(ctx, &o); err != nil || resumed == nil {
			return none, err
		}
	}
	if err := c.makePlan(ctx, o); err != nil {
		return none, err
	}
	if resumed != nil && resumed.Strategy.Digest != c.plan.Strategy.Digest && !o.Force {
		return none, quant.Errorf(quant.Refused, "strategy file %s has changed since run %s", c.plan.Strategy.Path, quant.ShortID(o.Resume)).
			WithHint("start again with `quant pipeline run --strategy ...`, or go on with the changed file: --force")
	}
	if resumed != nil && resumed.Calendar != c.plan.Calendar && !o.Force {
		return none, quant.Errorf(quant.Refused, "run %s counted the sessions of %s, and now they are those of %s", quant.ShortID(o.Resume), resumed.Calendar, c.plan.Calendar).
			WithHint("set QUANT_CALENDAR=%s, with the closures that it had (`quant calendar list`), or go on with the other calendar: --force", resumed.Calendar)
	}
	if err := c.judgeAll(ctx); err != nil {
		return none, err
	}
	none.Plan = c.masked()
	if err := c.keepPlan(none.Plan); err != nil {
		return none, err
	}
	failpoint.Hit("pipeline.planned")
	if o.DryRun {
		return none, nil
	}
	report, err := c.runStages(ctx)
	report.Plan = none.Plan
	return report, err
}

// makePlan checks the request and resolves it; nothing is written.
func (c *chain) makePlan(ctx context.Context, o RunOptions) error {
	identity, err := calendarIdentity(c.Session)
	if err != nil {
		return err
	}
	req := planRequest{Arguments: o.Arguments, Force: o.Force, Calendar: identity}
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
	if a.Stages == nil {
		a.Stages = Stages()
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
	req.Strategy = Strategy{Path: a.Strategy, Digest: digest, StrategyID: s.ID, Version: s.Version}
	req.Universe, req.Everything, req.Signal = s.Universe, s.Everything, s.Signal
	if err := checkFeatures(a.Features, req.Signal.FeatureVersion); err != nil {
		return err
	}
	if err := a.Trainer.check(req.Signal, a.Stages); err != nil {
		return err
	}
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
	req.From, req.To = from, to
	if req.RebalanceDays, err = c.rebalanceDays(ctx, s.Rebalance, from, to); err != nil {
		return err
	}
	c.plan = newPlan(req)
	if t := req.Signal.Training; t != nil && !slices.Contains(a.Stages, StageTrain) {
		newest, err := ResolveModel(ctx, c.Session, cmp.Or(o.Model, experimentRef+t.Experiment))
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
	Signal      Signal
	Rebalance   strategy.Rebalance
}

// chosenStrategy reads the strategy file, and fills in the days that are not
// asked for.
func (c *chain) chosenStrategy(ctx context.Context, a *Arguments) (chosen, error) {
	var out chosen
	s, err := OpenStrategy(ctx, c.Session, a.Strategy, a.Set)
	if err != nil {
		return out, err
	}
	for _, notice := range s.Notices() {
		c.Say().Notice("%s", notice)
	}
	if a.From == "" && s.Backtest.From != nil {
		a.From = s.Backtest.From.String()
	}
	if a.To == "" && s.Backtest.To != nil {
		a.To = s.Backtest.To.String()
	}
	out = chosen{ID: s.ID, Version: s.Version, Universe: s.Universe.Symbols, Everything: s.Universe.Type != strategy.UniverseSymbols, Rebalance: s.Rebalance}
	out.Signal, err = c.signal(ctx, s.Signal)
	return out, err
}

// signal resolves what the strategy ranks by to what must be computed first.
func (c *chain) signal(ctx context.Context, s strategy.Signal) (Signal, error) {
	if s.Type == strategy.Strategies {
		return Signal{Combines: true}, nil
	}
	if s.Type == strategy.FactorRank {
		kind, err := setKind(ctx, c.Session, s.Inputs.FeatureVersion)
		return Signal{FeatureVersion: s.Inputs.FeatureVersion, ImportedFeatures: kind == factstore.KindImport}, err
	}
	id, trains := strings.CutPrefix(s.Inputs.ModelID, experimentRef)
	if !trains {
		m, err := c.meta.GetModel(ctx, id)
		if err != nil {
			return Signal{}, err
		}
		if isStated(m) {
			return Signal{ModelID: id, ImportedPredictions: true}, nil
		}
		kind, err := setKind(ctx, c.Session, string(m.FeatureVersion))
		return Signal{FeatureVersion: string(m.FeatureVersion), ModelID: id, ImportedFeatures: kind == factstore.KindImport}, err
	}
	experiment, err := c.meta.GetExperiment(ctx, id)
	if err != nil {
		return Signal{}, err
	}
	features, err := model.ParseFeatures(string(experiment.FeatureSetID))
	if err != nil {
		return Signal{}, err
	}
	label, err := model.ParseLabel(string(experiment.LabelSetID))
	if err != nil {
		return Signal{}, err
	}
	for _, f := range features {
		if f.Version != features[0].Version {
			return Signal{}, quant.Errorf(quant.Invalid, "experiment %s takes features of the versions %s and %s, and a pipeline computes one", id, features[0].Version, f.Version).
				WithHint("create an experiment on the features of one version: v2 has those of v1")
		}
	}
	kind, err := setKind(ctx, c.Session, features[0].Version)
	if err != nil {
		return Signal{}, err
	}
	return Signal{
		FeatureVersion:   features[0].Version,
		ImportedFeatures: kind == factstore.KindImport,
		Training:         &Training{Experiment: id, LabelVersion: label.Version, Horizon: label.Horizon},
	}, nil
}

// checkFeatures refuses a file of features that the strategy does not read.
func checkFeatures(file, version string) error {
	if file == "" {
		return nil
	}
	set, err := readFeatures(file, nil)
	if err == nil && set.Version != version {
		return quant.Errorf(quant.Usage, "--features %s defines version %s, and the strategy reads version %s", file, set.Version, version).WithHint("name the file of that version, or leave it out")
	}
	return err
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

func (c *chain) rebalanceDays(ctx context.Context, rebalance strategy.Rebalance, from, to quant.Date) (int, error) {
	count := func(db *factstore.DB) (int, error) {
		cal, err := openCalendar(ctx, c.Session, db, "ohlcv")
		if err != nil {
			return 0, err
		}
		days, err := rebalance.Days(cal, from, to)
		return len(days), err
	}
	if c.CalendarName() != calendar.Data {
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

// takeOver makes the arguments of an earlier run's plan those of o. nil: there is
// nothing to go on with, which has been said.
func (c *chain) takeOver(ctx context.Context, o *RunOptions) (*Plan, error) {
	id, err := c.resolvePipeline(ctx, o.Resume)
	if err != nil {
		return nil, err
	}
	o.Resume = id
	run, err := c.meta.GetRun(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case run.Kind != RunKind:
		return nil, quant.Errorf(quant.Usage, "run %s is of the kind %s, no pipeline", quant.ShortID(id), run.Kind).
			WithHint("`quant runs list --kind pipeline.run` lists the pipelines")
	case run.Status == quant.Running:
		return nil, quant.Errorf(quant.Conflict, "run %s has not ended yet", quant.ShortID(id)).WithHint("wait until it has")
	}
	plan, err := readPlan(ctx, c.Session, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "run %s ended before it had a plan", quant.ShortID(id)).WithHint("start again: quant pipeline run --strategy ...")
	} else if err != nil {
		return nil, err
	}
	if run.Status == quant.Success && run.Process.Changes && !o.Force {
		c.Say().Notice("nothing to do: run %s has finished", quant.ShortID(id))
		return nil, nil
	}
	c.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: id})
	o.Arguments = plan.Arguments
	if here, err := os.Getwd(); err == nil && run.Process.WorkDir != "" && here != string(run.Process.WorkDir) {
		if o.Trainer != nil {
			return nil, quant.Errorf(quant.Usage, "run %s trains by a program, and was made in another folder", quant.ShortID(id)).WithHint("cd %s, and give --data-dir", run.Process.WorkDir)
		}
		there := func(path *string) {
			if !filepath.IsAbs(*path) {
				*path = filepath.Join(string(run.Process.WorkDir), *path)
			}
		}
		there(&o.Strategy)
		if o.Features != "" {
			there(&o.Features)
		}
		o.Ingest = slices.Clone(o.Ingest)
		for i := range o.Ingest {
			there(&o.Ingest[i])
		}
	}
	return &plan, nil
}

// readPlan reads the plan that a pipeline kept. fs.ErrNotExist: there is none.
// Refused: it is not the one that the run made, or a part of it was masked.
func readPlan(ctx context.Context, s *session.Session, id string) (Plan, error) {
	doc, err := os.ReadFile(s.PlanFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return Plan{}, err
	} else if err != nil {
		return Plan{}, quant.Errorf(quant.Store, "read the plan of run %s: %w", quant.ShortID(id), err)
	}
	noted, err := s.Meta.RunIO(ctx, id)
	if err != nil {
		return Plan{}, err
	}
	for _, io := range noted {
		if io.Direction == quant.Out && io.Kind == quant.IOFile && place.IsPlanFile(io.Name) && string(io.Digest) != durable.Digest(doc) {
			return Plan{}, quant.Errorf(quant.Refused, "the plan of run %s is not the one that it made", quant.ShortID(id)).WithHint("start again: quant pipeline run --strategy ...")
		}
	}
	plan, err := ParsePlan(doc)
	if err != nil {
		return Plan{}, err
	}
	if bytes.Contains(doc, []byte("***")) {
		return Plan{}, quant.Errorf(quant.Refused, "the plan of run %s cannot be taken over: a secret in it was masked", quant.ShortID(id)).
			WithHint("give secrets in the environment or in .env, never on the command line")
	}
	return plan, nil
}

// resolvePipeline finds the run that ref names.
func (c *chain) resolvePipeline(ctx context.Context, ref string) (string, error) {
	if ref != registry.Last {
		return c.Resolve(ctx, ref)
	}
	newest, err := c.meta.ListRuns(ctx, metastore.RunFilter{Kind: RunKind, Except: c.RunID(), Limit: 100, Brief: true})
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
	var first Stage
	for i := range c.plan.Stages {
		step := &c.plan.Stages[i]
		switch {
		case step.Action == ActionSkip:
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
		if step.Action == ActionRun {
			first = step.Stage
		}
	}
	return nil
}

// judge looks for a run whose results the stage would only repeat.
func (c *chain) judge(ctx context.Context, step *Step) error {
	if _, asks := step.Call.(FetchOptions); asks {
		step.Action, step.Reason = ActionRun, "only the provider knows whether there is anything new"
		return nil
	}
	call := step.WithModel(c.model)
	in, state, err := c.inputs(ctx, call)
	if err != nil {
		return err
	}
	id, err := standingRun(ctx, c.meta, step.Stage, call.Command().Args, in, state)
	if err != nil {
		return err
	}
	step.Action, step.Reason, step.Since = ActionRun, "no earlier result stands", quant.Text(id)
	if id == "" {
		return nil
	}
	step.Action, step.Reason = ActionSkip, Unchanged(id)
	return c.leftBy(ctx, step.Stage, id)
}

// leftBy takes over what later stages need of a run that did this one.
func (c *chain) leftBy(ctx context.Context, stage Stage, id string) error {
	if stage != StageTrain {
		return nil
	}
	noted, err := c.meta.RunIO(ctx, id)
	if err == nil {
		c.model = modelOf(noted)
	}
	return err
}

// inputs gathers what decides the result of a stage, as it is now.
func (c *chain) inputs(ctx context.Context, call Call) (stageInputs, tableState, error) {
	in := stageInputs{Calendar: c.plan.Calendar, Files: map[string]string{}, Meta: map[string]string{}}
	fail := func(err error) (stageInputs, tableState, error) { return in, tableState{}, err }
	if c.code == "" {
		var err error
		if c.code, err = c.Build().Identity(digestOfFile); err != nil {
			return fail(err)
		}
	}
	in.Code = c.code
	paths := []string{}
	switch o := call.(type) {
	case IngestOptions:
		paths = o.Files
	case FeaturesOptions:
		if o.File != "" {
			paths = []string{o.File}
		}
	case TrainOptions:
		paths = codeOf(o.Program)
	case RecommendOptions:
		paths = []string{o.Strategy}
	case BacktestOptions:
		paths = []string{o.Strategy}
	}
	for _, path := range paths {
		digest, err := c.digestOf(path)
		if err != nil {
			return fail(err)
		}
		in.Files[path] = digest
	}
	if err := c.metaInputs(ctx, call, in.Meta); err != nil {
		return fail(err)
	}
	if c.state == nil {
		c.state = &tableState{}
		if c.HasFactDB() {
			err := c.ReadFacts(ctx, func(db *factstore.DB) error {
				state, err := readState(ctx, db)
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
func (c *chain) metaInputs(ctx context.Context, call Call, into map[string]string) error {
	note := func(name string, v any) error {
		doc, err := quant.NewJSON(v)
		into[name] = durable.Digest(doc)
		return err
	}
	switch call.(type) {
	case IngestOptions, FetchOptions:
		// It adds the symbols of its files; they stand until one is removed.
		removed, err := c.meta.ListRuns(ctx, metastore.RunFilter{All: true, Kind: "symbols.remove", Limit: 1, Brief: true})
		if err != nil || len(removed) == 0 {
			return err
		}
		into["symbols removed"] = removed[0].RunID
		return nil
	}
	if _, replays := call.(BacktestOptions); replays {
		if digest, err := delistingsDigest(c.Session); err != nil {
			return err
		} else if digest != "" {
			into[backtest.KnownName] = digest
		}
	}
	if digest, err := universesDigest(c.Session); err != nil {
		return err
	} else if digest != "" {
		into["universes"] = digest
	}
	symbols, err := c.meta.ListSymbols(ctx, metastore.SymbolFilter{})
	if err != nil {
		return err
	}
	if err := note("symbols", symbols); err != nil {
		return err
	}
	id := ""
	switch o := call.(type) {
	case TrainOptions:
		experiment, err := c.meta.GetExperiment(ctx, o.Experiment)
		if err != nil {
			return err
		}
		return note("experiment", experiment)
	case ScoreOptions:
		id = o.Model
	case RecommendOptions, BacktestOptions:
		id = c.model
	}
	if id == "" || id == UntrainedModel {
		return nil
	}
	m, err := c.meta.GetModel(ctx, id)
	if errors.Is(err, quant.NotFound) {
		return nil // the stage says so itself
	} else if err != nil {
		return err
	}
	return note("model", m)
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

// digestOfFile is the digest of a regular file's bytes.
func digestOfFile(path string) (string, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", quant.Errorf(quant.Invalid, "%s is no file", path).WithHint("name files")
	}
	digest, _, err := durable.DigestFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", quant.Errorf(quant.NotFound, "file %s does not exist", path).WithHint("check the path, and the folder you are in")
	case err != nil:
		return "", quant.Errorf(quant.Failed, "read %s: %w", path, err)
	}
	return digest, nil
}

// masked is the plan as it may be stored and printed.
func (c *chain) masked() Plan {
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
	if t := p.Arguments.Trainer; t != nil {
		masked := *t
		masked.Program, masked.Params = c.Mask.Args(t.Program), c.Mask.Args(t.Params)
		p.Arguments.Trainer = &masked
	}
	p.Stages = slices.Clone(p.Stages)
	for i := range p.Stages {
		p.Stages[i].Args = c.Mask.Args(p.Stages[i].Args)
		p.Stages[i].Call = nil // it is not masked
	}
	return p
}

// keepPlan writes a plan where the run's files are, whole or not at all. Without a
// run nothing is kept.
func (c *chain) keepPlan(p Plan) error {
	if c.RunID() == "" {
		return nil
	}
	doc, err := p.JSON()
	if err != nil {
		return err
	}
	path := c.PlanFile(c.RunID())
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "keep the plan in %s: %w", path, err).WithHint("check that you may write there")
	}
	if err := durable.MakeFolder(filepath.Dir(path)); err != nil {
		return failed(err)
	}
	if err := durable.Replace(path, 0o600, durable.Bytes(append(doc, '\n'))); err != nil {
		return failed(err)
	}
	c.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: path, Digest: quant.Text(durable.Digest(append(doc, '\n')))})
	return nil
}

// runStages runs what is not left out, judging each stage when its turn has
// come, and stops at the first that fails.
func (c *chain) runStages(ctx context.Context) (Report, error) {
	report := Report{RunID: c.RunID(), Stages: []StageReport{}}
	ran := 0
	backtest := ""
	for i := range c.plan.Stages {
		step := &c.plan.Stages[i]
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		// Until a stage has run, what the plan says of the next one holds.
		judged := ran > 0 && step.Call != nil && !c.plan.Force
		if judged {
			if err := c.judge(ctx, step); err != nil {
				return report, err
			}
		}
		if step.Action == ActionSkip {
			if step.Since != "" {
				c.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: string(step.Since)})
			}
			if slices.Contains(c.plan.Arguments.Stages, step.Stage) {
				c.Say().Notice("%s: %s, skipped", step.Stage, step.Reason)
			}
			report.Stages = append(report.Stages, StageReport{Stage: step.Stage, RunID: step.Since, Status: StageSkipped, Reason: step.Reason})
			if step.Stage == StageBacktest {
				backtest = string(step.Since)
			}
			continue
		}
		if !judged {
			c.state = nil // as it is now, not as it was when the plan was made
		}
		done, err := c.runStage(ctx, step)
		report.Stages = append(report.Stages, done)
		ran++
		if err != nil {
			return report, err
		}
		if step.Stage == StageBacktest {
			backtest = string(done.RunID)
		}
	}
	if ran == 0 {
		c.Say().Notice("nothing to do: every stage stands as it is (--force runs them all the same)")
	}
	if backtest == "" {
		return report, nil
	}
	var err error
	report.Backtest, err = c.headline(ctx, backtest)
	return report, err
}

// runStage runs a stage as a run of its own.
func (c *chain) runStage(ctx context.Context, step *Step) (StageReport, error) {
	done := StageReport{Stage: step.Stage, Status: StageRan, Reason: step.Reason}
	call := step.WithModel(c.model)
	in, state, err := c.inputs(ctx, call)
	if err != nil {
		done.Status = StageFailed
		return done, err
	}
	args := call.Command().Args
	var notes []quant.RunIO
	if _, asks := call.(FetchOptions); !asks {
		notes = stageNotes(step.Stage, args, in, state)
	}
	failpoint.Hit("pipeline.stage.before")
	c.state = nil // whatever it does, the tables are looked at again
	begun := time.Now()
	c.Say().Notice("\n$ quant %s", strings.Join(c.Mask.Args(args), " "))
	id, err := c.runner.Run(ctx, c.Session, call, notes)
	failpoint.Hit("pipeline.stage.after")
	done.RunID, done.DurationUS = quant.Text(id), time.Since(begun).Microseconds()
	if err == nil {
		err = c.leftBy(ctx, step.Stage, id)
	}
	if err != nil {
		done.Status = StageFailed
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		return done, quant.Errorf(quant.CodeOf(err), "the stage %s failed: run %s", step.Stage, quant.ShortID(id)).
			WithHint("mend it and go on with: quant pipeline run --resume %s", quant.ShortID(c.RunID()))
	}
	noted, err := c.meta.RunIO(ctx, id)
	if err != nil {
		return done, err
	}
	rows := Changed(noted)
	done.Rows = &rows
	return done, nil
}

// headline reads the figures of a backtest.
func (c *chain) headline(ctx context.Context, runID string) (*Headline, error) {
	h := &Headline{RunID: runID}
	err := c.ReadFacts(ctx, func(db *factstore.DB) error {
		return db.QueryRow(ctx, `SELECT cagr, sharpe, max_dd, vol, turnover, win_rate, avg_trade, num_trades FROM backtest_summary WHERE run_id = ?`, runID).
			Scan(&h.CAGR, &h.Sharpe, &h.MaxDD, &h.Vol, &h.Turnover, &h.WinRate, &h.AvgTrade, &h.NumTrades)
	})
	if err != nil {
		return nil, quant.Errorf(quant.Store, "read the figures of backtest %s: %w", quant.ShortID(runID), err)
	}
	return h, nil
}
