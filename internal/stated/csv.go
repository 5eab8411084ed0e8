package stated

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"quant"
	"quant/internal/factstore"
	"quant/internal/textencoding"
)

// Text is read a block of records at a time, on all cores, and its numbers become
// numbers at once: a table of texts would take memory by its columns, and longer to read
// than the numbers.

const gzipMagic = "\x1f\x8b"

// The bounds of a text file, in bytes.
const (
	maxHeader = 4 << 20
	maxRecord = 16 << 20
	blockSize = 1 << 20 // about; a block has whole records
)

// csvFile is a text file that is being read: the first line names the columns, the
// commonest of comma, semicolon, tab and bar in it stands between them. Rows are counted
// as they stand, the header not among them.
type csvFile struct {
	in       *importing
	file     *os.File
	text     *bufio.Reader // in UTF-8
	encoding textencoding.Encoding
	names    []string
	between  byte

	mu    sync.Mutex
	rest  []byte // read, and of no block yet
	ended bool
	next  chan place // where the next block begins
	err   error      // the first in the file
}

// place says how many records and lines stand before a block, or what is wrong before
// it.
type place struct {
	records, lines int64
	err            error
}

// openCSV opens the file and reads its header.
func (in *importing) openCSV() (*csvFile, error) {
	asked, err := textencoding.Parse(in.Encoding)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(in.File)
	if err != nil {
		return nil, in.fileError(err)
	}
	f := &csvFile{in: in, file: file, next: make(chan place, 1)}
	if err := f.begin(asked); err != nil {
		file.Close()
		return nil, err
	}
	return f, nil
}

func (f *csvFile) begin(asked textencoding.Encoding) error {
	packed := bufio.NewReaderSize(f.file, 1<<18)
	f.text = packed
	if head, _ := packed.Peek(len(gzipMagic)); string(head) == gzipMagic {
		unpacked, err := gzip.NewReader(packed)
		if err != nil {
			return f.in.invalid("cannot be unpacked: %v", err).WithHint("the file may be damaged: write it again")
		}
		f.text = bufio.NewReaderSize(unpacked, 1<<18)
	}
	head, err := f.text.Peek(1 << 16)
	if err != nil && !errors.Is(err, io.EOF) {
		return f.readError(err)
	}
	f.encoding = textencoding.Of(head, asked)
	if f.encoding.IsUTF8() && bytes.IndexByte(head, 0) >= 0 {
		return f.in.invalid("is neither Parquet nor Arrow nor text").WithHint("write it as Parquet, Arrow (Feather version 2) or CSV")
	}
	_, _ = f.text.Discard(len(f.encoding.Mark())) // it was looked at, so it is there
	if !f.encoding.IsUTF8() {
		f.text = bufio.NewReaderSize(f.encoding.Reader(f.text), 1<<18)
	}
	header, err := f.header()
	if err != nil {
		return err
	}
	if !f.readable(header) {
		head, _ := f.text.Peek(1 << 16) // more of it, to guess by
		return f.unreadable(1, append(header, head...))
	}
	f.between = delimiterOf(header)
	if _, open := quotes(header, f.between); open >= 0 {
		return f.unclosed(place{}, header, open)
	}
	r := f.reader(header)
	r.FieldsPerRecord = -1
	if f.names, err = r.Read(); errors.Is(err, io.EOF) {
		return f.in.noText()
	} else if err != nil {
		return f.in.invalid("has no header that can be read: %v", err).WithHint("the first line names the columns")
	}
	f.next <- place{lines: int64(bytes.Count(header, []byte("\n")))}
	return nil
}

// header reads the first record: lines, until every quote is closed.
func (f *csvFile) header() ([]byte, error) {
	var header []byte
	for {
		line, err := f.text.ReadSlice('\n')
		header = append(header, line...)
		switch {
		case len(header) > maxHeader:
			return nil, f.in.invalid("has a first line of more than %s", quant.Bytes(maxHeader)).WithHint("the first line names the columns, and each row is a line")
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return header, nil
		case err != nil:
			return nil, f.readError(err)
		case len(bytes.TrimSpace(header)) == 0:
			continue // an empty line before it
		case bytes.Count(header, []byte{'"'})%2 == 0:
			return header, nil
		}
	}
}

func (f *csvFile) readError(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return f.in.fileError(pe)
	}
	return f.in.invalid("cannot be unpacked: %v", err).WithHint("the file may be damaged or cut off: write it again")
}

// readable reports whether a text is in the encoding of the file.
func (f *csvFile) readable(data []byte) bool {
	return utf8.Valid(data) && (f.encoding.IsUTF8() || !bytes.Contains(data, []byte("\ufffd")))
}

// unreadable says where a text that begins on a line is not in the encoding of the file.
func (f *csvFile) unreadable(line int64, data []byte) error {
	for one := range bytes.Lines(data) {
		if !f.readable(one) {
			break
		}
		line++
	}
	if f.encoding.IsUTF8() {
		return f.in.invalid("line %d: is not UTF-8", line).WithHint("%s", textencoding.Hint(data))
	}
	return f.in.invalid("line %d: is not %s", line, strings.ToUpper(f.encoding.Name())).WithHint("leave --encoding out if the file is UTF-8, or name another: %s", textencoding.Known)
}

// reader reads the records of a block.
func (f *csvFile) reader(data []byte) *csv.Reader {
	r := csv.NewReader(bytes.NewReader(data))
	r.Comma, r.LazyQuotes, r.ReuseRecord, r.FieldsPerRecord = rune(f.between), true, true, len(f.names)
	return r
}

// delimiterOf is what stands between the columns of a header.
func delimiterOf(head []byte) byte {
	counts, quoted := map[byte]int{}, false
	for _, c := range head {
		if c == '"' {
			quoted = !quoted
		} else if !quoted {
			counts[c]++
		}
	}
	best := byte(',')
	for _, d := range []byte{';', '\t', '|'} {
		if counts[d] > counts[best] {
			best = d
		}
	}
	return best
}

// block takes the next records, in memory that the caller gives back with the next call;
// none are left: nil. Where the block begins is received from its place, and where the
// next one does must be sent, whatever becomes of this one.
func (f *csvFile) block(buffer []byte) (data []byte, from <-chan place, to chan<- place, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.ended && len(f.rest) == 0 {
		return nil, nil, nil, f.err
	}
	data = append(buffer[:0], f.rest...)
	f.rest = f.rest[:0]
	for want := blockSize; !f.ended; want += blockSize {
		data = slices.Grow(data, max(0, want-len(data)))
		n, err := io.ReadFull(f.text, data[len(data):want])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n < want {
			f.ended = true
			break
		}
		if err != nil {
			f.err = f.readError(err)
			return nil, nil, nil, f.err
		}
		if end, _ := quotes(data, f.between); end > 0 {
			f.rest = append(f.rest, data[end:]...)
			data = data[:end]
			break
		}
		if len(data) > maxRecord {
			f.err = f.in.invalid("has a row of more than %s", quant.Bytes(maxRecord)).WithHint("a quote may not be closed")
			return nil, nil, nil, f.err
		}
	}
	if len(data) == 0 {
		return nil, nil, nil, nil
	}
	next := make(chan place, 1)
	from, to, f.next = f.next, next, next
	return data, from, to, nil
}

// quotes is the length of the records of a text that are whole: up to the last line break
// that stands in no quotes; and where the quote stands that is not closed, -1 if none is.
func quotes(data []byte, between byte) (whole, open int) {
	at := 0
	for {
		quote := bytes.IndexByte(data[at:], '"')
		stop := at + quote
		if quote < 0 {
			stop = len(data)
		}
		if n := bytes.LastIndexByte(data[at:stop], '\n'); n >= 0 {
			whole = at + n + 1
		}
		if quote < 0 {
			return whole, -1
		}
		at = stop + 1
		if stop > 0 && data[stop-1] != between && data[stop-1] != '\n' {
			continue // within a field that begins without one
		}
		for closed := false; !closed; {
			n := bytes.IndexByte(data[at:], '"')
			if n < 0 {
				return whole, stop
			}
			if at += n + 1; at == len(data) {
				return whole, -1
			}
			switch data[at] {
			case '"':
				at++
			case between, '\n', '\r':
				closed = true
			}
		}
	}
}

// records reads the records of a block, each until each returns, and says where it
// stands in the file: each is told its number within the block. The error of the first
// block of the file that has one is that of all.
func (f *csvFile) records(data []byte, from <-chan place, to chan<- place, each func(i int, record []string)) (count int, begins place, err error) {
	r := f.reader(data)
	problem := func(place) error { return nil }
	if !f.readable(data) {
		problem = func(p place) error { return f.unreadable(p.lines+1, data) }
	} else {
		for last := int64(0); ; last = r.InputOffset() {
			record, err := r.Read()
			if err == nil {
				each(count, record)
				count++
			}
			if r.InputOffset() == int64(len(data)) { // a quote that is open takes all to the end
				if _, open := quotes(data[last:], f.between); open >= 0 {
					problem = func(p place) error { return f.unclosed(p, data, int(last)+open) }
					break
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				problem = func(p place) error { return f.malformed(p, record, err) }
				break
			}
		}
	}
	begins = <-from
	if err = begins.err; err == nil {
		err = problem(begins)
	}
	to <- place{begins.records + int64(count), begins.lines + int64(bytes.Count(data, []byte("\n"))), err}
	if err != nil {
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
	}
	return count, begins, err
}

// unclosed says where in the file a quote stands that is not closed, of a text that begins
// at a place.
func (f *csvFile) unclosed(p place, data []byte, open int) error {
	line := p.lines + int64(bytes.Count(data[:open], []byte("\n"))) + 1
	return f.in.invalid("cannot be read as CSV: line %d has a quote that is not closed", line).WithHint("the file may be cut off, or a text begins with a quote: close it, or write it twice within quotes")
}

// malformed says where in the file a record is none.
func (f *csvFile) malformed(p place, record []string, err error) error {
	at, ok := errors.AsType[*csv.ParseError](err)
	if !ok {
		return f.in.invalid("cannot be read as CSV: %v", err)
	}
	line := p.lines + int64(at.Line)
	if errors.Is(err, csv.ErrFieldCount) {
		hint := "a text that holds what stands between the columns is written in quotes"
		if len(record) < len(f.names) {
			hint = "the row may be cut off, or a line break in a text is not in quotes"
		}
		return f.in.invalid("cannot be read as CSV: line %d has %s, and the header names %d", line, quant.Count(len(record), "column"), len(f.names)).WithHint("%s: mend the line", hint)
	}
	return f.in.invalid("cannot be read as CSV: line %d, column %d: %v", line, at.Column, at.Err).WithHint("mend the line")
}

// firsts finds the first value of each column that has any.
func (f *csvFile) firsts(ctx context.Context) ([]string, error) {
	list, missing := make([]string, len(f.names)), len(f.names)
	var buffer []byte
	for missing > 0 {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		data, from, to, err := f.block(buffer)
		if err != nil || data == nil {
			return list, err
		}
		buffer = data
		_, _, err = f.records(data, from, to, func(_ int, record []string) {
			for k := 0; missing > 0 && k < len(record); k++ {
				if list[k] == "" {
					if list[k] = strings.TrimSpace(record[k]); list[k] != "" {
						missing--
					}
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// wrongColumn is the column of the first text in a row that is no number.
const wrongColumn = "wrong"

// rows makes a relation of the file's rows as the gate reads them: line; the columns of
// texts; a DOUBLE of each column of values; and wrong. Of a panel it has a row a value:
// line, the columns of texts, symbol, name, v0, wrong. It is read once, within
// DB.Unordered. count says afterwards how many rows the file has.
func (f *csvFile) rows(a arrangement) (relation string, count func() int64, release func(), err error) {
	p := &csvRows{f: f, a: a}
	columns := []factstore.Column{{Name: "line", Bigints: []int64{}}}
	for _, i := range []int{a.symbol, a.ts, a.known, a.name} {
		if i >= 0 {
			p.texts = append(p.texts, i)
			columns = append(columns, factstore.Column{Name: rawColumn(i), Texts: []string{}})
		}
	}
	if a.layout == panel {
		symbols, names := make([]string, len(a.values)), make([]string, len(a.values))
		for k, v := range a.values {
			symbols[k], names[k] = v.symbol, v.name
		}
		columns = append(columns, factstore.Column{Name: "symbol", Texts: symbols, Numbers: []int32{}}, factstore.Column{Name: "name", Texts: names, Numbers: []int32{}},
			factstore.Column{Name: "v0", Floats: []float64{}, NaNs: true})
	} else {
		for _, v := range a.values {
			columns = append(columns, factstore.Column{Name: rawColumn(v.column), Floats: []float64{}, NaNs: true})
		}
	}
	columns = append(columns, factstore.Column{Name: wrongColumn, Texts: []string{}})
	p.columns = columns
	relation, release, err = f.in.db.Produce(columns, int(1<<20), p.reading)
	return relation, func() int64 { return (<-f.next).records }, release, err
}

type csvRows struct {
	f       *csvFile
	a       arrangement
	texts   []int // columns of the file
	columns []factstore.Column
}

// reading returns what gives one thread its blocks.
func (p *csvRows) reading() func() ([]factstore.Column, error) {
	b := &csvBlock{csvRows: p, columns: slices.Clone(p.columns)}
	return b.next
}

type csvBlock struct {
	*csvRows
	columns []factstore.Column
	buffer  []byte
}

func (b *csvBlock) next() ([]factstore.Column, error) {
	for {
		data, from, to, err := b.f.block(b.buffer)
		if err != nil || data == nil {
			return nil, err
		}
		b.buffer = data
		b.clear()
		each := b.row
		if b.a.layout == panel {
			each = b.day
		}
		_, begins, err := b.f.records(data, from, to, each)
		if err != nil {
			return nil, err
		}
		lines := b.columns[0].Bigints
		for k := range lines {
			lines[k] += begins.records + 1
		}
		if len(lines) > 0 {
			return b.columns, nil
		}
	}
}

func (b *csvBlock) clear() {
	for k := range b.columns {
		c := &b.columns[k]
		c.Bigints, c.Floats, c.Nulls = c.Bigints[:0], c.Floats[:0], c.Nulls[:0]
		if c.Numbers != nil {
			c.Numbers = c.Numbers[:0]
		} else {
			c.Texts = c.Texts[:0]
		}
	}
}

func (b *csvBlock) text(column int, text string, null bool) {
	c := &b.columns[column]
	c.Texts, c.Nulls = append(c.Texts, text), append(c.Nulls, null)
}

// begin appends the number of a row and its texts.
func (b *csvBlock) begin(i int, record []string) {
	b.columns[0].Bigints = append(b.columns[0].Bigints, int64(i))
	for k, column := range b.texts {
		b.text(1+k, record[column], record[column] == "")
	}
}

func (b *csvBlock) value(column int, x float64, null bool) {
	c := &b.columns[column]
	c.Floats, c.Nulls = append(c.Floats, x), append(c.Nulls, null)
}

func (b *csvBlock) row(i int, record []string) {
	b.begin(i, record)
	wrong := ""
	for k, v := range b.a.values {
		text := record[v.column]
		x, is := parseValue(text)
		if is == noValue && wrong == "" {
			wrong = b.f.names[v.column] + "=" + text
		}
		b.value(1+len(b.texts)+k, x, is != finiteOrNot)
	}
	b.text(len(b.columns)-1, wrong, wrong == "")
}

// day appends a row for each value of a row of a panel: where there is nothing, none.
func (b *csvBlock) day(i int, record []string) {
	at := 1 + len(b.texts)
	for k, v := range b.a.values {
		text := record[v.column]
		x, is := parseValue(text)
		if is == missingValue {
			continue
		}
		b.begin(i, record)
		b.columns[at].Numbers = append(b.columns[at].Numbers, int32(k))
		b.columns[at+1].Numbers = append(b.columns[at+1].Numbers, int32(k))
		b.value(at+2, x, is != finiteOrNot)
		b.text(at+3, text, is != noValue)
	}
}

// validity is what a text of a column of numbers is.
type validity int

const (
	finiteOrNot  validity = iota // a number, NaN or an infinity
	missingValue                 // nothing, or a word for that
	noValue
)

// parseValue reads a text as DuckDB casts one to a DOUBLE; true is 1 and false 0.
func parseValue(text string) (float64, validity) {
	t := strings.TrimSpace(text)
	if t == "" {
		return 0, missingValue
	}
	if last := t[len(t)-1]; last >= '0' && last <= '9' || last == '.' {
		plain := t
		if strings.Trim(t, "0123456789+-.eE") != "" {
			plain = withoutUnderscores(t)
		}
		if x, err := strconv.ParseFloat(plain, 64); plain != "" && (err == nil || errors.Is(err, strconv.ErrRange)) {
			return x, finiteOrNot
		}
		return 0, noValue
	}
	folded := strings.ToLower(t)
	switch unsigned := strings.TrimLeft(folded, "+-"); {
	case len(folded)-len(unsigned) > 1:
	case unsigned == "nan", unsigned == "inf", unsigned == "infinity":
		x, _ := strconv.ParseFloat(strings.TrimLeft(folded, "+"), 64)
		if unsigned == "nan" {
			x, _ = strconv.ParseFloat("nan", 64)
		}
		return x, finiteOrNot
	}
	switch {
	case folded == "true":
		return 1, finiteOrNot
	case folded == "false":
		return 0, finiteOrNot
	case slices.Contains(missingWords(), folded):
		return 0, missingValue
	}
	return 0, noValue
}

// withoutUnderscores is a decimal number whose digits are parted by them, as Python
// writes one; "": it is none.
func withoutUnderscores(t string) string {
	digit := func(i int) bool { return i >= 0 && i < len(t) && t[i] >= '0' && t[i] <= '9' }
	for i := range len(t) {
		if t[i] == '_' && !(digit(i-1) && digit(i+1)) {
			return ""
		}
	}
	if t = strings.ReplaceAll(t, "_", ""); strings.Trim(t, "0123456789+-.eE") != "" {
		return ""
	}
	return t
}

// gateCSV stages the rows of a text file by a query over them, which begins and ends as
// given, and counts them.
func (in *importing) gateCSV(ctx context.Context, query func(relation string) string) error {
	f, err := in.openCSV()
	if err != nil {
		return err
	}
	defer f.file.Close()
	relation, count, release, err := f.rows(in.layout)
	if err != nil {
		return err
	}
	defer release()
	err = in.db.Unordered(ctx, func() error {
		_, err := in.db.Stage(ctx, query(relation))
		return err
	})
	if f.err != nil {
		return f.err
	}
	if err != nil {
		return in.unreadable(ctx, "CSV", err)
	}
	if in.report.RowsRead = count(); in.report.RowsRead == 0 {
		return in.empty()
	}
	return in.unchanged()
}

func (in *importing) empty() error {
	return in.invalid("has no rows").WithHint("a CSV file has a header line and at least one row")
}

// noText is what a file without a byte, or with no more than a mark of its encoding, is
// refused with.
func (in *importing) noText() error {
	return in.invalid("is empty").WithHint("a CSV file has at least a header line")
}

// readCSV finds the columns of a text file.
func (in *importing) readCSV(ctx context.Context) error {
	f, err := in.openCSV()
	if err != nil {
		return err
	}
	defer f.file.Close()
	if len(f.names) > maxColumns {
		return in.tooWide(len(f.names))
	}
	firsts, err := f.firsts(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(firsts, func(s string) bool { return s != "" }) {
		return in.empty()
	}
	for k, name := range f.names {
		in.columns = append(in.columns, column{name: name, kind: text, first: firsts[k]})
	}
	in.texts = true
	return nil
}

func (in *importing) tooWide(n int) error {
	return in.invalid("has %d columns, and %d at most are read", n, maxColumns).WithHint("write it long: symbol, ts, feature_name, feature_value")
}
