package curator

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"quant"
)

// maxRecord is the longest record, in bytes, its last line end left out.
const maxRecord = 1 << 20

// blockSize is what is read and parsed in one piece. It is more than
// maxRecord, so that a full block holds a whole record or proves that its
// first line is too long.
const blockSize = 4 << 20

// block is a run of whole records.
type block struct {
	data []byte
	line int64 // line of its first byte; the file's first line is 1
	long bool  // data is the head of one line that is too long
	buf  []byte
}

// splitter cuts a text into blocks at the ends of records. Several goroutines
// may call its methods; the blocks come in the file's order.
type splitter struct {
	path  string
	r     io.Reader
	delim byte
	check func(b []byte, last bool) int       // offset of bytes that the encoding forbids, or -1
	wrong func(line int64, data []byte) error // the error that says so, of a line and the text around it
	onCut func()                              // called when a block was made; may be nil

	mu    sync.Mutex
	carry []byte // read and not yet handed out
	line  int64
	eof   bool
	err   error
	free  [][]byte
}

// next returns the next block, io.EOF after the last one, or what went wrong.
func (s *splitter) next() (block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return block{}, s.err
	}
	b, err := s.cut()
	s.err = err
	if s.onCut != nil {
		s.onCut()
	}
	return b, err
}

// release takes a block's memory back.
func (s *splitter) release(b block) {
	if b.buf == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, b.buf)
}

func (s *splitter) cut() (block, error) {
	var buf []byte
	if n := len(s.free); n > 0 {
		buf, s.free = s.free[n-1], s.free[:n-1]
	} else {
		buf = make([]byte, blockSize)
	}
	n := copy(buf, s.carry)
	k, err := s.fill(buf[n:])
	if err != nil {
		return block{}, err
	}
	data := buf[:n+k]
	if len(data) == 0 {
		return block{}, io.EOF
	}
	if at := s.check(data, s.eof); at >= 0 {
		return block{}, s.wrong(s.line+int64(bytes.Count(data[:at], []byte{'\n'})), data)
	}
	b := block{line: s.line, buf: buf}
	end := s.boundary(data)
	if end > 0 {
		b.data = data[:end]
		s.carry = append(s.carry[:0], data[end:]...)
		s.line += int64(bytes.Count(b.data, []byte{'\n'}))
		return b, nil
	}
	b.long = true
	b.data = append([]byte(nil), data[:2*maxText]...)
	b.buf = nil
	s.line++
	return b, s.skipLine(buf, data)
}

// fill reads until b is full or the text ends.
func (s *splitter) fill(b []byte) (int, error) {
	if s.eof {
		return 0, nil
	}
	// Not io.ReadFull: its io.ErrUnexpectedEOF is also that of a gzip stream
	// that was cut off.
	n := 0
	for n < len(b) {
		k, err := s.r.Read(b[n:])
		n += k
		if errors.Is(err, io.EOF) {
			s.eof = true
			break
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// skipLine reads on until a line end is passed, and gives buf back.
func (s *splitter) skipLine(buf, data []byte) error {
	for {
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			s.carry = append(s.carry[:0], data[i+1:]...)
			break
		}
		if s.eof {
			s.carry = s.carry[:0]
			break
		}
		k, err := s.fill(buf)
		if err != nil {
			return err
		}
		data = buf[:k]
	}
	s.free = append(s.free, buf)
	return nil
}

// boundary returns the end of the last whole record in data, or 0 if data
// begins with a line that is too long.
func (s *splitter) boundary(data []byte) int {
	if bytes.IndexByte(data, '"') < 0 {
		end := len(data)
		if !s.eof {
			end = bytes.LastIndexByte(data, '\n') + 1
		}
		if !hasLongLine(data[:end]) {
			return end
		}
	}
	p := 0
	for p < len(data) {
		end, kind := nextRecord(data, p, s.delim, s.eof)
		if kind == recordLong || kind == recordCut {
			break
		}
		p = end
	}
	return p
}

// hasLongLine reports whether a line is too long, looking at little of it.
func hasLongLine(data []byte) bool {
	for p := 0; p+maxRecord < len(data); {
		i := bytes.LastIndexByte(data[p:p+maxRecord+1], '\n')
		if i < 0 {
			return true
		}
		p += i + 1
	}
	return false
}

// What nextRecord found.
type recordKind int

const (
	recordPlain  recordKind = iota // no quotes
	recordQuoted                   // quotes, all of them right
	recordBad                      // a quote that is not closed in time, or stands where none may
	recordLong                     // a line longer than maxRecord
	recordCut                      // data ends before it can be told
)

// nextRecord finds the end, line end included, of the record that begins at
// data[p]. last says that nothing follows data. A record with a wrong quote
// ends with its first line, so that the quote takes no other line with it.
//
// The splitter, which sees more, and the parser, which sees one block as all
// there is, get the same answer: a block ends with a line end, and a quote
// that is open there has been found bad by looking ahead.
func nextRecord(data []byte, p int, delim byte, last bool) (int, recordKind) {
	limit := min(len(data), p+maxRecord+1)
	end, line := len(data), data[p:limit]
	if nl := bytes.IndexByte(line, '\n'); nl >= 0 {
		end, line = p+nl+1, line[:nl]
	} else if limit-p > maxRecord {
		return p, recordLong
	} else if !last {
		return p, recordCut
	}
	if bytes.IndexByte(line, '"') < 0 {
		return end, recordPlain
	}
	ends := func() (int, recordKind) { // no more bytes to look at
		if limit == len(data) && !last {
			return p, recordCut
		}
		return end, recordBad
	}
	for i, atStart := p, true; ; {
		if i >= limit {
			if limit == len(data) && last {
				return limit, recordQuoted
			}
			return ends()
		}
		switch c := data[i]; {
		case c == '\n':
			return i + 1, recordQuoted
		case c == '"' && !atStart:
			return end, recordBad
		case c == '"':
			for i++; ; i += 2 {
				j := bytes.IndexByte(data[i:limit], '"')
				if j < 0 {
					return ends()
				}
				i += j
				if i+1 >= limit || data[i+1] != '"' {
					break
				}
			}
			i++
			if i+1 < limit && data[i] == '\r' && data[i+1] == '\n' {
				i++
			}
			if i < limit && data[i] != '\n' && data[i] != delim {
				if data[i] == '\r' && i+1 >= limit {
					if limit == len(data) && last {
						return limit, recordQuoted
					}
					return ends()
				}
				return end, recordBad
			}
			atStart = false
		default:
			atStart = c == delim
			i++
		}
	}
}

// splitRecord appends the fields of a record, line end included, to fields.
// Unquoted values are part of the record; others are made in scratch, which is
// returned grown.
func splitRecord(rec []byte, kind recordKind, delim byte, fields [][]byte, scratch []byte) ([][]byte, []byte) {
	if n := len(rec); n > 0 && rec[n-1] == '\n' {
		rec = rec[:n-1]
	}
	if n := len(rec); n > 0 && rec[n-1] == '\r' {
		rec = rec[:n-1]
	}
	if kind == recordPlain {
		start := 0
		for i, c := range rec {
			if c == delim {
				fields = append(fields, rec[start:i])
				start = i + 1
			}
		}
		return append(fields, rec[start:]), scratch
	}
	for {
		if len(rec) == 0 || rec[0] != '"' {
			i := bytes.IndexByte(rec, delim)
			if i < 0 {
				return append(fields, rec), scratch
			}
			fields = append(fields, rec[:i])
			rec = rec[i+1:]
			continue
		}
		rec = rec[1:]
		start := len(scratch)
		for {
			i := bytes.IndexByte(rec, '"')
			scratch = append(scratch, rec[:i]...)
			rec = rec[i+1:]
			if len(rec) == 0 || rec[0] != '"' {
				break
			}
			scratch = append(scratch, '"')
			rec = rec[1:]
		}
		fields = append(fields, scratch[start:len(scratch):len(scratch)])
		if len(rec) == 0 {
			return fields, scratch
		}
		rec = rec[1:] // the delimiter
	}
}

// row is one record as the reader understands it. The numbers are NaN where
// there is none; symbol is valid until the next row is read.
type row struct {
	line   int64
	fault  fault
	symbol []byte
	day    day
	number [numberFields]float64
	text   []byte // the record, if it has a fault
	panel  int    // index of the symbol, where a record has bars of several
}

// rowReader reads the rows of one block.
type rowReader struct {
	path    string
	delim   byte
	cols    columns
	dates   *dateRule
	mark    decimalMark
	block   block
	pos     int
	line    int64
	hasNUL  bool
	fields  [][]byte
	scratch []byte
	known   []byte // the last symbol that was found valid

	panels     []panel // where a record has bars of several symbols
	panel      int     // the next one of the present record
	record     []byte
	recordLine int64
}

// read reads the next row; false at the end of the block. The error is one of
// the whole file.
func (r *rowReader) read(out *row) (bool, error) {
	if more, err := r.panelRow(out); more || err != nil {
		return more, err
	}
	for r.pos < len(r.block.data) {
		out.line = r.line
		out.fault = sound
		out.text = nil
		out.panel = 0
		if r.block.long {
			out.fault, out.text = lineTooLong, r.block.data
			r.pos = len(r.block.data)
			return true, nil
		}
		end, kind := nextRecord(r.block.data, r.pos, r.delim, true)
		rec := r.block.data[r.pos:end]
		r.pos = end
		if kind == recordPlain {
			r.line++
		} else {
			r.line += int64(bytes.Count(rec, []byte{'\n'}))
		}
		if isBlank(rec, r.delim) {
			continue
		}
		switch {
		case r.hasNUL && bytes.IndexByte(rec, 0) >= 0:
			out.fault = nulByte
		case kind == recordBad:
			out.fault = badQuotes
		default:
			r.fields, r.scratch = splitRecord(rec, kind, r.delim, r.fields[:0], r.scratch[:0])
			if r.panels != nil {
				r.panel, r.record, r.recordLine = 0, rec, out.line
				if more, err := r.panelRow(out); more || err != nil {
					return more, err
				}
				continue
			}
			if err := r.understand(out); err != nil {
				return false, err
			}
		}
		if out.fault != sound {
			out.text = rec
		}
		return true, nil
	}
	return false, nil
}

// isBlank reports whether a record has nothing but spaces and delimiters.
func isBlank(rec []byte, delim byte) bool {
	for _, c := range rec {
		if c != delim && c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// noSymbol tells the spellings of a symbol that is not there. NA is none of
// them, nor is NAN: both are tickers.
func noSymbol(b []byte) bool {
	switch string(b) {
	case "", "null", "NULL", "NaN", "nan", "N/A", "n/a":
		return true
	}
	return false
}

// understand turns the fields into a row.
func (r *rowReader) understand(out *row) error {
	if len(r.fields) != r.cols.count {
		out.fault = raggedRow
		return nil
	}
	at := &r.cols.at
	if i := at[symbol]; i >= 0 {
		out.symbol = trimSpace(r.fields[i])
		if !bytes.Equal(out.symbol, r.known) {
			switch {
			case noSymbol(out.symbol):
				out.fault = symbolMissing
				return nil
			case quant.ValidateSymbol(string(out.symbol)) != nil:
				out.fault = symbolInvalid
				return nil
			}
			r.known = append(r.known[:0], out.symbol...)
		}
	}
	var text, clock []byte
	if i := at[date]; i >= 0 {
		text = r.fields[i]
	}
	if i := r.cols.clock; i >= 0 {
		clock = r.fields[i]
	}
	var err error
	out.day, err = r.dates.day(text, clock)
	switch {
	case errors.Is(err, errAmbiguous):
		return ambiguousDate(r.path, out.line, string(trimSpace(text)))
	case errors.Is(err, errTimed):
		return timedDate(r.path, out.line, text, clock, r.dates)
	case err != nil && isMissing(trimSpace(text)):
		out.fault = dateMissing
		return nil
	case err != nil:
		out.fault = dateUnreadable
		return nil
	}
	for f := open; f < fieldCount; f++ {
		i := at[f]
		if i < 0 {
			continue
		}
		x, k, doubtful := r.mark.parse(r.fields[i])
		if doubtful {
			return doubtfulComma(r.path, out.line, f, r.fields[i])
		}
		if k == unreadable && f == volume {
			x, k = parseVolume(r.fields[i], r.mark)
		}
		switch {
		case k == sound || k == missing && f >= volume:
		case k == missing:
			// The first fault counts; but the row may be a day without a trade, which
			// the gate sees from the rest.
			if out.fault == sound {
				out.fault = k.of(f)
			}
		case out.fault != sound:
			out.number[0] = math.Inf(1) // no such day
			return nil
		default:
			out.fault = k.of(f)
			return nil
		}
		out.number[f-open] = x
	}
	return nil
}

// doubtfulComma is the error of a file in which nothing tells whether a comma
// begins the fraction: 77,380 may be either number.
func doubtfulComma(path string, line int64, f field, text []byte) error {
	return &lineError{line, quant.Errorf(quant.Invalid, "%s: line %d: the comma in the %s %q may begin the fraction or part thousands", path, line, strings.ReplaceAll(f.String(), "_", " "), clip(string(trimSpace(text)))).
		WithHint("say what begins the fraction: --decimal comma (77,38 is 77.38) or --decimal point (10,500 is 10500)")}
}

func ambiguousDate(path string, line int64, text string) error {
	return &lineError{line, quant.Errorf(quant.Invalid, "%s: line %d: ambiguous date %q", path, line, clip(text)).
		WithHint("say which is day, month and year: --date-format %%d/%%m/%%Y or --date-format %%m/%%d/%%Y")}
}

// timedDate is the error of a row with a time of day, where no zone is said.
func timedDate(path string, line int64, text, clock []byte, rule *dateRule) error {
	said := string(trimSpace(text))
	if clock != nil {
		said += " " + string(trimSpace(clock))
	}
	if s, err := rule.stamp(text); err == nil && s.instant {
		return &lineError{line, quant.Errorf(quant.Invalid, "%s: line %d: %q is an instant, and which session's day it is depends on the exchange", path, line, clip(said)).
			WithHint("say the exchange's zone: --timezone America/New_York, --timezone Asia/Seoul; intraday data must be made daily bars first")}
	}
	return &lineError{line, quant.Errorf(quant.Invalid, "%s: line %d: %q has a time of day; only daily bars are stored", path, line, clip(said)).
		WithHint("for daily bars that bear a time say the exchange's zone: --timezone America/New_York, --timezone Asia/Seoul; intraday data must be made daily bars first")}
}

// lineError is an error of a whole file, found in a line.
type lineError struct {
	line int64
	err  error
}

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

// checkUTF8 returns the offset of the first bytes that are not UTF-8, or -1. A
// rune that is cut off by the end of b is no fault unless it is the last.
func checkUTF8(b []byte, last bool) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			if !last && !utf8.FullRune(b[i:]) {
				return -1
			}
			return i
		}
		i += n
	}
	return -1
}

// checkDecoded finds what a decoder could not read: it leaves U+FFFD.
func checkDecoded(b []byte, _ bool) int { return bytes.Index(b, []byte("\ufffd")) }
