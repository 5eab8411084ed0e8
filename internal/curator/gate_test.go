package curator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"quant"
)

func TestADayWithoutATradeIsABarAtTheClose(t *testing.T) {
	const traded = "H,2020-01-02,10,12,9,11,1000,11\n"
	for _, c := range []struct {
		name, row string
		bar       string // "": none
		skipped   bool   // it is none, and no reject
		reason    string
	}{
		{"zeros", "H,2020-01-03,0,0,0,11,0,11", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"zeros as decimals", "H,2020-01-03,0.0,0.00,0,11,0.0,11", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"zeros without a volume", "H,2020-01-03,0,0,0,11,,11", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"nothing", "H,2020-01-03,,,,11,0,11", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"nothing, by its words", "H,2020-01-03,null,NULL,-,11,0,11", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"nothing at all but a close", "H,2020-01-03,,,,11,,", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"some zero and some missing", "H,2020-01-03,0,,0,11,,11", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"the open alone is zero", "H,2020-01-03,0,11,11,11,0,11", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"an adjusted close of zero is none", "H,2020-01-03,0,0,0,11,0,0", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"a flat bar is one anyway", "H,2020-01-03,11,11,11,11,0,11", "11.0|11.0|11.0|11.0|0.0|11.0", false, ""},
		{"no price", "H,2020-01-03,0,0,0,0,0,0", "", true, ""},
		{"no price at all", "H,2020-01-03,,,,,,", "", true, ""},
		{"no price, by its words", "H,2020-01-03,null,null,null,null,null,null", "", true, ""},
		{"traded", "H,2020-01-03,0,0,0,11,5,11", "", false, "open is not positive"},
		{"traded, and nothing", "H,2020-01-03,,,,11,5,11", "", false, "open is missing"},
		{"a high that is none", "H,2020-01-03,0,12,9,11,0,11", "", false, "open is not positive"},
		{"below zero", "H,2020-01-03,0,0,-1,11,0,11", "", false, "open is not positive"},
		{"not a number beside it", "H,2020-01-03,,x,,11,0,11", "", false, "open is missing"},
		{"not a number before it", "H,2020-01-03,x,,,11,0,11", "", false, "open is not a number"},
		{"not a volume", "H,2020-01-03,0,0,0,11,x,11", "", false, "volume is not a number"},
		{"a volume below zero", "H,2020-01-03,0,0,0,11,-1,11", "", false, "open is not positive"},
		{"prices, and no volume", "H,2020-01-03,11,11,11,11,,11", "", false, "volume is missing"},
		{"no symbol", ",2020-01-03,0,0,0,11,0,11", "", false, "symbol is missing"},
		{"no day", "H,,0,0,0,11,0,11", "", false, "date is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			r := l.mustIngest(nil, l.file("h.csv", "symbol,date,open,high,low,close,volume,adjusted_close\n"+traded+c.row+"\n"))
			want := []string{"H|2020-01-02|10.0|12.0|9.0|11.0|1000.0|11.0"}
			notices := []string{}
			if c.bar != "" {
				want = append(want, "H|2020-01-03|"+c.bar)
				if !strings.Contains(c.name, "flat") {
					notices = append(notices, "1 day of H without a trade (no volume; open, high and low 0 or empty) became bars at the close")
				}
			}
			if c.skipped {
				notices = append(notices, "1 row without a price or a volume (first: h.csv line 3) became no bars")
			}
			rejects := []string{}
			if c.reason != "" {
				rejects = append(rejects, "3|"+c.reason)
			}
			l.want("bars", l.bars(), want)
			l.want("rejects", l.rejects(), rejects)
			l.want("notices", strings.Join(r.Notices, "\n"), strings.Join(notices, "\n"))
			l.want("counts", r.RowsRead, r.RowsInserted+r.RowsSkipped+r.RowsRejected)

			// The same of a Parquet file, which holds what DuckDB makes of it.
			if slices.ContainsFunc(strings.Split(c.row, ","), func(s string) bool { return strings.Trim(s, "0123456789.-HnulNUL") != "" }) {
				return
			}
			p := newLabIn(t)
			duck(t, fmt.Sprintf("COPY (FROM read_csv('%s', all_varchar = true, nullstr = ['', 'null', 'NULL', '-']) SELECT symbol, date::DATE AS date, COLUMNS(* EXCLUDE (symbol, date))::DOUBLE) TO '%s' (FORMAT parquet)",
				l.dir+"/h.csv", p.dir+"/h.parquet"))
			r = p.mustIngest(nil, p.dir+"/h.parquet")
			p.want("Parquet: bars", p.bars(), want)
			if got := l.list("SELECT reason FROM rejects"); len(got) > 0 {
				p.want("Parquet: rejects", p.list("SELECT reason FROM rejects"), got)
			}
			p.want("Parquet: counts", []int64{r.RowsRead, r.RowsSkipped}, []int64{2, map[bool]int64{true: 1}[c.skipped]})
		})
	}
}

// newLabIn is newLab in a test that runs in parallel already.
func newLabIn(t *testing.T) *lab { return &lab{T: t, db: openDB(t), dir: t.TempDir()} }

// A file in which no day was traded may only lack the columns.
func TestAFileOfClosesAloneIsNoFileOfHalts(t *testing.T) {
	l := newLab(t)
	l.mustIngest(nil, l.file("c.csv", "symbol,date,open,high,low,close,volume\nC,2020-01-02,,,,11,\nC,2020-01-03,,,,12,0\n"))
	l.want("bars", len(l.bars()), 0)
	l.want("rejects", l.rejects(), []string{"2|open is missing", "3|open is missing"})
	// A day's file of one halted name says so by its zeros.
	r := l.mustIngest(nil, l.file("d.csv", "symbol,date,open,high,low,close,volume\nC,2020-01-02,0,0,0,11,0\n"))
	l.want("halted", []any{l.bars(), r.RowsNoTrade}, []any{[]string{"C|2020-01-02|11.0|11.0|11.0|11.0|0.0|-"}, 1})
}

// A close that moves on a day without a trade is counted apart and named, against the
// day before, in the input or stored.
func TestADayWithoutATradeWhoseCloseMovesIsNamed(t *testing.T) {
	l := newLab(t)
	const head = "symbol,date,open,high,low,close,volume\n"
	const notice = "without a trade (no volume; open, high and low 0 or empty) became bars at the close"
	for _, c := range []struct {
		name, rows, notice string
		moved              int64
	}{
		{"carried, then moved", "A,2020-01-02,10,11,9,10,5\nA,2020-01-03,0,0,0,10,0\nA,2020-01-06,0,0,0,17,0\nB,2020-01-02,0,0,0,3,0\n", "3 days of A, B " + notice + "; of these, 1 with another close than the day before: A 2020-01-06", 1},
		{"against what is stored", "A,2020-01-07,0,0,0,24,0\nB,2020-01-03,0,0,0,3,0\n", "2 days of A, B " + notice + "; of these, 1 with another close than the day before: A 2020-01-07", 1},
		{"the input comes before what is stored", "A,2020-01-07,22,22,22,22,5\nA,2020-01-08,0,0,0,22,0\n", "1 day of A " + notice, 0},
		{"many", "C,2020-01-02,1,1,1,1,1\nC,2020-01-03,0,0,0,2,0\nC,2020-01-06,0,0,0,3,0\nC,2020-01-07,0,0,0,4,0\nC,2020-01-08,0,0,0,5,0\n", "4 days of C " + notice + "; of these, 4 with another close than the day before: C 2020-01-03, C 2020-01-06, C 2020-01-07 and 1 more", 4},
	} {
		r := l.mustIngest(nil, l.file("h.csv", head+c.rows))
		l.want(c.name, []any{r.Notices, r.RowsNoTradeMoved}, []any{[]string{c.notice}, c.moved})
	}
}

// Few of many are let in without a flag, and counted.
func TestHaltedDaysAreNoReasonToRefuseAFile(t *testing.T) {
	l := newLab(t)
	var b strings.Builder
	b.WriteString("종목코드,날짜,시가,고가,저가,종가,거래량\n")
	day := quant.NewDate(clock()) - 419
	for i := range 420 {
		if i >= 200 && i < 230 {
			fmt.Fprintf(&b, "005930,%s,0,0,0,70000,0\n", day+quant.Date(i))
		} else {
			fmt.Fprintf(&b, "005930,%s,70000,71000,69000,70000,12345\n", day+quant.Date(i))
		}
	}
	path := l.file("krx.csv", b.String())
	for _, unchanged := range []int64{0, 420} {
		r := l.mustIngest(func(r *Request) { r.MaxRejectRatio = 0.01 }, path)
		l.want("counts", []int64{r.RowsInserted, r.RowsUnchanged, r.RowsNoTrade, r.RowsRejected}, []int64{420 - unchanged, unchanged, 30, 0})
		l.want("notice", r.Notices, []string{"30 days of 005930 without a trade (no volume; open, high and low 0 or empty) became bars at the close"})
	}
	l.want("a halted day", l.list("SELECT DISTINCT concat_ws('|', open, high, low, close, volume) AS s FROM ohlcv WHERE volume = 0"), []string{"70000.0|70000.0|70000.0|70000.0|0.0"})
}

// A halted day without an adjusted close has the ratio of its neighbours where these
// have one, so that its symbol keeps the adjusted basis.
func TestADayWithoutATradeHasTheRatioOfItsNeighbours(t *testing.T) {
	const head = "symbol,date,open,high,low,close,volume,adjusted_close\n"
	for _, c := range []struct{ name, rows, want string }{
		{"between two of one ratio", "A,2020-01-02,10,11,9,10,5,5\nA,2020-01-03,0,0,0,10,0,0\nA,2020-01-06,,,,12,0,\nA,2020-01-07,11,12,10,11,5,5.5\n", "5.0 5.0 6.0 5.5"},
		{"rounded", "A,2020-01-02,78200,79800,78200,79600,5,76543.21\nA,2020-01-03,0,0,0,79600,0,0\nA,2020-01-06,77000,77000,77000,77000,5,74043.08\n", "76543.21 76543.21 74043.08"},
		{"an event between them", "A,2020-01-02,10,11,9,10,5,9.8\nA,2020-01-03,0,0,0,10,0,0\nA,2020-01-06,10,11,9,10,5,10\n", "9.8 - 10.0"},
		{"at the end, nothing moved", "A,2020-01-02,10,11,9,10,5,10\nA,2020-01-03,0,0,0,10,0,0\n", "10.0 10.0"},
		{"at the end, behind an event", "A,2020-01-02,10,11,9,10,5,9.8\nA,2020-01-03,0,0,0,10,0,0\n", "9.8 -"},
		{"at the beginning", "A,2020-01-02,0,0,0,10,0,0\nA,2020-01-03,10,11,9,10,5,10\n", "- 10.0"},
		{"a traded day before lacks one", "A,2020-01-01,10,11,9,10,5,10\nA,2020-01-02,10,11,9,10,5,\nA,2020-01-03,0,0,0,10,0,0\nA,2020-01-06,10,11,9,10,5,10\n", "10.0 - - 10.0"},
		{"a traded day behind lacks one", "A,2020-01-02,10,11,9,10,5,10\nA,2020-01-03,0,0,0,10,0,0\nA,2020-01-06,10,11,9,10,5,\n", "10.0 - -"},
		{"one that has its own", "A,2020-01-02,10,11,9,10,5,10\nA,2020-01-03,0,0,0,10,0,9\nA,2020-01-06,10,11,9,10,5,10\n", "10.0 9.0 10.0"},
		{"of another symbol", "A,2020-01-02,10,11,9,10,5,10\nA,2020-01-06,10,11,9,10,5,10\nB,2020-01-03,0,0,0,7,0,0\n", "10.0 10.0 -"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := "SELECT coalesce(adjusted_close::VARCHAR, '-') AS s FROM ohlcv ORDER BY symbol, ts"
			l := newLab(t)
			path := l.file("a.csv", head+c.rows)
			l.mustIngest(nil, path)
			l.want("CSV", strings.Join(l.list(list), " "), c.want)
			p := newLabIn(t)
			duck(t, fmt.Sprintf("COPY (FROM read_csv('%s', header = true, columns = {'symbol': 'VARCHAR', 'date': 'DATE', 'open': 'DOUBLE', 'high': 'DOUBLE', 'low': 'DOUBLE', 'close': 'DOUBLE', 'volume': 'DOUBLE', 'adjusted_close': 'DOUBLE'})) TO '%s' (FORMAT parquet)", path, path+".parquet"))
			p.mustIngest(nil, path+".parquet")
			p.want("Parquet", strings.Join(p.list(list), " "), c.want)
		})
	}
}
