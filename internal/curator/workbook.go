package curator

import (
	"archive/zip"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"quant"
)

// contentTypes is the part that every workbook has and other zip archives have
// not.
const contentTypes = "[Content_Types].xml"

// Bounds of a workbook: those of Excel, and of what is held in memory.
const (
	maxSheetRow    = 1 << 20
	maxSheetColumn = 1 << 14
	maxSheetPart   = 4 << 30   // bytes of one part, unpacked
	maxStrings     = 512 << 20 // bytes of the texts that cells share
	maxStringCount = 10_000_000
	maxCellText    = 1 << 20
	maxRowText     = 64 << 20 // bytes of the cells of one row
)

// maxElements is how many there may be of what a part of a workbook lists. It is
// spent as the part is read.
func maxElements() map[string]int {
	return map[string]int{"sheet": 1000, "Relationship": 10_000, "numFmt": 100_000, "xf": 200_000}
}

// workbook is an open .xlsx file (ECMA-376).
type workbook struct {
	parts   map[string]*zip.File
	sheets  []sheet
	strings []string
	dates   map[int]bool // cell formats that show a date or a time
	since   time.Time    // day 0
	is1904  bool
}

type sheet struct {
	name   string
	part   string
	hidden bool
}

// workbookRows writes the rows of the sheet that was asked for, or of the only
// one that has any. A cell that Excel shows as a date is written as one; a
// number is written as the file has it, not as Excel rounds it.
func workbookRows(ctx context.Context, f *os.File, size int64, p plan, out *lineWriter) error {
	zr, err := zip.NewReader(f, size)
	if err != nil {
		return damagedWorkbook(err)
	}
	w, err := openWorkbook(ctx, zr)
	if err != nil {
		return damagedWorkbook(err)
	}
	s, err := w.choose(ctx, p.Sheet)
	if err != nil {
		return err
	}
	out.place = "sheet " + clip(fmt.Sprintf("%q", s.name)) + ": row"
	return w.rows(ctx, s, out.row)
}

func damagedWorkbook(err error) error {
	if _, ours := errors.AsType[*quant.Error](err); ours || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return quant.Errorf(quant.Invalid, "cannot be read as an Excel workbook: %s", clip(err.Error())).WithHint("the file may be damaged or cut off: fetch it again, or save it as CSV")
}

// choose returns the sheet of a name, or the only one that is shown and has two
// rows or more.
func (w *workbook) choose(ctx context.Context, name string) (sheet, error) {
	var names []string
	for _, s := range w.sheets {
		if name != "" && s.name == name {
			return s, nil
		}
		names = append(names, strconv.Quote(clip(s.name)))
	}
	if name != "" {
		return sheet{}, quant.Errorf(quant.Invalid, "has no sheet %q", clip(name)).WithHint("its sheets: %s", quant.SomeOf(names, 10))
	}
	var found []sheet
	names = nil
	for _, s := range w.sheets {
		if s.hidden {
			continue
		}
		rows := 0
		err := w.rows(ctx, s, func(_ int64, cells []cell) error {
			for _, c := range cells {
				if strings.TrimSpace(c.text) != "" {
					rows++
					break
				}
			}
			if rows > 1 {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return sheet{}, err
		}
		if rows > 1 {
			found = append(found, s)
			names = append(names, strconv.Quote(clip(s.name)))
		}
	}
	switch len(found) {
	case 0:
		return sheet{}, quant.Errorf(quant.Invalid, "no sheet has a header and a row").WithHint("name a hidden sheet with --sheet NAME")
	case 1:
		return found[0], nil
	}
	return sheet{}, quant.Errorf(quant.Invalid, "several sheets have rows: %s", quant.SomeOf(names, 10)).WithHint("say which: --sheet NAME")
}

var errEnough = errors.New("enough rows were seen")

func openWorkbook(ctx context.Context, zr *zip.Reader) (*workbook, error) {
	w := &workbook{parts: map[string]*zip.File{}, dates: map[int]bool{}, since: time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)}
	for _, f := range zr.File {
		w.parts[strings.TrimPrefix(f.Name, "/")] = f
	}
	main := "xl/workbook.xml"
	root, err := w.relations(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, r := range root {
		if strings.HasSuffix(r.Type, "/officeDocument") {
			main = r.part
		}
	}
	if w.parts[main] == nil {
		return nil, quant.Errorf(quant.Invalid, "is an Office document, but no Excel workbook").WithHint("save the table as .xlsx or CSV")
	}
	var book struct {
		Properties struct {
			Date1904 string `xml:"date1904,attr"`
		} `xml:"workbookPr"`
		Sheets []struct {
			Name  string     `xml:"name,attr"`
			State string     `xml:"state,attr"`
			Attrs []xml.Attr `xml:",any,attr"`
		} `xml:"sheets>sheet"`
	}
	if err := w.decode(ctx, main, &book); err != nil {
		return nil, err
	}
	if v := book.Properties.Date1904; v == "1" || v == "true" {
		w.since, w.is1904 = time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC), true
	}
	relations, err := w.relations(ctx, main)
	if err != nil {
		return nil, err
	}
	for _, r := range relations {
		switch {
		case strings.HasSuffix(r.Type, "/sharedStrings"):
			err = w.readStrings(ctx, r.part)
		case strings.HasSuffix(r.Type, "/styles"):
			err = w.readStyles(ctx, r.part)
		}
		if err != nil {
			return nil, err
		}
	}
	parts := map[string]string{}
	for _, r := range relations {
		if strings.HasSuffix(r.Type, "/worksheet") {
			parts[r.ID] = r.part
		}
	}
	for _, s := range book.Sheets {
		for _, a := range s.Attrs {
			if part, there := parts[a.Value]; there && a.Name.Local == "id" {
				w.sheets = append(w.sheets, sheet{s.Name, part, s.State != "" && s.State != "visible"})
				break
			}
		}
	}
	return w, nil
}

type relation struct {
	ID     string `xml:"Id,attr"`
	Type   string `xml:"Type,attr"`
	Target string `xml:"Target,attr"`
	part   string
}

// relations are those of a part, "" the whole document.
func (w *workbook) relations(ctx context.Context, of string) ([]relation, error) {
	dir, base := path.Split(of)
	name := dir + "_rels/" + base + ".rels"
	if w.parts[name] == nil {
		return nil, nil
	}
	var list struct {
		Relations []relation `xml:"Relationship"`
	}
	if err := w.decode(ctx, name, &list); err != nil {
		return nil, err
	}
	for i, r := range list.Relations {
		if strings.HasPrefix(r.Target, "/") {
			list.Relations[i].part = strings.TrimPrefix(path.Clean(r.Target), "/")
		} else {
			list.Relations[i].part = path.Join(dir, r.Target)
		}
	}
	return list.Relations, nil
}

// part opens a part; it ends at a bound.
func (w *workbook) part(name string, limit int64) (io.ReadCloser, error) {
	f := w.parts[name]
	if f == nil {
		return nil, fmt.Errorf("its part %s is missing", clip(name))
	}
	if f.UncompressedSize64 > uint64(limit) {
		return nil, fmt.Errorf("its part %s is more than %d MiB", clip(name), limit>>20)
	}
	return f.Open()
}

func (w *workbook) decode(ctx context.Context, name string, into any) error {
	r, err := w.part(name, 64<<20)
	if err != nil {
		return err
	}
	defer r.Close()
	return xml.NewTokenDecoder(newXMLTokens(ctx, r, maxElements())).Decode(into)
}

func (w *workbook) readStrings(ctx context.Context, name string) error {
	r, err := w.part(name, maxStrings)
	if err != nil {
		return err
	}
	defer r.Close()
	tokens := newXMLTokens(ctx, r, map[string]int{"si": maxStringCount})
	var text strings.Builder
	inText, phonetic := false, 0
	for {
		token, err := tokens.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "si":
				text.Reset()
			case "t":
				inText = phonetic == 0
			case "rPh":
				phonetic++
			}
		case xml.EndElement:
			switch t.Name.Local {
			case "si":
				w.strings = append(w.strings, text.String())
			case "t":
				inText = false
			case "rPh":
				phonetic--
			}
		case xml.CharData:
			if inText {
				if text.Len()+len(t) > maxCellText {
					return fmt.Errorf("text %d is longer than %d bytes", len(w.strings)+1, maxCellText)
				}
				text.Write(t)
			}
		}
	}
}

func (w *workbook) readStyles(ctx context.Context, name string) error {
	var styles struct {
		Formats []struct {
			ID   int    `xml:"numFmtId,attr"`
			Code string `xml:"formatCode,attr"`
		} `xml:"numFmts>numFmt"`
		Cells []struct {
			ID int `xml:"numFmtId,attr"`
		} `xml:"cellXfs>xf"`
	}
	if err := w.decode(ctx, name, &styles); err != nil {
		return err
	}
	own := map[int]bool{}
	for _, f := range styles.Formats {
		own[f.ID] = showsTime(f.Code)
	}
	for i, c := range styles.Cells {
		shows, custom := own[c.ID]
		if !custom {
			// The formats of Excel itself, with those of its East Asian editions.
			shows = c.ID >= 14 && c.ID <= 22 || c.ID >= 27 && c.ID <= 36 || c.ID >= 45 && c.ID <= 47 || c.ID >= 50 && c.ID <= 58
		}
		w.dates[i] = shows
	}
	return nil
}

// showsTime reports whether a number format shows a date or a time: it has a
// letter of one outside quotes, brackets and escapes.
func showsTime(code string) bool {
	for i := 0; i < len(code); i++ {
		switch c := code[i]; c {
		case '\\', '_', '*':
			i++
		case '"', '[':
			end := byte('"')
			if c == '[' {
				end = ']'
			}
			j := strings.IndexByte(code[i+1:], end)
			if j < 0 {
				return false
			}
			if inside := strings.ToLower(code[i+1 : i+1+j]); c == '[' && inside != "" && strings.Trim(inside, inside[:1]) == "" && strings.Contains("hms", inside[:1]) {
				return true // elapsed time
			}
			i += j + 1
		case ';':
			return false // what follows is for negative numbers
		case 'y', 'Y', 'd', 'D', 'm', 'M', 'h', 'H', 's', 'S':
			return true
		case 'G', 'g':
			if len(code)-i >= 7 && strings.EqualFold(code[i:i+7], "general") {
				i += 6
			}
		}
	}
	return false
}

// rows gives each row with its number and its cells up to the last one that
// holds something. The slice is used again.
func (w *workbook) rows(ctx context.Context, s sheet, row func(number int64, cells []cell) error) error {
	r, err := w.part(s.part, maxSheetPart)
	if err != nil {
		return damagedWorkbook(err)
	}
	defer r.Close()
	place := func(format string, args ...any) error {
		return quant.Errorf(quant.Invalid, "sheet %q: "+format, append([]any{clip(s.name)}, args...)...).WithHint("save it again in Excel, or as CSV")
	}
	tokens := newXMLTokens(ctx, r, nil)
	var cells []cell
	number, column, held := int64(0), 0, 0
	var c xmlCell
	for {
		token, err := tokens.Token()
		if errors.Is(err, io.EOF) {
			return nil // the decoder has seen every element closed
		}
		if err != nil {
			return damagedWorkbook(fmt.Errorf("sheet %q: %w", clip(s.name), err))
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "row":
				next := number + 1
				for _, a := range t.Attr {
					if a.Name.Local == "r" {
						if next, err = strconv.ParseInt(a.Value, 10, 64); err != nil || next <= number {
							return place("row %s stands behind row %d", clip(a.Value), number)
						}
					}
				}
				if number = next; number > maxSheetRow {
					return place("row %d: a sheet has %d rows", number, maxSheetRow)
				}
				cells, column, held = cells[:0], 0, 0
			case "c":
				c = xmlCell{}
				for _, a := range t.Attr {
					switch a.Name.Local {
					case "r":
						i, ok := columnOf(a.Value)
						if !ok || i < column {
							return place("row %d: cell %s is not in its place", number, clip(a.Value))
						}
						column = i
					case "t":
						c.kind = a.Value
					case "s":
						c.style, _ = strconv.Atoi(a.Value)
					}
				}
				if column >= maxSheetColumn {
					return place("row %d: a row has %d cells", number, maxSheetColumn)
				}
			case "f":
				c.formula = true
			case "v":
				c.inside, c.value = true, true
			case "t":
				c.inside = true
			case "rPh":
				c.phonetic = true
			}
		case xml.CharData:
			if c.inside && !c.phonetic {
				if c.text = append(c.text, t...); len(c.text) > maxCellText {
					return place("row %d: a cell is longer than %d bytes", number, maxCellText)
				}
			}
		case xml.EndElement:
			switch t.Name.Local {
			case "v", "t":
				c.inside = false
			case "rPh":
				c.phonetic = false
			case "c":
				value, problem := w.value(c)
				if problem != "" {
					return place("cell %s%d: %s", columnName(column), number, problem)
				}
				if held += len(c.text); held > maxRowText {
					return place("row %d: its cells are longer than %d MiB", number, maxRowText>>20)
				}
				for len(cells) < column {
					cells = append(cells, cell{})
				}
				cells = append(cells, value)
				column++
			case "row":
				if err := row(number, cells); err != nil {
					return err
				}
			}
		}
	}
}

type xmlCell struct {
	kind     string
	style    int
	text     []byte
	inside   bool // a value or a text
	value    bool
	phonetic bool
	formula  bool
}

// value is what a cell holds, or what is wrong with it.
func (w *workbook) value(c xmlCell) (v cell, problem string) {
	text := string(c.text)
	switch c.kind {
	case "s":
		i, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || i < 0 || i >= len(w.strings) {
			return cell{}, "its text is missing"
		}
		return cell{text: w.strings[i]}, ""
	case "inlineStr", "str", "d", "e":
		return cell{text: text}, ""
	case "b":
		return cell{text: text}, ""
	}
	text = strings.TrimSpace(text)
	if text == "" {
		if c.formula {
			return cell{}, "is a formula that was never calculated"
		}
		return cell{}, ""
	}
	if !w.dates[c.style] {
		return cell{text, true}, ""
	}
	at, ok := w.date(text)
	if !ok {
		return cell{}, "is shown as a date, and " + clip(text) + " is none"
	}
	return cell{text: at}, ""
}

// date writes a number of days, and parts of one, as a date: with the time of
// day if there is any. Day 60 of the calendar from 1900 never was.
func (w *workbook) date(text string) (string, bool) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x >= 0 && x < 2958466) { // 9999-12-31
		return "", false
	}
	days := math.Floor(x)
	ms := math.Round((x - days) * 86400000)
	if !w.is1904 {
		switch {
		case days == 60 || days < 1:
			return "", false
		case days < 60:
			days++
		}
	}
	return wallClock(w.since.AddDate(0, 0, int(days)).Add(time.Duration(ms) * time.Millisecond)), true
}

// columnOf is the column of a cell such as AB12, from 0.
func columnOf(ref string) (int, bool) {
	n, i := 0, 0
	for ; i < len(ref) && i < 4; i++ {
		c := ref[i] &^ 0x20
		if c < 'A' || c > 'Z' {
			break
		}
		n = n*26 + int(c-'A') + 1
	}
	return n - 1, n > 0 && n <= maxSheetColumn
}

func columnName(i int) string {
	name := ""
	for i++; i > 0; i = (i - 1) / 26 {
		name = string(rune('A'+(i-1)%26)) + name
	}
	return name
}
