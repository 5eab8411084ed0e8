package curator

import (
	"archive/zip"
	"bytes"
	"os"
	"strings"
	"testing"

	"quant"
	"quant/internal/textencoding"
)

func encoded(t *testing.T, name, text string) string {
	t.Helper()
	e, err := textencoding.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Text(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const bar = ",10,12,9,11,100\n"

// Texts in the words of their countries.
var textsInEncodings = map[string]string{
	"cp949":     "종목명,date,open,high,low,close,volume\n삼성전자,2024-01-02" + bar + "현대차 우선주,2024-01-03" + bar,
	"shift-jis": "銘柄名,date,open,high,low,close,volume\nトヨタ自動車,2024-01-02" + bar + "任天堂,2024-01-03" + bar,
	"gb18030":   "股票名称,date,open,high,low,close,volume\n中国石油化工股份,2024-01-02" + bar + "贵州茅台,2024-01-03" + bar,
	"big5":      "股票名稱,date,open,high,low,close,volume\n台灣積體電路製造,2024-01-02" + bar + "鴻海精密工業,2024-01-03" + bar,
	"euc-jp":    "銘柄名,date,open,high,low,close,volume\nトヨタ自動車のかぶ,2024-01-02" + bar + "ソニー,2024-01-03" + bar,
	"cp1252":    "Société,date,open,high,low,close,volume\nL’Oréal,2024-01-02" + bar + "Münchener Rück – AG,2024-01-03" + bar,
}

// The hint names what the bytes look like, and what it would then read; said so,
// the file is read.
func TestAHintNamesTheEncodingThatWasSeen(t *testing.T) {
	for name, text := range textsInEncodings {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			file := l.file("A.csv", encoded(t, name, text))
			_, err := l.ingest(nil, file)
			word, _, _ := strings.Cut(text, ",")
			if hint := quant.HintOf(err); !strings.Contains(hint, "(a guess: it would read "+word+"): say --encoding "+name) {
				t.Errorf("hint: %s", hint)
			}
			r := l.mustIngest(func(r *Request) { r.Encoding = name }, file)
			l.want("ignored", r.Files[0].IgnoredColumns, []string{word})
			l.want("bars", len(l.bars()), 2)
		})
	}
}

func TestUTF16IsReadWithAndWithoutAMark(t *testing.T) {
	for name, mark := range map[string]string{"utf-16le": "\xff\xfe", "utf-16be": "\xfe\xff"} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			text := encoded(t, name, "date,open,high,low,close,volume\r\n2024-01-02,10,12,9,11,100\r\n")
			l.mustIngest(nil, l.file("MARKED.csv", mark+text), l.file("PLAIN.csv", text))
			l.mustIngest(func(r *Request) { r.Encoding = name }, l.file("SAID.csv", text+encoded(t, name, "\n")))
			l.want("bars", l.bars(), "[MARKED|2024-01-02|10.0|12.0|9.0|11.0|100.0|- PLAIN|2024-01-02|10.0|12.0|9.0|11.0|100.0|- SAID|2024-01-02|10.0|12.0|9.0|11.0|100.0|-]")
		})
	}
}

func zipped(t *testing.T, members map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range members {
		m, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A file that is damaged, cut off or made to harm is refused, with its name and
// the place in it.
func TestHostileFilesAreRefused(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile("testdata/formats/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	const csv = "date,open,high,low,close,volume\n2024-01-02,10,12,9,11,100\n"
	const types, main = `<Types/>`, `<workbook xmlns:r="r"><sheets><sheet name="S" r:id="1"/></sheets></workbook>`
	const relations = `<Relationships><Relationship Id="1" Type="x/worksheet" Target="s.xml"/></Relationships>`
	book := func(sheet string) string {
		return zipped(t, map[string]string{contentTypes: types, "xl/workbook.xml": main, "xl/_rels/workbook.xml.rels": relations, "xl/s.xml": sheet})
	}
	flipped := []byte(zipped(t, map[string]string{"A.csv": csv + strings.Repeat("2024-01-02,10,12,9,11,100\n", 50)}))
	flipped[60] ^= 0xff
	for name, c := range map[string]struct{ file, data, want string }{
		"an archive in an archive": {"x.zip", zipped(t, map[string]string{"y.csv": zipped(t, map[string]string{"A.csv": csv})}), "x.zip:y.csv: is a zip archive within another"},
		"an empty archive":         {"x.zip", zipped(t, nil), "x.zip: holds no price file by its name"},
		"a cut archive":            {"x.zip", zipped(t, map[string]string{"A.csv": csv})[:90], "x.zip: damaged zip archive"},
		"a flipped byte":           {"x.zip", string(flipped), "x.zip:A.csv: damaged"},
		"a bad member":             {"x.zip", zipped(t, map[string]string{"A.csv": csv, "B.csv": "date,open\n"}), "x.zip:B.csv: no column for high"},
		"a cut workbook":           {"x.xlsx", read("pandas.xlsx")[:3000], "x.xlsx: cannot be read as an Excel workbook"},
		"a cut sheet":              {"x.xlsx", book(`<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>date</t></is></c></row><row r="2"><c r="A2"><v>1</v></c></row><row r="3">`), "x.xlsx: cannot be read as an Excel workbook"},
		"a text that is not there": {"x.xlsx", book(`<worksheet><row r="1"><c r="A1" t="s"><v>-1</v></c></row></worksheet>`), `x.xlsx: sheet "S": cell A1: its text is missing`},
		"a row too far":            {"x.xlsx", book(`<worksheet><row r="99999999999"><c r="A1"><v>1</v></c></row></worksheet>`), `x.xlsx: sheet "S": row 99999999999: a sheet has`},
		"a column too far":         {"x.xlsx", book(`<worksheet><row r="1"><c r="ZZZZ1"><v>1</v></c></row></worksheet>`), `x.xlsx: sheet "S": row 1: cell ZZZZ1 is not in its place`},
		"rows that go back":        {"x.xlsx", book(`<worksheet><row r="2"><c><v>1</v></c></row><row r="1"><c><v>1</v></c></row></worksheet>`), `row 1 stands behind row 2`},
		"another Office document":  {"x.xlsx", zipped(t, map[string]string{contentTypes: types, "word/document.xml": "<d/>"}), "no Excel workbook"},
		"a cut Feather file":       {"x.feather", read("pandas.feather")[:2000], "x.feather: cannot be read as Arrow"},
		"a cut Arrow stream":       {"x.arrows", read("polars.arrows")[:900], "x.arrows: cannot be read as Arrow"},
		"no JSON":                  {"x.json", `{"date": "2024-01-02", "open": 1` + "\n", "x.json: record 1: is not JSON"},
		"a name twice in JSON":     {"x.json", `{"date": "2024-01-02", "date": 1}` + "\n", "x.json: record 1: is not JSON"},
		"a list of numbers":        {"x.json", `[1, 2]`, "x.json: record 1: is JSON, but no object"},
		"an old workbook":          {"x.xls", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and so on", "before 2007"},
		"an error page":            {"x.csv", "<!DOCTYPE html><html>404</html>", "is an HTML page"},
		"another compression":      {"x.csv.xz", "\xfd7zXZ\x00....", "compressed in a way that is not read"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			_, err := l.ingest(nil, l.file(c.file, c.data))
			if err == nil || !strings.Contains(err.Error(), c.want) || quant.HintOf(err) == "" || quant.CodeOf(err) != quant.Invalid {
				t.Errorf("got %v (hint: %s, %s)\nwant %q", err, quant.HintOf(err), quant.CodeOf(err), c.want)
			}
			l.want("bars", l.bars(), "[]")
		})
	}
}

// Whatever a file of any format holds, reading it ends, with rows or an error.
func FuzzFormats(f *testing.F) {
	for _, name := range []string{"from_1904.xlsx", "polars.arrows", "pandas.feather", "lines.jsonl", "yf_many.csv", "yf_flat_by_ticker.csv"} {
		data, err := os.ReadFile("testdata/formats/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := readAll(t, data); err != nil && quant.CodeOf(err) == quant.Failed {
			t.Fatal(err)
		}
	})
}
