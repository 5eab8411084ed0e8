package feature

import "math"

// bar is what the recursions read of a symbol's bar.
type bar struct {
	i                int // session index
	high, low, close float64
}

// recursive is the state of a symbol's recursions after a bar; NaN where a
// value is still warming up.
type recursive struct {
	rsi, atr, macd, signal float64
}

// value returns an entry's value at a bar with this close. The names are those
// of the entries without sql.
func (r recursive) value(name string, close float64) float64 {
	switch name {
	case "rsi_14":
		return r.rsi
	case "atr_14":
		return r.atr
	case "atr_pct_14":
		return r.atr / close
	case "macd":
		return r.macd
	case "macd_signal":
		return r.signal
	case "macd_pct":
		return r.macd / close
	}
	return math.NaN()
}

// recursion is the one sequential kernel: it is given the bars of a symbol one
// after the other and keeps Wilder's averages and the EMAs. What it returns for
// a bar depends on that one and earlier ones alone, in a fixed order of
// operations; products are rounded before they are added, so that no machine
// fuses the two.
type recursion struct {
	n    int // bars since the start
	last bar

	gain, loss, tr float64 // sums while n <= 14, then Wilder's averages
	fast, slow     float64 // sums until bar 26, then EMAs
	signal         float64 // sum of the first 9 macd, then their EMA
}

const (
	wilderN = 14
	fastN   = 12
	slowN   = 26
	signalN = 9
)

// step takes the next bar. A bar whose prices are no numbers counts as a
// missing session.
func (s *recursion) step(b bar) recursive {
	none := recursive{math.NaN(), math.NaN(), math.NaN(), math.NaN()}
	if !finite(b.high) || !finite(b.low) || !finite(b.close) {
		return none
	}
	if s.n > 0 && b.i-s.last.i-1 > Restart {
		*s = recursion{}
	}
	s.n++
	out := none
	if s.n > 1 {
		out.rsi, out.atr = s.wilder(b)
	}
	out.macd, out.signal = s.averages(b.close)
	s.last = b
	return out
}

func (s *recursion) wilder(b bar) (rsi, atr float64) {
	change := b.close - s.last.close
	up, down := max(change, 0), max(-change, 0)
	tr := max(b.high, s.last.close) - min(b.low, s.last.close)
	switch seen := s.n - 1; {
	case seen < wilderN:
		s.gain, s.loss, s.tr = s.gain+up, s.loss+down, s.tr+tr
		return math.NaN(), math.NaN()
	case seen == wilderN:
		s.gain, s.loss, s.tr = (s.gain+up)/wilderN, (s.loss+down)/wilderN, (s.tr+tr)/wilderN
	default:
		s.gain, s.loss, s.tr = wilder(s.gain, up), wilder(s.loss, down), wilder(s.tr, tr)
	}
	if s.gain+s.loss == 0 {
		return 50, s.tr
	}
	return 100 * (s.gain / (s.gain + s.loss)), s.tr
}

// averages returns macd and its signal from bar 34 on. As in TA-Lib both EMAs
// begin at bar 26: the slow one with the mean of bars 1 to 26, the fast one with
// that of bars 15 to 26.
func (s *recursion) averages(p float64) (macd, signal float64) {
	if s.n < slowN {
		s.slow += p
		if s.n > slowN-fastN {
			s.fast += p
		}
		return math.NaN(), math.NaN()
	}
	if s.n == slowN {
		s.slow, s.fast = (s.slow+p)/slowN, (s.fast+p)/fastN
	} else {
		s.slow, s.fast = ema(s.slow, p, slowN), ema(s.fast, p, fastN)
	}
	macd = s.fast - s.slow
	switch seen := s.n - slowN + 1; {
	case seen < signalN:
		s.signal += macd
		return math.NaN(), math.NaN()
	case seen == signalN:
		s.signal = (s.signal + macd) / signalN
	default:
		s.signal = ema(s.signal, macd, signalN)
	}
	return macd, s.signal
}

func wilder(before, x float64) float64 {
	return (float64(before*(wilderN-1)) + x) / wilderN
}

func ema(before, x float64, n int) float64 {
	k := 2 / float64(n+1)
	return float64((x-before)*k) + before
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
