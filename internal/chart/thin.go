package chart

// Thin chooses at most most of n points so that their line looks like that of all:
// the first, the last, and the lowest and the highest of each of equal stretches. of is
// the value of a point. It returns their indices in order; all of them where there are
// no more than most. most is at least 4.
func Thin(n, most int, of func(i int) float64) []int {
	chosen := make([]int, 0, min(n, most))
	if n <= most {
		for i := range n {
			chosen = append(chosen, i)
		}
		return chosen
	}
	stretches := (most - 2) / 2
	chosen = append(chosen, 0)
	for k := range stretches {
		from, to := 1+k*(n-2)/stretches, 1+(k+1)*(n-2)/stretches
		low, high := from, from
		for i := from; i < to; i++ {
			if v := of(i); v < of(low) {
				low = i
			} else if v > of(high) {
				high = i
			}
		}
		chosen = append(chosen, min(low, high))
		if low != high {
			chosen = append(chosen, max(low, high))
		}
	}
	return append(chosen, n-1)
}
