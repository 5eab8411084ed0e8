package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/lab"
	"quant/internal/lab/archive"
	"quant/internal/metastore"
	"quant/internal/output"
)

// labReport says where the lab's two databases are and what they hold.
type labReport struct {
	RunID   string         `json:"run_id"`
	MetaDB  storeReport    `json:"meta_db"`
	FactDB  storeReport    `json:"fact_db"`
	Backups []archive.Copy `json:"backups"`
}

type storeReport struct {
	Path   string                 `json:"path"`
	Change lab.Change             `json:"change"` // created, upgraded, reset or unchanged
	Tables []metastore.TableCount `json:"tables"`
}

func (r labReport) Sections() []output.Section {
	sections := []output.Section{
		{Title: fmt.Sprintf("Meta DB  %s  (%s)", r.MetaDB.Path, r.MetaDB.Change), Rows: r.MetaDB.Tables},
		{Title: fmt.Sprintf("Fact DB  %s  (%s)", r.FactDB.Path, r.FactDB.Change), Rows: r.FactDB.Tables},
	}
	if len(r.Backups) > 0 {
		sections = append(sections, output.Section{Title: "backups", Rows: r.Backups})
	}
	return append(sections, output.Section{Lines: []string{"run_id  " + r.RunID}})
}

// tableRow is one table of either database, for CSV.
type tableRow struct {
	Store  string     `json:"store"`
	Path   string     `json:"path"`
	Change lab.Change `json:"change"`
	Table  string     `json:"table"`
	Rows   int64      `json:"rows"`
}

func (r labReport) CSVRows() any {
	rows := []tableRow{}
	for _, s := range []struct {
		name string
		storeReport
	}{{"meta", r.MetaDB}, {"fact", r.FactDB}} {
		for _, t := range s.Tables {
			rows = append(rows, tableRow{s.name, s.Path, s.Change, t.Table, t.Rows})
		}
	}
	return rows
}

func initDBCommand(env *Env) Command {
	var reset, yes bool
	cmd := &cobra.Command{
		Use:   "init-db",
		Short: "Create both databases, or bring them up to date",
		Long: `Create both databases, or bring them up to date; run again, it changes nothing
and says so. --reset makes them anew, after a backup of both and a confirmation;
what has run is carried over. A database that cannot be opened is moved aside,
never deleted. A Meta DB on a server (QUANT_META_URL) is prepared and brought up to
date by this command alone; --reset is not for it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if yes && !reset {
				return quant.Errorf(quant.Usage, "--yes goes with --reset")
			}
			report := labReport{RunID: env.RunID(), Backups: []archive.Copy{}}
			if reset {
				if err := env.InFiles("make the lab anew"); err != nil {
					return err
				}
				if err := confirmReset(ctx, env, yes); err != nil {
					return err
				}
				done, err := archive.Anew(ctx, env.Facts())
				env.Record(done.IO...)
				for _, table := range sortedKeys(done.Lost) {
					if lost := done.Lost[table]; lost > 0 {
						env.Notice("%d rows of %s could not be carried over; the backup has them", lost, table)
					}
				}
				if err != nil {
					return err
				}
				for _, c := range done.Copies {
					c.Path = env.Mask.Text(c.Path)
					report.Backups = append(report.Backups, c)
				}
			}
			made, err := env.Facts().Make(ctx)
			if err != nil {
				return err
			}
			report.MetaDB = storeReport{Path: env.Mask.Text(env.ShownMeta()), Change: env.Opening.Meta}
			report.FactDB = storeReport{Path: env.Mask.Text(env.ShownFacts()), Change: made.Change, Tables: made.Tables}
			if report.MetaDB.Tables, err = env.Meta.Tables(ctx); err != nil {
				return err
			}
			if reset {
				report.MetaDB.Change, report.FactDB.Change = wasReset, wasReset
			}
			if report.MetaDB.Change == lab.Unchanged && report.FactDB.Change == lab.Unchanged {
				env.Notice("both databases are up to date: nothing changed")
			}
			return env.Print(report)
		},
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "drop everything but the runs and make both databases anew, after a backup")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --reset: do not ask")
	return Command{Command: cmd, Traits: Traits{Changes: always, Remedy: withFlag("reset"), Prepares: always}}
}

// wasReset is the change of a database that was made anew.
const wasReset lab.Change = "reset"

// confirmReset asks, where somebody can be asked; elsewhere --yes must be given.
func confirmReset(ctx context.Context, env *Env, yes bool) error {
	return env.confirm(ctx, yes, "--reset drops every symbol, experiment, model and fact",
		fmt.Sprintf("This drops every symbol, experiment, model and fact in\n  %s\n  %s\nBoth are backed up first, and the runs are kept.",
			env.ShownMeta(), env.ShownFacts()),
		"give --yes as well; both databases are backed up first")
}
