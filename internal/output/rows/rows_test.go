package rows

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, format string, layout Layout, columns []Column, list ...[]Cell) string {
	t.Helper()
	var b bytes.Buffer
	w := New(&b, format, layout, &Formulas{})
	if err := w.Begin(columns); err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if err := w.Row(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func text(s string) Cell   { return Cell{Kind: Text, Text: []byte(s)} }
func number(s string) Cell { return Cell{Kind: Number, Text: []byte(s)} }

func TestOneRuleForFormulasInEveryCSV(t *testing.T) {
	t.Parallel()
	list := [][]Cell{{text("=1+1"), number("-5"), text("-5")}, {text("-x"), {Kind: Nested, Text: []byte("[]")}, text("\t=,")}, {text("a=b"), text("--data-dir"), text("-")}}
	columns := []Column{{Name: "@a"}, {Name: "b"}, {Name: "c"}}
	for _, layout := range []Layout{Query, Report} {
		for _, exact := range []bool{false, true} {
			var b bytes.Buffer
			f := Formulas{Exact: exact}
			w := New(&b, CSV, layout, &f)
			if err := w.Begin(columns); err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if err := w.Row(r); err != nil {
					t.Fatal(err)
				}
			}
			records, err := csv.NewReader(&b).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			want, guarded := [][]string{{"'@a", "b", "c"}, {"'=1+1", "-5", "-5"}, {"'-x", "[]", "'\t=,"}, {"a=b", "--data-dir", "'-"}}, int64(5)
			if exact {
				want, guarded = [][]string{{"@a", "b", "c"}, {"=1+1", "-5", "-5"}, {"-x", "[]", "\t=,"}, {"a=b", "--data-dir", "-"}}, 0
			}
			if !reflect.DeepEqual(records, want) || f.Guarded != guarded {
				t.Errorf("layout %d, exact %v: %d of %q, want %d of %q", layout, exact, f.Guarded, records, guarded, want)
			}
		}
	}
}

func TestLayouts(t *testing.T) {
	columns := []Column{{Name: "a"}, {Name: "b", Right: true}, {Name: "a"}}
	list := [][]Cell{
		{text("가나"), number("1.5"), {Kind: Nested, Text: []byte(`[1,null]`)}},
		{{Kind: Null}, {Kind: Bool, Text: []byte("true")}, text("")},
		{text(" x,\"y"), number("-20"), text("\b\x7f\xff")},
	}
	for _, c := range []struct {
		format string
		layout Layout
		want   string
	}{
		{JSON, Query, "[\n" + `{"a":"가나","b":1.5,"a_2":[1,null]},` + "\n" + `{"a":null,"b":true,"a_2":""},` + "\n" +
			`{"a":" x,\"y","b":-20,"a_2":"\u0008\u007f` + "\ufffd" + `"}` + "\n]\n"},
		{JSON, Report, "[\n  {\n    \"a\": \"가나\",\n    \"b\": 1.5,\n    \"a\": [1,null]\n  },\n  {\n    \"a\": null,\n    \"b\": true,\n    \"a\": \"\"\n  },\n" +
			"  {\n    \"a\": \" x,\\\"y\",\n    \"b\": -20,\n    \"a\": \"\\b\\u007f\\ufffd\"\n  }\n]\n"},
		{CSV, Query, "a,b,a\n가나,1.5,\"[1,null]\"\n,true,\"\"\n\" x,\"\"y\",-20,\b\x7f\xff\n"},
		{CSV, Report, "a,b,a\n가나,1.5,\"[1,null]\"\n,true,\n\" x,\"\"y\",-20,\b\x7f\xff\n"},
		{Table, Query, "a         b  a\n-----  ----  ------------\n가나    1.5  [1,null]\nNULL   true  \n x,\"y   -20  \\x08\\x7f\\xff\n"},
		{Table, Report, "a         b  a\n가나    1.5  [1,null]\n       true\n x,\"y   -20  \b\x7f\xff\n"},
	} {
		if got := write(t, c.format, c.layout, columns, list...); got != c.want {
			t.Errorf("%s %d:\n%q\nwant\n%q", c.format, c.layout, got, c.want)
		}
	}
	for format, want := range map[string]string{JSON: "[]\n", CSV: "a\n", Table: "a\n"} {
		if got := write(t, format, Report, columns[:1]); got != want {
			t.Errorf("%s of nothing: %q", format, got)
		}
	}
}

// What begins with a space, and \., are quoted in a report alone.
func TestQuotesOfCSV(t *testing.T) {
	for _, c := range []struct{ cell, query, report string }{
		{" x", " x", `" x"`}, {`\.`, `\.`, `"\."`}, {"a\rb", "\"a\rb\"", "\"a\rb\""}, {"\u00a0x", "\u00a0x", "\"\u00a0x\""}, {"\xff", "\xff", "\xff"},
	} {
		for layout, want := range map[Layout]string{Query: c.query, Report: c.report} {
			if got := write(t, CSV, layout, []Column{{Name: "n"}}, []Cell{text(c.cell)}); got != "n\n"+want+"\n" {
				t.Errorf("%q in layout %d: %q", c.cell, layout, got)
			}
		}
	}
}

func TestATableIsWrittenOnceItsWidthsAreKnown(t *testing.T) {
	var b bytes.Buffer
	w := New(&b, Table, Query, nil)
	if err := w.Begin([]Column{{Name: "n"}, {Name: "m"}}); err != nil {
		t.Fatal(err)
	}
	for i := range measuredRows + 1 {
		cell := "x"
		if i == measuredRows {
			cell = "wide"
		}
		if err := w.Row([]Cell{text(cell), text("y")}); err != nil {
			t.Fatal(err)
		}
		if held := b.Len() == 0; held != (i < measuredRows-1) {
			t.Fatalf("after %d rows %d bytes are written", i+1, b.Len())
		}
	}
	if !strings.HasSuffix(b.String(), "x  y\nwide  y\n") {
		t.Errorf("ends with %q", b.String()[b.Len()-20:])
	}
}

func TestColourTakesNoWidth(t *testing.T) {
	red := text("ab")
	red.Paint = func(s string) string { return "\x1b[31m" + s + "\x1b[0m" }
	got := write(t, Table, Report, []Column{{Name: "col"}, {Name: "d"}}, []Cell{red, text("e")})
	if want := "col  d\n\x1b[31mab\x1b[0m   e\n"; got != want {
		t.Errorf("%q", got)
	}
}

type failing struct{ after int }

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("full")
	}
	return len(b), nil
}

func TestErrorsOfTheWriterComeBack(t *testing.T) {
	for _, format := range []string{Table, JSON, CSV} {
		for _, layout := range []Layout{Query, Report} {
			w := New(&failing{}, format, layout, &Formulas{})
			err := w.Begin([]Column{{Name: "n"}})
			if err == nil {
				err = w.Row([]Cell{text("x")})
			}
			if err == nil {
				err = w.End()
			}
			if err == nil || err.Error() != "full" {
				t.Errorf("%s %d: %v", format, layout, err)
			}
		}
	}
}

// Whatever the cells hold, readers of the formats get it back.
func FuzzRows(f *testing.F) {
	f.Add("가,\"\n", " \b\f\u2028\u202e")
	f.Add(`\.`, "")
	f.Fuzz(func(t *testing.T, a, b string) {
		valid := func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
		a, b = valid(a), valid(b)
		for _, layout := range []Layout{Query, Report} {
			columns := []Column{{Name: "x"}, {Name: "y"}}
			var list []map[string]string
			if err := json.Unmarshal([]byte(write(t, JSON, layout, columns, []Cell{text(a), text(b)})), &list); err != nil || list[0]["x"] != a || list[0]["y"] != b {
				t.Errorf("JSON of %q, %q: %q %v", a, b, list, err)
			}
			lines := func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") } // as RFC 4180 readers do
			records, err := csv.NewReader(strings.NewReader(write(t, CSV, layout, columns, []Cell{text(a), text(b)}))).ReadAll()
			if err != nil || len(records) != 2 || records[1][0] != lines(a) || records[1][1] != lines(b) {
				t.Errorf("CSV of %q, %q: %q %v", a, b, records, err)
			}
		}
	})
}
