package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/runs"
)

func runsWatch(env *Env) Command {
	w := watcher{env: env}
	cmd := &cobra.Command{
		Use:   "watch [RUN...]",
		Short: "Watch runs while they run: a table that is kept up to date",
		Long: `Watch the running and the newest runs that may change something (--all: also those
that only read), or the runs that are named: status, time so far, and the last
values of their metrics.

On a terminal this is a table that is redrawn in place; q or Ctrl-C leaves it,
which is no failure. Elsewhere, and with --output json or csv, each change is a
row: a run that is new, that has ended, or whose metrics have moved.

A watch of named runs ends when all of them have ended: with 0 if all are
SUCCESS, else with 1. Any other goes on until somebody ends it. A run whose
process died is closed as FAIL, as every command does.`,
		Example: `  quant runs watch
  quant runs watch last:exec && quant runs plot loss last:exec`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.every < 100*time.Millisecond {
				return quant.Errorf(quant.Usage, "--every %s is less than 100ms", w.every)
			}
			if w.limit < 1 {
				return quant.Errorf(quant.Usage, "--limit %d is less than 1", w.limit)
			}
			if len(args) > runs.MaxCompared {
				return quant.Errorf(quant.Usage, "%d runs are more than the %d that can be watched", len(args), runs.MaxCompared)
			}
			var err error
			if w.meta, err = env.MetaDB(); err != nil {
				return err
			}
			if w.named, err = env.ResolveAll(cmd.Context(), args); err != nil {
				return err
			}
			if env.Run != nil {
				w.self = env.Run.ID
			}
			if slices.Contains(w.named, w.self) {
				return quant.Errorf(quant.Usage, "run %s is this watch itself: it would never end", quant.ShortID(w.self))
			}
			if err := w.run(cmd.Context()); err != nil {
				return err
			}
			return w.verdict()
		},
	}
	cmd.Flags().Var(newDuration(&w.every, time.Second), "every", "how often to look, at least 100ms")
	cmd.Flags().IntVar(&w.limit, "limit", 10, "how many of the newest runs, beside those that run")
	cmd.Flags().BoolVar(&w.all, "all", false, "also the runs that only read")
	return Command{Command: cmd}
}

type watcher struct {
	env   *Env
	meta  metastore.Store
	every time.Duration
	limit int
	all   bool
	named []string
	self  string

	seen []watchedRun
	late string // why what was seen last could not be brought up to date
}

// watchedRun is a run at one moment, in the result of runs watch.
type watchedRun struct {
	At        quant.Time      `json:"at"`
	RunID     string          `json:"run_id"`
	Kind      string          `json:"kind"`
	Name      quant.Text      `json:"name"`
	Status    quant.Status    `json:"status"`
	ElapsedUS int64           `json:"elapsed_us"`
	ErrorText quant.Text      `json:"error_text"`
	Metrics   []watchedMetric `json:"metrics"`
}

type watchedMetric struct {
	Name     string  `json:"name"`
	LastStep int64   `json:"last_step"`
	Last     float64 `json:"last"`
}

// moved reports whether r is news to who saw before.
func (r watchedRun) moved(before watchedRun) bool {
	return r.Status != before.Status || r.Name != before.Name || !slices.Equal(r.Metrics, before.Metrics)
}

func (r watchedRun) metricsText() string {
	var parts []string
	for i, m := range r.Metrics {
		if i == 8 {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, quant.Clip(m.Name, 40)+"="+metricText(m.Last))
	}
	return strings.Join(parts, " ")
}

func (r watchedRun) elapsed() string {
	d := time.Duration(r.ElapsedUS) * time.Microsecond
	if r.Status == quant.Running {
		return d.Truncate(time.Second).String()
	}
	return quant.Micros(&r.ElapsedUS)
}

func (r watchedRun) firstLine() string {
	first, _, _ := strings.Cut(string(r.ErrorText), "\n")
	return quant.Clip(first, 80)
}

// line is a change as a person reads it.
func (r watchedRun) line() string {
	parts := []string{second(r.At), quant.ShortID(r.RunID), fmt.Sprintf("%-7s", r.Status), r.Kind}
	for _, part := range []string{string(r.Name), r.elapsed(), r.metricsText(), r.firstLine()} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "  ")
}

// run watches until there is nothing left to wait for, somebody leaves, or ctx
// ends.
func (w *watcher) run(ctx context.Context) (err error) {
	if err := w.look(ctx); err != nil {
		return err
	}
	ticks := time.NewTicker(w.every)
	defer ticks.Stop()
	if w.env.Format == output.Table {
		screen, err := w.env.OpenScreen()
		if err != nil {
			return quant.Errorf(quant.Failed, "take the terminal: %w", err).WithHint("quant runs watch | cat prints a line a change")
		}
		if screen != nil {
			return w.draw(ctx, screen, ticks.C)
		}
	}
	out := output.NewStream(w.env.Printer, watchedRun.line)
	defer func() {
		if closing := out.Close(); err == nil {
			err = closing
		}
	}()
	told := map[string]watchedRun{}
	for {
		for _, r := range slices.Backward(w.seen) { // the oldest first
			if before, known := told[r.RunID]; known && !r.moved(before) {
				continue
			}
			if err := out.Add(ctx, r); err != nil {
				return err
			}
		}
		// Only runs that are still looked at are remembered.
		clear(told)
		for _, r := range w.seen {
			told[r.RunID] = r
		}
		if w.ended() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks.C:
		}
		if err := w.look(ctx); err != nil {
			return err
		}
	}
}

// draw keeps a table on a terminal up to date, and leaves its last state on the
// screen that was there before.
func (w *watcher) draw(ctx context.Context, screen *output.Screen, ticks <-chan time.Time) error {
	watch := func() error {
		for {
			if err := screen.Draw(ctx, w.lines(screen)); err != nil {
				return err
			}
			if w.ended() {
				return nil
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-screen.Resized():
				continue
			case key := <-screen.Keys():
				if strings.ContainsRune("qQ\x03\x04", rune(key)) {
					return nil
				}
				continue
			case <-ticks:
			}
			if err := w.look(ctx); err != nil {
				return err
			}
		}
	}
	err := func() (err error) {
		defer func() {
			if closing := screen.Close(ctx); err == nil {
				err = closing
			}
		}()
		return watch()
	}()
	if err != nil {
		return err
	}
	return w.env.Print(w.table())
}

// ended reports whether all named runs have ended.
func (w *watcher) ended() bool {
	return len(w.named) > 0 && !slices.ContainsFunc(w.seen, func(r watchedRun) bool { return r.Status == quant.Running })
}

// verdict is the error of a watch of named runs of which one has failed.
func (w *watcher) verdict() error {
	var failed []string
	for _, r := range w.seen {
		if len(w.named) > 0 && r.Status == quant.Fail {
			failed = append(failed, quant.ShortID(r.RunID))
		}
	}
	if failed == nil || !w.ended() {
		return nil
	}
	return quant.Errorf(quant.Failed, "%s of %s ended as FAIL: %s", quant.Count(len(failed), "run"), quant.Count(len(w.named), "run"), strings.Join(failed, ", ")).
		WithHint("quant runs show %s says why", failed[0])
}

type watchTable []watchedRun

func (t watchTable) Sections() []output.Section {
	g := output.Grid{Columns: []string{"RUN", "STATUS", "KIND", "NAME", "TIME", "METRICS"}, Numbers: []bool{4: true}}
	for _, r := range t {
		text := r.metricsText()
		if r.Status == quant.Fail {
			text = strings.TrimSpace(text + "  " + r.firstLine())
		}
		g.Cells = append(g.Cells, []string{quant.ShortID(r.RunID), string(r.Status), r.Kind, quant.Clip(string(r.Name), 24), r.elapsed(), text})
	}
	return []output.Section{{Rows: g}}
}

func (w *watcher) table() watchTable { return w.seen }

// lines is what the terminal shows now.
func (w *watcher) lines(screen *output.Screen) []string {
	width, height := screen.Size()
	running := 0
	for _, r := range w.seen {
		if r.Status == quant.Running {
			running++
		}
	}
	foot := fmt.Sprintf("%s  %d running, every %s, q leaves", second(quant.NewTime(w.env.Now())), running, w.every)
	if w.late != "" {
		foot += "  (" + w.late + ")"
	}
	lines := w.env.Screen(w.table(), width)
	if room := max(height-2, 1); len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1:room-1], w.env.Screen(said(fmt.Sprintf("... and %d more", more)), width)...)
	}
	return append(append(lines, ""), w.env.Screen(said(foot), width)...)
}

// said is a line of text as a result.
type said string

func (s said) Sections() []output.Section { return []output.Section{{Lines: []string{string(s)}}} }

// look reads how the runs stand. A Meta DB that somebody else holds just now is
// looked at again later.
func (w *watcher) look(ctx context.Context) error {
	runs, err := w.runs(ctx)
	if err == nil {
		err = w.describe(ctx, runs)
	}
	w.late = ""
	if errors.Is(err, quant.Locked) && w.seen != nil {
		w.late, err = "the Meta DB is locked; as of "+second(w.seen[0].At), nil
	}
	return err
}

// maxRunning is how many running runs a watch shows at most.
const maxRunning = 100

func (w *watcher) runs(ctx context.Context) ([]metastore.RunDetail, error) {
	if w.env.Registry != nil {
		if _, err := w.env.Registry.Reconcile(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, quant.Locked) {
			return nil, err
		}
	}
	if len(w.named) > 0 {
		return w.meta.RunsOf(ctx, w.named)
	}
	f := metastore.RunFilter{All: w.all, Status: quant.Running, Except: w.self, Brief: true, Limit: maxRunning}
	runs, err := w.meta.ListRuns(ctx, f)
	if err != nil {
		return nil, err
	}
	f.Status, f.Limit = "", w.limit
	newest, err := w.meta.ListRuns(ctx, f)
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, r := range runs {
		has[r.RunID] = true
	}
	var ended []string
	for _, r := range w.seen { // what ran a moment ago is told to have ended
		if r.Status == quant.Running && !has[r.RunID] {
			ended = append(ended, r.RunID)
		}
	}
	for _, id := range ended {
		r, err := w.meta.GetRun(ctx, id)
		if errors.Is(err, quant.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		runs, has[id] = append(runs, r), true
	}
	for _, r := range newest {
		if !has[r.RunID] {
			runs = append(runs, r)
		}
	}
	return runs, nil
}

func (w *watcher) describe(ctx context.Context, runs []metastore.RunDetail) error {
	ids := make([]string, len(runs))
	for i, r := range runs {
		ids[i] = r.RunID
	}
	names, err := w.meta.NamesOf(ctx, ids)
	if err != nil {
		return err
	}
	metrics, err := w.meta.MetricsOf(ctx, ids)
	if err != nil {
		return err
	}
	of := map[string][]watchedMetric{}
	for _, m := range metrics {
		of[m.RunID] = append(of[m.RunID], watchedMetric{m.Name, m.LastStep, m.Last})
	}
	now := quant.NewTime(w.env.Now())
	w.seen = []watchedRun{}
	for _, r := range runs {
		one := watchedRun{
			At: now, RunID: r.RunID, Kind: r.Kind, Name: quant.Text(names[r.RunID]), Status: r.Status,
			ErrorText: r.ErrorText, Metrics: append([]watchedMetric{}, of[r.RunID]...),
		}
		switch {
		case r.Process.DurationUS != nil:
			one.ElapsedUS = *r.Process.DurationUS
		case r.Status == quant.Running:
			one.ElapsedUS = max(now.Sub(r.StartedAt.Time).Microseconds(), 0)
		default:
			one.ElapsedUS = max(r.EndedAt.Sub(r.StartedAt.Time).Microseconds(), 0)
		}
		w.seen = append(w.seen, one)
	}
	return nil
}
