package runs

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/artifact"
	"quant/internal/config"
	"quant/internal/metastore"
)

// Comparison is runs set side by side.
type Comparison struct {
	Runs []Row         `json:"runs"`
	Rows []ComparedRow `json:"rows"`

	// Notices say what could not be compared.
	Notices []string `json:"-"`
}

// ComparedRow is one value of one run.
type ComparedRow struct {
	Section string   `json:"section"`
	Name    string   `json:"name"`
	Differs bool     `json:"differs"`
	RunID   string   `json:"run_id"`
	Value   *string  `json:"value"` // null: the run has none
	Delta   *float64 `json:"delta"` // of a metric, to the first run's
}

// Differences is the comparison without what is the same in all runs.
func (c Comparison) Differences() Comparison {
	c.Rows = slices.DeleteFunc(slices.Clone(c.Rows), func(r ComparedRow) bool { return !r.Differs })
	return c
}

// MaxCompared is how many runs are set side by side at most.
const MaxCompared = 100

// sections is the order of the sections.
var sections = [...]string{"run", "params", "metrics", "tags", "code", "settings", "environment", "python", "inputs", "artifacts"}

// Sections are the sections of a comparison, in their order.
func Sections() []string { return sections[:] }

// comparing collects the values of runs by section and name.
type comparing struct {
	index map[string]int // of a run id
	rows  map[[2]string][]ComparedRow
}

func (c *comparing) set(section, name, runID, value string) *ComparedRow {
	i, known := c.index[runID]
	if !known || value == "" {
		return &ComparedRow{}
	}
	row := c.rows[[2]string{section, name}]
	if row == nil {
		row = make([]ComparedRow, len(c.index))
		for id, k := range c.index {
			row[k] = ComparedRow{Section: section, Name: name, RunID: id}
		}
		c.rows[[2]string{section, name}] = row
	}
	row[i].Value = &value
	return &row[i]
}

// Compare sets runs side by side, in a number of queries that does not depend on
// theirs. ids are whole and each stands once. Errors: NotFound, Store.
func Compare(ctx context.Context, meta metastore.Store, contents artifact.Store, ids []string) (Comparison, error) {
	runs, err := meta.RunsOf(ctx, ids)
	if err != nil {
		return Comparison{}, err
	}
	found, err := meta.RecordsOf(ctx, ids)
	if err != nil {
		return Comparison{}, err
	}
	c := comparing{map[string]int{}, map[[2]string][]ComparedRow{}}
	result := Comparison{Runs: []Row{}, Rows: []ComparedRow{}}
	for i, r := range runs {
		c.index[r.RunID] = i
		result.Runs = append(result.Runs, NewRow(r))
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
		if a.Name == quant.CodeDiff {
			section = "code"
		}
		c.set(section, a.Name, a.RunID, a.Digest)
	}
	result.Notices = c.packages(ctx, contents, found.Artifacts)
	for _, io := range found.IO {
		if io.Direction == quant.In {
			c.set("inputs", io.Kind+" "+io.Name, io.RunID, inputText(io))
		}
	}
	for _, p := range found.Programs {
		c.set("code", "program", p.RunID, string(p.Path))
		for _, e := range Flatten(p.EnvironmentJSON) {
			if name, is := strings.CutPrefix(e.Name, "python."); is {
				c.set("python", name, p.RunID, quoteEmpty(e.Value))
			} else {
				c.set("environment", e.Name, p.RunID, quoteEmpty(e.Value))
			}
		}
	}
	result.Rows = append(result.Rows, c.sorted()...)
	return result, nil
}

// packages are compared one by one where the runs' lists can be read.
func (c *comparing) packages(ctx context.Context, contents artifact.Store, list []quant.Artifact) (notices []string) {
	for _, a := range list {
		if a.Name != quant.PythonPackages || a.Bytes > maxText {
			continue
		}
		text, err := readText(ctx, contents, a.Digest)
		if err != nil {
			notices = append(notices, fmt.Sprintf("the Python packages of run %s are not compared: %v", quant.ShortID(a.RunID), err))
			continue
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if name, version, found := strings.Cut(line, "=="); found && name != "" {
				c.set("python", name, a.RunID, quoteEmpty(version))
			}
		}
	}
	return notices
}

// quoteEmpty keeps a value that is empty apart from one that is missing.
func quoteEmpty(value string) string {
	if value == "" {
		return `""`
	}
	return value
}

// settingsOfPlace are the settings that are paths.
var settingsOfPlace = []string{"settings." + config.DataDir, "settings." + config.SQLitePath, "settings." + config.DuckDBPath, "settings." + config.MetaURL, "settings." + config.FactsURL, "settings." + config.ObjectsURL, "settings." + config.ExtensionsDir}

func (c *comparing) run(r metastore.RunDetail) {
	p := r.Process
	set := func(section, name, value string) { c.set(section, name, r.RunID, value) }
	set("run", "kind", r.Kind)
	set("run", "status", string(r.Status))
	set("run", "duration", quant.Micros(p.DurationUS))
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
	for _, e := range Flatten(r.ConfigJSON) {
		if e.Name == "argv" || e.Name == "args" { // as the process has them
			continue
		}
		if slices.Contains(settingsOfPlace, e.Name) && e.Value != "" && !filepath.IsAbs(e.Value) && p.WorkDir != "" {
			e.Value = filepath.Join(string(p.WorkDir), e.Value) // the place, however it was written
		}
		set("settings", e.Name, quoteEmpty(e.Value))
	}
}

func (c *comparing) metrics(list []quant.Metric, first string) {
	base := map[string]float64{}
	for _, m := range list {
		if m.RunID == first {
			base[m.Name] = outcome(m)
		}
	}
	for _, m := range list {
		row := c.set("metrics", m.Name, m.RunID, strconv.FormatFloat(outcome(m), 'g', -1, 64))
		if v, has := base[m.Name]; has {
			if d := outcome(m) - v; d-d == 0 { // JSON has no infinity
				row.Delta = &d
			}
		}
	}
}

// outcome is the value of a metric that a run is compared by.
func outcome(m quant.Metric) float64 {
	if strings.HasPrefix(m.Name, quant.SystemMetrics) {
		return m.Max
	}
	return m.Last
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
func (c *comparing) sorted() []ComparedRow {
	keys := make([][2]string, 0, len(c.rows))
	for key := range c.rows {
		keys = append(keys, key)
	}
	order := func(section string) int { return slices.Index(sections[:], section) }
	slices.SortFunc(keys, func(a, b [2]string) int {
		if a[0] != b[0] {
			return order(a[0]) - order(b[0])
		}
		return strings.Compare(a[1], b[1])
	})
	var all []ComparedRow
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
