package cli

import (
	"github.com/spf13/cobra"

	"quant/internal/config"
	"quant/internal/secret"
)

func configCommand(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "config",
		Short: "Show every setting, its value, and where it came from",
		Long: `Show every setting, its value, and where it came from, strongest first: flag,
environment, .env in the working directory, default. Secrets and passwords are
masked. A setting that another stands in place of has no value, and its source
names that one.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			list := env.Settings.Shown(secret.Placeholder)
			for i, item := range list {
				if item.Name != config.MetaURL && item.Name != config.FactsURL { // they have their passwords taken out already
					list[i].Value = env.Mask.Text(item.Value)
				}
			}
			return env.Print(list)
		},
	}}
}
