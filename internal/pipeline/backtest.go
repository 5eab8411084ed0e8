package pipeline

import (
	"context"

	"quant"
	"quant/internal/backtest"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/strategy"
)

// inSample is the task_id of scores of dates that their model was trained on.
const inSample = "in_sample"

// BacktestRequest says how the decisions of a strategy are replayed. What flags
// override stands in the strategy already.
type BacktestRequest struct {
	RunID          string
	StrategyDigest string // of the strategy as its file and --set have it
	From, To       quant.Date
	Symbols        []quant.Symbol // all that the Meta DB has
	AcceptRaw      bool           // take raw closes that move as in a split for prices
	AllowInSample  bool
	Source         string     // of prices, as price.Request has it
	PricesAt       quant.Time // the state of the prices in Source; zero: the present one
}

// Backtest replays the recorded decisions of a strategy and stores the result;
// it decides nothing anew. Refused: an in-sample strategy, unless that is
// allowed; other errors are those of backtest.Run.
func Backtest(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, s strategy.Strategy, req BacktestRequest) (backtest.Report, error) {
	r := backtest.Request{
		RunID: req.RunID, StrategyID: s.ID, Version: s.Version, StrategyDigest: req.StrategyDigest, DecisionDigest: s.DecisionDigest(),
		Universe: s.Universe.Symbols, From: req.From, To: req.To, Benchmark: string(s.Backtest.Benchmark), AcceptRaw: req.AcceptRaw,
		Source: req.Source, PricesAt: req.PricesAt, Currencies: map[string]string{},
		Options: backtest.Options{
			Lag: s.Execution.LagDays, FeeBps: s.Backtest.FeeBPS, SlippageBps: s.Backtest.SlippageBPS, InitialCapital: s.Backtest.InitialCapital,
			CashRate: s.Backtest.CashRate, DelistAfter: s.Backtest.DelistAfter, DelistingReturn: s.Backtest.DelistingReturn,
		},
	}
	r.InSample = s.Signal.Type == strategy.ModelScore && s.Signal.Inputs.TaskID == inSample
	if r.InSample && !req.AllowInSample {
		return backtest.Report{}, quant.Errorf(quant.Refused, "strategy %s ranks by in-sample scores: its model has seen what it predicts", s.ID).
			WithHint("use signal.inputs.task_id: %s, or --allow-in-sample, which is stamped on the report", strategy.WalkForward)
	}
	for _, symbol := range req.Symbols {
		r.Currencies[symbol.Symbol] = string(symbol.Currency)
	}
	return backtest.Run(ctx, db, cal, r)
}
