package curator

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// QualityRequest says whose stored bars to examine, and from where on
// something is a finding. DefaultQuality has the usual thresholds.
type QualityRequest struct {
	Symbols       []string // nil: all that have bars
	StaleSessions int      // sessions in a row with the same close that are stale; at least 2
	Jump          float64  // return, as a decimal and of either sign, beyond which a close jumps; > 0
	// Adjustment is the step of adjusted_close / close from one bar to the
	// next, as a decimal and in either direction, beyond which it needs a
	// reason in the raw price; > 0. It should be more than any dividend.
	Adjustment float64
	// MaxOutside is the share of a symbol's bars, 0 to 1, on days that are no
	// sessions, above which that is a warning.
	MaxOutside float64
	MinBars    int64 // bars that a history needs not to be short
	// DeepBars bounds the work: of more bars than this only what one look at
	// each shows is found, and the report says so. 0: no bound.
	DeepBars int64
}

// DefaultQuality examines all symbols in full: 5 stale sessions, jumps over
// 40 %, adjustments over 20 %, 1 % of the bars outside the calendar, 252 bars.
func DefaultQuality() QualityRequest {
	return QualityRequest{StaleSessions: 5, Jump: 0.40, Adjustment: 0.20, MaxOutside: 0.01, MinBars: 252}
}

// Validate reports the first threshold that makes no sense, as quant.Invalid.
func (r QualityRequest) Validate() error {
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 0) }
	switch {
	case r.StaleSessions < 2:
		return quant.Errorf(quant.Invalid, "stale sessions %d: want at least 2", r.StaleSessions).WithHint("for example --stale-sessions 5")
	case !positive(r.Jump):
		return quant.Errorf(quant.Invalid, "jump %v is no positive number", r.Jump).WithHint("a decimal: --jump 0.4 is 40 %%")
	case !positive(r.Adjustment):
		return quant.Errorf(quant.Invalid, "adjustment %v is no positive number", r.Adjustment).WithHint("a decimal: --adjustment 0.2 is 20 %%")
	case !(r.MaxOutside >= 0 && r.MaxOutside <= 1):
		return quant.Errorf(quant.Invalid, "max outside %v is not between 0 and 1", r.MaxOutside).WithHint("a decimal: --max-outside 0.01 is 1 %%")
	case r.MinBars < 0:
		return quant.Errorf(quant.Invalid, "min bars %d is negative", r.MinBars).WithHint("for example --min-bars 252")
	}
	return nil
}

// Severity says how much a finding matters.
type Severity string

// Warning: results that rest on these bars may be wrong. Note: worth knowing.
const (
	Warning Severity = "warning"
	Note    Severity = "note"
)

// The checks, in the order in which a symbol's findings of one severity stand.
const (
	NoBars          = "no_bars"          // the symbol was named and has no bar
	EmptyValues     = "empty_values"     // NULL, NaN or infinite where a bar has a number
	OutsideCalendar = "outside_calendar" // bars on days that are no sessions
	MissingSessions = "missing_sessions" // sessions without a bar, from the first bar to the last
	Jumps           = "jump"             // the close, on the basis in use, moves by more than the threshold
	AdjustedJump    = "adjusted_jump"    // adjusted_close steps and the raw price does not say why
	SplitExplained  = "split_explained"  // the raw price steps and adjusted_close says why
	AdjustedPartly  = "adjusted_partly"  // adjusted_close on some bars only: the raw basis is used
	Unadjusted      = "unadjusted"       // adjusted_close on no bar: the raw basis is used
	StalePrice      = "stale_price"      // the same close again and again, traded or flat
	ZeroVolume      = "zero_volume"      // bars without volume
	ShortHistory    = "short_history"    // few bars
)

var checkOrder = []string{NoBars, EmptyValues, OutsideCalendar, MissingSessions, Jumps, AdjustedJump, AdjustedPartly, StalePrice, SplitExplained, Unadjusted, ZeroVolume, ShortHistory}

// Finding is one thing that was found about one symbol. Dates are of the first
// and the last bar or session that it is about.
type Finding struct {
	Symbol    string     `json:"symbol"`
	Check     string     `json:"check"`
	Severity  Severity   `json:"severity"`
	Count     int64      `json:"count"` // of bars; of sessions for missing_sessions
	FirstDate quant.Text `json:"first_date"`
	LastDate  quant.Text `json:"last_date"`
	Sentence  string     `json:"sentence"`
}

// QualityReport is what was found, by symbol in byte order, warnings first.
type QualityReport struct {
	Calendar string    `json:"calendar"`
	Symbols  int64     `json:"symbols"` // examined, those without bars included
	Bars     int64     `json:"bars"`
	Warnings int64     `json:"warnings"` // findings
	Notes    int64     `json:"notes"`
	Deep     bool      `json:"deep"` // every check was made; otherwise jump, adjusted_jump, split_explained and stale_price were not
	Findings []Finding `json:"findings"`
}

// CheckQuality examines stored bars: against the sessions of the calendar, and
// for what a price does not do. Returns are those of the basis in use
// (price.Stage), and of bars on sessions only; closes are compared from one
// bar to the next, also across missing sessions. It changes nothing but TEMP
// tables. Invalid for a threshold that makes no sense.
func CheckQuality(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req QualityRequest) (QualityReport, error) {
	if err := req.Validate(); err != nil {
		return QualityReport{}, err
	}
	q := &quality{QualityRequest: req, ctx: ctx, db: db, cal: cal}
	q.report = QualityReport{Calendar: cal.Name(), Deep: true, Findings: []Finding{}}
	named := slices.Compact(slices.Sorted(slices.Values(req.Symbols)))
	if stored, err := db.Symbols(ctx); err != nil {
		return q.report, err
	} else if !slices.ContainsFunc(stored, func(s string) bool { return !contains(named, s) }) {
		q.Symbols = nil // all of them: to pick them out one by one would cost more than the rest
	}
	basis, err := price.Stage(ctx, db, cal, price.Request{Symbols: q.Symbols, AcceptRaw: true})
	if err != nil {
		return q.report, err
	}
	q.basis = basis
	q.report.Bars, q.report.Symbols = basis.Bars, int64(len(basis.Symbols))
	for _, symbol := range named {
		if !contains(basis.Symbols, symbol) {
			q.report.Symbols++
			q.find(Finding{Symbol: symbol, Check: NoBars, Severity: Warning, Sentence: "has no bars: ingest its prices"})
		}
	}
	q.report.Deep = req.DeepBars == 0 || basis.Bars <= req.DeepBars
	if err := q.counts(); err != nil {
		return q.report, err
	}
	if q.report.Deep {
		if err := q.moves(); err != nil {
			return q.report, err
		}
	}
	slices.SortFunc(q.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), -cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(slices.Index(checkOrder, a.Check), slices.Index(checkOrder, b.Check)))
	})
	return q.report, nil
}

func contains(sorted []string, s string) bool {
	_, found := slices.BinarySearch(sorted, s)
	return found
}

// quality is one call of CheckQuality.
type quality struct {
	QualityRequest
	ctx    context.Context
	db     *factstore.DB
	cal    *calendar.Calendar
	basis  price.Basis
	report QualityReport
}

func (q *quality) find(f Finding) {
	if f.Severity == Warning {
		q.report.Warnings++
	} else {
		q.report.Notes++
	}
	q.report.Findings = append(q.report.Findings, f)
}

// maybeDate is a date that may be NULL.
type maybeDate = sql.Null[quant.Date]

func dayText(d quant.Date) quant.Text { return quant.Text(d.String()) }

func textOf(d maybeDate) quant.Text {
	if !d.Valid {
		return ""
	}
	return dayText(d.V)
}

// percent writes a share of bars; few of many are not 0 %.
func percent(part, whole int64) string {
	return fmt.Sprintf("%.3g %%", 100*float64(part)/float64(whole))
}

// counts makes the checks that look at each bar by itself.
func (q *quality) counts() error {
	// A sum has a number only if each of its parts has.
	conditions := map[string]string{
		EmptyValues: "NOT coalesce(isfinite(o.open + o.high + o.low + o.close + o.volume), false)",
		ZeroVolume:  "o.volume = 0",
	}
	if q.basis.Outside > 0 {
		conditions[OutsideCalendar] = "s.i IS NULL"
	}
	if len(q.basis.Unadjusted) > 0 {
		conditions[AdjustedPartly] = "NOT coalesce(o.adjusted_close > 0, false)"
	}
	// One pass counts them all.
	var checks []string
	sums := ""
	for _, check := range []string{EmptyValues, ZeroVolume, OutsideCalendar, AdjustedPartly} {
		if condition := conditions[check]; condition != "" {
			checks = append(checks, check)
			sums += fmt.Sprintf(", count(*) FILTER (%[1]s), min(o.ts) FILTER (%[1]s), max(o.ts) FILTER (%[1]s)", condition)
		}
	}
	return q.each("SELECT o.symbol, count(*), min(o.ts), max(o.ts), count(s.i), min(s.ts), max(s.ts)"+sums+q.barsOnSessions("true")+" GROUP BY o.symbol ORDER BY o.symbol",
		func(scan func(...any) error) error {
			var symbol string
			var all, held span
			found := map[string]*span{EmptyValues: {}, ZeroVolume: {}, OutsideCalendar: {}, AdjustedPartly: {}}
			targets := []any{&symbol, &all.n, &all.first, &all.last, &held.n, &held.first, &held.last}
			for _, check := range checks {
				targets = append(targets, &found[check].n, &found[check].first, &found[check].last)
			}
			if err := scan(targets...); err != nil {
				return err
			}
			add := func(check string, severity Severity, s span, format string, args ...any) {
				if s.n > 0 {
					q.find(Finding{symbol, check, severity, s.n, textOf(s.first), textOf(s.last), fmt.Sprintf(format, args...)})
				}
			}
			empty, outside, raw, zero := *found[EmptyValues], *found[OutsideCalendar], *found[AdjustedPartly], *found[ZeroVolume]
			add(EmptyValues, Warning, empty, "%s without a number in open, high, low, close or volume", barsOf(empty.n))
			severity, sentence := q.outside(all.n, outside)
			add(OutsideCalendar, severity, outside, "%s", sentence)
			if held.n > 0 && !q.report.Deep {
				missing := countSessions(q.cal, held.first.V, held.last.V) - held.n
				add(MissingSessions, Warning, span{n: missing}, "no bar on %s of %s", sessionsOf(missing), q.cal.Name())
			}
			if raw.n == all.n {
				add(Unadjusted, Note, raw, "no adjusted_close: raw prices are used, without dividends and splits")
			} else {
				add(AdjustedPartly, Warning, raw, "no adjusted_close on %s of %d: raw prices are used for all", barsOf(raw.n), all.n)
			}
			add(ZeroVolume, Note, zero, "%s without volume (%s)", barsOf(zero.n), percent(zero.n, all.n))
			if all.n < q.MinBars {
				add(ShortHistory, Note, all, "%s only, fewer than %d", barsOf(all.n), q.MinBars)
			}
			return nil
		})
}

// barsOnSessions is the rest of a query: the bars o for which the condition
// holds, with the session s of each, NULL where there is none.
func (q *quality) barsOnSessions(condition string) string {
	return " FROM ohlcv o LEFT JOIN temp.main." + price.SessionTable + " s ON s.ts = o.ts WHERE (" + condition + ")" + ofSymbols(q.Symbols)
}

// span is a number of bars and the days of the first and the last.
type span struct {
	n           int64
	first, last maybeDate
}

func barsOf(n int64) string     { return quant.Count(int(n), "bar") }
func sessionsOf(n int64) string { return quant.Count(int(n), "session") }

// outside tells of bars on days that are no sessions; the modules leave them
// out.
func (q *quality) outside(bars int64, s span) (Severity, string) {
	severity, advice := Note, ""
	if float64(s.n) > q.MaxOutside*float64(bars) {
		severity, advice = Warning, "; another market? QUANT_CALENDAR=data"
	}
	known := ""
	if s.n > 0 && (s.first.V < q.cal.First() || s.last.V > q.cal.Last()) {
		known = fmt.Sprintf(", which knows %s to %s", q.cal.First(), q.cal.Last())
	}
	return severity, fmt.Sprintf("%s (%s) on days that are no session of %s%s: left out%s", barsOf(s.n), percent(s.n, bars), q.cal.Name(), known, advice)
}

func countSessions(cal *calendar.Calendar, first, last quant.Date) int64 {
	i, _ := cal.Index(first)
	j, found := cal.Index(last)
	if found {
		j++
	}
	return int64(max(0, j-i))
}

// ofSymbols is a condition on the symbols of the bars o; nil: all.
func ofSymbols(symbols []string) string {
	if symbols == nil {
		return ""
	}
	if len(symbols) == 0 {
		return " AND false"
	}
	list := make([]string, len(symbols))
	for i, s := range symbols {
		list[i] = sqltext.Literal(s)
	}
	return " AND o.symbol IN (" + strings.Join(list, ", ") + ")"
}

// each runs a query and calls fn for each row.
func (q *quality) each(query string, fn func(scan func(...any) error) error) error {
	return eachRow(q.ctx, q.db, query, fn)
}

func eachRow(ctx context.Context, db *factstore.DB, query string, fn func(scan func(...any) error) error) error {
	rows, err := db.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// eventTable holds the bars that differ from the one before in a way that a
// check is about: few, whatever the number of bars.
const eventTable = "curator_event"

// moves makes the checks that compare each bar with the one before.
func (q *quality) moves() error {
	defer func() {
		_, _ = q.db.Stage(context.WithoutCancel(q.ctx), "DROP TABLE IF EXISTS temp.main."+eventTable)
	}()
	// r is close, on the basis in use, over the close before; raw the same of
	// the raw one, so that r / raw is the step of the adjustment. It has a
	// reason if it brings the close nearer to the one before.
	_, err := q.db.Stage(q.ctx, fmt.Sprintf(`CREATE OR REPLACE TEMP TABLE %s AS
		SELECT *, step AND greatest(r, 1 / r) >= greatest(raw, 1 / raw) AS unexplained FROM (
			SELECT symbol, i, pi, n, r, raw, coalesce(same, false) AS same,
				coalesce(r > raw * %[2]v OR r * %[2]v < raw, false) AS step, coalesce(abs(r - 1) > %[3]v, false) AS jump
			FROM (
				SELECT symbol, i, lag(i) OVER w AS pi, row_number() OVER w AS n, close / lag(close) OVER w AS r, raw_close / lag(raw_close) OVER w AS raw,
					moves AND lag(moves) OVER w AND raw_close = lag(raw_close) OVER w AS same
				FROM (SELECT symbol, i, close, raw_close, raw_volume > 0 OR high = low AS moves FROM temp.main.%[4]s)
				WINDOW w AS (PARTITION BY symbol ORDER BY i)))
		WHERE i - pi > 1 OR same OR step OR jump`, eventTable, 1+q.Adjustment, q.Jump, price.BarView))
	if err != nil {
		return err
	}
	for _, check := range []func() error{q.gaps, q.stale, q.jumps, q.adjustments} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// shown is how many days a sentence lists.
const shown = 3

// gaps finds the missing sessions.
func (q *quality) gaps() error {
	var f *Finding
	var days []string
	flush := func() {
		if f == nil {
			return
		}
		f.Sentence = fmt.Sprintf("no bar on %s of %s: %s", sessionsOf(f.Count), q.cal.Name(), strings.Join(days, ", "))
		if f.Count > int64(len(days)) {
			f.Sentence += ", ..."
		}
		q.find(*f)
	}
	err := q.each(fmt.Sprintf(`SELECT symbol, pi, i, sum(i - pi - 1) OVER (PARTITION BY symbol)::BIGINT FROM temp.main.%s WHERE i - pi > 1
		QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY i) <= %d OR row_number() OVER (PARTITION BY symbol ORDER BY i DESC) = 1 ORDER BY symbol, i`, eventTable, shown),
		func(scan func(...any) error) error {
			var symbol string
			var before, at int
			var missing int64
			if err := scan(&symbol, &before, &at, &missing); err != nil {
				return err
			}
			if f == nil || f.Symbol != symbol {
				flush()
				f, days = &Finding{Symbol: symbol, Check: MissingSessions, Severity: Warning, Count: missing, FirstDate: dayText(q.cal.At(before + 1))}, nil
			}
			for i := before + 1; i < at && len(days) < shown; i++ {
				days = append(days, q.cal.At(i).String())
			}
			f.LastDate = dayText(q.cal.At(at - 1))
			return nil
		})
	if err == nil {
		flush()
	}
	return err
}

// stale finds the runs of equal closes.
func (q *quality) stale() error {
	return q.each(fmt.Sprintf(`SELECT symbol, count(*), sum(n + 1)::BIGINT, min(first), max(last), max(n + 1) FROM (
			SELECT symbol, min(pi) AS first, max(i) AS last, count(*) AS n FROM (
				SELECT symbol, pi, i, n - row_number() OVER (PARTITION BY symbol ORDER BY n) AS run FROM temp.main.%s WHERE same)
			GROUP BY symbol, run HAVING count(*) >= %d)
		GROUP BY symbol ORDER BY symbol`, eventTable, q.StaleSessions-1),
		func(scan func(...any) error) error {
			var symbol string
			var runs, bars, longest int64
			var first, last int
			if err := scan(&symbol, &runs, &bars, &first, &last, &longest); err != nil {
				return err
			}
			sentence := fmt.Sprintf("the same close on %s in a row", sessionsOf(longest))
			if runs > 1 {
				sentence = fmt.Sprintf("%d times the same close on %d or more sessions in a row, at most %d", runs, q.StaleSessions, longest)
			}
			q.find(Finding{symbol, StalePrice, Warning, bars, dayText(q.cal.At(first)), dayText(q.cal.At(last)), sentence})
			return nil
		})
}

// largest is a query for the largest event of each symbol for which condition
// holds, by the size given, with the number of all of them, the first and the
// last.
func largest(condition, size string) string {
	return fmt.Sprintf(`SELECT symbol, i, r, raw, count(*) OVER s, min(i) OVER s, max(i) OVER s FROM temp.main.%s WHERE %s
		WINDOW s AS (PARTITION BY symbol) QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY %s DESC, i) = 1 ORDER BY symbol`, eventTable, condition, size)
}

func (q *quality) eachLargest(condition, size, check string, severity Severity, sentence func(symbol string, at quant.Date, r, raw float64, n int64) string) error {
	return q.each(largest(condition, size), func(scan func(...any) error) error {
		var symbol string
		var at, first, last int
		var r, raw float64
		var n int64
		if err := scan(&symbol, &at, &r, &raw, &n, &first, &last); err != nil {
			return err
		}
		q.find(Finding{symbol, check, severity, n, dayText(q.cal.At(first)), dayText(q.cal.At(last)), sentence(symbol, q.cal.At(at), r, raw, n)})
		return nil
	})
}

// jumps finds the returns beyond the threshold. Those that only the adjustment
// makes are found by adjustments.
func (q *quality) jumps() error {
	return q.eachLargest("jump AND NOT unexplained", "abs(r - 1)", Jumps, Warning, func(symbol string, at quant.Date, r, _ float64, n int64) string {
		basis := "adjusted close"
		if contains(q.basis.Unadjusted, symbol) {
			basis = "raw close" // a split looks so as well
		}
		if n == 1 {
			return fmt.Sprintf("%s moves by %+.1f %% on %s", basis, 100*(r-1), at)
		}
		return fmt.Sprintf("%s moves by more than %g %% on %s, most on %s: %+.1f %%", basis, 100*q.Jump, sessionsOf(n), at, 100*(r-1))
	})
}

// adjustments finds the large steps of adjusted_close / close, with a reason in
// the raw price and without.
func (q *quality) adjustments() error {
	const size = "greatest(r / raw, raw / r)"
	if err := q.eachLargest("unexplained", size, AdjustedJump, Warning, func(_ string, at quant.Date, r, raw float64, n int64) string {
		return fmt.Sprintf("adjusted_close / close steps by x %.4g on %s%s, and the close, which moves by %+.1f %%, does not say why", r/raw, at, more(n), 100*(raw-1))
	}); err != nil {
		return err
	}
	return q.eachLargest("step AND NOT unexplained", size, SplitExplained, Note, func(_ string, at quant.Date, _, raw float64, n int64) string {
		return fmt.Sprintf("the close moves by x %.4g on %s%s as in a split, explained by adjusted_close", raw, at, more(n))
	})
}

func more(n int64) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" (and on %s)", quant.Count(int(n-1), "other day"))
}

// SymbolCoverage is what is stored of one symbol's prices.
type SymbolCoverage struct {
	Symbol     string     `json:"symbol"`
	Bars       int64      `json:"bars"`
	FirstDate  quant.Text `json:"first_date"`
	LastDate   quant.Text `json:"last_date"`
	Sessions   int64      `json:"sessions"` // of the calendar, from the first bar to the last
	Missing    int64      `json:"missing"`  // of these, without a bar
	Outside    int64      `json:"outside"`  // bars on days that are no sessions
	Coverage   *float64   `json:"coverage"` // share of the sessions that have a bar, 0 to 1; nil without sessions
	Basis      string     `json:"basis"`    // adjusted or raw; none without bars
	Sources    []string   `json:"sources"`  // in byte order
	LastIngest quant.Time `json:"last_ingest"`
	RunID      quant.Text `json:"run_id"` // that wrote the newest of its bars' values
}

// Coverage tells what is stored of each symbol's prices (nil: of all that have
// bars), in byte order; a symbol without bars has a row of zeros. It changes
// nothing but TEMP tables.
func Coverage(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, symbols []string) ([]SymbolCoverage, error) {
	basis, err := price.Stage(ctx, db, cal, price.Request{Symbols: symbols, AcceptRaw: true})
	if err != nil {
		return nil, err
	}
	where := " WHERE true" + ofSymbols(symbols)
	list := []SymbolCoverage{}
	err = eachRow(ctx, db, `SELECT c.*, l.run_id FROM (
			SELECT o.symbol, count(*), min(o.ts), max(o.ts), count(s.i), min(s.ts), max(s.ts), max(o.ingested_at) AS stamp
			FROM ohlcv o LEFT JOIN temp.main.`+price.SessionTable+` s ON s.ts = o.ts`+where+` GROUP BY o.symbol) c
		LEFT JOIN (SELECT DISTINCT committed_at, run_id FROM ledger WHERE table_name = 'ohlcv') l ON l.committed_at = c.stamp ORDER BY c.symbol`,
		func(scan func(...any) error) error {
			c := SymbolCoverage{Basis: "adjusted", Sources: []string{}}
			var first, last quant.Date
			var held span
			if err := scan(&c.Symbol, &c.Bars, &first, &last, &held.n, &held.first, &held.last, &c.LastIngest, &c.RunID); err != nil {
				return err
			}
			c.FirstDate, c.LastDate, c.Outside = dayText(first), dayText(last), c.Bars-held.n
			if held.n > 0 {
				c.Sessions = countSessions(cal, held.first.V, held.last.V)
				c.Missing = c.Sessions - held.n
				share := float64(held.n) / float64(c.Sessions)
				c.Coverage = &share
			}
			if contains(basis.Unadjusted, c.Symbol) {
				c.Basis = "raw"
			}
			list = append(list, c)
			return nil
		})
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	for i, c := range list {
		at[c.Symbol] = i
	}
	err = eachRow(ctx, db, `SELECT DISTINCT o.symbol, o.source FROM ohlcv o`+where+` ORDER BY ALL`, func(scan func(...any) error) error {
		var symbol string
		var source sql.NullString
		if err := scan(&symbol, &source); err != nil {
			return err
		}
		if source.Valid {
			c := &list[at[symbol]]
			c.Sources = append(c.Sources, source.String)
		}
		return nil
	})
	for _, symbol := range symbols {
		if _, has := at[symbol]; !has {
			at[symbol] = -1
			list = append(list, SymbolCoverage{Symbol: symbol, Basis: "none", Sources: []string{}})
		}
	}
	slices.SortFunc(list, func(a, b SymbolCoverage) int { return cmp.Compare(a.Symbol, b.Symbol) })
	return list, err
}
