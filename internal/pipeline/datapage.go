package pipeline

import (
	"context"
	"strings"

	"quant"
	"quant/internal/curator"
	"quant/internal/factstore"
	"quant/internal/session"
)

// SymbolState is what is stored of a symbol's prices, and what is odd in it.
type SymbolState struct {
	curator.SymbolCoverage
	Warnings, Notes int // findings of CheckData
	Rejects         int64
}

// PageSymbols returns the state of symbols: of those that have bars or are active and
// contain a text, whatever its case, size from the from-th on, in byte order; and how
// many there are in all and with the text.
func PageSymbols(ctx context.Context, s *session.Session, text string, from, size int) (list []SymbolState, matching, all int, err error) {
	var symbols []string
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		names, err := symbolsAndBars(ctx, s, db)
		if err != nil {
			return err
		}
		all = len(names)
		for _, name := range names {
			if strings.Contains(strings.ToLower(name), strings.ToLower(text)) {
				symbols = append(symbols, name)
			}
		}
		matching = len(symbols)
		symbols = symbols[min(from, matching):min(from+size, matching)]
		if len(symbols) == 0 {
			return nil
		}
		list, err = symbolStates(ctx, s, db, symbols)
		return err
	})
	return list, matching, all, err
}

// symbolStates is the state of symbols that are known, in byte order.
func symbolStates(ctx context.Context, s *session.Session, db *factstore.DB, symbols []string) ([]SymbolState, error) {
	cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
	if err != nil {
		return nil, err
	}
	coverage, err := curator.Coverage(ctx, db, cal, symbols)
	if err != nil {
		return nil, err
	}
	req := curator.DefaultQuality()
	req.Symbols = symbols
	quality, err := curator.CheckQuality(ctx, db, cal, req)
	if err != nil {
		return nil, err
	}
	rejects, err := curator.RejectCounts(ctx, db, symbols)
	if err != nil {
		return nil, err
	}
	list, at := make([]SymbolState, len(coverage)), map[string]int{}
	for i, c := range coverage {
		list[i] = SymbolState{SymbolCoverage: c, Rejects: rejects[c.Symbol]}
		at[c.Symbol] = i
	}
	for _, f := range quality.Findings {
		if i, known := at[f.Symbol]; known {
			if f.Severity == curator.Warning {
				list[i].Warnings++
			} else {
				list[i].Notes++
			}
		}
	}
	return list, nil
}

// SymbolHistory is what the lab knows of one symbol's prices.
type SymbolHistory struct {
	SymbolState
	Name      string // in symbols; "": none
	Findings  []curator.Finding
	Bars      []curator.StoredBar // of the days asked for
	Revisions []curator.Revision  // the newest
	Revised   int64
	Turned    []curator.Reject // the newest rejects
}

// shownHistory is how many revisions and rejects ReadSymbol returns.
const shownHistory = 50

// ReadSymbol returns what is stored of a symbol, with the bars from one day to another
// (nil: no bound) and the revisions from the from-th on. NotFound: it is not known and
// has no bars.
func ReadSymbol(ctx context.Context, s *session.Session, symbol string, first, last *quant.Date, from int) (h SymbolHistory, err error) {
	if err := quant.ValidateSymbol(symbol); err != nil {
		return h, err
	}
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		states, err := symbolStates(ctx, s, db, []string{symbol})
		if err != nil {
			return err
		}
		h.SymbolState = states[0]
		if h.SymbolState.Bars == 0 {
			if err := knownSymbol(ctx, s, symbol); err != nil {
				return err
			}
		}
		req := curator.DefaultQuality()
		req.Symbols = []string{symbol}
		quality, err := curator.CheckQuality(ctx, db, cal, req)
		if err != nil {
			return err
		}
		h.Findings = quality.Findings
		stored, err := curator.Prices(ctx, db, curator.PriceRequest{Symbols: []string{symbol}, From: first, To: last})
		if err != nil {
			return err
		}
		h.Bars = stored.Bars
		if h.Revisions, h.Revised, err = curator.Revisions(ctx, db, symbol, from, shownHistory); err != nil {
			return err
		}
		h.Turned, _, err = curator.Rejects(ctx, db, symbol, 0, shownHistory)
		return err
	})
	if err != nil {
		return h, err
	}
	if s.Meta != nil {
		if known, err := s.Meta.GetSymbol(ctx, symbol); err == nil {
			h.Name = string(known.Name)
		}
	}
	return h, nil
}
