package calendar

import (
	"embed"
	"strconv"
	"strings"
	"sync"
	"time"

	"quant"
)

// Names are the values of QUANT_CALENDAR.
var Names = []string{"XNYS", "XKRX", Data}

// The facts of the exchanges are those of the Python packages holidays and
// exchange_calendars; testdata/facts.py made the files.
//
//go:embed XNYS.txt XKRX.txt
var facts embed.FS

var (
	xnys = sync.OnceValues(func() (*Calendar, error) { return embedded("XNYS") })
	xkrx = sync.OnceValues(func() (*Calendar, error) { return embedded("XKRX") })
)

// Open returns the calendar of an exchange: XNYS or XKRX, from 1990 to 2050.
// What lies ahead is the schedule as the exchange's rules have it: a closure
// that nobody has announced is not in it. Invalid for another name, and for
// "data", which is made by FromDates.
func Open(name string) (*Calendar, error) {
	switch name {
	case "XNYS":
		return xnys()
	case "XKRX":
		return xkrx()
	}
	return nil, quant.Errorf(quant.Invalid, "calendar %q is not known", name).WithHint("use XNYS, XKRX or data")
}

func embedded(name string) (*Calendar, error) {
	text, err := facts.ReadFile(name + ".txt")
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "calendar %s: %w", name, err)
	}
	return decode(name, string(text))
}

// decode reads the form of the embedded files: lines "first DAY" and "last
// DAY" bound it, "saturdays DAY" is the last day until which Saturdays belong
// to the trading week, and a line of each year lists the days of the trading
// week (else Monday to Friday) that are no sessions, as month-day. Invalid for
// anything else, and for a closed day that is none of the week or stands twice.
func decode(name, text string) (*Calendar, error) {
	bounds := map[string]quant.Date{}
	closed := map[quant.Date]bool{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		switch key := fields[0]; key {
		case "first", "last", "saturdays":
			if _, again := bounds[key]; again || len(fields) != 2 {
				return nil, badFacts(name, line)
			}
			day, err := quant.ParseDate(fields[1])
			if err != nil {
				return nil, badFacts(name, line)
			}
			bounds[key] = day
		default:
			if _, err := strconv.ParseUint(key, 10, 16); err != nil {
				return nil, badFacts(name, line)
			}
			for _, monthDay := range fields[1:] {
				day, err := quant.ParseDate(key + "-" + monthDay)
				if err != nil || closed[day] {
					return nil, badFacts(name, line)
				}
				closed[day] = true
			}
		}
	}
	first, hasFirst := bounds["first"]
	last, hasLast := bounds["last"]
	if !hasFirst || !hasLast || last < first || last-first > 100_000 {
		return nil, badFacts(name, "its first and last day")
	}
	saturdays, has := bounds["saturdays"]
	if !has {
		saturdays = first - 1
	}
	c := &Calendar{name: name}
	used := 0
	for day := first; day <= last; day++ {
		of := weekday(day)
		switch {
		case of == time.Sunday || of == time.Saturday && day > saturdays: // no day of the week
		case closed[day]:
			used++
		default:
			c.sessions = append(c.sessions, day)
		}
	}
	if used != len(closed) {
		return nil, badFacts(name, "a closed day that is none of its trading week")
	}
	return c, nil
}

func badFacts(name, what string) error {
	return quant.Errorf(quant.Invalid, "calendar %s: cannot read %q", name, strings.TrimSpace(what)).
		WithHint("the program was built with a damaged calendar: build it again")
}

// Close is when a session of the calendar closes: so long after midnight in the zone of
// its exchange, by its IANA name. What is known later is not known at the close. Days
// that close early are as long as any other here. Under "data" a session ends with its
// day, UTC.
func (c *Calendar) Close() (zone string, after time.Duration) {
	switch c.name {
	case "XNYS":
		return "America/New_York", 16 * time.Hour
	case "XKRX":
		return "Asia/Seoul", 15*time.Hour + 30*time.Minute
	}
	return "UTC", 24*time.Hour - time.Microsecond
}
