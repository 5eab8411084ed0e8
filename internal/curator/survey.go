package curator

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"quant"
)

// survey is what the first block of a text file, 4 MiB, shows of the whole: which
// columns are fields, and how dates and numbers are written. The rows behind it
// are read as it says, and what does not fit is rejected or refused.
type survey struct {
	path    string
	delim   byte
	data    []byte // whole records
	line    int64  // of the first
	fields  [][]byte
	scratch []byte
}

// each gives every record with as many fields as count; the fields are valid until
// the next. It ends early when yield returns false.
func (s *survey) each(count int, yield func(line int64, fields [][]byte) bool) {
	line := s.line
	for p := 0; p < len(s.data); {
		end, kind := nextRecord(s.data, p, s.delim, true)
		rec := s.data[p:end]
		at := line
		p, line = end, line+int64(bytes.Count(rec, []byte{'\n'}))
		if end == p && len(rec) == 0 {
			return
		}
		if kind == recordBad || kind == recordLong || isBlank(rec, s.delim) {
			continue
		}
		s.fields, s.scratch = splitRecord(rec, kind, s.delim, s.fields[:0], s.scratch[:0])
		if len(s.fields) == count && !yield(at, s.fields) {
			return
		}
	}
}

// looks reports whether the values of a column are those of its field: dates, or
// texts that can be symbols and of which one is no number.
func (s *survey) looks(c columns, m maybeColumn) bool {
	any, all := false, true
	if m.field == date {
		var e dateEvidence
		s.each(c.count, func(_ int64, fields [][]byte) bool {
			e.add(fields[m.column])
			return true
		})
		if e.numbers > 0 && e.other == 0 {
			return epochUnitOf(e.greatest) != 0
		}
	}
	s.each(c.count, func(_ int64, fields [][]byte) bool {
		text := trimSpace(fields[m.column])
		switch {
		case isMissing(text):
		case m.field == date:
			all, any = isDay(text), true
		default:
			all, any = quant.ValidateSymbol(string(text)) == nil, true
		}
		return all
	})
	return any && all
}

// dateRule finds how the dates of a column are written, where the plan does not say.
func (s *survey) dateRule(c columns, p *plan) *dateRule {
	r := &dateRule{layout: p.layout, zone: p.zone, fixed: p.fixedDay, is: p.onlyDay}
	at := c.at[date]
	if r.fixed || r.layout != nil || at < 0 {
		return r
	}
	var e dateEvidence
	s.each(c.count, func(_ int64, fields [][]byte) bool {
		e.add(fields[at])
		return true
	})
	e.settle(r)
	return r
}

// dateEvidence is what the texts of a column say of how its dates are written.
type dateEvidence struct {
	dayFirst, monthFirst int64 // texts that are dates in this order alone
	numbers              int64 // whole numbers of more than eight digits
	other                int64 // any other texts
	greatest             int64 // of the numbers
	compact              int64 // of the numbers that are a day and a time run together
}

func (e *dateEvidence) add(text []byte) {
	text = trimSpace(text)
	if len(text) == 10 && text[4] == '-' || isMissing(text) {
		e.other++
		return
	}
	if n, ok := parseEpochNumber(text); ok && len(text) != 8 {
		e.numbers++
		e.greatest = max(e.greatest, n, -n)
		if _, err := parseDate(text, orderUnknown); err == nil {
			e.compact++
		}
		return
	}
	if _, err := parseDate(text, orderUnknown); !errors.Is(err, errAmbiguous) {
		e.other++
		return
	}
	_, errDay := parseDate(text, dayFirst)
	_, errMonth := parseDate(text, monthFirst)
	switch {
	// 31/12/24 may begin with the year.
	case errDay == nil && errMonth != nil && !shortYear(text):
		e.dayFirst++
	case errMonth == nil && errDay != nil:
		e.monthFirst++
	}
}

// shortYear reports whether the last number of a date has two digits.
func shortYear(text []byte) bool {
	date, _, _ := bytes.Cut(text, []byte{' '})
	at := bytes.LastIndexAny(date, "-/.")
	return len(date)-at-1 == 2
}

// settle puts what the texts agree on into a rule.
func (e *dateEvidence) settle(r *dateRule) {
	switch {
	case e.dayFirst > 0 && e.monthFirst == 0:
		r.order = dayFirst
	case e.monthFirst > 0 && e.dayFirst == 0:
		r.order = monthFirst
	}
	if e.numbers > 0 && e.compact < e.numbers {
		r.unit = epochUnitOf(e.greatest)
	}
}

// mark finds what begins the fraction of the file's numbers, where the plan does
// not say: a comma if one number shows that it does and none that a point does.
// Its error is that of a file in which nothing tells.
func (s *survey) mark(c columns, numbers []numberColumn, p *plan) (decimalMark, error) {
	if p.mark != unknownMark {
		return p.mark, nil
	}
	type place struct {
		line  int64
		field field
		text  string
	}
	var comma, point, either, eitherPrice, weak, weakPrice *place
	commas, eithers := 0, 0
	s.each(c.count, func(line int64, fields [][]byte) bool {
		for _, n := range numbers {
			f, i := n.field, n.column
			if bytes.IndexByte(fields[i], ',') < 0 && (point != nil || bytes.IndexByte(fields[i], '.') < 0) {
				continue
			}
			m := commaIn(fields[i])
			note := func(is bool, at **place) {
				if is && *at == nil {
					*at = &place{line, f, string(fields[i])}
				}
			}
			if m.comma {
				commas++
			}
			if m.either {
				eithers++
			}
			note(m.comma, &comma)
			note(m.point, &point)
			note(m.either, &either)
			note(m.either && f != volume, &eitherPrice)
			note(m.thousands, &weak)
			note(m.thousands && f != volume, &weakPrice)
		}
		return comma == nil || point == nil
	})
	switch {
	case comma != nil && point == nil && eithers > commas:
		// Two decimals are usual: a few among many that can be thousands are slips.
		return 0, doubtfulComma(s.path, comma.line, comma.field, []byte(comma.text))
	case comma != nil && point != nil:
		return 0, quant.Errorf(quant.Invalid, "%s: the fraction begins with a comma in %q (line %d) and with a point in %q (line %d)", s.path, clip(comma.text), comma.line, clip(point.text), point.line).
			WithHint("say which is meant, --decimal comma or --decimal point; what is written otherwise is rejected")
	case comma != nil:
		return commaMark, nil
	case point != nil, weakPrice != nil && eitherPrice == nil, weak != nil && either == nil:
		return pointMark, nil
	case either != nil:
		return 0, doubtfulComma(s.path, either.line, either.field, []byte(either.text))
	}
	return unknownMark, nil
}

// timed looks at the times of day of a file. Its error is that of intraday data,
// and of instants of which nobody said the zone.
func (s *survey) timed(c columns, r *dateRule) (notices []string, err error) {
	if r.fixed {
		return nil, nil
	}
	type seen struct {
		clock int64
		line  int64
	}
	var first map[string]seen
	var firstLine int64
	var firstText, firstClock []byte
	var instants, midnights, shifted int64
	unzoned := *r
	unzoned.zone = nil
	look := func(line int64, fields [][]byte) bool {
		text := fields[c.at[date]]
		var clock []byte
		if c.clock >= 0 {
			clock = fields[c.clock]
		}
		stamp, e := r.stamp(text)
		if e != nil {
			return true
		}
		raw, _ := unzoned.stamp(text)
		if raw.instant {
			instants++
			if raw.clock == 0 && raw.offset == 0 {
				midnights++
			}
			if raw.day != stamp.day {
				shifted++
			}
		}
		at := raw.clock
		if clock != nil && at == 0 {
			at = clockOf(clock).clock
		}
		if at != 0 && firstLine == 0 {
			firstLine, firstText, firstClock = line, bytes.Clone(text), bytes.Clone(clock)
		}
		if first == nil {
			return firstLine == 0
		}
		key := fmt.Sprint(stamp.day)
		if i := c.at[symbol]; i >= 0 {
			key = string(trimSpace(fields[i])) + " " + key
		}
		if other, twice := first[key]; twice && other.clock != at {
			err = quant.Errorf(quant.Invalid, "%s: is intraday data: lines %d and %d are two times of one day, %q; only daily bars are stored", s.path, other.line, line, clip(string(trimSpace(text)))).
				WithHint("make daily bars of it first: the first open, the highest high, the lowest low, the last close, the sum of volume")
			return false
		}
		first[key] = seen{at, line}
		return true
	}
	s.each(c.count, look)
	if firstLine == 0 {
		if r.zone != nil && instants > 0 && midnights == instants && shifted == instants {
			notices = append(notices, fmt.Sprintf("%s: every instant is midnight UTC, which is another day in %s; leave --timezone out if these are dates", s.path, r.zone))
		}
		return notices, nil
	}
	first, instants, midnights, shifted = map[string]seen{}, 0, 0, 0
	s.each(c.count, look)
	if err == nil && r.zone == nil {
		err = timedDate(s.path, firstLine, firstText, firstClock, r)
	}
	return nil, err
}

// oneInstrument is the error of a file without a symbol column in which another
// column of texts has several values within one day: its rows are of several
// instruments.
func (s *survey) oneInstrument(c columns, r *dateRule) error {
	type value struct {
		text string
		line int64
	}
	firsts := make([]map[day]value, c.count)
	var err error
	s.each(c.count, func(line int64, fields [][]byte) bool {
		var text []byte
		if i := c.at[date]; i >= 0 {
			text = fields[i]
		}
		d := r.is
		if !r.fixed {
			at, e := r.stamp(text)
			if e != nil {
				return true
			}
			d = at.day
		}
		for i, field := range fields {
			if i == c.clock || slices.Contains(c.at[:], i) {
				continue
			}
			field = trimSpace(field)
			if isMissing(field) || !isText(field) {
				continue
			}
			if firsts[i] == nil {
				firsts[i] = map[day]value{}
			}
			other, known := firsts[i][d]
			if !known {
				firsts[i][d] = value{string(field), line}
				continue
			}
			if other.text != string(field) {
				name := fmt.Sprint(i + 1)
				if c.names != nil {
					name = c.names[i]
				}
				err = severalInstruments(s.path, name, fmt.Sprintf("%q (line %d) and %q (line %d)", clip(other.text), other.line, clip(string(field)), line), other.text, string(field))
				return false
			}
		}
		return true
	})
	return err
}

// isDay tells a date, in whatever order.
func isDay(b []byte) bool {
	_, asDay := parseDate(b, dayFirst)
	_, asMonth := parseDate(b, monthFirst)
	return asDay == nil || asMonth == nil
}

// severalInstruments is the error of a file without a symbol, of which one column
// says one thing and another for one day; said has both.
func severalInstruments(path, column, said, one, other string) error {
	hint := "say which column is the symbol: --map symbol=" + column
	if quant.ValidateSymbol(one) != nil || quant.ValidateSymbol(other) != nil {
		hint = "say which column is the symbol: --map symbol=COLUMN; a symbol has no spaces, so " + column + " is none"
	}
	return quant.Errorf(quant.Invalid, "%s: no column is the symbol, and the column %s says %s for one day: several instruments", path, column, said).
		WithHint("%s", hint)
}

// isText tells a text from a number, a date and a time.
func isText(b []byte) bool {
	if _, k := parseNumber(b); k != unreadable {
		return false
	}
	if _, k := parseMarked(b, commaMark); k == sound {
		return false
	}
	if _, k := parseVolume(b, pointMark); k == sound {
		return false
	}
	if isDay(b) {
		return false
	}
	return !bytes.ContainsAny(b, "+-") || strings.IndexFunc(string(b), func(r rune) bool { return r > '9' }) >= 0
}

// reading is how the rows of one text file are understood.
type reading struct {
	cols    columns
	dates   *dateRule
	mark    decimalMark
	notices []string
}

// numberColumn is a column of numbers, and which they are.
type numberColumn struct {
	field  field
	column int
}

// numberColumns are those of one row's bars.
func numberColumns(c columns, panels []panel) (list []numberColumn) {
	add := func(c columns) {
		for f := open; f < fieldCount; f++ {
			if c.at[f] >= 0 {
				list = append(list, numberColumn{f, c.at[f]})
			}
		}
	}
	if panels == nil {
		add(c)
	}
	for _, one := range panels {
		add(one.cols)
	}
	return list
}

// read decides how a file is read of which the header is known.
func (s *survey) read(shape headerShape, p *plan) (reading, error) {
	c, h := shape.cols, p.headerRule()
	if shape.panels != nil {
		out := reading{cols: c, dates: s.dateRule(c, p)}
		out.noticeDates(s.path)
		var err error
		if out.mark, err = s.mark(c, numberColumns(c, shape.panels), p); err != nil {
			return out, err
		}
		out.noticeMark(s.path, p)
		c.at[symbol] = -1 // of a panel it stands in the header
		more, err := s.timed(c, out.dates)
		out.notices = append(out.notices, more...)
		return out, err
	}
	c.settle(func(m maybeColumn) bool { return (m.field != symbol || p.Symbol == "") && s.looks(c, m) })
	out := reading{cols: c}
	if h.noDate && c.at[date] >= 0 {
		return out, quant.Errorf(quant.Invalid, "%s: --date says the day of every row, and the file has a column for it", s.path).WithHint("leave --date out")
	}
	if err := p.columnsComplete(s.path, &c); err != nil {
		return out, err
	}
	out.cols = c
	out.dates = s.dateRule(c, p)
	var err error
	if out.mark, err = s.mark(c, numberColumns(c, nil), p); err != nil {
		return out, err
	}
	more, err := s.timed(c, out.dates)
	if err != nil {
		return out, err
	}
	if c.at[symbol] < 0 {
		if err := s.oneInstrument(c, out.dates); err != nil {
			return out, err
		}
	}
	out.noticeDates(s.path)
	out.noticeMark(s.path, p)
	if c.at[symbol] >= 0 && c.names != nil && p.mapsNot(symbol) {
		w, _ := wordOf(c.names[c.at[symbol]])
		if w.rank == rankWeak {
			out.notices = append(out.notices, fmt.Sprintf("%s: the column %s is taken for the symbol; --symbol or --map symbol=COLUMN says another", s.path, c.names[c.at[symbol]]))
		}
		if w.rank == rankKey {
			for _, name := range c.ignored {
				if other, ok := wordOf(name); ok && other.field == symbol && other.rank <= rankNear {
					out.notices = append(out.notices, fmt.Sprintf("%s: the symbol is %s, which never changes hands, and not %s; --map symbol=%s takes that", s.path, c.names[c.at[symbol]], name, name))
				}
			}
		}
	}
	out.notices = append(out.notices, more...)
	return out, nil
}

// noticeDates tells of dates that are numbers.
func (r *reading) noticeDates(path string) {
	if r.dates.unit == 0 {
		return
	}
	where := "days of UTC"
	if r.dates.zone != nil {
		where = "days of " + r.dates.zone.String()
	}
	r.notices = append(r.notices, fmt.Sprintf("%s: the dates are %s since 1970, read as %s", path, r.dates.unit, where))
}

// noticeMark tells of a comma that was found to begin the fraction.
func (r *reading) noticeMark(path string, p *plan) {
	if r.mark == commaMark && p.mark == unknownMark {
		r.notices = append(r.notices, path+": the comma begins the fraction of its numbers; --decimal point reads it otherwise")
	}
}

// mapsNot reports whether the user did not say which column a field is.
func (p *plan) mapsNot(f field) bool {
	return !slices.ContainsFunc(p.named, func(m mapping) bool { return m.field == f })
}

func (p *plan) headerRule() headerRule {
	return headerRule{named: p.named, noHeader: p.NoHeader, noDate: p.fixedDay, volumeOptional: p.zeroVolume}
}

// loadZone finds a zone by its name. quant.Invalid: there is none.
func loadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, quant.Errorf(quant.Invalid, "timezone %q is not known", clip(name)).
			WithHint("use a name of the IANA list, the exchange's: America/New_York, Asia/Seoul, Europe/London, UTC")
	}
	return zone, nil
}
