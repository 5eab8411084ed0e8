package curator

import (
	"bytes"
	"errors"
	"strings"

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

// parseDate reads year, month and day in this order (2020-01-31, 2020/1/31,
// 2020.01.31, 20200131, 2020. 1. 31., 2020년 1월 31일), with or without a time of day after them, which is
// left out. errAmbiguous: the year does not stand first.
func parseDate(b []byte) (day, error) {
	b = trimSpace(b)
	if len(b) == 10 && b[4] == '-' && b[7] == '-' {
		y, ok1 := digits4(b[0:4])
		m, ok2 := digits2(b[5:7])
		d, ok3 := digits2(b[8:10])
		if ok1 && ok2 && ok3 {
			return makeDay(y, m, d)
		}
	}
	first, rest := number(b)
	switch n := len(b) - len(rest); {
	case n == 8:
		if !timeOfDay(rest) {
			return 0, errNoDate
		}
		return makeDay(first/10000, first/100%100, first%100)
	case n == 4 && bytes.HasPrefix(rest, []byte("년")):
		return koreanDate(first, rest[len("년"):])
	case n == 0 || len(rest) == 0 || rest[0] != '-' && rest[0] != '/' && rest[0] != '.':
		return 0, errNoDate
	case n != 4 && n > 2:
		return 0, errNoDate
	default:
		sep := rest[0]
		rest = skipSpaces(rest[1:])
		m, tail := number(rest)
		if k := len(rest) - len(tail); k < 1 || k > 2 || len(tail) == 0 || tail[0] != sep {
			return 0, errNoDate
		}
		tail = skipSpaces(tail[1:])
		d, end := number(tail)
		k := len(tail) - len(end)
		if sep == '.' && len(end) > 0 && end[0] == '.' {
			end = end[1:]
		}
		if n <= 2 {
			if k == 2 || k == 4 {
				return 0, errAmbiguous
			}
			return 0, errNoDate
		}
		if k < 1 || k > 2 || !timeOfDay(end) {
			return 0, errNoDate
		}
		return makeDay(first, m, d)
	}
}

// koreanDate reads what follows the year in 2020년 1월 31일.
func koreanDate(y int, b []byte) (day, error) {
	var part [2]int
	for i, unit := range [2]string{"월", "일"} {
		b = skipSpaces(b)
		n, rest := number(b)
		if k := len(b) - len(rest); k < 1 || k > 2 || !bytes.HasPrefix(rest, []byte(unit)) {
			return 0, errNoDate
		}
		part[i], b = n, rest[len(unit):]
	}
	if !timeOfDay(b) {
		return 0, errNoDate
	}
	return makeDay(y, part[0], part[1])
}

func skipSpaces(b []byte) []byte { return bytes.TrimLeft(b, " ") }

// timeOfDay accepts nothing, or T or a space, and 15:04, 15:04:05 or
// 15:04:05.999 with or without a zone (Z, +09:00, -0500, UTC).
func timeOfDay(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != 'T' && b[0] != 't' && b[0] != ' ' {
		return false
	}
	b = b[1:]
	for part, limit := range [3]int{24, 60, 61} {
		if part > 0 {
			if len(b) == 0 || b[0] != ':' {
				if part == 2 {
					break
				}
				return false
			}
			b = b[1:]
		}
		if len(b) < 2 {
			return false
		}
		n, ok := digits2(b[:2])
		if !ok || n >= limit {
			return false
		}
		b = b[2:]
		if part == 2 && len(b) > 1 && b[0] == '.' {
			_, rest := number(b[1:])
			if len(rest) == len(b)-1 {
				return false
			}
			b = rest
		}
	}
	if len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	switch zone := string(b); {
	case zone == "" || zone == "Z" || zone == "z" || zone == "UTC" || zone == "GMT":
		return true
	case zone[0] != '+' && zone[0] != '-':
		return false
	default:
		digits := strings.Replace(zone[1:], ":", "", 1)
		_, rest := number([]byte(digits))
		return len(rest) == 0 && (len(digits) == 2 || len(digits) == 4)
	}
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
func (l *dateLayout) parse(b []byte) (day, error) {
	b = trimSpace(b)
	var y, m, d int
	for _, s := range l.steps {
		if s.verb == 0 {
			if len(b) == 0 || b[0] != s.text {
				return 0, errNoDate
			}
			b = b[1:]
			continue
		}
		if s.verb == 'b' {
			if m = monthOf(b); m == 0 {
				return 0, errNoDate
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
			return 0, errNoDate
		}
		b = b[used:]
		switch s.verb {
		case 'Y':
			y = n
		case 'y':
			y = 1900 + n
			if n < 69 {
				y = 2000 + n
			}
		case 'm':
			m = n
		case 'd':
			d = n
		case 'H':
			if n > 23 {
				return 0, errNoDate
			}
		default:
			if n > 60 || s.verb == 'M' && n > 59 {
				return 0, errNoDate
			}
		}
	}
	if len(b) > 0 {
		return 0, errNoDate
	}
	return makeDay(y, m, d)
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
