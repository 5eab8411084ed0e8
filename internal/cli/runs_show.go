package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/chart"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/runs"
)

// runReport is the result of runs show.
type runReport struct{ runs.Report }

func (r runReport) CSVRows() any {
	return []runs.Row{runs.NewRow(metastore.RunDetail{Run: r.Run, Process: r.Process})}
}

func (r runReport) Sections() []output.Section {
	p := r.Process
	var lines []string
	add := func(name, value string) {
		if value == "" {
			return
		}
		pad := strings.Repeat(" ", max(0, 15-len(name)))
		lines = append(lines, name+pad+strings.ReplaceAll(value, "\n", "\n"+strings.Repeat(" ", 15)))
	}
	add("run_id", r.RunID)
	add("name", string(r.Name))
	add("kind", r.Kind)
	add("status", string(r.Status))
	add("started_at", r.StartedAt.String())
	add("ended_at", r.EndedAt.String())
	add("duration", quant.Micros(p.DurationUS))
	if p.ExitCode != nil {
		add("exit_code", fmt.Sprint(*p.ExitCode))
	}
	add("error_text", string(r.ErrorText))
	if d := r.Deletion; d != nil {
		add("deleted_at", marked(d.DeletedAt, d.ByRunID))
	}
	if i := r.Import; i != nil {
		add("imported_at", marked(i.ImportedAt, i.ByRunID))
	}
	var argv []string
	if json.Unmarshal(p.Argv, &argv) == nil {
		add("argv", strings.Join(argv, " "))
	}
	add("work_dir", string(p.WorkDir))
	add("config", string(r.ConfigJSON))
	add("parent_run_id", string(p.ParentRunID))
	if p.PID != 0 {
		add("host", fmt.Sprintf("%s (machine %s, boot %s)", p.Host, p.MachineID, p.BootID))
		add("process", fmt.Sprintf("pid %d, user %s, start %s", p.PID, p.User, p.ProcessStart))
	} else { // a client's program, which may run anywhere
		add("user", string(p.User))
	}
	add("role", string(r.Role))
	for _, t := range r.Tags {
		if t.Name == quant.ByTag {
			add("asked_by", t.Value)
		}
	}
	add("quant", strings.TrimSpace(string(p.BinaryVersion)+" "+string(p.BinaryCommit)))
	git := string(p.GitCommit)
	if git != "" && p.GitDirty != nil && *p.GitDirty {
		git += " (dirty)"
	}
	add("git_commit", git)
	if r.LedgerErr != nil {
		add("ledger", "not read: "+r.LedgerErr.Error())
	}
	sections := []output.Section{{Lines: lines}}
	sections = append(sections, r.recordSections()...)
	if len(r.Inputs) > 0 {
		sections = append(sections, output.Section{Title: "inputs", Rows: ioRows(r.Inputs)})
	}
	if len(r.Outputs) > 0 {
		sections = append(sections, output.Section{Title: "outputs", Rows: ioRows(r.Outputs)})
	}
	if len(r.Ledger) > 0 {
		sections = append(sections, output.Section{Title: "ledger", Rows: r.Ledger})
	}
	if len(r.Children) > 0 {
		sections = append(sections, output.Section{Title: "children", Rows: runList(r.Children).Sections()[0].Rows})
	}
	return sections
}

// ioRow is an input or output as a person's table has it.
type ioRow struct {
	Kind   string     `json:"kind"`
	Name   string     `json:"name"`
	Rows   *int64     `json:"rows"`
	First  quant.Text `json:"first"`
	Last   quant.Text `json:"last"`
	Digest quant.Text `json:"digest"`
}

func ioRows(list []quant.RunIO) []ioRow {
	var rows []ioRow
	for _, io := range list {
		rows = append(rows, ioRow{io.Kind, io.Name, io.Rows, io.FirstDate, io.LastDate, io.Digest})
	}
	return rows
}

func runsShow(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "show RUN",
		Short: "Show everything known about a run",
		Long: `Show everything known about a run: its process, what it read and wrote, its
params, tags, notes and artifacts, its program if it is one of quant exec, and
its metrics, each with its last, least and greatest value and a line of up to 40
of its points, spread evenly over all.`,
		Args: wantArgs(1, 1, "one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := env.Resolve(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			report, err := runs.Show(cmd.Context(), env.Session, id)
			if err != nil {
				return err
			}
			return env.Print(runReport{report})
		},
	}}
}

func marked(at quant.Time, by quant.Text) string {
	if by == "" {
		return at.String()
	}
	return fmt.Sprintf("%s, in run %s", at, by)
}

func (r runReport) recordSections() (sections []output.Section) {
	if len(r.Params) > 0 {
		sections = append(sections, output.Section{Title: "params", Rows: namedTable(r.Params, func(p quant.Param) (string, string) { return p.Name, p.Value })})
	}
	if len(r.Metrics) > 0 {
		g := output.Grid{Columns: []string{"NAME", "POINTS", "STEP", "LAST", "MIN", "MAX", "COURSE"}, Numbers: []bool{false, true, true, true, true, true}}
		for _, m := range r.Metrics {
			g.Cells = append(g.Cells, []string{m.Name, fmt.Sprint(m.Points), fmt.Sprint(m.LastStep), metricText(m.Last), metricText(m.Min), metricText(m.Max), chart.Sparkline(m.Sample)})
		}
		sections = append(sections, output.Section{Title: "metrics", Rows: g})
	}
	if len(r.Tags) > 0 {
		sections = append(sections, output.Section{Title: "tags", Rows: namedTable(r.Tags, func(t quant.Tag) (string, string) { return t.Name, t.Value })})
	}
	if len(r.Notes) > 0 {
		var lines []string
		for _, n := range r.Notes {
			lines = append(lines, fmt.Sprintf("%d  %s  %s", n.Note, second(n.LoggedAt), strings.ReplaceAll(n.Text, "\n", "\n"+strings.Repeat(" ", 4))))
		}
		sections = append(sections, output.Section{Title: "notes", Lines: lines})
	}
	if len(r.Artifacts) > 0 {
		sections = append(sections, output.Section{Title: "artifacts", Rows: artifactRows(r.Artifacts)})
	}
	if r.Program != nil {
		sections = append(sections, output.Section{Title: "program", Rows: programTable(*r.Program)})
	}
	return sections
}

// namedTable is names and values as a person's table has them.
func namedTable[T any](list []T, of func(T) (name, value string)) output.Grid {
	g := output.Grid{Columns: []string{"NAME", "VALUE"}}
	for _, one := range list {
		name, value := of(one)
		g.Cells = append(g.Cells, []string{name, quant.Clip(value, 200)})
	}
	return g
}

// metricText is a measured value as tables have it, in at most 6 digits.
func metricText(v float64) string { return fmt.Sprintf("%.6g", v) }

// second is a time as tables have it.
func second(t quant.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func programTable(p quant.Program) output.Grid {
	g := output.Grid{Columns: []string{"NAME", "VALUE"}}
	add := func(name, value string) {
		if value != "" {
			g.Cells = append(g.Cells, []string{name, quant.Clip(value, 200)})
		}
	}
	whole := func(n *int64) string {
		if n == nil {
			return ""
		}
		return fmt.Sprint(*n)
	}
	size := func(n *int64) string {
		if n == nil {
			return ""
		}
		return quant.Bytes(*n)
	}
	add("path", string(p.Path))
	add("pid", whole(p.ChildPID))
	add("signal", whole(p.Signal))
	add("user time", quant.Micros(p.UserUS))
	add("system time", quant.Micros(p.SystemUS))
	add("peak memory", size(p.MaxRSSBytes))
	add("output", size(p.OutputBytes))
	if p.OutputCutBytes != nil && *p.OutputCutBytes > 0 {
		add("output left out", size(p.OutputCutBytes))
	}
	for _, e := range runs.Flatten(p.EnvironmentJSON) {
		add(e.Name, e.Value)
	}
	return g
}
