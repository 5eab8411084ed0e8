package cli

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/exec"
	"quant/internal/output"
	"quant/internal/runs"
)

func runsRerun(env *Env) Command {
	var o exec.AgainOptions
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rerun RUN",
		Short: "Run what a run ran again, and compare the two",
		Long: `Run what a run ran again: the same arguments in the same folder with the same
settings, in the present lab, as a new run that is linked to its origin by the
tag rerun_of. At the end the two are compared, as ` + "`quant runs compare`" + ` does. The
exit status is that of the command that was run again.

The code is what stands in the folder now; with --code it is the recorded one:
the commit, checked out into a git worktree of its own, with the recorded
changes and the commits and changes of submodules, and deleted afterwards
(--keep leaves it). What the arguments name by an absolute path is not part of
it. Commits are taken from the repositories on this machine. Changes in which
secrets were masked are refused: see --keep-secrets of quant exec.

An argument that was masked must be given again. Arguments are counted from 1,
without quant itself; --set-arg N=VALUE replaces the Nth, also one that was not
masked. --dry-run prints the arguments with their numbers and runs nothing.`,
		Example: `  quant runs rerun last:exec
  quant runs rerun 1a2b3c4d --code --set-arg 9=0.01`,
		Args: wantArgs(1, 1, "one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Keep && !o.Code {
				return quant.Errorf(quant.Usage, "--keep leaves the worktree of --code, which is not given")
			}
			if dryRun {
				list, err := exec.Arguments(cmd.Context(), env.Session, args[0], o.Set)
				if err != nil {
					return err
				}
				return env.Print(list)
			}
			o.Environ, o.Streams, o.Settings, o.NamesLab = env.Environ, exec.Streams(env.Streams()), env.Settings, env.tree.namesLab
			if env.Format != output.Table {
				o.Streams.Out = o.Streams.Err // stdout is one document: the comparison
			}
			report, failed := exec.Again(cmd.Context(), env.Session, args[0], o)
			if report.Code != "" {
				how := "rm -r"
				if report.Forget {
					how = "git worktree remove --force"
				}
				defer env.Notice("the recorded code stays in %s; take it away with: %s", report.Code, how)
			}
			if report.Run == "" || cmd.Context().Err() != nil {
				return failed
			}
			c, err := runs.Compare(cmd.Context(), env.Meta, env.Artifacts(), []string{report.Origin, report.Run})
			if err == nil {
				err = printComparison(env, c.Differences())
			}
			return errors.Join(failed, err)
		},
	}
	cmd.Flags().StringArrayVar(&o.Set, "set-arg", nil, "N=VALUE: another value for the Nth argument (repeatable)")
	cmd.Flags().BoolVar(&o.Code, "code", false, "with the recorded code, in a git worktree")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the git worktree of --code")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would run")
	return Command{Command: cmd, Traits: Traits{Changes: func(l Line) bool { return l.Flags["dry-run"] != "true" }}}
}

// namesLab reports whether a command line names its lab by flags. A command that
// has a data folder of its own does not take them.
func (t *Tree) namesLab(args []string) bool {
	line := t.Read(args)
	return t.Traits(line).Places == nil && slices.ContainsFunc(locationFlags, func(name string) bool { return line.Flags[name] != "" })
}
