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
environment, .env in the working directory, default. Secrets are masked.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			list := append([]config.Setting(nil), env.Settings.List()...)
			for i, s := range list {
				if s.Secret && s.Value != "" {
					list[i].Value = secret.Placeholder
				} else {
					list[i].Value = env.Mask.Text(s.Value)
				}
			}
			return env.Print(list)
		},
	}}
}
