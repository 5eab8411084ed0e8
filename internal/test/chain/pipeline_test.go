package chain

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"quant/internal/demo"
	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

const demoStrategy = `strategy_id: momentum_demo
version: "1.0.0"
universe:   {type: symbols, symbols: [AAPL, FB, GOOG, IBM, MSFT]}
signal:     {type: factor_rank, order: desc, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance:  {frequency: monthly, asof_policy: close}
portfolio:  {top_k: 2, weighting: equal}
supervisor: {gross_exposure_cap: 1.0, max_weight_per_symbol: 0.5, max_positions: 2, turnover_cap: 0.6}
backtest:   {from: "2009-01-01", to: "2012-12-31", fee_bps: 5}
`

// pipelineLab is a lab with the demo's real prices and a strategy.
func pipelineLab(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	furnish(l)
	return l
}

func furnish(l *labtest.Lab) {
	l.T.Helper()
	prices, err := demo.WritePrices(l.Dir)
	labtest.Must(l.T, err)
	if prices != l.Path("stocks.csv.gz") {
		labtest.Must(l.T, os.Rename(prices, l.Path("stocks.csv.gz")))
	}
	l.Write("s.yaml", []byte(demoStrategy))
}

// finished is such a lab after a whole pipeline that nothing disturbed.
var finished = labtest.Prepared{Make: func(l *labtest.Lab) {
	furnish(l)
	l.Must(wholePipeline()...)
}}

func wholePipeline() []string {
	return []string{"pipeline", "run", "--strategy", "s.yaml", "--ingest", "stocks.csv.gz"}
}

// factsOf returns every fact, table by table, without times, run ids and what
// only counts runs. Of backtests, which each have rows of their own, the newest.
func factsOf(l *labtest.Lab) map[string]string {
	l.T.Helper()
	return factsWith(l, "(SELECT max(run_id) FROM backtest_summary)")
}

// factsWith returns them with the backtest of a run, an SQL value.
func factsWith(l *labtest.Lab, backtest string) map[string]string {
	l.T.Helper()
	db := l.OpenFacts("READ_ONLY")
	defer db.Close()
	facts := map[string]string{}
	tables := strings.Fields(labtest.TextRows(l.T, db, `SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND table_name NOT IN ('ledger', 'fact_slices', 'schema_version') AND NOT regexp_matches(table_name, '`+labtest.StoredInCodes+`')
		UNION SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL`))
	for _, table := range tables {
		columns := strings.Fields(labtest.TextRows(l.T, db, "SELECT column_name FROM duckdb_columns() WHERE table_name = '"+table+
			"' AND NOT (column_name = 'run_id' OR column_name LIKE '%\\_at' ESCAPE '\\') ORDER BY column_index"))
		for i, c := range columns {
			columns[i] = `"` + c + `"`
		}
		from := table
		if strings.HasPrefix(table, "backtest_") {
			from += " WHERE run_id = " + backtest
		}
		list := strings.Join(columns, ", ")
		facts[table] = labtest.TextRows(l.T, db, "SELECT "+list+" FROM "+from+" ORDER BY ALL")
	}
	return facts
}

func wantSameFacts(t *testing.T, got, want map[string]string) {
	t.Helper()
	for table, rows := range want {
		if got[table] != rows {
			t.Errorf("%s differs: %d bytes, want %d\n%s", table, len(got[table]), len(rows), firstDifference(got[table], rows))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d tables, want %d", len(got), len(want))
	}
}

func firstDifference(a, b string) string {
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(left), len(right)) {
		if left[i] != right[i] {
			return fmt.Sprintf("line %d: %s\n   want: %s", i+1, left[i], right[i])
		}
	}
	return "one ends before the other"
}

// outputDigests are what the runs of a lab recorded of their outputs, by kind.
func outputDigests(l *labtest.Lab) string {
	return l.MetaRows(`SELECT r.kind, io.direction, io.kind, io.name, io.rows, io.digest FROM runs r JOIN run_io io USING (run_id)
		WHERE io.kind IN ('table', 'file', 'model') AND io.name NOT LIKE '%plan.json' AND r.status = 'SUCCESS' ORDER BY r.run_id, 2, 3, 4`)
}

func TestTwoPipelinesInFreshFoldersGiveTheSameFactsAndDigests(t *testing.T) {
	t.Parallel()
	a, b := finished.Copy(t), pipelineLab(t)
	b.Must(wholePipeline()...)
	facts := factsOf(b)
	wantSameFacts(t, factsOf(a), facts)
	if x, y := outputDigests(a), outputDigests(b); x != y {
		t.Errorf("other digests:\n%s", firstDifference(x, y))
	}
	for _, table := range []string{"ohlcv", "returns", "features_daily", "labels", "targets", "target_sets", "backtest_trades", "backtest_equity", "backtest_summary"} {
		if facts[table] == "" {
			t.Errorf("%s is empty", table)
		}
	}
}

func TestSkippingStagesGivesTheFactsThatForceGives(t *testing.T) {
	t.Parallel()
	rounds := soak.Count(t, 2, 40)
	random := soak.Random(t)
	l := finished.Copy(t)
	args := wholePipeline()
	for range rounds {
		what := random.IntN(6)
		switch what {
		case 0:
			l.Write("s.yaml", []byte(strings.Replace(demoStrategy, "top_k: 2", fmt.Sprintf("top_k: %d", 1+random.IntN(3)), 1)))
		case 1: // a correction by hand, which the file then undoes
			l.Write("other.csv", []byte("symbol,date,open,high,low,close,volume,adj close\nIBM,2010-03-01,127.5,130,127.47,128.57,1000,105.37854405815\n"))
			l.Must("ingest", "other.csv")
		case 2:
			l.Must("features", "--feature-version", "v2")
		case 3:
			l.Must("recommend", "--strategy", "s.yaml", "--asof", "2010-06-30", "--set", "portfolio.top_k=1")
		case 4:
			l.Must("symbols", "set", "IBM", "--name", fmt.Sprint("name ", random.IntN(3)))
		case 5:
			args = append(wholePipeline(), "--set", fmt.Sprintf("backtest.fee_bps=%d", random.IntN(3)))
		}
		forced := l.CopyOf(t)
		// Settings that come back have a backtest that stands, and is not the newest.
		var report struct {
			Backtest struct {
				RunID string `json:"run_id"`
			}
		}
		labtest.Must(t, json.Unmarshal([]byte(l.Must(append(slices.Clone(args), "--output", "json")...).Stdout), &report))
		forced.Must(append(slices.Clone(args), "--force")...)
		wantSameFacts(t, factsWith(l, "'"+report.Backtest.RunID+"'"), factsOf(forced))
		if t.Failed() {
			t.Fatalf("after change %d", what)
		}
		again := l.Must(append(slices.Clone(args), "--output", "csv")...)
		if strings.Contains(again.Stdout, ",ran,") {
			again = l.Must(append(slices.Clone(args), "--output", "csv")...)
			if strings.Contains(again.Stdout, ",ran,") {
				t.Fatalf("after change %d it does not come to rest: %v", what, again)
			}
		}
	}
	l.Doctor()
}

func TestAKilledPipelineIsResumedToTheFactsOfAnUndisturbedOne(t *testing.T) {
	t.Parallel()
	times := soak.Count(t, 5, 100)
	want := factsOf(finished.Copy(t))
	whole := pipelineLab(t).Must(wholePipeline()...).Took
	random := soak.Random(t)
	died, labs := 0, 0
	for ; died < times && labs < 3*times; labs++ {
		l := pipelineLab(t)
		resume := wholePipeline()
		for range 3 { // kill it, and what goes on with it
			p := l.Start(nil, resume...)
			timer := time.AfterFunc(time.Duration(random.Int64N(int64(whole)*9/10)), func() { _ = p.Process.Kill() })
			r := p.Wait()
			timer.Stop()
			if r.Code == 0 {
				break
			}
			l.WantCode(r, labtest.Killed)
			died++
			l.Must("config") // finds the dead
			l.WantClosed()
			l.WantAgreement()
			resume = resumeOrStart(l)
		}
		l.Must(resume...)
		wantSameFacts(t, factsOf(l), want)
		l.WantClosed()
		l.WantAgreement()
		l.Doctor()
		again := l.Must(append(wholePipeline(), "--output", "csv")...)
		if strings.Contains(again.Stdout, ",ran,") {
			t.Errorf("after a resume that finished, something is left to do: %v", again)
		}
		if t.Failed() {
			t.Fatalf("the disturbed lab %d", labs)
		}
	}
	if died < times {
		t.Fatalf("only %d processes were killed in time", died)
	}
	t.Logf("%d kills in %d labs", died, labs)
}

// resumeOrStart is the command line that goes on with the last pipeline, or
// starts anew where that died before it had a plan.
func resumeOrStart(l *labtest.Lab) []string {
	l.T.Helper()
	id := ""
	for _, r := range l.Runs() {
		if _, err := os.Stat(l.Path("data", "runs", r.ID, "plan.json")); r.Kind == "pipeline.run" && err == nil {
			id = r.ID
		}
	}
	if id == "" {
		return wholePipeline()
	}
	return []string{"pipeline", "run", "--resume", id}
}

func TestAPipelineKilledAtAnyOfItsStepsIsResumed(t *testing.T) {
	t.Parallel()
	want := factsOf(finished.Copy(t))
	for _, step := range []string{"pipeline.planned", "pipeline.stage.before#2", "pipeline.stage.after#2", "pipeline.stage.after#5"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := pipelineLab(t)
			l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=" + step}, wholePipeline()...).Wait(), labtest.Killed)
			r := l.Must("pipeline", "run", "--resume", "last", "--output", "csv")
			if strings.HasSuffix(step, "after#2") && !strings.Contains(r.Stdout, "features,") || strings.HasSuffix(step, "#5") && strings.Contains(r.Stdout, ",ran,") {
				t.Errorf("it does not go on where it was: %v", r)
			}
			wantSameFacts(t, factsOf(l), want)
			l.WantClosed()
			l.Doctor()
			again := l.Must("pipeline", "run", "--resume", l.RunOf("pipeline.run").ID)
			if !strings.Contains(again.Stderr, "nothing to do") {
				t.Errorf("a finished pipeline is resumed: %v", again)
			}
		})
	}
}

func TestADryRunWritesNoFactsAndAsksNobody(t *testing.T) {
	t.Parallel()
	l := pipelineLab(t)
	r := l.Must(append(wholePipeline(), "--dry-run")...)
	if !strings.HasPrefix(r.Stdout, "PLAN_JSON: {") || strings.Count(r.Stdout, "\n") != 1 {
		t.Fatalf("no plan of one line: %v", r)
	}
	if _, err := os.Stat(l.Facts()); !os.IsNotExist(err) {
		t.Errorf("there is a Fact DB: %v", err)
	}
	kept, err := os.ReadFile(l.Path("data", "runs", l.LastRun().ID, "plan.json"))
	labtest.Must(t, err)
	if "PLAN_JSON: "+string(kept) != r.Stdout {
		t.Errorf("kept: %s\nsaid: %s", kept, r.Stdout)
	}
	info, err := os.Stat(l.Path("data", "runs", l.LastRun().ID, "plan.json"))
	labtest.Must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if got := len(l.Runs()); got != 1 {
		t.Errorf("%d runs", got)
	}
}

func TestAnInterruptedPipelineClosesEveryRun(t *testing.T) {
	t.Parallel()
	l := pipelineLab(t)
	l.Env = append(l.Env, "QUANT_TEST_PATIENCE=signal=500ms")
	p := l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged:hang", "QUANT_TEST_REACHED=" + l.Path("reached")}, wholePipeline()...)
	l.Eventually("the ingest hangs", func() bool { _, err := os.Stat(l.Path("reached")); return err == nil })
	_ = p.Process.Signal(os.Interrupt)
	_ = p.Process.Signal(os.Interrupt) // it cannot end by itself
	r := p.Wait()
	if r.Code != 130 {
		t.Fatalf("%v", r)
	}
	l.WantClosed()
	for _, run := range l.Runs() {
		if run.Status != "FAIL" {
			t.Errorf("%+v", run)
		}
	}
}
