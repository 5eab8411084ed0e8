package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func reproCommand(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "repro RUN",
		Short: "Run a run's command again, elsewhere, and compare what comes out",
		Long: `Run the recorded command of a run again, in a copy of the lab that is deleted
afterwards, and compare the digests of what it reads and writes with those on
record. Prices are those that the run read, whatever was ingested since; other
tables as they stand now. Runs of features, labels, train, score, recommend,
backtest and pipeline.run that succeeded can be reproduced. The lab itself is not
changed. It needs room for a copy of both databases in DATA-DIR/tmp.

Exit status: 0 everything is the same; 6 something differs, or the run cannot be
run again (a masked argument, a source file that was changed or is gone).`,
		Example: `  quant repro last
  quant repro 1a2b3c4d --output json`,
		Args: wantArgs(1, 1, "one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := pipeline.Repeat(cmd.Context(), env.Session, pipeline.InProcess{Quiet: true}, args[0])
			if err != nil {
				return err
			}
			if err := env.Print(reproReport{report}); err != nil {
				return err
			}
			return report.Err()
		},
	}}
}

// reproReport is the result of repro.
type reproReport struct{ pipeline.Repetition }

func (r reproReport) CSVRows() any { return r.Comparisons }

func (r reproReport) Sections() []output.Section {
	type row struct {
		Stage    string `json:"stage"`
		Object   string `json:"object"`
		Recorded string `json:"recorded"`
		Now      string `json:"now"`
		Same     string `json:"same"`
	}
	rows := []row{}
	for _, c := range r.Comparisons {
		line := row{Stage: c.Stage, Object: string(c.Direction) + " " + c.Object, Recorded: short(string(c.Recorded)), Now: "missing", Same: "no"}
		if c.Now != "" {
			line.Now = short(string(c.Now))
		}
		if c.Same {
			line.Same = "yes"
		}
		rows = append(rows, line)
	}
	verdict := "reproduced: every digest is the same"
	if !r.Same {
		verdict = "not reproduced"
	}
	return []output.Section{{Rows: rows}, {Lines: []string{fmt.Sprintf("%s %s: %s", r.Kind, quant.ShortID(r.RunID), verdict)}}}
}
