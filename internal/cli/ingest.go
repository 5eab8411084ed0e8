package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"quant"
	"quant/internal/curator"
	"quant/internal/factstore"
	"quant/internal/lab/doctor"
	"quant/internal/output"
)

func ingestCommand(env *Env) Command {
	req, net := curator.Request{}, providerFlags{}
	cmd := &cobra.Command{
		Use:   "ingest FILE... | --provider NAME",
		Short: "Load daily prices from files or a provider, through a quality gate",
		Long: `Load daily prices (OHLCV) into ohlcv.

From CSV (plain or gzip) and Parquet files: all files or none. A file has a
symbol column, or its name is the symbol (SPX.csv is SPX) unless --symbol. The
usual header spellings are understood, in English and Korean.

From a provider on the network (alphavantage, key in ALPHA_VANTAGE_API_KEY):
the symbols of --symbols, or all active ones, highest priority first; each in a
transaction of its own. Only what is newer than the last stored day is taken,
and --overlap days before it. If these show that the provider rescaled the
adjusted history, the symbol is fetched again in full. Answers are kept for the
day in DATA-DIR/cache. The free plan of Alpha Vantage allows 5 requests a
minute, which --per-minute keeps to, and 25 a day. A symbol that fails does not
stop the others: exit status 3, or 7 if none could be had.

A symbol that is not in symbols yet is added there. Rows that fail the quality
gate are kept in the table rejects. If more than --max-reject-ratio of the rows
fail, the prices (of a provider: of that symbol) stay as they were; for files the
exit status is 6. What is replaced is kept in ohlcv_revisions. The same prices
again change nothing.`,
		Example: `  quant ingest prices.csv.gz
  quant ingest SPX.csv --volume-missing zero
  quant ingest krx.csv --encoding cp949
  quant ingest --provider alphavantage --symbols AAPL,IBM`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := net.check(cmd, args); err != nil {
				return err
			}
			req.Files, req.RunID, req.Now = args, env.Run.ID, env.Now
			if net.name != "" {
				return env.fetch(cmd.Context(), req, net)
			}
			return env.ingest(cmd.Context(), req)
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Symbol, "symbol", "", "the symbol of every row, where the files do not say it")
	f.StringVar(&req.Encoding, "encoding", "utf-8", "of CSV files: utf-8, cp949 or euc-kr")
	f.StringVar(&req.DateFormat, "date-format", "", "form of the dates, such as %d/%m/%Y (default: year, month, day)")
	f.StringVar(&req.VolumeMissing, "volume-missing", "reject", "what a row without a volume is: reject, or zero (for indices)")
	f.Float64Var(&req.MaxRejectRatio, "max-reject-ratio", 0.01, "share of bad rows, 0 to 1, above which nothing is stored")
	net.bind(f)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func (e *Env) ingest(ctx context.Context, req curator.Request) error {
	if err := req.Validate(); err != nil {
		return err
	}
	if _, err := curator.Inspect(req.Files); err != nil {
		return err
	}
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	var added []string
	req.BeforeCommit = func(ctx context.Context, symbols []string) error {
		var err error
		added, err = meta.EnsureSymbols(ctx, symbols)
		return err
	}
	progress := e.progressBar()
	req.Progress = progress.show
	var report curator.Report
	var findings []string
	var ended error // told to end after the prices were stored
	err = e.WriteFacts(ctx, func(db *factstore.DB) error {
		defer progress.clear()
		var err error
		if report, err = curator.Ingest(ctx, db, req); err == nil {
			findings, ended = e.qualityNotices(ctx, db, report.Symbols)
		}
		return err
	})
	e.maskNames(&report)
	for _, notice := range append(report.Notices, findings...) {
		e.Notice("%s", notice)
	}
	e.recordSymbols(int64(len(added)))
	e.recordStored(report, err == nil)
	for _, f := range report.Files {
		e.record(quant.RunIO{
			Direction: quant.In, Kind: "file", Name: f.Path, Rows: ptr(f.RowsRead),
			FirstDate: f.FirstDate, LastDate: f.LastDate, Digest: quant.Text(f.Digest),
		})
	}
	if err != nil && !errors.Is(err, quant.Refused) {
		return err
	}
	if err == nil {
		e.noticeUnchanged(report)
	}
	// What was refused, and why, is a result too: a script wants to read it.
	if printed := e.Print(ingestReport{report, append([]string{}, added...), err != nil, "", []curator.SeriesReport{}}); err == nil {
		err = cmp.Or(printed, ended)
	}
	return err
}

// recordStored notes what an ingest changed in the Fact DB.
func (e *Env) recordStored(r curator.Report, done bool) {
	if changed := r.RowsInserted + r.RowsUpdated; done || changed > 0 {
		e.record(quant.RunIO{
			Direction: quant.Out, Kind: doctor.TableKind, Name: "ohlcv", Rows: &changed,
			FirstDate: r.FirstDate, LastDate: r.LastDate,
		})
	}
	if r.Revisions > 0 {
		e.record(quant.RunIO{Direction: quant.Out, Kind: doctor.TableKind, Name: "ohlcv_revisions", Rows: ptr(r.Revisions)})
	}
	if r.RowsRejected > 0 {
		// Rows stays open: rejects that are kept already are not kept twice.
		e.record(quant.RunIO{Direction: quant.Out, Kind: doctor.TableKind, Name: "rejects"})
	}
}

func (e *Env) noticeUnchanged(r curator.Report) {
	if r.RowsInserted+r.RowsUpdated == 0 && r.RowsUnchanged > 0 {
		e.Notice("nothing changed: ohlcv has these rows already")
	}
}

// maskNames masks what the names of files say: they are arguments, and one may
// be called password=x.csv.
func (e *Env) maskNames(r *curator.Report) {
	for i := range r.Files {
		r.Files[i].Path, r.Files[i].Name = e.Mask.Text(r.Files[i].Path), e.Mask.Text(r.Files[i].Name)
	}
	for i := range r.Reasons {
		r.Reasons[i].Reason = e.Mask.Text(r.Reasons[i].Reason)
		for j := range r.Reasons[i].Examples {
			ex := &r.Reasons[i].Examples[j]
			ex.File, ex.Reason = e.Mask.Text(ex.File), e.Mask.Text(ex.Reason)
		}
	}
	for i := range r.Notices {
		r.Notices[i] = e.Mask.Text(r.Notices[i])
	}
}

// ingestReport is the result of ingest.
type ingestReport struct {
	curator.Report
	SymbolsAdded []string `json:"symbols_added"`
	Refused      bool     `json:"refused"` // too many rows were rejected: only these were stored

	Provider quant.Text             `json:"provider"` // "" for files
	Series   []curator.SeriesReport `json:"series"`   // of a provider, one a symbol
}

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
	if len(r.SymbolsAdded) > 0 {
		lines = append(lines, fmt.Sprintf("symbols added: %s", someOf(r.SymbolsAdded, 10)))
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

func (e *Env) progressBar() *progress { return &progress{env: e} }

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
