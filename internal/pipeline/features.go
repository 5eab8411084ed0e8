package pipeline

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/feature"
	"quant/internal/metastore"
	"quant/internal/session"
)

// FeaturesOptions say which features to compute.
type FeaturesOptions struct {
	Version   string   // of the catalogue, or a set of the lab
	File      string   // that defines the set to compute; "": Version does
	Symbols   []string // nil: all that have bars
	AcceptRaw bool     // see price.Request
	Force     bool     // compute also what has not changed

	// Of a set of queries: see SQLFeaturesOptions.
	ProofDays int
	Timeout   time.Duration

	Dispatch Dispatch // has groups of symbols computed by workers; nil: this process computes them
	Unit     UnitOf   // Symbols are computed and staged; none: what is asked for is stored
}

// Command is what a run with these options is recorded as.
func (o FeaturesOptions) Command() session.Command {
	c := command(StageFeatures)
	c.flag("feature-version", cmp.Or(o.Version, DefaultFeatureVersion), o.File == "")
	c.text("file", o.File)
	c.text("symbols", strings.Join(o.Symbols, ","))
	c.yes("accept-raw", o.AcceptRaw)
	c.yes("force", o.Force)
	SQLFeaturesOptions{ProofDays: o.ProofDays, Timeout: o.Timeout}.flags(c)
	o.Unit.flags(c)
	return c.Command
}

// DefaultFeatureVersion is the version of features where none is named.
const DefaultFeatureVersion = "v1"

// Features computes the features of a version, and returns, from ohlcv, and
// records what it read and wrote. A set's definition is recorded with the run. Errors:
// those of feature.Features and feature.ParseSet; NotFound, Failed or Invalid: the file
// cannot be read.
func Features(ctx context.Context, s *session.Session, o FeaturesOptions) (feature.Report, error) {
	req := feature.Request{Version: o.Version, Symbols: o.Symbols, AcceptRaw: o.AcceptRaw, Force: o.Force}
	if o.File != "" {
		set, err := readFeatures(o.File, s)
		if err != nil {
			return feature.Report{}, err
		}
		req.Set = &set
		s.Mask.KnowVersions(set.Version)
		logParams(s, "feature_version", set.Version, "feature_set", factstore.DigestOf(set))
		for _, f := range set.Features {
			logParams(s, "feature."+f.Name, f.Definition)
		}
		if mixed := feature.MixedUnits(set); len(mixed) > 0 {
			s.Say().Notice("%s", quant.SomeOf(mixed, 3))
		}
		if set.Kind == factstore.KindSQL {
			return o.queried(ctx, s, SQLFeaturesOptions{Version: set.Version, set: &set})
		}
		if o.ProofDays != 0 || o.Timeout != 0 {
			return feature.Report{}, quant.Errorf(quant.Usage, "--proof-days and --timeout are of queries, and %s has none", quant.Clip(o.File, 200)).WithHint("leave them out")
		}
	} else if err := feature.CheckVersion(o.Version); err != nil {
		return feature.Report{}, err
	}
	if req.Set == nil {
		switch kind, err := setKind(ctx, s, o.Version); {
		case err != nil:
			return feature.Report{}, err
		case kind == factstore.KindImport:
			return feature.Report{}, quant.Errorf(quant.Refused, "features %s were imported: there is nothing to compute them by", o.Version).WithHint("`quant features import FILE --feature-version %s` brings those of more days", o.Version)
		case kind == factstore.KindSQL:
			return o.queried(ctx, s, SQLFeaturesOptions{Version: o.Version})
		}
	}
	var err error
	if req.Sectors, err = sectors(ctx, s); err != nil {
		return feature.Report{}, err
	}
	switch {
	case o.Unit.Fingerprint != "":
		return feature.Report{}, o.stageGroup(ctx, s, req)
	case o.Dispatch != nil:
		if err := o.dispatch(ctx, s, &req); err != nil {
			return feature.Report{}, err
		}
	}
	return compute(ctx, s, req, feature.Features)
}

// queried computes a set of queries.
func (o FeaturesOptions) queried(ctx context.Context, s *session.Session, q SQLFeaturesOptions) (feature.Report, error) {
	if o.Dispatch != nil {
		s.Say().Notice("features %s are computed by this process: a query is of all symbols", q.Version)
	}
	if o.Symbols != nil {
		s.Say().Notice("features %s are computed of all symbols: their query says which", q.Version)
	}
	q.ProofDays, q.Timeout, q.Force = o.ProofDays, o.Timeout, o.Force
	return queried(SQLFeatures(ctx, s, q))
}

// readFeatures reads a file that defines a version of features, and records it as an
// input, unless s is nil.
func readFeatures(file string, s *session.Session) (factstore.FeatureSet, error) {
	data, err := readDefinition("features", file, feature.MaxDefinitionBytes)
	if err != nil {
		return factstore.FeatureSet{}, err
	}
	if s != nil {
		s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: file, Digest: quant.Text(durable.Digest(data))})
	}
	return feature.ParseSet(file, data)
}

// sectors are those of the symbols of the lab, which a set may group by.
func sectors(ctx context.Context, s *session.Session) (map[string]string, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	list, err := meta.ListSymbols(ctx, metastore.SymbolFilter{})
	if err != nil {
		return nil, err
	}
	of := map[string]string{}
	for _, symbol := range list {
		if symbol.Sector != "" {
			of[symbol.Symbol] = string(symbol.Sector)
		}
	}
	return of, nil
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
	err := s.WriteFactsLate(ctx, func(db *factstore.DB) error {
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
