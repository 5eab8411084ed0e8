package feature

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// symbolTable is the TEMP table of the symbols that are computed: n INTEGER, their
// number, and symbol TEXT.
const symbolTable = "feature_symbol"

// slice names the rows that are computed together, for each symbol: what
// fact_inputs and fact_slices call table_name, name and version.
type slice struct {
	table, name, version string
	definition           string // of what is computed, as a digest; another one changes the digest of the inputs
	parts                []digestPart
}

// sink is a table that takes computed columns, one row a bar that has a value in any.
type sink struct {
	table   string   // of the contract
	stored  string   // where the rows are
	columns []string // of stored ...
	values  []int    // ... and which output each holds
	fixed   []string // column, value, column, value ...
	stamp   string
	slice   int    // of computation.slices
	other   string // of features: which rows of FeaturesOther are also this sink's, names apart
}

// computation is one run of Features or Labels.
type computation struct {
	db       *factstore.DB
	cal      *calendar.Calendar
	req      Request
	what     string // for notices and errors
	slices   []slice
	sinks    []*sink
	series   []string // as the report calls the outputs
	outputs  int
	lookback int   // sessions before a bar that its values read, or those of them that are no recursions
	horizon  int   // sessions after a bar that its values read
	returns  []int // outputs that are the returns of the symbol; nil: none
	// recursions says that the first slice has recursions, which go on from the state that
	// stands beside it.
	recursions bool

	set      *factstore.FeatureSet                 // to declare; nil: none
	proof    func(context.Context) (*Proof, error) // of a set; nil: it needs none
	sections *evaluation                           // of a set whose features read other symbols of their session; nil: none
	kernel   func(s *series, out [][]float64)
	staged   *staged // values in place of the kernel's; nil: none

	sums    []*barSums    // by symbol, in byte order
	stored  *price.Stored // the bars that were read for them; nil: they are to be read again
	names   []string      // of their symbols
	basis   price.Basis
	bars    price.Bars
	report  Report
	inputs  []map[string]string // by slice, symbol: digest of what it is computed from
	prefix  []map[string]string // the same of the bars up to cut, where there are later ones
	first   map[string]quant.Date
	last    map[string]quant.Date // of a symbol's bars
	cut     quant.Date            // the day up to which most slices were computed
	upTo    map[string]quant.Date // the last bar up to cut, where prefix has the symbol
	before  []map[string]record   // by slice, symbol: what stands
	changed []string              // symbols that are computed whole
	grown   []string              // symbols that only have later bars than were computed
	gone    []string

	number    map[string]int32        // of symbolTable
	returnsOf map[string]string       // the feature version that has a symbol's returns; "": none has
	sliceFrom []map[string]quant.Date // by slice, symbol: the first day of it, as fact_slices says
}

// record is a row of fact_inputs.
type record struct {
	inputs, facts, sums string
	state               string     // of the recursions after the last bar, as stateText has it
	last                quant.Date // 0: not known
}

func (c *computation) run(ctx context.Context) (Report, error) {
	if err := c.readBefore(ctx); err != nil {
		return Report{}, c.failure(ctx, err)
	}
	if err := c.findBasis(ctx); err != nil {
		return Report{}, err
	}
	b := c.basis
	c.report = Report{
		Version: c.req.Version, Calendar: c.cal.Identity(), Basis: b.Name(), Symbols: len(b.Symbols), BarsRead: b.Bars, Notices: append([]string{}, b.Notices...),
		Series: []Series{}, Tables: []Table{},
	}
	if len(b.Symbols) > 0 {
		c.report.FirstDate, c.report.LastDate = quant.Text(b.First.String()), quant.Text(b.Last.String())
	}
	steps := []func(context.Context) error{c.digestInputs, c.choose, c.prove, c.compute, c.describe}
	if do := c.req.instead; do != nil {
		steps = append(steps[:2], func(ctx context.Context) error { return do(ctx, c) })
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return c.report, c.failure(ctx, err)
		}
	}
	return c.report, nil
}

// prove tries that a set knows nothing of the future, where all of its values for some
// symbol are computed: for one more day of all it was tried before.
func (c *computation) prove(ctx context.Context) error {
	if c.proof == nil || len(c.changed) == 0 {
		return nil
	}
	var err error
	c.report.Proof, err = c.proof(ctx)
	return err
}

// failure says what was being done when a statement failed.
func (c *computation) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if quant.CodeOf(err) != quant.Failed {
		return err
	}
	return quant.Errorf(quant.Store, "compute %s: %w", c.what, err).WithHint("`quant doctor` examines the Fact DB")
}

// findBasis reads the bars once, for their sums and for the basis of their prices.
func (c *computation) findBasis(ctx context.Context) error {
	var err error
	if c.sums, err = c.sumBars(ctx); err != nil {
		return c.failure(ctx, err)
	}
	symbols := make([]price.SymbolBars, len(c.sums))
	for k, b := range c.sums {
		symbols[k] = price.SymbolBars{Symbol: b.symbol, Adjusted: b.fits && b.fitsLater, First: b.first, Last: b.last, Bars: int64(b.upTo.n + b.later.n)}
	}
	c.basis, err = price.Judge(ctx, c.db, c.cal, c.priceRequest(), symbols)
	return err
}

// digestInputs fills inputs: a symbol's bars as they are stored, the sessions
// from its first to its last, and the definition. All bars are hashed, for only that
// proves that earlier ones are what they were.
func (c *computation) digestInputs(context.Context) error {
	c.inputs, c.prefix = make([]map[string]string, len(c.slices)), make([]map[string]string, len(c.slices))
	for k := range c.slices {
		c.inputs[k], c.prefix[k] = map[string]string{}, map[string]string{}
	}
	c.first, c.last, c.upTo = map[string]quant.Date{}, map[string]quant.Date{}, map[string]quant.Date{}
	sessions := map[[2]quant.Date]string{}
	digest := func(of string, first, last quant.Date, definition string) string {
		span := [2]quant.Date{first, last}
		if sessions[span] == "" {
			h := sha256.New()
			_ = binary.Write(h, binary.LittleEndian, c.cal.Sessions(first, last)) // a hash takes everything
			sessions[span] = sum(h)
		}
		h := sha256.New()
		_, _ = fmt.Fprintf(h, "%s %s %s", of, sessions[span], definition)
		return sum(h)
	}
	bars := sha256.New()
	adjusted := map[string]bool{}
	for _, symbol := range c.basis.Symbols {
		adjusted[symbol] = true
	}
	for _, symbol := range c.basis.Unadjusted {
		adjusted[symbol] = false
	}
	var all crossDigests
	for _, b := range c.sums {
		whole := b.upTo
		whole.join(b.later)
		symbol, of, before := b.symbol, whole.text(), b.upTo.text()
		c.first[symbol], c.last[symbol] = b.first, b.last
		_, _ = fmt.Fprintln(bars, symbol, of)
		sameBasis := (b.fits && b.upTo.n > 0) == adjusted[symbol]
		all.take(symbol, c.req.Sectors[symbol], of, before, b.last, b.lastUpTo, sameBasis)
		grown := b.lastUpTo != 0 && b.lastUpTo < b.last && sameBasis
		if grown {
			c.upTo[symbol] = b.lastUpTo
		}
		for k, s := range c.slices {
			c.inputs[k][symbol] = digest(of, b.first, b.last, s.definition)
			if grown {
				c.prefix[k][symbol] = digest(before, b.first, b.lastUpTo, s.definition)
			}
		}
	}
	c.report.BarsDigest = sum(bars)
	if c.sections != nil {
		c.inputsOfAll(all, digest)
	}
	return nil
}

// barSums are the sums over the bars of a symbol as they are stored, by DuckDB's hash of
// each: of those up to cut, and of later ones.
type barSums struct {
	symbol                string
	first, last, lastUpTo quant.Date
	upTo, later           rowSums
	fits, fitsLater       bool // all of them have what the adjusted basis needs
}

// sumBars adds up the bars of each symbol, in byte order of the symbols. DuckDB hashes
// them; to add up its hashes here costs a quarter of what its sums of 128 bits cost.
func (c *computation) sumBars(ctx context.Context) ([]*barSums, error) {
	var names factstore.Names
	var list []*barSums
	var numbers []int32
	var days []quant.Date
	var hashes []uint64
	var fits []bool
	stored, err := c.keep(ctx)
	if err != nil {
		return nil, err
	}
	columns := "symbol, ts, hash(ts, open, high, low, close, volume, adjusted_close), coalesce(adjusted_close > 0 AND close > 0, false)"
	if stored != nil {
		columns += ", " + price.StoredColumns
	}
	err = c.db.Columns(ctx, "SELECT "+columns+" FROM ohlcv WHERE "+c.ofSymbols(), nil, func(chunk *factstore.Chunk) error {
		numbers, days = chunk.AppendNumbers(numbers[:0], 0, &names), chunk.AppendDates(days[:0], 1)
		hashes, fits = chunk.AppendHashes(hashes[:0], 2), chunk.AppendBooleans(fits[:0], 3)
		if stored != nil {
			stored.Add(chunk, numbers, days, 4)
		}
		for _, name := range names.List[len(list):] {
			list = append(list, &barSums{symbol: name, fits: true, fitsLater: true})
		}
		for row, n := range numbers {
			b, day := list[n], days[row]
			if b.upTo.n+b.later.n == 0 {
				b.first, b.last = day, day
			}
			b.first, b.last = min(b.first, day), max(b.last, day)
			if day > c.cut || c.cut == 0 {
				b.later.add(hashes[row])
				b.fitsLater = b.fitsLater && fits[row]
				continue
			}
			b.fits = b.fits && fits[row]
			if b.upTo.n == 0 {
				b.lastUpTo = day
			}
			b.lastUpTo = max(b.lastUpTo, day)
			b.upTo.add(hashes[row])
		}
		return nil
	})
	c.stored, c.names = stored, names.List
	slices.SortFunc(list, func(a, b *barSums) int { return strings.Compare(a.symbol, b.symbol) })
	return list, err
}

// keep is where the bars are kept that are read for their sums; nil: they are not, for
// some may not be computed, or they are too many.
func (c *computation) keep(ctx context.Context) (*price.Stored, error) {
	if c.sections != nil || c.req.Units != nil || c.req.instead != nil || slices.ContainsFunc(c.before, func(stands map[string]record) bool { return len(stands) > 0 }) {
		return nil, nil
	}
	var bars int
	if err := c.db.QueryRow(ctx, "SELECT count(*) FROM ohlcv WHERE "+c.ofSymbols()).Scan(&bars); err != nil || bars > barsToRead {
		return nil, err
	}
	stored := &price.Stored{}
	stored.Room(bars)
	return stored, nil
}

// ofSymbols is the condition for the rows of the symbols asked for.
func (c *computation) ofSymbols() string {
	symbols := c.priceRequest().Symbols
	if symbols == nil {
		return "true"
	}
	if len(symbols) == 0 {
		return "false"
	}
	return "symbol IN (" + sqltext.Literals(symbols) + ")"
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// readBefore reads what fact_inputs says of the slices.
func (c *computation) readBefore(ctx context.Context) error {
	lasts := map[quant.Date]int{}
	for _, s := range c.slices {
		stands := map[string]record{}
		var days []quant.Date
		err := c.db.Columns(ctx, "SELECT symbol, inputs, facts, sums, last_ts FROM fact_inputs WHERE table_name = ? AND name = ? AND version = ?", []any{s.table, s.name, s.version}, func(chunk *factstore.Chunk) error {
			days = chunk.AppendDates(days[:0], 4)
			for row, day := range days {
				sums, state := splitSums(strings.Clone(chunk.Text(3, row)))
				stands[strings.Clone(chunk.Text(0, row))] = record{
					inputs: strings.Clone(chunk.Text(1, row)), facts: strings.Clone(chunk.Text(2, row)), sums: sums, state: state, last: day,
				}
				if lasts[day]++; day > 0 && (c.cut == 0 || lasts[day] > lasts[c.cut]) {
					c.cut = day
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		c.before = append(c.before, stands)
	}
	return nil
}

// growth is whether the symbol's slices hold what its bars up to cut give, so that
// only later ones are missing.
func (c *computation) growth(symbol string) bool {
	if c.sections != nil {
		return c.growthOfAll(symbol)
	}
	upTo, later := c.upTo[symbol]
	if !later || c.req.Force {
		return false
	}
	if !c.recursions {
		if _, session := c.cal.Index(c.first[symbol]); !session {
			return false // where its first bar on a session is takes all bars to know
		}
	}
	for k, s := range c.slices {
		stands := c.before[k][symbol]
		if c.current(k, symbol) {
			continue // another version's run brought the returns up to date
		}
		if stands.last != upTo || stands.inputs != c.prefix[k][symbol] {
			return false
		}
		if _, ok := parseSums(s.parts, stands.sums, stands.facts); !ok {
			return false
		}
	}
	return true
}

// resumes is the state from which the recursions of a symbol that has grown go on, so
// that its latest bars are enough. What the state is of are the bars up to those, by the
// digest of the inputs that it was stored with.
func (c *computation) resumes(symbol string) (recursion, bool) {
	stands := c.before[0][symbol]
	if _, session := c.cal.Index(c.first[symbol]); !session || c.current(0, symbol) {
		return recursion{}, false
	}
	return parseState(stands.state, stands.inputs, c.cal)
}

// readStanding reads where returns stand, and from when slices do.
func (c *computation) readStanding(ctx context.Context) error {
	c.returnsOf = map[string]string{}
	if c.returns != nil {
		err := c.db.Columns(ctx, "SELECT DISTINCT symbol, '' AS version FROM "+factstore.ReturnsOther+" UNION ALL SELECT symbol, version FROM "+factstore.ReturnsVersion, nil, func(chunk *factstore.Chunk) error {
			for row := range chunk.Len() {
				if symbol, version := chunk.Text(0, row), chunk.Text(1, row); c.returnsOf[symbol] == "" {
					c.returnsOf[strings.Clone(symbol)] = strings.Clone(version)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	c.sliceFrom = make([]map[string]quant.Date, len(c.slices))
	for k, s := range c.slices {
		c.sliceFrom[k] = map[string]quant.Date{}
		if s.table == factstore.FeaturesDaily {
			continue
		}
		var days []quant.Date
		err := c.db.Columns(ctx, "SELECT symbol, from_ts FROM fact_slices WHERE table_name = ? AND name = ? AND version = ?", []any{s.table, s.name, s.version}, func(chunk *factstore.Chunk) error {
			days = chunk.AppendDates(days[:0], 1)
			for row, day := range days {
				c.sliceFrom[k][strings.Clone(chunk.Text(0, row))] = day
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// spoiled are those of the symbols whose rows are not all where this program would
// have added to them: another program wrote some, or they stand elsewhere.
func (c *computation) spoiled(ctx context.Context, symbols []string) (map[string]bool, error) {
	spoiled := map[string]bool{}
	if len(symbols) == 0 {
		return spoiled, nil
	}
	for _, s := range c.sinks {
		if s.other == "" {
			continue
		}
		t, _ := factstore.LookupTable(s.table)
		query := "SELECT DISTINCT symbol FROM " + s.stored + " f WHERE " + t.Unexplained() + " UNION ALL SELECT DISTINCT symbol FROM " + factstore.FeaturesOther +
			" WHERE " + s.other + " AND feature_name IN (" + sqltext.Literals(s.columns) + ")"
		err := c.db.Columns(ctx, query, nil, func(chunk *factstore.Chunk) error {
			for row := range chunk.Len() {
				spoiled[strings.Clone(chunk.Text(0, row))] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, symbol := range symbols {
		if of, stand := c.returnsOf[symbol]; stand && of == "" {
			spoiled[symbol] = true
		}
	}
	return spoiled, nil
}

// current is whether what stands of a slice is what would be computed.
func (c *computation) current(k int, symbol string) bool {
	return c.before[k][symbol].inputs == c.inputs[k][symbol]
}

// choose finds the symbols to compute, and those that have rows but no bars.
func (c *computation) choose(ctx context.Context) error {
	var grown []string
	wanted := c.basis.Symbols
	if c.sections != nil && c.req.Symbols != nil {
		wanted = slices.DeleteFunc(slices.Clone(wanted), func(s string) bool { return !slices.Contains(c.req.Symbols, s) })
	}
	for _, symbol := range wanted {
		same := !c.req.Force
		for k := range c.slices {
			same = same && c.current(k, symbol)
		}
		switch {
		case same:
		case c.growth(symbol):
			grown = append(grown, symbol)
		default:
			c.changed = append(c.changed, symbol)
		}
	}
	if err := c.readStanding(ctx); err != nil {
		return err
	}
	spoiled, err := c.spoiled(ctx, grown)
	if err != nil {
		return err
	}
	for _, symbol := range grown {
		if spoiled[symbol] {
			c.changed = append(c.changed, symbol)
		} else {
			c.grown = append(c.grown, symbol)
		}
	}
	if c.sections != nil && len(c.changed) > 0 { // what is asked for begins with one session, the same for all
		c.changed, c.grown = append(c.changed, c.grown...), nil
	}
	slices.Sort(c.changed)
	missing := map[string]bool{}
	for _, symbol := range c.req.Symbols {
		if c.inputs[0][symbol] == "" {
			missing[symbol] = true
		}
	}
	if len(missing) > 0 {
		c.report.Notices = append(c.report.Notices, "no bars of "+someOf(sorted(missing)))
	}
	gone := map[string]bool{}
	for k := range c.slices {
		for symbol := range c.before[k] {
			if missing[symbol] || c.req.Symbols == nil && c.inputs[0][symbol] == "" {
				gone[symbol] = true
			}
		}
	}
	c.gone = sorted(gone)
	c.report.Computed, c.report.Removed = len(c.changed)+len(c.grown), len(c.gone)
	if len(c.basis.Symbols) == 0 && len(c.gone) == 0 {
		return quant.Errorf(quant.NotFound, "compute %s: ohlcv has no bars of these symbols", c.what).WithHint("`quant ingest FILE` loads prices; `quant symbols list` shows the symbols")
	}
	return nil
}

func sorted(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func someOf(list []string) string {
	if len(list) > 5 {
		return strings.Join(list[:5], ", ") + fmt.Sprintf(" and %d more", len(list)-5)
	}
	return strings.Join(list, ", ")
}

func (c *computation) compute(ctx context.Context) error {
	facts := make([]map[string]outcome, len(c.slices))
	var ledger []factstore.LedgerRow
	if len(c.changed)+len(c.grown)+len(c.gone) > 0 {
		if err := c.stageSymbols(ctx); err != nil {
			return err
		}
		if c.sections != nil {
			if err := c.sections.compare(ctx, len(c.changed) == 0); err != nil {
				return err
			}
		} else if err := c.sayGaps(ctx); err != nil {
			return err
		}
		var err error
		ledger, err = c.write(ctx, func(ctx context.Context, tx *factstore.Tx) error {
			w := writing{c: c, tx: tx, facts: facts}
			return w.run(ctx)
		})
		if err != nil {
			return err
		}
	} else {
		if c.req.Units != nil {
			if _, err := c.write(ctx, func(context.Context, *factstore.Tx) error { return nil }); err != nil {
				return err
			}
		}
		c.report.Notices = append(c.report.Notices, c.what+": nothing changed")
		if c.set != nil {
			if err := c.db.DescribeFeatures(ctx, c.req.RunID, *c.set); err != nil {
				return err
			}
		}
	}
	c.tables(facts, ledger)
	return nil
}

// write runs fn in the transaction of the run, with what units have staged for it.
func (c *computation) write(ctx context.Context, fn func(context.Context, *factstore.Tx) error) ([]factstore.LedgerRow, error) {
	u := c.req.Units
	if u == nil {
		return c.db.Write(ctx, c.req.RunID, fn)
	}
	list, err := c.db.OpenStanding(ctx, u.List)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return c.db.Write(ctx, c.req.RunID, fn)
	}
	return c.db.TakeIn(ctx, list, u.Succeeded, []string{c.req.RunID}, func(ctx context.Context, txs []*factstore.Tx, outputs []*factstore.Outputs) error {
		if err := c.openStaged(outputs); err != nil {
			return err
		}
		return fn(ctx, txs[0])
	})
}

// describe says what was read and written.
func (c *computation) describe(ctx context.Context) error {
	writers, err := c.db.Writers(ctx, factstore.OHLCV, c.ofSymbols())
	if err != nil {
		return err
	}
	r := &c.report
	bars := r.BarsRead
	r.Inputs = append([]quant.RunIO{{
		Direction: quant.In, Kind: quant.IOTable, Name: factstore.OHLCV, Rows: &bars,
		FirstDate: r.FirstDate, LastDate: r.LastDate, Digest: quant.Text(r.BarsDigest),
	}}, factstore.WrittenBy(writers)...)
	for _, t := range r.Tables {
		changed := t.Changed()
		r.Outputs = append(r.Outputs, quant.RunIO{
			Direction: quant.Out, Kind: quant.IOTable, Name: t.Table, Rows: &changed,
			FirstDate: r.FirstDate, LastDate: r.LastDate, Digest: quant.Text(t.Digest),
		})
	}
	return nil
}

// stageSymbols numbers the symbols that are computed or gone.
func (c *computation) stageSymbols(ctx context.Context) error {
	if _, err := c.db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+symbolTable+" (n INTEGER NOT NULL, symbol TEXT NOT NULL)"); err != nil {
		return err
	}
	c.number = map[string]int32{}
	return c.db.Append(ctx, symbolTable, func(row func(...driver.Value) error) error {
		for n, s := range slices.Concat(c.changed, c.grown, c.gone) {
			c.number[s] = int32(n)
			if err := row(int32(n), s); err != nil {
				return err
			}
		}
		return nil
	})
}

// tables fills in what became of each table, and the digest of what now stands.
func (c *computation) tables(facts []map[string]outcome, ledger []factstore.LedgerRow) {
	digests := map[string]hash.Hash{}
	for k, s := range c.slices {
		if digests[s.table] == nil {
			digests[s.table] = sha256.New()
			c.report.Tables = append(c.report.Tables, Table{Table: s.table})
		}
		for _, symbol := range c.basis.Symbols {
			of := c.before[k][symbol].facts
			if now, computed := facts[k][symbol]; computed {
				of = now.facts
			}
			_, _ = fmt.Fprintln(digests[s.table], s.name, symbol, of)
		}
	}
	for k, t := range c.report.Tables {
		c.report.Tables[k].Digest = sum(digests[t.Table])
		for _, l := range ledger {
			if l.Table == t.Table {
				c.report.Tables[k].Inserted, c.report.Tables[k].Updated, c.report.Tables[k].Deleted = l.Inserted, l.Updated, l.Deleted
			}
		}
	}
}
