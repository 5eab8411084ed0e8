// Package chart draws lines: as a picture, as SVG, in letters. It knows no
// database, and what the lines are is its callers'.
package chart

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Plot is a chart without a size: its lines, areas and ticks lie in a unit
// square whose origin is the upper left corner, so that the page and the
// picture draw the same thing.
type Plot struct {
	ID, Title, Desc string
	Lines           []Line
	Areas           []Area
	X, Y            []Tick
	Zero            *float64 // where a base line is drawn
	Log             bool
}

// Point is a place in the unit square.
type Point struct{ X, Y float64 }

// Line goes through points in their order.
type Line struct {
	Class, Name string
	Points      []Point
	Filled      bool // down to the base line
}

// Area lies between two lines with the same X.
type Area struct {
	Class, Name string
	Upper       []Point
	Lower       []Point
}

// Tick is a place on an axis, and what stands there.
type Tick struct {
	At    float64
	Label string
}

// columns is how many columns of a line are kept apart; each shows its first,
// lowest, highest and last value, so that no extreme is lost.
const columns = 400

// Reduce keeps of a line what a chart can show: of more than 1600 points no extreme
// is lost.
func Reduce(points []Point) []Point {
	if len(points) <= 4*columns {
		return points
	}
	var out []Point
	for c := range columns {
		part := points[c*len(points)/columns : (c+1)*len(points)/columns]
		low, high := 0, 0
		for i, p := range part {
			if p.Y > part[low].Y {
				low = i
			}
			if p.Y < part[high].Y {
				high = i
			}
		}
		keep := []int{0, low, high, len(part) - 1}
		slices.Sort(keep)
		for _, i := range slices.Compact(keep) {
			out = append(out, part[i])
		}
	}
	return out
}

// Axis maps values to the unit square, the highest at 0. Low and High are its
// ends, as logarithms if Log.
type Axis struct {
	Low, High float64
	Log       bool
}

// NewAxis shows these values with a little room around them; what is no finite
// number is passed over. With log they must be positive.
func NewAxis(log bool, values ...float64) Axis {
	a := Axis{math.Inf(1), math.Inf(-1), log}
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			a.Low, a.High = min(a.Low, v), max(a.High, v)
		}
	}
	if a.Low > a.High {
		a.Low, a.High = 0, 1
	}
	if log {
		a.Low, a.High = math.Log(a.Low), math.Log(a.High)
	}
	if a.Low == a.High {
		spread := max(math.Abs(a.Low)*0.01, 1e-9)
		if log {
			spread = 0.01
		}
		a.Low, a.High = a.Low-spread, a.High+spread
	}
	margin := (a.High - a.Low) * 0.03
	a.Low, a.High = a.Low-margin, a.High+margin
	return a
}

// At is where a value lies.
func (a Axis) At(v float64) float64 {
	if a.Log {
		v = math.Log(v)
	}
	return (a.High - v) / (a.High - a.Low)
}

// Ticks are round values on the axis, about as many as wanted.
func (a Axis) Ticks(want int, label func(float64) string) []Tick {
	low, high := a.ends()
	var out []Tick
	for _, v := range a.round(want) {
		if v >= low && v <= high {
			out = append(out, Tick{a.At(v), label(v)})
		}
	}
	return out
}

// WithTopTick is the axis, made higher up to its next round value, so that one of
// about so many ticks stands at the top. Where a higher end would have other round
// values, the best of a few tries is taken.
func (a Axis) WithTopTick(want int) Axis {
	for range 4 {
		_, high := a.ends()
		values := a.round(want)
		at := slices.IndexFunc(values, func(v float64) bool { return v >= high })
		if at < 0 || math.IsInf(values[at], 0) || values[at] == high {
			return a
		}
		if a.High = values[at]; a.Log {
			// Past the last bit, so that the value itself is within the axis.
			a.High = math.Nextafter(math.Log(values[at]), math.Inf(1))
			for math.Exp(a.High) < values[at] {
				a.High = math.Nextafter(a.High, math.Inf(1))
			}
			if slices.Contains(a.round(want), values[at]) {
				return a
			}
		}
	}
	return a
}

// ends are the ends of the axis as values.
func (a Axis) ends() (low, high float64) {
	if a.Log {
		return math.Exp(a.Low), math.Exp(a.High)
	}
	return a.Low, a.High
}

// round are about as many round values as wanted, in order, that reach over the
// axis on both sides.
func (a Axis) round(want int) (values []float64) {
	low, high := a.ends()
	if a.Log && high/low > 20 {
		first, last := max(math.Floor(math.Log10(low)), -324), min(math.Ceil(math.Log10(high)), 309)
		step, between := 1.0, []float64{1, 2, 5}
		if decades := last - first; decades > float64(2*want) {
			step, between = math.Ceil(decades/float64(want)), []float64{1}
		}
		for k := first; k < last+step; k += step {
			for _, m := range between {
				values = append(values, m*math.Pow(10, k))
			}
		}
		return values
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(want))))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if step*m*float64(want) >= high-low {
			step *= m
			break
		}
	}
	first := math.Ceil(low / step)
	for k := range 2*want + 2 { // bounded: of values without a digit to spare there is no next
		values = append(values, (first+float64(k))*step)
	}
	return values
}

// Compact is an amount in three digits and a letter: 1.25M.
func Compact(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size*0.9999999 {
			return Plain(Round(v/unit.size, 3)) + unit.name
		}
	}
	return Plain(Round(v, 4))
}

// Round rounds to so many digits after the point.
func Round(v float64, digits int) float64 {
	scale := math.Pow(10, float64(digits))
	return math.Round(v*scale) / scale
}

// Plain writes v in as many decimals as it takes, with a true minus sign.
func Plain(v float64) string { return Minus(Unsigned(strconv.FormatFloat(v, 'f', -1, 64))) }

// Unsigned takes the sign from a zero.
func Unsigned(text string) string {
	if !strings.ContainsAny(text, "123456789") {
		return strings.TrimPrefix(text, "-")
	}
	return text
}

// Minus sets a true minus sign.
func Minus(text string) string { return strings.Replace(text, "-", "\u2212", 1) }
