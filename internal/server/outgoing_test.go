package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTheServerCallsNobody reads the packages that answer requests: none of them can
// ask another server, start a program, load code or revive an object that was sent.
func TestTheServerCallsNobody(t *testing.T) {
	t.Parallel()
	packages := []string{"os/exec", "plugin", "net/rpc", "net/smtp", "encoding/gob", "net/http/httputil", "quant/internal/exec", "quant/internal/exec/program", "quant/internal/curator/provider"}
	names := map[string][]string{
		"http":    {"Get", "Head", "Post", "PostForm", "DefaultClient", "Client", "DefaultTransport", "Transport", "RoundTripper"},
		"net":     {"Dial", "DialTimeout", "Dialer", "DialTCP", "DialUDP", "DialUnix", "DialIP"},
		"tls":     {"Dial", "DialWithDialer", "Client"},
		"syscall": {"Exec", "ForkExec", "StartProcess"},
		"os":      {"StartProcess"},
	}
	files := 0
	for _, root := range []string{".", "../tracking"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, i := range file.Imports {
				if name, _ := strconv.Unquote(i.Path.Value); slices.Contains(packages, name) {
					t.Errorf("%s imports %s", path, name)
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := s.X.(*ast.Ident); ok && slices.Contains(names[pkg.Name], s.Sel.Name) {
						t.Errorf("%s uses %s.%s", set.Position(n.Pos()), pkg.Name, s.Sel.Name)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 10 {
		t.Errorf("only %d files were read", files)
	}
}
