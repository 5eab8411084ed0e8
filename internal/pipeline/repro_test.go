package pipeline_test

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/pipeline"
	"quant/internal/session"
)

func TestStagesAreRepeatedInACopyOfTheLabInProcess(t *testing.T) {
	silent(t)
	s, _, report := ranLab(t, byModel)
	before, err := s.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true})
	if err != nil {
		t.Fatal(err)
	}
	refs := []string{report.RunID} // all stages, and three of them by themselves
	for _, stage := range report.Stages {
		switch stage.Stage {
		case pipeline.StageTrain, pipeline.StageScore, pipeline.StageBacktest:
			refs = append(refs, string(stage.RunID))
		}
	}
	for _, ref := range refs {
		said := len(s.Heard.All())
		repeated, err := pipeline.Repeat(t.Context(), s.Session, pipeline.InProcess{}, ref)
		if err != nil || !repeated.Same || repeated.Err() != nil || !repeated.Program.Same || repeated.RunID != ref {
			t.Fatalf("%s: %+v, %v", repeated.Kind, repeated, err)
		}
		outputs := map[string]bool{}
		for _, c := range repeated.Comparisons {
			if c.Direction == quant.Out {
				outputs[c.Stage] = true
			}
		}
		want := 1
		if repeated.Kind == pipeline.RunKind {
			want = 6 // ingest stores prices, whose digest is that of the file
		}
		if len(outputs) != want {
			t.Errorf("%s compares outputs of %v", repeated.Kind, outputs)
		}
		for _, heard := range s.Heard.All()[said:] {
			if strings.HasPrefix(heard, "notice: ") {
				t.Errorf("it said %q", heard)
			}
		}
	}
	after, err := s.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true})
	if err != nil || len(after) != len(before) {
		t.Errorf("%d runs, and %d before; %v", len(after), len(before), err)
	}
	if _, err := os.Stat(s.ScratchDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is left: %v", err)
	}
}

func TestARepetitionReadsThePricesThatTheRunRead(t *testing.T) {
	t.Parallel()
	s, o, report := ranLab(t, byFeature)
	later := s.Write("later.csv", strings.ReplaceAll(bars("A", "B", "C", "D", "E"), ",1000\n", ",2000\n"))
	if stored, _ := ingest(t, s, later); stored.RowsUpdated == 0 {
		t.Fatalf("%+v", stored)
	}
	features := string(report.Stages[1].RunID)
	repeated, err := pipeline.Repeat(t.Context(), s.Session, pipeline.InProcess{}, features)
	if err != nil || !repeated.Same || !s.Heard.Has("prices have changed since run "+quant.ShortID(features)) {
		t.Errorf("%+v, %v", repeated, err)
	}

	s.Write("s.yaml", strategyText(byFeature, days)+"\n")
	repeated, err = pipeline.Repeat(t.Context(), s.Session, pipeline.InProcess{}, report.Backtest.RunID)
	if err != nil || repeated.Same || len(repeated.Comparisons) != 1 || repeated.Comparisons[0].Object != "file "+o.Strategy || repeated.Comparisons[0].Now == "" {
		t.Fatalf("%+v, %v", repeated, err)
	}
	if err := repeated.Err(); !errors.Is(err, quant.Refused) || !strings.Contains(err.Error(), "(input of backtest)") {
		t.Error(err)
	}
	if err := os.Remove(o.Strategy); err != nil {
		t.Fatal(err)
	}
	repeated, err = pipeline.Repeat(t.Context(), s.Session, pipeline.InProcess{}, report.RunID)
	if err != nil || repeated.Same || repeated.Comparisons[0].Now != "" {
		t.Errorf("%+v, %v", repeated, err)
	}
}

func TestARepetitionThatFailsOrDiffersIsNoSuccess(t *testing.T) {
	t.Parallel()
	s, _, report := ranLab(t, byFeature, pipeline.StageIngest, pipeline.StageFeatures, pipeline.StageLabels)
	labels := string(report.Stages[2].RunID)
	failing := runnerFunc(func(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
		return s.Inside(ctx, call.Command(), func(context.Context, *session.Session) error { return quant.Errorf(quant.Store, "no such luck") })
	})
	if _, err := pipeline.Repeat(t.Context(), s.Session, failing, labels); !errors.Is(err, quant.Refused) ||
		!strings.Contains(err.Error(), "failed this time: labels --label-version v1 --horizon 60") || !s.Heard.Has("failed: no such luck") {
		t.Errorf("%v", err)
	}
	// It computes something else.
	other := runnerFunc(func(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
		o := call.(pipeline.LabelsOptions)
		o.Symbols = []string{"A"}
		return pipeline.InProcess{}.Run(ctx, s, o, notes)
	})
	repeated, err := pipeline.Repeat(t.Context(), s.Session, other, labels)
	if err != nil || repeated.Same || !errors.Is(repeated.Err(), quant.Refused) || !strings.Contains(repeated.Err().Error(), "table labels (output of labels)") {
		t.Errorf("%+v, %v", repeated, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	told := runnerFunc(func(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
		cancel(quant.Signalled{Number: 15, Name: "SIGTERM"})
		return pipeline.InProcess{}.Run(ctx, s, call, notes)
	})
	if _, err := pipeline.Repeat(ctx, s.Session, told, labels); err == nil || !errors.Is(err, context.Cause(ctx)) {
		t.Errorf("told to end: %v", err)
	}
	if _, err := os.Stat(s.ScratchDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy is left: %v", err)
	}
	for ref, want := range map[string]error{string(report.Stages[0].RunID): quant.Refused, s.RunID(): quant.Refused, "0000abcd": quant.NotFound} {
		if _, err := pipeline.Repeat(t.Context(), s.Session, failing, ref); !errors.Is(err, want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if err := os.Remove(s.PlanFile(report.RunID)); err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.Repeat(t.Context(), s.Session, failing, report.RunID); !errors.Is(err, quant.NotFound) {
		t.Errorf("without its plan: %v", err)
	}
}

// finished is a run that succeeded, with its record. Flags that are not given stand
// with their defaults, as every program has recorded them.
func finished(kind, argv, flags string) metastore.RunDetail {
	return metastore.RunDetail{
		Run: quant.Run{
			RunID: "019bc0de-0001-7000-8000-000000000001", Kind: kind, Status: quant.Success,
			ConfigJSON: quant.JSON(`{"args":[],"argv":` + argv + `,"flags":` + flags + `,"settings":{}}`),
		},
		Process: quant.RunProcess{Argv: quant.JSON(argv)},
	}
}

const globals = `["quant","--data-dir","./data","--sqlite","data/meta.db","--duckdb","data/quant.duckdb","--log-level","info","--wait","30s","--output","json","--quiet",`

func TestAStageIsAskedAgainForWhatItsRecordSays(t *testing.T) {
	t.Parallel()
	from, to := day("2009-01-01"), day("2012-12-31")
	lag, fee, none := 0, 2.5, "none"
	shared := `"no-color":"false","output":"json","quiet":"true","wait":"30s"}`
	for name, c := range map[string]struct {
		run  metastore.RunDetail
		want pipeline.Call
	}{
		"features, as a pipeline once ran them": {
			finished("features", globals+`"features","--feature-version","v1","--symbols","AAPL,FB"]`, `{"accept-raw":"false","feature-version":"v1","force":"false","symbols":"AAPL,FB",`+shared),
			pipeline.FeaturesOptions{Version: "v1", Symbols: []string{"AAPL", "FB"}},
		},
		"labels": {
			finished("labels", `["quant","--data-dir","d","-q","labels","--output=json","--accept-raw","--wait","1s"]`, `{"accept-raw":"true","force":"false","horizon":"60","label-version":"v1","symbols":"",`+shared),
			pipeline.LabelsOptions{Version: "v1", Horizon: 60, AcceptRaw: true},
		},
		"train": {
			finished("train", `["quant","train","--experiment","momentum"]`, `{"algo":"","experiment":"momentum","param":"[]",`+shared),
			pipeline.TrainOptions{Experiment: "momentum"},
		},
		"train with parameters": {
			finished("train", `["quant","train","--experiment","m","--algo","ridge","--param","alpha=1,10"]`, `{"algo":"ridge","experiment":"m","param":"[\"alpha=1,10\"]",`+shared),
			pipeline.TrainOptions{Experiment: "m", Algo: model.Ridge, Alphas: []float64{1, 10}},
		},
		"score": {
			finished("score", `["quant","score"]`, `{"allow-in-sample":"false","asof":"","from":"2009-01-01","model":"m1","skip-in-sample":"true","to":"2012-12-31",`+shared),
			pipeline.ScoreOptions{Model: "m1", From: *from, To: *to, InSample: model.SkipInSample},
		},
		"score of a day": {
			finished("score", `["quant","score"]`, `{"allow-in-sample":"true","asof":"2009-01-01","from":"","model":"m1","skip-in-sample":"false","to":"",`+shared),
			pipeline.ScoreOptions{Model: "m1", From: *from, To: *from, InSample: model.AllowInSample},
		},
		"recommend": {
			finished("recommend", `["quant","recommend","--strategy","s.yaml"]`, `{"accept-raw":"false","asof":"","from":"2009-01-01","set":"[portfolio.top_k=1,\"universe.symbols=[A,B]\"]","strategy":"s.yaml","to":"",`+shared),
			pipeline.RecommendOptions{Strategy: "s.yaml", Set: []string{"portfolio.top_k=1", "universe.symbols=[A,B]"}, From: from},
		},
		"backtest, nothing but the file": {
			finished("backtest", `["quant","backtest","--strategy","s.yaml"]`,
				`{"accept-raw":"false","allow-in-sample":"false","as-of":"","benchmark":"","fee-bps":"0","from":"","initial-capital":"0","lag":"0","set":"[]","slippage-bps":"0","strategy":"s.yaml","to":"",`+shared),
			pipeline.BacktestOptions{Strategy: "s.yaml"},
		},
		"backtest, what is given": {
			finished("backtest", `["quant","backtest","--lag","0","--fee-bps=2.5","--accept-raw","--benchmark","none","--strategy","--slippage-bps","--as-of","3f2a","--","--initial-capital"]`,
				`{"accept-raw":"true","allow-in-sample":"false","as-of":"3f2a","benchmark":"none","fee-bps":"2.5","from":"2009-01-01","initial-capital":"0","lag":"0","set":"[]","slippage-bps":"0","strategy":"--slippage-bps","to":"2012-12-31",`+shared),
			pipeline.BacktestOptions{Strategy: "--slippage-bps", From: from, To: to, Lag: &lag, FeeBPS: &fee, Benchmark: &none, AcceptRaw: true, AsOf: "3f2a"},
		},
	} {
		got, err := pipeline.Replay(c.run)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, c.want)
		}
	}
}

func TestWhatCannotBeRepeatedIsRefused(t *testing.T) {
	t.Parallel()
	failed := finished("labels", `["quant","labels"]`, `{}`)
	failed.Status = quant.Fail
	for name, run := range map[string]metastore.RunDetail{
		"masked":             finished("labels", `["quant","labels","--token=***"]`, `{}`),
		"kind":               finished("ingest", `["quant","ingest","a.csv"]`, `{}`),
		"failed":             failed,
		"no command line":    finished("labels", `null`, `{}`),
		"no flags":           finished("labels", `["quant","labels"]`, `null`),
		"a number that none": finished("labels", `["quant","labels"]`, `{"horizon":"many"}`),
		"a day that is none": finished("recommend", `["quant","recommend"]`, `{"asof":"2009-02-30"}`),
		"a list that ends":   finished("recommend", `["quant","recommend"]`, `{"set":"[\"a]"}`),
		"a pipeline":         finished("pipeline.run", `["quant","pipeline","run"]`, `{}`),
	} {
		if call, err := pipeline.Replay(run); quant.CodeOf(err) != quant.Refused {
			t.Errorf("%s: %+v, %v", name, call, err)
		}
	}
}

// A model that was trained by another version of the program has other last digits:
// what it read is the same, and that is said.
func TestAModelOfAnotherVersionIsToldFromOneOfOtherData(t *testing.T) {
	t.Parallel()
	s, _, report := ranLab(t, byModel)
	train := string(report.Stages[slices.IndexFunc(report.Stages, func(r pipeline.StageReport) bool { return r.Stage == pipeline.StageTrain })].RunID)
	// The alphas are another program's digits.
	other := runnerFunc(func(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
		o := call.(pipeline.TrainOptions)
		o.Alphas = []float64{1 + 1e-15}
		return pipeline.InProcess{}.Run(ctx, s, o, notes)
	})
	repeated, err := pipeline.Repeat(t.Context(), s.Session, other, train)
	if err != nil || repeated.Same {
		t.Fatalf("%+v, %v", repeated, err)
	}
	for _, c := range repeated.Comparisons {
		if c.Same != (c.Direction == quant.In) || c.Now == "" {
			t.Errorf("%+v", c)
		}
	}
	if said := quant.HintOf(repeated.Err()); !strings.Contains(said, "other last digits") {
		t.Error(said)
	}
	repeated.Comparisons[0].Same = false // an input
	if said := quant.HintOf(repeated.Err()); !strings.Contains(said, "lineage") {
		t.Error(said)
	}
}
