package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// soakPath is the package that tests which scale ask for their counts.
const soakPath = "quant/internal/test/soak"

// endToEnd says of each package that starts real processes whether the race
// detector watches these: in record signals, crowds and what is seen of runs, in
// exec streams, logs and terminals, in serving, server, share and research what a
// server does for many at once. In the others every process does one thing
// after another, or what the packages of the program are watched at; the night
// watches all.
var endToEnd = map[string]bool{
	"internal/test/record":   true,
	"internal/test/exec":     true,
	"internal/test/serving":  true,
	"internal/test/jobs":     true,
	"internal/test/server":   true,
	"internal/test/share":    true,
	"internal/test/research": true,
	"internal/test/browser":  false,
	"internal/test/models":   false,
	"internal/test/script":   false,
	"internal/test/chain":    false,
	"internal/test/backup":   false,
	"internal/test/crash":    false,
	"internal/test/faults":   false,
	"internal/test/hosts":    false,
	"internal/test/team":     false,
	"internal/test/units":    false,
	"docs":                   false,
}

// source is the Go files of one folder, tests included.
type source struct {
	dir        string // from the root, with slashes
	files      []*ast.File
	tests      []*ast.File
	concurrent bool
}

// scan reads every package of the module at root, in the order of its folders.
func scan(root string) ([]*source, error) {
	var all []*source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "tools") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(p *source) bool { return p.dir == filepath.ToSlash(dir) })
		if i < 0 {
			i, all = len(all), append(all, &source{dir: filepath.ToSlash(dir)})
		}
		if strings.HasSuffix(path, "_test.go") {
			all[i].tests = append(all[i].tests, file)
		} else {
			all[i].files = append(all[i].files, file)
		}
		all[i].concurrent = all[i].concurrent || hasConcurrency(file)
		return nil
	})
	slices.SortFunc(all, func(a, b *source) int { return strings.Compare(a.dir, b.dir) })
	return all, err
}

// hasConcurrency reports whether a file starts goroutines or guards something
// against them.
func hasConcurrency(file *ast.File) (found bool) {
	for _, i := range file.Imports {
		found = found || i.Path.Value == `"sync"` || i.Path.Value == `"sync/atomic"`
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" {
				found = true
			}
		}
		return !found
	})
	return found
}

// raced reports whether the race detector has something to see in the tests.
func (p *source) raced() bool {
	watched, processes := endToEnd[p.dir]
	return p.tested() && (watched || p.concurrent && !processes)
}

// tested reports whether the folder has tests.
func (p *source) tested() bool {
	for _, file := range p.tests {
		for _, f := range functions(file) {
			if isTest(f.Name.Name) {
				return true
			}
		}
	}
	return false
}

// kits are the packages by whose functions a test reaches package soak, by
// import path: soak itself, in which everything counts, and suites that ask it
// for the tests that call them.
type kits map[string]map[string]bool

// kitsOf follows calls between packages until nothing more is reached.
func kitsOf(packages []*source) kits {
	k := kits{soakPath: nil}
	for grew := true; grew; {
		grew = false
		for _, p := range packages {
			path := "quant/" + p.dir
			if reached := k.reaching(p.files); len(reached) > len(k[path]) {
				k[path], grew = reached, true
			}
		}
	}
	return k
}

// scaling are the tests that reach package soak, also by way of other functions.
func (p *source) scaling(k kits) (tests []string) {
	for name := range k.reaching(p.tests) {
		if isTest(name) {
			tests = append(tests, name)
		}
	}
	slices.Sort(tests)
	return tests
}

// reaching are the functions and methods of these files, of one folder, that
// reach package soak. It goes by names alone, so it may name one too many, and
// none too few.
func (k kits) reaching(files []*ast.File) map[string]bool {
	bodies, reached := map[string][]ast.Node{}, map[string]bool{}
	for _, file := range files {
		for _, f := range functions(file) {
			bodies[f.Name.Name] = append(bodies[f.Name.Name], f.Body)
			for path, names := range k {
				kit := importName(file, path)
				ast.Inspect(f.Body, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok && kit != "" && (names == nil || names[s.Sel.Name]) {
						if x, ok := s.X.(*ast.Ident); ok && x.Name == kit {
							reached[f.Name.Name] = true
						}
					}
					return true
				})
			}
		}
	}
	for grew := true; grew; {
		grew = false
		for name, list := range bodies {
			for _, body := range list {
				ast.Inspect(body, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok && reached[id.Name] && !reached[name] {
						reached[name], grew = true, true
					}
					return true
				})
			}
		}
	}
	return reached
}

func functions(file *ast.File) (out []*ast.FuncDecl) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			out = append(out, f)
		}
	}
	return out
}

func isTest(name string) bool { return strings.HasPrefix(name, "Test") && name != "TestMain" }

// importName is what a file calls a package, "" when it does not import it.
func importName(file *ast.File, path string) string {
	for _, i := range file.Imports {
		if i.Path.Value == `"`+path+`"` {
			if i.Name != nil {
				return i.Name.Name
			}
			return path[strings.LastIndex(path, "/")+1:]
		}
	}
	return ""
}
