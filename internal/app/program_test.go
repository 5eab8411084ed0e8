package app

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheProgramIsCalledByWhatWorks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, other := filepath.Join(dir, "quant"), filepath.Join(dir, "other")
	for _, file := range []string{self, other} {
		if err := os.WriteFile(file, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		self, typed, found string
		source             bool
		want               string
	}{
		"on the PATH":             {self, "quant", self, false, "quant"},
		"a link on the PATH":      {self, "quant", link, true, "quant"},
		"another on the PATH":     {self, "./quant", other, true, "./quant"},
		"by a path":               {self, "bin/quant", "", false, "bin/quant"},
		"a path with spaces":      {self, "my bin/quant", "", false, `"my bin/quant"`},
		"by a name, not found":    {self, "quant", "", false, self},
		"go run, first time":      {"/tmp/go-build231/b001/exe/quant", "/tmp/go-build231/b001/exe/quant", "", true, "go run ./cmd/quant"},
		"go run, cached":          {"/home/x/.cache/go-build/4a/4a22-d/quant", "/home/x/.cache/go-build/4a/4a22-d/quant", other, true, "go run ./cmd/quant"},
		"go run, its own cache":   {"/somewhere/cache/4a/4a22-d/quant", "/somewhere/cache/4a/4a22-d/quant", "", true, "go run ./cmd/quant"},
		"go run from elsewhere":   {"/tmp/go-build231/b001/exe/quant", "/tmp/go-build231/b001/exe/quant", "", false, "/tmp/go-build231/b001/exe/quant"},
		"a folder of a like name": {"/somewhere/cached/quant", "/somewhere/cached/quant", "", true, "/somewhere/cached/quant"},
	} {
		if got := program(c.self, c.typed, c.found, "/somewhere/cache/", c.source); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
