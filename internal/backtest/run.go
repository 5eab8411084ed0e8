package backtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/parallel"
	"quant/internal/price"
)

// EqualWeight is the benchmark that buys the universe in equal weights and
// holds it.
const EqualWeight = "equal_weight"

// Request says which decisions are replayed, and how.
type Request struct {
	RunID      string
	StrategyID string
	Version    string
	// StrategyDigest is the strategy file's, sha256:<hex>; DecisionDigest that
	// of the part which decides, as target_sets.config_digest has it.
	StrategyDigest string
	DecisionDigest string
	// TrialDigest is that of what the strategy sets, however it spells it.
	TrialDigest string
	// Model is the one whose predictions decided, "" without one; Deciders are the
	// others that a decision may be of, by the config_digest that it has then.
	Model    string
	Deciders map[string]string
	Universe []string // the strategy's symbols
	// Changing says what the universe is that changes from day to day; "": it is one of
	// all days. Member tells who was in it on a day; nil: all were.
	Changing string
	Member   func(symbol string, day quant.Date) bool
	// FixedBelow: what decided combines a strategy whose universe is one of all days.
	// Below are the notices on what it has from those that it combines.
	FixedBelow bool
	Below      []string
	// Sectors says what the sectors are that the decisions depend on; "": on none.
	Sectors  string
	From, To quant.Date
	Options
	Benchmark  string            // a symbol, EqualWeight, or "" for none
	InSample   bool              // stamped on the result
	KnownAt    string            // when what decided was known, where the lab cannot prove it; "": it can
	Stated     string            // the notice that says so
	AcceptRaw  bool              // as price.Request has it
	Source     string            // table or view with ohlcv's columns; "": ohlcv as it stands
	PricesAt   quant.Time        // the state of the prices in Source; zero with "": the present one
	Currencies map[string]string // by symbol; "" or absent: not known
	Known      []Known           // the delistings and halts that the lab knows of
}

// Report is the result of a backtest. Curve is for charts; Inputs and Outputs
// are for the run's record.
type Report struct {
	Stored
	Curve   []Day         `json:"-"`
	Inputs  []quant.RunIO `json:"-"`
	Outputs []quant.RunIO `json:"-"`
}

// Run replays the approved decisions of a strategy and version from From to To
// and writes the result, all of it in one transaction. Prices are the closes on
// the basis of package price; the sessions are the calendar's, from From to the
// last one that has a bar of any symbol, but not after To.
//
// NotFound: no decisions, no prices, or a benchmark without a bar at the first
// fill. Refused: a decision that is stale, of another version, model or
// configuration, mixed currencies, or prices that price.Stage refuses.
func Run(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request) (Report, error) {
	var r Report
	if err := req.validate(); err != nil {
		return r, err
	}
	decisions, err := readDecisions(ctx, db, req)
	if err != nil {
		return r, err
	}
	read := req.symbols(decisions)
	notices, err := checkCurrencies(req, read)
	if err != nil {
		return r, err
	}
	prices, err := price.ReadCloses(ctx, db, cal, price.Request{Symbols: read, AcceptRaw: req.AcceptRaw, Source: req.Source})
	if err != nil {
		return r, err
	}
	market, err := readMarket(ctx, db, cal, req, prices)
	if err != nil {
		return r, err
	}
	if req.NeedsBars() {
		bars, err := readBars(ctx, db, cal, prices.Basis, prices.Sessions, req)
		if err != nil {
			return r, err
		}
		first, _ := cal.Index(market.Sessions[0])
		bars.into(&market, first-prices.FirstAt, seq(len(market.Symbols)))
	}
	market.Known = ofSymbols(req.Known, market.Symbols)
	if req.PricesAt.IsZero() {
		at, err := db.PricesAt(ctx)
		if err != nil {
			return r, err
		}
		req.PricesAt = quant.Time{Time: at}
	}
	// The replay needs no database, so its inputs are digested meanwhile.
	var result Result
	var inputs []quant.RunIO
	var unread error
	if ended := parallel.Both(ctx, func() {
		r, result, err = replay(ctx, market, decisions, req, prices.Basis, cal.Identity(), append(notices, prices.Notices...))
	}, func() {
		inputs, unread = inputsOf(ctx, db, req, market, prices)
	}); ended != nil {
		return r, ended
	}
	if err = cmp.Or(err, unread); err != nil {
		return r, err
	}
	r.Inputs = inputs
	stored := &Replayed{Report: r}
	stored.arrange(result)
	err = StoreAll(ctx, db, []*Replayed{stored})
	return stored.Report, err
}

// symbols are those whose prices a replay reads, in byte order.
func (req Request) symbols(decisions []Decision) []string {
	read := symbolsOf(decisions)
	switch req.Benchmark {
	case "":
	case EqualWeight:
		read = append(read, req.Universe...)
	default:
		read = append(read, req.Benchmark)
	}
	slices.Sort(read)
	return slices.Compact(read)
}

// replay simulates decisions on a market, with every variant, and says what came
// of it: all of a Report but Inputs and Outputs. It is a pure function. basis is
// that of the market's prices, notices what is to be said beside what the replay
// says. Errors: those of Simulate; NotFound: the benchmark is not traded at the
// first fill; the cause of ctx.
func replay(ctx context.Context, market Market, decisions []Decision, req Request, basis price.Basis, calendar string, notices []string) (Report, Result, error) {
	var r Report
	if err := req.Validate(); err != nil {
		return r, Result{}, err
	}
	p, err := prepare(market, decisions, req.Options)
	if err != nil {
		return r, Result{}, err
	}
	var result Result
	var measured Measured
	var missed []Delisting
	var trial string
	if ended := parallel.Both(ctx, func() {
		result = p.simulate(req.Options, detail{trades: true})
		measured.Metrics = result.Metrics
		measured.Benchmark, missed, err = benchmark(market, req, &result)
	}, func() {
		trial = trialDigest(req.TrialDigest, market, decisions)
	}); ended != nil {
		return r, result, ended
	}
	if err != nil {
		return r, result, err
	}
	summary := Summary{
		RunID: req.RunID, StrategyID: req.StrategyID, ToTS: result.Metrics.LastSession, FromTS: result.Metrics.FirstFill,
		CAGR: result.Metrics.CAGR, Sharpe: result.Metrics.Sharpe, MaxDD: result.Metrics.MaxDD, Vol: result.Metrics.Vol,
		Turnover: result.Metrics.Turnover, WinRate: result.Metrics.WinRate, AvgTrade: result.Metrics.AvgTrade,
		NumTrades: result.Metrics.NumTrades, FeeBps: req.FeeBps, SlippageBps: req.SlippageBps,
	}
	var variants []variant
	var digest string
	if ended := parallel.Both(ctx, func() {
		variants, err = p.variants(ctx, req.Options, &result.Metrics)
	}, func() {
		digest = digestOf(summary, result)
	}); ended != nil {
		return r, result, ended
	}
	if err != nil {
		return r, result, err
	}
	measured.Lags = lagTable(variants, req.Options)
	r.Stored = Stored{
		Summary: summary,
		Details: Details{
			Version: req.Version, StrategyDigest: req.StrategyDigest, LagDays: int64(req.Lag), Basis: basis.Name(), Calendar: calendar,
			PricesAt: req.PricesAt, BenchmarkName: quant.Text(req.Benchmark), InitialCapital: req.InitialCapital, CashRate: req.CashRate,
			InSample: req.InSample, KnownAt: quant.Text(req.KnownAt), Sensitivity: sensitivityTable(variants, req.Options), Metrics: measured, Delistings: append(append([]Delisting{}, result.Delistings...), missed...), Known: market.Known,
		},
	}
	if basis.Last != 0 && (req.Changing == "" || req.FixedBelow) {
		r.UniverseFixedAt = &basis.Last
	}
	r.Curve = result.Days
	if req.Stated != "" {
		r.Notices = append(r.Notices, req.Stated)
	}
	r.Notices = append(r.Notices, r.notices()...)
	if req.Changing != "" {
		r.Notices = append(r.Notices, req.Changing)
	}
	r.Notices = append(r.Notices, req.Below...)
	if req.Sectors != "" {
		r.Notices = append(r.Notices, req.Sectors)
	}
	r.Notices = append(r.Notices, notices...)
	r.ResultDigest, r.TrialDigest = digest, quant.Text(trial)
	return r, result, nil
}

func (req Request) validate() error {
	if err := req.Validate(); err != nil { // the options
		return err
	}
	if req.To < req.From {
		return quant.Errorf(quant.Invalid, "backtest: the last day %s is before the first one, %s", req.To, req.From).WithHint("--from comes before --to")
	}
	return nil
}

// notices are what the reader of these figures must know first.
func (r *Report) notices() []string {
	m := r.Metrics
	var list []string
	say := func(when bool, format string, args ...any) {
		if when {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	say(r.InSample, "IN SAMPLE: the scores are of dates that their model was trained on; this proves nothing")
	say(r.LagDays == 0, "lag 0 is an optimistic fill: at the very close that the decision was made with; see lag 1")
	say(m.FirstFill == nil, "nothing was ever bought")
	say(m.FirstFill != nil && m.Returns < SessionsPerYear, "short sample: %d returns, less than a year of %d", m.Returns, SessionsPerYear)
	say(r.UniverseFixedAt != nil, "universe fixed as of %s: the symbols were chosen knowing what became of them (survivorship)", r.UniverseFixedAt)
	say(m.Cancelled > 0, "%d of %d decisions were replaced by a newer one before their fill, %d sessions later", m.Cancelled, m.Decisions, r.LagDays)
	say(m.Unfilled > 0, "%d of %d decisions have their fill after the last session", m.Unfilled, m.Decisions)
	list = append(list, m.Book.notices()...)
	say(m.Dropped > 0, "%d orders had no bar at the fill and were dropped", m.Dropped)
	say(m.Gaps > 0, "%d times a position without a bar was valued at its last price", m.Gaps)
	say(m.Delisted > 0, "%d positions were closed as DELISTED", m.Delisted)
	return append(list, delistingNotices(r.Delistings)...)
}

// shownDelistings is how many delistings are told one by one.
const shownDelistings = 10

// delistingNotices tell what was closed as Delisted, by name, and what to do where
// it was none.
func delistingNotices(delistings []Delisting) []string {
	var list []string
	back, untraded, left := "", "", 0.0
	for i, d := range delistings {
		if d.TradedAgain != nil && d.Cause == CauseRule && back == "" {
			back = fmt.Sprintf("%s --kind halt --date %s --end %s", d.Symbol, d.LastBar+1, *d.TradedAgain-1)
		}
		if d.Untraded && untraded == "" {
			untraded = d.Symbol
		}
		if i < shownDelistings {
			list = append(list, d.String())
		} else {
			left += d.PnL
		}
	}
	if n := len(delistings) - shownDelistings; n > 0 {
		list = append(list, fmt.Sprintf("%d more were closed as DELISTED, %s in all", n, signed(left)))
	}
	if back != "" {
		list = append(list, "what traded again was halted, not delisted: `quant delistings add "+back+"` holds it through the halt")
	}
	if untraded != "" {
		list = append(list, "bars after a known delisting are not traded; give that of "+untraded+" an --end if it was listed again")
	}
	return list
}

// String is a delisting in one line.
func (d Delisting) String() string {
	why := "no bar since " + d.LastBar.String()
	if d.Cause == CauseKnown {
		why = "known delisting"
		if d.Reason != "" {
			why += " (" + string(d.Reason) + ")"
		}
		why += ", last bar " + d.LastBar.String()
	}
	whose := ""
	if d.Benchmark {
		whose = "benchmark: "
	}
	text := fmt.Sprintf("%sDELISTED %s on %s: %s; last price %s, return %s %%, %s", whose, d.Symbol, d.ClosedOn, why,
		strconv.FormatFloat(d.LastPrice, 'g', 6, 64), strconv.FormatFloat(d.Return*100, 'g', 4, 64), signed(d.PnL))
	if d.TradedAgain != nil {
		text += "; traded again on " + d.TradedAgain.String()
	}
	return text
}

// signed is an amount of money that was lost or gained.
func signed(pnl float64) string {
	if pnl < 0 {
		return "lost " + strconv.FormatFloat(-pnl, 'f', 2, 64)
	}
	return "gained " + strconv.FormatFloat(pnl, 'f', 2, 64)
}

// ofSymbols are the entries of some symbols, which are in byte order.
func ofSymbols(known []Known, symbols []string) []Known {
	list := []Known{}
	for _, e := range known {
		if _, found := slices.BinarySearch(symbols, e.Symbol); found {
			list = append(list, e)
		}
	}
	return list
}

// benchmark buys at the strategy's first fill, at the same close and costs, and
// holds. What was closed as Delisted it buys back once that trades again, with what
// the closing gave. It sets Benchmark of the result's days, and returns what was
// closed.
func benchmark(market Market, req Request, result *Result) (*Benchmark, []Delisting, error) {
	if req.Benchmark == "" || len(result.Days) == 0 {
		return nil, nil, nil
	}
	first := result.Days[0].TS
	s, _ := slices.BinarySearch(market.Sessions, first)
	names := []string{req.Benchmark}
	if req.Benchmark == EqualWeight {
		names = req.Universe
	}
	decision := Decision{AsOf: first}
	spans, err := spansOf(market)
	if err != nil {
		return nil, nil, err
	}
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = req.Member == nil || req.Benchmark != EqualWeight || req.Member(name, first)
	}
	at := account{market: market, spans: spans, options: req.Options}
	for k, symbol := range market.Symbols {
		if _, ok := at.fillPrice(k, s); ok && wanted[symbol] {
			decision.Weights = append(decision.Weights, Weight{Symbol: symbol})
		}
	}
	if len(decision.Weights) == 0 {
		if k, found := slices.BinarySearch(market.Symbols, req.Benchmark); found && at.spanAt(k, s) != nil {
			return nil, nil, quant.Errorf(quant.NotFound, "benchmark %s is not traded on %s, the session of the first fill: the lab knows of a %s", req.Benchmark, first, at.spanAt(k, s).known.Kind).
				WithHint("choose another with --benchmark; `quant delistings list` shows what the lab knows")
		}
		return nil, nil, quant.Errorf(quant.NotFound, "benchmark %s has no bar on %s, the session of the first fill", req.Benchmark, first).
			WithHint("ingest its prices, or choose another with --benchmark")
	}
	for i := range decision.Weights {
		decision.Weights[i].Weight = 1 / float64(len(decision.Weights))
	}
	// It is bought whole, and holds nothing short. At an open it knows no close, so that
	// lag 0 looks at nothing.
	options := req.Options
	options.Lag, options.MaxVolumeShare, options.Impact, options.LongShort = 0, 0, 0, false
	p, err := prepare(market, []Decision{decision}, options)
	if err != nil {
		return nil, nil, err
	}
	held := p.simulate(options, detail{rejoin: true})
	for i := range result.Days {
		result.Days[i].Benchmark = &held.Days[i].Equity
	}
	for i := range held.Delistings {
		held.Delistings[i].Benchmark = true
	}
	return &Benchmark{Name: req.Benchmark, Performance: held.Metrics.Performance, FinalEquity: held.Metrics.FinalEquity}, held.Delistings, nil
}

func some(list []string) string {
	if len(list) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
	}
	return strings.Join(list, ", ")
}
