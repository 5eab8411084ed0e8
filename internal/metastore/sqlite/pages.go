package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// errPages is why the pages of a database cannot be read past SQLite. It says
// nothing about the database: SQLite is asked then.
var errPages = errors.New("cannot be read past SQLite")

func noPages(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errPages, fmt.Sprintf(format, args...))
}

// maxLog is the largest write-ahead log, in bytes, that pages are read from.
const maxLog = 64 << 20

// pages reads the pages of a database as one state of it shows them, in the format
// that https://www.sqlite.org/fileformat2.html describes. Whoever makes it holds a
// transaction that reads, so that nothing it reads is written over: while there is
// one, what a checkpoint puts into the file stands in the log as well, and the log
// is not begun anew (but where SQLite reads the file alone; stable tells). Not safe
// for concurrent use of one tree; several trees may be read at once.
type pages struct {
	fd     int // SQLite's own: closing another one of the file would drop SQLite's locks
	size   int // of a page
	log    []byte
	frames map[uint32]int // where in the log a page is, if it is there
	path   string
}

// openPages finds the pages of a database that this process has open.
func openPages(path string) (*pages, error) {
	fd, err := openedAs(path)
	if err != nil {
		return nil, err
	}
	p := &pages{fd: fd, path: path, frames: map[uint32]int{}}
	header := make([]byte, 100)
	if n, err := unix.Pread(fd, header, 0); err != nil || n < len(header) || string(header[:len(magic)]) != magic {
		return nil, noPages("no header")
	}
	p.size = int(pageSizeOf(header))
	if p.size == 0 || header[20] != 0 || binary.BigEndian.Uint32(header[56:]) != 1 {
		return nil, noPages("another form of pages or texts")
	}
	return p, p.readLog()
}

// openedAs finds the descriptor by which this process has a file open.
func openedAs(path string) (int, error) {
	var want, got unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return 0, noPages("%v", err)
	}
	const most = 4096
	for fd := range most {
		if unix.Fstat(fd, &got) == nil && got.Dev == want.Dev && got.Ino == want.Ino {
			return fd, nil
		}
	}
	return 0, noPages("it is not open")
}

// readAhead reads a large database once from its beginning to its end, so that a disk
// gives at its best what trees ask for page by page. It says nothing of errors: who
// needs the page meets them.
func readAhead(ctx context.Context, path string) {
	const large, block = 64 << 20, 1 << 20
	fd, err := openedAs(path)
	if err != nil {
		return
	}
	var file unix.Stat_t
	if err := unix.Fstat(fd, &file); err != nil || file.Size < large {
		return
	}
	b := make([]byte, block)
	for at := int64(0); at < file.Size && ctx.Err() == nil; at += block {
		if _, err := unix.Pread(fd, b, at); err != nil && err != unix.EINTR {
			return
		}
	}
}

// readLog takes the pages of all complete commits from the log.
func (p *pages) readLog() error {
	f, err := os.Open(p.path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return noPages("%v", err)
	}
	defer func() { _ = f.Close() }()
	if p.log, err = io.ReadAll(io.LimitReader(f, maxLog+1)); err != nil || len(p.log) > maxLog {
		return noPages("a log of %d bytes (%v)", len(p.log), err)
	}
	const headerSize, frameHeader = 32, 24
	if len(p.log) < headerSize {
		p.log = nil
		return nil
	}
	kind := binary.BigEndian.Uint32(p.log)
	if kind&^1 != 0x377f0682 || int(binary.BigEndian.Uint32(p.log[8:])) != p.size {
		return noPages("another form of log")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if kind&1 != 0 {
		order = binary.BigEndian
	}
	var sum [2]uint32
	add := func(b []byte) {
		for ; len(b) >= 8; b = b[8:] {
			sum[0] += order.Uint32(b) + sum[1]
			sum[1] += order.Uint32(b[4:]) + sum[0]
		}
	}
	agrees := func(b []byte) bool {
		return binary.BigEndian.Uint32(b) == sum[0] && binary.BigEndian.Uint32(b[4:]) == sum[1]
	}
	if add(p.log[:24]); !agrees(p.log[24:]) {
		return nil // it was begun and has no commit
	}
	commit := map[uint32]int{}
	for at := headerSize; at+frameHeader+p.size <= len(p.log); at += frameHeader + p.size {
		head := p.log[at : at+frameHeader]
		if string(head[8:16]) != string(p.log[16:24]) {
			break
		}
		add(head[:8])
		if add(p.log[at+frameHeader : at+frameHeader+p.size]); !agrees(head[16:]) {
			break
		}
		commit[binary.BigEndian.Uint32(head)] = at + frameHeader
		if binary.BigEndian.Uint32(head[4:]) > 0 {
			for page, where := range commit {
				p.frames[page] = where
			}
			clear(commit)
		}
	}
	return nil
}

// page reads a page into b.
func (p *pages) page(number uint32, b []byte) error {
	if number == 0 {
		return noPages("page 0")
	}
	if at, logged := p.frames[number]; logged {
		copy(b, p.log[at:at+p.size])
		return nil
	}
	for have := 0; have < p.size; {
		n, err := unix.Pread(p.fd, b[have:p.size], int64(number-1)*int64(p.size)+int64(have))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return noPages("page %d (%v)", number, err)
		}
		have += n
	}
	return nil
}

// The kinds of pages in the tree of an index.
const (
	indexNode = 2
	indexLeaf = 10
	maxDepth  = 20
)

// records calls each with the records of the tree of an index, or of a table WITHOUT
// ROWID, in the order of the tree. A record is valid until the next one.
func (p *pages) records(root uint32, each func(record []byte) error) error {
	return (&treeReader{pages: p, each: each}).read(root, 0)
}

type treeReader struct {
	*pages
	each    func(record []byte) error
	buffers [maxDepth][]byte
	long    []byte // a record that goes on in other pages
	page    []byte
}

func (t *treeReader) read(root uint32, depth int) error {
	if depth == maxDepth {
		return noPages("a tree of more than %d levels", maxDepth)
	}
	if t.buffers[depth] == nil {
		t.buffers[depth] = make([]byte, t.size)
	}
	b := t.buffers[depth]
	if err := t.pages.page(root, b); err != nil {
		return err
	}
	at := 0
	if root == 1 {
		at = 100
	}
	cells, pointers := int(binary.BigEndian.Uint16(b[at+3:])), at+8
	kind := b[at]
	if kind == indexNode {
		pointers += 4
	} else if kind != indexLeaf {
		return noPages("page %d is of kind %d", root, kind)
	}
	if pointers+2*cells > t.size {
		return noPages("page %d has %d cells", root, cells)
	}
	for i := range cells {
		cell := int(binary.BigEndian.Uint16(b[pointers+2*i:]))
		if kind == indexNode {
			if cell+4 > t.size {
				return noPages("a cell outside of page %d", root)
			}
			if err := t.read(binary.BigEndian.Uint32(b[cell:]), depth+1); err != nil {
				return err
			}
			cell += 4
		}
		if cell >= t.size {
			return noPages("a cell outside of page %d", root)
		}
		record, err := t.payload(b[cell:])
		if err != nil {
			return err
		}
		if err := t.each(record); err != nil {
			return err
		}
	}
	if kind == indexNode {
		return t.read(binary.BigEndian.Uint32(b[at+8:]), depth+1)
	}
	return nil
}

// payload is the record of a cell.
func (t *treeReader) payload(cell []byte) ([]byte, error) {
	length, n := varint(cell)
	if n == 0 || length > math.MaxInt32 {
		return nil, noPages("a record of %d bytes", length)
	}
	cell, size := cell[n:], int(length)
	most := (t.size-12)*64/255 - 23
	if size <= most {
		if size > len(cell) {
			return nil, noPages("a record outside of its page")
		}
		return cell[:size], nil
	}
	least := (t.size-12)*32/255 - 23
	here := least + (size-least)%(t.size-4)
	if here > most {
		here = least
	}
	if here+4 > len(cell) {
		return nil, noPages("a record outside of its page")
	}
	t.long = append(t.long[:0], cell[:here]...)
	next := binary.BigEndian.Uint32(cell[here:])
	if t.page == nil {
		t.page = make([]byte, t.size)
	}
	for len(t.long) < size {
		if err := t.pages.page(next, t.page); err != nil {
			return nil, err
		}
		next = binary.BigEndian.Uint32(t.page)
		t.long = append(t.long, t.page[4:min(t.size, 4+size-len(t.long))]...)
	}
	return t.long, nil
}

// varint is a number as SQLite writes it, and how long it is; 0: it is cut off.
func varint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 8 {
		c := b[n]
		n++
		if v = v<<7 | uint64(c&0x7f); c < 0x80 {
			return v, n
		}
	}
	if n < len(b) && n == 8 {
		return v<<8 | uint64(b[8]), 9
	}
	return 0, 0
}

// cellKind is the storage class of a value, in the order in which SQLite sorts.
type cellKind byte

const (
	isNull cellKind = iota
	isNumeric
	isText
	isBlob
)

// cell is a value of a record. A whole number that a double holds exactly is the
// same whether it is stored as one or the other.
type cell struct {
	kind  cellKind
	whole bool // a whole number that is no double
	bits  uint64
	bytes []byte
}

func wholeCell(v int64) cell {
	if f := float64(v); v > -1<<53 && v < 1<<53 {
		return realCell(f)
	}
	return cell{kind: isNumeric, whole: true, bits: uint64(v)}
}

func realCell(f float64) cell {
	if math.IsNaN(f) {
		return cell{}
	}
	if f == 0 {
		f = 0 // -0 is no other number
	}
	return cell{kind: isNumeric, bits: math.Float64bits(f)}
}

// cells takes a record apart, at most so many values of it, into a list that may be
// used again.
func cells(record []byte, into []cell, most int) ([]cell, error) {
	size, n := varint(record)
	if n == 0 || size < uint64(n) || size > uint64(len(record)) {
		return nil, noPages("a record without its header")
	}
	head, body := record[n:size], record[size:]
	into = into[:0]
	for len(head) > 0 && len(into) < most {
		kind, n := uint64(head[0]), 1
		if kind >= 0x80 {
			if kind, n = varint(head); n == 0 {
				return nil, noPages("a header that is cut off")
			}
		}
		head = head[n:]
		length, numeric := uint64(0), true
		switch {
		case kind <= 4:
			length = kind
		case kind == 5:
			length = 6
		case kind <= 7:
			length = 8
		case kind <= 9:
		case kind < 12:
			return nil, noPages("a value of kind %d", kind)
		default:
			length, numeric = (kind-12)/2, false
		}
		if length > uint64(len(body)) {
			return nil, noPages("a value that is cut off")
		}
		b := body[:length:length]
		body = body[length:]
		switch {
		case kind == 0:
			into = append(into, cell{})
		case kind >= 8 && numeric:
			into = append(into, wholeCell(int64(kind-8)))
		case kind == 7:
			into = append(into, realCell(math.Float64frombits(binary.BigEndian.Uint64(b))))
		case numeric:
			v := int64(int8(b[0]))
			for _, c := range b[1:] {
				v = v<<8 | int64(c)
			}
			into = append(into, wholeCell(v))
		case kind%2 == 1:
			into = append(into, cell{kind: isText, bytes: b})
		default:
			into = append(into, cell{kind: isBlob, bytes: b})
		}
	}
	return into, nil
}

// compare orders two values as SQLite does in an index without a collation of its
// own.
func (c *cell) compare(o *cell) int {
	if c.kind != o.kind {
		return int(c.kind) - int(o.kind)
	}
	switch c.kind {
	case isText, isBlob:
		return bytes.Compare(c.bytes, o.bytes)
	case isNumeric:
		return c.compareNumber(o)
	}
	return 0
}

func (c *cell) compareNumber(o *cell) int {
	less, more := false, false
	switch {
	case c.whole && o.whole:
		less, more = int64(c.bits) < int64(o.bits), int64(c.bits) > int64(o.bits)
	case !c.whole && !o.whole:
		a, b := math.Float64frombits(c.bits), math.Float64frombits(o.bits)
		less, more = a < b, a > b
	case c.whole:
		return -o.compareNumber(c)
	default: // a double and a whole number beyond 2^53
		f, v := math.Float64frombits(c.bits), int64(o.bits)
		switch {
		case f >= 1<<63:
			more = true
		case f < -1<<63:
			less = true
		default:
			less, more = int64(f) < v, int64(f) > v
		}
	}
	switch {
	case less:
		return -1
	case more:
		return 1
	}
	return 0
}

// appended writes a value so that no other one is written alike.
func (c *cell) appended(b []byte) []byte {
	switch c.kind {
	case isNull:
		return append(b, 0)
	case isNumeric:
		mark := byte(1)
		if c.whole {
			mark = 2
		}
		return binary.LittleEndian.AppendUint64(append(b, mark), c.bits)
	}
	b = binary.LittleEndian.AppendUint32(append(b, byte(c.kind)+1), uint32(len(c.bytes)))
	return append(b, c.bytes...)
}

// stable tells whether the log was not begun anew since it was read.
func (p *pages) stable() bool {
	if len(p.log) == 0 {
		return true
	}
	f, err := os.Open(p.path + "-wal")
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	header := make([]byte, 32)
	_, err = io.ReadFull(f, header)
	return err == nil && string(header) == string(p.log[:32])
}
