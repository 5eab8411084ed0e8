package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"quant"
	"quant/internal/output/rows"
)

// Sheet prints rows whose columns are known only when the program runs, one
// after the other, in the chosen format: a JSON array of objects and CSV as
// they come, a table at the end. It masks and cleans as Print does.
type Sheet struct {
	p        *Printer
	formulas rows.Formulas
	out      rows.Writer
	row      []rows.Cell
}

// NewSheet begins a sheet.
func (p *Printer) NewSheet(columns []string) (*Sheet, error) {
	s := &Sheet{p: p, formulas: rows.Formulas{Exact: p.Exact}, row: make([]rows.Cell, len(columns))}
	s.out = rows.New(p.Out(), string(p.Format), rows.Report, &s.formulas)
	shown := make([]rows.Column, len(columns))
	for i, c := range columns {
		switch p.Format {
		case JSON:
			c = p.secrets.Known(c)
		case CSV:
			c = s.csvText(c)
		default:
			c = cleanLine(strings.ToUpper(c))
		}
		shown[i].Name = c
	}
	return s, s.out.Begin(shown)
}

// Row prints a row: a cell is nil, a string, a quant.Status, an int64, a
// float64, a bool, or a fmt.Stringer, which is a text.
func (s *Sheet) Row(cells []any) error {
	for i, c := range cells {
		switch s.p.Format {
		case JSON:
			if err := s.jsonCell(&s.row[i], c); err != nil {
				return err
			}
		case CSV:
			one := s.p.cellOf(c)
			if _, isText := c.(string); isText {
				one.text = s.csvText(one.text)
			}
			s.row[i] = csvCell(one)
		default:
			s.row[i] = s.p.tableCell(s.p.cellOf(c))
		}
	}
	return s.out.Row(s.row)
}

func (s *Sheet) csvText(text string) string {
	if IsTerminal(s.p.streams.Out) {
		text = Clean(text)
	}
	return text
}

func (s *Sheet) jsonCell(cell *rows.Cell, v any) error {
	if t, isText := v.(string); isText {
		*cell = rows.Cell{Kind: rows.Text, Text: []byte(s.p.secrets.Known(t))}
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	*cell = rows.Cell{Kind: rows.Nested, Text: escapeControls(bytes.TrimSuffix(b.Bytes(), []byte("\n")))}
	return nil
}

// Close ends the sheet, and says so where texts of a CSV got a ' before them.
func (s *Sheet) Close() error {
	err := s.out.End()
	s.p.GuardNotice(s.formulas.Guarded)
	return err
}

// cellOf is a value as a table and CSV show it.
func (p *Printer) cellOf(v any) cell {
	switch v := v.(type) {
	case nil:
		return cell{}
	case string:
		return cell{text: p.secrets.Known(v)}
	case quant.Status:
		return cell{text: string(v), status: true}
	case int64:
		return cell{text: strconv.FormatInt(v, 10), number: true}
	case float64:
		return cell{text: strconv.FormatFloat(v, 'g', -1, 64), number: true}
	default:
		return cell{text: fmt.Sprint(v)}
	}
}
