package cli

import (
	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/portable"
)

func runsExport(env *Env) Command {
	var o portable.ExportOptions
	cmd := &cobra.Command{
		Use:   "export RUN... FILE",
		Short: "Write runs to one portable file, with their artifacts and logs",
		Long: `Write runs to one file that ` + "`quant runs import`" + ` takes into another lab: their
rows, params, tags, metrics with all points, notes, artifacts and logs, each with
its digest. docs/portable.md describes the file. The same runs give the same
bytes, also from the lab that imported them and whatever their order here.

A run that is RUNNING or deleted is refused (exit status 5). --children also
takes the runs below the named ones. FILE is written whole or not at all, and
must not exist yet, unless --force; - is stdout.

--format openlineage writes OpenLineage events instead, one JSON document a line:
START and COMPLETE or FAIL for each run. It is for other programs to read;
artifacts, logs and points are not in it, and nothing imports it here.

What is exported is what is stored: masked when it was recorded, and no further.
Look at it before you give it away.`,
		Example: `  quant runs export last momentum.qrx
  quant runs export --children 3f2a 77b0 both.qrx
  quant runs export last - | ssh elsewhere quant runs import -
  quant runs export last:backtest --format openlineage events.jsonl`,
		Args: wantArgs(2, -1, "runs and a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, refs := cmd.Context(), args[:len(args)-1]
			o.Path, o.Stdout, o.Self = args[len(args)-1], env.Out(), env.RunID()
			if err := o.Validate(); err != nil {
				return err
			}
			if o.Path == "-" && o.Format == portable.Native && output.IsTerminal(env.Streams().Out) {
				return quant.Errorf(quant.Usage, "the file of runs would be written to the terminal").WithHint("name a file, or give stdout to a pipe")
			}
			var ids []string
			for _, ref := range refs {
				id, err := env.Resolve(ctx, ref)
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			defer env.Target(o.Path)()
			done, err := portable.Write(ctx, env.Lab, ids, o)
			if err != nil {
				return err
			}
			name := o.Path
			if name == "-" {
				name = "stdout"
			}
			env.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: name, Rows: &done.Runs, Digest: quant.Text(done.Digest)})
			if o.Path == "-" {
				return nil
			}
			return env.Print([]exportReport{{File: o.Path, Format: o.Format, Exported: done}})
		},
	}
	cmd.Flags().BoolVar(&o.Children, "children", false, "also the runs below these")
	cmd.Flags().BoolVar(&o.Force, "force", false, "replace FILE if it exists")
	cmd.Flags().StringVar(&o.Format, "format", portable.Native, "quant or openlineage")
	return Command{Command: cmd}
}

// exportReport is the result of runs export.
type exportReport struct {
	File   string `json:"file"`
	Format string `json:"format"`
	portable.Exported
}
