package cli

import (
	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func lineageCommand(env *Env) Command {
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "lineage RUN",
		Short: "Show what a result came from, back to the source files and their digests",
		Long: `Show what the result of a run came from: the tables that it read, with their
digests, the runs that wrote them, what those read, and so on back to the source
files; for each run the program and the git commit. Of a pipeline, the runs of
its stages. Of a version of features of which many were read, one line says how many;
--verbose shows every one. --format dot is for Graphviz; --output json prints the
whole graph.`,
		Example: `  quant lineage last
  quant lineage 1a2b3c4d --format dot | dot -Tsvg > lineage.svg`,
		Args: wantArgs(1, 1, "one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "tree" && format != "dot" && format != "json" {
				return quant.Errorf(quant.Usage, "--format %q is not known", format).WithHint("use tree, json or dot")
			}
			if format != "tree" && env.Format == output.CSV || format == "dot" && env.Format == output.JSON {
				return quant.Errorf(quant.Usage, "--format %s and --output %s exclude each other", format, env.Format.String()).WithHint("give one of them")
			}
			if format == "json" {
				env.Format = output.JSON
			}
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			id, err := env.Resolve(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			l, err := pipeline.Trace(cmd.Context(), meta, id)
			if err != nil {
				return err
			}
			return env.Print(lineageReport{l, format == "dot", verbose})
		},
	}
	cmd.Flags().StringVar(&format, "format", "tree", "tree, json or dot")
	verboseFlag(cmd, &verbose)
	return Command{Command: cmd}
}

// lineageReport is the result of lineage.
type lineageReport struct {
	pipeline.Lineage
	dot, verbose bool
}

func (r lineageReport) CSVRows() any { return r.Nodes }

func (r lineageReport) Sections() []output.Section {
	shown := r.Lineage
	if !r.verbose {
		shown = shown.Folded()
	}
	if r.dot {
		return []output.Section{{Lines: shown.Dot()}}
	}
	return []output.Section{{Lines: shown.Tree()}}
}
