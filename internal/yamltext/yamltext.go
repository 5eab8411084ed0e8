// Package yamltext parses YAML that a stranger may have written, within bounds, and
// names what its nodes are. What the keys mean is its callers'.
package yamltext

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Parse is the parser with its panics, which some broken files cause, made errors, and
// with bounds on what it takes quadratic time or a deep stack for: brackets in brackets,
// and marks of keys, anchors, lists on one line, texts side by side, of which there may
// be so many. noun is what the file is, for the error: "a strategy".
func Parse(data []byte, marks int, noun string) (doc *ast.File, err error) {
	const deepest = 64
	depth, count := 0, 0
	var before byte
	for i, c := range data {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ':', '?', '&', '*', '!', '%', '@', '`', '\t':
			count++
		case '-':
			if i > 1 && data[i-1] == ' ' && (data[i-2] == '-' || data[i-2] == ' ' && before == '-') {
				count++
			}
		case '"', '\'':
			if before == c && i > 0 && data[i-1] == ' ' {
				count++
			}
		}
		if c != ' ' {
			before = c
		}
		if depth > deepest || count > marks {
			return nil, fmt.Errorf("nested too deeply, or far more keys than %s has", noun)
		}
	}
	defer func() {
		if recover() != nil {
			doc, err = nil, errors.New("this is no YAML")
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// Mapping are the pairs of a mapping.
func Mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

// Text is the text of a node that is one.
func Text(n ast.Node) (string, bool) {
	switch x := n.(type) {
	case *ast.StringNode:
		return x.Value, true
	case *ast.LiteralNode:
		return x.Value.Value, true
	}
	return "", false
}

// KindOf says what a node is, for an error.
func KindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "a truth value"
	case *ast.NullNode:
		return "null"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor or alias, which the format does not have"
	case *ast.TagNode:
		return "a tag, which the format does not have"
	}
	return "something else"
}
