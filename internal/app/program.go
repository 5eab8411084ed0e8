package app

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// calledAs is what a person types, in this folder, to start this program again.
func (a *App) calledAs() string {
	self, err := os.Executable()
	if err != nil {
		return "quant"
	}
	found, _ := exec.LookPath("quant")
	_, missing := os.Stat(filepath.Join("cmd", "quant"))
	cache, _ := a.Environment("GOCACHE")
	return program(self, os.Args[0], found, cache, missing == nil)
}

// program is calledAs for an executable that was started by the name typed, where
// found is the quant on the PATH, "" for none, cache the build cache that is not the
// ordinary one, and source whether the source of this program is in this folder.
func program(self, typed, found, cache string, source bool) string {
	switch {
	case found != "" && same(found, self):
		return "quant"
	case source && fromGoRun(self, cache):
		return "go run ./cmd/quant"
	case strings.ContainsRune(typed, filepath.Separator):
		return quoted(typed)
	}
	return quoted(self)
}

// quoted is a path as one word of a shell.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t()&;") {
		return `"` + path + `"`
	}
	return path
}

// fromGoRun reports whether go run made an executable: in a temporary folder, or in
// its build cache.
func fromGoRun(self, cache string) bool {
	for dir := filepath.Dir(self); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if strings.HasPrefix(filepath.Base(dir), "go-build") {
			return true
		}
	}
	return cache != "" && strings.HasPrefix(self, filepath.Clean(cache)+string(filepath.Separator))
}

func same(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}
