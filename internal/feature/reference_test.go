package feature

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
)

// tolerance is the relative difference, against the greater of the value and
// 1e-6 of the price level, that two ways of adding the same numbers may show.
const tolerance = 1e-9

func near(a, b, scale float64) bool {
	return math.Abs(a-b) <= tolerance*max(math.Abs(a), math.Abs(b), 1e-6*scale)
}

func TestValuesAgreeWithTheReferenceNumbersOfTALib(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/talib.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cal := weekdays("2020-01-06", 300)
	names := []string{"rsi_14", "atr_14", "macd", "macd_signal", "bb_upper", "bb_lower"}
	var values []string
	want := map[string][]string{}
	for scan := bufio.NewScanner(f); scan.Scan(); {
		line := scan.Text()
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "high") {
			continue
		}
		cells := strings.Split(line, ",")
		values = append(values, fmt.Sprintf("(DATE '%s', %s::DOUBLE, %s::DOUBLE, %s::DOUBLE)", cal.At(len(values)), cells[0], cells[1], cells[2]))
		for k, name := range names {
			want[name] = append(want[name], cells[3+k])
		}
	}
	db := lab(t, factstore.Options{})
	load(t, db, "SELECT 'A' AS symbol, ts, close AS open, high, low, close, 1.0::DOUBLE AS volume, close AS adjusted_close FROM (VALUES "+strings.Join(values, ", ")+") v(ts, high, low, close)")
	run(t, db, cal, Request{Version: "v2"})
	got := stored(t, db, "v2")
	for _, name := range names {
		compared := 0
		for i, cell := range want[name] {
			value, have := got[key{"A", cal.At(i), name}]
			if have != (cell != "") {
				t.Errorf("%s at bar %d: there is a value: %v, in TA-Lib: %v", name, i+1, have, cell != "")
				continue
			}
			if !have {
				continue
			}
			reference, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				t.Fatal(err)
			}
			compared++
			if !near(value, reference, 100) {
				t.Errorf("%s at bar %d is %v, in TA-Lib %v", name, i+1, value, reference)
			}
		}
		if compared < 200 {
			t.Errorf("%s: only %d values compared", name, compared)
		}
	}
}

type key struct {
	symbol string
	ts     quant.Date
	name   string
}

func stored(t testing.TB, db *factstore.DB, version string) map[key]float64 {
	t.Helper()
	return readValues(t, db, "SELECT symbol, ts, feature_name, feature_value FROM features_daily WHERE feature_version = '"+version+"'")
}

func readValues(t testing.TB, db *factstore.DB, query string) map[key]float64 {
	t.Helper()
	rows, err := db.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	values := map[key]float64{}
	for rows.Next() {
		var k key
		var v float64
		if err := rows.Scan(&k.symbol, &k.ts, &k.name, &v); err != nil {
			t.Fatal(err)
		}
		if _, twice := values[k]; twice {
			t.Errorf("%v stands twice", k)
		}
		values[k] = v
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

// plainBar is an adjusted bar of the reference.
type plainBar struct{ open, high, low, close, volume float64 }

// reference computes every feature of a symbol from its bars by session index,
// written from the definitions, each value by itself, without windows, without
// SQL and without state but in the recursions.
func reference(bars map[int]plainBar) map[int]map[string]float64 {
	first, last := math.MaxInt, -1
	for i := range bars {
		first, last = min(first, i), max(last, i)
	}
	all := func(from, to int) bool {
		for i := from; i <= to; i++ {
			if _, ok := bars[i]; !ok {
				return false
			}
		}
		return true
	}
	out := map[int]map[string]float64{}
	for t := range bars {
		v := map[string]float64{}
		out[t] = v
		b := bars[t]
		for _, k := range []int{1, 5, 20, 60} {
			if all(t-k, t) {
				v[fmt.Sprintf("ret_%dd", k)] = b.close/bars[t-k].close - 1
			}
		}
		if all(t-252, t) {
			v["mom_12_1"] = bars[t-21].close/bars[t-252].close - 1
		}
		if all(t-1, t) {
			v["gap_open"] = b.open/bars[t-1].close - 1
		}
		v["hl_range"] = (b.high - b.low) / b.close
		var rets, volumes, closes, illiq []float64
		for i := t - 19; i <= t; i++ {
			x, ok := bars[i]
			if !ok {
				continue
			}
			volumes, closes = append(volumes, x.volume), append(closes, x.close)
			if y, ok := bars[i-1]; ok {
				r := x.close/y.close - 1
				rets = append(rets, r)
				if x.volume > 0 {
					illiq = append(illiq, math.Abs(r)/(x.close*x.volume))
				}
			}
		}
		if t-first >= 20 && len(rets) >= 16 {
			v["vol_20d"] = spread(rets, 1)
		}
		if t-first >= 19 && len(volumes) >= 16 {
			v["volume_ratio_20d"] = b.volume / average(volumes)
			m, s := average(closes), spread(closes, 0)
			v["bb_upper"], v["bb_lower"] = m+2*s, m-2*s
			if s > 0 {
				v["bb_pctb"] = (b.close - v["bb_lower"]) / (v["bb_upper"] - v["bb_lower"])
			}
		}
		if t-first >= 20 && len(illiq) >= 15 {
			v["amihud_20d"] = 1e6 * average(illiq)
		}
	}
	// The recursions, from list to list.
	var run []int
	flush := func() {
		for name, values := range recursions(run, bars) {
			for t, x := range values {
				out[t][name] = x
			}
		}
		run = nil
	}
	for i := first; i <= last; i++ {
		if _, ok := bars[i]; !ok {
			continue
		}
		if len(run) > 0 && i-run[len(run)-1] > 11 {
			flush()
		}
		run = append(run, i)
	}
	flush()
	return out
}

func recursions(run []int, bars map[int]plainBar) map[string]map[int]float64 {
	out := map[string]map[int]float64{"rsi_14": {}, "atr_14": {}, "atr_pct_14": {}, "macd": {}, "macd_signal": {}, "macd_pct": {}}
	var ups, downs, ranges []float64
	for k := 1; k < len(run); k++ {
		b, p := bars[run[k]], bars[run[k-1]]
		ups, downs = append(ups, math.Max(b.close-p.close, 0)), append(downs, math.Max(p.close-b.close, 0))
		ranges = append(ranges, math.Max(b.high-b.low, math.Max(math.Abs(b.high-p.close), math.Abs(b.low-p.close))))
	}
	smooth := func(x []float64) []float64 { // result k belongs to x[13+k]
		var s []float64
		for k := 13; k < len(x); k++ {
			if k == 13 {
				s = append(s, average(x[:14]))
			} else {
				s = append(s, s[len(s)-1]+(x[k]-s[len(s)-1])/14)
			}
		}
		return s
	}
	u, d, r := smooth(ups), smooth(downs), smooth(ranges)
	for k := range u {
		t := run[14+k]
		out["rsi_14"][t] = 50
		if u[k]+d[k] > 0 {
			out["rsi_14"][t] = 100 - 100/(1+u[k]/d[k])
		}
		out["atr_14"][t], out["atr_pct_14"][t] = r[k], r[k]/bars[t].close
	}
	var closes []float64
	for _, t := range run {
		closes = append(closes, bars[t].close)
	}
	expo := func(x []float64, n int) []float64 { // result k belongs to x[n-1+k]
		var s []float64
		for k := n - 1; k < len(x); k++ {
			if k == n-1 {
				s = append(s, average(x[:n]))
			} else {
				s = append(s, s[len(s)-1]*(1-2/float64(n+1))+x[k]*2/float64(n+1))
			}
		}
		return s
	}
	if len(closes) < 26 {
		return out
	}
	slow, fast := expo(closes, 26), expo(closes[14:], 12)
	var line []float64
	for k := range slow {
		line = append(line, fast[k]-slow[k])
	}
	for k, s := range expo(line, 9) {
		t := run[33+k]
		out["macd"][t], out["macd_signal"][t], out["macd_pct"][t] = line[8+k], s, line[8+k]/bars[t].close
	}
	return out
}

func average(x []float64) float64 {
	s := 0.0
	for k := len(x) - 1; k >= 0; k-- { // not in the order of the program
		s += x[k]
	}
	return s / float64(len(x))
}

// spread is the deviation with n - less in the denominator.
func spread(x []float64, less int) float64 {
	m, s := average(x), 0.0
	for _, v := range x {
		s += (v - m) * (v - m)
	}
	return math.Sqrt(s / float64(len(x)-less))
}

// adjusted reads the bars of every symbol, by session, on the adjusted basis.
func adjusted(t testing.TB, db *factstore.DB, cal *calendar.Calendar) map[string]map[int]plainBar {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT symbol, ts, open, high, low, close, volume, adjusted_close FROM ohlcv")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]map[int]plainBar{}
	for rows.Next() {
		var symbol string
		var ts quant.Date
		var b plainBar
		var a float64
		if err := rows.Scan(&symbol, &ts, &b.open, &b.high, &b.low, &b.close, &b.volume, &a); err != nil {
			t.Fatal(err)
		}
		f := a / b.close
		i, ok := cal.Index(ts)
		if !ok {
			continue
		}
		if all[symbol] == nil {
			all[symbol] = map[int]plainBar{}
		}
		all[symbol][i] = plainBar{b.open * f, b.high * f, b.low * f, a, b.volume / f}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// Every feature, return and label, also around missing sessions, of names that
// need quoting, agrees with the plain reference, and there is a row exactly
// where that has a value.
func TestEveryValueAgreesWithAPlainReference(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 420)
	db := lab(t, factstore.Options{})
	load(t, db, market([]string{"AAA", "삼성전자", `O'N"EIL`}, cal, 3, true))
	load(t, db, market([]string{"WHOLE"}, cal, 4, false))
	remove(t, db, fmt.Sprintf("symbol = 'AAA' AND (ts BETWEEN DATE '%s' AND DATE '%s' OR ts BETWEEN DATE '%s' AND DATE '%s')", cal.At(100), cal.At(105), cal.At(200), cal.At(211)))
	run(t, db, cal, Request{Version: "v2"})
	if _, err := Labels(t.Context(), db, cal, Request{RunID: "labels", Version: "v1", Horizon: 7}); err != nil {
		t.Fatal(err)
	}
	got := stored(t, db, "v2")
	returns := readValues(t, db, "SELECT symbol, ts, name, value FROM (UNPIVOT returns ON ret_1d, ret_5d, ret_20d, ret_60d INTO NAME name VALUE value)")
	labels := readValues(t, db, "SELECT symbol, ts, label_name, label_value FROM labels")
	wanted, ofReturns, ofLabels := 0, 0, 0
	for symbol, bars := range adjusted(t, db, cal) {
		for i, values := range reference(bars) {
			for name, want := range values {
				wanted++
				k := key{symbol, cal.At(i), name}
				value, have := got[k]
				if !have || !near(value, want, bars[i].close) {
					t.Errorf("%v is %v (%v), by the reference %v", k, value, have, want)
				}
				if strings.HasPrefix(name, "ret_") {
					ofReturns++
					if returns[k] != value {
						t.Errorf("returns: %v is %v, as a feature %v", k, returns[k], value)
					}
				}
			}
			if end, ok := bars[i+7]; ok {
				ofLabels += 2
				forward := end.close/bars[i].close - 1
				direction := 0.0
				if forward > 0 {
					direction = 1
				}
				if v, have := labels[key{symbol, cal.At(i), "fwd_ret_7d"}]; !have || v != forward {
					t.Errorf("fwd_ret_7d of %s on %s is %v (%v), want %v", symbol, cal.At(i), v, have, forward)
				}
				if v, have := labels[key{symbol, cal.At(i), "direction_7d"}]; !have || v != direction {
					t.Errorf("direction_7d of %s on %s is %v (%v), want %v", symbol, cal.At(i), v, have, direction)
				}
			}
		}
	}
	if len(got) != wanted || len(returns) != ofReturns || len(labels) != ofLabels || wanted < 10_000 {
		t.Errorf("%d features, %d returns, %d labels; by the reference %d, %d, %d", len(got), len(returns), len(labels), wanted, ofReturns, ofLabels)
	}
}
