package curator

import (
	"context"
	"errors"
	"sync"

	"quant"
	"quant/internal/factstore"
)

// errTwice is what coverage finds: a day of a symbol stands twice, or so many days
// are spread so wide that it is not looked for.
var errTwice = errors.New("a day may stand twice")

// coverage is which days of which symbols the rows of a file are about. It is for
// several goroutines.
type coverage struct {
	name    string // the symbol of every row; "": each says its own
	mu      sync.Mutex
	rows    int64
	words   int64 // of all symbols
	symbols map[string]*symbolDays
}

func newCoverage(name string) *coverage {
	return &coverage{name: name, symbols: map[string]*symbolDays{}}
}

// symbolDays are the days of a symbol, a bit each.
type symbolDays struct {
	n           int64
	first, last day
	base        int // of the first word, in words since 1970-01-01
	words       []uint64
	idle, raw   dayCount // without volume; without an adjusted close
}

// dayCount is a number of days, the first of them and the last.
type dayCount struct {
	n           int64
	first, last day
}

func (c *dayCount) add(d day) {
	if c.n == 0 {
		c.first, c.last = d, d
	}
	c.n++
	c.first, c.last = min(c.first, d), max(c.last, d)
}

// add takes the rows of a batch: errTwice.
func (c *coverage) add(b *batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var of *symbolDays
	list := make([]*symbolDays, len(b.names.List))
	traded, adjusted := b.number[volume-open], b.number[adjustedClose-open]
	for i, d := range b.day[:b.n] {
		switch {
		case c.name == "":
			k := b.symbol[i]
			if list[k] == nil {
				list[k] = c.of(b.names.List[k], day(d))
			}
			of = list[k]
		case of == nil:
			of = c.of(c.name, day(d))
		}
		if !c.set(of, day(d)) {
			return errTwice
		}
		if len(traded) == 0 || !(traded[i] > 0) {
			of.idle.add(day(d))
		}
		if len(adjusted) == 0 || !(adjusted[i] > 0) {
			of.raw.add(day(d))
		}
	}
	c.rows += int64(b.n)
	return nil
}

// addRows takes rows of a relation with ohlcv's columns: errTwice, also where a day
// lies outside first to last.
func (c *coverage) addRows(ctx context.Context, db *factstore.DB, relation string, first, last day) error {
	var names factstore.Names
	var list []*symbolDays // by the number of the name
	var number []int32
	var days []quant.Date
	var idle, raw []bool
	each := func(chunk *factstore.Chunk) error {
		number, days = chunk.AppendNumbers(number[:0], 0, &names), chunk.AppendDates(days[:0], 1)
		idle, raw = chunk.AppendBooleans(idle[:0], 2), chunk.AppendBooleans(raw[:0], 3)
		for i, k := range number {
			d := day(days[i])
			if d < first || d > last {
				return errTwice
			}
			if int(k) == len(list) {
				list = append(list, c.of(names.List[k], d))
			}
			of := list[k]
			if !c.set(of, d) {
				return errTwice
			}
			if idle[i] {
				of.idle.add(d)
			}
			if raw[i] {
				of.raw.add(d)
			}
		}
		c.rows += int64(len(number))
		return nil
	}
	return db.ReadAhead(ctx, func() error {
		return db.Columns(ctx, "SELECT symbol, ts, volume = 0, adjusted_close IS NULL FROM "+relation, nil, each)
	})
}

// of are the days of a symbol, of which d is one.
func (c *coverage) of(name string, d day) *symbolDays {
	of := c.symbols[name]
	if of == nil {
		of = &symbolDays{first: d, last: d, base: int(d) >> 6}
		c.symbols[name] = of
	}
	return of
}

// set notes a day. false: it was noted before, or there are too many.
func (c *coverage) set(of *symbolDays, d day) bool {
	before := len(of.words)
	twice := of.set(int(d))
	c.words += int64(len(of.words) - before)
	return !twice && c.words <= maxDayBits/64
}

// set notes a day, and reports whether it was noted before.
func (s *symbolDays) set(d int) (twice bool) {
	at := d>>6 - s.base
	if at < 0 || at >= len(s.words) {
		s.reach(d >> 6)
		at = d>>6 - s.base
	}
	bit := uint64(1) << (d & 63)
	twice = s.words[at]&bit != 0
	s.words[at] |= bit
	s.n++
	s.first, s.last = min(s.first, day(d)), max(s.last, day(d))
	return twice
}

// reach makes room for a word, in front with as much again, for a file that begins
// with the last day.
func (s *symbolDays) reach(word int) {
	if word >= s.base {
		for len(s.words) <= word-s.base {
			s.words = append(s.words, 0)
		}
		return
	}
	front := s.base - word + len(s.words)
	s.words = append(make([]uint64, front, front+len(s.words)), s.words...)
	s.base -= front
}

// fill puts what was found into the report of one file, and the number of bars of
// each symbol into counts.
func (c *coverage) fill(r *Report, counts map[string]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.symbols {
		counts[name] = s.n
		r.add(name, dayText(quant.Date(s.first)), dayText(quant.Date(s.last)))
	}
	r.RowsRead, r.Files[0].RowsRead = c.rows, c.rows
}
