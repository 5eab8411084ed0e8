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
// detector watches these: in script every command, in record signals and crowds,
// in exec streams and terminals. The others kill and repeat the same commands;
// the night watches them too.
var endToEnd = map[string]bool{
	"internal/test/script": true,
	"internal/test/record": true,
	"internal/test/exec":   true,
	"internal/test/chain":  false,
	"internal/test/crash":  false,
	"docs":                 false,
}

// source is the Go files of one folder, tests included.
type source struct {
	dir        string // from the root, with slashes
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

// scaling are the tests that reach package soak, also by way of other functions
// of the tests. It goes by names alone, so it may name a test too many, and none
// too few.
func (p *source) scaling() []string {
	bodies, reaches := map[string][]ast.Node{}, map[string]bool{}
	for _, file := range p.tests {
		soak := importName(file, soakPath)
		for _, f := range functions(file) {
			name := f.Name.Name
			bodies[name] = append(bodies[name], f.Body)
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && soak != "" {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == soak {
						reaches[name] = true
					}
				}
				return true
			})
		}
	}
	for grew := true; grew; {
		grew = false
		for name, list := range bodies {
			for _, body := range list {
				ast.Inspect(body, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok && reaches[id.Name] && !reaches[name] {
						reaches[name], grew = true, true
					}
					return true
				})
			}
		}
	}
	var out []string
	for name := range reaches {
		if isTest(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
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
