package backtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/price"
)

// readDecisions reads the sets of the strategy and what was approved in them.
func readDecisions(ctx context.Context, db *factstore.DB, req Request) ([]Decision, error) {
	for _, table := range []string{factstore.TargetSets, factstore.Targets} {
		if err := db.RequireExplained(ctx, table, "", `strategy_id = ? AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)`, req.StrategyID, req.From, req.To); err != nil {
			return nil, err
		}
	}
	again := fmt.Sprintf("`quant recommend --strategy F --from %s --to %s` decides", req.From, req.To)
	rows, err := db.Query(ctx, `SELECT "asof", version, status, config_digest FROM target_sets
		WHERE strategy_id = ? AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) ORDER BY "asof", version`, req.StrategyID, req.From, req.To)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var decisions []Decision
	var others, stale, changed []string
	byModel := map[string][]string{}
	for rows.Next() {
		var d Decision
		var version, status, config sql.NullString
		if err := rows.Scan(&d.AsOf, &version, &status, &config); err != nil {
			return nil, err
		}
		switch {
		case version.String != req.Version:
			others = append(others, version.String+" on "+d.AsOf.String())
			continue
		case status.String != "current":
			stale = append(stale, d.AsOf.String())
		case req.DecisionDigest == "" || config.String == req.DecisionDigest:
		case req.Deciders[config.String] != "":
			model := req.Deciders[config.String]
			byModel[model] = append(byModel[model], d.AsOf.String())
		default:
			changed = append(changed, d.AsOf.String())
		}
		decisions = append(decisions, d)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows.Close()
	name := req.StrategyID + " " + req.Version
	switch {
	case len(decisions) == 0 && len(others) > 0:
		return nil, quant.Errorf(quant.NotFound, "strategy %s has no decisions from %s to %s, other versions have (%s)", name, req.From, req.To, some(others)).WithHint("%s", again)
	case len(decisions) == 0:
		return nil, quant.Errorf(quant.NotFound, "strategy %s has no decisions from %s to %s", name, req.From, req.To).WithHint("%s", again)
	case len(others) > 0:
		return nil, quant.Errorf(quant.Refused, "strategy %s: some decisions from %s to %s are of another version (%s)", name, req.From, req.To, some(others)).WithHint("%s anew", again)
	case len(stale) > 0:
		return nil, quant.Errorf(quant.Refused, "strategy %s: stale decisions, an earlier one was made again since: %s", name, some(stale)).WithHint("%s anew", again)
	case len(changed) > 0:
		return nil, quant.Errorf(quant.Refused, "strategy %s: the file has changed since it decided: %s", name, some(changed)).
			WithHint("%s anew; a changed strategy deserves a new version", again)
	case len(byModel) > 0:
		var list []string
		for _, model := range slices.Sorted(maps.Keys(byModel)) {
			list = append(list, "with "+model+" on "+some(byModel[model]))
		}
		return nil, quant.Errorf(quant.Refused, "strategy %s: decisions from %s to %s were made with another model than %s: %s", name, req.From, req.To, req.Model, strings.Join(list, "; ")).
			WithHint("%s anew, with one model; or replay the days that one decided: --set signal.inputs.model_id=MODEL", again)
	}
	return decisions, readWeights(ctx, db, req, decisions)
}

// DecidedBy returns the config_digest of each configuration that decided for the
// strategy and version in the range, in byte order: one, unless it was changed
// between two decisions.
func DecidedBy(ctx context.Context, db *factstore.DB, strategyID, version string, from, to quant.Date) ([]string, error) {
	return factstore.Values[string](ctx, db, `SELECT DISTINCT coalesce(config_digest, '') AS config FROM target_sets
		WHERE strategy_id = ? AND version = ? AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) ORDER BY config`, strategyID, version, from, to)
}

func readWeights(ctx context.Context, db *factstore.DB, req Request, decisions []Decision) error {
	var names factstore.Names
	var asof []quant.Date
	var symbol []int32
	var weight []float64
	if err := db.Columns(ctx, `SELECT "asof", symbol, weight FROM targets WHERE strategy_id = ? AND version = ? AND approved AND weight <> 0
		AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)`, []any{req.StrategyID, req.Version, req.From, req.To}, func(c *factstore.Chunk) error {
		asof, symbol, weight = c.AppendDates(asof, 0), c.AppendNumbers(symbol, 1, &names), c.AppendFloats(weight, 2)
		return nil
	}); err != nil {
		return err
	}
	at := make(map[quant.Date]int, len(decisions))
	for i, d := range decisions {
		at[d.AsOf] = i
	}
	of, count := make([]int32, len(asof)), make([]int, len(decisions))
	stray := quant.Date(math.MaxInt32)
	for i, day := range asof {
		d, decided := at[day]
		if !decided {
			stray = min(stray, day)
			continue
		}
		of[i] = int32(d)
		count[d]++
	}
	if stray != math.MaxInt32 {
		return quant.Errorf(quant.Refused, "strategy %s %s has targets on %s without a decision", req.StrategyID, req.Version, stray).
			WithHint("`quant recommend --strategy F --asof %s` decides anew", stray)
	}
	all := make([]Weight, 0, len(asof))
	for d, n := range count {
		if n > 0 {
			decisions[d].Weights = all[len(all) : len(all) : len(all)+n]
			all = all[:len(all)+n]
		}
	}
	for i, d := range of {
		decisions[d].Weights = append(decisions[d].Weights, Weight{names.List[symbol[i]], weight[i]})
	}
	for _, d := range decisions {
		slices.SortFunc(d.Weights, func(a, b Weight) int { return strings.Compare(a.Symbol, b.Symbol) })
	}
	return nil
}

func symbolsOf(decisions []Decision) []string {
	seen := map[string]bool{}
	list := []string{}
	for _, d := range decisions {
		for _, w := range d.Weights {
			if !seen[w.Symbol] {
				seen[w.Symbol] = true
				list = append(list, w.Symbol)
			}
		}
	}
	slices.Sort(list)
	return list
}

// checkCurrencies refuses an account in two currencies: no rate of exchange is
// known here.
func checkCurrencies(req Request, symbols []string) ([]string, error) {
	example := map[string]string{}
	var unknown []string
	for _, symbol := range symbols {
		currency := req.Currencies[symbol]
		if currency == "" {
			unknown = append(unknown, symbol)
		} else if _, seen := example[currency]; !seen {
			example[currency] = symbol
		}
	}
	if len(example) > 1 {
		var list []string
		for currency, symbol := range example {
			list = append(list, currency+" ("+symbol+")")
		}
		slices.Sort(list)
		return nil, quant.Errorf(quant.Refused, "strategy %s mixes currencies: %s", req.StrategyID, some(list)).
			WithHint("one strategy a currency; `quant symbols set SYMBOL --currency ...` corrects one")
	}
	if len(unknown) > 0 {
		return []string{"the currency of " + some(unknown) + " is not known; it is taken to be the same for all"}, nil
	}
	return nil, nil
}

func (req Request) source() string {
	if req.Source == "" {
		return factstore.OHLCV
	}
	return req.Source
}

// readMarket is the market of prices that were read. It ends with the last bar of
// any symbol, held or not: where all data ends, nobody is delisted.
func readMarket(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request, prices *price.Closes) (Market, error) {
	m := Market{Symbols: prices.Symbols}
	var last sql.Null[quant.Date]
	if err := db.QueryRow(ctx, "SELECT max(ts) FROM "+req.source()+" WHERE ts <= CAST(? AS DATE)", req.To).Scan(&last); err != nil {
		return m, err
	}
	if last.Valid {
		m.Sessions = cal.Sessions(req.From, last.V)
	}
	if len(m.Sessions) == 0 {
		return m, quant.Errorf(quant.NotFound, "there are no prices from %s to %s", req.From, req.To).
			WithHint("`quant ingest` loads prices; QUANT_CALENDAR must be that of their market")
	}
	first, _ := cal.Index(m.Sessions[0])
	from := first - prices.FirstAt // in prices.Sessions; it may begin before these, and end behind
	to := from + len(m.Sessions)
	inside := from >= 0 && to <= len(prices.Sessions)
	for _, of := range prices.Close {
		if inside {
			m.Close = append(m.Close, of[from:to:to])
			continue
		}
		closes := make([]float64, len(m.Sessions))
		for s := range closes {
			closes[s] = math.NaN()
			if at := from + s; at >= 0 && at < len(of) {
				closes[s] = of[at]
			}
		}
		m.Close = append(m.Close, closes)
	}
	return m, nil
}

// inputsOf says what was read, and which runs had written it.
func inputsOf(ctx context.Context, db *factstore.DB, req Request, market Market, prices *price.Closes) ([]quant.RunIO, error) {
	first, last := market.Sessions[0], market.Sessions[len(market.Sessions)-1]
	var list []quant.RunIO
	note := func(of dataset.Name, from, to quant.Date, rows int64, digest string) {
		list = append(list, quant.RunIO{
			Direction: quant.In, Kind: quant.IOTable, Name: of.String(), Rows: &rows,
			FirstDate: quant.Text(from.String()), LastDate: quant.Text(to.String()), Digest: quant.Text(digest),
		})
	}
	const these = ` WHERE strategy_id = ? AND version = ? AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)`
	of := []any{req.StrategyID, req.Version, req.From, req.To}
	rows, digest, err := db.Digest(ctx, `SELECT "asof", status, config_digest FROM target_sets`+these, of...)
	if err != nil {
		return nil, err
	}
	note(dataset.TargetSetsOf(req.StrategyID, req.Version), req.From, req.To, rows, digest)
	if rows, digest, err = db.Digest(ctx, `SELECT "asof", symbol, weight FROM targets`+these+" AND approved", of...); err != nil {
		return nil, err
	}
	note(dataset.TargetsOf(req.StrategyID, req.Version), req.From, req.To, rows, digest)
	rows, digest = prices.Sum(prices.Range(first, last)).Digest()
	if req.NeedsBars() {
		rows, digest = sumOfBars(market, seq(len(market.Symbols))).Digest()
	}
	note(dataset.Name{Table: dataset.OHLCV}, first, last, rows, digest)
	if len(market.Known) > 0 { // of the symbols that were read
		n := int64(len(market.Known))
		list = append(list, quant.RunIO{Direction: quant.In, Kind: quant.IOTable, Name: KnownName, Rows: &n, Digest: quant.Text(knownDigest(market.Known))})
	}
	writers, err := db.WritersOf(ctx, factstore.OHLCV, prices.Stamps(first, last))
	if err != nil {
		return nil, err
	}
	decided, err := db.Query(ctx, "SELECT DISTINCT run_id FROM target_sets"+these+" AND run_id IS NOT NULL", of...)
	if err != nil {
		return nil, err
	}
	defer decided.Close()
	for decided.Next() {
		var run string
		if err := decided.Scan(&run); err != nil {
			return nil, err
		}
		writers = append(writers, run)
	}
	slices.Sort(writers)
	return append(list, factstore.WrittenBy(slices.Compact(writers))...), decided.Err()
}

// List returns the backtests of a strategy, or of all for "", newest first.
func List(ctx context.Context, db *factstore.DB, strategyID string) ([]Stored, error) {
	return readStored(ctx, db, "? = '' OR s.strategy_id = ?", strategyID, strategyID)
}

// Read returns the backtest that a run made; NotFound if it made none.
func Read(ctx context.Context, db *factstore.DB, runID string) (Stored, error) {
	list, err := readStored(ctx, db, "s.run_id = ?", runID)
	if err != nil {
		return Stored{}, err
	}
	if len(list) == 0 {
		return Stored{}, quant.Errorf(quant.NotFound, "run %s made no backtest", runID).WithHint("`quant backtest list` shows those that did")
	}
	return list[0], nil
}

func readStored(ctx context.Context, db *factstore.DB, where string, args ...any) ([]Stored, error) {
	rows, err := db.Query(ctx, `SELECT s.run_id, s.strategy_id, s.from_ts, s.to_ts, s.cagr, s.sharpe, s.max_dd, s.vol, s.turnover, s.win_rate, s.avg_trade, s.num_trades,
			s.fee_bps, s.slippage_bps, s.created_at, d.version, d.strategy_digest, d.lag_days, d.basis, d.calendar, d.prices_at, d.benchmark, d.initial_capital,
			d.cash_rate, d.in_sample, d.universe_fixed_at, d.result_digest, d.sensitivity_json, d.metrics_json, d.notices_json, d.trial_digest
		FROM backtest_summary s JOIN backtest_details d ON d.run_id = s.run_id WHERE `+where+` ORDER BY s.created_at DESC, s.run_id DESC`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Stored
	for rows.Next() {
		var b Stored
		var from, to, fixed sql.Null[quant.Date]
		var sensitivity, metrics, notices string
		if err := rows.Scan(&b.RunID, &b.StrategyID, &from, &to, &b.CAGR, &b.Sharpe, &b.MaxDD, &b.Vol, &b.Turnover, &b.WinRate, &b.AvgTrade, &b.NumTrades,
			&b.FeeBps, &b.SlippageBps, &b.CreatedAt, &b.Version, &b.StrategyDigest, &b.LagDays, &b.Basis, &b.Calendar, &b.PricesAt, &b.BenchmarkName, &b.InitialCapital,
			&b.CashRate, &b.InSample, &fixed, &b.ResultDigest, &sensitivity, &metrics, &notices, &b.TrialDigest); err != nil {
			return nil, err
		}
		b.FromTS, b.ToTS, b.UniverseFixedAt = present(from), present(to), present(fixed)
		measured := measuredText{Delistings: []Delisting{}, Known: []Known{}}
		for text, into := range map[string]any{sensitivity: &b.Sensitivity, metrics: &measured, notices: &b.Notices} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return nil, quant.Errorf(quant.Store, "backtest_details of run %s: %w", b.RunID, err).WithHint("`quant doctor` examines the file")
			}
		}
		b.Metrics, b.Delistings, b.Known, b.KnownAt = measured.Measured, measured.Delistings, measured.Known, quant.Text(measured.KnownAt)
		list = append(list, b)
	}
	return list, rows.Err()
}

func present(d sql.Null[quant.Date]) *quant.Date {
	if !d.Valid {
		return nil
	}
	return &d.V
}
