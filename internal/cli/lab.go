package cli

import "github.com/spf13/cobra"

func labCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "lab",
			Short: "Look after the stores of a lab as a whole",
		},
		Sub: []Command{labCompact(env)},
	}
}
