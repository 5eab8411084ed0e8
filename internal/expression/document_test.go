package expression

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var write = flag.Bool("write", false, "write the table of functions to docs/features.md")

// The table of functions in docs/features.md is the catalogue. To write it again: go test
// ./internal/expression -run Documented -write.
func TestFunctionsAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString("| written | gives | sessions before | needs | unit | in Qlib |\n|---|---|---|---|---|---|\n")
	for _, f := range Functions() {
		qlib := f.Qlib
		if qlib == "" {
			qlib = "the same"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", strings.ReplaceAll(f.Form, "|", `\|`), f.Definition, f.Lookback, f.Needs, f.Unit, qlib)
	}
	const begin, end = "<!-- functions: begin -->\n", "<!-- functions: end -->"
	path := filepath.Join("..", "..", "docs", "features.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("docs/features.md has no %s", begin)
	}
	if table == b.String() {
		return
	}
	if !*write {
		t.Fatal("docs/features.md has another table of functions: go test ./internal/expression -run Documented -write")
	}
	if err := os.WriteFile(path, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
