package price

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Bars are bars on sessions as BarView has them, in Go's own memory: symbol after
// symbol, each in the order of its sessions. A NULL is NaN.
type Bars struct {
	Symbols []string
	From    []int   // where a symbol's bars begin; one more than there are symbols: where they end
	Session []int32 // the calendar's own index
	Days    []quant.Date

	Open, High, Low, Close, Volume []float64 // on the symbol's basis

	symbol   []int32
	adjusted []float64
}

// Read reads into bars those of some symbols of the basis that Stage gave, which must
// be in byte order, from a day on (0: all). What bars held is gone; its memory is used
// again. req is that of Stage.
func (b Basis) Read(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request, symbols []string, since quant.Date, bars *Bars) error {
	source := req.Source
	if source == "" {
		source = factstore.OHLCV
	}
	bars.reset(symbols)
	if since == 0 {
		bars.grow(int(b.Bars/int64(max(1, len(b.Symbols)))+1) * len(symbols))
	}
	if len(symbols) == 0 {
		return nil
	}
	where := "symbol BETWEEN " + sqltext.Literal(symbols[0]) + " AND " + sqltext.Literal(symbols[len(symbols)-1])
	if since != 0 {
		where += fmt.Sprintf(" AND ts >= DATE '%s'", since)
	}
	number := make(map[string]int32, len(symbols))
	for i, s := range symbols {
		number[s] = int32(i)
	}
	sessions := sessionsByDay(cal, b.First, b.Last)
	last, lastN := "", int32(-1)
	floats := []*[]float64{&bars.Open, &bars.High, &bars.Low, &bars.Close, &bars.Volume, &bars.adjusted}
	err := db.Columns(ctx, "SELECT symbol, ts, open, high, low, close, volume, adjusted_close FROM "+source+" WHERE "+where, nil, func(c *factstore.Chunk) error {
		from := len(bars.symbol)
		bars.Days = c.AppendDates(bars.Days, 1)
		for k, x := range floats {
			*x = c.AppendFloats(*x, 2+k)
		}
		n := from
		for row := range c.Len() {
			if text := c.Text(0, row); text != last {
				known := false
				if lastN, known = number[text]; !known {
					lastN = -1
				}
				last = string([]byte(text))
			}
			day := bars.Days[from+row]
			if lastN < 0 || day < b.First || day > b.Last || sessions[day-b.First] < 0 {
				continue
			}
			bars.symbol = append(bars.symbol, lastN)
			bars.Session = append(bars.Session, sessions[day-b.First])
			if n != from+row {
				bars.Days[n] = day
				for _, x := range floats {
					(*x)[n] = (*x)[from+row]
				}
			}
			n++
		}
		bars.Days = bars.Days[:n]
		for _, x := range floats {
			*x = (*x)[:n]
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.settle(bars)
	return nil
}

// settle orders bars as they are stored and brings them on the basis.
func (b Basis) settle(bars *Bars) {
	bars.sort()
	raw := map[string]bool{}
	for _, s := range b.Unadjusted {
		raw[s] = true
	}
	for k, s := range bars.Symbols {
		if !raw[s] {
			bars.adjust(bars.From[k], bars.From[k+1])
		}
	}
}

// Stored are bars as they are stored, for Basis.Place: who has read them for something
// else need not read them again. The zero value has none.
type Stored struct{ bars Bars }

// StoredColumns are what Stored.Add takes of a row, next to one another.
const StoredColumns = "open, high, low, close, volume, adjusted_close"

// Room makes room for so many bars.
func (s *Stored) Room(n int) { s.bars.grow(n) }

// Add adds the bars of a chunk: the numbers of their symbols, their days, and
// StoredColumns, the first of which is column at.
func (s *Stored) Add(c *factstore.Chunk, numbers []int32, days []quant.Date, at int) {
	b := &s.bars
	b.symbol, b.Days = append(b.symbol, numbers...), append(b.Days, days...)
	for k, x := range []*[]float64{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.adjusted} {
		*x = c.AppendFloats(*x, at+k)
	}
}

// Place is Read from the first day on of the bars that stored has, in the memory where
// they are; it has none afterwards. names are those of the numbers of symbols.
func (b Basis) Place(stored *Stored, names []string, cal *calendar.Calendar, symbols []string, bars *Bars) {
	*bars, stored.bars = stored.bars, Bars{}
	bars.Symbols, bars.From = symbols, append(bars.From[:0], 0)
	place := make([]int32, len(names))
	for k, name := range names {
		place[k] = -1
		if at, wanted := slices.BinarySearch(symbols, name); wanted {
			place[k] = int32(at)
		}
	}
	sessions := sessionsByDay(cal, b.First, b.Last)
	floats := []*[]float64{&bars.Open, &bars.High, &bars.Low, &bars.Close, &bars.Volume, &bars.adjusted}
	n := 0
	for i, number := range bars.symbol {
		day, at := bars.Days[i], place[number]
		if at < 0 || day < b.First || day > b.Last || sessions[day-b.First] < 0 {
			continue
		}
		bars.symbol[n], bars.Session = at, append(bars.Session, sessions[day-b.First])
		if n != i {
			bars.Days[n] = day
			for _, x := range floats {
				(*x)[n] = (*x)[i]
			}
		}
		n++
	}
	bars.symbol, bars.Days = bars.symbol[:n], bars.Days[:n]
	for _, x := range floats {
		*x = (*x)[:n]
	}
	b.settle(bars)
}

// sessionsByDay is the index of each day's session from a first day on, -1 where there
// is none.
func sessionsByDay(cal *calendar.Calendar, first, last quant.Date) []int32 {
	if last < first {
		return nil
	}
	list := make([]int32, last-first+1)
	for i := range list {
		list[i] = -1
	}
	for _, d := range cal.Sessions(first, last) {
		i, _ := cal.Index(d)
		list[d-first] = int32(i)
	}
	return list
}

func (b *Bars) reset(symbols []string) {
	b.Symbols, b.From = symbols, append(b.From[:0], 0)
	b.Session, b.Days, b.symbol = b.Session[:0], b.Days[:0], b.symbol[:0]
	for _, x := range []*[]float64{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.adjusted} {
		*x = (*x)[:0]
	}
}

// grow makes room for so many bars, where there are none.
func (b *Bars) grow(n int) {
	b.Session, b.Days, b.symbol = room(b.Session, n), room(b.Days, n), room(b.symbol, n)
	for _, x := range []*[]float64{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.adjusted} {
		*x = room(*x, n)
	}
}

// room is an empty list with room for n. Memory that is made is fresh from the operating
// system, which has cleared it; slices.Grow would clear it again.
func room[T any](list []T, n int) []T {
	if cap(list) >= n {
		return list[:0]
	}
	return make([]T, 0, n)
}

// sort brings the bars into their order. They mostly stand in it already, but for those
// of the newest days, which stand after all others.
func (b *Bars) sort() {
	n := len(b.symbol)
	for i := 1; i < n; i++ {
		if !b.before(i-1, i) {
			if n-i <= n/fewLate {
				b.insert(i)
			} else {
				b.reorder()
			}
			break
		}
	}
	at := 0
	for s := range b.Symbols {
		for at < n && int(b.symbol[at]) == s {
			at++
		}
		b.From = append(b.From, at)
	}
}

func (b *Bars) before(i, j int) bool {
	return b.symbol[i] < b.symbol[j] || b.symbol[i] == b.symbol[j] && b.Session[i] < b.Session[j]
}

// fewLate is the share of the bars, one in so many, up to which those out of order are
// put in their places one by one, in the memory where they are.
const fewLate = 16

// insert puts the bars from sorted on in their places among those before, which are in
// order.
func (b *Bars) insert(sorted int) {
	order := make([]int, len(b.symbol)-sorted)
	for i := range order {
		order[i] = sorted + i
	}
	sort.SliceStable(order, func(i, j int) bool { return b.before(order[i], order[j]) })
	places := make([]int, len(order)) // how many of those in order come before
	for k, late := range order {
		places[k] = sort.Search(sorted, func(i int) bool { return b.before(late, i) })
	}
	inserted(b.symbol, order, places)
	inserted(b.Session, order, places)
	inserted(b.Days, order, places)
	for _, x := range []*[]float64{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.adjusted} {
		inserted(*x, order, places)
	}
}

// inserted moves the last elements of list, in the order given, to stand behind so many
// of the others each.
func inserted[T any](list []T, order, places []int) {
	late := make([]T, len(order))
	for k, from := range order {
		late[k] = list[from]
	}
	end := len(list) - len(late)
	for k := len(late) - 1; k >= 0; k-- {
		copy(list[places[k]+k+1:], list[places[k]:end])
		list[places[k]+k] = late[k]
		end = places[k]
	}
}

func (b *Bars) reorder() {
	n := len(b.symbol)
	next := make([]int, len(b.Symbols)+1)
	for _, s := range b.symbol {
		next[s+1]++
	}
	for s := range b.Symbols {
		next[s+1] += next[s]
	}
	order := make([]int32, n)
	for i, s := range b.symbol {
		order[next[s]] = int32(i)
		next[s]++
	}
	for from := 0; from < n; {
		to := from + 1
		sorted := true
		for ; to < n && b.symbol[order[to]] == b.symbol[order[from]]; to++ {
			sorted = sorted && b.Session[order[to-1]] < b.Session[order[to]]
		}
		if !sorted {
			part := order[from:to]
			sort.SliceStable(part, func(i, j int) bool { return b.Session[part[i]] < b.Session[part[j]] })
		}
		from = to
	}
	b.symbol, b.Session, b.Days = permuted(b.symbol, order), permuted(b.Session, order), permuted(b.Days, order)
	for _, x := range []*[]float64{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.adjusted} {
		*x = permuted(*x, order)
	}
}

func permuted[T any](list []T, order []int32) []T {
	out := slices.Grow([]T(nil), cap(list))[:len(list)]
	for i, from := range order {
		out[i] = list[from]
	}
	return out
}

// adjust brings bars to the adjusted basis, in the operations of BarView.
func (b *Bars) adjust(from, to int) {
	open, high, low, volume := b.Open[from:to], b.High[from:to], b.Low[from:to], b.Volume[from:to]
	close, adjusted := b.Close[from:to], b.adjusted[from:to]
	for i, c := range close {
		a := adjusted[i]
		f := a / c
		open[i] *= f
		high[i] *= f
		low[i] *= f
		volume[i] *= c / a
		close[i] = a
	}
}
