package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"quant"
	"quant/internal/backtest"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/strategy"
)

// A sweep with workers: units of some trials each are worked out by processes of their
// own, which read the facts and stage what they come to; the sweep takes it in, in the
// order of the grid, and records the runs of the trials. What a unit could not work
// out (a trial that fails, or that must run by itself) the sweep runs as without workers.

const (
	// leastTrials and mostTrials bound a unit: each reads the market once, and each is
	// what progress is told by and what a killed worker loses. Between them there are
	// about aboutUnits.
	leastTrials = trialsAtOnce
	mostTrials  = 4 * trialsAtOnce
	aboutUnits  = 16
	// tagUnit and tagHost say of the runs of a trial which run worked it out, and where.
	tagUnit = "unit_run_id"
	tagHost = "unit_host"
	// unitsAtOnce is how many units one transaction takes in.
	unitsAtOnce = 8
)

// trialUnit is some trials of a sweep.
type trialUnit struct {
	unit
	name   string // which one of how many
	trials []int  // of Trials
}

// staged is what a unit says of a trial that it worked out.
type staged struct {
	Trial     Trial         `json:"trial"` // its result
	Recommend session.Draft `json:"recommend"`
	Backtest  session.Draft `json:"backtest"`
}

// unitNote is what a unit says to the sweep.
type unitNote struct {
	Host   string   `json:"host"`
	Trials []staged `json:"trials"`
}

// units cuts the grid. How many workers there are changes nothing, so that a sweep which
// was killed goes on with another number. Where all trials read the same, a unit takes
// them from all over the grid: what a trial costs grows along it, such as with top_k, and
// units of neighbours would keep one worker waiting for another. Else neighbours read the
// same, and stay together.
func (r *SweepReport) units() []*trialUnit {
	n := len(r.Trials)
	size := min(max(leastTrials, (n/aboutUnits+leastTrials-1)/leastTrials*leastTrials), mostTrials)
	keys := map[string]bool{}
	alike := true
	for _, t := range r.Trials {
		key, err := readingKey(t.of)
		keys[key] = true
		alike = alike && err == nil && len(keys) == 1
	}
	list := make([]*trialUnit, (n+size-1)/size)
	for i := range list {
		list[i] = &trialUnit{name: fmt.Sprintf("%d/%d", i+1, len(list))}
	}
	for i := range n {
		u := list[i/size]
		if alike {
			u = list[i%len(list)]
		}
		u.trials = append(u.trials, i)
	}
	return list
}

// planDigest is of what a sweep is asked for: two processes that find the same one try
// the same trials.
func (r *SweepReport) planDigest(s *session.Session, o SweepOptions, data []byte) string {
	var sets [][]string
	for _, t := range r.Trials {
		sets = append(sets, t.sets)
	}
	var cut [][]int
	for _, u := range r.units() {
		cut = append(cut, u.trials)
	}
	doc, _ := json.Marshal([]any{durable.Digest(data), sets, cut, r.From, r.To, o.AcceptRaw, o.AllowInSample, s.CalendarName()}) // texts and days
	return durable.Digest(doc)
}

// standsOn is of what else a trial's result follows from: the facts that it reads, what
// the lab says of symbols, universes and days, and the program.
func (r *SweepReport) standsOn(ctx context.Context, s *session.Session, db *factstore.DB) (string, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return "", err
	}
	symbols, err := meta.ListSymbols(ctx, metastore.SymbolFilter{})
	if err != nil {
		return "", err
	}
	universes, err := universesDigest(s)
	if err != nil {
		return "", err
	}
	known, err := Delistings(s)
	if err != nil {
		return "", err
	}
	results := append([]string{factstore.Targets, factstore.Proposals, factstore.TargetSets}, backtest.StoredTables()...)
	if slices.ContainsFunc(r.Trials, func(t Trial) bool { return t.of.Signal.Type == strategy.Strategies }) {
		results = []string{""}
	}
	tables, err := factstore.Values[string](ctx, db, "SELECT table_name || ' ' || epoch_us(max(committed_at)) FROM "+factstore.Ledger+" GROUP BY table_name ORDER BY ALL")
	if err != nil {
		return "", err
	}
	tables = slices.DeleteFunc(tables, func(text string) bool {
		return slices.ContainsFunc(results, func(of string) bool { return of != "" && len(text) > len(of) && text[:len(of)+1] == of+" " })
	})
	program, err := s.Build().Identity(func(path string) (string, error) { digest, _, err := durable.DigestFile(path); return digest, err })
	if err != nil {
		return "", err
	}
	doc, err := json.Marshal([]any{tables, symbols, universes, known, program})
	if err != nil {
		return "", quant.Errorf(quant.Failed, "name what a sweep stands on: %w", err)
	}
	return durable.Digest(doc), nil
}

// dispatch has the trials worked out by workers, and takes in what they come to.
func (r *SweepReport) dispatch(ctx context.Context, s *session.Session, w *trials, o SweepOptions, data []byte) error {
	list, plan := r.units(), r.planDigest(s, o, data)
	var units []*unit
	err := s.WriteFactsInside(ctx, func(db *factstore.DB) error { // brings an older file up to date, as every sweep does
		on, err := r.standsOn(ctx, s, db)
		if err != nil {
			return err
		}
		for _, u := range list {
			u.fingerprint = durable.Digest([]byte(fmt.Sprint(plan, on, u.name)))
			u.line = o.unitLine(r, UnitOf{Name: u.name, Plan: plan, Fingerprint: u.fingerprint})
			units = append(units, &u.unit)
		}
		return findStaged(ctx, s, db, units)
	})
	if err != nil {
		return err
	}
	tried := 0
	for _, u := range list {
		if u.staged.RunID != "" {
			tried += len(u.trials)
		}
	}
	if tried > 0 {
		s.Say().Notice("%s of %d were worked out by a sweep that did not come to its end, and are taken over", quant.Count(tried, "trial"), len(r.Trials))
	}
	if err := o.Dispatch.work(ctx, s, "sweep", units); err != nil {
		return err
	}
	failpoint.Hit("sweep.dispatched")
	units = slices.DeleteFunc(units, func(u *unit) bool { return u.staged.RunID == "" })
	for ; len(units) > 0; units = units[min(unitsAtOnce, len(units)):] {
		if err := r.takeIn(ctx, s, w, units[:min(unitsAtOnce, len(units))]); err != nil {
			return err
		}
	}
	return nil
}

// unitLine is the command line of a unit.
func (o SweepOptions) unitLine(r *SweepReport, u UnitOf) []string {
	line := []string{"sweep", "--strategy", o.Strategy}
	for _, set := range o.Sets {
		line = append(line, "--set", set)
	}
	line = append(line, "--from", r.From.String(), "--to", r.To.String(), "--max-trials", strconv.Itoa(o.MaxTrials))
	if o.AcceptRaw {
		line = append(line, "--accept-raw")
	}
	if o.AllowInSample {
		line = append(line, "--allow-in-sample")
	}
	return append(line, "--"+unitFlag, u.Name, "--"+unitPlanFlag, u.Plan, "--"+unitFingerprintFlag, u.Fingerprint)
}

// SweepUnit works out some trials of a sweep and stages what they come to, for the sweep
// that asked for it. quant.Conflict: the sweep that this process finds, by its strategy
// file and the lab's models, is another.
func SweepUnit(ctx context.Context, s *session.Session, o SweepOptions, u UnitOf) error {
	s.KeepReads()
	report, data, err := o.plan(ctx, s)
	if err != nil {
		return err
	}
	if report.planDigest(s, o, data) != u.Plan {
		return quant.Errorf(quant.Conflict, "the strategy %s, an alias of its model or the calendar has changed since the sweep began", o.Strategy).WithHint("run the sweep again")
	}
	units := report.units()
	at := slices.IndexFunc(units, func(one *trialUnit) bool { return one.name == u.Name })
	if at < 0 {
		return quant.Errorf(quant.Usage, "--%s %s is none of the %s of the sweep", unitFlag, u.Name, quant.Count(len(units), "unit"))
	}
	w := newTrials(s, InProcess{Quiet: true, Unsaid: true}, o, &report, data)
	s.Record(w.file)
	note := unitNote{Trials: []staged{}}
	if s.Registry.Process != nil {
		note.Host = s.Registry.Process.Host
	}
	return s.ReadFacts(ctx, func(db *factstore.DB) error {
		if err := db.Alone(ctx, true); err != nil {
			return err
		}
		rows := map[string][][]factstore.Column{}
		for some := range slices.Chunk(units[at].trials, trialsAtOnce) {
			var list []*Trial
			for _, i := range some {
				list = append(list, &report.Trials[i])
			}
			done, err := w.stage(ctx, db, list, rows)
			if err != nil {
				return err
			}
			note.Trials = append(note.Trials, done...)
			failpoint.Hit("sweep.unit.trials")
		}
		return stageUnit(ctx, s, db, u.Fingerprint, "trials", func(out *factstore.OutputsWriter) (total int64, _ any, err error) {
			for _, table := range stagedTables() {
				if len(rows[table]) == 0 {
					continue
				}
				n, err := out.WriteFacts(ctx, table, rows[table])
				if err != nil {
					return 0, nil, err
				}
				total += n
			}
			return total, note, nil
		})
	})
}

// stagedTables are the tables that a trial fills, in the order in which they are stored.
func stagedTables() []string {
	var list []string
	for _, of := range (&decisionRows{}).tables() {
		list = append(list, of.table)
	}
	return append(list, backtest.StoredTables()...)
}

// stage works out trials without storing or recording anything, and adds their rows to
// those of each table. It returns those that it could work out.
func (w *trials) stage(ctx context.Context, db *factstore.DB, list []*Trial, rows map[string][][]factstore.Column) ([]staged, error) {
	ready, err := w.read(ctx, db, list)
	if err != nil {
		return nil, err
	}
	var on []*trialRun
	for _, t := range ready {
		if t != nil {
			t.stands = nil // what was decided before is looked at where it is stored
			on = append(on, t)
		}
	}
	errs, drafts := make([]error, len(on)), make([][2]session.Draft, len(on))
	begin := func() error {
		for _, t := range on {
			if t.inner, err = w.s.Drafting(unsaid{session.Quiet{Voice: w.s.Say()}}); err != nil {
				return err
			}
			t.inner.Record(w.file)
		}
		return nil
	}
	if err := begin(); err != nil {
		return nil, err
	}
	w.each(ctx, on, errs, w.decide)
	for i, t := range on {
		if errs[i] == nil && !w.panel.Covers(t.decisions, w.report.From, w.report.To) {
			errs[i] = quant.Errorf(quant.Failed, "it runs by itself")
		}
		if errs[i] == nil {
			t.report.record(t.inner, nil)
			drafts[i][0] = t.inner.Drafted()
		}
	}
	if err := begin(); err != nil {
		return nil, err
	}
	w.each(ctx, on, errs, w.replay)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var done []staged
	for i, t := range on {
		if errs[i] != nil {
			continue
		}
		add := func(table string, columns []factstore.Column, of string) {
			whose := factstore.Column{Name: factstore.OutputsOf, Texts: []string{of}, Numbers: make([]int32, columns[0].Len())}
			rows[table] = append(rows[table], append(slices.Clip(columns), whose))
		}
		for _, of := range t.rows.tables() {
			add(of.table, of.columns, drafts[i][0].RunID)
		}
		for table, columns := range t.replayed.Staged() {
			add(table, columns, t.inner.RunID())
		}
		recordBacktest(t.inner, t.replayed.Report, w.universe(t.of))
		drafts[i][1] = t.inner.Drafted()
		t.measured(t.replayed.Stored)
		done = append(done, staged{*t.Trial, drafts[i][0], drafts[i][1]})
	}
	return done, nil
}

// taking is a trial whose results are taken in.
type taking struct {
	trial *Trial
	staged
	unit, host string
	stands     *standingDecisions
	inner      [2]*session.Session // recommend's and backtest's
}

// takeIn stores what units have staged, all of it in one transaction, and records the
// runs of their trials. A trial that it leaves out is run as without workers.
func (r *SweepReport) takeIn(ctx context.Context, s *session.Session, w *trials, units []*unit) error {
	return s.WriteFactsInside(ctx, func(db *factstore.DB) error {
		standing, err := standingDecisionsOf(ctx, db, r.StrategyID+"#", r.From, r.To)
		if err != nil {
			return err
		}
		var all []factstore.Unit
		for _, u := range units {
			all = append(all, u.staged)
		}
		take, err := db.OpenStanding(ctx, all)
		if err != nil {
			return err
		}
		var list []*taking
		for _, outputs := range take {
			var note unitNote
			if err := json.Unmarshal(outputs.Note, &note); err != nil {
				return quant.Errorf(quant.Store, "the outputs of run %s cannot be read: %w", quant.ShortID(outputs.RunID), err)
			}
			for _, one := range note.Trials {
				i := slices.IndexFunc(r.Trials, func(t Trial) bool { return t.StrategyID == one.Trial.StrategyID })
				if i < 0 {
					continue
				}
				t := &taking{trial: &r.Trials[i], staged: one, unit: outputs.RunID, host: note.Host, stands: standing[one.Trial.StrategyID]}
				if t.stands != nil && !(t.stands.plain && t.stands.as(t.decided()) && t.trial.of.Signal.Type != strategy.Strategies) {
					continue
				}
				list = append(list, t)
			}
		}
		if len(take) == 0 {
			return nil
		}
		if err := r.store(ctx, s, w, db, take, list); err != nil {
			return err
		}
		if slices.ContainsFunc(r.Trials, func(t Trial) bool { return t.RunID == "" }) {
			return nil
		}
		r.judged = true // while the Fact DB is open: to open it again takes a tenth of a second
		return r.judge(ctx, db)
	})
}

// decided are the decisions of the trial, as its run records them.
func (t *taking) decided() (outputs []quant.RunIO) {
	for _, io := range t.Recommend.IO {
		if io.Direction == quant.Out && io.Kind == quant.IOTable {
			outputs = append(outputs, io)
		}
	}
	return outputs
}

// store is takeIn of the trials that are taken in.
func (r *SweepReport) store(ctx context.Context, s *session.Session, w *trials, db *factstore.DB, take []*factstore.Outputs, list []*taking) error {
	var commands []session.Command
	for _, stage := range []int{0, 1} {
		for _, t := range list {
			commands = append(commands, w.runner.voiced(s, w.calls(t.trial)[stage].Command()))
		}
	}
	var inner []*session.Session
	if len(list) > 0 {
		var err error
		if inner, err = s.Begin(ctx, commands); err != nil {
			return err
		}
	}
	writers := []string{s.RunID()}
	of := []string{""}
	for i, t := range list {
		t.inner = [2]*session.Session{inner[i], inner[len(list)+i]}
	}
	for stage := range 2 {
		for _, t := range list {
			if stage == 0 && t.stands != nil {
				continue
			}
			draft := [2]session.Draft{t.Recommend, t.Backtest}[stage]
			writers, of = append(writers, t.inner[stage].RunID()), append(of, draft.RunID)
			t.inner[stage].FactsBecame(factstore.Unknown) // until the commit has returned
		}
	}
	became := factstore.Committed
	_, err := db.TakeIn(ctx, take, succeeded(s), writers, func(ctx context.Context, txs []*factstore.Tx, outputs []*factstore.Outputs) error {
		for _, table := range stagedTables() {
			if err := factstore.InsertOutputs(ctx, db, txs, of, table, outputs); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		became = db.State()
	}
	errs := make([]error, len(inner))
	for i, t := range list {
		for stage := range 2 {
			errs[stage*len(list)+i] = err
			if stage == 1 || t.stands == nil {
				t.inner[stage].FactsBecame(became)
			}
			t.record(s, stage)
		}
		t.trial.RecommendID, t.trial.RunID = quant.Text(t.inner[0].RunID()), quant.Text(t.inner[1].RunID())
	}
	failpoint.Hit("sweep.taken")
	for _, err := range s.Finish(ctx, inner, errs) {
		if err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	for _, t := range list {
		to, from := t.trial, t.Trial
		to.Sharpe, to.CAGR, to.MaxDD, to.Vol, to.Turnover, to.NumTrades = from.Sharpe, from.CAGR, from.MaxDD, from.Vol, from.Turnover, from.NumTrades
		to.InSample, to.FixedAt, to.KnownAt = from.InSample, from.FixedAt, from.KnownAt
	}
	return nil
}

// record records what the unit drafted of a stage of the trial.
func (t *taking) record(s *session.Session, stage int) {
	draft, inner := [2]session.Draft{t.Recommend, t.Backtest}[stage], t.inner[stage]
	deciders := []string{t.inner[0].RunID()}
	if t.stands != nil {
		deciders = t.stands.runs
	}
	var list []quant.RunIO
	for _, io := range draft.IO {
		switch {
		case io.Kind == quant.IORun && io.Name == t.Recommend.RunID:
			for _, id := range deciders {
				io.Name = id
				list = append(list, io)
			}
			continue
		case stage == 0 && t.stands != nil && io.Direction == quant.Out && io.Kind == quant.IOTable:
			none := int64(0)
			io.Rows = &none
		}
		list = append(list, io)
	}
	draft.IO = list
	inner.Adopt(draft)
	inner.Log(metastore.Batch{Tags: []quant.Tag{{Name: tagUnit, Value: t.unit}, {Name: tagHost, Value: t.host}}})
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: inner.RunID()})
}
