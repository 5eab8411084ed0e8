package pipeline

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"quant"
)

// mustDay is a date that is right.
func mustDay(text string) quant.Date {
	d, err := quant.ParseDate(text)
	if err != nil {
		panic(err)
	}
	return d
}

func request() planRequest {
	lag := 1
	return planRequest{
		Arguments: Arguments{
			Strategy: "s.yaml", From: "2010-01-01", To: "2012-12-31", Ingest: []string{"a.csv", "-b.csv"}, Stages: Stages(),
			Set: []string{"portfolio.top_k=3"}, AcceptRaw: true, Lag: &lag,
		},
		From: mustDay("2010-01-01"), To: mustDay("2012-12-31"),
		Strategy: Strategy{Path: "s.yaml", Digest: "sha256:00", StrategyID: "m", Version: "1"},
		Universe: []string{"AAPL", "IBM"}, Calendar: "XNYS", RebalanceDays: 3,
		Signal: Signal{FeatureVersion: "v1"},
	}
}

func lineOf(p Plan, stage Stage) string { return strings.Join(p.Step(stage).Args, " ") }

func TestThePlanOfARankedFactorTrainsNothing(t *testing.T) {
	t.Parallel()
	p := newPlan(request())
	for stage, want := range map[Stage]string{
		StageIngest:    "ingest -- a.csv -b.csv",
		StageFeatures:  "features --feature-version v1 --symbols AAPL,IBM --accept-raw",
		StageLabels:    "labels --label-version v1 --horizon 60 --symbols AAPL,IBM --accept-raw",
		StageTrain:     "",
		StageScore:     "",
		StageRecommend: "recommend --strategy s.yaml --from 2010-01-01 --to 2012-12-31 --set portfolio.top_k=3 --accept-raw",
		StageBacktest:  "backtest --strategy s.yaml --from 2010-01-01 --to 2012-12-31 --set portfolio.top_k=3 --lag 1 --accept-raw",
	} {
		if got := lineOf(p, stage); got != want {
			t.Errorf("%s: %q, want %q", stage, got, want)
		}
	}
	if s := p.Step(StageTrain); s.Action != ActionSkip || s.Reason != "the strategy needs no model" {
		t.Errorf("train: %+v", s)
	}
}

func TestAStrategyOfAnExperimentTrainsAndScores(t *testing.T) {
	t.Parallel()
	r := request()
	r.Signal = Signal{FeatureVersion: "v2", Training: &Training{Experiment: "e1", LabelVersion: "v3", Horizon: 20}}
	p := newPlan(r)
	if got := lineOf(p, StageLabels); got != "labels --label-version v3 --horizon 20 --symbols AAPL,IBM --accept-raw" {
		t.Error(got)
	}
	if got := lineOf(p, StageTrain); got != "train --experiment e1" {
		t.Error(got)
	}
	if got := strings.Join(p.Step(StageScore).WithModel("m7").Command().Args, " "); got != "score --model m7 --from 2010-01-01 --to 2012-12-31 --skip-in-sample" {
		t.Error(got)
	}
	r.Signal = Signal{FeatureVersion: "v2", ModelID: "m8"}
	p = newPlan(r)
	if p.Step(StageTrain).Action != ActionSkip || lineOf(p, StageScore) != "score --model m8 --from 2010-01-01 --to 2012-12-31 --skip-in-sample" {
		t.Errorf("train %+v, score %s", p.Step(StageTrain), lineOf(p, StageScore))
	}
}

func TestWithoutFilesAndProviderIngestIsLeftOutAndSaysSo(t *testing.T) {
	t.Parallel()
	r := request()
	r.Arguments.Ingest = nil
	p := newPlan(r)
	if s := p.Step(StageIngest); s.Action != ActionSkip || s.Reason != "no files and no provider" {
		t.Errorf("%+v", s)
	}
	r.Arguments.Provider = "alphavantage"
	if got := lineOf(newPlan(r), StageIngest); got != "ingest --provider alphavantage --symbols AAPL,IBM" {
		t.Error(got)
	}
}

func TestAUniverseOfEverythingNamesNoSymbolForIngestMayAddSome(t *testing.T) {
	t.Parallel()
	r := request()
	r.Everything = true
	p := newPlan(r)
	if got := lineOf(p, StageFeatures); got != "features --feature-version v1 --accept-raw" {
		t.Error(got)
	}
	r.Arguments.Symbols = []string{"IBM"}
	p = newPlan(r)
	if got := lineOf(p, StageLabels); got != "labels --label-version v1 --horizon 60 --symbols IBM --accept-raw" {
		t.Error(got)
	}
}

func TestStagesAreReadInAnyOrderAndAnUnknownOneIsRefused(t *testing.T) {
	t.Parallel()
	got, err := ParseStages("backtest, ingest")
	if err != nil || !reflect.DeepEqual(got, []Stage{StageIngest, StageBacktest}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"ingest,", "Ingest", "x", " "} {
		if _, err := ParseStages(bad); quant.CodeOf(err) != quant.Usage || quant.HintOf(err) == "" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAPlanReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	p := newPlan(request())
	doc, err := p.JSON()
	if err != nil || bytes.ContainsRune(doc, '\n') {
		t.Fatalf("%s, %v", doc, err)
	}
	again, err := ParsePlan(doc)
	if err != nil || !reflect.DeepEqual(again.Arguments, p.Arguments) {
		t.Fatalf("%+v\n%+v\n%v", again, p, err)
	}
	if written, err := again.JSON(); err != nil || !bytes.Equal(written, doc) {
		t.Fatalf("%s, %v", written, err)
	}
	later := bytes.Replace(doc, []byte(`"plan_version":1`), []byte(`"plan_version":2`), 1)
	if _, err := ParsePlan(later); quant.CodeOf(err) != quant.Invalid {
		t.Errorf("a later version: %v", err)
	}
}

func FuzzParsePlan(f *testing.F) {
	doc, err := newPlan(request()).JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte("{}"))
	f.Add([]byte(`{"plan_version":1,"arguments":{"from":"2010-13-01"}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, err := ParsePlan(doc)
		if err != nil {
			return
		}
		if _, err := p.JSON(); err != nil {
			t.Fatalf("a plan that was read cannot be written: %v", err)
		}
	})
}

func TestAComparisonNamesWhatDiffersAndWhatIsMissing(t *testing.T) {
	t.Parallel()
	io := func(d quant.Direction, name, digest string) quant.RunIO {
		return quant.RunIO{Direction: d, Kind: "table", Name: name, Digest: quant.Text(digest)}
	}
	recorded := []quant.RunIO{io(quant.Out, "targets", "rows:1"), io(quant.In, "ohlcv", "rows:2"), io(quant.Out, "target_sets", "rows:3"), io(quant.Out, "rejects", "")}
	list, some := compare("recommend", recorded, []quant.RunIO{io(quant.In, "ohlcv", "rows:2"), io(quant.Out, "targets", "rows:9")})
	want := []Comparison{
		{"recommend", quant.In, "table ohlcv", "rows:2", "rows:2", true},
		{"recommend", quant.Out, "table target_sets", "rows:3", "", false},
		{"recommend", quant.Out, "table targets", "rows:1", "rows:9", false},
	}
	if !some || !reflect.DeepEqual(list, want) {
		t.Fatalf("%v %+v", some, list)
	}
	if _, some := compare("x", recorded[1:2], nil); some {
		t.Fatal("an input alone shows nothing")
	}
}
