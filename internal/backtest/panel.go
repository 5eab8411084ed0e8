package backtest

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"quant"
	"quant/internal/calendar"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/price"
)

// Panel is the prices that many backtests are replayed on, read once. It is for
// concurrent use.
type Panel struct {
	from, to quant.Date // as they were asked for
	basis    price.Basis
	calendar string
	pricesAt quant.Time

	sessions []quant.Date // of the calendar, from the first bar to the last
	closes   [][]float64  // by basis.Symbols; NaN: no bar
	first    []int        // session of the first and last bar of each
	last     []int
	at       [2]int // sessions that are replayed: from the first to before the second

	bars    *bars              // what fills need beside closes; nil: none asked for it
	rows    []factstore.RowSum // of each symbol's closes on these
	writers [][]string         // runs that wrote them
}

// PanelRequest says which prices.
type PanelRequest struct {
	Symbols   []string // of all decisions, and benchmarks
	From, To  quant.Date
	AcceptRaw bool // as price.Request has it
	Bars      bool // some replay needs more than closes; see Options.NeedsBars
}

// ReadPanel reads prices for replays from From to To. Nil without an error: there
// is something to be said of these prices that depends on which of them a backtest
// reads, or nothing to replay on; Run says what. Errors: those of price.Stage.
func ReadPanel(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req PanelRequest) (*Panel, error) {
	p := &Panel{from: req.From, to: req.To, calendar: cal.Identity()}
	var err error
	if p.basis, err = price.Stage(ctx, db, cal, price.Request{Symbols: req.Symbols, AcceptRaw: req.AcceptRaw}); err != nil {
		return nil, err
	}
	var end sql.Null[quant.Date]
	if err := db.QueryRow(ctx, "SELECT max(ts) FROM "+factstore.OHLCV+" WHERE ts <= CAST(? AS DATE)", req.To).Scan(&end); err != nil {
		return nil, err
	}
	said := 0
	if len(p.basis.Unadjusted) > 0 {
		said = 1 // basisOf says it of those that are read
	}
	if len(p.basis.Symbols) == 0 || len(p.basis.Notices) > said || p.basis.Outside > 0 || len(p.basis.Empty) > 0 || !end.Valid || end.V < req.From {
		return nil, nil
	}
	// Replays may begin before the first bar, and end after the last one of these.
	p.sessions = cal.Sessions(min(p.basis.First, req.From), max(p.basis.Last, end.V))
	p.at[0], _ = slices.BinarySearch(p.sessions, req.From)
	last, found := slices.BinarySearch(p.sessions, end.V)
	if found {
		last++
	}
	if p.at[1] = last; p.at[0] >= p.at[1] {
		return nil, nil
	}
	if whole, err := p.readCloses(ctx, db, cal); err != nil || !whole {
		return nil, err
	}
	if req.Bars {
		if p.bars, err = readBars(ctx, db, cal, p.basis, p.sessions, Request{AcceptRaw: req.AcceptRaw, Options: Options{Open: true, MaxVolumeShare: 1, Impact: 1}}); err != nil {
			return nil, err
		}
	}
	at, err := db.PricesAt(ctx)
	if err != nil {
		return nil, err
	}
	p.pricesAt = quant.Time{Time: at}
	return p, p.readWriters(ctx, db)
}

// readCloses reads what price.Stage has staged. Not whole: a close is no number.
func (p *Panel) readCloses(ctx context.Context, db *factstore.DB, cal *calendar.Calendar) (whole bool, err error) {
	n := len(p.basis.Symbols)
	p.closes, p.first, p.last = make([][]float64, n), make([]int, n), make([]int, n)
	cells := make([]float64, n*len(p.sessions))
	for i := range cells {
		cells[i] = math.NaN()
	}
	for k := range p.closes {
		p.closes[k] = cells[k*len(p.sessions) : (k+1)*len(p.sessions)]
		p.first[k], p.last[k] = len(p.sessions), -1
	}
	origin, _ := cal.Index(p.sessions[0])
	var names factstore.Names
	for _, symbol := range p.basis.Symbols {
		names.Number(symbol)
	}
	whole = true
	var symbol, session []int32
	var close []float64
	err = db.Columns(ctx, "SELECT symbol, i, close FROM temp.main."+price.BarView, nil, func(c *factstore.Chunk) error {
		symbol, session, close = c.AppendNumbers(symbol[:0], 0, &names), c.AppendIntegers(session[:0], 1), c.AppendFloats(close[:0], 2)
		for r, k := range symbol {
			s := int(session[r]) - origin
			p.closes[k][s] = close[r]
			p.first[k], p.last[k] = min(p.first[k], s), max(p.last[k], s)
			whole = whole && close[r] == close[r]
		}
		return nil
	})
	if err != nil || !whole {
		return false, err
	}
	p.rows = make([]factstore.RowSum, n)
	var days []quant.Date
	for k, name := range p.basis.Symbols {
		days, close = days[:0], close[:0]
		for s := p.at[0]; s < p.at[1]; s++ {
			if x := p.closes[k][s]; x == x {
				days, close = append(days, p.sessions[s]), append(close, x)
			}
		}
		if len(days) > 0 {
			p.rows[k].Add(factstore.Column{Texts: []string{name}, Numbers: make([]int32, len(days))}, factstore.Column{Dates: days}, factstore.Column{Floats: close})
		}
	}
	return true, nil
}

func (p *Panel) readWriters(ctx context.Context, db *factstore.DB) error {
	p.writers = make([][]string, len(p.basis.Symbols))
	rows, err := db.Query(ctx, `SELECT p.symbol, l.run_id FROM (SELECT DISTINCT symbol, ingested_at FROM `+factstore.OHLCV+` WHERE symbol IN (SELECT symbol FROM temp.main.`+price.BasisTable+`)
		AND ts BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)) p JOIN ledger l ON l.committed_at = p.ingested_at AND l.table_name = 'ohlcv' WHERE l.run_id IS NOT NULL`,
		p.sessions[p.at[0]], p.sessions[p.at[1]-1])
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var symbol, run string
		if err := rows.Scan(&symbol, &run); err != nil {
			return err
		}
		k, _ := slices.BinarySearch(p.basis.Symbols, symbol)
		p.writers[k] = append(p.writers[k], run)
	}
	return rows.Err()
}

// basisOf is the basis of some symbols of the panel, as price.Stage would have it.
// Not ok: there would be something to say of it.
func (p *Panel) basisOf(symbols []string) (b price.Basis, numbers []int, ok bool) {
	first, last := len(p.sessions), -1
	for _, symbol := range symbols {
		k, has := slices.BinarySearch(p.basis.Symbols, symbol)
		if !has {
			continue
		}
		b.Symbols, numbers = append(b.Symbols, symbol), append(numbers, k)
		if _, raw := slices.BinarySearch(p.basis.Unadjusted, symbol); raw {
			b.Unadjusted = append(b.Unadjusted, symbol)
		}
		first, last = min(first, p.first[k]), max(last, p.last[k])
	}
	if len(numbers) == 0 {
		return b, nil, false
	}
	b.First, b.Last = p.sessions[first], p.sessions[last]
	if len(b.Unadjusted) > 0 {
		b.Notices = append(b.Notices, price.UnadjustedNotice(b.Unadjusted))
	}
	// Every session between has a bar of one of them.
	for s := first; s <= last; s++ {
		if !slices.ContainsFunc(numbers, func(k int) bool { return p.closes[k][s] == p.closes[k][s] }) {
			return b, nil, false
		}
	}
	return b, numbers, true
}

// Covers reports whether Replay can replay decisions from a day to another: there
// is nothing to be said of their prices. Run says it.
func (p *Panel) Covers(decisions []Decision, from, to quant.Date) bool {
	if from != p.from || to != p.to || len(decisions) == 0 {
		return false
	}
	_, _, ok := p.basisOf(symbolsOf(decisions))
	return ok
}

// Replay is Run of decisions that the caller has made and that stand, or are about
// to, as current ones in the Fact DB under req.DecisionDigest, written by these
// runs; but nothing is stored: StoreAll does that. The panel must cover them. Errors: Run's.
func (p *Panel) Replay(ctx context.Context, decisions []Decision, decidedBy []string, req Request) (*Replayed, error) {
	if err := req.validate(); err != nil {
		return nil, err
	}
	read := req.symbols(decisions)
	basis, numbers, ok := p.basisOf(read)
	if !ok || req.From != p.from || req.To != p.to || len(decisions) == 0 || req.NeedsBars() && p.bars == nil {
		return nil, quant.Errorf(quant.Failed, "backtest of strategy %s: the prices that were read do not cover it", req.StrategyID)
	}
	notices, err := checkCurrencies(req, read)
	if err != nil {
		return nil, err
	}
	market := Market{Symbols: basis.Symbols, Sessions: p.sessions[p.at[0]:p.at[1]], Close: make([][]float64, len(numbers)), Known: ofSymbols(req.Known, basis.Symbols)}
	for i, k := range numbers {
		market.Close[i] = p.closes[k][p.at[0]:p.at[1]]
	}
	if req.NeedsBars() {
		p.bars.of(req.Options).into(&market, p.at[0], numbers)
	}
	req.PricesAt = p.pricesAt
	report, result, err := replay(ctx, market, decisions, req, basis, p.calendar, append(notices, basis.Notices...))
	if err != nil {
		return nil, err
	}
	report.Inputs = p.inputs(req, market, decisions, decidedBy, numbers)
	r := &Replayed{Report: report}
	r.arrange(result)
	return r, nil
}

// inputs says what Run says of decisions and prices that it has read.
func (p *Panel) inputs(req Request, market Market, decisions []Decision, decidedBy []string, numbers []int) []quant.RunIO {
	table := func(of dataset.Name, from, to quant.Date, sum *factstore.RowSum) quant.RunIO {
		rows, digest := sum.Digest()
		return quant.RunIO{Direction: quant.In, Kind: quant.IOTable, Name: of.String(), Rows: &rows,
			FirstDate: quant.Text(from.String()), LastDate: quant.Text(to.String()), Digest: quant.Text(digest)}
	}
	var days, weightDays []quant.Date
	var symbols []int32
	var weights []float64
	index := indexOf(market.Symbols)
	for _, d := range decisions {
		days = append(days, d.AsOf)
		for _, w := range d.Weights {
			k, known := index[w.Symbol]
			if !known {
				k = int32(len(index))
				index[w.Symbol] = k
			}
			weightDays, symbols, weights = append(weightDays, d.AsOf), append(symbols, k), append(weights, w.Weight)
		}
	}
	names := make([]string, len(index))
	for name, k := range index {
		names[k] = name
	}
	var sets, targets, prices factstore.RowSum
	same := make([]int32, len(days))
	sets.Add(factstore.Column{Dates: days}, factstore.Column{Texts: []string{"current"}, Numbers: same}, factstore.Column{Texts: []string{req.DecisionDigest}, Numbers: same})
	if len(weights) > 0 {
		targets.Add(factstore.Column{Dates: weightDays}, factstore.Column{Texts: names, Numbers: symbols}, factstore.Column{Floats: weights})
	}
	writers := slices.Clone(decidedBy)
	for _, k := range numbers {
		prices.Join(&p.rows[k])
		writers = append(writers, p.writers[k]...)
	}
	if req.NeedsBars() {
		prices = *sumOfBars(market, seq(len(market.Symbols)))
	}
	first, last := market.Sessions[0], market.Sessions[len(market.Sessions)-1]
	list := []quant.RunIO{
		table(dataset.TargetSetsOf(req.StrategyID, req.Version), req.From, req.To, &sets),
		table(dataset.TargetsOf(req.StrategyID, req.Version), req.From, req.To, &targets),
		table(dataset.Name{Table: dataset.OHLCV}, first, last, &prices),
	}
	if n := int64(len(market.Known)); n > 0 {
		list = append(list, quant.RunIO{Direction: quant.In, Kind: quant.IOTable, Name: KnownName, Rows: &n, Digest: quant.Text(knownDigest(market.Known))})
	}
	slices.Sort(writers)
	return append(list, factstore.WrittenBy(slices.Compact(writers))...)
}

func indexOf(symbols []string) map[string]int32 {
	index := make(map[string]int32, len(symbols))
	for k, symbol := range symbols {
		index[symbol] = int32(k)
	}
	return index
}
