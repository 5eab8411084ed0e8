package logstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"quant"
)

var now = quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))

func TestALineSaysWhatItsFormSays(t *testing.T) {
	t.Parallel()
	p := newParser()
	for text, want := range map[string]string{
		`{"metric":"loss","value":0.5}`:                                                          `metric loss 0.5 auto 2026-01-15T09:30:00.000000Z`,
		` { "step" : -3 , "value" : 5e-1 , "metric" : "loss" } `:                                 `metric loss 0.5 -3 2026-01-15T09:30:00.000000Z`,
		`{"metric":"a b","value":-0,"time":"2026-01-15T10:30:00.1234567+09:00"}`:                 `metric a b -0 auto 2026-01-15T01:30:00.123456Z`,
		`{"metrics":{"loss":1,"acc":2},"step":9223372036854775807}`:                              `metric loss 1 9223372036854775807 2026-01-15T09:30:00.000000Z, metric acc 2 9223372036854775807 2026-01-15T09:30:00.000000Z`,
		`{"param":"lr","value":1e-05}`:                                                           `param lr 1e-05`,
		`{"param":"lr","value":""}`:                                                              `param lr `,
		`{"params":{"a":"x","b":true,"c":12345678901234567890,"d":"\ud55c\u0009"},"run":"last"}`: `run last, param a x, param b true, param c 12345678901234567890, param d 한` + "\t",
		`{"tag":"team","value":"alpha"}`:                                                         `tag team alpha`,
		`{"tags":{"a":false}}`:                                                                   `tag a false`,
		`{"note":"two\nlines"}`:                                                                  "note two\nlines 2026-01-15T09:30:00.000000Z",
		`{"artifact":"/tmp/x","name":"a/b","time":"2026-01-15T00:00:00Z"}`:                       `artifact /tmp/x a/b 2026-01-15T00:00:00.000000Z`,
		`{"artifact":"x"}`:                                                                       `artifact x  2026-01-15T09:30:00.000000Z`,
	} {
		l, err := p.parse([]byte(text), now)
		if err != nil || written(l) != want {
			t.Errorf("%s\n got %s, %v\nwant %s", text, written(l), err, want)
		}
	}
}

func written(l parsedLine) string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if l.Run != "" {
		add("run %s", l.Run)
	}
	for _, p := range l.Params {
		add("param %s %s", p.Name, p.Value)
	}
	for _, p := range l.Tags {
		add("tag %s %s", p.Name, p.Value)
	}
	for _, m := range l.Metrics {
		step := fmt.Sprint(m.Step)
		if m.Step == quant.AutoStep {
			step = "auto"
		}
		add("metric %s %v %s %s", m.Name, m.Value, step, m.LoggedAt)
	}
	for _, n := range l.Notes {
		add("note %s %s", n.Text, n.LoggedAt)
	}
	if a := l.Artifact; a != nil {
		add("artifact %s %s %s", a.Path, a.Name, a.Time)
	}
	return strings.Join(all, ", ")
}

func TestABadLineIsToldWithItsColumn(t *testing.T) {
	t.Parallel()
	p := newParser()
	for text, want := range map[string]string{
		``:                                       "column 1: the line ends within its JSON",
		`{"metric":"loss","value":0.5`:           "column 29: the line ends within its JSON",
		`{"metric":"lo`:                          "column 14: the line ends within its JSON",
		`[1]`:                                    "column 1: the line is no JSON object",
		`7`:                                      "column 1: the line is no JSON object",
		`loss=1`:                                 "column 1: not JSON: ",
		`{"metric":"loss","value":NaN}`:          "column 26: NaN is no finite number",
		`{"metric":"loss","value":-Infinity}`:    "column 26: -Infinity is no finite number",
		`{"metric":"loss","value":1e999}`:        "column 26: metric \"loss\": 1e999 is no finite number",
		`{"metric":"loss","value":"1"}`:          "column 26: metric \"loss\": its value is no number",
		`{"metric":"loss","value":true}`:         "column 26: metric \"loss\": its value is no number",
		`{"metric":"loss","value":null}`:         "column 26: \"value\" is null",
		`{"metric":"loss","value":[1]}`:          "column 26: \"value\" is an object or an array",
		`{"metric":"loss"}`:                      "column 11: metric \"loss\" has no value",
		`{"metric":"","value":1}`:                "column 11: \"metric\" is no text, or an empty one",
		`{"metric":5,"value":1}`:                 "column 11: \"metric\" is no text",
		`{"metric":"loss","value":1,"step":1.5}`: "column 35: step \"1.5\" is no whole number",
		`{"metric":"loss","value":1,"step":"1"}`: "column 35: step \"1\" is no whole number",
		`{"metric":"loss","value":1,"step":-9223372036854775808}`:   "column 35: step",
		`{"metric":"loss","value":1,"time":5}`:                      "column 35: \"time\" is no text",
		`{"metric":"loss","value":1,"time":"yesterday"}`:            "column 35: time \"yesterday\" cannot be read",
		`{"metric":"loss","value":1,"value":2}`:                     "column 28: a member stands twice",
		`{"metrics":{"a":1,"a":2}}`:                                 "a member stands twice",
		`{"metrics":{}}`:                                            "column 2: \"metrics\" is empty",
		`{"metrics":[1]}`:                                           "column 12: \"metrics\" is no object",
		`{"metrics":{"a":{"b":1}}}`:                                 "column 17: \"a\" is an object or an array",
		`{"metric":"a","param":"b","value":1}`:                      "column 23: \"param\" stands beside \"metric\"",
		`{"metrics":{"a":1},"params":{"b":1}}`:                      "\"params\" stands beside another form",
		`{"param":"a","value":1,"step":2}`:                          "column 31: \"step\" does not go with \"param\"",
		`{"params":{"a":1},"value":2}`:                              "\"value\" does not go with \"params\"",
		`{"metric":"a","Value":1}`:                                  "column 15: the member \"Value\" is not known",
		`{"run":"last"}`:                                            "column 1: the line says nothing of a run",
		`{"note":" "}`:                                              "column 9: note: it is empty",
		`{"note":"a\u0000b"}`:                                       "column 9: note contains a NUL character",
		`{"tag":"a\u001b[2J","value":1}`:                            "contains the character U+001B",
		`{"artifact":"x","name":"../x"}`:                            "column 24: artifact \"../x\": a name is a relative path",
		`{"metric":"a","value":1} {}`:                               "column 26: something stands behind the JSON object",
		`{"metric":"a","value":1},`:                                 "column 25: not JSON",
		"{\"note\":\"a\x00b\"}":                                     "not JSON",
		"{\"note\":\"a\xff\"}":                                      "not JSON: ",
		`{"note":"\ud800"}`:                                         "not JSON: ",
		`{"param":"` + strings.Repeat("n", 251) + `","value":1}`:    "its name is 251 bytes long, more than 250",
		`{"param":"a","value":"` + strings.Repeat("v", 8193) + `"}`: "its value is 8193 bytes long, more than 8192",
		`{"note":` + strings.Repeat("[", 100_000):                   "column 9: \"note\" is an object or an array",
	} {
		_, err := p.parse([]byte(text), now)
		broken, ok := errors.AsType[*lineError](err)
		if !ok || !errors.Is(err, quant.Invalid) || !strings.Contains(err.Error(), want) || broken.Column < 1 || broken.Column > len(text)+1 {
			t.Errorf("%.80s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestAStreamIsCutIntoLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxBytes)
	r := newLineReader(io.MultiReader(strings.NewReader("\ufeffa\r\n\n"+long+"\n"+long+"xxx\n"), strings.NewReader(long+long+long+"\nlast")))
	var got []string
	for {
		line, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if _, ok := errors.AsType[*lineError](err); !ok {
				t.Fatal(err)
			}
			got = append(got, err.Error())
			continue
		}
		got = append(got, fmt.Sprintf("%.4s %d", line, len(line)))
	}
	want := "[a 1  0 xxxx 1048576 the line is 1048580 bytes long, more than 1048576 the line is 3145729 bytes long, more than 1048576 last 4]"
	if fmt.Sprint(got) != want {
		t.Errorf("%s", got)
	}
	if _, err := newLineReader(strings.NewReader("")).next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := newLineReader(io.MultiReader(strings.NewReader("a"), &failing{broken})).next(); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzAParsedLineIsJSONAndKeepsTheRules compares with the standard library:
// what is taken must be JSON, mean the same, and pass every rule of an entry.
func FuzzAParsedLineIsJSONAndKeepsTheRules(f *testing.F) {
	for _, seed := range []string{
		`{"metric":"loss","value":0.5,"step":3,"time":"2026-01-15T09:30:00Z"}`, `{"metrics":{"loss":0.5,"acc":0.9}}`,
		`{"params":{"a":"x","b":true,"c":1e400}}`, `{"tag":"t","value":"\ud83d\ude00"}`, `{"note":"x"}`, `{"artifact":"p","name":"a/b"}`,
		`{"metric":"a","metric":"b"}`, "{\"note\":\"\xff\"}", `{"metric":"a","value":-0e-0}`, `{"run":"last","note":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := newParser().parse(text, now)
		if err != nil {
			p, ok := errors.AsType[*lineError](err)
			if !ok || !errors.Is(err, quant.Invalid) || p.Column < 1 || p.Column > len(text)+1 || !utf8.ValidString(p.Err.Msg) {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		var doc map[string]any
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(&doc); err != nil {
			t.Fatalf("%q was taken and is no JSON: %v", text, err)
		}
		member := func(v any) string { return fmt.Sprint(v) }
		of := func(single, many, name string) any {
			if doc[single] != nil {
				return doc["value"]
			}
			return doc[many].(map[string]any)[name]
		}
		entries := len(l.Params) + len(l.Tags) + len(l.Metrics) + len(l.Notes)
		if l.Artifact != nil {
			entries++
		}
		if entries == 0 {
			t.Fatalf("%q says nothing", text)
		}
		for _, p := range l.Params {
			if p.Value != member(of("param", "params", p.Name)) {
				t.Fatalf("%q: %+v", text, p)
			}
			p.RunID = "x"
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range l.Metrics {
			want, err := of("metric", "metrics", m.Name).(json.Number).Float64()
			if err != nil || math.Float64bits(want) != math.Float64bits(m.Value) {
				t.Fatalf("%q: %+v", text, m)
			}
			m.RunID = "x"
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range l.Notes {
			if n.Text != member(doc["note"]) {
				t.Fatalf("%q: %+v", text, n)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	p, line := newParser(), []byte(`{"metric":"loss","value":0.0123456789012345,"step":123456,"time":"2026-01-15T09:30:00.123456Z"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.parse(line, now); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAScannedLineIsTheParsersLine gives both readers lines of points, and those
// that look like them.
func TestAScannedLineIsTheParsersLine(t *testing.T) {
	t.Parallel()
	scanned := 0
	for _, text := range scannedLines {
		if sameDocument(t, text) {
			scanned++
		}
	}
	if scanned != 8 {
		t.Errorf("%d lines are scanned", scanned)
	}
}

// scannedLines are eight lines that scan reads, and those that it leaves.
var scannedLines = []string{
	`{"metric":"loss","value":0.5}`,
	`{"metric":"loss","value":1e-05,"step":3,"time":"2026-01-15T09:30:00.000001Z"}`,
	`{"metrics":{"loss":-0.5,"acc":1E+2},"time":"2026-01-15T09:30:00Z","step":-3}`,
	"  { \"metrics\" : {\t\"a\" : 0 } , \"step\" : 1.5 } \r",
	`{"metric":"loss","metrics":{"a":1}}`,
	`{"step":1}`, `{"metric":"","value":1}`, `{"metric":"a","value":1e999}`,
	``, `{`, `{}`, `{"metrics":{}}`, `{"metric":"a","value":01}`, `{"metric":"a","value":1.}`, `{"metric":"a","value":.5}`,
	`{"metric":"a","value":-}`, `{"metric":"a","value":1e}`, `{"metric":"a","value":+1}`, `{"metric":"a","value":NaN}`,
	`{"metric":"a","metric":"b","value":1}`, `{"metrics":{"a":1,"a":2}}`, `{"metric":"a","value":1}x`, `{"metric":"a","value":1,}`,
	`{"metric":"a","value":"1"}`, `{"metric":"a\u0062","value":1}`, `{"metric":"한","value":1}`, "{\"metric\":\"a\tb\",\"value\":1}",
	`{"metric":"a","value":1,"run":"last"}`, `{"param":"a","value":1}`, `{"metrics":{"a":null}}`, `{"metrics":1}`, `{"metric":"a","value":1`,
}

// sameDocument reports whether scan reads a line, and compares it then with what
// the parser of JSON makes of it.
func sameDocument(t *testing.T, text string) bool {
	t.Helper()
	p := newParser()
	var got, want document
	if !p.scan(text, &got) {
		return false
	}
	if err := newParser().read([]byte(text), &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n got %+v\nwant %+v %v", text, got, want, err)
	}
	return true
}

func FuzzAScannedLineIsTheParsersLine(f *testing.F) {
	for _, text := range scannedLines {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { sameDocument(t, text) })
}
