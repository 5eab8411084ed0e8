package durable

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileWithoutANameIsInNoFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := Nameless(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if found, err := os.ReadDir(dir); err != nil || len(found) != 0 {
		t.Errorf("in its folder stands %v, %v", found, err)
	}
	if _, err := f.WriteString("kept"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "kept" {
		t.Errorf("it has %q, %v", b, err)
	}
	if info, err := f.Stat(); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if f, err := Nameless(filepath.Join(dir, "none")); err == nil {
		f.Close()
		t.Error("made in a folder that is not there")
	}
}
