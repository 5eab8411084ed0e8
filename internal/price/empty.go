package price

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// countDays fills Outside, Empty and Unknown from the bars of each day, and says what
// they may mean. where is which rows of the source are those of these symbols. The last
// day with a bar ends what is looked at: data that has not come yet is no gap.
func (b *Basis) countDays(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, source, where string) error {
	traded, outside := map[quant.Date]bool{}, b.Bars
	sessions := sessionsByDay(cal, b.First, b.Last)
	var days []quant.Date
	var bars []int64
	err := db.Columns(ctx, "SELECT ts, count(*) FROM "+source+" WHERE "+where+" GROUP BY ts", nil, func(c *factstore.Chunk) error {
		days, bars = c.AppendDates(days[:0], 0), c.AppendBigints(bars[:0], 1)
		for row, day := range days {
			if day >= b.First && day <= b.Last && sessions[day-b.First] >= 0 {
				traded[day] = true
				outside -= bars[row]
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.Outside = outside
	b.tellOutside(cal)
	if len(b.Symbols) == 0 {
		return nil
	}
	for _, d := range cal.Sessions(b.First, b.Last) {
		if !traded[d] {
			b.Empty = append(b.Empty, d)
		}
	}
	if len(b.Empty) == 0 {
		return nil
	}
	known, err := factstore.Values[quant.Date](ctx, db, "SELECT DISTINCT ts FROM "+source)
	if err != nil {
		return err
	}
	b.tellEmpty(cal, known)
	return nil
}

// tellEmpty fills Unknown, given the days on which any symbol has a bar, and says what
// it and Empty may mean.
func (b *Basis) tellEmpty(cal *calendar.Calendar, known []quant.Date) {
	traded := make(map[quant.Date]bool, len(known))
	for _, d := range known {
		traded[d] = true
	}
	for _, d := range b.Empty {
		if !traded[d] {
			b.Unknown = append(b.Unknown, d)
		}
	}
	if notice := AskAbout(cal, b.Unknown); notice != "" {
		b.Notices = append(b.Notices, notice)
	}
	var halted []string
	for _, d := range b.Empty {
		if _, unknown := slices.BinarySearch(b.Unknown, d); !unknown {
			halted = append(halted, d.String())
		}
	}
	if len(halted) > 0 {
		b.Notices = append(b.Notices, "none of these symbols has a bar on "+some(halted)+"; other symbols have")
	}
}

// EmptySessions are the sessions on which no symbol at all has a bar, between the
// first and the last stored bar of these symbols (nil: of all).
func EmptySessions(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, symbols []string) ([]quant.Date, error) {
	days, err := factstore.Values[quant.Date](ctx, db, "SELECT DISTINCT ts FROM "+factstore.OHLCV+" ORDER BY ts")
	if err != nil || len(days) == 0 {
		return nil, err
	}
	bounds := []quant.Date{days[0], days[len(days)-1]}
	stored, err := db.Symbols(ctx)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, s := range symbols {
		named[s] = true
	}
	if symbols != nil && slices.ContainsFunc(stored, func(s string) bool { return !named[s] }) {
		of := "(ts) FROM " + factstore.OHLCV + " WHERE symbol IN (" + sqltext.Literals(symbols) + ") HAVING count(*) > 0"
		bounds, err = factstore.Values[quant.Date](ctx, db, "SELECT min"+of+" UNION ALL SELECT max"+of)
		if err != nil || len(bounds) == 0 {
			return nil, err
		}
		slices.Sort(bounds)
	}
	var empty []quant.Date
	for _, d := range cal.Sessions(bounds[0], bounds[1]) {
		if _, has := slices.BinarySearch(days, d); !has {
			empty = append(empty, d)
		}
	}
	return empty, nil
}

// askedAbout is how many sessions a question names with what to do; of more, the
// whole calendar is in doubt.
const askedAbout = 8

// AskAbout asks whether the calendar is wrong on sessions on which nothing has a
// bar, and says how to add closures; "" for none.
func AskAbout(cal *calendar.Calendar, empty []quant.Date) string {
	if len(empty) == 0 {
		return ""
	}
	if len(empty) > askedAbout {
		return fmt.Sprintf("no symbol has a bar on %d sessions of %s, %s to %s: is QUANT_CALENDAR that of their market? `quant calendar check` lists them",
			len(empty), cal.Name(), empty[0], empty[len(empty)-1])
	}
	var list []string
	for _, d := range empty {
		list = append(list, d.String())
	}
	days := strings.Join(list, ", ")
	return fmt.Sprintf("no symbol has a bar on %s, %s of %s: is the calendar wrong? If %s was closed: `quant calendar add --closed %s`",
		days, map[bool]string{true: "a session", false: "sessions"}[len(empty) == 1], cal.Name(), cal.Name(), strings.Join(list, ","))
}
