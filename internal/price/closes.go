package price

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Closes are the closes of some symbols on the calendar's sessions, each on its
// basis: what BarView says of them, in Go's own memory. They may be read by many at
// once.
type Closes struct {
	Basis
	Sessions []quant.Date // from the first bar of these symbols to the last; none left out
	FirstAt  int          // the calendar's index of the first of Sessions
	// Close[k][s] is the close of Symbols[k] on Sessions[s]. NaN: no bar, or one
	// without a close; HasBar tells them apart.
	Close [][]float64

	stamps  []int64         // times of the transactions that wrote bars
	stampOf [][]int32       // of each bar, an index of stamps, by symbol and session; -1: no bar
	beyond  []strayBar      // bars on days that are no sessions
	nulls   map[[2]int]bool // bars, by symbol and session, whose close is NULL
}

// strayBar is a bar on a day that is no session.
type strayBar struct {
	symbol, stamp int32
	day           quant.Date
}

// HasBar reports whether Symbols[k] has a bar on Sessions[s].
func (c *Closes) HasBar(k, s int) bool { return c.stampOf[k][s] >= 0 }

// manySymbols are so many that reading the bars of all costs less than telling
// them apart in SQL.
const manySymbols = 200

// Extent is how many bars a source has, and from which day to which.
type Extent struct {
	First, Last quant.Date
	Bars        int64
}

// FindExtent finds the extent of a source, "" the table ohlcv. Errors: those of
// factstore.DB.Query.
func FindExtent(ctx context.Context, db *factstore.DB, source string) (e Extent, err error) {
	if source == "" {
		source = factstore.OHLCV
	}
	var first, last *quant.Date
	err = db.QueryRow(ctx, "SELECT min(ts), max(ts), count(*) FROM "+source).Scan(&first, &last, &e.Bars)
	if first != nil {
		e.First, e.Last = *first, *last
	}
	return e, err
}

// Most reports whether so many symbols may be most of the source's: to read the rows of
// all costs less then than to tell them apart in SQL.
func (e Extent) Most(cal *calendar.Calendar, symbols int) bool {
	return int64(symbols)*int64(len(cal.Sessions(e.First, e.Last))) >= e.Bars
}

// ReadCloses reads closes: what Stage and BarView say, in one pass over the bars,
// without staging anything. It holds 12 bytes a bar. Errors: those of Stage.
func ReadCloses(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request) (*Closes, error) {
	source := req.Source
	if source == "" {
		source = factstore.OHLCV
	}
	r := closesReader{index: map[string]int32{}, stampAt: map[int64]int32{}}
	extent, err := FindExtent(ctx, db, source)
	if err != nil {
		return nil, err
	}
	r.findSessions(cal, extent)
	where := "true"
	if req.Symbols != nil {
		symbols := slices.Compact(slices.Sorted(slices.Values(req.Symbols)))
		if !extent.Most(cal, len(symbols)) {
			where = ofSymbols(symbols)
		}
		for k, symbol := range symbols {
			r.index[symbol] = int32(k)
			r.symbols = append(r.symbols, symbolCloses{name: symbol})
		}
		r.chosen = true
	}
	if err := db.Columns(ctx, "SELECT symbol, ts, close, adjusted_close, ingested_at FROM "+source+" WHERE "+where, nil, func(c *factstore.Chunk) error {
		r.take(c)
		return nil
	}); err != nil {
		return nil, err
	}
	if err := r.readAgain(ctx, db, source); err != nil {
		return nil, err
	}
	explained, err := r.explained(ctx, db)
	if err != nil {
		return nil, err
	}
	if !explained {
		if err := db.RequireExplained(ctx, factstore.OHLCV, source, req.condition()); err != nil {
			return nil, err
		}
	}
	c := r.closes(cal)
	c.tellCalendar(cal)
	c.tellOutside(cal)
	if len(c.Empty) > 0 {
		known, err := factstore.Values[quant.Date](ctx, db, "SELECT DISTINCT ts FROM "+source)
		if err != nil {
			return nil, err
		}
		c.tellEmpty(cal, known)
	}
	c.tellUnadjusted()
	if len(c.Unadjusted) > 0 && !req.AcceptRaw {
		// Raw prices are rare, and the rule that refuses some is Stage's.
		if _, err := Stage(ctx, db, cal, req); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// ofSymbols is a condition that the rows of symbols, in byte order, fulfil; those of many
// others may, too.
func ofSymbols(symbols []string) string {
	switch {
	case len(symbols) == 0:
		return "false"
	case len(symbols) < manySymbols:
		return "symbol IN (" + sqltext.Literals(symbols) + ")"
	}
	return "symbol BETWEEN " + sqltext.Literal(symbols[0]) + " AND " + sqltext.Literal(symbols[len(symbols)-1])
}

// condition is which rows of the source a request reads.
func (r Request) condition() string {
	switch {
	case r.Symbols == nil:
		return "true"
	case len(r.Symbols) == 0:
		return "false"
	}
	return "symbol IN (" + sqltext.Literals(slices.Sorted(slices.Values(r.Symbols))) + ")"
}

// closesReader takes bars as they come.
type closesReader struct {
	names   factstore.Names
	symbol  []int32 // by number of a name: index of symbols, -1 if it is not asked for
	index   map[string]int32
	chosen  bool // only the symbols of index are read
	symbols []symbolCloses

	first    quant.Date // of the source
	session  []int32    // by day from first on: sessions since that of first; -1: no session
	sessions []quant.Date
	firstAt  int

	stamps    []int64
	stampAt   map[int64]int32
	lastStamp int64
	lastAt    int32
	unstamped bool
	beyond    []strayBar
	nulls     map[[2]int]bool

	numbers  []int32
	days     []quant.Date
	floats   [2][]float64
	ingested []int64
}

// symbolCloses are the closes of one symbol, a value a session: the adjusted ones until
// a bar shows that the symbol is raw, and then its closes.
type symbolCloses struct {
	name        string
	values      []float64
	stampOf     []int32
	bars, stray int64
	first, last quant.Date
	raw         bool
	again       bool // raw, but some of values are adjusted ones
}

// findSessions finds the sessions of the source.
func (r *closesReader) findSessions(cal *calendar.Calendar, e Extent) {
	if e.Bars == 0 {
		return
	}
	r.first = e.First
	r.session = make([]int32, e.Last-e.First+1)
	for i := range r.session {
		r.session[i] = -1
	}
	r.sessions = cal.Sessions(e.First, e.Last)
	for i, d := range r.sessions {
		r.session[d-e.First] = int32(i)
	}
	if len(r.sessions) > 0 {
		r.firstAt, _ = cal.Index(r.sessions[0])
	}
}

// take takes the bars of a chunk.
func (r *closesReader) take(c *factstore.Chunk) {
	r.numbers = c.AppendNumbers(r.numbers[:0], 0, &r.names)
	r.days = c.AppendDates(r.days[:0], 1)
	for i := range r.floats {
		r.floats[i] = c.AppendFloats(r.floats[i][:0], 2+i)
	}
	r.ingested = c.AppendBigints(r.ingested[:0], 4)
	for len(r.symbol) < len(r.names.List) {
		name := r.names.List[len(r.symbol)]
		k, known := r.index[name]
		if !known {
			if k = -1; !r.chosen {
				k = int32(len(r.symbols))
				r.symbols = append(r.symbols, symbolCloses{name: name})
			}
		}
		r.symbol = append(r.symbol, k)
	}
	closes, adjusted := r.floats[0], r.floats[1]
	for row, number := range r.numbers {
		k := r.symbol[number]
		if k < 0 {
			continue
		}
		x := &r.symbols[k]
		day := r.days[row]
		if x.bars == 0 {
			x.first, x.last = day, day
		}
		x.first, x.last = min(x.first, day), max(x.last, day)
		x.bars++
		// DuckDB takes NaN for more than any number.
		if a, v := adjusted[row], closes[row]; !x.raw && (!(a > 0) && (a == a || c.Null(3, row)) || !(v > 0) && (v == v || c.Null(2, row))) {
			x.raw, x.again = true, x.bars > 1
		}
		stamp := r.ingested[row]
		if stamp != r.lastStamp || r.stamps == nil {
			r.lastStamp = stamp
			at, known := r.stampAt[stamp]
			if !known {
				at = int32(len(r.stamps))
				r.stampAt[stamp] = at
				r.stamps = append(r.stamps, stamp)
			}
			r.lastAt = at
		}
		r.unstamped = r.unstamped || stamp == 0 && c.Null(4, row)
		s := r.session[day-r.first]
		if s < 0 {
			x.stray++
			r.beyond = append(r.beyond, strayBar{k, r.lastAt, day})
			continue
		}
		if x.values == nil {
			x.start(len(r.sessions))
		}
		x.stampOf[s] = r.lastAt
		if x.raw {
			r.takeClose(c, 2, row, k, s, closes[row])
		} else {
			x.values[s] = adjusted[row]
		}
	}
}

// takeClose takes the close of a raw symbol.
func (r *closesReader) takeClose(c *factstore.Chunk, column, row int, k, s int32, v float64) {
	r.symbols[k].values[s] = v
	if v != v && c.Null(column, row) {
		if r.nulls == nil {
			r.nulls = map[[2]int]bool{}
		}
		r.nulls[[2]int{int(k), int(s)}] = true
	}
}

// readAgain reads the closes of the symbols that were found to be raw by a later bar than
// their first. Few are; to keep both prices of all until then would take twice the memory.
func (r *closesReader) readAgain(ctx context.Context, db *factstore.DB, source string) error {
	var again []string
	for _, x := range r.symbols {
		if x.again && x.values != nil {
			again = append(again, x.name)
		}
	}
	if again == nil {
		return nil
	}
	slices.Sort(again)
	return db.Columns(ctx, "SELECT symbol, ts, close FROM "+source+" WHERE "+ofSymbols(again), nil, func(c *factstore.Chunk) error {
		r.numbers = c.AppendNumbers(r.numbers[:0], 0, &r.names)
		r.days = c.AppendDates(r.days[:0], 1)
		r.floats[0] = c.AppendFloats(r.floats[0][:0], 2)
		for row, number := range r.numbers {
			k, s := int32(-1), r.session[r.days[row]-r.first]
			if int(number) < len(r.symbol) { // a name that is new is not asked for
				k = r.symbol[number]
			}
			if k >= 0 && s >= 0 && r.symbols[k].again {
				r.takeClose(c, 2, row, k, s, r.floats[0][row])
			}
		}
		return nil
	})
}

func (x *symbolCloses) start(sessions int) {
	x.values, x.stampOf = make([]float64, sessions), make([]int32, sessions)
	for s := range sessions {
		x.values[s], x.stampOf[s] = math.NaN(), -1
	}
}

// explained reports whether a run wrote each bar that was taken.
func (r *closesReader) explained(ctx context.Context, db *factstore.DB) (bool, error) {
	written, err := db.Committed(ctx, factstore.OHLCV)
	if err != nil || r.unstamped {
		return false, err
	}
	for _, stamp := range r.stamps {
		if _, known := written[stamp]; !known {
			return false, nil
		}
	}
	return true, nil
}

// closes is what was taken, symbols in byte order.
func (r *closesReader) closes(cal *calendar.Calendar) *Closes {
	c := &Closes{stamps: r.stamps}
	order := make([]int, 0, len(r.symbols))
	for k, x := range r.symbols {
		if x.bars > 0 {
			order = append(order, k)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		if r.symbols[a].name < r.symbols[b].name {
			return -1
		}
		return 1
	})
	at := make([]int32, len(r.symbols)) // by index of r.symbols
	for i, k := range order {
		x := &r.symbols[k]
		at[k] = int32(i)
		if i == 0 || x.first < c.First {
			c.First = x.first
		}
		c.Last = max(c.Last, x.last)
		c.Bars += x.bars
		c.Outside += x.stray
		c.Symbols = append(c.Symbols, x.name)
		if x.raw {
			c.Unadjusted = append(c.Unadjusted, x.name)
		}
	}
	from, _ := slices.BinarySearch(r.sessions, c.First)
	to, found := slices.BinarySearch(r.sessions, c.Last)
	if found {
		to++
	}
	if len(order) == 0 {
		from, to = 0, 0
	}
	c.Sessions, c.FirstAt = r.sessions[from:to], r.firstAt+from
	for _, k := range order {
		x := &r.symbols[k]
		if x.values == nil {
			x.start(len(r.sessions))
		}
		c.Close, c.stampOf = append(c.Close, x.values[from:to:to]), append(c.stampOf, x.stampOf[from:to:to])
	}
	for _, b := range r.beyond {
		c.beyond = append(c.beyond, strayBar{at[b.symbol], b.stamp, b.day})
	}
	for cell := range r.nulls {
		if r.symbols[cell[0]].raw {
			if c.nulls == nil {
				c.nulls = map[[2]int]bool{}
			}
			c.nulls[[2]int{int(at[cell[0]]), cell[1] - from}] = true
		}
	}
	traded := make([]bool, len(c.Sessions))
	for _, stamps := range c.stampOf {
		for s, stamp := range stamps {
			if stamp >= 0 {
				traded[s] = true
			}
		}
	}
	for s, is := range traded {
		if !is {
			c.Empty = append(c.Empty, c.Sessions[s])
		}
	}
	return c
}

// Range are the sessions from a day to another, both included, as indices of
// Sessions: the first, and one after the last.
func (c *Closes) Range(from, to quant.Date) (first, end int) {
	first, _ = slices.BinarySearch(c.Sessions, from)
	end, found := slices.BinarySearch(c.Sessions, to)
	if found {
		end++
	}
	return first, max(first, end)
}

// Sum is the digest of symbol, ts and close of the bars on the sessions from one to
// before another, as DB.Digest has it of BarView.
func (c *Closes) Sum(from, end int) *factstore.RowSum {
	parts := make([]factstore.RowSum, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for p := range parts {
		wg.Go(func() {
			sum := &parts[p]
			number := make([]int32, 0, end-from)
			days := make([]quant.Date, 0, end-from)
			values := make([]float64, 0, end-from)
			nulls := make([]bool, 0, end-from)
			for k := p; k < len(c.Symbols); k += len(parts) {
				days, values, nulls, number = days[:0], values[:0], nulls[:0], number[:0]
				for s := from; s < end; s++ {
					if c.stampOf[k][s] >= 0 {
						days, values, number = append(days, c.Sessions[s]), append(values, c.Close[k][s]), append(number, 0)
						nulls = append(nulls, c.nulls[[2]int{k, s}])
					}
				}
				close := factstore.Column{Floats: values, NaNs: true}
				if c.nulls != nil {
					close.Nulls = nulls
				}
				sum.Add(factstore.Column{Texts: c.Symbols[k : k+1], Numbers: number}, factstore.Column{Dates: days}, close)
			}
		})
	}
	wg.Wait()
	for p := range parts[1:] {
		parts[0].Join(&parts[p+1])
	}
	return &parts[0]
}

// Bounds are the first and the last session from one to before another on which any
// symbol has a bar; false: there is none.
func (c *Closes) Bounds(from, end int) (first, last quant.Date, ok bool) {
	low, high := end, -1
	for _, stamps := range c.stampOf {
		for s := from; s < low; s++ {
			if stamps[s] >= 0 {
				low = s
			}
		}
		for s := end - 1; s > high; s-- {
			if stamps[s] >= 0 {
				high = s
			}
		}
	}
	if high < 0 {
		return 0, 0, false
	}
	return c.Sessions[low], c.Sessions[high], true
}

// Stamps are the times of the transactions that wrote the bars from a day to another,
// both included, on sessions or not, in microseconds since 1970 and in no order.
func (c *Closes) Stamps(from, to quant.Date) []int64 {
	used := make([]bool, len(c.stamps))
	first, end := c.Range(from, to)
	for _, stamps := range c.stampOf {
		for _, at := range stamps[first:end] {
			if at >= 0 {
				used[at] = true
			}
		}
	}
	for _, b := range c.beyond {
		if b.day >= from && b.day <= to {
			used[b.stamp] = true
		}
	}
	var list []int64
	for at, is := range used {
		if is {
			list = append(list, c.stamps[at])
		}
	}
	return list
}
