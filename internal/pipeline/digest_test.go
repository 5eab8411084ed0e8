package pipeline_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/demo"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/pipeline"
	"quant/internal/session/sessiontest"
)

// The strategies of testdata/demo_digests.txt.
const (
	demoStrategy = `strategy_id: %s
version: "1.0.0"
universe:   {type: symbols, symbols: [AAPL, FB, GOOG, IBM, MSFT]}
signal:     {type: %s}}
rebalance:  {frequency: monthly, asof_policy: close}
portfolio:  {top_k: 2, weighting: equal}
supervisor: {gross_exposure_cap: 1.0, max_weight_per_symbol: 0.5, max_positions: 2, turnover_cap: 0.6}
backtest:   {from: "2009-01-01", to: "2012-12-31"}
`
	demoFactor = "factor_rank, order: desc, inputs: {feature_name: ret_20d, feature_version: v1"
	demoModel  = `model_score, order: desc, inputs: {model_id: "experiment:momentum", task_id: wf`
)

// A result does not depend on the version of the program: the same prices give the
// digests that were recorded before. Who changes what is computed on purpose makes
// the file again, as it says, and says why.
func TestTheDemosFactsHaveTheDigestsOfEarlierPrograms(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("where multiplications and additions are fused, the last bits of results are others")
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "demo_digests.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(golden)) {
		if !strings.HasPrefix(line, "#") {
			want = append(want, strings.TrimSuffix(line, "\n"))
		}
	}
	s := sessiontest.Begin(t)
	s.Settle("XNYS", 0, 0, nil, nil)
	prices, err := demo.WritePrices(filepath.Dir(s.DataDir))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	note := func(report pipeline.Report) {
		for _, stage := range report.Stages {
			if stage.Status == pipeline.StageRan {
				got = append(got, digests(s.Recorded(string(stage.RunID)))...)
			}
		}
	}
	report, _ := mustRunChain(t, s, pipeline.InProcess{}, pipeline.RunOptions{Arguments: pipeline.Arguments{
		Strategy: s.Write("s.yaml", fmt.Sprintf(demoStrategy, "momentum_demo", demoFactor)), Ingest: []string{prices},
	}})
	note(report)
	if _, err := pipeline.CreateExperiment(t.Context(), s.Session, pipeline.ExperimentOptions{
		ID: "momentum", Features: "ret_20d@v1,vol_20d@v1", Label: "fwd_ret_20d@v1", Folds: model.DefaultFolds, MinTrain: model.DefaultMinTrainSessions,
	}); err != nil {
		t.Fatal(err)
	}
	report, _ = mustRunChain(t, s, pipeline.InProcess{}, pipeline.RunOptions{Arguments: pipeline.Arguments{
		Strategy: s.Write("model.yaml", fmt.Sprintf(demoStrategy, "model_demo", demoModel)),
	}})
	note(report)
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("too much: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("line %d: %s\nwant: %s", i+1, got[i], want[i])
		}
	}
	if n, err := s.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true, Status: quant.Fail}); err != nil || len(n) > 0 {
		t.Errorf("%d runs failed, %v", len(n), err)
	}
}

// digests are the lines of a run in testdata/demo_digests.txt.
func digests(run sessiontest.Recorded) []string {
	slices.SortFunc(run.IO, func(a, b quant.RunIO) int {
		key := func(io quant.RunIO) string { return string(io.Direction) + " " + io.Kind + " " + io.Name }
		return strings.Compare(key(a), key(b))
	})
	var lines []string
	for _, io := range run.IO {
		if io.Digest == "" || io.Kind != quant.IOTable && io.Kind != quant.IOModel {
			continue
		}
		rows := "-"
		if io.Rows != nil {
			rows = fmt.Sprint(*io.Rows)
		}
		lines = append(lines, fmt.Sprint(run.Kind, " ", io.Direction, " ", io.Kind, " ", io.Name, " ", rows, " ", io.Digest))
	}
	return lines
}
