package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/lab/archive"
	"quant/internal/output"
)

// backupReport says what is in a backup.
type backupReport struct {
	Path      string     `json:"path"`
	Bytes     int64      `json:"bytes"`
	TakenAt   quant.Time `json:"taken_at"`
	Quant     string     `json:"quant"`
	Members   int64      `json:"members"`
	Artifacts int64      `json:"artifacts"`
	Logs      int64      `json:"logs"`
	Models    int64      `json:"models"`
	FactDB    bool       `json:"fact_db"`
	Missing   []string   `json:"missing_artifacts"`
}

func newBackupReport(env *Env, path string, b archive.Backup) backupReport {
	held := b.Contents()
	r := backupReport{
		Path: env.Mask.Text(path), Bytes: b.Bytes, TakenAt: b.TakenAt, Quant: b.Quant, Members: int64(len(b.Members)),
		Artifacts: held.Artifacts, Logs: held.Logs, Models: held.Models, FactDB: held.FactDB, Missing: b.Missing,
	}
	if r.Missing == nil {
		r.Missing = []string{}
	}
	return r
}

func (r backupReport) Sections() []output.Section {
	facts := "no Fact DB"
	if r.FactDB {
		facts = "the Fact DB"
	}
	return []output.Section{{Lines: []string{
		fmt.Sprintf("%s  %.1f MiB", r.Path, float64(r.Bytes)/(1<<20)),
		fmt.Sprintf("the Meta DB, %s, %s, %s, %s", facts, quant.Count(int(r.Artifacts), "artifact"), quant.Count(int(r.Logs), "log"), quant.Count(int(r.Models), "model file")),
		"state of " + r.TakenAt.String(),
	}}}
}

func (r backupReport) CSVRows() any {
	return []struct {
		Path    string     `json:"path"`
		Bytes   int64      `json:"bytes"`
		TakenAt quant.Time `json:"taken_at"`
		Members int64      `json:"members"`
	}{{r.Path, r.Bytes, r.TakenAt, r.Members}}
}

func backupCommand(env *Env) Command {
	var force, verify bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Put the whole lab into one file, while others may work",
		Long: `Put both databases, the contents of artifacts, logs, model files, the plans of
pipelines, the known delistings, members of universes and closures into one file,
an uncompressed tar with the digest of each member; - is stdout. Other commands may
run meanwhile: what commits facts waits until the Fact DB is copied, so that both
databases are of one moment. Of a team's lab the file is the same, a lab in files,
and nothing waits: a snapshot of the lake is copied, and of the Meta DB a state that has
the runs of all its facts. FILE stands there whole or not at all. The file holds
what the lab holds, secrets in artifacts and logs too. --verify reads a backup and
checks every digest instead. ` + "`quant restore FILE`" + ` brings
the lab back.`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, path := cmd.Context(), args[0]
			if verify {
				found, err := archive.Verify(ctx, path)
				if err != nil {
					return err
				}
				return env.Print(newBackupReport(env, path, found))
			}
			taken, err := archive.Create(ctx, env.Facts(), path, archive.CreateOptions{Force: force, Stdout: env.Streams().Out, Program: env.Build.Version})
			env.Record(taken.IO...)
			if err != nil {
				return err
			}
			if path != "-" {
				if err := env.Print(newBackupReport(env, path, taken)); err != nil {
					return err
				}
			}
			return taken.Incomplete()
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	cmd.Flags().BoolVar(&verify, "verify", false, "check the backup FILE instead of taking one")
	cmd.MarkFlagsMutuallyExclusive("force", "verify")
	return Command{Command: cmd, Traits: Traits{Changes: func(l Line) bool { return !withFlag("verify")(l) }}}
}

// restoreReport says what a restore brought back.
type restoreReport struct {
	RunID       string       `json:"run_id"`
	Backup      backupReport `json:"backup"`
	RunsClosed  int64        `json:"runs_closed"`
	MovedAside  []string     `json:"moved_aside"`
	RestoredRun int64        `json:"runs"`
}

func (r restoreReport) CSVRows() any { return r.Backup.CSVRows() }

func (r restoreReport) Sections() []output.Section {
	sections := append(r.Backup.Sections(), output.Section{Lines: []string{
		fmt.Sprintf("%s; %d of them were running when the backup was taken, and are closed", quant.Count(int(r.RestoredRun), "run"), r.RunsClosed),
	}})
	if len(r.MovedAside) > 0 {
		sections = append(sections, output.Section{Title: "moved aside; delete it once you need nothing in it", Lines: r.MovedAside})
	}
	return sections
}

func restoreCommand(env *Env) Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring the lab back from a backup",
		Long: `Bring the lab back from a file that ` + "`quant backup`" + ` wrote, in place of what stands
there, which is moved aside and not deleted. Every digest is checked first. No
other quant may use the lab meanwhile (it waits as --wait says); others see the old lab or the new one. If
the process is killed in the middle, the old lab stands, or the next command
finishes the work. A team's stores must be empty and prepared (` + "`quant init-db`" + `);
whoever made the backup, it comes back on either side. Runs that were RUNNING in the backup are closed as FAIL. (One
deleted run comes back with ` + "`quant runs restore RUN`" + `.)`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := args[0]
			done, err := archive.Restore(cmd.Context(), env.Facts(), path, archive.RestoreOptions{
				Confirm: func(ctx context.Context, metaFile, factFile string) error {
					return env.confirm(ctx, yes, "restore takes the place of the lab that stands here",
						fmt.Sprintf("This takes the place of the lab in\n  %s\n  %s\nwhich is moved aside.", metaFile, factFile), "give --yes as well; nothing is deleted")
				},
			})
			env.Record(done.IO...)
			if err != nil {
				return err
			}
			report := restoreReport{RunID: env.RunID(), Backup: newBackupReport(env, path, done.Backup), RunsClosed: int64(done.Closed), MovedAside: []string{}, RestoredRun: done.Runs}
			for _, old := range done.MovedAside {
				report.MovedAside = append(report.MovedAside, env.Mask.Text(old))
			}
			if err := env.Print(report); err != nil {
				return err
			}
			return done.Incomplete()
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return Command{Command: cmd, Traits: Traits{Changes: always, Remedy: always}}
}
