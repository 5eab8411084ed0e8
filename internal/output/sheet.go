package output

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"quant"
)

// Sheet prints rows whose columns are known only when the program runs, one
// after the other, in the chosen format: a JSON array of objects and CSV as
// they come, a table at the end. It masks and cleans as Print does.
type Sheet struct {
	p       *Printer
	columns []string
	// Exact leaves texts in CSV as they are. Otherwise one that a spreadsheet
	// would take for a formula (it begins with = + - @, a tab or a carriage
	// return, and is no number) gets a ' before it.
	Exact   bool
	changed int
	csv     *csv.Writer
	records [][]cell
	n       int
}

// NewSheet begins a sheet.
func (p *Printer) NewSheet(columns []string, exact bool) (*Sheet, error) {
	s := &Sheet{p: p, columns: columns, Exact: exact}
	var err error
	switch p.Format {
	case JSON:
		_, err = p.Out().Write([]byte("["))
	case CSV:
		s.csv = csv.NewWriter(p.Out())
		texts := make([]string, len(columns))
		for i, c := range columns {
			texts[i] = s.csvText(c)
		}
		err = s.csv.Write(texts)
	}
	return s, err
}

// Row prints a row: a cell is nil, a string, a quant.Status, an int64, a
// float64, a bool, or a fmt.Stringer, which is a text.
func (s *Sheet) Row(cells []any) error {
	s.n++
	switch s.p.Format {
	case JSON:
		return s.json(cells)
	case CSV:
		texts := make([]string, len(cells))
		for i, c := range cells {
			one := s.p.cellOf(c)
			texts[i] = one.text
			if _, isText := c.(string); isText {
				texts[i] = s.csvText(one.text)
			}
		}
		return s.csv.Write(texts)
	default:
		rec := make([]cell, len(cells))
		for i, c := range cells {
			rec[i] = s.p.cellOf(c)
		}
		s.records = append(s.records, rec)
		return nil
	}
}

func (s *Sheet) csvText(text string) string {
	if IsTerminal(s.p.streams.Out) {
		text = Clean(text)
	}
	if _, isNumber := quant.ParseNumber(text); !s.Exact && !isNumber && text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		s.changed++
		return "'" + text
	}
	return text
}

func (s *Sheet) json(cells []any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if s.n > 1 {
		b.WriteByte(',')
	}
	b.WriteString("\n  {")
	for i, c := range cells {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n    ")
		for j, v := range []any{s.columns[i], c} {
			if t, isText := v.(string); isText {
				v = s.p.secrets.Known(t)
			}
			if err := enc.Encode(v); err != nil {
				return err
			}
			b.Truncate(b.Len() - 1) // the encoder's line feed
			if j == 0 {
				b.WriteString(": ")
			}
		}
	}
	b.WriteString("\n  }")
	_, err := s.p.Out().Write(escapeObeyed(b.Bytes()))
	return err
}

// Close ends the sheet. changed is how many cells of a CSV got a ' before them.
func (s *Sheet) Close() (changed int, err error) {
	switch s.p.Format {
	case JSON:
		end := "]\n"
		if s.n > 0 {
			end = "\n]\n"
		}
		_, err = s.p.Out().Write([]byte(end))
	case CSV:
		s.csv.Flush()
		err = s.csv.Error()
	default:
		_, err = s.p.Out().Write([]byte(s.p.renderCells(upper(s.columns), s.records)))
	}
	return s.changed, err
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
