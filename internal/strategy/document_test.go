package strategy_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quant/internal/strategy"
	"quant/internal/supervisor"
)

func TestTheDocumentHasEveryKeyAndEveryRule(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/strategy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, keys, _ := strings.Cut(string(text), "\n## Keys\n")
	keys, rules, _ := strings.Cut(keys, "\n## Rules\n")
	rules, _, _ = strings.Cut(rules, "\n## ")
	var want, got []string
	for _, k := range strategy.Keys() {
		value := k.Default
		switch {
		case k.Must:
			value = "required"
		case value == "":
			value = "-"
		}
		want = append(want, "| `"+k.Key+"` | "+k.Type+" | "+value+" | "+k.Meaning+" |")
	}
	row := regexp.MustCompile("(?m)^\\| `.*$")
	got = row.FindAllString(keys, -1)
	if !slices.Equal(got, want) {
		t.Errorf("docs/strategy.md has\n%s\nthe format is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	want = nil
	for _, r := range supervisor.Catalogue() {
		key := "-"
		if r.Key != "" {
			key = "`supervisor." + r.Key + "`"
		}
		want = append(want, "| `"+string(r.Flag)+"` | "+key+" | "+r.Doc+" |")
	}
	if got := row.FindAllString(rules, -1); !slices.Equal(got, want) {
		t.Errorf("docs/strategy.md has\n%s\nthe rules are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(text))
	if _, err := strategy.Parse("docs/strategy.md", []byte(example[1]), nil); err != nil {
		t.Error(err)
	}
}

// Every field of the struct is a key of the format, and the other way round.
func TestTheKeysAreTheStruct(t *testing.T) {
	t.Parallel()
	var fields []string
	var walk func(path string, of reflect.Type)
	walk = func(path string, of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Type.Kind() == reflect.Struct {
				walk(path+name+".", f.Type)
			} else {
				fields = append(fields, path+name)
			}
		}
	}
	walk("", reflect.TypeFor[strategy.Strategy]())
	var keys []string
	for _, k := range strategy.Keys() {
		keys = append(keys, k.Key)
	}
	if !slices.Equal(fields, keys) {
		t.Errorf("fields %v\nkeys %v", fields, keys)
	}
}
