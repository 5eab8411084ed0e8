package pipeline_test

import (
	"strings"
	"testing"

	"quant"
	"quant/internal/feature"
	"quant/internal/model"
	"quant/internal/pipeline"
	"quant/internal/session/sessiontest"
)

// trainedLab is a lab with labels, whose experiment e has a model that has scored,
// and the strategy file that names it by its alias.
func trainedLab(t *testing.T) (s *sessiontest.Session, first, file string) {
	t.Helper()
	s = sessiontest.Begin(t)
	experiment(t, s)
	ingest(t, s, s.Write("prices.csv", bars("A", "B", "C", "D", "E")))
	inside(t, s, pipeline.Features, pipeline.FeaturesOptions{Version: "v1"})
	inside(t, s, pipeline.Labels, pipeline.LabelsOptions{Version: feature.LabelVersion, Horizon: 5})
	return s, retrain(t, s, 1), s.Write("s.yaml", strategyText(byModel, days))
}

// retrain trains a model with a penalty, and scores with it.
func retrain(t *testing.T, s *sessiontest.Session, alpha float64) string {
	t.Helper()
	trained, _ := inside(t, s, pipeline.Train, pipeline.TrainOptions{Experiment: "e", Alphas: []float64{alpha}})
	inside(t, s, pipeline.Score, pipeline.ScoreOptions{Model: "experiment:e", From: *day("2023-06-01"), To: *day("2024-03-29"), InSample: model.SkipInSample})
	return trained.ModelID
}

// deflatedBy is the number of trials that the newest backtest is judged by.
func deflatedBy(t *testing.T, s *sessiontest.Session) int64 {
	t.Helper()
	sheet, err := pipeline.ReportBacktest(t.Context(), s.Session, pipeline.SheetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return sheet.Deflated.Trials
}

func TestATrialIsWhatWasDecidedAndNotHowItIsSpelled(t *testing.T) {
	t.Parallel()
	s, _, file := trainedLab(t)
	sweep := pipeline.SweepOptions{Strategy: file, Sets: []string{"portfolio.top_k=1,2", "execution.lag_days=0,1"}, MaxTrials: 4}
	trials := func(want int64) {
		t.Helper()
		report, err := pipeline.Sweep(t.Context(), s.Session, pipeline.InProcess{Quiet: true}, sweep)
		if err != nil || report.Err() != nil || report.Deflated.Trials != want {
			t.Fatalf("%+v trials, want %d; %v, %v", report.Deflated, want, err, report.Err())
		}
	}
	replay := func(text string, want int64, change func(*pipeline.RecommendOptions, *pipeline.BacktestOptions)) {
		t.Helper()
		file := s.Write("other.yaml", text)
		decide, test := pipeline.RecommendOptions{Strategy: file}, pipeline.BacktestOptions{Strategy: file}
		if change != nil {
			change(&decide, &test)
		}
		inside(t, s, pipeline.Recommend, decide)
		inside(t, s, pipeline.Backtest, test)
		if got := deflatedBy(t, s); got != want {
			t.Errorf("%d trials, want %d", got, want)
		}
	}
	text := strategyText(byModel, days)
	trials(4)
	trials(4)
	// The file as it is, top_k 2 at lag 0, is one of the four, however it is written.
	replay(text, 4, nil)
	shown, err := pipeline.ShowModel(t.Context(), s.Session, "experiment:e")
	if err != nil {
		t.Fatal(err)
	}
	replay(strings.NewReplacer("experiment:e", shown.ModelID, `version: "1"`, "# the same\nversion: \"2\"", "top_k: 2, weighting: equal", "weighting: equal, fill: none, top_k: 2.0",
		"fee_bps: 5", "initial_capital: 5000, benchmark: A, fee_bps: 5.0").Replace(text), 4, nil)
	replay(strings.Replace(text, "type: symbols, symbols: [A, B, C, D, E]", "type: all", 1), 4, nil)
	replay(strings.NewReplacer("fee_bps: 5", "fee_bps: 7, slippage_bps: 3").Replace(text), 4, func(_ *pipeline.RecommendOptions, test *pipeline.BacktestOptions) {
		fee, slippage := 5.0, 0.0
		test.FeeBPS, test.SlippageBPS = &fee, &slippage
	})
	replay(text, 4, func(decide *pipeline.RecommendOptions, test *pipeline.BacktestOptions) {
		decide.Set, test.Set = []string{"execution.lag_days=1"}, []string{"execution.lag_days=1"}
	})
	// Another fee, the file's or the flag's, is another.
	replay(strings.Replace(text, "fee_bps: 5", "fee_bps: 6", 1), 5, nil)
	replay(text, 5, func(_ *pipeline.RecommendOptions, test *pipeline.BacktestOptions) {
		fee := 6.0
		test.FeeBPS = &fee
	})
	// Another model decides otherwise under the same alias: four more.
	retrain(t, s, 1e6)
	trials(9)
	trials(9)
	// And so do other prices, of a day that the trials hold.
	list, err := pipeline.ListBacktests(t.Context(), s.Session, "")
	if err != nil {
		t.Fatal(err)
	}
	before := list[0].RunID
	sweep.Sets = []string{"portfolio.top_k=1"}
	prices := bars("A", "B", "C", "D", "E")
	lines := strings.Split(prices, "\n")
	for i, line := range lines {
		if day, _, _ := strings.Cut(line, ","); day == "2024-02-14" {
			at := strings.Split(line, ",")
			at[6] = at[4]
			lines[i] = strings.Join(append(at[:2:2], at[2], at[3], at[4], at[4], at[4], "1000"), ",")
		}
	}
	if stored, _ := ingest(t, s, s.Write("later.csv", strings.Join(lines, "\n"))); stored.RowsUpdated == 0 {
		t.Fatalf("%+v", stored)
	}
	trials(10)
	// As of before they are what they were.
	test := pipeline.BacktestOptions{Strategy: file, Set: []string{"portfolio.top_k=1"}, AsOf: before}
	inside(t, s, pipeline.Recommend, pipeline.RecommendOptions{Strategy: file, Set: []string{"portfolio.top_k=1"}})
	inside(t, s, pipeline.Backtest, test)
	if got := deflatedBy(t, s); got != 10 {
		t.Errorf("%d trials as of before", got)
	}
}

func TestASweepNamesItsTrialsByTheModelThatDecides(t *testing.T) {
	t.Parallel()
	s, first, file := trainedLab(t)
	sweep := func(sets ...string) pipeline.SweepReport {
		t.Helper()
		report, err := pipeline.Sweep(t.Context(), s.Session, pipeline.InProcess{Quiet: true}, pipeline.SweepOptions{Strategy: file, Sets: sets, MaxTrials: 4})
		if err != nil || report.Err() != nil {
			t.Fatal(err, report.Err())
		}
		return report
	}
	alias, model := sweep("portfolio.top_k=1"), sweep("portfolio.top_k=1", "signal.inputs.model_id="+first)
	if alias.Trials[0].StrategyID != model.Trials[0].StrategyID || !s.Heard.Has("experiment:e is "+first) {
		t.Errorf("%s and %s", alias.Trials[0].StrategyID, model.Trials[0].StrategyID)
	}
	if _, err := pipeline.Sweep(t.Context(), s.Session, pipeline.InProcess{Quiet: true}, pipeline.SweepOptions{
		Strategy: file, Sets: []string{"signal.inputs.model_id=experiment:e," + first}, MaxTrials: 4,
	}); quant.CodeOf(err) != quant.Usage || !strings.Contains(err.Error(), "means the same as") {
		t.Errorf("an alias and its model: %v", err)
	}
	retrain(t, s, 1e6)
	if again := sweep("portfolio.top_k=1"); again.Trials[0].StrategyID == alias.Trials[0].StrategyID {
		t.Errorf("another model decides under the same name %s", again.Trials[0].StrategyID)
	}
	if run := s.Recorded(string(alias.Trials[0].RunID)); run.Params["model_id"] != first {
		t.Errorf("recorded %v", run.Params)
	}
}

func TestARecordedRunIsRepeatedWithTheModelThatItTook(t *testing.T) {
	t.Parallel()
	s, first, file := trainedLab(t)
	_, scored := inside(t, s, pipeline.Score, pipeline.ScoreOptions{Model: "experiment:e", From: *day("2023-06-01"), To: *day("2024-03-29"), InSample: model.SkipInSample})
	_, decided := inside(t, s, pipeline.Recommend, pipeline.RecommendOptions{Strategy: file})
	_, tested := inside(t, s, pipeline.Backtest, pipeline.BacktestOptions{Strategy: file})
	_, chain := mustRunChain(t, s, pipeline.InProcess{}, pipeline.RunOptions{Force: true, Arguments: pipeline.Arguments{
		Strategy: file, Stages: []pipeline.Stage{pipeline.StageScore, pipeline.StageRecommend, pipeline.StageBacktest},
	}})
	repeat := func(second string, notice bool) {
		t.Helper()
		for _, run := range []sessiontest.Recorded{scored, decided, tested, chain} {
			said := len(s.Heard.All())
			repeated, err := pipeline.Repeat(t.Context(), s.Session, pipeline.InProcess{}, run.RunID)
			if err != nil || !repeated.Same {
				t.Errorf("%s: %v, %v", run.Kind, err, repeated.Err())
			}
			heard := strings.Join(s.Heard.All()[said:], "\n")
			if want := "experiment:e was " + first + " for run " + quant.ShortID(run.RunID) + ", and is " + second + " now"; strings.Contains(heard, want) != notice {
				t.Errorf("%s said %q", run.Kind, heard)
			}
		}
	}
	repeat(first, false)
	second := retrain(t, s, 1e6)
	repeat(second, true)

	// The decisions stand as they are, and are replayed: with the model that decided.
	for _, asOf := range []string{"", tested.RunID} {
		again, run := inside(t, s, pipeline.Backtest, pipeline.BacktestOptions{Strategy: file, AsOf: asOf})
		if again.Sharpe == nil || run.Params["model_id"] != first || !s.Heard.Has("experiment:e was "+first+" when it decided, and is "+second+" now") {
			t.Errorf("as of %q: %v, %q", asOf, run.Params, s.Heard.All())
		}
	}
	if got := deflatedBy(t, s); got != 1 {
		t.Errorf("%d trials", got)
	}

	// One day with the other model: the first is named, and the two are no one book.
	report, _ := inside(t, s, pipeline.Recommend, pipeline.RecommendOptions{Strategy: file, Asof: day("2024-03-29")})
	if notices := strings.Join(report.Notices, "\n"); !strings.Contains(notices, "was made with "+first+", and this one is made with "+second) {
		t.Errorf("it said %q", notices)
	}
	_, err := pipeline.Backtest(t.Context(), s.Session, pipeline.BacktestOptions{Strategy: file})
	if quant.CodeOf(err) != quant.Refused || !strings.Contains(err.Error(), "were made with another model than "+second+": with "+first+" on ") || !strings.Contains(quant.HintOf(err), "signal.inputs.model_id=MODEL") {
		t.Errorf("two models: %v", err)
	}
	// All of them with the other model, which is said.
	report, _ = inside(t, s, pipeline.Recommend, pipeline.RecommendOptions{Strategy: file})
	if notices := strings.Join(report.Notices, "\n"); !strings.Contains(notices, "with "+first+" in the range: those with "+second+" take their place") {
		t.Errorf("it said %q", notices)
	}
	if _, run := inside(t, s, pipeline.Backtest, pipeline.BacktestOptions{Strategy: file}); run.Params["model_id"] != second {
		t.Errorf("recorded %v", run.Params)
	}
	// A file that was changed is still told so, and an explicit model is what it says.
	changed := s.Write("changed.yaml", strings.Replace(strategyText(byModel, days), "top_k: 2", "top_k: 1", 1))
	if _, err := pipeline.Backtest(t.Context(), s.Session, pipeline.BacktestOptions{Strategy: changed}); quant.CodeOf(err) != quant.Refused || !strings.Contains(err.Error(), "the file has changed since it decided") {
		t.Errorf("a changed file: %v", err)
	}
	if _, err := pipeline.Backtest(t.Context(), s.Session, pipeline.BacktestOptions{Strategy: file, Set: []string{"signal.inputs.model_id=" + first}}); !strings.Contains(err.Error(), "with another model than "+first) {
		t.Errorf("another model: %v", err)
	}
}
