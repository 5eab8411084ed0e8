package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/lab/doctor"
	"quant/internal/output"
)

// checkup is the result of doctor. It is healthy if everything could be
// examined and there is no fault.
type checkup struct {
	Healthy  bool             `json:"healthy"`
	Faults   int              `json:"faults"`
	Findings []doctor.Finding `json:"findings"`
}

func (c checkup) CSVRows() any { return c.Findings }

func (c checkup) Sections() []output.Section {
	var lines []string
	for _, f := range c.Findings {
		lines = append(lines, fmt.Sprintf("%-7s  %s: %s", f.Severity, f.Object, f.What))
		if f.Mend != "" {
			lines = append(lines, "         mend: "+string(f.Mend))
		}
	}
	verdict := "healthy: both databases are sound and agree"
	switch {
	case c.Faults > 0:
		verdict = quant.Count(c.Faults, "fault")
	case !c.Healthy:
		verdict = "no fault found; not everything could be examined"
	}
	return []output.Section{{Lines: append(lines, verdict)}}
}

func doctorCommand(env *Env) Command {
	var fix, deep bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine both databases, and say how to mend what is wrong",
		Long: `Examine both databases: integrity, schema, constraints, runs against the ledger,
dead runs, artifacts and logs, free space, permissions. The exit status is 1 if there is a fault, 0
if there are only warnings and notes. --fix mends what is safe: it deletes
nothing, and moves a Meta DB that cannot be used aside and saves what can be
read of it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := doctor.Examine(cmd.Context(), env.Facts(), doctor.Options{Fix: fix, Deep: deep, FactSetting: config.DuckDBPath, DataSetting: config.DataDir})
			if err != nil {
				return err
			}
			c := checkup{Healthy: report.Healthy(), Faults: report.Faults, Findings: report.Findings}
			if err := env.Print(c); err != nil {
				return err
			}
			if c.Faults > 0 {
				return quant.Errorf(quant.Failed, "%s, named above with what mends it", quant.Count(c.Faults, "fault"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "mend what is safe to mend")
	cmd.Flags().BoolVar(&deep, "deep", false, "also read the contents of all artifacts, which can take long")
	return Command{Command: cmd, Traits: Traits{Changes: withFlag("fix"), Remedy: withFlag("fix")}}
}
