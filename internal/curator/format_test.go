package curator

import (
	"path/filepath"
	"strings"
	"testing"

	"quant"
)

const (
	plainBars  = "AAPL|2024-01-02|10.0|12.5|9.0|11.0|100.0|- AAPL|2024-01-03|11.0|13.0|10.0|12.0|200.0|- AAPL|2024-01-04|12.0|14.0|11.0|12.3|300.0|-"
	oneBars    = "AAPL|2024-01-02|10.0|12.0|9.0|11.0|100.0|10.5 AAPL|2024-01-03|11.0|13.0|10.0|12.0|101.0|11.5 AAPL|2024-01-04|12.0|14.0|11.0|13.0|102.0|12.5"
	manyBars   = oneBars + " MSFT|2024-01-03|21.0|23.0|20.0|22.0|111.0|21.5 MSFT|2024-01-04|22.0|24.0|21.0|23.0|112.0|22.5"
	closesBars = "AAPL|2024-01-02|11.0|11.0|11.0|11.0|0.0|- AAPL|2024-01-03|12.0|12.0|12.0|12.0|0.0|- AAPL|2024-01-04|13.0|13.0|13.0|13.0|0.0|- " +
		"BRK.B|2024-01-02|31.0|31.0|31.0|31.0|0.0|- BRK.B|2024-01-03|32.0|32.0|32.0|32.0|0.0|- " +
		"MSFT|2024-01-03|22.0|22.0|22.0|22.0|0.0|- MSFT|2024-01-04|23.0|23.0|23.0|23.0|0.0|-"
)

// Each file that a tool wrote (testdata/formats/make.py) becomes the bars that
// must come out, or is refused with a sentence that says what to do.
func TestFilesOfOtherFormats(t *testing.T) {
	for name, want := range map[string]struct {
		file    string
		change  func(*Request)
		bars    string // or
		refused string
		said    string // a notice, or the hint
		rejects string
	}{
		"pandas Excel":          {file: "pandas.xlsx", bars: plainBars},
		"XlsxWriter":            {file: "xlsxwriter.xlsx", bars: plainBars},
		"polars Excel":          {file: "polars.xlsx", bars: plainBars},
		"several sheets":        {file: "two_sheets.xlsx", refused: `two_sheets.xlsx: several sheets have rows: "AAPL", "MSFT"`, said: "--sheet NAME"},
		"a named sheet":         {file: "two_sheets.xlsx", change: func(r *Request) { r.Sheet = "MSFT" }, bars: strings.ReplaceAll(plainBars, "AAPL", "MSFT")},
		"no such sheet":         {file: "two_sheets.xlsx", change: func(r *Request) { r.Sheet = "IBM" }, refused: `has no sheet "IBM"`, said: `"AAPL", "MSFT"`},
		"calendar from 1904":    {file: "from_1904.xlsx", bars: "005930|2024-01-02|10.0|12.0|9.0|11.0|100.0|-", rejects: "5|close is not a number"},
		"a number for a symbol": {file: "number_symbol.xlsx", refused: `sheet "Sheet": row 2: the symbol 5930 is a number`, said: "as text"},
		"a number under symbol": {file: "number_first.xlsx", refused: `sheet "Sheet": row 2: the symbol 5930 is a number`, said: "as text"},
		"a mapped number":       {file: "number_mapped.feather", change: func(r *Request) { r.Map = []string{"symbol=emittent"} }, refused: "row 1: the symbol 5930 is a number", said: "as text"},
		"a number in JSON":      {file: "number_symbol.jsonl", refused: "record 1: the symbol 5930 is a number", said: "as text"},
		"a number in Parquet":   {file: "number_mapped.parquet", change: func(r *Request) { r.Map = []string{"symbol=emittent"} }, refused: "column emittent is BIGINT, and a symbol is text", said: "as text"},
		"a wide header":         {file: "number_wide.xlsx", change: wide, refused: `row 1: the symbol 5930 is a number`, said: "as text"},
		"a header of rows":      {file: "number_levels.xlsx", refused: `row 2: the symbol 5930 is a number`, said: "as text"},
		"a number for a date":   {file: "number_date.xlsx", refused: `row 2: the date 45293 is a number that is not shown as a date`, said: "the format of a date"},
		"a title":               {file: "title.xlsx", refused: "title.xlsx: line 2 is the header, and a line stands above it", said: "skiprows=1"},
		"texts and numbers":     {file: "two_marks.xlsx", bars: "two_marks|2024-01-02|12.1|12.125|11.5|12.0|1000000.0|-", said: "the comma begins the fraction"},
		"numbers, a comma said": {file: "numbers.jsonl", change: func(r *Request) { r.Decimal = "comma" }, bars: "numbers|2024-01-02|12.125|10000000.125|0.001|12.5|1500000000.0|-"},
		"texts in Parquet":      {file: "texts.parquet", change: func(r *Request) { r.Decimal = "comma" }, refused: "column open is VARCHAR, not a number", said: "are for text"},
		"names, not said":       {file: "pandas.feather", change: noHeader, refused: "--no-header is for text and workbooks", said: "leave --no-header out"},
		"names in JSON":         {file: "lines.jsonl", change: noHeader, refused: "--no-header is for text and workbooks", said: "leave --no-header out"},
		"names in Parquet":      {file: "polars_types.parquet", change: noHeader, refused: "--no-header is for text and workbooks", said: "leave --no-header out"},
		"not calculated":        {file: "formula.xlsx", refused: `sheet "Sheet": cell E2: is a formula that was never calculated`, said: "save it again"},

		"pandas Feather":       {file: "pandas.feather", bars: plainBars},
		"polars Arrow file":    {file: "polars.arrow", bars: plainBars},
		"polars Arrow stream":  {file: "polars.arrows", bars: plainBars},
		"types of Arrow":       {file: "types.feather", bars: "AAPL|2024-01-02|10.0|12.5|9.0|11.0|100.0|1.5 AAPL|2024-01-03|11.0|13.0|10.0|12.0|200.0|-", rejects: "3|volume is missing"},
		"types of Parquet":     {file: "polars_types.parquet", bars: plainBars},
		"Int128":               {file: "int128.parquet", bars: "AAPL|2024-01-02|10.0|12.5|9.0|11.0|100.0|- AAPL|2024-01-04|12.0|14.0|11.0|12.0|300.0|-", rejects: "2|close is not positive"},
		"an unnamed index":     {file: "pandas_index.parquet", bars: plainBars},
		"the same as Feather":  {file: "pandas_index.feather", bars: plainBars},
		"a zone":               {file: "zone.feather", bars: plainBars},
		"a zone in Parquet":    {file: "zone.parquet", bars: plainBars},
		"JSON lines":           {file: "lines.jsonl", bars: plainBars},
		"a JSON array":         {file: "array.json", bars: plainBars},
		"another form of JSON": {file: "columns.json", refused: "columns.json: record 1: \"date\" holds a list or an object", said: "lines=True"},

		"yfinance, one":                 {file: "yf_one.csv", bars: oneBars, said: "columns for 1 symbol: AAPL"},
		"yfinance, many":                {file: "yf_many.csv", bars: manyBars, said: "columns for 2 symbols: AAPL, MSFT"},
		"yfinance, by ticker":           {file: "yf_by_ticker.csv", bars: manyBars},
		"yfinance, index reset":         {file: "yf_reset.csv", bars: manyBars},
		"yfinance, levels without name": {file: "yf_old.csv", bars: manyBars},
		"yfinance, newest first":        {file: "yf_newest_first.csv", bars: manyBars},
		"yfinance, symbols of digits":   {file: "yf_numbers.csv", bars: numbered(oneBars)},
		"yfinance, Excel":               {file: "yf_many.xlsx", bars: manyBars},
		"yfinance, flat Parquet":        {file: "yf_flat.parquet", bars: manyBars},
		"yfinance, Parquet":             {file: "yf_levels.parquet", bars: manyBars},
		"yfinance, flat Feather":        {file: "yf_flat.feather", bars: manyBars},
		"yfinance, flat by ticker":      {file: "yf_flat_by_ticker.csv", bars: manyBars},

		"wide":               {file: "wide.csv", change: wide, bars: closesBars, said: "the close is taken for open", rejects: "4|open is not positive: BRK.B"},
		"wide Parquet":       {file: "wide.parquet", change: wide, bars: closesBars, rejects: "3|open is not positive: BRK.B"},
		"wide Excel":         {file: "wide.xlsx", change: wide, bars: closesBars, rejects: "4|open is not positive: BRK.B"},
		"wide, not said":     {file: "wide.csv", refused: "no column for open", said: "--layout wide"},
		"closes alone":       {file: "closes.csv", change: func(r *Request) { r.CloseOnly, r.Symbol = true, "A" }, bars: "A|2024-01-02|11.0|11.0|11.0|11.0|0.0|- A|2024-01-03|12.0|12.0|12.0|12.0|0.0|- A|2024-01-04|12.3|12.3|12.3|12.3|0.0|-", said: "the close is taken"},
		"closes, unsaid":     {file: "closes.csv", refused: "no column for open, high, low, volume", said: "--close-only"},
		"wide, said of bars": {file: "pandas.xlsx", change: wide, refused: "has columns for open, high, low and close", said: "leave --layout wide out"},
		"closes, no close":   {file: "wide.csv", change: func(r *Request) { r.CloseOnly = true }, refused: "no column for close in the header", said: "--map close=COLUMN"},
		"closes and more":    {file: "pandas.xlsx", change: func(r *Request) { r.CloseOnly = true }, refused: "has open, high and low", said: "leave --close-only out"},

		"zip":                {file: "prices.zip", bars: noSymbols(plainBars), said: "left out: README.md"},
		"zip of binaries":    {file: "parquet.zip", bars: plainBars},
		"zip with an ascent": {file: "escape.zip", bars: plainBars},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			r, err := l.ingest(want.change, filepath.Join("testdata", "formats", want.file))
			said := strings.Join(r.Notices, "\n")
			if err != nil {
				said = quant.HintOf(err)
			}
			if (err != nil) != (want.refused != "") || err != nil && (!strings.Contains(err.Error(), want.refused) || quant.CodeOf(err) != quant.Invalid) {
				t.Fatalf("got %v (hint: %s)\nwant %q", err, quant.HintOf(err), want.refused)
			}
			if !strings.Contains(said, want.said) {
				t.Errorf("nothing says %q: %s", want.said, said)
			}
			l.want("bars", strings.ReplaceAll(strings.Join(l.bars(), " "), "12.3000000000000007", "12.3"), want.bars)
			l.want("rejects", strings.Join(l.rejects(), " "), want.rejects)
		})
	}
}

func wide(r *Request) { r.Layout = "wide" }

func noHeader(r *Request) {
	r.NoHeader, r.Map = true, []string{"date=1", "open=2", "high=3", "low=4", "close=5", "volume=6"}
}

// noSymbols is the same bars of two symbols.
func noSymbols(bars string) string { return bars + " " + strings.ReplaceAll(bars, "AAPL", "MSFT") }

// numbered is the bars of yf_numbers.csv.
func numbered(bars string) string {
	second := strings.NewReplacer("AAPL|2024-01-02|10.0|12.0|9.0|11.0|100.0|10.5", "000660|2024-01-02|20.0|22.0|19.0|21.0|110.0|20.5",
		"AAPL|2024-01-03|11.0|13.0|10.0|12.0|101.0|11.5", "000660|2024-01-03|21.0|23.0|20.0|22.0|111.0|21.5",
		"AAPL|2024-01-04|12.0|14.0|11.0|13.0|102.0|12.5", "000660|2024-01-04|22.0|24.0|21.0|23.0|112.0|22.5").Replace(bars)
	return second + " " + strings.ReplaceAll(bars, "AAPL", "005930")
}
