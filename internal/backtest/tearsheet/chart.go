package tearsheet

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"quant"
)

// plot is a chart without a size: its lines, areas and ticks lie in a unit
// square whose origin is the upper left corner, so that the page and the
// picture draw the same thing.
type plot struct {
	ID, Title, Desc string
	Lines           []line
	Areas           []area
	X, Y            []tick
	Zero            *float64 // where a base line is drawn
	Log             bool
}

type point struct{ X, Y float64 }

type line struct {
	Class, Name string
	Points      []point
	Filled      bool // down to the base line
}

// area lies between two lines with the same X.
type area struct {
	Class, Name string
	Upper       []point
	Lower       []point
}

type tick struct {
	At    float64
	Label string
}

// columns is how many columns of a line are kept apart; each shows its first,
// lowest, highest and last value, so that no extreme is lost.
const columns = 400

// reduce keeps of a line what a chart can show.
func reduce(points []point) []point {
	if len(points) <= 4*columns {
		return points
	}
	var out []point
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

// axis maps values to the unit square, the highest at 0.
type axis struct {
	low, high float64
	log       bool
}

func newAxis(log bool, values ...float64) axis {
	a := axis{math.Inf(1), math.Inf(-1), log}
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			a.low, a.high = min(a.low, v), max(a.high, v)
		}
	}
	if a.low > a.high {
		a.low, a.high = 0, 1
	}
	if a.low == a.high {
		spread := max(math.Abs(a.low)*0.01, 1e-9)
		a.low, a.high = a.low-spread, a.high+spread
	}
	if log {
		a.low, a.high = math.Log(a.low), math.Log(a.high)
	}
	margin := (a.high - a.low) * 0.03
	a.low, a.high = a.low-margin, a.high+margin
	return a
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = math.Log(v)
	}
	return (a.high - v) / (a.high - a.low)
}

// ticks are round values on the axis, about as many as wanted.
func (a axis) ticks(want int, label func(float64) string) []tick {
	low, high := a.low, a.high
	if a.log {
		low, high = math.Exp(low), math.Exp(high)
	}
	var values []float64
	if a.log && high/low > 20 {
		for k := math.Floor(math.Log10(low)); k <= math.Ceil(math.Log10(high)); k++ {
			for _, m := range []float64{1, 2, 5} {
				values = append(values, m*math.Pow(10, k))
			}
		}
	} else {
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
	}
	var out []tick
	for _, v := range values {
		if v >= low && v <= high {
			out = append(out, tick{a.at(v), label(v)})
		}
	}
	return out
}

// span maps days to the unit square.
type span struct{ first, last quant.Date }

func (s span) at(d quant.Date) float64 {
	if s.last == s.first {
		return 0
	}
	return float64(d-s.first) / float64(s.last-s.first)
}

// ticks are the first days of months or years, at most eight.
func (s span) ticks() []tick {
	months := []int{1, 2, 3, 6, 12, 24, 60, 120, 240}
	total := float64(s.last-s.first) / 30.44
	step := months[len(months)-1]
	for _, m := range months {
		if total/float64(m) <= 8 {
			step = m
			break
		}
	}
	first := s.first.Time()
	var out []tick
	for m := (first.Year()*12 + int(first.Month()) - 1) / step * step; ; m += step {
		day := time.Date(m/12, time.Month(m%12+1), 1, 0, 0, 0, 0, time.UTC)
		at := quant.NewDate(day)
		if at > s.last {
			return out
		}
		if at < s.first {
			continue
		}
		label := day.Format("2006")
		if step < 12 && day.Month() != time.January {
			label = day.Format("Jan")
			if len(out) == 0 {
				label = day.Format("Jan 2006")
			}
		}
		out = append(out, tick{s.at(at), label})
	}
}

func (s *Sheet) span() span {
	if len(s.Days) == 0 {
		return span{}
	}
	return span{s.Days[0].TS, s.Days[len(s.Days)-1].TS}
}

// equity is the account against the benchmark. The scale is logarithmic where
// the highest value is at least three times the lowest.
func (s *Sheet) equity() plot {
	var values []float64
	for _, d := range s.Days {
		values = append(values, d.Equity)
		if d.Benchmark != nil {
			values = append(values, *d.Benchmark)
		}
	}
	log := false
	if len(values) > 0 {
		low, high := slices.Min(values), slices.Max(values)
		log = low > 0 && high >= 3*low
	}
	y, x := newAxis(log, values...), s.span()
	p := plot{ID: "equity", Title: "Equity", Log: log, X: x.ticks(), Y: y.ticks(5, compact)}
	var own, other []point
	var lastOther *float64
	for _, d := range s.Days {
		own = append(own, point{x.at(d.TS), y.at(d.Equity)})
		if d.Benchmark != nil && (!log || *d.Benchmark > 0) {
			other, lastOther = append(other, point{x.at(d.TS), y.at(*d.Benchmark)}), d.Benchmark
		}
	}
	if other != nil {
		p.Lines = append(p.Lines, line{Class: "benchmark", Name: "Benchmark " + s.Benchmark, Points: reduce(other)})
	}
	p.Lines = append(p.Lines, line{Class: "strategy", Name: "Strategy", Points: reduce(own)})
	if n := len(s.Days); n > 0 {
		p.Desc = fmt.Sprintf("Equity from %s on %s to %s on %s", amount(s.Days[0].Equity), s.Days[0].TS, amount(s.Days[n-1].Equity), s.Days[n-1].TS)
		if lastOther != nil {
			p.Desc += fmt.Sprintf("; the benchmark %s ended at %s", s.Benchmark, amount(*lastOther))
		}
		p.Desc += "."
	}
	if log {
		p.Desc += " Logarithmic scale."
	}
	return p
}

func (s *Sheet) drawdown() plot {
	values := []float64{0}
	for _, d := range s.Days {
		values = append(values, d.Drawdown)
	}
	y, x := newAxis(false, values...), s.span()
	zero := y.at(0)
	p := plot{ID: "drawdown", Title: "Drawdown", X: x.ticks(), Y: y.ticks(4, percent0), Zero: &zero}
	var points []point
	var deepest *Day
	for i, d := range s.Days {
		points = append(points, point{x.at(d.TS), y.at(d.Drawdown)})
		if deepest == nil || d.Drawdown < deepest.Drawdown {
			deepest = &s.Days[i]
		}
	}
	p.Lines = []line{{Class: "drawdown", Name: "Strategy", Points: reduce(points), Filled: true}}
	if deepest != nil {
		p.Desc = fmt.Sprintf("Fall of equity from its highest value so far; deepest %s on %s.", percent(deepest.Drawdown), deepest.TS)
	}
	return p
}

// weightSteps is how many steps the chart of weights shows at most. A step of
// several sessions has their mean: a value picked out of them would draw a
// rhythm that the account never had.
const weightSteps = 400

// weights are stacked shares of equity: names, the others, cash on top.
func (s *Sheet) weights() plot {
	x := s.span()
	p := plot{ID: "weights", Title: "Weights", X: x.ticks(), Y: axis{0, 1, false}.ticks(4, percent0)}
	steps := min(len(s.Days), weightSteps)
	under := make([]float64, steps)
	stack := func(class, name string, values []float64) {
		a := area{Class: class, Name: name}
		for k := range steps {
			from, to := k*len(values)/steps, (k+1)*len(values)/steps
			left, right := x.at(s.Days[from].TS), 1.0
			if to < len(s.Days) {
				right = x.at(s.Days[to].TS)
			}
			a.Lower = append(a.Lower, point{left, 1 - under[k]}, point{right, 1 - under[k]})
			mean := 0.0
			for _, v := range values[from:to] {
				mean += v / float64(to-from)
			}
			under[k] += mean
			a.Upper = append(a.Upper, point{left, 1 - under[k]}, point{right, 1 - under[k]})
		}
		p.Areas = append(p.Areas, a)
	}
	for i, name := range s.Weights.Names {
		stack("name"+strconv.Itoa(i+1), name, s.Weights.Days[i])
	}
	if s.Weights.Others != nil {
		stack("others", counted(s.Weights.NOthers, "other"), s.Weights.Others)
	}
	if steps > 0 {
		stack("cash", "Cash", s.Weights.Cash)
	}
	var said []string
	for i, name := range s.Weights.Names {
		said = append(said, name+" "+percent(s.Weights.Mean[i]))
	}
	p.Desc = "Shares of equity at the close of each session."
	if len(s.Days) > weightSteps {
		p.Desc = "Shares of equity at the close, means over " + strconv.Itoa(len(s.Days)/steps) + " or " + strconv.Itoa(len(s.Days)/steps+1) + " sessions."
	}
	if len(said) > 0 {
		p.Desc += " Mean weights: " + strings.Join(said, ", ") + "."
	}
	return p
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// compact is an amount in three digits and a letter: 1.25M.
func compact(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size*0.9999999 {
			return plain(round(v/unit.size, 3)) + unit.name
		}
	}
	return plain(round(v, 4))
}

func round(v float64, digits int) float64 {
	scale := math.Pow(10, float64(digits))
	return math.Round(v*scale) / scale
}

func percent(v float64) string { return fixed(v*100, 1) + "%" }

// percent0 has as many decimals as it takes.
func percent0(v float64) string { return plain(round(v*100, 6)) + "%" }

func plain(v float64) string { return minus(unsigned(strconv.FormatFloat(v, 'f', -1, 64))) }

// amount is a sum of money, with thousands apart.
func amount(v float64) string {
	decimals := 0
	if math.Abs(v) < 100 {
		decimals = 2
	}
	return thousands(unsigned(strconv.FormatFloat(v, 'f', decimals, 64)))
}

// thousands sets a comma between thousands, and a true minus sign.
func thousands(text string) string {
	digits, negative := strings.CutPrefix(text, "-")
	whole, rest, decimals := strings.Cut(digits, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if decimals {
		whole += "." + rest
	}
	if negative {
		return "\u2212" + whole
	}
	return whole
}

// fixed writes v with so many decimals and a true minus sign; no zero has one.
func fixed(v float64, decimals int) string {
	return minus(unsigned(strconv.FormatFloat(v, 'f', decimals, 64)))
}

// unsigned takes the sign from a zero.
func unsigned(text string) string {
	if !strings.ContainsAny(text, "123456789") {
		return strings.TrimPrefix(text, "-")
	}
	return text
}

func minus(text string) string { return strings.Replace(text, "-", "\u2212", 1) }
