package program

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatAPythonSaidIsRememberedUntilSomethingChanges(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here")
	}
	ctx, dir := context.Background(), t.TempDir()
	venv := filepath.Join(dir, "venv")
	if out, err := exec.Command(python, "-m", "venv", "--without-pip", venv).CombinedOutput(); err != nil {
		t.Skipf("no venv here: %s", out)
	}
	sites, err := filepath.Glob(filepath.Join(venv, "lib", "python3*", "site-packages"))
	if err != nil || len(sites) != 1 {
		t.Fatalf("%v, %v", sites, err)
	}
	site, elsewhere, more := sites[0], filepath.Join(dir, "elsewhere"), filepath.Join(dir, "more")
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := func(folder, name, version string) string {
		t.Helper()
		record := filepath.Join(folder, name+".dist-info")
		put(filepath.Join(record, "METADATA"), "Metadata-Version: 2.1\nName: "+name+"\nVersion: "+version+"\n")
		return record
	}
	i := Interpreter{Path: filepath.Join(venv, "bin", "python"), Env: []string{"HOME=" + dir, "PATH=/usr/bin:/bin"}, Dir: dir}
	// Everything has stood for long enough when it is asked.
	m := Memory{Dir: filepath.Join(dir, "memory"), Now: func() time.Time { return time.Now().Add(time.Hour) }}
	// had is whether a memory answers by itself.
	had := func() bool {
		list, _ := filepath.Glob(filepath.Join(m.Dir, "*.json"))
		for _, file := range list {
			if _, known := read(file, keyOf(i)); known {
				return true
			}
		}
		return false
	}
	check := func(what string, want ...string) {
		t.Helper()
		if had() {
			t.Errorf("%s: the answer from before was kept", what)
		}
		for _, from := range []string{"the interpreter", "memory"} {
			p, err := m.Ask(ctx, i)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(slices.Clone(p.Packages), func(s string) bool { return !strings.HasPrefix(s, "pkg") })
			if !slices.Equal(got, want) {
				t.Errorf("%s, from %s: %v, want %v", what, from, got, want)
			}
		}
		if !had() {
			t.Errorf("%s: it was not remembered", what)
		}
	}
	install(site, "pkga", "1")
	check("at first", "pkga==1")
	install(site, "pkgb", "1")
	check("one more", "pkga==1", "pkgb==1")
	record := install(site, "pkgb", "22")
	check("another version in its place", "pkga==1", "pkgb==22")
	if err := os.RemoveAll(record); err != nil {
		t.Fatal(err)
	}
	check("one less", "pkga==1")
	install(elsewhere, "pkgc", "3")
	put(filepath.Join(site, "a.pth"), elsewhere+"\n")
	check("a .pth", "pkga==1", "pkgc==3")
	install(elsewhere, "pkgd", "4")
	check("one where a .pth leads", "pkga==1", "pkgc==3", "pkgd==4")
	put(filepath.Join(site, "a.pth"), more+"\n")
	install(more, "pkge", "5")
	check("a .pth that leads elsewhere", "pkga==1", "pkge==5")
	put(filepath.Join(more, "pkgf.egg-info", "PKG-INFO"), "Metadata-Version: 1.0\nName: pkgf\nVersion: 6\n")
	check("one in development", "pkga==1", "pkge==5", "pkgf==6")
	put(filepath.Join(more, "pkgf.egg-info", "PKG-INFO"), "Metadata-Version: 1.0\nName: pkgf\nVersion: 77\n")
	check("another version of that", "pkga==1", "pkge==5", "pkgf==77")
	i.Env = append(i.Env, "PYTHONPATH="+elsewhere)
	check("PYTHONPATH", "pkga==1", "pkgc==3", "pkgd==4", "pkge==5", "pkgf==77")

	// A broken file is none.
	list, _ := filepath.Glob(filepath.Join(m.Dir, "*.json"))
	for _, file := range list {
		put(file, `{"key":`)
	}
	check("broken files", "pkga==1", "pkgc==3", "pkgd==4", "pkge==5", "pkgf==77")

	// What changed just before may change again without a trace.
	m = Memory{Dir: filepath.Join(dir, "young")}
	install(site, "pkgg", "1")
	if _, err := m.Ask(ctx, i); err != nil || had() {
		t.Errorf("remembered too early (%v)", err)
	}
	// Nor is anything written down that may not be.
	m = Memory{Dir: filepath.Join(dir, "secret"), Keep: func(string) bool { return false }, Now: func() time.Time { return time.Now().Add(time.Hour) }}
	if _, err := m.Ask(ctx, i); err != nil || had() {
		t.Errorf("it was written down (%v)", err)
	}
}
