package pipeline_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/pipeline"
	"quant/internal/registry"
	"quant/internal/session"
	"quant/internal/session/sessiontest"
)

// fakeRunner records a run for each call, and does nothing in it but what fails,
// and what train leaves behind.
type fakeRunner struct {
	calls []string       // command lines
	fail  pipeline.Stage // the stage that fails
	model string         // the id of the model that train makes
}

func (f *fakeRunner) Run(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
	c := call.Command()
	c.Notes = notes
	f.calls = append(f.calls, strings.Join(c.Args, " "))
	return s.Inside(ctx, c, func(ctx context.Context, inner *session.Session) error {
		switch pipeline.Stage(c.Kind) {
		case f.fail:
			return quant.Errorf(quant.Refused, "no such luck")
		case pipeline.StageTrain:
			inner.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOModel, Name: f.model})
			return inner.Meta.CreateModel(ctx, quant.Model{ModelID: f.model, ExperimentID: "e", Algo: "ridge", FeatureVersion: "v1", CreatedAt: quant.NewTime(time.Now())})
		}
		return nil
	})
}

// ran returns the stages that were called since the last time.
func (f *fakeRunner) ran() []string {
	var stages []string
	for _, call := range f.calls {
		stage, _, _ := strings.Cut(call, " ")
		stages = append(stages, stage)
	}
	f.calls = nil
	return stages
}

// runChain runs a pipeline as a run of its own inside that of s.
func runChain(t *testing.T, s *sessiontest.Session, r pipeline.Runner, o pipeline.RunOptions) (report pipeline.Report, run sessiontest.Recorded, err error) {
	t.Helper()
	id, err := s.Inside(t.Context(), o.Command(), func(ctx context.Context, inner *session.Session) error {
		var err error
		report, err = pipeline.Run(ctx, inner, r, o)
		return err
	})
	return report, s.Recorded(id), err
}

func mustRunChain(t *testing.T, s *sessiontest.Session, r pipeline.Runner, o pipeline.RunOptions) (pipeline.Report, sessiontest.Recorded) {
	t.Helper()
	report, run, err := runChain(t, s, r, o)
	if err != nil {
		t.Fatal(err)
	}
	return report, run
}

const days = "from: \"2023-06-01\", to: \"2024-03-29\", "

// asked are the options of a chain without prices and backtest, which needs no
// Fact DB.
func asked(s *sessiontest.Session, by string) pipeline.RunOptions {
	return pipeline.RunOptions{Arguments: pipeline.Arguments{
		Strategy: s.Write("s.yaml", strategyText(by, days)),
		Stages:   []pipeline.Stage{pipeline.StageFeatures, pipeline.StageLabels, pipeline.StageTrain, pipeline.StageScore, pipeline.StageRecommend},
	}}
}

func statuses(r pipeline.Report) []string {
	var list []string
	for _, s := range r.Stages {
		list = append(list, string(s.Stage)+" "+string(s.Status))
	}
	return list
}

func wantInOrder(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestAChainRunsWhatIsNeededOnceAndThenRests(t *testing.T) {
	t.Parallel()
	s, r := sessiontest.Begin(t), &fakeRunner{}
	o := asked(s, byFeature)
	report, first := mustRunChain(t, s, r, o)
	wantInOrder(t, "calls", r.calls,
		"features --feature-version v1 --symbols A,B,C,D,E",
		"labels --label-version v1 --horizon 60 --symbols A,B,C,D,E",
		"recommend --strategy "+o.Strategy+" --from 2023-06-01 --to 2024-03-29")
	wantInOrder(t, "stages", statuses(report), "ingest skipped", "features ran", "labels ran", "train skipped", "score skipped", "recommend ran", "backtest skipped")
	if why := report.Stages[3].Reason; why != "the strategy needs no model" {
		t.Errorf("train: %s", why)
	}
	if report.RunID != first.RunID || report.Backtest != nil || *report.Stages[1].Rows != 0 {
		t.Errorf("%+v", report)
	}
	same(t, "the pipeline read", first.Names(quant.In), []string{"file " + o.Strategy})
	same(t, "the pipeline wrote", first.Names(quant.Out), []string{"file " + s.PlanFile(first.RunID)})
	features := s.Recorded(string(report.Stages[1].RunID))
	if features.Kind != "features" || string(features.Process.ParentRunID) != first.RunID {
		t.Errorf("%+v", features.RunDetail)
	}
	same(t, "features noted", features.Names(quant.In), []string{"stage features", "state features_daily", "state returns"})

	r.ran()
	again, second := mustRunChain(t, s, r, o)
	if ran := r.ran(); ran != nil {
		t.Errorf("nothing has changed, and %q ran again", ran)
	}
	if again.Stages[1].RunID != report.Stages[1].RunID || again.Stages[1].Reason != pipeline.Unchanged(features.RunID) || again.Stages[1].Rows != nil {
		t.Errorf("features: %+v", again.Stages[1])
	}
	if names := second.Names(quant.In); !slices.Contains(names, "run "+features.RunID) {
		t.Errorf("the pipeline does not say that its features stand: %q", names)
	}
	if !s.Heard.Has("nothing to do: every stage stands as it is") || !s.Heard.Has("$ quant features --feature-version v1") {
		t.Errorf("%q", s.Heard.All())
	}

	s.Write("s.yaml", strings.Replace(strategyText(byFeature, days), "top_k: 2", "top_k: 3", 1))
	mustRunChain(t, s, r, o)
	wantInOrder(t, "after a change of the strategy", r.ran(), "recommend")
	o.Force = true
	mustRunChain(t, s, r, o)
	wantInOrder(t, "with Force", r.ran(), "features", "labels", "recommend")
}

func TestTheFirstFailureEndsTheChainAndResumeGoesOn(t *testing.T) {
	t.Parallel()
	s, r := sessiontest.Begin(t), &fakeRunner{fail: pipeline.StageLabels}
	o := asked(s, byFeature)
	report, failed, err := runChain(t, s, r, o)
	if !errors.Is(err, quant.Refused) || !strings.Contains(err.Error(), "the stage labels failed") || !strings.Contains(quant.HintOf(err), "--resume "+quant.ShortID(failed.RunID)) {
		t.Fatalf("%v (%s)", err, quant.HintOf(err))
	}
	wantInOrder(t, "stages", statuses(report), "ingest skipped", "features ran", "labels failed")
	wantInOrder(t, "calls", r.ran(), "features", "labels")
	if failed.Status != quant.Fail || s.Recorded(string(report.Stages[2].RunID)).Status != quant.Fail {
		t.Errorf("the pipeline is %s", failed.Status)
	}

	r.fail = ""
	report, resumed := mustRunChain(t, s, r, pipeline.RunOptions{Resume: registry.Last})
	wantInOrder(t, "resumed", r.ran(), "labels", "recommend")
	if report.Stages[1].Status != pipeline.StageSkipped || !slices.Contains(resumed.Names(quant.In), "run "+failed.RunID) {
		t.Errorf("%+v, %q", report.Stages[1], resumed.Names(quant.In))
	}
	report, _ = mustRunChain(t, s, r, pipeline.RunOptions{Resume: resumed.RunID})
	if r.ran() != nil || len(report.Stages) != 0 || len(report.Plan.Stages) != 0 || !s.Heard.Has("nothing to do: run "+quant.ShortID(resumed.RunID)+" has finished") {
		t.Errorf("a finished pipeline went on: %+v", report)
	}
}

func TestAPlanThatCannotBeGoneOnWithIsRefused(t *testing.T) {
	t.Parallel()
	s, r := sessiontest.Begin(t), &fakeRunner{fail: pipeline.StageFeatures}
	o := asked(s, byFeature)
	_, run, _ := runChain(t, s, r, o)
	plan := s.PlanFile(run.RunID)
	kept, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name, ref string, want error, part string) {
		t.Helper()
		r.ran()
		if _, _, err := runChain(t, s, r, pipeline.RunOptions{Resume: ref}); !errors.Is(err, want) || !strings.Contains(err.Error(), part) || quant.HintOf(err) == "" {
			t.Errorf("%s: %v (%s)", name, err, quant.HintOf(err))
		}
		if ran := r.ran(); ran != nil {
			t.Errorf("%s: %q ran", name, ran)
		}
	}
	refused("no pipeline", s.RunID(), quant.Usage, "no pipeline")
	refused("no such run", "0000abcd", quant.NotFound, "0000abcd")
	s.Write("s.yaml", strategyText(byFeature, days)+"\n")
	refused("another strategy", run.RunID, quant.Refused, "has changed since run")
	s.Write("s.yaml", strategyText(byFeature, days))
	s.Settle("XNYS", 0, 0, nil, nil)
	refused("another calendar", run.RunID, quant.Refused, "counted the sessions of data")
	s.Settle("data", 0, 0, nil, nil)
	if err := os.WriteFile(plan, []byte(strings.Replace(string(kept), "2024-03-29", "2024-03-28", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a plan that was edited", run.RunID, quant.Refused, "not the one that it made")
	if err := os.Remove(plan); err != nil {
		t.Fatal(err)
	}
	refused("no plan", run.RunID, quant.NotFound, "before it had a plan")
	refused("no plan at all", registry.Last, quant.NotFound, "no pipeline to go on with")
	inside, err := s.Inside(t.Context(), session.Command{Kind: pipeline.RunKind}, func(ctx context.Context, inner *session.Session) error {
		refused("one that has not ended", inner.RunID(), quant.Conflict, "has not ended yet")
		return nil
	})
	if err != nil || inside == "" {
		t.Error(err)
	}
}

// A plan document holds no values of options: what is gone on with is its
// arguments. The file was written by the program before plans had them.
func TestAPlanOfAnEarlierProgramIsGoneOnWith(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("testdata", "plan_of_earlier_program.json"))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pipeline.ParsePlan(doc)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := plan.JSON(); err != nil || string(again)+"\n" != string(doc) {
		t.Errorf("%s\nwant %s", again, doc)
	}
	s, r := sessiontest.Begin(t), &fakeRunner{model: "ridge-1"}
	experiment(t, s)
	s.Settle(plan.Calendar, 0, 0, nil, nil)
	earlier, _ := s.Inside(t.Context(), session.Command{Kind: pipeline.RunKind}, func(_ context.Context, inner *session.Session) error {
		text := strings.ReplaceAll(string(doc), "experiment:momentum", "experiment:e")
		text = strings.ReplaceAll(text, `"model.yaml"`, `"`+s.Write("model.yaml", strategyText(byModel, days))+`"`)
		text = strings.ReplaceAll(text, `"backtest"]`, `"recommend"]`)
		path := s.PlanFile(inner.RunID())
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600), errors.New("killed"))
	})
	if _, _, err := runChain(t, s, r, pipeline.RunOptions{Resume: earlier}); !errors.Is(err, quant.Refused) {
		t.Fatalf("its strategy is another one: %v", err)
	}
	o := pipeline.RunOptions{Resume: earlier, Force: true}
	report, _ := mustRunChain(t, s, r, o)
	wantInOrder(t, "gone on", r.ran(), "features", "labels", "train", "score", "recommend")
	if p := report.Plan; p.From != "2009-01-01" || p.To != "2012-12-31" {
		t.Errorf("other days: %+v", p.Arguments)
	}
}

func TestAProviderIsAlwaysAskedForOnlyItKnowsWhatIsNew(t *testing.T) {
	t.Parallel()
	s, r := sessiontest.Begin(t), &fakeRunner{}
	o := asked(s, byFeature)
	o.Provider, o.Stages = "alphavantage", []pipeline.Stage{pipeline.StageIngest}
	for range 2 {
		report, _ := mustRunChain(t, s, r, o)
		wantInOrder(t, "calls", r.calls, "ingest --provider alphavantage --symbols A,B,C,D,E")
		r.ran()
		if io := s.Recorded(string(report.Stages[0].RunID)).IO; len(io) != 0 {
			t.Errorf("it is noted what it was run on: %+v", io)
		}
	}
}

func TestTheTrainedModelIsHandedOn(t *testing.T) {
	t.Parallel()
	s, r := sessiontest.Begin(t), &fakeRunner{model: "ridge-1"}
	experiment(t, s)
	o := asked(s, byModel)
	report, run := mustRunChain(t, s, r, o)
	between := " --from 2023-06-01 --to 2024-03-29"
	wantInOrder(t, "calls", r.calls[2:], "train --experiment e", "score --model ridge-1"+between+" --skip-in-sample",
		"recommend --strategy "+o.Strategy+between+" --set signal.inputs.model_id=ridge-1")
	// The plan was made before there was a model.
	wantInOrder(t, "planned", report.Plan.Step(pipeline.StageScore).Args, "score", "--model", pipeline.UntrainedModel, "--from", "2023-06-01", "--to", "2024-03-29", "--skip-in-sample")
	if run.Status != quant.Success {
		t.Errorf("%s", run.Status)
	}
	r.ran()
	mustRunChain(t, s, r, o)
	if ran := r.ran(); ran != nil {
		t.Errorf("%q ran again", ran)
	}
	o.Stages = []pipeline.Stage{pipeline.StageRecommend}
	o.Force = true
	mustRunChain(t, s, r, o)
	wantInOrder(t, "without train", r.calls, "recommend --strategy "+o.Strategy+between+" --set signal.inputs.model_id=ridge-1")
}

// experiment creates the experiment e, of a feature and a label that are known.
func experiment(t *testing.T, s *sessiontest.Session) {
	t.Helper()
	if _, err := pipeline.CreateExperiment(t.Context(), s.Session, pipeline.ExperimentOptions{
		ID: "e", Features: "ret_20d@v1", Label: "fwd_ret_5d@v1", Folds: 2, MinTrain: 60, Seed: 1,
	}); err != nil {
		t.Fatal(err)
	}
}

func TestADryRunKeepsThePlanAndRunsNothing(t *testing.T) {
	t.Parallel()
	s, r := sessiontest.Begin(t), &fakeRunner{}
	o := asked(s, byFeature)
	o.DryRun = true
	report, run := mustRunChain(t, s, r, o)
	if r.calls != nil || len(report.Stages) != 0 || run.Process.Changes {
		t.Errorf("%q ran, %+v", r.calls, report.Stages)
	}
	kept, err := os.ReadFile(s.PlanFile(run.RunID))
	if err != nil {
		t.Fatal(err)
	}
	if doc, err := report.Plan.JSON(); err != nil || string(doc)+"\n" != string(kept) {
		t.Errorf("%s\nkept: %s", doc, kept)
	}
	if step := report.Plan.Step(pipeline.StageLabels); step.Action != pipeline.ActionRun || step.Reason != "features runs before it" {
		t.Errorf("%+v", step)
	}
	if _, err := os.Stat(s.FactPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a Fact DB: %v", err)
	}
}

func TestWhatCannotBePlannedIsSaidBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	s, r := sessiontest.Begin(t), &fakeRunner{}
	lag := -1
	for name, c := range map[string]struct {
		change func(o *pipeline.RunOptions)
		want   error
	}{
		"no strategy":     {func(o *pipeline.RunOptions) { o.Strategy = "" }, quant.Usage},
		"no such file":    {func(o *pipeline.RunOptions) { o.Strategy = "nowhere.yaml" }, quant.NotFound},
		"a folder":        {func(o *pipeline.RunOptions) { o.Strategy = s.DataDir }, quant.Invalid},
		"no such prices":  {func(o *pipeline.RunOptions) { o.Ingest = []string{"nowhere.csv"} }, quant.NotFound},
		"both sources":    {func(o *pipeline.RunOptions) { o.Ingest, o.Provider = []string{o.Strategy}, "alphavantage" }, quant.Usage},
		"a negative lag":  {func(o *pipeline.RunOptions) { o.Lag = &lag }, quant.Usage},
		"no day":          {func(o *pipeline.RunOptions) { o.From = "2023-02-30" }, quant.Usage},
		"days turned":     {func(o *pipeline.RunOptions) { o.From, o.To = "2024-01-02", "2023-01-02" }, quant.Usage},
		"an unknown key":  {func(o *pipeline.RunOptions) { o.Set = []string{"portfolio.topk=2"} }, quant.Invalid},
		"no experiment":   {func(o *pipeline.RunOptions) { o.Strategy = s.Write("m.yaml", strategyText(byModel, days)) }, quant.NotFound},
		"no days at all":  {func(o *pipeline.RunOptions) { o.Strategy = s.Write("d.yaml", strategyText(byFeature, "")) }, quant.Usage},
		"an unknown file": {func(o *pipeline.RunOptions) { o.Strategy = s.Write("x.yaml", "strategy_id: 1 2") }, quant.Invalid},
	} {
		o := asked(s, byFeature)
		c.change(&o)
		_, run, err := runChain(t, s, r, o)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(s.PlanFile(run.RunID)); err == nil || r.calls != nil {
			t.Errorf("%s: a plan was kept, or %q ran", name, r.calls)
		}
	}
}

func TestAChainThatIsToldToEndStartsNoFurtherStage(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &fakeRunner{}
	ending := runnerFunc(func(_ context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
		id, err := r.Run(t.Context(), s, call, notes)
		cancel(quant.Signalled{Number: 2, Name: "SIGINT"})
		return id, err
	})
	report, err := pipeline.Run(ctx, s.Session, ending, asked(s, byFeature))
	if err == nil || len(report.Stages) != 2 {
		t.Errorf("%v, %+v", err, report.Stages)
	}
	wantInOrder(t, "calls", r.ran(), "features")
}

type runnerFunc func(context.Context, *session.Session, pipeline.Call, []quant.RunIO) (string, error)

func (f runnerFunc) Run(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
	return f(ctx, s, call, notes)
}

// silent fails the test if anything is printed until it ends: no other test may
// run beside it.
func silent(t *testing.T) {
	t.Helper()
	printed, err := os.Create(filepath.Join(t.TempDir(), "printed"))
	if err != nil {
		t.Fatal(err)
	}
	out, errs := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = printed, printed
	t.Cleanup(func() {
		os.Stdout, os.Stderr = out, errs
		printed.Close()
		if text, err := os.ReadFile(printed.Name()); err != nil || len(text) > 0 {
			t.Errorf("it printed %q, %v", text, err)
		}
	})
}

// ranLab is a lab in which a pipeline of a strategy has run in process; no stages:
// all.
func ranLab(t *testing.T, by string, stages ...pipeline.Stage) (*sessiontest.Session, pipeline.RunOptions, pipeline.Report) {
	t.Helper()
	s := sessiontest.Begin(t)
	experiment(t, s)
	o := pipeline.RunOptions{Arguments: pipeline.Arguments{
		Strategy: s.Write("s.yaml", strategyText(by, days)), Ingest: []string{s.Write("prices.csv", bars("A", "B", "C", "D", "E"))}, Stages: stages,
	}}
	report, _ := mustRunChain(t, s, pipeline.InProcess{}, o)
	return s, o, report
}

func TestAWholePipelineRunsInProcessAndPrintsNothing(t *testing.T) {
	silent(t)
	s, o, report := ranLab(t, byModel)
	wantInOrder(t, "stages", statuses(report), "ingest ran", "features ran", "labels ran", "train ran", "score ran", "recommend ran", "backtest ran")
	for i, stage := range report.Stages {
		run := s.Recorded(string(stage.RunID))
		if run.Status != quant.Success || run.Kind != string(stage.Stage) || string(run.Process.ParentRunID) != report.RunID || *stage.Rows != pipeline.Changed(run.IO) {
			t.Errorf("stage %d: %+v, %+v", i, stage, run.RunDetail)
		}
	}
	// What options are recorded as is what they are read back from.
	for _, stage := range report.Stages[1:] {
		run := s.Recorded(string(stage.RunID))
		call, err := pipeline.Replay(run.RunDetail)
		if err != nil {
			t.Fatal(err)
		}
		if argv, want := string(run.Process.Argv), `["quant","`+strings.Join(call.Command().Args, `","`)+`"]`; argv != want {
			t.Errorf("%s: %s\nrecorded: %s", stage.Stage, want, argv)
		}
	}
	if b := report.Backtest; b == nil || b.RunID != string(report.Stages[6].RunID) || b.CAGR == nil || b.NumTrades == nil || *b.NumTrades == 0 {
		t.Errorf("%+v", report.Backtest)
	}
	again, _ := mustRunChain(t, s, pipeline.InProcess{}, o)
	for i, stage := range again.Stages {
		if stage.Status != pipeline.StageSkipped || stage.RunID != report.Stages[i].RunID {
			t.Errorf("nothing has changed: %+v", stage)
		}
	}
	if *again.Backtest.CAGR != *report.Backtest.CAGR {
		t.Errorf("%+v", again.Backtest)
	}
	o.Set = []string{"backtest.fee_bps=1"}
	changed, _ := mustRunChain(t, s, pipeline.InProcess{}, o)
	if changed.Stages[5].Status == pipeline.StageFailed || changed.Stages[6].Status != pipeline.StageRan || changed.Stages[4].Status != pipeline.StageSkipped {
		t.Errorf("other fees: %q", statuses(changed))
	}
	lineage, err := pipeline.Trace(t.Context(), s.Meta, report.RunID)
	if err != nil || len(lineage.Nodes) < 10 {
		t.Errorf("%+v, %v", lineage, err)
	}
}
