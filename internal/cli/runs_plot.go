package cli

import "github.com/spf13/cobra"

func runsPlot(env *Env) Command {
	return Command{Command: &cobra.Command{Use: "plot", RunE: func(*cobra.Command, []string) error { return nil }}}
}
