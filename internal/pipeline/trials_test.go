package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/pipeline"
	"quant/internal/session"
	"quant/internal/session/sessiontest"
)

// restless are bars of symbols of which one begins late, one leaves for good, one
// leaves and comes back, and one is halted now and then.
func restless() string {
	var b strings.Builder
	b.WriteString("date,symbol,open,high,low,close,adjusted_close,volume\n")
	for day, n := time.Date(2023, 1, 2, 0, 0, 0, 0, time.UTC), 0; n < 330; day = day.AddDate(0, 0, 1) {
		if day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
			continue
		}
		for k, symbol := range []string{"A", "B", "C", "D", "E", "F", "G"} {
			if symbol == "B" && n < 60 || symbol == "C" && n > 200 || symbol == "D" && n > 120 && n < 150 || symbol == "E" && n%17 == 3 {
				continue
			}
			c := 100 * (1 + 0.2*math.Sin(float64(n)/float64(9+4*k)) + 0.0005*float64(n*(k+1)))
			fmt.Fprintf(&b, "%s,%s,%.4f,%.4f,%.4f,%.4f,%.4f,1000\n", day.Format(time.DateOnly), symbol, c, c*1.01, c*0.99, c, c*(0.9+0.0001*float64(n)))
		}
		n++
	}
	return b.String()
}

const restlessStrategy = `strategy_id: s
version: "1"
universe: {type: symbols, symbols: [A, B, C, D, E, F, NOWHERE]}
signal: {type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance: {frequency: daily, asof_policy: close}
portfolio: {top_k: 3, weighting: equal}
supervisor: {max_weight_per_symbol: 0.4, turnover_cap: 0.2, max_positions: 3}
execution: {lag_days: 1}
backtest: {from: "2023-02-06", to: "2024-02-28", fee_bps: 5, slippage_bps: 3, delist_after: 10, delisting_return: -0.3}
`

var oneByOne = runnerFunc(func(ctx context.Context, s *session.Session, call pipeline.Call, notes []quant.RunIO) (string, error) {
	return pipeline.InProcess{Quiet: true, Unsaid: true}.Run(ctx, s, call, notes)
})

// A trial of a sweep leaves what the same recommend and backtest leave alone: the
// same facts to the bit, the same record field by field, ids, times and the paths of
// the lab aside.
func TestATrialIsWhatItsRunsAreAlone(t *testing.T) {
	t.Parallel()
	asIs := func(*sessiontest.Session) {}
	for name, sets := range map[string][]string{
		"decisions":  {"portfolio.top_k=1,3", "portfolio.weighting=equal,score_weighted", "supervisor.turnover_cap=0.2,1"},
		"replays":    {"execution.lag_days=0,3", "backtest.fee_bps=7.5", "backtest.benchmark=null,A,equal_weight"},
		"readings":   {"signal.inputs.feature_name=ret_20d,vol_20d", "signal.order=asc", "rebalance.frequency=weekly,monthly"},
		"universes":  {"universe.symbols=[A, B, C],[C]", "supervisor.score_floor=null,0"},
		"some fail":  {"signal.inputs.feature_name=ret_20d,nothing", "backtest.benchmark=null,NOWHERE"},
		"books":      {"portfolio.side=long,long_short", "execution.price=close,open", "backtest.impact=0,1", "backtest.benchmark=A"},
		"volumes":    {"portfolio.side=long_short", "execution.max_volume_share=null,0.01", "supervisor.net_exposure_cap=null,0.1", "backtest.borrow_bps=100"},
		"all active": {"universe.type=all", "supervisor.max_positions=2,3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sameTrials(t, sweepOf(t, sets, pipeline.InProcess{Quiet: true, Unsaid: true}, 1, asIs), sweepOf(t, sets, oneByOne, 1, asIs))
		})
	}
}

// So does a trial that is tried again: decisions that stand stay, others take the
// place of those that rest on other prices.
func TestATrialThatIsTriedAgainIsWhatItsRunsAreAlone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *sessiontest.Session){
		"nothing has changed": func(*sessiontest.Session) {},
		"a price has": func(s *sessiontest.Session) {
			ingest(t, s, s.Write("late.csv", "date,symbol,open,high,low,close,adjusted_close,volume\n2023-08-15,A,100,150,90,140,128.254,1000\n"))
			inside(t, s, pipeline.Features, pipeline.FeaturesOptions{Version: "v1"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sets := []string{"portfolio.top_k=1,3", "execution.lag_days=0"}
			sameTrials(t, sweepOf(t, sets, pipeline.InProcess{Quiet: true, Unsaid: true}, 2, change), sweepOf(t, sets, oneByOne, 2, change))
		})
	}
}

func sameTrials(t *testing.T, swept, alone []map[string]any) {
	t.Helper()
	if len(swept) != len(alone) {
		t.Fatalf("%d trials, %d alone", len(swept), len(alone))
	}
	for i := range swept {
		if reflect.DeepEqual(swept[i], alone[i]) {
			continue
		}
		for key := range alone[i] {
			if a, b := fmt.Sprint(swept[i][key]), fmt.Sprint(alone[i][key]); a != b {
				t.Errorf("trial %d: %s\n%.2000s\nalone\n%.2000s", i, key, a, b)
			}
		}
	}
}

// sweepOf sweeps a lab of its own so many times, with a change in between, and
// returns for each trial of the last time everything that is recorded and stored of
// it.
func sweepOf(t *testing.T, sets []string, r pipeline.Runner, times int, change func(*sessiontest.Session)) []map[string]any {
	t.Helper()
	s := sessiontest.Begin(t)
	prices := restless()
	if slices.Contains(sets, "universe.symbols=[A, B, C],[C]") { // some of them have raw prices
		prices = regexp.MustCompile(`(?m)^([^,]*,[AG],.*),[0-9.]*,1000$`).ReplaceAllString(prices, "$1,,1000")
	}
	ingest(t, s, s.Write("prices.csv", prices))
	inside(t, s, pipeline.Features, pipeline.FeaturesOptions{Version: "v1"})
	s.Write("data/delistings.csv", "symbol,kind,date,end,return,reason\nE,halt,2023-06-01,2023-06-05,,\n")
	text := restlessStrategy
	if slices.Contains(sets, "universe.type=all") {
		text = strings.Replace(text, "type: symbols, symbols: [A, B, C, D, E, F, NOWHERE]", "type: all", 1)
	}
	var report pipeline.SweepReport
	var err error
	for n := range times {
		if n > 0 {
			change(s)
		}
		_, err = s.Inside(t.Context(), session.Command{Kind: "sweep"}, func(ctx context.Context, inner *session.Session) (err error) {
			report, err = pipeline.Sweep(ctx, inner, r, pipeline.SweepOptions{Strategy: s.Write("s.yaml", text), Sets: sets, MaxTrials: 40})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, inProcess := r.(pipeline.InProcess); inProcess && report.Trials[0].RunID < report.Trials[1].RecommendID {
		t.Error("the trials ran one by one")
	}
	ids := map[string]string{}
	var trials []map[string]any
	for i, trial := range report.Trials {
		one := map[string]any{}
		for kind, id := range map[string]quant.Text{"recommend": trial.RecommendID, "backtest": trial.RunID} {
			if id == "" {
				continue
			}
			ids[string(id)] = fmt.Sprintf("<%s %d>", kind, i)
			run := s.Recorded(string(id))
			run.RunID, run.StartedAt, run.EndedAt, run.Process = "", quant.Time{}, quant.Time{}, quant.RunProcess{
				Argv: run.Process.Argv, Changes: run.Process.Changes, ExitCode: run.Process.ExitCode, Facts: run.Process.Facts, ParentRunID: "",
			}
			doc, err := json.Marshal(run)
			if err != nil {
				t.Fatal(err)
			}
			one[kind] = string(doc)
		}
		trial.RunID, trial.RecommendID = "", ""
		doc, err := json.Marshal(trial)
		if err != nil {
			t.Fatal(err)
		}
		one["trial"] = string(doc)
		trials = append(trials, one)
	}
	err = s.ReadFacts(t.Context(), func(db *factstore.DB) error {
		for i, trial := range report.Trials {
			for table, columns := range map[string]string{
				"targets": "* EXCLUDE (generated_at)", "proposals": "* EXCLUDE (generated_at)", "target_sets": "* EXCLUDE (decided_at)", "backtest_summary": "* EXCLUDE (created_at)",
				"backtest_details": "* EXCLUDE (prices_at, created_at)", "backtest_equity": "*", "backtest_positions": "*", "backtest_trades": "*",
			} {
				where := "strategy_id = '" + trial.StrategyID + "'"
				if strings.HasPrefix(table, "backtest_") {
					where = "run_id = '" + string(trial.RunID) + "'"
				}
				trials[i][table] = textOf(t, db, "SELECT "+columns+" FROM "+table+" WHERE "+where)
				if empty := trials[i][table] == ""; empty && trial.NumTrades != nil && *trial.NumTrades > 0 {
					t.Errorf("trial %d has nothing in %s", i, table)
				}
			}
			var stamped int
			if err := db.QueryRow(t.Context(), `SELECT count(*) FROM ledger l WHERE run_id = ? AND EXISTS (SELECT 1 FROM targets t WHERE t.generated_at = l.committed_at AND t.strategy_id = ?) AND rows_inserted > 0 AND table_name = 'targets'`,
				string(trial.RecommendID), trial.StrategyID).Scan(&stamped); err != nil {
				return err
			}
			trials[i]["stamped"] = stamped
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Runs are told by their place, others by their kind.
	anyRun := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	for _, one := range trials {
		for key, v := range one {
			text, is := v.(string)
			if !is {
				continue
			}
			text = anyRun.ReplaceAllStringFunc(text, func(id string) string {
				if place := ids[id]; place != "" {
					return place
				}
				return "<another run>"
			})
			one[key] = strings.ReplaceAll(text, s.DataDir, "<data>")
			one[key] = regexp.MustCompile(`/[^"]*/s\.yaml`).ReplaceAllString(one[key].(string), "s.yaml")
			one[key] = regexp.MustCompile(`"(LoggedAt|logged_at)":"[^"]*"`).ReplaceAllString(one[key].(string), "")
		}
	}
	return trials
}

// textOf are the rows of a query in order, each a line.
func textOf(t *testing.T, db *factstore.DB, query string) string {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT CAST(q AS VARCHAR) AS line FROM ("+query+") q ORDER BY line")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		b.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
