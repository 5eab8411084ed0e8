package sandbox

import (
	"io"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	duck "github.com/duckdb/duckdb-go-bindings"

	"quant"
	"quant/internal/output/rows"
)

// How much of a result is held before it is written.
const (
	batchRows  = 64 << 10
	batchBytes = 32 << 20 // of texts, in one column
)

// instant is the type of a TIMESTAMP: all of a lab's are UTC.
var instant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}

// arrowWriter writes a result as an Arrow stream. The process ends after it, so that
// nothing is released.
type arrowWriter struct {
	out     io.Writer
	stream  *ipc.Writer
	builder *array.RecordBuilder
	rows    int // in the builder
	valid   []bool
	buf     []byte
}

// begin takes the columns; names are made unique.
func (a *arrowWriter) begin(names []string, types []arrow.DataType) error {
	fields := make([]arrow.Field, len(names))
	for i, name := range rows.UniqueNames(names) {
		fields[i] = arrow.Field{Name: name, Type: types[i], Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	a.builder = array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	a.stream = ipc.NewWriter(a.out, ipc.WithSchema(schema))
	return nil
}

// added counts rows that the builders have got, and writes them when they are many.
func (a *arrowWriter) added(n int) error {
	a.rows += n
	full := a.rows >= batchRows
	for _, b := range a.builder.Fields() {
		switch b := b.(type) {
		case *array.StringBuilder:
			full = full || b.DataLen() >= batchBytes
		case *array.BinaryBuilder:
			full = full || b.DataLen() >= batchBytes
		}
	}
	if !full {
		return nil
	}
	return a.flush()
}

func (a *arrowWriter) flush() error {
	a.rows = 0
	batch := a.builder.NewRecordBatch()
	defer batch.Release()
	return a.stream.Write(batch)
}

// End writes the last rows and the end of the stream, or of an empty one all of it.
func (a *arrowWriter) End() error {
	if a.stream == nil {
		return nil
	}
	if a.rows > 0 {
		if err := a.flush(); err != nil {
			return err
		}
	}
	return a.stream.Close()
}

// arrowType is the type of a column: its own where Arrow has one, else a text, as in
// CSV.
func (r *reader) arrowType() arrow.DataType {
	switch r.id {
	case duck.TypeBoolean:
		return arrow.FixedWidthTypes.Boolean
	case duck.TypeTinyInt:
		return arrow.PrimitiveTypes.Int8
	case duck.TypeSmallInt:
		return arrow.PrimitiveTypes.Int16
	case duck.TypeInteger:
		return arrow.PrimitiveTypes.Int32
	case duck.TypeBigInt:
		return arrow.PrimitiveTypes.Int64
	case duck.TypeUTinyInt:
		return arrow.PrimitiveTypes.Uint8
	case duck.TypeUSmallInt:
		return arrow.PrimitiveTypes.Uint16
	case duck.TypeUInteger:
		return arrow.PrimitiveTypes.Uint32
	case duck.TypeUBigInt:
		return arrow.PrimitiveTypes.Uint64
	case duck.TypeFloat:
		return arrow.PrimitiveTypes.Float32
	case duck.TypeDouble:
		return arrow.PrimitiveTypes.Float64
	case duck.TypeDate:
		return arrow.FixedWidthTypes.Date32
	case duck.TypeTime:
		return arrow.FixedWidthTypes.Time64us
	case duck.TypeTimeNS:
		return arrow.FixedWidthTypes.Time64ns
	case duck.TypeTimestamp, duck.TypeTimestampTZ:
		return instant
	case duck.TypeTimestampS:
		return &arrow.TimestampType{Unit: arrow.Second, TimeZone: "UTC"}
	case duck.TypeTimestampMS:
		return &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}
	case duck.TypeTimestampNS:
		return &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
	case duck.TypeHugeInt:
		return &arrow.Decimal128Type{Precision: 38}
	case duck.TypeDecimal:
		return &arrow.Decimal128Type{Precision: int32(r.digits), Scale: int32(r.scale)}
	case duck.TypeBlob:
		return arrow.BinaryTypes.Binary
	}
	return arrow.BinaryTypes.String
}

// beginArrow is begin where chunks are to come.
func (w *rowWriter) beginArrow(cols []rows.Column, readers []*reader) error {
	names, types := make([]string, len(cols)), make([]arrow.DataType, len(cols))
	for i, c := range cols {
		names[i], types[i] = c.Name, readers[i].arrowType()
		if w.mask != nil {
			names[i] = w.mask.Known(c.Name)
		}
	}
	w.done.Columns = names
	return w.arrow.begin(names, types)
}

// chunk takes the rows of a chunk.
func (w *rowWriter) chunk(readers []*reader, size int) error {
	n := size
	if w.limit > 0 {
		n = int(min(int64(size), w.limit-w.done.Rows))
	}
	for i, r := range readers {
		if err := w.appendColumn(w.arrow.builder.Field(i), r, n); err != nil {
			return quant.Errorf(quant.Failed, "column %s: %w", w.done.Columns[i], err).WithHint("cast it: CAST(%s AS DOUBLE)", w.done.Columns[i])
		}
	}
	w.done.Rows += int64(n)
	if err := w.arrow.added(n); err != nil {
		return err
	}
	if n < size {
		w.done.Cut = true
		return errCut
	}
	return nil
}

// vector is a column's first n values as they stand.
func vector[T any](r *reader, n int) []T { return unsafe.Slice((*T)(r.data), n) }

// appendColumn appends the first n values of a column.
func (w *rowWriter) appendColumn(to array.Builder, r *reader, n int) error {
	a := w.arrow
	var valid []bool // nil: all are
	if r.valid != nil || r.id == duck.TypeSQLNull {
		valid = a.valid[:0]
		for i := range n {
			valid = append(valid, r.has(i))
		}
		a.valid = valid
	}
	if n == 0 {
		return nil
	}
	switch b := to.(type) {
	case *array.BooleanBuilder:
		bits := make([]bool, n)
		for i, v := range vector[uint8](r, n) {
			bits[i] = v != 0
		}
		b.AppendValues(bits, valid)
	case *array.Int8Builder:
		b.AppendValues(vector[int8](r, n), valid)
	case *array.Int16Builder:
		b.AppendValues(vector[int16](r, n), valid)
	case *array.Int32Builder:
		b.AppendValues(vector[int32](r, n), valid)
	case *array.Int64Builder:
		b.AppendValues(vector[int64](r, n), valid)
	case *array.Uint8Builder:
		b.AppendValues(vector[uint8](r, n), valid)
	case *array.Uint16Builder:
		b.AppendValues(vector[uint16](r, n), valid)
	case *array.Uint32Builder:
		b.AppendValues(vector[uint32](r, n), valid)
	case *array.Uint64Builder:
		b.AppendValues(vector[uint64](r, n), valid)
	case *array.Float32Builder:
		b.AppendValues(vector[float32](r, n), valid)
	case *array.Float64Builder:
		b.AppendValues(vector[float64](r, n), valid)
	case *array.Date32Builder:
		b.AppendValues(vector[arrow.Date32](r, n), valid)
	case *array.Time64Builder:
		b.AppendValues(vector[arrow.Time64](r, n), valid)
	case *array.TimestampBuilder:
		b.AppendValues(vector[arrow.Timestamp](r, n), valid)
	case *array.Decimal128Builder:
		numbers := make([]decimal128.Num, n)
		for i := range numbers {
			if valid != nil && !valid[i] {
				continue
			}
			numbers[i] = r.decimal(i)
			if !numbers[i].FitsInPrecision(38) {
				return quant.Errorf(quant.Failed, "a whole number has more than 38 digits")
			}
		}
		b.AppendValues(numbers, valid)
	case *array.BinaryBuilder:
		for i := range n {
			if valid != nil && !valid[i] {
				b.AppendNull()
				continue
			}
			b.Append(r.bytes(i))
		}
	case *array.StringBuilder:
		plain := r.id == duck.TypeVarchar && w.mask == nil
		for i := range n {
			switch {
			case valid != nil && !valid[i]:
				b.AppendNull()
			case plain:
				b.BinaryBuilder.Append(r.bytes(i))
			default:
				text, kind := r.append(a.buf[:0], i)
				a.buf = text
				b.BinaryBuilder.Append(w.masked(kind, text))
			}
		}
	}
	return nil
}

// decimal returns the row-th value of a HUGEINT or a DECIMAL, without its scale.
func (r *reader) decimal(row int) decimal128.Num {
	if r.id == duck.TypeDecimal {
		switch r.physical {
		case duck.TypeSmallInt:
			return decimal128.FromI64(int64(at[int16](r, row)))
		case duck.TypeInteger:
			return decimal128.FromI64(int64(at[int32](r, row)))
		case duck.TypeBigInt:
			return decimal128.FromI64(at[int64](r, row))
		}
	}
	v := at[wide](r, row)
	return decimal128.New(int64(v.hi), v.lo)
}

// exactFloat is the largest whole number up to which a double has all of them.
const exactFloat = 1 << 53

// exact tells whether a whole number is one as a double.
func exact(v int64) bool { return v >= -exactFloat && v <= exactFloat }
