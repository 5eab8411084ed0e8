package curator

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"quant"
)

// scaled are the days of January 2020 from one to another, as a file has them:
// prices that walk around 100, times by, and adjusted closes, times adj. NaN for
// adj: the cells are empty.
type scaled struct {
	from, to int
	by, adj  float64
	decimals int
	column   bool                // of adjusted closes
	lacks    []int               // days that are left out
	change   func(day int) []any // of one day, in its place: open, high, low, close, volume, adjusted close
}

func (s scaled) csv() string {
	var b strings.Builder
	b.WriteString("symbol,date,open,high,low,close,volume")
	if s.column {
		b.WriteString(",adjusted_close")
	}
	b.WriteString("\n")
	for d := s.from; d <= s.to; d++ {
		if slices.Contains(s.lacks, d) {
			continue
		}
		price := func(x float64) string { return fmt.Sprintf("%.*f", s.decimals, x*s.by) }
		c := 100 + 3*math.Sin(float64(d))
		values := []any{price(c - 0.5), price(c + 1), price(c - 1.25), price(c), math.Round(1000 / s.by), fmt.Sprintf("%.*f", s.decimals, c*s.by*s.adj)}
		if math.IsNaN(s.adj) {
			values[5] = ""
		}
		if s.change != nil {
			if other := s.change(d); other != nil {
				values = other
			}
		}
		if !s.column {
			values = values[:5]
		}
		fmt.Fprintf(&b, "D,2020-01-%02d", d)
		for _, v := range values {
			fmt.Fprintf(&b, ",%v", v)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestASymbolIsNeverLeftOnTwoScales(t *testing.T) {
	flat := func(close, adj any) func(int) []any {
		return func(int) []any { return []any{close, close, close, close, 1000, adj} }
	}
	on := func(day int, values ...any) func(int) []any {
		return func(d int) []any {
			if d == day {
				return values
			}
			return nil
		}
	}
	within := func(first, last int, by, adj float64) func(int) []any {
		return func(d int) []any {
			if d < first || d > last {
				return nil
			}
			c := 100 + 3*math.Sin(float64(d))
			p := func(x float64) string { return fmt.Sprintf("%.4f", x*by) }
			return []any{p(c - 0.5), p(c + 1), p(c - 1.25), p(c), 1000, p(c * adj)}
		}
	}
	from := func(day int, by, adj float64) func(int) []any { return within(day, 99, by, adj) }
	until := func(day int, by float64) func(int) []any { return within(0, day, by, 1) }
	between := func(first, last int, by float64) func(int) []any { return within(first, last, by, 1) }
	// Days 1 to 10 are stored at 100, unless said otherwise.
	base := scaled{1, 10, 1, 1, 4, true, nil, nil}
	with := func(from, to int, change func(*scaled)) scaled {
		s := base
		s.from, s.to = from, to
		if change != nil {
			change(&s)
		}
		return s
	}
	raw := func(s *scaled) { s.column = false }
	for _, c := range []struct {
		name      string
		old, file scaled
		left      string // what moved, by what; "": the file is taken
	}{
		{"nothing moved", base, with(8, 11, nil), ""},
		{"a dividend", base, with(8, 11, func(s *scaled) { s.adj = 0.98 }), "adjusted_close 0.98"},
		{"flat prices, as whole numbers", with(1, 10, func(s *scaled) { s.change = flat(100, 100) }), with(8, 11, func(s *scaled) { s.change = flat(100, 98) }), "adjusted_close 0.98"},
		{"a small dividend", base, with(8, 11, func(s *scaled) { s.adj = 0.9995 }), "adjusted_close 0.9995"},
		{"an old dividend is the same on both sides", with(1, 10, func(s *scaled) { s.adj = 0.9 }), with(8, 11, func(s *scaled) { s.adj = 0.9 }), ""},
		{"every price over 4", base, with(8, 11, func(s *scaled) { s.by = 0.25 }), "close 0.25"},
		{"every price over 4, flat", with(1, 10, func(s *scaled) { s.change = flat(100, 100) }), with(8, 11, func(s *scaled) { s.change = flat(25, 25) }), "close 0.25"},
		{"a reverse split", base, with(8, 11, func(s *scaled) { s.by = 10 }), "close 10"},
		{"raw prices over 4", with(1, 10, raw), with(8, 11, func(s *scaled) { s.by, s.column = 0.25, false }), "close 0.25"},
		{"prices that a dividend lowers", with(1, 10, raw), with(8, 11, func(s *scaled) { s.by, s.column = 0.995, false }), "close 0.995"},
		{"raw prices over 4, stored with adjusted closes", base, with(8, 11, func(s *scaled) { s.by, s.column = 0.25, false }), "close 0.25"},
		{"the close over 4, the adjusted close as it was", base, with(8, 11, func(s *scaled) { s.by, s.adj = 0.25, 4 }), "close 0.25"},
		{"one day in common, every price over 4", base, with(10, 11, func(s *scaled) { s.by = 0.25 }), "close 0.25"},
		{"one day in common, a dividend in every price", with(1, 10, raw), with(10, 11, func(s *scaled) { s.by, s.column = 0.99, false }), "close 0.99"},
		{"one flat day in common, over 4", with(1, 10, func(s *scaled) { s.change = flat(100, 100) }), with(10, 11, func(s *scaled) { s.change = flat(25, 25) }), "close 0.25"},
		{"one flat day in common, corrected", with(1, 10, func(s *scaled) { s.change = flat(100, 100) }), with(10, 11, func(s *scaled) { s.change = flat(101, 101) }), ""},
		{"one day in common, a dividend", base, with(10, 11, func(s *scaled) { s.adj = 0.98 }), "adjusted_close 0.98"},
		{"the last day was provisional", base, with(10, 11, func(s *scaled) { s.change = on(10, 97.868, 101.5, 97.118, 99.25, 2000, 99.25) }), ""},
		{"older days, on another scale", with(10, 20, nil), with(1, 12, func(s *scaled) { s.by = 4 }), "close 4"},
		{"a split between the days in common", base, with(6, 11, func(s *scaled) {
			s.change = func(d int) []any {
				if c := (100 + 3*math.Sin(float64(d))) / 4; d < 9 {
					return []any{c, c + 1, c - 1, c, 4000, c}
				}
				return nil
			}
		}), "close 0.25"},
		{"adjusted closes that are changed late", base, with(6, 11, func(s *scaled) {
			s.change = func(d int) []any {
				if c := 100 + 3*math.Sin(float64(d)); d < 9 {
					return []any{c, c + 1, c - 1, c, 1000, c * 0.98}
				}
				return nil
			}
		}), "adjusted_close 0.98"},
		{"the newer days in common over 2", base, with(6, 12, func(s *scaled) { s.change = from(9, 0.5, 1) }), "close 0.5"},
		{"the newer days in common over 2, without adjusted closes", with(1, 10, raw), with(6, 12, func(s *scaled) { s.column = false; s.change = from(9, 0.5, 1) }), "close 0.5"},
		{"the newer days in common over 2, no new days", base, with(6, 10, func(s *scaled) { s.change = from(9, 0.5, 1) }), "close 0.5"},
		{"the last day in common over 2", base, with(6, 12, func(s *scaled) { s.change = from(10, 0.5, 1) }), "close 0.5"},
		{"the last day in common times 10", base, with(9, 12, func(s *scaled) { s.change = from(10, 10, 1) }), "close 10"},
		{"the newer days in common, prices that a dividend lowers", base, with(6, 12, func(s *scaled) { s.change = from(9, 0.98, 1) }), "close 0.98"},
		{"the newer days in common with a dividend", base, with(6, 12, func(s *scaled) { s.change = from(9, 1, 0.98) }), "adjusted_close 0.98"},
		{"the last day in common with a dividend", base, with(6, 12, func(s *scaled) { s.change = from(10, 1, 0.98) }), "adjusted_close 0.98"},
		{"the older days in common over 2", with(10, 20, nil), with(5, 14, func(s *scaled) { s.change = until(11, 0.5) }), "close 0.5"},
		{"a stretch in the middle over 2", base, with(4, 11, func(s *scaled) { s.change = between(6, 8, 0.5) }), "close 0.5"},
		{"a stretch ten times too high corrected", with(1, 10, func(s *scaled) { s.change = between(6, 8, 10) }), with(4, 11, nil), ""},
		{"the last days ten times too high corrected", with(1, 10, func(s *scaled) { s.change = between(9, 10, 10) }), with(6, 12, nil), ""},
		{"the adjusted close of the last day corrected", with(1, 10, func(s *scaled) { s.change = from(10, 1, 0.98) }), with(6, 12, nil), ""},
		{"the last day of many was provisional", base, with(6, 12, func(s *scaled) { s.change = on(10, 97.868, 101.5, 97.118, 99.25, 2000, 99.25) }), ""},
		{"new days over 2 behind the last day as it was", base, with(6, 12, func(s *scaled) { s.change = from(11, 0.5, 1) }), ""},
		{"new days over 2 behind one day as it was", base, with(10, 12, func(s *scaled) { s.change = from(11, 0.5, 1) }), ""},
		{"one day of many corrected", base, with(5, 11, func(s *scaled) { s.change = on(7, 99, 103, 98, 100, 1000, 100) }), ""},
		{"the first day of many corrected", base, with(5, 11, func(s *scaled) { s.change = on(5, 96.6232, 98.1232, 95.8732, 96, 1000, 96) }), ""},
		{"the close alone corrected, of the first day of many", base, with(5, 11, func(s *scaled) { s.change = on(5, 96.6232, 98.1232, 95.8732, 97, 1000, 97.1232) }), ""},
		{"a file of one corrected close", with(1, 10, func(s *scaled) { s.adj = 0.87 }), with(5, 5, func(s *scaled) { s.adj = 0.87; s.change = on(5, 96.6232, 98.1232, 95.8732, 97, 1000, 84.4972) }), ""},
		{"a file of one corrected adjusted close", base, with(5, 5, func(s *scaled) { s.adj = 0.98 }), "adjusted_close 0.98"},
		{"a day ten times too high corrected", with(1, 10, func(s *scaled) { s.change = on(10, 983.6, 993.6, 971.1, 983.7, 1000, 983.7) }), with(10, 11, func(s *scaled) { s.change = on(10, 98.36, 99.36, 97.11, 98.37, 1000, 98.37) }), ""},
		{"the whole history over 4", base, with(1, 11, func(s *scaled) { s.by = 0.25 }), ""},
		{"the whole history with a dividend", base, with(1, 11, func(s *scaled) { s.adj = 0.98 }), ""},
		{"all but the first day", base, with(2, 11, func(s *scaled) { s.adj = 0.98 }), "adjusted_close 0.98"},
		{"no day in common, over 4", base, with(11, 13, func(s *scaled) { s.by = 0.25 }), "adjusted_close 0.24"},
		{"no day in common, over 2", base, with(11, 12, func(s *scaled) { s.by = 0.5 }), "adjusted_close 0.49"},
		{"no day in common, over 2, without adjusted closes", with(1, 10, raw), with(11, 12, func(s *scaled) { s.by, s.column = 0.5, false }), "close 0.49"},
		{"no day in common, over 2, the adjusted close as before", base, with(11, 12, func(s *scaled) { s.by, s.adj = 0.5, 2 }), ""},
		{"no day in common, the adjusted close over 2", base, with(11, 12, func(s *scaled) { s.adj = 0.5 }), "adjusted_close 0.49"},
		{"no day in common, over 2, weeks later", base, with(25, 28, func(s *scaled) { s.by = 0.5 }), "adjusted_close 0.50"},
		{"no day in common, the same scale", base, with(11, 12, nil), ""},
		{"no day in common, a fall by a third", base, with(11, 12, func(s *scaled) { s.by = 0.67 }), ""},
		{"no day in common, a rise that is near no simple ratio", base, with(11, 12, func(s *scaled) { s.by = 2.25 }), ""},
		{"older days, none in common, times 4", with(10, 20, nil), with(5, 9, func(s *scaled) { s.by = 4 }), "adjusted_close 4.1"},
		{"some in common, not the last, new days over 2", base, with(6, 12, func(s *scaled) { s.lacks = []int{10}; s.change = from(11, 0.5, 1) }), "adjusted_close 0.49"},
		{"a day between stored ones, over 2", with(1, 10, func(s *scaled) { s.lacks = []int{5} }), with(5, 5, func(s *scaled) { s.by = 0.5 }), "adjusted_close 0.49"},
		{"the same prices with two decimals", base, with(8, 11, func(s *scaled) { s.decimals = 2 }), ""},
		{"an adjusted history with two decimals", with(1, 10, func(s *scaled) { s.adj = 0.7 }), with(8, 11, func(s *scaled) { s.adj, s.decimals = 0.7, 2 }), ""},
		{"pennies in steps of a hundredth", with(1, 10, func(s *scaled) { s.by, s.decimals = 0.0005, 2; s.change = flat(0.05, 0.05) }), with(8, 11, func(s *scaled) { s.change = flat(0.05, 0.049) }), ""},
		{"pennies over 5", with(1, 10, func(s *scaled) { s.change = flat(0.05, 0.05) }), with(8, 11, func(s *scaled) { s.change = flat(0.01, 0.01) }), "close 0.2"},
		{"whole won, adjusted and rounded again", with(1, 10, func(s *scaled) { s.by, s.adj, s.decimals = 15, 0.9, 0 }), with(8, 11, func(s *scaled) { s.by, s.adj, s.decimals = 15, 0.8999, 0 }), ""},
		{"whole won and a dividend", with(1, 10, func(s *scaled) { s.by, s.decimals = 15, 0 }), with(8, 11, func(s *scaled) { s.by, s.adj, s.decimals = 15, 0.99, 0 }), "adjusted_close 0.9896"},
		{"adjusted closes come", with(1, 10, func(s *scaled) { s.adj = math.NaN() }), with(8, 11, func(s *scaled) { s.adj = 0.98 }), ""},
		{"adjusted closes go", with(1, 10, func(s *scaled) { s.adj = 0.98 }), with(8, 11, func(s *scaled) { s.adj = math.NaN() }), ""},
		{"adjusted closes go and become the prices", with(1, 10, func(s *scaled) { s.adj = 0.5 }), with(8, 11, func(s *scaled) { s.by, s.adj = 0.5, math.NaN() }), "close 0.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.mustIngest(nil, l.file("old.csv", c.old.csv()))
			before := l.bars()
			files := []string{l.file("new.csv", c.file.csv()), l.file("e.csv", "symbol,date,open,high,low,close,volume,adjusted_close\nE,2020-01-02,1,1,1,1,1,1\n")}
			for range 2 { // the same again: the same answer
				r, err := l.ingest(nil, files...)
				if c.left == "" {
					l.want("taken", []any{err, len(r.Left), r.RowsLeft, r.Symbols}, []any{nil, 0, 0, []string{"D", "E"}})
					for d := c.file.from; d <= c.file.to; d++ {
						if slices.Contains(c.file.lacks, d) {
							continue
						}
						day := fmt.Sprintf("D|2020-01-%02d|", d)
						if !slices.ContainsFunc(l.bars(), func(s string) bool { return strings.HasPrefix(s, day) }) {
							t.Errorf("no bar of %s", day)
						}
					}
					continue
				}
				l.want("error", quant.CodeOf(err), quant.Partial)
				l.want("bars of D", slices.DeleteFunc(l.bars(), func(s string) bool { return strings.HasPrefix(s, "E") }), before)
				l.want("symbols", r.Symbols, []string{"E"})
				l.want("bars of E", l.list("SELECT count(*)::VARCHAR FROM ohlcv WHERE symbol = 'E'"), []string{"1"})
				if len(r.Left) != 1 || r.Left[0].Symbol != "D" || !strings.HasPrefix(fmt.Sprintf("%s %.4g", r.Left[0].Price, r.Left[0].Factor), c.left) {
					t.Fatalf("left: %+v", r.Left)
				}
				l.want("rows", []any{r.RowsLeft, r.RowsLeft + r.RowsInserted + r.RowsUpdated + r.RowsUnchanged, len(l.rejects())}, []any{c.file.to - c.file.from + 1 - len(c.file.lacks), r.RowsRead, 0})
				advice := "whole history of D"
				switch beside := r.Left[0].Beside; {
				case beside > r.Left[0].Day:
					advice = "for D, ingest a file that also has the next stored days"
				case beside != "":
					advice = "for D, ingest a file that also has the last stored days"
				}
				if !strings.Contains(quant.HintOf(err), advice) || strings.Contains(err.Error(), "E:") {
					t.Errorf("%v (%s)", err, quant.HintOf(err))
				}
			}
		})
	}
}

// A Parquet file is read in place; a row that the gate turns away does not
// replace a stored one.
func TestAWholeHistoryIsOneOfWhichEveryDayCanBeTaken(t *testing.T) {
	l := newLab(t)
	l.mustIngest(nil, l.file("old.csv", scaled{1, 10, 1, 1, 4, true, nil, nil}.csv()))
	before := l.bars()
	half := l.file("half.csv", scaled{1, 12, 0.25, 1, 4, true, nil, nil}.csv())
	duck(t, fmt.Sprintf("COPY (FROM read_csv('%s') WHERE date <> DATE '2020-01-04') TO '%s' (FORMAT parquet)", half, half+".parquet"))
	r, err := l.ingest(nil, half+".parquet")
	l.want("in place", []any{quant.CodeOf(err), r.Left[0].Lacks, r.Left[0].First, r.Left[0].Last, r.RowsInserted}, []any{quant.Partial, 1, "2020-01-04", "2020-01-04", 0})
	l.want("bars", l.bars(), before)
	bad := scaled{1, 12, 0.25, 1, 4, true, nil, func(d int) []any {
		if d == 4 {
			return []any{25, 24, 26, 25, 1, 25}
		}
		return nil
	}}
	r, err = l.ingest(nil, l.file("bad.csv", bad.csv()))
	l.want("a row turned away", []any{quant.CodeOf(err), r.RowsRejected, len(r.Left), len(l.rejects())}, []any{quant.Partial, 1, 1, 1})
	l.want("bars", l.bars(), before)
	r = l.mustIngest(nil, half)
	l.want("whole", []int64{r.RowsInserted, r.RowsUpdated, r.Revisions}, []int64{2, 10, 10})
	// Two files that have it between them.
	l.mustIngest(nil, l.file("one.csv", scaled{1, 6, 1, 1, 4, true, nil, nil}.csv()), l.file("two.csv", scaled{7, 12, 1, 1, 4, true, nil, nil}.csv()))
	l.want("as before, and two days", l.bars()[:10], before)
}

// Over months a price may have halved.
func TestDaysThatAreFarApartAreNotOfTwoScales(t *testing.T) {
	l := newLab(t)
	l.mustIngest(nil, l.file("old.csv", scaled{1, 10, 1, 1, 4, true, nil, nil}.csv()))
	later := strings.ReplaceAll(scaled{1, 3, 0.5, 1, 4, true, nil, nil}.csv(), "2020-01-", "2020-06-")
	r := l.mustIngest(nil, l.file("later.csv", later))
	l.want("rows", []any{r.RowsLeft, r.RowsInserted}, []any{int64(0), r.RowsRead})
}
