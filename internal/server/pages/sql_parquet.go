package pages

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"quant"
	"quant/internal/arrowfile"
	"quant/internal/parquet"
)

// writeParquet writes the rows of an Arrow stream, which the sandbox wrote, to a Parquet
// file of the same types.
func writeParquet(ctx context.Context, rows *os.File, path string) error {
	var columns []parquet.Column
	failed := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return quant.Errorf(quant.Failed, "read the result: %w", err)
	}
	size, err := rows.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = rows.Seek(0, io.SeekStart)
	}
	if err != nil {
		return failed(err)
	}
	// A file is written from its columns on, which stand at the stream's beginning.
	begin := func(schema *arrow.Schema) error {
		for _, f := range schema.Fields() {
			columns = append(columns, parquet.Column{Name: f.Name, Type: parquetType(f.Type)})
		}
		return io.ErrClosedPipe
	}
	if err := arrowfile.Read(ctx, rows, size, begin, nil); err != io.ErrClosedPipe { //nolint:errorlint // as it is
		return failed(err)
	}
	if _, err := rows.Seek(0, io.SeekStart); err != nil {
		return failed(err)
	}
	return parquet.Write(ctx, path, columns, false, func(add func([]any) error) error {
		values := make([]any, len(columns))
		var adding error
		err := arrowfile.Read(ctx, rows, size, func(*arrow.Schema) error { return nil }, func(batch arrow.RecordBatch) error {
			for at := range int(batch.NumRows()) {
				for i, c := range batch.Columns() {
					values[i] = parquetValue(c, at)
				}
				if adding = add(values); adding != nil {
					return adding
				}
			}
			return nil
		})
		if adding != nil || err == nil {
			return adding
		}
		return failed(err)
	})
}

// parquetType is the type of a column: a text where it is none of parquet's.
func parquetType(t arrow.DataType) parquet.Type {
	switch t.ID() {
	case arrow.BOOL:
		return parquet.Boolean
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32:
		return parquet.BigInt
	case arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128, arrow.UINT64:
		return parquet.Double
	case arrow.DATE32:
		return parquet.Date
	case arrow.TIMESTAMP:
		return parquet.Timestamp
	}
	return parquet.Text
}

// parquetValue is a value of a column of parquetType.
func parquetValue(c arrow.Array, at int) any {
	if c.IsNull(at) {
		return nil
	}
	switch c := c.(type) {
	case *array.Boolean:
		return c.Value(at)
	case *array.Int8:
		return int64(c.Value(at))
	case *array.Int16:
		return int64(c.Value(at))
	case *array.Int32:
		return int64(c.Value(at))
	case *array.Int64:
		return c.Value(at)
	case *array.Uint8:
		return int64(c.Value(at))
	case *array.Uint16:
		return int64(c.Value(at))
	case *array.Uint32:
		return int64(c.Value(at))
	case *array.Uint64:
		return float64(c.Value(at))
	case *array.Float32:
		return float64(c.Value(at))
	case *array.Float64:
		return c.Value(at)
	case *array.Decimal128:
		return c.Value(at).ToFloat64(c.DataType().(*arrow.Decimal128Type).Scale)
	case *array.Date32:
		return time.Unix(int64(c.Value(at))*86400, 0).UTC()
	case *array.Timestamp:
		return c.Value(at).ToTime(c.DataType().(*arrow.TimestampType).Unit)
	case *array.String:
		return c.Value(at)
	}
	return c.ValueStr(at)
}
