package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/feature"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/stated"
)

// StatedOptions say which file of features or predictions to import, and how: see
// stated.Request.
type StatedOptions struct {
	File           string
	Set            string // the feature version, or the model
	Layout         string
	Feature        string
	Features       []string
	KnownAt        string
	Map            []string
	Encoding       string // of a text file
	Timezone       string
	MaxRejectRatio float64
	Replace        bool
	AcceptStated   bool
}

func (o StatedOptions) request(s *session.Session, predictions bool) stated.Request {
	return stated.Request{
		RunID: s.RunID(), File: o.File, Set: o.Set, Predictions: predictions, Layout: o.Layout, Feature: o.Feature, Features: o.Features, KnownAt: o.KnownAt, Map: o.Map,
		Encoding: o.Encoding, Timezone: o.Timezone, MaxRejectRatio: o.MaxRejectRatio, Replace: o.Replace, AcceptStated: o.AcceptStated, Mask: s.Mask.Text,
	}
}

// ImportFeatures stores the features of a file as a set of the version, and records what
// it read and wrote. Conflict: the version is quant's own, or stands with another
// meaning. Other errors: those of stated.Import; the report is filled beside Refused
// and Partial.
func ImportFeatures(ctx context.Context, s *session.Session, o StatedOptions) (stated.Report, error) {
	req := o.request(s, false)
	if err := req.Validate(); err != nil {
		return stated.Report{}, err
	}
	if slices.Contains(feature.Versions(), o.Set) {
		return stated.Report{}, quant.Errorf(quant.Conflict, "feature version %s is quant's own", o.Set).WithHint("give the features a version of their own: --feature-version my_signals")
	}
	if err := factstore.CheckFeatureVersion(o.Set); err != nil {
		return stated.Report{}, err
	}
	return importStated(ctx, s, req, func(ctx context.Context, tx *factstore.Tx, names []string) error {
		return declareStated(ctx, tx, o.Set, names)
	})
}

// statedDefinition is what a feature is that a file states.
const statedDefinition = "imported, known " + stated.KnownAt

// declareStated declares a set of imported features. One that stands may have more: a
// file need not bring all of them.
func declareStated(ctx context.Context, tx *factstore.Tx, version string, names []string) error {
	stands, err := tx.FeatureSet(ctx, version)
	if err == nil && stands.Kind == factstore.KindImport {
		i := slices.IndexFunc(names, func(name string) bool { return !slices.Contains(stands.Names(), name) })
		if i < 0 {
			return nil
		}
		return quant.Errorf(quant.Conflict, "feature version %s stands without %s", version, names[i]).
			WithHint("give all of them a new version, or leave it out: --features %s", strings.Join(stands.Names(), ","))
	}
	if err != nil && !errors.Is(err, quant.NotFound) {
		return err
	}
	set := factstore.FeatureSet{Version: version, Kind: factstore.KindImport}
	for _, name := range names {
		set.Features = append(set.Features, factstore.SetFeature{Name: name, Kind: factstore.KindImport, Definition: statedDefinition, ScaleFree: true, KnownAt: factstore.KnownStated})
	}
	_, err = tx.DeclareFeatures(ctx, set)
	return err
}

// ImportPredictions stores the scores of a file as the predictions of a model of the
// algorithm stated.Algo, which it makes, and records what it read and wrote. Conflict:
// there is a model of the name that was trained. Other errors: as ImportFeatures.
func ImportPredictions(ctx context.Context, s *session.Session, o StatedOptions) (stated.Report, error) {
	req := o.request(s, true)
	if err := req.Validate(); err != nil {
		return stated.Report{}, err
	}
	meta, err := s.MetaDB()
	if err != nil {
		return stated.Report{}, err
	}
	ensure := func(ctx context.Context) (created bool, err error) {
		err = meta.Tx(ctx, func(ctx context.Context) error {
			created = false
			m, err := meta.GetModel(ctx, o.Set)
			if err == nil && string(m.Algo) == stated.Algo {
				return nil
			}
			if err == nil {
				return quant.Errorf(quant.Conflict, "model %s was trained here, by %s", o.Set, m.Algo).WithHint("give the imported scores a model of their own: --model my_model")
			}
			if !errors.Is(err, quant.NotFound) {
				return err
			}
			created = true
			return meta.CreateModel(ctx, statedModel(s, o.Set))
		})
		return created, err
	}
	if m, err := meta.GetModel(ctx, o.Set); err == nil && string(m.Algo) != stated.Algo {
		_, err := ensure(ctx)
		return stated.Report{}, err
	}
	return importStated(ctx, s, req, func(ctx context.Context, _ *factstore.Tx, _ []string) error {
		// Before the facts are committed: a model without predictions harms nothing.
		created, err := ensure(ctx)
		if created {
			recordMeta(s, "models", 1)
			s.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOModel, Name: o.Set})
		}
		return err
	})
}

func statedModel(s *session.Session, id string) quant.Model {
	params, err := quant.NewJSON(struct {
		KnownAt string `json:"known_at"`
		Task    string `json:"task_id"`
	}{stated.KnownAt, stated.Task})
	m := quant.Model{ModelID: id, Algo: stated.Algo, CreatedAt: quant.NewTime(s.Now())}
	if err == nil {
		m.ParamsJSON = params
	}
	return m
}

func importStated(ctx context.Context, s *session.Session, req stated.Request, declare func(context.Context, *factstore.Tx, []string) error) (stated.Report, error) {
	if !s.HasFactDB() {
		return stated.Report{}, quant.Errorf(quant.NotFound, "the lab has no prices, so that no symbol and no session is known").WithHint("`quant ingest FILE` loads prices first")
	}
	logParams(s, "set", req.Set)
	var report stated.Report
	err := s.WriteFacts(ctx, func(db *factstore.DB) error {
		var err error
		if req.Calendar, err = openCalendar(ctx, s, db, factstore.OHLCV); err != nil {
			return err
		}
		report, err = stated.Import(ctx, db, req, declare)
		return err
	})
	report.Path = s.Mask.Text(report.Path)
	for _, notice := range report.Notices {
		s.Say().Notice("%s", notice)
	}
	taken := err == nil || errors.Is(err, quant.Partial) || errors.Is(err, quant.Refused)
	if report.Digest != "" {
		s.Record(report.Inputs()...)
	}
	if !taken {
		return report, err
	}
	s.Record(report.Outputs(req)...)
	if len(report.IgnoredColumns) > 0 {
		s.Say().Notice("columns not taken: %s", quant.SomeOf(report.IgnoredColumns, 10))
	}
	if !report.Refused {
		s.Say().Notice("known at: %s (%s)", stated.KnownAt, knownFrom(report))
	}
	if n := report.Revisions; n > 0 {
		s.Say().Warn("%s of the past stated otherwise than by an earlier file, which are kept in stated_revisions: %s", quant.Count(int(n), "value"), revised(report.Revised))
	}
	if report.ValuesInserted+report.ValuesUpdated+report.ValuesDeleted == 0 && report.ValuesUnchanged > 0 {
		s.Say().Notice("nothing changed: %s has these values already", req.Table())
	}
	return report, err
}

func knownFrom(r stated.Report) string {
	if r.KnownFrom == "" {
		return "no column says it: taken as the close of ts"
	}
	return "column " + quant.Clip(r.KnownFrom, 60)
}

func revised(list []stated.Revision) string {
	parts := make([]string, len(list))
	for i, one := range list {
		after := "none"
		if one.After != nil {
			after = fmt.Sprint(*one.After)
		}
		parts[i] = fmt.Sprintf("%s of %s on %s was %v, is %s", one.Name, one.Symbol, one.TS, one.Before, after)
	}
	return strings.Join(parts, "; ")
}

// isStated reports whether the predictions of a model were imported.
func isStated(m quant.Model) bool { return string(m.Algo) == stated.Algo }

// statedBy names what features of these versions and predictions of a model rest on of
// what was imported: "" where nothing was. It is the one rule for what every report
// says of it.
func statedBy(ctx context.Context, db *factstore.DB, meta metastore.Store, versions []string, modelID string) (string, error) {
	var list []string
	for _, version := range versions {
		set, err := db.FeatureSet(ctx, version)
		if errors.Is(err, quant.NotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		if set.KnownAt == factstore.KnownStated && !slices.Contains(list, "features "+version) {
			list = append(list, "features "+version)
		}
	}
	if modelID != "" && meta != nil {
		m, err := meta.GetModel(ctx, modelID)
		switch {
		case errors.Is(err, quant.NotFound):
		case err != nil:
			return "", err
		case isStated(m):
			list = append(list, "predictions of "+modelID)
		default: // what it was trained on
			of, err := statedBy(ctx, db, nil, strings.Split(string(m.FeatureVersion), ","), "")
			if err != nil {
				return "", err
			}
			if of != "" {
				list = append(list, "model "+modelID+", trained on "+of)
			}
		}
	}
	return strings.Join(list, "; "), nil
}

// The kinds of the runs that import.
const (
	kindFeaturesImport    = "features.import"
	kindPredictionsImport = "predictions.import"
)

// statedNotice is what a report says of what it rests on.
func statedNotice(by string) string {
	return "KNOWN AT: " + stated.KnownAt + " (" + by + "): that nothing was known later, no one here can prove"
}
