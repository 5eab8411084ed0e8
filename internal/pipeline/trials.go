package pipeline

import (
	"context"
	"encoding/json"
	"runtime"
	"slices"
	"sync"

	"quant"
	"quant/internal/backtest"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/strategy"
	"quant/internal/universe"
)

const (
	// trialsAtOnce is how many trials are decided, replayed and stored together: so
	// many are in memory, and so many share a commit.
	trialsAtOnce = 8
	// readingsBytes bounds the signals and closes that are kept for later trials.
	readingsBytes = 512 << 20
)

// trials runs the trials of a sweep by the functions that recommend and backtest
// run, but reads what they read once, decides and replays in memory on all
// processors, and records and stores several trials at once. Each is still two
// recorded runs, as if it had run alone.
type trials struct {
	s      *session.Session
	runner InProcess
	o      SweepOptions
	report *SweepReport
	file   quant.RunIO // the strategy file, as each run reads it

	// What was read while the newest change of the facts was that of state.
	state    quant.Time
	calendar *calendar.Calendar
	known    []backtest.Known
	readings []reading // the newest last
	panel    *backtest.Panel
	standing map[string]*standingDecisions // by strategy; what is not there has decided nothing

	symbols   []quant.Symbol // of the Meta DB
	universes []universe.List
}

func newTrials(s *session.Session, p InProcess, o SweepOptions, r *SweepReport, data []byte) *trials {
	return &trials{s: s, runner: p, o: o, report: r, file: quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: o.Strategy, Digest: quant.Text(durable.Digest(data))}}
}

// calls are the two runs of a trial, in their order.
func (w *trials) calls(t *Trial) [2]Call {
	from, to := w.report.From, w.report.To
	return [2]Call{
		RecommendOptions{Strategy: w.o.Strategy, Set: t.sets, From: &from, To: &to, AcceptRaw: w.o.AcceptRaw},
		BacktestOptions{Strategy: w.o.Strategy, Set: t.sets, From: &from, To: &to, AcceptRaw: w.o.AcceptRaw, AllowInSample: w.o.AllowInSample},
	}
}

// reading is what recommend reads for some strategies.
type reading struct {
	key string
	*recommending
}

// trialRun is one trial on its way.
type trialRun struct {
	*Trial
	of        strategy.Strategy
	recommend RecommendOptions
	backtest  BacktestOptions
	inner     *session.Session // its run now
	*recommending
	decisions []backtest.Decision
	replayed  *backtest.Replayed
	rows      *decisionRows
	stands    *standingDecisions // what was decided before; nil: nothing
	rests     *rests             // what its decisions rest on
	decidedBy []string           // the runs that wrote the decisions
	alone     bool               // its backtest runs by itself
}

// run runs some trials, and returns the error of each. alone runs a trial, or for
// decided only its backtest, by itself: one that cannot run with others.
func (w *trials) run(ctx context.Context, list []*Trial, alone func(t *Trial, decided bool) error) []error {
	errs := make([]error, len(list))
	var together []*trialRun
	var of []int // of list
	err := w.s.WriteFactsInside(ctx, func(db *factstore.DB) error {
		ready, err := w.read(ctx, db, list)
		if err != nil {
			return err
		}
		for i, t := range ready {
			if t != nil {
				together, of = append(together, t), append(of, i)
			}
		}
		if len(together) == 0 {
			return nil
		}
		for k, err := range w.together(ctx, db, together) {
			errs[of[k]] = err
		}
		w.state, err = newestChange(ctx, db)
		return err
	})
	if ctx.Err() != nil {
		return errs
	}
	if err != nil && len(together) > 0 { // the file could not be closed, or read again
		for _, i := range of {
			if errs[i] == nil {
				errs[i] = err
			}
		}
	}
	for i, t := range list {
		k := slices.Index(of, i)
		switch {
		case ctx.Err() != nil:
		case k < 0:
			errs[i] = alone(t, false)
		case together[k].alone && errs[i] == nil:
			errs[i] = alone(t, true)
		}
	}
	return errs
}

// newestChange names the state of the facts.
func newestChange(ctx context.Context, db *factstore.DB) (quant.Time, error) {
	var at *int64
	err := db.QueryRow(ctx, "SELECT epoch_us(max(committed_at)) FROM "+factstore.Ledger).Scan(&at)
	if err != nil || at == nil {
		return quant.Time{}, err
	}
	return quant.NewTime(timeOfMicros(*at)), nil
}

// read reads what trials need, unless it has been read and still stands, and
// returns those that can run together: whose strategies have decided nothing yet
// but in the range, and of whose reading nothing is to be said that depends on the trial. nil: the
// trial cannot.
func (w *trials) read(ctx context.Context, db *factstore.DB, list []*Trial) ([]*trialRun, error) {
	ready := make([]*trialRun, len(list))
	meta, err := w.s.MetaDB()
	if err != nil {
		return ready, err
	}
	if w.symbols, err = meta.ListSymbols(ctx, metastore.SymbolFilter{}); err != nil {
		return ready, err
	}
	if w.universes, err = Universes(w.s); err != nil {
		return ready, err
	}
	state, err := newestChange(ctx, db)
	if err != nil {
		return ready, err
	}
	if w.calendar == nil || state != w.state {
		w.state, w.readings, w.panel = state, nil, nil
		if w.calendar, err = openCalendar(ctx, w.s, db, factstore.OHLCV); err != nil {
			return ready, err
		}
		if w.known, err = Delistings(w.s); err != nil {
			return ready, err
		}
		if w.standing, err = standingDecisionsOf(ctx, db, w.report.StrategyID+"#", w.report.From, w.report.To); err != nil {
			return ready, err
		}
		if w.panel, err = w.readPanel(ctx, db); err != nil && ctx.Err() != nil {
			return ready, err
		}
	}
	if w.panel == nil {
		return ready, nil
	}
	sets, err := featureSetsOf(ctx, w.s, db)
	if err != nil {
		return ready, err
	}
	from, to := w.report.From, w.report.To
	for i, t := range list {
		of := w.resolved(t)
		stands := w.standing[of.ID]
		if stands != nil && !stands.plain || of.CheckScale(priceLevels(sets)) != nil {
			continue
		}
		read, err := w.reading(ctx, db, of)
		if err != nil && ctx.Err() != nil {
			return ready, err
		}
		if read == nil {
			continue
		}
		on := read.rests
		if on == nil {
			found, err := restsOf(ctx, w.s, db, of, func() ([]string, error) { return read.report.combined, nil })
			if err != nil {
				return ready, err
			}
			if on = &found; of.Signal.Type == strategy.Strategies {
				read.rests = on // a walk through many runs
			}
		}
		ready[i] = &trialRun{rests: on, Trial: t, of: of, recommending: read, stands: stands,
			recommend: RecommendOptions{Strategy: w.o.Strategy, Set: t.sets, From: &from, To: &to, AcceptRaw: w.o.AcceptRaw},
			backtest:  BacktestOptions{Strategy: w.o.Strategy, Set: t.sets, From: &from, To: &to, AcceptRaw: w.o.AcceptRaw, AllowInSample: w.o.AllowInSample},
		}
	}
	return ready, nil
}

// resolved is the strategy of a trial, as OpenStrategy gives it.
func (w *trials) resolved(t *Trial) strategy.Strategy {
	switch t.of.Universe.Type {
	case strategy.UniverseSymbols:
		return t.of
	case strategy.UniverseMembership:
		return t.of.WithSymbols(w.universe(t.of).Symbols())
	}
	return t.of.WithSymbols(symbolsOf(t.of, w.symbols))
}

// universe is the list of members of a strategy; none where the lab does not have it.
func (w *trials) universe(of strategy.Strategy) universe.List {
	for _, l := range w.universes {
		if l.Name == of.Universe.Name {
			return l
		}
	}
	return universe.List{}
}

func (w *trials) readPanel(ctx context.Context, db *factstore.DB) (*backtest.Panel, error) {
	var symbols []string
	seen := map[string]bool{}
	bars := false
	for i := range w.report.Trials {
		of := w.resolved(&w.report.Trials[i])
		bars = bars || accountOf(of).NeedsBars()
		for _, symbol := range append(slices.Clip(of.Universe.Symbols), string(of.Backtest.Benchmark)) {
			if symbol != "" && symbol != backtest.EqualWeight && !seen[symbol] {
				seen[symbol] = true
				symbols = append(symbols, symbol)
			}
		}
	}
	return backtest.ReadPanel(ctx, db, w.calendar, backtest.PanelRequest{Symbols: symbols, From: w.report.From, To: w.report.To, AcceptRaw: w.o.AcceptRaw, Bars: bars})
}

// readingKey names what a strategy reads: two of the same one read the same.
func readingKey(of strategy.Strategy) (string, error) {
	what, err := json.Marshal([]any{of.Universe, of.Signal, of.Rebalance})
	return string(what), err
}

// reading is what recommend reads for a strategy that has decided nothing, and
// says of it. nil: an error, which recommend says.
func (w *trials) reading(ctx context.Context, db *factstore.DB, of strategy.Strategy) (*recommending, error) {
	key, err := readingKey(of)
	if err != nil {
		return nil, err
	}
	for i, r := range w.readings {
		if r.key == key {
			w.readings = append(slices.Delete(w.readings, i, i+1), r)
			return r.recommending, nil
		}
	}
	from, to := w.report.From, w.report.To
	r := &recommending{db: db, s: of, decideRequest: decideRequest{Strategy: of, Calendar: w.calendar, From: &from, To: &to, AcceptRaw: w.o.AcceptRaw, Members: w.universe(of), Rests: restsIn(w.s)}}
	for _, step := range []func(context.Context) error{r.readParts, r.readPrices, r.readSignals, r.readCloses} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	r.sumInputs()
	r.db = nil
	size := 0
	for i := len(w.readings) - 1; i >= 0; i-- {
		if size += w.readings[i].bytes(); size+r.bytes() > readingsBytes {
			w.readings = w.readings[i+1:]
			break
		}
	}
	w.readings = append(slices.Clone(w.readings), reading{key, r})
	return r, nil
}

// bytes is about how much memory a reading takes.
func (r *recommending) bytes() int {
	return len(r.signals.Days) * len(r.signals.Symbols) * (8 + 8 + 4)
}

// together runs trials that are ready, and returns the error of each.
func (w *trials) together(ctx context.Context, db *factstore.DB, list []*trialRun) []error {
	errs := make([]error, len(list))
	w.begin(ctx, list, errs, func(t *trialRun) session.Command { return t.recommend.Command() }, func(t *trialRun, id quant.Text) { t.RecommendID = id })
	w.each(ctx, list, errs, w.decide)
	w.store(ctx, db, list, errs, func(t *trialRun) bool { return t.stands == nil }, func(list []*trialRun) error { return storeDecisions(ctx, db, list) })
	for _, again := range list {
		if again.stands != nil && again.rows != nil { // not as they were
			w.store(ctx, db, list, errs, func(t *trialRun) bool { return t == again }, func([]*trialRun) error { return again.decideAnew(ctx, db) })
		}
	}
	for i, t := range list {
		if t.inner != nil {
			t.report.record(t.inner, errs[i])
		}
	}
	w.finish(ctx, list, errs)

	var replays []*trialRun
	var of []int
	for i, t := range list {
		if errs[i] == nil {
			if t.alone = !w.panel.Covers(t.decisions, w.report.From, w.report.To); !t.alone {
				replays, of = append(replays, t), append(of, i)
			}
		}
	}
	failed := make([]error, len(replays))
	w.begin(ctx, replays, failed, func(t *trialRun) session.Command { return t.backtest.Command() }, func(t *trialRun, id quant.Text) { t.RunID = id })
	w.each(ctx, replays, failed, w.replay)
	w.store(ctx, db, replays, failed, func(*trialRun) bool { return true }, func(list []*trialRun) error {
		rows := make([]*backtest.Replayed, len(list))
		for i, t := range list {
			rows[i] = t.replayed
		}
		return backtest.StoreAll(ctx, db, rows)
	})
	for i, t := range replays {
		if t.inner != nil && failed[i] == nil {
			recordBacktest(t.inner, t.replayed.Report, w.universe(t.of))
		}
	}
	w.finish(ctx, replays, failed)
	for k, i := range of {
		errs[i] = failed[k]
		if errs[i] == nil {
			list[i].measured(replays[k].replayed.Stored)
		}
	}
	return errs
}

// begin starts a run of each trial that has no error.
func (w *trials) begin(ctx context.Context, list []*trialRun, errs []error, command func(*trialRun) session.Command, started func(*trialRun, quant.Text)) {
	var commands []session.Command
	var of []*trialRun
	for i, t := range list {
		t.inner = nil
		if errs[i] == nil {
			commands, of = append(commands, w.runner.voiced(w.s, command(t))), append(of, t)
		}
	}
	if len(of) == 0 {
		return
	}
	inner, err := w.s.Begin(ctx, commands)
	for i, t := range list {
		k := slices.Index(of, t)
		switch {
		case k < 0:
		case err != nil:
			errs[i] = err
		default:
			t.inner = inner[k]
			started(t, quant.Text(t.inner.RunID()))
			w.s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: t.inner.RunID()})
			t.inner.Record(w.file)
		}
	}
}

// each runs a step of the trials that run, on all processors.
func (w *trials) each(ctx context.Context, list []*trialRun, errs []error, step func(context.Context, *trialRun) error) {
	var wg sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, t := range list {
		if t.inner == nil || errs[i] != nil {
			continue
		}
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			if errs[i] = context.Cause(ctx); errs[i] == nil {
				errs[i] = session.Guard(func() error { return step(ctx, t) })
			}
		})
	}
	wg.Wait()
}

// store stores the facts of those trials that are chosen and have no error in one
// transaction. Its error is that of each of them.
func (w *trials) store(ctx context.Context, db *factstore.DB, list []*trialRun, errs []error, choose func(*trialRun) bool, do func([]*trialRun) error) {
	var of []*trialRun
	for i, t := range list {
		if t.inner != nil && errs[i] == nil && choose(t) {
			of = append(of, t)
			t.inner.FactsBecame(factstore.Unknown) // until the commit has returned
		}
	}
	if len(of) == 0 {
		return
	}
	err := session.Guard(func() error { return do(of) })
	became := factstore.Committed
	if err != nil {
		became = factstore.Unknown
		if rows, asked := db.Ledger(context.WithoutCancel(ctx), of[0].inner.RunID()); asked == nil {
			if became = factstore.NoneCommitted; len(rows) > 0 {
				became = factstore.Committed
			}
		}
	}
	for i, t := range list {
		if slices.Contains(of, t) {
			t.inner.FactsBecame(became)
			errs[i] = err
		}
	}
}

// finish ends the runs of the trials.
func (w *trials) finish(ctx context.Context, list []*trialRun, errs []error) {
	var inner []*session.Session
	var causes []error
	var of []int
	for i, t := range list {
		if t.inner != nil {
			inner, causes, of = append(inner, t.inner), append(causes, errs[i]), append(of, i)
		}
	}
	if len(of) == 0 {
		return
	}
	for k, err := range w.s.Finish(ctx, inner, causes) {
		errs[of[k]] = err
		list[of[k]].inner = nil
	}
}

// decide makes the decisions of a trial, and the rows to be stored.
func (w *trials) decide(ctx context.Context, t *trialRun) error {
	read := t.recommending
	r := *read
	r.s, r.Strategy, r.RunID, r.Sectors = t.of, t.of, t.inner.RunID(), sectorsOf(t.of, w.symbols)
	r.report = newRecommendation(t.of)
	r.report.Basis = read.report.Basis
	r.report.Notices = append(r.report.Notices, read.report.Notices...)
	r.report.restsOn(*t.rests)
	r.report.Inputs = slices.Clone(read.report.Inputs)
	t.recommending = &r
	logStrategy(t.inner, t.of)
	w.noteCalendar(t.inner)
	if err := keepUniverse(ctx, t.inner, r.Members); err != nil {
		return err
	}
	if err := r.makeDecisions(ctx); err != nil {
		return err
	}
	t.decisions = r.approved()
	t.decidedBy = []string{r.RunID}
	rows := r.decisionRows()
	outputs := r.stored(rows)
	switch {
	case t.stands == nil:
		t.rows, r.report.Outputs, r.report.Changed = rows, outputs, len(r.sets)
	case t.stands.as(outputs) && t.of.Signal.Type != strategy.Strategies: // of a combination write sees what it rests on
		none := int64(0)
		for _, io := range outputs {
			io.Rows = &none
			r.report.Outputs = append(r.report.Outputs, io)
		}
		t.decidedBy = t.stands.runs
	default:
		t.rows = rows
		return nil
	}
	r.sets = nil
	return nil
}

// replay replays the decisions of a trial, and makes the rows to be stored.
func (w *trials) replay(ctx context.Context, t *trialRun) error {
	of := t.of
	if err := t.backtest.apply(&of); err != nil {
		return err
	}
	logStrategy(t.inner, of)
	req, err := t.backtest.request(of, t.of.Digest(), t.inner.RunID(), w.symbols, w.universe(of), *t.rests)
	if err != nil {
		return err
	}
	req.Known, req.Model = w.known, of.Signal.Inputs.ModelID
	w.noteCalendar(t.inner)
	if err := keepUniverse(ctx, t.inner, w.universe(of)); err != nil {
		return err
	}
	t.replayed, err = w.panel.Replay(ctx, t.decisions, t.decidedBy, req)
	return err
}

func (w *trials) noteCalendar(s *session.Session) {
	if s.CalendarName() != calendar.Data && w.calendar.Digest() != "" {
		s.Record(calendarInput(w.calendar))
	}
}
