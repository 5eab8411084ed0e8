package expression

import (
	"math"
	"sort"

	"quant"
)

// Bars are those of one symbol in the order of its sessions, on the basis of its
// prices. The slices are of one length; they are read, not kept.
type Bars struct {
	Session                        []int32      // the calendar's index, strictly rising
	Days                           []quant.Date // the day of each session
	Open, High, Low, Close, Volume []float64    // what is no number is missing

	// First is the session of the symbol's first bar, which need not be among these:
	// warm-up counts from it.
	First int32
}

// none is how a column says that a bar has no value. It is a NaN that no operation on
// numbers gives, so that a result that is no number can be told apart.
var none = math.Float64frombits(0x7ff8_0000_0051_7a17)

// IsNone is whether an output has no value because something that it needs is missing:
// warm-up, a session without its bar, too few of a window. Any other NaN is an operation
// that gave no number, such as a division by 0. Neither has a row.
func IsNone(x float64) bool { return math.Float64bits(x) == math.Float64bits(none) }

// without is the outcome of an operation that gave no number.
func without(a, b float64) float64 {
	if IsNone(a) || IsNone(b) {
		return none
	}
	return math.NaN()
}

// grid is the sessions from the first bar that is read to the last: a cell each, so
// that a window is a range of cells.
type grid struct {
	cells int
	base  int32   // the session of cell 0, the first that is read
	warm  int     // the cell of the symbol's first bar, below 0 if it is not among these
	from  int     // the first bar that is read
	cell  []int32 // of each bar from there on
	whole bool    // every cell has its bar
	asked int     // the cell from which values are asked for, which may be after the last
	days  []quant.Date

	blocks map[int][]int32
	spare  [][]int32
}

// maxSessions is how many sessions bars may span.
const maxSessions = 1 << 22

// bind lays bars on the grid, from reach sessions before one that is asked for.
func (g *grid) bind(b *Bars, asked int32, reach int) error {
	n := len(b.Session)
	for _, column := range [][]float64{b.Open, b.High, b.Low, b.Close, b.Volume} {
		if len(column) != n || len(b.Days) != n {
			return quant.Errorf(quant.Invalid, "bars of unequal length")
		}
	}
	for k, edges := range g.blocks {
		g.spare = append(g.spare, edges)
		delete(g.blocks, k)
	}
	g.cells, g.cell = 0, g.cell[:0]
	for i := 1; i < n; i++ {
		if b.Session[i] <= b.Session[i-1] || b.Days[i] <= b.Days[i-1] {
			return quant.Errorf(quant.Invalid, "bars out of order at %s", b.Days[i])
		}
	}
	if g.from = firstFrom(b.Session, int64(asked)-int64(reach)); g.from == n {
		return nil
	}
	// A session without a bar may be the first that is read.
	base := min(int64(b.Session[g.from]), max(int64(b.First), int64(asked)-int64(reach)))
	span := int64(b.Session[n-1]) - base + 1
	if span > maxSessions {
		return quant.Errorf(quant.Invalid, "bars over %d sessions", span)
	}
	g.base, g.cells, g.asked, g.warm = int32(base), int(span), int(int64(asked)-base), int(int64(b.First)-base)
	for _, session := range b.Session[g.from:] {
		g.cell = append(g.cell, session-g.base)
	}
	g.whole = len(g.cell) == g.cells
	g.days = b.Days[g.from:]
	return nil
}

// firstFrom is the first of the sessions that is not before one.
func firstFrom(sessions []int32, from int64) int {
	return sort.Search(len(sessions), func(i int) bool { return int64(sessions[i]) >= from })
}

// edges are where the blocks begin that a window of n sessions is summed over: whole
// weeks from a Monday on, as many as hold at most n trading days of five a week. They
// follow from the days alone, so that the order of a sum depends on its window and not
// on where the bars begin or end. A session without a bar is in the block of the next
// bar.
func (g *grid) edges(n int) []int32 {
	weeks := max(1, n/5)
	if e := g.blocks[weeks]; e != nil {
		return e
	}
	var e []int32
	if k := len(g.spare); k > 0 {
		e, g.spare = g.spare[k-1][:0], g.spare[:k-1]
	}
	e = append(e, 0)
	end := quant.Date(math.MinInt32)
	for i, day := range g.days {
		if day < end {
			continue
		}
		week := (int(day)+3)/7 - btoi((int(day)+3)%7 < 0)
		block := week/weeks - btoi(week%weeks < 0)
		end = quant.Date(7*weeks*(block+1) - 3)
		if i > 0 {
			e = append(e, g.cell[i-1]+1)
		}
	}
	e = append(e, int32(g.cells))
	if g.blocks == nil {
		g.blocks = map[int][]int32{}
	}
	g.blocks[weeks] = e
	return e
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// blank writes none where a session has no bar.
func (g *grid) blank(x []float64) {
	if g.whole {
		return
	}
	at := 0
	for _, c := range g.cell {
		for ; at < int(c); at++ {
			x[at] = none
		}
		at++
	}
}
