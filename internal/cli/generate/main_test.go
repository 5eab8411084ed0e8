package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTheGeneratedDocumentsAreCurrent(t *testing.T) {
	t.Parallel()
	fresh := t.TempDir()
	if err := generate(fresh); err != nil {
		t.Fatal(err)
	}
	stored := filepath.Join("..", "..", "..", "docs")
	for _, pattern := range []string{"cli.md", "api.md", "man/*.1"} {
		names := map[string]bool{}
		for _, folder := range []string{fresh, stored} {
			found, err := filepath.Glob(filepath.Join(folder, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range found {
				name, _ := filepath.Rel(folder, path)
				names[name] = true
			}
		}
		if len(names) == 0 {
			t.Errorf("no document matches %s", pattern)
		}
		for name := range names {
			want, wantErr := os.ReadFile(filepath.Join(fresh, name))
			got, gotErr := os.ReadFile(filepath.Join(stored, name))
			if wantErr != nil || gotErr != nil || !slices.Equal(want, got) {
				t.Errorf("docs/%s is not current: run `go run ./internal/cli/generate`", name)
			}
		}
	}
}

func TestGeneratingTwiceGivesTheSameBytesAndRemovesStalePages(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := generate(folder); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(folder, "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(folder, "man", "quant-gone.1")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := generate(folder); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(folder, "cli.md"))
	if err != nil || !slices.Equal(first, second) {
		t.Errorf("cli.md differs from one run to the next (%v)", err)
	}
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("the page of a command that is no more is still there: %v", err)
	}
}
