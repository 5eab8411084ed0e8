package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/exec"
	"quant/internal/metastore"
	"quant/internal/output"
)

func runsCompare(env *Env) Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "compare RUN RUN...",
		Short: "Show in what runs differ: params, metrics, code, environment, inputs",
		Long: `Show in what runs differ, one column a run: outcome, params, metrics (their last
values, and how far they are from the first run's), tags, code, binary, settings,
environment variables and Python packages of recorded programs, inputs and
artifacts (by digest). --all also shows what is the same in all of them.

JSON and CSV have one row a run and name, with whole values.`,
		Example: `  quant runs compare last:backtest @baseline
  quant runs compare 3f2a 77c1 90ee --all --output csv`,
		Args: wantArgs(2, maxCompared, fmt.Sprintf("2 to %d runs", maxCompared)),
		RunE: func(cmd *cobra.Command, args []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			ids, err := env.resolveRuns(cmd.Context(), meta, args)
			if err != nil {
				return err
			}
			c, err := env.compareRuns(cmd.Context(), meta, ids)
			if err != nil {
				return err
			}
			if all {
				return env.printComparison(c)
			}
			return env.printDifferences(c)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what is the same in all of them")
	return Command{Command: cmd}
}

func (e *Env) printDifferences(c runComparison) error {
	c.Rows = slices.DeleteFunc(c.Rows, func(r comparedRow) bool { return !r.Differs })
	return e.printComparison(c)
}

func (e *Env) printComparison(c runComparison) error {
	c.width = output.Width(e.Streams().Out)
	return e.Print(c)
}

// maxCompared is how many runs are set side by side at most.
const maxCompared = 100

// resolveRuns finds the runs that refs name, each once.
func (e *Env) resolveRuns(ctx context.Context, meta metastore.Store, refs []string) ([]string, error) {
	var ids []string
	for _, ref := range refs {
		id, err := e.resolveRun(ctx, meta, ref)
		if err != nil {
			return nil, err
		}
		if slices.Contains(ids, id) {
			return nil, quant.Errorf(quant.Usage, "run %s is named twice, the second time as %q", id, ref).WithHint("name each run once")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// runComparison is the result of runs compare.
type runComparison struct {
	Runs []runRow      `json:"runs"`
	Rows []comparedRow `json:"rows"`

	width int
}

// comparedRow is one value of one run.
type comparedRow struct {
	Section string   `json:"section"`
	Name    string   `json:"name"`
	Differs bool     `json:"differs"`
	RunID   string   `json:"run_id"`
	Value   *string  `json:"value"` // null: the run has none
	Delta   *float64 `json:"delta"` // of a metric, to the first run's
}

func (c runComparison) CSVRows() any { return c.Rows }

// comparedSections is the order of the sections.
var comparedSections = [...]string{"run", "params", "metrics", "tags", "code", "settings", "environment", "python", "inputs", "artifacts"}

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
	for _, section := range comparedSections {
		g := output.Grid{Columns: columns}
		for i := 0; i < len(c.Rows); i += len(c.Runs) {
			if c.Rows[i].Section != section {
				continue
			}
			cells := []string{clipText(c.Rows[i].Name, 60)}
			for _, r := range c.Rows[i : i+len(c.Runs)] {
				cells = append(cells, r.cell(room))
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

func (r comparedRow) cell(room int) string {
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
	return clipText(value, room)
}

// comparing collects the values of runs by section and name.
type comparing struct {
	index map[string]int // of a run id
	rows  map[[2]string][]comparedRow
}

func (c *comparing) set(section, name, runID, value string) *comparedRow {
	i, known := c.index[runID]
	if !known || value == "" {
		return &comparedRow{}
	}
	row := c.rows[[2]string{section, name}]
	if row == nil {
		row = make([]comparedRow, len(c.index))
		for id, k := range c.index {
			row[k] = comparedRow{Section: section, Name: name, RunID: id}
		}
		c.rows[[2]string{section, name}] = row
	}
	row[i].Value = &value
	return &row[i]
}

// compareRuns reads what is recorded of runs, in a number of queries that does
// not depend on theirs.
func (e *Env) compareRuns(ctx context.Context, meta metastore.Store, ids []string) (runComparison, error) {
	runs, err := meta.RunsOf(ctx, ids)
	if err != nil {
		return runComparison{}, err
	}
	found, err := meta.RecordsOf(ctx, ids)
	if err != nil {
		return runComparison{}, err
	}
	c := comparing{map[string]int{}, map[[2]string][]comparedRow{}}
	result := runComparison{Runs: []runRow{}, Rows: []comparedRow{}}
	for i, r := range runs {
		c.index[r.RunID] = i
		result.Runs = append(result.Runs, newRunRow(r))
	}
	for _, r := range runs {
		c.run(r)
	}
	for _, p := range found.Params {
		c.set("params", p.Name, p.RunID, quoteEmpty(p.Value))
	}
	for _, t := range found.Tags {
		c.set("tags", t.Name, t.RunID, quoteEmpty(t.Value))
	}
	c.metrics(found.Metrics, ids[0])
	for _, a := range found.Artifacts {
		section := "artifacts"
		if a.Name == exec.CodeDiff {
			section = "code"
		}
		c.set(section, a.Name, a.RunID, a.Digest)
	}
	e.packages(&c, found.Artifacts)
	for _, io := range found.IO {
		if io.Direction == quant.In {
			c.set("inputs", io.Kind+" "+io.Name, io.RunID, inputText(io))
		}
	}
	for _, p := range found.Programs {
		c.set("code", "program", p.RunID, string(p.Path))
		for _, e := range flatJSON(p.EnvironmentJSON) {
			if name, is := strings.CutPrefix(e.name, "python."); is {
				c.set("python", name, p.RunID, quoteEmpty(e.value))
			} else {
				c.set("environment", e.name, p.RunID, quoteEmpty(e.value))
			}
		}
	}
	result.Rows = append(result.Rows, c.sorted()...)
	return result, nil
}

// packages are compared one by one where the runs' lists can be read.
func (e *Env) packages(c *comparing, list []quant.Artifact) {
	for _, a := range list {
		if a.Name != exec.PythonPackages || a.Bytes > diffedBytes {
			continue
		}
		text, err := e.readArtifact(a.Digest, diffedBytes)
		if err != nil {
			e.Notice("the Python packages of run %s are not compared: %v", quant.ShortID(a.RunID), err)
			continue
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if name, version, found := strings.Cut(line, "=="); found && name != "" {
				c.set("python", name, a.RunID, quoteEmpty(version))
			}
		}
	}
}

// quoteEmpty keeps a value that is empty apart from one that is missing.
func quoteEmpty(value string) string {
	if value == "" {
		return `""`
	}
	return value
}

// settingsOfPlace are the settings that are paths.
var settingsOfPlace = []string{"settings." + config.DataDir, "settings." + config.SQLitePath, "settings." + config.DuckDBPath}

func (c *comparing) run(r metastore.RunDetail) {
	p := r.Process
	set := func(section, name, value string) { c.set(section, name, r.RunID, value) }
	set("run", "kind", r.Kind)
	set("run", "status", string(r.Status))
	set("run", "duration", took(p.DurationUS))
	if p.ExitCode != nil {
		set("run", "exit_code", strconv.FormatInt(*p.ExitCode, 10))
	}
	set("run", "error_text", string(r.ErrorText))
	var argv []string
	if json.Unmarshal(p.Argv, &argv) == nil {
		set("run", "argv", strings.Join(argv, " "))
	}
	set("code", "git_commit", string(p.GitCommit))
	if p.GitDirty != nil {
		set("code", "git_dirty", strconv.FormatBool(*p.GitDirty))
	}
	set("code", "quant", strings.TrimSpace(string(p.BinaryVersion)+" "+string(p.BinaryCommit)))
	set("environment", "host", string(p.Host))
	set("environment", "user", string(p.User))
	set("environment", "work_dir", string(p.WorkDir))
	for _, e := range flatJSON(r.ConfigJSON) {
		if e.name == "argv" || e.name == "args" { // as the process has them
			continue
		}
		if slices.Contains(settingsOfPlace, e.name) && e.value != "" && !filepath.IsAbs(e.value) && p.WorkDir != "" {
			e.value = filepath.Join(string(p.WorkDir), e.value) // the place, however it was written
		}
		set("settings", e.name, quoteEmpty(e.value))
	}
}

func (c *comparing) metrics(list []quant.Metric, first string) {
	base := map[string]float64{}
	for _, m := range list {
		if m.RunID == first {
			base[m.Name] = m.Last
		}
	}
	for _, m := range list {
		row := c.set("metrics", m.Name, m.RunID, strconv.FormatFloat(m.Last, 'g', -1, 64))
		if v, has := base[m.Name]; has {
			if d := m.Last - v; d-d == 0 { // JSON has no infinity
				row.Delta = &d
			}
		}
	}
}

// inputText is what tells two inputs of one name apart.
func inputText(io quant.RunIO) string {
	if io.Digest != "" {
		return string(io.Digest)
	}
	var parts []string
	if io.Rows != nil {
		parts = append(parts, quant.Count(int(*io.Rows), "row"))
	}
	if io.FirstDate != "" || io.LastDate != "" {
		parts = append(parts, string(io.FirstDate)+".."+string(io.LastDate))
	}
	if parts == nil {
		return "read"
	}
	return strings.Join(parts, " ")
}

// sorted are the rows by section and name, each name's in the order of runs.
func (c *comparing) sorted() []comparedRow {
	keys := make([][2]string, 0, len(c.rows))
	for key := range c.rows {
		keys = append(keys, key)
	}
	order := func(section string) int { return slices.Index(comparedSections[:], section) }
	slices.SortFunc(keys, func(a, b [2]string) int {
		if a[0] != b[0] {
			return order(a[0]) - order(b[0])
		}
		return strings.Compare(a[1], b[1])
	})
	var all []comparedRow
	for _, key := range keys {
		rows := c.rows[key]
		differs := false
		for _, r := range rows {
			if (r.Value == nil) != (rows[0].Value == nil) || r.Value != nil && *r.Value != *rows[0].Value {
				differs = true
			}
		}
		for i := range rows {
			rows[i].Differs = differs
		}
		all = append(all, rows...)
	}
	return all
}
