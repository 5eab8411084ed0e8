package pipeline

import (
	"context"

	"quant/internal/backtest/deflated"
	"quant/internal/backtest/tearsheet"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
)

// JudgeBacktest judges the Sharpe ratio of a backtest by how many trials are
// recorded for its strategy. NotFound: the run stored no backtest. Other errors are
// those of reading the Fact DB.
func JudgeBacktest(ctx context.Context, s *session.Session, runID string) (judged deflated.Judgement, err error) {
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		judged, err = deflated.Judge(ctx, db, runID)
		return err
	})
	return judged, err
}

// judgement is everything that is judged of a backtest.
type judgement struct {
	deflated.Judgement
	selection deflated.Selection
}

// judgeSheet judges a sheet that was read, and puts into it what it shows of that.
func judgeSheet(ctx context.Context, db *factstore.DB, sheet *tearsheet.Sheet, sectors map[string]string) (j judgement, err error) {
	if err := sheet.ReadRisk(ctx, db, sectors); err != nil {
		return j, err
	}
	if j.Judgement, err = deflated.Judge(ctx, db, sheet.RunID); err != nil {
		return j, err
	}
	if j.selection, err = deflated.Select(ctx, db, sheet.RunID, j.Judgement); err != nil {
		return j, err
	}
	d, c := tearsheet.Deflation(j.Judgement), tearsheet.Selection(j.selection)
	sheet.Deflation, sheet.Selection = &d, &c
	return j, nil
}

// sectorsInLab are the sectors of the lab's symbols, by symbol.
func sectorsInLab(ctx context.Context, s *session.Session) (map[string]string, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	list, err := meta.ListSymbols(ctx, metastore.SymbolFilter{})
	if err != nil {
		return nil, err
	}
	sectors := make(map[string]string, len(list))
	for _, symbol := range list {
		sectors[symbol.Symbol] = string(symbol.Sector)
	}
	return sectors, nil
}
