package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func sweepCommand(env *Env) Command {
	var o pipeline.SweepOptions
	var from, to, workers string
	var unit pipeline.UnitOf
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Try a strategy with every combination of some values",
		Long: `Try a strategy with every combination of the values that --set gives: each trial
is a recommend and a backtest, recorded runs of their own under this one, with
the strategy id <id>#<digest of the trial>, so that no trial touches the
decisions of the strategy itself or of another trial. The result has the trials,
the best by Sharpe ratio, and, for two keys with several values, a heat map.

The best of many trials looks good by chance. So the deflated Sharpe ratio of the
best counts all trials that are recorded for the strategy, of this sweep and of
every earlier one. What was set, decided and replayed on makes a trial, not how the
file spells it: repeated, it counts once; with a newly trained model or on other
prices it is another (docs/strategy.md). Beside it stand the probability of backtest
overfitting, and how many of the trials remain significant after Holm, and after
Benjamini, Hochberg and Yekutieli (docs/judging.md).

A key of the file that a value has no use for, such as portfolio.short_k with
portfolio.side=long, is left out of that value's trials, with a notice.

With --workers 4 the trials are worked out by four processes of this machine, each
on one processor, as jobs (quant jobs list); with --workers queue by whatever
quant worker processes run, on any machine. Results and digests are the same. A
sweep that was killed goes on with what its workers had come to.

A trial that fails is reported and the others go on: exit status 3. If all fail
it is 1.`,
		Example: `  quant sweep --strategy momentum.yaml --set portfolio.top_k=5,10,20 --set supervisor.max_weight_per_symbol=0.1,0.2
  quant sweep --strategy momentum.yaml --set portfolio.top_k=5,10,20,40 --workers 2
  quant sweep --strategy momentum.yaml --set execution.lag_days=0,1,2 --from 2016-01-04 --to 2025-12-31 --output csv`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.From, err = sweepDay(cmd, "from", from); err != nil {
				return err
			}
			if o.To, err = sweepDay(cmd, "to", to); err != nil {
				return err
			}
			if unit.Fingerprint != "" {
				oneProcessor()
				return pipeline.SweepUnit(cmd.Context(), env.Session, o, unit)
			}
			if o.Dispatch, err = env.dispatch(workers); err != nil {
				return err
			}
			if output.IsTerminal(env.Streams().Err) {
				o.Trying = func(trial, of int, with pipeline.Overrides) { env.Notice("trial %d of %d: %s", trial, of, with) }
			}
			report, err := pipeline.Sweep(cmd.Context(), env.Session, pipeline.InProcess{Quiet: true, Unsaid: true}, o)
			if err != nil {
				return err
			}
			if err := env.Print(sweepReport{report}); err != nil {
				return err
			}
			return report.Err()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Strategy, "strategy", "", "the strategy file (required)")
	flags.StringArrayVar(&o.Sets, "set", nil, "a key of the file and its values, such as portfolio.top_k=5,10; may be repeated")
	flags.StringVar(&from, "from", "", "first day, 2016-01-31 (default: backtest.from of the file)")
	flags.StringVar(&to, "to", "", "last day (default: backtest.to of the file)")
	flags.BoolVar(&o.AcceptRaw, "accept-raw", false, "take raw prices that move as in a split as they are")
	flags.BoolVar(&o.AllowInSample, "allow-in-sample", false, "replay decisions on in-sample scores")
	flags.IntVar(&o.MaxTrials, "max-trials", 200, "refuse a grid of more trials")
	bindWorkers(cmd, &workers, "try them", &unit)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// sweepDay reads a flag that is a day; nil where it is not given.
func sweepDay(cmd *cobra.Command, name, text string) (*quant.Date, error) {
	if !cmd.Flags().Changed(name) {
		return nil, nil
	}
	d, err := quant.ParseDate(text)
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "--%s: %w", name, err).WithHint("write year, month and day: 2024-01-31")
	}
	return &d, nil
}

// sweepReport is the result of sweep.
type sweepReport struct{ pipeline.SweepReport }

func (r sweepReport) CSVRows() any { return r.Trials }

func (r sweepReport) Sections() []output.Section {
	type row struct {
		Trial     string `json:"trial"`
		Overrides string `json:"overrides"`
		Sharpe    string `json:"sharpe"`
		CAGR      string `json:"cagr"`
		MaxDD     string `json:"max_dd"`
		Turnover  string `json:"turnover"`
		Run       string `json:"run"`
		Error     string `json:"error"`
	}
	sorted := slices.Clone(r.Trials)
	slices.SortStableFunc(sorted, func(a, b pipeline.Trial) int { return compareSharpe(b.Sharpe, a.Sharpe) })
	rows := []row{}
	first := map[string]string{} // the trial that has an error first
	for _, t := range sorted {
		_, name, _ := strings.Cut(t.StrategyID, "#")
		if t.Error != "" {
			if one, again := first[r.Alike(t)]; again {
				t.Error = quant.Text("as " + one)
			} else {
				first[r.Alike(t)] = name
			}
		}
		rows = append(rows, row{name, t.Overrides.String(), number(t.Sharpe), percent(t.CAGR), percent(t.MaxDD), percent(t.Turnover), quant.ShortID(string(t.RunID)), string(t.Error)})
	}
	lines := []string{fmt.Sprintf("%s %s: %s, %s to %s, best Sharpe ratio first", r.StrategyID, r.Version, quant.Count(len(r.Trials), "trial"), r.From, r.To)}
	sections := []output.Section{{Lines: append(append(lines, r.stamps()...), ""), Rows: rows}}
	if lines := r.heatMap(); lines != nil {
		sections = append(sections, output.Section{Lines: lines})
	}
	if r.Best != nil {
		sections = append(sections, output.Section{Lines: append([]string{
			fmt.Sprintf("best: %s, Sharpe ratio %s, run %s", r.Best.Overrides, number(r.Best.Sharpe), quant.ShortID(string(r.Best.RunID))),
			r.Deflated.String(),
		}, r.Selection.Lines()...)})
	}
	return sections
}

// stamps say what the reader must know of the trials before their figures.
func (r sweepReport) stamps() []string {
	inSample, imported, known := 0, 0, ""
	for _, t := range r.Trials {
		if t.InSample {
			inSample++
		}
		if t.KnownAt != "" {
			imported++
			known = string(t.KnownAt)
		}
	}
	var lines []string
	if inSample > 0 {
		lines = append(lines, fmt.Sprintf("in sample: the scores of %s are of dates that their model was trained on", quant.Count(inSample, "trial")))
	}
	if imported > 0 {
		lines = append(lines, fmt.Sprintf("known at: %s (%s)", known, quant.Count(imported, "trial")))
	}
	return lines
}

// compareSharpe orders ratios, none below any.
func compareSharpe(a, b *float64) int {
	switch {
	case a == nil && b == nil || a != nil && b != nil && *a == *b:
		return 0
	case a == nil || b != nil && *a < *b:
		return -1
	}
	return 1
}

// heatMap draws the Sharpe ratios over the two keys that have several values;
// nil if there are not exactly two, or no ratio.
func (r sweepReport) heatMap() []string {
	var axes []pipeline.Parameter
	for _, p := range r.Parameters {
		if len(p.Values) > 1 {
			axes = append(axes, p)
		}
	}
	if len(axes) != 2 {
		return nil
	}
	value := func(t pipeline.Trial, key string) string {
		for _, o := range t.Overrides {
			if o.Key == key {
				return o.Value
			}
		}
		return ""
	}
	at := map[[2]string]*float64{}
	var low, high *float64
	for _, t := range r.Trials {
		at[[2]string{value(t, axes[0].Key), value(t, axes[1].Key)}] = t.Sharpe
		if t.Sharpe != nil && (low == nil || *t.Sharpe < *low) {
			low = t.Sharpe
		}
		if t.Sharpe != nil && (high == nil || *t.Sharpe > *high) {
			high = t.Sharpe
		}
	}
	if low == nil {
		return nil
	}
	left, width := len(axes[0].Key), 9
	for _, v := range axes[0].Values {
		left = max(left, len(v))
	}
	for _, v := range axes[1].Values {
		width = max(width, len(v)+2)
	}
	lines := []string{"Sharpe ratio; columns: " + axes[1].Key}
	head := fmt.Sprintf("%-*s", left, axes[0].Key)
	for _, v := range axes[1].Values {
		head += fmt.Sprintf("%*s", width, v)
	}
	lines = append(lines, head)
	for _, row := range axes[0].Values {
		line := fmt.Sprintf("%-*s", left, row)
		for _, column := range axes[1].Values {
			v := at[[2]string{row, column}]
			text := "-"
			if v != nil {
				text = shading(*v, *low, *high) + fmt.Sprintf("%6.2f", *v)
			}
			line += strings.Repeat(" ", max(0, width-len([]rune(text)))) + text
		}
		lines = append(lines, line)
	}
	return lines
}

// shading fills a block the more, the nearer v is to high.
func shading(v, low, high float64) string {
	blocks := []string{"\u2591", "\u2592", "\u2593", "\u2588"}
	if high <= low {
		return blocks[len(blocks)-1]
	}
	return blocks[min(len(blocks)-1, int(float64(len(blocks))*(v-low)/(high-low)))]
}
