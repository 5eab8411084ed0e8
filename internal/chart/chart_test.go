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

func TestAnAxisReachesToARoundValueAtItsTop(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		log    bool
		values []float64
	}{{false, []float64{1, 1.37}}, {true, []float64{0.7e6, 29.4e6}}, {true, []float64{9e5, 3e6}}, {false, []float64{-3, -1}}, {false, []float64{1e6, 1e6}},
		{true, []float64{1, 1e12}}, {false, []float64{0, 99.999}}, {true, []float64{1e-9, 1e9}}, {false, []float64{1e6, 1e6 + 1e-6}}} {
		a := NewAxis(c.log, c.values...).WithTopTick(5)
		ticks := a.Ticks(5, Compact)
		if len(ticks) < 2 || len(ticks) > 20 {
			t.Errorf("%v: ticks %v", c, ticks)
			continue
		}
		if top := ticks[len(ticks)-1].At; top > 1e-9 {
			t.Errorf("%v: the highest tick lies at %v", c, top)
		}
		for _, v := range c.values {
			if at := a.At(v); at < 0 || at > 1 {
				t.Errorf("%v: %v lies at %v", c, v, at)
			}
		}
	}
}
