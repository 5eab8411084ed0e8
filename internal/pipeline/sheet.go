package pipeline

import (
	"context"

	"quant"
	"quant/internal/backtest/deflated"
	"quant/internal/backtest/tearsheet"
	"quant/internal/curator"
	"quant/internal/factstore"
	"quant/internal/session"
)

// OpenSheet is a backtest to look at: what ReportBacktest draws, with some of its
// trades.
type OpenSheet struct {
	*tearsheet.Sheet
	Deflated deflated.Judgement
	Selected deflated.Selection
	Trades   []tearsheet.Trade
	Matching int64 // trades that are as asked for
}

// ReadSheet reads the backtest of a run, named as session.Resolve has it, and trades of
// it. Errors: those of ReportBacktest.
func ReadSheet(ctx context.Context, s *session.Session, ref string, q tearsheet.TradeQuery) (o OpenSheet, err error) {
	if q.RunID, err = s.Resolve(ctx, ref); err != nil {
		return o, err
	}
	meta, err := s.MetaDB()
	if err != nil {
		return o, err
	}
	sectors, err := sectorsInLab(ctx, s)
	if err != nil {
		return o, err
	}
	err = s.ReadFacts(ctx, func(db *factstore.DB) (err error) {
		if o.Sheet, err = tearsheet.ReadDays(ctx, db, q.RunID); err != nil {
			return err
		}
		judged, err := judgeSheet(ctx, db, o.Sheet, sectors)
		if err != nil {
			return err
		}
		o.Deflated, o.Selected = judged.Judgement, judged.selection
		o.Trades, o.Matching, err = tearsheet.ReadTrades(ctx, db, q)
		return err
	})
	if err != nil {
		return o, err
	}
	o.Inputs, err = meta.RunIO(ctx, q.RunID)
	return o, err
}

// ClosePrice is a close of a symbol, on the basis in use.
type ClosePrice struct {
	TS    quant.Date
	Close float64
}

// Closes returns the closes of a symbol from one day to another (nil: no bound): the
// adjusted ones where every bar of these days has one. adjusted says so. NotFound: it
// has no bars.
func Closes(ctx context.Context, s *session.Session, symbol string, from, to *quant.Date) (list []ClosePrice, adjusted bool, err error) {
	bars, err := Prices(ctx, s, PricesOptions{Symbols: []string{symbol}, From: from, To: to})
	if err != nil {
		return nil, false, err
	}
	adjusted = true
	for _, b := range bars {
		adjusted = adjusted && b.AdjustedClose != nil
	}
	for _, b := range bars {
		at := closeOf(b, adjusted)
		day, err := quant.ParseDate(string(b.TS))
		if err != nil || at == nil {
			continue
		}
		list = append(list, ClosePrice{day, *at})
	}
	return list, adjusted, nil
}

func closeOf(b curator.StoredBar, adjusted bool) *float64 {
	if adjusted {
		return b.AdjustedClose
	}
	return b.Close
}

// SheetTrades are trades of a backtest.
type SheetTrades struct {
	RunID    string
	Trades   []tearsheet.Trade
	Matching int64
}

// ReadTrades reads trades of the backtest of a run, named as session.Resolve has it.
// NotFound: there is no such run; one without a backtest has no trades.
func ReadTrades(ctx context.Context, s *session.Session, ref string, q tearsheet.TradeQuery) (t SheetTrades, err error) {
	if q.RunID, err = s.Resolve(ctx, ref); err != nil {
		return t, err
	}
	t.RunID = q.RunID
	err = s.ReadFacts(ctx, func(db *factstore.DB) (err error) {
		t.Trades, t.Matching, err = tearsheet.ReadTrades(ctx, db, q)
		return err
	})
	return t, err
}
