package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
	"quant/internal/runs"
)

func runsCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "runs",
			Short: "See, search, compare, repeat and carry what has run",
			Long: `See what has run. A run is named by its whole id, by a unique beginning or
ending of it (at least 4 digits; lists show the last 8), by "last": the newest
run, other than the present one, that ` + "`quant runs list`" + ` would show, by
last:KIND: the newest run of a kind, or by @NAME: the newest run of that name.`,
		},
		Sub: []Command{
			runsList(env),
			runsSearch(env),
			runsShow(env),
			runsLogs(env),
			runsCompare(env),
			runsDiff(env),
			runsWatch(env),
			runsStats(env),
			runsPlot(env),
			runsArtifact(env),
			runsRerun(env),
			runsClose(env),
			runsStop(env),
			runsDelete(env),
			runsRestore(env),
			runsPurge(env),
			runsExport(env),
			runsImport(env),
		},
	}
}

// runList is runs as lists show them.
type runList []runs.Row

// shortRun is a run as a person's table has it.
type shortRun struct {
	Run     string       `json:"run"`
	Kind    string       `json:"kind"`
	Status  quant.Status `json:"status"`
	Started string       `json:"started"`
	Took    string       `json:"took"`
	Error   string       `json:"error"`
}

func (l runList) Sections() []output.Section {
	rows := []shortRun{}
	for _, r := range l {
		first := quant.Clip(quant.FirstLine(string(r.ErrorText)), 60)
		rows = append(rows, shortRun{
			Run: quant.ShortID(r.RunID), Kind: r.Kind, Status: r.Status,
			Started: r.StartedAt.UTC().Format("2006-01-02 15:04:05Z"), Took: quant.Micros(r.DurationUS), Error: first,
		})
	}
	return []output.Section{{Rows: rows}}
}

func runsList(env *Env) Command {
	var kind, status, since string
	var limit int
	var all, deleted bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the runs, newest first",
		Long: `List the runs that may change something, newest first; --all also lists those
that only read. --since takes a duration (2h, 7d), a date (2026-01-31, UTC) or a
time (2026-01-31T09:30:00Z).`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Who names a kind wants its runs, also where they only read.
			f := metastore.RunFilter{All: all || deleted || kind != "", Kind: kind, Deleted: deleted}
			switch quant.Status(strings.ToUpper(status)) {
			case "", quant.Running, quant.Success, quant.Fail:
				f.Status = quant.Status(strings.ToUpper(status))
			default:
				return quant.Errorf(quant.Usage, "status %q is not known", status).WithHint("use RUNNING, SUCCESS or FAIL")
			}
			var err error
			if f.Since, err = parseSince(since, env.Now()); err != nil {
				return err
			}
			if limit < 0 {
				return quant.Errorf(quant.Usage, "--limit %d is negative", limit).WithHint("--limit 0 shows all")
			}
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			list, more, err := runs.List(cmd.Context(), meta, f, limit)
			if err != nil {
				return err
			}
			if more {
				env.Notice("only the newest %d runs are shown; there are more (--limit 0 shows all)", limit)
			}
			return env.Print(runList(list))
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only this kind, such as ingest or symbols.add (also one that only reads)")
	cmd.Flags().StringVar(&status, "status", "", "only RUNNING, SUCCESS or FAIL")
	cmd.Flags().StringVar(&since, "since", "", "only runs started since then")
	cmd.Flags().IntVar(&limit, "limit", 30, "at most so many (0: all)")
	cmd.Flags().BoolVar(&all, "all", false, "also the runs that only read")
	cmd.Flags().BoolVar(&deleted, "deleted", false, "the deleted runs, which are left out otherwise")
	return Command{Command: cmd}
}

func parseSince(s string, now time.Time) (quant.Time, error) {
	if s == "" {
		return quant.Time{}, nil
	}
	if d, err := parseDuration(s); err == nil {
		return quant.NewTime(now.Add(-d)), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil {
			return quant.NewTime(t), nil
		}
	}
	return quant.Time{}, quant.Errorf(quant.Usage, "--since %q is neither a duration nor a date", s).
		WithHint("write 2h, 7d, 2026-01-31 or 2026-01-31T09:30:00Z")
}

func runsClose(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "close RUN",
			Short: "End a RUNNING run by hand, as FAIL",
			Long: `End by hand, as FAIL, a RUNNING run whose process cannot be judged from here:
one that another host started and that is known to be dead. A run whose process
lives on this host is refused.`,
			Args: wantArgs(1, 1, "one run"),
			RunE: func(cmd *cobra.Command, args []string) error {
				ctx := cmd.Context()
				meta, err := env.MetaDB()
				if err != nil {
					return err
				}
				id, err := env.Resolve(ctx, args[0])
				if err != nil {
					return err
				}
				run, err := meta.GetRun(ctx, id)
				if err != nil {
					return err
				}
				if run.Status != quant.Running {
					return quant.Errorf(quant.Conflict, "run %s has ended already: %s", id, run.Status)
				}
				if id == env.Run.ID || env.Registry.Judge(ctx, run) == liveness.Alive {
					return quant.Errorf(quant.Conflict, "run %s (%s) still lives: process %d", id, run.Kind, run.Process.PID).
						WithHint("end the process first, with: kill %d", run.Process.PID)
				}
				cause := registry.FailedWith(quant.Errorf(quant.Failed, "closed by hand in run %s", env.Run.ID), quant.FactsNotChecked)
				if err := env.Registry.Fail(ctx, id, cause); err != nil {
					return err
				}
				if run, err = meta.GetRun(ctx, id); err != nil {
					return err
				}
				return env.Print(runList{runs.NewRow(run)})
			},
		},
		Traits: Traits{Changes: always},
	}
}
