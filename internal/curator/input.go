package curator

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/transform"

	"quant"
	"quant/internal/durable"
)

// Input is one file to ingest, looked at but not yet read.
type Input struct {
	Path   string // as given
	Name   string // its last element
	Format string // csv, csv.gz or parquet
	Size   int64  // bytes

	info os.FileInfo
}

// Inspect looks at each file without reading more than its head, so that a
// call that cannot succeed fails before anything is opened for writing. A file
// named twice is looked at, and later read, once. quant.NotFound: a file does
// not exist; quant.Invalid: no files, a directory or another thing that is no
// regular file, an empty file, a zip archive, a .parquet file
// that is none; quant.Failed: it cannot be read.
func Inspect(paths []string) ([]Input, error) {
	if len(paths) == 0 {
		return nil, quant.Errorf(quant.Invalid, "no file to ingest").WithHint("name at least one CSV or Parquet file")
	}
	var inputs []Input
next:
	for _, path := range paths {
		in, err := inspect(path)
		if err != nil {
			return nil, err
		}
		for _, other := range inputs {
			if os.SameFile(in.info, other.info) {
				continue next
			}
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

func inspect(path string) (Input, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Input{}, fileError(path, err)
	}
	switch {
	case info.IsDir():
		return Input{}, quant.Errorf(quant.Invalid, "%s: is a directory", clip(path)).WithHint("name the files in it")
	case !info.Mode().IsRegular():
		return Input{}, quant.Errorf(quant.Invalid, "%s: is not a regular file", clip(path)).
			WithHint("save the data to a file first: it is read more than once")
	case info.Size() == 0:
		return Input{}, quant.Errorf(quant.Invalid, "%s: is empty", clip(path)).WithHint("a CSV file has at least a header line")
	}
	f, err := os.Open(path)
	if err != nil {
		return Input{}, fileError(path, err)
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Input{}, fileError(path, err)
	}
	head = head[:n]
	in := Input{Path: path, Name: filepath.Base(path), Format: "csv", Size: info.Size(), info: info}
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		in.Format = "parquet"
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		in.Format = "csv.gz"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return Input{}, quant.Errorf(quant.Invalid, "%s: is a zip archive", clip(path)).
			WithHint("unpack it first; save an Excel workbook (.xlsx) as CSV")
	case isParquetName(path):
		return Input{}, quant.Errorf(quant.Invalid, "%s: is no Parquet file: it does not begin with PAR1", clip(path)).
			WithHint("fetch it again if it is damaged; give it another ending if it is CSV")
	}
	return in, nil
}

// isParquetName tells files that say by their names that they are Parquet.
func isParquetName(path string) bool {
	ending := strings.ToLower(filepath.Ext(path))
	return ending == ".parquet" || ending == ".pq"
}

func fileError(path string, err error) error {
	path = clip(path)
	if errors.Is(err, fs.ErrNotExist) {
		return quant.Errorf(quant.NotFound, "%s: no such file", path).WithHint("check the name")
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return quant.Errorf(quant.Failed, "%s: cannot be read: %w", path, err).WithHint("check the file and its permissions")
}

// symbolOfName is the symbol that a file's name says: SPX for SPX.csv,
// spx.CSV.gz or SPX.parquet, without the ending.
func symbolOfName(name string) string {
	for _, ending := range []string{".gz", ".csv", ".txt", ".tsv", ".parquet", ".pq"} {
		if cut := len(name) - len(ending); cut > 0 && strings.EqualFold(name[cut:], ending) {
			name = name[:cut]
		}
	}
	return name
}

// unchanged reports whether the open file, and the path, are still what was
// inspected.
func (in Input) unchanged(f *os.File) error {
	if info, err := f.Stat(); err != nil || in.same(info) != nil {
		return in.same(nil)
	}
	info, err := os.Stat(in.Path)
	if err != nil {
		info = nil
	}
	return in.same(info)
}

// same reports whether info is that of the file as it was inspected.
func (in Input) same(info os.FileInfo) error {
	if info != nil && os.SameFile(info, in.info) && info.Size() == in.info.Size() && info.ModTime().Equal(in.info.ModTime()) {
		return nil
	}
	return quant.Errorf(quant.Failed, "%s: changed while it was read", clip(in.Path)).
		WithHint("nothing was stored; ingest it again when nobody writes to it")
}

// digestReader counts and hashes what is read through it, and ends with ctx.
type digestReader struct {
	ctx  context.Context
	r    io.Reader
	sum  *durable.Sum
	read atomic.Int64
}

func newDigestReader(ctx context.Context, r io.Reader) *digestReader {
	return &digestReader{ctx: ctx, r: r, sum: durable.NewSum()}
}

func (d *digestReader) Read(b []byte) (int, error) {
	if err := d.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := d.r.Read(b)
	_, _ = d.sum.Write(b[:n])
	d.read.Add(int64(n))
	return n, err
}

func (d *digestReader) digest() string { return d.sum.Digest() }

// csvFile is an open CSV file behind its header.
type csvFile struct {
	in     Input
	file   *os.File
	digest *digestReader
	plan   *plan
	reading
	split *splitter
}

// textEncoding is a spelling of --encoding.
type textEncoding int

const (
	utf8Text textEncoding = iota
	koreanText
)

func parseEncoding(name string) (textEncoding, error) {
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name)) {
	case "", "utf8":
		return utf8Text, nil
	case "cp949", "ms949", "uhc", "euckr", "windows949":
		return koreanText, nil
	}
	return 0, quant.Errorf(quant.Invalid, "encoding %q is not known", clip(name)).WithHint("use utf-8, cp949 or euc-kr")
}

// openCSV opens a file, reads its header, and looks at its first rows.
func openCSV(ctx context.Context, in Input, p *plan) (_ *csvFile, err error) {
	f, err := os.Open(in.Path)
	if err != nil {
		return nil, fileError(in.Path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	c := &csvFile{in: in, file: f, digest: newDigestReader(ctx, f), plan: p}
	if err := in.unchanged(f); err != nil {
		return nil, err
	}
	var text io.Reader = c.digest
	if in.Format == "csv.gz" {
		zr, err := gzip.NewReader(bufio.NewReaderSize(text, 1<<18))
		if err != nil {
			return nil, c.readError(err)
		}
		text = zr
	}
	buffered := bufio.NewReaderSize(text, 1<<16)
	head, err := buffered.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, c.readError(err)
	}
	path := clip(in.Path)
	c.split = &splitter{path: path, r: buffered, line: 1, check: checkUTF8, wrong: func(line int64) error {
		return &lineError{line, quant.Errorf(quant.Invalid, "%s: line %d: is not UTF-8", path, line).
			WithHint("a Korean file is often CP949: say --encoding cp949")}
	}}
	switch {
	case len(head) == 0:
		return nil, quant.Errorf(quant.Invalid, "%s: is empty", path).WithHint("a CSV file has at least a header line")
	case bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")):
		return nil, quant.Errorf(quant.Invalid, "%s: is UTF-16, which is not read", path).
			WithHint("save it as UTF-8 (in Excel: CSV UTF-8)")
	case string(head) == "\ufeff":
		_, _ = buffered.Discard(3)
	case p.encoding == koreanText:
		c.split.r = transform.NewReader(buffered, korean.EUCKR.NewDecoder())
		c.split.check = checkDecoded
		c.split.wrong = func(line int64) error {
			return &lineError{line, quant.Errorf(quant.Invalid, "%s: line %d: is not CP949", path, line).
				WithHint("leave --encoding out if the file is UTF-8")}
		}
	}
	if err := c.readHeader(); err != nil {
		return nil, err
	}
	return c, nil
}

// readHeader takes the first line that says something off the text.
func (c *csvFile) readHeader() error {
	path := c.split.path
	b, err := c.split.cut()
	switch {
	case errors.Is(err, io.EOF):
		return quant.Errorf(quant.Invalid, "%s: is empty", path).WithHint("a CSV file has at least a header line")
	case err != nil:
		return c.readError(err)
	case b.long:
		return quant.Errorf(quant.Invalid, "%s: the first line is longer than %d bytes", path, maxRecord).
			WithHint("is it a CSV file with a header line?")
	}
	p, line := 0, b.line
	for {
		// Carriage returns alone are not skipped, so that they are told of.
		i := bytes.IndexByte(b.data[p:], '\n')
		if i < 0 || !isBlankHead(b.data[p:p+i]) {
			break
		}
		p += i + 1
		line++
	}
	end, kind := nextRecord(b.data, p, ',', true)
	header := b.data[p:end]
	text := bytes.TrimRight(header, "\r\n")
	switch {
	case len(text) == 0:
		return quant.Errorf(quant.Invalid, "%s: has no header", path).WithHint("a CSV file has at least a header line")
	case bytes.IndexByte(text, '\r') >= 0 && kind != recordQuoted:
		return quant.Errorf(quant.Invalid, "%s: its lines end with a carriage return alone", path).
			WithHint("save it with LF or CRLF line ends")
	case bytes.IndexByte(text, 0) >= 0:
		return quant.Errorf(quant.Invalid, "%s: the header contains a NUL byte", path).WithHint("is it a CSV file?")
	}
	c.split.delim = delimiter(text)
	if c.split.delim != ',' {
		end, kind = nextRecord(b.data, p, c.split.delim, true)
		header = b.data[p:end]
	}
	if kind == recordBad {
		return quant.Errorf(quant.Invalid, "%s: bad quotes in the header %s", path, clip(string(text))).
			WithHint("quote a whole column name or nothing")
	}
	fields, _ := splitRecord(header, kind, c.split.delim, nil, nil)
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = string(f)
	}
	cols, isRow, err := c.plan.headerRule().find(path, names)
	if err != nil {
		return err
	}
	if isRow {
		end, header = p, nil
	}
	line += int64(bytes.Count(header, []byte{'\n'}))
	// The delimiter is known only now, so the block is cut again with it.
	c.split.carry = append(append([]byte(nil), b.data[end:]...), c.split.carry...)
	c.split.line = line
	look := survey{path: path, delim: c.split.delim, data: b.data[end:], line: line}
	c.reading, err = look.read(cols, c.plan)
	c.split.release(b)
	return err
}

// isBlankHead is isBlank while the delimiter is not known.
func isBlankHead(b []byte) bool {
	return isBlank(b, ',') || isBlank(b, ';')
}

// delimiter tells comma, tab and semicolon apart by a header line.
func delimiter(header []byte) byte {
	count := map[byte]int{}
	quoted := false
	for _, c := range header {
		if c == '"' {
			quoted = !quoted
		} else if !quoted {
			count[c]++
		}
	}
	best := byte(',')
	for _, d := range []byte{'\t', ';'} {
		if count[d] > count[best] {
			best = d
		}
	}
	return best
}

// rows returns a reader of one block; several may work at once.
func (c *csvFile) rows(b block) *rowReader {
	return &rowReader{path: c.split.path, delim: c.split.delim, cols: c.cols, dates: c.dates, mark: c.mark,
		block: b, line: b.line, hasNUL: bytes.IndexByte(b.data, 0) >= 0}
}

// finish is called when all rows are read: it closes the file, checks that it
// did not change, and returns its digest.
func (c *csvFile) finish() (string, error) {
	defer c.file.Close()
	if err := c.in.unchanged(c.file); err != nil {
		return "", err
	}
	if c.digest.read.Load() != c.in.Size {
		return "", quant.Errorf(quant.Failed, "%s: ended after %d of %d bytes", c.split.path, c.digest.read.Load(), c.in.Size).
			WithHint("nothing was stored; is the file complete?")
	}
	return c.digest.digest(), nil
}

// readError makes an error of reading one that names the file.
func (c *csvFile) readError(err error) error {
	path := clip(c.in.Path)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, io.ErrUnexpectedEOF):
		return quant.Errorf(quant.Invalid, "%s: damaged gzip data: %w", path, err).WithHint("fetch the file again")
	}
	if _, ok := errors.AsType[*quant.Error](err); ok {
		return err
	}
	return fileError(c.in.Path, err)
}
