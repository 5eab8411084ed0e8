package backtest

import (
	"encoding/binary"
	"math"
	"slices"

	"quant/internal/durable"
)

// trialDigest tells one trial from every other: by what was set, what was decided,
// the closes that it was replayed on, from the first decision to the last session,
// with what else fills needed of them, and what was known of delistings and halts of what it held. What a strategy is called, an alias for its model, and a day that
// nothing was decided on or valued at are no part of it; so the same trial under
// another name is the same one, and the same settings with another model or on
// other prices are another.
func trialDigest(settings string, market Market, decisions []Decision) string {
	h := durable.NewSum()
	var b []byte
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	word := func(x uint64) { b = binary.LittleEndian.AppendUint64(b, x) }
	flush := func() {
		_, _ = h.Write(b) // a hash takes everything
		b = b[:0]
	}
	text(settings)
	word(uint64(len(decisions)))
	for _, d := range decisions {
		word(uint64(d.AsOf))
		word(uint64(len(d.Weights)))
		for _, w := range d.Weights {
			text(w.Symbol)
			word(math.Float64bits(w.Weight))
		}
		flush()
	}
	from, _ := slices.BinarySearch(market.Sessions, decisions[0].AsOf)
	word(uint64(len(market.Sessions) - from))
	for _, day := range market.Sessions[from:] {
		word(uint64(day))
	}
	held := symbolsOf(decisions)
	for k, symbol := range market.Symbols {
		if _, is := slices.BinarySearch(held, symbol); !is {
			continue // of the benchmark
		}
		text(symbol)
		for _, series := range [][][]float64{market.Close, market.Open, market.Volume, market.ADV, market.Vol} {
			if series == nil {
				continue // of no part in the fills
			}
			for _, x := range series[k][from:] {
				if !(x > 0) {
					x = 0 // no bar, of whatever kind
				}
				word(math.Float64bits(x))
			}
		}
		flush()
	}
	for _, e := range market.Known {
		if _, is := slices.BinarySearch(held, e.Symbol); !is {
			continue
		}
		text("known")
		text(e.Symbol)
		text(e.Kind)
		word(uint64(e.Date))
		if e.End != nil {
			word(uint64(*e.End) + 1)
		} else {
			word(0)
		}
		if e.Return != nil {
			word(math.Float64bits(*e.Return))
		} else {
			word(math.MaxUint64)
		}
	}
	flush()
	return h.Digest()
}
