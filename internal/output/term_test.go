package output

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"quant"
	"quant/internal/secret"
)

type bar struct {
	Symbol string       `json:"symbol"`
	Close  float64      `json:"close"`
	Rows   *int64       `json:"rows"`
	Status quant.Status `json:"status"`
	hidden string
}

func printed(t *testing.T, format Format, r Result) string {
	t.Helper()
	var out bytes.Buffer
	p := NewPrinter(Streams{Out: &out, Err: &out}, &secret.Masker{}, &secret.Masker{}, nil)
	p.Format = format
	if err := errors.Join(p.Print(r), p.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTheThreeFormsShowTheSameRows(t *testing.T) {
	t.Parallel()
	n := int64(7)
	rows := []bar{{"가나", 0.1, &n, quant.Fail, "x"}, {"A,\"B\"\n", 1e300, nil, quant.Success, "x"}}
	if got, want := printed(t, CSV, rows), "symbol,close,rows,status\n가나,0.1,7,FAIL\n\"A,\"\"B\"\"\n\",1e+300,,SUCCESS\n"; got != want {
		t.Errorf("csv %q", got)
	}
	var back []map[string]any
	if err := json.Unmarshal([]byte(printed(t, JSON, rows)), &back); err != nil || back[0]["symbol"] != "가나" || back[1]["rows"] != nil {
		t.Errorf("json %v, %v", back, err)
	}
	table := printed(t, Table, rows)
	if lines := strings.Split(table, "\n"); len(lines) != 4 || !strings.Contains(lines[2], `A,"B"\n`) {
		t.Errorf("table\n%s", table)
	}
}

func TestNoRowsAreAValidDocumentInEveryForm(t *testing.T) {
	t.Parallel()
	for format, want := range map[Format]string{JSON: "[]\n", CSV: "symbol,close,rows,status\n"} {
		if got := printed(t, format, []bar(nil)); got != want {
			t.Errorf("%s: %q", format, got)
		}
	}
	if got := printed(t, Table, []bar(nil)); !strings.HasPrefix(got, "SYMBOL") {
		t.Errorf("table: %q", got)
	}
}

func TestWhatATerminalWouldObeyIsShown(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"\x1b[2J": `\x1b[2J`, "a\rb": `a\x0db`, "\u009bx": `\x9bx`, "\u202eabc": `\u202eabc`, "\xff": `\xff`, "ok\n\t한글": "ok\n\t한글", "\uFFFD": `\ufffd`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	var errs bytes.Buffer
	p := NewPrinter(Streams{Out: &errs, Err: &errs}, &secret.Masker{}, &secret.Masker{}, nil)
	p.Error(quant.Errorf(quant.Failed, "symbol \x1b[31m").WithHint("do \x07 this"))
	if got := errs.String(); strings.ContainsAny(got, "\x1b\x07") || !strings.Contains(got, "hint: ") {
		t.Errorf("%q", got)
	}
}

func FuzzCleanLeavesNothingThatATerminalObeys(f *testing.F) {
	f.Add("\x1b]0;title\x07\u202e\xff\x00")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if r < 0x20 && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e {
				t.Fatalf("%q holds %U", got, r)
			}
		}
	})
}

func TestASecretIsMaskedInTextsAndNowhereElse(t *testing.T) {
	t.Parallel()
	n := int64(12345678)
	rows := []bar{{Symbol: `ca"na,ry`, Rows: &n, Close: 12345678, Status: quant.Fail}, {Symbol: "12345678 FAIL", Status: quant.Fail}}
	for format, want := range map[Format]string{
		CSV:  "symbol,close,rows,status\n***,1.2345678e+07,12345678,FAIL\n*** ***,0,,FAIL\n",
		JSON: `"rows": 12345678`,
	} {
		var out bytes.Buffer
		secrets := &secret.Masker{}
		secrets.Know(`ca"na,ry`, "12345678", "FAIL")
		p := NewPrinter(Streams{Out: &out, Err: &out}, &secret.Masker{}, secrets, nil)
		p.Format = format
		if err := errors.Join(p.Print(rows), p.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if !strings.Contains(got, want) || strings.Contains(got, "na,ry") || format == JSON && !json.Valid(out.Bytes()) {
			t.Errorf("%s: %s", format, got)
		}
	}
}

func TestJSONShowsNothingThatATerminalObeys(t *testing.T) {
	t.Parallel()
	hostile := "\x1b[2J\u009b\u202e\x7f한글"
	doc := printed(t, JSON, []bar{{Symbol: hostile}})
	var back []bar
	if err := json.Unmarshal([]byte(doc), &back); err != nil || back[0].Symbol != hostile {
		t.Errorf("%s: %+v, %v", doc, back, err)
	}
	if Clean(doc) != doc {
		t.Errorf("%q", doc)
	}
}

// closedPipe is a stdout that takes some bytes and then no more.
type closedPipe struct{ left int }

func (c *closedPipe) Write(b []byte) (int, error) {
	if c.left -= len(b); c.left < 0 {
		return 0, errors.New("closed")
	}
	return len(b), nil
}

func TestTheFirstErrorOfStdoutIsToldOnceAndKept(t *testing.T) {
	t.Parallel()
	told := 0
	p := NewPrinter(Streams{Out: &closedPipe{}, Err: &bytes.Buffer{}}, &secret.Masker{}, &secret.Masker{}, func(error) { told++ })
	for range 3 {
		_ = p.Print([]bar{{Symbol: "A"}})
		if err := p.Flush(t.Context()); err == nil {
			t.Error("no error")
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestCSVIsReadBackAsItWas(t *testing.T) {
	t.Parallel()
	rows := []bar{{Symbol: "=1+1"}, {Symbol: " a "}, {Symbol: "\"'"}, {Symbol: "\r\n"}}
	var b bytes.Buffer
	p := NewPrinter(Streams{Out: &b, Err: &bytes.Buffer{}}, &secret.Masker{}, &secret.Masker{}, nil)
	p.Format, p.Exact = CSV, true
	if err := p.Print(rows); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	back, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(back) != 5 {
		t.Fatal(back, err)
	}
	for i, r := range rows[:3] {
		if back[i+1][0] != r.Symbol {
			t.Errorf("%q came back as %q", r.Symbol, back[i+1][0])
		}
	}
}
