package pipeline

import (
	"context"

	"quant"
	"quant/internal/curator"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
)

// PricesOptions say which stored bars to show.
type PricesOptions struct {
	Symbols  []string    // in any order
	From, To *quant.Date // nil: no bound
	AsOf     *string     // a run, as session.Resolve has it: the bars as it saw them; nil: as they are
}

// Prices returns the stored bars of symbols, by symbol and day, and records what
// it read. Usage: one is no symbol, or the days stand the wrong way. NotFound: no
// symbol has bars, or there is no such run.
func Prices(ctx context.Context, s *session.Session, o PricesOptions) ([]curator.StoredBar, error) {
	symbols, err := distinctSymbols(o.Symbols)
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "%w", err).WithHint("for example quant data prices AAPL")
	}
	if o.From != nil && o.To != nil && *o.From > *o.To {
		return nil, quant.Errorf(quant.Usage, "--from %s is after --to %s", *o.From, *o.To).WithHint("exchange them")
	}
	var run metastore.RunDetail
	if o.AsOf != nil {
		id, err := s.Resolve(ctx, *o.AsOf)
		if err != nil {
			return nil, err
		}
		if run, err = s.Meta.GetRun(ctx, id); err != nil {
			return nil, err
		}
	}
	var found curator.Stored
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		req := curator.PriceRequest{Symbols: symbols, From: o.From, To: o.To}
		if o.AsOf != nil {
			at, err := db.PricesAsOf(ctx, run.RunID, run.EndedAt.Time)
			if err != nil {
				return err
			}
			if req.Source, err = db.StageAsOf(ctx, at); err != nil {
				return err
			}
		}
		var err error
		found, err = curator.Prices(ctx, db, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(found.Lacking) == len(symbols) {
		return nil, quant.Errorf(quant.NotFound, "no bars of %s", quant.SomeOf(found.Lacking, 10)).WithHint("`quant sql \"SELECT DISTINCT symbol FROM ohlcv\"` shows which symbols have some")
	}
	if len(found.Lacking) > 0 {
		s.Say().Notice("no bars of %s", quant.SomeOf(found.Lacking, 10))
	}
	s.Record(found.Reads...)
	return found.Bars, nil
}
