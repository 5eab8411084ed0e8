package chart

import (
	"strconv"
	"strings"
)

// Px writes a coordinate with a tenth of a pixel.
func Px(v float64) string {
	text := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0")
}

// LinePath is the path of an SVG that goes through points of the unit square, in a
// drawing of that size.
func LinePath(points []Point, width, height float64) string {
	var b strings.Builder
	var x, y string
	for i, p := range points {
		nextX, nextY := Px(p.X*width), Px(p.Y*height)
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
