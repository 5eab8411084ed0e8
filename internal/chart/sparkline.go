package chart

import "math"

// Sparkline draws values as one line of letters, the lowest as the lowest bar;
// values that are all the same are bars of half height. What is no finite number
// is a space.
func Sparkline(values []float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = min(low, v), max(high, v)
		}
	}
	line := make([]rune, len(values))
	for i, v := range values {
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			line[i] = ' '
		case low == high:
			line[i] = bars[len(bars)/2-1]
		default:
			// Halves, so that no difference of finite numbers overflows.
			at := (v/2 - low/2) / (high/2 - low/2) * float64(len(bars)-1)
			line[i] = bars[min(max(int(math.Round(at)), 0), len(bars)-1)]
		}
	}
	return string(line)
}
