package feature

import (
	"context"
	"database/sql/driver"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"quant"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// barsAtATime is about how many bars are computed and stored at a time, which bounds
// memory; some of DuckDB's row groups. Of a set with many features they are fewer.
func (c *computation) barsAtATime() int64 {
	const most, features = 5 * 122_880, 19
	return most * features / int64(max(features, c.outputs))
}

// outcome is what is noted of a slice of a symbol.
type outcome struct{ sums, facts, state string }

// writing computes and stores, some symbols at a time.
type writing struct {
	c     *computation
	tx    *factstore.Tx
	facts []map[string]outcome // by slice, symbol

	out     [][]float64 // by output, bar
	numbers []int32     // of the symbols of the bars

	states map[string]recursion // of symbols that have grown, up to where they were computed

	mu              sync.Mutex         // of what follows and facts, while symbols are computed
	rows, nonFinite []int64            // by output
	spans           []map[string]*span // by sink that fact_slices speak of, symbol: days with a value of this run
}

// span is the first and last day with a value, and whether any row changed.
type span struct {
	first, last quant.Date
	touched     bool
}

func (w *writing) run(ctx context.Context) error {
	c := w.c
	w.rows, w.nonFinite = make([]int64, c.outputs), make([]int64, c.outputs)
	w.spans = make([]map[string]*span, len(c.slices))
	for k := range c.slices {
		w.facts[k], w.spans[k] = map[string]outcome{}, map[string]*span{}
	}
	if err := w.removeGone(ctx); err != nil {
		return err
	}
	if c.set != nil {
		if _, err := w.tx.DeclareFeatures(ctx, *c.set); err != nil {
			return err
		}
	}
	added, changed, err := w.divide(ctx)
	if err != nil {
		return err
	}
	asRead := func(symbols []string) func(func([]string) bool) {
		return slices.Chunk(symbols, c.symbolsAtATime(barsToRead))
	}
	for from, part := range c.chunk(added, asRead) {
		if err := c.load(ctx, from); err != nil {
			return err
		}
		if err := w.addPart(ctx, part); err != nil {
			return err
		}
	}
	c.stored = nil
	later, whole := c.grown, []string(nil)
	if c.recursions {
		later, whole = w.resumed()
	}
	for _, group := range []struct {
		symbols []string
		grown   bool
		since   quant.Date
	}{{changed, false, 0}, {whole, true, 0}, {later, true, c.since()}} {
		asComputed := func(symbols []string) func(func([]string) bool) { return w.parts(symbols, group.since) }
		for from, part := range c.chunk(group.symbols, asComputed) {
			if err := c.load(ctx, from); err != nil {
				return err
			}
			if err := w.computePart(ctx, part, group.grown, group.since); err != nil {
				return err
			}
		}
	}
	for k, name := range c.series {
		s := Series{Name: name, Rows: w.rows[k], NonFinite: w.nonFinite[k]}
		if len(c.changed)+len(c.grown) == 0 {
			break
		}
		if s.NonFinite > 0 {
			c.report.Notices = append(c.report.Notices, fmt.Sprintf("%s: %d values are NaN or infinite and have no row", s.Name, s.NonFinite))
		}
		c.report.Series = append(c.report.Series, s)
	}
	for k := range c.slices {
		if err := w.writeSlices(ctx, k); err != nil {
			return err
		}
	}
	return w.writeInputs(ctx)
}

// resumed divides the symbols that have grown into those whose recursions go on from
// where they were, and those of which all bars are read.
func (w *writing) resumed() (later, whole []string) {
	w.states = map[string]recursion{}
	for _, symbol := range w.c.grown {
		if state, ok := w.c.resumes(symbol); ok {
			w.states[symbol] = state
			later = append(later, symbol)
		} else {
			whole = append(whole, symbol)
		}
	}
	return later, whole
}

// parts divides symbols into such as have about so many bars from a day on (0: all) to
// read together.
func (w *writing) parts(symbols []string, since quant.Date) func(func([]string) bool) {
	c := w.c
	return func(yield func([]string) bool) {
		each := c.basis.Bars/int64(max(1, len(c.basis.Symbols))) + 1
		if since != 0 {
			each = min(each, int64(c.lookback)+64)
		}
		for part := range slices.Chunk(symbols, int(max(1, c.barsAtATime()/each))) {
			if !yield(part) {
				return
			}
		}
	}
}

// since is the day from which bars are read to compute those after cut; 0: all.
func (c *computation) since() quant.Date {
	i, _ := c.cal.Index(c.cut)
	if i -= c.lookback + 2; i < 0 {
		return 0
	}
	return c.cal.At(i)
}

// computePart computes some symbols and stores what came of it.
func (w *writing) computePart(ctx context.Context, symbols []string, grown bool, since quant.Date) error {
	c := w.c
	if err := c.basis.Read(ctx, c.db, c.cal, c.priceRequest(), symbols, since, &c.bars); err != nil {
		return err
	}
	starts, err := w.kernel(ctx, grown, since)
	if err != nil {
		return err
	}
	computed := w.numberRows(starts)
	if len(w.numbers) == 0 && grown {
		return nil
	}
	if c.returns != nil {
		if err := w.moveReturns(ctx, symbols, computed, grown); err != nil {
			return err
		}
	}
	for _, s := range c.sinks {
		if err := w.store(ctx, s, symbols, computed, grown); err != nil {
			return err
		}
	}
	return nil
}

// priceRequest is whose prices are read: of the symbols asked for, or, where symbols are
// compared, of all.
func (c *computation) priceRequest() price.Request {
	r := price.Request{Symbols: c.req.Symbols, AcceptRaw: c.req.AcceptRaw}
	if c.sections != nil {
		r.Symbols = nil
	}
	return r
}

// kernel computes the outputs of the bars that were read, on all processors, and notes
// the digests. It returns, for each symbol, the first of its bars that was computed.
func (w *writing) kernel(ctx context.Context, grown bool, since quant.Date) ([]int, error) {
	c := w.c
	b := &c.bars
	w.out = outputs(w.out, c.outputs, len(b.Days))
	starts := make([]int, len(b.Symbols))
	err := c.eachSymbol(ctx, func(k int, s *series) {
		from, to := b.From[k], b.From[k+1]
		if grown {
			s.start = c.startOf(s, b.Days[from:to], b.Symbols[k], since)
			if state, ok := w.states[b.Symbols[k]]; ok && since != 0 {
				s.resume(state)
			}
		}
		starts[k] = from + s.start
		out := make([][]float64, c.outputs)
		for n := range out {
			out[n] = w.out[n][from:to]
		}
		w.computeSymbol(k, s, out, grown)
	})
	return starts, err
}

// computeSymbol computes the outputs of a symbol's bars, notes the digests, and leaves
// out what is no number. It may run for several symbols at a time.
func (w *writing) computeSymbol(k int, s *series, out [][]float64, grown bool) {
	c := w.c
	b := &c.bars
	days, symbol := b.Days[b.From[k]:b.From[k+1]], b.Symbols[k]
	c.kernel(s, out)
	spans := c.spansOf(days, out, s.start)
	noted := c.noteSums(symbol, days, out, s.start, grown)
	if noted[0].state == "" && c.recursions {
		s.recursive()
		noted[0].state = stateText(s.after, c.inputs[0][symbol], c.cal)
	}
	rows, nonFinite := make([]int64, c.outputs), make([]int64, c.outputs)
	for n, x := range out {
		rows[n], nonFinite[n] = leaveOut(x[s.start:])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := range out {
		w.rows[n] += rows[n]
		w.nonFinite[n] += nonFinite[n]
	}
	for n := range c.slices {
		if first := c.sliceFrom[n][symbol]; grown && first != 0 {
			if spans[n].first = first; spans[n].last == 0 {
				spans[n].last = first
			}
		}
		w.spans[n][symbol] = &spans[n]
		w.facts[n][symbol] = noted[n]
	}
}

// leaveOut puts none where a value is no number, and counts both kinds.
func leaveOut(x []float64) (rows, nonFinite int64) {
	for i := range x {
		switch {
		case finite(x[i]):
			rows++
		case isNone(x[i]):
		default:
			nonFinite++
			x[i] = none
		}
	}
	return rows, nonFinite
}

// outputs makes room for n columns of this length, in the memory of earlier ones.
func outputs(columns [][]float64, n, length int) [][]float64 {
	for len(columns) < n {
		columns = append(columns, nil)
	}
	for k := range columns {
		if cap(columns[k]) < length {
			columns[k] = make([]float64, length+length/8)
		}
		columns[k] = columns[k][:length]
	}
	return columns
}

// startOf is the first bar of a symbol that has grown whose values are not stored yet.
func (c *computation) startOf(s *series, days []quant.Date, symbol string, since quant.Date) int {
	if first := c.first[symbol]; first < since {
		i, _ := c.cal.Index(first)
		s.first = int32(i)
	}
	upTo := c.upTo[symbol]
	if c.sections != nil {
		upTo = c.cut
	}
	later, _ := slices.BinarySearch(days, upTo+1)
	if c.horizon == 0 || later == len(days) {
		return later
	}
	begin, _ := slices.BinarySearch(s.session, s.session[later]-int32(min(c.horizon, int(s.session[later]))))
	return begin
}

// eachSymbol binds each symbol's bars and runs do for it, some at a time; the order is
// open.
func (c *computation) eachSymbol(ctx context.Context, do func(k int, s *series)) error {
	b := &c.bars
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(b.Symbols)) {
		group.Go(func() {
			var s series
			for ctx.Err() == nil {
				k := int(next.Add(1)) - 1
				if k >= len(b.Symbols) {
					return
				}
				from, to := b.From[k], b.From[k+1]
				s.symbol, s.days = b.Symbols[k], b.Days[from:to]
				s.bind(b.Session[from:to], b.Open[from:to], b.High[from:to], b.Low[from:to], b.Close[from:to], b.Volume[from:to])
				do(k, &s)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// noteSums digests what was computed of a symbol, added to what stands where it has
// grown.
func (c *computation) noteSums(symbol string, days []quant.Date, out [][]float64, start int, grown bool) []outcome {
	list := make([]outcome, len(c.slices))
	for n, s := range c.slices {
		sums := make([]rowSums, len(s.parts))
		if before := c.before[n][symbol]; grown {
			if c.current(n, symbol) {
				list[n] = outcome{before.sums, before.facts, before.state}
				continue
			}
			sums, _ = parseSums(s.parts, before.sums, before.facts) // choose looked
		}
		for k, part := range s.parts {
			sums[k].take(part, days, out, start)
		}
		list[n].sums, list[n].facts = sumsText(s.parts, sums)
	}
	return list
}

// spansOf are, by slice, the first and last day with a value.
func (c *computation) spansOf(days []quant.Date, out [][]float64, start int) []span {
	spans := make([]span, len(c.slices))
	for n, s := range c.slices {
		if s.table == factstore.FeaturesDaily {
			continue
		}
		for i := start; i < len(days); i++ {
			for _, v := range s.parts[0].columns {
				if finite(out[v][i]) {
					if spans[n].first == 0 {
						spans[n].first = days[i]
					}
					spans[n].last = days[i]
				}
			}
		}
	}
	return spans
}

// numberRows numbers the symbol of each bar, and says which were computed; nil: all.
func (w *writing) numberRows(starts []int) (computed []bool) {
	b := &w.c.bars
	w.numbers = slices.Grow(w.numbers[:0], len(b.Days))[:len(b.Days)]
	for k := range b.Symbols {
		n := w.c.number[b.Symbols[k]]
		for i := b.From[k]; i < b.From[k+1]; i++ {
			w.numbers[i] = n
		}
		if starts[k] > b.From[k] && computed == nil {
			computed = make([]bool, len(b.Days))
			for i := range b.From[k] {
				computed[i] = true
			}
		}
		if computed != nil {
			for i := starts[k]; i < b.From[k+1]; i++ {
				computed[i] = true
			}
		}
	}
	return computed
}

// store makes a sink hold these symbols' rows of what was computed, and no other rows
// of theirs; rows that are the same stay untouched, with their stamps, unless another
// program wrote them. Where symbols have grown, rows are added alone.
func (w *writing) store(ctx context.Context, s *sink, symbols []string, computed []bool, grown bool) error {
	skip := make([]bool, len(w.numbers))
	for i := range skip {
		skip[i] = computed != nil && !computed[i]
	}
	var d difference
	d.begin(w, s, skip, grown)
	if !grown {
		if err := w.compare(ctx, s, symbols, &d); err != nil {
			return err
		}
	}
	d.added()
	if err := w.insert(ctx, s, skip); err != nil {
		return err
	}
	w.tx.Count(s.table, d.inserted, d.updated, d.deleted)
	if d.returns != nil {
		w.tx.Count(factstore.Returns, d.returnsInserted, d.returnsUpdated, d.returnsDeleted)
	}
	return nil
}

// difference is what changes in a sink, value by value, and in the returns that its
// rows hold.
type difference struct {
	w      *writing
	s      *sink
	skip   []bool // bars that are not stored: none was computed, or what stands is the same
	seen   []bool // bars whose row stands
	grown  bool
	remove []int64

	inserted, updated, deleted                      int64
	returns                                         []int // outputs; nil: none
	returnsInserted, returnsUpdated, returnsDeleted int64
}

func (d *difference) begin(w *writing, s *sink, skip []bool, grown bool) {
	d.w, d.s, d.skip, d.grown = w, s, skip, grown
	d.seen = make([]bool, len(skip))
	if s.table == factstore.FeaturesDaily {
		d.returns = w.c.returns
	}
}

// holdsReturns is whether the rows of a symbol in the table of the version are its
// returns.
func (d *difference) holdsReturns(k int) bool {
	symbol := d.w.c.bars.Symbols[k]
	return d.returns != nil && d.w.c.returnsOf[symbol] == d.w.c.req.Version && !(d.grown && d.w.c.current(1, symbol))
}

// added counts the bars whose rows do not stand.
func (d *difference) added() {
	b := &d.w.c.bars
	for k := range b.Symbols {
		returns := d.holdsReturns(k)
		for i := b.From[k]; i < b.From[k+1]; i++ {
			if d.skip[i] || d.seen[i] {
				continue
			}
			for _, v := range d.s.values {
				if x := d.w.out[v][i]; x == x {
					d.inserted++
				}
			}
			if returns && d.w.hasAny(d.returns, i) {
				d.returnsInserted++
				d.w.touch(1, k)
			}
		}
		if d.s.table == factstore.Labels {
			for i := b.From[k]; i < b.From[k+1]; i++ {
				if !d.skip[i] && !d.seen[i] && d.w.hasAny(d.s.values, i) {
					d.w.touch(d.s.slice, k)
					break
				}
			}
		}
	}
}

func (w *writing) hasAny(values []int, i int) bool { return hasAny(w.out, values, i) }

// touch notes that a slice of a symbol changed.
func (w *writing) touch(slice, k int) { w.spans[slice][w.c.bars.Symbols[k]].touched = true }

// compare finds out what stands of these symbols and differs, and removes it.
func (w *writing) compare(ctx context.Context, s *sink, symbols []string, d *difference) error {
	c := w.c
	condition := s.where() + " AND symbol BETWEEN " + sqltext.Literal(symbols[0]) + " AND " + sqltext.Literal(symbols[len(symbols)-1])
	position := map[string]int{}
	for k, symbol := range symbols {
		position[symbol] = k
	}
	alien := "false"
	if s.stamp != "" {
		t, _ := factstore.LookupTable(s.table)
		alien = t.Unexplained()
	}
	var rowids []int64
	var days []quant.Date
	var aliens []bool
	old := make([][]float64, len(s.columns))
	last, lastK := "", -1
	err := c.db.Columns(ctx, "SELECT rowid, symbol, ts, "+alien+", "+identifiers(s.columns)+" FROM "+s.stored+" f WHERE "+condition, nil, func(chunk *factstore.Chunk) error {
		rowids, days, aliens = chunk.AppendBigints(rowids[:0], 0), chunk.AppendDates(days[:0], 2), chunk.AppendBooleans(aliens[:0], 3)
		for k := range old {
			old[k] = chunk.AppendFloats(old[k][:0], 4+k)
		}
		for row := range chunk.Len() {
			if text := chunk.Text(1, row); text != last {
				k, known := position[text]
				if last, lastK = strings.Clone(text), k; !known {
					lastK = -1
				}
			}
			if lastK >= 0 {
				d.meet(lastK, days[row], rowids[row], aliens[row], old, row)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(d.remove) > 0 {
		if err := w.removeRows(ctx, s.stored, d.remove); err != nil {
			return err
		}
	}
	if s.other == "" {
		return nil
	}
	return w.takeOver(ctx, s, position, condition, d)
}

// meet compares a row that stands with what was computed.
func (d *difference) meet(k int, day quant.Date, rowid int64, alien bool, old [][]float64, row int) {
	b := &d.w.c.bars
	from, to := b.From[k], b.From[k+1]
	at, have := slices.BinarySearch(b.Days[from:to], day)
	i := from + at
	have = have && !d.seen[i]
	same := have && !alien
	returns, had, has, differ := d.holdsReturns(k), false, false, alien
	for c, v := range d.s.values {
		was, is := old[c][row], math.NaN()
		if have {
			is = d.w.out[v][i]
		}
		wasOne, isOne := was == was, is == is
		equal := was == is || !wasOne && !isOne
		switch {
		case equal && !(alien && isOne):
		case wasOne && isOne:
			d.updated++
		case isOne:
			d.inserted++
		case wasOne:
			d.deleted++
		}
		same = same && equal
		if returns && slices.Contains(d.returns, v) {
			had, has, differ = had || wasOne, has || isOne, differ || !equal
		}
	}
	if have {
		d.seen[i] = true
	}
	switch {
	case !returns || !differ || !had && !has:
	case had && has:
		d.returnsUpdated++
	case has:
		d.returnsInserted++
	default:
		d.returnsDeleted++
	}
	if returns && differ && (had || has) {
		d.w.touch(1, k)
	}
	if same {
		d.skip[i] = true
		return
	}
	if d.s.table == factstore.Labels {
		d.w.touch(d.s.slice, k)
	}
	d.remove = append(d.remove, rowid)
}

func (w *writing) removeRows(ctx context.Context, table string, rowids []int64) error {
	relation, release, err := w.c.db.Hold(factstore.Column{Name: "r", Bigints: rowids})
	if err != nil {
		return err
	}
	defer release()
	return w.tx.Remove(ctx, table, "rowid IN (SELECT r FROM "+relation+")")
}

// takeOver removes rows of the features that were computed from where rows stand that
// no table of a version holds; they were counted as new.
func (w *writing) takeOver(ctx context.Context, s *sink, position map[string]int, condition string, d *difference) error {
	b := &w.c.bars
	where := fmt.Sprintf("%s AND feature_name IN (%s) AND %s", s.other, sqltext.Literals(s.columns), condition)
	var rowids []int64
	var days []quant.Date
	err := w.c.db.Columns(ctx, "SELECT rowid, symbol, ts, feature_name FROM "+factstore.FeaturesOther+" WHERE "+where, nil, func(chunk *factstore.Chunk) error {
		days = chunk.AppendDates(days[:0], 2)
		ids := chunk.AppendBigints(nil, 0)
		for row := range chunk.Len() {
			k, known := position[chunk.Text(1, row)]
			if !known {
				continue
			}
			rowids = append(rowids, ids[row])
			at, have := slices.BinarySearch(b.Days[b.From[k]:b.From[k+1]], days[row])
			x := math.NaN()
			if have {
				x = w.out[s.values[slices.Index(s.columns, chunk.Text(3, row))]][b.From[k]+at]
			}
			if x == x && !d.skip[b.From[k]+at] {
				d.inserted--
				d.updated++
			} else {
				d.deleted++
			}
		}
		return nil
	})
	if err != nil || len(rowids) == 0 {
		return err
	}
	return w.removeRows(ctx, factstore.FeaturesOther, rowids)
}

func identifiers(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = sqltext.Identifier(name)
	}
	return strings.Join(list, ", ")
}

func (s *sink) where() string {
	where := "true"
	for k := 0; k < len(s.fixed); k += 2 {
		where += " AND " + s.fixed[k] + " = " + sqltext.Literal(s.fixed[k+1])
	}
	return where
}

// insert adds the rows of the bars that are not skipped.
func (w *writing) insert(ctx context.Context, s *sink, skip []bool) error {
	columns := []factstore.Column{{Name: "n", Integers: w.numbers}, {Name: "ts", Dates: w.c.bars.Days}}
	into, picked := "symbol, ts", "s.symbol, h.ts"
	for k, v := range s.values {
		name := fmt.Sprintf("x%d", k)
		columns = append(columns, factstore.Column{Name: name, Floats: w.out[v]})
		into, picked = into+", "+sqltext.Identifier(s.columns[k]), picked+", h."+name
	}
	var kept []int
	for i := range skip {
		if !skip[i] && w.hasAny(s.values, i) {
			kept = append(kept, i)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	if len(kept) < len(skip) {
		for k := range columns {
			columns[k] = packed(columns[k], kept)
		}
	}
	var args []any
	for k := 0; k < len(s.fixed); k += 2 {
		into, picked = into+", "+s.fixed[k], picked+", "+sqltext.Literal(s.fixed[k+1])
	}
	if s.stamp != "" {
		into, picked = into+", "+s.stamp, picked+", CAST(? AS TIMESTAMP)"
		args = append(args, w.tx.Now)
	}
	relation, release, err := w.c.db.Hold(columns...)
	if err != nil {
		return err
	}
	defer release()
	return w.c.db.Unordered(ctx, func() error {
		return w.tx.Store(ctx, s.stored, fmt.Sprintf("(%s) SELECT %s FROM %s h JOIN temp.main.%s s ON s.n = h.n", into, picked, relation, symbolTable), args...)
	})
}

// packed is a column of the rows that are kept.
func packed(c factstore.Column, kept []int) factstore.Column {
	switch {
	case c.Floats != nil:
		c.Floats = chosen(c.Floats, kept)
	case c.Integers != nil:
		c.Integers = chosen(c.Integers, kept)
	case c.Numbers != nil:
		c.Numbers = chosen(c.Numbers, kept)
	default:
		c.Dates = chosen(c.Dates, kept)
	}
	return c
}

func chosen[T any](list []T, kept []int) []T {
	out := make([]T, len(kept))
	for k, i := range kept {
		out[k] = list[i]
	}
	return out
}

// moveReturns makes the table of the version hold the returns of those symbols whose
// returns stand elsewhere, or nowhere, and differ. Where symbols have grown, returns that
// stand elsewhere are those that this version has up to there: they are of the same bars.
func (w *writing) moveReturns(ctx context.Context, symbols []string, computed []bool, grown bool) error {
	c := w.c
	b := &c.bars
	position := map[string]int{}
	var elsewhere, moved []string
	for k, symbol := range symbols {
		switch of, stand := c.returnsOf[symbol]; {
		case !stand:
			moved = append(moved, symbol)
		case grown && of != c.req.Version && !c.current(1, symbol):
			moved = append(moved, symbol)
		case of != c.req.Version && !grown:
			elsewhere = append(elsewhere, symbol)
			position[symbol] = k
		}
	}
	seen := make([]bool, len(b.Days))
	var inserted, updated, deleted int64
	differ := map[string]bool{}
	if len(elsewhere) > 0 {
		var days []quant.Date
		names := []string{}
		for _, v := range c.returns {
			names = append(names, c.series[v])
		}
		old := make([][]float64, len(names))
		err := c.db.Columns(ctx, "SELECT symbol, ts, "+strings.Join(names, ", ")+" FROM "+factstore.Returns+" WHERE symbol IN ("+sqltext.Literals(elsewhere)+")", nil, func(chunk *factstore.Chunk) error {
			days = chunk.AppendDates(days[:0], 1)
			for n := range old {
				old[n] = chunk.AppendFloats(old[n][:0], 2+n)
			}
			for row := range chunk.Len() {
				symbol := chunk.Text(0, row)
				k, known := position[symbol]
				if !known {
					continue
				}
				at, have := slices.BinarySearch(b.Days[b.From[k]:b.From[k+1]], days[row])
				i := b.From[k] + at
				if !have || seen[i] || !w.hasAny(c.returns, i) {
					deleted++
					differ[symbols[k]] = true
					continue
				}
				seen[i] = true
				for n, v := range c.returns {
					if was, is := old[n][row], w.out[v][i]; was != is && (was == was || is == is) {
						updated++
						differ[symbols[k]] = true
						break
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for k, symbol := range symbols {
		of, stand := c.returnsOf[symbol]
		if stand && of == c.req.Version || grown && c.current(1, symbol) {
			continue
		}
		for i := b.From[k]; i < b.From[k+1]; i++ {
			if !seen[i] && (computed == nil || computed[i]) && w.hasAny(c.returns, i) {
				inserted++
				differ[symbol] = true
			}
		}
		if stand && differ[symbol] && !grown {
			moved = append(moved, symbol)
		}
		if differ[symbol] {
			w.touch(1, k)
		}
	}
	w.tx.Count(factstore.Returns, inserted, updated, deleted)
	if len(moved) == 0 {
		return nil
	}
	return w.nameReturns(ctx, moved)
}

// removeGone removes what stands of symbols whose bars are gone.
func (w *writing) removeGone(ctx context.Context) error {
	c := w.c
	if len(c.gone) == 0 {
		return nil
	}
	these := "symbol IN (" + sqltext.Literals(c.gone) + ")"
	count := func(from string) (n int64, err error) {
		err = w.tx.QueryRow(ctx, "SELECT count(*) FROM "+from+" AND "+these).Scan(&n)
		return n, err
	}
	remove := func(table, of string, from map[string]string) error {
		n, err := count(table + " WHERE " + of)
		if err != nil {
			return err
		}
		w.tx.Count(table, 0, 0, n)
		for stored, where := range from {
			if err := w.tx.Remove(ctx, stored, where+" AND "+these); err != nil {
				return err
			}
		}
		return nil
	}
	for _, s := range c.sinks {
		of, from := s.where(), map[string]string{s.stored: s.where()}
		if s.other != "" {
			of = s.other + " AND feature_name IN (" + sqltext.Literals(s.columns) + ")"
			from[factstore.FeaturesOther] = of
		}
		if err := remove(s.table, of, from); err != nil {
			return err
		}
	}
	if c.returns != nil {
		if err := remove(factstore.Returns, "true", map[string]string{factstore.ReturnsVersion: "true", factstore.ReturnsOther: "true"}); err != nil {
			return err
		}
	}
	for _, s := range c.slices {
		for _, table := range []string{factstore.FactSlices, factstore.FactInputs} {
			if _, err := w.tx.Delete(ctx, table, "table_name = ? AND name = ? AND version = ? AND "+these, s.table, s.name, s.version); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeSlices names this run as the last writer of the slices that it touched, of the
// tables without stamps.
func (w *writing) writeSlices(ctx context.Context, k int) error {
	c, s := w.c, w.c.slices[k]
	if s.table == factstore.FeaturesDaily || len(w.spans[k]) == 0 {
		return nil
	}
	of := fmt.Sprintf("table_name = %s AND name = %s AND version = %s", sqltext.Literal(s.table), sqltext.Literal(s.name), sqltext.Literal(s.version))
	var numbers []int32
	var firsts, lasts []quant.Date
	var touched []string
	for _, symbol := range slices.Sorted(maps.Keys(w.spans[k])) {
		at := w.spans[k][symbol]
		if !at.touched {
			continue
		}
		touched = append(touched, symbol)
		if at.last != 0 {
			numbers, firsts, lasts = append(numbers, c.number[symbol]), append(firsts, at.first), append(lasts, at.last)
		}
	}
	if touched == nil {
		return nil
	}
	old, err := w.tx.Delete(ctx, factstore.FactSlices, of+" AND symbol IN ("+sqltext.Literals(touched)+")")
	if err != nil || len(numbers) == 0 {
		return err
	}
	relation, release, err := c.db.Hold(factstore.Column{Name: "n", Integers: numbers}, factstore.Column{Name: "first", Dates: firsts}, factstore.Column{Name: "last", Dates: lasts})
	if err != nil {
		return err
	}
	defer release()
	now, err := w.tx.Insert(ctx, factstore.FactSlices, fmt.Sprintf(`(table_name, symbol, name, version, from_ts, to_ts, run_id)
		SELECT ?, s.symbol, ?, ?, h.first, h.last, ? FROM %s h JOIN temp.main.%s s ON s.n = h.n ORDER BY s.symbol`, relation, symbolTable),
		s.table, s.name, s.version, w.tx.RunID)
	if err != nil {
		return err
	}
	w.tx.Replaced(factstore.FactSlices, min(old, now))
	return nil
}

// writeInputs notes what the slices were computed from.
func (w *writing) writeInputs(ctx context.Context) error {
	const source = "feature_inputs"
	c := w.c
	if _, err := w.tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+source+" (table_name TEXT, symbol TEXT, name TEXT, version TEXT, inputs TEXT, facts TEXT, last_ts DATE, sums TEXT)"); err != nil {
		return err
	}
	err := c.db.Append(ctx, source, func(row func(...driver.Value) error) error {
		for k, s := range c.slices {
			for _, symbol := range slices.Concat(c.changed, c.grown) {
				now := w.facts[k][symbol]
				if err := row(s.table, symbol, s.name, s.version, c.inputs[k][symbol], now.facts, c.last[symbol], now.sums+now.state); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = w.tx.Merge(ctx, factstore.Merge{Table: factstore.FactInputs, Source: source})
	return err
}
