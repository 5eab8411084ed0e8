package pipeline

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/feature"
	"quant/internal/session"
	"quant/internal/stated"
)

// FactorOptions say what to judge by what.
type FactorOptions struct {
	feature.FactorRequest
	SVG string // a file that is not there yet, to draw it into; "": it is not drawn
}

// Factor judges a stored feature by a stored label, and records what it read and
// measured. Conflict: there is something in the place of the drawing. Failed: it
// cannot be written. Other errors: those of feature.Factor.
func Factor(ctx context.Context, s *session.Session, o FactorOptions) (feature.FactorReport, error) {
	req := o.FactorRequest
	if _, err := req.Check(); err != nil {
		return feature.FactorReport{}, err
	}
	var report feature.FactorReport
	err := s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		if report, err = feature.Factor(ctx, db, cal, req); err != nil {
			return err
		}
		by, err := statedBy(ctx, db, nil, []string{report.FeatureVersion}, "")
		if by != "" {
			report.KnownAt, report.Notices = stated.KnownAt, append([]string{statedNotice(by)}, report.Notices...)
		}
		return err
	})
	if err != nil {
		return report, err
	}
	s.Record(report.Inputs...)
	logParams(s, "feature", report.Feature+"@"+report.FeatureVersion, "label", report.Label+"@"+report.LabelVersion, "quantiles", strconv.Itoa(req.Quantiles))
	whole := report
	whole.Daily = nil // thousands, and none of them is recorded
	logMeasured(s, "", 0, whole)
	logMeasured(s, "ic.", 0, report.IC)
	logMeasured(s, "rank_ic.", 0, report.RankIC)
	for _, notice := range report.Notices {
		s.Say().Notice("%s", notice)
	}
	if o.SVG != "" {
		drawing := report.SVG()
		defer s.Target(o.SVG)()
		if err := writeNewFile(o.SVG, drawing); err != nil {
			return report, err
		}
		s.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: o.SVG, Digest: quant.Text(durable.Digest(drawing))})
	}
	return report, nil
}

// writeNewFile writes a file that is not there yet, whole or not at all.
func writeNewFile(path string, content []byte) error {
	err := durable.Create(filepath.Clean(path), 0o600, durable.Bytes(content))
	if errors.Is(err, durable.ErrExists) {
		return quant.Errorf(quant.Conflict, "%s exists already", path).WithHint("name another file, or remove it")
	}
	if err != nil {
		return quant.Errorf(quant.Failed, "write %s: %w", path, err).WithHint("check the folder and the free space")
	}
	return nil
}
