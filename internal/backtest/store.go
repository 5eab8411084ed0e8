package backtest

import (
	"math"
	"strconv"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
)

// stored are the tables of a backtest, each with what its digest leaves out:
// the run, times, and the name of the trial, which says nothing that the others
// do not.
var stored = []struct{ table, exclude string }{
	{factstore.BacktestSummary, "run_id, created_at"},
	{factstore.BacktestTrades, "run_id"},
	{factstore.BacktestEquity, "run_id"},
	{factstore.BacktestPositions, "run_id"},
	{factstore.BacktestDetails, "run_id, prices_at, created_at, trial_digest"},
}

// digestOf is the digest of a result, without run and times: the equity, the
// trades and the summary, every number in full.
func digestOf(s Summary, result Result) string {
	l := lines{sum: durable.NewSum(), b: make([]byte, 0, 1<<16)}
	if n := len(result.Days); n > 0 && result.Days[n-1].TS >= result.Days[0].TS {
		l.from, l.days = result.Days[0].TS, make([]string, result.Days[n-1].TS-result.Days[0].TS+1)
	}
	for i := range result.Days {
		d := &result.Days[i]
		l.text("E").day(&d.TS).floats(&d.Equity, &d.Cash, &d.Positions, d.Ret, &d.Drawdown, &d.Turnover, &d.Costs, d.Benchmark).end()
	}
	for i := range result.Trades {
		t := &result.Trades[i]
		l.text("T").text(t.Symbol).day(&t.EntryTS).floats(&t.EntryPrice, &t.Qty).day(t.ExitTS).floats(&t.ExitPrice, &t.PnL, &t.Fees, &t.Slippage).text(t.Reason).end()
	}
	l.text("S").text(s.StrategyID).day(s.FromTS).day(s.ToTS).floats(s.CAGR, s.Sharpe, s.MaxDD, s.Vol, s.Turnover, s.WinRate, s.AvgTrade)
	l.text(strconv.FormatInt(s.NumTrades, 10)).floats(&s.FeeBps, &s.SlippageBps).end()
	return l.digest()
}

// lines digests lines of values, each with a tab behind it: floats with the
// shortest digits that are theirs alone, nothing where there is no value.
type lines struct {
	sum  *durable.Sum
	b    []byte
	days []string   // texts of days from first on; "": not made yet
	from quant.Date // the first
}

func (l *lines) text(text string) *lines {
	l.b = append(append(l.b, text...), '\t')
	return l
}

func (l *lines) day(d *quant.Date) *lines {
	if d == nil {
		return l.text("")
	}
	at := int(*d) - int(l.from)
	if at < 0 || at >= len(l.days) {
		return l.text(d.String())
	}
	if l.days[at] == "" {
		l.days[at] = d.String()
	}
	return l.text(l.days[at])
}

func (l *lines) floats(values ...*float64) *lines {
	for _, v := range values {
		switch {
		case v == nil:
		case math.Float64bits(*v) == 0:
			l.b = append(l.b, '0')
		default:
			l.b = strconv.AppendFloat(l.b, *v, 'g', -1, 64)
		}
		l.b = append(l.b, '\t')
	}
	return l
}

// end ends a line.
func (l *lines) end() {
	if l.b = append(l.b, '\n'); len(l.b) >= 1<<15 {
		l.flush()
	}
}

func (l *lines) flush() {
	_, _ = l.sum.Write(l.b) // a hash takes everything
	l.b = l.b[:0]
}

func (l *lines) digest() string {
	l.flush()
	return l.sum.Digest()
}
