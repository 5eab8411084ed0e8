package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/pipeline"
	"quant/internal/session"
	"quant/internal/session/sessiontest"
)

// sweptLab is a lab with features, and the options of a sweep over four trials.
func sweptLab(t *testing.T) (*sessiontest.Session, pipeline.SweepOptions) {
	t.Helper()
	s := sessiontest.Begin(t)
	ingest(t, s, s.Write("prices.csv", bars("A", "B", "C", "D", "E")))
	inside(t, s, pipeline.Features, pipeline.FeaturesOptions{Version: "v1"})
	return s, pipeline.SweepOptions{
		Strategy: s.Write("s.yaml", strategyText(byFeature, days)), Sets: []string{"portfolio.top_k=1,2", "execution.lag_days=0, 1"}, MaxTrials: 4,
	}
}

func TestASweepTriesEveryCombinationInProcessAndPrintsNothing(t *testing.T) {
	silent(t)
	s, o := sweptLab(t)
	var told []string
	o.Trying = func(trial, of int, with pipeline.Overrides) {
		if told = append(told, with.String()); trial != len(told) || of != 4 {
			t.Errorf("trial %d of %d", trial, of)
		}
	}
	said := len(s.Heard.All())
	var report pipeline.SweepReport
	id, err := s.Inside(t.Context(), session.Command{Kind: "sweep"}, func(ctx context.Context, inner *session.Session) (err error) {
		report, err = pipeline.Sweep(ctx, inner, pipeline.InProcess{Quiet: true, Unsaid: true}, o)
		return err
	})
	if err != nil || report.Err() != nil {
		t.Fatal(err, report.Err())
	}
	want := []string{
		"portfolio.top_k=1 execution.lag_days=0", "portfolio.top_k=1 execution.lag_days=1", "portfolio.top_k=2 execution.lag_days=0", "portfolio.top_k=2 execution.lag_days=1",
	}
	wantInOrder(t, "told", told, want...)
	run := s.Recorded(id)
	inputs := []string{"file " + o.Strategy}
	for i, trial := range report.Trials {
		decided, replayed := s.Recorded(string(trial.RecommendID)), s.Recorded(string(trial.RunID))
		if trial.Overrides.String() != want[i] || decided.Kind != "recommend" || replayed.Kind != "backtest" || string(replayed.Process.ParentRunID) != id {
			t.Errorf("trial %d: %+v", i, trial)
		}
		if replayed.Params["strategy_id"] != trial.StrategyID || !strings.HasPrefix(trial.StrategyID, "s#") || trial.Sharpe == nil || trial.NumTrades == nil {
			t.Errorf("trial %d: %+v, %v", i, trial, replayed.Params)
		}
		inputs = append(inputs, "run "+decided.RunID, "run "+replayed.RunID)
	}
	same(t, "the sweep read", run.Names(quant.In), inputs)
	best := slices.MaxFunc(report.Trials, func(a, b pipeline.Trial) int {
		if *a.Sharpe < *b.Sharpe {
			return -1
		}
		return 1
	})
	if report.Best == nil || report.Best.StrategyID != best.StrategyID || report.Deflated == nil || report.Deflated.Trials != 4 {
		t.Errorf("best %+v, %+v", report.Best, report.Deflated)
	}
	if run.Metrics["trials"] != 4 || run.Metrics["failed"] != 0 || run.Metrics["best.sharpe"] != *best.Sharpe || run.Params["set.execution.lag_days"] != "0,1" {
		t.Errorf("%v %v", run.Metrics, run.Params)
	}
	// Of the trials nothing is said, of the sweep only its end.
	if heard := s.Heard.All()[said:]; len(heard) != 1 || !strings.Contains(heard[0], "sweep SUCCESS") {
		t.Errorf("it said %q", heard)
	}

	o.Trying = nil
	again, err := pipeline.Sweep(t.Context(), s.Session, pipeline.InProcess{Quiet: true, Unsaid: true}, o)
	if err != nil || again.Deflated.Trials != 4 {
		t.Errorf("a trial that is repeated counts once: %+v, %v", again.Deflated, err)
	}
}

func TestATrialThatFailsIsReportedAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	s, o := sweptLab(t)
	fails := func(part string) pipeline.Runner {
		return runnerFunc(func(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
			if strings.Contains(strings.Join(call.Command().Args, " "), part) {
				return s.Inside(ctx, call.Command(), func(context.Context, *session.Session) error { return quant.Errorf(quant.Refused, "no such luck") })
			}
			return pipeline.InProcess{Quiet: true, Unsaid: true}.Run(ctx, s, call, notes)
		})
	}
	report, err := pipeline.Sweep(t.Context(), s.Session, fails("--set execution.lag_days=1"), o)
	if err != nil || !errors.Is(report.Err(), quant.Partial) || !strings.Contains(report.Err().Error(), "2 of 4 trials failed") {
		t.Fatalf("%v, %v", err, report.Err())
	}
	for i, trial := range report.Trials {
		if failed := i%2 == 1; failed != (trial.Error != "") || failed == (trial.RunID != "") || failed == (trial.Sharpe != nil) {
			t.Errorf("trial %d: %+v", i, trial)
		}
	}
	if report.Best == nil || report.Deflated.Trials != 2 {
		t.Errorf("%+v", report.Deflated)
	}
	report, err = pipeline.Sweep(t.Context(), s.Session, fails(""), o)
	if err != nil || !errors.Is(report.Err(), quant.Failed) || report.Failed != 4 || report.Best != nil || report.Deflated != nil {
		t.Errorf("%v, %v, %+v", err, report.Err(), report)
	}
}

func TestAGridThatCannotBeTriedIsRefusedBeforeTheFirstTrial(t *testing.T) {
	t.Parallel()
	s, r := sessiontest.Begin(t), &fakeRunner{}
	from, to := day("2024-01-02"), day("2023-01-02")
	for name, c := range map[string]struct {
		change func(o *pipeline.SweepOptions)
		want   error
	}{
		"no strategy":      {func(o *pipeline.SweepOptions) { o.Strategy = "" }, quant.Usage},
		"no such file":     {func(o *pipeline.SweepOptions) { o.Strategy = "nowhere.yaml" }, quant.NotFound},
		"no key":           {func(o *pipeline.SweepOptions) { o.Sets = nil }, quant.Usage},
		"no value":         {func(o *pipeline.SweepOptions) { o.Sets = []string{"portfolio.top_k=1,"} }, quant.Usage},
		"a key twice":      {func(o *pipeline.SweepOptions) { o.Sets = append(o.Sets, "portfolio.top_k=3") }, quant.Usage},
		"a value twice":    {func(o *pipeline.SweepOptions) { o.Sets = []string{"portfolio.top_k=1,1"} }, quant.Usage},
		"one value of two": {func(o *pipeline.SweepOptions) { o.Sets = []string{"supervisor.max_weight_per_symbol=0.5,0.50"} }, quant.Usage},
		"its own name":     {func(o *pipeline.SweepOptions) { o.Sets = []string{"strategy_id=a,b"} }, quant.Usage},
		"an unknown key":   {func(o *pipeline.SweepOptions) { o.Sets = []string{"portfolio.topk=1"} }, quant.Invalid},
		"too many":         {func(o *pipeline.SweepOptions) { o.MaxTrials = 3 }, quant.Usage},
		"no trials":        {func(o *pipeline.SweepOptions) { o.MaxTrials = 0 }, quant.Usage},
		"days turned":      {func(o *pipeline.SweepOptions) { o.From, o.To = from, to }, quant.Usage},
		"no days":          {func(o *pipeline.SweepOptions) { o.Strategy = s.Write("d.yaml", strategyText(byFeature, "")) }, quant.Usage},
		"a trial itself": {func(o *pipeline.SweepOptions) {
			o.Strategy = s.Write("t.yaml", strings.Replace(strategyText(byFeature, days), "strategy_id: s", `strategy_id: "s#0123abcd"`, 1))
		}, quant.Invalid},
	} {
		o := pipeline.SweepOptions{Strategy: s.Write("s.yaml", strategyText(byFeature, days)), Sets: []string{"portfolio.top_k=1,2", "execution.lag_days=0,1"}, MaxTrials: 4}
		c.change(&o)
		if _, err := pipeline.Sweep(t.Context(), s.Session, r, o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if r.calls != nil {
			t.Errorf("%s: %q ran", name, r.calls)
		}
	}
}

func TestASweepThatFailsAlikeSaysItOnce(t *testing.T) {
	silent(t)
	s, o := sweptLab(t)
	o.Strategy = s.Write("nowhere.yaml", strings.Replace(strategyText(byFeature, days), "symbols: [A, B, C, D, E]", "symbols: [NOWHERE]", 1))
	said := len(s.Heard.All())
	var report pipeline.SweepReport
	_, err := s.Inside(t.Context(), session.Command{Kind: "sweep"}, func(ctx context.Context, inner *session.Session) (err error) {
		report, err = pipeline.Sweep(ctx, inner, pipeline.InProcess{Quiet: true, Unsaid: true}, o)
		return err
	})
	if err != nil || report.Failed != 4 || quant.CodeOf(report.Err()) != quant.Failed {
		t.Fatal(err, report.Failed, report.Err())
	}
	var failures []string
	for _, heard := range s.Heard.All()[said:] {
		if strings.Contains(heard, "no symbol of its universe has prices") {
			failures = append(failures, heard)
		}
	}
	if len(failures) != 1 || !strings.Contains(failures[0], report.Trials[0].StrategyID) {
		t.Errorf("said %q", failures)
	}
	for _, trial := range report.Trials {
		if !strings.Contains(string(trial.Error), trial.StrategyID) || report.Alike(trial) != report.Alike(report.Trials[0]) {
			t.Errorf("%+v", trial)
		}
	}
}
