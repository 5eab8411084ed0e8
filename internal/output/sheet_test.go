package output

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"quant"
	"quant/internal/secret"
)

func sheetOf(t testing.TB, format Format, exact bool, columns []string, rows ...[]any) (out string, changed int) {
	t.Helper()
	var b, notices bytes.Buffer
	secrets := &secret.Masker{}
	secrets.Know("hunter22")
	p := NewPrinter(Streams{Out: &b, Err: &notices}, &secret.Masker{}, secrets, nil)
	p.Format, p.Exact = format, exact
	s, err := p.NewSheet(columns)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := s.Row(r); err != nil {
			t.Fatal(err)
		}
	}
	if err = s.Close(); err != nil {
		t.Fatal(err)
	}
	changed = int(s.formulas.Guarded)
	if said := strings.Contains(notices.String(), quant.Count(changed, "text")+" of the CSV begin like a formula"); said != (changed > 0) {
		t.Errorf("%d texts were changed, and stderr says %q", changed, notices.String())
	}
	if err := p.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	return b.String(), changed
}

func TestAFormulaInCSVIsHarmlessAndANumberStaysOne(t *testing.T) {
	t.Parallel()
	row := []any{"=cmd|' /c calc'!A0", "@SUM(1)", "-5", "+1e3", "-x", -1.5, "a=b", nil, "hunter22"}
	columns := strings.Split("=a,b,c,d,e,f,g,h,i", ",")
	got, changed := sheetOf(t, CSV, false, columns, row)
	if want := "'=a,b,c,d,e,f,g,h,i\n'=cmd|' /c calc'!A0,'@SUM(1),-5,+1e3,'-x,-1.5,a=b,,***\n"; got != want || changed != 4 {
		t.Errorf("got %d %q, want %q", changed, got, want)
	}
	got, changed = sheetOf(t, CSV, true, columns, row)
	if want := "=a,b,c,d,e,f,g,h,i\n=cmd|' /c calc'!A0,@SUM(1),-5,+1e3,-x,-1.5,a=b,,***\n"; got != want || changed != 0 {
		t.Errorf("exact: got %d %q, want %q", changed, got, want)
	}
}

func TestAnEmptySheetIsValidInEveryFormat(t *testing.T) {
	t.Parallel()
	for format, want := range map[Format]string{JSON: "[]\n", CSV: "a,b\n", Table: "A  B\n"} {
		if got, _ := sheetOf(t, format, false, []string{"a", "b"}); got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
}

func FuzzSheet(f *testing.F) {
	for _, seed := range []string{"", "=1", "-1", "\t=1", "\r", "\x1b[2J", "a\"b,c\nd", "\xff", "'", "－1"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		doc, _ := sheetOf(t, JSON, false, []string{name}, []any{text}, []any{quant.Status("FAIL")})
		if !json.Valid([]byte(doc)) {
			t.Fatalf("%q", doc)
		}
		for _, exact := range []bool{false, true} {
			out, _ := sheetOf(t, CSV, exact, []string{"c", name}, []any{nil, text})
			records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
			if err != nil || len(records) != 2 {
				t.Fatalf("%q: %v", out, err)
			}
			if exact || text == "" {
				continue
			}
			got := records[1][1]
			if _, isNumber := quant.ParseNumber(text); !isNumber && got != "" && strings.ContainsRune("=+-@\t\r", rune(got[0])) {
				t.Fatalf("%q is written %q", text, got)
			}
		}
		out, _ := sheetOf(t, Table, false, []string{name}, []any{text})
		if strings.ContainsRune(out, 0x1b) {
			t.Fatalf("%q", out)
		}
	})
}
