package pipeline

import (
	"cmp"
	"context"

	"quant"
	"quant/internal/factstore"
	"quant/internal/session"
)

// RecommendOptions say what to decide.
type RecommendOptions struct {
	Strategy string   // the file
	Set      []string // KEY=VALUE, over the file
	// Asof decides on this one session. Else the rebalance days From to To are
	// decided; what is nil of these says backtest.from and to of the file. With a
	// From of its own, a To of nil is the last bar.
	Asof, From, To *quant.Date
	AcceptRaw      bool // see price.Request
}

// Command is what a run with these options is recorded as.
func (o RecommendOptions) Command() session.Command {
	c := command(StageRecommend)
	c.text("strategy", o.Strategy)
	c.day("asof", o.Asof)
	c.day("from", o.From)
	c.day("to", o.To)
	c.each("set", o.Set)
	c.yes("accept-raw", o.AcceptRaw)
	return c.Command
}

// Validate reports, as Usage, options that cannot be used whatever the strategy
// says.
func (o RecommendOptions) Validate() error {
	switch {
	case o.Strategy == "":
		return quant.Errorf(quant.Usage, "--strategy is missing").WithHint("usage: quant recommend --strategy FILE [--asof DAY | [--from DAY] [--to DAY]] [flags]")
	case o.Asof != nil && (o.From != nil || o.To != nil):
		return quant.Errorf(quant.Usage, "--asof and --from, --to exclude each other").WithHint("--asof decides on one day, --from and --to on the rebalance days between them")
	case o.From != nil && o.To != nil && *o.To < *o.From:
		return quant.Errorf(quant.Usage, "--to %s is before --from %s", o.To, o.From).WithHint("exchange them")
	}
	return nil
}

// Recommend decides what to hold by a strategy, and records what it read and
// wrote. Errors: Usage: the options contradict each other, or there is no day.
// Those of OpenStrategy and decide.
func Recommend(ctx context.Context, s *session.Session, o RecommendOptions) (Recommendation, error) {
	if err := o.Validate(); err != nil {
		return Recommendation{}, err
	}
	of, err := strategyOfModel(ctx, s, o.Strategy, o.Set)
	if err != nil {
		return Recommendation{}, err
	}
	if o.Asof == nil && o.From == nil {
		o.From = of.Backtest.From
		if o.To == nil {
			o.To = of.Backtest.To
		}
	}
	if o.Asof == nil && o.From == nil {
		return Recommendation{}, quant.Errorf(quant.Usage, "no day to decide on").WithHint("give --asof, or --from and --to, or backtest.from and to in %s", o.Strategy)
	}
	if o.From != nil && o.To != nil && *o.To < *o.From {
		return Recommendation{}, quant.Errorf(quant.Usage, "--to %s is before %s, backtest.from of %s", o.To, o.From, o.Strategy).WithHint("give --from as well")
	}
	logStrategy(s, of)
	models, err := deciders(ctx, s, of)
	if err != nil {
		return Recommendation{}, err
	}
	sectors, err := sectorsFor(ctx, s, of)
	if err != nil {
		return Recommendation{}, err
	}
	members, err := membersFor(s, of)
	if err != nil {
		return Recommendation{}, err
	}
	if err := keepUniverse(ctx, s, members); err != nil {
		return Recommendation{}, err
	}
	var report Recommendation
	err = s.WriteFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		sets, err := featureSetsOf(ctx, s, db)
		if err != nil {
			return err
		}
		report, err = decide(ctx, db, decideRequest{
			Strategy: of, Calendar: cal, Asof: o.Asof, From: o.From, To: o.To, AcceptRaw: o.AcceptRaw, RunID: s.RunID(), PriceLevel: priceLevels(sets), Deciders: models, Sectors: sectors, Members: members, Rests: restsIn(s),
		})
		on, unknown := restsOf(ctx, s, db, of, func() ([]string, error) { return report.combined, nil })
		if unknown != nil {
			return cmp.Or(err, unknown)
		}
		report.restsOn(on)
		return err
	})
	report.record(s, err)
	return report, err
}

// restsOn says what the decisions rest on, before anything else.
func (r *Recommendation) restsOn(on rests) {
	r.KnownAt, r.InSample = quant.Text(on.knownAt()), len(on.inSample) > 0
	var first []string
	for _, notice := range []string{on.knownNotice(), on.inSampleNotice()} {
		if notice != "" {
			first = append(first, notice)
		}
	}
	r.Notices = append(first, r.Notices...)
}

// record says what there is to say of a recommendation, or of one that failed, and
// records what its run read and wrote.
func (r Recommendation) record(s *session.Session, failed error) {
	for _, notice := range r.Notices {
		s.Say().Notice("%s", notice)
	}
	s.Record(r.Inputs...)
	s.Record(r.Outputs...)
	if failed != nil {
		return
	}
	if r.Changed == 0 && r.Removed == 0 {
		s.Say().Notice("nothing changed: the decisions stand as they are")
	}
	if r.Removed > 0 {
		s.Say().Notice("%s of %s on days that are no rebalance days were removed", quant.Count(int(r.Removed), "earlier decision"), r.StrategyID)
	}
	if r.Stale > 0 {
		s.Say().Notice("%s of %s rest on what changed and are stale: recommend from %s on", quant.Count(int(r.Stale), "later decision"), r.StrategyID, r.To)
	}
}
