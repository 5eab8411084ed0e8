package arrowfile

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// Of what an Arrow file says, the reader allocates memory before it has read it. So
// the lengths that it declares are held against its size first; what else may be
// wrong is left to the reader, whose panics are errors.

var errSize = errors.New("it declares more than it holds")

const (
	maxFields   = 100_000
	messageRoom = 64 << 20 // a buffer that is packed may declare this without a doubt
	maxRatio    = 10_000   // or so many times what it is packed
)

// flatbuffer is a flatbuffer: tables of which each names its fields by slot.
type flatbuffer []byte

func (b flatbuffer) number(at int64, width int) (int64, error) {
	if at < 0 || at+int64(width) > int64(len(b)) {
		return 0, errSize
	}
	switch width {
	case 1:
		return int64(b[at]), nil
	case 2:
		return int64(binary.LittleEndian.Uint16(b[at:])), nil
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b[at:]))), nil
	}
	return int64(binary.LittleEndian.Uint64(b[at:])), nil
}

// root is the place of the first table.
func (b flatbuffer) root() (int64, error) { return b.number(0, 4) }

// slot is where a field of a table stands, 0 if the table lacks it.
func (b flatbuffer) slot(table int64, slot int64) (int64, error) {
	back, err := b.number(table, 4)
	if err != nil {
		return 0, err
	}
	size, err := b.number(table-back, 2)
	if err != nil || slot+2 > size {
		return 0, err
	}
	offset, err := b.number(table-back+slot, 2)
	if err != nil || offset == 0 {
		return 0, err
	}
	return table + offset, nil
}

// follow is what a field that is an offset leads to, 0 if the table lacks it.
func (b flatbuffer) follow(table, slot int64) (int64, error) {
	at, err := b.slot(table, slot)
	if err != nil || at == 0 {
		return 0, err
	}
	offset, err := b.number(at, 4)
	return at + offset, err
}

// vector is the length of a field that is a vector, and where its items stand, of
// this many bytes each.
func (b flatbuffer) vector(table, slot, width int64) (n, at int64, err error) {
	at, err = b.follow(table, slot)
	if err != nil || at == 0 {
		return 0, 0, err
	}
	if n, err = b.number(at, 4); err != nil {
		return 0, 0, err
	}
	if n < 0 || n > (int64(len(b))-at-4)/width {
		return 0, 0, errSize
	}
	return n, at + 4, nil
}

// fields checks the vector of fields of a schema, or of the children of a field.
func (b flatbuffer) fields(table, slot int64, seen *int) error {
	n, at, err := b.vector(table, slot, 4)
	if err != nil {
		return err
	}
	for i := range n {
		if *seen++; *seen > maxFields {
			return errSize
		}
		offset, err := b.number(at+4*i, 4)
		if err != nil {
			return err
		}
		field := at + 4*i + offset
		if offset <= 0 { // no way back, so that there is an end
			return errSize
		}
		if _, _, err := b.vector(field, 16, 4); err != nil {
			return err
		}
		if err := b.fields(field, 14, seen); err != nil {
			return err
		}
	}
	return nil
}

func (b flatbuffer) schema(table int64) error {
	if _, _, err := b.vector(table, 8, 4); err != nil {
		return err
	}
	seen := 0
	return b.fields(table, 6, &seen)
}

// checkSizes reports whether an Arrow file or stream declares more than its
// size can hold.
func checkSizes(r io.ReaderAt, size int64, stream bool) error {
	if stream {
		for at := int64(0); at < size; {
			next, err := checkMessage(r, at, size)
			if err != nil || next <= at {
				return err
			}
			at = next
		}
		return nil
	}
	const tail = 4 + int64(len(fileMagic))
	var end [4]byte
	if _, err := r.ReadAt(end[:], max(0, size-tail)); err != nil {
		return err
	}
	length := int64(binary.LittleEndian.Uint32(end[:]))
	if length > size-tail {
		return errSize
	}
	footer := make(flatbuffer, length)
	if _, err := r.ReadAt(footer, size-tail-length); err != nil {
		return err
	}
	root, err := footer.root()
	if err != nil {
		return err
	}
	schema, err := footer.follow(root, 6)
	if err == nil && schema != 0 {
		err = footer.schema(schema)
	}
	if err != nil {
		return err
	}
	for _, slot := range []int64{8, 10} { // dictionaries, record batches
		n, at, err := footer.vector(root, slot, 24)
		if err != nil {
			return err
		}
		for i := range n {
			offset, _ := footer.number(at+24*i, 8)
			meta, _ := footer.number(at+24*i+8, 4)
			body, _ := footer.number(at+24*i+16, 8)
			if offset < 0 || meta < 0 || body < 0 || offset > size-meta || body > size-meta-offset {
				return errSize
			}
			if _, err := checkMessage(r, offset, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkMessage checks the message at a place, and returns that of the next one;
// the same: there is none.
func checkMessage(r io.ReaderAt, at, size int64) (next int64, err error) {
	var head [8]byte
	if at+8 > size {
		return at, nil
	}
	if _, err := r.ReadAt(head[:], at); err != nil {
		return 0, err
	}
	length, begin := int64(binary.LittleEndian.Uint32(head[:])), at+4
	if length == math.MaxUint32 {
		length, begin = int64(binary.LittleEndian.Uint32(head[4:])), at+8
	}
	switch {
	case length == 0:
		return at, nil
	case length > size-begin:
		return 0, errSize
	}
	b := make(flatbuffer, length)
	if _, err := r.ReadAt(b, begin); err != nil {
		return 0, err
	}
	root, err := b.root()
	if err != nil {
		return 0, err
	}
	var body, kind int64
	if place, err := b.slot(root, 10); err != nil {
		return 0, err
	} else if place != 0 {
		if body, err = b.number(place, 8); err != nil {
			return 0, err
		}
	}
	begin += length
	if body < 0 || body > size-begin {
		return 0, errSize
	}
	if place, err := b.slot(root, 6); err != nil {
		return 0, err
	} else if place != 0 {
		if kind, err = b.number(place, 1); err != nil {
			return 0, err
		}
	}
	header, err := b.follow(root, 8)
	switch {
	case err != nil || header == 0:
	case kind == 1:
		err = b.schema(header)
	case kind == 2: // a dictionary has a batch
		if header, err = b.follow(header, 6); err == nil && header != 0 {
			err = checkArrowBatch(r, b, header, begin, body)
		}
	case kind == 3:
		err = checkArrowBatch(r, b, header, begin, body)
	}
	return begin + body, err
}

// checkArrowBatch checks what the packed buffers of a batch say of their length.
func checkArrowBatch(r io.ReaderAt, b flatbuffer, batch, begin, body int64) error {
	if _, _, err := b.vector(batch, 6, 16); err != nil {
		return err
	}
	n, at, err := b.vector(batch, 8, 16)
	if err != nil {
		return err
	}
	packed, err := b.follow(batch, 10)
	if err != nil || packed == 0 {
		return err
	}
	for i := range n {
		offset, _ := b.number(at+16*i, 8)
		length, _ := b.number(at+16*i+8, 8)
		if offset < 0 || length < 0 || offset > body || length > body-offset {
			return errSize
		}
		if length < 8 {
			continue
		}
		var said [8]byte
		if _, err := r.ReadAt(said[:], begin+offset); err != nil {
			return err
		}
		if whole := int64(binary.LittleEndian.Uint64(said[:])); whole < -1 || whole > messageRoom && whole/maxRatio > length {
			return errSize
		}
	}
	return nil
}
