package feature

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/price"
)

// The SQL that first defined the values, kept as the reference that the kernel's bits
// are held to: lagged is over the bars of a symbol in their order, the window w; rolled
// over the sums of wideSQL; neither: a recursion.
type sqlEntry struct{ name, lagged, rolled string }

func returnSQL(name, k string) sqlEntry {
	return sqlEntry{name: name, lagged: "CASE WHEN i - lag(i, " + k + ") OVER w = " + k + " THEN close / lag(close, " + k + ") OVER w - 1 END"}
}

func rollingSQL(variable string, warm int, expr string) string {
	return fmt.Sprintf("CASE WHEN i - i0 >= %d AND %s_n >= 16 THEN %s END", warm, variable, expr)
}

func sqlEntries(version string) []sqlEntry {
	const deviation = "sqrt(p_sq / p_n)"
	list := []sqlEntry{
		returnSQL("ret_1d", "1"), returnSQL("ret_5d", "5"), returnSQL("ret_20d", "20"), returnSQL("ret_60d", "60"),
		{name: "vol_20d", rolled: rollingSQL("r1", 20, "sqrt(r1_sq / (r1_n - 1))")},
		{name: "gap_open", lagged: "CASE WHEN i - lag(i, 1) OVER w = 1 THEN open / lag(close, 1) OVER w - 1 END"},
		{name: "hl_range", lagged: "(high - low) / close"},
		{name: "volume_ratio_20d", rolled: rollingSQL("v", 19, "v / v_mean")},
	}
	if version == "v1" {
		return list
	}
	for _, name := range []string{"rsi_14", "atr_14", "atr_pct_14", "macd", "macd_signal", "macd_pct"} {
		list = append(list, sqlEntry{name: name})
	}
	return append(list,
		sqlEntry{name: "bb_upper", rolled: rollingSQL("p", 19, "p_mean + 2 * "+deviation)},
		sqlEntry{name: "bb_lower", rolled: rollingSQL("p", 19, "p_mean - 2 * "+deviation)},
		sqlEntry{name: "bb_pctb", rolled: rollingSQL("p", 19, "0.5 + (p - p_mean) / (4 * nullif("+deviation+", 0))")},
		sqlEntry{name: "mom_12_1", lagged: "CASE WHEN i - lag(i, 252) OVER w = 252 THEN lag(close, 21) OVER w / lag(close, 252) OVER w - 1 END"},
		sqlEntry{name: "amihud_20d", rolled: "CASE WHEN i - i0 >= 20 AND illiq_n >= 15 THEN 1e6 * illiq_mean END"})
}

// wideSQL selects the wide table of these entries for the symbols of
// symbolTable.
//
// Entries see of a bar: symbol, i, ts, open, high, low, close, volume, and i0,
// the symbol's first bar; for sums p (close), v (volume), r1 (ret_1d) and illiq,
// which are NULL where they are no number, so that a sum takes such a bar for a
// missing one. (A figure of 1e100 is none either: its square is infinite.) Of
// these each that is asked for has, over the last 20 sessions, _n, their number,
// _mean, and _sq, the sum of the squared distances from it.
//
// The sums are written out, lag by lag, from the newest bar to the oldest: no
// window of DuckDB promises an order of addition, and those over DOUBLE change
// their last bits with the rows around the frame. They are taken from the
// newest value, which keeps a flat series flat.
func wideSQL(list []sqlEntry) string {
	var lagged, rolled, lags, inWindow, sums, means, squares strings.Builder
	for _, e := range list {
		switch {
		case e.lagged != "":
			fmt.Fprintf(&lagged, ", %s AS %s", e.lagged, e.name)
			fmt.Fprintf(&rolled, ", %s", e.name)
		case e.rolled != "":
			fmt.Fprintf(&rolled, ", %s AS %s", e.rolled, e.name)
		}
	}
	const window = 20
	some := false
	for _, x := range []string{"p", "v", "r1", "illiq"} {
		if !strings.Contains(rolled.String(), " "+x+"_n ") {
			continue
		}
		if !some {
			for k := 1; k < window; k++ {
				fmt.Fprintf(&lags, ", lag(i, %d) OVER w >= i - %d AS has%[1]d", k, window-1)
			}
			some = true
		}
		n, total, sq := "("+x+" IS NOT NULL)::INTEGER", "0", fmt.Sprintf("coalesce((%s - %[1]s_mean) * (%[1]s - %[1]s_mean), 0)", x)
		for k := 1; k < window; k++ {
			y := fmt.Sprintf("%s_%d", x, k)
			fmt.Fprintf(&lags, ", lag(%s, %d) OVER w AS lag_%s", x, k, y)
			fmt.Fprintf(&inWindow, ", CASE WHEN has%d THEN lag_%s END AS %[2]s", k, y)
			n += fmt.Sprintf(" + (%s IS NOT NULL)::INTEGER", y)
			total += fmt.Sprintf(" + coalesce(%s - %s_0, 0)", y, x)
			sq += fmt.Sprintf(" + coalesce((%s - %s_mean) * (%[1]s - %[2]s_mean), 0)", y, x)
		}
		fmt.Fprintf(&sums, ", %s AS %s_n, %s AS %[2]s_total", n, x, total)
		fmt.Fprintf(&inWindow, ", coalesce(%s, 0) AS %[1]s_0", x)
		fmt.Fprintf(&means, ", %[1]s_0 + %[1]s_total / %[1]s_n AS %[1]s_mean", x)
		if strings.Contains(rolled.String(), x+"_sq") {
			fmt.Fprintf(&squares, ", %s AS %s_sq", sq, x)
		}
	}
	return fmt.Sprintf(`
WITH b AS (
	SELECT symbol, i, ts, open, high, low, close, volume, CASE WHEN abs(close) < 1e100 THEN close END AS p, CASE WHEN abs(volume) < 1e100 THEN volume END AS v
	FROM temp.main.%s SEMI JOIN temp.main.%s USING (symbol)),
r AS (
	SELECT *, min(i) OVER (PARTITION BY symbol) AS i0, CASE WHEN i - lag(i) OVER o = 1 THEN p / lag(p) OVER o - 1 END AS r1
	FROM b WINDOW o AS (PARTITION BY symbol ORDER BY i)),
q AS (
	SELECT * REPLACE (CASE WHEN abs(r1) < 1e100 THEN r1 END AS r1), CASE WHEN p * v > 0 AND abs(r1) / (p * v) < 1e100 THEN abs(r1) / (p * v) END AS illiq FROM r),
l AS (SELECT symbol, i, ts, i0, p, v, r1, illiq%s%s FROM q WINDOW w AS (PARTITION BY symbol ORDER BY i)),
k AS (SELECT *%s FROM l),
s AS (SELECT *%s FROM k),
m AS (SELECT *%s FROM s),
d AS (SELECT *%s FROM m)
SELECT symbol, ts%s FROM d`, price.BarView, symbolTable, lagged.String(), lags.String(), inWindow.String(), sums.String(), means.String(), squares.String(), rolled.String())
}

func TestDefinitionsStandForTheirValues(t *testing.T) {
	t.Parallel()
	db := lab(t, factstore.Options{})
	for version, want := range map[string]string{"v1": definitionV1, "v2": definitionV2} {
		var recursions []string
		list := sqlEntries(version)
		entries, _ := Catalogue(version)
		_, columns, _, err := db.FeatureTable(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		for k, e := range list {
			if e.lagged+e.rolled == "" {
				recursions = append(recursions, e.name)
			}
			if entries[k].Name != e.name || columns[k] != e.name || len(columns) != len(entries) {
				t.Errorf("%s: entry %d is %s, its column %s, its reference %s", version, k, entries[k].Name, columns[k], e.name)
			}
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s\nkernel %d %s", wideSQL(list), 1, recursions))); got != want || definitionOf(version, entries) != want {
			t.Errorf("%s: the reference is %s", version, got)
		}
	}
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(wideSQL(sqlEntries("v1")[:4])))); got != returnsDefinition {
		t.Errorf("returns: the reference is %s", got)
	}
}

func TestTheKernelGivesTheBitsOfItsDefinition(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 330)
	symbols := []string{"AAA", "BBB", "CCC", "FLAT", "WILD", "삼성전자"}
	db := lab(t, factstore.Options{})
	load(t, db, market(symbols[:2], cal, 3, true))
	load(t, db, market(symbols[2:3], cal, 4, false))
	load(t, db, market(symbols[5:], cal, 5, true)+" AND s <> '' AND d % 3 = 0")
	load(t, db, values("FLAT", cal, func(i int) (o, h, l, c, v string) {
		if i > 100 && i < 130 {
			return "", "", "", "", ""
		}
		return "0.1", "0.1", "0.1", "0.1", fmt.Sprint(i % 2 * 100)
	}))
	load(t, db, values("WILD", cal, func(i int) (o, h, l, c, v string) {
		x := []string{"NaN", "1e100", "9e99", "0", "Infinity", "1e-300", "-Infinity", "1e308"}
		p := fmt.Sprint(10 + i%7)
		if i%23 == 11 {
			p = x[i/23%len(x)]
		}
		return p, p, p, p, []string{"1", "0", "1e99", "NaN", "5", "7"}[i%6]
	}))
	basis, err := price.Stage(t.Context(), db, cal, price.Request{AcceptRaw: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Stage(t.Context(), "CREATE TEMP TABLE "+symbolTable+" AS SELECT symbol FROM temp.main."+price.BasisTable); err != nil {
		t.Fatal(err)
	}
	c := computation{db: db, cal: cal, basis: basis}
	if err := basis.Read(t.Context(), db, cal, price.Request{}, basis.Symbols, 0, &c.bars); err != nil {
		t.Fatal(err)
	}
	spell := func(x float64, null bool) string {
		if null {
			return "NULL"
		}
		if math.IsNaN(x) {
			return "NaN"
		}
		return fmt.Sprintf("%b", x)
	}
	bits := func(entries []Entry, of []sqlEntry, query string) {
		t.Helper()
		want := map[string][]string{}
		x := make([][]float64, len(of))
		err := db.Columns(t.Context(), query+" ORDER BY symbol, ts", nil, func(chunk *factstore.Chunk) error {
			for k, e := range of {
				x[k] = chunk.AppendFloats(x[k][:0], 2+k)
				for row := range chunk.Len() {
					key := e.name + " " + chunk.Text(0, row)
					want[key] = append(want[key], spell(x[k][row], chunk.Null(2+k, row)))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for k, symbol := range basis.Symbols {
			var s series
			b, from, to := &c.bars, c.bars.From[k], c.bars.From[k+1]
			s.bind(b.Session[from:to], b.Open[from:to], b.High[from:to], b.Low[from:to], b.Close[from:to], b.Volume[from:to])
			for _, e := range entries {
				at := slices.IndexFunc(of, func(o sqlEntry) bool { return o.name == e.Name })
				if at < 0 {
					continue
				}
				out := make([]float64, to-from)
				e.compute(&s, out)
				for i, v := range out {
					if got := spell(v, isNone(v)); got != want[e.Name+" "+symbol][i] {
						if n++; n < 20 {
							t.Errorf("%s of %s on %s is %s, its definition gives %s", e.Name, symbol, quant.Date(b.Days[from+i]), got, want[e.Name+" "+symbol][i])
						}
					}
				}
			}
		}
	}
	all, _ := Catalogue("v2")
	plain := slices.DeleteFunc(sqlEntries("v2"), func(e sqlEntry) bool { return e.lagged+e.rolled == "" })
	bits(all, plain, wideSQL(plain))
	for _, h := range []int{1, 5, 60, 400} {
		labels := []Entry{
			{Name: "forward", compute: func(s *series, out []float64) { labelsOf(s, h, out, make([]float64, len(out))) }},
			{Name: "direction", compute: func(s *series, out []float64) { labelsOf(s, h, make([]float64, len(out)), out) }},
		}
		bits(labels, []sqlEntry{{name: "forward"}, {name: "direction"}},
			"SELECT p.symbol, p.ts, f.forward, f.direction FROM temp.main."+price.BarView+" p LEFT JOIN ("+labelDefinition(h)+") f ON f.symbol = p.symbol AND f.ts = p.ts")
	}
}

func TestRowsAreHashedAsDuckDBDoes(t *testing.T) {
	t.Parallel()
	db := lab(t, factstore.Options{})
	list := []float64{0, math.Copysign(0, -1), 1.5, math.NaN(), none, math.Inf(1), -1e300, 5e-324}
	var days []quant.Date
	x, y, texts := []float64{}, []float64{}, []string{}
	for i := range 64 {
		days = append(days, quant.Date(i*397-3000))
		x, y = append(x, list[i/8]), append(y, list[i%8])
		text := func(v float64) string {
			if isNone(v) {
				return "NULL"
			}
			return fmt.Sprintf("'%v'", v)
		}
		texts = append(texts, fmt.Sprintf("(DATE '%s', %s::DOUBLE, %s::DOUBLE)", days[i], text(x[i]), text(y[i])))
	}
	var p digestPart
	p.add("x", 0)
	p.add("y", 1)
	var s rowSums
	s.take(p, days, [][]float64{x, y}, 0)
	text, facts := sumsText([]digestPart{p}, []rowSums{s})
	var want string
	if err := db.QueryRow(t.Context(), "SELECT 'x, y ' || concat_ws(' ', count(*), sum(h::HUGEINT), sum(hash(h, 1)::HUGEINT)) FROM (SELECT hash(ts, x, y) AS h FROM (VALUES "+strings.Join(texts, ", ")+") v(ts, x, y) WHERE coalesce(x, y) IS NOT NULL)").Scan(&want); err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(text) != want {
		t.Errorf("sums %q, DuckDB has %q", text, want)
	}
	if back, ok := parseSums([]digestPart{p}, text, facts); !ok || back[0] != s {
		t.Errorf("read back: %+v %v", back, ok)
	}
	if _, ok := parseSums([]digestPart{p}, text+" ", facts); ok {
		t.Error("other sums are believed")
	}
}

// What one more day, a correction and the like leave is what computing everything in a
// new lab gives, and symbols that only grew are not computed whole.
func TestAnIncrementGivesWhatTheWholeDoes(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 290)
	var symbols []string
	for k := range 12 {
		symbols = append(symbols, fmt.Sprintf("S%02d", k))
	}
	all := market(symbols, cal, 5, true)
	until := func(i int) string { return fmt.Sprintf("SELECT * FROM (%s) WHERE ts <= DATE '%s'", all, cal.At(i)) }
	db := lab(t, factstore.Options{})
	step := 0
	check := func(what string, grown int64, want int) {
		t.Helper()
		step++
		fresh := lab(t, factstore.Options{})
		load(t, fresh, barsOf(t, db))
		var features Report
		for _, version := range []string{"v1", "v2"} {
			features = run(t, db, cal, Request{RunID: fmt.Sprint(version, step), Version: version})
			run(t, fresh, cal, Request{Version: version})
		}
		if features.Computed != want || grown >= 0 && features.Series[0].Rows > grown {
			t.Errorf("%s: %d symbols, %d rows of the first feature were computed", what, features.Computed, features.Series[0].Rows)
		}
		for h, of := range map[int]*factstore.DB{3: db, 5: db, -3: fresh, -5: fresh} {
			if _, err := Labels(t.Context(), of, cal, Request{RunID: fmt.Sprint("l", h, step), Version: "v1", Horizon: max(h, -h)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, table := range []string{
			allFeatures, "SELECT * FROM returns ORDER BY ALL", "SELECT * FROM labels ORDER BY ALL", "SELECT * FROM fact_inputs ORDER BY ALL",
			"SELECT * EXCLUDE (run_id) FROM fact_slices ORDER BY ALL",
		} {
			if got, want := facts(t, db, table), facts(t, fresh, table); !slices.Equal(got, want) {
				t.Fatalf("%s: %d rows, computed afresh %d: %s", what, len(got), len(want), table)
			}
		}
		if problems, err := db.Check(t.Context()); err != nil || len(problems) != 0 {
			t.Errorf("%s: %v %v", what, problems, err)
		}
	}
	load(t, db, "SELECT * FROM ("+until(280)+") WHERE symbol <> 'S11'")
	check("everything", -1, 11)
	load(t, db, "SELECT * FROM ("+until(281)+") WHERE symbol <> 'S11'")
	check("one day", 11, 11)
	load(t, db, "SELECT * FROM ("+until(284)+") WHERE symbol < 'S10'")
	check("three days of ten symbols", 30, 10)
	load(t, db, "SELECT * FROM ("+until(285)+") WHERE symbol <> 'S11'")
	check("one that lagged", -1, 11)
	load(t, db, fmt.Sprintf("SELECT * REPLACE (close * 1.01 AS close, high * 1.02 AS high) FROM (%s) WHERE symbol = 'S03' AND ts = DATE '%s'", until(285), cal.At(200)))
	check("a late correction", -1, 1)
	load(t, db, until(285))
	check("a new symbol", -1, 2) // and the correction taken back
	remove(t, db, "symbol = 'S05'")
	load(t, db, "SELECT * FROM ("+until(286)+") WHERE symbol <> 'S05'")
	check("one removed, one day", 11, 10) // one has no bar on it
	load(t, db, "SELECT * REPLACE (adjusted_close / 2 AS adjusted_close) FROM ("+until(287)+") WHERE symbol = 'S01'")
	check("another scale", -1, 1)
}
