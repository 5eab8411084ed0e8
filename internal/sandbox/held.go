package sandbox

import (
	"bytes"
	"database/sql/driver"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"quant/internal/output/rows"
)

// heldRows are all rows of a result of SQLite, whose columns have no types: a column's
// is the one that all its values have, and known only after the last.
type heldRows struct {
	names []string
	types []string // in DuckDB's words; "": NULL alone so far
	rows  [][]driver.Value
}

func (h *heldRows) add(row []driver.Value) {
	kept := make([]driver.Value, len(row))
	for i, v := range row {
		if b, is := v.([]byte); is {
			v = bytes.Clone(b)
		}
		kept[i] = v
		h.types[i] = common(h.types[i], v)
	}
	h.rows = append(h.rows, kept)
}

// common is the type of values of a type and of one more.
func common(of string, v driver.Value) string {
	this := "VARCHAR"
	switch v := v.(type) {
	case nil:
		return of
	case int64:
		this = "BIGINT"
		if of == "DOUBLE" && exact(v) {
			return of
		}
	case float64:
		this = "DOUBLE"
	case bool:
		this = "BOOLEAN"
	case time.Time:
		this = "TIMESTAMP"
	case []byte:
		this = "BLOB"
	}
	if of == "" || of == this {
		return this
	}
	return "VARCHAR"
}

// settle ends the types: whole numbers before a double are doubles if they can be.
func (h *heldRows) settle() {
	for i, name := range h.types {
		if name == "" {
			h.types[i] = "VARCHAR"
		}
		if name != "VARCHAR" {
			continue
		}
		numbers, some := true, false
		for _, row := range h.rows {
			switch v := row[i].(type) {
			case nil:
			case int64:
				numbers, some = numbers && exact(v), true
			case float64:
				some = true
			default:
				numbers = false
			}
		}
		if numbers && some {
			h.types[i] = "DOUBLE"
		}
	}
}

// arrowTypes are the types of heldRows.
var arrowTypes = map[string]arrow.DataType{
	"BIGINT": arrow.PrimitiveTypes.Int64, "DOUBLE": arrow.PrimitiveTypes.Float64, "BOOLEAN": arrow.FixedWidthTypes.Boolean,
	"TIMESTAMP": instant, "BLOB": arrow.BinaryTypes.Binary, "VARCHAR": arrow.BinaryTypes.String,
}

// write hands the rows over.
func (h *heldRows) write(w *rowWriter) error {
	h.settle()
	if w.arrow == nil {
		cols, cells := make([]rows.Column, len(h.names)), make([]rows.Cell, len(h.names))
		for i, name := range h.names {
			cols[i] = rows.Column{Name: name, Type: h.types[i]}
		}
		if err := w.begin(cols); err != nil {
			return err
		}
		for _, row := range h.rows {
			for i, v := range row {
				cells[i] = sqliteCell(cells[i].Text[:0], v)
			}
			if err := w.row(cells); err != nil {
				return err
			}
		}
		return nil
	}
	types := make([]arrow.DataType, len(h.names))
	for i, name := range h.names {
		types[i] = arrowTypes[h.types[i]]
		if w.mask != nil {
			h.names[i] = w.mask.Known(name)
		}
	}
	w.done.Columns = h.names
	if err := w.arrow.begin(h.names, types); err != nil {
		return err
	}
	for _, row := range h.rows {
		if w.limit > 0 && w.done.Rows == w.limit {
			w.done.Cut = true
			return errCut
		}
		for i, v := range row {
			w.appendValue(w.arrow.builder.Field(i), v)
		}
		w.done.Rows++
		if err := w.arrow.added(1); err != nil {
			return err
		}
	}
	return nil
}

func (w *rowWriter) appendValue(to array.Builder, v driver.Value) {
	if v == nil {
		to.AppendNull()
		return
	}
	switch b := to.(type) {
	case *array.Int64Builder:
		b.Append(v.(int64))
	case *array.Float64Builder:
		if whole, is := v.(int64); is {
			v = float64(whole)
		}
		b.Append(v.(float64))
	case *array.BooleanBuilder:
		b.Append(v.(bool))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v.(time.Time).UnixMicro()))
	case *array.BinaryBuilder:
		b.Append(v.([]byte))
	case *array.StringBuilder:
		cell := sqliteCell(w.arrow.buf[:0], v)
		w.arrow.buf = cell.Text
		b.BinaryBuilder.Append(w.masked(cell.Kind, cell.Text))
	}
}
