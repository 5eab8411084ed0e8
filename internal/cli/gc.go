package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/lab"
	"quant/internal/output"
)

// gcReport is what gc found, and, with --yes, removed.
type gcReport struct {
	Removed bool        `json:"removed"` // false: a dry run
	Before  quant.Time  `json:"before"`  // what is younger stays
	Found   []lab.Count `json:"found"`
	// RowsPerSecond is how fast reading runs went; null without any.
	RowsPerSecond *float64 `json:"rows_per_second"`
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

func gcCommand(env *Env) Command {
	var yes, reads bool
	var older, minAge time.Duration
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove contents of artifacts and logs that no run refers to",
		Long: `Remove what nothing refers to: contents of artifacts and logs whose runs were
purged, and what processes that were killed left behind, also beside a file
outside the lab that a run was making. Without --yes it only
shows what would go. What is younger than --min-age, or than the oldest run that
is RUNNING, stays: a run stores a content before it says so. While a Meta DB
stands beside the lab's that was moved aside and not wholly taken over, all
artifacts and logs stay: they may be of its runs.

--reads also clears reading runs that ended more than --older-than ago, and only
those: runs that could change nothing, have no params, metrics, tags, notes or
artifacts, are the parent of no run, and did not come from another lab.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("older-than") && !reads {
				return quant.Errorf(quant.Usage, "--older-than goes with --reads")
			}
			done, err := env.Collect(cmd.Context(), env.RunID(), lab.CollectOptions{MinAge: minAge, Remove: yes, Reads: reads, ReadsBefore: env.Now().Add(-older)})
			env.Record(done.IO...)
			if yes && err == nil {
				env.KeepReserve()
			}
			for _, held := range done.Held {
				env.Warn("no artifact and no log is taken for nobody's: %s was moved aside, and not all of it was taken over; quant doctor says more", env.Mask.Text(held))
			}
			if err != nil {
				for _, gone := range done.Found {
					if yes && gone.Count > 0 && gone.Kind != lab.ReadingRun {
						env.Notice("%s removed before it failed", quant.Count(int(gone.Count), string(gone.Kind)))
					}
				}
				return err
			}
			return env.Print(gcReport{Removed: yes, Before: quant.NewTime(done.Before), Found: done.Found, RowsPerSecond: done.ReadsPerSecond})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&yes, "yes", false, "remove it, instead of showing what would go")
	f.Bool("dry-run", true, "show what would go (the default)")
	f.Var(newDuration(&minAge, lab.MinAge), "min-age", "leave what is younger; at least 1h")
	f.BoolVar(&reads, "reads", false, "also clear old reading runs")
	f.Var(newDuration(&older, 90*24*time.Hour), "older-than", "with --reads: those that ended so long ago")
	cmd.MarkFlagsMutuallyExclusive("yes", "dry-run")
	return Command{Command: cmd, Traits: Traits{Changes: always, MakesRoom: func(l Line) bool { return l.Flags["yes"] == "true" }}}
}
