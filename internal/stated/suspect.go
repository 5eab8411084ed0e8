package stated

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/correlation"
	"quant/internal/factstore"
	"quant/internal/parallel"
	"quant/internal/sqltext"
)

// The look at values that may be returns which only followed.
const (
	sampleRows  = 50_000 // about
	fewestPairs = 30
	likeness    = 0.99 // correlation from which a value is taken for the return

	// A correlation of at least that, this many standard errors of as many sessions as
	// there are without overlap, is said: no forecast is so good.
	unlikely, standardErrors = 0.3, 10
)

// span is a return that followed a day: from the close of so many sessions later to that of
// others. Of usual ones the ranks are looked at, too.
type span struct {
	from, to int
	usual    bool
}

func (s span) String() string {
	if s.from == 0 {
		return "the next " + quant.Count(s.to, "session")
	}
	return fmt.Sprintf("the sessions %d to %d that followed", s.from+1, s.to)
}

// followedSpans are the returns that are looked at: over up to 30 sessions, those that
// labels beyond usually have, and those that leave out a session, as Qlib's labels do.
func followedSpans() []span {
	var list []span
	usual := []int{1, 2, 3, 5, 10, 20, 21, 60}
	for h := 1; h <= 30; h++ {
		list = append(list, span{to: h, usual: slices.Contains(usual, h)})
	}
	for _, h := range []int{40, 42, 45, 50, 60, 63, 65, 90, 120, 125, 126, 180, 240, 250, 252} {
		list = append(list, span{to: h, usual: slices.Contains(usual, h)})
	}
	for _, h := range []int{2, 6, 11, 21} {
		list = append(list, span{from: 1, to: h, usual: true})
	}
	return list
}

// followed holds the rows of a sample, by symbol and day, and the returns that followed
// each. NaN: there is none.
type followed struct {
	days       []quant.Date
	symbols    []int32 // which of names
	names      []string
	price, bar []float64 // the close as it is adjusted, and as it was
	spans      []span
	returns    [][]float64 // of each span
	ranks      [][]float64 // of these, nil where they are not looked at
	daily      [][]float64 // the rank among the names of the day, 0 to 1; nil likewise
	ofDay      [][]int32   // the rows of each day
}

// suspect refuses values that are all but the return over the next sessions: whatever the
// file says of when they were known, they cannot have been. Of values that forecast it
// better than forecasts are it says so. Values of some symbols stand for all.
func (in *importing) suspect(ctx context.Context) error {
	if in.names == nil || in.AcceptStated {
		return nil
	}
	var rows int64
	if err := in.db.QueryRow(ctx, "SELECT count(*) FROM temp.main."+fresh).Scan(&rows); err != nil {
		return err
	}
	if err := in.stage(ctx, fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT symbol FROM (SELECT DISTINCT symbol FROM temp.main.%s) QUALIFY (row_number() OVER (ORDER BY hash(symbol), symbol) - 1) %% %d = 0",
		sampled, fresh, max(1, rows/sampleRows))); err != nil {
		return err
	}
	f, err := in.follow(ctx)
	if err != nil {
		return err
	}
	for from := 0; from < len(in.names); from += featuresTogether {
		names := in.names[from:min(from+featuresTogether, len(in.names))]
		values, err := in.sample(ctx, names)
		if err != nil {
			return err
		}
		found := make([]likenesses, len(names))
		if err := parallel.Blocks(ctx, len(names), 1, func() func(lo, hi int) {
			w := &comparison{f: f}
			return func(lo, hi int) {
				for k := lo; k < hi; k++ {
					found[k] = w.compare(values[k])
				}
			}
		}); err != nil {
			return err
		}
		for k, name := range names {
			if err := in.judge(f, name, values[k], found[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// featuresTogether bounds memory: so many features of the sample are held at once.
const featuresTogether = 32

// joined are the rows of the sample that have a bar.
const joined = "temp.main." + fresh + " s JOIN temp.main." + sampled + " USING (symbol) JOIN ohlcv b USING (symbol, ts)"

// follow reads the bars of the sampled symbols, and what followed each row.
func (in *importing) follow(ctx context.Context) (*followed, error) {
	f := &followed{spans: followedSpans()}
	f.returns = make([][]float64, len(f.spans))
	var names factstore.Names
	var symbols []int32
	var days []quant.Date
	var price, bar []float64
	err := in.db.Columns(ctx, "SELECT symbol, ts, coalesce(adjusted_close, close), close FROM ohlcv JOIN temp.main."+sampled+" USING (symbol) ORDER BY symbol, ts", nil, func(c *factstore.Chunk) error {
		symbols, days = c.AppendNumbers(symbols, 0, &names), c.AppendDates(days, 1)
		price, bar = c.AppendFloats(price, 2), c.AppendFloats(bar, 3)
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.names = names.List
	at, end := 0, 0 // in the bars; end: behind those of the symbol
	row := func(symbol string, day quant.Date) {
		for f.names[symbols[at]] != symbol || days[at] != day {
			at++
		}
		for end = max(end, at); end < len(symbols) && symbols[end] == symbols[at]; {
			end++
		}
		f.symbols, f.days = append(f.symbols, symbols[at]), append(f.days, day)
		f.price, f.bar = append(f.price, orNone(price[at])), append(f.bar, orNone(bar[at]))
		for i, of := range f.spans {
			r := math.NaN()
			if at+of.to < end {
				r = price[at+of.to]/orNone(price[at+of.from]) - 1
				if math.IsInf(r, 0) || price[at+of.to] == 0 {
					r = math.NaN()
				}
			}
			f.returns[i] = append(f.returns[i], r)
		}
	}
	var of []quant.Date
	err = in.db.Columns(ctx, "SELECT symbol, ts FROM "+joined+" ORDER BY symbol, ts", nil, func(c *factstore.Chunk) error {
		of = c.AppendDates(of[:0], 1)
		for k, day := range of {
			row(c.Text(0, k), day)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.rank()
	return f, nil
}

// orNone is a price; 0 is none.
func orNone(x float64) float64 {
	if x == 0 {
		return math.NaN()
	}
	return x
}

// rank ranks the returns, of all and within each day.
func (f *followed) rank() {
	number := map[quant.Date]int{}
	for k, day := range f.days {
		d, known := number[day]
		if !known {
			d = len(f.ofDay)
			number[day] = d
			f.ofDay = append(f.ofDay, nil)
		}
		f.ofDay[d] = append(f.ofDay[d], int32(k))
	}
	f.ranks, f.daily = make([][]float64, len(f.spans)), make([][]float64, len(f.spans))
	w := &comparison{f: f}
	for i, of := range f.spans {
		if of.usual || of.to <= 20 {
			f.ranks[i] = w.ranked(f.returns[i])
		}
		if of.usual {
			f.daily[i] = w.rankedByDay(f.returns[i])
		}
	}
}

// sample reads the values of features, NaN where there is none.
func (in *importing) sample(ctx context.Context, names []string) ([][]float64, error) {
	list := make([]string, len(names))
	for k, name := range names {
		list[k] = "s." + sqltext.Identifier(name)
	}
	values := make([][]float64, len(names))
	err := in.db.Columns(ctx, "SELECT "+strings.Join(list, ", ")+" FROM "+joined+" ORDER BY symbol, ts", nil, func(c *factstore.Chunk) error {
		for k := range values {
			values[k] = c.AppendFloats(values[k], k)
		}
		return nil
	})
	return values, err
}

// likenesses are how like the returns over each span the values of a feature are, the
// largest of those in which they may hold it (see comparison.of), and how good a
// forecast of it.
type likenesses struct {
	days           int
	like, forecast []float64 // of each span; 0: not known
}

// comparison compares features, one after the other, by one goroutine.
type comparison struct {
	f      *followed
	ranker correlation.Ranker
	x, y   []float64
	ranks  []float64
}

// correlation is Pearson's of the pairs that are whole, 0 of fewer than fewestPairs.
func (w *comparison) correlation(a, b []float64) float64 {
	w.x, w.y = w.x[:0], w.y[:0]
	for k, x := range a {
		if y := b[k]; x == x && y == y {
			w.x, w.y = append(w.x, x), append(w.y, y)
		}
	}
	if len(w.x) < fewestPairs {
		return 0
	}
	c := correlation.Pearson(w.x, w.y)
	if c != c {
		return 0
	}
	return math.Abs(c)
}

// ranked are the ranks of the values that there are.
func (w *comparison) ranked(x []float64) []float64 {
	out := make([]float64, len(x))
	w.x = w.x[:0]
	for _, v := range x {
		if v == v {
			w.x = append(w.x, v)
		}
	}
	w.ranks = w.ranker.Ranks(w.ranks, w.x)
	n := 0
	for k, v := range x {
		if out[k] = math.NaN(); v == v {
			out[k] = w.ranks[n]
			n++
		}
	}
	return out
}

// rankedByDay are the ranks among the values of the day, where it has three or more: 0
// of the least to 1 of the greatest.
func (w *comparison) rankedByDay(x []float64) []float64 {
	out := make([]float64, len(x))
	for _, rows := range w.f.ofDay {
		w.x = w.x[:0]
		for _, k := range rows {
			out[k] = math.NaN()
			if v := x[k]; v == v {
				w.x = append(w.x, v)
			}
		}
		if len(w.x) < 3 {
			continue
		}
		w.ranks = w.ranker.Ranks(w.ranks, w.x)
		n := 0
		for _, k := range rows {
			if v := x[k]; v == v {
				out[k] = (w.ranks[n] - 1) / float64(len(w.x)-1)
				n++
			}
		}
	}
	return out
}

// compare looks for the ways in which a feature may hold the return that followed: as
// it is, in its order, as its order among the names of the day (of a rank, a score, what
// is left without the mean), as its direction, by its sign (of a return over its
// deviation), and as the price itself.
func (w *comparison) compare(x []float64) likenesses {
	f := w.f
	found := likenesses{like: make([]float64, len(f.spans)), forecast: make([]float64, len(f.spans))}
	for _, rows := range f.ofDay {
		if slices.ContainsFunc(rows, func(k int32) bool { return x[k] == x[k] }) {
			found.days++
		}
	}
	ranks, daily := w.ranked(x), w.rankedByDay(x)
	sign, byPrice, byBar := make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
	change := func(v, price float64) float64 {
		if c := v/price - 1; math.Abs(c) < 0.5 {
			return c
		}
		return math.NaN()
	}
	for k, v := range x {
		switch {
		case v > 0:
			sign[k] = 1
		case v < 0:
			sign[k] = -1
		case v != v:
			sign[k] = v
		}
		byPrice[k], byBar[k] = change(v, f.price[k]), change(v, f.bar[k])
	}
	up := make([]float64, len(x))
	for i, r := range f.returns {
		found.forecast[i] = w.correlation(x, r)
		if f.ranks[i] != nil {
			found.forecast[i] = max(found.forecast[i], w.correlation(ranks, f.ranks[i]))
		}
		if f.daily[i] != nil {
			found.forecast[i] = max(found.forecast[i], w.correlation(daily, f.daily[i]))
		}
		for k, v := range r {
			switch {
			case v > 0:
				up[k] = 1
			case v == v:
				up[k] = 0
			default:
				up[k] = v
			}
		}
		found.like[i] = max(found.forecast[i], w.correlation(x, up), w.correlation(sign, up), w.correlation(byPrice, r), w.correlation(byBar, r))
	}
	return found
}

// judge refuses a feature that is too like a return, and notes one that is too good.
func (in *importing) judge(f *followed, name string, x []float64, found likenesses) error {
	best, at := likeness, -1
	good, over := 0.0, -1
	for i, span := range f.spans {
		if c := found.like[i]; c > best {
			best, at = c, i
		}
		if c := found.forecast[i]; c >= unlikely && c > good && c*math.Sqrt(float64(found.days)/float64(span.to-span.from)) >= standardErrors {
			good, over = c, i
		}
	}
	if at < 0 {
		if over >= 0 {
			in.report.Notices = append(in.report.Notices, fmt.Sprintf("%s goes with the return over %s by %.2f, and what is known in time seldom does by 0.1: when was it known?", name, f.spans[over], good))
		}
		return nil
	}
	r, shown := f.returns[at], -1
	for k, v := range x {
		if v != v || r[k] != r[k] {
			continue
		}
		if shown < 0 || math.Abs(r[k]) > math.Abs(r[shown]) || math.Abs(r[k]) == math.Abs(r[shown]) && f.days[k] < f.days[shown] {
			shown = k
		}
	}
	in.report.Refused = true
	return quant.Errorf(quant.Refused, "%s: %s looks ahead: it goes with the return over %s by %.3f; %s %s says %v, and the return that followed is %v; nothing was stored",
		in.label(), name, f.spans[at], best, f.names[f.symbols[shown]], f.days[shown], x[shown], r[shown]).
		WithHint("move it to the day on which it was known; if it is right all the same: --accept-stated")
}
