package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

var (
	examples = regexp.MustCompile(`(?ms)^### Examples\n(.*?)^##`)
	pyBlock  = regexp.MustCompile("(?ms)^```python\n(.*?)^```")
)

// The examples of the documents run as they stand, and what they recorded are runs.
func TestExamplesOfTheDocuments(t *testing.T) {
	interpreter := python(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "server.md"))
	labtest.Must(t, err)
	found := examples.FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/server.md has no examples")
	}
	l := labtest.New(t)
	uri := serve(t, l)
	var printed []string
	for _, block := range pyBlock.FindAllSubmatch(found[1], -1) {
		name := filepath.Join(t.TempDir(), "example.py")
		labtest.Must(t, os.WriteFile(name, block[1], 0o600))
		printed = append(printed, script(t, interpreter, uri, name))
	}
	for i, want := range []string{"", "True\n7.0\n", "[0.25, 0.5] {'ic': 0.05} True\n1\n"} {
		if i >= len(printed) || !strings.Contains(printed[i], want) {
			t.Errorf("example %d does not print %q: %q", i+1, want, printed)
		}
	}
	if r := l.Must("runs", "search", "metrics.sharpe > 1", "--output", "csv"); !strings.Contains(r.Stdout, "mlflow") {
		t.Errorf("the run of the first example is not found: %v", r)
	}
	if r := l.Must("runs", "search", "metrics.ic = 0.05 and params.window = 20", "--output", "csv"); !strings.Contains(r.Stdout, "mlflow") {
		t.Errorf("the run of Qlib's recorder is not found: %v", r)
	}
}
