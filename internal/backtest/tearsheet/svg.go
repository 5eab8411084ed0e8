package tearsheet

import (
	"slices"
	"strconv"
	"strings"
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
	down := func(at float64) string { return px(roomAbove + at*float64(inner)) }
	for _, t := range p.Y {
		s.Y = append(s.Y, yLabel{down(t.At), t.Label})
	}
	for i, t := range p.X {
		l := xLabel{At: px(t.At*100) + "%", Anchor: "middle", Text: t.Label}
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
			s.Shapes = append(s.Shapes, shape{"fill " + l.Class, areaPath(l.Points, []point{{first, *p.Zero}, {last, *p.Zero}})})
		}
		s.Shapes = append(s.Shapes, shape{"line " + l.Class, linePath(l.Points)})
		s.Legend = append([]legend{{"line " + l.Class, l.Name}}, s.Legend...)
	}
	if len(p.Lines) == 1 && len(p.Areas) == 0 && p.ID == "drawdown" {
		s.Legend = nil
	}
	return s
}

// px writes a coordinate with a tenth of a pixel.
func px(v float64) string {
	text := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0")
}

// linePath is in a drawing of 1000 by 1000.
func linePath(points []point) string {
	var b strings.Builder
	var x, y string
	for i, p := range points {
		nextX, nextY := px(p.X*1000), px(p.Y*1000)
		switch {
		case i == 0:
			b.WriteString("M" + nextX + " " + nextY)
		case nextX == x && nextY == y:
		case nextY == y:
			b.WriteString("H" + nextX)
		case nextX == x:
			b.WriteString("V" + nextY)
		default:
			b.WriteString("L" + nextX + " " + nextY)
		}
		x, y = nextX, nextY
	}
	if len(points) == 1 {
		b.WriteString("h1") // a single day is a dot
	}
	return b.String()
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
	return linePath(around) + "Z"
}
