package feature

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"quant"
	"quant/internal/expression"
	"quant/internal/factstore"
	"quant/internal/yamltext"
)

// The bounds of a file of definitions.
const (
	MaxDefinitionBytes  = 1 << 20
	mostDefinitionMarks = 32 << 10
)

// ParseSet reads a file of definitions; name is what errors call it, with line and
// column:
//
//	version: my_alpha
//	description: what it is for       # may be left out
//	features:
//	  MA20: Mean($close, 20) / $close
//	  STRONG:
//	    expr: CSRank($close / Ref($close, 20))
//
// or, all of them,
//
//	TURN:
//	  sql: SELECT symbol, ts, volume / avg(volume) OVER (...) FROM ohlcv
//
// Invalid: it is not such a file, an expression is wrong, or a name cannot be used.
// Conflict: the version is one that quant itself has.
func ParseSet(name string, data []byte) (factstore.FeatureSet, error) {
	p := &definitions{file: name}
	root, err := p.read(data)
	if err != nil {
		return factstore.FeatureSet{}, err
	}
	return p.set(root)
}

type definitions struct{ file string }

func (p *definitions) at(t *token.Token) string {
	if t == nil || t.Position == nil {
		return p.file
	}
	return fmt.Sprintf("%s:%d:%d", p.file, t.Position.Line, t.Position.Column)
}

const definitionsHint = "`quant features --help` shows the format"

func (p *definitions) problem(where, hint, format string, args ...any) error {
	return quant.Errorf(quant.Invalid, "features %s: %s", where, fmt.Sprintf(format, args...)).WithHint("%s", cmp.Or(hint, definitionsHint))
}

// read returns the one document of the file.
func (p *definitions) read(data []byte) (ast.Node, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case len(data) > MaxDefinitionBytes:
		return nil, p.problem(p.file, "put some features into a version of their own", "the file has %d bytes, more than %d", len(data), MaxDefinitionBytes)
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return nil, p.problem(p.file, "save it as UTF-8", "the file is no plain text")
	}
	doc, err := yamltext.Parse(data, mostDefinitionMarks, "a file of features")
	if err != nil {
		where, message := p.file, strings.SplitN(strings.TrimSpace(err.Error()), "\n", 2)[0]
		var syntax interface {
			error
			GetMessage() string
			GetToken() *token.Token
		}
		if errors.As(err, &syntax) {
			where, message = p.at(syntax.GetToken()), syntax.GetMessage()
		}
		return nil, p.problem(where, "an expression that begins with a bracket, or holds a colon or #, is written in quotes", "not valid YAML: %s", message)
	}
	var body ast.Node
	for _, d := range doc.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			return nil, p.problem(p.at(d.Body.GetToken()), "put each version into a file of its own", "a second document")
		}
		body = d.Body
	}
	if body == nil {
		return nil, p.problem(p.file, "", "the file is empty")
	}
	return body, nil
}

// pairs are the keys of a mapping with their values, each key once.
func (p *definitions) pairs(what string, n ast.Node) (list []*ast.MappingValueNode, keys []string, err error) {
	list, isMap := yamltext.Mapping(n)
	if !isMap {
		return nil, nil, p.problem(p.at(n.GetToken()), "", "%s must be a mapping, not %s", what, yamltext.KindOf(n))
	}
	seen := map[string]bool{}
	for _, pair := range list {
		key, isText := pair.Key.(*ast.StringNode)
		if !isText {
			return nil, nil, p.problem(p.at(pair.Key.GetToken()), "write the name in quotes", "%s cannot be a key", yamltext.KindOf(pair.Key))
		}
		if seen[key.Value] {
			return nil, nil, p.problem(p.at(key.Token), "", "key %.80q stands twice", key.Value)
		}
		seen[key.Value] = true
		keys = append(keys, key.Value)
	}
	return list, keys, nil
}

func (p *definitions) text(key string, n ast.Node) (string, error) {
	text, isText := yamltext.Text(n)
	if !isText {
		return "", p.problem(p.at(n.GetToken()), "write it in quotes", "%s must be a text, not %s", key, yamltext.KindOf(n))
	}
	return text, nil
}

func (p *definitions) set(root ast.Node) (factstore.FeatureSet, error) {
	var s factstore.FeatureSet
	pairs, keys, err := p.pairs("the file", root)
	if err != nil {
		return s, err
	}
	var features ast.Node
	for i, key := range keys {
		switch key {
		case "version":
			s.Version, err = p.text(key, pairs[i].Value)
			if err == nil {
				err = p.located(pairs[i].Value, factstore.CheckFeatureVersion(s.Version))
			}
			if err == nil && isBuiltIn(s.Version) {
				err = quant.Errorf(quant.Conflict, "features %s: version %s is built in", p.at(pairs[i].Value.GetToken()), s.Version).WithHint("choose another name, such as my_%s", s.Version)
			}
		case "description":
			s.Description, err = p.text(key, pairs[i].Value)
		case "features":
			features = pairs[i].Value
		default:
			err = p.problem(p.at(pairs[i].Key.GetToken()), "the keys are version, description and features", "unknown key %.80q", key)
		}
		if err != nil {
			return s, err
		}
	}
	switch {
	case s.Version == "":
		return s, p.problem(p.file, "add a line such as version: my_alpha", "there is no version")
	case features == nil:
		return s, p.problem(p.file, "add features: with a line such as MA20: Mean($close, 20) / $close", "there are no features")
	}
	list, names, err := p.pairs("features", features)
	if err != nil {
		return s, err
	}
	for i, name := range names {
		f, err := p.feature(name, list[i])
		if err != nil {
			return s, err
		}
		s.Features = append(s.Features, f)
	}
	s.Kind = factstore.KindExpressions
	if len(s.Features) > 0 {
		s.Kind = s.Features[0].Kind
	}
	for i, f := range s.Features {
		if f.Kind != s.Kind {
			return s, p.problem(p.at(list[i].Key.GetToken()), "put the queries into a version of their own: a query may read the table of another version", "%s is of kind %s, and those before it of kind %s: a version has one", f.Name, f.Kind, s.Kind)
		}
	}
	if err := s.Check(); err != nil {
		return s, p.problem(p.file, quant.HintOf(err), "%v", err)
	}
	return s, nil
}

// located is an error with its place in the file.
func (p *definitions) located(n ast.Node, err error) error {
	if err == nil {
		return nil
	}
	return p.problem(p.at(n.GetToken()), quant.HintOf(err), "%v", err)
}

func (p *definitions) feature(name string, pair *ast.MappingValueNode) (factstore.SetFeature, error) {
	if err := factstore.CheckFeatureName(name); err != nil {
		return factstore.SetFeature{}, p.located(pair.Key, err)
	}
	value := pair.Value
	if fields, isMap := yamltext.Mapping(value); isMap {
		_, keys, err := p.pairs(name, value)
		if err != nil {
			return factstore.SetFeature{}, err
		}
		if len(keys) != 1 || !slices.Contains([]string{"expression", "expr", "sql"}, keys[0]) {
			return factstore.SetFeature{}, p.problem(p.at(value.GetToken()), "write "+name+": and an expression, or sql: and a SELECT below it", "%s needs expr (or expression) or sql, and no other key", name)
		}
		value = fields[0].Value
		if keys[0] == "sql" {
			return p.query(name, value)
		}
	}
	if _, isNumber := value.(*ast.IntegerNode); isNumber {
		return factstore.SetFeature{}, p.problem(p.at(value.GetToken()), "", "%s is a number, the same for every symbol", name)
	}
	text, err := p.text(name, value)
	if err != nil {
		return factstore.SetFeature{}, err
	}
	program, err := expression.Compile([]expression.Named{{Name: name, Text: text}})
	if err != nil {
		return factstore.SetFeature{}, p.wrong(name, text, value, err)
	}
	return expressionFeature(program.Features()[0]), nil
}

// query is a feature that a SELECT defines. Whether it is one is found out where there is
// an engine.
func (p *definitions) query(name string, value ast.Node) (factstore.SetFeature, error) {
	text, err := p.text(name, value)
	if err != nil {
		return factstore.SetFeature{}, err
	}
	f := factstore.QueryFeature(name, text)
	if f.Definition == "" {
		return f, p.problem(p.at(value.GetToken()), "write a SELECT of symbol, ts and the value", "%s: the query is empty", name)
	}
	return f, nil
}

// wrong says where in the file an expression is wrong.
func (p *definitions) wrong(name, text string, value ast.Node, err error) error {
	in, ok := errors.AsType[*expression.Error](err)
	if !ok {
		return p.located(value, err)
	}
	t := value.GetToken()
	where, within := p.at(t), fmt.Sprintf(" (column %d of the expression)", in.Column)
	if plain, isPlain := value.(*ast.StringNode); isPlain && t != nil && t.Position != nil && !strings.Contains(text, "\n") {
		column := t.Position.Column + in.Column - 1
		if plain.Token.Type != token.StringType {
			column++ // behind the quote
		}
		if strings.Contains(t.Origin, text) && !strings.Contains(strings.TrimSpace(t.Origin), "\n") {
			where, within = fmt.Sprintf("%s:%d:%d", p.file, t.Position.Line, column), ""
		}
	}
	return p.problem(where, in.Hint, "%s: %s%s", name, in.Problem, within)
}

// expressionFeature is what is kept of a feature that an expression defines.
func expressionFeature(f expression.Feature) factstore.SetFeature {
	lookback, first := int64(f.Lookback), int64(f.FirstRow)
	return factstore.SetFeature{
		Name: f.Name, Kind: factstore.KindExpressions, Definition: f.Text, Canonical: f.Canonical, Lookback: &lookback, FirstRow: &first,
		Unit: f.Unit, ScaleFree: f.ScaleFree, CrossSectional: f.CrossSectional, KnownAt: factstore.KnownProved,
	}
}
