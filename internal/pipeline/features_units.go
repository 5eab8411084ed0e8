package pipeline

import (
	"context"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/feature"
	"quant/internal/session"
)

// Features with workers: each group of symbols is computed by a process of its own, which
// stages the values of each symbol with the digest of what they were computed from. The
// command that asked for it stores, in one transaction and the order of the symbols, what
// it would have computed of the same, and computes the rest.

// planDigest is of what is asked for.
func (o FeaturesOptions) planDigest(s *session.Session, req feature.Request) (string, error) {
	return planDigest(s, "features are", req.Version, req.Set, req.AcceptRaw, req.Force)
}

// dispatch has workers compute groups of symbols, and lets req take what they staged.
func (o FeaturesOptions) dispatch(ctx context.Context, s *session.Session, req *feature.Request) error {
	plan, err := o.planDigest(s, *req)
	if err != nil {
		return err
	}
	var units []*unit
	err = s.WriteFactsInside(ctx, func(db *factstore.DB) error { // brings an older file up to date, as every computation does
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		groups, err := feature.Divide(ctx, db, cal, *req)
		if err != nil {
			return err
		}
		for _, g := range groups {
			one := o
			one.Symbols = g.Symbols
			one.Unit = UnitOf{Plan: plan, Fingerprint: durable.Digest([]byte(plan + " " + g.Fingerprint))}
			units = append(units, &unit{line: one.Command().Args, fingerprint: one.Unit.Fingerprint})
		}
		return findStaged(ctx, s, db, units)
	})
	if err != nil || len(units) == 0 {
		return err
	}
	tellTakenOver(s, units, "group", "computed by a run")
	if err := o.Dispatch.work(ctx, s, string(StageFeatures), units); err != nil {
		return err
	}
	failpoint.Hit("features.dispatched")
	req.Units = &feature.Units{Succeeded: succeeded(s)}
	for _, u := range units {
		if u.staged.RunID != "" {
			req.Units.List = append(req.Units.List, u.staged)
		}
	}
	return nil
}

// stageGroup computes the values of a group of symbols and stages them, for the command
// that asked for it. quant.Conflict: what this process finds to be asked for is something
// else.
func (o FeaturesOptions) stageGroup(ctx context.Context, s *session.Session, req feature.Request) error {
	s.KeepReads()
	plan, err := o.planDigest(s, req)
	if err != nil {
		return err
	}
	if plan != o.Unit.Plan {
		return quant.Errorf(quant.Conflict, "the definition of features %s or the calendar has changed since they were asked for, or is another here", req.Version).WithHint("compute them again")
	}
	req.RunID = s.RunID()
	return s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		return stageUnit(ctx, s, db, o.Unit.Fingerprint, "features", func(to *factstore.OutputsWriter) (int64, any, error) {
			report, note, err := feature.StageValues(ctx, db, cal, req, to)
			if err != nil {
				return 0, nil, err
			}
			s.Record(report.Inputs...)
			return note.Rows(), note, nil
		})
	})
}
