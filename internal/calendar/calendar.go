// Package calendar knows the sessions, the trading days, of a market. Session
// is what every look-back, horizon, lag and rebalance day of the lab counts.
// It owns no prices: under the calendar "data" it is told the days that have
// bars.
package calendar

import (
	"slices"
	"time"

	"quant"
)

// Data is the name of the calendar whose sessions are the days with bars.
const Data = "data"

// Calendar is the sessions of one market, in order. Immutable; safe for
// concurrent use.
type Calendar struct {
	name     string
	sessions []quant.Date
	// open says that the sessions end where the data does, not where the
	// schedule does: whether another one follows is not known.
	open    bool
	changes []Change // that were made to the embedded calendar
	digest  string   // of them; "": none
}

// FromDates returns the calendar "data": its sessions are these days, in any
// order, repeated or not.
func FromDates(days []quant.Date) *Calendar {
	s := slices.Clone(days)
	slices.Sort(s)
	return &Calendar{name: Data, sessions: slices.Compact(s), open: true}
}

// Name returns XNYS, XKRX or data.
func (c *Calendar) Name() string { return c.name }

// First and Last bound what the calendar knows; 0 if it is empty.
func (c *Calendar) First() quant.Date {
	if len(c.sessions) == 0 {
		return 0
	}
	return c.sessions[0]
}

// Last is the last session that the calendar knows; 0 if it is empty.
func (c *Calendar) Last() quant.Date {
	if len(c.sessions) == 0 {
		return 0
	}
	return c.sessions[len(c.sessions)-1]
}

// Len is the number of sessions.
func (c *Calendar) Len() int { return len(c.sessions) }

// At returns the session with this index, 0 <= i < Len.
func (c *Calendar) At(i int) quant.Date { return c.sessions[i] }

// Index returns the index of a day, or where it would be, and whether it is a
// session. Two sessions are Index(b)-Index(a) sessions apart.
func (c *Calendar) Index(d quant.Date) (int, bool) { return slices.BinarySearch(c.sessions, d) }

// Sessions returns those from first to last, both included.
func (c *Calendar) Sessions(first, last quant.Date) []quant.Date {
	i, _ := c.Index(first)
	j, found := c.Index(last)
	if found {
		j++
	}
	if j < i {
		return nil
	}
	return slices.Clone(c.sessions[i:j])
}

// Frequency is how often a strategy decides.
type Frequency string

// The frequencies.
const (
	Daily   Frequency = "daily"
	Weekly  Frequency = "weekly"
	Monthly Frequency = "monthly"
	// Quarterly is the last scheduled session of each quarter of the year.
	Quarterly Frequency = "quarterly"
	// EveryNSessions has its days from Every.
	EveryNSessions Frequency = "every_n_sessions"
)

// Every returns the sessions from first to last, both included, whose index is a
// multiple of n: which they are does not depend on the range asked for. n is at
// least 1.
func (c *Calendar) Every(n int, first, last quant.Date) []quant.Date {
	var days []quant.Date
	from, _ := c.Index(first)
	for i := (from + n - 1) / n * n; i < len(c.sessions) && c.sessions[i] <= last; i += n {
		days = append(days, c.sessions[i])
	}
	return days
}

// Rebalances returns the rebalance days from first to last, both included:
// every session, or the last scheduled session of each week (Monday to Sunday),
// month or quarter. A period that is not finished, because its last scheduled session
// is after last, has none; under "data" one is finished once a later one has
// begun. Invalid for an unknown frequency.
func (c *Calendar) Rebalances(f Frequency, first, last quant.Date) ([]quant.Date, error) {
	var period func(quant.Date) int
	switch f {
	case Daily:
		return c.Sessions(first, last), nil
	case Weekly:
		period = func(d quant.Date) int { return floorDiv(int(d)+3, 7) } // 1970-01-01 was a Thursday
	case Monthly:
		period = func(d quant.Date) int { t := d.Time(); return t.Year()*12 + int(t.Month()) - int(time.January) }
	case Quarterly:
		period = func(d quant.Date) int { t := d.Time(); return t.Year()*4 + (int(t.Month())-1)/3 }
	default:
		return nil, quant.Errorf(quant.Invalid, "rebalance frequency %q is not known", f).WithHint("use daily, weekly, monthly or quarterly")
	}
	var days []quant.Date
	from, _ := c.Index(first)
	for i := from; i < len(c.sessions) && c.sessions[i] <= last; i++ {
		if i+1 == len(c.sessions) {
			if !c.open {
				days = append(days, c.sessions[i]) // the schedule ends with a year
			}
		} else if period(c.sessions[i+1]) != period(c.sessions[i]) {
			days = append(days, c.sessions[i])
		}
	}
	return days, nil
}

// Weekend reports whether a day is a Saturday or a Sunday.
func Weekend(d quant.Date) bool { return weekday(d) == time.Saturday || weekday(d) == time.Sunday }

func weekday(d quant.Date) time.Weekday {
	return time.Weekday(((int(d)+4)%7 + 7) % 7) // 1970-01-01 was a Thursday
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
