package chart

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// Series is a line of any number of values that keeps only what a chart can
// show: x is cut into columns, of which each keeps its first, lowest, highest and
// last value, so that no extreme is lost. As more columns are needed than there
// is room for, they become twice as wide.
type Series struct {
	Name string

	room    int
	width   float64
	columns map[float64]*column
	added   int64
}

// column is what is kept of the values of one column, and which came when.
type column struct{ first, low, high, last value }

type value struct {
	Point
	nth int64
}

// NewSeries makes a line that keeps up to so many columns, each as wide as unit
// at first: whole numbers of units are all kept as long as there is room.
func NewSeries(name string, columns int, unit float64) *Series {
	return &Series{Name: name, room: max(columns, 2), width: unit, columns: map[float64]*column{}}
}

// Add takes the next value; one that is no finite number is passed over.
func (s *Series) Add(x, y float64) {
	if x-x != 0 || y-y != 0 {
		return
	}
	s.added++
	v := value{Point{x, y}, s.added}
	s.put(column{v, v, v, v})
	for len(s.columns) > s.room {
		s.width *= 2
		old := s.columns
		s.columns = make(map[float64]*column, s.room)
		for _, c := range old {
			s.put(*c)
		}
	}
}

func (s *Series) put(c column) {
	at := math.Floor(c.first.X / s.width)
	into := s.columns[at]
	if into == nil {
		s.columns[at] = &c
		return
	}
	if c.first.before(into.first) {
		into.first = c.first
	}
	if into.last.before(c.last) {
		into.last = c.last
	}
	if c.low.Y < into.low.Y || c.low.Y == into.low.Y && c.low.before(into.low) {
		into.low = c.low
	}
	if c.high.Y > into.high.Y || c.high.Y == into.high.Y && c.high.before(into.high) {
		into.high = c.high
	}
}

func (v value) before(w value) bool { return v.X < w.X || v.X == w.X && v.nth < w.nth }

// Added is how many values were taken.
func (s *Series) Added() int64 { return s.added }

// Points are the values that are kept, by x, those of one x as they came.
func (s *Series) Points() []Point {
	var extremes []value
	for _, at := range slices.Sorted(maps.Keys(s.columns)) {
		c := s.columns[at]
		extremes = append(extremes, c.first, c.low, c.high, c.last)
	}
	slices.SortFunc(extremes, func(a, b value) int {
		return cmp.Or(cmp.Compare(a.X, b.X), cmp.Compare(a.nth, b.nth))
	})
	extremes = slices.CompactFunc(extremes, func(a, b value) bool { return a.nth == b.nth })
	points := make([]Point, len(extremes))
	for i, v := range extremes {
		points[i] = v.Point
	}
	return points
}
