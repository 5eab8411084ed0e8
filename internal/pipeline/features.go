package pipeline

import (
	"context"
	"strconv"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/feature"
	"quant/internal/session"
)

// FeaturesOptions say which features to compute.
type FeaturesOptions struct {
	Version   string   // of the catalogue
	Symbols   []string // nil: all that have bars
	AcceptRaw bool     // see price.Request
	Force     bool     // compute also what has not changed
}

// Command is what a run with these options is recorded as.
func (o FeaturesOptions) Command() session.Command {
	c := command(StageFeatures)
	c.flag("feature-version", o.Version, true)
	c.text("symbols", strings.Join(o.Symbols, ","))
	c.yes("accept-raw", o.AcceptRaw)
	c.yes("force", o.Force)
	return c.Command
}

// Features computes the features of a version, and returns, from ohlcv, and
// records what it read and wrote. Errors: those of feature.Features.
func Features(ctx context.Context, s *session.Session, o FeaturesOptions) (feature.Report, error) {
	if err := feature.CheckVersion(o.Version); err != nil {
		return feature.Report{}, err
	}
	switch kind, err := setKind(ctx, s, o.Version); {
	case err != nil:
		return feature.Report{}, err
	case kind == factstore.KindImport:
		return feature.Report{}, quant.Errorf(quant.Refused, "features %s were imported: there is nothing to compute them by", o.Version).WithHint("`quant features import FILE --feature-version %s` brings those of more days", o.Version)
	case kind == factstore.KindSQL:
		if o.Symbols != nil {
			s.Say().Notice("features %s are computed of all symbols: their query says which", o.Version)
		}
		return queried(SQLFeatures(ctx, s, SQLFeaturesOptions{Version: o.Version}))
	}
	return compute(ctx, s, feature.Request{Version: o.Version, Symbols: o.Symbols, AcceptRaw: o.AcceptRaw, Force: o.Force}, feature.Features)
}

// LabelsOptions say which labels to compute.
type LabelsOptions struct {
	Version   string
	Horizon   int      // sessions
	Symbols   []string // nil: all that have bars
	AcceptRaw bool     // see price.Request
	Force     bool     // compute also what has not changed
}

// Command is what a run with these options is recorded as.
func (o LabelsOptions) Command() session.Command {
	c := command(StageLabels)
	c.flag("label-version", o.Version, true)
	c.flag("horizon", strconv.Itoa(o.Horizon), true)
	c.text("symbols", strings.Join(o.Symbols, ","))
	c.yes("accept-raw", o.AcceptRaw)
	c.yes("force", o.Force)
	return c.Command
}

// Labels computes the labels of a horizon from ohlcv, and records what it read
// and wrote. Errors: those of feature.Labels.
func Labels(ctx context.Context, s *session.Session, o LabelsOptions) (feature.Report, error) {
	if err := feature.CheckLabelVersion(o.Version); err != nil {
		return feature.Report{}, err
	}
	if err := feature.CheckHorizon(o.Horizon); err != nil {
		return feature.Report{}, err
	}
	return compute(ctx, s, feature.Request{Version: o.Version, Horizon: o.Horizon, Symbols: o.Symbols, AcceptRaw: o.AcceptRaw, Force: o.Force}, feature.Labels)
}

// compute runs what computes features or labels, and records what it read and
// wrote.
func compute(ctx context.Context, s *session.Session, req feature.Request,
	run func(context.Context, *factstore.DB, *calendar.Calendar, feature.Request) (feature.Report, error)) (feature.Report, error) {
	req.RunID = s.RunID()
	var report feature.Report
	err := s.WriteFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		report, err = run(ctx, db, cal, req)
		return err
	})
	for _, notice := range report.Notices {
		s.Say().Notice("%s", notice)
	}
	if err != nil {
		return report, err
	}
	s.Record(report.Inputs...)
	s.Record(report.Outputs...)
	return report, nil
}
