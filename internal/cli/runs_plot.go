package cli

import "github.com/spf13/cobra"

func runsPlot(env *Env) Command {
	return Command{Command: &cobra.Command{Use: "plot", RunE: func(*cobra.Command, []string) error { return nil }}}
}
func runsWatch(env *Env) Command {
	return Command{Command: &cobra.Command{Use: "watch", RunE: func(*cobra.Command, []string) error { return nil }}}
}
