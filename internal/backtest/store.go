package backtest

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
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

// write stores the result in one transaction and says what each table holds of
// it now.
func write(ctx context.Context, db *factstore.DB, r *Report, result Result) ([]quant.RunIO, error) {
	if err := stage(ctx, db, r, result); err != nil {
		return nil, err
	}
	var list []quant.RunIO
	_, err := db.Write(ctx, r.RunID, func(ctx context.Context, tx *factstore.Tx) error {
		r.CreatedAt = quant.NewTime(tx.Now)
		for _, table := range []string{factstore.BacktestSummary, factstore.BacktestDetails, factstore.BacktestEquity, factstore.BacktestPositions} {
			if _, err := tx.Merge(ctx, factstore.Merge{Table: table, Source: table + staged}); err != nil {
				return err
			}
		}
		if _, err := tx.Insert(ctx, factstore.BacktestTrades, "FROM temp.main."+factstore.BacktestTrades+staged); err != nil {
			return err
		}
		for _, s := range stored {
			rows, digest, err := tx.Digest(ctx, fmt.Sprintf("SELECT * EXCLUDE (%s) FROM %s WHERE run_id = ?", s.exclude, s.table), r.RunID)
			if err != nil {
				return err
			}
			io := quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: s.table, Rows: &rows, Digest: quant.Text(digest)}
			if r.FromTS != nil {
				io.FirstDate, io.LastDate = quant.Text(r.FromTS.String()), quant.Text(r.ToTS.String())
			}
			list = append(list, io)
		}
		return nil
	})
	return list, err
}

// staged ends the names of the TEMP tables that hold the rows to be stored.
const staged = "_rows"

func stage(ctx context.Context, db *factstore.DB, r *Report, result Result) error {
	fill := func(table string, rows func(row func(...driver.Value) error) error) error {
		if _, err := db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+table+staged+" AS FROM "+table+" LIMIT 0"); err != nil {
			return err
		}
		return db.Append(ctx, table+staged, rows)
	}
	s, d := r.Summary, r.Details
	if err := fill(factstore.BacktestSummary, func(row func(...driver.Value) error) error {
		return row(s.RunID, s.StrategyID, null(s.FromTS), null(s.ToTS), null(s.CAGR), null(s.Sharpe), null(s.MaxDD), null(s.Vol), null(s.Turnover),
			null(s.WinRate), null(s.AvgTrade), s.NumTrades, s.FeeBps, s.SlippageBps, nil)
	}); err != nil {
		return err
	}
	if err := fill(factstore.BacktestDetails, func(row func(...driver.Value) error) error {
		var documents [3]string
		for i, v := range []any{d.Sensitivity, measuredText{d.Metrics, d.Delistings, d.Known}, d.Notices} {
			text, err := json.Marshal(v)
			if err != nil {
				return err
			}
			documents[i] = string(text)
		}
		var at, benchmark driver.Value
		if !d.PricesAt.IsZero() {
			at = d.PricesAt.Time
		}
		if d.BenchmarkName != "" {
			benchmark = string(d.BenchmarkName)
		}
		return row(s.RunID, s.StrategyID, d.Version, d.StrategyDigest, d.LagDays, d.Basis, d.Calendar, at, benchmark, d.InitialCapital, d.CashRate,
			d.InSample, null(d.UniverseFixedAt), d.ResultDigest, documents[0], documents[1], documents[2], nil, string(d.TrialDigest))
	}); err != nil {
		return err
	}
	if err := fill(factstore.BacktestEquity, func(row func(...driver.Value) error) error {
		for _, e := range result.Days {
			if err := row(s.RunID, e.TS, e.Equity, e.Cash, e.Positions, null(e.Ret), e.Drawdown, e.Turnover, e.Costs, null(e.Benchmark)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := fill(factstore.BacktestPositions, func(row func(...driver.Value) error) error {
		for _, h := range result.Holdings {
			if err := row(s.RunID, h.TS, h.Symbol, h.Qty, h.Price, h.Value, h.Weight); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return fill(factstore.BacktestTrades, func(row func(...driver.Value) error) error {
		for _, t := range result.Trades {
			if err := row(s.RunID, s.StrategyID, t.Symbol, t.EntryTS, t.EntryPrice, t.Qty, null(t.ExitTS), t.ExitPrice, t.PnL, t.PnLPct, t.Fees, t.Slippage, t.Reason); err != nil {
				return err
			}
		}
		return nil
	})
}

func null[T any](v *T) driver.Value {
	if v == nil {
		return nil
	}
	return *v
}

// digestOf is the digest of a result, without run and times: the equity, the
// trades and the summary, every number in full.
func digestOf(s Summary, result Result) string {
	h := durable.NewSum()
	w := lineWriter{to: h}
	for i := range result.Days {
		d := &result.Days[i]
		w.text("E")
		w.date(&d.TS)
		w.floats(d.Equity, d.Cash, d.Positions)
		w.float(d.Ret)
		w.floats(d.Drawdown, d.Turnover, d.Costs)
		w.float(d.Benchmark)
		w.end()
	}
	for i := range result.Trades {
		t := &result.Trades[i]
		w.text("T")
		w.text(t.Symbol)
		w.date(&t.EntryTS)
		w.floats(t.EntryPrice, t.Qty)
		w.date(t.ExitTS)
		w.floats(t.ExitPrice, t.PnL, t.Fees, t.Slippage)
		w.text(t.Reason)
		w.end()
	}
	w.text("S")
	w.text(s.StrategyID)
	w.date(s.FromTS)
	w.date(s.ToTS)
	for _, v := range []*float64{s.CAGR, s.Sharpe, s.MaxDD, s.Vol, s.Turnover, s.WinRate, s.AvgTrade} {
		w.float(v)
	}
	w.text(strconv.FormatInt(s.NumTrades, 10))
	w.floats(s.FeeBps, s.SlippageBps)
	w.end()
	w.flush()
	return h.Digest()
}

// lineWriter writes lines of values, each with a tab behind it; floats with the
// shortest digits that are theirs alone, nothing for nil.
type lineWriter struct {
	to  io.Writer // a hash, which takes everything
	b   []byte
	day quant.Date // the last one, and its text
	as  []byte
}

func (w *lineWriter) text(s string) { w.b = append(append(w.b, s...), '\t') }

func (w *lineWriter) floats(list ...float64) {
	for _, v := range list {
		w.b = append(strconv.AppendFloat(w.b, v, 'g', -1, 64), '\t')
	}
}

func (w *lineWriter) float(v *float64) {
	if v != nil {
		w.b = strconv.AppendFloat(w.b, *v, 'g', -1, 64)
	}
	w.b = append(w.b, '\t')
}

func (w *lineWriter) date(d *quant.Date) {
	if d != nil {
		if w.as == nil || w.day != *d {
			w.day, w.as = *d, append(w.as[:0], d.String()...)
		}
		w.b = append(w.b, w.as...)
	}
	w.b = append(w.b, '\t')
}

func (w *lineWriter) end() {
	if w.b = append(w.b, '\n'); len(w.b) > 1<<15 {
		w.flush()
	}
}

func (w *lineWriter) flush() {
	_, _ = w.to.Write(w.b)
	w.b = w.b[:0]
}
