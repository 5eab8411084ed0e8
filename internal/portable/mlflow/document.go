package mlflow

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// document is one mapping in YAML, as MLflow writes them: its values are scalars, but
// for mappings of scalars.
type document struct {
	values map[string]ast.Node
	err    error // of the first value that was asked for in vain
}

// parseDocument reads a mapping. It resolves no alias, so that a small file stays small.
func parseDocument(b []byte) (document, error) {
	d := document{values: map[string]ast.Node{}}
	if !utf8.Valid(b) {
		return d, errors.New("it is not UTF-8")
	}
	file, err := parseYAML(b)
	if err != nil {
		return d, err
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return d, errors.New("it is not one YAML document")
	}
	pairs, err := mapping(file.Docs[0].Body)
	if err != nil {
		return d, err
	}
	for _, p := range pairs {
		if key, ok := scalar(p.Key); ok {
			d.values[key] = p.Value
		}
	}
	return d, nil
}

// parseYAML parses a text; what the parser cannot stand is an error.
func parseYAML(b []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("it is not YAML: %v", p)
		}
	}()
	file, err = parser.ParseBytes(b, 0)
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return nil, fmt.Errorf("it is not YAML: %s", first)
	}
	return file, nil
}

func mapping(n ast.Node) ([]*ast.MappingValueNode, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, nil
	}
	return nil, errors.New("it is no mapping")
}

func (d *document) fail(key, why string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s is %s", key, why)
	}
}

// text is a value as text: "" for none and for null.
func (d *document) text(key string) string {
	n, found := d.values[key]
	if !found {
		return ""
	}
	s, ok := scalar(n)
	if !ok {
		d.fail(key, "neither text nor a number")
	}
	return s
}

// scalar is the text of a node that is no mapping and no sequence.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return "", true
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NanNode, *ast.InfinityNode:
		return n.GetToken().Value, true
	case *ast.TagNode:
		return scalar(n.Value)
	}
	return "", false
}

// int is a whole number: 0 for none and for null.
func (d *document) int(key string) int64 {
	s := d.text(key)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		d.fail(key, "no whole number")
	}
	return n
}

// pairs are the scalars of a mapping in the order of the text.
func (d *document) pairs(key string) []pair {
	n, found := d.values[key]
	if !found {
		return nil
	}
	if _, null := n.(*ast.NullNode); null {
		return nil
	}
	list, err := mapping(n)
	if err != nil {
		if s, ok := n.(*ast.SequenceNode); !ok || len(s.Values) > 0 {
			d.fail(key, "no mapping")
		}
		return nil
	}
	var out []pair
	for _, p := range list {
		k, ok1 := scalar(p.Key)
		v, ok2 := scalar(p.Value)
		if !ok1 || !ok2 {
			d.fail(key, "no mapping of texts")
			return nil
		}
		out = append(out, pair{k, v})
	}
	return out
}
