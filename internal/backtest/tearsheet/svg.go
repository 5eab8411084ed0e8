package tearsheet

import (
	"slices"

	"quant/internal/chart"
)

// Room around the plot, in CSS pixels: half a label above, the dates below.
const (
	roomAbove = 16
	roomBelow = 22
)

// svg is a chart on the page. It is as wide as the page allows: an inner
// drawing is stretched to that width, with lines that keep their thickness, and
// texts stand beside it, placed by percentages, so that they keep their size.
type svg struct {
	ID, Title, Desc string
	Height, Plot    int
	X               []xLabel
	Y               []yLabel
	Shapes          []shape
	Legend          []legend
	Zero            string
	Log             bool
}

type xLabel struct{ At, Anchor, Text, Class string }

type yLabel struct{ Line, Text string }

type shape struct{ Class, D string }

type legend struct{ Class, Name string }

func newSVG(p plot, height int) svg {
	inner := height - roomAbove - roomBelow
	s := svg{ID: p.ID, Title: p.Title, Desc: p.Desc, Height: height, Plot: inner, Log: p.Log}
	down := func(at float64) string { return chart.Px(roomAbove + at*float64(inner)) }
	for _, t := range p.Y {
		s.Y = append(s.Y, yLabel{down(t.At), t.Label})
	}
	for i, t := range p.X {
		l := xLabel{At: chart.Px(t.At*100) + "%", Anchor: "middle", Text: t.Label}
		switch {
		case t.At < 0.04:
			l.Anchor = "start"
		case t.At > 0.96:
			l.Anchor = "end"
		}
		if i%2 == 1 {
			l.Class = "minor"
		}
		s.X = append(s.X, l)
	}
	if p.Zero != nil {
		s.Zero = down(*p.Zero)
	}
	for _, a := range p.Areas {
		s.Shapes = append(s.Shapes, shape{"area " + a.Class, areaPath(a.Upper, a.Lower)})
		s.Legend = append([]legend{{"area " + a.Class, a.Name}}, s.Legend...)
	}
	for _, l := range p.Lines {
		if l.Filled && len(l.Points) > 0 && p.Zero != nil {
			first, last := l.Points[0].X, l.Points[len(l.Points)-1].X
			s.Shapes = append(s.Shapes, shape{"fill " + l.Class, areaPath(l.Points, []point{{X: first, Y: *p.Zero}, {X: last, Y: *p.Zero}})})
		}
		s.Shapes = append(s.Shapes, shape{"line " + l.Class, chart.LinePath(l.Points, 1000, 1000)})
		s.Legend = append([]legend{{"line " + l.Class, l.Name}}, s.Legend...)
	}
	if len(p.Lines) == 1 && len(p.Areas) == 0 && p.ID == "drawdown" {
		s.Legend = nil
	}
	return s
}

// areaPath goes along upper and back along lower.
func areaPath(upper, lower []point) string {
	if len(upper) == 0 {
		return ""
	}
	around := slices.Clone(upper)
	for _, p := range slices.Backward(lower) {
		around = append(around, p)
	}
	return chart.LinePath(around, 1000, 1000) + "Z"
}
