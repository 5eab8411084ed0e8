package calendar

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/test/soak"
)

func open(t testing.TB, name string) *Calendar {
	t.Helper()
	c, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func day(t testing.TB, s string) quant.Date {
	t.Helper()
	d, err := quant.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func days(t testing.TB, list ...string) []quant.Date {
	t.Helper()
	out := []quant.Date{}
	for _, s := range list {
		out = append(out, day(t, s))
	}
	return out
}

// difference is a weekday on which the two references differ, and what this
// calendar makes of it: testdata/differences.csv, which docs/calendars.md shows.
type difference struct {
	calendar, day, exchangeCalendars, holidays, ours, reason string
}

func differences(t testing.TB) []difference {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "differences.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var list []difference
	for _, r := range rows[1:] {
		list = append(list, difference{r[0], r[1], r[2], r[3], r[4], r[5]})
	}
	return list
}

// closedDays are the days of the lines "closed DAY" of a reference.
func closedDays(t testing.TB, file string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	closed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "closed" {
			closed[f[1]] = true
		}
	}
	return closed
}

// The references are two Python packages, frozen by testdata/facts.py, which
// names their versions: exchange_calendars (*.golden) and holidays (*.holidays).
func TestEveryWeekdayIsAsBothReferencesHaveItExceptTheListedDifferences(t *testing.T) {
	t.Parallel()
	word := map[bool]string{true: "closed", false: "session"}
	listed := map[[2]string]difference{}
	for _, d := range differences(t) {
		listed[[2]string{d.calendar, d.day}] = d
	}
	seen := 0
	for _, name := range []string{"XNYS", "XKRX"} {
		c := open(t, name)
		first, second := closedDays(t, name+".golden"), closedDays(t, name+".holidays")
		for at := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() <= 2050; at = at.AddDate(0, 0, 1) {
			if at.Weekday() == time.Saturday || at.Weekday() == time.Sunday {
				continue
			}
			s := at.Format(time.DateOnly)
			_, session := c.Index(day(t, s))
			want := word[first[s]]
			if first[s] != second[s] {
				d, is := listed[[2]string{name, s}]
				seen++
				if !is || d.exchangeCalendars != word[first[s]] || d.holidays != word[second[s]] || d.reason == "" {
					t.Errorf("%s %s: exchange_calendars has it %s, holidays %s, listed is %+v", name, s, word[first[s]], word[second[s]], d)
				}
				want = d.ours
			}
			if got := word[!session]; got != want {
				t.Errorf("%s %s: %s, want %s", name, s, got, want)
			}
		}
	}
	if seen != len(listed) {
		t.Errorf("%d differences are listed, there are %d", len(listed), seen)
	}
}

func TestTheDocumentShowsEveryDifference(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "calendars.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences(t) {
		if line := fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", d.calendar, d.day, d.exchangeCalendars, d.holidays, d.ours, d.reason); !strings.Contains(string(text), line) {
			t.Errorf("docs/calendars.md lacks %s", line)
		}
	}
}

// With the listed differences taken back, the sessions, Saturdays included, are
// those of exchange_calendars.
func TestTheSessionsAreThoseOfExchangeCalendarsWithTheDifferences(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"XNYS", "XKRX"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		c := open(t, name)
		sessions := c.Sessions(c.First(), c.Last())
		for _, d := range differences(t) {
			if d.calendar == name && d.ours != d.exchangeCalendars {
				at := day(t, d.day)
				if i, held := slices.BinarySearch(sessions, at); held {
					sessions = slices.Delete(sessions, i, i+1)
				} else {
					sessions = slices.Insert(sessions, i, at)
				}
			}
		}
		perYear := map[string]int{}
		sum := sha256.New()
		var saturdays, wantSaturdays []string
		for _, d := range sessions {
			perYear[d.String()[:4]]++
			fmt.Fprintln(sum, d)
			if d.Time().Weekday() == time.Saturday {
				saturdays = append(saturdays, d.String())
			}
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			switch f[0] {
			case "sha256":
				if got := fmt.Sprintf("%x", sum.Sum(nil)); got != f[1] {
					t.Errorf("%s: sha256 of the sessions is %s, want %s", name, got, f[1])
				}
			case "sessions":
				if want, _ := strconv.Atoi(f[2]); perYear[f[1]] != want {
					t.Errorf("%s: %s has %d sessions, want %d", name, f[1], perYear[f[1]], want)
				}
			case "saturday":
				wantSaturdays = append(wantSaturdays, f[1])
			}
		}
		if !slices.Equal(saturdays, wantSaturdays) {
			t.Errorf("%s: %d sessions on a Saturday, want %d", name, len(saturdays), len(wantSaturdays))
		}
	}
}

func TestDaysThatHistoryKnows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		calendar, day, what string
		session             bool
	}{
		{"XNYS", "2001-09-11", "the attacks", false},
		{"XNYS", "2001-09-17", "open again", true},
		{"XNYS", "2012-10-29", "hurricane Sandy", false},
		{"XNYS", "2018-12-05", "mourning for a president", false},
		{"XNYS", "2022-06-20", "Juneteenth, observed", false},
		{"XNYS", "2020-06-19", "before Juneteenth was a holiday", true},
		{"XNYS", "2024-03-29", "Good Friday", false},
		{"XKRX", "2024-02-09", "Seollal", false},
		{"XKRX", "2024-12-31", "the last weekday of the year", false},
		{"XKRX", "1998-12-05", "the last Saturday session", true},
		{"XKRX", "1998-12-12", "a Saturday after it", false},
		{"XKRX", "1998-06-04", "local elections", false},
		{"XKRX", "2000-01-03", "the day before the first session of 2000", false},
		{"XKRX", "2000-01-04", "the first session of 2000", true},
		{"XKRX", "2000-12-26", "the last session of 2000", true},
		{"XKRX", "2000-12-27", "after it", false},
		{"XKRX", "2025-07-17", "Constitution Day, no holiday until 2026", true},
		{"XKRX", "2026-06-03", "local elections", false},
		{"XKRX", "2026-07-17", "Constitution Day", false},
		{"XKRX", "2027-05-03", "Labour Day was a Saturday", false},
		{"XKRX", "2027-07-19", "Constitution Day was a Saturday", false},
		{"XKRX", "2024-05-27", "an ordinary Monday, New York is closed", true},
	} {
		if _, found := open(t, c.calendar).Index(day(t, c.day)); found != c.session {
			t.Errorf("%s %s (%s): session is %v", c.calendar, c.day, c.what, found)
		}
	}
}

func TestACalendarIsKnownFrom1990To2050(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{"XNYS": {"1990-01-02", "2050-12-30"}, "XKRX": {"1990-01-03", "2050-12-29"}} {
		c := open(t, name)
		if c.Name() != name || c.First().String() != want[0] || c.Last().String() != want[1] {
			t.Errorf("%s: %s to %s", c.Name(), c.First(), c.Last())
		}
		if got := c.Sessions(day(t, "1980-01-01"), day(t, "1989-12-31")); len(got) != 0 {
			t.Errorf("%s knows days before 1990: %v", name, got)
		}
		if got := c.Sessions(day(t, "2051-01-01"), day(t, "2060-12-31")); len(got) != 0 {
			t.Errorf("%s knows days after 2050: %v", name, got)
		}
		if again := open(t, name); again != c {
			t.Errorf("%s is decoded twice", name)
		}
	}
}

func TestAnUnknownCalendarIsInvalidAndNamesTheKnownOnes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "xnys", "XLON", Data} {
		_, err := Open(name)
		if quant.CodeOf(err) != quant.Invalid || !strings.Contains(quant.HintOf(err), "XNYS, XKRX or data") {
			t.Errorf("%q: %v, hint %q", name, err, quant.HintOf(err))
		}
	}
}

func TestTheRebalanceDayIsTheLastScheduledSession(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, calendar string
		f              Frequency
		first, last    string
		want           []string
	}{
		{"a holiday Friday gives Thursday", "XNYS", Weekly, "2024-03-25", "2024-03-31", []string{"2024-03-28"}},
		{"the Thursday counts on the very day", "XNYS", Weekly, "2024-03-25", "2024-03-28", []string{"2024-03-28"}},
		{"an unfinished week has none", "XNYS", Weekly, "2024-04-01", "2024-04-04", nil},
		{"the bars end on Thursday, the week on Friday", "XNYS", Weekly, "2024-03-25", "2024-04-04", []string{"2024-03-28"}},
		{"a month that ends on a holiday", "XNYS", Monthly, "2024-03-01", "2024-03-31", []string{"2024-03-28"}},
		{"an unfinished month has none", "XNYS", Monthly, "2024-04-01", "2024-04-29", nil},
		{"a month that ends on a weekend", "XNYS", Monthly, "2024-06-01", "2024-06-30", []string{"2024-06-28"}},
		{"the first day is inside a period", "XNYS", Monthly, "2024-05-31", "2024-06-27", []string{"2024-05-31"}},
		{"a year's end within a week is no week's end", "XNYS", Weekly, "2024-12-30", "2025-01-03", []string{"2025-01-03"}},
		{"a month's end is one also at the year's end", "XNYS", Monthly, "2024-12-30", "2025-01-03", []string{"2024-12-31"}},
		{"the exchange closed from Tuesday to the weekend", "XNYS", Weekly, "2001-09-10", "2001-09-16", []string{"2001-09-10"}},
		{"a week without a session has none", "XKRX", Weekly, "2017-10-02", "2017-10-08", nil},
		{"Korea's year ends a day early", "XKRX", Monthly, "2024-12-01", "2024-12-31", []string{"2024-12-30"}},
		{"a Saturday session ends the week", "XKRX", Weekly, "1998-11-30", "1998-12-06", []string{"1998-12-05"}},
		{"and none ends it after 1998", "XKRX", Weekly, "1998-12-07", "1998-12-13", []string{"1998-12-11"}},
		{"every session", "XNYS", Daily, "2024-03-28", "2024-04-01", []string{"2024-03-28", "2024-04-01"}},
		{"the range is empty", "XNYS", Weekly, "2024-04-01", "2024-03-01", nil},
		{"the schedule ends with a year", "XNYS", Monthly, "2050-12-01", "2060-01-01", []string{"2050-12-30"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := open(t, c.calendar).Rebalances(c.f, day(t, c.first), day(t, c.last))
			if err != nil || !slices.Equal(got, days(t, c.want...)) {
				t.Errorf("got %v, want %v (%v)", got, c.want, err)
			}
		})
	}
}

func TestUnderDataAPeriodIsFinishedOnceALaterOneHasBegun(t *testing.T) {
	t.Parallel()
	// Two weeks, given out of order and twice; the second is under way, or
	// complete: the data cannot tell.
	c := FromDates(days(t, "2024-04-05", "2024-03-25", "2024-03-27", "2024-04-02", "2024-03-25"))
	if c.Len() != 4 || c.Name() != Data || c.First() != day(t, "2024-03-25") || c.Last() != day(t, "2024-04-05") {
		t.Fatalf("%d sessions from %s to %s", c.Len(), c.First(), c.Last())
	}
	far := day(t, "2030-01-01")
	for f, want := range map[Frequency][]string{
		Weekly:  {"2024-03-27"},
		Monthly: {"2024-03-27"},
		Daily:   {"2024-03-25", "2024-03-27", "2024-04-02", "2024-04-05"},
	} {
		got, err := c.Rebalances(f, 0, far)
		if err != nil || !slices.Equal(got, days(t, want...)) {
			t.Errorf("%s: %v, want %v (%v)", f, got, want, err)
		}
	}
}

func TestAnEmptyCalendarHasNothing(t *testing.T) {
	t.Parallel()
	c := FromDates(nil)
	got, err := c.Rebalances(Weekly, 0, 100)
	if c.Len() != 0 || c.First() != 0 || c.Last() != 0 || len(c.Sessions(0, 100)) != 0 || len(got) != 0 || err != nil {
		t.Errorf("%v %v", got, err)
	}
}

func TestAnUnknownFrequencyIsInvalid(t *testing.T) {
	t.Parallel()
	if _, err := open(t, "XNYS").Rebalances("yearly", 0, 1); quant.CodeOf(err) != quant.Invalid {
		t.Errorf("got %v", err)
	}
}

// plain answers the questions of a calendar day by day.
type plain struct {
	sessions map[quant.Date]bool
	data     bool
	last     quant.Date
}

func (p plain) rebalances(f Frequency, first, last quant.Date) []quant.Date {
	same := func(a, b quant.Date) bool {
		x, y := a.Time(), b.Time()
		if f == Monthly {
			return x.Year() == y.Year() && x.Month() == y.Month()
		}
		xy, xw := x.ISOWeek()
		yy, yw := y.ISOWeek()
		return xy == yy && xw == yw
	}
	var out []quant.Date
	for d := first; d <= last; d++ {
		if !p.sessions[d] {
			continue
		}
		later, begun := false, false
		for n := d + 1; n <= p.last; n++ {
			if !p.sessions[n] {
				continue
			}
			later, begun = same(d, n), !same(d, n)
			break
		}
		if f == Daily || !later && (begun || !p.data) {
			out = append(out, d)
		}
	}
	return out
}

func TestAnyRangeOfAnyCalendarAgreesWithADayByDayReference(t *testing.T) {
	t.Parallel()
	rng := soak.Random(t)
	rounds := soak.Count(t, 300, 20_000)
	for range rounds {
		var c *Calendar
		switch rng.IntN(3) {
		case 0:
			c = open(t, "XNYS")
		case 1:
			c = open(t, "XKRX")
		default:
			var some []quant.Date
			start := quant.Date(rng.IntN(40_000) - 20_000) // before 1970 as well
			for range rng.IntN(120) {
				some = append(some, start+quant.Date(rng.IntN(400)))
			}
			c = FromDates(some)
		}
		if c.Len() == 0 {
			continue
		}
		p := plain{sessions: map[quant.Date]bool{}, data: c.Name() == Data, last: c.Last()}
		for i := range c.Len() {
			p.sessions[c.At(i)] = true
		}
		first := c.First() - 20 + quant.Date(rng.IntN(int(c.Last()-c.First())+40))
		last := first + quant.Date(rng.IntN(200)) - 20
		var want []quant.Date
		for d := first; d <= last; d++ {
			i, found := c.Index(d)
			if found != p.sessions[d] || found && c.At(i) != d || i > 0 && c.At(i-1) >= d || i < c.Len() && c.At(i) < d {
				t.Fatalf("%s: Index(%s) = %d, %v", c.Name(), d, i, found)
			}
			if found {
				want = append(want, d)
			}
		}
		if got := c.Sessions(first, last); !slices.Equal(got, want) {
			t.Fatalf("%s: Sessions(%s, %s) = %v, want %v", c.Name(), first, last, got, want)
		}
		for _, f := range []Frequency{Daily, Weekly, Monthly} {
			got, err := c.Rebalances(f, first, last)
			if want := p.rebalances(f, first, last); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%s: %s from %s to %s: %v, want %v (%v)", c.Name(), f, first, last, got, want, err)
			}
		}
	}
}

func TestDamagedFactsAreRefused(t *testing.T) {
	t.Parallel()
	const head = "first 2024-01-01\nlast 2024-12-31\n"
	for _, text := range []string{
		"", "first 2024-01-01", "last 2024-01-01", "first 2024-01-02\nlast 2024-01-01", head + "first 2024-01-01",
		"first 1000-01-01\nlast 9999-12-31", head + "first", head + "saturdays x", head + "24 01-01", head + "x",
		head + "2024 13-01", head + "2024 01-01 01-01", head + "2024 01-06", head + "2023 01-02",
	} {
		if _, err := decode("X", text); quant.CodeOf(err) != quant.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
	if c, err := decode("X", "# a week\n"+head+"saturdays 2024-01-06\n2024 01-01\n"); err != nil || c.At(0) != day(t, "2024-01-02") || c.At(4) != day(t, "2024-01-06") {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"XNYS", "XKRX"} {
		text, err := facts.ReadFile(name + ".txt")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("first 2024-01-01\nlast 2024-01-31\nsaturdays 2024-01-06\n2024 01-01\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := decode("X", text)
		if err != nil {
			if quant.CodeOf(err) != quant.Invalid {
				t.Fatal(err)
			}
			return
		}
		for i := range c.Len() {
			if i > 0 && c.At(i) <= c.At(i-1) || c.At(i).Time().Weekday() == time.Sunday {
				t.Fatalf("session %d is %s", i, c.At(i))
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		if _, err := embedded("XKRX"); err != nil {
			b.Fatal(err)
		}
	}
}
