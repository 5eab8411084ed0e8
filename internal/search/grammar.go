package search

import (
	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// The tokens, the first that fits. The last two catch what is none, so that the
// parser, which knows the place, makes the error.
func tokens() (*lexer.StatefulDefinition, error) {
	return lexer.NewSimple([]lexer.SimpleRule{
		{Name: "Space", Pattern: `\s+`},
		{Name: "Quoted", Pattern: "`[^`]*`"},
		{Name: "Text", Pattern: `"(?:[^"]|"")*"|'(?:[^']|'')*'`},
		{Name: "Time", Pattern: `\d{4}-\d{2}-\d{2}(?:[Tt][0-9:.]+(?:[Zz]|[+-]\d{2}:\d{2})?)?`},
		{Name: "Duration", Pattern: `[+-]?(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h|d|w))+`},
		{Name: "Number", Pattern: `[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?`},
		{Name: "Op", Pattern: `<=|>=|!=|<>|=|<|>`},
		{Name: "Keyword", Pattern: `(?i:and|or|not|in|like|is|null|order|by|asc|desc|limit|true|false|now)\b`},
		{Name: "Ident", Pattern: `[\pL_][\pL\pN_-]*`},
		{Name: "Punct", Pattern: `[().,]`},
		{Name: "Open", Pattern: "[\"'`]"},
		{Name: "Other", Pattern: `(?s:.)`},
	})
}

type queryNode struct {
	Where *orNode    `parser:"@@?"`
	Order []*keyNode `parser:"('order' 'by' @@ (',' @@)*)?"`
	Limit *limitNode `parser:"('limit' @@)?"`
}

type orNode struct {
	Parts []*andNode `parser:"@@ ('or' @@)*"`
}

type andNode struct {
	Parts []*notNode `parser:"@@ ('and' @@)*"`
}

type notNode struct {
	Not   *notNode       `parser:"  'not' @@"`
	Group *orNode        `parser:"| '(' @@ ')'"`
	Cond  *conditionNode `parser:"| @@"`
}

type conditionNode struct {
	Field *fieldNode   `parser:"@@"`
	Op    string       `parser:"( @Op"`
	Value *valueNode   `parser:"  @@"`
	Not   bool         `parser:"| @'not'?"`
	In    []*valueNode `parser:"  ( 'in' '(' @@ (',' @@)* ')'"`
	Like  *valueNode   `parser:"  | 'like' @@ )"`
	Is    bool         `parser:"| @'is'"`
	IsNot bool         `parser:"  @'not'? 'null' )"`
}

type fieldNode struct {
	Pos   lexer.Position
	First string      `parser:"@Ident"`
	More  []*partNode `parser:"('.' @@)*"`
}

type partNode struct {
	Pos  lexer.Position
	Name string `parser:"@(Ident | Keyword | Quoted)"`
}

type valueNode struct {
	Pos      lexer.Position
	Text     string `parser:"  @Text"`
	Time     string `parser:"| @Time"`
	Duration string `parser:"| @Duration"`
	Number   string `parser:"| @Number"`
	Word     string `parser:"| @('true' | 'false' | 'now')"`
	Bare     string `parser:"| @Ident"` // an error, with a better text than the parser's
}

type keyNode struct {
	Field *fieldNode `parser:"@@"`
	Desc  bool       `parser:"('asc' | @'desc')?"`
}

type limitNode struct {
	Pos  lexer.Position
	Text string `parser:"@Number"`
}

type columnsNode struct {
	Fields []*fieldNode `parser:"@@ (',' @@)*"`
}

// parserOf builds a parser. It is built for each query: once a process.
func parserOf[T any]() (*participle.Parser[T], lexer.Definition, error) {
	def, err := tokens()
	if err != nil {
		return nil, nil, err
	}
	p, err := participle.Build[T](participle.Lexer(def), participle.Elide("Space"), participle.CaseInsensitive("Keyword"), participle.UseLookahead(2))
	return p, def, err
}
