package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/chart"
	"quant/internal/config"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/output"
)

// runReport is everything known about a run.
type runReport struct {
	quant.Run
	Process  quant.RunProcess      `json:"process"`
	Inputs   []quant.RunIO         `json:"inputs"`
	Outputs  []quant.RunIO         `json:"outputs"`
	Ledger   []factstore.LedgerRow `json:"ledger"` // null: not read
	Children []runRow              `json:"children"`

	Name      quant.Text       `json:"name"`
	Params    []quant.Param    `json:"params"`
	Metrics   []shownMetric    `json:"metrics"`
	Tags      []quant.Tag      `json:"tags"`
	Notes     []quant.Note     `json:"notes"`
	Artifacts []quant.Artifact `json:"artifacts"`
	Program   *quant.Program   `json:"program"` // null: it ran none
	Deletion  *quant.Deletion  `json:"deletion"`
	Import    *quant.Import    `json:"import"`

	ledgerErr error
}

// sampled is how many points of a metric are read to show its course.
const sampled = 40

// shownMetric is a metric with some of its points, spread evenly.
type shownMetric struct {
	quant.Metric
	Sample []float64 `json:"sample"`
}

func (r runReport) CSVRows() any {
	return []runRow{newRunRow(metastore.RunDetail{Run: r.Run, Process: r.Process})}
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
	add("duration", took(p.DurationUS))
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
	add("host", fmt.Sprintf("%s (machine %s, boot %s)", p.Host, p.MachineID, p.BootID))
	add("process", fmt.Sprintf("pid %d, user %s, start %s", p.PID, p.User, p.ProcessStart))
	add("quant", strings.TrimSpace(string(p.BinaryVersion)+" "+string(p.BinaryCommit)))
	git := string(p.GitCommit)
	if git != "" && p.GitDirty != nil && *p.GitDirty {
		git += " (dirty)"
	}
	add("git_commit", git)
	if r.ledgerErr != nil {
		add("ledger", "not read: "+r.ledgerErr.Error())
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
			report, err := env.reportOn(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return env.Print(report)
		},
	}}
}

func (e *Env) reportOn(ctx context.Context, ref string) (runReport, error) {
	meta, err := e.MetaDB()
	if err != nil {
		return runReport{}, err
	}
	id, err := e.resolveRun(ctx, meta, ref)
	if err != nil {
		return runReport{}, err
	}
	run, err := meta.GetRun(ctx, id)
	if err != nil {
		return runReport{}, err
	}
	report := runReport{Run: run.Run, Process: run.Process, Inputs: []quant.RunIO{}, Outputs: []quant.RunIO{}, Children: []runRow{}}
	all, err := meta.RunIO(ctx, id)
	if err != nil {
		return runReport{}, err
	}
	for _, io := range all {
		if io.Direction == quant.In {
			report.Inputs = append(report.Inputs, io)
		} else {
			report.Outputs = append(report.Outputs, io)
		}
	}
	children, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Parent: id})
	if err != nil {
		return runReport{}, err
	}
	for _, c := range children {
		report.Children = append(report.Children, newRunRow(c))
	}
	if err := report.readRecords(ctx, meta, id); err != nil {
		return runReport{}, err
	}
	report.Ledger, report.ledgerErr = e.ledgerOf(ctx, run)
	return report, nil
}

// ledgerOf reads the ledger rows of a run without waiting for the Fact DB.
func (e *Env) ledgerOf(ctx context.Context, run metastore.RunDetail) ([]factstore.LedgerRow, error) {
	if !run.Process.Changes || !e.HasFactDB() {
		return []factstore.LedgerRow{}, nil
	}
	db, err := factstore.OpenRead(ctx, factstore.Options{Path: e.Settings.Value(config.DuckDBPath), Now: e.Now})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Ledger(ctx, run.RunID)
	if rows == nil && err == nil {
		rows = []factstore.LedgerRow{}
	}
	return rows, err
}

// readRecords fills in what the run recorded of itself and what became of it.
func (r *runReport) readRecords(ctx context.Context, meta metastore.Store, id string) error {
	found, err := meta.RecordsOf(ctx, []string{id})
	if err != nil {
		return err
	}
	notes, err := meta.Notes(ctx, id)
	if err != nil {
		return err
	}
	marks, err := meta.MarksOf(ctx, id)
	if err != nil {
		return err
	}
	r.Params, r.Tags, r.Notes, r.Artifacts = nonNil(found.Params), nonNil(found.Tags), nonNil(notes), nonNil(found.Artifacts)
	r.Deletion, r.Import = marks.Deletion, marks.Import
	if len(found.Programs) > 0 {
		r.Program = &found.Programs[0]
	}
	for _, t := range r.Tags {
		if t.Name == quant.NameTag {
			r.Name = quant.Text(t.Value)
		}
	}
	r.Metrics = []shownMetric{}
	for _, m := range found.Metrics {
		points, err := meta.MetricSample(ctx, id, m.Name, sampled)
		if err != nil {
			return err
		}
		shown := shownMetric{m, []float64{}}
		for _, p := range points {
			shown.Sample = append(shown.Sample, p.Value)
		}
		r.Metrics = append(r.Metrics, shown)
	}
	return nil
}

// nonNil is a list that is never null in JSON.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
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
		g.Cells = append(g.Cells, []string{name, clipText(value, 200)})
	}
	return g
}

// clipText cuts a text after so many letters.
func clipText(s string, letters int) string {
	if len(s) <= letters {
		return s
	}
	if r := []rune(s); len(r) > letters {
		return string(r[:max(letters-3, 0)]) + "..."
	}
	return s
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
			g.Cells = append(g.Cells, []string{name, clipText(value, 200)})
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
		return byteSize(*n)
	}
	add("path", string(p.Path))
	add("pid", whole(p.ChildPID))
	add("signal", whole(p.Signal))
	add("user time", took(p.UserUS))
	add("system time", took(p.SystemUS))
	add("peak memory", size(p.MaxRSSBytes))
	add("output", size(p.OutputBytes))
	if p.OutputCutBytes != nil && *p.OutputCutBytes > 0 {
		add("output left out", size(p.OutputCutBytes))
	}
	for _, e := range flatJSON(p.EnvironmentJSON) {
		add(e.name, e.value)
	}
	return g
}

// byteSize is a number of bytes in three digits: 1.25 MiB.
func byteSize(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 6 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.3g %ciB", v, " KMGTPE"[unit])
}

// entry is one value of a JSON document, by the path that leads to it.
type entry struct{ name, value string }

// flatJSON lists the values of a document by their paths, in order; an array is
// one value, and what is no object has no name.
func flatJSON(doc quant.JSON) []entry {
	var value any
	dec := json.NewDecoder(strings.NewReader(string(doc)))
	dec.UseNumber()
	if dec.Decode(&value) != nil || value == nil {
		return nil
	}
	var out []entry
	var walk func(path string, v any)
	walk = func(path string, v any) {
		object, is := v.(map[string]any)
		if !is || len(object) == 0 && path != "" {
			text, plain := v.(string)
			if !plain {
				b, err := json.Marshal(v)
				if err != nil {
					return
				}
				text = string(b)
			}
			out = append(out, entry{path, text})
			return
		}
		for _, key := range sortedKeys(object) {
			name := key
			if path != "" {
				name = path + "." + key
			}
			walk(name, object[key])
		}
	}
	walk("", value)
	return out
}
