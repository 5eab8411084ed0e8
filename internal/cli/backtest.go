package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/guptarohit/asciigraph"
	"github.com/spf13/cobra"

	"quant"
	"quant/internal/backtest"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func backtestCommand(env *Env) Command {
	var o pipeline.BacktestOptions
	var f backtestFlags
	cmd := &cobra.Command{
		Use:   "backtest",
		Short: "Replay the decisions of a strategy on prices",
		Long: `Replay the approved decisions that quant recommend has recorded for a strategy,
with money: an account that buys and sells fractional shares at the close, or at
the open of a later session, and pays fees and slippage when it trades. It is
never in debt, unless the strategy holds shorts. Nothing is decided here.

A decision is filled --lag sessions after its day. Lag 0 is the very close that
the decision was made with, an optimistic fill; results are always shown for lag
0 and for lag 1. No decision means hold; a decision without a weight means cash.
What flags do not say, the strategy file does: backtest.from, to, fee_bps,
slippage_bps, benchmark, initial_capital, cash_rate, delist_after,
delisting_return, impact and borrow_bps, execution.lag_days, price and
max_volume_share, and with portfolio.side long_short the margins.

A position without a bar for delist_after sessions is closed at delisting_return,
and told by name, also if it traded again later. A benchmark buys it back then,
with what that gave. What quant delistings knows beats the rule.

The prices are those that stand now; the state that was read is kept with the
result, and --as-of RUN reads an earlier one: with a backtest for RUN, the prices
that it had read.

The result stands in backtest_summary, backtest_details, backtest_equity,
backtest_positions and backtest_trades, under the id of this run.

Exit status 4: no decisions or no prices from --from to --to. 6: decisions are
stale, of another version, or of a strategy that has changed since; symbols in
several currencies; raw prices that look split; in-sample scores.`,
		Example: `  quant backtest --strategy momentum.yaml --from 2016-01-04 --to 2025-12-31
  quant backtest --strategy momentum.yaml --lag 1 --fee-bps 5 --slippage-bps 5 --benchmark SPY
  quant backtest list --strategy momentum_demo
  quant backtest compare last 3f2a`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.apply(cmd, &o); err != nil {
				return err
			}
			report, err := pipeline.Backtest(cmd.Context(), env.Session, o)
			if err != nil {
				return err
			}
			return env.Print(backtestReport{report})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Strategy, "strategy", "", "the strategy file (required)")
	flags.StringVar(&f.from, "from", "", "first day of decisions, 2016-01-31 (default: backtest.from of the file)")
	flags.StringVar(&f.to, "to", "", "last day, of decisions and prices (default: backtest.to of the file)")
	flags.IntVar(&f.lag, "lag", 0, "sessions from a decision to its fill (default: execution.lag_days of the file)")
	flags.Float64Var(&f.fee, "fee-bps", 0, "fee, in basis points of the value traded")
	flags.Float64Var(&f.slippage, "slippage-bps", 0, "slippage, in basis points of the value traded")
	flags.StringVar(&f.benchmark, "benchmark", "", "a symbol, equal (the universe in equal weights), or none")
	flags.Float64Var(&f.capital, "initial-capital", 0, "money at the start")
	flags.BoolVar(&o.AcceptRaw, "accept-raw", false, "take raw prices that move as in a split as they are")
	flags.BoolVar(&o.AllowInSample, "allow-in-sample", false, "replay decisions on in-sample scores; the report says so")
	setFlag(cmd, &o.Set)
	flags.StringVar(&o.AsOf, "as-of", "", "read the prices as they stood when this run ended")
	return Command{
		Command: cmd, Traits: Traits{Changes: always},
		Sub: []Command{backtestList(env), backtestCompare(env), backtestReportCommand(env)},
	}
}

// backtestFlags are those flags of backtest that count only where they are given.
type backtestFlags struct {
	from, to, benchmark    string
	lag                    int
	fee, slippage, capital float64
}

// apply puts the flags that were given into options.
func (f *backtestFlags) apply(cmd *cobra.Command, o *pipeline.BacktestOptions) error {
	var err error
	if o.From, err = dayFlag(cmd, "from", f.from); err != nil {
		return err
	}
	if o.To, err = dayFlag(cmd, "to", f.to); err != nil {
		return err
	}
	o.Lag, o.FeeBPS, o.SlippageBPS = given(cmd, "lag", &f.lag), given(cmd, "fee-bps", &f.fee), given(cmd, "slippage-bps", &f.slippage)
	o.InitialCapital, o.Benchmark = given(cmd, "initial-capital", &f.capital), given(cmd, "benchmark", &f.benchmark)
	return nil
}

// given is the value of a flag; nil where the command line does not have it.
func given[T any](cmd *cobra.Command, name string, value *T) *T {
	if !cmd.Flags().Changed(name) {
		return nil
	}
	return value
}

// backtestReport is the result of backtest.
type backtestReport struct{ backtest.Report }

func (r backtestReport) CSVRows() any { return []backtest.Summary{r.Summary} }

func (r backtestReport) Sections() []output.Section {
	m := r.Metrics
	head := fmt.Sprintf("%s %s: %d returns, %s to %s, lag %d%s, %s prices, %s sessions", r.StrategyID, r.Version, m.Returns,
		day(r.FromTS), day(r.ToTS), r.LagDays, optimistic(r.LagDays), r.Basis, r.Calendar)
	sections := []output.Section{{Lines: []string{head, ""}, Rows: measures(r.Stored)}}
	type lagRow struct {
		Lag      string `json:"lag"`
		CAGR     string `json:"cagr"`
		Vol      string `json:"vol"`
		Sharpe   string `json:"sharpe"`
		MaxDD    string `json:"max_dd"`
		Turnover string `json:"turnover"`
	}
	var lags []lagRow
	for _, l := range m.Lags {
		lags = append(lags, lagRow{fmt.Sprintf("%d%s", l.LagDays, optimistic(l.LagDays)), percent(l.CAGR), percent(l.Vol), number(l.Sharpe), percent(l.MaxDD), percent(l.Turnover)})
	}
	sections = append(sections, output.Section{Rows: lags})
	if chart := r.chart(); chart != nil {
		sections = append(sections, output.Section{Lines: chart})
	}
	var notices []string
	for _, n := range r.Notices {
		notices = append(notices, "- "+n)
	}
	return append(sections, output.Section{Lines: append(notices, "- result "+short(r.ResultDigest)+", run "+quant.ShortID(r.RunID))})
}

func optimistic(lag int64) string {
	if lag == 0 {
		return " (optimistic fill)"
	}
	return ""
}

// chart draws the growth of 1.
func (r backtestReport) chart() []string {
	if len(r.Curve) < 2 {
		return nil
	}
	growth := make([]float64, len(r.Curve))
	for i, d := range r.Curve {
		growth[i] = d.Equity / r.InitialCapital
	}
	text := asciigraph.Plot(growth, asciigraph.Height(10), asciigraph.Width(min(len(growth), 72)), asciigraph.Precision(2))
	lines := []string{"growth of 1"}
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return lines
}

// measure is one figure of a backtest, in words.
type measure struct {
	Measure   string `json:"measure"`
	Strategy  string `json:"strategy"`
	Benchmark string `json:"benchmark"`
}

func measures(b backtest.Stored) []measure {
	m := b.Metrics
	other := backtest.Benchmark{}
	if m.Benchmark != nil {
		other = *m.Benchmark
	}
	rows := []measure{
		{"total return", percent(m.TotalReturn), percent(other.TotalReturn)},
		{"cagr", percent(m.CAGR), percent(other.CAGR)},
		{"vol", percent(m.Vol), percent(other.Vol)},
		{"sharpe", number(m.Sharpe), number(other.Sharpe)},
		{"sortino", number(m.Sortino), number(other.Sortino)},
		{"calmar", number(m.Calmar), number(other.Calmar)},
		{"max_dd", percent(m.MaxDD), percent(other.MaxDD)},
		{"turnover a year", percent(m.Turnover), ""},
		{"trades", strconv.FormatInt(m.NumTrades, 10), ""},
		{"win rate", percent(m.WinRate), ""},
		{"average trade", number(m.AvgTrade), ""},
		{"fees and slippage", number(ptr(m.Fees + m.Slippage)), ""},
		{"final equity", number(&m.FinalEquity), ""},
	}
	if book := m.Book; book != nil {
		rows = slices.Insert(rows, len(rows)-1, bookMeasures(book)...)
	}
	if m.Benchmark != nil {
		rows[len(rows)-1].Benchmark = number(&other.FinalEquity)
		rows = append([]measure{{"", b.StrategyID, other.Name}}, rows...)
	}
	return rows
}

// bookMeasures are the figures of an account that is not filled whole at the close, or
// may be short.
func bookMeasures(b *backtest.Book) []measure {
	var rows []measure
	add := func(when bool, name, value string) {
		if when {
			rows = append(rows, measure{name, value, ""})
		}
	}
	short := b.Side == backtest.SideLongShort
	add(true, "filled at the", b.Price)
	add(b.MaxVolumeShare > 0, "filled of what was ordered", percent(b.FilledShare))
	add(b.Impact > 0, "impact", number(&b.ImpactCost))
	add(short, "average gross exposure", percent(b.AvgGross))
	add(short, "average net exposure", percent(b.AvgNet))
	add(short, "made by longs", number(&b.LongPnL))
	add(short, "made by shorts", number(&b.ShortPnL))
	add(short, "borrow fees", number(&b.Borrow))
	add(short, "margin calls", strconv.FormatInt(b.MarginCalls, 10))
	return rows
}

func percent(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v*100, 'f', 2, 64) + " %"
}

func number(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', 2, 64)
}

func day(d *quant.Date) string {
	if d == nil {
		return "-"
	}
	return d.String()
}

func backtestList(env *Env) Command {
	var id string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the backtests, newest first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := pipeline.ListBacktests(cmd.Context(), env.Session, id)
			if err != nil {
				return err
			}
			return env.Print(backtestRows(list))
		},
	}
	cmd.Flags().StringVar(&id, "strategy", "", "only those of this strategy_id")
	return Command{Command: cmd}
}

// backtestRows is the result of backtest list.
type backtestRows []backtest.Overview

func (l backtestRows) Sections() []output.Section {
	type row struct {
		Run      string `json:"run"`
		Strategy string `json:"strategy"`
		Version  string `json:"version"`
		From     string `json:"from"`
		To       string `json:"to"`
		Lag      int64  `json:"lag"`
		Bps      string `json:"cost_bps"`
		CAGR     string `json:"cagr"`
		Sharpe   string `json:"sharpe"`
		MaxDD    string `json:"max_dd"`
		Result   string `json:"result"`
	}
	rows := []row{}
	for _, b := range l {
		rows = append(rows, row{quant.ShortID(b.RunID), b.StrategyID, b.Version, day(b.FromTS), day(b.ToTS), b.LagDays,
			number(ptr(b.FeeBps + b.SlippageBps)), percent(b.CAGR), number(b.Sharpe), percent(b.MaxDD), short(b.ResultDigest)})
	}
	return []output.Section{{Rows: rows}}
}

func backtestCompare(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "compare RUN RUN...",
		Short: "Show backtests side by side",
		Long: `Show what was measured in backtests side by side, what they were made of, and
where that differs. RUN is named as for quant runs show.`,
		Args: wantArgs(2, 8, "two to eight runs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := pipeline.CompareBacktests(cmd.Context(), env.Session, args)
			if err != nil {
				return err
			}
			return env.Print(comparison{c})
		},
	}}
}

// comparison is the result of backtest compare.
type comparison struct{ backtest.Comparison }

func (c comparison) CSVRows() any {
	type row struct {
		Name  string  `json:"name"`
		RunID string  `json:"run_id"`
		Value *string `json:"value"`
		Same  bool    `json:"same"`
	}
	rows := []row{}
	for _, l := range c.Lines {
		for i, b := range c.Backtests {
			rows = append(rows, row{l.Name, b.RunID, l.Values[i], l.Same})
		}
	}
	return rows
}

func (c comparison) Sections() []output.Section {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	head := []string{"", ""}
	for _, run := range c.Backtests {
		head = append(head, quant.ShortID(run.RunID))
	}
	_, _ = fmt.Fprintln(w, strings.Join(head, "\t")) // into memory, like all of it
	for _, l := range c.Lines {
		cells := []string{l.Name, "*"}
		if l.Same {
			cells[1] = ""
		}
		for _, v := range l.Values {
			text := ""
			if v != nil {
				text = *v
			}
			if strings.HasPrefix(text, "sha256:") {
				text = short(text)
			} else if f, err := strconv.ParseFloat(text, 64); err == nil && strings.Contains(text, ".") && l.Name != "version" {
				text = strconv.FormatFloat(f, 'g', 6, 64)
			}
			cells = append(cells, text)
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return []output.Section{{Lines: append(lines, "", "* differs")}}
}
