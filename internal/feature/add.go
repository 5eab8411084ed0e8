package feature

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Symbols of which nothing stands yet are computed while they are stored, by the
// threads that store them: no column of values is ever whole in memory.

// barsToRead is about how many bars are read at a time for that, which bounds memory.
const barsToRead = 24 * 122_880

// barsTogether is about how many neighbouring bars one thread stores together: those of
// one of DuckDB's row groups, so that each has few symbols. barsInBlock is how many it
// computes at once, which stay in the processor's cache.
const (
	barsTogether = 122_880
	barsInBlock  = 12_288
)

// symbolsAtATime is how many symbols have about so many bars.
func (c *computation) symbolsAtATime(bars int64) int {
	return int(max(1, bars/(c.basis.Bars/int64(max(1, len(c.basis.Symbols)))+1)))
}

// divide divides the changed symbols into those of which nothing stands in any sink and
// whose returns are not to be compared, and the others.
func (w *writing) divide(ctx context.Context) (added, others []string, err error) {
	c := w.c
	if len(c.changed) == 0 {
		return nil, nil, nil
	}
	stand := map[string]bool{}
	for _, s := range c.sinks {
		tables := []string{s.stored + " WHERE " + s.where()}
		if s.other != "" {
			tables = append(tables, factstore.FeaturesOther+" WHERE "+s.other)
		}
		for _, table := range tables {
			err := c.db.Columns(ctx, "SELECT DISTINCT symbol FROM "+table, nil, func(chunk *factstore.Chunk) error {
				for row := range chunk.Len() {
					stand[strings.Clone(chunk.Text(0, row))] = true
				}
				return nil
			})
			if err != nil {
				return nil, nil, err
			}
		}
	}
	for _, symbol := range c.changed {
		_, elsewhere := c.returnsOf[symbol]
		if stand[symbol] || c.returns != nil && elsewhere && !c.current(1, symbol) {
			others = append(others, symbol)
		} else {
			added = append(added, symbol)
		}
	}
	return added, others, nil
}

// addPart computes and stores symbols of which nothing stands.
func (w *writing) addPart(ctx context.Context, symbols []string) error {
	c := w.c
	if c.stored != nil {
		c.basis.Place(c.stored, c.names, c.cal, symbols, &c.bars)
		c.stored = nil
	} else if err := c.basis.Read(ctx, c.db, c.cal, c.priceRequest(), symbols, 0, &c.bars); err != nil {
		return err
	}
	before := slices.Clone(w.rows)
	a := &adding{w: w, returns: make([]int64, len(symbols)), some: make([][]bool, len(c.sinks))}
	for n := range c.sinks {
		a.some[n] = make([]bool, len(symbols))
	}
	a.divide()
	if err := a.store(ctx); err != nil {
		return err
	}
	for n, s := range c.sinks {
		inserted := int64(0)
		for _, v := range s.values {
			inserted += w.rows[v] - before[v]
		}
		w.tx.Count(s.table, inserted, 0, 0)
		for k := range symbols {
			if s.table == factstore.Labels && a.some[n][k] {
				w.touch(s.slice, k)
			}
		}
	}
	if c.returns == nil {
		return nil
	}
	var moved []string
	inserted := int64(0)
	for k, symbol := range symbols {
		if _, stand := c.returnsOf[symbol]; stand {
			continue
		}
		moved = append(moved, symbol)
		if inserted += a.returns[k]; a.returns[k] > 0 {
			w.touch(1, k)
		}
	}
	w.tx.Count(factstore.Returns, inserted, 0, 0)
	if len(moved) == 0 {
		return nil
	}
	return w.nameReturns(ctx, moved)
}

// memoryOfStoring is what the engine needs to store: each thread a row group of every
// column, and the same again as the blocks it is writing; with less, it moves row groups
// to disk and back. What it has written it need not keep.
func memoryOfStoring(columns int) int64 {
	const value = 8 // bytes
	return max(300<<20, int64(runtime.GOMAXPROCS(0))*max(96<<20, int64(columns)*barsTogether*value*2))
}

// adding is one statement that stores the bars that were read.
type adding struct {
	w       *writing
	work    []neighbours
	next    atomic.Int64 // of work
	returns []int64      // rows with a return, by symbol
	some    [][]bool     // by sink, symbol: whether it has a row
}

// neighbours are the symbols that one thread stores in a sink.
type neighbours struct{ sink, from, to int }

func (a *adding) divide() {
	b := &a.w.c.bars
	for sink := range a.w.c.sinks {
		for from := 0; from < len(b.Symbols); {
			to := from + 1
			for to < len(b.Symbols) && b.From[to+1]-b.From[from] <= barsTogether {
				to++
			}
			a.work = append(a.work, neighbours{sink, from, to})
			from = to
		}
	}
}

// store stores all sinks, which are parts of one table.
func (a *adding) store(ctx context.Context) error {
	c := a.w.c
	s := c.sinks[0]
	columns := []factstore.Column{{Name: "symbol", Texts: c.bars.Symbols, Numbers: []int32{}}, {Name: "ts", Dates: []quant.Date{}}}
	into, picked := []string{"symbol", "ts"}, []string{"symbol", "ts"}
	for k, name := range s.columns {
		columns = append(columns, factstore.Column{Name: fmt.Sprintf("x%d", k), Floats: []float64{}})
		into, picked = append(into, sqltext.Identifier(name)), append(picked, fmt.Sprintf("x%d", k))
	}
	for k := 0; k < len(s.fixed); k += 2 {
		column := factstore.Column{Name: s.fixed[k], Numbers: []int32{}}
		for _, s := range c.sinks {
			column.Texts = append(column.Texts, s.fixed[k+1])
		}
		columns = append(columns, column)
		into, picked = append(into, s.fixed[k]), append(picked, s.fixed[k])
	}
	var args []any
	if s.stamp != "" {
		into, picked = append(into, s.stamp), append(picked, "CAST(? AS TIMESTAMP)")
		args = append(args, a.w.tx.Now)
	}
	relation, release, err := c.db.Produce(columns, len(c.bars.Days)*len(c.sinks), func() func() ([]factstore.Column, error) {
		block := &addedBlock{a: a, columns: slices.Clone(columns), out: make([][]float64, c.outputs)}
		return func() ([]factstore.Column, error) { return block.fill(ctx) }
	})
	if err != nil {
		return err
	}
	defer release()
	return c.db.Unordered(ctx, func() error {
		return c.db.WithMemory(ctx, memoryOfStoring(len(columns)), func() error {
			return a.w.tx.Store(ctx, s.stored, fmt.Sprintf("(%s) SELECT %s FROM %s", strings.Join(into, ", "), strings.Join(picked, ", "), relation), args...)
		})
	})
}

// addedBlock is what one thread computes and stores.
type addedBlock struct {
	a       *adding
	columns []factstore.Column
	of      neighbours // what is left of the work taken

	series  series
	out     [][]float64
	numbers []int32
	sinks   []int32
	kept    []int // rows
}

// fill computes the next bars; nil: there are none.
func (b *addedBlock) fill(ctx context.Context) ([]factstore.Column, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if b.of.from == b.of.to {
			n := int(b.a.next.Add(1)) - 1
			if n >= len(b.a.work) {
				return nil, nil
			}
			b.of = b.a.work[n]
		}
		bars := &b.a.w.c.bars
		from, to := b.of.from, b.of.from+1
		for to < b.of.to && bars.From[to+1]-bars.From[from] <= barsInBlock {
			to++
		}
		b.of.from = to
		if b.compute(from, to) {
			return b.columns, nil
		}
	}
}

// compute fills the columns with the rows of symbols; not some: they have none.
func (b *addedBlock) compute(from, to int) (some bool) {
	w := b.a.w
	c := w.c
	bars, s := &c.bars, c.sinks[b.of.sink]
	begin, n := bars.From[from], bars.From[to]-bars.From[from]
	b.out = outputs(b.out, c.outputs, n)
	b.numbers, b.sinks, b.kept = b.numbers[:0], b.sinks[:0], b.kept[:0]
	out := make([][]float64, c.outputs)
	for k := from; k < to; k++ {
		i, j := bars.From[k], bars.From[k+1]
		for v := range out {
			out[v] = b.out[v][i-begin : j-begin]
		}
		b.series.symbol, b.series.days = bars.Symbols[k], bars.Days[i:j]
		b.series.bind(bars.Session[i:j], bars.Open[i:j], bars.High[i:j], bars.Low[i:j], bars.Close[i:j], bars.Volume[i:j])
		if b.of.sink == 0 {
			w.computeSymbol(k, &b.series, out, false)
		} else { // its digests are noted
			c.kernel(&b.series, out)
			for _, x := range out {
				leaveOut(x)
			}
		}
		for bar := range j - i {
			b.numbers, b.sinks = append(b.numbers, int32(k)), append(b.sinks, int32(b.of.sink))
			if hasAny(out, s.values, bar) {
				b.kept = append(b.kept, i-begin+bar)
				b.a.some[b.of.sink][k] = true
			}
			if c.returns != nil && hasAny(out, c.returns, bar) {
				b.a.returns[k]++
			}
		}
	}
	if len(b.kept) == 0 {
		return false
	}
	b.columns[0].Numbers, b.columns[1].Dates = b.numbers, bars.Days[begin:begin+n]
	for v, x := range s.values {
		b.columns[2+v].Floats = b.out[x]
	}
	for k := 2 + len(s.values); k < len(b.columns); k++ {
		b.columns[k].Numbers = b.sinks
	}
	if len(b.kept) < n {
		for k := range b.columns {
			b.columns[k] = packed(b.columns[k], b.kept)
		}
	}
	return true
}

func hasAny(out [][]float64, values []int, i int) bool {
	for _, v := range values {
		if x := out[v][i]; x == x {
			return true
		}
	}
	return false
}

// nameReturns notes that the table of the version holds the returns of these symbols.
func (w *writing) nameReturns(ctx context.Context, symbols []string) error {
	these := "symbol IN (" + sqltext.Literals(symbols) + ")"
	if slices.ContainsFunc(symbols, func(symbol string) bool { _, stand := w.c.returnsOf[symbol]; return stand }) {
		for _, table := range []string{factstore.ReturnsVersion, factstore.ReturnsOther} {
			if err := w.tx.Remove(ctx, table, these); err != nil {
				return err
			}
		}
	}
	return w.tx.Store(ctx, factstore.ReturnsVersion, "SELECT symbol, "+sqltext.Literal(w.c.req.Version)+" FROM temp.main."+symbolTable+" WHERE "+these+" ORDER BY n")
}
