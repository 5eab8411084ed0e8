package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/curator"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func ingestCommand(env *Env) Command {
	var o pipeline.IngestOptions
	net := pipeline.DefaultFetch("")
	cmd := &cobra.Command{
		Use:   "ingest FILE... | --provider NAME",
		Short: "Load daily prices from files or a provider, through a quality gate",
		Long: `Load daily prices (OHLCV) into ohlcv.

From CSV, Parquet, Excel (.xlsx), Feather or Arrow, and JSON files (one object a
line, or an array of them), plain, with gzip or in a zip archive: all files or
none. A file has a symbol column, or its name is the symbol (SPX.csv is SPX)
unless --symbol. The usual header spellings are understood, in English, Korean
and the words of the usual tools, and so is yfinance's header of several rows;
--map says any other. A table with a column of closes for each symbol is read
with --layout wide, and a file of closes alone with --close-only.
docs/price-files.md has all the rules.

From a provider on the network (alphavantage, key in ALPHA_VANTAGE_API_KEY):
the symbols of --symbols, or all active ones, highest priority first; each in a
transaction of its own. Only what is newer than the last stored day is taken,
and --overlap days before it. If these show that the provider rescaled the
history, the symbol is fetched again in full. Answers are kept for the
day in DATA-DIR/cache. The free plan of Alpha Vantage allows 5 requests a
minute, which --per-minute keeps to, and 25 a day. A symbol that fails does not
stop the others: exit status 3, or 7 if none could be had.

A split or a dividend moves the whole past of a symbol. Where the input is on
another scale than the stored days that it has too, it replaces the history if it
has every stored day; otherwise the symbol stays as it was, is named, and the exit
status is 3: ingest its whole history in one run. So does one whose new days are
away from the stored ones by a step that looks like a split, if the input lacks the
stored day next to them: ingest a file that also has the last stored days.

A day without a trade, such as a halted one (no volume; open, high and low 0 or
empty, the close carried), becomes a bar at the close and is counted; one whose
close is not that of the day before is named.

A symbol that is not in symbols yet is added there. Rows that fail the quality
gate are kept in the table rejects. If more than --max-reject-ratio of the rows
fail, the prices (of a provider: of that symbol) stay as they were; for files the
exit status is 6. What is replaced is kept in ohlcv_revisions. The same prices
again change nothing.`,
		Example: `  quant ingest prices.csv.gz
  quant ingest SPX.csv --volume-missing zero
  quant ingest krx.csv --encoding cp949
  quant ingest book.xlsx --sheet Prices
  quant ingest closes.csv --layout wide
  quant ingest --provider alphavantage --symbols AAPL,IBM`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkSource(cmd, args, net.Provider); err != nil {
				return err
			}
			var report *pipeline.IngestReport
			var err error
			if o.Unexamined = env.Quiet; net.Provider == "" {
				bar := &progress{env: env}
				o.Files, o.Progress, o.Shown = args, bar.show, bar.clear
				report, err = pipeline.Ingest(cmd.Context(), env.Session, o)
			} else {
				bar := &symbolBar{env: env}
				net.Gate, net.Key, net.Progress, net.Shown = o.Gate, env.Settings.Value(config.AlphaVantageKey), bar.show, bar.clear
				report, err = fetch(cmd, env, net)
			}
			// What was refused, and why, is a result too: a script wants to read it.
			if report != nil {
				err = cmp.Or(err, env.Print(ingestReport{report}))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Symbol, "symbol", "", "the symbol of every row, where the files do not say it")
	f.StringVar(&o.Encoding, "encoding", "utf-8", "of text files, such as cp1252, latin1, cp949, shift-jis or utf-16")
	f.StringVar(&o.Sheet, "sheet", "", "of an Excel workbook: the name of the sheet (default: the only one with rows)")
	f.StringVar(&o.Layout, "layout", "auto", "how the columns stand: auto, or wide (a date, then a column of closes for each symbol)")
	f.BoolVar(&o.CloseOnly, "close-only", false, "take the close for open, high and low, and 0 for a volume that is not there")
	f.StringVar(&o.DateFormat, "date-format", "", "form of the dates, such as %d/%m/%Y (default: year, month, day)")
	f.StringSliceVar(&o.Map, "map", nil, "which column is which, by name or by position from 1: open=o,high=h or date=1,open=2")
	f.BoolVar(&o.NoHeader, "no-header", false, "the first line is a row; --map says the columns by position")
	f.StringVar(&o.Date, "date", "", "the day, `YYYY-MM-DD`, of every row of files without a date")
	f.StringVar(&o.Timezone, "timezone", "", "the exchange's `ZONE`, such as Asia/Seoul, in which an instant is a session's day")
	f.StringVar(&o.Decimal, "decimal", "", "what begins the fraction of a number: point or comma (default: what the file shows)")
	f.StringVar(&o.VolumeMissing, "volume-missing", "reject", "what a row without a volume is: reject, or zero (for indices)")
	f.Float64Var(&o.MaxRejectRatio, "max-reject-ratio", pipeline.DefaultMaxRejectRatio, "share of bad rows, 0 to 1, above which nothing is stored")
	bindProvider(f, &net)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// ingestReport is the result of ingest.
type ingestReport struct{ *pipeline.IngestReport }

func (r ingestReport) CSVRows() any {
	if r.Provider != "" {
		return r.Series
	}
	return r.Files
}

func (r ingestReport) Sections() []output.Section {
	type fileRow struct {
		File     string `json:"file"`
		Rows     int64  `json:"rows"`
		Rejected int64  `json:"rejected"`
		Symbols  int64  `json:"symbols"`
		First    string `json:"first"`
		Last     string `json:"last"`
		Digest   string `json:"digest"`
	}
	var files []fileRow
	var lines []string
	for _, f := range r.Files {
		files = append(files, fileRow{f.Name, f.RowsRead, f.RowsRejected, f.Symbols, string(f.FirstDate), string(f.LastDate), short(f.Digest)})
	}
	rows := any(files)
	if r.Provider != "" {
		rows = r.seriesRows()
	}
	if r.Refused {
		lines = append(lines, fmt.Sprintf("ohlcv: unchanged; %d of %d rows rejected", r.RowsRejected, r.RowsRead))
	} else {
		lines = append(lines, fmt.Sprintf("ohlcv: %d rows inserted, %d updated, %d unchanged; %d collapsed, %d rejected",
			r.RowsInserted, r.RowsUpdated, r.RowsUnchanged, r.RowsCollapsed, r.RowsRejected))
	}
	if r.RowsRescaled > 0 {
		lines = append(lines, fmt.Sprintf("of the rows updated, %d only have their adjusted close rescaled, by one factor a symbol", r.RowsRescaled))
	}
	for _, l := range r.Left {
		if l.Beside != "" {
			lines = append(lines, fmt.Sprintf("left as it was: %s (%d rows not taken): its %s is x %.4g on %s of what it is on %s, a stored day that the input lacks", l.Symbol, l.Rows, l.Price, l.Factor, l.Day, l.Beside))
			continue
		}
		lines = append(lines, fmt.Sprintf("left as it was: %s (%d rows not taken): its %s moved by x %.4g, and the input lacks %d of its %d stored days", l.Symbol, l.Rows, l.Price, l.Factor, l.Lacks, l.Stored))
	}
	if len(r.SymbolsAdded) > 0 {
		lines = append(lines, fmt.Sprintf("symbols added: %s", quant.SomeOf(r.SymbolsAdded, 10)))
	}
	for _, reason := range r.Reasons {
		lines = append(lines, fmt.Sprintf("rejected %d: %s%s", reason.Rows, reason.Reason, examples(reason)))
	}
	return []output.Section{{Rows: rows}, {Lines: lines}}
}

func short(digest string) string {
	algorithm, hex, _ := strings.Cut(digest, ":")
	if len(hex) > 12 {
		hex = hex[:12]
	}
	return algorithm + ":" + hex
}

func examples(r curator.Reason) string {
	var list []string
	for _, ex := range r.Examples {
		list = append(list, fmt.Sprintf("%s:%d", ex.File, ex.Line))
	}
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

// progress is a bar on stderr, or nothing where stderr is no terminal.
type progress struct {
	env   *Env
	bar   *progressbar.ProgressBar
	stage curator.Stage
}

func (p *progress) show(at curator.Progress) {
	if p.env.Quiet || !output.IsTerminal(p.env.Streams().Err) {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(at.Total, progressbar.OptionSetWriter(p.env.Streams().Err),
			progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetRenderBlankState(true))
	}
	if p.stage != at.Stage {
		p.stage = at.Stage
		p.bar.Describe(string(at.Stage))
	}
	_ = p.bar.Set64(min(at.Done, at.Total)) // a bar that cannot be drawn is no reason to stop
}

func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
