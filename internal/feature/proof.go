package feature

import (
	"context"
	"math"
	"slices"

	"quant"
	"quant/internal/expression"
	"quant/internal/factstore"
	"quant/internal/price"
)

// Proof says on what it was tried that the features of a set know nothing of the future:
// they were computed again on history that ends on each of the days, and on history that
// is another one after it, and every value up to the day came out the same, to the bit.
type Proof struct {
	Days     []quant.Date `json:"days"`
	Symbols  int          `json:"symbols"`  // that it was tried with
	Compared int64        `json:"compared"` // values
}

const (
	// symbolsOfProof are at most so many of the market, spread over it.
	symbolsOfProof = 16
	// sessionsOfProof is how many sessions up to a day are compared.
	sessionsOfProof = 21
)

// kernelOfBars computes the features of these bars of symbols from a session on: by
// symbol, then feature, a value for each bar from there on.
type kernelOfBars func(list []expression.Bars, symbols []string, from int32) ([][]float64, error)

// prove tries it. A language that cannot say "later" needs no proof; the kernels behind
// it do. Refused: a value is another, which is a fault of this program.
func (e *evaluation) prove(ctx context.Context, set factstore.FeatureSet, valuesOf kernelOfBars) (*Proof, error) {
	c := e.c
	var bars price.Bars
	if err := c.basis.Read(ctx, c.db, c.cal, c.priceRequest(), apart(c.basis.Symbols, symbolsOfProof), 0, &bars); err != nil {
		return nil, err
	}
	e.numberSectors()
	whole := make([]expression.Bars, len(bars.Symbols))
	for k := range bars.Symbols {
		i, j := bars.From[k], bars.From[k+1]
		whole[k] = expression.Bars{Session: bars.Session[i:j], Days: bars.Days[i:j], Open: bars.Open[i:j], High: bars.High[i:j], Low: bars.Low[i:j], Close: bars.Close[i:j], Volume: bars.Volume[i:j]}
		if j > i {
			whole[k].First = bars.Session[i]
		}
	}
	p := &Proof{Days: daysOfProof(bars.Days), Symbols: len(bars.Symbols)}
	for _, day := range p.Days {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		at, _ := c.cal.Index(day)
		from := int32(max(0, at-sessionsOfProof+1))
		cut, other := make([]expression.Bars, len(whole)), make([]expression.Bars, len(whole))
		for k, b := range whole {
			n, _ := slices.BinarySearch(b.Days, day+1)
			cut[k], other[k] = upTo(b, n), changedFrom(b, n)
		}
		values := make([][][]float64, 3)
		for i, history := range [][]expression.Bars{whole, cut, other} {
			var err error
			if values[i], err = valuesOf(history, bars.Symbols, from); err != nil {
				return nil, err
			}
		}
		for k, b := range cut {
			start, _ := slices.BinarySearch(b.Session, from)
			for f := range set.Features {
				n := len(set.Features)*k + f
				for i := start; i < len(b.Session); i++ {
					for h, what := range []string{1: "without what follows", 2: "with other bars after it"} {
						if x, y := values[0][n][i], values[h][n][i]; h > 0 && math.Float64bits(x) != math.Float64bits(y) && (x == x || y == y) {
							return nil, quant.Errorf(quant.Refused, "feature %s@%s of %s on %s is %v, and %v %s %s", set.Features[f].Name, set.Version, bars.Symbols[k], b.Days[i], x, y, what, day).
								WithHint("nothing was stored; this is a fault of quant: please report it with the expression")
						}
					}
					if values[0][n][i] == values[0][n][i] {
						p.Compared += 2
					}
				}
			}
		}
	}
	return p, nil
}

// valuesOf is the kernelOfBars of the set.
func (e *evaluation) valuesOf(list []expression.Bars, symbols []string, from int32) ([][]float64, error) {
	worker := e.program.NewWorker()
	var compared *expression.Sections
	if e.program.Stages() > 0 {
		compared = e.program.NewSections(len(list))
		for stage := range e.program.Stages() {
			for k := range list {
				if err := worker.Collect(compared, stage, k, e.sectorOf(symbols[k]), &list[k], from); err != nil {
					return nil, err
				}
			}
			if err := compared.Compare(stage, 0, 1); err != nil {
				return nil, err
			}
		}
	}
	var all [][]float64
	for k := range list {
		b := &list[k]
		out := make([][]float64, e.c.outputs)
		for f := range out {
			out[f] = make([]float64, len(b.Session))
		}
		start, _ := slices.BinarySearch(b.Session, from)
		var err error
		if compared != nil {
			err = worker.ComputeWith(compared, k, b, start, out)
		} else {
			err = worker.Compute(b, start, out)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, out...)
	}
	return all, nil
}

// apart are n of a list, as far from each other as they can be, in its order.
func apart(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	some := make([]string, n)
	for i := range some {
		some[i] = list[i*(len(list)-1)/(n-1)]
	}
	return some
}

// daysOfProof are the days of bars on which it is tried: near the end, where a look
// ahead meets the end of the data, and in each third.
func daysOfProof(of []quant.Date) []quant.Date {
	days := slices.Compact(slices.Sorted(slices.Values(of)))
	list := []quant.Date{}
	n := len(days)
	for _, at := range []int{n / 6, n / 3, n / 2, n * 2 / 3, n * 5 / 6, n - 22, n - 6, n - 2} {
		if at >= 0 && at < n-1 {
			list = append(list, days[at])
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// upTo are the first n bars.
func upTo(b expression.Bars, n int) expression.Bars {
	b.Session, b.Days = b.Session[:n], b.Days[:n]
	b.Open, b.High, b.Low, b.Close, b.Volume = b.Open[:n], b.High[:n], b.Low[:n], b.Close[:n], b.Volume[:n]
	return b
}

// changedFrom are bars that are others from the n-th on.
func changedFrom(b expression.Bars, n int) expression.Bars {
	for k, column := range []*[]float64{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume} {
		changed := slices.Clone(*column)
		for i := n; i < len(changed); i++ {
			changed[i] *= 0.5 + float64((i*7+k*3)%11)/5
		}
		*column = changed
	}
	return b
}
