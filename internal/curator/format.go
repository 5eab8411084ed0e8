package curator

import (
	"bytes"
	"context"
	"os"
	"strings"

	"quant"
	"quant/internal/arrowfile"
)

// format is what a price file may be: one entry of the catalogue.
type format struct {
	name    string   // as a report has it
	endings []string // of the names of such files; a symbol that a name says is without them
	// begins reports whether a file of at least these first bytes is one.
	begins func(head []byte) bool
	// rows writes the rows of the file, which stands at its beginning, as lines of CSV, so
	// that one set of rules reads the header, the dates and the numbers of every
	// format. nil: the file is text already, or DuckDB reads it. It knows the
	// file by its bytes alone; the errors that it makes are of quant.Invalid and
	// begin with the place in the file.
	rows  func(ctx context.Context, f *os.File, size int64, p plan, out *lineWriter) error
	first int64 // the number of its first row: 0 where the header is none
}

// The names of formats, as a report has them.
const (
	csvFormat     = "csv"
	parquetFormat = "parquet"
	xlsxFormat    = "xlsx"
	jsonFormat    = "json"
	arrowFormat   = "arrow"
)

// formats is the catalogue, in the order in which a file is compared with it.
// What is none of the others is text.
func formats() []format {
	return []format{
		{name: parquetFormat, endings: []string{".parquet", ".pq"}, begins: prefix("PAR1")},
		{name: xlsxFormat, endings: []string{".xlsx", ".xlsm"}, begins: never, rows: workbookRows, first: 1}, // a zip archive, known by what it holds
		{name: jsonFormat, endings: []string{".json", ".jsonl", ".ndjson"}, begins: beginsJSON, rows: jsonRows},
		{name: arrowFormat, endings: []string{".feather", ".arrow", ".ipc", ".arrows"}, begins: arrowfile.Begins, rows: arrowRows},
		{name: csvFormat, endings: []string{".csv", ".txt", ".tsv"}, begins: func([]byte) bool { return true }},
	}
}

func formatOf(head []byte) format {
	for _, f := range formats() {
		if f.begins(head) {
			return f
		}
	}
	return format{}
}

func formatNamed(name string) format {
	for _, f := range formats() {
		if f.name == name {
			return f
		}
	}
	return format{}
}

func never([]byte) bool { return false }

func prefix(magic string) func([]byte) bool {
	return func(head []byte) bool { return bytes.HasPrefix(head, []byte(magic)) }
}

// headSize is how much of a file tells its format.
const headSize = 512

// unread are files that hold tables and are not read, with what to do.
func unread(head []byte) (what, hint string) {
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n"))
	begins := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case begins("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
		return "is an Excel workbook of before 2007 (.xls)", "save it as .xlsx or as CSV"
	case begins("FEA1"):
		return "is a Feather file of version 1", "write it again as version 2 (Arrow)"
	case begins("\x89HDF\r\n\x1a\n"):
		return "is an HDF5 file", "write it as Parquet or CSV"
	case begins("SQLite format 3\x00"):
		return "is an SQLite database", "write its table as CSV"
	case begins("\xfd7zXZ\x00"), begins("7z\xbc\xaf\x27\x1c"), begins("Rar!"), begins("BZh"), begins("\x28\xb5\x2f\xfd"):
		return "is compressed in a way that is not read", "unpack it first, or compress it with gzip or zip"
	case begins("%PDF-"):
		return "is a PDF document", "save the table as CSV or .xlsx"
	case bytes.HasPrefix(text, []byte("<!doctype html")), bytes.HasPrefix(text, []byte("<html")), bytes.HasPrefix(text, []byte("<table")):
		return "is an HTML page, whatever its name says", "an error page of the source? If it is a table, open it in a spreadsheet and save it as CSV"
	case bytes.HasPrefix(text, []byte("<?xml")):
		return "is an XML file", "save the table as CSV or .xlsx"
	}
	return "", ""
}

func refuseUnread(label string, head []byte) error {
	if what, hint := unread(head); what != "" {
		return quant.Errorf(quant.Invalid, "%s: %s", label, what).WithHint("%s", hint)
	}
	return nil
}

// symbolOfName is the symbol that a file's name says: SPX for SPX.csv,
// spx.CSV.gz or SPX.parquet, without the ending.
func symbolOfName(name string) string {
	endings := []string{gzipEnding}
	for _, f := range formats() {
		endings = append(endings, f.endings...)
	}
	for _, ending := range endings {
		if cut := len(name) - len(ending); cut > 0 && strings.EqualFold(name[cut:], ending) {
			name = name[:cut]
		}
	}
	return name
}
