package pipeline

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/session"
	"quant/internal/stated"
	"quant/internal/strategy"
)

// rests is what decisions rest on that every report of them must say. What a
// combination rests on is what each strategy that it combines rests on, however deep.
type rests struct {
	stated   string   // what was imported; "": nothing
	inSample []string // strategies that rank by scores of dates that their model was trained on
	fixed    []string // of a combination: strategies below it with one universe of all days
	lost     int      // runs below it of which there is no record
}

// restsOf is what a strategy rests on: by its settings, and of a combination by the
// lineage of runs: those that decided it, or what it combines.
func restsOf(ctx context.Context, s *session.Session, db *factstore.DB, of strategy.Strategy, runs func() ([]string, error)) (rests, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return rests{}, err
	}
	if of.Signal.Type == strategy.Strategies {
		below, err := runs()
		if err != nil {
			return rests{}, err
		}
		return restsBelow(ctx, db, meta, below)
	}
	var r rests
	in := of.Signal.Inputs
	if r.stated, err = statedBy(ctx, db, meta, []string{in.FeatureVersion}, in.ModelID); err != nil {
		return r, err
	}
	if of.Signal.Type == strategy.ModelScore && model.InSample(in.TaskID) {
		r.inSample = []string{of.ID}
	}
	return r, nil
}

// restsIn is restsBelow by the records of a lab.
func restsIn(s *session.Session) func(context.Context, *factstore.DB, []string) (rests, error) {
	return func(ctx context.Context, db *factstore.DB, runs []string) (rests, error) {
		meta, err := s.MetaDB()
		if err != nil {
			return rests{}, err
		}
		return restsBelow(ctx, db, meta, runs)
	}
}

// decidersBetween are the runs that made the decisions of a strategy from one day to
// another.
func decidersBetween(ctx context.Context, db *factstore.DB, of strategy.Strategy, from, to quant.Date) ([]string, error) {
	return db.Writers(ctx, factstore.TargetSets, `strategy_id = ? AND version = ? AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)`, of.ID, of.Version, from, to)
}

// restsBelow is what the decisions of runs rest on, by what they and all that they came
// from recorded: each that decided is judged by the settings that it had, as a strategy
// by itself is; and an import anywhere below counts, whoever read it.
func restsBelow(ctx context.Context, db *factstore.DB, meta metastore.Store, runs []string) (rests, error) {
	var r rests
	origins, err := originsOf(ctx, meta, runs)
	if err != nil {
		return r, err
	}
	var imported []string
	names := make([]string, len(origins)) // of the strategies, where it is a decision
	says := make([]bool, len(origins))    // its settings say that it rests on an import
	judged := map[[2]string]string{}
	for i, o := range origins {
		switch {
		case o.lost:
			r.lost++
		case o.run.Kind == kindFeaturesImport || o.run.Kind == kindPredictionsImport:
			at := o.reader
			for at >= 0 && names[at] == "" {
				at = origins[at].reader
			}
			if at >= 0 && !says[at] {
				imported = withText(imported, "imports by "+names[at])
			}
		case o.run.Kind == string(StageRecommend):
			params, err := meta.Params(ctx, o.run.RunID)
			if err != nil {
				return r, err
			}
			set := settingsOf(params)
			names[i] = cmp.Or(set["strategy_id"], "run "+quant.ShortID(o.run.RunID))
			if set["signal.type"] == strategy.ModelScore && model.InSample(set["signal.inputs.task_id"]) {
				r.inSample = withText(r.inSample, names[i])
			}
			if !(strategy.Universe{Type: set["universe.type"]}).Changing() {
				r.fixed = withText(r.fixed, names[i])
			}
			signal := [2]string{set["signal.inputs.feature_version"], set["signal.inputs.model_id"]}
			by, known := judged[signal]
			if !known {
				if by, err = statedBy(ctx, db, meta, signal[:1], signal[1]); err != nil {
					return r, err
				}
				judged[signal] = by
			}
			if says[i] = by != ""; says[i] {
				imported = withText(imported, by+" by "+names[i])
			}
		}
	}
	for _, list := range [][]string{imported, r.inSample, r.fixed} {
		slices.Sort(list)
	}
	r.stated = strings.Join(imported, "; ")
	return r, nil
}

// restsOtherwise reports whether the decisions of a combination that stand in the range
// rest on something else than those that take their place.
func (r *recommending) restsOtherwise(ctx context.Context) (bool, error) {
	if r.s.Signal.Type != strategy.Strategies || r.Rests == nil {
		return false, nil
	}
	runs, err := decidersBetween(ctx, r.db, r.s, r.low, r.high)
	if err != nil || len(runs) == 0 {
		return false, err
	}
	before, err := r.Rests(ctx, r.db, runs)
	if err != nil {
		return false, err
	}
	below := slices.Clone(r.report.combined)
	if r.last != nil {
		basis, err := decidersBetween(ctx, r.db, r.s, r.last.asof, r.last.asof)
		if err != nil {
			return false, err
		}
		below = append(below, basis...)
	}
	now, err := r.Rests(ctx, r.db, below)
	for _, one := range []*rests{&before, &now} {
		one.fixed = slices.DeleteFunc(one.fixed, func(name string) bool { return name == r.s.ID })
	}
	return before.stated != now.stated || before.lost != now.lost || !slices.Equal(before.inSample, now.inSample) || !slices.Equal(before.fixed, now.fixed), err
}

// withText is a list with a text in it, once.
func withText(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// knownAt is what a report says of the time at which what decided was known; "": it is
// proved.
func (r rests) knownAt() string {
	if r.stated == "" {
		return ""
	}
	return stated.KnownAt
}

// knownNotice is the notice of knownAt; "": there is none.
func (r rests) knownNotice() string {
	if r.stated == "" {
		return ""
	}
	return statedNotice(r.stated)
}

// inSampleNotice names whose scores were of dates that their model was trained on; "":
// nobody's.
func (r rests) inSampleNotice() string {
	if len(r.inSample) == 0 {
		return ""
	}
	return "IN SAMPLE: " + quant.SomeOf(r.inSample, 5) + " ranks by scores of dates that its model was trained on; `quant backtest` refuses what rests on them, unless --allow-in-sample is given"
}

// below are the notices on what a combination has from the strategies that it combines,
// beside what it says as a strategy by itself does. changes: its own universe does.
func (r rests) below(changes bool) []string {
	var list []string
	if len(r.inSample) > 0 {
		list = append(list, quant.SomeOf(r.inSample, 5)+", which this combines, ranked by scores of dates that the model was trained on")
	}
	if changes && len(r.fixed) > 0 {
		list = append(list, quant.SomeOf(r.fixed, 5)+", which this combines, had one list of symbols for all days (survivorship)")
	}
	if r.lost > 0 {
		list = append(list, quant.Count(r.lost, "run")+" below what this combines have no record: what they rested on is not known")
	}
	return list
}

// refuseInSample refuses to replay what rests on in-sample scores.
func (r rests) refuseInSample(of strategy.Strategy) error {
	if len(r.inSample) == 0 {
		return nil
	}
	err := quant.Errorf(quant.Refused, "strategy %s ranks by in-sample scores: its model has seen what it predicts", of.ID).
		WithHint("use signal.inputs.task_id: %s, or --allow-in-sample, which is stamped on the report", strategy.WalkForward)
	if of.Signal.Type != strategy.Strategies {
		return err
	}
	return quant.Errorf(quant.Refused, "strategy %s combines what in-sample scores decided (%s): their model has seen what it predicts", of.ID, quant.SomeOf(r.inSample, 5)).
		WithHint("decide with signal.inputs.task_id: %s, then combine anew; or --allow-in-sample, which is stamped on the report", strategy.WalkForward)
}
