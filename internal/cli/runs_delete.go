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
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/output"
)

// runChange is what became of a run.
type runChange struct {
	RunID  string     `json:"run_id"`
	Kind   string     `json:"kind"`
	Change string     `json:"change"` // deleted, restored, purged, unchanged or kept
	Reason quant.Text `json:"reason"` // for kept
}

type runChanges []runChange

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
			ctx := cmd.Context()
			meta, runs, err := env.namedRuns(ctx, args, children)
			if err != nil {
				return err
			}
			now := quant.NewTime(env.Now())
			var list []quant.Deletion
			for _, run := range runs {
				list = append(list, quant.Deletion{RunID: run.RunID, DeletedAt: now, ByRunID: quant.Text(env.Run.ID)})
			}
			marked, err := meta.DeleteRuns(ctx, list)
			if err != nil {
				return err
			}
			return env.Print(env.changed("run_deletions", "deleted", runs, marked))
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
			ctx := cmd.Context()
			meta, runs, err := env.namedRuns(ctx, args, children)
			if err != nil {
				return err
			}
			restored, err := meta.RestoreRuns(ctx, ids(runs))
			if err != nil {
				return err
			}
			return env.Print(env.changed("run_deletions", "restored", runs, restored))
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
			if deleted {
				return env.purgeDeleted(ctx, older, yes)
			}
			meta, runs, err := env.namedRuns(ctx, args, children)
			if err != nil {
				return err
			}
			naming, err := env.namingRuns(ctx, ids(runs))
			if err != nil {
				return err
			}
			for _, run := range runs {
				if err := hasFacts(run.RunID, naming); err != nil {
					return err
				}
			}
			if err := env.confirmPurge(ctx, len(runs), yes); err != nil {
				return err
			}
			if err := meta.PurgeRuns(ctx, ids(runs)); err != nil {
				return err
			}
			return env.Print(env.changed("runs", "purged", runs, ids(runs)))
		},
	}
	cmd.Flags().BoolVar(&deleted, "deleted", false, "all deleted runs that can go")
	cmd.Flags().Var(newDuration(&older, 0), "older-than", "with --deleted: only those deleted so long ago, such as 30d")
	cmd.Flags().BoolVar(&children, "children", false, "also the runs that ran inside of them")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func (e *Env) confirmPurge(ctx context.Context, n int, yes bool) error {
	return e.confirm(ctx, yes, "purging removes "+quant.Count(n, "run")+" for good",
		fmt.Sprintf("This removes %s for good, with all that is recorded of them.", quant.Count(n, "run")), "give --yes as well")
}

// purgeDeleted purges those deleted runs that can go, children before their
// parents.
func (e *Env) purgeDeleted(ctx context.Context, older time.Duration, yes bool) error {
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	before := quant.Time{}
	if older > 0 {
		before = quant.NewTime(e.Now().Add(-older))
	}
	deletions, err := meta.Deletions(ctx, before)
	if err != nil {
		return err
	}
	var runs []metastore.RunDetail
	for _, d := range deletions {
		run, err := meta.GetRun(ctx, d.RunID)
		if errors.Is(err, quant.NotFound) {
			continue // purged meanwhile
		}
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	slices.SortFunc(runs, func(a, b metastore.RunDetail) int { return strings.Compare(b.RunID, a.RunID) })
	changes := runChanges{}
	if len(runs) == 0 {
		return e.Print(changes)
	}
	naming, err := e.namingRuns(ctx, ids(runs))
	if err != nil {
		return err
	}
	if err := e.confirmPurge(ctx, len(runs), yes); err != nil {
		return err
	}
	purged := int64(0)
	defer func() { e.recordMeta("runs", purged) }()
	for _, run := range runs {
		change := runChange{RunID: run.RunID, Kind: run.Kind, Change: "purged"}
		err := hasFacts(run.RunID, naming)
		if err == nil {
			err = meta.PurgeRuns(ctx, []string{run.RunID})
		}
		switch {
		case err == nil:
			purged++
		case errors.Is(err, quant.Refused):
			change.Change, change.Reason = "kept", quant.Text(err.Error())
		case errors.Is(err, quant.NotFound), errors.Is(err, quant.Conflict): // purged or restored meanwhile
			change.Change, change.Reason = "unchanged", quant.Text(err.Error())
		default:
			return err
		}
		changes = append(changes, change)
	}
	if kept := len(runs) - int(purged); kept > 0 {
		e.Notice("%s stay deleted and were not purged: facts, models or other runs name them", quant.Count(kept, "run"))
	}
	return e.Print(changes)
}

// namedRuns returns the runs that the references name, each once, with those
// that ran inside of them on request.
func (e *Env) namedRuns(ctx context.Context, refs []string, children bool) (metastore.Store, []metastore.RunDetail, error) {
	meta, err := e.MetaDB()
	if err != nil {
		return nil, nil, err
	}
	var runs []metastore.RunDetail
	seen := map[string]bool{}
	add := func(run metastore.RunDetail) {
		if !seen[run.RunID] {
			seen[run.RunID] = true
			runs = append(runs, run)
		}
	}
	for _, ref := range refs {
		id, err := e.Resolve(ctx, ref)
		if err != nil {
			return nil, nil, err
		}
		if id == e.Run.ID {
			return nil, nil, quant.Errorf(quant.Conflict, "run %s is this very command", id).WithHint("name another run")
		}
		run, err := meta.GetRun(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		add(run)
	}
	for at := 0; children && at < len(runs); at++ {
		for _, deleted := range []bool{false, true} {
			inside, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Parent: runs[at].RunID, Deleted: deleted, Brief: true, Except: e.Run.ID})
			if err != nil {
				return nil, nil, err
			}
			for _, run := range inside {
				add(run)
			}
		}
	}
	return meta, runs, nil
}

// namingRuns asks the Fact DB which of the runs its tables name.
func (e *Env) namingRuns(ctx context.Context, runIDs []string) (map[string][]string, error) {
	if !e.HasFactDB() {
		return nil, nil
	}
	var naming map[string][]string
	err := e.ReadFacts(ctx, func(db *factstore.DB) (err error) {
		naming, err = db.NamingRuns(ctx, runIDs)
		return err
	})
	return naming, err
}

func hasFacts(runID string, naming map[string][]string) error {
	if len(naming[runID]) == 0 {
		return nil
	}
	return quant.Errorf(quant.Refused, "run %s is named by facts (%s), and every number leads back to its run", runID, strings.Join(naming[runID], ", ")).
		WithHint("leave it deleted: lists do not show it")
}

func ids(runs []metastore.RunDetail) []string {
	list := make([]string, len(runs))
	for i, run := range runs {
		list[i] = run.RunID
	}
	return list
}

// changed records and returns what became of runs of which some were changed.
func (e *Env) changed(table, change string, runs []metastore.RunDetail, which []string) runChanges {
	e.recordMeta(table, int64(len(which)))
	done := make(map[string]bool, len(which))
	for _, id := range which {
		done[id] = true
	}
	list := runChanges{}
	for _, run := range runs {
		c := runChange{RunID: run.RunID, Kind: run.Kind, Change: "unchanged"}
		if done[run.RunID] {
			c.Change = change
		}
		list = append(list, c)
	}
	return list
}

// recordMeta notes how many rows of a table of the Meta DB this run changed.
func (e *Env) recordMeta(table string, rows int64) {
	if rows > 0 {
		e.record(quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: table, Rows: &rows})
	}
}
