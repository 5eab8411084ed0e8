package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/runs"
)

type runChanges []runs.Change

func (c runChanges) Sections() []output.Section {
	rows := []struct {
		Run    string     `json:"run"`
		Kind   string     `json:"kind"`
		Change string     `json:"change"`
		Reason quant.Text `json:"reason"`
	}{}
	for _, r := range c {
		rows = append(rows, struct {
			Run    string     `json:"run"`
			Kind   string     `json:"kind"`
			Change string     `json:"change"`
			Reason quant.Text `json:"reason"`
		}{quant.ShortID(r.RunID), r.Kind, r.Change, r.Reason})
	}
	return []output.Section{{Rows: rows}}
}

func runsDelete(env *Env) Command {
	var children bool
	cmd := &cobra.Command{
		Use:   "delete RUN...",
		Short: "Delete runs, so that lists leave them out; restore undoes it",
		Long: `Delete runs, all or none: lists, "last" and "@NAME" leave them out from then on.
Nothing is lost: their rows stay, ` + "`quant runs list --deleted`" + ` shows them, and
` + "`quant runs restore`" + ` brings them back. A run that is RUNNING is not deleted.`,
		Args: wantArgs(1, -1, "at least one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := runs.Delete(cmd.Context(), env.Session, args, children)
			if err != nil {
				return err
			}
			return env.Print(runChanges(changes))
		},
	}
	cmd.Flags().BoolVar(&children, "children", false, "also the runs that ran inside of them")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func runsRestore(env *Env) Command {
	var children bool
	cmd := &cobra.Command{
		Use:   "restore RUN...",
		Short: "Bring deleted runs back",
		Long: `Bring deleted runs back, all or none. (A whole lab comes back from a backup with
` + "`quant restore FILE`" + `.)`,
		Args: wantArgs(1, -1, "at least one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := runs.Restore(cmd.Context(), env.Session, args, children)
			if err != nil {
				return err
			}
			return env.Print(runChanges(changes))
		},
	}
	cmd.Flags().BoolVar(&children, "children", false, "also the runs that ran inside of them")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func runsPurge(env *Env) Command {
	var deleted, children, yes bool
	var older time.Duration
	cmd := &cobra.Command{
		Use:   "purge {RUN... | --deleted}",
		Short: "Remove deleted runs for good",
		Long: `Remove deleted runs for good, with all that is recorded of them; contents of
artifacts and logs are left to ` + "`quant gc`" + `. A run that committed facts or made a
model that is there is refused, as every number leads back to its run, and so is
one that another run has as its parent. Named runs go all or none; of --deleted,
those that are refused are kept and shown.`,
		Args: wantArgs(0, -1, "runs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			switch {
			case deleted == (len(args) > 0):
				return quant.Errorf(quant.Usage, "name the runs, or give --deleted for all that are").
					WithHint("`quant runs list --deleted` shows them")
			case older > 0 && !deleted:
				return quant.Errorf(quant.Usage, "--older-than goes with --deleted")
			case children && deleted:
				return quant.Errorf(quant.Usage, "--children goes with named runs; --deleted takes all that are deleted")
			}
			confirm := func(ctx context.Context, n int) error {
				return env.confirm(ctx, yes, "purging removes "+quant.Count(n, "run")+" for good",
					fmt.Sprintf("This removes %s for good, with all that is recorded of them.", quant.Count(n, "run")), "give --yes as well")
			}
			purge := func() ([]runs.Change, error) { return runs.Purge(ctx, env.Session, args, children, confirm) }
			if deleted {
				purge = func() ([]runs.Change, error) { return runs.PurgeDeleted(ctx, env.Session, older, confirm) }
			}
			changes, err := purge()
			if err != nil {
				return err
			}
			kept := 0
			for _, c := range changes {
				if c.Change != runs.Purged {
					kept++
				}
			}
			if kept > 0 {
				env.Notice("%s stay deleted and were not purged: facts, models or other runs name them", quant.Count(kept, "run"))
			}
			return env.Print(runChanges(changes))
		},
	}
	cmd.Flags().BoolVar(&deleted, "deleted", false, "all deleted runs that can go")
	cmd.Flags().Var(newDuration(&older, 0), "older-than", "with --deleted: only those deleted so long ago, such as 30d")
	cmd.Flags().BoolVar(&children, "children", false, "also the runs that ran inside of them")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}
