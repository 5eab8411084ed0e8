package feature

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/test/soak"
)

// byFeature are the values of the entries up to a day, bit by bit, by name.
func byFeature(t testing.TB, db *factstore.DB, cal *calendar.Calendar, list []Entry, to quant.Date) map[string][]string {
	t.Helper()
	basis, err := price.Stage(t.Context(), db, cal, price.Request{})
	if err != nil {
		t.Fatal(err)
	}
	c := computation{db: db, cal: cal, basis: basis}
	if err := basis.Read(t.Context(), db, cal, price.Request{}, basis.Symbols, 0, &c.bars); err != nil {
		t.Fatal(err)
	}
	rows := make([]map[string][]string, len(basis.Symbols))
	if err := c.eachSymbol(t.Context(), func(k int, s *series) {
		rows[k] = map[string][]string{}
		for _, e := range list {
			values := make([]float64, len(s.session))
			e.compute(s, values)
			for i, x := range values {
				if day := c.bars.Days[c.bars.From[k]+i]; finite(x) && day <= to {
					rows[k][e.Name] = append(rows[k][e.Name], fmt.Sprintf("%s %s %b", basis.Symbols[k], day, x))
				}
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, of := range rows {
		for name, values := range of {
			out[name] = append(out[name], values...)
		}
	}
	return out
}

// lookAhead returns the features of a list whose values up to some day change
// when the history after it is cut off, or becomes another one.
func lookAhead(t *testing.T, list []Entry) []string {
	cal := weekdays("2019-01-07", 330)
	symbols := []string{"AAA", "BBB"}
	at := cal.At(300)
	var want map[string][]string
	var found []string
	for _, change := range []string{"", "cut", "other"} {
		db := lab(t, factstore.Options{})
		load(t, db, market(symbols[:1], cal, 3, true))
		load(t, db, market(symbols[1:], cal, 3, false))
		switch change {
		case "cut":
			remove(t, db, fmt.Sprintf("ts > DATE '%s'", at))
		case "other":
			remove(t, db, fmt.Sprintf("ts > DATE '%s'", cal.At(302)))
			load(t, db, fmt.Sprintf("SELECT symbol, ts, open * 3 AS open, high * 3 AS high, low * 3 AS low, close * 3 AS close, volume / 7 AS volume, adjusted_close * 3 AS adjusted_close FROM (%s) WHERE ts > DATE '%s'", market(symbols, cal, 8, true), at))
		}
		got := byFeature(t, db, cal, list, at)
		if want == nil {
			want = got
			continue
		}
		for _, e := range list {
			if len(want[e.Name]) == 0 {
				t.Errorf("%s has no values to compare", e.Name)
			}
			if !slices.Equal(got[e.Name], want[e.Name]) && !slices.Contains(found, e.Name) {
				found = append(found, e.Name)
			}
		}
	}
	return found
}

func TestNoFeatureLooksAhead(t *testing.T) {
	t.Parallel()
	list, err := Catalogue("v2")
	if err != nil {
		t.Fatal(err)
	}
	if found := lookAhead(t, list); found != nil {
		t.Errorf("these look ahead: %v", found)
	}
	if len(list) != len(entries()) {
		t.Error("v2 is not the whole catalogue: prove the other entries as well")
	}
}

func TestAFeatureThatLeaksIsNoticed(t *testing.T) {
	t.Parallel()
	leaks := []Entry{
		{Name: "leak_lead", compute: func(s *series, out []float64) {
			for i := range out {
				out[i] = none
				if i+1 < len(out) {
					out[i] = s.close[i+1]/s.close[i] - 1
				}
			}
		}},
		{Name: "leak_mean", compute: func(s *series, out []float64) {
			total := 0.0
			for _, x := range s.close {
				total += x
			}
			for i, x := range s.close {
				out[i] = x / (total / float64(len(out)))
			}
		}},
		{Name: "leak_bits", compute: func(s *series, out []float64) {
			total := 0.0
			for i := len(out) - 1; i >= 0; i-- {
				total += s.close[i]
				out[i] = total
			}
		}},
		{Name: "honest", compute: func(s *series, out []float64) {
			for i, x := range s.close {
				out[i] = x / s.open[i]
			}
		}},
	}
	if found := lookAhead(t, leaks); !slices.Equal(found, []string{"leak_lead", "leak_mean", "leak_bits"}) {
		t.Errorf("noticed %v", found)
	}
}

func TestBitsDoNotDependOnThreads(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 300)
	var symbols []string
	for k := range 20 {
		symbols = append(symbols, fmt.Sprintf("S%d", k))
	}
	var want []string
	var digests []Table
	for _, threads := range []int{1, 2, 8} {
		db := lab(t, factstore.Options{Threads: threads})
		load(t, db, market(symbols, cal, 5, true))
		report := run(t, db, cal, Request{Version: "v2"})
		got := facts(t, db, allFeatures)
		if want == nil {
			want, digests = got, report.Tables
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d threads give other bits", threads)
		}
		if !slices.Equal(report.Tables, digests) {
			t.Errorf("%d threads give %v, not %v", threads, report.Tables, digests)
		}
	}
}

func TestOneDayAtATimeGivesTheSameAsAllAtOnce(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 275)
	bars := market([]string{"AAA", "BBB"}, cal, 6, true)
	days := soak.Count(t, 4, 200)
	whole := lab(t, factstore.Options{})
	load(t, whole, bars)
	run(t, whole, cal, Request{Version: "v2"})
	db := lab(t, factstore.Options{})
	for k := cal.Len() - days; k <= cal.Len(); k++ {
		load(t, db, fmt.Sprintf("SELECT * FROM (%s) WHERE ts <= DATE '%s'", bars, cal.At(min(k, cal.Len()-1))))
		report := run(t, db, cal, Request{Version: "v2", RunID: fmt.Sprint("run", k)})
		if report.Tables[0].Updated+report.Tables[0].Deleted != 0 {
			t.Errorf("a new day changed earlier ones: %+v", report.Tables[0])
		}
		if k > cal.Len()-days && report.Tables[0].Inserted > 2*19 {
			t.Errorf("a new day inserted %d rows", report.Tables[0].Inserted)
		}
	}
	if !slices.Equal(facts(t, db, allFeatures), facts(t, whole, allFeatures)) {
		t.Error("the rows differ")
	}
}

// Whatever is ingested, taken away and computed in between, what stands after a
// run is what computing everything in a new lab gives.
func TestWhatStandsIsWhatComputingEverythingAgainGives(t *testing.T) {
	t.Parallel()
	rounds := soak.Count(t, 3, 100)
	cal := weekdays("2019-01-07", 70)
	symbols := []string{"AAA", "BBB", "CCC", "삼성전자"}
	random := soak.Random(t)
	db := lab(t, factstore.Options{})
	tables := []string{
		"SELECT symbol, ts, feature_name, feature_value FROM features_daily WHERE feature_version = 'v1' ORDER BY ALL", "SELECT * FROM returns ORDER BY ALL",
		"SELECT * FROM labels ORDER BY ALL", "SELECT table_name, symbol, name, version, inputs, facts, last_ts, sums FROM fact_inputs WHERE version <> 'v2' ORDER BY ALL",
		"SELECT table_name, symbol, name, version, from_ts, to_ts FROM fact_slices ORDER BY ALL",
	}
	everything := func(db *factstore.DB, id string) {
		run(t, db, cal, Request{RunID: id, Version: "v1"})
		if _, err := Labels(t.Context(), db, cal, Request{RunID: id + "l", Version: "v1", Horizon: 3}); err != nil {
			t.Fatal(err)
		}
	}
	for round := range rounds {
		for range 1 + random.IntN(4) {
			symbol := symbols[random.IntN(len(symbols))]
			from := random.IntN(cal.Len())
			part := fmt.Sprintf("symbol = '%s' AND ts BETWEEN DATE '%s' AND DATE '%s'", symbol, cal.At(from), cal.At(min(from+random.IntN(60), cal.Len()-1)))
			switch random.IntN(5) {
			case 0:
				remove(t, db, part)
			case 1:
				remove(t, db, "symbol = '"+symbol+"'")
			default:
				load(t, db, "SELECT * FROM ("+market(symbols, cal, random.IntN(3), random.IntN(2) == 0)+") WHERE "+part)
			}
			if random.IntN(2) == 0 {
				_, err := Features(t.Context(), db, cal, Request{RunID: fmt.Sprintf("between%d", round), Version: Versions()[random.IntN(2)], Symbols: []string{symbol}, AcceptRaw: true})
				if err != nil && !errors.Is(err, quant.NotFound) {
					t.Fatal(err)
				}
			}
		}
		load(t, db, "SELECT * FROM ("+market(symbols[:1], cal, 1, false)+")")
		everything(db, fmt.Sprint("run", round))
		fresh := lab(t, factstore.Options{})
		copied := facts(t, db, "SELECT symbol, ts, open, high, low, close, volume, adjusted_close FROM ohlcv ORDER BY ALL")
		load(t, fresh, barsOf(t, db))
		if !slices.Equal(copied, facts(t, fresh, "SELECT symbol, ts, open, high, low, close, volume, adjusted_close FROM ohlcv ORDER BY ALL")) {
			t.Fatal("the bars were not copied")
		}
		everything(fresh, "fresh")
		for _, table := range tables {
			if got, want := facts(t, db, table), facts(t, fresh, table); !slices.Equal(got, want) {
				t.Fatalf("round %d: %d rows, computed afresh %d: %s", round, len(got), len(want), table)
			}
		}
		before, err := db.Ledger(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		everything(db, "again")
		after, err := db.Ledger(t.Context(), "")
		if err != nil || len(after) != len(before) {
			t.Fatalf("round %d: the same again wrote %d ledger rows, %v", round, len(after)-len(before), err)
		}
	}
}

// barsOf is a query that gives the bars of a lab.
func barsOf(t testing.TB, db *factstore.DB) string {
	t.Helper()
	var values []string
	rows, err := db.Query(t.Context(), "SELECT symbol, ts, open, high, low, close, volume, adjusted_close FROM ohlcv ORDER BY ALL")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var symbol string
		var ts quant.Date
		var x [6]float64
		if err := rows.Scan(&symbol, &ts, &x[0], &x[1], &x[2], &x[3], &x[4], &x[5]); err != nil {
			t.Fatal(err)
		}
		values = append(values, fmt.Sprintf("('%s', DATE '%s', %v::DOUBLE, %v::DOUBLE, %v::DOUBLE, %v::DOUBLE, %v::DOUBLE, '%v'::DOUBLE)", symbol, ts, x[0], x[1], x[2], x[3], x[4], x[5]))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return "SELECT * FROM (VALUES " + strings.Join(values, ", ") + ") v(symbol, ts, open, high, low, close, volume, adjusted_close)"
}

func TestTheSameAgainChangesNothingAndKeepsStamps(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 80)
	db := lab(t, factstore.Options{})
	load(t, db, market([]string{"AAA", "BBB"}, cal, 6, false))
	first := run(t, db, cal, Request{RunID: "first", Version: "v1"})
	const stamps = "SELECT *, rowid FROM features_v1 ORDER BY ALL"
	want := facts(t, db, stamps)
	for _, force := range []bool{false, true} {
		again := run(t, db, cal, Request{RunID: "again", Version: "v1", Force: force})
		if ledger, err := db.Ledger(t.Context(), "again"); err != nil || len(ledger) != 0 {
			t.Errorf("force %v: ledger %v, %v", force, ledger, err)
		}
		if !slices.Equal(facts(t, db, stamps), want) {
			t.Errorf("force %v: rows or stamps changed", force)
		}
		for k := range again.Tables {
			if again.Tables[k].Digest != first.Tables[k].Digest || again.Tables[k].Changed() != 0 {
				t.Errorf("force %v: %+v, first %+v", force, again.Tables[k], first.Tables[k])
			}
		}
	}
	run(t, db, cal, Request{RunID: "other", Version: "v2"})
	if again := run(t, db, cal, Request{RunID: "again", Version: "v1"}); again.Computed != 0 {
		t.Errorf("v2 in between made v1 compute %d symbols again", again.Computed)
	}
	load(t, db, fmt.Sprintf("SELECT 'AAA' AS symbol, DATE '%s' AS ts, 1.0::DOUBLE AS open, 1.0::DOUBLE AS high, 1.0::DOUBLE AS low, 1.0::DOUBLE AS close, 1.0::DOUBLE AS volume, 1.0::DOUBLE AS adjusted_close", cal.At(79)))
	changed := run(t, db, cal, Request{RunID: "changed", Version: "v1"})
	if changed.Computed != 1 || changed.Tables[0].Inserted != 0 || changed.Tables[0].Updated != 8 || changed.Tables[0].Digest == first.Tables[0].Digest {
		t.Errorf("one bar changed: %+v", changed)
	}
	writers, err := db.SliceWriters(t.Context(), "returns", "symbol = 'AAA'")
	if err != nil || !slices.Equal(writers, []string{"changed"}) {
		t.Errorf("returns of AAA are by %v, %v", writers, err)
	}
	if problems, err := db.Check(t.Context()); err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestScaleFreeFeaturesStayWhenTheHistoryIsRescaled(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 300)
	bars := market([]string{"AAA"}, cal, 6, true)
	values := map[float64]map[key]float64{}
	for _, c := range []float64{1, 1.0 / 7, 1e-3, 12345.678} {
		db := lab(t, factstore.Options{})
		load(t, db, fmt.Sprintf("SELECT * REPLACE (adjusted_close * %v AS adjusted_close) FROM (%s)", c, bars))
		run(t, db, cal, Request{Version: "v2"})
		values[c] = stored(t, db, "v2")
	}
	list, _ := Catalogue("v2")
	moved := map[string]bool{}
	for c, got := range values {
		if len(got) != len(values[1]) {
			t.Errorf("scaled by %v: %d values, not %d", c, len(got), len(values[1]))
		}
		for k, want := range values[1] {
			difference := got[k] - want
			if difference < 0 {
				difference = -difference
			}
			if difference > 1e-12*max(1, want, -want) {
				moved[k.name] = true
			}
		}
	}
	for _, e := range list {
		if moved[e.Name] == e.ScaleFree {
			t.Errorf("%s moves with the scale: %v, and is called scale-free: %v", e.Name, moved[e.Name], e.ScaleFree)
		}
		twin, err := Lookup(e.Twin, "v2")
		if e.ScaleFree != (e.Twin == "") || !e.ScaleFree && (err != nil || !twin.ScaleFree) {
			t.Errorf("%s has the twin %q, %v", e.Name, e.Twin, err)
		}
	}
}

func TestTheCatalogueSaysTheFirstRowAndTheLookBack(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 300)
	list, _ := Catalogue("v2")
	bars := market([]string{"AAA"}, cal, 6, false)
	db, later := lab(t, factstore.Options{}), lab(t, factstore.Options{})
	load(t, db, bars)
	run(t, db, cal, Request{Version: "v2"})
	got := stored(t, db, "v2")
	for _, e := range list {
		first := 0
		for first < cal.Len() {
			if _, have := got[key{"AAA", cal.At(first), e.Name}]; have {
				break
			}
			first++
		}
		if first+1 != e.FirstRow {
			t.Errorf("%s has its first value at bar %d, the catalogue says %d", e.Name, first+1, e.FirstRow)
		}
	}
	// Without what lies before the look-back, the values of the last day stay.
	load(t, later, bars)
	slices.SortStableFunc(list, func(a, b Entry) int { return b.Lookback - a.Lookback })
	for _, e := range list {
		if e.Gaps == gapsRecursive {
			continue
		}
		remove(t, later, fmt.Sprintf("ts < DATE '%s'", cal.At(299-e.Lookback)))
		if _, err := compute(t.Context(), later, cal, Request{RunID: "r", Version: "v2"}, []Entry{e}); err != nil {
			t.Fatal(err)
		}
		k := key{"AAA", cal.At(299), e.Name}
		if now, have := stored(t, later, "v2")[k]; !have || now != got[k] {
			t.Errorf("%s reads more than %d sessions back: %v (%v), with all history %v", e.Name, e.Lookback, now, have, got[k])
		}
	}
}

func values(symbol string, cal *calendar.Calendar, bar func(i int) (open, high, low, close, volume string)) string {
	var rows []string
	for i := range cal.Len() {
		if o, h, l, c, v := bar(i); o != "" {
			rows = append(rows, fmt.Sprintf("('%s', DATE '%s', '%s'::DOUBLE, '%s'::DOUBLE, '%s'::DOUBLE, '%s'::DOUBLE, '%s'::DOUBLE)", symbol, cal.At(i), o, h, l, c, v))
		}
	}
	return "SELECT *, close AS adjusted_close FROM (VALUES " + strings.Join(rows, ", ") + ") v(symbol, ts, open, high, low, close, volume)"
}

func TestAFlatSeriesHasRSIFiftyAndNoBandsToStandIn(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 60)
	db := lab(t, factstore.Options{})
	load(t, db, values("FLAT", cal, func(int) (o, h, l, c, v string) { return "0.1", "0.1", "0.1", "0.1", "0" }))
	report := run(t, db, cal, Request{Version: "v2"})
	got := stored(t, db, "v2")
	for name, want := range map[string]float64{"rsi_14": 50, "atr_14": 0, "vol_20d": 0, "ret_20d": 0, "hl_range": 0} {
		if v, have := got[key{"FLAT", cal.At(59), name}]; !have || v != want {
			t.Errorf("%s of a flat series is %v (%v)", name, v, have)
		}
	}
	for _, s := range report.Series {
		if slices.Contains([]string{"volume_ratio_20d", "amihud_20d", "bb_pctb"}, s.Name) && s.Rows != 0 {
			t.Errorf("a flat series without volume has %d rows of %s", s.Rows, s.Name)
		}
		if s.Name == "volume_ratio_20d" && s.NonFinite != 41 {
			t.Errorf("0/0 is counted %d times", s.NonFinite)
		}
	}
	if !slices.Contains(report.Notices, "volume_ratio_20d: 41 values are NaN or infinite and have no row") {
		t.Errorf("notices %q", report.Notices)
	}
}

func TestAmihudNeedsFifteenSessionsWithVolume(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 41)
	db := lab(t, factstore.Options{})
	load(t, db, values("V", cal, func(i int) (o, h, l, c, v string) {
		volume := "100"
		if i >= 35 { // the sixth session without volume comes at 40
			volume = "0"
		}
		price := fmt.Sprint(10 + i%3)
		return price, price, price, price, volume
	}))
	run(t, db, cal, Request{Version: "v2"})
	got := stored(t, db, "v2")
	if _, have := got[key{"V", cal.At(39), "amihud_20d"}]; !have {
		t.Error("15 sessions with volume are enough")
	}
	if _, have := got[key{"V", cal.At(40), "amihud_20d"}]; have {
		t.Error("14 sessions with volume are too few")
	}
}

func TestNumbersThatAreNoneHaveNoRowsAndPoisonNothingElse(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 120)
	good := func(i int) (o, h, l, c, v string) {
		p := fmt.Sprint(100 + (i*7)%11)
		return p, p, p, p, "1000"
	}
	load2 := func(db *factstore.DB, bad string) {
		query := values("X", cal, func(i int) (o, h, l, c, v string) {
			if i == 40 {
				return bad, bad, bad, bad, bad
			}
			return good(i)
		})
		load(t, db, strings.Replace(query, "close AS adjusted_close", "NULL::DOUBLE AS adjusted_close", 1))
	}
	missing := lab(t, factstore.Options{})
	load2(missing, "1e308")
	remove(t, missing, fmt.Sprintf("ts = DATE '%s'", cal.At(40)))
	run(t, missing, cal, Request{Version: "v2"})
	want := stored(t, missing, "v2")
	for _, bad := range []string{"NaN", "Infinity", "-Infinity", "0"} {
		db := lab(t, factstore.Options{})
		load2(db, bad)
		run(t, db, cal, Request{Version: "v2", AcceptRaw: true})
		var n int
		if err := db.QueryRow(t.Context(), "SELECT count(*) FROM features_daily WHERE feature_value IS NULL OR NOT isfinite(feature_value)").Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d rows are no number, %v", bad, n, err)
		}
		got := stored(t, db, "v2")
		if bad == "0" {
			continue // a price of 0 is a number
		}
		for k, v := range want {
			if k.ts > cal.At(100) && got[k] != v {
				t.Errorf("%s: %v is %v long after, without the bar %v", bad, k, got[k], v)
			}
		}
	}
}

func TestOneBarIsEnoughForTheDaysRangeAlone(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 1)
	db := lab(t, factstore.Options{})
	load(t, db, values("ONE", cal, func(int) (o, h, l, c, v string) { return "10", "11", "9", "10", "5" }))
	run(t, db, cal, Request{Version: "v2"})
	if got := stored(t, db, "v2"); len(got) != 1 || got[key{"ONE", cal.At(0), "hl_range"}] != 0.2 {
		t.Errorf("%v", got)
	}
	if report, err := Labels(t.Context(), db, cal, Request{RunID: "r", Version: "v1", Horizon: 1}); err != nil || report.Tables[0].Changed() != 0 {
		t.Errorf("%+v %v", report, err)
	}
}

func TestRowsWhoseBarsAreGoneGo(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 90)
	db := lab(t, factstore.Options{})
	load(t, db, market([]string{"AAA", "BBB"}, cal, 1, false))
	run(t, db, cal, Request{Version: "v1"})
	run(t, db, cal, Request{Version: "v2"})
	remove(t, db, "symbol = 'AAA'")
	if report := run(t, db, cal, Request{Version: "v1", Symbols: []string{"BBB"}}); report.Removed != 0 {
		t.Error("a run of BBB touched AAA")
	}
	if report := run(t, db, cal, Request{Version: "v1", Symbols: []string{"AAA"}}); report.Removed != 1 || report.Tables[0].Deleted == 0 {
		t.Errorf("%+v", report)
	}
	if got := facts(t, db, "SELECT DISTINCT symbol, feature_version FROM features_daily ORDER BY ALL"); !slices.Equal(got, []string{" AAA v2", " BBB v1", " BBB v2"}) {
		t.Errorf("%q", got)
	}
	run(t, db, cal, Request{Version: "v2"})
	if got := facts(t, db, "SELECT DISTINCT symbol FROM features_daily"); !slices.Equal(got, []string{" BBB"}) {
		t.Errorf("%q", got)
	}
	if _, err := Features(t.Context(), db, cal, Request{RunID: "r", Version: "v1", Symbols: []string{"AAA"}}); !errors.Is(err, quant.NotFound) {
		t.Errorf("no bars and no rows: %v", err)
	}
	if problems, err := db.Check(t.Context()); err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestARunThatIsCutOffLeavesWhatWas(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 90)
	db := lab(t, factstore.Options{})
	load(t, db, market([]string{"AAA"}, cal, 1, false))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Features(ctx, db, cal, Request{RunID: "r", Version: "v1"}); err == nil {
		t.Error("a cancelled run succeeded")
	}
	if n := len(facts(t, db, allFeatures)); n != 0 {
		t.Errorf("%d rows", n)
	}
	if report := run(t, db, cal, Request{Version: "v1"}); report.Computed != 1 {
		t.Errorf("%+v", report)
	}
}

func TestRawPricesThatSplitAreRefused(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 30)
	db := lab(t, factstore.Options{})
	load(t, db, strings.Replace(values("RAW", cal, func(i int) (o, h, l, c, v string) {
		p := "100"
		if i > 20 {
			p = "50"
		}
		return p, p, p, p, "5"
	}), "close AS adjusted_close", "NULL::DOUBLE AS adjusted_close", 1))
	if _, err := Features(t.Context(), db, cal, Request{RunID: "r", Version: "v1"}); !errors.Is(err, quant.Refused) {
		t.Errorf("%v", err)
	}
	if report := run(t, db, cal, Request{Version: "v1", AcceptRaw: true}); report.Basis != "raw" || !strings.HasPrefix(report.Notices[0], "UNADJUSTED") {
		t.Errorf("%+v", report)
	}
}

func TestNamesOfLabelsAreReadBack(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"fwd_ret_60d": 60, "direction_1d": 1, "fwd_ret_0d": 0, "fwd_ret_060d": 0, "fwd_ret_+6d": 0, "fwd_ret_6": 0, "ret_6d": 0, "fwd_ret_99999999999999999999d": 0} {
		if h, ok := LabelHorizon(name); ok != (want > 0) || ok && h != want {
			t.Errorf("%s: %d %v", name, h, ok)
		}
	}
	for _, h := range []int{-1, 0, maxHorizon + 1} {
		if err := CheckHorizon(h); !errors.Is(err, quant.Invalid) {
			t.Errorf("horizon %d: %v", h, err)
		}
	}
	if _, err := Lookup("rsi_14", "v1"); !errors.Is(err, quant.NotFound) || !strings.Contains(quant.HintOf(err), "rsi_14@v2") {
		t.Errorf("%v", err)
	}
	if _, err := Catalogue("v9"); !errors.Is(err, quant.Invalid) {
		t.Errorf("%v", err)
	}
}

func FuzzLabelHorizon(f *testing.F) {
	for _, s := range []string{"fwd_ret_60d", "direction_5d", "fwd_ret_d", "direction_-1d", "fwd_ret_١d", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		h, ok := LabelHorizon(name)
		if !ok {
			return
		}
		if forward, direction := LabelNames(h); name != forward && name != direction {
			t.Errorf("%q is read as %d, which is called %q or %q", name, h, forward, direction)
		}
	})
}

// docs/features.md holds the catalogue as a table; to write it anew, copy the
// rows that this test prints.
func TestTheDocumentHoldsTheCatalogue(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/features.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, e := range entries() {
		rank := "scale-free"
		if !e.ScaleFree {
			rank = "price level; `" + e.Twin + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %d | %d | %s | %s | %s | %s |\n", e.Name, strings.Join(e.Versions, ", "),
			strings.ReplaceAll(e.Definition, "|", "\\|"), e.Lookback, e.FirstRow, e.Gaps, e.Unit, rank, e.Source))
	}
	if table := strings.Join(rows, ""); !strings.Contains(string(document), "|---|---|---|---|---|---|---|---|---|\n"+table+"\n") {
		t.Errorf("docs/features.md does not hold this table:\n%s", table)
	}
}

// spell writes inputs or outputs one a word, without digests, which must be
// there for tables.
func spell(t *testing.T, list []quant.RunIO) string {
	t.Helper()
	var words []string
	for _, io := range list {
		word := string(io.Direction) + " " + io.Kind + " " + io.Name
		if io.Kind == quant.IOTable {
			word += fmt.Sprintf(" %d %s..%s", *io.Rows, io.FirstDate, io.LastDate)
			if len(io.Digest) < 20 {
				t.Errorf("%s has the digest %q", word, io.Digest)
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, "; ")
}

func TestReportsSayWhatWasReadAndWritten(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 80)
	db := lab(t, factstore.Options{})
	load(t, db, market([]string{"AAA", "BBB"}, cal, 6, false))
	features := run(t, db, cal, Request{RunID: "features", Version: "v1"})
	if got, want := spell(t, features.Inputs), "in table ohlcv 160 2019-01-07..2019-04-26; in run load"; got != want {
		t.Errorf("features read %q, want %q", got, want)
	}
	if len(features.Outputs) != 2 || *features.Outputs[0].Rows != features.Tables[0].Inserted || !strings.HasPrefix(spell(t, features.Outputs), "out table features_daily ") {
		t.Errorf("features wrote %q", spell(t, features.Outputs))
	}
	labels, err := Labels(t.Context(), db, cal, Request{RunID: "labels", Version: "v1", Horizon: 5, Symbols: []string{"AAA"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := spell(t, append(labels.Inputs, labels.Outputs...)), "in table ohlcv 80 2019-01-07..2019-04-26; in run load; out table labels 150 2019-01-07..2019-04-26"; got != want {
		t.Errorf("labels: %q, want %q", got, want)
	}
	report := judged(t, db, 80, FactorRequest{Feature: "ret_5d", FeatureVersion: "v1", Label: "fwd_ret_5d", LabelVersion: "v1", Symbols: []string{"AAA"}})
	days := fmt.Sprintf("%s..%s", report.FirstDate, report.LastDate)
	want := "in table features_daily:ret_5d@v1 75 " + days + "; in table labels:fwd_ret_5d@v1 75 " + days + "; in table ohlcv 80 " + days + "; in run features; in run load; in run labels"
	if got := spell(t, report.Inputs); got != want {
		t.Errorf("a factor report read %q, want %q", got, want)
	}
}
