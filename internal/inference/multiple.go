package inference

import (
	"cmp"
	"math"
	"slices"
)

// Holm adjusts the p-values of several tests so that rejecting those up to a level
// keeps the chance of even one false rejection at that level, whatever the tests
// have to do with each other (Holm, "A Simple Sequentially Rejective Multiple Test
// Procedure", Scandinavian Journal of Statistics 6, 1979). A NaN is no test and
// stays NaN.
func Holm(p []float64) []float64 {
	adjusted, order := tests(p)
	above := 0.0
	for k, i := range order { // the smallest first
		above = max(above, min(1, float64(len(order)-k)*p[i]))
		adjusted[i] = above
	}
	return adjusted
}

// BenjaminiYekutieli adjusts the p-values of several tests so that of those
// rejected up to a level, the expected share of false ones is at most that level,
// whatever the tests have to do with each other (Benjamini and Yekutieli, "The
// Control of the False Discovery Rate in Multiple Testing under Dependency",
// Annals of Statistics 29, 2001; with Hochberg's step-up of 1995, BHY in Harvey,
// Liu and Zhu 2016). A NaN is no test and stays NaN.
func BenjaminiYekutieli(p []float64) []float64 {
	adjusted, order := tests(p)
	var harmonic float64
	for k := range order {
		harmonic += 1 / float64(k+1)
	}
	below := 1.0
	for k, i := range slices.Backward(order) { // the largest first
		below = min(below, p[i]*harmonic*float64(len(order))/float64(k+1))
		adjusted[i] = below
	}
	return adjusted
}

// tests returns room for the adjusted values, NaN so far, and the places of the
// p-values from the smallest to the largest.
func tests(p []float64) (adjusted []float64, order []int) {
	adjusted = make([]float64, len(p))
	for i, v := range p {
		adjusted[i] = math.NaN()
		if !math.IsNaN(v) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	return adjusted, order
}
