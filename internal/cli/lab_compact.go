package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/lab/facts"
	"quant/internal/output"
)

// compactReport is what compacting the lake of a lab did, or would do.
type compactReport struct {
	DryRun bool `json:"dry_run"`
	facts.Compacted
}

func (r compactReport) CSVRows() any { return []facts.Compacted{r.Compacted} }

func (r compactReport) Sections() []output.Section {
	lines := []string{
		fmt.Sprintf("files: %d (%s) before, %d (%s) now", r.FilesBefore, quant.FormatBytes(r.BytesBefore), r.FilesAfter, quant.FormatBytes(r.BytesAfter)),
		fmt.Sprintf("snapshots: %d kept, %d expired; replaced files removed: %d", r.Snapshots, r.Expired, r.Removed),
	}
	if r.DryRun {
		lines = []string{
			fmt.Sprintf("files: %d (%s)", r.FilesBefore, quant.FormatBytes(r.BytesBefore)),
			fmt.Sprintf("snapshots: %d, of which %d would be expired; replaced files that would be removed: %d", r.Snapshots, r.Expired, r.Removed),
			"a dry run: nothing was changed",
		}
	}
	return []output.Section{{Lines: lines}}
}

func labCompact(env *Env) Command {
	var o facts.CompactOptions
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Merge the small files of facts on DuckLake",
		Long: `Merge the small files of facts on DuckLake, so that reading opens fewer of them, and
remove the files that were replaced more than --grace ago, and before the oldest open
run began. Rows, digests and every snapshot that is kept read the same. It takes its
turn among the writers, and readers go on meanwhile.

With --expire AGE it also forgets snapshots that another followed that long ago, and
before the oldest open run began, and that no run of the Meta DB refers to ("quant runs
show" lists them as snapshot). If several Meta DBs share the lake, give neither --expire
nor a short --grace with any of them: each knows its own runs alone.`,
		Example: `  quant lab compact
  quant lab compact --expire 90d --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Grace < 0 || o.Expire < 0 {
				return quant.Errorf(quant.Usage, "--grace and --expire cannot be less than 0")
			}
			done, err := env.Facts().Compact(cmd.Context(), o)
			if err != nil {
				return err
			}
			return env.Print(compactReport{DryRun: o.DryRun, Compacted: done})
		},
	}
	f := cmd.Flags()
	f.Var(newDuration(&o.Grace, time.Hour), "grace", "leave replaced files that long, for who reads them unrecorded")
	f.Var(newDuration(&o.Expire, 0), "expire", "also forget snapshots that were replaced that long ago and that no run refers to (0: none)")
	f.BoolVar(&o.DryRun, "dry-run", false, "only show what would be done")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}
