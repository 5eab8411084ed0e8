package curator

import (
	"errors"
	"sync"

	"quant"
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
}

// add takes the rows of a batch: errTwice.
func (c *coverage) add(b *batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, of := c.name, (*symbolDays)(nil)
	for i, d := range b.day[:b.n] {
		if of == nil || c.name == "" && b.symbol[i] != name {
			if c.name == "" {
				name = b.symbol[i]
			}
			if of = c.symbols[name]; of == nil {
				of = &symbolDays{first: day(d), last: day(d), base: int(d) >> 6}
				c.symbols[name] = of
			}
		}
		before := len(of.words)
		twice := of.set(int(d))
		c.words += int64(len(of.words) - before)
		if twice || c.words > maxDayBits/64 {
			return errTwice
		}
	}
	c.rows += int64(b.n)
	return nil
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
