package stated

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
)

// testLab is a Fact DB with bars of three symbols on the sessions of 2024 up to 8
// January, or more.
type testLab struct {
	t   *testing.T
	db  *factstore.DB
	cal *calendar.Calendar
	run int
}

func newLab(t *testing.T, last string) *testLab {
	t.Helper()
	return newLabWith(t, last, factstore.Options{})
}

func newLabWith(t *testing.T, last string, o factstore.Options) *testLab {
	t.Helper()
	o.Path = filepath.Join(t.TempDir(), "quant.duckdb")
	db, err := factstore.OpenWrite(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	cal, err := calendar.Open("XNYS")
	if err != nil {
		t.Fatal(err)
	}
	end, err := quant.ParseDate(last)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := quant.ParseDate("2024-01-02")
	var days []string
	for _, d := range cal.Sessions(first, end) {
		days = append(days, "'"+d.String()+"'")
	}
	// A walk that hash tells: the same for every test.
	if err := factstoretest.Write(t.Context(), db, "prices", fmt.Sprintf(`INSERT INTO ohlcv (symbol, ts, open, high, low, close, volume, source)
		SELECT symbol, ts, p, p, p, p, 1000, 'test' FROM (SELECT symbol, ts, 100 * exp(sum(((hash(symbol, ts) %% 1000)::INTEGER - 500) / 20000.0) OVER (PARTITION BY symbol ORDER BY ts)) AS p
			FROM (SELECT unnest(['005930', 'AAA', 'BRK.B']) AS symbol), (SELECT CAST(unnest([%s]) AS DATE) AS ts))`, strings.Join(days, ", "))); err != nil {
		t.Fatal(err)
	}
	return &testLab{t: t, db: db, cal: cal}
}

// declare declares the set as a set of imports is.
func declare(version string) func(context.Context, *factstore.Tx, []string) error {
	return func(ctx context.Context, tx *factstore.Tx, names []string) error {
		set := factstore.FeatureSet{Version: version, Kind: factstore.KindImport}
		for _, name := range names {
			set.Features = append(set.Features, factstore.SetFeature{Name: name, Kind: factstore.KindImport, Definition: "imported", KnownAt: factstore.KnownStated})
		}
		_, err := tx.DeclareFeatures(ctx, set)
		return err
	}
}

func (l *testLab) imports(file string, with func(*Request)) (Report, error) {
	l.t.Helper()
	l.run++
	req := Request{RunID: fmt.Sprintf("run%d", l.run), File: file, Set: "my", Calendar: l.cal, MaxRejectRatio: 0.01}
	if with != nil {
		with(&req)
	}
	var of func(context.Context, *factstore.Tx, []string) error
	if !req.Predictions {
		of = declare(req.Set)
	}
	return Import(l.t.Context(), l.db, req, of)
}

func (l *testLab) file(name, text string) string {
	l.t.Helper()
	path := filepath.Join(l.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// sound reports what Check finds, but for the bars, which no run stamped.
func (l *testLab) sound() {
	l.t.Helper()
	problems, err := l.db.Check(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, p := range problems {
		if p.Object != factstore.OHLCV {
			l.t.Error(p)
		}
	}
}

func (l *testLab) rows(query string) []string {
	l.t.Helper()
	rows, err := l.db.Query(l.t.Context(), query)
	if err != nil {
		l.t.Fatal(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			l.t.Fatal(err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		l.t.Fatal(err)
	}
	return list
}

const features = "SELECT concat_ws(' ', symbol, ts, feature_name, feature_value) FROM features_daily WHERE feature_version = 'my' ORDER BY ts, symbol, feature_name"

// The files are as testdata/make.py wrote them, with the versions that it names. Its two
// formulas are written down here once more.
func TestTheSameFeaturesComeOutOfEveryFile(t *testing.T) {
	t.Parallel()
	var both, alone []string
	for i := range 12 {
		day := []string{"2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"}[i/3]
		symbol := []string{"005930", "AAA", "BRK.B"}[i%3]
		mom, qual := float64(i*i%7)/8-0.25, 1.5-float64(i*5%11)/16
		text := func(x float64) string { // as DuckDB writes a double
			s := fmt.Sprint(x)
			if !strings.Contains(s, ".") {
				s += ".0"
			}
			return s
		}
		if i != 3 {
			both = append(both, strings.Join([]string{symbol, day, "Qual_1", text(qual)}, " "))
		}
		both = append(both, strings.Join([]string{symbol, day, "mom", text(mom)}, " "))
		alone = append(alone, strings.Join([]string{symbol, day, "mom", text(mom)}, " "))
	}
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if filepath.Ext(file) == ".py" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "2024-01-08")
			want, with := both, func(*Request) {}
			if strings.Contains(file, "panel_mom") {
				want, with = alone, func(r *Request) { r.Feature = "mom" }
			}
			r, err := l.imports(file, with)
			if err != nil {
				t.Fatal(err)
			}
			if got := l.rows(features); !slices.Equal(got, want) {
				t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if r.ValuesInserted != int64(len(want)) || r.RowsRejected != 0 || !strings.HasPrefix(r.Digest, "sha256:") || r.FirstDate != "2024-01-03" || r.LastDate != "2024-01-08" {
				t.Errorf("%+v", r)
			}
			again, err := l.imports(file, with)
			if err != nil || again.ValuesInserted+again.ValuesUpdated+again.ValuesDeleted != 0 || again.ValuesUnchanged != int64(len(want)) {
				t.Errorf("again: %v, %+v", err, again)
			}
			if ledger, err := l.db.Ledger(t.Context(), "run2"); err != nil || len(ledger) != 0 {
				t.Errorf("again: %v %v", ledger, err)
			}
		})
	}
}

func TestRowsThatCannotBeTakenAreRejectedEachWithItsReason(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-10")
	file := l.file("x.csv", `ticker,Date,known_at,mom,note
AAA,2024-01-03,2024-01-03 15:59:00,1,a
AAA,2024-01-04,2024-01-04 16:00:01,2,b
AAA,2024-01-05,2024-01-08,3,c
BRK.B,2024-01-03,2024-01-03,4,d
BRK.B,2024-01-04,,5,e
BRK.B,2024-01-05,soon,6,f
ZZZ,2024-01-03,2024-01-03,7,g
,2024-01-03,2024-01-03,8,h
005930,2024-01-06,2024-01-06,9,i
005930,2024-01-11,2024-01-11,10,j
005930,03.01.2024,2024-01-03,11,k
005930,2024-01-03 09:30:00,2024-01-03,12,l
005930,2024-01-04,2024-01-03,lots,m
005930,2024-01-05,2024-01-05T20:59:59Z,13,n
005930,2024-01-08,2024-01-08T21:00:01+00:00,14,o
AAA,2024-01-08,2024-01-08,15,p
AAA,2024-01-08,2024-01-08,15,q
AAA,2024-01-09,2024-01-09,16,r
AAA,2024-01-09,2024-01-09,17,s
BRK.B,2024-01-08,2024-01-08,NaN,t
BRK.B,2024-01-09,2024-01-09,inf,u
`)
	r, err := l.imports(file, nil)
	if quant.CodeOf(err) != quant.Refused || !r.Refused || len(l.rows(features)) != 0 {
		t.Fatalf("above the ratio: %v %+v", err, r)
	}
	for _, part := range []string{"look-ahead: known after the close of ts", "row 2", "AAA 2024-01-04", "known_at=2024-01-04 16:00:01"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
	rejects := l.rows("SELECT concat_ws(' ', line, reason) FROM rejects ORDER BY line, reason")
	want := []string{
		"2 look-ahead: known after the close of ts", "3 look-ahead: known after the close of ts", "5 known_at is missing", "6 known_at is no time", "7 symbol has no prices in the lab",
		"8 symbol is missing", "9 ts is no session of XNYS", "10 ts is after the last bar of the lab", "11 ts is no date", "12 ts has a time of day", "13 value is no number",
		"15 look-ahead: known after the close of ts", "18 stands more than once with different values", "19 stands more than once with different values",
	}
	if !slices.Equal(rejects, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(rejects, "\n"), strings.Join(want, "\n"))
	}
	for line, text := range map[int]string{6: "known_at=soon", 11: "ts=03.01.2024"} {
		if got := l.rows(fmt.Sprintf("SELECT row_text FROM rejects WHERE line = %d", line)); len(got) != 1 || !strings.Contains(got[0], text) {
			t.Errorf("line %d: %q", line, got)
		}
	}
	r, err = l.imports(file, func(r *Request) { r.MaxRejectRatio = 1 })
	if quant.CodeOf(err) != quant.Partial || r.LookedAhead != 4 || r.RowsCollapsed != 1 || r.ValuesNotFinite != 2 || r.RowsRejected != int64(len(want)) {
		t.Fatalf("%v %+v", err, r)
	}
	got := l.rows(features)
	if !slices.Equal(got, []string{"AAA 2024-01-03 mom 1.0", "BRK.B 2024-01-03 mom 4.0", "005930 2024-01-05 mom 13.0", "AAA 2024-01-08 mom 15.0"}) {
		t.Error(got)
	}
	known := l.rows("SELECT concat_ws(' ', symbol, known_at) FROM known_times ORDER BY 1")
	if !slices.Equal(known, []string{"005930 2024-01-05 20:59:59", "AAA 2024-01-03 20:59:00", "AAA 2024-01-08 21:00:00", "BRK.B 2024-01-03 21:00:00"}) {
		t.Error(known)
	}
	if !slices.Equal(r.IgnoredColumns, []string{"note"}) {
		t.Error(r.IgnoredColumns)
	}
	if n := len(l.rows("SELECT reason FROM rejects")); n != len(want) {
		t.Errorf("the same rejects again are %d", n)
	}
}

func TestALaterFileThatStatesThePastOtherwiseLeavesWhatWasStated(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	if _, err := l.imports(l.file("a.csv", "symbol,ts,a,b\nAAA,2024-01-03,1,10\nAAA,2024-01-04,2,20\n"), nil); err != nil {
		t.Fatal(err)
	}
	r, err := l.imports(l.file("b.csv", "symbol,ts,a,b\nAAA,2024-01-03,1.5,10\nAAA,2024-01-05,3,\n"), nil)
	if err != nil || r.ValuesInserted != 1 || r.ValuesUpdated != 1 || r.ValuesUnchanged != 1 || r.ValuesDeleted != 0 || r.Revisions != 1 {
		t.Fatalf("%v %+v", err, r)
	}
	if one := r.Revised[0]; one.Symbol != "AAA" || one.TS.String() != "2024-01-03" || one.Name != "a" || one.Before != 1 || *one.After != 1.5 {
		t.Errorf("%+v", one)
	}
	r, err = l.imports(l.file("c.csv", "symbol,ts,a,b\nAAA,2024-01-03,1.5,10\nAAA,2024-01-05,3,\n"), func(r *Request) { r.Replace = true })
	if err != nil || r.ValuesDeleted != 2 || r.Revisions != 2 {
		t.Fatalf("%v %+v", err, r)
	}
	kept := l.rows("SELECT concat_ws(' ', name, symbol, ts, item, before, coalesce(CAST(after AS VARCHAR), 'gone')) FROM stated_revisions ORDER BY replaced_at, item")
	if !slices.Equal(kept, []string{"my AAA 2024-01-03 a 1.0 1.5", "my AAA 2024-01-04 a 2.0 gone", "my AAA 2024-01-04 b 20.0 gone"}) {
		t.Error(kept)
	}
	l.sound()
}

func TestPredictionsBecomeThoseOfAModel(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	scores := func(r *Request) { r.Predictions, r.Set = true, "m" }
	if _, err := l.imports(l.file("a.csv", "date;symbol;pred\n2024-01-03;AAA;0.5\n2024-01-03;BRK.B;-0.5\n"), scores); err != nil {
		t.Fatal(err)
	}
	r, err := l.imports(l.file("b.csv", "date,AAA,BRK.B,005930\n2024-01-03,0.75,-0.5,\n2024-01-04,1,,2\n"), scores)
	if err != nil || r.Layout != "panel" || r.ValuesInserted != 2 || r.ValuesUpdated != 1 || r.ValuesUnchanged != 1 || r.Revisions != 1 {
		t.Fatalf("%v %+v", err, r)
	}
	got := l.rows("SELECT concat_ws(' ', symbol, ts, model_id, task_id, score, calibrated_score) FROM predictions ORDER BY ts, symbol")
	want := []string{"AAA 2024-01-03 m imported 0.75 0.75", "BRK.B 2024-01-03 m imported -0.5 -0.5", "005930 2024-01-04 m imported 2.0 2.0", "AAA 2024-01-04 m imported 1.0 1.0"}
	if !slices.Equal(got, want) {
		t.Error(got)
	}
	r, err = l.imports(l.file("c.csv", "date,symbol,score,calibrated_score\n2024-01-04,AAA,1,0.6\n"), func(r *Request) { scores(r); r.Replace = true })
	if err != nil || r.ValuesDeleted != 3 || len(l.rows("SELECT symbol FROM predictions")) != 1 {
		t.Fatalf("%v %+v", err, r)
	}
	l.sound()
}

// What another program put into features_daily without a run is taken over by the import
// of the same values.
func TestAnImportTakesOverWhatAnotherProgramWrote(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	path := l.db.Path()
	l.db.Close()
	factstoretest.Foreign(t, path, "INSERT INTO features_other VALUES ('AAA', DATE '2024-01-03', 'mom', 1, 'my', NULL), ('AAA', DATE '2024-01-04', 'mom', 2, 'my', NULL)")
	var err error
	if l.db, err = factstore.OpenWrite(t.Context(), factstore.Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.db.Close() })
	if err := l.db.RequireExplained(t.Context(), factstore.FeaturesDaily, "", "true"); quant.CodeOf(err) != quant.Refused {
		t.Fatal(err)
	}
	file := l.file("taken.csv", "symbol,ts,feature_name,feature_value\n"+strings.Join(l.rows("SELECT concat_ws(',', symbol, ts, feature_name, feature_value) FROM features_daily ORDER BY ts"), "\n")+"\n")
	if _, err := l.imports(file, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.db.RequireExplained(t.Context(), factstore.FeaturesDaily, "", "true"); err != nil {
		t.Error(err)
	}
	if got := l.rows(features); !slices.Equal(got, []string{"AAA 2024-01-03 mom 1.0", "AAA 2024-01-04 mom 2.0"}) {
		t.Error(got)
	}
}

// followed writes a feature that is made of the return over the next h sessions.
func (l *testLab) followed(h int, of string) string {
	list := l.rows(fmt.Sprintf("SELECT concat_ws(',', symbol, ts, %s) FROM (SELECT symbol, ts, lead(close, %d) OVER (PARTITION BY symbol ORDER BY ts) / close - 1 AS r, lead(close, %[2]d) OVER (PARTITION BY symbol ORDER BY ts) AS later, lead(close) OVER (PARTITION BY symbol ORDER BY ts) AS next, close, hash(ts, symbol) %% 1000 / 1000.0 AS noise FROM ohlcv) WHERE r IS NOT NULL ORDER BY ts, symbol", of, h))
	return l.file("followed.csv", "symbol,ts,alpha\n"+strings.Join(list, "\n")+"\n")
}

func TestAFeatureThatIsTheReturnThatFollowedIsRefusedWithTheDayAndTheRow(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-03-28")
	for name, file := range map[string]string{
		"the return of a day":     l.followed(1, "r"),
		"of a month, turned over": l.followed(20, "3 - 2 * r"),
		"its direction":           l.followed(5, "(r > 0)::INTEGER"),
		"its order":               l.followed(3, "exp(40 * r)"),
		"with some noise":         l.followed(5, "r + 0.001 * noise"),
		"its rank of the day":     l.followed(2, "rank() OVER (PARTITION BY ts ORDER BY r)"),
		"less the day's mean":     l.followed(1, "r - avg(r) OVER (PARTITION BY ts)"),
		"of six weeks":            l.followed(30, "r"),
		"over a deviation":        l.followed(1, "r / (0.01 + noise)"),
		"the label of Qlib":       l.followed(2, "(1 + r) / (next / close) - 1"),
		"the price to come":       l.followed(1, "later"),
	} {
		r, err := l.imports(file, nil)
		if quant.CodeOf(err) != quant.Refused || !r.Refused || !strings.Contains(fmt.Sprint(err), "alpha looks ahead: it goes with the return over the ") || !strings.Contains(fmt.Sprint(err), " 2024-") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := l.rows(features); len(got) != 0 {
		t.Errorf("%d values were stored", len(got))
	}
	if _, err := l.imports(l.followed(5, "r + 0.1 * noise"), nil); err != nil {
		t.Errorf("what is merely good: %v", err)
	}
	if _, err := l.imports(l.followed(5, "r"), func(r *Request) { r.AcceptStated = true }); err != nil {
		t.Errorf("--accept-stated: %v", err)
	}
	if r, err := l.imports(l.followed(5, "r"), func(r *Request) { r.Predictions, r.Set, r.Map = true, "m", []string{"score=alpha"} }); quant.CodeOf(err) != quant.Refused {
		t.Errorf("predictions: %v %+v", err, r)
	}
}

func TestAForecastThatIsTooGoodIsSaid(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2025-12-31")
	for of, said := range map[string]bool{"r + 0.03 * (noise - 0.5)": true, "r + noise": false, "noise": false} {
		r, err := l.imports(l.followed(1, of), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(r.Notices, func(n string) bool {
			return strings.HasPrefix(n, "alpha goes with the return over the next 1 session by 0.")
		}); got != said {
			t.Errorf("%s: %q", of, r.Notices)
		}
	}
}

// What a spreadsheet or pandas writes beside the numbers.
func TestConditionsAreNumbersAndColumnsWithoutANameAreCounted(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	r, err := l.imports(l.file("x.csv", "\ufeff,ts;symbol;up;note;\r\n0;20240103;005930;True;a;\r\n1;20240104;005930;false;b;\r\n"), nil)
	if err == nil {
		t.Fatalf("a header of two kinds: %+v", r)
	}
	r, err = l.imports(l.file("x.csv", "\ufeff\tts\tsymbol\tup\tnote\t\r\n0\t20240103\t005930\tTrue\ta\t\r\n1\t20240104\t005930\tfalse\tb\t\r\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.rows(features); !slices.Equal(got, []string{"005930 2024-01-03 up 1.0", "005930 2024-01-04 up 0.0"}) {
		t.Error(got)
	}
	if !slices.Equal(r.IgnoredColumns, []string{"column 1 (without a name)", "column 6 (without a name)", "note"}) {
		t.Errorf("%q", r.IgnoredColumns)
	}
}

func TestAFileThatIsNoneOfFeaturesIsRefusedWhole(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	for text, part := range map[string]string{
		"":             "is empty",
		"\xef\xbb\xbf": "is empty",
		"symbol,ts,mom\nAAA,2024-01-03,\"0,5\"\n":    `mom begins with "0,5", which is no number`,
		"symbol,mom\nAAA,1\n":                        "no column is the day of a row",
		"ts,mom\n2024-01-03,1\n":                     "no feature is named",
		"symbol,ts\nAAA,2024-01-03\n":                "no column holds the values",
		"symbol,ts,Mom 12\nAAA,2024-01-03,1\n":       "cannot be the name of a feature",
		"symbol,ts,a,A\nAAA,2024-01-03,1,2\n":        "are one name to a database",
		"symbol,ts,x\nAAA,2024-01-03\nAAA,1,2,3,4\n": "cannot be read as CSV",
		"PAR1 no more":                               "cannot be read as Parquet",
		"ARROW1\x00\x00":                             "cannot be read as Arrow",
		"PK\x03\x04zip":                              "of a format that is not read here",
		"\xb3\xaf\xc2\xa5,x\n2024-01-03,1\n":         "is not UTF-8",
		"a\x00b\n1\n":                                "neither Parquet nor Arrow nor text",
		"symbol,ts,mom\n":                            "has no rows",
	} {
		_, err := l.imports(l.file("x", text), nil)
		if code := quant.CodeOf(err); err == nil || code != quant.Invalid && code != quant.Refused && code != quant.Usage || !strings.Contains(err.Error(), part) || quant.HintOf(err) == "" {
			t.Errorf("%q: %v (%s)", text, err, quant.HintOf(err))
		}
	}
	_, err := l.imports(l.file("x", "symbol,ts,\"('feature', 'mom')\"\nAAA,2024-01-03,1\n"), nil)
	if !strings.Contains(quant.HintOf(err), `--map my_name="('feature', 'mom')",`) {
		t.Errorf("%v (%s)", err, quant.HintOf(err))
	}
	if _, err := l.imports("nowhere.csv", nil); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
	if got := l.rows(features); len(got) != 0 {
		t.Error(got)
	}
}

func FuzzTupleNeverReadsMoreThanItsTwoTexts(f *testing.F) {
	for _, seed := range []string{"('ret', 'AAPL')", `("it's", 'A')`, "('a','b','c')", "('a')", "(", "('\\'', 'b')", "ret"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		levels, ok := tuple(name)
		if ok && (len(levels[0])+len(levels[1]) > len(name) || !strings.Contains(name, levels[0]) || !strings.Contains(name, levels[1])) {
			t.Errorf("%q: %q", name, levels)
		}
	})
}

func FuzzColumnsAreArrangedOrRefusedWithAHint(f *testing.F) {
	f.Add("symbol,ts,mom", uint64(0), false)
	f.Add(",date,AAA,BRK.B", uint64(0x10), true)
	f.Add("__index_level_0__,__index_level_1__,x,y", uint64(0x23), false)
	f.Fuzz(func(t *testing.T, header string, kinds uint64, predictions bool) {
		var columns []column
		for i, name := range strings.Split(header, ",") {
			columns = append(columns, column{name: name, kind: kind(kinds >> (3 * (i % 21)) & 7 % 6), first: "2024-01-03"[:int(kinds%11)]})
		}
		r := Request{File: "x", Set: "s", Predictions: predictions}
		a, err := arrangeColumns(columns, r, map[string]bool{"AAA": true})
		if err != nil {
			if quant.HintOf(err) == "" {
				t.Errorf("%q: %v has no hint", header, err)
			}
			return
		}
		used := map[int]bool{a.ts: true}
		for _, v := range a.values {
			if v.column < 0 || v.column >= len(columns) || used[v.column] || v.column == a.symbol || v.column == a.known {
				t.Errorf("%q: column %d is used twice: %+v", header, v.column, a)
			}
			used[v.column] = true
		}
	})
}
