package backtest

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"quant"
)

// Book is what is said of an account that is not filled whole at the close, or may be
// short: how it was filled and held, and what that came to. Money is in currency.
type Book struct {
	Side              string  `json:"side"`  // SideLong or SideLongShort
	Price             string  `json:"price"` // of fills: AtClose or AtOpen
	MaxVolumeShare    float64 `json:"max_volume_share"`
	Impact            float64 `json:"impact"`
	BorrowBps         float64 `json:"borrow_bps"`
	ShortRebate       float64 `json:"short_rebate"`
	MarginInitial     float64 `json:"margin_initial"`
	MarginMaintenance float64 `json:"margin_maintenance"`

	AvgGross *float64 `json:"avg_gross"` // mean of longs and shorts / equity
	AvgNet   *float64 `json:"avg_net"`   // mean of longs less shorts / equity
	// LongPnL and ShortPnL are of the trades, after their costs and before Borrow. With
	// the interest less Borrow they are what equity gained.
	LongPnL       float64     `json:"long_pnl"`
	ShortPnL      float64     `json:"short_pnl"`
	Borrow        float64     `json:"borrow"`
	ImpactCost    float64     `json:"impact_cost"`
	Ordered       float64     `json:"ordered"`        // value of all orders of decisions
	FilledShare   *float64    `json:"filled_share"`   // of that, what was filled before the next decision
	Scaled        int64       `json:"scaled"`         // fills that the margin, or the cash of a long book, scaled
	Unaffordable  int64       `json:"unaffordable"`   // fills that were dropped because their costs were more than equity
	ImpactUnknown int64       `json:"impact_unknown"` // orders without a known volatility and value, which cost no impact
	MarginCalls   int64       `json:"margin_calls"`
	ClosedOn      *quant.Date `json:"closed_on"` // session on which nothing was left of equity; nil: none

	gross    float64 // sum over days
	unfilled float64
}

// The sides and prices of a Book.
const (
	SideLong      = "long"
	SideLongShort = "long_short"
	AtClose       = "close"
	AtOpen        = "open"
)

func newBook(o Options) *Book {
	b := &Book{Side: SideLong, Price: AtClose, MaxVolumeShare: o.MaxVolumeShare, Impact: o.Impact}
	if o.Open {
		b.Price = AtOpen
	}
	if o.LongShort {
		b.Side, b.BorrowBps, b.ShortRebate, b.MarginInitial, b.MarginMaintenance = SideLongShort, o.BorrowBps, o.ShortRebate, o.MarginInitial, o.MarginMaintenance
	}
	return b
}

// over reports whether the account was closed because nothing was left of equity.
func (b *Book) over() bool { return b != nil && b.ClosedOn != nil }

// expose notes what is held at the close of a session.
func (a *account) expose(equity float64) {
	if equity <= 0 {
		return
	}
	var gross float64
	for _, k := range a.held {
		gross += math.Abs(float64(a.qty[k] * a.last[k]))
	}
	a.metrics.Book.gross += gross / equity
}

// measure sets the means of an account of so many days, whose net exposures have this
// sum.
func (b *Book) measure(days int, net float64) {
	if b == nil {
		return
	}
	b.AvgGross, b.AvgNet = new(b.gross/float64(days)), new(net/float64(days))
	if b.Ordered > 0 {
		b.FilledShare = new(1 - b.unfilled/b.Ordered)
	}
}

// liquiditySessions is how many sessions Liquidity looks back on.
const liquiditySessions = 20

// Liquidity returns, of a symbol's closes and volumes by session (NaN: no bar), what is
// known at the close of each: the mean value traded in a session of the last 20 that
// have a bar, and the sample deviation of the returns between the bars of the last 21.
// NaN where there is no bar, or fewer than two returns.
func Liquidity(close, volume []float64) (adv, vol []float64) {
	adv, vol = make([]float64, len(close)), make([]float64, len(close))
	for s := range close {
		var value, bars, n, mean, squares float64
		before := math.NaN()
		for i := max(0, s-liquiditySessions); i <= s; i++ {
			p := close[i]
			if !(p > 0) || math.IsInf(p, 0) {
				continue
			}
			if v := volume[i]; i > s-liquiditySessions && v >= 0 && !math.IsInf(v, 0) {
				value += p * v
				bars++
			}
			if r := p/before - 1; r == r {
				n++
				d := r - mean
				mean += d / n
				squares += d * (r - mean)
			}
			before = p
		}
		adv[s], vol[s] = math.NaN(), math.NaN()
		if bars > 0 {
			adv[s] = value / bars
		}
		if n > 1 {
			vol[s] = math.Sqrt(squares / (n - 1))
		}
	}
	return adv, vol
}

// notices are what the reader of these figures must know of the book.
func (b *Book) notices() []string {
	if b == nil {
		return nil
	}
	var list []string
	say := func(when bool, format string, args ...any) {
		if when {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	say(b.ClosedOn != nil, "ACCOUNT CLOSED on %s: nothing was left of equity; all was closed at the last prices, and later decisions were not filled", b.ClosedOn)
	say(b.MarginCalls > 0, "margin call on %s: equity was below %s of longs and shorts; all was reduced at the close to the initial margin of %s", quant.Count(int(b.MarginCalls), "session"), share(b.MarginMaintenance), share(b.MarginInitial))
	say(b.Side == SideLongShort && b.BorrowBps == 0, "shorts were borrowed for nothing: backtest.borrow_bps is 0")
	say(b.Scaled > 0 && b.Side == SideLongShort, "%s scaled to the initial margin of %s", quant.Count(int(b.Scaled), "fill"), share(b.MarginInitial))
	say(b.Scaled > 0 && b.Side == SideLong, "%s scaled to the cash there was", quant.Count(int(b.Scaled), "fill"))
	say(b.FilledShare != nil && *b.FilledShare < 1-1e-9, "%s of what was ordered was filled before the next decision", share(value(b.FilledShare)))
	say(b.Unaffordable > 0, "%s dropped: the costs were more than equity; lower backtest.impact or the initial capital", quant.Count(int(b.Unaffordable), "fill"))
	say(b.ImpactUnknown > 0, "the impact of %s is not known, without volumes or closes before, and taken to be 0", quant.Count(int(b.ImpactUnknown), "order"))
	return list
}

func value(v *float64) float64 {
	if v == nil {
		return 0
	}
	return *v
}

func share(x float64) string { return strconv.FormatFloat(x*100, 'g', 4, 64) + " %" }

// addBooks adds the lines of a comparison that say how books were filled and held, where
// one of them is not plain.
func (c *Comparison) addBooks(add func(name string, value func(b Stored) any)) {
	if !slices.ContainsFunc(c.Backtests, func(b Stored) bool { return b.Metrics.Book != nil }) {
		return
	}
	of := func(name string, value func(b *Book) any) {
		add(name, func(b Stored) any {
			if b.Metrics.Book == nil {
				return ""
			}
			return value(b.Metrics.Book)
		})
	}
	of("side", func(b *Book) any { return b.Side })
	of("price", func(b *Book) any { return b.Price })
	of("max_volume_share", func(b *Book) any { return b.MaxVolumeShare })
	of("impact", func(b *Book) any { return b.Impact })
	of("borrow_bps", func(b *Book) any { return b.BorrowBps })
	of("short_rebate", func(b *Book) any { return b.ShortRebate })
	of("margin_initial", func(b *Book) any { return b.MarginInitial })
	of("margin_maintenance", func(b *Book) any { return b.MarginMaintenance })
	of("avg_gross", func(b *Book) any { return b.AvgGross })
	of("avg_net", func(b *Book) any { return b.AvgNet })
	of("long_pnl", func(b *Book) any { return b.LongPnL })
	of("short_pnl", func(b *Book) any { return b.ShortPnL })
	of("borrow", func(b *Book) any { return b.Borrow })
	of("impact_cost", func(b *Book) any { return b.ImpactCost })
	of("filled_share", func(b *Book) any { return b.FilledShare })
	of("margin_calls", func(b *Book) any { return b.MarginCalls })
	of("closed_on", func(b *Book) any { return b.ClosedOn })
}
