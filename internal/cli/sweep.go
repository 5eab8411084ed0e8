package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/backtest"
	"quant/internal/backtest/deflated"
	"quant/internal/config"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/output"
	"quant/internal/strategy"
)

func sweepCommand(env *Env) Command {
	var f sweepFlags
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
every earlier one; a trial that is repeated counts once.

A trial that fails is reported and the others go on: exit status 3. If all fail
it is 1.`,
		Example: `  quant sweep --strategy momentum.yaml --set portfolio.top_k=5,10,20 --set supervisor.max_weight_per_symbol=0.1,0.2
  quant sweep --strategy momentum.yaml --set execution.lag_days=0,1,2 --from 2016-01-04 --to 2025-12-31 --output csv`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.changed = cmd.Flags().Changed
			return env.sweep(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "strategy", "", "the strategy file (required)")
	flags.StringArrayVar(&f.sets, "set", nil, "a key of the file and its values, such as portfolio.top_k=5,10; may be repeated")
	flags.StringVar(&f.from, "from", "", "first day, 2016-01-31 (default: backtest.from of the file)")
	flags.StringVar(&f.to, "to", "", "last day (default: backtest.to of the file)")
	flags.BoolVar(&f.acceptRaw, "accept-raw", false, "take raw prices that move as in a split as they are")
	flags.BoolVar(&f.allowInSample, "allow-in-sample", false, "replay decisions on in-sample scores")
	flags.IntVar(&f.maxTrials, "max-trials", 200, "refuse a grid of more trials")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

type sweepFlags struct {
	file, from, to string
	sets           []string
	maxTrials      int
	acceptRaw      bool
	allowInSample  bool
	changed        func(name string) bool
}

// parameter is a key of the strategy file and the values to try.
type parameter struct {
	Key    string   `json:"key"`
	Values []string `json:"values"`
}

// parameters reads the --set flags.
func parameters(sets []string) ([]parameter, error) {
	var list []parameter
	for _, set := range sets {
		key, values, found := strings.Cut(set, "=")
		key = strings.TrimSpace(key)
		p := parameter{Key: key, Values: splitValues(values)}
		switch {
		case !found || key == "" || slices.Contains(p.Values, ""):
			return nil, quant.Errorf(quant.Usage, "--set %q is no key with values", set).WithHint("write --set portfolio.top_k=5,10,20")
		case key == "strategy_id" || key == "version":
			return nil, quant.Errorf(quant.Usage, "--set %s: a sweep names its trials itself", key).WithHint("leave it out")
		case slices.ContainsFunc(list, func(o parameter) bool { return o.Key == key }):
			return nil, quant.Errorf(quant.Usage, "--set %s stands twice", key).WithHint("give all its values once: --set %s=...,...", key)
		}
		for i, v := range p.Values {
			if slices.Contains(p.Values[:i], v) {
				return nil, quant.Errorf(quant.Usage, "--set %s has the value %s twice", key, v).WithHint("give each value once")
			}
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, quant.Errorf(quant.Usage, "sweep needs --set").WithHint("such as --set portfolio.top_k=5,10,20; `quant backtest` tries the file as it is")
	}
	return list, nil
}

// splitValues splits at the commas that stand in no brackets and no quotes, and
// trims the parts.
func splitValues(text string) []string {
	var values []string
	depth, from := 0, 0
	var quote rune
	for i, r := range text {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case r == '[' || r == '{':
			depth++
		case r == ']' || r == '}':
			depth--
		case r == ',' && depth <= 0:
			values, from = append(values, strings.TrimSpace(text[from:i])), i+1
		}
	}
	return append(values, strings.TrimSpace(text[from:]))
}

// grid is every combination of values, the last key turning fastest.
func grid(list []parameter) [][]override {
	trials := [][]override{nil}
	for _, p := range list {
		var next [][]override
		for _, trial := range trials {
			for _, v := range p.Values {
				next = append(next, append(slices.Clone(trial), override{p.Key, v}))
			}
		}
		trials = next
	}
	return trials
}

type override struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func (o override) String() string { return o.Key + "=" + o.Value }

// sweepTrial is one trial and its result; numbers are nil where there is none.
type sweepTrial struct {
	StrategyID  string     `json:"strategy_id"`
	Overrides   overrides  `json:"overrides"`
	RunID       quant.Text `json:"run_id"`           // of the backtest
	RecommendID quant.Text `json:"recommend_run_id"` // of the decisions
	Sharpe      *float64   `json:"sharpe"`
	CAGR        *float64   `json:"cagr"`
	MaxDD       *float64   `json:"max_dd"`
	Vol         *float64   `json:"vol"`
	Turnover    *float64   `json:"turnover"`
	NumTrades   *int64     `json:"num_trades"`
	Error       quant.Text `json:"error"`

	sets []string
}

type overrides []override

// String is how tables and CSV show them.
func (o overrides) String() string {
	var list []string
	for _, one := range o {
		list = append(list, one.String())
	}
	return strings.Join(list, " ")
}

// sweepReport is the result of sweep.
type sweepReport struct {
	StrategyID string              `json:"strategy_id"`
	Version    string              `json:"version"`
	From       quant.Date          `json:"from"`
	To         quant.Date          `json:"to"`
	Parameters []parameter         `json:"parameters"`
	Trials     []sweepTrial        `json:"trials"` // in the order of the grid
	Failed     int                 `json:"failed"`
	Best       *sweepTrial         `json:"best"`     // by Sharpe ratio; null: no trial has one
	Deflated   *deflated.Judgement `json:"deflated"` // of the best
}

// plan reads everything that the line says, and checks every trial before the
// first one runs.
func (f sweepFlags) plan() (sweepReport, []byte, error) {
	var r sweepReport
	if f.file == "" {
		return r, nil, quant.Errorf(quant.Usage, "sweep needs --strategy").WithHint("usage: quant sweep --strategy FILE --set KEY=VALUE,VALUE")
	}
	list, err := parameters(f.sets)
	if err != nil {
		return r, nil, err
	}
	if f.maxTrials < 1 {
		return r, nil, quant.Errorf(quant.Usage, "--max-trials %d is below 1", f.maxTrials).WithHint("leave it out for 200")
	}
	size := 1
	for _, p := range list {
		if size *= len(p.Values); size > f.maxTrials {
			return r, nil, quant.Errorf(quant.Usage, "the grid has more than %d trials", f.maxTrials).
				WithHint("fewer values, or a higher --max-trials; each trial makes the best one less credible")
		}
	}
	data, err := os.ReadFile(f.file)
	if err != nil {
		return r, nil, quant.Errorf(quant.NotFound, "strategy file: %w", err).WithHint("--strategy takes the path of a YAML file")
	}
	base, err := strategy.Parse(f.file, data, nil)
	if err != nil {
		return r, nil, err
	}
	r = sweepReport{StrategyID: base.ID, Version: base.Version, Parameters: list}
	for name, day := range map[string]struct {
		text string
		file *quant.Date
		into *quant.Date
	}{"from": {f.from, base.Backtest.From, &r.From}, "to": {f.to, base.Backtest.To, &r.To}} {
		switch {
		case f.changed(name):
			if *day.into, err = quant.ParseDate(day.text); err != nil {
				return r, nil, quant.Errorf(quant.Usage, "--%s: %w", name, err).WithHint("write year, month and day: 2024-01-31")
			}
		case day.file != nil:
			*day.into = *day.file
		default:
			return r, nil, quant.Errorf(quant.Usage, "sweep needs --%s", name).WithHint("give it as a flag, or as backtest.%s in %s", name, f.file)
		}
	}
	if r.To < r.From {
		return r, nil, quant.Errorf(quant.Usage, "--to %s is before --from %s", r.To, r.From).WithHint("turn them round")
	}
	if strings.Contains(base.ID, "#") {
		return r, nil, quant.Errorf(quant.Invalid, "strategy %s is a trial itself", base.ID).WithHint("sweep the strategy %s", deflated.Root(base.ID))
	}
	seen := map[string]overrides{}
	for _, combination := range grid(list) {
		trial := sweepTrial{Overrides: combination}
		for _, o := range combination {
			trial.sets = append(trial.sets, o.String())
		}
		s, err := strategy.Parse(f.file, data, trial.sets)
		if err != nil {
			return r, nil, err
		}
		// Two spellings of one value are one trial: the digest is of what they mean.
		_, hexadecimal, _ := strings.Cut(s.Digest(), ":")
		trial.StrategyID = base.ID + "#" + hexadecimal[:8]
		if same, double := seen[trial.StrategyID]; double {
			return r, nil, quant.Errorf(quant.Usage, "--set %s means the same as %s", trial.Overrides, same).WithHint("give each value once")
		}
		seen[trial.StrategyID] = trial.Overrides
		trial.sets = append(trial.sets, "strategy_id="+trial.StrategyID)
		if _, err := strategy.Parse(f.file, data, trial.sets); err != nil {
			return r, nil, quant.Errorf(quant.Invalid, "strategy %s: the name is too long for a trial: %w", base.ID, err).
				WithHint("a trial adds 9 letters to strategy_id: use at most 55")
		}
		r.Trials = append(r.Trials, trial)
	}
	return r, data, nil
}

func (e *Env) sweep(ctx context.Context, f sweepFlags) error {
	r, data, err := f.plan()
	if err != nil {
		return err
	}
	if _, err := e.MetaDB(); err != nil {
		return err
	}
	e.record(quant.RunIO{Direction: quant.In, Kind: "file", Name: f.file, Digest: quant.Text(durable.Digest(data))})
	e.logParams("strategy_id", r.StrategyID, "version", r.Version, "from", r.From.String(), "to", r.To.String())
	for _, p := range r.Parameters {
		e.logParams("set."+p.Key, strings.Join(p.Values, ","))
	}
	for i := range r.Trials {
		t := &r.Trials[i]
		if output.IsTerminal(e.Streams().Err) {
			e.Notice("trial %d of %d: %s", i+1, len(r.Trials), t.Overrides)
		}
		if err := e.try(ctx, t, f, r.From, r.To); err != nil {
			t.Error = quant.Text(e.Mask.Text(err.Error()))
			r.Failed++
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if r.Failed < len(r.Trials) {
		if err := e.ReadFacts(ctx, func(db *factstore.DB) error { return r.judge(ctx, db) }); err != nil {
			return err
		}
	}
	e.logMeasured("", 0, struct {
		Trials int `json:"trials"`
		Failed int `json:"failed"`
	}{len(r.Trials), r.Failed})
	if r.Best != nil {
		e.logMeasured("best.", 0, r.Best)
	}
	if err := e.Print(r); err != nil {
		return err
	}
	switch {
	case r.Failed == len(r.Trials):
		return quant.Errorf(quant.Failed, "sweep of strategy %s: all of its %s failed", r.StrategyID, quant.Count(r.Failed, "trial")).
			WithHint("their errors stand above and in `quant runs list`")
	case r.Failed > 0:
		return quant.Errorf(quant.Partial, "sweep of strategy %s: %d of %d trials failed", r.StrategyID, r.Failed, len(r.Trials)).
			WithHint("their errors stand above and in the result; the same sweep again tries them again")
	}
	return nil
}

// try runs one trial as two recorded children of this run.
func (e *Env) try(ctx context.Context, t *sweepTrial, f sweepFlags, from, to quant.Date) error {
	child := func(command string) (quant.Text, error) {
		args := []string{
			command, "--quiet", "--output", "json", "--wait", e.tree.Globals.Wait.String(),
			"--data-dir", e.Settings.Value(config.DataDir), "--sqlite", e.Settings.Value(config.SQLitePath), "--duckdb", e.Settings.Value(config.DuckDBPath),
			"--strategy", f.file, "--from", from.String(), "--to", to.String(),
		}
		for _, set := range t.sets {
			args = append(args, "--set", set)
		}
		if f.acceptRaw {
			args = append(args, "--accept-raw")
		}
		if f.allowInSample && command == "backtest" {
			args = append(args, "--allow-in-sample")
		}
		id, err := e.Exec(ctx, args, io.Discard)
		if id != "" {
			e.record(quant.RunIO{Direction: quant.In, Kind: "run", Name: id})
		}
		return quant.Text(id), err
	}
	var err error
	if t.RecommendID, err = child("recommend"); err != nil {
		return err
	}
	t.RunID, err = child("backtest")
	return err
}

// judge reads the results of the trials, and judges the best of them by how many
// have been recorded.
func (r *sweepReport) judge(ctx context.Context, db *factstore.DB) error {
	for i := range r.Trials {
		t := &r.Trials[i]
		if t.Error != "" {
			continue
		}
		b, err := backtest.Read(ctx, db, string(t.RunID))
		if err != nil {
			return err
		}
		t.Sharpe, t.CAGR, t.MaxDD, t.Vol, t.Turnover, t.NumTrades = b.Sharpe, b.CAGR, b.MaxDD, b.Vol, b.Turnover, &b.NumTrades
		if t.Sharpe != nil && (r.Best == nil || *t.Sharpe > *r.Best.Sharpe) {
			best := *t
			r.Best = &best
		}
	}
	if r.Best == nil {
		return nil
	}
	judged, err := deflated.Judge(ctx, db, string(r.Best.RunID))
	r.Deflated = &judged
	return err
}

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
	slices.SortStableFunc(sorted, func(a, b sweepTrial) int { return compareSharpe(b.Sharpe, a.Sharpe) })
	rows := []row{}
	for _, t := range sorted {
		_, name, _ := strings.Cut(t.StrategyID, "#")
		rows = append(rows, row{name, t.Overrides.String(), number(t.Sharpe), percent(t.CAGR), percent(t.MaxDD), number(t.Turnover), quant.ShortID(string(t.RunID)), string(t.Error)})
	}
	sections := []output.Section{{Lines: []string{fmt.Sprintf("%s %s: %s, %s to %s, best Sharpe ratio first", r.StrategyID, r.Version, quant.Count(len(r.Trials), "trial"), r.From, r.To), ""}, Rows: rows}}
	if lines := r.heatMap(); lines != nil {
		sections = append(sections, output.Section{Lines: lines})
	}
	if r.Best != nil {
		sections = append(sections, output.Section{Lines: []string{
			fmt.Sprintf("best: %s, Sharpe ratio %s, run %s", r.Best.Overrides, number(r.Best.Sharpe), quant.ShortID(string(r.Best.RunID))),
			judgedLine(*r.Deflated),
		}})
	}
	return sections
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
	var axes []parameter
	for _, p := range r.Parameters {
		if len(p.Values) > 1 {
			axes = append(axes, p)
		}
	}
	if len(axes) != 2 {
		return nil
	}
	value := func(t sweepTrial, key string) string {
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
