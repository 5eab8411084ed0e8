// Package curator brings prices into the Fact DB's ohlcv: it reads files that
// other people made, lets nothing past the quality gate that is not a bar, and
// keeps the rows it turned away in rejects, each with its line and reason.
//
// It owns what a bar must look like and what the usual spellings of one are.
// It owns neither the tables and the merge (factstore), nor which symbols
// exist (the Meta DB), nor what a run is.
package curator

import (
	"context"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/textencoding"
)

// Request says what to ingest, and how.
type Request struct {
	RunID          string
	Files          []string
	Symbol         string   // of every row; "": the symbol column, or else the file's name
	Encoding       string   // of text files: utf-8 (also ""), or another of textencoding.Known
	Sheet          string   // of Excel workbooks: the name of the sheet; "": the only one with rows
	Layout         string   // how the columns stand: auto (also ""), or wide: a date, then a column of closes for each symbol
	CloseOnly      bool     // the close is open, high and low, too, and a volume that is missing is 0
	DateFormat     string   // as of strftime; "": year, month, day
	Map            []string // FIELD=COLUMN, the column by its name or its position from 1
	NoHeader       bool     // the first line of a text file is a row; Map says the columns
	Date           string   // YYYY-MM-DD, of every row of files without a date; "": the date column
	Timezone       string   // of the exchange, by its IANA name: the zone in which an instant is a session's day
	Decimal        string   // what begins the fraction of a number in text: point, comma, or "" to find out
	VolumeMissing  string   // what a row without volume is: reject (also "") or zero
	MaxRejectRatio float64  // rejected rows a row read, 0 to 1, above which nothing is stored

	// Memory is the folder in which it is kept what an ingest left, so that the same
	// file again need not be read where nothing can have changed; "": nothing is kept.
	Memory string

	Now func() time.Time // the clock that says what tomorrow is; nil: time.Now
	// Progress is told how far the reading is, from other goroutines but never
	// from two at once; it must not block. May be nil.
	Progress func(Progress)
	// BeforeCommit is told the symbols of the bars, in byte order, when these
	// are merged and not yet committed. Its error undoes everything. May be
	// nil.
	BeforeCommit func(ctx context.Context, symbols []string) error
}

// Progress is how far an ingest is.
type Progress struct {
	File  string // that is being read, as given
	Stage Stage
	Done  int64 // bytes read of all files
	Total int64 // bytes of all files
}

// Stage is what an ingest is doing.
type Stage string

// The stages of an ingest, in order.
const (
	Reading  Stage = "reading"
	Checking Stage = "checking"
	Storing  Stage = "storing"
)

// Report is what an ingest did. Every row read is one of inserted, updated,
// unchanged, collapsed, rejected, skipped and left, unless the ingest was refused.
type Report struct {
	Files            []FileReport `json:"files"`
	RowsRead         int64        `json:"rows_read"`
	RowsInserted     int64        `json:"rows_inserted"`
	RowsUpdated      int64        `json:"rows_updated"`
	RowsRescaled     int64        `json:"rows_rescaled"` // of those updated: only the adjusted close changed, by their symbol's one factor
	RowsUnchanged    int64        `json:"rows_unchanged"`
	RowsCollapsed    int64        `json:"rows_collapsed"` // the same symbol, day and values stand earlier in the input
	RowsRejected     int64        `json:"rows_rejected"`
	RowsNoTrade      int64        `json:"rows_no_trade"`       // of those that became bars: days without a trade, at the close
	RowsNoTradeMoved int64        `json:"rows_no_trade_moved"` // of these: their close is not that of the day before
	RowsSkipped      int64        `json:"rows_skipped"`        // without a price and a volume: no bar
	RowsLeft         int64        `json:"rows_left"`           // of symbols that stayed as they were
	Left             []Left       `json:"left"`                // these symbols, in byte order
	Reasons          []Reason     `json:"reasons"`             // most frequent first
	Symbols          []string     `json:"symbols"`             // of the bars, in byte order
	FirstDate        quant.Text   `json:"first_date"`
	LastDate         quant.Text   `json:"last_date"`
	Notices          []string     `json:"notices"`   // what the user should know, a sentence each
	Revisions        int64        `json:"revisions"` // rows that keep what was updated

	stored *coverage // of all that is stored, where that is what this ingest brought; nil: not known
}

// Inputs are the files that were read, as their paths stand in the report.
func (r Report) Inputs() []quant.RunIO {
	var inputs []quant.RunIO
	for _, f := range r.Files {
		inputs = append(inputs, quant.RunIO{
			Direction: quant.In, Kind: quant.IOFile, Name: f.Path, Rows: &f.RowsRead,
			FirstDate: f.FirstDate, LastDate: f.LastDate, Digest: quant.Text(f.Digest),
		})
	}
	return inputs
}

// Outputs are the tables that were written. done: the ingest succeeded, and that
// it changed no bar is then said, too.
func (r Report) Outputs(done bool) []quant.RunIO {
	var outputs []quant.RunIO
	if changed := r.RowsInserted + r.RowsUpdated; done || changed > 0 {
		outputs = append(outputs, quant.RunIO{
			Direction: quant.Out, Kind: quant.IOTable, Name: factstore.OHLCV, Rows: &changed,
			FirstDate: r.FirstDate, LastDate: r.LastDate,
		})
	}
	if r.Revisions > 0 {
		outputs = append(outputs, quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: factstore.OHLCVRevisions, Rows: &r.Revisions})
	}
	if r.RowsRejected > 0 {
		// Rows stays open: rejects that are kept already are not kept twice.
		outputs = append(outputs, quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: factstore.Rejects})
	}
	return outputs
}

func newReport() Report {
	return Report{Files: []FileReport{}, Reasons: []Reason{}, Symbols: []string{}, Notices: []string{}, Left: []Left{}}
}

// FileReport is what was found in one file. Dates and symbols are those of its
// bars.
type FileReport struct {
	Path           string     `json:"path"` // as given; ARCHIVE:MEMBER of a zip archive
	Name           string     `json:"name"`
	Digest         string     `json:"digest"` // sha256:<hex> of its bytes
	Format         string     `json:"format"` // csv, xlsx, json, arrow or parquet; .gz behind it: packed
	RowsRead       int64      `json:"rows_read"`
	RowsRejected   int64      `json:"rejected"`
	FirstDate      quant.Text `json:"first_date"`
	LastDate       quant.Text `json:"last_date"`
	Symbols        int64      `json:"symbols"`
	IgnoredColumns []string   `json:"ignored_columns"`
}

// Reason is why rows were rejected, with the first of them.
type Reason struct {
	Reason   string    `json:"reason"`
	Rows     int64     `json:"rows"`
	Examples []Example `json:"examples"` // at most three
}

// Example is one rejected row.
type Example struct {
	File   string `json:"file"` // the name without its folder
	Line   int64  `json:"line"` // where the header is no line (Parquet, Arrow, JSON): the row, from 1
	Reason string `json:"reason"`
}

// plan is a request whose words are understood.
type plan struct {
	Request
	encoding   textencoding.Encoding
	layout     *dateLayout
	zeroVolume bool
	named      []mapping
	fixedDay   bool
	onlyDay    day
	zone       *time.Location
	mark       decimalMark
	wide       bool
	tomorrow   string // YYYY-MM-DD, UTC
}

// Validate reports the first flag of the request that makes no sense, as
// quant.Invalid. It looks at no file; Inspect does.
func (r Request) Validate() error {
	_, err := r.plan()
	return err
}

func (r Request) plan() (plan, error) {
	p := plan{Request: r}
	if r.RunID == "" {
		return p, quant.Errorf(quant.Invalid, "ingest: run_id is missing")
	}
	if r.Symbol != "" {
		if err := quant.ValidateSymbol(r.Symbol); err != nil {
			return p, err
		}
	}
	var err error
	if p.encoding, err = textencoding.Parse(r.Encoding); err != nil {
		return p, err
	}
	switch r.Layout {
	case "", "auto":
	case "wide":
		p.wide = true
	default:
		return p, quant.Errorf(quant.Invalid, "layout %q is not known", clip(r.Layout)).WithHint("use --layout auto or --layout wide")
	}
	if p.wide && r.Symbol != "" {
		return p, quant.Errorf(quant.Invalid, "a wide layout has a column for each symbol").WithHint("leave --symbol out")
	}
	if r.DateFormat != "" {
		if p.layout, err = compileLayout(r.DateFormat); err != nil {
			return p, err
		}
	}
	if p.named, err = parseMap(r.Map); err != nil {
		return p, err
	}
	if r.NoHeader && !p.headerRule().byPosition() {
		return p, quant.Errorf(quant.Invalid, "--no-header: the columns have no names, and --map does not say all by position").
			WithHint("for example --no-header --map date=1,open=2,high=3,low=4,close=5,volume=6")
	}
	if r.Date != "" {
		s, err := parseDate([]byte(r.Date), orderUnknown)
		if err != nil || s.clock != 0 || s.instant {
			return p, quant.Errorf(quant.Invalid, "date %q is not understood", clip(r.Date)).WithHint("for example --date 2024-01-31")
		}
		p.fixedDay, p.onlyDay = true, s.day
	}
	if r.Timezone != "" {
		if p.zone, err = loadZone(r.Timezone); err != nil {
			return p, err
		}
	}
	switch r.Decimal {
	case "":
	case "point":
		p.mark = pointMark
	case "comma":
		p.mark = commaMark
	default:
		return p, quant.Errorf(quant.Invalid, "decimal %q is not known", clip(r.Decimal)).WithHint("use --decimal point or --decimal comma")
	}
	switch r.VolumeMissing {
	case "", "reject":
	case "zero":
		p.zeroVolume = true
	default:
		return p, quant.Errorf(quant.Invalid, "missing volume %q: unknown treatment", clip(r.VolumeMissing)).
			WithHint("use --volume-missing reject or --volume-missing zero")
	}
	p.zeroVolume = p.zeroVolume || r.CloseOnly || p.wide
	if !(r.MaxRejectRatio >= 0 && r.MaxRejectRatio <= 1) {
		return p, quant.Errorf(quant.Invalid, "max reject ratio %v is not between 0 and 1", r.MaxRejectRatio).
			WithHint("for example --max-reject-ratio 0.01")
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	p.tomorrow = p.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	return p, nil
}
