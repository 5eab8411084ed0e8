// Package arrowfile reads an Arrow file (Feather version 2) or stream that somebody
// else made: batch by batch, and without believing what a damaged one says of its own
// size. What its columns mean is its callers'.
package arrowfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// fileMagic begins an Arrow file; a stream begins with a message.
const fileMagic = "ARROW1"

// Bounds of what an Arrow file may have its reader hold, beside as much as the file
// is long: a buffer that is not compressed stands in the file.
const (
	maxBuffer = 1 << 30 // bytes of one buffer, unpacked
	maxHeld   = 4 << 30 // bytes of all that are held at once
)

// Memory is the memory of an Arrow reader of one goroutine. The reader asks for as much as the
// file says, which a damaged one may say of anything, and memory that cannot be had
// ends the process. Beyond a bound it panics instead, with an error.
type Memory struct {
	memory.Allocator
	buffer, held int64 // bounds, in bytes
	now          int64 // bytes that are held
}

// NewMemory returns the memory for reading a file of so many bytes.
func NewMemory(size int64) *Memory {
	return &Memory{Allocator: memory.NewGoAllocator(), buffer: max(maxBuffer, size), held: maxHeld + size}
}

func (m *Memory) take(size, instead int) {
	if size < 0 || int64(size) > m.buffer || m.now-int64(instead)+int64(size) > m.held {
		panic(fmt.Errorf("it says that it holds %d bytes more, and at most %d, and %d at once, are read", size, m.buffer, m.held))
	}
	m.now += int64(size) - int64(instead)
}

// Allocate implements memory.Allocator.
func (m *Memory) Allocate(size int) []byte {
	m.take(size, 0)
	return m.Allocator.Allocate(size)
}

// Reallocate implements memory.Allocator.
func (m *Memory) Reallocate(size int, b []byte) []byte {
	m.take(size, len(b))
	return m.Allocator.Reallocate(size, b)
}

// Free implements memory.Allocator.
func (m *Memory) Free(b []byte) {
	m.now -= int64(len(b))
	m.Allocator.Free(b)
}

// Begins reports whether a file of at least these first bytes, more than 8, is one.
func Begins(head []byte) bool {
	return bytes.HasPrefix(head, []byte(fileMagic)) ||
		len(head) > 8 && bytes.HasPrefix(head, []byte("\xff\xff\xff\xff")) && head[7] == 0
}

// Source is what a file is read from: an *os.File is one.
type Source interface {
	io.Reader
	io.ReaderAt
}

// Read tells the schema of a file of so many bytes, which stands at its beginning, and
// then each batch of its rows; a batch is valid until each returns. The error of either
// is returned as it is, io.ErrClosedPipe among them; any other is what is wrong with
// the file, and the end of ctx ends the reading between two batches.
func Read(ctx context.Context, f Source, size int64, begin func(*arrow.Schema) error, each func(arrow.RecordBatch) error) error {
	head := make([]byte, len(fileMagic))
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if err := checkSizes(f, size, string(head) != fileMagic); err != nil {
		return err
	}
	var schema *arrow.Schema
	within := ipc.WithAllocator(NewMemory(size))
	var next func() (arrow.RecordBatch, error)
	if string(head) == fileMagic {
		r, err := ipc.NewFileReader(io.NewSectionReader(f, 0, size), within)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		schema, next = r.Schema(), r.Read
	} else {
		r, err := ipc.NewReader(io.LimitReader(f, size), within)
		if err != nil {
			return err
		}
		defer r.Release()
		schema, next = r.Schema(), r.Read
	}
	if err := begin(schema); err != nil {
		return err
	}
	for {
		batch, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(batch); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
