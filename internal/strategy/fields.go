package strategy

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
)

type kind int

const (
	text kind = iota
	integer
	number
	date
	symbol
	symbols
	truth
	parts
	caps
)

// field is one key of the format. The table of all of them is the format: the
// parser, --set, the JSON Schema and docs/strategy.md are held to it.
type field struct {
	path     string
	kind     kind
	to       any // pointer into the strategy that is filled
	required bool
	null     bool // null may be said
	choices  []string
	pattern  string  // of a text
	min, max float64 // of a number
	above    bool    // min itself is out of range
	unsaid   string  // what a file that does not have the key means, where that is no value of to
	doc      string
}

const (
	idPattern       = `^[A-Za-z0-9_][A-Za-z0-9_.#-]{0,63}$`
	versionPattern  = `^[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}$`
	universePattern = `^[a-z0-9][a-z0-9_-]{0,62}$`
	namePattern     = `^[!-~]{1,128}$`
)

// fields is the format, bound to s.
func fields(s *Strategy) []field {
	inf := math.Inf(1)
	return []field{
		{path: "strategy_id", kind: text, to: &s.ID, required: true, pattern: idPattern, doc: "name of the strategy: letters, digits, _ - . # (at most 64)"},
		{path: "version", kind: text, to: &s.Version, required: true, pattern: versionPattern, doc: "version of the strategy, in quotes; a change that decides otherwise is a new one"},
		{path: "universe.type", kind: text, to: &s.Universe.Type, required: true, choices: []string{UniverseSymbols, UniverseAll, UniverseMembership, UniverseRule}, doc: "symbols: the list below; all: every active symbol of the lab; membership: the members of each day, by an imported list; rule: chosen anew on each day"},
		{path: "universe.symbols", kind: symbols, to: &s.Universe.Symbols, doc: "the symbols, of type symbols; what YAML takes for a number stands in quotes"},
		{path: "universe.name", kind: text, to: &s.Universe.Name, pattern: universePattern, doc: "the list of members, of type membership: as `quant universe import NAME FILE` called it"},
		{path: "universe.by", kind: text, to: &s.Universe.By, choices: []string{DollarVolume}, doc: "what a rule ranks by; dollar_volume: the mean of close x volume"},
		{path: "universe.window", kind: integer, to: &s.Universe.Window, min: 1, max: 1000, unsaid: "60", doc: "sessions of that mean, of type rule; a symbol needs bars on 80 % of them"},
		{path: "universe.top", kind: integer, to: &s.Universe.Top, min: 1, max: 100_000, doc: "how many symbols a rule chooses"},
		{path: "signal.type", kind: text, to: &s.Signal.Type, required: true, choices: []string{FactorRank, ModelScore, Strategies}, doc: "factor_rank: by a feature; model_score: by a model's predictions; strategies: what others decided, together"},
		{path: "signal.order", kind: text, to: &s.Signal.Order, choices: []string{Desc, Asc}, doc: "desc: the higher the better; asc: the lower the better"},
		{path: "signal.inputs.feature_name", kind: text, to: &s.Signal.Inputs.FeatureName, pattern: namePattern, doc: "feature, of factor_rank"},
		{path: "signal.inputs.feature_version", kind: text, to: &s.Signal.Inputs.FeatureVersion, pattern: namePattern, doc: "its version, of factor_rank"},
		{path: "signal.inputs.model_id", kind: text, to: &s.Signal.Inputs.ModelID, pattern: namePattern, doc: "model, of model_score: its id, or experiment:ID for the one trained last"},
		{path: "signal.inputs.task_id", kind: text, to: &s.Signal.Inputs.TaskID, pattern: namePattern, doc: "its predictions, of model_score; wf: all that are out of sample (wf:<fold> and final)"},
		{path: "signal.inputs.strategies", kind: parts, to: &s.Signal.Inputs.Strategies, doc: "the strategies of type strategies: a list of {strategy_id, version, weight}"},
		{path: "rebalance.frequency", kind: text, to: (*string)(&s.Rebalance.Frequency), required: true, choices: []string{"daily", "weekly", "monthly", "quarterly", "every_n_sessions"}, doc: "decides on every session, on the last scheduled one of the week, month or quarter, or on every rebalance.every-th"},
		{path: "rebalance.asof_policy", kind: text, to: &s.Rebalance.AsofPolicy, required: true, choices: []string{"close"}, doc: "decides with what is known at the close of that day"},
		{path: "rebalance.every", kind: integer, to: &s.Rebalance.Every, min: 1, max: 10_000, doc: "of every_n_sessions: decides on the sessions whose number is a multiple of it; the calendar's first session is number 0"},
		{path: "portfolio.top_k", kind: integer, to: &s.Portfolio.TopK, required: true, min: 1, max: 100_000, doc: "how many of the best names are proposed"},
		{path: "portfolio.weighting", kind: text, to: &s.Portfolio.Weighting, required: true, choices: []string{Equal, ScoreWeighted, InverseVol, RiskParity, MinVariance, MeanVariance, Combined}, doc: "equal: 1/top_k each; score_weighted: proportional to max(score, 0); combined: what the strategies decided, of type strategies; the others by covariance"},
		{path: "portfolio.fill", kind: text, to: &s.Portfolio.Fill, choices: []string{FillNone, FillRedistribute}, doc: "equal with fewer than top_k names: none leaves the rest in cash, redistribute gives each 1/n"},
		{path: "portfolio.covariance_window", kind: integer, to: &s.Portfolio.CovarianceWindow, min: 20, max: 5000, unsaid: "252", doc: "daily returns that a covariance is estimated from"},
		{path: "portfolio.risk_aversion", kind: number, to: &s.Portfolio.RiskAversion, min: 0, above: true, max: 1e6, unsaid: "5", doc: "of mean_variance: what a unit of variance costs, twice"},
		{path: "portfolio.sector_neutral", kind: truth, to: &s.Portfolio.SectorNeutral, unsaid: "false", doc: "true: each sector has the weight that it has in the universe, equally weighted"},
		{path: "portfolio.side", kind: text, to: &s.Portfolio.Side, choices: []string{LongOnly, LongShort}, unsaid: LongOnly, doc: "long: the best are bought; long_short: the worst are also sold short"},
		{path: "portfolio.short_k", kind: integer, to: &s.Portfolio.ShortK, min: 1, max: 100_000, unsaid: "top_k", doc: "how many of the worst names are proposed short, of long_short"},
		{path: "portfolio.long_exposure", kind: number, to: &s.Portfolio.LongExposure, min: 0, max: 4, unsaid: "1", doc: "what the longs are together, as a share of equity, of long_short"},
		{path: "portfolio.short_exposure", kind: number, to: &s.Portfolio.ShortExposure, min: 0, max: 4, unsaid: "1", doc: "what the shorts are together, as a share of equity, of long_short; dollar-neutral: as much as long_exposure"},
		{path: "supervisor.gross_exposure_cap", kind: number, to: &s.Supervisor.GrossExposureCap, min: 0, above: true, max: 4, doc: "R1: most of equity that is invested, long and short together; long: at most 1; the default of long_short is 2"},
		{path: "supervisor.max_weight_per_symbol", kind: number, to: &s.Supervisor.MaxWeightPerSymbol, min: 0, above: true, max: 1, doc: "R2: most of equity in one symbol, long or short"},
		{path: "supervisor.max_positions", kind: integer, to: &s.Supervisor.MaxPositions, min: 1, max: 100_000, doc: "R3: most names held, long and short together"},
		{path: "supervisor.turnover_cap", kind: number, to: &s.Supervisor.TurnoverCap, min: 0, max: 4, doc: "R4: most of equity turned over by one decision; long: at most 1"},
		{path: "supervisor.score_floor", kind: number, to: &s.Supervisor.ScoreFloor, null: true, min: -inf, max: inf, doc: "R5: a name below it is neither bought nor increased; null: off. With order asc, of the score's negative; for a short, of the negative of that"},
		{path: "supervisor.net_exposure_cap", kind: number, to: &s.Supervisor.NetExposureCap, null: true, min: 0, max: 4, unsaid: "null", doc: "R6: most of equity that longs and shorts may differ by, of long_short; null: off"},
		{path: "supervisor.sector_cap", kind: caps, to: &s.Supervisor.SectorCap, null: true, min: 0, above: true, max: 1, unsaid: "null", doc: "R7: most of equity in one sector of the lab's symbols; by sector: {Technology: 0.3, default: 0.25}, where default is of the others, which without it have no cap; null: off"},
		{path: "execution.price", kind: text, to: &s.Execution.Price, choices: []string{FillClose, FillOpen}, doc: "price of the fill: of the session's close, or of its open, which needs lag_days of 1 or more"},
		{path: "execution.lag_days", kind: integer, to: &s.Execution.LagDays, min: 0, max: 20, doc: "sessions from decision to fill; 0: at the close that the signal used"},
		{path: "execution.max_volume_share", kind: number, to: &s.Execution.MaxVolumeShare, null: true, min: 0, above: true, max: 1, unsaid: "null", doc: "most of a session's volume in a symbol that is traded; the rest waits for the next sessions; null: no limit"},
		{path: "backtest.from", kind: date, to: &s.Backtest.From, null: true, doc: "first day of a backtest"},
		{path: "backtest.to", kind: date, to: &s.Backtest.To, null: true, doc: "last day of a backtest"},
		{path: "backtest.fee_bps", kind: number, to: &s.Backtest.FeeBPS, min: 0, max: 1000, doc: "fee of a trade, in basis points of its value"},
		{path: "backtest.slippage_bps", kind: number, to: &s.Backtest.SlippageBPS, min: 0, max: 1000, doc: "slippage of a trade, in basis points of its value"},
		{path: "backtest.benchmark", kind: symbol, to: &s.Backtest.Benchmark, null: true, doc: "a symbol; equal_weight: the universe in equal weights; null: none"},
		{path: "backtest.initial_capital", kind: number, to: &s.Backtest.InitialCapital, min: 0, above: true, max: 1e15, doc: "equity at the start"},
		{path: "backtest.cash_rate", kind: number, to: &s.Backtest.CashRate, min: 0, max: 1, doc: "what cash earns in a year, decimal"},
		{path: "backtest.delist_after", kind: integer, to: &s.Backtest.DelistAfter, min: 1, max: 10_000, doc: "sessions without a bar after which a holding is closed"},
		{path: "backtest.delisting_return", kind: number, to: &s.Backtest.DelistingReturn, min: -1, max: 1, doc: "its return from the last price, decimal"},
		{path: "backtest.impact", kind: number, to: &s.Backtest.Impact, min: 0, max: 10, unsaid: "0", doc: "coefficient of the square-root impact: a trade costs impact x daily volatility x sqrt(value / average daily value)"},
		{path: "backtest.borrow_bps", kind: number, to: &s.Backtest.BorrowBPS, min: 0, max: 10_000, unsaid: "0", doc: "what borrowed shares cost in a year, in basis points of their value"},
		{path: "backtest.short_rebate", kind: number, to: &s.Backtest.ShortRebate, min: 0, max: 1, unsaid: "0", doc: "what the proceeds of short sales earn in a year, decimal"},
		{path: "backtest.margin_initial", kind: number, to: &s.Backtest.MarginInitial, min: 0, above: true, max: 1, unsaid: "0.5", doc: "least equity after an order, as a share of longs and shorts, of long_short"},
		{path: "backtest.margin_maintenance", kind: number, to: &s.Backtest.MarginMaintenance, min: 0, above: true, max: 1, unsaid: "0.25", doc: "least equity at a close, as a share of longs and shorts, of long_short; below it: a margin call"},
	}
}

// children returns the names directly under a section ("": the top), in the
// order of the format.
func children(list []field, section string) []string {
	var names []string
	seen := map[string]bool{}
	for _, f := range list {
		rest := f.path
		if section != "" {
			var in bool
			if rest, in = strings.CutPrefix(f.path, section+"."); !in {
				continue
			}
		}
		name, _, _ := strings.Cut(rest, ".")
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

var patterns = sync.OnceValue(func() map[string]*regexp.Regexp {
	compiled := map[string]*regexp.Regexp{}
	for _, p := range []string{idPattern, versionPattern, namePattern, universePattern} {
		compiled[p] = regexp.MustCompile(p)
	}
	return compiled
})

// nearest returns the candidate that a misspelt name most likely means; "" if
// none is near.
func nearest(name string, candidates []string) string {
	best, at := "", len(name)/3+2
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), c); d < at {
			best, at = c, d
		}
	}
	if best == "" && len(name) > 2 {
		if i := slices.IndexFunc(candidates, func(c string) bool { return strings.Contains(c, strings.ToLower(name)) }); i >= 0 {
			return candidates[i]
		}
	}
	return best
}

// distance is the number of letters to insert, delete, change or swap with
// their neighbour to make b of a (the restricted Damerau-Levenshtein distance).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
