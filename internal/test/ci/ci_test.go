package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func parsed(t *testing.T, text string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "a_test.go", "package a\n"+text, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestATestThatReachesSoakScales(t *testing.T) {
	t.Parallel()
	p := source{tests: []*ast.File{
		parsed(t, `import "quant/internal/test/soak"
			func TestItself(t *testing.T) { for range soak.Count(t, 1, 2) {} }
			func rounds(t *testing.T) int { return soak.Count(t, 1, 2) }
			func (l *lab) many() int { return rounds(l.t) }
			func (l *list) many() int { return 1 }
			func TestHelp(t *testing.T) { other := 1; _ = other }
			func TestMain(m *testing.M) { rounds(nil) }
			func BenchmarkIt(b *testing.B) { rounds(nil) }`),
		parsed(t, `import other "quant/internal/test/soak"
			func TestByAnotherName(t *testing.T) { other.Seed(t) }`),
		parsed(t, `func TestByAMethod(t *testing.T) { t.Run("a", func(t *testing.T) { (&lab{t}).many() }) }
			func TestNot(t *testing.T) { soak.Count(t, 1, 2) }`),
	}}
	kit := source{dir: "internal/suite", files: []*ast.File{parsed(t, `import "quant/internal/test/soak"
		func Run(t *testing.T) { scale(t) }
		func scale(t *testing.T) { soak.Count(t, 1, 2) }
		func RunID() {}`)}}
	p.tests = append(p.tests, parsed(t, `import "quant/internal/suite"
		func TestSuite(t *testing.T) { suite.Run(t) }
		func TestOther(t *testing.T) { suite.RunID() }`))
	if got := p.scaling(kitsOf([]*source{&kit})); !slices.Equal(got, []string{"TestByAMethod", "TestByAnotherName", "TestItself", "TestSuite"}) {
		t.Error(got)
	}
}

func TestConcurrencyIsWhatStartsGoroutinesOrGuards(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`func f() { go f() }`:                          true,
		`func f(g *errgroup.Group) { g.Go(f) }`:        true,
		`import "sync/atomic"; var n atomic.Int64`:     true,
		`import "sync"; var once sync.Once`:            true,
		`import "os"; func f() { defer os.Exit(1) }`:   false,
		`func f(c chan int) { <-c }; type Go struct{}`: false,
	} {
		if got := hasConcurrency(parsed(t, text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

const root = "../../.."

func TestEveryPackageThatStartsProcessesIsWatchedOrNotOnPurpose(t *testing.T) {
	t.Parallel()
	packages, err := scan(root)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, p := range packages {
		for _, file := range p.tests {
			for _, f := range functions(file) {
				if f.Name.Name == "TestMain" && (mentions(f.Body, "labtest") || mentions(f.Body, "testscript")) {
					found[p.dir] = true
				}
			}
		}
	}
	for dir := range found {
		if _, told := endToEnd[dir]; !told {
			t.Errorf("does the race detector watch %s? endToEnd does not say", dir)
		}
	}
	for dir := range endToEnd {
		if !found[dir] {
			t.Errorf("endToEnd names %s, which starts no process", dir)
		}
	}
}

// What scan cannot follow would take a test out of the soak unnoticed.
func TestNothingHidesATestThatScalesFromTheSoak(t *testing.T) {
	t.Parallel()
	packages, err := scan(root)
	if err != nil {
		t.Fatal(err)
	}
	found, k := 0, kitsOf(packages)
	for _, p := range packages {
		reached := map[string]bool{}
		for _, name := range p.scaling(k) {
			reached[name] = true
			found++
		}
		for _, file := range append(slices.Clone(p.files), p.tests...) {
			imports := importName(file, soakPath)
			if imports == "." || imports == "_" {
				t.Errorf("%s imports %s as %s", p.dir, soakPath, imports)
			}
			for _, f := range functions(file) {
				if isTest(f.Name.Name) && imports != "" && !reached[f.Name.Name] && mentions(f.Body, imports) {
					t.Errorf("%s: %s scales and is not in the soak", p.dir, f.Name.Name)
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d tests scale: the search is broken", found)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); strings.HasPrefix(name, ".") && path != root {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		own := strings.HasPrefix(filepath.ToSlash(rel), "internal/test/soak/") || strings.HasPrefix(filepath.ToSlash(rel), "internal/test/ci/")
		text, err := os.ReadFile(path)
		if err != nil || own {
			return err
		}
		if bytes.Contains(text, []byte(`"QUANT_SOAK"`)) || bytes.Contains(text, []byte(`"QUANT_SEED"`)) {
			t.Errorf("%s reads for itself how much to try: ask package soak", rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func mentions(body ast.Node, name string) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && id.Name == name
		return !found
	})
	return found
}
