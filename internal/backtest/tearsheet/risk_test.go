package tearsheet

import (
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/inference"
)

// assessed is the sheet of a market with its risk.
func (m market) assessed(t *testing.T, sectors map[string]string) (*factstore.DB, *Sheet) {
	t.Helper()
	db := m.store(t)
	s, err := Read(t.Context(), db, runID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ReadRisk(t.Context(), db, sectors); err != nil {
		t.Fatal(err)
	}
	return db, s
}

func close(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-12*max(1, math.Abs(want))) {
		t.Errorf("%s = %.15g, want %.15g", what, got, want)
	}
}

func TestTheRiskIsThatOfTheRows(t *testing.T) {
	t.Parallel()
	db, s := ordinary().assessed(t, map[string]string{"AAPL": "Technology", "MSFT": "Technology", "XOM": "Energy"})
	r := s.Risk
	var own, other []float64
	for i, d := range s.Days {
		if i > 0 {
			own, other = append(own, *d.Ret), append(other, *d.Benchmark/(*s.Days[i-1].Benchmark)-1)
		}
	}
	drawn, err := inference.Bootstrap(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	if r.Returns != 1299 || *r.Intervals.Sharpe != (Interval{drawn.Sharpe.Low, drawn.Sharpe.High}) || *r.Intervals.MaxDD != (Interval{drawn.MaxDD.Low, drawn.MaxDD.High}) {
		t.Errorf("%d returns, intervals %+v, want %+v", r.Returns, r.Intervals, drawn)
	}
	against := inference.AgainstBenchmark(own, other)
	close(t, "alpha", *r.Benchmark.Alpha, against.Alpha)
	close(t, "beta", *r.Benchmark.Beta, against.Beta)
	close(t, "information ratio", *r.Benchmark.InformationRatio, against.InformationRatio)
	close(t, "value at risk", *r.Tails[0].ValueAtRisk, inference.ValueAtRisk(own, 0.05))
	close(t, "expected shortfall", *r.Tails[1].ExpectedShortfall, inference.ExpectedShortfall(own, 0.01))
	if n := len(r.RollingDays); n != 1299 || r.RollingDays[124].Sharpe126 != nil || r.RollingDays[125].Sharpe126 == nil || r.RollingDays[250].Beta252 != nil {
		t.Errorf("%d rolling days", n)
	}
	close(t, "last rolling Sharpe ratio", r.Rolling[1].Sharpe.Last, inference.Sharpe(own[len(own)-252:]))

	number := func(query string) (v float64) {
		t.Helper()
		if err := db.QueryRow(t.Context(), query).Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	deepest := r.Drawdowns[0]
	close(t, "deepest drawdown", deepest.Depth, number("SELECT min(drawdown) FROM backtest_equity"))
	if deepest.Peak >= deepest.Trough || len(r.Drawdowns) != WorstDrawdowns {
		t.Errorf("drawdowns %+v", r.Drawdowns)
	}
	for _, e := range r.Sectors {
		symbols := map[string]string{"Technology": "'AAPL', 'MSFT'", "Energy": "'XOM'"}[string(e.Sector)]
		if symbols == "" {
			symbols = "SELECT symbol FROM backtest_positions WHERE symbol NOT IN ('AAPL', 'MSFT', 'XOM')"
		}
		close(t, "mean of "+string(e.Sector), e.MeanNet, number("SELECT sum(weight) / 1300 FROM backtest_positions WHERE symbol IN ("+symbols+")"))
		close(t, "highest of "+string(e.Sector), e.MaxGross, number("SELECT max(w) FROM (SELECT sum(weight) AS w FROM backtest_positions WHERE symbol IN ("+symbols+") GROUP BY ts)"))
	}
	if len(r.Sectors) != 3 || r.Capacity.Unknown != r.Capacity.Trades || r.Capacity.Limits[0].Median != nil {
		t.Errorf("sectors %+v, capacity of symbols without bars %+v", r.Sectors, r.Capacity)
	}
	page := write(t, s)
	for _, text := range []string{"95 % intervals", "Worst drawdowns", "Exposure by sector", "not known", "Technology", `id="chart-rolling-sharpe"`, `id="chart-rolling-beta"`, "Information ratio"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf<") || strings.Contains(page, "ZgotmplZ") {
		t.Error("the page has a number or a text that could not be written")
	}
}

// What a sample is too short for is null in JSON and a dash on the page.
func TestAShortSampleHasNoFigureOfRisk(t *testing.T) {
	t.Parallel()
	for _, days := range []int{0, 1, 2, 19} {
		m := ordinary()
		m.days = days
		_, s := m.assessed(t, nil)
		r := s.Risk
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("%d days: %v", days, err)
		}
		if r.Intervals.Sharpe != nil || r.Intervals.Block != nil || r.Tails[0].ValueAtRisk != nil || r.Rolling[0].Sharpe != nil || r.Benchmark != nil && r.Benchmark.Beta != nil {
			t.Errorf("%d days: %s", days, text)
		}
		for _, list := range []string{`"drawdowns":[`, `"sectors":[`, `"rolling_days":[`} {
			if !strings.Contains(string(text), list) {
				t.Errorf("%d days: %s lacks %s", days, text, list)
			}
		}
		if page := write(t, s); strings.Contains(page, "NaN") || strings.Contains(page, "Inf<") {
			t.Errorf("%d days: a number could not be written", days)
		}
	}
}

// Forty sessions of an account of 1,000,000. What was sold short has a weight below 0.
func TestCapacityIsHeldAgainstTheVolumeBeforeATrade(t *testing.T) {
	t.Parallel()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "f.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := factstoretest.Write(t.Context(), db, "r",
		`INSERT INTO backtest_summary (run_id, strategy_id, created_at) VALUES ('r', 's', TIMESTAMP '2026-01-01')`,
		`INSERT INTO backtest_details (run_id, strategy_id, initial_capital) VALUES ('r', 's', 1e6)`,
		`INSERT INTO backtest_equity (run_id, ts, equity, cash, ret, drawdown) SELECT 'r', DATE '2024-01-01' + i::INTEGER, 1e6, 0, CASE WHEN i > 0 THEN 0 END, 0 FROM range(40) AS r(i)`,
		// Of A 100 x 1 to 100 x 40 a day, of B nothing is known on 2024-01-10, of C only 10 bars.
		`INSERT INTO ohlcv (symbol, ts, close, volume) SELECT 'A', DATE '2024-01-01' + i::INTEGER, 100, i + 1 FROM range(40) AS r(i)`,
		`INSERT INTO ohlcv (symbol, ts, close, volume) SELECT 'B', DATE '2024-01-01' + i::INTEGER, 100, CASE WHEN i <> 9 THEN 50 END FROM range(40) AS r(i)`,
		`INSERT INTO ohlcv (symbol, ts, close, volume) SELECT 'C', DATE '2024-01-20' + i::INTEGER, 100, 1000 FROM range(10) AS r(i)`,
		// On 2024-01-31: A twice, 5,000 in all, and B 2,000, whose volume is known again; before, B is not.
		`INSERT INTO backtest_trades (run_id, symbol, entry_ts, entry_price, qty, exit_ts, exit_price, reason) VALUES
			('r', 'A', '2024-01-31', 50, 40, NULL, 60, 'OPEN'), ('r', 'A', '2024-01-31', 50, 60, NULL, 60, 'OPEN'),
			('r', 'B', '2024-01-25', 20, -100, '2024-01-31', 20, 'CLOSED'), ('r', 'C', '2024-01-31', 20, 1, '2024-02-05', 0, 'DELISTED')`,
		`INSERT INTO backtest_positions (run_id, ts, symbol, weight) VALUES ('r', '2024-02-09', 'A', 0.3), ('r', '2024-02-09', 'B', -0.2), ('r', '2024-02-08', 'A', 0.1)`); err != nil {
		t.Fatal(err)
	}
	read := func() *Sheet {
		t.Helper()
		s, err := ReadDays(t.Context(), db, "r")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ReadRisk(t.Context(), db, map[string]string{"A": "x", "B": "x"}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := read()
	c := s.Risk.Capacity
	if c.Trades != 4 || c.Unknown != 2 {
		t.Fatalf("capacity %+v", c)
	}
	// A: the 20 bars before have 100 x 11 to 100 x 30, a mean of 2,050; 5,000 of 1,000,000 is 0.005.
	a, b := 0.01*2050/0.005, 0.01*5000/0.002
	close(t, "median", *c.Limits[0].Median, max(a, b))
	close(t, "95 %", *c.Limits[0].Tail, min(a, b))
	close(t, "95 %, of 5 % of the volume", *c.Limits[1].Tail, 5*min(a, b))
	// 300,000 of A at 1 % of its last 20 bars, 100 x 21 to 100 x 40; 200,000 of B.
	close(t, "sessions to sell", *c.Limits[0].Days, max(300_000/(0.01*3050), 200_000/(0.01*5000)))
	e := s.Risk.Sectors[0]
	close(t, "last net", e.LastNet, 0.1)
	close(t, "last gross", e.LastGross, 0.5)
	close(t, "mean net", e.MeanNet, 0.2/40)

	// What was traded on the day itself was not known at its fill.
	if err := factstoretest.Write(t.Context(), db, "r2", `UPDATE ohlcv SET volume = 1e9 WHERE symbol = 'A' AND ts >= '2024-01-31'`); err != nil {
		t.Fatal(err)
	}
	if again := read().Risk.Capacity; *again.Limits[0].Tail != *c.Limits[0].Tail || *again.Limits[0].Median != *c.Limits[0].Median {
		t.Errorf("a later volume changed the capacity from %+v to %+v", c, again)
	}
}

// The initial capital is the first highest value; its peak is the session of the first fill.
func TestADrawdownHasTheDaysOfItsPeakTroughAndRecovery(t *testing.T) {
	t.Parallel()
	first, _ := quant.ParseDate("2024-01-01")
	s := Sheet{InitialCapital: 100}
	for i, equity := range []float64{99, 80, 100, 104, 90, 103} {
		s.Days = append(s.Days, Day{TS: first + quant.Date(i), Equity: equity})
	}
	list := s.drawdowns()
	if len(list) != 2 || list[0].Peak != first || list[0].Trough != first+1 || *list[0].Recovery != first+2 || list[0].Falling != 1 || *list[0].Rising != 1 || list[0].Length != 2 {
		t.Errorf("the deepest of %+v", list)
	}
	close(t, "depth", list[0].Depth, -0.2)
	if list[1].Peak != first+3 || list[1].Trough != first+4 || list[1].Recovery != nil || list[1].Length != 2 {
		t.Errorf("the other of %+v", list)
	}
}
