package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"quant"
	"quant/internal/curator"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/price"
	"quant/internal/session"
	"quant/internal/sqltext"
)

// CheckData reports what is wrong or odd in the stored prices of req.Symbols,
// which may be in any order and named twice; nil: of all. What it read is
// recorded. NotFound: a symbol is not known and has no bars. Invalid: one is no
// symbol. Other errors: those of curator.CheckQuality.
func CheckData(ctx context.Context, s *session.Session, req curator.QualityRequest) (curator.QualityReport, error) {
	if err := req.Validate(); err != nil {
		return curator.QualityReport{}, err
	}
	var err error
	if req.Symbols, err = distinctSymbols(req.Symbols); err != nil {
		return curator.QualityReport{}, err
	}
	var report curator.QualityReport
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		if report, err = curator.CheckQuality(ctx, db, cal, req); err != nil {
			return err
		}
		for _, f := range report.Findings {
			if f.Check == curator.NoBars {
				if err := knownSymbol(ctx, s, f.Symbol); err != nil {
					return err
				}
			}
		}
		return recordBars(ctx, s, db, req.Symbols)
	})
	return report, err
}

// DataStatus returns what is stored of each symbol's prices: of those named, in
// byte order, or of all that have bars or are active. What it read is recorded.
// Errors: those of CheckData.
func DataStatus(ctx context.Context, s *session.Session, symbols []string) ([]curator.SymbolCoverage, error) {
	symbols, err := distinctSymbols(symbols)
	if err != nil {
		return nil, err
	}
	var list []curator.SymbolCoverage
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		asked := symbols
		if asked == nil {
			if asked, err = symbolsAndBars(ctx, s, db); err != nil {
				return err
			}
		}
		if list, err = curator.Coverage(ctx, db, cal, asked); err != nil {
			return err
		}
		for _, c := range list {
			if c.Bars == 0 {
				if err := knownSymbol(ctx, s, c.Symbol); err != nil {
					return err
				}
			}
		}
		return recordBars(ctx, s, db, symbols)
	})
	return list, err
}

// distinctSymbols are symbols once each, in byte order; nil for none.
func distinctSymbols(list []string) ([]string, error) {
	for _, symbol := range list {
		if err := quant.ValidateSymbol(symbol); err != nil {
			return nil, err
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(list))), nil
}

// symbolsAndBars are the active symbols and those that have bars, in byte
// order; the latter alone where there is no Meta DB.
func symbolsAndBars(ctx context.Context, s *session.Session, db *factstore.DB) ([]string, error) {
	list, err := db.Symbols(ctx)
	if err != nil || s.Meta == nil {
		return list, err
	}
	active, err := s.Meta.ListSymbols(ctx, metastore.SymbolFilter{Active: new(true)})
	for _, one := range active {
		list = append(list, one.Symbol)
	}
	slices.Sort(list)
	return slices.Compact(list), err
}

// recordBars notes the stored bars of the symbols (nil: of all) as an input of
// this run, and the runs that wrote them.
func recordBars(ctx context.Context, s *session.Session, db *factstore.DB, symbols []string) error {
	where := "true"
	if symbols != nil {
		where = "symbol IN (" + sqltext.Literals(symbols) + ")"
	}
	read, err := price.StoredBars(ctx, db, factstore.OHLCV, where)
	s.Record(read...)
	return err
}

// knownSymbol reports, as NotFound, a symbol without bars that is not in
// symbols either.
func knownSymbol(ctx context.Context, s *session.Session, symbol string) error {
	meta, err := s.MetaDB()
	if err != nil {
		return err
	}
	if _, err := meta.GetSymbol(ctx, symbol); errors.Is(err, quant.NotFound) {
		return quant.Errorf(quant.NotFound, "symbol %q is not known and has no bars", symbol).
			WithHint("`quant data status` lists those that are; tickers are case-sensitive")
	} else if err != nil {
		return err
	}
	return nil
}

// deepBars is how many bars an ingest has examined in full: what that takes is
// lost in the ingest itself.
const deepBars = 250_000

// qualityNotices examines the symbols of an ingest, once it is committed, and gives a sentence for
// each kind of warning. It fails one only if the command is told to end
// meanwhile: the prices are stored.
func qualityNotices(ctx context.Context, s *session.Session, db *factstore.DB, ingested curator.Report) ([]string, error) {
	req := curator.DefaultQuality()
	req.Symbols, req.DeepBars = ingested.Symbols, deepBars
	var report curator.QualityReport
	var empty []quant.Date
	known := false
	cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
	if err == nil {
		report, empty, known = ingested.Loaded(cal, req)
	}
	if err == nil && !known {
		report, err = curator.CheckQuality(ctx, db, cal, req)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return []string{fmt.Sprintf("data check: could not be made: %v", err)}, nil
	}
	var notices, kinds []string
	found := map[string][]string{}
	for _, f := range report.Findings {
		if f.Severity != curator.Warning {
			continue
		}
		if found[f.Check] == nil {
			kinds = append(kinds, f.Check)
		}
		found[f.Check] = append(found[f.Check], f.Symbol)
	}
	for _, kind := range kinds {
		notices = append(notices, fmt.Sprintf("data check: %s for %s: see `quant data check`", kind, quant.SomeOf(found[kind], 3)))
	}
	if !known {
		empty, err = price.EmptySessions(ctx, db, cal, req.Symbols)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return append(notices, fmt.Sprintf("data check: could not be made: %v", err)), nil
	}
	if notice := price.AskAbout(cal, empty); notice != "" {
		notices = append(notices, notice)
	}
	if !report.Deep {
		notices = append(notices, fmt.Sprintf("data check: %d bars, not looked at for jumps and stale prices: `quant data check` does", report.Bars))
	}
	return notices, nil
}
