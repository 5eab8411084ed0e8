// Package sqltext quotes names and texts for statements that take no bound
// value in that place. The rules are those of the SQL standard, which DuckDB
// and SQLite both keep: whatever the text holds, it is one name or one literal.
// A value that can be bound is bound. It knows no database.
package sqltext

import (
	"path/filepath"
	"strings"
)

// Identifier is the name as an identifier in double quotes.
func Identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Literal is the text as a string literal in single quotes.
func Literal(text string) string { return `'` + strings.ReplaceAll(text, `'`, `''`) + `'` }

// Literals are the texts as string literals in their order, separated by ", ",
// such as IN (...) takes them; "" for none.
func Literals(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = Literal(text)
	}
	return strings.Join(quoted, ", ")
}

// File is the path of one file as a literal for a function of DuckDB that expands
// patterns: absolute, so that it is no URL, and none of its letters stands for others.
// The error is the operating system's.
func File(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return Literal(strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(abs)), nil
}
