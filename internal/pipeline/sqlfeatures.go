package pipeline

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/feature"
	"quant/internal/lab/place"
	"quant/internal/sandbox"
	"quant/internal/session"
	"quant/internal/sqlfeature"
)

// SQLFeaturesOptions say which features to compute by a query.
type SQLFeaturesOptions struct {
	Version   string
	File      string        // of the query; "": the one by which the version is defined
	Feature   string        // the name, where the query gives none
	ProofDays int           // 0: sqlfeature.DefaultProofDays
	Timeout   time.Duration // of each run of the query; 0: sandbox.DefaultTimeout
}

// flags gives the flags by which a query is named and proved.
func (o SQLFeaturesOptions) flags(c *commandLine) {
	c.text("sql", o.File)
	c.text("feature", o.Feature)
	c.whole("proof-days", o.ProofDays, sqlfeature.DefaultProofDays)
	c.flag("timeout", cmp.Or(o.Timeout, sandbox.DefaultTimeout).String(), o.Timeout != 0)
}

// maxQueryFile bounds a file with a query.
const maxQueryFile = 1 << 20

// SQLFeatures computes the features of a version by a query, proves that none looks
// ahead, and records what it read and wrote. NotFound: there is no such file, or no such
// version. Conflict: the version is quant's own. Other errors: those of
// sqlfeature.Compute and sandbox.Run.
func SQLFeatures(ctx context.Context, s *session.Session, o SQLFeaturesOptions) (sqlfeature.Report, error) {
	none := sqlfeature.Report{Version: o.Version}
	if slices.Contains(feature.Versions(), o.Version) {
		return none, quant.Errorf(quant.Conflict, "feature version %s is quant's own", o.Version).WithHint("give the features a version of their own: --feature-version my_sql")
	}
	s.Mask.KnowVersions(o.Version)
	if err := factstore.CheckFeatureVersion(o.Version); err != nil {
		return none, err
	}
	query := ""
	if o.File != "" {
		text, err := readQuery(o.File)
		if err != nil {
			return none, err
		}
		query = string(text)
		s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: o.File, Digest: quant.Text(durable.Digest(text))})
	}
	if !s.HasFactDB() {
		return none, quant.Errorf(quant.NotFound, "the lab has no prices").WithHint("`quant ingest FILE` loads prices first")
	}
	folder, clear, err := proofFolder(s)
	if err != nil {
		return none, err
	}
	defer clear()
	var report sqlfeature.Report
	err = s.WriteFacts(ctx, func(db *factstore.DB) error {
		if query == "" {
			set, err := db.FeatureSet(ctx, o.Version)
			if err != nil {
				return err
			}
			if set.Kind != factstore.KindSQL {
				return quant.Errorf(quant.Conflict, "feature version %s is not defined by a query", o.Version).WithHint("--sql FILE defines a new version")
			}
			query = set.Features[0].Definition
			if len(set.Features) == 1 {
				o.Feature = set.Features[0].Name
			}
		}
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		report, err = sqlfeature.Compute(ctx, db, sqlfeature.Request{
			RunID: s.RunID(), Version: o.Version, SQL: query, Feature: o.Feature, ProofDays: o.ProofDays, Folder: folder, Calendar: cal,
			Query: func(ctx context.Context, path, query string, out io.Writer) error {
				_, err := sandbox.Run(ctx, sandbox.Request{Store: sandbox.Fact, Path: path, SQL: query, Format: sandbox.CSV, Exact: true, Timeout: o.Timeout}, out)
				return err
			},
		})
		return err
	})
	s.Record(report.Inputs...)
	if err != nil {
		return report, err
	}
	s.Record(report.Outputs...)
	logParams(s, "proof_days", proofDays(report.Proof.Days), "proof_seed", report.Proof.Seed)
	if report.KnownAt == factstore.KnownStated {
		s.Say().Notice("%s", statedNotice("what the query reads was imported"))
	}
	if report.Inserted+report.Updated+report.Deleted == 0 {
		s.Say().Notice("features %s: nothing changed", o.Version)
	}
	return report, nil
}

func proofDays(days []quant.Date) string {
	list := make([]string, len(days))
	for i, d := range days {
		list[i] = d.String()
	}
	return strings.Join(list, ",")
}

func readQuery(path string) ([]byte, error) {
	label := quant.Clip(path, 200)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "%s: no such file", label).WithHint("--sql names a file with one SELECT")
	}
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the query: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxQueryFile+1))
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the query: %w", err)
	}
	if len(text) > maxQueryFile {
		return nil, quant.Errorf(quant.Usage, "%s is longer than %s", label, quant.Bytes(maxQueryFile)).WithHint("write one SELECT")
	}
	if strings.TrimSpace(string(text)) == "" {
		return nil, quant.Errorf(quant.Usage, "%s is empty", label).WithHint("write one SELECT of symbol, ts and feature_value")
	}
	return text, nil
}

// proofFolder makes a folder for the excerpts of a proof, and what takes it away.
func proofFolder(s *session.Session) (folder string, clear func(), err error) {
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "make room for the proof in %s: %w", s.ScratchDir(), err).WithHint("make room there, or check that you may write")
	}
	if err := os.MkdirAll(s.ScratchDir(), 0o700); err != nil {
		return "", nil, failed(err)
	}
	if folder, err = os.MkdirTemp(s.ScratchDir(), place.Proof+"*"); err != nil {
		return "", nil, failed(err)
	}
	return folder, func() {
		if gone := os.RemoveAll(folder); gone != nil {
			s.Say().Warn("the excerpts of the facts in %s could not be deleted: %v", folder, gone)
		}
		_ = os.Remove(s.ScratchDir()) // if nothing else is in it
	}, nil
}

// queried is what became of a query for features, as a report of features has it.
func queried(r sqlfeature.Report, err error) (feature.Report, error) {
	report := feature.Report{
		Version: r.Version, Symbols: int(r.Symbols), FirstDate: r.FirstDate, LastDate: r.LastDate, Series: []feature.Series{}, Notices: []string{},
		Tables: []feature.Table{{Table: factstore.FeaturesDaily, Inserted: r.Inserted, Updated: r.Updated, Deleted: r.Deleted}},
	}
	if r.Inserted+r.Updated+r.Deleted > 0 {
		report.Computed = report.Symbols
	}
	for _, f := range r.Features {
		report.Series = append(report.Series, feature.Series{Name: f.Name, Rows: f.Values})
	}
	return report, err
}

// setKind is what the set of a version is made by; "" where the lab has no such set.
func setKind(ctx context.Context, s *session.Session, version string) (kind string, err error) {
	if version == "" {
		return "", nil
	}
	sets, err := setsFor(ctx, s, version)
	for _, set := range sets {
		if set.Version == version {
			return set.Kind, err
		}
	}
	return "", err
}
