package curator

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a session's day must not depend on what the machine knows of zones

	"quant"
)

// day is a date as DuckDB keeps it: days since 1970-01-01.
type day int32

// errAmbiguous: the text can be a day, but which one depends on a convention
// that only the user knows.
var errAmbiguous = errors.New("ambiguous date")

// errNoDate: the text is no date.
var errNoDate = errors.New("not a date")

// makeDay checks a date of the proleptic Gregorian calendar, years 1 to 9999.
func makeDay(y, m, d int) (day, error) {
	if y < 1 || y > 9999 || m < 1 || m > 12 || d < 1 || d > daysIn(y, m) {
		return 0, errNoDate
	}
	// Days from the civil calendar, with years that begin in March.
	if m <= 2 {
		y--
		m += 12
	}
	return day(365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + d - 1 - 719468), nil
}

func daysIn(y, m int) int {
	switch m {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// stamp is what a text says of a moment: a day, a time of that day, and whether
// it is an instant, which is another day elsewhere.
type stamp struct {
	day     day
	clock   int64 // microseconds since midnight; a fraction of one counts as one
	instant bool
	offset  int64 // of an instant's clock from UTC, in seconds
}

const (
	secondsADay = 86400
	microsADay  = secondsADay * 1e6
)

// in is the day of a stamp: that of the zone for an instant, and as it is written
// for any other.
func (s stamp) in(zone *time.Location) stamp {
	if !s.instant || zone == nil {
		return s
	}
	seconds := int64(s.day)*secondsADay + s.clock/1e6 - s.offset
	local := time.Unix(seconds, s.clock%1e6*1e3).In(zone)
	d, err := makeDay(local.Year(), int(local.Month()), local.Day())
	if err != nil {
		return s
	}
	_, offset := local.Zone()
	h, m, sec := local.Clock()
	return stamp{day: d, clock: int64(h*3600+m*60+sec)*1e6 + s.clock%1e6, instant: true, offset: int64(offset)}
}

// dayOrder is how a date is written whose year stands last.
type dayOrder byte

const (
	orderUnknown dayOrder = iota
	dayFirst
	monthFirst
)

// parseDate reads year, month and day in this order (2020-01-31, 2020/1/31,
// 2020.01.31, 20200131, 2020. 1. 31., 2020년 1월 31일), or in the given one with
// the year last, with or without a time of day after them. errAmbiguous: the year
// stands last, and the order is not known.
func parseDate(b []byte, order dayOrder) (stamp, error) {
	b = trimSpace(b)
	if len(b) == 10 && b[4] == '-' && b[7] == '-' {
		y, ok1 := digits4(b[0:4])
		m, ok2 := digits2(b[5:7])
		d, ok3 := digits2(b[8:10])
		if ok1 && ok2 && ok3 {
			n, err := makeDay(y, m, d)
			return stamp{day: n}, err
		}
	}
	first, rest := number(b)
	switch n := len(b) - len(rest); {
	case n == 8:
		return timedDay(first/10000, first/100%100, first%100, rest)
	case (n == 12 || n == 14) && len(rest) == 0: // 20200131093000
		first, _ = number(b[:8])
		return timedDay(first/10000, first/100%100, first%100, append([]byte{' '}, b[8:]...))
	case n == 4 && bytes.HasPrefix(rest, []byte("년")):
		return koreanDate(first, rest[len("년"):])
	case n == 0 || len(rest) == 0 || rest[0] != '-' && rest[0] != '/' && rest[0] != '.':
		return stamp{}, errNoDate
	case n != 4 && n > 2:
		return stamp{}, errNoDate
	default:
		sep := rest[0]
		rest = skipSpaces(rest[1:])
		m, tail := number(rest)
		if k := len(rest) - len(tail); k < 1 || k > 2 || len(tail) == 0 || tail[0] != sep {
			return stamp{}, errNoDate
		}
		tail = skipSpaces(tail[1:])
		d, end := number(tail)
		k := len(tail) - len(end)
		if sep == '.' && len(end) > 0 && end[0] == '.' {
			end = end[1:]
		}
		if n == 4 {
			if k < 1 || k > 2 {
				return stamp{}, errNoDate
			}
			return timedDay(first, m, d, end)
		}
		if k != 2 && k != 4 {
			return stamp{}, errNoDate
		}
		y := d
		if k == 2 {
			y = centuryOf(d)
		}
		switch order {
		case dayFirst:
			return timedDay(y, m, first, end)
		case monthFirst:
			return timedDay(y, first, m, end)
		}
		return stamp{}, errAmbiguous
	}
}

// timedDay is a day with what stands behind it.
func timedDay(y, m, d int, behind []byte) (stamp, error) {
	s, ok := timeOfDay(behind)
	if !ok {
		return s, errNoDate
	}
	var err error
	s.day, err = makeDay(y, m, d)
	return s, err
}

// centuryOf is the year of two digits: 1969 to 2068.
func centuryOf(y int) int {
	if y < 69 {
		return 2000 + y
	}
	return 1900 + y
}

// koreanDate reads what follows the year in 2020년 1월 31일.
func koreanDate(y int, b []byte) (stamp, error) {
	var part [2]int
	for i, unit := range [2]string{"월", "일"} {
		b = skipSpaces(b)
		n, rest := number(b)
		if k := len(b) - len(rest); k < 1 || k > 2 || !bytes.HasPrefix(rest, []byte(unit)) {
			return stamp{}, errNoDate
		}
		part[i], b = n, rest[len(unit):]
	}
	return timedDay(y, part[0], part[1], b)
}

func skipSpaces(b []byte) []byte { return bytes.TrimLeft(b, " ") }

// timeOfDay reads nothing, or T or a space, and 15:04, 15:04:05, 15:04:05.999,
// 150405 or 1504, then AM or PM or neither, with or without a zone (Z, +09:00,
// -0500, UTC). The stamp has no day.
func timeOfDay(b []byte) (s stamp, ok bool) {
	if len(b) == 0 {
		return s, true
	}
	if b[0] != 'T' && b[0] != 't' && b[0] != ' ' {
		return s, false
	}
	return parseClock(skipSpaces(b[1:]))
}

// parseClock reads a time of day without what parts it from a date.
func parseClock(b []byte) (s stamp, ok bool) {
	compact, rest := number(b)
	var part [3]int
	switch n := len(b) - len(rest); {
	case n == 6:
		part, b = [3]int{compact / 10000, compact / 100 % 100, compact % 100}, rest
	case n == 4:
		part, b = [3]int{compact / 100, compact % 100, 0}, rest
	case n != 1 && n != 2 || len(rest) == 0 || rest[0] != ':':
		return s, false
	default:
		part[0], b = compact, rest
		for i := 1; i < 3; i++ {
			if len(b) == 0 || b[0] != ':' {
				if i == 1 {
					return s, false
				}
				break
			}
			if len(b) < 3 {
				return s, false
			}
			n, two := digits2(b[1:3])
			if !two {
				return s, false
			}
			part[i], b = n, b[3:]
		}
	}
	if len(b) > 1 && b[0] == '.' {
		fraction, rest := number(b[1:])
		n := len(b) - 1 - len(rest)
		if n == 0 {
			return s, false
		}
		if fraction > 0 {
			s.clock = 1
			for ; n < 6; n++ {
				fraction *= 10
			}
			for n = min(n, 9); n > 6; n-- {
				fraction /= 10
			}
			s.clock = max(1, int64(fraction))
		}
		b = rest
	}
	b = skipSpaces(b)
	if half := strings.ToUpper(string(b[:min(2, len(b))])); half == "AM" || half == "PM" {
		if part[0] < 1 || part[0] > 12 {
			return s, false
		}
		part[0] %= 12
		if half == "PM" {
			part[0] += 12
		}
		b = skipSpaces(b[2:])
	}
	if part[0] > 23 || part[1] > 59 || part[2] > 60 {
		return s, false
	}
	s.clock += int64(part[0]*3600+part[1]*60+part[2]) * 1e6
	switch zone := string(b); {
	case zone == "":
		return s, true
	case zone == "Z" || zone == "z" || zone == "UTC" || zone == "GMT":
		s.instant = true
		return s, true
	case zone[0] != '+' && zone[0] != '-':
		return s, false
	default:
		digits := []byte(strings.Replace(zone[1:], ":", "", 1))
		n, rest := number(digits)
		if len(rest) > 0 || len(digits) != 2 && len(digits) != 4 {
			return s, false
		}
		if len(digits) == 2 {
			n *= 100
		}
		s.instant, s.offset = true, int64(n/100*3600+n%100*60)
		if zone[0] == '-' {
			s.offset = -s.offset
		}
		return s, true
	}
}

// epochUnit is how many of the numbers of a column make a second; 0: it has no
// such numbers.
type epochUnit int64

func (u epochUnit) String() string {
	return map[epochUnit]string{1: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}[u]
}

// epochUnitOf is the unit of a column whose greatest number is this one: a date after
// 1973-03-03 in seconds, after 1973-03-03 in milliseconds, and so on.
func epochUnitOf(greatest int64) epochUnit {
	switch {
	case greatest < 1e8:
		return 0
	case greatest < 1e11:
		return 1
	case greatest < 1e14:
		return 1e3
	case greatest < 1e17:
		return 1e6
	}
	return 1e9
}

// parseEpochNumber reads a whole number of a moment, with or without zeros behind a
// point as a column of doubles has them.
func parseEpochNumber(b []byte) (int64, bool) {
	b = trimSpace(b)
	if whole, zeros, ok := bytes.Cut(b, []byte{'.'}); ok && len(bytes.Trim(zeros, "0")) == 0 {
		b = whole
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// stamp is the moment so many units after the beginning of 1970.
func (u epochUnit) stamp(n int64) stamp {
	adj := int64(u) * secondsADay
	d := n / adj
	if n%adj < 0 {
		d--
	}
	rest := n - d*adj
	clock := rest
	switch u {
	case 1, 1e3:
		clock = rest * (1e6 / int64(u))
	case 1e9:
		if clock = rest / 1e3; rest%1e3 > 0 {
			clock = max(1, clock)
		}
	}
	return stamp{day: day(max(min(d, math.MaxInt32), math.MinInt32)), clock: clock, instant: true}
}

// errTimed: the text is a moment, and which session's it is is not known.
var errTimed = errors.New("a time of day")

// dateRule is how the dates of a file are read.
type dateRule struct {
	layout *dateLayout    // nil: year, month, day, or as order and unit say
	order  dayOrder       // of day and month where the year stands last
	unit   epochUnit      // of numbers; 0: they are none
	zone   *time.Location // of the exchange; nil: not said
	fixed  bool           // every row is of this day
	is     day
}

// stamp reads one date, with its time of day in the exchange's zone where that is
// known. errAmbiguous or errNoDate.
func (r *dateRule) stamp(text []byte) (stamp, error) {
	var s stamp
	var err error
	switch {
	case r.layout != nil:
		s, err = r.layout.parse(text)
	case r.unit != 0:
		n, ok := parseEpochNumber(text)
		if !ok {
			return s, errNoDate
		}
		s = r.unit.stamp(n)
	default:
		s, err = parseDate(text, r.order)
	}
	if err != nil {
		return s, err
	}
	return s.in(r.zone), nil
}

// day reads the day of a row; clock is the time of day that stands in a column of
// its own, or nil. errAmbiguous, errNoDate, or errTimed where a time of day is
// other than midnight and no zone is said.
func (r *dateRule) day(text, clock []byte) (day, error) {
	if r.fixed {
		return r.is, nil
	}
	s, err := r.stamp(text)
	if err != nil {
		return 0, err
	}
	if r.zone == nil && (s.clock != 0 || clock != nil && clockOf(clock).clock != 0) {
		return s.day, errTimed
	}
	return s.day, nil
}

// clockOf reads a column of times; what is none, such as a word, is midnight.
func clockOf(text []byte) stamp {
	s, ok := parseClock(trimSpace(text))
	if !ok {
		return stamp{}
	}
	return s
}

// number reads leading digits; beyond nine of them the value is meaningless.
func number(b []byte) (int, []byte) {
	n, i := 0, 0
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		if i < 9 {
			n = n*10 + int(b[i]-'0')
		}
	}
	return n, b[i:]
}

func digits2(b []byte) (int, bool) {
	x, y := b[0]-'0', b[1]-'0'
	return int(x)*10 + int(y), x <= 9 && y <= 9
}

func digits4(b []byte) (int, bool) {
	hi, ok1 := digits2(b)
	lo, ok2 := digits2(b[2:])
	return hi*100 + lo, ok1 && ok2
}

// dateLayout is a compiled --date-format.
type dateLayout struct{ steps []layoutStep }

type layoutStep struct {
	verb byte // one of YymdbHMS, or 0 for a literal
	text byte
}

// compileLayout reads a format in the manner of strftime: %Y %y %m %d %b %H %M
// %S %% and literals. quant.Invalid: another verb, one that stands twice, or a
// format that does not name year, month and day.
func compileLayout(format string) (*dateLayout, error) {
	var l dateLayout
	seen := map[byte]bool{}
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			l.steps = append(l.steps, layoutStep{text: format[i]})
			continue
		}
		i++
		switch {
		case i < len(format) && format[i] == '%':
			l.steps = append(l.steps, layoutStep{text: '%'})
		case i < len(format) && strings.IndexByte("YymdbHMS", format[i]) >= 0 && !seen[format[i]]:
			seen[format[i]] = true
			l.steps = append(l.steps, layoutStep{verb: format[i]})
		default:
			return nil, quant.Errorf(quant.Invalid, "date format %q: %%%s is not understood or stands twice", format, format[i:min(i+1, len(format))]).
				WithHint("use %%Y or %%y, %%m or %%b, %%d, and for a time %%H %%M %%S: for example --date-format %%d/%%m/%%Y")
		}
	}
	if seen['Y'] == seen['y'] || seen['m'] == seen['b'] || !seen['d'] {
		return nil, quant.Errorf(quant.Invalid, "date format %q does not name year, month and day once each", format).
			WithHint("for example --date-format %%d/%%m/%%Y")
	}
	return &l, nil
}

// parse reads a date; numbers may lack their leading zeros unless a digit
// follows. %y is 1969 to 2068.
func (l *dateLayout) parse(b []byte) (stamp, error) {
	b = trimSpace(b)
	var y, m, d, clock int
	for _, s := range l.steps {
		if s.verb == 0 {
			if len(b) == 0 || b[0] != s.text {
				return stamp{}, errNoDate
			}
			b = b[1:]
			continue
		}
		if s.verb == 'b' {
			if m = monthOf(b); m == 0 {
				return stamp{}, errNoDate
			}
			b = b[3:]
			continue
		}
		width := 2
		if s.verb == 'Y' {
			width = 4
		}
		n, rest := number(b[:min(width, len(b))])
		used := min(width, len(b)) - len(rest)
		if used == 0 || (s.verb == 'Y' || s.verb == 'y') && used != width {
			return stamp{}, errNoDate
		}
		b = b[used:]
		switch s.verb {
		case 'Y':
			y = n
		case 'y':
			y = centuryOf(n)
		case 'm':
			m = n
		case 'd':
			d = n
		case 'H':
			if n > 23 {
				return stamp{}, errNoDate
			}
			clock += n * 3600
		case 'M':
			if n > 59 {
				return stamp{}, errNoDate
			}
			clock += n * 60
		default:
			if n > 60 {
				return stamp{}, errNoDate
			}
			clock += n
		}
	}
	if len(b) > 0 {
		return stamp{}, errNoDate
	}
	n, err := makeDay(y, m, d)
	return stamp{day: n, clock: int64(clock) * 1e6}, err
}

// monthOf reads the English abbreviation of a month, in any case; 0: none.
func monthOf(b []byte) int {
	const names = "janfebmaraprmayjunjulaugsepoctnovdec"
	if len(b) < 3 {
		return 0
	}
	i := strings.Index(names, strings.ToLower(string(b[:3])))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return i/3 + 1
}
