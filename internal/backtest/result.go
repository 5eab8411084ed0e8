package backtest

import "quant"

// Day is the account at the close of one session: a row of backtest_equity.
type Day struct {
	TS        quant.Date `json:"ts"`
	Equity    float64    `json:"equity"`    // Cash + Positions, after the day's costs
	Cash      float64    `json:"cash"`      // never below 0, unless the book may be short; with the proceeds of what is
	Positions float64    `json:"positions"` // value of what is held, of shorts negative
	// Ret is the session's return, decimal; nil on the first day, the day of the
	// first fill. The second day's is counted from the initial capital, so that
	// the product of 1 + Ret is the last equity over the initial capital.
	Ret       *float64 `json:"ret"`
	Drawdown  float64  `json:"drawdown"`  // from the highest equity so far, the initial capital included; 0 or less
	Turnover  float64  `json:"turnover"`  // max(buys, sells) / Equity
	Costs     float64  `json:"costs"`     // fees, slippage and impact of the day
	Benchmark *float64 `json:"benchmark"` // equity of the benchmark; nil without one
}

// Holding is one symbol held at the end of a session: a row of
// backtest_positions.
type Holding struct {
	TS     quant.Date `json:"ts"`
	Symbol string     `json:"symbol"`
	Qty    float64    `json:"qty"`   // shares on the basis
	Price  float64    `json:"price"` // close, the last one where the session has no bar
	Value  float64    `json:"value"`
	Weight float64    `json:"weight"` // Value / equity
}

// Why a trade ended.
const (
	Closed     = "CLOSED"      // the position was sold or covered whole
	Reduced    = "REDUCED"     // some of the position was sold or covered
	Delisted   = "DELISTED"    // no bar for DelistAfter sessions, or a known delisting
	Open       = "OPEN"        // held at the end, marked at the last price
	MarginCall = "MARGIN_CALL" // equity was below what must be held, or gone
)

// Trade is a round trip of shares bought together: a row of backtest_trades.
type Trade struct {
	Symbol     string      `json:"symbol"`
	EntryTS    quant.Date  `json:"entry_ts"`
	EntryPrice float64     `json:"entry_price"` // the close, without slippage
	Qty        float64     `json:"qty"`         // negative: short, sold at EntryPrice and covered at ExitPrice
	ExitTS     *quant.Date `json:"exit_ts"`     // nil while open
	ExitPrice  float64     `json:"exit_price"`
	// PnL is Qty x (ExitPrice - EntryPrice) - Fees - Slippage: after all costs.
	PnL      float64 `json:"pnl"`
	PnLPct   float64 `json:"pnl_pct"`      // PnL / |Qty x EntryPrice|
	Fees     float64 `json:"fees"`         // of the purchase and the sale of these shares
	Slippage float64 `json:"slippage_est"` // like Fees; with the impact
	Reason   string  `json:"reason"`
}

// Why a position was closed as Delisted.
const (
	CauseRule  = "rule"  // no bar for Options.DelistAfter sessions
	CauseKnown = "known" // Market.Known has it
)

// Delisting is a position that was closed as Delisted.
type Delisting struct {
	Symbol    string     `json:"symbol"`
	Benchmark bool       `json:"benchmark"`  // the benchmark's, not the strategy's
	LastBar   quant.Date `json:"last_bar"`   // session of LastPrice
	ClosedOn  quant.Date `json:"closed_on"`  // the session
	LastPrice float64    `json:"last_price"` // close, on the basis
	Return    float64    `json:"return"`     // assumed or known, decimal, on LastPrice
	Qty       float64    `json:"qty"`        // shares on the basis
	PnL       float64    `json:"pnl"`        // of the closing: Qty x LastPrice x Return, in currency
	Cause     string     `json:"cause"`      // rule or known
	Reason    quant.Text `json:"reason"`     // as it is known
	// TradedAgain is the first later session of the replay that has a bar; nil: none.
	// The account did not know it before that session.
	TradedAgain *quant.Date `json:"traded_again"`
	Untraded    bool        `json:"untraded"` // that bar is of a day on which it is known not to be traded
}

// Performance is what a series of returns says, by empyrical's definitions;
// decimals. nil is what cannot be said: any of them without a return, a
// deviation with fewer than two, a ratio with nothing to divide by.
type Performance struct {
	Returns     int64    `json:"returns"` // their number, n
	TotalReturn *float64 `json:"total_return"`
	CAGR        *float64 `json:"cagr"`     // (1 + total return)^(252/n) - 1
	Vol         *float64 `json:"vol"`      // sample deviation x sqrt(252)
	Sharpe      *float64 `json:"sharpe"`   // mean / sample deviation x sqrt(252)
	Sortino     *float64 `json:"sortino"`  // mean x 252 / (root mean square of the negative returns x sqrt(252))
	Calmar      *float64 `json:"calmar"`   // cagr / -max_dd
	MaxDD       *float64 `json:"max_dd"`   // 0 or less
	Skew        *float64 `json:"skew"`     // third standardised population moment
	Kurtosis    *float64 `json:"kurtosis"` // fourth one; 3 for a normal distribution
}

// Metrics is everything that one simulation measured.
type Metrics struct {
	FirstFill   *quant.Date `json:"first_fill"` // nil: nothing was ever bought
	LastSession *quant.Date `json:"last_session"`
	Performance
	FinalEquity   float64  `json:"final_equity"`
	Turnover      *float64 `json:"turnover"`       // a year, without the first purchase; nil without a return
	FirstPurchase float64  `json:"first_purchase"` // value bought at the first fill / equity
	AvgExposure   *float64 `json:"avg_exposure"`   // mean of positions / equity; nil without a fill
	Fees          float64  `json:"fees"`
	Slippage      float64  `json:"slippage"`
	Interest      float64  `json:"interest"` // on cash; not part of any trade
	NumTrades     int64    `json:"num_trades"`
	WinRate       *float64 `json:"win_rate"`  // episodes with pnl > 0 / episodes; nil without any
	AvgTrade      *float64 `json:"avg_trade"` // mean pnl of an episode, in currency; nil without any
	OpenPositions int64    `json:"open_positions"`
	Decisions     int64    `json:"decisions"`
	Cancelled     int64    `json:"cancelled"` // decisions that a newer one replaced before their fill
	Unfilled      int64    `json:"unfilled"`  // decisions whose fill is after the last session
	Dropped       int64    `json:"dropped"`   // orders at whose fill the symbol had no bar, or is known not to be traded
	Gaps          int64    `json:"gaps"`      // position-sessions valued at the last price
	Delisted      int64    `json:"delisted"`  // positions closed as DELISTED
	// Book is what is to be said of an account that is not filled whole at the close, or
	// may be short; nil of any other.
	Book *Book `json:"book,omitempty"`
}

// Lag is what the strategy gives when it is filled so many sessions after its
// decisions.
type Lag struct {
	LagDays    int64 `json:"lag_days"`
	Optimistic bool  `json:"optimistic_fill"` // lag 0: filled at the close that the decision has seen
	Performance
	Turnover *float64 `json:"turnover"`
}

// Benchmark is what was bought and held beside the strategy.
type Benchmark struct {
	Name string `json:"name"` // a symbol, or equal
	Performance
	FinalEquity float64 `json:"final_equity"`
}

// Sensitivity is the result at one lag and one total of fees and slippage.
type Sensitivity struct {
	LagDays int64    `json:"lag_days"`
	CostBps float64  `json:"cost_bps"`
	CAGR    *float64 `json:"cagr"`
	Sharpe  *float64 `json:"sharpe"`
	MaxDD   *float64 `json:"max_dd"`
}

// Measured is metrics_json of backtest_details.
type Measured struct {
	Metrics
	Lags      []Lag      `json:"lags"` // 0, 1 and the one asked for, in this order
	Benchmark *Benchmark `json:"benchmark"`
}

// Summary is a row of backtest_summary.
type Summary struct {
	RunID       string      `json:"run_id"`
	StrategyID  string      `json:"strategy_id"`
	FromTS      *quant.Date `json:"from_ts"`
	ToTS        *quant.Date `json:"to_ts"`
	CAGR        *float64    `json:"cagr"`
	Sharpe      *float64    `json:"sharpe"`
	MaxDD       *float64    `json:"max_dd"`
	Vol         *float64    `json:"vol"`
	Turnover    *float64    `json:"turnover"`
	WinRate     *float64    `json:"win_rate"`
	AvgTrade    *float64    `json:"avg_trade"`
	NumTrades   int64       `json:"num_trades"`
	FeeBps      float64     `json:"fee_bps"`
	SlippageBps float64     `json:"slippage_bps"`
	CreatedAt   quant.Time  `json:"created_at"`
}

// Details is a row of backtest_details, its JSON decoded.
type Details struct {
	Version         string        `json:"version"`
	StrategyDigest  string        `json:"strategy_digest"` // sha256:<hex> of the file
	TrialDigest     quant.Text    `json:"trial_digest"`    // see trialDigest; null: stored before there was one
	LagDays         int64         `json:"lag_days"`
	Basis           string        `json:"basis"` // adjusted, raw or mixed
	Calendar        string        `json:"calendar"`
	PricesAt        quant.Time    `json:"prices_at"` // the state of the prices: committed_at of the last run that had changed ohlcv
	BenchmarkName   quant.Text    `json:"benchmark_name"`
	InitialCapital  float64       `json:"initial_capital"`
	CashRate        float64       `json:"cash_rate"`
	InSample        bool          `json:"in_sample"`
	UniverseFixedAt *quant.Date   `json:"universe_fixed_at"`
	ResultDigest    string        `json:"result_digest"`
	Sensitivity     []Sensitivity `json:"sensitivity"`
	Metrics         Measured      `json:"metrics"`
	// Delistings are the positions that were closed as Delisted, of the strategy and
	// then of the benchmark; both parts of metrics_json.
	Delistings []Delisting `json:"delistings"`
	// Known are the delistings and halts of the symbols read that the lab knew of.
	Known []Known `json:"known_delistings"`
	// KnownAt says when what decided was known, where it was imported; null: proved. It
	// is a part of metrics_json.
	KnownAt quant.Text `json:"known_at"`
	Notices []string   `json:"notices"`
}

// measuredText is metrics_json. What is not there is left out: a backtest without
// delistings has the digest that it always had.
type measuredText struct {
	Measured
	Delistings []Delisting `json:"delistings,omitempty"`
	Known      []Known     `json:"known_delistings,omitempty"`
	KnownAt    string      `json:"known_at,omitempty"`
}

// Stored is a backtest as the Fact DB has it, without its rows of equity,
// positions and trades.
type Stored struct {
	Summary
	Details
}
