package tearsheet

import (
	"context"
	"database/sql"

	"quant"
	"quant/internal/factstore"
)

// TradeQuery says which trades of a backtest are asked for.
type TradeQuery struct {
	RunID  string
	Symbol string // "": of all
	// Order is one of entry, exit, pnl and pnl_pct, the greatest first; "": in order of
	// entry, then symbol.
	Order      string
	From, Size int // the first, from 0, and how many at most; 0: all
}

// ReadTrades returns trades of a backtest, and how many there are in all that are of
// the symbol. Usage: trades are not sorted so.
func ReadTrades(ctx context.Context, db *factstore.DB, q TradeQuery) (list []Trade, total int64, err error) {
	order, known := map[string]string{"": "", "entry": "entry_ts DESC, ", "exit": "exit_ts DESC NULLS LAST, ", "pnl": "pnl DESC NULLS LAST, ", "pnl_pct": "pnl_pct DESC NULLS LAST, "}[q.Order]
	if !known {
		return nil, 0, quant.Errorf(quant.Usage, "trades are not sorted by %q", q.Order)
	}
	const these = ` FROM backtest_trades WHERE run_id = ? AND (? = '' OR symbol = ?)`
	args := []any{q.RunID, q.Symbol, q.Symbol}
	query := `SELECT symbol, entry_ts, entry_price, qty, exit_ts, exit_price, pnl, pnl_pct, fees, slippage_est, coalesce(reason, '')` + these +
		` ORDER BY ` + order + `entry_ts, symbol, exit_ts NULLS LAST, qty, pnl`
	if q.Size > 0 {
		if err := db.QueryRow(ctx, `SELECT count(*)`+these, args...).Scan(&total); err != nil {
			return nil, 0, err
		}
		query, args = query+` LIMIT ? OFFSET ?`, append(args, q.Size, q.From)
	}
	err = each(ctx, db, func(rows *sql.Rows) error {
		var t Trade
		if err := rows.Scan(&t.Symbol, &t.EntryTS, &t.EntryPrice, &t.Qty, nullDate{&t.ExitTS}, &t.ExitPrice,
			&t.PnL, &t.PnLPct, &t.Fees, &t.Slipped, &t.Reason); err != nil {
			return err
		}
		list = append(list, t)
		return nil
	}, query, args...)
	if q.Size == 0 {
		total = int64(len(list))
	}
	return list, total, err
}

// Stretch is what happened from one day to another.
type Stretch struct {
	From, To  quant.Date
	Days      int
	Return    *float64 // of the account; nil with fewer than 2 days
	Benchmark *float64 // nil: there is none
	MaxDD     *float64 // below its highest since From
}

// Between returns the days of the sheet from one to another, both included (nil: no
// bound), and what happened in them.
func (s *Sheet) Between(from, to *quant.Date) ([]Day, Stretch) {
	lo, hi := 0, len(s.Days)
	for from != nil && lo < hi && s.Days[lo].TS < *from {
		lo++
	}
	for to != nil && hi > lo && s.Days[hi-1].TS > *to {
		hi--
	}
	days := s.Days[lo:hi]
	stretch := Stretch{Days: len(days)}
	if len(days) == 0 {
		return days, stretch
	}
	first, last := days[0], days[len(days)-1]
	stretch.From, stretch.To = first.TS, last.TS
	if len(days) < 2 || !(first.Equity > 0) {
		return days, stretch
	}
	gain := last.Equity/first.Equity - 1
	stretch.Return = &gain
	if first.Benchmark != nil && last.Benchmark != nil && *first.Benchmark > 0 {
		other := *last.Benchmark / *first.Benchmark - 1
		stretch.Benchmark = &other
	}
	high, deepest := first.Equity, 0.0
	for _, d := range days {
		high = max(high, d.Equity)
		deepest = min(deepest, d.Equity/high-1)
	}
	stretch.MaxDD = &deepest
	return days, stretch
}
