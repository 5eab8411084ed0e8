package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/curator"
	"quant/internal/feature"
	"quant/internal/model"
	"quant/internal/pipeline"
	"quant/internal/session"
	"quant/internal/session/sessiontest"
)

// bars are daily prices of symbols as a CSV file: every working day of a year and
// a half, each symbol on a wave of its own.
func bars(symbols ...string) string {
	var b strings.Builder
	b.WriteString("date,symbol,open,high,low,close,adjusted_close,volume\n")
	for day, n := time.Date(2023, 1, 2, 0, 0, 0, 0, time.UTC), 0; n < 390; day = day.AddDate(0, 0, 1) {
		if day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
			continue
		}
		for k, symbol := range symbols {
			c := 100 * (1 + 0.2*math.Sin(float64(n)/float64(9+4*k)) + 0.0005*float64(n*(k+1)))
			fmt.Fprintf(&b, "%s,%s,%.4f,%.4f,%.4f,%.4f,%.4f,1000\n", day.Format(time.DateOnly), symbol, c, c*1.01, c*0.99, c, c)
		}
		n++
	}
	return b.String()
}

// strategyText is a strategy that ranks by a signal, with the days of its backtest.
func strategyText(by, days string) string {
	return `strategy_id: s
version: "1"
universe: {type: symbols, symbols: [A, B, C, D, E]}
signal: ` + by + `
rebalance: {frequency: weekly, asof_policy: close}
portfolio: {top_k: 2, weighting: equal}
supervisor: {max_weight_per_symbol: 0.5, turnover_cap: 1}
backtest: {` + days + `fee_bps: 5}
`
}

const (
	byFeature = "{type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}"
	byModel   = "{type: model_score, inputs: {model_id: \"experiment:e\", task_id: wf}}"
)

// inside runs a stage as a run of its own and returns its report and its record.
// The record must be closed as SUCCESS, with the config of the stage's command.
func inside[O interface{ Command() session.Command }, R any](t *testing.T, s *sessiontest.Session, stage func(context.Context, *session.Session, O) (R, error), o O) (report R, run sessiontest.Recorded) {
	t.Helper()
	id, err := s.Inside(t.Context(), o.Command(), func(ctx context.Context, inner *session.Session) error {
		var err error
		report, err = stage(ctx, inner, o)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", o.Command().Kind, err)
	}
	run = s.Recorded(id)
	if run.Status != quant.Success || run.Kind != o.Command().Kind || string(run.Process.ParentRunID) != s.RunID() {
		t.Errorf("%s is recorded as %s, %s", o.Command().Kind, run.Kind, run.Status)
	}
	return report, run
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func ingest(t *testing.T, s *sessiontest.Session, files ...string) (*pipeline.IngestReport, sessiontest.Recorded) {
	t.Helper()
	return inside(t, s, pipeline.Ingest, pipeline.IngestOptions{Files: files, Gate: pipeline.Gate{MaxRejectRatio: pipeline.DefaultMaxRejectRatio}})
}

// Not parallel: the process's own output is looked at.
func TestEveryStageRunsInProcessAndPrintsNothing(t *testing.T) {
	printed, err := os.Create(filepath.Join(t.TempDir(), "printed"))
	if err != nil {
		t.Fatal(err)
	}
	defer printed.Close()
	out, errs := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = printed, printed
	defer func() { os.Stdout, os.Stderr = out, errs }()

	s := sessiontest.Begin(t)
	prices := s.Write("prices.csv", bars("A", "B", "C", "D", "E"))
	stored, run := ingest(t, s, prices)
	if stored.RowsInserted != 5*390 || len(stored.SymbolsAdded) != 5 || stored.Refused {
		t.Errorf("ingest: %+v", stored.Report)
	}
	same(t, "ingest read", run.Names(quant.In), []string{"file " + prices})
	same(t, "ingest wrote", run.Names(quant.Out), []string{"table ohlcv", "meta symbols"})
	wrote := "run " + run.RunID

	features, run := inside(t, s, pipeline.Features, pipeline.FeaturesOptions{Version: "v1"})
	if features.Symbols != 5 || features.Computed != 5 || features.Basis != "adjusted" {
		t.Errorf("features: %+v", features)
	}
	same(t, "features read", run.Names(quant.In), []string{"table ohlcv", wrote})
	same(t, "features wrote", run.Names(quant.Out), []string{"table features_daily", "table returns"})
	featured := "run " + run.RunID

	labels, run := inside(t, s, pipeline.Labels, pipeline.LabelsOptions{Version: feature.LabelVersion, Horizon: 5})
	if labels.Computed != 5 {
		t.Errorf("labels: %+v", labels)
	}
	same(t, "labels read", run.Names(quant.In), []string{"table ohlcv", wrote})
	same(t, "labels wrote", run.Names(quant.Out), []string{"table labels"})
	labelled := "run " + run.RunID

	svg := filepath.Join(t.TempDir(), "factor.svg")
	judged, err := pipeline.Factor(t.Context(), s.Session, pipeline.FactorOptions{FactorRequest: feature.FactorRequest{Feature: "ret_20d", Label: "fwd_ret_5d", Quantiles: 2}, SVG: svg})
	if err != nil || judged.Pairs == 0 {
		t.Errorf("factor: %d pairs, %v", judged.Pairs, err)
	}
	if drawn, err := os.ReadFile(svg); err != nil || !strings.HasPrefix(string(drawn), "<svg ") {
		t.Errorf("factor drew %q, %v", drawn, err)
	}
	if _, err := pipeline.Factor(t.Context(), s.Session, pipeline.FactorOptions{FactorRequest: feature.FactorRequest{Feature: "ret_20d", Label: "fwd_ret_5d", Quantiles: 2}, SVG: svg}); !errors.Is(err, quant.Conflict) {
		t.Errorf("factor over its drawing: %v", err)
	}

	experiment := pipeline.ExperimentOptions{ID: "e", Features: "ret_20d@v1,vol_20d@v1", Label: "fwd_ret_5d@v1", Folds: 3, MinTrain: 60}
	for _, change := range []string{"created", "unchanged"} {
		created, err := pipeline.CreateExperiment(t.Context(), s.Session, experiment)
		if err != nil || created.Change != change {
			t.Fatalf("%s: %+v, %v", change, created, err)
		}
	}
	trained, run := inside(t, s, pipeline.Train, pipeline.TrainOptions{Experiment: "e", Alphas: []float64{1, 10}})
	if trained.Change != "created" || trained.Algo != model.Ridge || len(trained.Metrics.Folds) != 3 {
		t.Errorf("train: %+v", trained)
	}
	same(t, "train read", run.Names(quant.In), []string{"table features_daily:ret_20d@v1", "table features_daily:vol_20d@v1", "table labels:fwd_ret_5d@v1", featured, labelled})
	same(t, "train wrote", run.Names(quant.Out), []string{"meta models", "model " + trained.ModelID})
	if run.Params["alphas"] != "1,10" || run.Params["folds"] != "3" || run.Metrics["alpha"] != trained.Alpha {
		t.Errorf("train is recorded with %v, %v", run.Params, run.Metrics)
	}
	shown, err := pipeline.ShowModel(t.Context(), s.Session, "experiment:e")
	if err != nil || shown.ModelID != trained.ModelID || len(shown.Coefficients) != 2 {
		t.Errorf("show: %+v, %v", shown, err)
	}

	from, to := day("2024-01-02"), day("2024-05-31")
	scored, run := inside(t, s, pipeline.Score, pipeline.ScoreOptions{Model: trained.ModelID, From: *from, To: *to})
	if scored.Inserted != scored.Rows || scored.Rows == 0 {
		t.Errorf("score: %+v", scored)
	}
	if read := run.Names(quant.In); !slices.Contains(read, featured) || !slices.Contains(read, "file "+trained.File) {
		t.Errorf("score read %q", read)
	}
	same(t, "score wrote", run.Names(quant.Out), []string{"table predictions"})

	file := s.Write("s.yaml", strategyText(byModel, ""))
	recommended, run := inside(t, s, pipeline.Recommend, pipeline.RecommendOptions{Strategy: file, From: from, To: to, Set: []string{"portfolio.top_k=3"}})
	if recommended.Decisions < 15 || recommended.Changed != recommended.Decisions {
		t.Errorf("recommend: %+v", recommended)
	}
	if read := run.Names(quant.In); !slices.Contains(read, "file "+file) || !slices.Contains(read, wrote) {
		t.Errorf("recommend read %q", read)
	}
	same(t, "recommend wrote", run.Names(quant.Out), []string{"table proposals", "table target_sets", "table targets"})
	if run.Params["top_k"] != "3" || run.Params["model_id"] != trained.ModelID {
		t.Errorf("recommend is recorded with %v", run.Params)
	}
	if !s.Heard.Has("experiment:e is " + trained.ModelID) {
		t.Errorf("it said %q", s.Heard.All())
	}

	lag := 1
	replay := pipeline.BacktestOptions{Strategy: file, From: from, To: to, Set: []string{"portfolio.top_k=3"}, Lag: &lag}
	tested, run := inside(t, s, pipeline.Backtest, replay)
	if tested.RunID != run.RunID || tested.LagDays != 1 || tested.FeeBps != 5 || tested.Metrics.Returns == 0 {
		t.Errorf("backtest: %+v", tested.Summary)
	}
	if tested.Sharpe == nil || run.Metrics["sharpe"] != *tested.Sharpe || run.Params["lag_days"] != "1" {
		t.Errorf("backtest is recorded with %v, %v", run.Params, run.Metrics)
	}
	replay.AsOf = run.RunID
	again, _ := inside(t, s, pipeline.Backtest, replay)
	if again.ResultDigest != tested.ResultDigest || again.PricesAt.IsZero() {
		t.Errorf("as of %s: %s, not %s", run.RunID, again.ResultDigest, tested.ResultDigest)
	}

	listed, err := pipeline.ListBacktests(t.Context(), s.Session, "s")
	if err != nil || len(listed) != 2 || listed[0].RunID != again.RunID || listed[1].ResultDigest != tested.ResultDigest {
		t.Errorf("list: %+v, %v", listed, err)
	}
	compared, err := pipeline.CompareBacktests(t.Context(), s.Session, []string{tested.RunID, again.RunID})
	if err != nil || len(compared.Backtests) != 2 {
		t.Fatalf("compare: %+v, %v", compared, err)
	}
	for _, line := range compared.Lines {
		if !line.Same {
			t.Errorf("compare: %+v", line)
		}
	}
	sheet, err := pipeline.ReportBacktest(t.Context(), s.Session, pipeline.SheetOptions{PNG: filepath.Join(t.TempDir(), "s.png")})
	if err != nil || sheet.RunID != again.RunID || len(sheet.Files) != 2 || sheet.Files[0].Path != filepath.Join(s.ReportDir(), again.RunID+".html") || sheet.Chart(80) == nil {
		t.Fatalf("report: %+v, %v", sheet, err)
	}
	for _, file := range sheet.Files {
		if info, err := os.Stat(file.Path); err != nil || info.Size() != file.Bytes {
			t.Errorf("%+v: %v", file, err)
		}
	}
	taken := pipeline.SheetOptions{Run: tested.RunID, PNG: sheet.Files[1].Path}
	if _, err := pipeline.ReportBacktest(t.Context(), s.Session, taken); !errors.Is(err, quant.Conflict) {
		t.Errorf("over another report: %v", err)
	}
	taken.Force = true
	if _, err := pipeline.ReportBacktest(t.Context(), s.Session, taken); err != nil {
		t.Errorf("over another report, by force: %v", err)
	}

	if at, err := printed.Seek(0, 1); err != nil || at != 0 {
		text, _ := os.ReadFile(printed.Name())
		t.Errorf("it printed %q, %v", text, err)
	}
}

func TestAStageInsideIsRecordedLikeOneTypedByHand(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	s.Settle("data", time.Second, 0, map[string]string{"QUANT_CALENDAR": "data"}, map[string]string{"output": "table"})
	path := s.Write("prices.csv", bars("A"))
	_, run := ingest(t, s, path)
	want := `{"args":["` + path + `"],"argv":["quant","ingest","--","` + path + `"],"flags":{"base-url":"","close-only":"false","date":"","date-format":"","decimal":"","encoding":"utf-8","full":"false","layout":"auto",` +
		`"map":"[]","max-reject-ratio":"0.01","no-cache":"false","no-header":"false","output":"table","overlap":"5","per-minute":"5","provider":"","retries":"3","sheet":"","symbol":"","symbols":"[]","timeout":"30s","timezone":"","volume-missing":"reject"},` +
		`"settings":{"QUANT_CALENDAR":"data"}}`
	if string(run.ConfigJSON) != want {
		t.Errorf("config %s\nwant   %s", run.ConfigJSON, want)
	}
}

func TestAnIngestThatIsRefusedReportsWhatWasWrong(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	path := s.Write("prices.csv", "date,symbol,open,high,low,close,volume\n2024-01-02,A,1,1,1,1,1\n2024-01-03,A,1,1,1,-1,1\n2024-01-04,A,100,100,100,100,1\n")
	o := pipeline.IngestOptions{Files: []string{path}}
	var progress, shown int
	o.Progress, o.Shown = func(curator.Progress) { progress++ }, func() { shown++ }
	report, err := pipeline.Ingest(t.Context(), s.Session, o)
	if !errors.Is(err, quant.Refused) || report == nil || !report.Refused || report.RowsRejected != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if shown != 1 || progress == 0 {
		t.Errorf("progress was told %d times, its end %d times", progress, shown)
	}
	if report, err := pipeline.Ingest(t.Context(), s.Session, pipeline.IngestOptions{Files: []string{path + "x"}}); !errors.Is(err, quant.NotFound) || report != nil {
		t.Errorf("a missing file: %+v, %v", report, err)
	}
	o.MaxRejectRatio, o.Progress, o.Shown = 1, nil, nil
	if report, err := pipeline.Ingest(t.Context(), s.Session, o); err != nil || report.RowsInserted != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	if !s.Heard.Has("data check:") {
		t.Errorf("nothing was said of the stored prices: %q", s.Heard.All())
	}
}

func TestAProviderIsNotAskedWithOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	for name, change := range map[string]func(*pipeline.FetchOptions){
		"provider": func(o *pipeline.FetchOptions) { o.Provider = "yahoo" },
		"overlap":  func(o *pipeline.FetchOptions) { o.Overlap = -1 },
		"timeout":  func(o *pipeline.FetchOptions) { o.Timeout = 0 },
		"nothing":  func(o *pipeline.FetchOptions) { o.Symbols = []string{} },
		"symbol":   func(o *pipeline.FetchOptions) { o.Symbols = []string{"A B"} },
		"ratio":    func(o *pipeline.FetchOptions) { o.MaxRejectRatio = 2 },
		"all":      func(o *pipeline.FetchOptions) { o.Key = "key" }, // there are no active symbols
	} {
		o := pipeline.DefaultFetch("alphavantage")
		change(&o)
		if report, err := pipeline.Fetch(t.Context(), s.Session, o); !errors.Is(err, quant.Usage) && !errors.Is(err, quant.Invalid) || report != nil {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
}

func TestRecommendTakesTheDaysOfTheStrategyFile(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	ingest(t, s, s.Write("prices.csv", bars("A", "B", "C", "D", "E")))
	inside(t, s, pipeline.Features, pipeline.FeaturesOptions{Version: "v1"})
	decide := func(days string, change func(*pipeline.RecommendOptions)) (pipeline.Recommendation, error) {
		o := pipeline.RecommendOptions{Strategy: s.Write("s.yaml", strategyText(byFeature, days))}
		change(&o)
		return pipeline.Recommend(t.Context(), s.Session, o)
	}
	nothing := func(*pipeline.RecommendOptions) {}
	for _, c := range []struct {
		name, days  string
		change      func(*pipeline.RecommendOptions)
		first, last string
	}{
		{"the file's", `from: "2024-02-01", to: "2024-03-01", `, nothing, "2024-02-02", "2024-03-01"},
		{"no end", `from: "2024-02-01", `, nothing, "2024-02-02", "2024-06-21"},
		{"another end", `from: "2024-02-01", to: "2024-03-01", `, func(o *pipeline.RecommendOptions) { o.To = day("2024-02-10") }, "2024-02-02", "2024-02-09"},
		{"a start of its own", `from: "2024-02-01", to: "2024-03-01", `, func(o *pipeline.RecommendOptions) { o.From = day("2024-06-01") }, "2024-06-07", "2024-06-21"},
		{"one day", `from: "2024-02-01", to: "2024-03-01", `, func(o *pipeline.RecommendOptions) { o.Asof = day("2024-04-03") }, "2024-04-03", "2024-04-03"},
	} {
		report, err := decide(c.days, c.change)
		if err != nil || report.From.String() != c.first || report.To.String() != c.last {
			t.Errorf("%s: %s to %s, %v", c.name, report.From, report.To, err)
		}
	}
	for name, change := range map[string]func(*pipeline.RecommendOptions){
		"no day":        nothing,
		"an end alone":  func(o *pipeline.RecommendOptions) { o.To = day("2024-02-10") },
		"two ways":      func(o *pipeline.RecommendOptions) { o.Asof, o.From = day("2024-02-10"), day("2024-02-10") },
		"the wrong way": func(o *pipeline.RecommendOptions) { o.From, o.To = day("2024-02-10"), day("2024-02-01") },
		"no file":       func(o *pipeline.RecommendOptions) { o.Strategy = "" },
	} {
		if _, err := decide("", change); !errors.Is(err, quant.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decide(`from: "2024-02-01", `, func(o *pipeline.RecommendOptions) { o.To = day("2024-01-10") }); !errors.Is(err, quant.Usage) {
		t.Errorf("an end before the file's start: %v", err)
	}
}

func TestAStageSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	ctx := t.Context()
	for name, c := range map[string]struct {
		run  func() error
		code error
	}{
		"version": {func() error {
			_, err := pipeline.Features(ctx, s.Session, pipeline.FeaturesOptions{Version: "v0"})
			return err
		}, quant.Invalid},
		"horizon": {func() error {
			_, err := pipeline.Labels(ctx, s.Session, pipeline.LabelsOptions{Version: "v1"})
			return err
		}, quant.Invalid},
		"experiment": {func() error {
			_, err := pipeline.Train(ctx, s.Session, pipeline.TrainOptions{Experiment: "e"})
			return err
		}, quant.NotFound},
		"no name": {func() error { _, err := pipeline.Train(ctx, s.Session, pipeline.TrainOptions{}); return err }, quant.Usage},
		"model":   {func() error { _, err := pipeline.Score(ctx, s.Session, pipeline.ScoreOptions{Model: "m"}); return err }, quant.NotFound},
		"range": {func() error {
			_, err := pipeline.Score(ctx, s.Session, pipeline.ScoreOptions{Model: "m", From: 2, To: 1})
			return err
		}, quant.Usage},
		"file": {func() error {
			_, err := pipeline.Backtest(ctx, s.Session, pipeline.BacktestOptions{Strategy: filepath.Join(t.TempDir(), "s.yaml")})
			return err
		}, quant.NotFound},
		"no file": {func() error { _, err := pipeline.Backtest(ctx, s.Session, pipeline.BacktestOptions{}); return err }, quant.Usage},
		"no days": {func() error {
			_, err := pipeline.Backtest(ctx, s.Session, pipeline.BacktestOptions{Strategy: s.Write("days.yaml", strategyText(byFeature, ""))})
			return err
		}, quant.Usage},
		"in sample": {func() error {
			_, err := pipeline.Backtest(ctx, s.Session, pipeline.BacktestOptions{Strategy: s.Write("in.yaml", strategyText("{type: model_score, inputs: {model_id: m, task_id: in_sample}}", `from: "2024-01-02", to: "2024-02-01", `))})
			return err
		}, quant.Refused},
		"price level": {func() error {
			_, err := pipeline.CreateExperiment(ctx, s.Session, pipeline.ExperimentOptions{ID: "x", Features: "atr_14@v2", Label: "fwd_ret_5d@v1", Folds: 3, MinTrain: 60})
			return err
		}, quant.Refused},
		"embargo": {func() error {
			_, err := pipeline.CreateExperiment(ctx, s.Session, pipeline.ExperimentOptions{ID: "x", Features: "ret_5d@v1", Label: "fwd_ret_5d@v1", Folds: 3, MinTrain: 60, Embargo: new(-2)})
			return err
		}, quant.Usage},
	} {
		if err := c.run(); !errors.Is(err, c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDataIsCheckedAndShownBySymbol(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	_, stored := ingest(t, s, s.Write("prices.csv", bars("A", "B")))
	if _, err := s.Meta.EnsureSymbols(t.Context(), []string{"C"}); err != nil {
		t.Fatal(err)
	}
	checked, err := pipeline.CheckData(t.Context(), s.Session, curator.DefaultQuality())
	if err != nil || checked.Symbols != 2 || checked.Bars != 2*390 {
		t.Errorf("check: %+v, %v", checked, err)
	}
	all, err := pipeline.DataStatus(t.Context(), s.Session, nil)
	if err != nil || len(all) != 3 || all[0].Symbol != "A" || all[0].Bars != 390 || all[2].Bars != 0 || string(all[0].RunID) != stored.RunID {
		t.Errorf("status: %+v, %v", all, err)
	}
	if one, err := pipeline.DataStatus(t.Context(), s.Session, []string{"B", "B"}); err != nil || len(one) != 1 {
		t.Errorf("status of B: %+v, %v", one, err)
	}
	if _, err := pipeline.DataStatus(t.Context(), s.Session, []string{"Z"}); !errors.Is(err, quant.NotFound) {
		t.Errorf("status of Z: %v", err)
	}
	if _, err := pipeline.CheckData(t.Context(), s.Session, curator.QualityRequest{Symbols: []string{"no symbol"}}); err == nil {
		t.Error("a check of what is no symbol")
	}
}

func TestPricesAreShownAsTheyAreAndAsARunSawThem(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	line := func(close string) string {
		return "date,symbol,open,high,low,close,volume\n2024-01-02,A,1,9,1," + close + ",1\n2024-01-03,A,1,9,1,3,1\n2024-01-03,B,1,9,1,4,1\n"
	}
	_, first := ingest(t, s, s.Write("prices.csv", line("2")))
	ingest(t, s, s.Write("prices.csv", line("5")))
	closes := func(o pipeline.PricesOptions) (list []float64) {
		t.Helper()
		found, err := pipeline.Prices(t.Context(), s.Session, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, bar := range found {
			list = append(list, *bar.Close)
		}
		return list
	}
	if got := closes(pipeline.PricesOptions{Symbols: []string{"B", "A", "A", "C"}}); !slices.Equal(got, []float64{5, 3, 4}) {
		t.Errorf("now: %v", got)
	}
	if !s.Heard.Has("no bars of C") {
		t.Errorf("it said %q", s.Heard.All())
	}
	if got := closes(pipeline.PricesOptions{Symbols: []string{"A"}, AsOf: &first.RunID}); !slices.Equal(got, []float64{2, 3}) {
		t.Errorf("as of %s: %v", first.RunID, got)
	}
	if got := closes(pipeline.PricesOptions{Symbols: []string{"A"}, From: day("2024-01-03"), To: day("2024-01-03")}); !slices.Equal(got, []float64{3}) {
		t.Errorf("one day: %v", got)
	}
	for name, c := range map[string]struct {
		o    pipeline.PricesOptions
		want error
	}{
		"none":     {pipeline.PricesOptions{Symbols: []string{"C"}}, quant.NotFound},
		"no run":   {pipeline.PricesOptions{Symbols: []string{"A"}, AsOf: new("00000000")}, quant.NotFound},
		"no name":  {pipeline.PricesOptions{Symbols: []string{""}}, quant.Usage},
		"backward": {pipeline.PricesOptions{Symbols: []string{"A"}, From: day("2024-01-03"), To: day("2024-01-02")}, quant.Usage},
	} {
		if _, err := pipeline.Prices(t.Context(), s.Session, c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
