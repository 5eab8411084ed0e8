package curator

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"quant"
	"quant/internal/arrowfile"
)

// arrowRows writes the rows of an Arrow file (Feather version 2) or stream.
func arrowRows(ctx context.Context, f *os.File, size int64, _ plan, out *lineWriter) error {
	bad := func(err error) error {
		if _, ours := errors.AsType[*quant.Error](err); ours || ctx.Err() != nil || errors.Is(err, io.ErrClosedPipe) {
			return err
		}
		return quant.Errorf(quant.Invalid, "cannot be read as Arrow: %s", clip(err.Error())).WithHint("the file may be damaged or cut off: fetch it again")
	}
	var row []cell
	n := int64(0)
	err := arrowfile.Read(ctx, f, size, func(schema *arrow.Schema) error {
		row = make([]cell, schema.NumFields())
		for i, field := range schema.Fields() {
			row[i].text = field.Name
		}
		return out.row(0, row)
	}, func(batch arrow.RecordBatch) error {
		columns := make([]func(int) cell, len(row))
		for i, c := range batch.Columns() {
			var err error
			if columns[i], err = arrowColumn(c); err != nil {
				return err
			}
		}
		for i := range int(batch.NumRows()) {
			if i%4096 == 0 && ctx.Err() != nil { // rows of nulls cost the file nothing
				return ctx.Err()
			}
			for j, value := range columns {
				row[j] = cell{}
				if !batch.Column(j).IsNull(i) {
					row[j] = value(i)
				}
			}
			n++
			if err := out.row(n, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return bad(err)
	}
	return nil
}

// arrowColumn returns what gives the values of a column that are not null. A
// number is written so that reading it gives the same double; a float32 is first
// made a double, as Parquet's is.
func arrowColumn(column arrow.Array) (func(i int) cell, error) {
	float := func(at func(int) float64) func(int) cell {
		return func(i int) cell { return cell{strconv.FormatFloat(at(i), 'g', -1, 64), true} }
	}
	switch a := column.(type) {
	case *array.Float64:
		return float(a.Value), nil
	case *array.Float32:
		return float(func(i int) float64 { return float64(a.Value(i)) }), nil
	case *array.Float16:
		return float(func(i int) float64 { return float64(a.Value(i).Float32()) }), nil
	case *array.Int64:
		return func(i int) cell { return cell{strconv.FormatInt(a.Value(i), 10), true} }, nil
	case *array.Uint64:
		return func(i int) cell { return cell{strconv.FormatUint(a.Value(i), 10), true} }, nil
	case *array.Date32:
		return func(i int) cell { return cell{text: a.Value(i).ToTime().Format(time.DateOnly)} }, nil
	case *array.Date64:
		return func(i int) cell { return cell{text: wallClock(a.Value(i).ToTime())} }, nil
	case *array.Timestamp:
		typ := a.DataType().(*arrow.TimestampType)
		zone, err := typ.GetZone()
		if err != nil {
			return nil, quant.Errorf(quant.Invalid, "a column of instants is in the zone %s, which is not known here", clip(typ.TimeZone)).WithHint("write the column as dates when the file is made")
		}
		return func(i int) cell {
			at := a.Value(i).ToTime(typ.Unit)
			if typ.TimeZone == "" {
				return cell{text: wallClock(at)}
			}
			return cell{text: at.In(zone).Format("2006-01-02T15:04:05Z07:00")}
		}, nil
	case *array.String:
		return func(i int) cell { return cell{text: a.Value(i)} }, nil
	case *array.LargeString:
		return func(i int) cell { return cell{text: a.Value(i)} }, nil
	case *array.StringView:
		return func(i int) cell { return cell{text: a.Value(i)} }, nil
	case *array.Dictionary:
		value, err := arrowColumn(a.Dictionary())
		if err != nil {
			return nil, err
		}
		return func(i int) cell {
			k := a.GetValueIndex(i)
			if a.Dictionary().IsNull(k) {
				return cell{}
			}
			return value(k)
		}, nil
	}
	switch column.DataType().ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.UINT8, arrow.UINT16, arrow.UINT32,
		arrow.DECIMAL32, arrow.DECIMAL64, arrow.DECIMAL128, arrow.DECIMAL256:
		return func(i int) cell { return cell{column.ValueStr(i), true} }, nil
	}
	return func(i int) cell { return cell{text: column.ValueStr(i)} }, nil
}

// wallClock writes a time without a zone: a day alone where it is midnight.
func wallClock(t time.Time) string {
	if t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return t.Format("2006-01-02 15:04:05.999999999")
}

// arrowZone is the zone of a column in a schema that Parquet keeps in base64, "" if
// it says none.
func arrowZone(schema, column string) (zone string) {
	defer func() {
		if recover() != nil { // the schema is damaged, and only a hint
			zone = ""
		}
	}()
	data, err := base64.StdEncoding.DecodeString(schema)
	if err != nil {
		return ""
	}
	r, err := ipc.NewReader(bytes.NewReader(data), ipc.WithAllocator(arrowfile.NewMemory(int64(len(data)))))
	if err != nil {
		return ""
	}
	defer r.Release()
	for _, field := range r.Schema().Fields() {
		if typ, ok := field.Type.(*arrow.TimestampType); ok && field.Name == column {
			return typ.TimeZone
		}
	}
	return ""
}
