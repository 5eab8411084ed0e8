// Package correlation says how two lists of numbers go together: Pearson's
// correlation, and the ranks of which Spearman's is made. Every sum runs in the
// order of the list and products are rounded before they are added, so that the
// same numbers give the same bits on every machine.
package correlation

import (
	"math"
	"slices"
)

// Pearson is Pearson's correlation, NaN where one side is all the same, or of
// nothing.
func Pearson(x, y []float64) float64 {
	if alike(x) || alike(y) {
		return math.NaN()
	}
	mx, my := Mean(x), Mean(y)
	var xx, yy, xy float64
	for k, v := range x {
		dx, dy := v-mx, y[k]-my
		xx, yy, xy = xx+float64(dx*dx), yy+float64(dy*dy), xy+float64(dx*dy)
	}
	return max(-1, min(1, xy/(math.Sqrt(xx)*math.Sqrt(yy))))
}

// Mean is NaN of nothing.
func Mean(x []float64) float64 {
	total := 0.0
	for _, v := range x {
		total += v
	}
	return total / float64(len(x))
}

func alike(x []float64) bool {
	for _, v := range x {
		if v != x[0] {
			return false
		}
	}
	return true
}

// Ranker ranks lists, one after the other, in room of its own: it is for one
// goroutine. The zero value is ready.
type Ranker struct {
	keys, otherKeys []uint64
	at, otherAt     []int32
}

// Ranks appends to to[:0] the rank of each value, from 1; equal values have the
// mean of their ranks. No value may be NaN.
func (r *Ranker) Ranks(to, x []float64) []float64 {
	n := len(x)
	to = slices.Grow(to[:0], n)[:n]
	r.sort(x)
	for from := 0; from < n; {
		end := from + 1
		for end < n && r.keys[end] == r.keys[from] {
			end++
		}
		rank := float64(from+1+end) / 2
		for _, k := range r.at[from:end] {
			to[k] = rank
		}
		from = end
	}
	return to
}

// fewNames is up to where comparing costs less than counting digits.
const fewNames = 48

// sort leaves the places of x in ascending order in at, and a key of each value
// in keys, that orders as the value does: its bits, with the sign turned.
func (r *Ranker) sort(x []float64) {
	n := len(x)
	r.keys, r.at = slices.Grow(r.keys[:0], n)[:n], slices.Grow(r.at[:0], n)[:n]
	for k, v := range x {
		bits := math.Float64bits(v + 0) // there is one zero
		r.keys[k] = bits ^ (uint64(int64(bits)>>63) | 1<<63)
		r.at[k] = int32(k)
	}
	if n <= fewNames {
		for i := 1; i < n; i++ {
			key, at := r.keys[i], r.at[i]
			j := i
			for ; j > 0 && r.keys[j-1] > key; j-- {
				r.keys[j], r.at[j] = r.keys[j-1], r.at[j-1]
			}
			r.keys[j], r.at[j] = key, at
		}
		return
	}
	r.otherKeys, r.otherAt = slices.Grow(r.otherKeys[:0], n)[:n], slices.Grow(r.otherAt[:0], n)[:n]
	var counts [8][256]int32
	for _, key := range r.keys {
		for d := range counts {
			counts[d][byte(key>>(8*d))]++
		}
	}
	for d := range counts {
		count := &counts[d]
		if count[byte(r.keys[0]>>(8*d))] == int32(n) {
			continue // a digit that all share
		}
		next := int32(0)
		for b, c := range count {
			count[b], next = next, next+c
		}
		for k, key := range r.keys {
			place := &count[byte(key>>(8*d))]
			r.otherKeys[*place], r.otherAt[*place] = key, r.at[k]
			*place++
		}
		r.keys, r.otherKeys, r.at, r.otherAt = r.otherKeys, r.keys, r.otherAt, r.at
	}
}
