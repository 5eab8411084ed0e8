package pages

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/runs"
	"quant/internal/search"
)

// comparison is what the page shows.
type comparison struct {
	compareRequest
	Failure *failure // of what was asked for
	Notices []string
	Count   int
	Sweep   *sweepHead
	Metrics []string // by which the best may be chosen
	Best    *bestRun

	Sections []comparedSection // of few runs
	Heads    []comparedHead
	Rows     *comparedRows // of many
	Charts   []string      // metrics with a course
	Which    string        // the part of an address that says which runs
	Plots    *plotData     // what is drawn in the browser
	Heat     *heatMap
	Code     []codePart // of two runs
}

// sweepHead is what is said of the run inside which the others ran.
type sweepHead struct {
	ID, Kind string
	Status   quant.Status
	Params   []quant.Param
}

// bestRun is the run with the best value of a metric.
type bestRun struct {
	ID, Name, Metric, Value string
	Lower                   bool // less is better
	Said                    bool // the name of the metric, or who asks, says which is better
	Judged                  bool // its Sharpe ratio can be judged by how many trials there were
	Params                  []comparedCell
}

// comparedHead is the head of a column: a run, or a field.
type comparedHead struct {
	ID, Name, Link, Sort string
	Status               quant.Status
	Number               bool
}

// comparedSection is a part of what few runs have.
type comparedSection struct {
	Name string
	Rows []comparedRow
}

type comparedRow struct {
	ID, Name string // of a run; of a row of few runs: what it is of
	Same     bool
	Status   quant.Status
	Cells    []comparedCell
}

type comparedCell struct {
	Name        string
	Text, Whole string // Whole, where Text is cut
	Delta       string
	None, Best  bool
	Number      bool
}

// comparedRows is a page of many runs.
type comparedRows struct {
	Heads       []comparedHead
	Rows        []comparedRow
	First, Last int
	Back, Next  string
	Hidden      int // columns that are not shown
	Identical   int // fields that are the same in all
}

// comparison reads and lays out what was asked for.
func (p *pages) comparison(ctx context.Context, c compareRequest, found chosen) (comparison, error) {
	data := comparison{compareRequest: c, Notices: found.notices, Count: len(found.ids), Which: c.which().Encode()}
	if found.sweep != nil {
		params, err := p.Meta.Params(ctx, found.sweep.RunID)
		if err != nil {
			return data, err
		}
		data.Sweep = &sweepHead{found.sweep.RunID, found.sweep.Kind, found.sweep.Status, params}
	}
	if len(found.ids) == 0 {
		return data, nil
	}
	m, err := runs.ReadMatrix(ctx, p.Meta, found.ids)
	if err != nil {
		return data, err
	}
	by := m.Column(data.by(m))
	direction := runs.Unknown
	if by != nil {
		direction = c.direction(by.Field)
		data.Best = bestOf(m, *by, direction, c.Better != "")
	}
	for _, col := range m.Columns {
		if col.Field.Of == metastore.MetricOf && col.Points > 1 {
			data.Charts = append(data.Charts, col.Field.Name)
		}
	}
	if data.Charts = data.Charts[:min(len(data.Charts), maxCharts)]; len(data.Charts) == maxCharts {
		data.Notices = append(data.Notices, "Of the metrics with a course, the first "+strconv.Itoa(maxCharts)+" are drawn.")
	}
	if len(found.ids) <= fewRuns {
		if err := p.sideBySide(ctx, &data, found.ids); err != nil {
			return data, err
		}
	} else {
		data.Rows = c.rows(m, by, direction)
	}
	if len(found.ids) > 2 {
		data.Plots = newPlotData(m, by, direction)
		data.Heat = c.heatMap(m, by, direction)
	}
	if len(found.ids) == 2 {
		patch, err := runs.Diff(ctx, p.Meta, p.Artifacts(), found.ids[0], found.ids[1])
		if err != nil {
			return data, err
		}
		data.Code = codeParts(patch)
	}
	return data, nil
}

// maxCharts is how many metrics with a course a page has.
const maxCharts = 12

// by is the metric by which the best is chosen, and puts those that may be chosen
// into Metrics: those that differ first.
func (data *comparison) by(m runs.Matrix) string {
	var same []string
	for _, col := range m.Columns {
		if col.Field.Of != metastore.MetricOf {
			continue
		}
		if name := search.Name(col.Field); col.Differs() {
			data.Metrics = append(data.Metrics, name)
		} else {
			same = append(same, name)
		}
	}
	data.Metrics = append(data.Metrics, same...)
	if data.By == "" && len(data.Metrics) > 0 {
		data.By = data.Metrics[0]
		for _, name := range data.Metrics {
			if runs.DirectionOf(name) != runs.Unknown {
				data.By = name
				break
			}
		}
		if slices.Contains(data.Metrics, sharpe) {
			data.By = sharpe
		}
	}
	return data.By
}

// sharpe is the metric by which trials of a strategy are chosen.
const sharpe = "metrics.sharpe"

// direction is which values of a field are better.
func (c compareRequest) direction(f metastore.Field) runs.Direction {
	if f.Of != metastore.MetricOf {
		return runs.Unknown
	}
	if c.By == search.Name(f) {
		switch c.Better {
		case "high":
			return runs.Higher
		case "low":
			return runs.Lower
		}
	}
	return runs.DirectionOf(f.Name)
}

func bestOf(m runs.Matrix, by runs.Column, d runs.Direction, said bool) *bestRun {
	place, ok := m.Best(by, d)
	if !ok {
		return nil
	}
	run := m.Runs[place]
	best := &bestRun{
		ID: run.RunID, Name: m.Names[run.RunID], Metric: by.Field.Name, Value: number(*by.Values[place].Number),
		Lower: d == runs.Lower, Said: said || d != runs.Unknown, Judged: search.Name(by.Field) == sharpe && run.Kind == backtestKind,
	}
	for _, col := range m.Columns {
		if col.Field.Of == metastore.ParamOf && col.Differs() && !col.Names() && col.Values[place].Has && len(best.Params) < 8 {
			cell := valueCell(col.Values[place])
			cell.Name = col.Field.Name
			best.Params = append(best.Params, cell)
		}
	}
	return best
}

// valueCell is a value as a table has it.
func valueCell(v runs.Value) comparedCell {
	switch {
	case !v.Has:
		return comparedCell{None: true}
	case v.Number != nil:
		c := comparedCell{Text: number(*v.Number), Number: true}
		if c.Text != v.Text {
			c.Whole = v.Text
		}
		return c
	}
	c := comparedCell{Text: quant.Clip(quant.FirstLine(v.Text), cellLetters)}
	if c.Text != v.Text {
		c.Whole = quant.Clip(v.Text, 1000)
	}
	return c
}

// sideBySide lays out few runs, a column each.
func (p *pages) sideBySide(ctx context.Context, data *comparison, ids []string) error {
	c, err := runs.Compare(ctx, p.Meta, p.Artifacts(), ids)
	if err != nil {
		return err
	}
	data.Notices = append(data.Notices, c.Notices...)
	names, err := p.Meta.NamesOf(ctx, ids)
	if err != nil {
		return err
	}
	for i, r := range c.Runs {
		head := comparedHead{ID: r.RunID, Name: names[r.RunID], Status: r.Status}
		if i > 0 && len(ids) > 2 {
			head.Link = compareRequest{Runs: []string{ids[0], r.RunID}}.url(nil)
		}
		data.Heads = append(data.Heads, head)
	}
	if !data.All {
		c = c.Differences()
	}
	for i := 0; i < len(c.Rows); i += len(ids) {
		row := data.row(c.Rows[i : i+len(ids)])
		if n := len(data.Sections); n == 0 || data.Sections[n-1].Name != c.Rows[i].Section {
			data.Sections = append(data.Sections, comparedSection{Name: c.Rows[i].Section})
		}
		last := &data.Sections[len(data.Sections)-1]
		last.Rows = append(last.Rows, row)
	}
	return nil
}

// row is what few runs have under one name.
func (data *comparison) row(list []runs.ComparedRow) comparedRow {
	row := comparedRow{Name: list[0].Name, Same: !list[0].Differs}
	metric := list[0].Section == "metrics"
	best, direction := -1, runs.Unknown
	if metric {
		direction = data.direction(metastore.Field{Of: metastore.MetricOf, Name: list[0].Name})
	}
	var least float64
	for i, one := range list {
		cell := comparedCell{None: one.Value == nil}
		if one.Value != nil {
			v := runs.Value{Has: true, Text: *one.Value}
			if n, err := strconv.ParseFloat(v.Text, 64); metric && err == nil {
				v.Number = &n
				if better := direction == runs.Lower && n < least || direction == runs.Higher && n > least; direction != runs.Unknown && (best < 0 || better) {
					best, least = i, n
				}
			}
			cell = valueCell(v)
			if hex, is := strings.CutPrefix(v.Text, "sha256:"); is && len(hex) == 64 {
				cell.Text, cell.Whole = "sha256:"+hex[:8], v.Text
			}
		}
		if one.Delta != nil && *one.Delta != 0 {
			cell.Delta = strconv.FormatFloat(*one.Delta, 'g', 4, 64)
			if *one.Delta > 0 {
				cell.Delta = "+" + cell.Delta
			}
		}
		row.Cells = append(row.Cells, cell)
	}
	if best >= 0 && !row.Same {
		row.Cells[best].Best = true
	}
	return row
}

// maxColumns is how many columns many runs have at first.
const maxColumns = 24

// rows lays out many runs, a row each.
func (c compareRequest) rows(m runs.Matrix, by *runs.Column, direction runs.Direction) *comparedRows {
	t := &comparedRows{}
	var shown []runs.Column
	for _, col := range m.Columns {
		switch {
		case c.All:
		case !col.Differs():
			t.Identical++
			continue
		case col.Names():
			t.Hidden++
			continue
		}
		shown = append(shown, col)
	}
	// What is asked for comes first, then what was set, then what came of it, and
	// what only names the runs last.
	rank := func(col runs.Column) int {
		switch {
		case by != nil && col.Field == by.Field:
			return 0
		case col.Names():
			return 4
		case col.Field.Of == metastore.ParamOf:
			return 1
		case col.Field.Of == metastore.MetricOf:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(shown, func(a, b runs.Column) int { return rank(a) - rank(b) })
	if !c.All && len(shown) > maxColumns {
		t.Hidden += len(shown) - maxColumns
		shown = shown[:maxColumns]
	}
	sorted, descending := by, direction != runs.Lower
	if name, desc := strings.CutPrefix(c.Sort, "-"); c.Sort != "" {
		if col := m.Column(name); col != nil {
			sorted, descending = col, desc
		}
	}
	order := make([]int, len(m.Runs))
	for i := range order {
		order[i] = i
	}
	if sorted != nil {
		order = m.Order(*sorted, descending)
	}
	for _, col := range shown {
		name := search.Name(col.Field)
		head := comparedHead{Name: name, Number: col.Numeric()}
		first := "-" + name
		if d := c.direction(col.Field); d == runs.Lower || col.Field.Of != metastore.MetricOf {
			first = name
		}
		if sorted != nil && sorted.Field == col.Field {
			head.Sort, first = "ascending", "-"+name
			if descending {
				head.Sort, first = "descending", name
			}
		}
		head.Link = c.url(map[string]string{"sort": first})
		t.Heads = append(t.Heads, head)
	}
	bests := make([]int, len(shown))
	for i, col := range shown {
		bests[i] = -1
		if d := c.direction(col.Field); d != runs.Unknown && col.Distinct > 1 {
			bests[i], _ = m.Best(col, d)
		}
	}
	from := min(c.From, len(order)-1) / comparePage * comparePage
	page := order[from:min(from+comparePage, len(order))]
	for _, at := range page {
		run := m.Runs[at]
		row := comparedRow{ID: run.RunID, Name: m.Names[run.RunID], Status: run.Status}
		for i, col := range shown {
			cell := valueCell(col.Values[at])
			cell.Best = bests[i] == at
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	t.First, t.Last = from+1, from+len(page)
	if from > 0 {
		t.Back = c.url(map[string]string{"from": strconv.Itoa(from - comparePage)})
	}
	if t.Last < len(order) {
		t.Next = c.url(map[string]string{"from": strconv.Itoa(t.Last)})
	}
	return t
}

// plotData is what the browser draws of many runs: the columns that differ, as
// numbers, or as texts of which there are few.
type plotData struct {
	Runs    []plotRun    `json:"runs"`
	Columns []plotColumn `json:"columns"`
	By      string       `json:"by"`
	Lower   bool         `json:"lower"` // of By, less is better
}

type plotRun struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

type plotColumn struct {
	Name   string `json:"name"`
	Metric bool   `json:"metric"`
	// Values has a number, a text or null for each run.
	Values []any `json:"values"`
}

// The bounds of what is drawn.
const (
	maxPlotColumns = 32
	maxCategories  = 30
)

// newPlotData is nil where there is nothing to draw: fewer than two columns that
// differ.
func newPlotData(m runs.Matrix, by *runs.Column, direction runs.Direction) *plotData {
	data := &plotData{Lower: direction == runs.Lower}
	metrics := 0
	for _, col := range m.Columns {
		if !col.Differs() || col.Names() || col.Field.Of == metastore.TagOf || !col.Numeric() && col.Distinct > maxCategories || len(data.Columns) == maxPlotColumns {
			continue
		}
		one := plotColumn{Name: search.Name(col.Field), Metric: col.Field.Of == metastore.MetricOf, Values: make([]any, len(col.Values))}
		if one.Metric {
			metrics++
		}
		numeric := col.Numeric()
		for i, v := range col.Values {
			switch {
			case !v.Has:
			case numeric:
				if !math.IsInf(*v.Number, 0) && !math.IsNaN(*v.Number) {
					one.Values[i] = *v.Number
				}
			default:
				one.Values[i] = quant.Clip(v.Text, 40)
			}
		}
		data.Columns = append(data.Columns, one)
		if by != nil && by.Field == col.Field {
			data.By = one.Name
		}
	}
	if len(data.Columns) < 2 || metrics == 0 {
		return nil
	}
	for _, run := range m.Runs {
		label := quant.ShortID(run.RunID)
		if name := m.Names[run.RunID]; name != "" {
			label = quant.Clip(name, 40) + " " + label
		}
		data.Runs = append(data.Runs, plotRun{run.RunID, label})
	}
	return data
}

// heatMap is a metric over two params: of the runs in a cell, the best.
type heatMap struct {
	X, Y     string
	Params   []string // that may be chosen
	Metric   string
	Columns  []string
	Rows     []heatRow
	Low, Top string
}

type heatRow struct {
	Name  string
	Cells []heatCell
}

type heatCell struct {
	Text, ID string
	Runs     int
	Level    int // 0 the lowest to heatLevels-1
	Best     bool
}

// The bounds of a heat map.
const (
	heatLevels = 9
	maxHeat    = 40 // values of a param
)

// heatMap is nil where not two params differ.
func (c compareRequest) heatMap(m runs.Matrix, by *runs.Column, direction runs.Direction) *heatMap {
	if by == nil {
		return nil
	}
	h := &heatMap{Metric: by.Field.Name}
	for _, col := range m.Columns {
		if col.Field.Of == metastore.ParamOf && col.Distinct > 1 && col.Distinct <= maxHeat && !col.Names() {
			h.Params = append(h.Params, search.Name(col.Field))
		}
	}
	if len(h.Params) < 2 {
		return nil
	}
	h.Y, h.X = h.Params[0], h.Params[1]
	if slices.Contains(h.Params, c.HeatX) {
		h.X = c.HeatX
		if h.X == h.Y {
			h.Y = h.Params[1]
		}
	}
	if slices.Contains(h.Params, c.HeatY) && c.HeatY != h.X {
		h.Y = c.HeatY
	}
	x, y := m.Column(h.X), m.Column(h.Y)
	at := map[[2]string][]int{}
	low, top := math.Inf(1), math.Inf(-1)
	for i, v := range by.Values {
		if v.Number != nil && x.Values[i].Has && y.Values[i].Has {
			key := [2]string{x.Values[i].Text, y.Values[i].Text}
			at[key] = append(at[key], i)
			low, top = min(low, *v.Number), max(top, *v.Number)
		}
	}
	if len(at) == 0 {
		return nil
	}
	h.Columns, h.Low, h.Top = valuesOf(m, *x), number(low), number(top)
	overall, _ := m.Best(*by, direction)
	for _, name := range valuesOf(m, *y) {
		row := heatRow{Name: quant.Clip(name, 40)}
		for _, column := range h.Columns {
			row.Cells = append(row.Cells, newHeatCell(m, *by, direction, at[[2]string{column, name}], low, top, overall))
		}
		h.Rows = append(h.Rows, row)
	}
	for i, name := range h.Columns {
		h.Columns[i] = quant.Clip(name, 40)
	}
	return h
}

func newHeatCell(m runs.Matrix, by runs.Column, d runs.Direction, places []int, low, top float64, overall int) heatCell {
	cell := heatCell{Runs: len(places)}
	best := -1
	for _, i := range places {
		n := *by.Values[i].Number
		if best < 0 || d == runs.Lower && n < *by.Values[best].Number || d != runs.Lower && n > *by.Values[best].Number {
			best = i
		}
	}
	if best < 0 {
		return cell
	}
	n := *by.Values[best].Number
	cell.Text, cell.ID, cell.Best = strconv.FormatFloat(n, 'g', 4, 64), m.Runs[best].RunID, best == overall
	if top > low {
		cell.Level = min(heatLevels-1, int(heatLevels*(n-low)/(top-low)))
	}
	return cell
}

// valuesOf are the values of a column, each once, in their order.
func valuesOf(m runs.Matrix, col runs.Column) (list []string) {
	for _, i := range m.Order(col, false) {
		if v := col.Values[i]; v.Has && (len(list) == 0 || !slices.Contains(list, v.Text)) {
			list = append(list, v.Text)
		}
	}
	return list
}

// codePart is a part of what two runs are made of, line by line.
type codePart struct {
	Name, Note string
	Lines      []codeLine
	Cut        int // lines that are not shown
}

type codeLine struct{ Class, Text string }

// maxCodeLines is how many lines of a part are shown.
const maxCodeLines = 2000

func codeParts(patch runs.Patch) (parts []codePart) {
	for _, one := range patch.Parts {
		if !one.Differs && one.Note == "" {
			continue
		}
		part := codePart{Name: one.Name, Note: string(one.Note)}
		for line := range strings.Lines(one.Diff) {
			if len(part.Lines) == maxCodeLines {
				part.Cut++
				continue
			}
			line = strings.TrimSuffix(line, "\n")
			class := ""
			switch {
			case strings.HasPrefix(line, "+++ "), strings.HasPrefix(line, "--- "):
				class = "file"
			case strings.HasPrefix(line, "@@"):
				class = "place"
			case strings.HasPrefix(line, "+"):
				class = "added"
			case strings.HasPrefix(line, "-"):
				class = "removed"
			}
			part.Lines = append(part.Lines, codeLine{class, quant.Clip(line, 2000)})
		}
		parts = append(parts, part)
	}
	return parts
}

// Url is the address of this view with another value for one of its names.
func (data comparison) Url(name, value string) string {
	return data.url(map[string]string{name: value})
}
