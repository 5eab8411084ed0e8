package chart

import (
	"math"
	"slices"
	"testing"
)

func TestNoExtremeOfALineIsLost(t *testing.T) {
	t.Parallel()
	var points []Point
	for i := range 10_000 {
		points = append(points, Point{float64(i) / 10_000, 0.5 + 0.2*math.Sin(float64(i))})
	}
	points[4321].Y, points[8765].Y = 0, 1
	got := Reduce(points)
	if len(got) > 4*columns || got[0] != points[0] || got[len(got)-1] != points[len(points)-1] || !slices.Contains(got, points[4321]) || !slices.Contains(got, points[8765]) {
		t.Errorf("%d points are left", len(got))
	}
	if !slices.IsSortedFunc(got, func(a, b Point) int {
		if a.X < b.X {
			return -1
		}
		return 1
	}) {
		t.Error("the points are out of order")
	}
}
