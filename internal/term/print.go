package term

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"quant"
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
}

// CSVRows is a Result that chooses the slice of structs that CSV shows.
type CSVRows interface{ CSVRows() any }

// Print prints a result to stdout in the chosen format. The error is stdout's.
func (p *Printer) Print(r Result) error {
	var err error
	switch p.Format {
	case JSON:
		err = writeJSON(p.Out(), r)
	case CSV:
		if c, ok := r.(CSVRows); ok {
			r = c.CSVRows()
		}
		err = writeCSV(p.Out(), r)
	default:
		err = p.writeSections(r)
	}
	return err
}

// writeJSON encodes v as every JSON result is: two spaces of indent, no
// HTML escapes, a line feed at the end. A nil slice is [].
func writeJSON(w io.Writer, v any) error {
	if rv := reflect.ValueOf(v); rv.Kind() == reflect.Slice && rv.IsNil() {
		v = []struct{}{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func writeCSV(w io.Writer, rows any) error {
	columns, records := tabulate(rows)
	out := csv.NewWriter(w)
	if err := out.Write(columns); err != nil {
		return err
	}
	for _, rec := range records {
		cells := make([]string, len(rec))
		for i, c := range rec {
			cells[i] = c.text
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func (p *Printer) writeSections(r Result) error {
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
			b.WriteString(Clean(s.Title) + "\n")
		}
		for _, line := range s.Lines {
			b.WriteString(Clean(line) + "\n")
		}
		if s.Rows != nil {
			b.WriteString(p.renderTable(s.Rows))
		}
		if _, err := io.WriteString(p.Out(), b.String()); err != nil {
			return err
		}
	}
	return nil
}

func (p *Printer) renderTable(rows any) string {
	columns, records := tabulate(rows)
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	t.SetStyle(style)
	header := make(table.Row, len(columns))
	configs := make([]table.ColumnConfig, 0, len(columns))
	for i, c := range columns {
		header[i] = strings.ToUpper(c)
		if len(records) > 0 && records[0][i].number {
			configs = append(configs, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(configs)
	color := !p.NoColor && IsTerminal(p.streams.Out)
	for _, rec := range records {
		row := make(table.Row, len(rec))
		for i, c := range rec {
			cell := cleanLine(c.text)
			if color && c.status {
				cell = paint(quant.Status(c.text)).Sprint(cell)
			}
			row[i] = cell
		}
		t.AppendRow(row)
	}
	var b strings.Builder
	for line := range strings.Lines(t.Render()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
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

// cell is one value as it is printed.
type cell struct {
	text   string
	number bool
	status bool
}

// tabulate turns a slice of structs (or one struct) into columns, named by
// their json tags, and cells. Embedded structs are flattened; fields without a
// json name or tagged table:"-" are left out.
func tabulate(rows any) (columns []string, records [][]cell) {
	v := reflect.ValueOf(rows)
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
