package pipeline

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"quant"
	"quant/internal/backtest"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/strategy"
	"quant/internal/universe"
)

// BacktestOptions say how the decisions of a strategy are replayed. What is nil
// the strategy file says.
type BacktestOptions struct {
	Strategy       string      // the file
	Set            []string    // KEY=VALUE, over the file
	From, To       *quant.Date // of decisions; To also of prices
	Lag            *int        // sessions from a decision to its fill
	FeeBPS         *float64
	SlippageBPS    *float64
	InitialCapital *float64
	Benchmark      *string // a symbol, equal (the universe in equal weights) or none
	AcceptRaw      bool    // take raw closes that move as in a split for prices
	AllowInSample  bool    // replay decisions on in-sample scores
	AsOf           string  // a run: prices as they stood when it ended; "": the present ones
}

// Command is what a run with these options is recorded as.
func (o BacktestOptions) Command() session.Command {
	c := command(StageBacktest)
	c.text("strategy", o.Strategy)
	c.day("from", o.From)
	c.day("to", o.To)
	c.each("set", o.Set)
	c.flag("lag", strconv.Itoa(valueOf(o.Lag)), o.Lag != nil)
	c.flag("fee-bps", decimal(valueOf(o.FeeBPS)), o.FeeBPS != nil)
	c.flag("slippage-bps", decimal(valueOf(o.SlippageBPS)), o.SlippageBPS != nil)
	c.flag("benchmark", valueOf(o.Benchmark), o.Benchmark != nil)
	c.flag("initial-capital", decimal(valueOf(o.InitialCapital)), o.InitialCapital != nil)
	c.yes("accept-raw", o.AcceptRaw)
	c.yes("allow-in-sample", o.AllowInSample)
	c.text("as-of", o.AsOf)
	return c.Command
}

// valueOf is what p points to; nothing for nil.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// apply lets what is set beat the file.
func (o BacktestOptions) apply(s *strategy.Strategy) error {
	s.Backtest.From, s.Backtest.To = cmp.Or(o.From, s.Backtest.From), cmp.Or(o.To, s.Backtest.To)
	for _, day := range []struct {
		name string
		at   *quant.Date
	}{{"from", s.Backtest.From}, {"to", s.Backtest.To}} {
		if day.at == nil {
			return quant.Errorf(quant.Usage, "backtest needs --%s", day.name).WithHint("give it as a flag, or as backtest.%s in %s", day.name, o.Strategy)
		}
	}
	s.Execution.LagDays = *cmp.Or(o.Lag, &s.Execution.LagDays)
	s.Backtest.FeeBPS = *cmp.Or(o.FeeBPS, &s.Backtest.FeeBPS)
	s.Backtest.SlippageBPS = *cmp.Or(o.SlippageBPS, &s.Backtest.SlippageBPS)
	s.Backtest.InitialCapital = *cmp.Or(o.InitialCapital, &s.Backtest.InitialCapital)
	if o.Benchmark != nil {
		s.Backtest.Benchmark = quant.Text(*o.Benchmark)
	}
	switch s.Backtest.Benchmark {
	case "none":
		s.Backtest.Benchmark = ""
	case "equal":
		s.Backtest.Benchmark = backtest.EqualWeight
	}
	return nil
}

// Backtest replays the recorded decisions of a strategy, stores the result under
// the id of the run, and records what it read and wrote. It decides nothing anew:
// an alias for a model is the one that decided, see modelThatDecided.
// Errors: Usage: no file or no days. NotFound: AsOf names no run. Refused: an
// in-sample strategy, unless that is allowed. Those of OpenStrategy and
// backtest.Run.
func Backtest(ctx context.Context, s *session.Session, o BacktestOptions) (backtest.Report, error) {
	if o.Strategy == "" {
		return backtest.Report{}, quant.Errorf(quant.Usage, "backtest needs --strategy").WithHint("usage: quant backtest --strategy FILE --from DATE --to DATE")
	}
	file, err := OpenStrategy(ctx, s, o.Strategy, o.Set)
	if err != nil {
		return backtest.Report{}, err
	}
	of := file
	if err := o.apply(&of); err != nil {
		return backtest.Report{}, err
	}
	models, err := deciders(ctx, s, of)
	if err != nil {
		return backtest.Report{}, err
	}
	meta, err := s.MetaDB()
	if err != nil {
		return backtest.Report{}, err
	}
	symbols, err := meta.ListSymbols(ctx, metastore.SymbolFilter{})
	if err != nil {
		return backtest.Report{}, err
	}
	var asOf metastore.RunDetail
	if o.AsOf != "" {
		id, err := s.Resolve(ctx, o.AsOf)
		if err != nil {
			return backtest.Report{}, err
		}
		if asOf, err = meta.GetRun(ctx, id); err != nil {
			return backtest.Report{}, err
		}
	}
	members, err := membersFor(s, of)
	if err != nil {
		return backtest.Report{}, err
	}
	if err := keepUniverse(ctx, s, members); err != nil {
		return backtest.Report{}, err
	}
	known, err := Delistings(s)
	if err != nil {
		return backtest.Report{}, err
	}
	var report backtest.Report
	err = s.WriteFacts(ctx, func(db *factstore.DB) error {
		if isAlias(of.Signal.Inputs.ModelID) {
			id, err := modelThatDecided(ctx, s, db, of, models)
			if err != nil {
				return err
			}
			of.Signal.Inputs.ModelID, file.Signal.Inputs.ModelID = id, id
		}
		logStrategy(s, of)
		on, err := restsOf(ctx, s, db, of, func() ([]string, error) {
			return decidersBetween(ctx, db, of, *of.Backtest.From, *of.Backtest.To)
		})
		if err != nil {
			return err
		}
		req, err := o.request(of, file.Digest(), s.RunID(), symbols, members, on)
		if err != nil {
			return err
		}
		req.Known = known
		req.Model, req.Deciders = of.Signal.Inputs.ModelID, models
		if o.AsOf != "" {
			at, err := pricesAsOf(ctx, db, asOf)
			if err != nil {
				return err
			}
			req.PricesAt = quant.NewTime(at)
			if req.Source, err = db.StageAsOf(ctx, at); err != nil {
				return err
			}
		}
		cal, err := openCalendar(ctx, s, db, cmp.Or(req.Source, factstore.OHLCV))
		if err != nil {
			return err
		}
		report, err = backtest.Run(ctx, db, cal, req)
		return err
	})
	if err == nil {
		err = tellChangedSectors(ctx, s, of, symbols, report.Inputs)
	}
	if err != nil {
		return report, err
	}
	recordBacktest(s, report, members)
	return report, nil
}

// recordBacktest records what a backtest read, wrote and measured; members are those of
// a universe by membership.
func recordBacktest(s *session.Session, report backtest.Report, members universe.List) {
	s.Record(report.Inputs...)
	if len(members.Members) > 0 {
		s.Record(universeRead(members))
	}
	s.Record(report.Outputs...)
	logMeasured(s, "", 0, report.Summary)
}

// request is what backtest.Run is asked for: a strategy that what is set has
// beaten, the digest of the one that its file and Set describe, all symbols of the
// Meta DB, the members of a universe by membership, and what the decisions rest on.
func (o BacktestOptions) request(s strategy.Strategy, digest, runID string, symbols []quant.Symbol, members universe.List, on rests) (backtest.Request, error) {
	r := backtest.Request{
		RunID: runID, StrategyID: s.ID, Version: s.Version, StrategyDigest: digest, DecisionDigest: s.DecisionDigest(), TrialDigest: s.TrialDigest(),
		Universe: s.Universe.Symbols, From: *s.Backtest.From, To: *s.Backtest.To, Benchmark: string(s.Backtest.Benchmark), AcceptRaw: o.AcceptRaw,
		Currencies: map[string]string{},
		Options:    accountOf(s),
	}
	for _, symbol := range symbols {
		r.Currencies[symbol.Symbol] = string(symbol.Currency)
	}
	if err := changing(&r, s.Universe, members); err != nil {
		return r, err
	}
	if s.BySectors() {
		r.Sectors = sectorsOfToday
	}
	r.KnownAt, r.Stated, r.InSample = on.knownAt(), on.knownNotice(), len(on.inSample) > 0
	if s.Signal.Type == strategy.Strategies {
		r.FixedBelow, r.Below = len(on.fixed) > 0, on.below(s.Universe.Changing())
	}
	if !o.AllowInSample {
		return r, on.refuseInSample(s)
	}
	return r, nil
}

// accountOf are the rules of the account that a strategy asks for.
func accountOf(s strategy.Strategy) backtest.Options {
	o := backtest.Options{
		Lag: s.Execution.LagDays, FeeBps: s.Backtest.FeeBPS, SlippageBps: s.Backtest.SlippageBPS, InitialCapital: s.Backtest.InitialCapital,
		CashRate: s.Backtest.CashRate, DelistAfter: s.Backtest.DelistAfter, DelistingReturn: s.Backtest.DelistingReturn,
		Open: s.Execution.Price == strategy.FillOpen, MaxVolumeShare: valueOf(s.Execution.MaxVolumeShare), Impact: s.Backtest.Impact,
	}
	if s.LongShort() {
		o.LongShort, o.BorrowBps, o.ShortRebate = true, s.Backtest.BorrowBPS, s.Backtest.ShortRebate
		o.MarginInitial, o.MarginMaintenance = s.Backtest.Margins()
	}
	return o
}

// pricesAsOf names the state of prices that a backtest read, or that stood when
// another run ended.
func pricesAsOf(ctx context.Context, db *factstore.DB, run metastore.RunDetail) (time.Time, error) {
	b, err := backtest.Read(ctx, db, run.RunID)
	if err == nil && !b.PricesAt.IsZero() {
		return b.PricesAt.Time, nil
	}
	if err != nil && !errors.Is(err, quant.NotFound) {
		return time.Time{}, err
	}
	return db.PricesAsOf(ctx, run.RunID, run.EndedAt.Time)
}
