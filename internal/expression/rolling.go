package expression

import "math"

// scratch is what one step works with.
type scratch struct {
	count                []int32 // values in x up to a cell, of a column with missing ones
	s, q, t, ref         []float64
	sy, qy               []float64
	bs, bq, bt, bsy, bqy []float64 // of the cells of one block, from each to its end
	xm, ym               []float64
	sorted, suffix       []float64
	suffixAt             []int32
}

func (s *scratch) grow(n int) {
	for _, x := range []*[]float64{&s.s, &s.q, &s.t, &s.ref, &s.sy, &s.qy, &s.bs, &s.bq, &s.bt, &s.bsy, &s.bqy, &s.xm, &s.ym, &s.suffix} {
		if cap(*x) < n {
			*x = make([]float64, n)
		}
		*x = (*x)[:n]
	}
	for _, x := range []*[]int32{&s.count, &s.suffixAt} {
		if cap(*x) < n+1 {
			*x = make([]int32, n+1)
		}
		*x = (*x)[:n+1]
	}
}

// rolling computes a step over windows for the cells from lo on. A window has a value if
// 80 % of its sessions have one of the argument's.
func (w *Worker) rolling(s *step, lo int) {
	n, cells := s.window, w.grid.cells
	length := n
	if s.family == direct && s.outs[0].kernel == kEMA {
		length = decayed * n
	}
	for i := range s.outs {
		out := w.registers[s.outs[i].register]
		for t := lo; t < min(length-1, cells); t++ {
			out[t] = none
		}
	}
	from := max(lo, length-1)
	if from >= cells {
		return
	}
	r := roll{w: w, x: w.registers[s.args[0]], n: length, span: n, from: from, need: int32((4*length + 4) / 5)}
	if s.family == paired {
		r.pair(w.registers[s.args[1]])
	}
	r.counts()
	switch s.family {
	case summed:
		out := w.registers[s.outs[0].register]
		r.sum(out)
		if s.outs[0].kernel == kShare {
			for t := from; t < cells; t++ {
				out[t] /= float64(r.in(t-length+1, t+1))
			}
		}
	case moments:
		r.moments(s.outs)
	case greatest, least:
		r.extremes(s.outs, s.family == least)
	case ordered:
		r.ordered(s.outs)
	case paired:
		r.pairs(s.outs)
	case direct:
		r.direct(&s.outs[0])
	case counted:
		r.counted(w.registers[s.outs[0].register])
	}
	for i := range s.outs {
		out := w.registers[s.outs[i].register]
		if r.count != nil && s.family != counted {
			for t := from; t < cells; t++ {
				if r.count[t+1]-r.count[t+1-length] < r.need {
					out[t] = none
				}
			}
		}
		for t := from; t < cells; t++ {
			if !(math.Abs(out[t]) < limit) {
				out[t] = without(out[t], out[t])
			}
		}
		w.grid.blank(out)
	}
}

// roll is one pass of windows of n cells over x, for the cells from from on.
type roll struct {
	w     *Worker
	x, y  []float64
	n     int
	span  int // the n that was written, where the window is longer
	from  int
	need  int32
	count []int32 // nil: no cell that is read is missing
}

// counts counts the values, unless all are there.
func (r *roll) counts() {
	begin := r.from - r.n + 1
	gaps := false
	for _, v := range r.x[begin:] {
		if v != v {
			gaps = true
			break
		}
	}
	if !gaps {
		return
	}
	r.count = r.w.scratch.count
	have := int32(0)
	for t := begin; t < len(r.x); t++ {
		r.count[t] = have
		if v := r.x[t]; v == v {
			have++
		}
	}
	r.count[len(r.x)] = have
}

// in is how many values the cells from a to before b have.
func (r *roll) in(a, b int) int {
	if r.count == nil {
		return b - a
	}
	return int(r.count[b] - r.count[a])
}

// blocks walks the windows that end from from on. Those in two neighbouring blocks are
// told as fast, with the two blocks' bounds and the range of their ends; all others one
// by one. A window of x without a value in the first block is told alone, too.
func (r *roll) blocks(fast func(e0, e1, begin, end int), single func(a, t int)) {
	edges := r.w.grid.edges(r.span)
	if r.n != r.span {
		edges = r.w.grid.edges(r.n)
	}
	for k := 0; k+1 < len(edges); k++ {
		e1, e2 := int(edges[k]), int(edges[k+1])
		if e2 <= r.from {
			continue
		}
		first := max(e1, r.from)
		if k == 0 {
			for t := first; t < e2; t++ {
				single(t-r.n+1, t)
			}
			continue
		}
		e0 := int(edges[k-1])
		begin := max(first, e0+r.n-1)
		end := min(e2, e1+r.n-1)
		if r.count != nil {
			// The first block's values that the last of these windows still has.
			for end > begin && r.in(end-r.n, e1) == 0 {
				end--
			}
		}
		for t := first; t < min(begin, e2); t++ {
			single(t-r.n+1, t)
		}
		if begin < end {
			fast(e0, e1, begin, end)
		}
		for t := max(first, begin, end); t < e2; t++ {
			single(t-r.n+1, t)
		}
	}
}

// sum adds from the older block's end backwards, from the younger one's begin forwards,
// and then both.
func (r *roll) sum(out []float64) {
	x, tail := r.x, r.w.scratch.bs
	r.blocks(func(e0, e1, begin, end int) {
		total := 0.0
		for j := e1 - 1; j >= begin-r.n+1; j-- {
			if v := x[j]; v == v {
				total += v
			}
			tail[j-e0] = total
		}
		total = 0
		for t := e1; t < begin; t++ {
			if v := x[t]; v == v {
				total += v
			}
		}
		older := tail[begin-r.n+1-e0:]
		for i, v := range x[begin:end] {
			if v == v {
				total += v
			}
			out[begin+i] = older[i] + total
		}
	}, func(a, t int) {
		total := 0.0
		for _, v := range x[a : t+1] {
			if v == v {
				total += v
			}
		}
		out[t] = total
	})
}

// centred gives, for each window, the sums of d, of its squares, and of i d, where d is
// x less a value of the window, and i the session in it from 1 to n.
func (r *roll) centred() {
	w := &r.w.scratch
	x, n := r.x, r.n
	s, q, ti, refs := w.s, w.q, w.t, w.ref
	r.blocks(func(e0, e1, begin, end int) {
		ref := 0.0
		for j := e1 - 1; ; j-- {
			if ref = x[j]; ref == ref {
				break
			}
		}
		first := begin - n + 1
		var a, b, c float64
		for j := e1 - 1; j >= first; j-- {
			d := x[j] - ref
			if d != d {
				d = 0
			}
			a += d
			b += float64(d * d)
			c += float64(float64(j-e1) * d)
			w.bs[j-e0], w.bq[j-e0], w.bt[j-e0] = a, b, c
		}
		a, b, c = 0, 0, 0
		for t := e1; t < begin; t++ {
			d := x[t] - ref
			if d != d {
				d = 0
			}
			a += d
			b += float64(d * d)
			c += float64(float64(t-e1) * d)
		}
		bs, bq, bt := w.bs[first-e0:e1-e0], w.bq[first-e0:e1-e0], w.bt[first-e0:e1-e0]
		for t := begin; t < end; t++ {
			d := x[t] - ref
			if d != d {
				d = 0
			}
			a += d
			b += float64(d * d)
			c += float64(float64(t-e1) * d)
			i := t - begin
			sum := bs[i] + a
			s[t], q[t] = sum, bq[i]+b
			ti[t] = (bt[i] + c) + float64(float64(e1-t+n)*sum)
			refs[t] = ref
		}
	}, func(a, t int) {
		ref := 0.0
		for j := t; j >= a; j-- {
			if ref = x[j]; ref == ref {
				break
			}
		}
		var sum, sq, prod float64
		for j := a; j <= t; j++ {
			d := x[j] - ref
			if d != d {
				d = 0
			}
			sum += d
			sq += float64(d * d)
			prod += float64(float64(j-a+1) * d)
		}
		s[t], q[t], ti[t], refs[t] = sum, sq, prod, ref
	})
}

func (r *roll) moments(outs []result) {
	r.centred()
	w := &r.w.scratch
	x, n, fn := r.x, r.n, float64(r.n)
	middle, spread := (fn+1)/2, fn*(fn*fn-1)/12
	for i := range outs {
		out := r.w.registers[outs[i].register]
		k := outs[i].kernel
		line := k == kSlope || k == kRsquare || k == kResi || k == kWMA
		for t := r.from; t < len(x); t++ {
			m := fn
			if r.count != nil {
				have := r.in(t-n+1, t+1)
				if have < int(r.need) {
					continue
				}
				if have < n && line {
					out[t] = r.line(k, t-n+1, t, float64(have))
					continue
				}
				m = float64(have)
			}
			s := w.s[t]
			switch k {
			case kMean:
				out[t] = w.ref[t] + s/m
			case kStd:
				out[t] = math.Sqrt(max(0, w.q[t]-float64(s*s)/m) / (m - 1))
			case kVar:
				out[t] = max(0, w.q[t]-float64(s*s)/m) / (m - 1)
			case kSlope:
				out[t] = (w.t[t] - float64(middle*s)) / spread
			case kRsquare:
				z := w.t[t] - float64(middle*s)
				out[t] = determined(z, spread, w.q[t]-float64(s*s)/m)
			case kResi:
				slope := (w.t[t] - float64(middle*s)) / spread
				out[t] = (x[t] - w.ref[t] - s/m) - float64(slope*(fn-middle))
			case kWMA:
				out[t] = w.ref[t] + w.t[t]/(fn*middle)
			}
		}
	}
}

// determined is z²/(a b), the share of b that a line determines.
func determined(z, a, b float64) float64 {
	if b <= 0 {
		return math.NaN()
	}
	return min(1, float64(z*z)/float64(a*b))
}

// line is what moments computes of a window that lacks some of its sessions.
func (r *roll) line(k kernel, a, t int, m float64) float64 {
	w := &r.w.scratch
	sum, ref := w.s[t], w.ref[t]
	var si, sii float64 // whole numbers: exact
	for j := a; j <= t; j++ {
		if v := r.x[j]; v == v {
			i := float64(j - a + 1)
			si += i
			sii += i * i
		}
	}
	if k == kWMA {
		return ref + w.t[t]/si
	}
	spread := sii - float64(si*si)/m
	z := w.t[t] - float64(si*sum)/m
	switch k {
	case kSlope:
		return z / spread
	case kRsquare:
		return determined(z, spread, w.q[t]-float64(sum*sum)/m)
	default:
		if x := r.x[t]; x != x {
			return none
		}
		return (r.x[t] - ref - sum/m) - float64(z/spread*(float64(r.n)-si/m))
	}
}

// pair leaves the cells that have both columns.
func (r *roll) pair(y []float64) {
	r.y = y
	begin := r.from - r.n + 1
	gaps := false
	for t := begin; t < len(y); t++ {
		if d := r.x[t] - y[t]; d != d {
			gaps = true
			break
		}
	}
	if !gaps {
		return
	}
	xm, ym := r.w.scratch.xm, r.w.scratch.ym
	for t := begin; t < len(y); t++ {
		xm[t], ym[t] = r.x[t], y[t]
		if r.x[t] != r.x[t] || y[t] != y[t] {
			xm[t], ym[t] = none, none
		}
	}
	r.x, r.y = xm, ym
}

func (r *roll) pairs(outs []result) {
	w := &r.w.scratch
	x, y, n := r.x, r.y, r.n
	r.blocks(func(e0, e1, begin, end int) {
		var rx, ry float64
		for j := e1 - 1; ; j-- {
			if rx, ry = x[j], y[j]; rx == rx {
				break
			}
		}
		first := begin - n + 1
		var a, b, c, d, e float64
		take := func(j int) {
			dx, dy := x[j]-rx, y[j]-ry
			if dx != dx {
				dx, dy = 0, 0
			}
			a += dx
			b += float64(dx * dx)
			c += float64(dx * dy)
			d += dy
			e += float64(dy * dy)
		}
		for j := e1 - 1; j >= first; j-- {
			take(j)
			i := j - e0
			w.bs[i], w.bq[i], w.bt[i], w.bsy[i], w.bqy[i] = a, b, c, d, e
		}
		a, b, c, d, e = 0, 0, 0, 0, 0
		for t := e1; t < begin; t++ {
			take(t)
		}
		for t := begin; t < end; t++ {
			take(t)
			i := t - n + 1 - e0
			w.s[t], w.q[t], w.t[t], w.sy[t], w.qy[t] = w.bs[i]+a, w.bq[i]+b, w.bt[i]+c, w.bsy[i]+d, w.bqy[i]+e
		}
	}, func(from, t int) {
		var rx, ry float64
		for j := t; j >= from; j-- {
			if rx, ry = x[j], y[j]; rx == rx {
				break
			}
		}
		var a, b, c, d, e float64
		for j := from; j <= t; j++ {
			dx, dy := x[j]-rx, y[j]-ry
			if dx != dx {
				dx, dy = 0, 0
			}
			a += dx
			b += float64(dx * dx)
			c += float64(dx * dy)
			d += dy
			e += float64(dy * dy)
		}
		w.s[t], w.q[t], w.t[t], w.sy[t], w.qy[t] = a, b, c, d, e
	})
	for i := range outs {
		out := r.w.registers[outs[i].register]
		for t := r.from; t < len(x); t++ {
			m := float64(r.in(t-n+1, t+1))
			co := w.t[t] - float64(w.s[t]*w.sy[t])/m
			if outs[i].kernel == kCov {
				out[t] = co / (m - 1)
				continue
			}
			vx, vy := w.q[t]-float64(w.s[t]*w.s[t])/m, w.qy[t]-float64(w.sy[t]*w.sy[t])/m
			if vx <= 0 || vy <= 0 {
				out[t] = math.NaN()
				continue
			}
			// The root of the product makes the correlation of a column with itself 1.
			scale := math.Sqrt(vx * vy)
			if !(scale > 1e-150 && scale < 1e150) {
				scale = math.Sqrt(vx) * math.Sqrt(vy)
			}
			out[t] = max(-1, min(1, co/scale))
		}
	}
}

// extremes finds the greatest value of each window, or the least: that of the cells
// before a multiple of n, from each to its end, and that of those after it.
func (r *roll) extremes(outs []result, least bool) {
	x, n := r.x, r.n
	w := &r.w.scratch
	if least {
		x = w.xm
		for t := r.from - n + 1; t < len(x); t++ {
			x[t] = -r.x[t]
		}
	}
	var value, at []float64
	for i := range outs {
		if k := outs[i].kernel; k == kMax || k == kMin {
			value = r.w.registers[outs[i].register]
		} else {
			at = r.w.registers[outs[i].register]
		}
	}
	best, where := w.suffix, w.suffixAt
	for edge := r.from + 1; ; edge += n {
		// Windows that end from edge-1 to edge+n-2.
		top, place := math.Inf(-1), edge-1
		for j := edge - 1; j >= edge-n; j-- {
			if x[j] >= top {
				top, place = x[j], j
			}
			best[j], where[j] = top, int32(place)
		}
		top, place = math.Inf(-1), edge
		for t := edge - 1; t < min(edge+n-1, len(x)); t++ {
			if t >= edge && x[t] > top {
				top, place = x[t], t
			}
			a := t - n + 1
			m, p := best[a], int(where[a])
			if top > m {
				m, p = top, place
			}
			if value != nil {
				value[t] = m
			}
			if at != nil {
				at[t] = float64(p - a + 1)
			}
		}
		if edge+n-1 >= len(x) {
			break
		}
	}
	if least && value != nil {
		for t := r.from; t < len(x); t++ {
			value[t] = -value[t]
		}
	}
}

// below is how many of a sorted window are less than v.
func below(sorted []float64, v float64) int {
	lo, hi := 0, len(sorted)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); sorted[m] < v {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// ordered keeps the values of the window sorted.
func (r *roll) ordered(outs []result) {
	x, n := r.x, r.n
	sorted := r.w.scratch.sorted[:0]
	if cap(sorted) < n+1 {
		sorted = make([]float64, 0, n+1)
	}
	for t := r.from - n + 1; t < len(x); t++ {
		v := x[t]
		oldest := none
		if a := t - n; a >= r.from-n+1 {
			oldest = x[a]
		}
		place := 0
		switch {
		case v == v && oldest == oldest:
			from := below(sorted, oldest)
			if place = below(sorted, v); place > from {
				place--
				copy(sorted[from:place], sorted[from+1:place+1])
			} else {
				copy(sorted[place+1:from+1], sorted[place:from])
			}
			sorted[place] = v
		case v == v:
			place = below(sorted, v)
			sorted = append(sorted, 0)
			copy(sorted[place+1:], sorted[place:])
			sorted[place] = v
		case oldest == oldest:
			from := below(sorted, oldest)
			sorted = append(sorted[:from], sorted[from+1:]...)
		}
		if t < r.from || len(sorted) < int(r.need) {
			continue
		}
		for i := range outs {
			out := r.w.registers[outs[i].register]
			switch outs[i].kernel {
			case kMed:
				out[t] = quantile(sorted, 0.5)
			case kQuantile:
				out[t] = quantile(sorted, outs[i].quantile)
			default:
				if v != v {
					out[t] = v
					continue
				}
				equal := 1
				for place+equal < len(sorted) && sorted[place+equal] == v {
					equal++
				}
				out[t] = (float64(place) + float64(equal+1)/2) / float64(len(sorted))
			}
		}
	}
	r.w.scratch.sorted = sorted
}

func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	k := int(at)
	if k+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[k] + float64((sorted[k+1]-sorted[k])*(at-float64(k)))
}

func (r *roll) counted(out []float64) {
	for t := r.from; t < len(out); t++ {
		out[t] = float64(r.in(t-r.n+1, t+1))
	}
}

// direct visits every value of a window.
func (r *roll) direct(res *result) {
	out := r.w.registers[res.register]
	var weights []float64
	if res.kernel == kEMA {
		weights = make([]float64, r.n)
		q := 1.0
		for i := range weights {
			weights[len(weights)-1-i] = q
			q *= 1 - 2/float64(r.span+1)
		}
	}
	whole := 0.0
	for _, v := range weights {
		whole += v
	}
	for t := r.from; t < len(out); t++ {
		have := r.in(t-r.n+1, t+1)
		if have < int(r.need) {
			continue
		}
		x := r.x[t-r.n+1 : t+1]
		switch res.kernel {
		case kEMA:
			out[t] = weighted(x, weights, whole, have < r.n)
		case kMad:
			out[t] = meanDistance(x, float64(have))
		default:
			out[t] = shapeOf(res.kernel, x, float64(have))
		}
	}
}

func weighted(x, weights []float64, whole float64, gaps bool) float64 {
	weights = weights[:len(x)]
	if gaps {
		whole = 0
	}
	ref, sum := none, 0.0
	for i := len(x) - 1; ref != ref; i-- {
		ref = x[i]
	}
	for i, v := range x {
		if v == v {
			sum += float64(weights[i] * (v - ref))
			if gaps {
				whole += weights[i]
			}
		}
	}
	return ref + sum/whole
}

// mean is that of the values of a window, exact where all are equal.
func mean(x []float64, m float64) float64 {
	ref, sum := none, 0.0
	for i := len(x) - 1; ref != ref; i-- {
		ref = x[i]
	}
	for _, v := range x {
		if v == v {
			sum += v - ref
		}
	}
	return ref + sum/m
}

func meanDistance(x []float64, m float64) float64 {
	centre, sum := mean(x, m), 0.0
	for _, v := range x {
		if v == v {
			sum += math.Abs(v - centre)
		}
	}
	return sum / m
}

func shapeOf(k kernel, x []float64, m float64) float64 {
	centre := mean(x, m)
	var m2, m3, m4 float64
	for _, v := range x {
		if v == v {
			d := v - centre
			d2 := d * d
			m2 += d2
			m3 += float64(d2 * d)
			m4 += float64(d2 * d2)
		}
	}
	if m2 == 0 {
		return math.NaN()
	}
	if k == kSkew {
		return m * math.Sqrt(m-1) / (m - 2) * m3 / float64(m2*math.Sqrt(m2))
	}
	return m*(m+1)*(m-1)/float64((m-2)*(m-3))*m4/float64(m2*m2) - 3*(m-1)*(m-1)/float64((m-2)*(m-3))
}
