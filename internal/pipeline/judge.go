package pipeline

import (
	"context"

	"quant/internal/backtest/deflated"
	"quant/internal/factstore"
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
