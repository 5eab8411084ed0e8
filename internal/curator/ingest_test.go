package curator

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/korean"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
	"quant/internal/test/soak"
)

func clock() time.Time { return time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC) }

func openDB(tb testing.TB) *factstore.DB {
	tb.Helper()
	db, err := factstore.OpenWrite(context.Background(), factstore.Options{Path: filepath.Join(tb.TempDir(), "quant.duckdb"), Now: clock})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}

// lab is a Fact DB and a folder with files to ingest into it.
type lab struct {
	*testing.T
	db  *factstore.DB
	dir string
	run int
}

func newLab(t *testing.T) *lab {
	t.Parallel()
	return &lab{T: t, db: openDB(t), dir: t.TempDir()}
}

func (l *lab) file(name, content string) string {
	l.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		l.Fatal(err)
	}
	return path
}

func (l *lab) ingest(change func(*Request), files ...string) (Report, error) {
	l.Helper()
	l.run++
	req := Request{RunID: fmt.Sprintf("run-%d", l.run), Files: files, MaxRejectRatio: 1, Now: clock}
	if change != nil {
		change(&req)
	}
	return Ingest(context.Background(), l.db, req)
}

func (l *lab) mustIngest(change func(*Request), files ...string) Report {
	l.Helper()
	r, err := l.ingest(change, files...)
	if err != nil {
		l.Fatalf("ingest: %v (hint: %s)", err, quant.HintOf(err))
	}
	return r
}

const barColumns = "SELECT concat_ws('|', symbol, ts, open, high, low, close, volume, coalesce(adjusted_close::VARCHAR, '-')) AS s FROM ohlcv ORDER BY symbol, ts"

func (l *lab) list(query string, args ...any) []string {
	l.Helper()
	rows, err := l.db.Query(context.Background(), query, args...)
	if err != nil {
		l.Fatal(err)
	}
	defer rows.Close()
	out := []string{}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			l.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		l.Fatal(err)
	}
	return out
}

func (l *lab) bars() []string { l.Helper(); return l.list(barColumns) }

func (l *lab) rejects() []string {
	l.Helper()
	return l.list("SELECT concat_ws('|', line, reason) AS s FROM rejects ORDER BY source, line, reason")
}

func (l *lab) want(what string, got, want any) {
	l.Helper()
	if fmt.Sprintf("%v", got) != fmt.Sprintf("%v", want) {
		l.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

const header = "Date,Open,High,Low,Close,Volume,Adj Close\n"

func TestAPlainFileBecomesBarsNamedAfterTheFile(t *testing.T) {
	l := newLab(t)
	var announced []string
	r := l.mustIngest(func(r *Request) {
		r.BeforeCommit = func(_ context.Context, s []string) error { announced = s; return nil }
	}, l.file("SPX.csv", header+"2020-01-02,10,12,9.5,11,1000,10.5\n2020-01-03,11,12,10,11.5,2000,\n"))
	l.want("bars", l.bars(), []string{"SPX|2020-01-02|10.0|12.0|9.5|11.0|1000.0|10.5", "SPX|2020-01-03|11.0|12.0|10.0|11.5|2000.0|-"})
	l.want("counts", []int64{r.RowsRead, r.RowsInserted, r.RowsUpdated, r.RowsUnchanged, r.RowsCollapsed, r.RowsRejected}, []int64{2, 2, 0, 0, 0, 0})
	l.want("symbols", r.Symbols, []string{"SPX"})
	l.want("announced", announced, []string{"SPX"})
	l.want("dates", []quant.Text{r.FirstDate, r.LastDate, r.Files[0].FirstDate}, []quant.Text{"2020-01-02", "2020-01-03", "2020-01-02"})
	l.want("source", l.list("SELECT DISTINCT source || ' ' || ingested_at FROM ohlcv"), []string{"file:SPX.csv 2026-01-15 09:30:00"})
	l.want("ledger", l.list("SELECT concat_ws('|', run_id, table_name, rows_inserted, rows_updated) FROM ledger"), []string{"run-1|ohlcv|2|0"})
	in, out := r.Inputs(), r.Outputs(true)
	l.want("inputs", []any{len(in), in[0].Direction, in[0].Kind, in[0].Name, *in[0].Rows, in[0].FirstDate, in[0].LastDate, string(in[0].Digest)},
		[]any{1, quant.In, "file", r.Files[0].Path, 2, "2020-01-02", "2020-01-03", r.Files[0].Digest})
	l.want("outputs", []any{len(out), out[0].Direction, out[0].Kind, out[0].Name, *out[0].Rows, out[0].LastDate}, []any{1, quant.Out, "table", "ohlcv", 2, "2020-01-03"})
}

func TestWhatAnIngestWroteIsWhatItChanged(t *testing.T) {
	t.Parallel()
	names := func(list []quant.RunIO) string {
		var all []string
		for _, io := range list {
			rows := "-"
			if io.Rows != nil {
				rows = fmt.Sprint(*io.Rows)
			}
			all = append(all, io.Name+" "+rows)
		}
		return strings.Join(all, ", ")
	}
	for _, c := range []struct {
		report Report
		done   bool
		want   string
	}{
		{Report{}, true, "ohlcv 0"}, {Report{}, false, ""}, {Report{RowsRejected: 3}, false, "rejects -"},
		{Report{RowsInserted: 2, RowsUpdated: 3, Revisions: 1, RowsRejected: 4}, false, "ohlcv 5, ohlcv_revisions 1, rejects -"},
	} {
		if got := names(c.report.Outputs(c.done)); got != c.want {
			t.Errorf("%+v, done %v: %q, want %q", c.report, c.done, got, c.want)
		}
	}
	series := []SeriesReport{{Symbol: "A", Fetched: 7, Digest: "sha256:0"}, {Symbol: "B", Error: "none"}}
	if got := names(Answers("alphavantage", series)); got != "alphavantage:A 7" {
		t.Errorf("answers %q", got)
	}
}

func TestTheUsualSpellingsAreUnderstood(t *testing.T) {
	bar := "2020-01-02,10,12,9,11,1000\n"
	gz := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
		return b.String()
	}
	cp949 := func(s string) string {
		out, err := korean.EUCKR.NewEncoder().String(s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := "A|2020-01-02|10.0|12.0|9.0|11.0|1000.0|-"
	for name, c := range map[string]struct {
		file, content string
		change        func(*Request)
		want          string
	}{
		"bom":                 {"A.csv", "\ufeffdate,open,high,low,close,volume\n" + bar, nil, want},
		"crlf":                {"A.csv", strings.ReplaceAll("Date,Open,High,Low,Last,Vol\n"+bar, "\n", "\r\n"), nil, want},
		"no end":              {"A.csv", strings.TrimSpace("trade_date,OPEN,HIGH,LOW,CLOSE,VOLUME\n" + bar), nil, want},
		"blank lines":         {"A.csv", "\n\nts,open,high,low,close,volume\n\n" + bar + "\n\n", nil, want},
		"gzip":                {"A.csv.gz", gz("date,open,high,low,close,volume\n" + bar), nil, want},
		"gzip called csv":     {"A.csv", gz("date,open,high,low,close,volume\n" + bar), nil, want},
		"tab":                 {"A.csv", strings.ReplaceAll("date,open,high,low,close,volume\n"+bar, ",", "\t"), nil, want},
		"semicolon":           {"A.csv", strings.ReplaceAll("date,open,high,low,close,volume\n"+bar, ",", ";"), nil, want},
		"semicolon, quoted":   {"A.csv", strings.ReplaceAll("\"date\",open,high,low,close,volume\n"+bar, ",", ";"), nil, want},
		"thousands":           {"A.csv", "date,open,high,low,close,volume,adj.close\n2020-01-02,\"1,010.5\",\"1,012.0\",\" 1,009 \",1011,\"1,234,567\",1e1\n", nil, "A|2020-01-02|1010.5|1012.0|1009.0|1011.0|1234567.0|10.0"},
		"quoted newline":      {"A.csv", "date,note,open,high,low,close,volume\n2020-01-02,\"a \"\"b\"\"\nc,d\",10,12,9,11,1000\n", nil, want},
		"--symbol":            {"x y.csv", "date,open,high,low,close,volume\n" + bar, func(r *Request) { r.Symbol = "A" }, want},
		"zeros are kept":      {"005930.csv", "date,open,high,low,close,volume\n" + bar, nil, strings.Replace(want, "A", "005930", 1)},
		"symbol column":       {"all.csv", "code,date,open,high,low,close,volume\n005930," + bar, nil, strings.Replace(want, "A", "005930", 1)},
		"volume missing zero": {"A.csv", "date,open,high,low,close,volume\n2020-01-02,10,12,9,11,N/A\n", func(r *Request) { r.VolumeMissing = "zero" }, strings.Replace(want, "1000", "0", 1)},
		"no volume column":    {"A.csv", "date,open,high,low,close\n2020-01-02,10,12,9,11\n", func(r *Request) { r.VolumeMissing = "zero" }, strings.Replace(want, "1000", "0", 1)},
		"korean utf-8":        {"x.csv", "일자,종목(코드),시가,고가,저가,종가,거래량,수정종가\n2020/01/02,005930,10,12,9,11,1000,10\n", nil, "005930|2020-01-02|10.0|12.0|9.0|11.0|1000.0|10.0"},
		"korean cp949":        {"x.csv", cp949("날짜,종목코드,종목명,시가,고가,저가,종가,거래량\n20200102,005930,삼성전자,10,12,9,11,1000\n"), func(r *Request) { r.Encoding = "cp949" }, "005930|2020-01-02|10.0|12.0|9.0|11.0|1000.0|-"},
		"korean path":         {"주가 [*]?.csv", "symbol,date,open,high,low,close,volume\nA," + bar, nil, want},
		"--date-format":       {"A.csv", "date,open,high,low,close,volume\n02/01/2020,10,12,9,11,1000\n", func(r *Request) { r.DateFormat = "%d/%m/%Y" }, want},
		"bulk":                {"x.txt", "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\nA,D,20200102,000000,10,12,9,11,1000,0\n", nil, want},
		"time alone":          {"A.csv", "Time,Open,High,Low,Close,Volume\n" + bar, nil, want},
		"price":               {"A.csv", "\ufeff\"Date\",\"Price\",\"Open\",\"High\",\"Low\",\"Vol.\",\"Change %\"\n\"2020-01-02\",\"11\",\"10\",\"12\",\"9\",\"1.00K\",\"-4.43%\"\n", nil, want},
		"price beside close":  {"A.csv", "Price,Date,Open,High,Low,Close/Last,Volume\n7,2020-01-02,10,12,9,11,1000\n", nil, want},
		"datum":               {"A.csv", "Datum;Open;High;Low;Close;Volume;Note\n2020-01-02;10;12;9;11;1000;a, b 1,5\n", nil, want},
		"korean date":         {"A.csv", "date,open,high,low,close,volume\n2020. 1. 2.,10,12,9,11,1000\n", nil, want},
		"a midnight":          {"A.csv", "datetime,open,high,low,close,volume\n2020-01-02T00:00:00.000+09:00,10,12,9,11,1000\n", nil, want},
		"decimal comma":       {"A.csv", "Datum;Open;High;Low;Close;Volume;Note\n2020-01-02;10,0;12,00;9;11,000;1.000;a, b 1,5\n", nil, want},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			r := l.mustIngest(c.change, l.file(c.file, c.content))
			l.want("bars", l.bars(), []string{c.want})
			l.want("rejects", r.Reasons, []Reason{})
		})
	}
}

func TestAFileThatCannotBeUnderstoodIsRefusedWhole(t *testing.T) {
	ok := "date,open,high,low,close,volume\n"
	for name, c := range map[string]struct {
		file, content string
		change        func(*Request)
		code          quant.Code
		msg, hint     string
	}{
		"empty":        {"A.csv", "", nil, quant.Invalid, "is empty", "header"},
		"only a bom":   {"A.csv", "\ufeff", nil, quant.Invalid, "is empty", "header"},
		"utf-16":       {"A.csv", "\xff\xfed\x00a\x00\x00\xd8", nil, quant.Invalid, "is not utf-16le, as its first bytes say", "UTF-8"},
		"cp949 unsaid": {"A.csv", ok + "2020-01-02,10,12,9,11,1000\n2020-01-03,10,12,9,11,1\xb0\xa1\n", nil, quant.Invalid, "line 3: is not UTF-8", "--encoding cp949"},
		"utf-8 called cp949": {"A.csv", ok + "2020-01-02,10,12,9,11,1000\n2020-01-03,10,12,9,11,\u00ff\xff\n",
			func(r *Request) { r.Encoding = "euc-kr" }, quant.Invalid, "line 3: is not CP949", "--encoding"},
		"ambiguous":          {"A.csv", ok + "2020-01-02,10,12,9,11,1000\n03/04/2020,10,12,9,11,1000\n", nil, quant.Invalid, `line 3: ambiguous date "03/04/2020"`, "--date-format"},
		"decimal comma":      {"A.csv", "Date;Open;High;Low;Close;Volume\n2020-01-31;77;80;77;78;100\n2020-02-03;77,380;80,230;77,070;78,100;100\n", nil, quant.Invalid, `line 3: the comma in the open "77,380" may begin the fraction or part thousands`, "--decimal comma (77,38 is 77.38) or --decimal point"},
		"two marks":          {"A.csv", "Date;Open;High;Low;Close;Volume;Adj Close\n2020-01-31;77;80;77;78;100;\"7,5\"\n2020-02-03;77;80;77.25;78;100;7\n", nil, quant.Invalid, `begins with a comma in "7,5" (line 2) and with a point in "77.25" (line 3)`, "--decimal comma or --decimal point"},
		"a comma far behind": {"A.csv", "Date;Open;High;Low;Close;Volume\n" + strings.Repeat("2020-01-31;77;80;77;78;100\n", blockSize/25) + "2020-02-03;7,5;80;7;8;100\n", nil, quant.Invalid, `the comma in the open "7,5"`, "--decimal"},
		"a time far behind":  {"A.csv", ok + strings.Repeat("2020-01-31,77,80,77,78,100\n", blockSize/25) + "2020-02-03 09:30:00,7,8,7,8,100\n", nil, quant.Invalid, `"2020-02-03 09:30:00" has a time of day`, "--timezone"},
		"zip":                {"A.csv", "PK\x03\x04 and so on", nil, quant.Invalid, "damaged zip archive", "fetch it again"},
		"two times":          {"A.csv", "time,Time,open,high,low,close,volume\n", nil, quant.Invalid, `columns "time" and "Time" are both the date`, "rename"},
		"no date":            {"A.csv", "open,high,low,close,volume\n1,1,1,1,1\n", nil, quant.Invalid, "no column for date in the header open | high", "first line"},
		"no volume":          {"A.csv", "date,open,high,low,close\n", nil, quant.Invalid, "no column for volume", "--volume-missing zero"},
		"two dates":          {"A.csv", "date,Trade Date,open,high,low,close,volume\n", nil, quant.Invalid, `columns "date" and "Trade Date" are both the date`, "rename"},
		"other symbol":       {"A.csv", "symbol," + ok + "B,2020-01-02,10,12,9,11,1000\n", func(r *Request) { r.Symbol = "A" }, quant.Invalid, "line 2: its symbol is B, not A", "--symbol"},
		"no symbol":          {"my file.csv", ok, nil, quant.Invalid, "has no symbol column", "--symbol"},
		"truncated gzip":     {"A.csv.gz", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x05", nil, quant.Invalid, "damaged gzip", "again"},
		"not parquet":        {"A.parquet", "PAR1xxxxxxxxxxxx", nil, quant.Invalid, "cannot be read as Parquet", "again"},
		"parquet by name":    {"A.parquet", "date,open\n", nil, quant.Invalid, "is no Parquet file", "another ending"},
		"carriage returns":   {"A.csv", strings.ReplaceAll(ok+ok, "\n", "\r"), nil, quant.Invalid, "carriage return", "LF"},
		"bad header quotes":  {"A.csv", "date,\"open,high\n1,2\n", nil, quant.Invalid, "bad quotes in the header", "quote"},
		"unknown encoding":   {"A.csv", ok, func(r *Request) { r.Encoding = "latin99" }, quant.Invalid, "encoding", "cp949"},
		"bad date format":    {"A.csv", ok, func(r *Request) { r.DateFormat = "%d/%m" }, quant.Invalid, "does not name year", "--date-format"},
		"bad ratio":          {"A.csv", ok, func(r *Request) { r.MaxRejectRatio = math.NaN() }, quant.Invalid, "ratio", "0.01"},
		"bad volume missing": {"A.csv", ok, func(r *Request) { r.VolumeMissing = "one" }, quant.Invalid, "volume", "zero"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			_, err := l.ingest(c.change, l.file(c.file, c.content))
			if !errors.Is(err, c.code) || !strings.Contains(fmt.Sprint(err), c.msg) || !strings.Contains(quant.HintOf(err), c.hint) {
				t.Fatalf("got %v (%q, hint %q)\nwant %q with %q, hint with %q", err, quant.CodeOf(err), quant.HintOf(err), c.code, c.msg, c.hint)
			}
			l.want("ledger", l.list("SELECT run_id FROM ledger"), []string{})
		})
	}
}

func TestAPathThatIsNoFileIsRefusedBeforeAnythingIsRead(t *testing.T) {
	l := newLab(t)
	good := l.file("A.csv", header)
	for path, code := range map[string]quant.Code{
		filepath.Join(l.dir, "missing.csv"): quant.NotFound, l.dir: quant.Invalid, os.DevNull: quant.Invalid, "https://example.com/a.csv": quant.NotFound,
	} {
		if _, err := l.ingest(nil, good, path); !errors.Is(err, code) {
			t.Errorf("%s: got %v, want %s", path, err, code)
		}
	}
	if _, err := l.ingest(nil); !errors.Is(err, quant.Invalid) {
		t.Error("no files:", err)
	}
}

func TestEachBadRowIsRejectedWithItsLineAndFirstReason(t *testing.T) {
	l := newLab(t)
	r := l.mustIngest(nil, l.file("all.csv", "symbol,date,open,high,low,close,volume,adj_close,name\n"+ // 1
		"A,2020-01-02,10,12,9,11,1000,10,n\n"+ // 2 sound
		"A,2020-01-03,10,12,9,11,1000,10\n"+ // 3 ragged
		"A,2020-01-04,10,12,9,11,1000,10,\"open\n"+ // 4 a quote that is never closed
		"A,2020-01-05,10,12,9,11,1000,10,n\n"+ // 5 sound
		"A,2020-01-06,10,12,9,11,1000,10,a\"b\n"+ // 6 bare quote
		"A,2020-01-07,10,12,9,11,10\x0000,10,n\n"+ // 7 NUL
		",2020-01-08,10,12,9,11,1000,10,n\n"+ // 8
		"A B,2020-01-08,10,12,9,11,1000,10,n\n"+ // 9
		"A,,10,12,9,11,1000,10,n\n"+ // 10
		"A,2020-02-30,10,12,9,11,1000,10,n\n"+ // 11
		"A,1899-12-31,10,12,9,11,1000,10,n\n"+ // 12
		"A,2026-01-17,10,12,9,11,1000,10,n\n"+ // 13
		"A,2026-01-16,10,12,9,11,1000,10,n\n"+ // 14 tomorrow: sound
		"A,2020-01-09,,12,9,11,1000,10,n\n"+ // 15
		"A,2020-01-09,x10,12,9,11,1000,10,n\n"+ // 16
		"A,2020-01-09,NaN,12,9,11,1000,10,n\n"+ // 17
		"A,2020-01-09,1e999,12,9,11,1000,10,n\n"+ // 18
		"A,2020-01-09,0,12,9,11,1000,10,n\n"+ // 19
		"A,2020-01-09,10,12,-9,11,1000,10,n\n"+ // 20
		"A,2020-01-09,10,12,9,11,,10,n\n"+ // 21
		"A,2020-01-09,10,12,9,11,-1,10,n\n"+ // 22
		"A,2020-01-09,10,12,9,11,1000,0,n\n"+ // 23
		"A,2020-01-09,10,8,9,11,1000,10,n\n"+ // 24
		"A,2020-01-09,13,12,9,11,1000,10,n\n"+ // 25
		"A,2020-01-09,10,12,9,8,1000,10,n\n"+ // 26
		"A,2020-01-09,\"1,0,0\",12,9,8,1000,10,n\n"+ // 27
		"A,2020-01-10,10,12,9,11,1000,-,\"two\nlines\"\n"+ // 28, 29 sound
		"A,2020-01-11,10,12,9,11,1000,inf,n")) // 30
	want := []string{
		"3|number of fields is not the header's", "4|bad quotes", "6|bad quotes", "7|NUL byte", "8|symbol is missing", "9|symbol is not valid",
		"10|date is missing", "11|date is not understood", "12|date is not between 1900-01-01 and tomorrow", "13|date is not between 1900-01-01 and tomorrow",
		"15|open is missing", "16|open is not a number", "17|open is not a finite number", "18|open is not a finite number", "19|open is not positive",
		"20|low is not positive", "21|volume is missing", "22|volume is negative", "23|adjusted close is not positive", "24|low is above high",
		"25|open is not between low and high", "26|close is not between low and high", "27|open is not a number", "30|adjusted close is not a finite number",
	}
	l.want("rejects", strings.Join(l.rejects(), "\n"), strings.Join(want, "\n"))
	l.want("bars", l.list("SELECT ts::VARCHAR FROM ohlcv ORDER BY ts"), []string{"2020-01-02", "2020-01-05", "2020-01-10", "2026-01-16"})
	l.want("text", l.list("SELECT row_text FROM rejects WHERE line IN (4, 25) ORDER BY line"),
		[]string{`A,2020-01-04,10,12,9,11,1000,10,"open `, "A,2020-01-09,13.0,12.0,9.0,11.0,1000.0,10.0"})
	l.want("ledger", l.list("SELECT concat_ws('|', run_id, table_name, rows_inserted, rows_updated) FROM ledger ORDER BY table_name"), []string{"run-1|ohlcv|4|0", "run-1|rejects|24|0"})
	l.want("ignored", r.Files[0].IgnoredColumns, []string{"name"})
	if r.RowsRead != 28 || r.RowsRejected != 24 || r.Files[0].RowsRejected != 24 {
		t.Errorf("report: %+v", r)
	}
	l.want("most frequent reason", r.Reasons[0], Reason{"bad quotes", 2, []Example{{"all.csv", 4, "bad quotes"}, {"all.csv", 6, "bad quotes"}}})
}

func TestALineThatIsTooLongIsOneReject(t *testing.T) {
	l := newLab(t)
	for i, n := range []int{maxRecord + 1, blockSize + 1000, 3*blockSize + 7} {
		name := fmt.Sprintf("A%d.csv", i)
		l.mustIngest(nil, l.file(name, "date,open,high,low,close,volume\n2020-01-02,10,12,9,11,1\n"+strings.Repeat("x", n)+"\n2020-01-03,10,12,9,11,1\n"))
		l.want(name, l.list("SELECT line || reason FROM rejects WHERE source = ?", "file:"+name), []string{"3line is longer than 1048576 bytes"})
		l.want(name, l.list("SELECT ts::VARCHAR FROM ohlcv WHERE symbol = ? ORDER BY ts", name[:2]), []string{"2020-01-02", "2020-01-03"})
	}
}

func TestADayTwiceCollapsesWhenIdenticalAndIsRejectedWhenNot(t *testing.T) {
	l := newLab(t)
	h := "symbol,date,open,high,low,close,volume,adjclose\n"
	a := l.file("a.csv", h+
		"A,2020-01-02,10,12,9,11,1000,10\n"+ // 2
		"A,2020-01-02,10.0,12,9,11,1e3,10\n"+ // 3 identical
		"A,2020-01-03,10,12,9,11,1000,\n"+ // 4
		"A,2020-01-04,10,12,9,11,1000,1\n"+ // 5
		"A,2020-01-05,0,12,9,11,1000,1\n") // 6 rejected for itself
	b := l.file("b.csv", h+
		"A,2020-01-03,10,12,9,11,1000,10\n"+ // 2 differs from a:4
		"A,2020-01-04,10,12,9,11,1000,1\n"+ // 3 identical to a:5
		"A,2020-01-03,10,12,9,11,1000,\n"+ // 4 identical to a:4, which is contested
		"A,2020-01-05,10,12,9,11,1000,1\n") // 5 sound
	r := l.mustIngest(nil, a, b)
	l.want("bars", l.list("SELECT ts || source FROM ohlcv ORDER BY ts"), []string{"2020-01-02file:a.csv", "2020-01-04file:a.csv", "2020-01-05file:b.csv"})
	l.want("rejects", l.rejects(), []string{"4|differs from line 2 of b.csv", "6|open is not positive", "2|differs from line 4 of a.csv", "4|differs from line 2"})
	l.want("counts", []int64{r.RowsRead, r.RowsInserted, r.RowsCollapsed, r.RowsRejected}, []int64{9, 3, 2, 4})
	l.want("examples", r.Reasons[0].Examples[1], Example{"b.csv", 2, "differs from line 4 of a.csv"})
}

func TestIngestingAgainChangesNothing(t *testing.T) {
	l := newLab(t)
	content := header + "2020-01-02,10,12,9,11,1000,10\n2020-01-03,10,12,9,11,1000,\n2020-01-04,1,2,3\n"
	l.mustIngest(nil, l.file("A.csv", content))
	before := l.list("SELECT concat_ws('|', source, ingested_at, ts) FROM ohlcv ORDER BY ts")
	for _, name := range []string{"A.csv", "A.txt"} {
		r := l.mustIngest(nil, l.file(name, content))
		l.want(name, []int64{r.RowsInserted, r.RowsUpdated, r.RowsUnchanged, r.RowsRejected}, []int64{0, 0, 2, 1})
	}
	l.want("bars", l.list("SELECT concat_ws('|', source, ingested_at, ts) FROM ohlcv ORDER BY ts"), before)
	l.want("rejects", l.rejects(), []string{"4|number of fields is not the header's"})
	l.want("ledger", l.list("SELECT DISTINCT run_id FROM ledger"), []string{"run-1"})
}

func TestARevisionUpdatesOnlyWhatItRevises(t *testing.T) {
	l := newLab(t)
	l.mustIngest(nil, l.file("A.csv", header+"2020-01-02,10,12,9,11,1000,10\n2020-01-03,10,12,9,11,1000,\n2020-01-06,10,12,9,11,1000,\n"))
	r := l.mustIngest(nil, l.file("A.tsv", header+"2020-01-02,10,12,9,11,1000,10\n2020-01-03,10,12,9,11.5,1000,\n2020-01-04,10,12,9,11,1000,\n"))
	l.want("counts", []int64{r.RowsInserted, r.RowsUpdated, r.RowsUnchanged}, []int64{1, 1, 1})
	l.want("bars", l.list("SELECT concat_ws('|', o.ts, close, source, run_id) FROM ohlcv o JOIN ledger l ON l.committed_at = o.ingested_at AND table_name = 'ohlcv' ORDER BY o.ts"),
		[]string{"2020-01-02|11.0|file:A.csv|run-1", "2020-01-03|11.5|file:A.tsv|run-2", "2020-01-04|11.0|file:A.tsv|run-2", "2020-01-06|11.0|file:A.csv|run-1"})
}

func TestTooManyRejectsLeaveTheBarsUntouched(t *testing.T) {
	l := newLab(t)
	file := l.file("A.csv", header+"2020-01-02,10,12,9,11,1000,10\n2020-01-03,10,12,9,11,-1,\n2020-01-04,10,12,9,11,1,\n2020-01-05,10,12,9,11,1,\n")
	called := false
	r, err := l.ingest(func(r *Request) {
		r.MaxRejectRatio = 0.2
		r.BeforeCommit = func(context.Context, []string) error { called = true; return nil }
	}, file)
	if !errors.Is(err, quant.Refused) || !strings.Contains(err.Error(), "1 of 4 rows rejected (25.00 %, allowed 20.00 %); most often: volume is negative (1, first A.csv line 3)") {
		t.Fatal(err)
	}
	l.want("report", []int64{r.RowsRead, r.RowsRejected, r.RowsInserted}, []int64{4, 1, 0})
	l.want("bars", l.bars(), []string{})
	l.want("rejects", l.rejects(), []string{"3|volume is negative"})
	l.want("ledger", l.list("SELECT concat_ws('|', run_id, table_name, rows_inserted) FROM ledger"), []string{"run-1|rejects|1"})
	if called {
		t.Error("symbols of a refused ingest were announced")
	}
	r = l.mustIngest(func(r *Request) { r.MaxRejectRatio = 0.25 }, file) // the ratio itself is allowed
	l.want("allowed", r.RowsInserted, 3)
}

func TestAnErrorBeforeTheCommitUndoesEverything(t *testing.T) {
	l := newLab(t)
	boom := errors.New("boom")
	_, err := l.ingest(func(r *Request) {
		r.BeforeCommit = func(context.Context, []string) error { return boom }
	}, l.file("A.csv", header+"2020-01-02,10,12,9,11,1000,10\nx\n"))
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	l.want("bars", l.bars(), []string{})
	l.want("rejects", l.rejects(), []string{})
}

func TestAFileWithoutRowsIsANoticeAndNotAnError(t *testing.T) {
	l := newLab(t)
	r := l.mustIngest(nil, l.file("A.csv", header), l.file("B.csv", header+"2020-01-02,10,12,9,11,1000,10\n"))
	l.want("counts", []int64{r.RowsRead, r.RowsInserted}, []int64{1, 1})
	if len(r.Notices) != 2 || !strings.Contains(r.Notices[1], "A.csv has a header and no rows") {
		t.Error(r.Notices)
	}
}

func TestTheSameFileGivenTwiceIsReadOnce(t *testing.T) {
	l := newLab(t)
	h := "symbol," + header
	a := l.file("a.csv", h+"A,2020-01-02,10,12,9,11,1000,10\nA,2\n")
	r := l.mustIngest(nil, a, filepath.Join(l.dir, ".", "a.csv"), l.file("b.csv", h+"A,2020-01-02,10,12,9,11,1000,10\nA,2\n"))
	l.want("counts", []int64{r.RowsRead, r.RowsInserted, r.RowsCollapsed, r.RowsRejected}, []int64{2, 1, 0, 1})
	l.want("notices", len(r.Notices), 2)
}

func TestAFileThatChangesWhileItIsReadIsRefused(t *testing.T) {
	l := newLab(t)
	path := l.file("A.csv", header+"2020-01-02,10,12,9,11,1000,10\n")
	_, err := l.ingest(func(r *Request) {
		r.Progress = func(p Progress) {
			if p.Stage == Reading {
				_ = os.WriteFile(path, []byte(header+"2020-01-02,10,12,9,11,1000,10\n2020-01-03,1,1,1,1,1,1\n"), 0o600)
			}
		}
	}, path)
	if !errors.Is(err, quant.Failed) || !strings.Contains(err.Error(), "changed while it was read") {
		t.Fatal(err)
	}
	l.want("bars", l.bars(), []string{})
}

func TestTheEndOfTheContextEndsAnIngest(t *testing.T) {
	l := newLab(t)
	var big strings.Builder
	big.WriteString("symbol," + header)
	for i := range 300_000 {
		fmt.Fprintf(&big, "S%d,2020-01-02,10,12,9,11,1000,10\n", i)
	}
	path := l.file("big.csv", big.String())
	for _, stage := range []Stage{Reading, Checking, Storing} {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := Ingest(ctx, l.db, Request{RunID: "r", Files: []string{path}, Now: clock, Progress: func(p Progress) {
			if p.Stage == stage {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while %s: %v", stage, err)
		}
		l.want("bars", l.bars(), []string{})
	}
	l.want("after all", l.mustIngest(nil, path).RowsInserted, 300_000)
}

func (l *lab) parquet(name, query string) string {
	l.Helper()
	path := filepath.Join(l.dir, name)
	duck(l, "COPY ("+query+") TO "+sqltext.Literal(path)+" (FORMAT parquet)")
	return path
}

// duck runs statements in a DuckDB of their own: to make files.
func duck(tb testing.TB, statements ...string) {
	tb.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // TEMP tables are a connection's
	for _, s := range statements {
		if _, err := db.ExecContext(tb.Context(), s); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestParquetPassesTheSameGate(t *testing.T) {
	l := newLab(t)
	path := l.parquet("p.parquet", `SELECT * FROM (VALUES
		('A', DATE '2020-01-02', 10.0::DOUBLE, 12.0::FLOAT, 9, 11.0::DECIMAL(9,2), 1000::BIGINT, 10.0::DOUBLE, [1]),
		('A', DATE '2020-01-03', 'nan', 12, 9, 11, 1000, 10, [1]),
		('A', DATE '2020-01-04', NULL, 12, 9, 11, 1000, 10, [1]),
		(NULL, DATE '2020-01-05', 10, 12, 9, 11, 1000, 10, [1]),
		('A B', DATE '2020-01-06', 10, 12, 9, 11, 1000, 10, [1]),
		('A', NULL, 10, 12, 9, 11, 1000, 10, [1]),
		('A', DATE '1800-01-01', 10, 12, 9, 11, 1000, 10, [1]),
		('A', DATE '2020-01-07', 10, 12, 9, 11, 1000, 'inf', [1]),
		('A', DATE '2020-01-08', 10, 12, 9, 11, NULL, NULL, [1]),
		('005930', DATE '2020-01-08', 10, 12, 9, 11, 0, NULL, [1])
		) t(Ticker, Date, Open, High, Low, Close, Volume, "Adj Close", extra)`)
	r := l.mustIngest(nil, path)
	l.want("bars", l.bars(), []string{"005930|2020-01-08|10.0|12.0|9.0|11.0|0.0|-", "A|2020-01-02|10.0|12.0|9.0|11.0|1000.0|10.0"})
	l.want("rejects", l.rejects(), []string{"2|open is not a finite number", "3|open is missing", "4|symbol is missing", "5|symbol is not valid", "6|date is missing",
		"7|date is not between 1900-01-01 and tomorrow", "8|adjusted close is not a finite number", "9|volume is missing"})
	l.want("ignored", r.Files[0].IgnoredColumns, []string{"extra"})
	l.want("format", r.Files[0].Format, "parquet")
}

func TestParquetDatesAndNamesAreUnderstood(t *testing.T) {
	for name, c := range map[string]struct{ file, query, want, msg string }{
		"timestamp":        {"A.parquet", "SELECT TIMESTAMP '2020-01-02 00:00:00' AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "A|2020-01-02|1.0|1.0|1.0|1.0|1.0|-", ""},
		"instant":          {"A.parquet", "SELECT unnest(['2020-01-02 00:00:00+00'::TIMESTAMPTZ, '2020-01-02 23:00:00+00'::TIMESTAMPTZ]) AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "", "is intraday data: rows 1 and 2 are two times of one day"},
		"time of day":      {"A.parquet", "SELECT TIMESTAMP '2020-01-02 15:00:00' AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "", "row 1: column ts has a time of day"},
		"one instant":      {"A.parquet", "SELECT '2020-01-02 23:00:00+00'::TIMESTAMPTZ AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "", "row 1: column ts is an instant, and which session's day it is depends on the exchange"},
		"epoch":            {"A.parquet", "SELECT 1577923200000 AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "A|2020-01-02|1.0|1.0|1.0|1.0|1.0|-", ""},
		"month first":      {"A.parquet", "SELECT unnest(['01/02/2020', '01/31/2020']) AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "A|2020-01-02|1.0|1.0|1.0|1.0|1.0|- A|2020-01-31|1.0|1.0|1.0|1.0|1.0|-", ""},
		"no symbol":        {"A.parquet", "SELECT DATE '2020-01-02' AS ts, unnest(['a', 'b']) AS venue, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "", "the column venue says \"a\" and \"b\" for one day"},
		"midnight UTC":     {"A.parquet", "SELECT '2020-01-02 00:00:00+00'::TIMESTAMPTZ AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "A|2020-01-02|1.0|1.0|1.0|1.0|1.0|-", ""},
		"text":             {"A.parquet", "SELECT '2020/1/2' AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "A|2020-01-02|1.0|1.0|1.0|1.0|1.0|-", ""},
		"number":           {"A.parquet", "SELECT 20200102 AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "A|2020-01-02|1.0|1.0|1.0|1.0|1.0|-", ""},
		"pattern":          {"주가 [*]? {a}'b.parquet", "SELECT 'A' AS symbol, DATE '2020-01-02' AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "A|2020-01-02|1.0|1.0|1.0|1.0|1.0|-", ""},
		"hive":             {"symbol=B.parquet", "SELECT 'A' AS symbol, DATE '2020-01-02' AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "A|2020-01-02|1.0|1.0|1.0|1.0|1.0|-", ""},
		"ambiguous":        {"A.parquet", "SELECT '01/02/2020' AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "", "line 1: ambiguous date"},
		"symbol as number": {"A.parquet", "SELECT 5930 AS symbol, DATE '2020-01-02' AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "", "column symbol is INTEGER, and a symbol is text"},
		"price as text":    {"A.parquet", "SELECT DATE '2020-01-02' AS ts, '1' AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "", "column open is VARCHAR, not a number"},
		"two opens":        {"A.parquet", "SELECT DATE '2020-01-02' AS ts, 1 AS open, 1 AS \"Open \", 1 AS high, 1 AS low, 1 AS close, 1 AS volume", "", "are both the open"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			if name == "pattern" { // what the name would match as a pattern
				l.file("주가 *x {a}'b.parquet", "PAR1")
			}
			_, err := l.ingest(nil, l.parquet(c.file, c.query))
			if c.msg != "" {
				if !errors.Is(err, quant.Invalid) || !strings.Contains(err.Error(), c.msg) {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			l.want("bars", l.bars(), []string{c.want})
		})
	}
}

// TestTheGateAgreesWithANaiveOneOnRandomRows writes random bars with random
// faults and compares what is stored and rejected with a gate that reads each
// row by itself, in the plainest way.
func TestTheGateAgreesWithANaiveOneOnRandomRows(t *testing.T) {
	rounds, seed := soak.Count(t, 8, 400), soak.Seed(t)
	l := newLab(t)
	for round := range rounds {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		var b strings.Builder
		b.WriteString("date,symbol,close,open,low,high,volume,adj close\n")
		type bar struct {
			key    string
			values string
		}
		sound := map[string][]bar{} // by key
		lines := map[string][]int{}
		rejected := map[int]bool{}
		n := rng.IntN(300)
		prefix := fmt.Sprintf("R%d_", round)
		for i := range n {
			line := i + 2
			day := 1 + rng.IntN(28)
			sym := prefix + string(rune('A'+rng.IntN(3)))
			v := [6]string{} // close open low high volume adj
			low := float64(1 + rng.IntN(3))
			f := []float64{low + 1, low + float64(rng.IntN(3)), low, low + 2, float64(rng.IntN(2)), 5}
			for j, x := range f {
				v[j] = strconv.FormatFloat(x, 'f', rng.IntN(3), 64)
			}
			date := fmt.Sprintf("2020-01-%02d", day)
			if rng.IntN(8) == 0 {
				v[rng.IntN(6)] = []string{"", "NaN", "-1", "0", "1e9", "x", "inf", "1,000", "null"}[rng.IntN(9)]
			}
			if rng.IntN(30) == 0 {
				date = []string{"", "2020-13-01", "1899-01-01", "2027-01-01", "2020-1-5"}[rng.IntN(5)]
			}
			fields := []string{date, sym}
			for _, s := range v {
				if strings.Contains(s, ",") || rng.IntN(10) == 0 {
					s = `"` + s + `"`
				}
				fields = append(fields, s)
			}
			if rng.IntN(40) == 0 {
				fields = fields[:3]
			}
			b.WriteString(strings.Join(fields, ",") + "\n")
			if key, values, ok := naive(fields); ok {
				sound[key] = append(sound[key], bar{key, values})
				lines[key] = append(lines[key], line)
			} else {
				rejected[line] = true
			}
		}
		var bars []string
		collapsed := int64(0)
		for key, list := range sound {
			same := true
			for _, x := range list {
				same = same && x.values == list[0].values
			}
			if same {
				bars = append(bars, key+"|"+list[0].values)
				collapsed += int64(len(list) - 1)
				continue
			}
			for _, line := range lines[key] {
				rejected[line] = true
			}
		}
		slices.Sort(bars)
		name := fmt.Sprintf("r%d.csv", round)
		r := l.mustIngest(nil, l.file(name, b.String()))
		got := l.list("SELECT concat_ws('|', symbol, ts, open, high, low, close, volume, coalesce(adjusted_close::VARCHAR, '-')) AS s FROM ohlcv WHERE starts_with(symbol, ?) ORDER BY 1", prefix)
		slices.Sort(got)
		l.want("bars", strings.Join(got, "\n"), strings.Join(bars, "\n"))
		var want []int
		for line := range rejected {
			want = append(want, line)
		}
		slices.Sort(want)
		l.want("rejects", l.list("SELECT line::VARCHAR FROM rejects WHERE source = ? ORDER BY line", "file:"+name), want)
		l.want("counts", []int64{r.RowsRead, r.RowsInserted, r.RowsCollapsed, r.RowsRejected}, []int64{int64(n), int64(len(bars)), collapsed, int64(len(want))})
		if t.Failed() {
			t.Fatalf("round %d:\n%s", round, b.String())
		}
	}
}

func naive(fields []string) (key, values string, ok bool) {
	if len(fields) != 8 {
		return "", "", false
	}
	date, err := time.Parse("2006-1-2", fields[0])
	if err != nil || date.Year() < 1900 || date.After(clock().AddDate(0, 0, 1)) {
		return "", "", false
	}
	var x [6]float64
	adj := "-"
	for i := range x {
		s := strings.ReplaceAll(strings.Trim(fields[2+i], `"`), ",", "")
		if i == 5 && (s == "" || s == "null") {
			x[i] = 1
			continue
		}
		if x[i], err = strconv.ParseFloat(s, 64); err != nil || math.IsNaN(x[i]) || math.IsInf(x[i], 0) {
			return "", "", false
		}
		if i == 5 {
			adj = plainFloat(x[i])
		}
	}
	if x[0] <= 0 || x[1] <= 0 || x[2] <= 0 || x[3] <= 0 || x[4] < 0 || x[5] <= 0 || x[2] > x[1] || x[1] > x[3] || x[2] > x[0] || x[0] > x[3] {
		return "", "", false
	}
	return fields[1] + "|" + date.Format(time.DateOnly), strings.Join([]string{plainFloat(x[1]), plainFloat(x[3]), plainFloat(x[2]), plainFloat(x[0]), plainFloat(x[4]), adj}, "|"), true
}

func plainFloat(x float64) string {
	s := strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func TestAParquetFileIsReadInPlaceOrCopiedWithTheSameResult(t *testing.T) {
	l := newLab(t)
	rows := func(close int) string {
		return fmt.Sprintf("SELECT 'A' AS symbol, DATE '2020-01-01' + i::INTEGER AS date, 10 AS open, 12 AS high, 9 AS low, CASE WHEN i = 3 THEN %d ELSE 11 END AS close, 5 AS volume FROM range(10) t(i)", close)
	}
	first := l.parquet("a.parquet", rows(11))
	l.want("first", l.mustIngest(nil, first).RowsInserted, 10)
	l.want("again", l.mustIngest(nil, first).RowsUnchanged, 10)
	r := l.mustIngest(nil, l.parquet("b.parquet", rows(10)))
	l.want("another name, one revision", []int64{r.RowsInserted, r.RowsUpdated, r.RowsUnchanged}, []int64{0, 1, 9})
	r = l.mustIngest(nil, l.parquet("c.parquet", rows(10)+" UNION ALL "+rows(10)+" UNION ALL SELECT 'A', DATE '2020-01-05', 10, 12, 9, 10, 6"))
	l.want("twice", []int64{r.RowsRead, r.RowsUnchanged, r.RowsCollapsed, r.RowsRejected}, []int64{21, 9, 9, 3})
	r = l.mustIngest(nil, l.parquet("d.parquet", rows(9)), l.file("e.csv", "symbol,date,open,high,low,close,volume\nA,2020-01-01,10.0,12,9,11,5\nA,2020-01-04,10,12,9,11,5\n"))
	l.want("beside a csv", []int64{r.RowsRead, r.RowsUnchanged, r.RowsCollapsed, r.RowsRejected}, []int64{12, 9, 1, 2})
	l.want("bars", l.list("SELECT count(*) || ' ' || count(DISTINCT ts) || ' ' || sum(close) FROM ohlcv"), []string{"10 10 109.0"})
}

func TestAnIngestOnAConnectionUsedBeforeStartsClean(t *testing.T) {
	l := newLab(t)
	bad := l.file("bad.csv", header+"03/04/2020,1,1,1,1,1,1\n")
	good := l.file("A.csv", header+"2020-01-02,10,12,9,11,1000,10\n")
	for range 3 {
		if _, err := l.ingest(nil, bad); !errors.Is(err, quant.Invalid) {
			t.Fatal(err)
		}
		l.mustIngest(nil, good)
	}
	l.want("what is left", l.list("SELECT table_name FROM duckdb_tables() WHERE temporary UNION ALL SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"), []string{})
}

func TestTheFirstErrorInAFileIsTheOneReported(t *testing.T) {
	l := newLab(t)
	var b strings.Builder
	b.WriteString(header)
	for i := range 400_000 { // several blocks, each with an error
		if i > 0 && i%50_000 == 0 {
			b.WriteString("03/04/2020,10,12,9,11,1000,10\n")
			continue
		}
		b.WriteString("2020-01-02,10,12,9,11,1000,10\n")
	}
	path := l.file("A.csv", b.String())
	for range 5 {
		if _, err := l.ingest(nil, path); err == nil || !strings.Contains(err.Error(), "line 50002:") {
			t.Fatal(err)
		}
	}
}

// fixture copies a file of testdata into the lab.
func (l *lab) fixture(name string) string {
	l.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		l.Fatal(err)
	}
	return l.file(name, string(b))
}

func TestTheBoundsThatAParquetFileClaimsAreNotBelieved(t *testing.T) {
	nan := []string{"2|open is not a finite number", "3|volume is not a finite number", "4|adjusted close is not a finite number"}
	lie := []string{"2|close is not between low and high", "4|date is not between 1900-01-01 and tomorrow"}
	for name, c := range map[string]struct {
		file          string
		bars, rejects []string
	}{
		"nan": {"nan.parquet", []string{"A 2020-01-02"}, nan},
		"lie": {"lie.parquet", []string{"A 2020-01-02", "BB 2020-01-04"}, lie},
	} {
		for _, beside := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, another file beside it: %v", name, beside), func(t *testing.T) {
				l := newLab(t)
				files := []string{l.fixture(c.file)}
				if beside {
					files = append(files, l.file("Z.csv", header))
				}
				l.mustIngest(nil, files...)
				l.want("bars", l.list("SELECT symbol || ' ' || ts FROM ohlcv ORDER BY symbol"), c.bars)
				l.want("rejects", l.rejects(), c.rejects)
				l.mustIngest(nil, files...)
				l.want("bars", l.list("SELECT symbol || ' ' || ts FROM ohlcv ORDER BY symbol"), c.bars)
			})
		}
	}
	t.Run("symbol", func(t *testing.T) {
		l := newLab(t)
		_, err := l.ingest(func(r *Request) { r.Symbol = "A" }, l.fixture("lie.parquet"))
		if !errors.Is(err, quant.Invalid) || !strings.Contains(err.Error(), "line 3: its symbol is BB, not A") {
			t.Fatal(err)
		}
		l.want("optimizers", l.list("SELECT value FROM duckdb_settings() WHERE name = 'disabled_optimizers'"), []string{"top_n_window_elimination"})
	})
}

func TestAWideDecimalIsRoundedOnce(t *testing.T) {
	l := newLab(t)
	l.mustIngest(nil, l.parquet("A.parquet", `SELECT DATE '2020-01-02' AS date, 9007199254740993.000000001::DECIMAL(38,9) AS open, 123456789012345678.123456789::DECIMAL(38,9) AS high,
		0.1::DECIMAL(18,9) AS low, 999999999.999999999::DECIMAL(18,9) AS close, 1.5::DECIMAL(4,1) AS volume`))
	var open, high, low, closing, volume float64
	if err := l.db.QueryRow(context.Background(), "SELECT open, high, low, close, volume FROM ohlcv").Scan(&open, &high, &low, &closing, &volume); err != nil {
		t.Fatal(err)
	}
	l.want("numbers", []float64{open, high, low, closing, volume}, []float64{9007199254740993.000000001, 123456789012345678.123456789, 0.1, 999999999.999999999, 1.5})
}

func TestAFileWithoutAdjustedClosesKeepsTheStoredOnes(t *testing.T) {
	l := newLab(t)
	plain := "Date,Open,High,Low,Close,Volume\n"
	adjusted := l.file("A.csv", header+"2020-01-02,10,12,9,11,1000,10\n2020-01-03,10,12,9,11,1000,9\n2020-01-06,10,12,9,11,1000,\n")
	l.mustIngest(nil, adjusted)
	r := l.mustIngest(nil, l.file("A.tsv", plain+"2020-01-02,10,12,9,11,1000\n2020-01-03,10,12,9,11.5,1000\n2020-01-06,10,12,9,11,1000\n2020-01-07,10,12,9,11,1000\n"))
	l.want("counts", []int64{r.RowsInserted, r.RowsUpdated, r.RowsUnchanged}, []int64{1, 1, 2})
	want := []string{"A|2020-01-02|10.0|12.0|9.0|11.0|1000.0|10.0", "A|2020-01-03|10.0|12.0|9.0|11.5|1000.0|9.0",
		"A|2020-01-06|10.0|12.0|9.0|11.0|1000.0|-", "A|2020-01-07|10.0|12.0|9.0|11.0|1000.0|-"}
	l.want("bars", l.bars(), want)

	// Read in place, and together with a file that has the column.
	r = l.mustIngest(nil, l.parquet("A.parquet", `SELECT day AS date, 10.0::DOUBLE AS open, 12.0::DOUBLE AS high, 9.0::DOUBLE AS low, close::DOUBLE AS close, 1000.0::DOUBLE AS volume
		FROM (VALUES (DATE '2020-01-02', 11), (DATE '2020-01-03', 11.5), (DATE '2020-01-06', 11), (DATE '2020-01-07', 11)) t(day, close)`))
	l.want("in place", []int64{r.RowsInserted, r.RowsUpdated, r.RowsUnchanged}, []int64{0, 0, 4})
	l.want("bars", l.bars(), want)
	r = l.mustIngest(nil,
		l.file("one.csv", "symbol,"+plain+"A,2020-01-02,10,12,9,11,1000\nA,2020-01-03,10,12,9,11,1000\n"),
		l.file("two.csv", "symbol,"+header+"A,2020-01-06,10,12,9,11,1000,8\nA,2020-01-07,10,12,9,11,1000,\n"))
	l.want("mixed", []int64{r.RowsInserted, r.RowsUpdated, r.RowsUnchanged}, []int64{0, 2, 2})
	l.want("bars", l.bars(), []string{"A|2020-01-02|10.0|12.0|9.0|11.0|1000.0|10.0", "A|2020-01-03|10.0|12.0|9.0|11.0|1000.0|9.0",
		"A|2020-01-06|10.0|12.0|9.0|11.0|1000.0|8.0", "A|2020-01-07|10.0|12.0|9.0|11.0|1000.0|-"})
	r = l.mustIngest(nil, l.file("A.csv", header+"2020-01-02,10,12,9,11,1000,\n"))
	l.want("an empty cell removes", []any{r.RowsUpdated, l.bars()[0]}, []any{1, "A|2020-01-02|10.0|12.0|9.0|11.0|1000.0|-"})
}

func TestLinesThatSayNothingAreNoRows(t *testing.T) {
	l := newLab(t)
	r := l.mustIngest(nil, l.file("A.csv", " \t\n,,,,,,\r\n"+header+"2020-01-02,10,12,9,11,1000,\n,,,,,,\n   \n , ,\t,\r\n2020-01-03,x,12,9,11,1000,\n,,,,"))
	l.want("counts", []int64{r.RowsRead, r.RowsInserted}, []int64{2, 1})
	l.want("rejects", l.rejects(), []string{"8|open is not a number"})
	l.mustIngest(nil, l.file("B.csv", strings.ReplaceAll(header+"2020-01-02,10,12,9,11,1000,\n,,,,,,\n", ",", ";")))
	l.want("rejects", len(l.rejects()), 1)
}

func TestADifferingRowOfTheSameFileIsRejectedOnceUnderWhateverName(t *testing.T) {
	l := newLab(t)
	rows := header + "2020-01-02,10,12,9,11,1000,\n2020-01-02,10,12,9,10,1000,\n"
	for _, name := range []string{"A.csv", "B.csv"} {
		r := l.mustIngest(nil, l.file(name, rows))
		l.want("example", r.Reasons[0].Examples[0].Reason, "differs from line 3")
		l.want("rejects", l.rejects(), []string{"2|differs from line 3", "3|differs from line 2"})
	}
}

func TestTheHintOfARefusalFindsTheRejectsEveryTime(t *testing.T) {
	l := newLab(t)
	files := []string{l.file("A.csv", header+"2020-01-02,10,12,9,11,-1,\n"), l.file("B.csv", header+"2020-01-02,10,12,9,11,1,\n"), l.file("C.csv", header+"x,10,12,9,11,1,\nx,10,12,9,11,2,\nx,10,12,9,11,3,\n")}
	for range 2 {
		_, err := l.ingest(func(r *Request) { r.MaxRejectRatio = 0 }, files...)
		if !errors.Is(err, quant.Refused) {
			t.Fatal(err)
		}
		hint := quant.HintOf(err)
		if !strings.Contains(hint, "--date-format %d-%b-%Y") {
			t.Error(hint)
		}
		_, query, _ := strings.Cut(hint, `quant sql "`)
		query, _, _ = strings.Cut(query, `"`)
		l.want(query, l.list("SELECT source || line FROM ("+query+") ORDER BY 1"), []string{"file:A.csv2", "file:C.csv2", "file:C.csv3", "file:C.csv4"})
	}
	_, err := l.ingest(func(r *Request) { r.MaxRejectRatio, r.DateFormat = 0, "%d/%m/%Y" }, files[2])
	if hint := quant.HintOf(err); strings.Contains(hint, "--date-format") {
		t.Error(hint)
	}
}

func TestASymbolThatSaysNothingIsMissing(t *testing.T) {
	l := newLab(t)
	l.mustIngest(nil, l.file("a.csv", "symbol,"+header+"null,2020-01-02,1,1,1,1,1,\nNULL,2020-01-02,1,1,1,1,1,\nNaN,2020-01-02,1,1,1,1,1,\nN/A,2020-01-02,1,1,1,1,1,\nNA,2020-01-02,1,1,1,1,1,\n"))
	l.want("rejects", l.rejects(), []string{"2|symbol is missing", "3|symbol is missing", "4|symbol is missing", "5|symbol is missing"})
	l.want("symbols", l.list("SELECT symbol FROM ohlcv"), []string{"NA"})
}
