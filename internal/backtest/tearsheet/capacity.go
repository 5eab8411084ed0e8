package tearsheet

import (
	"cmp"
	"context"
	"math"
	"slices"

	"quant"
	"quant/internal/factstore"
)

const (
	// volumeBars is over how many bars of a symbol the dollar volume is averaged.
	volumeBars = 20
	// volumeDays is before which calendar day no such bar is looked for: a symbol with
	// fewer bars in that time hardly trades.
	volumeDays = 60
)

// Shares of a symbol's dollar volume that a trade is held against.
var volumeShares = [...]float64{0.01, 0.05}

// Capacity is with which capital the trades of the backtest would have been too big for
// the market. A trade is what was bought or sold of a symbol in a session; it is held
// against the mean of close x volume of the 20 bars of the symbol before the session,
// which were known then.
type Capacity struct {
	Trades  int             `json:"trades"`
	Unknown int             `json:"unknown"` // of them, without 20 such bars that have a volume: they are not counted
	Limits  []CapacityLimit `json:"limits"`
}

// CapacityLimit is the capacity where a trade may be up to a share of the dollar volume.
type CapacityLimit struct {
	Share float64 `json:"share_of_volume"`
	// Capital with which half of the trades, and 5 % of them, exceed the share; nil: no trade
	// is known. 0: so many are in symbols without any volume.
	Median *float64 `json:"median_capital"`
	Tail   *float64 `json:"p95_capital"`
	// Days is in how many sessions all that is held on the last one can be sold, at that share
	// of the mean of the last 20 bars; nil: nothing is held, or a volume is not known or 0.
	Days *float64 `json:"days_to_liquidate"`
}

// traded is what was bought or sold of a symbol in a session.
type traded struct {
	symbol string
	ts     quant.Date
	value  float64
}

// volume is the dollar volume of a bar; NaN: not known.
type volume struct {
	ts     quant.Date
	dollar float64
}

// capacity reads the trades and the volumes of their symbols; nil: there was no trade.
func (s *Sheet) capacity(ctx context.Context, db *factstore.DB) (*Capacity, error) {
	trades, err := s.readTraded(ctx, db)
	if err != nil || len(trades) == 0 {
		return nil, err
	}
	volumes, err := s.readVolumes(ctx, db, trades)
	if err != nil {
		return nil, err
	}
	equity := make(map[quant.Date]float64, len(s.Days))
	for _, d := range s.Days {
		equity[d.TS] = d.Equity
	}
	c := &Capacity{Trades: len(trades)}
	var perCapital []float64 // share of the dollar volume that one of capital makes
	for _, t := range trades {
		mean := meanVolume(volumes[t.symbol], t.ts)
		if math.IsNaN(mean) || !(equity[t.ts] > 0) {
			c.Unknown++
			continue
		}
		perCapital = append(perCapital, t.value/equity[t.ts]/mean)
	}
	slices.Sort(perCapital)
	for _, share := range volumeShares {
		l := CapacityLimit{Share: share}
		// The smallest of which so many are at least are no larger.
		at := func(p float64) *float64 {
			if len(perCapital) == 0 {
				return nil
			}
			return finite(share / perCapital[int(math.Ceil(p*float64(len(perCapital))-1e-9))-1])
		}
		l.Median, l.Tail = at(0.5), at(0.95)
		l.Days = s.daysToLiquidate(volumes, share)
		c.Limits = append(c.Limits, l)
	}
	return c, nil
}

// daysToLiquidate is how long the slowest position of the last session takes.
func (s *Sheet) daysToLiquidate(volumes map[string][]volume, share float64) *float64 {
	last := len(s.Days) - 1
	days := math.NaN()
	for symbol, weights := range s.held {
		if weights[last] == 0 {
			continue
		}
		mean := meanVolume(volumes[symbol], s.Days[last].TS+1)
		need := math.Abs(weights[last]) * s.Days[last].Equity / (share * mean)
		if math.IsNaN(need) || math.IsInf(need, 0) {
			return nil
		}
		if !(days >= need) {
			days = need
		}
	}
	return finite(days)
}

// meanVolume is the mean of the volumeBars before a day; NaN: there are fewer, or one is
// not known.
func meanVolume(list []volume, before quant.Date) float64 {
	end, _ := slices.BinarySearchFunc(list, before, func(v volume, ts quant.Date) int { return cmp.Compare(v.ts, ts) })
	if end < volumeBars || list[end-volumeBars].ts < before-volumeDays {
		return math.NaN()
	}
	var sum float64
	for _, v := range list[end-volumeBars : end] {
		sum += v.dollar
	}
	return sum / volumeBars
}

// readTraded returns the trades in order of symbol and session.
func (s *Sheet) readTraded(ctx context.Context, db *factstore.DB) ([]traded, error) {
	var names factstore.Names
	var symbol []int32
	var ts []quant.Date
	var value []float64
	err := db.Columns(ctx, `SELECT symbol, entry_ts AS ts, abs(qty * entry_price) AS value FROM backtest_trades WHERE run_id = ?
		UNION ALL SELECT symbol, exit_ts, abs(qty * exit_price) FROM backtest_trades WHERE run_id = ? AND exit_ts IS NOT NULL AND reason <> 'DELISTED'
		ORDER BY symbol, ts, value`, []any{s.RunID, s.RunID}, func(c *factstore.Chunk) error {
		symbol, ts, value = c.AppendNumbers(symbol, 0, &names), c.AppendDates(ts, 1), c.AppendFloats(value, 2)
		return nil
	})
	var list []traded
	for i, v := range value {
		if !(v > 0) {
			continue
		}
		name := names.List[symbol[i]]
		if n := len(list); n > 0 && list[n-1].symbol == name && list[n-1].ts == ts[i] {
			list[n-1].value += v
			continue
		}
		list = append(list, traded{name, ts[i], v})
	}
	return list, err
}

// readVolumes returns the dollar volumes of the symbols that were traded, in order of
// sessions. It scans what lies between the first and the last of these symbols and picks:
// that is faster than a join.
func (s *Sheet) readVolumes(ctx context.Context, db *factstore.DB, trades []traded) (map[string][]volume, error) {
	out := map[string][]volume{}
	for _, t := range trades { // in order of symbols
		out[t.symbol] = nil
	}
	var names factstore.Names
	var symbol []int32
	var ts []quant.Date
	var dollar []float64
	var lists [][]volume // by name
	var wanted []bool
	err := db.Columns(ctx, `SELECT symbol, ts, close * volume FROM ohlcv WHERE symbol BETWEEN ? AND ? AND ts BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)`,
		[]any{trades[0].symbol, trades[len(trades)-1].symbol, s.Days[0].TS - volumeDays, s.Days[len(s.Days)-1].TS}, func(c *factstore.Chunk) error {
			symbol, ts, dollar = c.AppendNumbers(symbol[:0], 0, &names), c.AppendDates(ts[:0], 1), c.AppendFloats(dollar[:0], 2)
			for len(lists) < len(names.List) {
				_, is := out[names.List[len(lists)]]
				lists, wanted = append(lists, nil), append(wanted, is)
			}
			for i, k := range symbol {
				if wanted[k] {
					lists[k] = append(lists[k], volume{ts[i], dollar[i]})
				}
			}
			return nil
		})
	order := func(a, b volume) int { return cmp.Compare(a.ts, b.ts) }
	for k, list := range lists {
		if !slices.IsSortedFunc(list, order) {
			slices.SortFunc(list, order)
		}
		if wanted[k] {
			out[names.List[k]] = list
		}
	}
	return out, err
}
