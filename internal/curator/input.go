package curator

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"quant"
	"quant/internal/durable"
	"quant/internal/textencoding"
)

// Input is one file to ingest, or a member of a zip archive, looked at but not
// yet read.
type Input struct {
	Path   string // as given
	Member string // of the zip archive at Path; "": the file itself
	Name   string // the last element of Path, with the member if there is one
	Format string // a name in the catalogue of formats
	Size   int64  // bytes, packed if it is

	info     os.FileInfo // of Path
	archive  *archive    // that Member stands in
	member   int         // index in it
	packed   bool        // with gzip
	unpacked string      // a path to the content of a member; "": Path has it
	leftOut  []string    // members of the archive that are no price files, told with its first one
}

// label names an input in messages, fit to be shown.
func (in Input) label() string {
	if in.Member == "" {
		return clip(in.Path)
	}
	return clip(in.Path) + ":" + clip(in.Member)
}

// fullPath is Path, with the member if there is one.
func (in Input) fullPath() string {
	if in.Member == "" {
		return in.Path
	}
	return in.Path + ":" + in.Member
}

// base is the name that says whose prices an input holds.
func (in Input) base() string {
	if in.Member == "" {
		return in.Name
	}
	return path.Base(in.Member)
}

// symbolByName is the symbol that the name says.
func (in Input) symbolByName() string { return symbolOfName(in.base()) }

// formatName is the format, and that it is packed.
func (in Input) formatName() string {
	if in.packed {
		return in.Format + gzipEnding
	}
	return in.Format
}

// Inspect looks at each file without reading more than its head, so that a
// call that cannot succeed fails before anything is opened for writing. A file
// named twice is looked at, and later read, once. quant.NotFound: a file does
// not exist; quant.Invalid: no files, a directory or another thing that is no
// regular file, an empty file, a format that is not read, a .parquet file that is
// none; quant.Failed: it cannot be read. A zip archive is its members.
func Inspect(paths []string) ([]Input, error) {
	if len(paths) == 0 {
		return nil, quant.Errorf(quant.Invalid, "no file to ingest").WithHint("name at least one CSV or Parquet file")
	}
	var inputs []Input
next:
	for _, path := range paths {
		found, err := inspect(path)
		if err != nil {
			return nil, err
		}
		for _, other := range inputs {
			if os.SameFile(found[0].info, other.info) {
				continue next
			}
		}
		inputs = append(inputs, found...)
	}
	return inputs, nil
}

// statFile returns what is known of a file that can be ingested.
func statFile(path string) (os.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	switch {
	case info.IsDir():
		return nil, quant.Errorf(quant.Invalid, "%s: is a directory", clip(path)).WithHint("name the files in it")
	case !info.Mode().IsRegular():
		return nil, quant.Errorf(quant.Invalid, "%s: is not a regular file", clip(path)).
			WithHint("save the data to a file first: it is read more than once")
	case info.Size() == 0:
		return nil, quant.Errorf(quant.Invalid, "%s: is empty", clip(path)).WithHint("a CSV file has at least a header line")
	}
	return info, nil
}

// inspect looks at a file and returns it, or the members of an archive; there is
// at least one.
func inspect(path string) ([]Input, error) {
	info, err := statFile(path)
	if err != nil {
		return nil, err
	}
	in := Input{Path: path, Name: filepath.Base(path), Size: info.Size(), info: info}
	if err := in.look(); err != nil {
		return nil, err
	}
	if in.Format != "" {
		return []Input{in}, nil
	}
	return members(in)
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

// unchangedPath is unchanged where the file was opened by raw: what the path is
// now is what was looked at.
func (in Input) unchangedPath() error {
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
	return quant.Errorf(quant.Failed, "%s: changed while it was read", in.label()).
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

// drain reads to the end.
func (d *digestReader) drain(progress func(int64)) error {
	buf := make([]byte, 1<<20)
	for {
		_, err := d.Read(buf)
		progress(d.read.Load())
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// csvFile is an open file behind its header, whose rows are lines of CSV
// whatever its format is.
type csvFile struct {
	in   Input
	file io.Closer
	reading
	panels []panel     // where a row has bars of several symbols
	header int         // rows of it
	lines  *lineWriter // that writes the rows, where the file is no text; nil: it is
	split  *splitter
	read   func() int64           // bytes read so far
	digest func() (string, error) // of all bytes, once the rows are read
}

// openCSV opens a file, reads its header, and looks at its first rows.
func openCSV(ctx context.Context, in Input, p plan) (*csvFile, error) {
	c := &csvFile{in: in}
	open := c.openText
	if formatNamed(in.Format).rows != nil {
		open = c.openTable
	}
	if err := open(ctx, p); err != nil {
		return nil, err
	}
	if err := c.readHeader(p); err != nil {
		c.file.Close()
		return nil, c.readError(err)
	}
	return c, nil
}

// openText opens a file of text in the encoding that it says or the plan says.
func (c *csvFile) openText(ctx context.Context, p plan) (err error) {
	raw, err := c.in.raw()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	c.file = raw
	if err := c.in.unchangedPath(); err != nil {
		return err
	}
	d := newDigestReader(ctx, raw)
	c.read = d.read.Load
	c.digest = func() (string, error) {
		if n := d.read.Load(); n != c.in.Size {
			return "", c.in.cutOff(n)
		}
		return d.digest(), nil
	}
	var text io.Reader = d
	if c.in.packed {
		if text, err = gzip.NewReader(bufio.NewReaderSize(d, 1<<18)); err != nil {
			return c.readError(err)
		}
	}
	buffered := bufio.NewReaderSize(text, 1<<16)
	head, err := buffered.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return c.readError(err)
	}
	label := c.in.label()
	if len(head) == 0 {
		return quant.Errorf(quant.Invalid, "%s: is empty", label).WithHint("a CSV file has at least a header line")
	}
	c.split = &splitter{path: label, r: buffered, line: 1}
	c.split.decode(textencoding.Of(head, p.encoding))
	return nil
}

// openTable opens a file whose format writes its rows as text.
func (c *csvFile) openTable(ctx context.Context, p plan) error {
	f, size, digest, err := c.in.whole(ctx, func(int64) {})
	if err != nil {
		return err
	}
	c.read = func() int64 { return c.in.Size }
	c.digest = func() (string, error) { return digest, nil }
	label := c.in.label()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return c.readError(err)
	}
	form := formatNamed(c.in.Format)
	from, to := io.Pipe()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	c.file = closer(func() error {
		stop()
		_ = from.Close()
		<-done
		return f.Close()
	})
	out := newLineWriter(to, form.first)
	c.lines = out
	go func() {
		defer close(done)
		err := tableRows(ctx, form, f, size, p, out)
		if err == nil {
			err = out.close()
		}
		if e, ok := errors.AsType[*quant.Error](err); ok && e.Code == quant.Invalid {
			err = quant.Errorf(quant.Invalid, "%s: %s", label, e.Msg).WithHint("%s", e.Hint)
		}
		_ = to.CloseWithError(err)
	}()
	c.split = &splitter{path: label, r: from, line: form.first, check: checkUTF8, wrong: func(line int64, _ []byte) error {
		return &lineError{line, quant.Errorf(quant.Invalid, "%s: row %d: a text is not UTF-8", label, line).
			WithHint("write the file again; its format has text in UTF-8 alone")}
	}}
	return nil
}

type closer func() error

func (c closer) Close() error { return c() }

// tableRows has a format write its rows; a panic of its reader is an error.
func tableRows(ctx context.Context, f format, file *os.File, size int64, p plan, out *lineWriter) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = quant.Errorf(quant.Invalid, "damaged: cannot be read as %s: %s", f.name, clip(fmt.Sprint(r))).WithHint("fetch it again, or write it as CSV")
		}
	}()
	return f.rows(ctx, file, size, p, out)
}

// readHeader takes the first line that says something off the text.
func (c *csvFile) readHeader(p plan) error {
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
	pos, line := 0, b.line
	for {
		// Carriage returns alone are not skipped, so that they are told of.
		i := bytes.IndexByte(b.data[pos:], '\n')
		if i < 0 || !isBlankHead(b.data[pos:pos+i]) {
			break
		}
		pos += i + 1
		line++
	}
	end, kind := nextRecord(b.data, pos, ',', true)
	text := bytes.TrimRight(b.data[pos:end], "\r\n")
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
	// The first records, and where each ends.
	var records [][]string
	var ends []int
	for at := pos; at < len(b.data) && len(records) < maxHeader; at = end {
		end, kind = nextRecord(b.data, at, c.split.delim, true)
		if kind == recordBad && len(records) == 0 {
			return quant.Errorf(quant.Invalid, "%s: bad quotes in the header %s", path, clip(string(text))).
				WithHint("quote a whole column name or nothing")
		}
		if kind == recordBad || kind == recordLong {
			break
		}
		fields, _ := splitRecord(b.data[at:end], kind, c.split.delim, nil, nil)
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = string(f)
		}
		records, ends = append(records, names), append(ends, end)
	}
	if p.NoHeader && formatNamed(c.in.Format).first == 0 && c.lines != nil {
		return namedColumns(path)
	}
	shape, err := p.shape(path, records)
	if err != nil {
		return aboveHeader(path, b.data[pos:], line, err)
	}
	c.panels, c.header = shape.panels, shape.rows
	end = pos
	if shape.rows > 0 {
		end = ends[shape.rows-1]
	}
	line += int64(bytes.Count(b.data[pos:end], []byte{'\n'}))
	// The delimiter is known only now, so the block is cut again with it.
	c.split.carry = append(append([]byte(nil), b.data[end:]...), c.split.carry...)
	c.split.line = line
	look := survey{path: path, delim: c.split.delim, data: b.data[end:], line: line}
	c.reading, err = look.read(shape, &p)
	if err != nil && p.named == nil && shape.panels == nil && (c.cols.at[date] < 0 || c.cols.at[closing] < 0) {
		err = aboveHeader(path, b.data[pos:], line-int64(bytes.Count(b.data[pos:end], []byte{'\n'})), err)
	}
	c.split.release(b)
	return err
}

// maxAbove is how many lines are looked at for a header that is not the first.
const maxAbove = 50

// aboveHeader is the error of a text of which a later line is the header, or err if
// none is. The text begins with the first line that says something.
func aboveHeader(path string, text []byte, line int64, err error) error {
	first := line
	for range maxAbove {
		at := bytes.IndexByte(text, '\n')
		if at < 0 {
			break
		}
		text, line = text[at+1:], line+1
		end, kind := nextRecord(text, 0, ',', true)
		if kind == recordLong || isBlankHead(text[:end]) {
			continue
		}
		delim := delimiter(bytes.TrimRight(text[:end], "\r\n"))
		if end, kind = nextRecord(text, 0, delim, true); kind == recordBad {
			continue
		}
		fields, _ := splitRecord(text[:end], kind, delim, nil, nil)
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = string(f)
		}
		c, e := headerRule{}.mapHeader(path, names)
		if e == nil && c.at[date] >= 0 && c.at[closing] >= 0 {
			return quant.Errorf(quant.Invalid, "%s: line %d is the header, and %s above it", path, line, standAbove(line-first)).
				WithHint("take what stands above the header out of the file; in pandas: skiprows=%d", line-1)
		}
	}
	return err
}

func standAbove(lines int64) string {
	if lines == 1 {
		return "a line stands"
	}
	return fmt.Sprintf("%d lines stand", lines)
}

// namedColumns is the error of a file whose format names its columns.
func namedColumns(label string) error {
	return quant.Errorf(quant.Invalid, "%s: --no-header is for text and workbooks: the columns of this file have names", label).WithHint("leave --no-header out")
}

// checkNumbers refuses a file that has its symbols as numbers, which have lost their
// zeros, or a sheet that shows its dates as numbers. It is called when all rows are
// read.
func (c *csvFile) checkNumbers() error {
	if c.lines == nil {
		return nil
	}
	refuse := func(cell numberCell) error {
		return quant.Errorf(quant.Invalid, "%s: %s %d: the symbol %s is a number, and a symbol is text: 005930 keeps its zeros", c.in.label(), c.lines.place, cell.number, clip(cell.text)).
			WithHint("write the symbols as text when the file is made")
	}
	for _, one := range c.panels {
		for _, column := range one.cols.at {
			if column == one.cols.at[date] {
				continue
			}
			if cell, is := c.lines.numberAt(column, 0, c.header); is {
				return refuse(cell)
			}
		}
	}
	if c.panels != nil {
		return nil
	}
	if cell, is := c.lines.numberAt(c.cols.at[symbol], c.header, 0); is && !c.cols.isKey(c.cols.at[symbol]) {
		return refuse(cell)
	}
	cell, is := c.lines.numberAt(c.cols.at[date], c.header, c.header+1)
	if days, err := strconv.ParseFloat(cell.text, 64); is && err == nil && days > 10_000 && days < 100_000 && c.in.Format == xlsxFormat {
		return quant.Errorf(quant.Invalid, "%s: %s %d: the date %s is a number that is not shown as a date", c.in.label(), c.lines.place, cell.number, clip(cell.text)).
			WithHint("give the column the format of a date, and save the workbook again")
	}
	return nil
}

// isBlankHead is isBlank while the delimiter is not known.
func isBlankHead(b []byte) bool {
	return isBlank(b, ',') || isBlank(b, ';')
}

// delimiter tells comma, tab, semicolon and bar apart by a header line.
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
	for _, d := range []byte{'\t', ';', '|'} {
		if count[d] > count[best] {
			best = d
		}
	}
	return best
}

// rows returns a reader of one block; several may work at once.
func (c *csvFile) rows(b block) *rowReader {
	return &rowReader{path: c.split.path, delim: c.split.delim, cols: c.cols, dates: c.dates, mark: c.mark, panels: c.panels, panel: len(c.panels),
		block: b, line: b.line, hasNUL: bytes.IndexByte(b.data, 0) >= 0}
}

// finish is called when all rows are read: it closes the file, checks that it
// did not change, and returns its digest.
func (c *csvFile) finish() (string, error) {
	defer c.file.Close()
	if err := c.in.unchangedPath(); err != nil {
		return "", err
	}
	return c.digest()
}

// readError makes an error of reading one that names the file.
func (c *csvFile) readError(err error) error { return c.in.readError(err) }

func (in Input) cutOff(read int64) error {
	return quant.Errorf(quant.Failed, "%s: ended after %d of %d bytes", in.label(), read, in.Size).
		WithHint("nothing was stored; is the file complete?")
}

// readError makes an error of reading one that names the file.
func (in Input) readError(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrChecksum),
		in.Member != "" && !in.packed && errors.Is(err, io.ErrUnexpectedEOF):
		return quant.Errorf(quant.Invalid, "%s: damaged zip archive: %w", in.label(), err).WithHint("fetch the file again")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, io.ErrUnexpectedEOF):
		return quant.Errorf(quant.Invalid, "%s: damaged gzip data: %w", in.label(), err).WithHint("fetch the file again")
	}
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return quant.Errorf(quant.Invalid, "%s: damaged: %w", in.label(), err).WithHint("fetch the file again")
	}
	if _, ok := errors.AsType[*quant.Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*lineError](err); ok {
		return err
	}
	return fileError(in.Path, err)
}

// files is how many files the inputs stand in.
func files(inputs []Input) int {
	n := 0
	for i, in := range inputs {
		if i == 0 || in.Path != inputs[i-1].Path {
			n++
		}
	}
	return n
}
