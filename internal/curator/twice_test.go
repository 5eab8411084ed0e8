package curator

import (
	"fmt"
	"slices"
	"testing"

	"quant"
)

func TestDaysThatStandTwiceAreSearchedForWithinABoundedMemory(t *testing.T) {
	t.Parallel()
	const year = 365
	var years []soundRows // of 10,000 symbols
	for i := range int64(40) {
		years = append(years, soundRows{10_000, i * year, i*year + year - 1})
	}
	for _, c := range []struct {
		what     string
		files    []soundRows
		most     int64
		searches int
	}{
		{"files of a year", years, maxDayBits, 5},
		{"one file", years[:1], maxDayBits, 1},
		{"none has rows", make([]soundRows, 3), maxDayBits, 1},
		{"files without rows among others", []soundRows{{}, {10, 7000, 7009}, {}, {10, 7010, 7019}, {}}, 1000, 1},
		{"a file for each symbol", slices.Repeat([]soundRows{{1, 0, 40 * year}}, 10_000), maxDayBits, 1},
	} {
		list := daySearches(c.files, c.most)
		next := 0
		for _, s := range list {
			var about int64
			for _, f := range c.files[s.from : s.to+1] {
				if about += f.about; f.about > 0 && (f.first < s.first || f.last > s.last) {
					t.Errorf("%s: %+v is not within %+v", c.what, f, s)
				}
			}
			if !s.bits || s.from != next || bitsOf(about, s) > c.most {
				t.Errorf("%s: %+v after file %d takes %d bits", c.what, s, next, bitsOf(about, s))
			}
			next = s.to + 1
		}
		if next != len(c.files) || len(list) > c.searches {
			t.Errorf("%s: %d searches over %d of %d files", c.what, len(list), next, len(c.files))
		}
	}
	// One file that takes more alone is searched otherwise, and so are all with it.
	if got := daySearches([]soundRows{{1, 0, 9}, {100, 0, 99}, {1, 0, 9}}, 1000); !slices.Equal(got, []daySearch{{to: 2}}) {
		t.Errorf("%+v", got)
	}
}

func TestFilesOfYearsInAnyOrderGiveNoDoubt(t *testing.T) {
	t.Parallel()
	day := func(s string) quant.Date { d, _ := quant.ParseDate(s); return d }
	a, b, c := fileSpan{day("1990-01-02"), day("1990-12-31")}, fileSpan{day("1991-01-02"), day("1991-12-31")}, fileSpan{day("1992-01-02"), day("1992-12-31")}
	if overlap([]fileSpan{a, c, b}) || overlap([]fileSpan{c}) || overlap(nil) {
		t.Error("years overlap")
	}
	if !overlap([]fileSpan{a, c, {b.first, c.first}}) || !overlap([]fileSpan{b, b}) {
		t.Error("a day that two files have is not seen")
	}
}

// What the quick search says decides nothing: the same files give the same bars.
func TestADayThatTwoFilesHaveIsRejected(t *testing.T) {
	l := newLab(t)
	var files []string
	for _, year := range []int{2002, 2000, 2001} {
		text := "symbol,date,open,high,low,close,volume\n"
		for n := range 5 {
			text += fmt.Sprintf("S%d,%d-03-04,1,1,1,1,1\nS%d,%d-03-05,1,1,1,1,1\n", n, year, n, year)
		}
		files = append(files, l.file(fmt.Sprintf("%d.csv", year), text))
	}
	files = append(files, l.file("again.csv", "symbol,date,open,high,low,close,volume\nS3,2001-03-05,2,2,2,2,1\n"))
	r, err := l.ingest(func(r *Request) { r.MaxRejectRatio = 0.5 }, files...)
	if err != nil || r.RowsInserted != 29 || r.RowsRejected != 2 {
		t.Fatalf("%d inserted, %d rejected, %v", r.RowsInserted, r.RowsRejected, err)
	}
}
