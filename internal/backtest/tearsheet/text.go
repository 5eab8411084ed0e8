package tearsheet

import (
	"math"
	"strings"

	"github.com/guptarohit/asciigraph"

	"quant/internal/chart"
)

// Chart draws equity and benchmark in letters: lines of at most width columns
// (never fewer than 50), without colours. nil with fewer than two sessions.
func (s *Sheet) Chart(width int) []string {
	if len(s.Days) < 2 {
		return nil
	}
	// The scale is the page's.
	scale, value := func(v float64) float64 { return v }, func(v float64) float64 { return v }
	note := ""
	if s.equity().Log {
		scale, value, note = math.Log, math.Exp, "   logarithmic scale"
	}
	own, other := make([]float64, len(s.Days)), make([]float64, len(s.Days))
	low, high := math.Inf(1), math.Inf(-1)
	compared := false
	for i, d := range s.Days {
		own[i], other[i] = scale(d.Equity), math.NaN()
		if d.Benchmark != nil {
			other[i], compared = scale(*d.Benchmark), true
			low, high = min(low, other[i]), max(high, other[i])
		}
		low, high = min(low, own[i]), max(high, own[i])
	}
	// The benchmark first: where the lines meet, the strategy is seen.
	series, legend := [][]float64{own}, []string{"\u2500 equity"}
	chars := []asciigraph.CharSet{asciigraph.DefaultCharSet}
	if compared {
		series, legend = [][]float64{other, own}, append(legend, "\u00b7 "+s.Benchmark)
		chars = []asciigraph.CharSet{asciigraph.CreateCharSet("\u00b7"), asciigraph.DefaultCharSet}
	}
	const labels = 10
	columns := max(50, width) - labels
	drawn := asciigraph.PlotMany(series, asciigraph.Height(12), asciigraph.Width(columns), asciigraph.SeriesChars(chars...),
		asciigraph.LowerBound(low), asciigraph.UpperBound(high), asciigraph.YAxisValueFormatter(func(v float64) string { return chart.Compact(significant(value(v), 4)) }))
	lines := strings.Split(drawn, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	first, last := s.Days[0].TS.String(), s.Days[len(s.Days)-1].TS.String()
	indent := ""
	for i, r := range []rune(lines[0]) {
		if r == '\u2524' || r == '\u253c' { // the axis
			indent = strings.Repeat(" ", i+1)
			break
		}
	}
	lines = append(lines, indent+first+strings.Repeat(" ", max(1, columns-len(first)-len(last)))+last)
	return append(lines, indent+strings.Join(legend, "   ")+note)
}

// significant rounds to so many digits.
func significant(v float64, digits int) float64 {
	if v == 0 {
		return 0
	}
	return chart.Round(v, digits-1-int(math.Floor(math.Log10(math.Abs(v)))))
}
