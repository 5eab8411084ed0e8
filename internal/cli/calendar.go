package cli

import (
	"context"

	"quant"
	"quant/internal/calendar"
	"quant/internal/config"
	"quant/internal/factstore"
)

// calendar returns the calendar of QUANT_CALENDAR; "data" is read from the
// open Fact DB.
func (e *Env) calendar(ctx context.Context, db *factstore.DB) (*calendar.Calendar, error) {
	return e.calendarOf(ctx, db, "ohlcv")
}

// calendarOf is calendar, with "data" read from a table or view of bars.
func (e *Env) calendarOf(ctx context.Context, db *factstore.DB, bars string) (*calendar.Calendar, error) {
	name := e.Settings.Value(config.Calendar)
	if name != calendar.Data {
		return calendar.Open(name)
	}
	rows, err := db.Query(ctx, "SELECT DISTINCT ts FROM "+bars+" ORDER BY ts")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var days []quant.Date
	for rows.Next() {
		var d quant.Date
		if err := rows.Scan(&d); err != nil {
			return nil, err
		}
		days = append(days, d)
	}
	return calendar.FromDates(days), rows.Err()
}
