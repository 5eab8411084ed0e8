package backtest

import (
	"testing"
)

func TestBacktestsAreComparedLineByLine(t *testing.T) {
	t.Parallel()
	half, third := 0.5, 1.0/3
	a := Stored{Summary: Summary{RunID: "a", StrategyID: "s", Sharpe: &half, NumTrades: 3}, Details: Details{Version: "1", LagDays: 0}}
	b := Stored{Summary: Summary{RunID: "b", StrategyID: "s", Sharpe: &third, NumTrades: 3}, Details: Details{Version: "1", LagDays: 1, Metrics: a.Metrics}}
	c := Stored{Summary: Summary{RunID: "c", StrategyID: "s", NumTrades: 3}, Details: Details{Version: "1", LagDays: 1}}
	compared := Compare([]Stored{a, b, c})
	if len(compared.Backtests) != 3 {
		t.Fatalf("%d backtests", len(compared.Backtests))
	}
	text := func(v *string) string {
		if v == nil {
			return "NULL"
		}
		return *v
	}
	want := map[string][3]string{
		"strategy_id": {"s", "s", "s"}, "lag_days": {"0", "1", "1"}, "sharpe": {"0.5", "0.3333333333333333", "NULL"}, "num_trades": {"3", "3", "3"}, "benchmark": {"NULL", "NULL", "NULL"},
		"from_ts": {"NULL", "NULL", "NULL"}, "in_sample": {"false", "false", "false"},
	}
	for _, line := range compared.Lines {
		values, known := want[line.Name]
		if !known {
			continue
		}
		delete(want, line.Name)
		for i, v := range line.Values {
			if text(v) != values[i] {
				t.Errorf("%s of %d is %s, want %s", line.Name, i, text(v), values[i])
			}
		}
		if same := values[0] == values[1] && values[1] == values[2]; line.Same != same {
			t.Errorf("%s: same %v", line.Name, line.Same)
		}
	}
	if len(want) > 0 {
		t.Errorf("not compared: %v", want)
	}
	if o := b.Overview(); o.RunID != "b" || o.LagDays != 1 || o.Version != "1" || o.Sharpe != &third {
		t.Errorf("%+v", o)
	}
}
