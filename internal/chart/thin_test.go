package chart

import (
	"math"
	"slices"
	"testing"
)

func TestThinnedPointsKeepEndsAndExtremes(t *testing.T) {
	values := make([]float64, 2516)
	for i := range values {
		values[i] = math.Sin(float64(i) / 40)
	}
	values[700], values[1900] = 50, -50
	for _, most := range []int{4, 10, 600, 2515} {
		got := Thin(len(values), most, func(i int) float64 { return values[i] })
		if len(got) > most || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("at most %d: %d points, in order and once each: %v", most, len(got), slices.IsSorted(got))
		}
		if got[0] != 0 || got[len(got)-1] != 2515 {
			t.Errorf("at most %d: from %d to %d", most, got[0], got[len(got)-1])
		}
		if !slices.Contains(got, 700) || !slices.Contains(got, 1900) {
			t.Errorf("at most %d: an extreme is lost", most)
		}
	}
	for n := range 6 {
		if got := Thin(n, 5, func(int) float64 { return 0 }); n <= 5 && len(got) != n {
			t.Errorf("%d points became %v", n, got)
		}
	}
}
