// Package stated stores features and predictions that another program made, from a
// file: Parquet, Arrow or CSV, as pandas and polars write them, long or wide. It cannot
// compute them again, so what they are and when they were known is as their source
// states it. What it can hold against that it does: every value has a symbol of the lab
// and a session that has been, was known by the close of that session, and does not
// look like a return that only followed.
//
// It owns what such a row must be. It owns neither the tables (factstore), nor the
// sessions (calendar), nor the models and the runs (the Meta DB).
package stated

import (
	"context"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
)

// Algo is the algorithm of a model whose predictions were imported, and Task the task
// of these.
const (
	Algo = "imported"
	Task = "imported"
)

// KnownAt is what is said of everything that rests on an import.
const KnownAt = "as stated by its source"

// The layouts of a file.
const (
	Long  = "long"  // a row a value: symbol, ts, feature_name, feature_value
	Wide  = "wide"  // a row a symbol and day with a column a feature; or a row a day with a column a symbol
	panel = "panel" // the latter
)

// Request says what to import, and how.
type Request struct {
	RunID string
	File  string
	// Set is the feature version, or the model, that the values belong to.
	Set         string
	Predictions bool     // the values are scores of a model, not features
	Layout      string   // Long, Wide or "": found out
	Feature     string   // the feature of a file that names none
	Features    []string // only these; nil: all
	KnownAt     string   // the column that says when a row was known; "": known_at, or, where there is none, the close of ts
	Map         []string // FIELD=COLUMN
	Encoding    string   // of a text file: utf-8 (also ""), or another of textencoding.Known
	Timezone    string   // of instants, by its IANA name; "": the exchange's
	// MaxRejectRatio is the share of rejected rows, 0 to 1, above which nothing is stored.
	MaxRejectRatio float64
	Replace        bool // what stands of the set and not in the file is deleted
	// AcceptStated stores also values that look like returns that only followed.
	AcceptStated bool

	Calendar *calendar.Calendar
	Mask     func(string) string // of secrets, for what is stored of the file's name; nil: none
}

// Report is what an import did. A value is of one symbol, day and feature. A row is one
// of the file's.
type Report struct {
	Set       string `json:"set"` // the feature version, or the model
	Path      string `json:"path"`
	Digest    string `json:"digest"` // sha256:<hex> of the file's bytes
	Format    string `json:"format"` // parquet, arrow or csv
	Layout    string `json:"layout"` // long, wide or panel
	KnownAt   string `json:"known_at"`
	KnownFrom string `json:"known_from"` // the column that states it; "": the close of ts

	Features []Feature `json:"features"`
	Symbols  int64     `json:"symbols"`

	FirstDate quant.Text `json:"first_date"`
	LastDate  quant.Text `json:"last_date"`

	RowsRead      int64 `json:"rows_read"`
	RowsRejected  int64 `json:"rows_rejected"`
	RowsCollapsed int64 `json:"rows_collapsed"` // the same values stand earlier in the file

	ValuesMissing   int64 `json:"values_missing"`    // empty: no row
	ValuesNotFinite int64 `json:"values_not_finite"` // NaN or an infinity: no row
	ValuesInserted  int64 `json:"values_inserted"`
	ValuesUpdated   int64 `json:"values_updated"`
	ValuesUnchanged int64 `json:"values_unchanged"`
	ValuesDeleted   int64 `json:"values_deleted"`

	Refused        bool       `json:"refused"` // nothing was stored but the rejects
	Reasons        []Reason   `json:"reasons"` // most frequent first
	Revised        []Revision `json:"revised"` // at most three
	Revisions      int64      `json:"revisions"`
	IgnoredColumns []string   `json:"ignored_columns"`
	Notices        []string   `json:"notices"`

	LookedAhead int64 `json:"looked_ahead"` // rows that were rejected because they were known too late
}

// Feature counts the values of one feature.
type Feature struct {
	Name   string `json:"name"`
	Values int64  `json:"values"`
}

// Reason is why rows were rejected, with the first of them.
type Reason struct {
	Reason   string    `json:"reason"`
	Rows     int64     `json:"rows"`
	Examples []Example `json:"examples"` // at most three
}

// Example is one rejected row.
type Example struct {
	Row    int64      `json:"row"` // from 1, the header not counted
	Symbol quant.Text `json:"symbol"`
	TS     quant.Text `json:"ts"`
	Detail string     `json:"detail"` // what it holds
}

// Revision is a value that an earlier file stated otherwise.
type Revision struct {
	Symbol string     `json:"symbol"`
	TS     quant.Date `json:"ts"`
	Name   string     `json:"name"`
	Before float64    `json:"before"`
	After  *float64   `json:"after"` // null: deleted
}

// Table is the table of the contract that the values are in.
func (r Request) Table() string {
	if r.Predictions {
		return factstore.Predictions
	}
	return factstore.FeaturesDaily
}

// Inputs are what was read: the file.
func (r Report) Inputs() []quant.RunIO {
	return []quant.RunIO{{Direction: quant.In, Kind: quant.IOFile, Name: r.Path, Rows: &r.RowsRead, FirstDate: r.FirstDate, LastDate: r.LastDate, Digest: quant.Text(r.Digest)}}
}

// Outputs are the tables that were written.
func (r Report) Outputs(req Request) []quant.RunIO {
	changed := r.ValuesInserted + r.ValuesUpdated + r.ValuesDeleted
	var outputs []quant.RunIO
	if !r.Refused {
		outputs = append(outputs, quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: req.Table(), Rows: &changed, FirstDate: r.FirstDate, LastDate: r.LastDate})
	}
	if r.Revisions > 0 {
		outputs = append(outputs, quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: factstore.StatedRevisions, Rows: &r.Revisions})
	}
	if r.RowsRejected > 0 {
		outputs = append(outputs, quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: factstore.Rejects})
	}
	return outputs
}

var (
	setName     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`) })
	featureName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,62}$`) })
)

// Validate reports the first thing in the request that makes no sense, as Usage. It
// looks at no file.
func (r Request) Validate() error {
	what, flag := "feature version", "--feature-version my_signals"
	if r.Predictions {
		what, flag = "model", "--model my_model"
	}
	switch {
	case r.File == "":
		return quant.Errorf(quant.Usage, "no file is named").WithHint("for example signals.parquet")
	case r.Set == "":
		return quant.Errorf(quant.Usage, "the values need a name: a %s of their own", what).WithHint("for example %s", flag)
	case !setName().MatchString(r.Set):
		return quant.Errorf(quant.Usage, "%s %q cannot be used as a name", what, quant.Clip(r.Set, 80)).WithHint("a letter, then lower-case letters, digits and _, 63 at most: %s", flag)
	case r.Layout != "" && r.Layout != Long && r.Layout != Wide:
		return quant.Errorf(quant.Usage, "layout %q is not known", quant.Clip(r.Layout, 40)).WithHint("use --layout long or --layout wide")
	case !(r.MaxRejectRatio >= 0 && r.MaxRejectRatio <= 1):
		return quant.Errorf(quant.Usage, "max reject ratio %v is not between 0 and 1", r.MaxRejectRatio).WithHint("for example --max-reject-ratio 0.01")
	}
	for _, name := range append(append([]string{}, r.Features...), r.Feature) {
		if name != "" && !featureName().MatchString(name) {
			return quant.Errorf(quant.Usage, "%q cannot be the name of a feature", quant.Clip(name, 80)).WithHint("a letter, then letters, digits and _, 63 at most")
		}
	}
	if _, err := time.LoadLocation(r.Timezone); err != nil || r.Timezone == "Local" {
		return quant.Errorf(quant.Usage, "time zone %q is not known", quant.Clip(r.Timezone, 60)).WithHint("for example --timezone America/New_York")
	}
	_, err := r.mapped()
	return err
}

// mapped are the columns that are named for a field, or for a feature.
func (r Request) mapped() (map[string]string, error) {
	fields := map[string]string{}
	for _, m := range r.Map {
		field, column, found := strings.Cut(m, "=")
		if !found || field == "" || column == "" {
			return nil, quant.Errorf(quant.Usage, "--map %q is not FIELD=COLUMN", quant.Clip(m, 80)).WithHint("for example --map ts=Date --map symbol=Ticker --map momentum='Mom 12-1'")
		}
		if fields[field] != "" {
			return nil, quant.Errorf(quant.Usage, "--map names the field %s twice", quant.Clip(field, 80)).WithHint("name it once")
		}
		if !featureName().MatchString(field) {
			return nil, quant.Errorf(quant.Usage, "--map: %q cannot be the name of a feature", quant.Clip(field, 80)).WithHint("a letter, then letters, digits and _, 63 at most")
		}
		fields[field] = column
	}
	if r.KnownAt != "" {
		if fields[knownField] != "" && fields[knownField] != r.KnownAt {
			return nil, quant.Errorf(quant.Usage, "--known-at and --map name two columns for the time at which a row was known").WithHint("name one")
		}
		fields[knownField] = r.KnownAt
	}
	return fields, nil
}

// Import reads the file and makes the set hold its values: a row with a new key is
// inserted, one with another value replaces the stored one, which is kept in
// stated_revisions, and other rows stay, but with Replace. Rows that cannot be taken are
// kept in rejects. All in one transaction; the same file again changes nothing.
//
// declare is called in that transaction, before anything is stored, with the names of
// the features. It may be nil.
//
// Errors: NotFound, Invalid or Failed: the file cannot be read or understood, and
// nothing is changed. Refused: more than MaxRejectRatio of the rows were rejected, and
// only these are stored; or values look like returns that only followed. Partial: rows
// were rejected because they were known too late; the others are stored. The report is
// filled in both cases.
func Import(ctx context.Context, db *factstore.DB, req Request, declare func(ctx context.Context, tx *factstore.Tx, names []string) error) (Report, error) {
	report := Report{Set: req.Set, Path: req.File, KnownAt: KnownAt, Features: []Feature{}, Reasons: []Reason{}, Revised: []Revision{}, IgnoredColumns: []string{}, Notices: []string{}}
	if err := req.Validate(); err != nil {
		return report, err
	}
	in := &importing{Request: req, db: db, declare: declare, report: report}
	defer in.drop(context.WithoutCancel(ctx))
	err := in.run(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = quant.Errorf(quant.Failed, "import %s: %w", quant.Clip(req.File, 200), cause)
	}
	return in.report, err
}

// importing is one call of Import.
type importing struct {
	Request
	db      *factstore.DB
	declare func(ctx context.Context, tx *factstore.Tx, names []string) error
	report  Report

	zone    string        // of the exchange
	close   time.Duration // of a session, after its midnight there
	before  fs.FileInfo   // of the file, when its reading began
	texts   bool          // the file is one of texts, which the gate reads
	columns []column      // of the file
	layout  arrangement
	names   []string // of the features
}

// The TEMP tables of an import.
const (
	raw       = "stated_raw"    // the file's rows, a column c<i> each
	staged    = "stated_rows"   // the same as rows of the set; fault says what is wrong
	twice     = "stated_twice"  // keys that stand more than once
	fresh     = "stated_fresh"  // a row a symbol and day, a column a feature, as they will stand
	flat      = "stated_flat"   // view of it as the table has rows
	turned    = "stated_turned" // the new rejects
	knownRows = "stated_known_rows"
	sampled   = "stated_sampled" // symbols whose values are held against what followed
)

func (in *importing) drop(ctx context.Context) {
	_ = in.db.TrustBounds(ctx, true)
	_, _ = in.db.Stage(ctx, "DROP VIEW IF EXISTS temp.main."+flat)
	for _, t := range []string{raw, staged, twice, fresh, turned, knownRows, sampled} {
		_, _ = in.db.Stage(ctx, "DROP TABLE IF EXISTS temp.main."+t)
	}
}

func (in *importing) run(ctx context.Context) error {
	in.drop(ctx)
	if err := in.db.TrustBounds(ctx, false); err != nil {
		return err
	}
	in.zone, in.close = in.Calendar.Close()
	for _, step := range []func(context.Context) error{in.read, in.arrange, in.gate, in.once, in.count, in.gather, in.suspect, in.store} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (in *importing) stage(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := in.db.Stage(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
