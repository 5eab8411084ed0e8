// Package tearsheet shows one backtest on a page: as a self-contained HTML file,
// as a picture, and as a chart in a terminal. It reads what the Fact DB has of
// the run and adds it up. What it measures anew is the returns of the months and, by
// package inference, Risk. It writes no file.
package tearsheet

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
)

// TopNames are the symbols that the chart of weights shows one by one: those
// with the largest mean weight, long or short. The others are added up.
const TopNames = 7

// Sheet is what a tear sheet shows. Numbers are decimals, and amounts are in the
// currency of the prices; a nil number is NULL in the Fact DB: it cannot be said.
type Sheet struct {
	RunID, StrategyID, Version string
	From, To                   *quant.Date // session of the first fill (nil: none), last session
	CreatedAt                  quant.Time
	FeeBps, SlippageBps        float64

	StrategyDigest, ResultDigest string
	LagDays                      int64
	Basis, Calendar              string
	PricesAt                     quant.Time
	Benchmark                    string // "": none
	InitialCapital, CashRate     float64
	InSample                     bool
	UniverseFixedAt              *quant.Date
	Notices                      []string

	Measured    Measured
	Sensitivity []Sensitivity
	Days        []Day
	Months      []Year
	Weights     Weights
	Trades      []Trade // in order of entry, then symbol

	// What the reader of the tables adds, if it knows: how the strategy was found,
	// and what its run read.
	Deflation *Deflation
	Selection *Selection
	Inputs    []quant.RunIO

	Risk *Risk // by ReadRisk

	held map[string][]float64 // weights by symbol and day
}

// Performance is what a series of returns says, as metrics_json has it.
type Performance struct {
	Returns     int64    `json:"returns"`
	TotalReturn *float64 `json:"total_return"`
	CAGR        *float64 `json:"cagr"`
	Vol         *float64 `json:"vol"`
	Sharpe      *float64 `json:"sharpe"`
	Sortino     *float64 `json:"sortino"`
	Calmar      *float64 `json:"calmar"`
	MaxDD       *float64 `json:"max_dd"`
	Skew        *float64 `json:"skew"`
	Kurtosis    *float64 `json:"kurtosis"`
	FinalEquity *float64 `json:"final_equity"`
	Turnover    *float64 `json:"turnover"`
}

// Measured is metrics_json: the strategy, the same at other lags, the benchmark.
type Measured struct {
	Performance
	KnownAt     string   `json:"known_at"` // of what was imported; "": proved
	AvgExposure *float64 `json:"avg_exposure"`
	Fees        *float64 `json:"fees"`
	Slippage    *float64 `json:"slippage"`
	Interest    *float64 `json:"interest"`
	NumTrades   int64    `json:"num_trades"`
	WinRate     *float64 `json:"win_rate"`
	AvgTrade    *float64 `json:"avg_trade"`
	Decisions   int64    `json:"decisions"`
	Dropped     int64    `json:"dropped"`
	Gaps        int64    `json:"gaps"`
	Delisted    int64    `json:"delisted"`
	Lags        []struct {
		LagDays int64 `json:"lag_days"`
		Performance
	} `json:"lags"`
	Benchmark *struct {
		Name string `json:"name"`
		Performance
	} `json:"benchmark"`
	Delistings []Delisting `json:"delistings"`
	Book       *Book       `json:"book"` // nil: only long, and filled whole at the close
}

// Book is how an account was filled and held that may be short, or is not filled whole
// at the close.
type Book struct {
	Side              string      `json:"side"`
	Price             string      `json:"price"`
	MaxVolumeShare    float64     `json:"max_volume_share"`
	Impact            float64     `json:"impact"`
	BorrowBps         float64     `json:"borrow_bps"`
	MarginInitial     float64     `json:"margin_initial"`
	MarginMaintenance float64     `json:"margin_maintenance"`
	AvgGross          *float64    `json:"avg_gross"`
	AvgNet            *float64    `json:"avg_net"`
	LongPnL           float64     `json:"long_pnl"`
	ShortPnL          float64     `json:"short_pnl"`
	Borrow            float64     `json:"borrow"`
	ImpactCost        float64     `json:"impact_cost"`
	FilledShare       *float64    `json:"filled_share"`
	MarginCalls       int64       `json:"margin_calls"`
	ClosedOn          *quant.Date `json:"closed_on"`
}

// Delisting is a position that was closed because its symbol had left the market.
type Delisting struct {
	Symbol      string      `json:"symbol"`
	Benchmark   bool        `json:"benchmark"`
	LastBar     quant.Date  `json:"last_bar"`
	ClosedOn    quant.Date  `json:"closed_on"`
	LastPrice   float64     `json:"last_price"`
	Return      float64     `json:"return"`
	PnL         float64     `json:"pnl"`
	Cause       string      `json:"cause"`
	Reason      quant.Text  `json:"reason"`
	TradedAgain *quant.Date `json:"traded_again"`
}

// Sensitivity is the result at one lag and one total of costs.
type Sensitivity struct {
	LagDays int64    `json:"lag_days"`
	CostBps float64  `json:"cost_bps"`
	CAGR    *float64 `json:"cagr"`
	Sharpe  *float64 `json:"sharpe"`
	MaxDD   *float64 `json:"max_dd"`
}

// Deflation is what the number of trials leaves of the Sharpe ratio; all ratios
// are those of a session.
type Deflation struct {
	Returns         int64
	Sharpe          *float64
	Skew            *float64
	Kurtosis        *float64
	Trials          int64
	TrialsVariance  *float64
	ExpectedMaximum float64
	PSR             *float64
	DSR             *float64
	MinTrackRecord  *float64 // returns
}

// Selection is what choosing one of the trials is worth.
type Selection struct {
	Trials, Compared, Short, Flat, Same int64
	Sessions                            int
	From, To                            *quant.Date
	Combinations                        int
	PBO, Loss, Slope                    *float64
	MeanCorrelation, EffectiveTrials    *float64
	DSREffective                        *float64
	Tested, Significant, Holm, BHY      int64
	P, PHolm, PBHY                      *float64
}

// Day is a row of backtest_equity.
type Day struct {
	TS        quant.Date
	Equity    float64
	Cash      float64
	Ret       *float64 // nil on the first day
	Drawdown  float64
	Benchmark *float64
}

// Trade is a row of backtest_trades.
type Trade struct {
	Symbol        string
	EntryTS       quant.Date
	EntryPrice    float64
	Qty           float64
	ExitTS        *quant.Date
	ExitPrice     *float64
	PnL, PnLPct   *float64
	Fees, Slipped *float64
	Reason        string
}

// Year is the returns of one year's months; nil where the account did not run.
type Year struct {
	Year  int
	Month [12]*float64
	Total float64
}

// Weights are shares of equity, one value a day of the account: the TopNames
// symbols by mean weight, the rest added up, cash. Mean is over all days.
type Weights struct {
	Names   []string
	Mean    []float64
	Days    [][]float64 // [name][day]
	Others  []float64   // nil: there are no others
	NOthers int
	Cash    []float64
	Short   bool // a weight is negative
}

// Read reads the backtest of a run. quant.NotFound: the run has none.
func Read(ctx context.Context, db *factstore.DB, runID string) (*Sheet, error) {
	s, err := ReadDays(ctx, db, runID)
	if err != nil {
		return nil, err
	}
	return s, s.readTrades(ctx, db)
}

// ReadDays is Read without the trades, of which there may be many.
func ReadDays(ctx context.Context, db *factstore.DB, runID string) (*Sheet, error) {
	s := &Sheet{RunID: runID}
	for _, part := range []func(context.Context, *factstore.DB) error{s.readResult, s.readDays, s.readWeights} {
		if err := part(ctx, db); err != nil {
			return nil, err
		}
	}
	s.Months = months(s.Days, s.InitialCapital)
	return s, nil
}

func (s *Sheet) readResult(ctx context.Context, db *factstore.DB) error {
	var version, digest, result, basis, calendar, benchmark, sensitivity, measured, notices sql.NullString
	var capital, rate, fee, slippage sql.NullFloat64
	var lag sql.NullInt64
	var inSample sql.NullBool
	err := db.QueryRow(ctx, `SELECT coalesce(s.strategy_id, ''), s.from_ts, s.to_ts, s.fee_bps, s.slippage_bps, s.created_at,
		d.version, d.strategy_digest, d.lag_days, d.basis, d.calendar, d.prices_at, d.benchmark, d.initial_capital, d.cash_rate,
		d.in_sample, d.universe_fixed_at, d.result_digest, d.sensitivity_json, d.metrics_json, d.notices_json
		FROM backtest_summary s JOIN backtest_details d USING (run_id) WHERE run_id = ?`, s.RunID).
		Scan(&s.StrategyID, nullDate{&s.From}, nullDate{&s.To}, &fee, &slippage, &s.CreatedAt,
			&version, &digest, &lag, &basis, &calendar, &s.PricesAt, &benchmark, &capital, &rate,
			&inSample, nullDate{&s.UniverseFixedAt}, &result, &sensitivity, &measured, &notices)
	if errors.Is(err, sql.ErrNoRows) {
		return quant.Errorf(quant.NotFound, "run %s has no backtest", s.RunID).
			WithHint("`quant backtest list` shows those that there are")
	}
	if err != nil {
		return err
	}
	s.Version, s.StrategyDigest, s.ResultDigest = version.String, digest.String, result.String
	s.Basis, s.Calendar, s.Benchmark = basis.String, calendar.String, benchmark.String
	s.LagDays, s.InSample = lag.Int64, inSample.Bool
	s.InitialCapital, s.CashRate, s.FeeBps, s.SlippageBps = capital.Float64, rate.Float64, fee.Float64, slippage.Float64
	for _, doc := range []struct {
		name string
		text sql.NullString
		into any
	}{{"sensitivity_json", sensitivity, &s.Sensitivity}, {"metrics_json", measured, &s.Measured}, {"notices_json", notices, &s.Notices}} {
		if !doc.text.Valid {
			continue
		}
		if err := json.Unmarshal([]byte(doc.text.String), doc.into); err != nil {
			return quant.Errorf(quant.Store, "run %s: %s of backtest_details: %w", s.RunID, doc.name, err).
				WithHint("run the backtest again")
		}
	}
	return nil
}

func (s *Sheet) readDays(ctx context.Context, db *factstore.DB) error {
	return each(ctx, db, func(rows *sql.Rows) error {
		var d Day
		err := rows.Scan(&d.TS, &d.Equity, &d.Cash, &d.Ret, &d.Drawdown, &d.Benchmark)
		s.Days = append(s.Days, d)
		return err
	}, `SELECT ts, equity, cash, ret, drawdown, benchmark FROM backtest_equity WHERE run_id = ? ORDER BY ts`, s.RunID)
}

func (s *Sheet) readWeights(ctx context.Context, db *factstore.DB) error {
	at := make(map[quant.Date]int, len(s.Days))
	for i, d := range s.Days {
		at[d.TS] = i
	}
	n := len(s.Days)
	weights := map[string][]float64{}
	err := each(ctx, db, func(rows *sql.Rows) error {
		var ts quant.Date
		var symbol string
		var weight float64
		if err := rows.Scan(&ts, &symbol, &weight); err != nil {
			return err
		}
		i, known := at[ts]
		if !known {
			return nil
		}
		if weights[symbol] == nil {
			weights[symbol] = make([]float64, n)
		}
		weights[symbol][i] = weight
		return nil
	}, `SELECT ts, symbol, coalesce(weight, 0) FROM backtest_positions WHERE run_id = ? ORDER BY symbol, ts`, s.RunID)
	if err != nil {
		return err
	}
	s.held = weights
	type name struct {
		symbol string
		mean   float64
	}
	var names []name
	for symbol, days := range weights {
		sum := 0.0
		for _, one := range days {
			sum += one
			s.Weights.Short = s.Weights.Short || one < 0
		}
		names = append(names, name{symbol, sum / float64(n)})
	}
	slices.SortFunc(names, func(a, b name) int {
		return cmp.Or(cmp.Compare(math.Abs(b.mean), math.Abs(a.mean)), strings.Compare(a.symbol, b.symbol))
	})
	w := &s.Weights
	for i, name := range names {
		if i < TopNames {
			w.Names, w.Mean, w.Days = append(w.Names, name.symbol), append(w.Mean, name.mean), append(w.Days, weights[name.symbol])
			continue
		}
		if w.Others == nil {
			w.Others = make([]float64, n)
		}
		w.NOthers++
		for d, x := range weights[name.symbol] {
			w.Others[d] += x
		}
	}
	w.Cash = make([]float64, n)
	for i, d := range s.Days {
		if d.Equity > 0 {
			w.Cash[i] = d.Cash / d.Equity
		}
	}
	return nil
}

func (s *Sheet) readTrades(ctx context.Context, db *factstore.DB) (err error) {
	s.Trades, _, err = ReadTrades(ctx, db, TradeQuery{RunID: s.RunID})
	return err
}

// months are the returns of calendar months: from the last equity of the month
// before, in the first one from the initial capital.
func months(days []Day, capital float64) []Year {
	var years []Year
	before, yearBefore := capital, capital
	for i, d := range days {
		if i+1 < len(days) && month(days[i+1].TS) == month(d.TS) {
			continue
		}
		t := d.TS.Time()
		if len(years) == 0 || years[len(years)-1].Year != t.Year() {
			years, yearBefore = append(years, Year{Year: t.Year()}), before
		}
		year := &years[len(years)-1]
		if before > 0 && yearBefore > 0 {
			ret := d.Equity/before - 1
			year.Month[t.Month()-1], year.Total = &ret, d.Equity/yearBefore-1
		}
		before = d.Equity
	}
	return years
}

func month(d quant.Date) int {
	t := d.Time()
	return t.Year()*12 + int(t.Month())
}

// Texts passes every text that the sheet shows through clean: what masks
// secrets, or makes control characters visible. The page escapes by itself.
func (s *Sheet) Texts(clean func(string) string) {
	for _, text := range []*string{&s.RunID, &s.StrategyID, &s.Version, &s.StrategyDigest, &s.ResultDigest, &s.Basis, &s.Calendar, &s.Benchmark} {
		*text = clean(*text)
	}
	s.Measured.KnownAt = clean(s.Measured.KnownAt)
	if s.Measured.Benchmark != nil {
		s.Measured.Benchmark.Name = clean(s.Measured.Benchmark.Name)
	}
	for i := range s.Notices {
		s.Notices[i] = clean(s.Notices[i])
	}
	for i := range s.Weights.Names {
		s.Weights.Names[i] = clean(s.Weights.Names[i])
	}
	for i := range s.Trades {
		s.Trades[i].Symbol, s.Trades[i].Reason = clean(s.Trades[i].Symbol), clean(s.Trades[i].Reason)
	}
	for i := range s.Measured.Delistings {
		d := &s.Measured.Delistings[i]
		d.Symbol, d.Cause, d.Reason = clean(d.Symbol), clean(d.Cause), quant.Text(clean(string(d.Reason)))
	}
	if s.Risk != nil {
		for i := range s.Risk.Sectors {
			s.Risk.Sectors[i].Sector = quant.Text(clean(string(s.Risk.Sectors[i].Sector)))
		}
	}
	for i := range s.Inputs {
		s.Inputs[i].Name = clean(s.Inputs[i].Name)
	}
}

// nullDate scans a DATE that may be NULL.
type nullDate struct{ into **quant.Date }

func (n nullDate) Scan(v any) error {
	if v == nil {
		*n.into = nil
		return nil
	}
	*n.into = new(quant.Date)
	return (*n.into).Scan(v)
}

func each(ctx context.Context, db *factstore.DB, row func(*sql.Rows) error, query string, args ...any) error {
	rows, err := db.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
