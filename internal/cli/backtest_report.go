package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
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
			return env.Print(backtestSheet{report, report.Chart(min(width, 110))})
		},
	}
	cmd.Flags().StringVar(&o.HTML, "html", "", "the page (default DATA-DIR/reports/RUN.html)")
	cmd.Flags().StringVar(&o.PNG, "png", "", "the picture (default DATA-DIR/reports/RUN.png)")
	cmd.Flags().BoolVar(&o.Force, "force", false, "overwrite the files that --html and --png name")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// backtestSheet is the result of backtest report.
type backtestSheet struct {
	pipeline.BacktestSheet
	chart []string
}

func (r backtestSheet) CSVRows() any { return r.Files }

func (r backtestSheet) Sections() []output.Section {
	lines := []string{
		fmt.Sprintf("%s %s: %s to %s, cagr %s, sharpe %s, max_dd %s", r.StrategyID, r.Version, day(r.From), day(r.To),
			percent(r.CAGR), number(r.Sharpe), percent(r.MaxDD)),
		r.Deflated.String(),
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
