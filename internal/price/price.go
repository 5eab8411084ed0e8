// Package price decides on which basis prices are read: adjusted where a
// symbol has adjusted closes on every row, else raw, and never a mix. Every
// module that computes with prices reads them here, so that features, labels,
// decisions and backtests speak of the same ones. It changes nothing.
package price

import (
	"context"
	"fmt"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
)

// Request says which prices.
type Request struct {
	Symbols   []string // nil: all that have bars
	AcceptRaw bool     // take a raw close that moves as in a split for a price
	Source    string   // table or view with ohlcv's columns; "": ohlcv
}

// Basis is what was staged.
type Basis struct {
	Symbols    []string   // that have bars, in byte order
	Unadjusted []string   // of these, the ones on the raw basis
	First      quant.Date // first and last day that has a bar of these symbols; 0 if there is none
	Last       quant.Date
	Bars       int64
	Outside    int64 // bars on days that are no sessions: left out
	// Empty are the sessions between First and Last on which none of these
	// symbols has a bar; Unknown are those of them on which no symbol at all has
	// one, so that the calendar may be wrong.
	Empty   []quant.Date
	Unknown []quant.Date
	Notices []string // what the user should know, a sentence each
}

// Name is adjusted, raw, mixed (some symbols on each) or none.
func (b Basis) Name() string {
	switch {
	case len(b.Symbols) == 0:
		return "none"
	case len(b.Unadjusted) == 0:
		return "adjusted"
	case len(b.Unadjusted) == len(b.Symbols):
		return "raw"
	}
	return "mixed"
}

// UnadjustedNotice is what there is to be said of symbols on the raw basis.
func UnadjustedNotice(symbols []string) string {
	return "UNADJUSTED: raw prices of " + some(symbols) + ", which have no adjusted_close on every row; dividends and splits are not in their returns"
}

// The names that Stage makes in DuckDB's temp catalog, to be read as
// temp.main.<name>.
const (
	// BasisTable: symbol TEXT, adjusted BOOLEAN (the basis of its prices), first,
	// last DATE, bars BIGINT. One row a symbol that has bars.
	BasisTable = "price_basis"
	// SessionTable: i INTEGER, ts DATE. The calendar's sessions from the first
	// bar to the last; i is the calendar's own index.
	SessionTable = "price_session"
	// BarView: symbol TEXT, i INTEGER, ts DATE, open, high, low, close, volume,
	// raw_close, raw_volume DOUBLE. One row a bar on a session, in no order.
	// open, high, low, close are on the symbol's basis; volume is
	// split-consistent (volume x close / adjusted_close on the adjusted basis:
	// a dividend leaves the small error of its share of the price).
	BarView = "price_bar"
)

// Stage makes BasisTable, SessionTable and BarView of the prices as they stand in this
// connection, replacing earlier ones; they live until the DB is closed. A
// symbol without bars is left out. Refused: a raw close that moves by more
// than 40 % near a simple ratio, without AcceptRaw, or a bar that no run wrote.
func Stage(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request) (Basis, error) {
	source := req.Source
	if source == "" {
		source = factstore.OHLCV
	}
	var b Basis
	exec := func(query string, args ...any) error {
		_, err := db.Stage(ctx, query, args...)
		return err
	}
	where := req.condition()
	if err := db.RequireExplained(ctx, factstore.OHLCV, source, where); err != nil {
		return b, err
	}
	if err := exec(`CREATE OR REPLACE TEMP TABLE ` + BasisTable + ` AS
		SELECT symbol, bool_and(coalesce(adjusted_close > 0 AND close > 0, false)) AS adjusted, min(ts) AS first, max(ts) AS last, count(*) AS bars
		FROM ` + source + ` WHERE ` + where + ` GROUP BY symbol ORDER BY symbol`); err != nil {
		return b, err
	}
	rows, err := db.Query(ctx, "SELECT symbol, adjusted, first, last, bars FROM temp.main."+BasisTable+" ORDER BY symbol")
	if err != nil {
		return b, err
	}
	defer rows.Close()
	for rows.Next() {
		var s SymbolBars
		if err := rows.Scan(&s.Symbol, &s.Adjusted, &s.First, &s.Last, &s.Bars); err != nil {
			return b, err
		}
		b.take(s)
	}
	if err := rows.Err(); err != nil {
		return b, err
	}
	rows.Close()
	if err := b.judge(ctx, db, cal, source, where); err != nil {
		return b, err
	}
	if err := stageSessions(exec, cal, b); err != nil {
		return b, err
	}
	if err := exec(`CREATE OR REPLACE TEMP VIEW ` + BarView + ` AS
		SELECT p.symbol, s.i, p.ts,
			CASE WHEN b.adjusted THEN p.open * (p.adjusted_close / p.close) ELSE p.open END AS open,
			CASE WHEN b.adjusted THEN p.high * (p.adjusted_close / p.close) ELSE p.high END AS high,
			CASE WHEN b.adjusted THEN p.low * (p.adjusted_close / p.close) ELSE p.low END AS low,
			CASE WHEN b.adjusted THEN p.adjusted_close ELSE p.close END AS close,
			CASE WHEN b.adjusted THEN p.volume * (p.close / p.adjusted_close) ELSE p.volume END AS volume,
			p.close AS raw_close, p.volume AS raw_volume
		FROM ` + source + ` p JOIN temp.main.` + BasisTable + ` b ON b.symbol = p.symbol JOIN temp.main.` + SessionTable + ` s ON s.ts = p.ts`); err != nil {
		return b, err
	}
	if len(b.Unadjusted) > 0 && !req.AcceptRaw {
		return b, refuseSplits(ctx, db)
	}
	return b, nil
}

// SymbolBars are the bars of a symbol as a whole.
type SymbolBars struct {
	Symbol      string
	Adjusted    bool // each has an adjusted_close and a close above 0
	First, Last quant.Date
	Bars        int64
}

// Judge is Stage for who has read the bars: symbols, in byte order, are those of the
// request that have bars. It makes nothing in DuckDB. Errors: those of Stage.
func Judge(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request, symbols []SymbolBars) (Basis, error) {
	source := req.Source
	if source == "" {
		source = factstore.OHLCV
	}
	var b Basis
	where := req.condition()
	if err := db.RequireExplained(ctx, factstore.OHLCV, source, where); err != nil {
		return b, err
	}
	for _, s := range symbols {
		b.take(s)
	}
	if err := b.judge(ctx, db, cal, source, where); err != nil {
		return b, err
	}
	if len(b.Unadjusted) > 0 && !req.AcceptRaw {
		// Raw prices are rare, and the rule that refuses some is Stage's.
		if _, err := Stage(ctx, db, cal, req); err != nil {
			return b, err
		}
	}
	return b, nil
}

// take adds a symbol.
func (b *Basis) take(s SymbolBars) {
	if len(b.Symbols) == 0 || s.First < b.First {
		b.First = s.First
	}
	if len(b.Symbols) == 0 || s.Last > b.Last {
		b.Last = s.Last
	}
	b.Bars += s.Bars
	b.Symbols = append(b.Symbols, s.Symbol)
	if !s.Adjusted {
		b.Unadjusted = append(b.Unadjusted, s.Symbol)
	}
}

// judge says what there is to be said of the bars of these symbols.
func (b *Basis) judge(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, source, where string) error {
	b.tellCalendar(cal)
	if err := b.countDays(ctx, db, cal, source, where); err != nil {
		return err
	}
	b.tellUnadjusted()
	return nil
}

func (b *Basis) tellCalendar(cal *calendar.Calendar) {
	if len(b.Symbols) > 0 && cal.Len() > 0 && (b.First < cal.First() || b.Last > cal.Last()) && cal.Name() != calendar.Data {
		b.Notices = append(b.Notices, fmt.Sprintf("the calendar %s knows %s to %s; bars outside are left out", cal.Name(), cal.First(), cal.Last()))
	}
}

func (b *Basis) tellOutside(cal *calendar.Calendar) {
	if b.Outside > 0 {
		b.Notices = append(b.Notices, fmt.Sprintf("%d of %d bars are on days that are no session of %s: left out (another market? QUANT_CALENDAR=data)", b.Outside, b.Bars, cal.Name()))
	}
}

func (b *Basis) tellUnadjusted() {
	if len(b.Unadjusted) > 0 {
		b.Notices = append(b.Notices, UnadjustedNotice(b.Unadjusted))
	}
}

func stageSessions(exec func(string, ...any) error, cal *calendar.Calendar, b Basis) error {
	if err := exec("CREATE OR REPLACE TEMP TABLE " + SessionTable + " (i INTEGER NOT NULL, ts DATE NOT NULL)"); err != nil {
		return err
	}
	if len(b.Symbols) == 0 {
		return nil
	}
	days := cal.Sessions(b.First, b.Last)
	if len(days) == 0 {
		return nil
	}
	first, _ := cal.Index(days[0])
	var list strings.Builder
	for k, d := range days {
		if k > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, "%d", int32(d))
	}
	return exec(fmt.Sprintf("INSERT INTO temp.main.%s SELECT (%d + k - 1)::INTEGER, DATE '1970-01-01' + d FROM (SELECT unnest([%s]::INTEGER[]) AS d, unnest(range(1, %d))::INTEGER AS k)",
		SessionTable, first, list.String(), len(days)+1))
}

// splitRatios are the simple ratios of splits, as new shares for one old one;
// their inverses count as well.
var splitRatios = []float64{3. / 2, 5. / 3, 5. / 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 100}

// nearRatio is how near, relatively, a move must be to one of them.
const nearRatio = 0.03

// LooksLikeSplit is an SQL condition on r, an expression for the ratio of one
// price to the one before it: it moves by more than 40 % and near a simple ratio.
func LooksLikeSplit(r string) string {
	near := make([]string, len(splitRatios))
	for i, ratio := range splitRatios {
		near[i] = fmt.Sprintf("abs(%[1]s / %[2]v - 1) < %[3]v OR abs(%[1]s * %[2]v - 1) < %[3]v", r, ratio, nearRatio)
	}
	return "(abs(" + r + " - 1) > 0.4 AND (" + strings.Join(near, " OR ") + "))"
}

func refuseSplits(ctx context.Context, db *factstore.DB) error {
	rows, err := db.Query(ctx, `SELECT symbol, ts, r FROM (
			SELECT p.symbol, p.ts, p.raw_close / lag(p.raw_close) OVER (PARTITION BY p.symbol ORDER BY p.ts) AS r
			FROM temp.main.`+BarView+` p JOIN temp.main.`+BasisTable+` b ON b.symbol = p.symbol WHERE NOT b.adjusted)
		WHERE `+LooksLikeSplit("r")+` ORDER BY symbol, ts`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var symbol string
		var ts quant.Date
		var r float64
		if err := rows.Scan(&symbol, &ts, &r); err != nil {
			return err
		}
		found = append(found, fmt.Sprintf("%s on %s (x %.4g)", symbol, ts, r))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(found) == 0 {
		return nil
	}
	return quant.Errorf(quant.Refused, "raw prices move as in a split: %s", some(found)).
		WithHint("ingest prices with an adjusted_close on every row, or take them as they are with --accept-raw")
}

func some(list []string) string {
	if len(list) > 3 {
		return strings.Join(list[:3], ", ") + fmt.Sprintf(" and %d more", len(list)-3)
	}
	return strings.Join(list, ", ")
}
