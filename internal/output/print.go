package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"

	"quant"
	"quant/internal/output/rows"
)

// Result is what a command prints. JSON is the value itself, encoded; it must
// be a struct or a slice of structs. CSV is Rows. A table is Sections.
//
// A plain slice of structs needs none of the methods: its fields, by json
// name, are the columns everywhere.
type Result any

// Sectioned is a Result that lays out its own table form.
type Sectioned interface{ Sections() []Section }

// Section is one part of a table form: a title, then rows (a slice of structs)
// or lines of text.
type Section struct {
	Title string
	Rows  any
	Lines []string
	Diff  bool // the lines are a unified diff, coloured as one
}

// Colours reports whether results are printed with colours.
func (p *Printer) Colours() bool { return !p.NoColor && IsTerminal(p.streams.Out) }

// Grid is rows whose columns are known only once they are there, for Rows of a
// Section. A Cells row has one text a column; Columns are shown as they are, and
// what is in one called STATUS is a quant.Status.
type Grid struct {
	Columns []string
	Cells   [][]string
	Numbers []bool // columns that are set to the right; may be shorter
}

// CSVRows is a Result that chooses the slice of structs that CSV shows.
type CSVRows interface{ CSVRows() any }

// Print prints a result to stdout in the chosen format. The error is stdout's.
func (p *Printer) Print(r Result) error {
	var err error
	switch p.Format {
	case JSON:
		err = p.writeJSON(r)
	case CSV:
		if c, ok := r.(CSVRows); ok {
			r = c.CSVRows()
		}
		err = p.writeCSV(r, true)
	default:
		err = p.writeSections(r)
	}
	return err
}

// writeJSON encodes v as every JSON result is: two spaces of indent, no HTML
// escapes, a line feed at the end. A nil slice is [].
func (p *Printer) writeJSON(v any) error {
	if rv := reflect.ValueOf(v); rv.Kind() == reflect.Slice && rv.IsNil() {
		v = []struct{}{}
	}
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := p.Out().Write(escapeControls(p.secrets.KnownJSON(doc.Bytes())))
	return err
}

// escapeControls writes the characters that a terminal would obey and that JSON
// leaves as they are (C1 controls, marks that turn the direction of writing) as
// \u escapes: the document means the same.
func escapeControls(doc []byte) []byte {
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Bidi_Control, r) }
	if bytes.IndexFunc(doc, control) < 0 {
		return doc
	}
	var out []byte
	for _, r := range string(doc) {
		if control(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

func (p *Printer) writeCSV(list any, header bool) error {
	columns, records := p.tabulate(list)
	terminal := IsTerminal(p.streams.Out)
	formulas := rows.Formulas{Exact: p.Exact}
	defer func() { p.GuardNotice(formulas.Guarded) }()
	out := rows.New(p.Out(), rows.CSV, rows.Report, &formulas)
	if header {
		if err := out.Begin(named(columns)); err != nil {
			return err
		}
	}
	cells := make([]rows.Cell, len(columns))
	for _, rec := range records {
		for i, c := range rec {
			if terminal {
				c.text = Clean(c.text)
			}
			cells[i] = csvCell(c)
		}
		if err := out.Row(cells); err != nil {
			return err
		}
	}
	return out.End()
}

// csvCell is a cell of a CSV. A number is never taken for a formula.
func csvCell(c cell) rows.Cell {
	kind := rows.Text
	if c.number {
		kind = rows.Number
	}
	return rows.Cell{Kind: kind, Text: []byte(c.text)}
}

// GuardNotice says how many texts of a CSV got a ' before them; nothing for none.
func (p *Printer) GuardNotice(texts int64) {
	if texts > 0 {
		p.Notice("%s of the CSV begin like a formula and got a ' before them (--exact leaves them as they are)", quant.Count(int(texts), "text"))
	}
}

func named(columns []string) []rows.Column {
	list := make([]rows.Column, len(columns))
	for i, c := range columns {
		list[i].Name = c
	}
	return list
}

func (p *Printer) writeSections(r Result) error {
	for _, text := range p.sections(r) {
		if _, err := io.WriteString(p.Out(), text); err != nil {
			return err
		}
	}
	return nil
}

// Screen is the table form of a result as lines of at most width columns, for
// who draws on a terminal.
func (p *Printer) Screen(r Result, width int) []string {
	var lines []string
	for line := range strings.Lines(strings.Join(p.sections(r), "")) {
		lines = append(lines, text.Trim(strings.TrimSuffix(line, "\n"), width))
	}
	return lines
}

// sections are the parts of the table form of a result.
func (p *Printer) sections(r Result) (parts []string) {
	sections := []Section{{Rows: r}}
	if s, ok := r.(Sectioned); ok {
		sections = s.Sections()
	}
	for i, s := range sections {
		var b strings.Builder
		if i > 0 {
			b.WriteByte('\n')
		}
		if s.Title != "" {
			b.WriteString(Clean(p.secrets.Known(s.Title)) + "\n")
		}
		for _, line := range s.Lines {
			line = Clean(p.secrets.Known(line))
			if s.Diff && p.Colours() {
				line = paintDiff(line)
			}
			b.WriteString(line + "\n")
		}
		if s.Rows != nil {
			b.WriteString(p.renderTable(s.Rows))
		}
		parts = append(parts, b.String())
	}
	return parts
}

func (p *Printer) renderTable(list any) string {
	columns, records := p.tabulate(list)
	_, grid := list.(Grid)
	for i, c := range columns {
		if !grid {
			c = strings.ToUpper(c)
		}
		columns[i] = cleanLine(c)
	}
	var b strings.Builder // its Write never fails
	out := rows.New(&b, rows.Table, rows.Report, nil)
	_ = out.Begin(named(columns))
	cells := make([]rows.Cell, len(columns))
	for _, rec := range records {
		for i, c := range rec {
			cells[i] = p.tableCell(c)
		}
		_ = out.Row(cells)
	}
	_ = out.End()
	return b.String()
}

// tableCell is a cell of a table.
func (p *Printer) tableCell(c cell) rows.Cell {
	shown := rows.Cell{Kind: rows.Text, Text: []byte(cleanLine(c.text))}
	if c.number {
		shown.Kind = rows.Number
	}
	if c.status && p.Colours() {
		shown.Paint = func(t string) string { return paint(quant.Status(c.text)).Sprint(t) }
	}
	return shown
}

func paint(s quant.Status) text.Color {
	switch s {
	case quant.Success:
		return text.FgGreen
	case quant.Fail:
		return text.FgRed
	default:
		return text.FgYellow
	}
}

// paintDiff colours a line of a unified diff, by what it begins with.
func paintDiff(line string) string {
	for _, c := range []struct {
		prefix string
		colors text.Colors
	}{
		{"+++ ", text.Colors{text.Bold}}, {"--- ", text.Colors{text.Bold}}, {"@@ ", text.Colors{text.FgCyan}},
		{"+", text.Colors{text.FgGreen}}, {"-", text.Colors{text.FgRed}}, {"# ", text.Colors{text.Faint}},
	} {
		if strings.HasPrefix(line, c.prefix) {
			return c.colors.Sprint(line)
		}
	}
	return line
}

// cell is one value as it is printed.
type cell struct {
	text   string
	number bool
	status bool
}

// tabulate turns a slice of structs (or one struct) into columns, named by
// their json tags, and cells. Embedded structs are flattened; fields without a
// json name or tagged table:"-" are left out.
func (p *Printer) tabulate(list any) (columns []string, records [][]cell) {
	if g, ok := list.(Grid); ok {
		for _, texts := range g.Cells {
			rec := make([]cell, len(texts))
			for i, text := range texts {
				rec[i] = cell{text: p.secrets.Known(text), number: i < len(g.Numbers) && g.Numbers[i], status: g.Columns[i] == "STATUS"}
			}
			records = append(records, rec)
		}
		return slices.Clone(g.Columns), records
	}
	v := reflect.ValueOf(list)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Slice {
		s := reflect.MakeSlice(reflect.SliceOf(v.Type()), 0, 1)
		v = reflect.Append(s, v)
	}
	fields := columnsOf(v.Type().Elem(), nil)
	for _, f := range fields {
		columns = append(columns, f.name)
	}
	for i := range v.Len() {
		rec := make([]cell, len(fields))
		for j, f := range fields {
			rec[j] = format(v.Index(i).FieldByIndex(f.index))
			if !rec[j].number && !rec[j].status {
				rec[j].text = p.secrets.Known(rec[j].text)
			}
		}
		records = append(records, rec)
	}
	return columns, records
}

type column struct {
	name  string
	index []int
}

func columnsOf(t reflect.Type, prefix []int) []column {
	var out []column
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(append([]int(nil), prefix...), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("json") == "" {
			out = append(out, columnsOf(f.Type, index)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" && f.Tag.Get("table") != "-" {
			out = append(out, column{name, index})
		}
	}
	return out
}

func format(v reflect.Value) cell {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return cell{}
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case quant.Status:
		return cell{text: string(x), status: true}
	case quant.JSON:
		return cell{text: string(x)}
	case fmt.Stringer:
		return cell{text: x.String()}
	}
	switch v.Kind() {
	case reflect.String:
		return cell{text: v.String()}
	case reflect.Bool:
		return cell{text: strconv.FormatBool(v.Bool())}
	case reflect.Int, reflect.Int64, reflect.Int32:
		return cell{text: strconv.FormatInt(v.Int(), 10), number: true}
	case reflect.Float64:
		return cell{text: strconv.FormatFloat(v.Float(), 'g', -1, 64), number: true}
	default:
		b, err := json.Marshal(v.Interface())
		if err != nil {
			return cell{text: fmt.Sprint(v.Interface())}
		}
		return cell{text: string(b)}
	}
}
