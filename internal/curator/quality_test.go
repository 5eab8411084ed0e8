package curator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/sqltext"
	"quant/internal/test/soak"
)

// bar is a row of ohlcv; nil is NULL.
type testBar struct {
	symbol                  string
	ts                      quant.Date
	open, high, low, volume *float64
	close                   float64
	adjusted                *float64
}

func num(x float64) *float64 { return &x }

func sqlNum(x *float64) string {
	if x == nil {
		return "NULL"
	}
	return fmt.Sprintf("%v::DOUBLE", *x)
}

// setBars makes the bars what ohlcv holds.
func setBars(t testing.TB, db *factstore.DB, bars []testBar) {
	t.Helper()
	_, err := db.Write(context.Background(), "clear", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Delete(ctx, "ohlcv", "true")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(bars) == 0 {
		return
	}
	var rows []string
	for _, b := range bars {
		rows = append(rows, fmt.Sprintf("(%s, DATE '%s', %s, %s, %s, %s, %s, %s, 'test')", sqltext.Literal(b.symbol), b.ts,
			sqlNum(b.open), sqlNum(b.high), sqlNum(b.low), sqlNum(&b.close), sqlNum(b.volume), sqlNum(b.adjusted)))
	}
	storeBars(t, db, "SELECT * FROM (VALUES "+strings.Join(rows, ", ")+") t(symbol, ts, open, high, low, close, volume, adjusted_close, source) ORDER BY symbol, ts")
}

func exchange(t testing.TB, name string) *calendar.Calendar {
	t.Helper()
	cal, err := calendar.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return cal
}

func dateOf(t testing.TB, s string) quant.Date {
	t.Helper()
	d, err := quant.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// history is one bar on each session from a day on, with these closes and
// adjusted closes of factor times them; a close of 0 is no bar.
func history(t testing.TB, symbol, from string, closes []float64, factors ...float64) []testBar {
	t.Helper()
	cal := exchange(t, "XNYS")
	i, _ := cal.Index(dateOf(t, from))
	var bars []testBar
	factor := 1.0
	for k, c := range closes {
		if k < len(factors) {
			factor = factors[k]
		}
		if c > 0 {
			bars = append(bars, testBar{symbol, cal.At(i + k), num(c), num(c + 1), num(c / 2), num(1000), c, num(c * factor)})
		}
	}
	return bars
}

// check examines all and leaves the notes of short histories out.
func check(t testing.TB, db *factstore.DB, change func(*QualityRequest)) QualityReport {
	t.Helper()
	req := DefaultQuality()
	req.MinBars = 0
	if change != nil {
		change(&req)
	}
	r, err := CheckQuality(t.Context(), db, exchange(t, "XNYS"), req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func lines(r QualityReport) []string {
	out := []string{}
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %s %s %d %s %s", f.Symbol, f.Severity, f.Check, f.Count, f.FirstDate, f.LastDate))
	}
	return out
}

func TestEachFlawOfAHistoryIsFoundAndSaid(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	weekend := history(t, "A", "2024-01-02", []float64{10, 11, 12, 13})
	weekend = append(weekend, testBar{"A", dateOf(t, "2024-01-06"), num(13), num(14), num(12), num(5), 13, num(13)})
	nulls := history(t, "A", "2024-01-02", []float64{10, 11, 12})
	nulls[1].volume = nil
	partly := history(t, "A", "2024-01-02", []float64{10, 11, 12})
	partly[2].adjusted = nil
	raw := history(t, "A", "2024-01-02", []float64{10, 21, 22})
	zero := history(t, "A", "2024-01-02", []float64{10, 11, 12, 13})
	zero[3].volume = num(0)
	old := history(t, "A", "1990-01-02", []float64{10, 11, 12, 13})
	old = append(old, testBar{"A", dateOf(t, "1989-12-29"), num(10), num(14), num(9), num(5), 10, num(10)})
	for i := range raw {
		raw[i].adjusted = nil
	}
	idle := history(t, "A", "2024-01-02", []float64{10, 10, 10, 10, 10, 10})
	for i := range idle {
		idle[i].volume = num(0)
	}
	flat := slices.Clone(idle)
	for i := range flat {
		flat[i].open, flat[i].high, flat[i].low = num(10), num(10), num(10)
	}
	for _, c := range []struct {
		name string
		bars []testBar
		want []string
		says string
	}{
		{"nothing is wrong", history(t, "A", "2024-01-02", []float64{10, 11, 12, 12, 12, 12, 11}), []string{}, ""},
		{"missing sessions, but no holidays", history(t, "A", "2024-01-10", []float64{10, 0, 10.5, 0, 0, 0, 11}),
			[]string{"A warning missing_sessions 4 2024-01-11 2024-01-18"}, "no bar on 4 sessions of XNYS: 2024-01-11, 2024-01-16, 2024-01-17, ..."},
		{"one bar too many", weekend, []string{"A warning outside_calendar 1 2024-01-06 2024-01-06"},
			"1 bar (20 %) on days that are no session of XNYS: left out; another market? QUANT_CALENDAR=data"},
		{"before the calendar begins", old, []string{"A warning outside_calendar 1 1989-12-29 1989-12-29"}, "which knows 1990-01-02 to 2050-12-30"},
		{"a value is missing", nulls, []string{"A warning empty_values 1 2024-01-03 2024-01-03"}, "1 bar without a number"},
		{"a jump", history(t, "A", "2024-01-02", []float64{10, 14.5, 14, 8}), []string{"A warning jump 2 2024-01-03 2024-01-05"},
			"adjusted close moves by more than 40 % on 2 sessions, most on 2024-01-03: +45.0 %"},
		{"a jump across missing sessions", history(t, "A", "2024-01-02", []float64{10, 0, 20}),
			[]string{"A warning missing_sessions 1 2024-01-03 2024-01-03", "A warning jump 1 2024-01-04 2024-01-04"}, "moves by +100.0 % on 2024-01-04"},
		{"a split that is explained", history(t, "A", "2024-01-02", []float64{10, 5, 5.1}, 0.5, 1), []string{"A note split_explained 1 2024-01-03 2024-01-03"},
			"the close moves by x 0.5 on 2024-01-03 as in a split, explained by adjusted_close"},
		{"a reverse split that is explained", history(t, "A", "2024-01-02", []float64{1, 10}, 10, 1), []string{"A note split_explained 1 2024-01-03 2024-01-03"}, "x 10"},
		{"a split whose adjustment came without it", history(t, "A", "2024-01-02", []float64{10, 10.1, 10}, 0.5, 1), []string{"A warning adjusted_jump 1 2024-01-03 2024-01-03"},
			"adjusted_close / close steps by x 2 on 2024-01-03, and the close, which moves by +1.0 %, does not say why"},
		{"a split that was adjusted the wrong way", history(t, "A", "2024-01-02", []float64{10, 5, 5.1}, 2, 1), []string{"A warning adjusted_jump 1 2024-01-03 2024-01-03"}, "x 0.5"},
		{"a split that was not adjusted", history(t, "A", "2024-01-02", []float64{10, 5, 5.1}), []string{"A warning jump 1 2024-01-03 2024-01-03"}, "adjusted close moves by -50.0 %"},
		{"a dividend is no split", history(t, "A", "2024-01-02", []float64{10, 9.5, 9.6}, 0.95, 1), []string{}, ""},
		{"adjusted on some bars", partly, []string{"A warning adjusted_partly 1 2024-01-04 2024-01-04"}, "raw prices are used for all"},
		{"adjusted on none", raw, []string{"A warning jump 1 2024-01-03 2024-01-03", "A note unadjusted 3 2024-01-02 2024-01-04"}, "raw close moves by +110.0 %"},
		{"a stale price", history(t, "A", "2024-01-02", []float64{9, 10, 10, 10, 10, 10, 11}), []string{"A warning stale_price 5 2024-01-03 2024-01-09"}, "the same close on 5 sessions in a row"},
		{"stale twice", history(t, "A", "2024-01-02", []float64{9, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10}), []string{"A warning stale_price 11 2024-01-02 2024-01-17"},
			"2 times the same close on 5 or more sessions in a row, at most 6"},
		{"nobody traded, so nothing is stale", idle, []string{"A note zero_volume 6 2024-01-02 2024-01-09"}, "6 bars without volume (100 %)"},
		{"flat bars are stale without volume", flat, []string{"A warning stale_price 6 2024-01-02 2024-01-09", "A note zero_volume 6 2024-01-02 2024-01-09"}, ""},
		{"a day without volume", zero, []string{"A note zero_volume 1 2024-01-05 2024-01-05"}, "1 bar without volume (25 %)"},
	} {
		setBars(t, db, c.bars)
		r := check(t, db, nil)
		said := ""
		for _, f := range r.Findings {
			said += f.Sentence + "\n"
		}
		if got := lines(r); !slices.Equal(got, c.want) || !strings.Contains(said, c.says) {
			t.Errorf("%s: found\n%q\nwant\n%q\nsaid\n%s", c.name, got, c.want, said)
		}
		if r.Bars != int64(len(c.bars)) || r.Symbols != 1 || int(r.Warnings+r.Notes) != len(r.Findings) || !r.Deep || r.Calendar != "XNYS" {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestThresholdsAreThoseOfTheRequest(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	bars := history(t, "A", "2024-01-02", []float64{10, 10, 10, 11.5, 12}, 1, 1, 1, 1, 0.9)
	bars = append(bars, testBar{"A", dateOf(t, "2024-01-06"), num(13), num(14), num(12), num(5), 13, num(13)})
	setBars(t, db, bars)
	for name, c := range map[string]struct {
		change func(*QualityRequest)
		want   []string
	}{
		"defaults": {func(*QualityRequest) {}, []string{"A warning outside_calendar 1 2024-01-06 2024-01-06"}},
		"strict": {func(r *QualityRequest) {
			r.StaleSessions, r.Jump, r.Adjustment, r.MaxOutside, r.MinBars = 3, 0.1, 0.05, 0.5, 7
		}, []string{"A warning jump 1 2024-01-05 2024-01-05", "A warning adjusted_jump 1 2024-01-08 2024-01-08", "A warning stale_price 3 2024-01-02 2024-01-04",
			"A note outside_calendar 1 2024-01-06 2024-01-06", "A note short_history 6 2024-01-02 2024-01-08"}},
	} {
		if got := lines(check(t, db, c.change)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	for _, change := range []func(*QualityRequest){
		func(r *QualityRequest) { r.StaleSessions = 1 }, func(r *QualityRequest) { r.Jump = 0 }, func(r *QualityRequest) { r.Adjustment = -1 },
		func(r *QualityRequest) { r.MaxOutside = 1.1 }, func(r *QualityRequest) { r.MinBars = -1 },
		func(r *QualityRequest) { r.Jump = nan() }, func(r *QualityRequest) { r.MaxOutside = nan() }, func(r *QualityRequest) { r.Adjustment = 1 / zeroOf() },
	} {
		req := DefaultQuality()
		change(&req)
		if _, err := CheckQuality(t.Context(), db, exchange(t, "XNYS"), req); quant.CodeOf(err) != quant.Invalid || quant.HintOf(err) == "" {
			t.Errorf("%+v: %v", req, err)
		}
	}
}

func zeroOf() float64 { return float64(len("")) }
func nan() float64    { return zeroOf() / zeroOf() }

func TestASymbolThatIsNamedAndHasNoBarsIsFound(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	for _, bars := range [][]testBar{nil, history(t, "B", "2024-01-02", []float64{10, 11})} {
		setBars(t, db, bars)
		r := check(t, db, func(r *QualityRequest) { r.Symbols = []string{"B", "A'; --", "B"} })
		want := []string{"A'; -- warning no_bars 0  "}
		if bars == nil {
			want = append(want, "B warning no_bars 0  ")
		}
		if got := lines(r); !slices.Equal(got, want) || r.Symbols != 2 || r.Bars != int64(len(bars)) {
			t.Errorf("%q, %+v", got, r)
		}
	}
	if r := check(t, db, nil); r.Symbols != 1 || len(r.Findings) != 0 {
		t.Errorf("%+v", r)
	}
	if r := check(t, db, func(r *QualityRequest) { r.Symbols = []string{} }); r.Symbols != 0 || r.Bars != 0 || len(r.Findings) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestOfTooManyBarsOnlyTheCheapChecksAreMade(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	setBars(t, db, history(t, "A", "2024-01-02", []float64{10, 0, 20, 20, 20, 20, 20}))
	r := check(t, db, func(r *QualityRequest) { r.DeepBars = 5 })
	if got := lines(r); r.Deep || !slices.Equal(got, []string{"A warning missing_sessions 1  "}) {
		t.Errorf("%v %q", r.Deep, got)
	}
	if r := check(t, db, func(r *QualityRequest) { r.DeepBars = 6 }); !r.Deep || len(r.Findings) != 3 {
		t.Errorf("%v %q", r.Deep, lines(r))
	}
}

// plainCheck is CheckQuality once more, written plainly.
func plainCheck(cal *calendar.Calendar, bars []testBar, req QualityRequest) []string {
	type found struct {
		symbol, check string
		severity      Severity
		n             int64
		first, last   quant.Date
	}
	var all []found
	bySymbol := map[string][]testBar{}
	for _, b := range bars {
		bySymbol[b.symbol] = append(bySymbol[b.symbol], b)
	}
	for symbol, own := range bySymbol {
		slices.SortFunc(own, func(a, b testBar) int { return cmp.Compare(a.ts, b.ts) })
		note := func(check string, severity Severity, days []quant.Date) {
			if len(days) > 0 {
				all = append(all, found{symbol, check, severity, int64(len(days)), days[0], days[len(days)-1]})
			}
		}
		var empty, outside, raw, zero, missing, jumps, wrong, splits, stale []quant.Date
		var held []testBar
		every := []quant.Date{}
		for _, b := range own {
			every = append(every, b.ts)
			if b.open == nil || b.high == nil || b.low == nil || b.volume == nil {
				empty = append(empty, b.ts)
			}
			if b.adjusted == nil {
				raw = append(raw, b.ts)
			}
			if b.volume != nil && *b.volume == 0 {
				zero = append(zero, b.ts)
			}
			if _, session := cal.Index(b.ts); session {
				held = append(held, b)
			} else {
				outside = append(outside, b.ts)
			}
		}
		price := func(b testBar) float64 {
			if len(raw) > 0 {
				return b.close
			}
			return *b.adjusted
		}
		alive := func(b testBar) bool {
			return b.volume != nil && *b.volume > 0 || b.high != nil && b.low != nil && *b.high == *b.low
		}
		run := []quant.Date{}
		endRun := func() {
			if len(run) >= req.StaleSessions {
				stale = append(stale, run...)
			}
			run = run[:0]
		}
		for k, b := range held {
			if k == 0 {
				run = append(run, b.ts)
				continue
			}
			before := held[k-1]
			i, _ := cal.Index(before.ts)
			j, _ := cal.Index(b.ts)
			for ; i+1 < j; i++ {
				missing = append(missing, cal.At(i+1))
			}
			if !(b.close == before.close && alive(b) && alive(before)) {
				endRun()
			}
			run = append(run, b.ts)
			r, q := price(b)/price(before), b.close/before.close
			size := func(x float64) float64 { return max(x, 1/x) }
			step := r > q*(1+req.Adjustment) || r*(1+req.Adjustment) < q
			switch {
			case step && size(r) >= size(q):
				wrong = append(wrong, b.ts)
			default:
				if step {
					splits = append(splits, b.ts)
				}
				if r-1 > req.Jump || 1-r > req.Jump {
					jumps = append(jumps, b.ts)
				}
			}
		}
		endRun()
		note(EmptyValues, Warning, empty)
		severity := Note
		if float64(len(outside)) > req.MaxOutside*float64(len(own)) {
			severity = Warning
		}
		note(OutsideCalendar, severity, outside)
		note(MissingSessions, Warning, missing)
		note(Jumps, Warning, jumps)
		note(AdjustedJump, Warning, wrong)
		note(StalePrice, Warning, stale)
		note(SplitExplained, Note, splits)
		if len(raw) == len(own) {
			note(Unadjusted, Note, raw)
		} else {
			note(AdjustedPartly, Warning, raw)
		}
		note(ZeroVolume, Note, zero)
		if int64(len(own)) < req.MinBars {
			note(ShortHistory, Note, every)
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.symbol, b.symbol), -cmp.Compare(a.severity, b.severity),
			cmp.Compare(slices.Index(checkOrder, a.check), slices.Index(checkOrder, b.check)))
	})
	out := []string{}
	for _, f := range all {
		out = append(out, fmt.Sprintf("%s %s %s %d %s %s", f.symbol, f.severity, f.check, f.n, f.first, f.last))
	}
	return out
}

func TestAnyBarsGiveTheFindingsOfAPlainReference(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	rng := soak.Random(t)
	rounds := soak.Count(t, 15, 1000)
	kinds := map[string]int{}
	for range rounds {
		cal := exchange(t, []string{"XNYS", "XKRX"}[rng.IntN(2)])
		var bars []testBar
		for s := range 1 + rng.IntN(4) {
			start := dateOf(t, "1989-12-20") + quant.Date(rng.IntN(12_000))
			factor, adjusted, c := 1.0, rng.IntN(4), 10.0
			for d := range 10 + rng.IntN(80) {
				if rng.IntN(15) == 0 || (start+quant.Date(d)).Time().Weekday()%6 == 0 && rng.IntN(20) > 0 {
					continue
				}
				switch rng.IntN(12) {
				case 0:
					c = []float64{10, 20, 5, 30}[rng.IntN(4)]
				case 1:
					factor *= []float64{2, 0.5, 1.5, 1.1, 0.9}[rng.IntN(5)]
				case 2:
					c, factor = c/2, factor*2
				case 3, 4, 5, 6:
					c = max(0.01, float64(int(c*(0.9+rng.Float64()/5)*100))/100)
				}
				b := testBar{fmt.Sprintf("S%d", s), start + quant.Date(d), num(c), num(c), num(c), num(float64(rng.IntN(3))), c, num(c * factor)}
				if rng.IntN(3) > 0 {
					b.high = num(c * 1.01)
				}
				if adjusted == 0 || adjusted == 1 && rng.IntN(30) == 0 {
					b.adjusted = nil
				}
				for _, field := range []**float64{&b.open, &b.high, &b.low, &b.volume} {
					if rng.IntN(200) == 0 {
						*field = nil
					}
				}
				bars = append(bars, b)
			}
		}
		setBars(t, db, bars)
		req := DefaultQuality()
		req.MinBars, req.StaleSessions = int64(rng.IntN(60)), 2+rng.IntN(4)
		r, err := CheckQuality(t.Context(), db, cal, req)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := lines(r), plainCheck(cal, bars, req); !slices.Equal(got, want) {
			t.Fatalf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, f := range r.Findings {
			kinds[f.Check]++
		}
	}
	for _, c := range checkOrder {
		if kinds[c] == 0 && c != NoBars {
			t.Errorf("no round had a %s", c)
		}
	}
}

func TestCoverageCountsAgainstTheCalendarAndNamesTheLastWriter(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	bars := history(t, "A", "2024-01-02", []float64{10, 0, 12, 13})
	bars = append(bars, testBar{"A", dateOf(t, "2024-01-07"), num(13), num(14), num(12), num(5), 13, nil})
	setBars(t, db, append(bars, testBar{"C", dateOf(t, "2024-01-06"), num(1), num(1), num(1), num(1), 1, num(1)}))
	list, err := Coverage(t.Context(), db, exchange(t, "XNYS"), []string{"A", "B", "C"})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 3 {
		t.Fatalf("%+v", list)
	}
	a, b, c := list[0], list[1], list[2]
	if a.Symbol != "A" || a.Bars != 4 || a.FirstDate != "2024-01-02" || a.LastDate != "2024-01-07" || a.Sessions != 4 || a.Missing != 1 || a.Outside != 1 ||
		*a.Coverage != 0.75 || a.Basis != "raw" || !slices.Equal(a.Sources, []string{"test"}) || a.RunID != "r" || a.LastIngest.IsZero() {
		t.Errorf("%+v", a)
	}
	if b.Symbol != "B" || b.Bars != 0 || b.Basis != "none" || b.Coverage != nil || b.RunID != "" || !b.LastIngest.IsZero() || b.Sources == nil {
		t.Errorf("%+v", b)
	}
	if c.Bars != 1 || c.Sessions != 0 || c.Coverage != nil || c.Outside != 1 || c.Basis != "adjusted" {
		t.Errorf("%+v", c)
	}
	if all, err := Coverage(t.Context(), db, exchange(t, "XNYS"), nil); err != nil || len(all) != 2 {
		t.Errorf("%+v %v", all, err)
	}
}
