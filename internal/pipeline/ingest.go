package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"quant"
	"quant/internal/curator"
	"quant/internal/curator/provider"
	"quant/internal/curator/provider/alphavantage"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
)

// DefaultMaxRejectRatio is the share of bad rows above which nothing is stored,
// where nobody says another one.
const DefaultMaxRejectRatio = 0.01

// Gate says what passes the quality gate, and whether it is looked at again.
type Gate struct {
	MaxRejectRatio float64 // of the rows (of a provider: of a symbol's), 0 to 1, above which nothing is stored
	// Unexamined leaves out the look at the stored prices, and with it what that
	// has to say.
	Unexamined bool
}

// IngestOptions say which files to load, and how. What is "" is the first that is
// named of it.
type IngestOptions struct {
	Files         []string
	Symbol        string   // of every row; "": the symbol column, or else the file's name
	Encoding      string   // of text files, as of curator.Request
	Sheet         string   // of Excel workbooks; "": the only one with rows
	Layout        string   // how the columns stand: auto or wide
	CloseOnly     bool     // the close is open, high and low, too
	DateFormat    string   // as of strftime; "": year, month, day
	Map           []string // FIELD=COLUMN, the column by name or by position from 1
	NoHeader      bool     // the first line of a text file is a row
	Date          string   // YYYY-MM-DD of every row, where the files have no date
	Timezone      string   // of the exchange, for instants
	Decimal       string   // point or comma; "": find out
	VolumeMissing string   // what a row without a volume is: reject or zero
	Gate

	// Progress is as curator.Request has it, and Shown is called once after the
	// last call of it. Both may be nil.
	Progress func(curator.Progress)
	Shown    func()
}

// FetchOptions say what to load from a provider, and how.
type FetchOptions struct {
	Provider  string
	Key       string   // its key, which is recorded nowhere
	Symbols   []string // nil: all active ones, highest priority first
	Full      bool     // the whole history, not only what is new
	BaseURL   string   // "": the provider's own
	Overlap   int      // stored days to fetch again
	PerMinute int      // requests, at most; 0: no limit
	Retries   int
	NoCache   bool
	Timeout   time.Duration // longest wait for one answer
	Gate

	// Progress is told before each symbol, and Shown is called once after the last
	// call of it. Both may be nil.
	Progress func(symbol string, done, total int)
	Shown    func()
}

// DefaultFetch are the options with which a provider is asked where nothing else
// is said.
func DefaultFetch(name string) FetchOptions {
	return FetchOptions{Provider: name, Overlap: 5, PerMinute: alphavantage.PerMinute, Retries: 3, Timeout: 30 * time.Second, Gate: Gate{MaxRejectRatio: DefaultMaxRejectRatio}}
}

// Command is what a run with these options is recorded as.
func (o IngestOptions) Command() session.Command {
	c := ingestCommand(o, DefaultFetch(""))
	c.operands(o.Files)
	return c.Command
}

// Command is what a run with these options is recorded as.
func (o FetchOptions) Command() session.Command {
	return ingestCommand(IngestOptions{Gate: o.Gate}, o).Command
}

// ingestCommand is the command of either: it has the flags of both.
func ingestCommand(files IngestOptions, from FetchOptions) *commandLine {
	c, other := command(StageIngest), DefaultFetch("")
	c.text("provider", from.Provider)
	c.flag("symbols", bracketed(from.Symbols), false)
	if from.Symbols != nil {
		c.Args = append(c.Args, "--symbols", strings.Join(from.Symbols, ","))
	}
	c.yes("full", from.Full)
	c.text("base-url", from.BaseURL)
	c.number("overlap", float64(from.Overlap), float64(other.Overlap))
	c.number("per-minute", float64(from.PerMinute), float64(other.PerMinute))
	c.number("retries", float64(from.Retries), float64(other.Retries))
	c.yes("no-cache", from.NoCache)
	c.flag("timeout", from.Timeout.String(), from.Timeout != other.Timeout)
	c.text("symbol", files.Symbol)
	c.flag("encoding", cmp.Or(files.Encoding, "utf-8"), files.Encoding != "")
	c.text("sheet", files.Sheet)
	c.flag("layout", cmp.Or(files.Layout, "auto"), files.Layout != "")
	c.yes("close-only", files.CloseOnly)
	c.text("date-format", files.DateFormat)
	c.flag("map", bracketed(files.Map), false)
	for _, m := range files.Map {
		one := bracketed([]string{m}) // a name may have a comma
		c.Args = append(c.Args, "--map", one[1:len(one)-1])
	}
	c.yes("no-header", files.NoHeader)
	c.text("date", files.Date)
	c.text("timezone", files.Timezone)
	c.text("decimal", files.Decimal)
	c.flag("volume-missing", cmp.Or(files.VolumeMissing, "reject"), files.VolumeMissing != "")
	c.number("max-reject-ratio", files.MaxRejectRatio, other.MaxRejectRatio)
	return c
}

// IngestReport is what became of the prices, from files or from a provider.
type IngestReport struct {
	curator.Report
	SymbolsAdded []string `json:"symbols_added"`
	Refused      bool     `json:"refused"` // too many rows were rejected: only these were stored

	Provider quant.Text             `json:"provider"` // "" for files
	Series   []curator.SeriesReport `json:"series"`   // of a provider, one a symbol
}

// Ingest loads daily prices from files, all or none, and records what it read and
// changed. The report is nil where there is nothing to report; where too many rows
// were rejected there is one beside the error, Refused, and where symbols stayed as
// they were, Partial. Other errors: those of
// curator.Ingest. The end of ctx after the commit is an error, too, beside the
// report.
func Ingest(ctx context.Context, s *session.Session, o IngestOptions) (*IngestReport, error) {
	req := o.request(s)
	if err := req.Validate(); err != nil {
		return nil, err
	}
	if _, err := curator.Inspect(req.Files); err != nil {
		return nil, err
	}
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	added := []string{}
	req.BeforeCommit = func(ctx context.Context, symbols []string) error {
		more, err := meta.EnsureSymbols(ctx, symbols)
		added = append(added, more...)
		return err
	}
	var report curator.Report
	var findings []string
	var ended error // told to end after the prices were stored
	err = s.WriteFacts(ctx, func(db *factstore.DB) error {
		if o.Shown != nil {
			defer o.Shown()
		}
		var err error
		if report, err = curator.Ingest(ctx, db, req); !o.Unexamined && (err == nil || errors.Is(err, quant.Partial) && len(report.Symbols) > 0) {
			findings, ended = qualityNotices(ctx, s, db, report.Symbols)
		}
		return err
	})
	maskNames(s, &report)
	for _, notice := range append(report.Notices, findings...) {
		s.Say().Notice("%s", notice)
	}
	recordMeta(s, "symbols", int64(len(added)))
	s.Record(report.Outputs(err == nil)...)
	s.Record(report.Inputs()...)
	if err != nil && !errors.Is(err, quant.Refused) && !errors.Is(err, quant.Partial) {
		return nil, err
	}
	if err == nil {
		noticeUnchanged(s, report)
	}
	return &IngestReport{report, added, errors.Is(err, quant.Refused), "", []curator.SeriesReport{}}, cmp.Or(err, ended)
}

// request is what curator is asked for.
func (o IngestOptions) request(s *session.Session) curator.Request {
	return curator.Request{
		RunID: s.RunID(), Now: s.Now,
		Files: o.Files, Symbol: o.Symbol, Encoding: o.Encoding, Sheet: o.Sheet, Layout: o.Layout, CloseOnly: o.CloseOnly, DateFormat: o.DateFormat, VolumeMissing: o.VolumeMissing,
		Map: o.Map, NoHeader: o.NoHeader, Date: o.Date, Timezone: o.Timezone, Decimal: o.Decimal,
		MaxRejectRatio: o.MaxRejectRatio, Progress: o.Progress,
		Memory: s.MemoryDir(),
	}
}

// Validate reports, as Usage, what cannot be asked of a provider.
func (o FetchOptions) Validate() error {
	switch {
	case o.Provider != alphavantage.Name:
		return quant.Errorf(quant.Usage, "provider %q is not known", o.Provider).WithHint("use --provider alphavantage")
	case o.Overlap < 0, o.Retries < 0, o.PerMinute < 0:
		return quant.Errorf(quant.Usage, "--overlap, --retries and --per-minute cannot be negative").WithHint("0 is the least")
	case o.Timeout <= 0:
		return quant.Errorf(quant.Usage, "--timeout must be more than 0").WithHint("for example --timeout 30s")
	case o.Symbols != nil && len(o.Symbols) == 0:
		return quant.Errorf(quant.Usage, "--symbols names none").WithHint("for example --symbols AAPL,IBM; leave it out for all active ones")
	}
	for _, symbol := range o.Symbols {
		if err := quant.ValidateSymbol(symbol); err != nil {
			return quant.Errorf(quant.Usage, "--symbols: %w", err).WithHint("for example --symbols AAPL,IBM")
		}
	}
	return nil
}

// source is the provider with everything around it: its key out of what it says,
// a limit of requests, further tries, and answers kept for the day.
func (o FetchOptions) source(s *session.Session) (provider.Provider, error) {
	client, err := alphavantage.New(alphavantage.Options{BaseURL: o.BaseURL, Key: o.Key, Timeout: o.Timeout, Now: s.Now})
	if err != nil {
		return nil, err
	}
	limited := provider.Limited(provider.Redacted(client, o.Key), o.PerMinute, provider.Clock{})
	cached := provider.Cached(provider.Retrying(limited, provider.Backoff{Retries: o.Retries}), provider.Cache{
		Dir: s.CacheDir(client.Name()), Scope: client.Scope(), Now: s.Now, Parse: alphavantage.Parse,
	})
	if o.NoCache {
		return provider.Fresh(cached), nil
	}
	return cached, nil
}

// Fetch loads daily prices from a provider, each symbol in a transaction of its
// own, and records what it read and changed. The report is nil where there is
// nothing to report; where symbols failed there is one beside the error, Partial or
// Provider. Usage: an option cannot be used, or there are no symbols. Other errors:
// those of curator.Fetch. The end of ctx after the last commit is an error, too,
// beside the report.
func Fetch(ctx context.Context, s *session.Session, o FetchOptions) (*IngestReport, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	gate := IngestOptions{Gate: o.Gate}.request(s)
	if err := gate.Validate(); err != nil {
		return nil, err
	}
	source, err := o.source(s)
	if err != nil {
		return nil, err
	}
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	if len(o.Symbols) == 0 {
		if o.Symbols, err = activeSymbols(ctx, meta); err != nil {
			return nil, err
		}
	}
	added := []string{}
	report, series, err := curator.Fetch(ctx, curator.FetchRequest{
		RunID: s.RunID(), Provider: source, Symbols: o.Symbols, Full: o.Full, Overlap: o.Overlap, MaxRejectRatio: o.MaxRejectRatio, Now: s.Now,
		Facts: s.WriteFacts,
		BeforeCommit: func(ctx context.Context, symbols []string) error {
			more, err := meta.EnsureSymbols(ctx, symbols)
			added = append(added, more...)
			return err
		},
		Progress: o.Progress,
	})
	if o.Shown != nil {
		o.Shown()
	}
	var ended error // told to end after the prices were stored
	if len(report.Symbols) > 0 && !o.Unexamined && ctx.Err() == nil {
		unread := s.ReadFacts(ctx, func(db *factstore.DB) error {
			findings, err := qualityNotices(ctx, s, db, report.Symbols)
			report.Notices = append(report.Notices, findings...)
			return err
		})
		switch {
		case ctx.Err() != nil:
			ended = context.Cause(ctx)
		case unread != nil:
			report.Notices = append(report.Notices, fmt.Sprintf("data check: could not be made: %v", unread))
		}
	}
	maskNames(s, &report)
	cached := 0
	for i := range series {
		series[i].Error = quant.Text(s.Mask.Text(string(series[i].Error)))
		if series[i].Cached {
			cached++
		}
	}
	for _, notice := range report.Notices {
		s.Say().Notice("%s", notice)
	}
	if cached > 0 {
		s.Say().Notice("%d of %d symbols: the provider's answer of earlier today; --no-cache asks again", cached, len(series))
	}
	recordMeta(s, "symbols", int64(len(added)))
	s.Record(report.Outputs(err == nil)...)
	s.Record(curator.Answers(source.Name(), series)...)
	if err != nil && !errors.Is(err, quant.Partial) && !errors.Is(err, quant.Provider) {
		return nil, err
	}
	if err == nil {
		noticeUnchanged(s, report)
	}
	return &IngestReport{report, added, false, quant.Text(source.Name()), series}, cmp.Or(err, ended)
}

// activeSymbols are those that new work includes, highest priority first.
func activeSymbols(ctx context.Context, meta metastore.Store) ([]string, error) {
	list, err := meta.ListSymbols(ctx, metastore.SymbolFilter{Active: new(true), Order: "-priority"})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, quant.Errorf(quant.Usage, "there are no active symbols").WithHint("name some: --symbols AAPL,IBM, or add them: quant symbols add AAPL")
	}
	names := make([]string, len(list))
	for i, one := range list {
		names[i] = one.Symbol
	}
	return names, nil
}

func noticeUnchanged(s *session.Session, r curator.Report) {
	if r.RowsInserted+r.RowsUpdated == 0 && r.RowsUnchanged > 0 {
		s.Say().Notice("nothing changed: ohlcv has these rows already")
	}
}

// maskNames masks what the names of files say: they are arguments, and one may
// be called password=x.csv.
func maskNames(s *session.Session, r *curator.Report) {
	for i := range r.Files {
		r.Files[i].Path, r.Files[i].Name = s.Mask.Text(r.Files[i].Path), s.Mask.Text(r.Files[i].Name)
	}
	for i := range r.Reasons {
		r.Reasons[i].Reason = s.Mask.Text(r.Reasons[i].Reason)
		for j := range r.Reasons[i].Examples {
			ex := &r.Reasons[i].Examples[j]
			ex.File, ex.Reason = s.Mask.Text(ex.File), s.Mask.Text(ex.Reason)
		}
	}
	for i := range r.Notices {
		r.Notices[i] = s.Mask.Text(r.Notices[i])
	}
}
