package main

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Whose work a binary contains is named in NOTICE: their licences ask for it.
func TestTheNoticeNamesEveryModuleOfTheBinary(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./cmd/quant")
	list.Dir, list.Stderr = root, os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	notice, err := os.ReadFile(filepath.Join(root, "NOTICE"))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for line := range strings.Lines(string(notice)) {
		if module, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(line, "    ") {
			named[strings.TrimSuffix(module, ",")] = true
		}
	}
	version := regexp.MustCompile(`/v\d+$`)
	modules := strings.Fields(string(out))
	if len(modules) < 20 {
		t.Fatalf("the binary has only the modules %q", modules)
	}
	for _, module := range modules {
		part := version.ReplaceAllString(module, "")
		for part != "." && !named[part] { // one line names a repository of several modules
			part = path.Dir(part)
		}
		if part == "." {
			t.Errorf("NOTICE does not name %s, with its licence", module)
		}
	}
}
