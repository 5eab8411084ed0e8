// Package strategy reads the strategy file and proposes a portfolio from the
// signals of one day. A strategy only assembles: what a signal is worth was
// computed before, and what may be held is the supervisor's rule. It reads
// features_daily and predictions and writes nothing.
package strategy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
)

// Strategy is one strategy file with every default filled in. Weights and
// caps are decimals of equity, fees basis points. The json form is the file's:
// the same names, nested the same way.
type Strategy struct {
	ID         string     `json:"strategy_id"`
	Version    string     `json:"version"`
	Universe   Universe   `json:"universe"`
	Signal     Signal     `json:"signal"`
	Rebalance  Rebalance  `json:"rebalance"`
	Portfolio  Portfolio  `json:"portfolio"`
	Supervisor Supervisor `json:"supervisor"`
	Execution  Execution  `json:"execution"`
	Backtest   Backtest   `json:"backtest"`
}

// Universe is which symbols may be proposed.
type Universe struct {
	Type    string   `json:"type"`              // UniverseSymbols or another of those below
	Symbols []string `json:"symbols,omitempty"` // in byte order, none twice; of the other types, what WithSymbols gave
	Name    string   `json:"name,omitempty"`    // of UniverseMembership: the imported list
	// Of UniverseRule: the Top symbols by the mean of By over Window sessions.
	By     string `json:"by,omitempty"` // DollarVolume
	Window int    `json:"window,omitempty"`
	Top    int    `json:"top,omitempty"`
}

// The types of a universe.
const (
	UniverseSymbols = "symbols" // the list
	UniverseAll     = "all"     // every active symbol of the Meta DB, by WithSymbols

	// Those that change from day to day; WithSymbols gives the symbols of all days.
	UniverseMembership = "membership" // who was a member on the day, by an imported list
	UniverseRule       = "rule"       // the best by what was known on the day
)

// DollarVolume is close x volume, as it was traded.
const DollarVolume = "dollar_volume"

// Signal is what the symbols are ranked by.
type Signal struct {
	Type   string `json:"type"`  // FactorRank or ModelScore
	Order  string `json:"order"` // Desc: the higher the better; Asc: the lower
	Inputs Inputs `json:"inputs"`
}

// The types and orders of a signal.
const (
	FactorRank = "factor_rank" // of features_daily
	ModelScore = "model_score" // of predictions
	Strategies = "strategies"  // of targets: what other strategies decided
	Desc       = "desc"
	Asc        = "asc"
)

// Inputs name the rows that a signal reads: the first two of a FactorRank, the
// next two of a ModelScore, the last of Strategies.
type Inputs struct {
	FeatureName    string `json:"feature_name,omitempty"`
	FeatureVersion string `json:"feature_version,omitempty"`
	ModelID        string `json:"model_id,omitempty"`
	TaskID         string `json:"task_id,omitempty"` // WalkForward: every wf:<fold> and final; else exactly this one
	Strategies     []Part `json:"strategies,omitempty"`
}

// WalkForward is the task_id that means all out-of-sample scores of a model.
const WalkForward = "wf"

// Rebalance is when a strategy decides.
type Rebalance struct {
	Frequency  calendar.Frequency `json:"frequency"`
	AsofPolicy string             `json:"asof_policy"`    // close: with everything known at the close of the day
	Every      int                `json:"every,omitzero"` // of calendar.EveryNSessions
}

// Portfolio is how ranks become weights.
type Portfolio struct {
	TopK      int    `json:"top_k"`
	Weighting string `json:"weighting"` // Equal, ScoreWeighted, or one by risk
	Fill      string `json:"fill"`      // of Equal with fewer than top_k names. FillNone: the rest is cash; FillRedistribute: 1/n each
	// What a weighting by risk takes for risk, see ByRisk.
	CovarianceWindow int     `json:"covariance_window,omitzero"`
	RiskAversion     float64 `json:"risk_aversion,omitzero"` // of MeanVariance
	SectorNeutral    bool    `json:"sector_neutral,omitzero"`
	// Side is LongShort, or "" for a book that is only long. The rest is of LongShort.
	Side          string   `json:"side,omitempty"`
	ShortK        int      `json:"short_k,omitzero"`        // 0: as many as TopK; see Shorts
	LongExposure  *float64 `json:"long_exposure,omitzero"`  // nil: 1; see Exposures
	ShortExposure *float64 `json:"short_exposure,omitzero"` // nil: 1
}

// The sides of a portfolio.
const (
	LongOnly  = "long"
	LongShort = "long_short"
)

// The weightings and fills.
const (
	Equal            = "equal"
	ScoreWeighted    = "score_weighted"
	FillNone         = "none"
	FillRedistribute = "redistribute"
)

// Supervisor is the risk policy.
type Supervisor struct {
	GrossExposureCap   float64     `json:"gross_exposure_cap"`        // R1; (0, 1], of LongShort (0, 4]
	MaxWeightPerSymbol float64     `json:"max_weight_per_symbol"`     // R2; (0, 1]
	MaxPositions       int         `json:"max_positions"`             // R3; 1 or more
	TurnoverCap        float64     `json:"turnover_cap"`              // R4; [0, 1] of equity a decision, of LongShort [0, 4]
	ScoreFloor         *float64    `json:"score_floor"`               // R5, of the sign-adjusted score; nil: off
	NetExposureCap     *float64    `json:"net_exposure_cap,omitzero"` // R6, of LongShort; nil: off
	SectorCap          *SectorCaps `json:"sector_cap,omitzero"`       // R7; nil: off
}

// Execution is how a decision would be filled.
type Execution struct {
	Price   string `json:"price"`    // FillClose or FillOpen
	LagDays int    `json:"lag_days"` // sessions after the decision
	// MaxVolumeShare is the most of a session's volume that is traded; nil: no limit.
	MaxVolumeShare *float64 `json:"max_volume_share,omitzero"`
}

// The prices of a fill.
const (
	FillClose = "close"
	FillOpen  = "open"
)

// Backtest is what a backtest assumes where its flags do not say otherwise.
type Backtest struct {
	From            *quant.Date `json:"from"` // nil: the caller's choice
	To              *quant.Date `json:"to"`
	FeeBPS          float64     `json:"fee_bps"`
	SlippageBPS     float64     `json:"slippage_bps"`
	Benchmark       quant.Text  `json:"benchmark"` // a symbol, BenchmarkEqualWeight, or "" for none
	InitialCapital  float64     `json:"initial_capital"`
	CashRate        float64     `json:"cash_rate"`        // a year, decimal
	DelistAfter     int         `json:"delist_after"`     // sessions without a bar
	DelistingReturn float64     `json:"delisting_return"` // of the last price, decimal
	// Impact is the coefficient of the square-root impact of a trade.
	Impact float64 `json:"impact,omitzero"`
	// Of LongShort: what lent shares cost and their proceeds earn a year, and what an
	// account must hold; nil: see Margins.
	BorrowBPS         float64  `json:"borrow_bps,omitzero"`
	ShortRebate       float64  `json:"short_rebate,omitzero"`
	MarginInitial     *float64 `json:"margin_initial,omitzero"`
	MarginMaintenance *float64 `json:"margin_maintenance,omitzero"`
}

// What an account of LongShort must hold, as a share of its gross exposure, where the
// file does not say otherwise: what Regulation T and FINRA rule 4210 ask of shares.
const (
	DefaultMarginInitial     = 0.5
	DefaultMarginMaintenance = 0.25
)

// DefaultGrossLongShort is supervisor.gross_exposure_cap of LongShort where the file
// does not say otherwise.
const DefaultGrossLongShort = 2

// LongShort reports whether the book may be short.
func (s Strategy) LongShort() bool { return s.Portfolio.Side == LongShort }

// Shorts is how many names are proposed short.
func (p Portfolio) Shorts() int { return cmp.Or(p.ShortK, p.TopK) }

// Exposures are what is proposed long and short, as shares of equity, 0 or more.
func (p Portfolio) Exposures() (long, short float64) {
	return *cmp.Or(p.LongExposure, new(1.0)), *cmp.Or(p.ShortExposure, new(1.0))
}

// Margins are what equity must be of the gross exposure after an order, and at a
// close, of an account that may be short.
func (b Backtest) Margins() (initial, maintenance float64) {
	return *cmp.Or(b.MarginInitial, new(DefaultMarginInitial)), *cmp.Or(b.MarginMaintenance, new(DefaultMarginMaintenance))
}

// BenchmarkEqualWeight is the benchmark that holds the universe in equal weights.
const BenchmarkEqualWeight = "equal_weight"

// Default is what a file need not say; the rest is zero.
func Default() Strategy {
	return Strategy{
		Signal:     Signal{Order: Desc},
		Portfolio:  Portfolio{Fill: FillNone},
		Supervisor: Supervisor{GrossExposureCap: 1, MaxWeightPerSymbol: 0.15, MaxPositions: 10, TurnoverCap: 0.30},
		Execution:  Execution{Price: FillClose},
		Backtest:   Backtest{InitialCapital: 1_000_000, DelistAfter: 10, DelistingReturn: -0.30},
	}
}

// WithSymbols returns the strategy with these symbols for its universe: the
// active symbols of the Meta DB where the type is UniverseAll, the symbols of all days
// where it changes. Canonical and the digests of such a strategy do not show them.
func (s Strategy) WithSymbols(symbols []string) Strategy {
	s.Universe.Symbols = slices.Compact(slices.Sorted(slices.Values(symbols)))
	return s
}

// Canonical is the strategy as one line of JSON, defaults included, keys in
// the order of the format: two files that mean the same have the same bytes.
func (s Strategy) Canonical() []byte {
	if s.Universe.Type != UniverseSymbols {
		s.Universe.Symbols = nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("strategy %s has no JSON form: %v", s.ID, err)) // Parse lets no NaN pass
	}
	return b
}

// Digest is the sha256 of Canonical, as sha256:<hex>.
func (s Strategy) Digest() string { return durable.Digest(s.Canonical()) }

// DecisionDigest is Digest of the part that decisions depend on: everything
// but execution and backtest. Other fees are no reason to decide again.
func (s Strategy) DecisionDigest() string {
	s.Execution, s.Backtest = Execution{}, Backtest{}
	return durable.Digest(s.Canonical())
}

// TrialDigest is Digest of what a trial of the strategy sets: everything but what
// it is called and what changes no return, which is the benchmark and the capital.
// The universe and the days are left out as well: the decisions that came of them
// show both, however the file names them.
func (s Strategy) TrialDigest() string {
	s.ID, s.Version, s.Universe = "", "", Universe{}
	s.Backtest.From, s.Backtest.To, s.Backtest.Benchmark, s.Backtest.InitialCapital = nil, nil, "", 0
	return durable.Digest(s.Canonical())
}

// Notices says what the user should know of a valid strategy, a sentence each.
func (s Strategy) Notices() []string {
	p, v := s.Portfolio, s.Supervisor
	if s.LongShort() {
		return s.noticesOfSides()
	}
	names := min(p.TopK, v.MaxPositions)
	if s.Universe.Type == UniverseSymbols {
		names = min(names, len(s.Universe.Symbols))
	}
	each := v.MaxWeightPerSymbol
	if s.Universe.Type == UniverseRule {
		names = min(names, s.Universe.Top)
	}
	if p.Weighting == Equal && p.Fill == FillNone {
		each = min(each, 1/float64(p.TopK))
	}
	var notices []string
	if most := float64(names) * each; most < v.GrossExposureCap-1e-12 && !s.refusesLess() {
		notices = append(notices, fmt.Sprintf("at most %s of equity can be invested: %d names of at most %s each, below the gross_exposure_cap of %s; the rest stays cash",
			percent(most), names, percent(each), percent(v.GrossExposureCap)))
	}
	return append(notices, s.riskNotices()...)
}

func percent(x float64) string { return strconv.FormatFloat(x*100, 'g', 6, 64) + " %" }
