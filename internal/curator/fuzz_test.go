package curator

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// records splits a text, and counts the records with bad quotes.
func records(tb testing.TB, data []byte, delim byte) (good [][]string, bad int) {
	tb.Helper()
	s := &splitter{path: "x", r: bytes.NewReader(data), delim: delim, line: 1, check: func([]byte, bool) int { return -1 }}
	for {
		b, err := s.next()
		if errors.Is(err, io.EOF) {
			return good, bad
		}
		if err != nil {
			tb.Fatal(err)
		}
		for p := 0; p < len(b.data); {
			end, kind := nextRecord(b.data, p, delim, true)
			if end <= p {
				tb.Fatalf("no progress at %d of %q", p, b.data)
			}
			rec := b.data[p:end]
			p = end
			switch {
			case kind == recordBad:
				bad++
				continue
			case strings.Trim(string(rec), "\r\n") == "" && len(rec) <= 2:
				continue
			}
			fields, _ := splitRecord(rec, kind, delim, nil, nil)
			texts := make([]string, len(fields))
			for i, f := range fields {
				texts[i] = string(f)
			}
			good = append(good, texts)
		}
	}
}

// Where encoding/csv accepts a text, so does this reader, with the same
// fields; and what it does not accept costs it at least one line.
func FuzzReaderAgreesWithEncodingCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\"a\",\"b\"\"c\"\r\n\"x\ny\",", "a,\"b\nc,d\n", "a\"b,c\n", "\"\"\n", "\"a\"b\n", ",\n\n,", "\"a\r\nb\",c\r\n", "\"a\"\r", "a\rb,c\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, bad := records(t, data, ',')
		r := csv.NewReader(bytes.NewReader(data))
		r.FieldsPerRecord = -1
		want, err := r.ReadAll()
		if err != nil {
			return
		}
		// A line of blanks is no row here, and a record there.
		blank := func(record []string) bool { return strings.Trim(strings.Join(record, ""), " \t\r\n") == "" }
		got, want = slices.DeleteFunc(got, blank), slices.DeleteFunc(want, blank)
		// encoding/csv turns \r\n within quotes into \n.
		for _, rec := range got {
			for i := range rec {
				rec[i] = strings.ReplaceAll(rec[i], "\r\n", "\n")
			}
		}
		if bad > 0 || len(got) != len(want) {
			t.Fatalf("%q: %d good and %d bad records, encoding/csv has %d\n%q\n%q", data, len(got), bad, len(want), got, want)
		}
		for i := range want {
			if len(got[i]) != len(want[i]) {
				t.Fatalf("%q: record %d is %q, want %q", data, i, got[i], want[i])
			}
			for j := range want[i] {
				if got[i][j] != want[i][j] {
					t.Fatalf("%q: record %d is %q, want %q", data, i, got[i], want[i])
				}
			}
		}
	})
}

// The file reader neither panics nor loses a line: whatever comes, each line
// that is not blank is part of a row.
func FuzzReadingAFile(f *testing.F) {
	for _, s := range []string{"date,open,high,low,close,volume\n2020-01-02,1,1,1,1,1\n", "\ufeffdate;open;high;low;close;volume\n\"2020-01-02\n", "\x1f\x8b\x08", "date\topen\thigh\tlow\tclose\tvolume\n\x00\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := readAll(t, data)
		if err != nil {
			return
		}
		last := int64(0)
		for _, r := range rows {
			if r.line <= last {
				t.Fatalf("line %d after %d", r.line, last)
			}
			last = r.line
			if r.fault == sound && len(r.text) > 0 || r.fault != sound && len(r.text) == 0 {
				t.Fatalf("line %d: fault %v with text %q", r.line, r.fault, r.text)
			}
			for _, x := range r.number {
				if r.fault == sound && math.IsInf(x, 0) {
					t.Fatalf("line %d: infinite number", r.line)
				}
			}
		}
		if !bytes.ContainsAny(data, "\"\r\x1f") && utf8.Valid(data) {
			if want := bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n")); last > int64(want)+1 {
				t.Fatalf("line %d of %d", last, want+1)
			}
		}
	})
}

func FuzzHeaderMapper(f *testing.F) {
	for _, s := range []string{"Date,Open,High,Low,Close,Volume,Adj Close", "일자,시가,고가,저가,종가,거래량,종목(코드)", "date,DATE", ",,,", "ts,open,high,low,last,vol,Adj_Close,adjclose", "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,price,<VOL>", "time,Time,price,price,open,high,low,close,vol."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		names := strings.Split(s, ",")
		h := headerRule{}
		c, err := h.mapHeader("f", names)
		if err != nil {
			return
		}
		c.settle(func(maybeColumn) bool { return true })
		if h.complete("f", c) != nil {
			return
		}
		known := 0
		for k, i := range c.at {
			if i < 0 {
				continue
			}
			known++
			if got, ok := wordOf(names[i]); (!ok || got.field != field(k)) && (i > 0 || field(k) != date) {
				t.Fatalf("%q stands for %s", names[i], field(k))
			}
		}
		if known+len(c.ignored) != len(names) {
			t.Fatalf("%d columns, %d known and %d ignored", len(names), known, len(c.ignored))
		}
	})
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"1", "-1.5", "1,234,567.89", "1e5", ".5", "5.", "0.1", "9007199254740993", "123456789012345678901234567890", "1e-400", "1e400", "NaN", "-inf", "0x1p3", "1_000", "+", "1,23", "12,345", ",123", "1,234e2", "N/A", "-", " 7\t", "0.000000000000000000000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, k := parseNumber([]byte(s))
		if (k == sound) == math.IsNaN(got) || math.IsInf(got, 0) {
			t.Fatalf("%q: %v with %d", s, got, k)
		}
		plain := strings.NewReplacer(",", "", " ", "", "'", "", "\u2019", "", "\u00a0", "", "\u202f", "").Replace(string(bare(trimSpace([]byte(s)))))
		want, err := strconv.ParseFloat(plain, 64)
		if strings.ContainsAny(plain, "xX_pPiInN") {
			err = strconv.ErrSyntax // more than a decimal number
		}
		switch {
		case k == sound && (err != nil || math.Float64bits(got) != math.Float64bits(want)):
			t.Fatalf("%q: %v, strconv: %v, %v", s, got, want, err)
		case k != sound && err == nil && !strings.ContainsAny(s, ", '\u2019\u00a0\u202f%"):
			t.Fatalf("%q: fault %d, strconv: %v", s, k, want)
		}
	})
}

func TestAVolumeMayBeGivenInThousandsMillionsOrBillions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"199.59M": 199590000, "3.4K": 3400, "1b": 1e9, "1.2m": 1200000, " 0.001 k ": 1, "1,234.5K": 1234500, "9007199.254740993B": 9007199254740993, "-1k": -1000, "0K": 0} {
		if got, k := parseVolume([]byte(text), pointMark); k != sound || got != want {
			t.Errorf("%q: %v, fault %d, want %v", text, got, k, want)
		}
	}
	for _, text := range []string{"", "M", "1MM", "1e3K", "1.2T", "1,2M", "--1K", "x", "N/AM", "infM", "1%"} {
		if got, k := parseVolume([]byte(text), pointMark); k == sound {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func FuzzDate(f *testing.F) {
	for _, s := range []string{"2020-01-31", "2020/1/3", "20200131", "2020.01.31", "2020-01-31T00:00:00Z", "2020-02-30", "03/04/2020", "3-4-20", "2020-01-31 09:30", "0001-01-01", "9999-12-31", "2020-01-31T24:00", "2020-1/3", "2020. 1. 31.", "2020년 01월 31일", "2020- 01- 31"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := parseDate([]byte(s), orderUnknown)
		d := at.day
		if err != nil {
			return
		}
		// Whatever was accepted, its digits in order are the date's.
		date := time.Unix(int64(d)*86400, 0).UTC()
		text := strings.NewReplacer(" ", "", "년", "-", "월", "-").Replace(string(trimSpace([]byte(s))))
		for _, form := range []string{"2006-1-2", "2006/1/2", "2006.1.2", "20060102", "2006-01-02", "2006/01/02", "2006.01.02", "2006-1-02", "2006-01-2", "2006/1/02", "2006/01/2", "2006.1.02", "2006.01.2"} {
			if strings.HasPrefix(text, date.Format(form)) {
				return
			}
		}
		t.Fatalf("%q became %s", s, date.Format(time.DateOnly))
	})
}

func TestEveryDayOfTheCalendarIsRead(t *testing.T) {
	t.Parallel()
	for d := time.Date(1899, 12, 31, 0, 0, 0, 0, time.UTC); d.Year() < 2105; d = d.AddDate(0, 0, 1) {
		got, err := parseDate([]byte(d.Format(time.DateOnly)), orderUnknown)
		if want := day(math.Floor(float64(d.Unix()) / 86400)); err != nil || got.day != want {
			t.Fatalf("%s: %d, %v, want %d", d.Format(time.DateOnly), got.day, err, want)
		}
	}
}

func TestDatesAreReadByOneConventionOnly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"2020-01-31": nil, "2020/1/31": nil, "20200131": nil, "2020.01.31": nil, " 2020-01-31 ": nil, "2020-01-31T00:00:00Z": nil, "2020-01-31 15:30:00.123": nil,
		"2020. 1. 31": nil, "2020. 1. 31.": nil, "2020.1.31": nil, "2020-1-31": nil, "2020- 01- 31": nil, "2020년 01월 31일": nil, "2020년1월31일 15:30": nil, "2020. 1. 31. 09:30": nil,
		"2020년 1월": errNoDate, "20년 1월 31일": errNoDate, "2020년 1-31": errNoDate, "2020년 1월 32일": errNoDate, "2020-1-31.": errNoDate, "1. 31. 2020": errAmbiguous,
		"2020-01-31 15:30:00 UTC": nil, "2020-01-31T15:30+09:00": nil, "20200131 1530": nil, "20200131153000": nil, "2020-01-31 3:30:00 PM": nil, "2020-01-31Tx": errNoDate,
		"03/04/2020": errAmbiguous, "31/01/2020": errAmbiguous, "3-4-2020": errAmbiguous, "3.4.20": errAmbiguous, "01/31/2020 10:00": errAmbiguous,
		"2020-02-30": errNoDate, "2020-01": errNoDate, "2020-01/31": errNoDate, "31 Jan 2020": errNoDate, "": errNoDate, "202001311": errNoDate, "1580428800": errNoDate, "2020-001-31": errNoDate, "3/4": errNoDate, "3/4/5": errNoDate,
	} {
		if got, err := parseDate([]byte(text), orderUnknown); !errors.Is(err, want) || err == nil && got.day != 18292 {
			t.Errorf("%q: %d, %v, want %v", text, got.day, err, want)
		}
	}
	for format, text := range map[string]string{
		"%d/%m/%Y": "31/01/2020", "%m/%d/%y": "1/31/20", "%d-%b-%Y": "31-JAN-2020", "%Y%m%d": "20200131", "%b %d, %Y": "Jan 31, 2020", "%Y-%m-%d %H:%M:%S": "2020-01-31 09:30:00", "%%%y%m%d": "%200131",
	} {
		l, err := compileLayout(format)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := l.parse([]byte(text)); err != nil || got.day != 18292 {
			t.Errorf("%s %q: %d, %v", format, text, got.day, err)
		}
		if _, err := l.parse([]byte(text + "x")); err == nil {
			t.Errorf("%s: %qx was accepted", format, text)
		}
	}
	for _, format := range []string{"", "%d/%m", "%Y-%m-%d-%d", "%Y%y%m%d", "%j %Y", "%Y-%m-%d %", "%m %b %d %Y"} {
		if _, err := compileLayout(format); err == nil {
			t.Errorf("format %q was accepted", format)
		}
	}
}
