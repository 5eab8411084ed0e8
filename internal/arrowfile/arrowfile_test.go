package arrowfile

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// numbers is a compressed file, or a stream, of batches of columns of numbers.
func numbers(t *testing.T, stream bool, batches, rows int) []byte {
	t.Helper()
	var fields []arrow.Field
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64})
	}
	schema := arrow.NewSchema(fields, nil)
	var b bytes.Buffer
	var w interface {
		Write(arrow.RecordBatch) error
		Close() error
	} = ipc.NewWriter(&b, ipc.WithSchema(schema), ipc.WithZstd())
	if !stream {
		fw, err := ipc.NewFileWriter(&b, ipc.WithSchema(schema), ipc.WithZstd())
		if err != nil {
			t.Fatal(err)
		}
		w = fw
	}
	for range batches {
		build := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
		for i := range rows {
			for j := range fields {
				build.Field(j).(*array.Float64Builder).Append(float64(i))
			}
		}
		if err := w.Write(build.NewRecordBatch()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What a reader gives back may be had again, so that the bound is on a batch and not on
// a file.
func TestTheMemoryOfAnArrowReaderIsBounded(t *testing.T) {
	for _, stream := range []bool{false, true} {
		data := numbers(t, stream, 50, 100)
		m := &Memory{Allocator: memory.NewGoAllocator(), buffer: 1 << 20, held: 1 << 15}
		var next func() (arrow.RecordBatch, error)
		if stream {
			r, err := ipc.NewReader(bytes.NewReader(data), ipc.WithAllocator(m))
			if err != nil {
				t.Fatal(err)
			}
			next = r.Read
		} else {
			r, err := ipc.NewFileReader(bytes.NewReader(data), ipc.WithAllocator(m))
			if err != nil {
				t.Fatal(err)
			}
			next = r.Read
		}
		for i := range 50 {
			if _, err := next(); err != nil {
				t.Fatalf("batch %d: %v", i, err)
			}
		}
	}
	m := &Memory{Allocator: memory.NewGoAllocator(), buffer: 100, held: 150}
	refused := func(size int) (refused bool) {
		defer func() { refused = recover() != nil }()
		m.Allocate(size)
		return
	}
	one := m.Allocate(100)
	if !refused(101) || !refused(51) || !refused(-1) {
		t.Error("more than the bound was given")
	}
	if m.Free(one); refused(100) {
		t.Error("what was given back is not there")
	}
}
