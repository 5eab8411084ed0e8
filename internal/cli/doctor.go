package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/factstore"
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
			ctx := cmd.Context()
			here := doctor.Lab{
				DataDir: env.Settings.Value(config.DataDir), MetaPath: env.Settings.Value(config.SQLitePath), FactPath: env.Settings.Value(config.DuckDBPath),
				Meta: env.Meta, MetaErr: env.MetaErr, Registry: env.Registry, Fix: fix,
				Facts:     func(ctx context.Context, fn func(*factstore.DB) error) error { return env.ReadFacts(ctx, fn) },
				Artifacts: env.Artifacts(), LogDir: env.LogDir(), Deep: deep,
			}
			here.Self = env.RunID()
			report, err := doctor.Examine(ctx, here)
			if err != nil {
				return err
			}
			found := report.Findings
			if env.Opening.MovedAside != "" {
				found = append([]doctor.Finding{{
					Severity: doctor.Fixed, Object: env.Settings.Value(config.SQLitePath),
					What: fmt.Sprintf("it could not be used and is now at %s; taken over from it: %s", env.Opening.MovedAside, env.salvaged()),
				}}, found...)
			}
			c := checkup{Healthy: report.Whole, Findings: found}
			if c.Findings == nil {
				c.Findings = []doctor.Finding{}
			}
			for _, f := range found {
				if f.Severity == doctor.Fault {
					c.Faults++
					c.Healthy = false
				}
			}
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

func (e *Env) salvaged() string {
	text := ""
	for _, table := range sortedKeys(e.Opening.Salvaged.Rows) {
		text += fmt.Sprintf("%d %s, ", e.Opening.Salvaged.Rows[table], table)
	}
	lost := int64(0)
	for _, n := range e.Opening.Salvaged.Lost {
		lost += n
	}
	return fmt.Sprintf("%s%d rows lost", text, lost)
}
