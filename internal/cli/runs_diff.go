package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/runs"
)

func runsDiff(env *Env) Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show config and code of two runs as a unified diff",
		Long: `Show in what two runs differ as a unified diff, which patch and its like read:
the config as recorded, its members in order, one a line; and the code, as far as
the runs recorded it: the commit, and the changes that were not committed
(artifact code.diff). What two commits have between them is git's to show; its
command line is in the diff's notes.

Like git diff it ends with 0 whether or not they differ; with --exit-code it ends
with 1 where they do.`,
		Args: wantArgs(2, 2, "two runs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			var ids []string
			for _, ref := range args { // a run may be compared with itself
				id, err := env.Resolve(cmd.Context(), ref)
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			d, err := runs.Diff(cmd.Context(), meta, env.Artifacts(), ids[0], ids[1])
			if err != nil {
				return err
			}
			if err := env.Print(runDiff{d}); err != nil {
				return err
			}
			if exitCode && d.Differ {
				return quant.Errorf(quant.Failed, "runs %s and %s differ", quant.ShortID(ids[0]), quant.ShortID(ids[1])).
					WithHint("without --exit-code this is no error")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with 1 if they differ")
	return Command{Command: cmd}
}

// runDiff is the result of runs diff.
type runDiff struct{ runs.Patch }

func (d runDiff) CSVRows() any { return d.Parts }

func (d runDiff) Sections() []output.Section {
	var lines []string
	for _, p := range d.Parts {
		for line := range strings.Lines(p.Diff) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
		if p.Note != "" {
			lines = append(lines, "# "+p.Name+": "+string(p.Note))
		}
	}
	if lines == nil {
		return []output.Section{{Lines: []string{"# config and code, as recorded, are the same"}}}
	}
	return []output.Section{{Lines: lines, Diff: true}}
}
