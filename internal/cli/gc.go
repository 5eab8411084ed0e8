package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/durable"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/output"
)

// gcReport is what gc found, and, with --yes, removed.
type gcReport struct {
	Removed bool       `json:"removed"` // false: a dry run
	Before  quant.Time `json:"before"`  // what is younger stays
	Found   []gcRow    `json:"found"`
	// RowsPerSecond is how fast reading runs went; null without any.
	RowsPerSecond *float64 `json:"rows_per_second"`
}

type gcRow struct {
	Kind  lab.Kind `json:"kind"`
	Count int64    `json:"count"`
	Bytes int64    `json:"bytes"`
}

func (r gcReport) CSVRows() any { return r.Found }

func (r gcReport) Sections() []output.Section {
	last := "a dry run: nothing was removed; --yes does it"
	if r.Removed {
		last = "removed"
	}
	if r.RowsPerSecond != nil {
		last += fmt.Sprintf("; %.0f reading runs a second", *r.RowsPerSecond)
	}
	return []output.Section{{Rows: r.Found}, {Lines: []string{last}}}
}

// readingRun is garbage only where it is asked for.
const readingRun lab.Kind = "reading run"

func gcCommand(env *Env) Command {
	var yes, reads bool
	var older, minAge time.Duration
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove contents of artifacts and logs that no run refers to",
		Long: `Remove what nothing refers to: contents of artifacts and logs whose runs were
purged, and what processes that were killed left behind. Without --yes it only
shows what would go. What is younger than --min-age, or than the oldest run that
is RUNNING, stays: a run stores a content before it says so.

--reads also clears reading runs that ended more than --older-than ago, and only
those: runs that could change nothing, have no params, metrics, tags, notes or
artifacts, are the parent of no run, and did not come from another lab.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if cmd.Flags().Changed("older-than") && !reads {
				return quant.Errorf(quant.Usage, "--older-than goes with --reads")
			}
			if minAge < lab.MinAge {
				return quant.Errorf(quant.Usage, "--min-age %s is less than %s", minAge, lab.MinAge).
					WithHint("what is that young may belong to a run that has yet to say so")
			}
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			before, err := lab.Before(ctx, meta, env.Now(), minAge, env.Run.ID)
			if err != nil {
				return err
			}
			report := gcReport{Removed: yes, Before: quant.NewTime(before)}
			if reads {
				if err := env.clearReads(ctx, quant.NewTime(env.Now().Add(-older)), yes, &report); err != nil {
					return err
				}
			}
			if err := env.collect(ctx, env.yard(before), yes, &report); err != nil {
				return err
			}
			return env.Print(report)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&yes, "yes", false, "remove it, instead of showing what would go")
	f.Bool("dry-run", true, "show what would go (the default)")
	f.Var(newDuration(&minAge, lab.MinAge), "min-age", "leave what is younger; at least 1h")
	f.BoolVar(&reads, "reads", false, "also clear old reading runs")
	f.Var(newDuration(&older, 90*24*time.Hour), "older-than", "with --reads: those that ended so long ago")
	cmd.MarkFlagsMutuallyExclusive("yes", "dry-run")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// yard is where this lab keeps what may become garbage.
func (e *Env) yard(before time.Time) lab.Yard {
	leftovers := map[string][]string{}
	add := func(dir string, patterns ...string) {
		leftovers[filepath.Clean(dir)] = append(leftovers[filepath.Clean(dir)], patterns...)
	}
	add(e.ScratchDir(), place.Repetition+"*", place.Checkout+"*")
	// Where files of the lab are made; the other patterns are of former versions.
	for _, dir := range []string{e.ScratchDir(), e.ModelDir(), e.LogDir(), filepath.Dir(e.MetaFile()), filepath.Dir(e.FactPath)} {
		add(dir, durable.TemporaryPattern)
	}
	add(e.ModelDir(), ".model-*")
	add(e.LogDir(), ".import-*")
	// A restore that had begun to move things has been finished by now.
	for _, path := range []string{e.MetaFile(), e.Settings.Value(config.DuckDBPath), e.ModelDir(), e.RunDir()} {
		add(filepath.Dir(path), place.Literal(filepath.Base(path))+"*"+place.Staging+"*")
	}
	add(filepath.Dir(e.MetaFile()), ".quant-backup-*", place.Literal(filepath.Base(e.MetaFile()))+".salvage-*")
	return lab.Yard{Meta: e.Meta, Artifacts: e.Artifacts(), RunDirs: []string{e.LogDir(), e.RunDir()}, Before: before, Leftovers: leftovers}
}

// collect finds, and on request removes, what nothing refers to. What was
// removed before an error is said.
func (e *Env) collect(ctx context.Context, yard lab.Yard, yes bool, report *gcReport) error {
	rows := map[lab.Kind]*gcRow{}
	for _, kind := range []lab.Kind{lab.Artifact, lab.Log, lab.Leftover} {
		rows[kind] = &gcRow{Kind: kind}
	}
	err := yard.Find(ctx, func(g lab.Garbage) error {
		if yes {
			if gone, err := yard.Remove(ctx, g); err != nil || !gone {
				return err
			}
		}
		rows[g.Kind].Count++
		rows[g.Kind].Bytes += g.Bytes
		return nil
	})
	for _, kind := range []lab.Kind{lab.Artifact, lab.Log, lab.Leftover} {
		report.Found = append(report.Found, *rows[kind])
		if n := rows[kind].Count; yes && n > 0 {
			e.record(quant.RunIO{Direction: quant.Out, Kind: quant.IORemoved, Name: string(kind), Rows: &n})
			if err != nil {
				e.Notice("%s removed before it failed", quant.Count(int(n), string(kind)))
			}
		}
	}
	return err
}

// readsAtOnce is how many runs one commit looks at: few enough that nobody
// waits long for the Meta DB.
const readsAtOnce = 2000

// clearReads counts, and on request clears, old reading runs.
func (e *Env) clearReads(ctx context.Context, before quant.Time, yes bool, report *gcReport) error {
	if !yes {
		n, err := e.Meta.CountReads(ctx, before)
		report.Found = append(report.Found, gcRow{Kind: readingRun, Count: n})
		return err
	}
	begun, total := time.Now(), int64(0)
	defer func() { e.recordMeta("runs", total) }()
	for after := ""; ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		gone, next, err := e.Meta.ClearReads(ctx, before, after, readsAtOnce)
		if err != nil {
			return err
		}
		total += gone
		if after = next; next == "" {
			break
		}
	}
	report.Found = append(report.Found, gcRow{Kind: readingRun, Count: total})
	if total > 0 {
		report.RowsPerSecond = ptr(float64(total) / max(time.Since(begun).Seconds(), 1e-6))
	}
	return nil
}
