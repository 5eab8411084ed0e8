package stated

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/textencoding"
)

// DuckDB's own cast is the reference.
func TestATextIsTheNumberThatDuckDBTakesItFor(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	words := map[string]bool{}
	for _, w := range missingWords() {
		words[w] = true
	}
	for _, text := range []string{
		"1e5", " 1.5 ", "inf", "-Inf", "+inf", "Infinity", "-infinity", "nan", "-nan", "NaN", "NA", "n/a", "null", "<NA>", "NaT", "-", "None", "1_000", "1__0", "_1", "1_", "1_0.5", "+1.5", "1.", ".5", "-.5", "-5.", "4.e3",
		"0x10", "0b1", "1e400", "-1e400", "1e-400", "4.9e-324", "2.4703282292062327e-324", "1.7976931348623157e308", "1.7976931348623159e308", "1,5", "1.234,5", "1 2", "", " ", "1e", "1e+5", "1E05", "--1", "1d", "1f",
		"infinite", "t", ".", "e1", ".e1", "5e.1", "00012", "1%", "$1", "+", "1x", "0.1", "0.30000000000000004", "123456789012345678901234567890", "9007199254740993", "8.41470984807896506652502321630298999622563060798371e-1",
	} {
		var want sql.NullFloat64
		if err := l.db.QueryRow(t.Context(), "SELECT TRY_CAST(trim(?) AS DOUBLE)", text).Scan(&want); err != nil {
			t.Fatal(err)
		}
		trimmed := strings.TrimSpace(text)
		x, is := parseValue(text)
		switch {
		case is == finiteOrNot && want.Valid && (math.Float64bits(x) == math.Float64bits(want.Float64) || x != x && want.Float64 != want.Float64):
		case is == missingValue && !want.Valid && (trimmed == "" || words[strings.ToLower(trimmed)]):
		case is == noValue && !want.Valid && trimmed != "" && !words[strings.ToLower(trimmed)]:
		default:
			t.Errorf("%q is %v (%d), and for DuckDB %v", text, x, is, want)
		}
	}
}

// The pieces of a text are records as encoding/csv reads them, wherever it is cut.
func TestATextIsCutBetweenItsRecords(t *testing.T) {
	t.Parallel()
	const text = "a,b\r\n\"x\n\"\"y\",1\nin \"the\" field,2\n\"\",\"\"\n\n\"lone \" quote\",3\nz,4"
	for cut := range len(text) + 1 {
		end, _ := quotes([]byte(text[:cut]), ',')
		var got [][]string
		for _, part := range []string{text[:end], text[end:]} {
			r := csv.NewReader(strings.NewReader(part))
			r.LazyQuotes = true
			records, err := r.ReadAll()
			if err != nil {
				t.Fatalf("%q: %v", part, err)
			}
			got = append(got, records...)
		}
		if s := fmt.Sprintf("%q", got); s != `[["a" "b"] ["x\n\"y" "1"] ["in \"the\" field" "2"] ["" ""] ["lone \" quote" "3"] ["z" "4"]]` {
			t.Errorf("cut at %d, after %d: %s", cut, end, s)
		}
	}
}

// A quote that nothing closes takes the rest of the file into one value: whatever comes of
// that is no row.
func TestAQuoteThatIsNotClosedIsNoRow(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	const first = "symbol,ts,mom,note\nAAA,2024-01-03,1,\"two\nlines\"\n"
	for text, line := range map[string]string{
		first + "AAA,2024-01-04,\"2":                                             "line 4",
		first + "AAA,2024-01-04,2,\"":                                            "line 4",
		first + "AAA,2024-01-04,2,\"x\"\"":                                       "line 4",
		first + "AAA,2024-01-04,2,\"x\nAAA,2024-01-05,3,y\nAAA,2024-01-08,4,z\n": "line 4",
		first + "\n\nAAA,2024-01-04,\"2,x\nAAA,2024-01-05,3,y\n":                 "line 6",
		first + strings.Repeat("\n", 2*blockSize) + "AAA,2024-01-04,2,\"x\n":     fmt.Sprint("line ", 4+2*blockSize),
		"symbol,ts,\"mom\nAAA,2024-01-03,1\n":                                    "line 1",
	} {
		_, err := l.imports(l.file("x.csv", text), nil)
		if quant.CodeOf(err) != quant.Invalid || !strings.Contains(err.Error(), line+" has a quote that is not closed") || quant.HintOf(err) == "" {
			t.Errorf("%q: %v", text[:min(len(text), 200)], err)
		}
	}
	if got := l.rows(features); len(got) != 0 {
		t.Error(got)
	}
	if _, err := l.imports(l.file("x.csv", first+"AAA,2024-01-04,2,\"x\""), nil); err != nil {
		t.Error(err)
	}
}

// A file of many blocks: rows keep their numbers, and the first fault of the file is the
// one that is said, with its line.
func TestRowsOfManyBlocksKeepTheirPlace(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	const rows = 60_000
	var b strings.Builder
	b.WriteString("symbol,ts,mom,note\n")
	for i := range rows {
		mom := fmt.Sprint(i)
		if i == 41_234 {
			mom = "lots"
		}
		fmt.Fprintf(&b, "AAA,2024-01-03,%s,\"a text of\n two lines, %060d\"\n", mom, i)
	}
	packed := func(text string) string {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return out.String()
	}
	r, _ := l.imports(l.file("x.csv.gz", packed(b.String())), nil)
	if r.RowsRead != rows || r.RowsRejected != rows {
		t.Errorf("%+v", r)
	}
	got := l.rows("SELECT concat_ws(' ', line, reason, row_text) FROM rejects WHERE reason = 'value is no number'")
	if len(got) != 1 || !strings.HasPrefix(got[0], "41235 value is no number mom=lots") {
		t.Errorf("%q", got)
	}
	broken := strings.Split(b.String(), "\n")
	broken[100_002] += ",more" // the second line of a row
	broken[90_001] = ""
	broken[80_002] += ",more"
	_, err := l.imports(l.file("y.csv", strings.Join(broken, "\n")), nil)
	if quant.CodeOf(err) != quant.Invalid || !strings.Contains(err.Error(), "line 80002 has 5 columns, and the header names 4") {
		t.Error(err)
	}
}

func TestAWidePanelOfTextTakesLittleMemory(t *testing.T) {
	t.Parallel()
	l := newLabWith(t, "2024-03-28", factstore.Options{MemoryLimit: 256 << 20})
	const width = 10_000
	l.write(fmt.Sprintf(`INSERT INTO ohlcv (symbol, ts, open, high, low, close, volume, source)
		SELECT printf('S%%05d', n), ts, c, c, c, c, 1, 'test' FROM (SELECT DISTINCT ts FROM ohlcv), (SELECT unnest(range(%d)) AS n), (SELECT 1.5 AS c)`, width))
	days := l.rows("SELECT DISTINCT CAST(ts AS VARCHAR) FROM ohlcv ORDER BY 1")
	var b strings.Builder
	b.WriteString("Date")
	for n := range width {
		fmt.Fprintf(&b, ",S%05d", n)
	}
	for d, day := range days {
		b.WriteString("\n" + day)
		for n := range width {
			switch {
			case d == 7 && n == 9_999:
				b.WriteString(",oops")
			case (d+n)%11 == 0:
				b.WriteString(",")
			default:
				fmt.Fprintf(&b, ",%d.5", (d*7919+n*104_729)%1000)
			}
		}
	}
	r, err := l.imports(l.file("panel.csv", b.String()), func(r *Request) { r.Feature = "wide" })
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Reasons) != 1 || r.Reasons[0].Examples[0].Row != 8 || r.Reasons[0].Examples[0].Symbol != "S09999" || r.RowsRead != int64(len(days)) || r.Layout != panel {
		t.Errorf("%+v", r)
	}
	bad := l.rows(`SELECT concat_ws(' ', symbol, ts, feature_value) FROM features_daily
		JOIN (SELECT ts, row_number() OVER (ORDER BY ts) - 1 AS d FROM (SELECT DISTINCT ts FROM ohlcv)) USING (ts)
		WHERE feature_version = 'my' AND feature_value IS DISTINCT FROM (d * 7919 + CAST(substr(symbol, 2) AS BIGINT) * 104729) % 1000 + 0.5 LIMIT 3`)
	if len(bad) > 0 || r.ValuesInserted != r.Features[0].Values || r.ValuesInserted < int64(len(days)*width*10/11-2) {
		t.Errorf("%q %+v", bad, r)
	}
}

func (l *testLab) write(statement string) {
	l.t.Helper()
	if _, err := l.db.Write(l.t.Context(), "more", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Insert(ctx, factstore.OHLCV, strings.TrimPrefix(statement, "INSERT INTO ohlcv "))
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
}

// Excel of Korea and of Japan write other encodings: what they are is guessed and said,
// and read when it is named.
func TestATextInAnotherEncodingIsReadWhenItIsNamed(t *testing.T) {
	t.Parallel()
	l := newLab(t, "2024-01-08")
	for _, name := range []string{"cp949", "utf-16le", "utf-16be", "cp1252"} {
		text := "종목코드,날짜,mom,비고\n005930,2024-01-03,1.5,삼성전자 우선주\nAAA,2024-01-04,2.5,설명이 있다\n"
		if name == "cp1252" {
			text = "symbol,ts,mom,note\n005930,2024-01-03,1.5,Münchener Rück\nAAA,2024-01-04,2.5,L'Oréal\n"
		}
		e, err := textencoding.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := e.Text(text)
		if err != nil {
			t.Fatal(err)
		}
		file := l.file("x.csv", data)
		if !strings.HasPrefix(name, "utf-16") {
			_, err = l.imports(file, nil)
			if quant.CodeOf(err) != quant.Invalid || !strings.Contains(err.Error(), "is not UTF-8") || !strings.Contains(quant.HintOf(err), "--encoding "+name) {
				t.Errorf("%s: %v (%s)", name, err, quant.HintOf(err))
			}
		}
		set := "my_" + strings.NewReplacer("-", "_").Replace(name)
		if _, err = l.imports(file, func(r *Request) { r.Encoding, r.Set = name, set }); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := l.rows("SELECT concat_ws(' ', symbol, ts, feature_name, feature_value) FROM features_daily WHERE feature_version = '" + set + "' ORDER BY ts"); strings.Join(got, ";") != "005930 2024-01-03 mom 1.5;AAA 2024-01-04 mom 2.5" {
			t.Errorf("%s: %q", name, got)
		}
	}
	file := l.file("x.csv", "symbol,ts,mom\nAAA,2024-01-03,1\nAAA,2024-01-04,\xff\n")
	if _, err := l.imports(file, func(r *Request) { r.Encoding = "cp949" }); err == nil || !strings.Contains(err.Error(), "line 3: is not CP949") {
		t.Error(err)
	}
	if _, err := l.imports(file, func(r *Request) { r.Encoding = "morse" }); err == nil || !strings.Contains(err.Error(), `encoding "morse" is not known`) {
		t.Error(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}
