package pipeline

import (
	"context"

	"quant"
	"quant/internal/factstore"
	"quant/internal/feature"
	"quant/internal/session"
)

// quickBars is up to how many bars a factor report is made while somebody waits.
const quickBars = 3_000_000

// StoredFactors returns the features and labels that have been computed.
func StoredFactors(ctx context.Context, s *session.Session) (features, labels []feature.Stored, err error) {
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		features, labels, err = feature.ListStored(ctx, db)
		return err
	})
	return features, labels, err
}

// QuickFactor is Factor where the lab is small enough for somebody to wait: Refused with
// more than 3 million bars.
func QuickFactor(ctx context.Context, s *session.Session, req feature.FactorRequest) (feature.FactorReport, error) {
	if _, err := req.Check(); err != nil {
		return feature.FactorReport{}, err
	}
	err := s.ReadFacts(ctx, func(db *factstore.DB) error {
		var bars int64
		if err := db.QueryRow(ctx, "SELECT count(*) FROM ohlcv").Scan(&bars); err != nil {
			return err
		}
		if bars > quickBars {
			return quant.Errorf(quant.Refused, "%d bars are more than a page computes on", bars).
				WithHint("run it: quant factor report --feature %s@%s --label %s@%s", req.Feature, req.FeatureVersion, req.Label, req.LabelVersion)
		}
		return nil
	})
	if err != nil {
		return feature.FactorReport{}, err
	}
	return Factor(ctx, s, FactorOptions{FactorRequest: req})
}
