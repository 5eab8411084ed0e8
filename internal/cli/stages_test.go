package cli

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/model"
	"quant/internal/pipeline"
	"quant/internal/session"
)

// A stage that is run inside another run is recorded with the flags of the command
// line that does the same, as that command records them.
func TestTheCommandOfAStageIsTheLineThatDoesTheSame(t *testing.T) {
	t.Parallel()
	from, to, lag, fee, benchmark := quant.NewDate(time.Date(2024, time.January, 2, 0, 0, 0, 0, time.UTC)), quant.NewDate(time.Date(2024, time.March, 1, 0, 0, 0, 0, time.UTC)), 0, 2.5, "equal"
	fetch := pipeline.DefaultFetch("alphavantage")
	fetch.Symbols, fetch.Full, fetch.Overlap, fetch.Timeout, fetch.Key = []string{"AAPL", "BRK.B"}, true, 0, time.Minute, "never recorded"
	for _, c := range []struct {
		line    string
		command session.Command
	}{
		{"features --feature-version v1", pipeline.FeaturesOptions{Version: "v1"}.Command()},
		{"features --feature-version v2 --symbols AAPL,IBM --accept-raw --force", pipeline.FeaturesOptions{Version: "v2", Symbols: []string{"AAPL", "IBM"}, AcceptRaw: true, Force: true}.Command()},
		{"labels --label-version v1 --horizon 5", pipeline.LabelsOptions{Version: "v1", Horizon: 5}.Command()},
		{"labels --label-version v1 --horizon 60 --symbols IBM --accept-raw --force", pipeline.LabelsOptions{Version: "v1", Horizon: 60, Symbols: []string{"IBM"}, AcceptRaw: true, Force: true}.Command()},
		{"train --experiment e", pipeline.TrainOptions{Experiment: "e"}.Command()},
		{"train --experiment e --algo ridge --param alpha=0.5,10", pipeline.TrainOptions{Experiment: "e", Algo: model.Ridge, Alphas: []float64{0.5, 10}}.Command()},
		{"score --model m --from 2024-01-02 --to 2024-03-01", pipeline.ScoreOptions{Model: "m", From: from, To: to}.Command()},
		{"score --model m --from 2024-01-02 --to 2024-03-01 --skip-in-sample", pipeline.ScoreOptions{Model: "m", From: from, To: to, InSample: model.SkipInSample}.Command()},
		{"score --model m --from 2024-01-02 --to 2024-03-01 --allow-in-sample", pipeline.ScoreOptions{Model: "m", From: from, To: to, InSample: model.AllowInSample}.Command()},
		{"recommend --strategy s.yaml --asof 2024-01-02", pipeline.RecommendOptions{Strategy: "s.yaml", Asof: &from}.Command()},
		{`recommend --strategy s.yaml --from 2024-01-02 --to 2024-03-01 --set portfolio.top_k=2 --set universe.symbols=A,B --set c="x" --accept-raw`,
			pipeline.RecommendOptions{Strategy: "s.yaml", From: &from, To: &to, Set: []string{"portfolio.top_k=2", "universe.symbols=A,B", `c="x"`}, AcceptRaw: true}.Command()},
		{"backtest --strategy s.yaml", pipeline.BacktestOptions{Strategy: "s.yaml"}.Command()},
		{"backtest --strategy s.yaml --from 2024-01-02 --to 2024-03-01 --set a=b --lag 0 --fee-bps 2.5 --slippage-bps 2.5 --benchmark equal --initial-capital 2.5 --accept-raw --allow-in-sample --as-of last",
			pipeline.BacktestOptions{Strategy: "s.yaml", From: &from, To: &to, Set: []string{"a=b"}, Lag: &lag, FeeBPS: &fee, SlippageBPS: &fee, InitialCapital: &fee, Benchmark: &benchmark, AcceptRaw: true, AllowInSample: true, AsOf: "last"}.Command()},
		{"ingest -- a.csv b.csv.gz", pipeline.IngestOptions{Files: []string{"a.csv", "b.csv.gz"}, Gate: pipeline.Gate{MaxRejectRatio: pipeline.DefaultMaxRejectRatio}}.Command()},
		{"ingest --symbol SPX --encoding cp949 --date-format %d/%m/%Y --volume-missing zero --max-reject-ratio 0 -- --odd",
			pipeline.IngestOptions{Files: []string{"--odd"}, Symbol: "SPX", Encoding: "cp949", DateFormat: "%d/%m/%Y", VolumeMissing: "zero"}.Command()},
		{"ingest --map date=1 --map open=2 --map high=3 --no-header --date 2024-01-02 --timezone Asia/Seoul --decimal comma --max-reject-ratio 0 -- a",
			pipeline.IngestOptions{Files: []string{"a"}, Map: []string{"date=1", "open=2", "high=3"}, NoHeader: true, Date: "2024-01-02", Timezone: "Asia/Seoul", Decimal: "comma"}.Command()},
		{"ingest --provider alphavantage", pipeline.DefaultFetch("alphavantage").Command()},
		{"ingest --provider alphavantage --symbols AAPL,BRK.B --full --overlap 0 --timeout 1m0s", fetch.Command()},
	} {
		tree := newTree()
		words := strings.Fields(c.line)
		if !slices.Equal(c.command.Args, words) {
			t.Errorf("%s: the command is %q", c.line, c.command.Args)
		}
		cmd, rest, err := tree.Root.Find(words)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if path := strings.TrimPrefix(cmd.CommandPath(), "quant "); path != c.command.Kind {
			t.Errorf("%s: the kind is %s", c.line, c.command.Kind)
		}
		want := flagsOf(cmd)
		for name := range flagsIn(tree.Root.PersistentFlags()) {
			delete(want, name)
		}
		if !maps.Equal(c.command.Flags, want) {
			t.Errorf("%s:\nflags %q\nwant  %q", c.line, c.command.Flags, want)
		}
		if operands := cmd.Flags().Args(); !slices.Equal(c.command.Operands, operands) {
			t.Errorf("%s: operands %q, want %q", c.line, c.command.Operands, operands)
		}
	}
}
