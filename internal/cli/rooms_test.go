package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// SQL is written in capitals here. A statement stands where its table is owned; a command calls a function.
func TestACommandHasNoSQL(t *testing.T) {
	t.Parallel()
	statement := regexp.MustCompile(`^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE (TEMP )?TABLE)\s+[a-z"*(]|^\s*FROM [a-z_]+( |$)|^\s*WITH \w+ AS`)
	for text, want := range map[string]bool{"SELECT a FROM b": true, "\n\tDELETE FROM runs": true, "  quant sql \"SELECT 1\"": false, "FROM ohlcv": true, "from the lab": false, "with --force": false} {
		if statement.MatchString(text) != want {
			t.Errorf("%q is taken for SQL: %v", text, !want)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && statement.MatchString(text) {
				t.Errorf("%s: %s", fset.Position(literal.Pos()), text)
			}
			return true
		})
	}
}
