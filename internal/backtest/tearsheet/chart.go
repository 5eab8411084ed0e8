package tearsheet

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/chart"
)

// A plot is drawn by package chart.
type (
	plot  = chart.Plot
	point = chart.Point
	line  = chart.Line
	area  = chart.Area
	tick  = chart.Tick
)

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
		out = append(out, tick{At: s.at(at), Label: label})
	}
}

func (s *Sheet) span() span {
	if len(s.Days) == 0 {
		return span{}
	}
	return span{s.Days[0].TS, s.Days[len(s.Days)-1].TS}
}

// equityTicks are about how many ticks the axis of equity has.
const equityTicks = 5

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
	y, x := chart.NewAxis(log, values...).WithTopTick(equityTicks), s.span()
	p := plot{ID: "equity", Title: "Equity", Log: log, X: x.ticks(), Y: y.Ticks(equityTicks, chart.Compact)}
	var own, other []point
	var lastOther *float64
	for _, d := range s.Days {
		own = append(own, point{X: x.at(d.TS), Y: y.At(d.Equity)})
		if d.Benchmark != nil && (!log || *d.Benchmark > 0) {
			other, lastOther = append(other, point{X: x.at(d.TS), Y: y.At(*d.Benchmark)}), d.Benchmark
		}
	}
	if other != nil {
		p.Lines = append(p.Lines, line{Class: "benchmark", Name: "Benchmark " + s.Benchmark, Points: chart.Reduce(other)})
	}
	p.Lines = append(p.Lines, line{Class: "strategy", Name: "Strategy", Points: chart.Reduce(own)})
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
	y, x := chart.NewAxis(false, values...), s.span()
	zero := y.At(0)
	p := plot{ID: "drawdown", Title: "Drawdown", X: x.ticks(), Y: y.Ticks(4, percent0), Zero: &zero}
	var points []point
	var deepest *Day
	for i, d := range s.Days {
		points = append(points, point{X: x.at(d.TS), Y: y.At(d.Drawdown)})
		if deepest == nil || d.Drawdown < deepest.Drawdown {
			deepest = &s.Days[i]
		}
	}
	p.Lines = []line{{Class: "drawdown", Name: "Strategy", Points: chart.Reduce(points), Filled: true}}
	if deepest != nil {
		p.Desc = fmt.Sprintf("Fall of equity from its highest value so far; deepest %s on %s.", percent(deepest.Drawdown), deepest.TS)
	}
	return p
}

// weightSteps is how many steps the chart of weights shows at most. A step of
// several sessions has their mean: a value picked out of them would draw a
// rhythm that the account never had.
const weightSteps = 400

// weights are stacked shares of equity: names, the others, cash on top. Of a book that
// was short, longs are stacked above zero and shorts below it, without cash.
func (s *Sheet) weights() plot {
	x := s.span()
	if s.Weights.Short {
		return s.weightsOfSides()
	}
	p := plot{ID: "weights", Title: "Weights", X: x.ticks(), Y: chart.Axis{Low: 0, High: 1}.Ticks(4, percent0)}
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
			a.Lower = append(a.Lower, point{X: left, Y: 1 - under[k]}, point{X: right, Y: 1 - under[k]})
			mean := 0.0
			for _, v := range values[from:to] {
				mean += v / float64(to-from)
			}
			under[k] += mean
			a.Upper = append(a.Upper, point{X: left, Y: 1 - under[k]}, point{X: right, Y: 1 - under[k]})
		}
		p.Areas = append(p.Areas, a)
	}
	for i, name := range s.Weights.Names {
		stack("name"+strconv.Itoa(i+1), name, s.Weights.Days[i])
	}
	if s.Weights.Others != nil {
		stack("others", quant.Count(s.Weights.NOthers, "other"), s.Weights.Others)
	}
	if steps > 0 {
		stack("cash", "Cash", s.Weights.Cash)
	}
	var weights []string
	for i, name := range s.Weights.Names {
		weights = append(weights, name+" "+percent(s.Weights.Mean[i]))
	}
	p.Desc = "Shares of equity at the close of each session."
	if len(s.Days) > weightSteps {
		p.Desc = "Shares of equity at the close, means over " + strconv.Itoa(len(s.Days)/steps) + " or " + strconv.Itoa(len(s.Days)/steps+1) + " sessions."
	}
	if len(weights) > 0 {
		p.Desc += " Mean weights: " + strings.Join(weights, ", ") + "."
	}
	return p
}

func (s *Sheet) weightsOfSides() plot {
	x, w := s.span(), s.Weights
	steps := min(len(s.Days), weightSteps)
	means := func(values []float64) []float64 {
		list := make([]float64, steps)
		for k := range steps {
			from, to := k*len(values)/steps, (k+1)*len(values)/steps
			for _, v := range values[from:to] {
				list[k] += v / float64(to-from)
			}
		}
		return list
	}
	series, classes, names := [][]float64{}, []string{}, slices.Clone(w.Names)
	for i := range w.Names {
		series, classes = append(series, means(w.Days[i])), append(classes, "name"+strconv.Itoa(i+1))
	}
	if w.Others != nil {
		series, classes, names = append(series, means(w.Others)), append(classes, "others"), append(names, quant.Count(w.NOthers, "other"))
	}
	long, short := make([]float64, steps), make([]float64, steps)
	for _, values := range series {
		for k, v := range values {
			long[k] += max(v, 0)
			short[k] += min(v, 0)
		}
	}
	axis := chart.Axis{Low: min(0, slices.Min(short)), High: max(0, slices.Max(long))}
	p := plot{ID: "weights", Title: "Weights", X: x.ticks(), Y: axis.Ticks(4, percent0)}
	at := func(v float64) float64 { return (axis.High - v) / (axis.High - axis.Low) }
	clear(long)
	clear(short)
	for i, values := range series {
		a := area{Class: classes[i], Name: names[i]}
		for k, v := range values {
			left, right := x.at(s.Days[k*len(s.Days)/steps].TS), 1.0
			if to := (k + 1) * len(s.Days) / steps; to < len(s.Days) {
				right = x.at(s.Days[to].TS)
			}
			under := long
			if v < 0 {
				under = short
			}
			a.Lower = append(a.Lower, point{X: left, Y: at(under[k])}, point{X: right, Y: at(under[k])})
			under[k] += v
			a.Upper = append(a.Upper, point{X: left, Y: at(under[k])}, point{X: right, Y: at(under[k])})
		}
		p.Areas = append(p.Areas, a)
	}
	var weights []string
	for i, name := range w.Names {
		weights = append(weights, name+" "+percent(w.Mean[i]))
	}
	p.Desc = "Shares of equity at the close of each session, longs above zero and shorts below."
	if len(s.Days) > weightSteps {
		p.Desc = "Shares of equity at the close, longs above zero and shorts below, means over " + strconv.Itoa(len(s.Days)/steps) + " or " + strconv.Itoa(len(s.Days)/steps+1) + " sessions."
	}
	p.Desc += " Mean weights: " + strings.Join(weights, ", ") + "."
	return p
}

func percent(v float64) string { return fixed(v*100, 2) + "\u00a0%" }

// percent0 has as many decimals as it takes.
func percent0(v float64) string { return chart.Plain(chart.Round(v*100, 6)) + "\u00a0%" }

// amount is a sum of money, with thousands apart.
func amount(v float64) string {
	decimals := 0
	if math.Abs(v) < 100 {
		decimals = 2
	}
	return thousands(chart.Unsigned(strconv.FormatFloat(v, 'f', decimals, 64)))
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
	return chart.Minus(chart.Unsigned(strconv.FormatFloat(v, 'f', decimals, 64)))
}
