package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

func TestTheStepsOfThisTestAreAllFailpointsOfTheProgram(t *testing.T) {
	t.Parallel()
	found := failpointsIn(t, filepath.Join("..", "..", "..", "internal"))
	var listed []string
	for _, s := range labtest.IngestSteps {
		listed = append(listed, s.Name)
	}
	listed = append(listed, labtest.PipelineSteps...)
	listed = append(listed, labtest.RecordSteps...)
	listed = append(listed, labtest.PortableSteps...)
	listed = append(listed, labtest.LabSteps...)
	listed = append(listed, labtest.EndSteps...)
	listed = append(listed, labtest.JobSteps...)
	listed = append(listed, labtest.AttemptSteps...)
	listed = append(listed, labtest.FenceSteps...)
	listed = append(listed, labtest.MoveSteps...)
	listed = append(listed, labtest.OutputSteps...)
	slices.Sort(listed)
	if !slices.Equal(found, listed) {
		t.Errorf("in the sources: %v\nin this test:   %v", found, listed)
	}
}

// failpointsIn reads the names of all failpoints from the sources, also where
// a name is put together from a parameter.
func failpointsIn(t *testing.T, root string) []string {
	t.Helper()
	packages := map[string][]*ast.FuncDecl{}
	labtest.Must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], f)
			}
		}
		return nil
	}))
	names := map[string]bool{}
	for _, functions := range packages {
		for _, f := range functions {
			calls(f, func(call *ast.CallExpr) {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Hit" && len(call.Args) == 1 {
					for _, name := range values(t, functions, f, call.Args[0]) {
						if !strings.HasPrefix(name, ".") { // no point was asked for
							names[name] = true
						}
					}
				}
			})
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func calls(f *ast.FuncDecl, each func(*ast.CallExpr)) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			each(call)
		}
		return true
	})
}

// values returns every text that an expression inside f can have: literals,
// sums, and parameters, which are followed to the callers of f.
func values(t *testing.T, functions []*ast.FuncDecl, f *ast.FuncDecl, e ast.Expr) []string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		labtest.Must(t, err)
		return []string{s}
	case *ast.BinaryExpr:
		var out []string
		for _, left := range values(t, functions, f, e.X) {
			for _, right := range values(t, functions, f, e.Y) {
				out = append(out, left+right)
			}
		}
		return out
	case *ast.Ident:
		at, found := 0, -1
		for _, field := range f.Type.Params.List {
			for _, name := range field.Names {
				if name.Name == e.Name {
					found = at
				}
				at++
			}
		}
		if found < 0 {
			break
		}
		var out []string
		for _, caller := range functions {
			calls(caller, func(call *ast.CallExpr) {
				name := ""
				switch fun := call.Fun.(type) {
				case *ast.Ident:
					name = fun.Name
				case *ast.SelectorExpr:
					name = fun.Sel.Name
				}
				if name == f.Name.Name && len(call.Args) == at {
					out = append(out, values(t, functions, caller, call.Args[found])...)
				}
			})
		}
		return out
	}
	t.Fatalf("%s: the name of a failpoint is neither a text nor a parameter", f.Name.Name)
	return nil
}
