// Package pipeline composes the modules of the production chain, which know
// nothing of each other: what one writes, another reads. It is the only place
// where two of them meet.
package pipeline

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"quant"
	"quant/internal/calendar"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/strategy"
	"quant/internal/supervisor"
	"quant/internal/universe"
)

// GoneAfter is after how many sessions without a bar a name has left the
// market.
const GoneAfter = 10

// decideRequest says what to decide.
type decideRequest struct {
	Strategy strategy.Strategy // a universe of type all with its symbols
	Calendar *calendar.Calendar
	// Asof decides on this one day, a rebalance day or not. Else every rebalance
	// day from From to To, both included; To may be nil: up to the last bar.
	Asof      *quant.Date
	From, To  *quant.Date
	AcceptRaw bool // see price.Request
	RunID     string
	// PriceLevel tells of a feature whether it is in units of the price, and its
	// scale-free twin; nil: none is.
	PriceLevel func(feature, version string) (twin string, is bool)
	// Deciders are the models that a decision may be of, by the config_digest that
	// it has then; nil: none.
	Deciders map[string]string
	// Members is the list of those of a universe by membership.
	Members universe.List
	// Sectors are those of the symbols, where the strategy asks for them.
	Sectors map[string]string
	// Rests tells what decisions that runs made rest on; nil: nobody can.
	Rests func(ctx context.Context, db *factstore.DB, runs []string) (rests, error)
}

// Recommendation is what was decided.
type Recommendation struct {
	StrategyID   string      `json:"strategy_id"`
	Version      string      `json:"version"`
	ConfigDigest string      `json:"config_digest"` // strategy.Strategy.DecisionDigest
	From         quant.Date  `json:"from"`          // first and last day decided
	To           quant.Date  `json:"to"`
	Basis        string      `json:"basis"` // of the prices: adjusted, raw or mixed
	Decisions    int         `json:"decisions"`
	ToCash       int         `json:"to_cash"`            // of these, without an approved weight
	Changed      int         `json:"changed"`            // of these, new or other than before
	Removed      int64       `json:"removed"`            // earlier decisions in the range that are on no rebalance day
	Stale        int64       `json:"stale"`              // later decisions that rest on what changed
	Flags        []FlagCount `json:"flags"`              // how often each struck, in the order of the rules
	Sets         []TargetSet `json:"sets"`               // one a day, oldest first
	Targets      []Target    `json:"targets"`            // of the last day, in the decision's order
	KnownAt      quant.Text  `json:"known_at"`           // where the signal was imported: as its source states; null: proved
	InSample     bool        `json:"in_sample,omitzero"` // scores decided, or what is combined, of dates that their model was trained on
	Notices      []string    `json:"notices"`

	// Inputs and Outputs are what the run read and wrote.
	Inputs  []quant.RunIO `json:"-"`
	Outputs []quant.RunIO `json:"-"`

	longShort bool
	combined  []string // the runs that made what a combination holds
}

// FlagCount is how many rows a flag stands on.
type FlagCount struct {
	Flag supervisor.Flag `json:"flag"`
	Rows int             `json:"rows"`
}

// TargetSet is one decision: a row of target_sets.
type TargetSet struct {
	Asof           quant.Date  `json:"asof"`
	Proposed       int         `json:"proposed"`
	Approved       int         `json:"approved"`
	Gross          float64     `json:"gross"`         // sum of absolute weights
	Net            *float64    `json:"net,omitempty"` // sum of weights; nil of a book that is only long
	Turnover       float64     `json:"turnover"`
	ExemptTurnover float64     `json:"exempt_turnover"`
	BasisAsof      *quant.Date `json:"basis_asof"` // the decision it started from; nil: from cash
	Digest         string      `json:"digest"`     // of its rows
}

// Target is one row of a decision.
type Target struct {
	Symbol   string            `json:"symbol"`
	Weight   float64           `json:"weight"` // negative: short
	Score    *float64          `json:"score"`
	Approved bool              `json:"approved"`
	Flags    []supervisor.Flag `json:"risk_flags"`
	Reason   string            `json:"reason"`
}

// decide proposes, supervises and decides for each day in order, and writes
// targets, proposals and target_sets in one transaction. Each decision starts
// from the one before it of the same strategy and version, its approved weights
// drifted by the closes to the day. A day's set is replaced whole; if anything
// changed, later sets of the strategy become stale; if nothing did, nothing is
// written.
//
// NotFound: no rebalance day or no bars in the range, no session on Asof, no
// signal at all on these days. Refused: a price-level signal, or raw prices
// that move as in a split. Store: the database.
func decide(ctx context.Context, db *factstore.DB, req decideRequest) (report Recommendation, err error) {
	r := &recommending{decideRequest: req, db: db, s: req.Strategy}
	r.report = newRecommendation(r.s)
	defer func() { // what was read is recorded of a run that fails, too
		r.giveUpAhead()
		r.sumInputs()
		report.Inputs = r.report.Inputs
	}()
	if req.PriceLevel != nil {
		if err := r.s.CheckScale(req.PriceLevel); err != nil {
			return r.report, err
		}
	}
	for _, step := range []func(context.Context) error{r.findBasis, r.readParts, r.readAhead, r.readPrices, r.readSignals, r.readCloses, r.makeDecisions, r.write} {
		if err := step(ctx); err != nil {
			return r.report, err
		}
	}
	return r.report, nil
}

// newRecommendation is what is to be said of a strategy before it has decided.
func newRecommendation(s strategy.Strategy) Recommendation {
	return Recommendation{StrategyID: s.ID, Version: s.Version, ConfigDigest: s.DecisionDigest(),
		Flags: []FlagCount{}, Sets: []TargetSet{}, Targets: []Target{}, Notices: s.Notices(), longShort: s.LongShort()}
}

type recommending struct {
	decideRequest
	db     *factstore.DB
	s      strategy.Strategy
	report Recommendation

	extent    price.Extent
	ahead     *ahead[*strategy.Signals] // of aheadOf; nil: they are read in turn
	aheadOf   []quant.Date
	standing  *ahead[standingRows] // nil: they are read in turn
	sums      []inputSum
	last      *decided     // the decision that the next one starts from
	days      []quant.Date // to decide on
	low, high quant.Date   // range that is replaced
	prices    *price.Closes
	parts     []combined // of a combination
	rests     *rests     // what a combination rests on; nil: nobody asked
	signals   *strategy.Signals
	closes    closes
	sets      []decided
}

// findBasis finds the last decision of this strategy and version before the
// range.
func (r *recommending) findBasis(ctx context.Context) error {
	first := r.From
	if r.Asof != nil {
		first = r.Asof
	}
	if first == nil {
		return quant.Errorf(quant.Usage, "no day to decide on").WithHint("give --asof, or --from and --to")
	}
	if r.To != nil && *r.To < *first {
		return quant.Errorf(quant.Usage, "--to %s is before --from %s", r.To, first)
	}
	last := decided{k: 0}
	var status, config string
	err := r.db.QueryRow(ctx, `SELECT "asof", status, config_digest FROM main.target_sets WHERE strategy_id = ? AND version = ? AND "asof" < CAST(? AS DATE) ORDER BY "asof" DESC LIMIT 1`,
		r.s.ID, r.s.Version, *first).Scan(&last.asof, &status, &config)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if status != "current" {
		r.notice("the decision of %s, which the first one starts from, is stale: decide from %s on to mend it", last.asof, last.asof)
	}
	if model := r.Deciders[config]; config != r.report.ConfigDigest && model != "" {
		r.notice("the decision of %s, which the first one starts from, was made with %s, and this one is made with %s: a backtest takes decisions of one model only", last.asof, model, r.s.Signal.Inputs.ModelID)
	} else if config != r.report.ConfigDigest {
		r.notice("the decision of %s, which the first one starts from, was made by another %s version %s: give what decides otherwise a new version", last.asof, r.s.ID, r.s.Version)
	}
	for _, table := range []string{factstore.TargetSets, factstore.Targets} {
		if err := r.db.RequireExplained(ctx, table, "", `strategy_id = ? AND "asof" = CAST(? AS DATE)`, r.s.ID, last.asof); err != nil {
			return err
		}
	}
	rows, err := r.db.Query(ctx, `SELECT symbol, weight FROM main.targets WHERE strategy_id = ? AND "asof" = CAST(? AS DATE) AND approved AND (weight > 0 OR weight < 0 AND ?) ORDER BY symbol`, r.s.ID, last.asof, r.s.LongShort())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		row := supervisor.Row{Approved: true}
		if err := rows.Scan(&row.Symbol, &row.Weight); err != nil {
			return err
		}
		last.decision.Rows = append(last.decision.Rows, row)
	}
	r.last = &last
	return rows.Err()
}

func (r *recommending) notice(format string, args ...any) {
	r.report.Notices = append(r.report.Notices, fmt.Sprintf(format, args...))
}

// others are the names of the basis, and of what is combined, that are not in the
// universe.
func (r *recommending) others() []string {
	var list []string
	if r.last != nil {
		for _, row := range r.last.decision.Rows {
			if _, in := slices.BinarySearch(r.s.Universe.Symbols, row.Symbol); !in {
				list = append(list, row.Symbol)
			}
		}
	}
	for _, symbol := range r.symbolsOfParts() {
		if _, in := slices.BinarySearch(r.s.Universe.Symbols, symbol); !in && !slices.Contains(list, symbol) {
			list = append(list, symbol)
		}
	}
	return list
}

// readPrices reads the closes, and finds the days to decide on.
func (r *recommending) readPrices(ctx context.Context) error {
	var err error
	if r.extent.Bars == 0 {
		if r.extent, err = price.FindExtent(ctx, r.db, ""); err != nil {
			return err
		}
	}
	r.prices, err = price.ReadCloses(ctx, r.db, r.Calendar, price.Request{Symbols: append(slices.Clone(r.s.Universe.Symbols), r.others()...), AcceptRaw: r.AcceptRaw})
	if err != nil {
		return err
	}
	r.report.Basis = r.prices.Name()
	r.report.Notices = append(r.report.Notices, r.prices.Notices...)
	if len(r.prices.Symbols) == 0 {
		return quant.Errorf(quant.NotFound, "strategy %s: no symbol of its universe has prices", r.s.ID).WithHint("`quant ingest FILE...` loads them")
	}
	if missing := len(r.s.Universe.Symbols) + len(r.others()) - len(r.prices.Symbols); missing > 0 {
		r.notice("%d of %d symbols of the universe have no prices", missing, len(r.s.Universe.Symbols))
	}
	if r.Asof != nil {
		return r.oneDay()
	}
	r.low, r.high = *r.From, r.prices.Last
	if r.To != nil {
		r.high = *r.To
	}
	wanted, err := r.s.Rebalance.Days(r.Calendar, r.low, r.high)
	if err != nil {
		return err
	}
	traded := r.tradedDays()
	var held []string
	for _, d := range wanted {
		if d < r.prices.First || d > r.prices.Last {
			continue
		}
		if !traded[d] {
			held = append(held, d.String())
			continue
		}
		r.days = append(r.days, d)
	}
	wanted = wanted[:len(wanted)-len(held)]
	if len(held) > 0 {
		r.notice("no symbol of the universe has a bar on %s: no decision, the book is held", quant.SomeOf(held, 5))
	}
	if without := len(wanted) - len(r.days); without > 0 && len(r.days) > 0 {
		r.notice("%d of %d rebalance days are not decided: prices run from %s to %s", without, len(wanted), r.prices.First, r.prices.Last)
	}
	if len(r.days) == 0 {
		return quant.Errorf(quant.NotFound, "strategy %s: no %s rebalance day between %s and %s has prices", r.s.ID, r.s.Rebalance.Frequency, r.low, r.high).
			WithHint("prices run from %s to %s; --asof decides on any session", r.prices.First, r.prices.Last)
	}
	return nil
}

// tradedDays are the sessions on which a symbol of the universe has a bar.
func (r *recommending) tradedDays() map[quant.Date]bool {
	days := make(map[quant.Date]bool, len(r.prices.Sessions))
	for k, symbol := range r.prices.Symbols {
		if _, in := slices.BinarySearch(r.s.Universe.Symbols, symbol); !in || len(days) == len(r.prices.Sessions) {
			continue
		}
		for s, day := range r.prices.Sessions {
			if r.prices.HasBar(k, s) {
				days[day] = true
			}
		}
	}
	return days
}

// oneDay checks that the day asked for is a session with bars.
func (r *recommending) oneDay() error {
	day := *r.Asof
	r.days, r.low, r.high = []quant.Date{day}, day, day
	first, end := r.prices.Range(r.prices.First, day)
	_, near, any := r.prices.Bounds(first, end)
	if any && near == day {
		return nil
	}
	err := quant.Errorf(quant.NotFound, "strategy %s: no symbol of its universe has a bar on %s", r.s.ID, day)
	if !any {
		return err.WithHint("its prices begin on %s", r.prices.First)
	}
	return err.WithHint("no decision is made, the book is held; the last session with bars before it is %s", near)
}

// holdOverGaps leaves out the days that have no signal because of a session on
// which no symbol at all has a bar: the last day with a signal lies before that
// session. They are no decision to cash; the book is held. A range that has
// nothing else keeps its days, so that what is missing is said.
func (r *recommending) holdOverGaps(ctx context.Context) error {
	if len(r.prices.Unknown) == 0 || r.s.Signal.Type == strategy.Strategies {
		return nil
	}
	with, err := r.s.SignalDays(ctx, r.db)
	if err != nil {
		return err
	}
	var decided []quant.Date
	var held []string
	for _, d := range r.days {
		at, found := slices.BinarySearch(with, d)
		gap, _ := slices.BinarySearch(r.prices.Unknown, d)
		if !found && at > 0 && gap > 0 && r.prices.Unknown[gap-1] > with[at-1] {
			held = append(held, d.String())
			continue
		}
		decided = append(decided, d)
	}
	if len(held) == 0 || len(decided) == 0 {
		return nil
	}
	r.days = decided
	r.notice("a session without any bar leaves no %s on %s: no decision, the book is held", signalInWords(r.s), quant.SomeOf(held, 3))
	return nil
}

func (r *recommending) readSignals(ctx context.Context) error {
	if err := r.holdOverGaps(ctx); err != nil {
		return err
	}
	days := r.withBasis(r.days)
	var err error
	if r.s.Signal.Type == strategy.Strategies {
		r.signals, err = r.combine(days)
	} else {
		r.signals, err = r.signalsOf(ctx, days)
	}
	if err != nil {
		return err
	}
	if err := r.restrict(ctx); err != nil {
		return err
	}
	if r.s.Signal.Type == strategy.Strategies {
		r.tellLeftOut()
	}
	with := 0
	for k := len(days) - len(r.days); k < len(days); k++ {
		if r.signals.Any(k, len(r.s.Universe.Symbols)) {
			with++
		}
	}
	if with == 0 {
		err := quant.Errorf(quant.NotFound, "strategy %s: no %s for its universe on any of %d days, %s to %s",
			r.s.ID, signalInWords(r.s), len(r.days), r.days[0], r.days[len(r.days)-1])
		switch r.s.Signal.Type {
		case strategy.Strategies:
			return err.WithHint("decide on these days with each of the strategies first")
		case strategy.ModelScore:
			return err.WithHint("`quant score --model %s --from %s --to %s` computes them", r.s.Signal.Inputs.ModelID, r.days[0], r.days[len(r.days)-1])
		}
		return err.WithHint("`quant features --feature-version %s` computes them", r.s.Signal.Inputs.FeatureVersion)
	}
	if empty := len(r.days) - with; empty > 0 {
		r.notice("%d of %d days have no %s at all: the target of these is cash", empty, len(r.days), signalInWords(r.s))
	}
	return r.noteInputs(ctx)
}

// signalInWords names the rows that a signal reads for a person.
func signalInWords(s strategy.Strategy) string {
	if s.Signal.Type == strategy.Strategies {
		return "holding of the combined strategies"
	}
	signal := s.SignalDataset()
	return signal.Rows + " in " + signal.Table
}

// noteInputs notes what was read, and the runs that wrote it.
func (r *recommending) noteInputs(ctx context.Context) error {
	noted := map[string]bool{}
	note := func(of dataset.Name, rows int64, digest string, first, last quant.Date, writers []string) {
		io := quant.RunIO{Direction: quant.In, Kind: quant.IOTable, Name: of.String(), Rows: &rows, Digest: quant.Text(digest)}
		if rows > 0 {
			io.FirstDate, io.LastDate = quant.Text(first.String()), quant.Text(last.String())
		}
		r.report.Inputs = append(r.report.Inputs, io)
		for _, run := range writers {
			if !noted[run] {
				noted[run] = true
				r.report.Inputs = append(r.report.Inputs, quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: run})
			}
		}
	}
	var first, last quant.Date
	var writers []string
	var err error
	if r.s.Signal.Type == strategy.Strategies {
		if err := r.noteParts(ctx, note); err != nil {
			return err
		}
	} else {
		signal := r.s.SignalDataset()
		if writers, err = r.db.WritersOf(ctx, signal.Table, r.signals.Stamps()); err != nil {
			return err
		}
		first, last, _ = r.signals.Bounds()
		r.sumLater(len(r.report.Inputs), first, last, r.signals.Sum)
		note(signal, 0, "", first, last, writers)
	}
	end := r.days[len(r.days)-1]
	if writers, err = r.db.WritersOf(ctx, factstore.OHLCV, r.prices.Stamps(r.prices.First, end)); err != nil {
		return err
	}
	from, to := r.prices.Range(r.prices.First, end)
	first, last, _ = r.prices.Bounds(from, to)
	r.sumLater(len(r.report.Inputs), first, last, func() *factstore.RowSum { return r.prices.Sum(from, to) })
	note(dataset.PricesOn(r.prices.Name()), 0, "", first, last, writers)
	if r.last == nil {
		return nil
	}
	const held = `strategy_id = ? AND "asof" = CAST(? AS DATE)`
	rows, digest, err := r.db.Digest(ctx, `SELECT symbol, "asof" AS ts, weight FROM main.targets WHERE `+held+" AND approved", r.s.ID, r.last.asof)
	if err != nil {
		return err
	}
	if writers, err = r.db.Writers(ctx, factstore.Targets, held, r.s.ID, r.last.asof); err != nil {
		return err
	}
	note(dataset.TargetsOf(r.s.ID, r.s.Version), rows, digest, r.last.asof, r.last.asof, writers)
	return nil
}

// readCloses finds the closes of the names that have signals.
func (r *recommending) readCloses(context.Context) error {
	r.closes = closesOf(r.prices, r.Calendar, r.signals)
	return nil
}

// makeDecisions decides, and says what was decided.
func (r *recommending) makeDecisions(ctx context.Context) error {
	var err error
	if r.sets, err = (decisionInputs{strategy: r.s, days: r.days, signals: r.signals, closes: r.closes, last: r.last, sectors: r.Sectors}).decisions(ctx); err != nil {
		return err
	}
	r.tellSectors()
	r.report.tell(r.sets)
	return nil
}

// write stores the decisions in one transaction.
func (r *recommending) write(ctx context.Context) error {
	if err := r.tellReplaced(ctx); err != nil {
		return err
	}
	otherwise, err := r.restsOtherwise(ctx)
	if err != nil {
		return err
	}
	rows := r.decisionRows()
	if !otherwise {
		a, err := r.added(ctx, rows)
		if err != nil {
			return err
		}
		if a != nil {
			return r.add(ctx, rows, a)
		}
	}
	r.giveUpAhead() // nobody reads beside who writes
	if err := r.stage(ctx, rows); err != nil {
		return err
	}
	var targetRows, setRows, proposalRows int64
	var digests [3]string
	tables, columns := make([]string, 3), make([]string, 3)
	for i, of := range rows.tables() {
		tables[i], columns[i] = of.table, digestedColumns(of.digested)
	}
	changed := map[string]int64{}
	_, err = r.db.Write(ctx, r.RunID, func(ctx context.Context, tx *factstore.Tx) error {
		const within = ofRange + " AND "
		// What rests on something else is decided by this run, even where it came out
		// alike: a row that stands keeps the run that wrote it, and what that rested on.
		for _, table := range tables[:2] {
			if !otherwise {
				break
			}
			n, err := tx.Delete(ctx, table, within+"true", r.s.ID, r.low, r.high)
			if err != nil {
				return err
			}
			changed[table] += n
		}
		// A set that stands as it was keeps the run that decided it.
		if _, err := tx.Stage(ctx, `UPDATE temp.main.recommend_set AS s SET run_id = t.run_id FROM main.target_sets t
			WHERE t.strategy_id = s.strategy_id AND t."asof" = s."asof" AND t.version = s.version AND t.status = s.status AND t.basis_asof IS NOT DISTINCT FROM s.basis_asof
			AND t.config_digest = s.config_digest AND t.digest = s.digest AND t.gross = s.gross AND t.turnover = s.turnover AND t.exempt_turnover = s.exempt_turnover AND NOT ?`, otherwise); err != nil {
			return err
		}
		for i, gone := range []string{
			`("asof", symbol) NOT IN (SELECT "asof", symbol FROM temp.main.recommend_target)`,
			`("asof", symbol) NOT IN (SELECT "asof", symbol FROM temp.main.recommend_proposal)`,
			`"asof" NOT IN (SELECT "asof" FROM temp.main.recommend_set)`,
		} {
			n, err := tx.Delete(ctx, tables[i], within+gone, r.s.ID, r.low, r.high)
			if err != nil {
				return err
			}
			changed[tables[i]] += n
			r.report.Removed = n // the last table's are the decisions
		}
		for _, m := range []factstore.Merge{
			{Table: "targets", Source: "recommend_target"},
			{Table: "proposals", Source: "recommend_proposal"},
			{Table: "target_sets", Source: "recommend_set"},
		} {
			d, err := tx.Merge(ctx, m)
			if err != nil {
				return err
			}
			changed[m.Table] += d.Inserted + d.Updated
			if m.Table == "target_sets" {
				r.report.Changed = int(d.Inserted + d.Updated)
			}
		}
		if changed["targets"]+changed["proposals"]+changed["target_sets"] > 0 {
			if err := r.markStale(ctx, tx, changed); err != nil {
				return err
			}
		}
		for i, rows := range []*int64{&targetRows, &proposalRows, &setRows} {
			var err error
			*rows, digests[i], err = tx.Digest(ctx, "SELECT "+columns[i]+" FROM main."+tables[i]+" WHERE "+ofRange, r.s.ID, r.low, r.high)
			if err != nil {
				return err
			}
		}
		return nil
	})
	for i, table := range tables {
		r.report.Outputs = append(r.report.Outputs, r.output(table, changed[table], digests[i]))
	}
	return err
}

// output is what a run records of a table that it changed n rows of.
func (r *recommending) output(table string, n int64, digest string) quant.RunIO {
	return quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: table, Rows: &n, Digest: quant.Text(digest),
		FirstDate: quant.Text(r.days[0].String()), LastDate: quant.Text(r.days[len(r.days)-1].String())}
}

// tellReplaced says whose decisions in the range these take the place of, where
// another model made them.
func (r *recommending) tellReplaced(ctx context.Context) error {
	rows, err := r.db.Query(ctx, `SELECT config_digest, count(*) FROM main.target_sets WHERE strategy_id = ? AND version = ? AND config_digest <> ?
		AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) GROUP BY config_digest ORDER BY min("asof")`, r.s.ID, r.s.Version, r.report.ConfigDigest, r.low, r.high)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var config string
		var n int
		if err := rows.Scan(&config, &n); err != nil {
			return err
		}
		if model := r.Deciders[config]; model != "" {
			r.notice("%s with %s in the range: those with %s take their place", quant.Count(n, "decision"), model, r.s.Signal.Inputs.ModelID)
		}
	}
	return rows.Err()
}

// markStale marks the later decisions of the strategy.
func (r *recommending) markStale(ctx context.Context, tx *factstore.Tx, changed map[string]int64) error {
	n, err := tx.Update(ctx, factstore.TargetSets, `status = 'stale' WHERE strategy_id = ? AND "asof" > CAST(? AS DATE) AND status <> 'stale'`, r.s.ID, r.high)
	if err != nil {
		return err
	}
	changed["target_sets"] += n
	r.report.Stale = n
	return nil
}

// stage puts the decisions into TEMP tables, in key order.
func (r *recommending) stage(ctx context.Context, rows *decisionRows) error {
	for _, of := range []struct {
		table, key string
		columns    []factstore.Column
	}{
		{"recommend_target", `"asof", symbol`, rows.targets},
		{"recommend_proposal", `"asof", symbol`, rows.proposals},
		{"recommend_set", `"asof"`, rows.sets},
	} {
		held, release, err := r.db.Hold(of.columns...)
		if err != nil {
			return err
		}
		_, err = r.db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+of.table+" AS SELECT * FROM "+held+" ORDER BY "+of.key)
		release()
		if err != nil {
			return err
		}
	}
	return nil
}
