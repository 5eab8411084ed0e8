package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/backtest"
	"quant/internal/backtest/deflated"
	"quant/internal/backtest/tearsheet"
	"quant/internal/config"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/output"
)

func backtestReportCommand(env *Env) Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report [RUN]",
		Short: "Make the tear sheet of a backtest: a page, a picture, a chart",
		Long: `Make the tear sheet of a backtest, the newest one unless RUN names another: one
HTML file that needs nothing else (equity against the benchmark, drawdown,
metrics, monthly returns, weights, sensitivity to lag and costs, trades,
provenance) and a PNG of equity and drawdown. The table form of the result draws
the equity in the terminal.

The deflated Sharpe ratio is the probability that the true Sharpe ratio is above
the best that chance alone would have found in as many trials as are recorded
for the strategy: its own backtests and those of quant sweep.

The files are reports/RUN.html and reports/RUN.png in the data folder, made anew
each time. A file that --html or --png names is not overwritten if it holds
something else (exit status 5), unless --force.`,
		Example: `  quant backtest report
  quant backtest report 3f2a --html momentum.html --png momentum.png`,
		Args: wantArgs(0, 1, "at most one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.changed = cmd.Flags().Changed
			if len(args) == 1 {
				f.run = args[0]
			}
			return env.backtestReport(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.html, "html", "", "the page (default DATA-DIR/reports/RUN.html)")
	cmd.Flags().StringVar(&f.png, "png", "", "the picture (default DATA-DIR/reports/RUN.png)")
	cmd.Flags().BoolVar(&f.force, "force", false, "overwrite the files that --html and --png name")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

type reportFlags struct {
	run, html, png string
	force          bool
	changed        func(name string) bool
}

func (f reportFlags) check() error {
	for name, file := range map[string]string{"html": f.html, "png": f.png} {
		if f.changed(name) && (file == "" || file == "-") {
			return quant.Errorf(quant.Usage, "--%s %q is no name of a file", name, file).
				WithHint("stdout has the result; give the file a name, or leave --%s out", name)
		}
	}
	if f.html != "" && filepath.Clean(f.html) == filepath.Clean(f.png) {
		return quant.Errorf(quant.Usage, "--html and --png name the same file %s", f.html).WithHint("give them two names")
	}
	return nil
}

func (e *Env) backtestReport(ctx context.Context, f reportFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	var runID string
	if f.run != "" {
		if runID, err = e.Resolve(ctx, f.run); err != nil {
			return err
		}
	}
	var sheet *tearsheet.Sheet
	var judged deflated.Judgement
	if err := e.ReadFacts(ctx, func(db *factstore.DB) error {
		if runID == "" {
			list, err := backtest.List(ctx, db, "")
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return quant.Errorf(quant.NotFound, "there is no backtest yet").WithHint("`quant backtest --strategy FILE` makes one")
			}
			runID = list[0].RunID
		}
		var err error
		if sheet, err = tearsheet.Read(ctx, db, runID); err != nil {
			return err
		}
		judged, err = deflated.Judge(ctx, db, runID)
		return err
	}); err != nil {
		return err
	}
	sheet.Deflation = &tearsheet.Deflation{
		Returns: judged.Returns, Sharpe: judged.Sharpe, Skew: judged.Skew, Kurtosis: judged.Kurtosis, Trials: judged.Trials,
		TrialsVariance: judged.TrialsVariance, ExpectedMaximum: judged.ExpectedMaximum, PSR: judged.PSR, DSR: judged.DSR,
	}
	if sheet.Inputs, err = meta.RunIO(ctx, runID); err != nil {
		return err
	}
	sheet.Texts(func(text string) string { return output.Clean(e.Secrets.Known(text)) })
	e.record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: runID})

	report := backtestSheet{
		RunID: runID, StrategyID: sheet.StrategyID, Version: sheet.Version, From: sheet.From, To: sheet.To,
		CAGR: sheet.Measured.CAGR, Sharpe: sheet.Measured.Sharpe, MaxDD: sheet.Measured.MaxDD, Deflated: judged, Files: []reportFile{},
	}
	// Both are drawn before either is written: a report is whole or not there.
	var page, picture bytes.Buffer
	if err := sheet.HTML(&page); err != nil {
		return quant.Errorf(quant.Failed, "draw the page of run %s: %w", runID, err)
	}
	if err := sheet.PNG(&picture); err != nil {
		return err
	}
	folder := filepath.Join(e.Settings.Value(config.DataDir), "reports")
	files := []struct {
		kind, named string
		data        []byte
	}{{"html", f.html, page.Bytes()}, {"png", f.png, picture.Bytes()}}
	for i, file := range files {
		if file.named == "" {
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return quant.Errorf(quant.Failed, "make the folder of reports: %w", err).WithHint("name files with --html and --png")
			}
			files[i].named = filepath.Join(folder, runID+"."+file.kind)
			continue
		}
		if err := mayReplace(file.named, file.data, f.force); err != nil {
			return err
		}
	}
	for _, file := range files {
		if err := replaceFile(file.named, file.data); err != nil {
			return err
		}
		written := reportFile{file.kind, e.Mask.Text(file.named), int64(len(file.data)), durable.Digest(file.data)}
		report.Files = append(report.Files, written)
		e.record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: file.named, Digest: quant.Text(written.Digest)})
	}
	width := output.Width(e.Streams().Out)
	if width == 0 {
		width = 80
	}
	report.chart = sheet.Chart(min(width, 110))
	return e.Print(report)
}

// mayReplace refuses to write over a file that somebody named and that holds
// something else.
func mayReplace(path string, data []byte, force bool) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return quant.Errorf(quant.Failed, "the file of the report: %w", err).WithHint("name another one")
	case !info.Mode().IsRegular():
		return quant.Errorf(quant.Conflict, "%s is no plain file", path).WithHint("name another one")
	case force:
		return nil
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return quant.Errorf(quant.Conflict, "%s is there already and holds something else", path).WithHint("--force overwrites it")
}

// replaceFile writes a file of 0600 that is at path whole or not at all.
func replaceFile(path string, data []byte) error {
	if err := durable.Replace(path, 0o600, durable.Bytes(data)); err != nil {
		return quant.Errorf(quant.Failed, "write %s: %w", path, err).WithHint("is there such a folder, and room on the disk?")
	}
	return nil
}

// backtestSheet is the result of backtest report.
type backtestSheet struct {
	RunID      string             `json:"run_id"`
	StrategyID string             `json:"strategy_id"`
	Version    string             `json:"version"`
	From       *quant.Date        `json:"from_ts"`
	To         *quant.Date        `json:"to_ts"`
	CAGR       *float64           `json:"cagr"`
	Sharpe     *float64           `json:"sharpe"`
	MaxDD      *float64           `json:"max_dd"`
	Deflated   deflated.Judgement `json:"deflated"`
	Files      []reportFile       `json:"files"`

	chart []string
}

type reportFile struct {
	Kind   string `json:"kind"` // html or png
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

func (r backtestSheet) CSVRows() any { return r.Files }

func (r backtestSheet) Sections() []output.Section {
	lines := []string{
		fmt.Sprintf("%s %s: %s to %s, cagr %s, sharpe %s, max_dd %s", r.StrategyID, r.Version, day(r.From), day(r.To),
			percent(r.CAGR), number(r.Sharpe), percent(r.MaxDD)),
		judgedLine(r.Deflated),
	}
	var files []string
	for _, f := range r.Files {
		files = append(files, f.Path)
	}
	sections := []output.Section{{Lines: lines}}
	if r.chart != nil {
		sections = append(sections, output.Section{Lines: r.chart})
	}
	return append(sections, output.Section{Lines: files})
}

// judgedLine is the deflated Sharpe ratio as a sentence.
func judgedLine(j deflated.Judgement) string {
	if j.DSR == nil {
		return fmt.Sprintf("deflated Sharpe ratio: cannot be said of %s (%s recorded)", quant.Count(int(j.Returns), "return"), quant.Count(int(j.Trials), "trial"))
	}
	return fmt.Sprintf("deflated Sharpe ratio %s: probability that the true ratio is above what the best of %s shows by chance (above 0: %s)",
		strconv.FormatFloat(*j.DSR, 'f', 4, 64), quant.Count(int(j.Trials), "recorded trial"), strconv.FormatFloat(*j.PSR, 'f', 4, 64))
}
