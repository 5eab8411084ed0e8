package expression

import (
	"math"
	"slices"
	"sync"

	"quant"
)

// Sections holds what the cross-sections of a program compare, of all symbols: 4 bytes a
// bar, and 8 a bar for each function over a cross-section. For each stage the caller
// lets workers Collect every symbol, in any order and at once, and then calls Compare;
// after the last stage Worker.ComputeWith gives the features.
//
//	s := p.NewSections(len(symbols))
//	for stage := range p.Stages() {
//		for k := range symbols { worker.Collect(s, stage, k, sector[k], &bars, session) } // any number of goroutines
//		for part := range parts { s.Compare(stage, part, parts) }                         // likewise
//	}
//	for k := range symbols { worker.ComputeWith(s, k, &bars, start, out) }                // likewise
//
// session is the first that features are asked for of any symbol, and the same for all.
type Sections struct {
	p       *Program
	symbols []symbolSections

	once    sync.Once
	err     error
	first   []int // of each session from the first one: where its members begin
	members []member
}

type symbolSections struct {
	session []int32
	sector  int32
	columns [][]float64 // by the program's sections
}

type member struct{ symbol, row int32 }

// Stages is how often the symbols are compared with each other before the features can
// be computed: 0 of a program without cross-sections.
func (p *Program) Stages() int { return len(p.stages) - 1 }

// NewSections makes room for the cross-sections of so many symbols.
func (p *Program) NewSections(symbols int) *Sections {
	return &Sections{p: p, symbols: make([]symbolSections, symbols)}
}

// Collect computes what a stage compares of a symbol, for features from a session on.
// sector is a number that symbols of one sector share, below 0 of a symbol without one: it
// has no value where symbols are grouped by sector. The bars must be all that there are
// from Program.Lookback sessions before the session on.
func (w *Worker) Collect(s *Sections, stage, symbol int, sector int32, b *Bars, session int32) error {
	st := w.p.stages[stage]
	if err := w.bind(b, session, st, s, symbol); err != nil {
		return err
	}
	sy := &s.symbols[symbol]
	if stage == 0 {
		sy.session = slices.Clone(b.Session[w.grid.from:])
		sy.sector = sector
		sy.columns = make([][]float64, len(w.p.sections))
	}
	if w.grid.cells == 0 {
		sy.session = nil
		return nil
	}
	var mine []int
	for k := range w.p.sections {
		if w.p.sections[k].stage == stage {
			mine = append(mine, k)
		}
	}
	return w.run(func(k int, x []float64) {
		section := &w.p.sections[mine[k]]
		column := make([]float64, len(sy.session))
		for i, c := range w.grid.cell {
			if int(c) < w.grid.asked-section.need {
				column[i] = none
				continue
			}
			column[i] = x[c]
		}
		sy.columns[mine[k]] = column
	})
}

// ComputeWith is Compute of a program with cross-sections, of a symbol whose every stage
// has been compared. start is not before the session of Collect.
func (w *Worker) ComputeWith(s *Sections, symbol int, b *Bars, start int, out [][]float64) error {
	return w.compute(b, start, out, s, symbol)
}

// column lays what a section gave for a symbol on the grid.
func (s *Sections) column(k, symbol int, g *grid, x []float64) {
	if !g.whole {
		for i := range x {
			x[i] = none
		}
	}
	sy := &s.symbols[symbol]
	column := sy.columns[k][firstFrom(sy.session, int64(g.base+g.cell[0])):]
	for i, c := range g.cell {
		x[c] = column[i]
	}
}

// Compare compares the symbols of a stage: the part-th of so many equal parts of the
// sessions. Parts may be compared at once, and all must be before the next stage.
// Symbols are summed in their order.
func (s *Sections) Compare(stage, part, parts int) error {
	if s.once.Do(s.index); s.err != nil {
		return s.err
	}
	var c comparison
	for session := part; session+1 < len(s.first); session += parts {
		members := s.members[s.first[session]:s.first[session+1]]
		for k, section := range s.p.sections {
			if section.stage == stage {
				c.section(s, k, section, members)
			}
		}
	}
	return nil
}

// index lists the members of each session.
func (s *Sections) index() {
	low, high, rows := int32(math.MaxInt32), int32(math.MinInt32), 0
	for i := range s.symbols {
		if list := s.symbols[i].session; len(list) > 0 {
			low, high, rows = min(low, list[0]), max(high, list[len(list)-1]), rows+len(list)
		}
	}
	if rows == 0 {
		return
	}
	if int64(high)-int64(low) > maxSessions {
		s.err = quant.Errorf(quant.Invalid, "bars over %d sessions", int64(high)-int64(low))
		return
	}
	s.first = make([]int, high-low+2)
	for i := range s.symbols {
		for _, session := range s.symbols[i].session {
			s.first[session-low+1]++
		}
	}
	for i := 1; i < len(s.first); i++ {
		s.first[i] += s.first[i-1]
	}
	s.members = make([]member, rows)
	at := slices.Clone(s.first)
	for i := range s.symbols {
		for row, session := range s.symbols[i].session {
			s.members[at[session-low]] = member{int32(i), int32(row)}
			at[session-low]++
		}
	}
}

type entry struct {
	value  float64
	cell   *float64
	sector int32
}

// comparison is the memory of one goroutine that compares.
type comparison struct {
	entries []entry
	sorted  []float64
}

// section computes a function over the members of one session, in place.
func (c *comparison) section(s *Sections, k int, sec section, members []member) {
	c.entries = c.entries[:0]
	for _, m := range members {
		symbol := &s.symbols[m.symbol]
		cell := &symbol.columns[k][m.row]
		if *cell != *cell {
			continue
		}
		if sec.grouped && symbol.sector < 0 {
			*cell = none
			continue
		}
		c.entries = append(c.entries, entry{*cell, cell, symbol.sector})
	}
	if !sec.grouped {
		c.group(sec.kernel, c.entries)
		return
	}
	slices.SortStableFunc(c.entries, func(a, b entry) int { return int(a.sector) - int(b.sector) })
	for from, to := 0, 0; from < len(c.entries); from = to {
		for to = from; to < len(c.entries) && c.entries[to].sector == c.entries[from].sector; to++ {
		}
		c.group(sec.kernel, c.entries[from:to])
	}
}

func (c *comparison) group(k kernel, list []entry) {
	if len(list) == 0 {
		return
	}
	if k == kCSRank || k == kCSMed {
		c.sorted = c.sorted[:0]
		for _, e := range list {
			c.sorted = append(c.sorted, e.value)
		}
		slices.Sort(c.sorted)
		if k == kCSMed {
			m := quantile(c.sorted, 0.5)
			for _, e := range list {
				*e.cell = m
			}
			return
		}
		for _, e := range list {
			place, equal := below(c.sorted, e.value), 1
			for place+equal < len(c.sorted) && c.sorted[place+equal] == e.value {
				equal++
			}
			*e.cell = (float64(place) + float64(equal+1)/2) / float64(len(list))
		}
		return
	}
	n, ref, sum := float64(len(list)), list[0].value, 0.0
	for _, e := range list {
		sum += e.value - ref
	}
	centre, squares := ref+sum/n, 0.0
	for _, e := range list {
		d := e.value - centre
		squares += float64(d * d)
	}
	deviation := math.Sqrt(squares / (n - 1))
	for _, e := range list {
		var r float64
		switch k {
		case kCSMean:
			r = centre
		case kCSDemean:
			r = e.value - centre
		case kCSStd:
			r = deviation
		default: // kCSZScore
			r = (e.value - centre) / deviation
		}
		if !(math.Abs(r) < limit) {
			r = math.NaN()
		}
		*e.cell = r
	}
}
