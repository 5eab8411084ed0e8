package cli

import "github.com/spf13/cobra"

func versionCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "version",
			Short: "Show the version of quant and of its databases",
			Args:  noArgs,
			RunE: func(*cobra.Command, []string) error {
				return env.Print(env.Build)
			},
		},
		Traits: Traits{Unrecorded: true},
	}
}
