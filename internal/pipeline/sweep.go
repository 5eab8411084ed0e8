package pipeline

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"quant"
	"quant/internal/backtest"
	"quant/internal/backtest/deflated"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/session"
	"quant/internal/strategy"
)

// SweepOptions are what a sweep is asked for.
type SweepOptions struct {
	Strategy      string      // path of the file
	Sets          []string    // KEY=VALUE,VALUE...: a key of the file and the values to try
	From, To      *quant.Date // nil: those of the strategy's backtest
	AcceptRaw     bool        // take raw prices that move as in a split as they are
	AllowInSample bool        // replay decisions on in-sample scores
	MaxTrials     int         // a grid of more is refused; at least 1
	// Dispatch has the trials worked out by workers; nil: this process tries them.
	Dispatch Dispatch
	// Trying is told of each trial before it runs; nil: nobody is.
	Trying func(trial, of int, o Overrides)
}

// Parameter is a key of the strategy file and the values to try.
type Parameter struct {
	Key    string   `json:"key"`
	Values []string `json:"values"`
}

// parameters reads the --set flags.
func parameters(sets []string) ([]Parameter, error) {
	var list []Parameter
	for _, set := range sets {
		key, values, found := strings.Cut(set, "=")
		key = strings.TrimSpace(key)
		p := Parameter{Key: key, Values: splitValues(values)}
		switch {
		case !found || key == "" || len(p.Values) > 1 && slices.Contains(p.Values, ""): // no value alone takes the key out
			return nil, quant.Errorf(quant.Usage, "--set %q is no key with values", set).WithHint("write --set portfolio.top_k=5,10,20")
		case key == "strategy_id" || key == "version":
			return nil, quant.Errorf(quant.Usage, "--set %s: a sweep names its trials itself", key).WithHint("leave it out")
		case slices.ContainsFunc(list, func(o Parameter) bool { return o.Key == key }):
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
func grid(list []Parameter) [][]Override {
	trials := [][]Override{nil}
	for _, p := range list {
		var next [][]Override
		for _, trial := range trials {
			for _, v := range p.Values {
				next = append(next, append(slices.Clone(trial), Override{p.Key, v}))
			}
		}
		trials = next
	}
	return trials
}

// Override is one value of a key.
type Override struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// String is KEY=VALUE.
func (o Override) String() string { return o.Key + "=" + o.Value }

// Trial is one trial and its result; numbers are nil where there is none.
type Trial struct {
	StrategyID  string      `json:"strategy_id"`
	Overrides   Overrides   `json:"overrides"`
	RunID       quant.Text  `json:"run_id"`           // of the backtest
	RecommendID quant.Text  `json:"recommend_run_id"` // of the decisions
	Sharpe      *float64    `json:"sharpe"`
	CAGR        *float64    `json:"cagr"`
	MaxDD       *float64    `json:"max_dd"`
	Vol         *float64    `json:"vol"`
	Turnover    *float64    `json:"turnover"`
	NumTrades   *int64      `json:"num_trades"`
	InSample    bool        `json:"in_sample"` // as backtest.Details has these three
	FixedAt     *quant.Date `json:"universe_fixed_at"`
	KnownAt     quant.Text  `json:"known_at"`
	Error       quant.Text  `json:"error"`

	sets []string
	of   strategy.Strategy // with the universe of its file
}

// Overrides are the values of a trial, one for each key.
type Overrides []Override

// String is how tables and CSV show them.
func (o Overrides) String() string {
	var list []string
	for _, one := range o {
		list = append(list, one.String())
	}
	return strings.Join(list, " ")
}

// SweepReport is the result of sweep.
type SweepReport struct {
	StrategyID string              `json:"strategy_id"`
	Version    string              `json:"version"`
	From       quant.Date          `json:"from"`
	To         quant.Date          `json:"to"`
	Parameters []Parameter         `json:"parameters"`
	Trials     []Trial             `json:"trials"` // in the order of the grid
	Failed     int                 `json:"failed"`
	Best       *Trial              `json:"best"`      // by Sharpe ratio; null: no trial has one
	Deflated   *deflated.Judgement `json:"deflated"`  // of the best
	Selection  *deflated.Selection `json:"selection"` // of the best among all recorded trials

	judged bool // see dispatch
}

// plan reads everything that the line says, and checks every trial before the
// first one runs. An alias for a model is resolved here, once: a trial is named by
// what it decides with, and a model that is trained meanwhile changes none.
func (o SweepOptions) plan(ctx context.Context, session *session.Session) (SweepReport, []byte, error) {
	var r SweepReport
	if o.Strategy == "" {
		return r, nil, quant.Errorf(quant.Usage, "sweep needs --strategy").WithHint("usage: quant sweep --strategy FILE --set KEY=VALUE,VALUE")
	}
	list, err := parameters(o.Sets)
	if err != nil {
		return r, nil, err
	}
	if o.MaxTrials < 1 {
		return r, nil, quant.Errorf(quant.Usage, "--max-trials %d is below 1", o.MaxTrials).WithHint("leave it out for 200")
	}
	size := 1
	for _, p := range list {
		if size *= len(p.Values); size > o.MaxTrials {
			return r, nil, quant.Errorf(quant.Usage, "the grid has more than %d trials", o.MaxTrials).
				WithHint("fewer values, or a higher --max-trials; each trial makes the best one less credible")
		}
	}
	data, err := os.ReadFile(o.Strategy)
	if err != nil {
		return r, nil, quant.Errorf(quant.NotFound, "strategy file: %w", err).WithHint("--strategy takes the path of a YAML file")
	}
	document := strategy.Read(o.Strategy, data)
	base, err := document.Parse(nil)
	if err != nil {
		return r, nil, err
	}
	r = SweepReport{StrategyID: base.ID, Version: base.Version, Parameters: list}
	for _, day := range []struct {
		name        string
		asked, file *quant.Date
		into        *quant.Date
	}{{"from", o.From, base.Backtest.From, &r.From}, {"to", o.To, base.Backtest.To, &r.To}} {
		chosen := cmp.Or(day.asked, day.file)
		if chosen == nil {
			return r, nil, quant.Errorf(quant.Usage, "sweep needs --%s", day.name).WithHint("give it as a flag, or as backtest.%s in %s", day.name, o.Strategy)
		}
		*day.into = *chosen
	}
	if r.To < r.From {
		return r, nil, quant.Errorf(quant.Usage, "--to %s is before --from %s", r.To, r.From).WithHint("turn them round")
	}
	if strings.Contains(base.ID, "#") {
		return r, nil, quant.Errorf(quant.Invalid, "strategy %s is a trial itself", base.ID).WithHint("sweep the strategy %s", deflated.Root(base.ID))
	}
	seen, models := map[string]Overrides{}, map[string]string{}
	var left []string // what trials leave out, see fit
	again := 0        // trials that are then others
	for _, combination := range grid(list) {
		trial := Trial{Overrides: combination}
		for _, one := range combination {
			trial.sets = append(trial.sets, one.String())
		}
		s, without, err := fit(document, &trial)
		if err != nil {
			return r, nil, err
		}
		for _, one := range without {
			if !slices.Contains(left, one) {
				left = append(left, one)
			}
		}
		if ref := s.Signal.Inputs.ModelID; isAlias(ref) {
			if models[ref] == "" {
				m, err := ResolveModel(ctx, session, ref)
				if err != nil {
					return r, nil, err
				}
				models[ref] = m.ModelID
				session.Say().Notice("%s is %s", ref, m.ModelID)
			}
			s.Signal.Inputs.ModelID = models[ref]
			trial.sets = append(trial.sets, setModel+models[ref])
		}
		// Two spellings of one value are one trial: the digest is of what they mean.
		_, hexadecimal, _ := strings.Cut(s.Digest(), ":")
		trial.StrategyID = base.ID + "#" + hexadecimal[:8]
		if _, double := seen[trial.StrategyID]; double && len(trial.Overrides) < len(combination) {
			again++
			continue
		}
		if same, double := seen[trial.StrategyID]; double {
			return r, nil, quant.Errorf(quant.Usage, "--set %s means the same as %s", trial.Overrides, same).WithHint("give each value once")
		}
		seen[trial.StrategyID] = trial.Overrides
		trial.sets = append(trial.sets, "strategy_id="+trial.StrategyID)
		if trial.of, err = document.Parse(trial.sets); err != nil {
			return r, nil, quant.Errorf(quant.Invalid, "strategy %s: the name is too long for a trial: %w", base.ID, err).
				WithHint("a trial adds 9 letters to strategy_id: use at most 55")
		}
		r.Trials = append(r.Trials, trial)
	}
	if len(left) > 0 {
		session.Say().Notice("left out where it does not apply: %s", strings.Join(left, "; "))
	}
	if again > 0 {
		session.Say().Notice("not tried twice: %s of the grid, which is then alike another", quant.Count(again, "trial"))
	}
	return r, data, nil
}

// fit parses the strategy of a trial. A key that a value of the grid has no use for, such
// as portfolio.short_k with portfolio.side=long, is left out of the trial, or brought to
// what the value lets it be; without says which.
func fit(document strategy.Document, t *Trial) (s strategy.Strategy, without []string, err error) {
	for {
		s, err = document.Parse(t.sets)
		problems, are := errors.AsType[strategy.Problems](err)
		if !are {
			return s, without, err
		}
		for _, p := range problems {
			at := slices.IndexFunc(t.Overrides, func(o Override) bool { return o.Key == p.Selector })
			if p.Selector == "" || at < 0 || slices.Contains(t.sets, p.Instead) {
				return s, nil, err
			}
		}
		for _, p := range problems {
			by := t.Overrides[slices.IndexFunc(t.Overrides, func(o Override) bool { return o.Key == p.Selector })]
			t.Overrides = slices.DeleteFunc(slices.Clone(t.Overrides), func(o Override) bool { return o.Key == p.Key })
			t.sets = append(slices.DeleteFunc(t.sets, func(set string) bool { return strings.HasPrefix(set, p.Key+"=") }), p.Instead)
			_, now, _ := strings.Cut(p.Instead, "=")
			text := p.Key
			if now != "" {
				text += " (is " + now + ")"
			}
			without = append(without, text+" with "+by.String())
		}
	}
}

// Sweep tries a strategy with every combination of some values: each trial is a
// recommend and a backtest, run by r inside the run of s, under a strategy id of
// its own. A trial that fails has its error in the report, see SweepReport.Err, and
// the others go on; r leaves errors unsaid, and those of trials that fail alike are
// said once. Errors: Usage, NotFound and Invalid for what is asked for, before
// the first trial; the cause of ctx.
func Sweep(ctx context.Context, s *session.Session, r Runner, o SweepOptions) (SweepReport, error) {
	report, data, err := o.plan(ctx, s)
	if err != nil {
		return report, err
	}
	if _, err := s.MetaDB(); err != nil {
		return report, err
	}
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: o.Strategy, Digest: quant.Text(durable.Digest(data))})
	logParams(s, "strategy_id", report.StrategyID, "version", report.Version, "from", report.From.String(), "to", report.To.String())
	for _, p := range report.Parameters {
		logParams(s, "set."+p.Key, strings.Join(p.Values, ","))
	}
	if err := report.try(ctx, s, r, o, data); err != nil {
		return report, err
	}
	if report.Failed < len(report.Trials) && !report.judged {
		if err := s.ReadFacts(ctx, func(db *factstore.DB) error { return report.judge(ctx, db) }); err != nil {
			return report, err
		}
	}
	logMeasured(s, "", 0, struct {
		Trials int `json:"trials"`
		Failed int `json:"failed"`
	}{len(report.Trials), report.Failed})
	if report.Best != nil {
		logMeasured(s, "best.", 0, report.Best)
	}
	return report, nil
}

// try runs the trials: several at once where r runs stages in this process.
func (r *SweepReport) try(ctx context.Context, s *session.Session, runner Runner, o SweepOptions, data []byte) error {
	alone := func(t *Trial, decided bool) error { return t.run(ctx, s, runner, o, r.From, r.To, decided) }
	at, run := 1, func(list []*Trial) []error { return []error{alone(list[0], false)} }
	if p, inProcess := runner.(InProcess); inProcess {
		w := newTrials(s, p, o, r, data)
		at, run = trialsAtOnce, func(list []*Trial) []error { return w.run(ctx, list, alone) }
		if o.Dispatch != nil {
			if err := r.dispatch(ctx, s, w, o, data); err != nil {
				return err
			}
		}
	}
	var left []int
	for i := range r.Trials {
		if r.Trials[i].RunID == "" {
			left = append(left, i)
		}
	}
	said := map[string]bool{}
	for from := 0; from < len(left); from += at {
		var list []*Trial
		for _, i := range left[from:min(from+at, len(left))] {
			list = append(list, &r.Trials[i])
			if o.Trying != nil {
				o.Trying(i+1, len(r.Trials), r.Trials[i].Overrides)
			}
		}
		for i, err := range run(list) {
			if err == nil {
				continue
			}
			t := list[i]
			t.Error = quant.Text(s.Mask.Text(err.Error()))
			r.Failed++
			if alike := r.Alike(*t); !said[alike] && ctx.Err() == nil {
				said[alike] = true
				s.Say().Failed(err)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// Alike is the error of a trial without what tells it from those of trials that
// failed for the same reason: its own strategy id.
func (r SweepReport) Alike(t Trial) string {
	return strings.ReplaceAll(string(t.Error), t.StrategyID, r.StrategyID)
}

// Err is what a sweep comes to whose trials were all tried: Failed if all of them
// failed, Partial if some did, else nil.
func (r SweepReport) Err() error {
	switch {
	case r.Failed == 0:
		return nil
	case r.Failed == len(r.Trials):
		return quant.Errorf(quant.Failed, "sweep of strategy %s: all of its %s failed", r.StrategyID, quant.Count(r.Failed, "trial")).
			WithHint("their errors stand above and in `quant runs list`")
	}
	return quant.Errorf(quant.Partial, "sweep of strategy %s: %d of %d trials failed", r.StrategyID, r.Failed, len(r.Trials)).
		WithHint("their errors stand above and in the result; the same sweep again tries them again")
}

// run decides the trial, unless that is done, and replays it, and notes both runs
// as inputs of that of s.
func (t *Trial) run(ctx context.Context, s *session.Session, r Runner, o SweepOptions, from, to quant.Date, decided bool) error {
	stage := func(call Call) (quant.Text, error) {
		id, err := r.Run(ctx, s, call, nil)
		if id != "" {
			s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: id})
		}
		return quant.Text(id), err
	}
	var err error
	if !decided {
		t.RecommendID, err = stage(RecommendOptions{Strategy: o.Strategy, Set: t.sets, From: &from, To: &to, AcceptRaw: o.AcceptRaw})
	}
	if err != nil {
		return err
	}
	t.RunID, err = stage(BacktestOptions{Strategy: o.Strategy, Set: t.sets, From: &from, To: &to, AcceptRaw: o.AcceptRaw, AllowInSample: o.AllowInSample})
	return err
}

// measured takes over what a backtest of the trial came to.
func (t *Trial) measured(b backtest.Stored) {
	t.Sharpe, t.CAGR, t.MaxDD, t.Vol, t.Turnover, t.NumTrades = b.Sharpe, b.CAGR, b.MaxDD, b.Vol, b.Turnover, &b.NumTrades
	t.InSample, t.FixedAt, t.KnownAt = b.InSample, b.UniverseFixedAt, b.KnownAt
}

// judge reads the results of the trials that are not known yet, and judges the best of them by how many
// have been recorded.
func (r *SweepReport) judge(ctx context.Context, db *factstore.DB) error {
	for i := range r.Trials {
		t := &r.Trials[i]
		if t.Error != "" {
			continue
		}
		if t.NumTrades == nil {
			b, err := backtest.Read(ctx, db, string(t.RunID))
			if err != nil {
				return err
			}
			t.measured(b)
		}
		if t.Sharpe != nil && (r.Best == nil || *t.Sharpe > *r.Best.Sharpe) {
			best := *t
			r.Best = &best
		}
	}
	if r.Best == nil {
		return nil
	}
	judged, err := deflated.Judge(ctx, db, string(r.Best.RunID))
	if err != nil {
		return err
	}
	selection, err := deflated.Select(ctx, db, string(r.Best.RunID), judged)
	r.Deflated, r.Selection = &judged, &selection
	return err
}
