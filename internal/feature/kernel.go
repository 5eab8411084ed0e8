package feature

import (
	"math"
	"slices"

	"quant"
)

// series are the bars of one symbol on sessions, in their order. What an entry
// computes from them at a bar depends on that bar and earlier ones alone, in a fixed
// order of operations; products are rounded before they are added, so that no machine
// fuses the two.
type series struct {
	session                        []int32
	open, high, low, close, volume []float64

	symbol string
	days   []quant.Date

	first int32 // session of the symbol's first bar, which may not be among these
	start int   // the first bar that values are asked for

	// What sums take: none where it is no number, so that a sum takes such a bar for
	// a missing one. A figure of 1e100 is none either: its square is infinite.
	p, v, r1, illiq []float64
	sums            map[string]*windowSums
	recursions      []recursive
	before, after   recursion // state before the bar start, where it is not of the first bar; state after the last bar
	resumed, ran    bool
	spare           []*windowSums
	room            [][]float64 // memory of variables
}

// none is how a column says that a bar has no value. It is a NaN that no operation on
// prices gives, so that a value that is no number can be counted apart.
var none = math.Float64frombits(noneBits)

const noneBits = 0x7ff8_0000_0051_7a17

func isNone(x float64) bool { return math.Float64bits(x) == noneBits }

func number(x float64) float64 {
	if math.Abs(x) < 1e100 {
		return x
	}
	return none
}

// window is how many sessions a rolling value looks at.
const window = 20

// windowSums are, for the last window sessions at each bar: n, how many have the
// variable, its mean, and sq, the sum of the squared distances from it.
type windowSums struct {
	n        []int32
	mean, sq []float64
}

// bind takes the bars of a symbol, and forgets what was computed of another.
func (s *series) bind(session []int32, open, high, low, close, volume []float64) {
	s.session, s.open, s.high, s.low, s.close, s.volume = session, open, high, low, close, volume
	if s.first, s.start = 0, 0; len(session) > 0 {
		s.first = session[0]
	}
	for _, x := range []*[]float64{&s.p, &s.v, &s.r1, &s.illiq} {
		if *x != nil {
			s.room = append(s.room, *x)
		}
		*x = nil
	}
	s.recursions, s.before, s.resumed, s.ran = s.recursions[:0], recursion{}, false, false
	for _, w := range s.sums {
		s.spare = append(s.spare, w)
	}
	clear(s.sums)
}

// variable is what the sums of a name are of: p (close), v (volume), r1 (ret_1d) and
// illiq.
func (s *series) variable(name string) []float64 {
	n := len(s.session)
	// A window of the first bar that is asked for, and the returns in it, reach no
	// further back.
	since := max(0, s.start-window-1)
	fill := func(to *[]float64, x func(i int) float64) []float64 {
		if *to == nil {
			if k := len(s.room) - 1; k >= 0 {
				*to, s.room = s.room[k], s.room[:k]
			}
			if cap(*to) < n {
				*to = make([]float64, n)
			}
			*to = (*to)[:n]
			for i := since; i < n; i++ {
				(*to)[i] = x(i)
			}
		}
		return *to
	}
	switch name {
	case "p":
		return fill(&s.p, func(i int) float64 { return number(s.close[i]) })
	case "v":
		return fill(&s.v, func(i int) float64 { return number(s.volume[i]) })
	case "r1":
		p := s.variable("p")
		return fill(&s.r1, func(i int) float64 {
			if i == since || s.session[i]-s.session[i-1] != 1 || isNone(p[i]) || isNone(p[i-1]) {
				return none
			}
			return number(p[i]/p[i-1] - 1)
		})
	default:
		p, v, r1 := s.variable("p"), s.variable("v"), s.variable("r1")
		return fill(&s.illiq, func(i int) float64 {
			if isNone(p[i]) || isNone(v[i]) || isNone(r1[i]) {
				return none
			}
			traded := p[i] * v[i]
			if x := math.Abs(r1[i]) / traded; traded > 0 && x < 1e100 {
				return x
			}
			return none
		})
	}
}

// sum takes the sums of a variable lag by lag, from the newest bar to the oldest, and
// from the newest value, which keeps a flat series flat.
func (s *series) sum(name string) *windowSums {
	if w := s.sums[name]; w != nil {
		return w
	}
	if s.sums == nil {
		s.sums = map[string]*windowSums{}
	}
	bars := len(s.session)
	w := &windowSums{}
	if k := len(s.spare); k > 0 {
		w, s.spare = s.spare[k-1], s.spare[:k-1]
	}
	if cap(w.n) < bars {
		*w = windowSums{n: make([]int32, bars), mean: make([]float64, bars), sq: make([]float64, bars)}
	}
	w.n, w.mean, w.sq = w.n[:bars], w.mean[:bars], w.sq[:bars]
	s.sums[name] = w
	x := s.variable(name)
	squares := name == "p" || name == "r1"
	for i := s.start; i < bars; i++ {
		from := max(0, i-window+1)
		for oldest := s.session[i] - window + 1; s.session[from] < oldest; {
			from++
		}
		x0, n, total := x[i], int32(1), 0.0
		if isNone(x0) {
			x0, n = 0, 0
		}
		for k := i - 1; k >= from; k-- {
			if y := x[k]; !isNone(y) {
				n++
				total += y - x0
			}
		}
		mean := x0 + total/float64(n)
		w.n[i], w.mean[i] = n, mean
		if !squares {
			continue
		}
		sq := 0.0
		for k := i; k >= from; k-- {
			if y := x[k]; !isNone(y) {
				d := y - mean
				sq += float64(d * d)
			}
		}
		w.sq[i] = sq
	}
	return w
}

// resume has the recursion go on from a state, that before the bar start.
func (s *series) resume(state recursion) { s.before, s.resumed = state, true }

// recursive runs the recursion of the bars, once; the states are those from start on.
func (s *series) recursive() []recursive {
	if s.ran {
		return s.recursions
	}
	s.ran = true
	want := len(s.session) - s.start
	s.recursions = slices.Grow(s.recursions[:0], want)[:want]
	from := 0
	if s.after = s.before; s.resumed {
		from = s.start
	}
	for i := from; i < len(s.session); i++ {
		state := s.after.step(bar{int(s.session[i]), s.high[i], s.low[i], s.close[i]})
		if i >= s.start {
			s.recursions[i-s.start] = state
		}
	}
	return s.recursions
}

// kernel computes an entry for every bar of a symbol: a value, none where there is
// none, or what is no number where the operation gave that.
type kernel func(s *series, out []float64)

// returnOver is close[t-skip] / close[t-k] - 1 where every session from t-k to t has
// its bar.
func returnOver(k, skip int) kernel {
	return func(s *series, out []float64) {
		for i := s.start; i < len(out); i++ {
			if i < k || int(s.session[i]-s.session[i-k]) != k {
				out[i] = none
				continue
			}
			out[i] = s.close[i-skip]/s.close[i-k] - 1
		}
	}
}

func gapOpen(s *series, out []float64) {
	for i := s.start; i < len(out); i++ {
		if i == 0 || s.session[i]-s.session[i-1] != 1 {
			out[i] = none
			continue
		}
		out[i] = s.open[i]/s.close[i-1] - 1
	}
}

func dayRange(s *series, out []float64) {
	for i := s.start; i < len(out); i++ {
		out[i] = (s.high[i] - s.low[i]) / s.close[i]
	}
}

// rolling is a value over the last 20 sessions that needs at least enough of the
// variable, and a window that is whole since the symbol's first bar.
func rolling(variable string, warm, enough int32, value func(x float64, n int32, mean, sq float64) float64) kernel {
	return func(s *series, out []float64) {
		x, w := s.variable(variable), s.sum(variable)
		for i := s.start; i < len(out); i++ {
			if s.session[i]-s.first < warm || w.n[i] < enough {
				out[i] = none
				continue
			}
			out[i] = value(x[i], w.n[i], w.mean[i], w.sq[i])
		}
	}
}

func sampleDeviation(_ float64, n int32, _, sq float64) float64 { return math.Sqrt(sq / float64(n-1)) }

func relativeVolume(v float64, _ int32, mean, _ float64) float64 {
	if isNone(v) {
		return none
	}
	return v / mean
}

func bollinger(side float64) func(x float64, n int32, mean, sq float64) float64 {
	return func(_ float64, n int32, mean, sq float64) float64 {
		return mean + float64(side*math.Sqrt(sq/float64(n)))
	}
}

func withinBands(p float64, n int32, mean, sq float64) float64 {
	deviation := math.Sqrt(sq / float64(n))
	if isNone(p) || deviation == 0 {
		return none
	}
	return 0.5 + (p-mean)/float64(4*deviation)
}

func illiquidity(_ float64, _ int32, mean, _ float64) float64 { return 1e6 * mean }

// recursed is a value of the recursion; where that has none, or no number, there is
// none.
func recursed(name string) kernel {
	return func(s *series, out []float64) {
		r := s.recursive()
		for i := s.start; i < len(out); i++ {
			if out[i] = r[i-s.start].value(name, s.close[i]); math.IsNaN(out[i]) {
				out[i] = none
			}
		}
	}
}

// labelsOf computes the label over a horizon and its direction. A bar has none where
// no bar stands so many sessions later.
func labelsOf(s *series, horizon int, forward, direction []float64) {
	at := s.start
	for i := s.start; i < len(s.session); i++ {
		session := s.session[i]
		forward[i], direction[i] = none, none
		for at < len(s.session) && int64(s.session[at]) < int64(session)+int64(horizon) {
			at++
		}
		if at == len(s.session) || int64(s.session[at]) != int64(session)+int64(horizon) {
			continue
		}
		x := s.close[at]/s.close[i] - 1
		forward[i] = x
		if finite(x) {
			direction[i] = 0
			if x > 0 {
				direction[i] = 1
			}
		}
	}
}
