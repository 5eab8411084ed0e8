package expression

import (
	"math"

	"quant"
)

// Worker computes a program for one symbol after another and keeps its memory between
// them, a few hundred columns as long as the longest history. One goroutine uses it.
type Worker struct {
	p         *Program
	grid      grid
	registers [][]float64
	constants map[int]float64 // registers that hold a number
	filled    int
	stage     *stage
	scratch   scratch
}

// NewWorker makes a worker of the program.
func (p *Program) NewWorker() *Worker { return &Worker{p: p} }

// Compute fills out[k][i], of the k-th feature, for the bars i from start on; each out[k]
// is as long as the bars. Where there is no value, it is NaN: see IsNone. Bars earlier
// than Program.Lookback sessions before start are not read. The bits do not depend on
// start, nor on bars that are not read. The program must have no cross-sections.
func (w *Worker) Compute(b *Bars, start int, out [][]float64) error {
	if len(w.p.sections) > 0 {
		return quant.Errorf(quant.Invalid, "the program compares symbols: it needs their cross-sections")
	}
	return w.compute(b, start, out, nil, 0)
}

func (w *Worker) compute(b *Bars, start int, out [][]float64, s *Sections, symbol int) error {
	if start < 0 || start > len(b.Session) {
		return quant.Errorf(quant.Invalid, "bar %d of %d", start, len(b.Session))
	}
	if start == len(b.Session) {
		return nil
	}
	if err := w.bind(b, b.Session[start], w.p.stages[len(w.p.stages)-1], s, symbol); err != nil {
		return err
	}
	return w.run(func(k int, x []float64) {
		to := out[k]
		if w.grid.whole {
			copy(to[start:], x[w.grid.asked:w.grid.cells])
			return
		}
		for i, c := range w.grid.cell[start-w.grid.from:] {
			to[start+i] = x[c]
		}
	})
}

// bind lays out the bars and fills the leaves of a stage.
func (w *Worker) bind(b *Bars, asked int32, st *stage, s *Sections, symbol int) error {
	if err := w.grid.bind(b, asked, w.p.lookback); err != nil {
		return err
	}
	n := w.grid.cells
	if w.stage != st {
		w.stage, w.constants, w.filled = st, map[int]float64{}, 0
	}
	for len(w.registers) < st.registers {
		w.registers = append(w.registers, nil)
	}
	for i := range w.registers {
		if cap(w.registers[i]) < n {
			w.registers[i] = make([]float64, n)
			w.filled = 0
		}
		w.registers[i] = w.registers[i][:n]
	}
	for _, l := range st.leaves {
		x := w.registers[l.register]
		switch {
		case l.section >= 0:
			s.column(l.section, symbol, &w.grid, x)
		case l.field != "":
			w.field(b, l.field, x)
		case w.filled < n:
			for i := range x {
				x[i] = l.number
			}
			w.constants[l.register] = l.number
		}
	}
	w.filled = max(w.filled, n)
	return nil
}

func (w *Worker) field(b *Bars, name string, x []float64) {
	if !w.grid.whole {
		for i := range x {
			x[i] = none
		}
	}
	from := w.grid.from
	var column []float64
	switch name {
	case "open":
		column = b.Open
	case "high":
		column = b.High
	case "low":
		column = b.Low
	case "close":
		column = b.Close
	case "volume":
		column = b.Volume
	case "vwap":
		for i, c := range w.grid.cell {
			k := from + i
			x[c] = finite((b.High[k] + b.Low[k] + b.Close[k]) / 3)
		}
		return
	}
	for i, c := range w.grid.cell {
		x[c] = finite(column[from+i])
	}
}

// finite is x, or none where a bar has no number.
func finite(x float64) float64 {
	if math.Abs(x) < limit {
		return x
	}
	return none
}

// run computes the steps of the bound stage; done is told each output, whose column is
// good until it returns.
func (w *Worker) run(done func(output int, x []float64)) error {
	st := w.stage
	for _, l := range st.pass {
		done(l[1], w.registers[l[0]])
	}
	n, warm := w.grid.cells, w.grid.warm
	w.scratch.grow(n)
	for _, s := range st.steps {
		lo := max(0, w.grid.asked-s.need)
		switch {
		case lo >= n: // the bars end before
		case s.family == elementwise:
			w.elementwise(s, lo)
		case s.family == lagged:
			w.lagged(s, lo)
		default:
			w.rolling(s, lo)
		}
		for i := range s.outs {
			r := &s.outs[i]
			x := w.registers[r.register]
			for t := lo; t < min(n, warm+r.lookback); t++ {
				x[t] = none
			}
			for _, k := range r.to {
				done(k, x)
			}
		}
	}
	return nil
}

func (w *Worker) lagged(s *step, lo int) {
	x, out, n := w.registers[s.args[0]], w.registers[s.outs[0].register], s.window
	for t := lo; t < min(n, len(out)); t++ {
		out[t] = none
	}
	first := max(lo, n)
	if first >= len(out) {
		return
	}
	if s.outs[0].kernel == kRef {
		copy(out[first:], x[first-n:])
		w.grid.blank(out)
		return
	}
	for t := first; t < len(out); t++ {
		a, b := x[t], x[t-n]
		r := a - b
		if !(math.Abs(r) < limit) {
			r = without(a, b)
		}
		out[t] = r
	}
}

func (w *Worker) elementwise(s *step, lo int) {
	n := w.grid.cells
	out := w.registers[s.outs[0].register][lo:n]
	x := w.registers[s.args[0]][lo:n][:len(out)]
	k := s.outs[0].kernel
	if len(s.args) == 1 {
		unary(k, x, out)
		return
	}
	y := w.registers[s.args[1]][lo:n][:len(out)]
	if k == kIf {
		z := w.registers[s.args[2]][lo:n][:len(out)]
		for i, c := range x {
			switch {
			case c != c:
				out[i] = c
			case c != 0:
				out[i] = y[i]
			default:
				out[i] = z[i]
			}
		}
		w.grid.blank(w.registers[s.outs[0].register])
		return
	}
	if k == kPower {
		if e, ok := w.constants[s.args[1]]; ok {
			power(x, e, out)
			return
		}
	}
	pairwise(k, x, y, out)
}

func unary(k kernel, x, out []float64) {
	switch k {
	case kAbs:
		for i, a := range x {
			out[i] = math.Abs(a)
			if a != a {
				out[i] = a
			}
		}
	case kSign:
		for i, a := range x {
			switch {
			case a > 0:
				out[i] = 1
			case a < 0:
				out[i] = -1
			default:
				out[i] = a
			}
			if a == 0 {
				out[i] = 0
			}
		}
	case kLog:
		for i, a := range x {
			r := math.Log(a)
			if !(math.Abs(r) < limit) {
				r = without(a, a)
			}
			out[i] = r
		}
	case kNot:
		for i, a := range x {
			if a == a {
				a = 1 - a
			}
			out[i] = a
		}
	}
}

func power(x []float64, e float64, out []float64) {
	for i, a := range x {
		var r float64
		switch e {
		case 2:
			r = a * a
		case 0.5:
			r = math.Sqrt(a)
		default:
			r = math.Pow(a, e)
		}
		// Pow(NaN, 0) is 1: what is missing stays missing.
		if a != a || !(math.Abs(r) < limit) {
			r = without(a, a)
		}
		out[i] = r
	}
}

func pairwise(k kernel, x, y, out []float64) {
	y, out = y[:len(x)], out[:len(x)]
	switch k {
	case kAdd:
		for i, a := range x {
			r := a + y[i]
			if !(math.Abs(r) < limit) {
				r = without(a, y[i])
			}
			out[i] = r
		}
	case kSub:
		for i, a := range x {
			r := a - y[i]
			if !(math.Abs(r) < limit) {
				r = without(a, y[i])
			}
			out[i] = r
		}
	case kMul:
		for i, a := range x {
			r := a * y[i]
			if !(math.Abs(r) < limit) {
				r = without(a, y[i])
			}
			out[i] = r
		}
	case kDiv:
		for i, a := range x {
			r := a / y[i]
			if !(math.Abs(r) < limit) {
				r = without(a, y[i])
			}
			out[i] = r
		}
	case kPower:
		for i, a := range x {
			b := y[i]
			r := math.Pow(a, b)
			if a != a || b != b || !(math.Abs(r) < limit) {
				r = without(a, b)
			}
			out[i] = r
		}
	case kGreater:
		for i, a := range x {
			b := y[i]
			r := a
			if b > a {
				r = b
			}
			if a != a || b != b {
				r = without(a, b)
			}
			out[i] = r
		}
	case kLess:
		for i, a := range x {
			b := y[i]
			r := a
			if b < a {
				r = b
			}
			if a != a || b != b {
				r = without(a, b)
			}
			out[i] = r
		}
	default:
		for i, a := range x {
			b := y[i]
			r := 0.0
			if truth(k, a, b) {
				r = 1
			}
			if a != a || b != b {
				r = without(a, b)
			}
			out[i] = r
		}
	}
}

func truth(k kernel, a, b float64) bool {
	switch k {
	case kGt:
		return a > b
	case kGe:
		return a >= b
	case kLt:
		return a < b
	case kLe:
		return a <= b
	case kEq:
		return a == b
	case kNe:
		return a != b
	case kAnd:
		return a != 0 && b != 0
	default: // kOr
		return a != 0 || b != 0
	}
}
