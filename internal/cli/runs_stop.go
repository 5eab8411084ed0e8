package cli

import (
	"github.com/spf13/cobra"

	"quant/internal/runs"
)

func runsStop(env *Env) Command {
	return Command{Traits: Traits{Changes: always}, Command: &cobra.Command{
		Use:   "stop RUN",
		Short: "Ask the process of a run to end",
		Long: `Ask the process of a run to end, with SIGTERM. It closes its record by itself, as
a FAIL that says so; what it has committed stays. The process must run on this
machine and be of this user. One that has recorded several runs ends as a whole,
so a run inside another of the same process is not stopped apart.`,
		Args: wantArgs(1, 1, "one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := runs.Stop(cmd.Context(), env.Session, args[0])
			if err != nil {
				return err
			}
			return env.Print(runChanges([]runs.Change{change}))
		},
	}}
}
