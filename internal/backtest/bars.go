package backtest

import (
	"context"
	"math"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
)

// bars are what fills need of some symbols beside closes, by symbol and session; nil
// what they do not.
type bars struct{ open, volume, adv, vol [][]float64 }

// readBars reads what the options of a request need of the symbols of a basis on some
// sessions, of which the first is that of its first bar or before. What is known of a
// session rests on the sessions before it, also those before a backtest's first.
func readBars(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, basis price.Basis, sessions []quant.Date, req Request) (*bars, error) {
	var read price.Bars
	if err := basis.Read(ctx, db, cal, price.Request{Source: req.Source, AcceptRaw: req.AcceptRaw}, basis.Symbols, 0, &read); err != nil {
		return nil, err
	}
	first, _ := cal.Index(sessions[0])
	b := &bars{}
	for k := range basis.Symbols {
		cells := make([]float64, 3*len(sessions))
		for i := range cells {
			cells[i] = math.NaN()
		}
		open, close, volume := cells[:len(sessions)], cells[len(sessions):2*len(sessions)], cells[2*len(sessions):]
		for i := read.From[k]; i < read.From[k+1]; i++ {
			if s := int(read.Session[i]) - first; s >= 0 && s < len(sessions) {
				open[s], close[s], volume[s] = read.Open[i], read.Close[i], read.Volume[i]
			}
		}
		b.open, b.volume = append(b.open, open), append(b.volume, volume)
		if req.Impact > 0 {
			adv, vol := Liquidity(close, volume)
			b.adv, b.vol = append(b.adv, adv), append(b.vol, vol)
		}
	}
	return b.of(req.Options), nil
}

// of are those that options need.
func (b *bars) of(o Options) *bars {
	kept := &bars{}
	if o.Open {
		kept.open = b.open
	}
	if o.MaxVolumeShare > 0 {
		kept.volume = b.volume
	}
	if o.Impact > 0 {
		kept.adv, kept.vol = b.adv, b.vol
	}
	return kept
}

// into gives a market those of its sessions, which begin at the first-th of the bars',
// before them where that is negative.
// numbers are its symbols, as the bars number them.
func (b *bars) into(m *Market, first int, numbers []int) {
	cut := func(of [][]float64) [][]float64 {
		if of == nil {
			return nil
		}
		list := make([][]float64, len(numbers))
		for i, k := range numbers {
			list[i] = make([]float64, len(m.Sessions))
			for s := range list[i] {
				if list[i][s] = math.NaN(); first+s >= 0 && first+s < len(of[k]) {
					list[i][s] = of[k][first+s]
				}
			}
		}
		return list
	}
	m.Open, m.Volume, m.ADV, m.Vol = cut(b.open), cut(b.volume), cut(b.adv), cut(b.vol)
}

// seq are the numbers from 0 to before n.
func seq(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// sumOfBars is the digest of what a market has of some symbols: symbol, ts, close and
// what else fills needed, of the sessions that have a bar.
func sumOfBars(m Market, numbers []int) *factstore.RowSum {
	sum := &factstore.RowSum{}
	for _, k := range numbers {
		var days []quant.Date
		var at []int
		for s, close := range m.Close[k] {
			if close == close {
				days, at = append(days, m.Sessions[s]), append(at, s)
			}
		}
		if len(days) == 0 {
			continue
		}
		columns := []factstore.Column{{Texts: m.Symbols[k : k+1], Numbers: make([]int32, len(days))}, {Dates: days}}
		for _, series := range [][][]float64{m.Close, m.Open, m.Volume, m.ADV, m.Vol} {
			if series == nil {
				continue
			}
			values := make([]float64, len(at))
			for i, s := range at {
				values[i] = series[k][s]
			}
			columns = append(columns, factstore.Column{Floats: values, NaNs: true})
		}
		sum.Add(columns...)
	}
	return sum
}
