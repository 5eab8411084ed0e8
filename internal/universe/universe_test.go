package universe

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"quant"
)

func day(t *testing.T, s string) quant.Date {
	t.Helper()
	d, err := quant.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStaysIncludeBothDays(t *testing.T) {
	t.Parallel()
	l, err := Read("sp500", strings.NewReader("\ufeffTicker,Date Added,Date Removed\nB,2020-01-02,\nA,2020-01-02,2020-06-30\nA,2021-01-04,\n"))
	if err != nil || !slices.Equal(l.Symbols(), []string{"A", "B"}) {
		t.Fatalf("%+v, %v", l, err)
	}
	for _, c := range []struct {
		symbol, day string
		in          bool
	}{{"A", "2020-01-01", false}, {"A", "2020-01-02", true}, {"A", "2020-06-30", true}, {"A", "2020-07-01", false}, {"A", "2021-01-04", true},
		{"A", "2099-01-01", true}, {"B", "2020-01-01", false}, {"B", "2020-01-02", true}, {"C", "2020-01-02", false}} {
		if l.Has(c.symbol, day(t, c.day)) != c.in {
			t.Errorf("%s on %s: not %v", c.symbol, c.day, c.in)
		}
	}
	var b bytes.Buffer
	if err := WriteAll(&b, []List{l}); err != nil {
		t.Fatal(err)
	}
	again, err := ReadAll(&b)
	if err != nil || len(again) != 1 || again[0].Name != "sp500" || again[0].Digest() != l.Digest() {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestAnInstrumentsFileOfQlibIsAList(t *testing.T) {
	t.Parallel()
	want, err := Read("u", strings.NewReader("symbol,from,to\nA,2020-01-02,2020-06-30\nA,2021-01-04,2099-12-31\nB,2020-01-02,2020-12-31\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"A\t2020-01-02\t2020-06-30\nB\t2020-01-02\t2020-12-31\nA\t2021-01-04\t2099-12-31\n",
		"A\t2020-01-02\t2020-06-30\r\nB\t2020-01-02\t2020-12-31\r\nA\t2021-01-04\t2099-12-31",
		"종목코드\t편입일\t제외일\nA\t2020-01-02\t2020-06-30\nB\t2020-01-02\t2020-12-31\nA\t2021-01-04\t2099-12-31\n",
	} {
		if got, err := Read("u", strings.NewReader(text)); err != nil || got.Digest() != want.Digest() {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	if _, err := Read("u", strings.NewReader("A\t2020-01-02\t2020-06-30\nB\t2020-13-02\t2020-12-31\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a day that is none: %v", err)
	}
}

// A table of days means what each day says until the next one.
func TestATableOfDaysIsTheSameAsItsStays(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for trial := range 100 {
		var text strings.Builder
		text.WriteString("date,symbol\n")
		members := map[quant.Date]map[string]bool{}
		var days []quant.Date
		at := quant.Date(18000)
		for range 1 + r.IntN(8) {
			at += quant.Date(1 + r.IntN(20))
			of := map[string]bool{}
			for s := range 5 {
				if r.IntN(2) == 0 || s == 0 {
					of[fmt.Sprint("S", s)] = true
					fmt.Fprintf(&text, "%s,S%d\n", at, s)
				}
			}
			days, members[at] = append(days, at), of
		}
		l, err := Read("u", strings.NewReader(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		for d := quant.Date(17995); d < at+30; d++ {
			i, found := slices.BinarySearch(days, d)
			if !found {
				i--
			}
			for s := range 5 {
				symbol := fmt.Sprint("S", s)
				if want := i >= 0 && members[days[i]][symbol]; l.Has(symbol, d) != want {
					t.Fatalf("trial %d: %s on %s: not %v in\n%s", trial, symbol, d, want, text.String())
				}
			}
		}
	}
}

func TestAListThatCannotBeUsedIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                          "is empty",
		"symbol,from,to\n":                          "has no line",
		"symbol,from\nA,2020-01-01\n":               "has the columns from, symbol",
		"symbol,from,to,weight\n":                   `column "weight"`,
		"symbol,from,to,ticker\n":                   "two columns",
		"symbol,from,to\nA,2020-13-01,\n":           "line 2",
		"symbol,from,to\nA,2020-01-01\n":            "line 2",
		"symbol,from,to\n,2020-01-01,\n":            "line 2",
		"symbol,from,to\nA,2020-01-02,2020-01-01\n": "before it comes",
		"symbol,from,to\nA,2020-01-02,2020-02-01\nA,2020-02-01,\n": "overlap",
		"symbol,from,to\nA,2020-01-02,\nA,2020-02-01,2020-03-01\n": "overlap",
		"date,symbol\n2020-01-02,A\n2020-01-02,A\n":                "line 3",
		"symbol,from,to\n\xff,2020-01-02,\n":                       "not UTF-8",
		"universe,symbol,from,to\nu,A,2020-01-02,\n":               `column "universe"`,
	} {
		if _, err := Read("u", strings.NewReader(text)); !errors.Is(err, quant.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, name := range []string{"", "../x", "SP500", "a b", strings.Repeat("a", 64)} {
		if CheckName(name) == nil {
			t.Errorf("%q can name a universe", name)
		}
	}
}

// What comes after a day changes nothing that was chosen up to it.
func TestTheTopOfADayKnowsNothingLater(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for trial := range 100 {
		symbols, sessions, window := 1+r.IntN(12), 5+r.IntN(60), 1+r.IntN(20)
		values := make([][]float64, symbols)
		for i := range values {
			for range sessions {
				v := float64(1 + r.IntN(4))
				if r.IntN(8) == 0 {
					v = math.NaN()
				}
				values[i] = append(values[i], v)
			}
		}
		t1 := r.IntN(sessions)
		at := []int{t1 / 2, t1}
		most := 1 + r.IntN(4)
		want := Top(values, at, window, most)
		for d, end := range at { // plainly
			means := map[int]float64{}
			for i, of := range values {
				sum, n := 0.0, 0
				for s := end - window + 1; s <= end; s++ {
					if s >= 0 && of[s] == of[s] {
						sum, n = sum+of[s], n+1
					}
				}
				if float64(n) >= 0.8*float64(window)-1e-9 {
					means[i] = sum / float64(n)
				}
			}
			for _, i := range want[d] {
				better := 0
				for k, v := range means {
					if v > means[i] || v == means[i] && k < i {
						better++
					}
				}
				if _, ranked := means[i]; !ranked || better >= most {
					t.Fatalf("trial %d: %d is none of the top %d", trial, i, most)
				}
			}
			if len(want[d]) != min(most, len(means)) {
				t.Fatalf("trial %d: %d of %d", trial, len(want[d]), len(means))
			}
		}
		for i := range values {
			values[i] = values[i][:t1+1]
			if r.IntN(2) == 0 {
				for range 5 {
					values[i] = append(values[i], 1e9*r.Float64())
				}
			}
		}
		if got := Top(values, at, window, most); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("trial %d: %v, and with another future %v", trial, want, got)
		}
	}
}
