package backtest

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
)

// lab is a Fact DB with prices and decisions.
type lab struct {
	t    *testing.T
	db   *factstore.DB
	runs int
}

func newLab(t *testing.T) *lab {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{
		Path: filepath.Join(t.TempDir(), "q.duckdb"), Now: func() time.Time { now = now.Add(time.Second); return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &lab{t: t, db: db}
}

// write runs statements as a run of their own.
func (l *lab) write(statements ...string) string {
	l.t.Helper()
	l.runs++
	run := "writer-" + string(rune('a'+l.runs))
	if _, err := l.db.Write(l.t.Context(), run, func(ctx context.Context, tx *factstore.Tx) error {
		for _, s := range statements {
			s = strings.ReplaceAll(s, "$now", "TIMESTAMP '"+tx.Now.Format("2006-01-02 15:04:05.000000")+"'")
			s = strings.ReplaceAll(s, "$run", "'"+run+"'")
			if err := factstoretest.Exec(ctx, tx, s); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return run
}

func date(t *testing.T, s string) quant.Date {
	t.Helper()
	d, err := quant.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// prices stores closes on the days from 2020-01-01 on; 0 is no bar.
func (l *lab) prices(symbol string, closes ...float64) string {
	var values []string
	for i, p := range closes {
		if p > 0 {
			values = append(values, "('"+symbol+"', DATE '2020-01-01' + "+strconv.Itoa(i)+", "+ftoa(p)+", "+ftoa(p)+", "+ftoa(p)+", "+ftoa(p)+", 1000, "+ftoa(p)+", 'test', $now)")
		}
	}
	return l.write("INSERT INTO ohlcv VALUES " + strings.Join(values, ", "))
}

// decide stores a decision: symbol, weight, symbol, weight.
func (l *lab) decide(day int, status string, weights ...any) string {
	asof := "DATE '2020-01-01' + " + strconv.Itoa(day)
	statements := []string{`INSERT INTO target_sets (strategy_id, version, "asof", status, config_digest, run_id, decided_at) VALUES ('s', '1', ` + asof + `, '` + status + `', 'sha256:config', $run, $now)`}
	for i := 0; i < len(weights); i += 2 {
		statements = append(statements, `INSERT INTO targets VALUES ('s', '1', `+asof+`, '`+weights[i].(string)+`', `+ftoa(weights[i+1].(float64))+`, 1, true, '[]', '', $now)`)
	}
	return l.write(statements...)
}

func ftoa(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

func (l *lab) calendar() *calendar.Calendar {
	l.t.Helper()
	rows, err := l.db.Query(l.t.Context(), "SELECT DISTINCT ts FROM ohlcv")
	if err != nil {
		l.t.Fatal(err)
	}
	defer rows.Close()
	var days []quant.Date
	for rows.Next() {
		var d quant.Date
		if err := rows.Scan(&d); err != nil {
			l.t.Fatal(err)
		}
		days = append(days, d)
	}
	if err := rows.Err(); err != nil {
		l.t.Fatal(err)
	}
	return calendar.FromDates(days)
}

func (l *lab) request() Request {
	return Request{
		RunID: "backtest-1", StrategyID: "s", Version: "1", StrategyDigest: "sha256:file", DecisionDigest: "sha256:config", Universe: []string{"A", "B"},
		From: date(l.t, "2020-01-01"), To: date(l.t, "2020-12-31"), Options: defaults(),
	}
}

func (l *lab) run(req Request) (Report, error) { return Run(l.t.Context(), l.db, l.calendar(), req) }

func (l *lab) number(query string, args ...any) (x float64) {
	l.t.Helper()
	if err := l.db.QueryRow(l.t.Context(), query, args...).Scan(&x); err != nil {
		l.t.Fatal(query, err)
	}
	return x
}

func TestAHandWorkedAccount(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.prices("A", 100, 110, 121, 110)
	l.prices("B", 10, 10, 10, 20)
	l.decide(0, "current", "A", 1.0)
	l.decide(2, "current", "A", 0.5, "B", 0.25)
	req := l.request()
	req.FeeBps, req.SlippageBps, req.Benchmark = 60, 40, "B" // one percent together
	r, err := l.run(req)
	if err != nil {
		t.Fatal(err)
	}
	// Day 0: E' + 0.01 E' = 1e6. Day 2: h = 1.21 x; A is sold, B bought:
	// E' + 0.01 (h - E'/2 + E'/4) = h.
	x := 1e6 / 1.01
	h := 1.21 * x
	y := h * 0.99 / 0.9975
	last := y*0.5*110/121 + y*0.25*2 + y*0.25
	for i, want := range []float64{x, 1.1 * x, y, last} {
		if got := r.Curve[i].Equity; math.Abs(got-want) > 1e-6 {
			t.Errorf("day %d: equity %v, want %v", i, got, want)
		}
	}
	if r.Curve[0].Ret != nil || math.Abs(*r.Curve[1].Ret-(1.1*x/1e6-1)) > 1e-12 || r.Metrics.Returns != 3 {
		t.Errorf("returns: %+v", r.Curve[:2])
	}
	if got := l.number("SELECT sum(pnl) FROM backtest_trades WHERE run_id = ?", "backtest-1"); math.Abs(got-(last-1e6)) > 0.01 {
		t.Errorf("trades earn %v, want %v", got, last-1e6)
	}
	sold := h - y/2
	if got := l.number("SELECT fees FROM backtest_trades WHERE reason = 'REDUCED'"); math.Abs(got-(0.006*x*sold/h+0.006*sold)) > 1e-6 {
		t.Errorf("fees of what was sold: %v", got)
	}
	if got := l.number("SELECT exit_price * 1000 + entry_price FROM backtest_trades WHERE reason = 'REDUCED'"); got != 121100 {
		t.Errorf("closes are recorded without slippage: %v", got)
	}
	if got := *r.Metrics.Turnover; math.Abs(got-sold/y*252/3) > 1e-9 {
		t.Errorf("turnover %v, want %v", got, sold/y*252/3)
	}
	if got := r.Metrics.Benchmark.FinalEquity; math.Abs(got-2*x) > 1e-6 || math.Abs(*r.Curve[0].Benchmark-r.Curve[0].Equity) > 1e-6 {
		t.Errorf("benchmark ends at %v, want %v", got, 2*x)
	}
	if r.Metrics.NumTrades != 0 || r.Metrics.OpenPositions != 2 || r.WinRate != nil {
		t.Errorf("episodes that are open do not count: %+v", r.Metrics)
	}
	for table, want := range map[string]float64{"backtest_equity": 4, "backtest_positions": 6, "backtest_trades": 3, "backtest_summary": 1, "backtest_details": 1} {
		if got := l.number("SELECT count(*) FROM "+table+" WHERE run_id = ?", "backtest-1"); got != want {
			t.Errorf("%s has %v rows, want %v", table, got, want)
		}
		if got := l.number("SELECT count(*) FROM ledger WHERE run_id = ? AND table_name = ?", "backtest-1", table); got != 1 {
			t.Errorf("%s has %v ledger rows", table, got)
		}
	}
	if got := l.number("SELECT count(*) FROM backtest_equity WHERE equity <> cash + positions OR ret IS NULL AND ts > DATE '2020-01-01'"); got != 0 {
		t.Errorf("%v rows of equity do not balance", got)
	}
	if got := l.number("SELECT max(abs(e.positions - p.value)) FROM backtest_equity e JOIN (SELECT ts, sum(value) AS value FROM backtest_positions GROUP BY ts) p USING (ts)"); got > 1e-6 {
		t.Errorf("the book is off by %v", got)
	}
	b, err := Read(t.Context(), l.db, "backtest-1")
	if err != nil || b.ResultDigest != r.ResultDigest || b.Metrics.FinalEquity != r.Metrics.FinalEquity || len(b.Sensitivity) != 20 || len(b.Metrics.Lags) != 2 ||
		b.BenchmarkName != "B" || !slices.Equal(b.Notices, r.Notices) || b.PricesAt != r.PricesAt || b.CreatedAt != r.CreatedAt || b.LagDays != 0 {
		t.Errorf("read back: %+v, %v", b, err)
	}
	if list, err := List(t.Context(), l.db, "s"); err != nil || len(list) != 1 {
		t.Errorf("%d backtests, %v", len(list), err)
	}
	if _, err := Read(t.Context(), l.db, "nobody"); !errors.Is(err, quant.NotFound) {
		t.Errorf("of no run: %v", err)
	}
	if problems, err := l.db.Check(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestEqualBacktestsInFreshLabsHaveTheSameDigests(t *testing.T) {
	t.Parallel()
	var reports []Report
	for i := range 2 {
		l := newLab(t)
		if i == 1 {
			l.decide(9, "current", "A", 1.0) // another time, another run
			l.write("DELETE FROM targets", "DELETE FROM target_sets")
		}
		l.prices("A", 100, 103, 99, 104, 110, 108)
		l.prices("B", 7, 7.1, 7.05, 7.2, 7.4, 7.3)
		l.decide(0, "current", "A", 0.4, "B", 0.6)
		l.decide(3, "current", "B", 1.0)
		req := l.request()
		req.FeeBps, req.Benchmark, req.RunID = 5, EqualWeight, "run-"+strconv.Itoa(i)
		r, err := l.run(req)
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, r)
	}
	if a, b := reports[0], reports[1]; a.ResultDigest != b.ResultDigest {
		t.Errorf("%s and %s", a.ResultDigest, b.ResultDigest)
	}
	for i, io := range reports[0].Outputs {
		if other := reports[1].Outputs[i]; io.Digest != other.Digest || io.Name != other.Name {
			t.Errorf("%s: %s and %s", io.Name, io.Digest, other.Digest)
		}
	}
	for i, io := range reports[0].Inputs {
		if other := reports[1].Inputs[i]; io.Kind == "table" && io.Digest != other.Digest {
			t.Errorf("%s: %s and %s", io.Name, io.Digest, other.Digest)
		}
	}
}

func TestItSaysWhatItReadAndWhoWroteThat(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	a := l.prices("A", 100, 101, 102)
	l.prices("C", 1, 2, 3) // not read
	d := l.decide(0, "current", "A", 0.5)
	r, err := l.run(l.request())
	if err != nil {
		t.Fatal(err)
	}
	var runs, tables []string
	for _, io := range r.Inputs {
		switch io.Kind {
		case "run":
			runs = append(runs, io.Name)
		case "table":
			tables = append(tables, io.Name+" "+strconv.FormatInt(*io.Rows, 10))
		}
	}
	if !slices.Equal(runs, []string{a, d}) || !slices.Equal(tables, []string{"target_sets:s@1 1", "targets:s@1 1", "ohlcv 3"}) {
		t.Errorf("runs %v, tables %v", runs, tables)
	}
}

func TestDecisionsThatAreNotWhatTheStrategySaysAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change string // to the decision of day 1
		to     func(*Request)
		code   quant.Code
		text   string
	}{
		"stale":            {change: "UPDATE target_sets SET status = 'stale' WHERE \"asof\" = DATE '2020-01-02'", code: quant.Refused, text: "stale decisions"},
		"another version":  {change: "UPDATE target_sets SET version = '2' WHERE \"asof\" = DATE '2020-01-02'", code: quant.Refused, text: "another version"},
		"all of another":   {to: func(r *Request) { r.Version = "3" }, code: quant.NotFound, text: "other versions have"},
		"another config":   {change: "UPDATE target_sets SET config_digest = 'sha256:old' WHERE \"asof\" = DATE '2020-01-02'", code: quant.Refused, text: "has changed since it decided: 2020-01-02"},
		"none":             {to: func(r *Request) { r.StrategyID = "other" }, code: quant.NotFound, text: "no decisions"},
		"none in range":    {to: func(r *Request) { r.From = date(t, "2020-01-03") }, code: quant.NotFound, text: "no decisions from 2020-01-03"},
		"dates exchanged":  {to: func(r *Request) { r.From, r.To = r.To, r.From }, code: quant.Invalid, text: "before the first"},
		"two currencies":   {to: func(r *Request) { r.Currencies = map[string]string{"A": "USD", "B": "KRW"} }, code: quant.Refused, text: "KRW (B), USD (A)"},
		"a benchmark gone": {to: func(r *Request) { r.Benchmark = "SPY" }, code: quant.NotFound, text: "benchmark SPY has no bar on 2020-01-01"},
		"a split":          {change: "UPDATE ohlcv SET adjusted_close = NULL, close = 50 WHERE symbol = 'A' AND ts = DATE '2020-01-03'", code: quant.Refused, text: "as in a split"},
		"leverage":         {change: "UPDATE targets SET weight = 0.9", code: quant.Invalid, text: "borrows no money"},
		"a short":          {change: "UPDATE targets SET weight = -0.9 WHERE symbol = 'B'", code: quant.Invalid, text: "long only"},
		"a bad lag":        {to: func(r *Request) { r.Lag = -1 }, code: quant.Invalid, text: "lag_days"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.prices("A", 100, 101, 102, 103)
			l.prices("B", 10, 11, 10, 11)
			l.decide(0, "current", "A", 0.5, "B", 0.5)
			l.decide(1, "current", "A", 0.5, "B", 0.4)
			if c.change != "" {
				l.write(c.change)
			}
			req := l.request()
			if c.to != nil {
				c.to(&req)
			}
			_, err := l.run(req)
			if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.text) || quant.HintOf(err) == "" {
				t.Errorf("%v (hint %q)", err, quant.HintOf(err))
			}
			if got := l.number("SELECT count(*) FROM backtest_summary"); got != 0 {
				t.Error("something was stored")
			}
		})
	}
}

func TestWhatTheReaderMustKnowIsSaid(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.prices("A", 100, 101, 0, 103, 104)
	l.prices("B", 10, 11, 10, 11, 12)
	l.write("UPDATE ohlcv SET adjusted_close = NULL WHERE symbol = 'B'")
	l.decide(0, "current", "A", 0.5, "B", 0.5)
	l.decide(2, "current", "A", 0.4, "B", 0.4)
	l.decide(4, "current")
	req := l.request()
	req.InSample, req.Currencies = true, map[string]string{"A": "USD"}
	said := func(r Report, words ...string) {
		t.Helper()
		all := strings.Join(r.Notices, "\n")
		for _, w := range words {
			if !strings.Contains(all, w) {
				t.Errorf("nothing says %q:\n%s", w, all)
			}
		}
	}
	r, err := l.run(req)
	if err != nil {
		t.Fatal(err)
	}
	said(r, "IN SAMPLE", "lag 0 is an optimistic fill", "short sample: 4 returns", "universe fixed as of 2020-01-05", "UNADJUSTED", "currency of B", "1 orders had no bar", "1 times a position")
	if !r.InSample || r.Basis != "mixed" {
		t.Errorf("%+v", r.Details)
	}
	req.Lag, req.RunID, req.InSample = 3, "backtest-2", false
	r, err = l.run(req)
	if err != nil {
		t.Fatal(err)
	}
	said(r, "2 of 3 decisions were replaced", "1 of 3 decisions have their fill after the last session", "nothing was ever bought")
	if r.FromTS != nil || r.CAGR != nil || len(r.Metrics.Lags) != 3 || l.number("SELECT count(*) FROM backtest_equity WHERE run_id = 'backtest-2'") != 0 {
		t.Errorf("%+v", r.Summary)
	}
}

func TestTheEndOfAllDataIsNoDelisting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		other    float64 // price of a symbol that is not held, on the last day
		delisted int64
	}{{"all end", 0, 0}, {"another goes on", 5, 1}} {
		l := newLab(t)
		l.prices("A", 100, 101)
		closes := make([]float64, 15)
		for i := range closes {
			closes[i] = c.other
		}
		closes[0], closes[1] = 5, 5
		l.prices("Z", closes...)
		l.decide(0, "current", "A", 1.0)
		r, err := l.run(l.request())
		if err != nil {
			t.Fatal(err)
		}
		if r.Metrics.Delisted != c.delisted {
			t.Errorf("%s: %+v", c.name, r.Metrics)
		}
		if c.delisted == 1 {
			if got := l.number("SELECT count(*) FROM backtest_trades WHERE reason = 'DELISTED' AND exit_ts = DATE '2020-01-12' AND abs(exit_price - 70.7) < 1e-9"); got != 1 {
				t.Errorf("%s: the trade is missing", c.name)
			}
			if math.Abs(r.Metrics.FinalEquity-707000) > 1e-6 || r.Metrics.Gaps != 9 || r.Metrics.NumTrades != 1 || *r.WinRate != 0 {
				t.Errorf("%s: %+v", c.name, r.Metrics)
			}
		}
	}
}

func TestAStrategyThatHoldsOneSymbolGivesThatSymbolsReturn(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	closes := []float64{100, 103, 99, 98.5, 104, 110.25}
	l.prices("A", closes...)
	l.decide(0, "current", "A", 1.0)
	l.decide(3, "current", "A", 1.0)
	req := l.request()
	req.Benchmark = "A"
	r, err := l.run(req)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range r.Curve {
		if math.Abs(d.Equity-1e6*closes[i]/100) > 1e-6 || math.Abs(d.Equity-*d.Benchmark) > 1e-6 {
			t.Errorf("day %d: %+v", i, d)
		}
	}
	if len(r.Metrics.Lags) != 2 || *r.Metrics.CAGR != *r.Metrics.Benchmark.CAGR || r.Metrics.OpenPositions != 1 {
		t.Errorf("%+v", r.Metrics)
	}
}

func TestAnEmptyDecisionMeansCashAndNoneMeansHold(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.prices("A", 100, 110, 120, 130)
	l.decide(0, "current", "A", 0.5)
	l.decide(2, "current")
	req := l.request()
	req.CashRate = math.Pow(1.001, 252) - 1
	r, err := l.run(req)
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{1e6, 500_500 + 550_000, 501_000.5 + 600_000, 1_101_000.5 * 1.001}
	for i, d := range r.Curve {
		if math.Abs(d.Equity-want[i]) > 1e-6 {
			t.Errorf("day %d: %v, want %v", i, d.Equity, want[i])
		}
	}
	if r.Curve[3].Positions != 0 || math.Abs(r.Metrics.Interest-(500+500.5+1101.0005)) > 1e-6 || r.Metrics.NumTrades != 1 || *r.WinRate != 1 || math.Abs(*r.AvgTrade-100_000) > 1e-6 {
		t.Errorf("%+v", r.Metrics)
	}
}
