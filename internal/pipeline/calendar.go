package pipeline

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/session"
)

// openCalendar opens the calendar of the session, with what the lab's own file
// changes of it, which is recorded as read; that of the data is read from a table
// or view of bars.
func openCalendar(ctx context.Context, s *session.Session, db *factstore.DB, bars string) (*calendar.Calendar, error) {
	if s.CalendarName() != calendar.Data {
		cal, err := exchangeCalendar(s)
		if err == nil && cal.Digest() != "" {
			s.Record(calendarInput(cal))
		}
		return cal, err
	}
	days, err := factstore.Values[quant.Date](ctx, db, "SELECT DISTINCT ts FROM "+bars+" ORDER BY ts")
	if err != nil {
		return nil, err
	}
	return calendar.FromDates(days), nil
}

// exchangeCalendar opens the calendar of the session's exchange with what the
// lab's own file changes of it.
func exchangeCalendar(s *session.Session) (*calendar.Calendar, error) {
	cal, err := calendar.Open(s.CalendarName())
	if err != nil {
		return nil, err
	}
	changes, err := calendar.ReadChanges(s.CalendarFile())
	if err != nil {
		return nil, err
	}
	return cal.Amend(changes), nil
}

func calendarInput(cal *calendar.Calendar) quant.RunIO {
	days := int64(len(cal.Changes()))
	return quant.RunIO{Direction: quant.In, Kind: quant.IOCalendar, Name: cal.Name(), Rows: &days, Digest: quant.Text(cal.Digest())}
}

// calendarIdentity names the calendar whose sessions count, with what the lab's
// own file changes of it.
func calendarIdentity(s *session.Session) (string, error) {
	if s.CalendarName() == calendar.Data {
		return calendar.Data, nil
	}
	cal, err := exchangeCalendar(s)
	if err != nil {
		return "", err
	}
	return cal.Identity(), nil
}

// ownCalendar refuses, as Usage, the calendar of the data, which nobody changes.
func ownCalendar(s *session.Session) error {
	if s.CalendarName() != calendar.Data {
		return nil
	}
	return quant.Errorf(quant.Usage, "the calendar data has no file of its own: its sessions are the days with bars").
		WithHint("set QUANT_CALENDAR=XNYS or XKRX")
}

// CalendarChanges is what became of the days that a call named.
type CalendarChanges struct {
	Calendar  string            `json:"calendar"` // its identity afterwards
	Added     []calendar.Change `json:"added"`
	Removed   []calendar.Change `json:"removed"`
	Unchanged []quant.Date      `json:"unchanged"` // they are so already
}

// AddToCalendar writes closures and extra sessions of the session's exchange into
// the lab's own file, all or none. A day that is so already, in the exchange's
// calendar or in the file, stays as it is. Usage: nothing is named, a day is named
// as both, or the calendar is that of the data. Invalid: a day or the reason cannot
// be used, or the file that stands there. Locked, Store: the file.
func AddToCalendar(ctx context.Context, s *session.Session, closed, extra []quant.Date, reason string) (CalendarChanges, error) {
	return changeCalendar(ctx, s, func(plain *calendar.Calendar, changes []calendar.Change, done *CalendarChanges) ([]calendar.Change, error) {
		if len(closed)+len(extra) == 0 {
			return nil, quant.Errorf(quant.Usage, "no day is named").WithHint("--closed DATE for a closure, --session DATE for an extra session")
		}
		named := map[quant.Date]calendar.Kind{}
		add := func(days []quant.Date, kind calendar.Kind) error {
			for _, d := range days {
				if other, again := named[d]; again && other != kind {
					return quant.Errorf(quant.Usage, "%s is named as closed and as a session", d)
				} else if again {
					continue
				}
				named[d] = kind
				change := calendar.Change{Calendar: plain.Name(), Day: d, Kind: kind, Reason: quant.Text(s.Mask.Text(reason))}
				if err := change.Validate(); err != nil {
					return err
				}
				_, session := plain.Amend(changes).Index(d)
				if session == (kind == calendar.Extra) {
					done.Unchanged = append(done.Unchanged, d)
					continue
				}
				changes = slices.DeleteFunc(changes, func(c calendar.Change) bool { return c.Calendar == plain.Name() && c.Day == d })
				if _, embedded := plain.Index(d); embedded != (kind == calendar.Extra) {
					changes = append(changes, change)
				}
				done.Added = append(done.Added, change)
			}
			return nil
		}
		// Both change changes, which is read after them.
		err := errors.Join(add(closed, calendar.Closed), add(extra, calendar.Extra))
		return changes, err
	})
}

// RemoveFromCalendar takes days of the session's exchange out of the lab's own
// file, all or none. NotFound: one is not in it. Other errors: those of
// AddToCalendar.
func RemoveFromCalendar(ctx context.Context, s *session.Session, days []quant.Date) (CalendarChanges, error) {
	return changeCalendar(ctx, s, func(plain *calendar.Calendar, changes []calendar.Change, done *CalendarChanges) ([]calendar.Change, error) {
		for _, d := range days {
			at := slices.IndexFunc(changes, func(c calendar.Change) bool { return c.Calendar == plain.Name() && c.Day == d })
			if at < 0 {
				return nil, quant.Errorf(quant.NotFound, "the lab's own file says nothing of %s on %s", plain.Name(), d).
					WithHint("`quant calendar list` shows its days; `quant calendar add` says otherwise of a day of the exchange's calendar")
			}
			done.Removed = append(done.Removed, changes[at])
			changes = slices.Delete(changes, at, at+1)
		}
		return changes, nil
	})
}

// calendarWait is how long a change of the lab's own file waits for another, which
// takes milliseconds.
const calendarWait = 10 * time.Second

// changeCalendar changes the lab's own file by fn, which is given what stands
// there; nobody else changes it meanwhile.
func changeCalendar(ctx context.Context, s *session.Session, fn func(*calendar.Calendar, []calendar.Change, *CalendarChanges) ([]calendar.Change, error)) (CalendarChanges, error) {
	done := CalendarChanges{Added: []calendar.Change{}, Removed: []calendar.Change{}, Unchanged: []quant.Date{}}
	if err := ownCalendar(s); err != nil {
		return done, err
	}
	plain, err := calendar.Open(s.CalendarName())
	if err != nil {
		return done, err
	}
	folder, err := os.Open(s.DataDir)
	if err != nil {
		return done, quant.Errorf(quant.Store, "open the data folder: %w", err).WithHint("make it readable")
	}
	lock := durable.LockOn(folder)
	defer lock.Close()
	if err := lock.Wait(ctx, durable.Exclusive, calendarWait); errors.Is(err, durable.ErrHeld) {
		return done, quant.Errorf(quant.Locked, "the calendar file is being changed by another process").WithHint("try again")
	} else if err != nil {
		return done, err
	}
	changes, err := calendar.ReadChanges(s.CalendarFile())
	if err != nil {
		return done, err
	}
	wanted, err := fn(plain, slices.Clone(changes), &done)
	if err != nil {
		return done, err
	}
	if len(done.Added)+len(done.Removed) > 0 {
		if err := calendar.WriteChanges(s.CalendarFile(), wanted); err != nil {
			return done, err
		}
	}
	cal := plain.Amend(wanted)
	done.Calendar = cal.Identity()
	out := calendarInput(cal)
	out.Direction = quant.Out
	s.Record(out)
	return done, nil
}

// CalendarDay is a day of an exchange's calendar that is a session or, in the
// trading week or by the lab's own file, none.
type CalendarDay struct {
	Day    quant.Date    `json:"day"`
	Kind   calendar.Kind `json:"kind"`
	Source string        `json:"source"` // CalendarBuiltIn or CalendarOwn
	Reason quant.Text    `json:"reason"`
}

// The sources of a day.
const (
	CalendarBuiltIn = "exchange" // the calendar that the program brings
	CalendarOwn     = "lab"      // the lab's own file
)

// ListCalendar returns the changes of the lab's own file or, with from or to, every
// session and every closed weekday from the one to the other (the calendar's own
// ends where nil). Usage: the calendar is that of the data, or from is after to.
func ListCalendar(s *session.Session, from, to *quant.Date) ([]CalendarDay, error) {
	if err := ownCalendar(s); err != nil {
		return nil, err
	}
	cal, err := exchangeCalendar(s)
	if err != nil {
		return nil, err
	}
	list := []CalendarDay{}
	own := map[quant.Date]calendar.Change{}
	for _, c := range cal.Changes() {
		own[c.Day] = c
		if from == nil && to == nil {
			list = append(list, CalendarDay{c.Day, c.Kind, CalendarOwn, c.Reason})
		}
	}
	if from == nil && to == nil {
		return list, nil
	}
	first, last := cal.First(), cal.Last()
	if from != nil {
		first = max(first, *from)
	}
	if to != nil {
		last = min(last, *to)
	}
	if from != nil && to != nil && *from > *to {
		return nil, quant.Errorf(quant.Usage, "--from %s is after --to %s", from, to).WithHint("give the earlier day first")
	}
	for d := first; d <= last; d++ {
		_, session := cal.Index(d)
		c, changed := own[d]
		day := CalendarDay{d, calendar.Closed, CalendarBuiltIn, c.Reason}
		if session {
			day.Kind = calendar.Extra
		}
		if changed {
			day.Source = CalendarOwn
		}
		if session || changed || !calendar.Weekend(d) {
			list = append(list, day)
		}
	}
	return list, nil
}

// CalendarDoubt is a day on which the calendar and the stored bars do not agree.
type CalendarDoubt struct {
	Day     quant.Date `json:"day"`
	Kind    string     `json:"kind"` // DoubtEmpty or DoubtOutside
	Bars    int64      `json:"bars"`
	Command string     `json:"command"` // that makes the calendar agree
}

// The kinds of doubts.
const (
	DoubtEmpty   = "session without bars" // no symbol has a bar on it, and bars before and after
	DoubtOutside = "bars without session"
)

// CheckCalendar holds the calendar against all stored bars, from the first to the
// last of them. Usage: the calendar is that of the data. NotFound: there is no Fact
// DB. It changes nothing.
func CheckCalendar(ctx context.Context, s *session.Session) ([]CalendarDoubt, error) {
	list := []CalendarDoubt{}
	if err := ownCalendar(s); err != nil {
		return nil, err
	}
	err := s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		empty, err := price.EmptySessions(ctx, db, cal, nil)
		if err != nil {
			return err
		}
		for _, d := range empty {
			list = append(list, CalendarDoubt{d, DoubtEmpty, 0, "quant calendar add --closed " + d.String()})
		}
		rows, err := db.Query(ctx, "SELECT ts, count(*) FROM "+factstore.OHLCV+" GROUP BY ts ORDER BY ts")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d quant.Date
			var bars int64
			if err := rows.Scan(&d, &bars); err != nil {
				return err
			}
			if _, session := cal.Index(d); !session {
				list = append(list, CalendarDoubt{d, DoubtOutside, bars, "quant calendar add --session " + d.String()})
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return recordBars(ctx, s, db, nil)
	})
	slices.SortStableFunc(list, func(a, b CalendarDoubt) int { return int(a.Day) - int(b.Day) })
	return list, err
}
