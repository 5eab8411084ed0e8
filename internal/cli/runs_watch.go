package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
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
			if w.Limit < 1 {
				return quant.Errorf(quant.Usage, "--limit %d is less than 1", w.Limit)
			}
			if len(args) > runs.MaxCompared {
				return quant.Errorf(quant.Usage, "%d runs are more than the %d that can be watched", len(args), runs.MaxCompared)
			}
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			if w.Named, err = env.ResolveAll(cmd.Context(), args); err != nil {
				return err
			}
			if env.Run != nil {
				w.Self = env.Run.ID
			}
			if slices.Contains(w.Named, w.Self) {
				return quant.Errorf(quant.Usage, "run %s is this watch itself: it would never end", quant.ShortID(w.Self))
			}
			w.Meta, w.Registry, w.Now = meta, env.Registry, env.Now
			if err := w.show(cmd.Context()); err != nil {
				return err
			}
			return w.Err()
		},
	}
	cmd.Flags().Var(newDuration(&w.every, time.Second), "every", "how often to look, at least 100ms")
	cmd.Flags().IntVar(&w.Limit, "limit", 10, "how many of the newest runs, beside those that run")
	cmd.Flags().BoolVar(&w.All, "all", false, "also the runs that only read")
	return Command{Command: cmd}
}

// watcher shows a watch.
type watcher struct {
	runs.Watch
	env   *Env
	every time.Duration
}

// watchedRun is a run at one moment, in the result of runs watch.
type watchedRun runs.Watched

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
	return quant.Clip(quant.FirstLine(string(r.ErrorText)), 80)
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

// show shows the watch until there is nothing left to wait for, somebody leaves,
// or ctx ends.
func (w *watcher) show(ctx context.Context) (err error) {
	if err := w.Look(ctx); err != nil {
		return err
	}
	if w.env.Format == output.Table {
		screen, err := w.env.OpenScreen()
		if err != nil {
			return quant.Errorf(quant.Failed, "take the terminal: %w", err).WithHint("quant runs watch | cat prints a line a change")
		}
		if screen != nil {
			return w.draw(ctx, screen)
		}
	}
	out := output.NewStream(w.env.Printer, watchedRun.line)
	defer func() {
		if closing := out.Close(); err == nil {
			err = closing
		}
	}()
	return w.Follow(ctx, w.every, func(r runs.Watched) error { return out.Add(ctx, watchedRun(r)) })
}

// draw keeps a table on a terminal up to date, and leaves its last state on the
// screen that was there before.
func (w *watcher) draw(ctx context.Context, screen *output.Screen) error {
	ticks := time.NewTicker(w.every)
	defer ticks.Stop()
	watch := func() error {
		for {
			if err := screen.Draw(ctx, w.lines(screen)); err != nil {
				return err
			}
			if w.Ended() {
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
			case <-ticks.C:
			}
			if err := w.Look(ctx); err != nil {
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

type watchTable []runs.Watched

func (t watchTable) Sections() []output.Section {
	g := output.Grid{Columns: []string{"RUN", "STATUS", "KIND", "NAME", "TIME", "METRICS"}, Numbers: []bool{4: true}}
	for _, watched := range t {
		r := watchedRun(watched)
		text := r.metricsText()
		if r.Status == quant.Fail {
			text = strings.TrimSpace(text + "  " + r.firstLine())
		}
		g.Cells = append(g.Cells, []string{quant.ShortID(r.RunID), string(r.Status), r.Kind, quant.Clip(string(r.Name), 24), r.elapsed(), text})
	}
	return []output.Section{{Rows: g}}
}

func (w *watcher) table() watchTable { return w.Runs() }

// lines is what the terminal shows now.
func (w *watcher) lines(screen *output.Screen) []string {
	width, height := screen.Size()
	running := 0
	for _, r := range w.Runs() {
		if r.Status == quant.Running {
			running++
		}
	}
	foot := fmt.Sprintf("%s  %d running, every %s, q leaves", second(quant.NewTime(w.env.Now())), running, w.every)
	if asOf, stale := w.Stale(); stale {
		foot += "  (the Meta DB is locked; as of " + second(asOf) + ")"
	}
	lines := w.env.Screen(w.table(), width)
	if room := max(height-2, 1); len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1:room-1], w.env.Screen(textLine(fmt.Sprintf("... and %d more", more)), width)...)
	}
	return append(append(lines, ""), w.env.Screen(textLine(foot), width)...)
}

// textLine is a line of text as a result.
type textLine string

func (t textLine) Sections() []output.Section {
	return []output.Section{{Lines: []string{string(t)}}}
}
