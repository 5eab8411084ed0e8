package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/runs"
)

func runsCompare(env *Env) Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "compare RUN RUN...",
		Short: "Show in what runs differ: params, metrics, code, environment, inputs",
		Long: `Show in what runs differ, one column a run: outcome, params, metrics (their last
values, of what was sampled, system.*, the highest, and how far they are from the
first run's), tags, code, binary, settings, environment variables and Python packages
of recorded programs, inputs and artifacts (by digest). --all also shows what is the same in all of them.

JSON and CSV have one row a run and name, with whole values.`,
		Example: `  quant runs compare last:backtest @baseline
  quant runs compare 3f2a 77c1 90ee --all --output csv`,
		Args: wantArgs(2, runs.MaxCompared, fmt.Sprintf("2 to %d runs", runs.MaxCompared)),
		RunE: func(cmd *cobra.Command, args []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			ids, err := env.ResolveAll(cmd.Context(), args)
			if err != nil {
				return err
			}
			c, err := runs.Compare(cmd.Context(), meta, env.Artifacts(), ids)
			if err != nil {
				return err
			}
			if !all {
				c = c.Differences()
			}
			return printComparison(env, c)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what is the same in all of them")
	return Command{Command: cmd}
}

// runComparison is the result of runs compare.
type runComparison struct {
	runs.Comparison
	width int // of the terminal; 0: there is none
}

func printComparison(env *Env, c runs.Comparison) error {
	for _, notice := range c.Notices {
		env.Notice("%s", notice)
	}
	return env.Print(runComparison{c, output.Width(env.Streams().Out)})
}

func (c runComparison) CSVRows() any { return c.Rows }

func (c runComparison) Sections() []output.Section {
	columns := []string{"NAME"}
	for _, r := range c.Runs {
		columns = append(columns, quant.ShortID(r.RunID))
	}
	room := 40
	if c.width > 0 {
		room = min(max((c.width-24)/len(c.Runs)-2, 12), 80)
	}
	var sections []output.Section
	for _, section := range runs.Sections() {
		g := output.Grid{Columns: columns}
		for i := 0; i < len(c.Rows); i += len(c.Runs) {
			if c.Rows[i].Section != section {
				continue
			}
			cells := []string{quant.Clip(c.Rows[i].Name, 60)}
			for _, r := range c.Rows[i : i+len(c.Runs)] {
				cells = append(cells, comparedCell(r, room))
			}
			g.Cells = append(g.Cells, cells)
		}
		if len(g.Cells) > 0 {
			sections = append(sections, output.Section{Title: section, Rows: g})
		}
	}
	if sections == nil {
		return []output.Section{{Lines: []string{"nothing that is recorded of these runs differs; --all shows what is the same"}}}
	}
	return sections
}

// comparedCell is a value as a person's table has it.
func comparedCell(r runs.ComparedRow, room int) string {
	switch {
	case r.Value == nil:
		return "-"
	case r.Section == "metrics":
		v, _ := strconv.ParseFloat(*r.Value, 64)
		if r.Delta == nil || *r.Delta == 0 {
			return metricText(v)
		}
		return fmt.Sprintf("%s (%+.4g)", metricText(v), *r.Delta)
	}
	value := *r.Value
	if hex, is := strings.CutPrefix(value, "sha256:"); is && len(hex) == 64 {
		value = "sha256:" + hex[:8]
	}
	return quant.Clip(value, room)
}
