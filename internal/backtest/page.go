package backtest

import (
	"context"
	"database/sql"

	"quant"
	"quant/internal/factstore"
)

// Query says which backtests of a list are asked for.
type Query struct {
	StrategyID string // "": of all
	// Order is a column of the list, in Orders; "": the newest first.
	Order      string
	Descending bool
	From, Size int // the first, from 0, and how many at most
}

// orders are the columns that a list is sorted by, and what stands for each.
var orders = map[string]string{
	"created": "s.created_at", "strategy": "s.strategy_id", "from": "s.from_ts", "to": "s.to_ts", "lag": "d.lag_days", "costs": "s.fee_bps + s.slippage_bps",
	"cagr": "s.cagr", "vol": "s.vol", "sharpe": "s.sharpe", "max_dd": "s.max_dd", "turnover": "s.turnover", "trades": "s.num_trades",
}

// Page returns backtests as List does, some of them, and how many there are in all.
// Usage: a list is not sorted so.
func Page(ctx context.Context, db *factstore.DB, q Query) (list []Overview, total int64, err error) {
	order, known := orders[q.Order]
	switch {
	case q.Order == "":
		order, q.Descending = orders["created"], true
	case !known:
		return nil, 0, quant.Errorf(quant.Usage, "backtests are not sorted by %q", q.Order)
	}
	if q.Descending {
		order += " DESC"
	}
	const these = ` FROM backtest_summary s JOIN backtest_details d ON d.run_id = s.run_id WHERE ? = '' OR s.strategy_id = ?`
	if err := db.QueryRow(ctx, "SELECT count(*)"+these, q.StrategyID, q.StrategyID).Scan(&total); err != nil {
		return nil, 0, err
	}
	rows, err := db.Query(ctx, `SELECT s.run_id, s.strategy_id, s.from_ts, s.to_ts, s.cagr, s.sharpe, s.max_dd, s.vol, s.turnover, s.win_rate, s.avg_trade, s.num_trades,
			s.fee_bps, s.slippage_bps, s.created_at, d.version, d.lag_days, d.basis, d.benchmark, d.in_sample, d.result_digest`+these+
		` ORDER BY `+order+` NULLS LAST, s.run_id DESC LIMIT ? OFFSET ?`, q.StrategyID, q.StrategyID, q.Size, q.From)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var b Overview
		var from, to sql.Null[quant.Date]
		if err := rows.Scan(&b.RunID, &b.StrategyID, &from, &to, &b.CAGR, &b.Sharpe, &b.MaxDD, &b.Vol, &b.Turnover, &b.WinRate, &b.AvgTrade, &b.NumTrades,
			&b.FeeBps, &b.SlippageBps, &b.CreatedAt, &b.Version, &b.LagDays, &b.Basis, &b.Benchmark, &b.InSample, &b.ResultDigest); err != nil {
			return nil, 0, err
		}
		b.FromTS, b.ToTS = present(from), present(to)
		list = append(list, b)
	}
	return list, total, rows.Err()
}

// CostBps is what a trade costs, in basis points of its value.
func (o Overview) CostBps() float64 { return o.FeeBps + o.SlippageBps }
