package curator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"quant"
)

// arrowFile is a compressed file, or a stream, of batches of bars.
func arrowFile(t *testing.T, stream bool, batches, rows int) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "date", Type: arrow.BinaryTypes.String}, {Name: "open", Type: arrow.PrimitiveTypes.Float64}, {Name: "high", Type: arrow.PrimitiveTypes.Float64},
		{Name: "low", Type: arrow.PrimitiveTypes.Float64}, {Name: "close", Type: arrow.PrimitiveTypes.Float64}, {Name: "volume", Type: arrow.PrimitiveTypes.Float64},
	}, nil)
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
	day := quant.Date(0)
	for range batches {
		build := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
		for range rows {
			build.Field(0).(*array.StringBuilder).Append(day.String())
			for j := 1; j < 6; j++ {
				build.Field(j).(*array.Float64Builder).Append(10)
			}
			day++
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

// What a damaged file says of its length is not believed: it is refused before the
// memory is asked for.
func TestTheLengthThatAnArrowFileClaimsIsNotBelieved(t *testing.T) {
	for name, stream := range map[string]bool{"x.feather": false, "x.arrows": true} {
		data := arrowFile(t, stream, 1, 1000)
		l := newLabIn(t)
		if l.mustIngest(nil, l.file(name, string(data))); len(l.bars()) != 1000 {
			t.Fatalf("%d bars", len(l.bars()))
		}
		// The length unpacked stands before what zstd begins with.
		at := bytes.Index(data, []byte("\x28\xb5\x2f\xfd")) - 8
		if at < 0 {
			t.Fatal("no compressed buffer")
		}
		for _, length := range []uint64{1 << 31, 1 << 40, 1<<63 - 1, 1<<64 - 2} {
			binary.LittleEndian.PutUint64(data[at:], length)
			l := newLabIn(t)
			_, err := l.ingest(nil, l.file(name, string(data)))
			if quant.CodeOf(err) != quant.Invalid || !strings.Contains(fmt.Sprint(err), name+": ") || quant.HintOf(err) == "" {
				t.Errorf("%s of %d bytes: %v", name, length, err)
			}
			l.want("bars", l.bars(), "[]")
		}
	}
}

// A file may say that it has any number of rows that hold nothing.
func TestTheEndOfTheContextEndsRowsOfNulls(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "date", Type: arrow.Null}}, nil)
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(schema))
	const rows = 1 << 40
	if err := w.Write(array.NewRecordBatch(schema, []arrow.Array{array.NewNull(rows)}, rows)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	f, err := os.Open(l.file("x.arrows", b.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := arrowRows(ctx, f, int64(b.Len()), plan{}, newLineWriter(&bytes.Buffer{}, 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
