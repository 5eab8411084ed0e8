package symbols

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/korean"

	"quant"
	"quant/internal/durable"
)

// File is what a symbol file says.
type File struct {
	Name   string
	Digest quant.Text // of its bytes; "": it was no file
	Bad    []BadLine

	rows []row
}

// BadLine is a line of a symbol file that cannot be used, and why.
type BadLine struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// row is one good line: a ticker and the changes to make to it.
type row struct {
	line   int
	ticker string
	apply  func(*quant.Symbol)
}

// importColumns maps the header spellings of a symbol file to columns.
var importColumns = map[string]string{
	"symbol": "symbol", "ticker": "symbol", "code": "symbol", "종목코드": "symbol", "종목": "symbol",
	"name": "name", "종목명": "name", "이름": "name",
	"sector": "sector", "industry": "sector", "업종": "sector", "섹터": "sector",
	"currency": "currency", "통화": "currency",
	"is_active": "is_active", "active": "is_active",
	"priority": "priority", "우선순위": "priority",
}

// ReadFile reads a symbol file, a CSV file with a header, in an encoding: utf-8,
// cp949 or euc-kr. Usage: another encoding. NotFound, Failed or Invalid: there is
// no such file, or it cannot be read or understood. Lines that cannot be used are
// no error.
func ReadFile(path, charset string) (*File, error) {
	decoder, err := decoderOf(charset)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	digest := durable.NewSum()
	file, err := read(io.TeeReader(f, digest), decoder)
	if err != nil {
		return nil, err
	}
	file.Name, file.Digest = path, quant.Text(digest.Digest())
	return file, nil
}

// Read is ReadFile for what comes from elsewhere and is called name.
func Read(name string, in io.Reader, charset string) (*File, error) {
	decoder, err := decoderOf(charset)
	if err != nil {
		return nil, err
	}
	file, err := read(in, decoder)
	if err != nil {
		return nil, err
	}
	file.Name = name
	return file, nil
}

// openRegular opens a regular file: a pipe could keep quant waiting for as
// long as nobody writes to it.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "symbol file %s does not exist", path).WithHint("check the path; - reads standard input")
	}
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read symbols: %w", err).WithHint("make the file readable")
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = quant.Errorf(quant.Failed, "read symbols: %w", err).WithHint("make the file readable")
	case info.IsDir():
		err = quant.Errorf(quant.Invalid, "%s is a directory", path).WithHint("name one file in it")
	case !info.Mode().IsRegular():
		err = quant.Errorf(quant.Invalid, "%s is not a regular file", path).WithHint("save it to a file first, or give it to standard input: quant symbols import - < %s", path)
	default:
		return f, nil
	}
	f.Close()
	return nil, err
}

// decoderOf is the decoder of an --encoding, nil for UTF-8.
func decoderOf(name string) (*encoding.Decoder, error) {
	switch strings.ToLower(name) {
	case "utf-8", "utf8":
		return nil, nil
	case "cp949", "euc-kr", "euckr":
		return korean.EUCKR.NewDecoder(), nil
	}
	return nil, quant.Errorf(quant.Usage, "encoding %q is not known", name).WithHint("use utf-8, cp949 or euc-kr")
}

// columnsHint names the columns of a symbol file.
const columnsHint = "its first line names the columns: symbol,name,sector,currency,is_active,priority"

// read reads a symbol file, with a byte order mark or without. A header that cannot
// be used is an Invalid error; a bad line is kept with its number.
func read(in io.Reader, decoder *encoding.Decoder) (*File, error) {
	file := &File{Bad: []BadLine{}}
	notText := "not UTF-8; --encoding cp949 reads Korean files of Windows"
	if decoder != nil {
		in, notText = decoder.Reader(in), "not in the encoding that --encoding names"
	}
	buffered := bufio.NewReader(in)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3) // they are in the buffer
	}
	r := csv.NewReader(buffered)
	r.FieldsPerRecord = -1
	r.LazyQuotes = false
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, quant.Errorf(quant.Invalid, "the symbol file is empty").WithHint(columnsHint)
	}
	if err != nil {
		return nil, quant.Errorf(quant.Invalid, "read the header: %w", err).WithHint(columnsHint)
	}
	if h := strings.Join(header, ","); !isText(h, decoder != nil) {
		return nil, quant.Errorf(quant.Invalid, "the header %q cannot be read", h).
			WithHint("if it is a Korean file of Windows, --encoding cp949 reads it; otherwise save it as UTF-8")
	}
	columns := make([]string, len(header))
	at := map[string]bool{}
	for i, h := range header {
		name := strings.ToLower(strings.TrimSpace(h))
		columns[i] = importColumns[strings.NewReplacer(" ", "_", "-", "_").Replace(name)]
		if columns[i] == "" {
			return nil, quant.Errorf(quant.Invalid, "column %q of the header is not known", h).
				WithHint("the columns are symbol, name, sector, currency, is_active, priority")
		}
		if at[columns[i]] {
			return nil, quant.Errorf(quant.Invalid, "two columns of the header mean %s", columns[i]).
				WithHint("leave one of them out")
		}
		at[columns[i]] = true
	}
	if !at["symbol"] {
		return nil, quant.Errorf(quant.Invalid, "the header %q has no column symbol", strings.Join(header, ",")).WithHint(columnsHint)
	}
	seen := map[string]int{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return file, nil
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			file.Bad = append(file.Bad, BadLine{parse.StartLine, parse.Err.Error()})
			continue
		}
		if err != nil {
			return nil, quant.Errorf(quant.Failed, "read symbols: %w", err).WithHint("nothing was imported; run it again")
		}
		line, _ := r.FieldPos(0)
		found, reason := row{}, notText
		if isText(strings.Join(record, ","), decoder != nil) {
			found, reason = symbolOf(columns, record)
		}
		found.line = line
		if first, again := seen[found.ticker]; again && reason == "" {
			reason = fmt.Sprintf("symbol %s stands in line %d already", found.ticker, first)
		}
		if reason != "" {
			file.Bad = append(file.Bad, BadLine{line, reason})
			continue
		}
		seen[found.ticker] = line
		file.rows = append(file.rows, found)
	}
}

// isText reports whether s is text; what a decoder could not read it has
// replaced.
func isText(s string, decoded bool) bool {
	return utf8.ValidString(s) && !(decoded && strings.ContainsRune(s, utf8.RuneError))
}

func symbolOf(columns, record []string) (found row, reason string) {
	if len(record) != len(columns) {
		return found, fmt.Sprintf("%d fields where the header has %d", len(record), len(columns))
	}
	var s quant.Symbol
	var given []string
	for i, value := range record {
		value = strings.TrimSpace(value)
		var err error
		switch columns[i] {
		case "symbol":
			s.Symbol = value
		case "name":
			s.Name = quant.Text(value)
		case "sector":
			s.Sector = quant.Text(value)
		case "currency":
			s.Currency = quant.Text(value)
		case "is_active":
			if value == "" {
				continue // keeps what is there
			}
			s.IsActive, err = strconv.ParseBool(value)
		case "priority":
			if value == "" {
				continue
			}
			s.Priority, err = strconv.ParseInt(value, 10, 64)
		}
		if err != nil {
			return found, fmt.Sprintf("%s %q cannot be read", columns[i], value)
		}
		given = append(given, columns[i])
	}
	if err := s.Validate(); err != nil {
		return found, err.Error()
	}
	return row{ticker: s.Symbol, apply: func(to *quant.Symbol) {
		for _, column := range given {
			switch column {
			case "name":
				to.Name = s.Name
			case "sector":
				to.Sector = s.Sector
			case "currency":
				to.Currency = s.Currency
			case "is_active":
				to.IsActive = s.IsActive
			case "priority":
				to.Priority = s.Priority
			}
		}
	}}, ""
}
