package cli

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/backtest/tearsheet"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func backtestReportCommand(env *Env) Command {
	var o pipeline.SheetOptions
	cmd := &cobra.Command{
		Use:   "report [RUN]",
		Short: "Make the tear sheet of a backtest: a page, a picture, a chart",
		Long: `Make the tear sheet of a backtest, the newest one unless RUN names another: one
HTML file that needs nothing else (equity against the benchmark, drawdown,
metrics, risk, monthly returns, weights, sensitivity to lag and costs, trades,
provenance) and a PNG of equity and drawdown. The table form of the result draws
the equity in the terminal.

The deflated Sharpe ratio is the probability that the true Sharpe ratio is above
the best that chance alone would have found in as many trials as are recorded
for the strategy: its own backtests and those of quant sweep. The probability of
backtest overfitting, the intervals and the other figures of risk are defined in
docs/judging.md; --full shows all of them.

The files are reports/RUN.html and reports/RUN.png in the data folder, made anew
each time. A file that --html or --png names is not overwritten if it holds
something else (exit status 5), unless --force.`,
		Example: `  quant backtest report
  quant backtest report 3f2a --html momentum.html --png momentum.png`,
		Args: wantArgs(0, 1, "at most one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for name, file := range map[string]string{"html": o.HTML, "png": o.PNG} {
				if cmd.Flags().Changed(name) && (file == "" || file == "-") {
					return quant.Errorf(quant.Usage, "--%s %q is no name of a file", name, file).
						WithHint("stdout has the result; give the file a name, or leave --%s out", name)
				}
			}
			if len(args) == 1 {
				o.Run = args[0]
			}
			o.Clean = func(text string) string { return output.Clean(env.Secrets.Known(text)) }
			report, err := pipeline.ReportBacktest(cmd.Context(), env.Session, o)
			if err != nil {
				return err
			}
			width := output.Width(env.Streams().Out)
			if width == 0 {
				width = 80
			}
			return env.Print(backtestSheet{report, report.Chart(min(width, 110)), o.Full})
		},
	}
	cmd.Flags().StringVar(&o.HTML, "html", "", "the page (default DATA-DIR/reports/RUN.html)")
	cmd.Flags().StringVar(&o.PNG, "png", "", "the picture (default DATA-DIR/reports/RUN.png)")
	cmd.Flags().BoolVar(&o.Full, "full", false, "all figures of risk; in JSON also the rolling ones of each session")
	cmd.Flags().BoolVar(&o.Force, "force", false, "overwrite the files that --html and --png name")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// backtestSheet is the result of backtest report.
type backtestSheet struct {
	pipeline.BacktestSheet
	chart []string
	full  bool
}

func (r backtestSheet) CSVRows() any { return r.Files }

func (r backtestSheet) Sections() []output.Section {
	lines := []string{
		fmt.Sprintf("%s %s: %s to %s, cagr %s, sharpe %s, max_dd %s", r.StrategyID, r.Version, day(r.From), day(r.To),
			percent(r.CAGR), number(r.Sharpe), percent(r.MaxDD)),
	}
	for _, stamp := range r.Stamps() {
		lines = append(lines, stamp.Name+": "+stamp.Meaning)
	}
	lines = append(lines, r.Deflated.String())
	lines = append(append(lines, r.Selection.Lines()...), r.risk()...)
	var files []string
	for _, f := range r.Files {
		files = append(files, f.Path)
	}
	sections := []output.Section{{Lines: lines}}
	if r.chart != nil {
		sections = append(sections, output.Section{Lines: r.chart})
	}
	if r.full {
		sections = append(sections, r.figures()...)
	}
	return append(sections, output.Section{Lines: files})
}

// risk are the figures that a reader wants first.
func (r backtestSheet) risk() []string {
	i := r.Risk.Intervals
	between := func(of *tearsheet.Interval, show func(*float64) string) string {
		if of == nil {
			return "-"
		}
		return show(&of.Low) + " to " + show(&of.High)
	}
	lines := []string{fmt.Sprintf("95 %% intervals: sharpe %s, cagr %s, max_dd %s", between(i.Sharpe, number), between(i.CAGR, percent), between(i.MaxDD, percent))}
	if needed := r.Deflated.MinTrackRecord; needed != nil {
		lines = append(lines, fmt.Sprintf("minimum track record: %.0f returns for a ratio above 0 at 95 %%; there are %d", *needed, r.Deflated.Returns))
	}
	if b := r.Risk.Benchmark; b != nil {
		lines = append(lines, fmt.Sprintf("against the benchmark: alpha %s a year (t %s), beta %s, information ratio %s", said(percent(b.Alpha)), said(number(b.AlphaT)), said(number(b.Beta)), said(number(b.InformationRatio))))
	}
	return lines
}

// amount is a sum of money.
func amount(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', 0, 64)
}

// said is a figure within a sentence.
func said(text string) string { return cmp.Or(text, "-") }

// figures are the other figures of risk, as tables.
func (r backtestSheet) figures() []output.Section {
	type tailRow struct {
		Level     string `json:"level"`
		Value     string `json:"value_at_risk"`
		Shortfall string `json:"expected_shortfall"`
	}
	type rollingRow struct {
		Figure string `json:"rolling"`
		Window int    `json:"sessions"`
		Low    string `json:"low"`
		High   string `json:"high"`
		Last   string `json:"last"`
	}
	type drawdownRow struct {
		Depth    string `json:"drawdown"`
		Peak     string `json:"peak"`
		Trough   string `json:"trough"`
		Recovery string `json:"recovery"`
		Sessions int    `json:"sessions"`
	}
	type sectorRow struct {
		Sector    string `json:"sector"`
		MeanNet   string `json:"mean_net"`
		MeanGross string `json:"mean_gross"`
		MaxGross  string `json:"max_gross"`
		LastNet   string `json:"last_net"`
		LastGross string `json:"last_gross"`
	}
	type capacityRow struct {
		Share  string `json:"share_of_volume"`
		Median string `json:"median_capital"`
		Tail   string `json:"p95_capital"`
		Days   string `json:"days_to_liquidate"`
	}
	var tails []tailRow
	for _, t := range r.Risk.Tails {
		tails = append(tails, tailRow{percent(&t.Level), percent(t.ValueAtRisk), percent(t.ExpectedShortfall)})
	}
	var rolling []rollingRow
	for _, w := range r.Risk.Rolling {
		for _, one := range []struct {
			name string
			of   *tearsheet.Range
		}{{"sharpe", w.Sharpe}, {"beta", w.Beta}} {
			if one.of != nil {
				rolling = append(rolling, rollingRow{one.name, w.Window, number(&one.of.Low), number(&one.of.High), number(&one.of.Last)})
			}
		}
	}
	var drawdowns []drawdownRow
	for _, d := range r.Risk.Drawdowns {
		drawdowns = append(drawdowns, drawdownRow{percent(&d.Depth), d.Peak.String(), d.Trough.String(), day(d.Recovery), d.Length})
	}
	var sectors []sectorRow
	for _, e := range r.Risk.Sectors {
		sectors = append(sectors, sectorRow{cmp.Or(string(e.Sector), "not known"), percent(&e.MeanNet), percent(&e.MeanGross), percent(&e.MaxGross), percent(&e.LastNet), percent(&e.LastGross)})
	}
	var capacity []capacityRow
	title := ""
	if c := r.Risk.Capacity; c != nil {
		for _, l := range c.Limits {
			capacity = append(capacity, capacityRow{percent(&l.Share), amount(l.Median), amount(l.Tail), number(l.Days)})
		}
		title = fmt.Sprintf("capital with which trades exceed a share of the volume: %s, %d without a known volume", quant.Count(c.Trades, "trade"), c.Unknown)
	}
	sections := []output.Section{{Title: "losses of a session", Rows: tails}, {Title: "rolling figures", Rows: rolling}, {Title: "worst drawdowns, - not yet recovered", Rows: drawdowns}, {Title: "exposure by sector, as the symbols have them today", Rows: sectors}}
	if capacity != nil {
		sections = append(sections, output.Section{Title: title, Rows: capacity})
	}
	return sections
}
