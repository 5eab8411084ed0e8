package server

import (
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

// difference is one value that is not the same in two documents.
type difference struct {
	at        string // .FIELD and [INDEX] from the top
	want, got any    // absent where there is none
}

type missing struct{}

var absent = missing{}

// differences compares two JSON documents field by field.
func differences(at string, want, got any) []difference {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		var all []difference
		for k := range maps(w, g) {
			all = append(all, differences(at+"."+k, field(w, k), field(g, k))...)
		}
		return all
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			break
		}
		var all []difference
		for i := range w {
			all = append(all, differences(fmt.Sprintf("%s[%d]", at, i), w[i], g[i])...)
		}
		return all
	}
	if reflect.DeepEqual(want, got) {
		return nil
	}
	return []difference{{at, want, got}}
}

func field(m map[string]any, k string) any {
	if v, there := m[k]; there {
		return v
	}
	return absent
}

// maps are the keys of both, each once.
func maps(a, b map[string]any) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range a {
			if !yield(k) {
				return
			}
		}
		for k := range b {
			if _, there := a[k]; !there && !yield(k) {
				return
			}
		}
	}
}

// rule is a row of the table of deliberate differences.
type rule struct {
	step, at  string // with * for anything
	want, got string // parts of the values' JSON
	used      bool
}

func (r *rule) explains(step string, d difference) bool {
	if !like(r.step, step) || !like(r.at, d.at) || !strings.Contains(plain(d.want), r.want) || !strings.Contains(plain(d.got), r.got) {
		return false
	}
	r.used = true
	return true
}

func plain(v any) string {
	if v == absent {
		return "absent"
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func like(pattern, s string) bool {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$").MatchString(s)
}

var (
	section = regexp.MustCompile(`(?ms)^## Differences from MLflow's server\n(.*?)(^## |\z)`)
	code    = regexp.MustCompile("^`(.*)`$")
)

// deliberate reads the table of docs/server.md: the step of the program, the place in
// its document, what MLflow and quant say there, and why. A cell in back quotes is
// compared; any other is for people.
func deliberate(t *testing.T) []*rule {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "server.md"))
	labtest.Must(t, err)
	found := section.FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/server.md has no section \"Differences from MLflow's server\"")
	}
	var all []*rule
	for line := range strings.Lines(string(found[1])) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 5 || !code.MatchString(strings.TrimSpace(cells[0])) {
			continue
		}
		literal := func(i int) string {
			m := code.FindStringSubmatch(strings.TrimSpace(cells[i]))
			if m == nil {
				return ""
			}
			return m[1]
		}
		if strings.TrimSpace(cells[4]) == "" {
			t.Errorf("no reason in %q", line)
		}
		all = append(all, &rule{step: literal(0), at: literal(1), want: literal(2), got: literal(3)})
	}
	return all
}
