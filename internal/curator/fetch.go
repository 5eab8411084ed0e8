package curator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/curator/provider"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// FetchRequest says which symbols to fetch from a provider, and how.
type FetchRequest struct {
	RunID    string
	Provider provider.Provider
	Symbols  []string // fetched in this order
	Full     bool     // the whole history of each
	// Overlap is how many stored bars of a symbol, the last ones, are fetched
	// again to see whether they changed.
	Overlap        int
	MaxRejectRatio float64 // as of Request, for each symbol
	// Facts runs use with the Fact DB open for writing. It is not open while
	// the network is asked.
	Facts func(ctx context.Context, use func(*factstore.DB) error) error

	Now          func() time.Time                                  // as of Request
	Progress     func(symbol string, done, total int)              // before each symbol; may be nil
	BeforeCommit func(ctx context.Context, symbols []string) error // as of Request, for each symbol
}

// SeriesReport is what became of one symbol of a provider.
type SeriesReport struct {
	Symbol    string     `json:"symbol"`
	Size      quant.Text `json:"size"`   // of the answer that was used: compact or full; "" if there was none
	Cached    bool       `json:"cached"` // it had been answered before on that day
	Digest    quant.Text `json:"digest"` // sha256:<hex> of the answer
	Fetched   int64      `json:"rows_fetched"`
	Rejected  int64      `json:"rows_rejected"`
	Inserted  int64      `json:"rows_inserted"`
	Updated   int64      `json:"rows_updated"` // Revised + Rescaled
	Revised   int64      `json:"rows_revised"`
	Rescaled  int64      `json:"rows_rescaled"` // only the adjusted close changed, by one factor
	Unchanged int64      `json:"rows_unchanged"`
	FirstDate quant.Text `json:"first_date"` // of the bars that passed the gate
	LastDate  quant.Text `json:"last_date"`
	Error     quant.Text `json:"error"` // why the symbol stayed as it was

	hint  string
	stays bool // it could be had, and is on another scale
}

// Answers are the answers of a provider that were used, as the inputs of a run.
func Answers(providerName string, series []SeriesReport) []quant.RunIO {
	var inputs []quant.RunIO
	for _, s := range series {
		if s.Digest != "" {
			inputs = append(inputs, quant.RunIO{
				Direction: quant.In, Kind: quant.IOAnswer, Name: providerName + ":" + s.Symbol, Rows: &s.Fetched,
				FirstDate: s.FirstDate, LastDate: s.LastDate, Digest: s.Digest,
			})
		}
	}
	return inputs
}

// compactDays is how far back, in calendar days, the short answer of a provider
// surely reaches: some hundred sessions.
const compactDays = 130

// givingUp is after how many symbols in a row without an answer the others are
// not asked for any more.
const givingUp = 10

// Fetch brings the bars of the symbols from a provider into ohlcv, through the
// gate, each symbol in a transaction of its own: what is committed stays
// whatever happens to the next one. Without Full only what is newer than the
// last stored bar is taken, and Overlap bars before it, which show whether the
// source revised them. If adjusted_close / close of one of these changed by
// more than rounding, or their closes moved by one factor, the symbol is fetched
// whole; if even that lacks stored bars, which would keep the old scale, the
// symbol stays as it was (otherScale has the rule).
//
// A symbol that fails is named in the report and stops no other one, unless
// none can be had any more. Errors: quant.Partial when some failed or stayed as
// they were, quant.Provider when none could be had; anything else (the end of ctx, a Fact DB that
// cannot be written) ends the fetch. The report is filled in any case.
func Fetch(ctx context.Context, req FetchRequest) (Report, []SeriesReport, error) {
	f := &fetch{FetchRequest: req, report: newReport(), since: map[string]quant.Date{}}
	if f.Now == nil {
		f.Now = time.Now
	}
	if err := f.plan(); err != nil {
		return f.report, nil, err
	}
	if err := f.Facts(ctx, func(db *factstore.DB) error { return f.lookBack(ctx, db) }); err != nil {
		return f.report, nil, f.ended(ctx, err)
	}
	var denied *provider.Failure
	silent := 0
	for i, symbol := range f.Symbols {
		s := SeriesReport{Symbol: symbol}
		if f.Progress != nil {
			f.Progress(symbol, i, len(f.Symbols))
		}
		err := error(denied)
		if denied == nil {
			err = f.one(ctx, &s)
		}
		failure, lost := errors.AsType[*provider.Failure](err)
		moved, stays := errors.AsType[*errOtherScale](err)
		code := quant.CodeOf(err)
		switch {
		case err == nil:
			silent = 0
		case ctx.Err() != nil:
			f.series = append(f.series, s)
			return f.report, f.series, f.ended(ctx, err)
		case lost:
			s.fail(failure.Msg, failure.Hint)
			if failure.Kind == provider.Temporary {
				silent++
			} else {
				silent = 0
			}
			if denied == nil && (failure.Kind == provider.Denied || silent >= givingUp) {
				denied = &provider.Failure{Kind: provider.Denied, Msg: "not asked for: " + failure.Msg, Hint: failure.Hint}
			}
		case stays:
			s.fail(moved.Error()+"; it stayed as it was", "ingest the whole history from one source, from the first stored day on, so that no bar keeps the old scale; if it has dropped the oldest days, docs/price-files.md says how to scale these")
			s.stays = true
		case code == quant.Refused || code == quant.Invalid:
			s.fail(err.Error(), quant.HintOf(err))
		default:
			f.series = append(f.series, s)
			return f.report, f.series, err
		}
		f.series = append(f.series, s)
	}
	f.settle()
	return f.report, f.series, f.failed()
}

type fetch struct {
	FetchRequest
	since  map[string]quant.Date // the first day that is fetched again, of symbols that have bars
	report Report
	series []SeriesReport
}

func (f *fetch) plan() error {
	if len(f.Symbols) == 0 {
		return quant.Errorf(quant.Invalid, "no symbol to ingest").WithHint("name some with --symbols, or add them: quant symbols add AAPL")
	}
	var known []string
	for _, s := range f.Symbols {
		if err := quant.ValidateSymbol(s); err != nil {
			return err
		}
		if !slices.Contains(known, s) {
			known = append(known, s)
		}
	}
	f.Symbols = known
	if f.Overlap < 0 {
		return quant.Errorf(quant.Invalid, "overlap %d is negative", f.Overlap).WithHint("for example --overlap 5")
	}
	return f.request().Validate()
}

func (f *fetch) request() Request {
	return Request{RunID: f.RunID, MaxRejectRatio: f.MaxRejectRatio, Now: f.Now, BeforeCommit: f.BeforeCommit}
}

// lookBack finds from which day each symbol is fetched.
func (f *fetch) lookBack(ctx context.Context, db *factstore.DB) error {
	asked := make([]string, len(f.Symbols))
	for i, s := range f.Symbols {
		asked[i] = sqltext.Literal(s)
	}
	rows, err := db.Query(ctx, `SELECT symbol, coalesce(min(ts) FILTER (n <= ?), max(ts) + 1) AS since
		FROM (SELECT symbol, ts, row_number() OVER (PARTITION BY symbol ORDER BY ts DESC) AS n FROM ohlcv WHERE symbol IN (`+strings.Join(asked, ", ")+`)) GROUP BY symbol`, f.Overlap)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var symbol string
		var since quant.Date
		if err := rows.Scan(&symbol, &since); err != nil {
			return err
		}
		f.since[symbol] = since
	}
	return rows.Err()
}

// one fetches and stores a symbol.
func (f *fetch) one(ctx context.Context, s *SeriesReport) error {
	since, known := f.since[s.Symbol]
	if f.Full || !known || quant.NewDate(f.Now().UTC())-since > compactDays {
		return f.whole(ctx, s, false)
	}
	answer, err := f.Provider.Daily(ctx, provider.Query{Symbol: s.Symbol})
	if err != nil {
		return err
	}
	rows, reaches := newerThan(answer.Rows, since)
	if !reaches {
		return f.whole(ctx, s, false)
	}
	s.Size, s.Fetched = "compact", int64(len(answer.Rows))
	answer.Rows = rows
	err = f.store(ctx, s, answer)
	if moved, ok := errors.AsType[*errOtherScale](err); ok {
		// What is in the cache may be older than the answer that showed it.
		err = f.whole(ctx, s, true)
		if lost, ok := errors.AsType[*provider.Failure](err); ok {
			return &provider.Failure{Kind: lost.Kind, Msg: fmt.Sprintf("%v; it stayed as it was, for its whole history could not be had: %s", moved, lost.Msg), Hint: lost.Hint}
		}
	}
	return err
}

func (f *fetch) whole(ctx context.Context, s *SeriesReport, fresh bool) error {
	answer, err := f.Provider.Daily(ctx, provider.Query{Symbol: s.Symbol, Full: true, Fresh: fresh})
	if err != nil {
		return err
	}
	s.Size, s.Fetched = "full", int64(len(answer.Rows))
	return f.store(ctx, s, answer)
}

// newerThan returns the rows from a day on, and those whose day cannot be read,
// and whether the answer reaches back to that day.
func newerThan(rows []provider.Row, since quant.Date) (newer []provider.Row, reaches bool) {
	for _, r := range rows {
		d, err := parseDate([]byte(r.Date), orderUnknown)
		if err == nil && quant.Date(d.day) <= since {
			reaches = true
		}
		if err != nil || quant.Date(d.day) >= since {
			newer = append(newer, r)
		}
	}
	return newer, reaches
}

func (f *fetch) store(ctx context.Context, s *SeriesReport, answer provider.Series) error {
	s.Cached = answer.Cached
	if len(answer.Rows) == 0 {
		return nil
	}
	var r Report
	err := f.Facts(ctx, func(db *factstore.DB) error {
		var err error
		r, err = ingestSeries(ctx, db, f.request(), f.Provider.Name(), s.Symbol, answer, s.Fetched, s.Size != "full")
		return err
	})
	if len(r.Files) == 1 {
		s.Digest = quant.Text(r.Files[0].Digest)
	}
	if _, moved := errors.AsType[*errOtherScale](err); moved {
		return err // its rows are fetched again, or were not let in
	}
	s.Rejected = r.RowsRejected
	f.report.RowsRead += r.RowsRead
	f.report.RowsRejected += r.RowsRejected
	f.report.RowsCollapsed += r.RowsCollapsed
	f.report.RowsNoTrade += r.RowsNoTrade
	f.report.RowsNoTradeMoved += r.RowsNoTradeMoved
	f.report.RowsSkipped += r.RowsSkipped
	f.report.Reasons = addReasons(f.report.Reasons, r.Reasons)
	for _, n := range r.Notices {
		f.report.Notices = append(f.report.Notices, s.Symbol+": "+n)
	}
	if err != nil {
		return err
	}
	s.Inserted, s.Updated, s.Unchanged, s.Rescaled = r.RowsInserted, r.RowsUpdated, r.RowsUnchanged, r.RowsRescaled
	s.Revised = s.Updated - s.Rescaled
	s.FirstDate, s.LastDate = r.FirstDate, r.LastDate
	f.report.RowsInserted += r.RowsInserted
	f.report.RowsUpdated += r.RowsUpdated
	f.report.RowsRescaled += r.RowsRescaled
	f.report.RowsUnchanged += r.RowsUnchanged
	f.report.Revisions += r.Revisions
	f.report.Symbols = append(f.report.Symbols, r.Symbols...)
	if r.FirstDate != "" {
		f.report.FirstDate, f.report.LastDate = earlier(f.report.FirstDate, r.FirstDate), max(f.report.LastDate, r.LastDate)
	}
	return nil
}

// addReasons adds counts and keeps the first three examples of each reason.
func addReasons(all, more []Reason) []Reason {
	for _, r := range more {
		i := slices.IndexFunc(all, func(a Reason) bool { return a.Reason == r.Reason })
		if i < 0 {
			all = append(all, r)
			continue
		}
		all[i].Rows += r.Rows
		all[i].Examples = append(all[i].Examples, r.Examples...)
		all[i].Examples = all[i].Examples[:min(3, len(all[i].Examples))]
	}
	return all
}

func (s *SeriesReport) fail(msg, hint string) { s.Error, s.hint = quant.Text(msg), hint }

// settle brings the report into its order.
func (f *fetch) settle() {
	slices.Sort(f.report.Symbols)
	slices.SortStableFunc(f.report.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Reason, b.Reason))
	})
}

// ended is the error of a fetch that was ended from outside.
func (f *fetch) ended(ctx context.Context, err error) error {
	f.settle()
	cause := context.Cause(ctx)
	if cause == nil {
		return err
	}
	return quant.Errorf(quant.Failed, "ingest, after %d of %d symbols: %w", max(0, len(f.series)-1), len(f.Symbols), cause)
}

// failed is the error of the symbols that failed, nil if none did.
func (f *fetch) failed() error {
	var what []string
	hint, lost := "", 0
	for _, s := range f.series {
		if s.Error == "" {
			continue
		}
		text := string(s.Error)
		if !strings.HasPrefix(text, s.Symbol+":") {
			text = s.Symbol + ": " + text
		}
		what = append(what, text)
		if !s.stays {
			lost++
		}
		if hint == "" {
			hint = s.hint
		}
	}
	if what == nil {
		return nil
	}
	n := len(what)
	if n > 5 {
		what = append(what[:5:5], fmt.Sprintf("and %d more", n-5))
	}
	if hint == "" {
		hint = "run it again: what was stored stays"
	}
	code := quant.Partial
	if lost == len(f.series) {
		code = quant.Provider
	}
	return quant.Errorf(code, "%d of %d symbols were not ingested: %s", n, len(f.series), strings.Join(what, "; ")).WithHint("%s", hint)
}
