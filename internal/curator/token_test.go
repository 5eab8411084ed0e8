package curator

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"quant"
)

// repeatedText is a text many times over.
type repeatedText struct {
	text string
	at   int
	left int64
}

func (r *repeatedText) Read(p []byte) (n int, err error) {
	for n < len(p) && r.left > 0 {
		k := copy(p[n:], r.text[r.at:])
		if r.at += k; r.at == len(r.text) {
			r.at = 0
			r.left--
		}
		n += k
	}
	if n == 0 {
		err = io.EOF
	}
	return n, err
}

func repeat(text string, times int64) io.Reader { return &repeatedText{text: text, left: times} }

// bookOf is a workbook with one sheet and its shared strings.
func bookOf(t *testing.T, sheet, shared io.Reader) string {
	t.Helper()
	const head = `<Relationships><Relationship Id="1" Type="x/worksheet" Target="s.xml"/><Relationship Id="2" Type="x/sharedStrings" Target="t.xml"/></Relationships>`
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, from := range map[string]io.Reader{
		contentTypes: strings.NewReader("<Types/>"), "xl/_rels/workbook.xml.rels": strings.NewReader(head),
		"xl/workbook.xml": strings.NewReader(`<workbook xmlns:r="r"><sheets><sheet name="S" r:id="1"/></sheets></workbook>`), "xl/s.xml": sheet, "xl/t.xml": shared,
	} {
		m, err := w.Create(name)
		if err == nil {
			_, err = io.Copy(m, from)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A small packed file that unpacks to one endless piece, or to endless small ones, is
// refused before it fills the memory.
func TestAFileOfOneEndlessPieceIsRefused(t *testing.T) {
	const sheet, rows = `<worksheet><sheetData/></worksheet>`, `<row><c t="inlineStr"><is><t>`
	megabyte := strings.Repeat("x", 1<<20)
	between := func(a string, middle io.Reader, b string) io.Reader {
		return io.MultiReader(strings.NewReader(a), middle, strings.NewReader(b))
	}
	for name, c := range map[string]struct{ file, data, want string }{
		"a text of a cell":     {"x.xlsx", bookOf(t, between("<worksheet>"+rows, repeat(megabyte, 100), ""), strings.NewReader("<sst/>")), "row 1: a cell is longer than 1048576 bytes"},
		"a tag":                {"x.xlsx", bookOf(t, between("<worksheet><row r='", repeat(megabyte, 100), ""), strings.NewReader("<sst/>")), "longer than 8 MiB"},
		"a shared text":        {"x.xlsx", bookOf(t, strings.NewReader(sheet), between("<sst><si><t>", repeat(megabyte, 100), "")), "text 1 is longer than 1048576 bytes"},
		"a shared text in two": {"x.xlsx", bookOf(t, strings.NewReader(sheet), between("<sst><si>", repeat("<t>"+megabyte[:1<<19]+"</t>", 3), "</si></sst>")), "text 1 is longer than 1048576 bytes"},
		"many shared texts":    {"x.xlsx", bookOf(t, strings.NewReader(sheet), between("<sst>", repeat("<si/>", maxStringCount+1), "</sst>")), "too many elements si"},
		"elements in elements": {"x.xlsx", bookOf(t, between("", repeat("<a>", 10_000), ""), strings.NewReader("<sst/>")), "too deep"},
		"a row of long cells":  {"x.xlsx", bookOf(t, between("<worksheet><row>", repeat("<c><v>"+megabyte+"</v></c>", 65), "</row></worksheet>"), strings.NewReader("<sst/>")), "row 1: its cells are longer than 64 MiB"},
		"a text of JSON":       {"x.json", `{"date": "` + strings.Repeat(megabyte, 20), "x.json: record 1: is longer than 8 MiB"},
		"an object of JSON":    {"x.json", `{"a": 1}` + "\n{" + `"a": 1` + strings.Repeat(" ", 20<<20), "x.json: record 2: is longer than 8 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			_, err := l.ingest(nil, l.file(c.file, c.data))
			if quant.CodeOf(err) != quant.Invalid || !strings.Contains(err.Error(), c.want) || quant.HintOf(err) == "" {
				t.Errorf("got %v\nwant %q", err, c.want)
			}
			l.want("bars", l.bars(), "[]")
		})
	}
}

// What a decoder holds of an endless piece is about what the piece may be long.
func TestADecoderHoldsNoMoreThanAPiece(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tokens := newXMLTokens(t.Context(), io.MultiReader(strings.NewReader("<a>"), repeat("x", math.MaxInt64)), nil)
	var err error
	for err == nil {
		_, err = tokens.Token()
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, errLongToken) || got > 16*maxToken {
		t.Errorf("%v after %d MiB", err, got>>20)
	}
}

func TestTheListsOfAWorkbookAreBounded(t *testing.T) {
	for element, most := range maxElements() {
		for n, ok := range map[int]bool{most: true, most + 1: false} {
			tokens := newXMLTokens(t.Context(), io.MultiReader(strings.NewReader("<x>"), repeat("<"+element+"/>", int64(n)), strings.NewReader("</x>")), maxElements())
			err := xml.NewTokenDecoder(tokens).Decode(&struct{}{})
			if (err == nil) != ok {
				t.Errorf("%d elements %s: %v", n, element, err)
			}
		}
	}
}

// The end of the context ends a part that has no rows.
func TestTheEndOfTheContextEndsAWorkbookWithoutRows(t *testing.T) {
	l := newLab(t)
	data := bookOf(t, io.MultiReader(strings.NewReader("<worksheet>"), repeat("<a/>", 1<<20), strings.NewReader("</worksheet>")), strings.NewReader("<sst/>"))
	f, err := os.Open(l.file("x.xlsx", data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := zip.NewReader(f, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWorkbook(t.Context(), zr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.rows(ctx, w.sheets[0], func(int64, []cell) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("the rows: %v", err)
	}
	if _, err := openWorkbook(ctx, zr); !errors.Is(err, context.Canceled) {
		t.Errorf("the workbook: %v", err)
	}
}
