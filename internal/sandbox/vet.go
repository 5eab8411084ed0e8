package sandbox

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"quant"
	"quant/internal/output/rows"

	_ "embed"
)

//go:embed functions.txt
var functionList string

// permits is functions.txt: "kind name" -> allowed. What is absent is refused.
type permits map[string]bool

func parsePermits(list string) permits {
	p := permits{}
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] != "#" {
			p[f[1]+" "+f[2]] = f[0] == "allow"
		}
	}
	return p
}

// vetTree examines what json_serialize_sql made of a statement: exactly one
// statement, made of known parts only, calling only what p allows. A part that
// a later DuckDB invents is refused until somebody has looked at it.
func vetTree(tree []byte, p permits) error {
	var doc struct {
		Error      bool              `json:"error"`
		Type       string            `json:"error_type"`
		Message    string            `json:"error_message"`
		Position   string            `json:"position"` // in bytes, from 0
		Statements []json.RawMessage `json:"statements"`
	}
	if err := json.Unmarshal(tree, &doc); err != nil {
		return quant.Errorf(quant.Failed, "examine the query: %w", err)
	}
	switch {
	case doc.Error && doc.Type == "not implemented":
		return quant.Errorf(quant.Refused, "the statement is not one that only reads").
			WithHint("write one SELECT, WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN; a PIVOT must name its values: PIVOT t ON c IN (...)")
	case doc.Error:
		err := errSQL("Parser Error: " + doc.Message)
		if at, bad := strconv.Atoi(doc.Position); bad == nil && at >= 0 {
			err.Err = offset(at)
		}
		return err
	case len(doc.Statements) == 0:
		return errEmpty()
	case len(doc.Statements) > 1:
		return quant.Errorf(quant.Refused, "there are %d statements, one is allowed", len(doc.Statements)).WithHint("run them one by one")
	}
	var stmt any
	if err := json.Unmarshal(doc.Statements[0], &stmt); err != nil {
		return quant.Errorf(quant.Failed, "examine the query: %w", err)
	}
	return p.vet(stmt)
}

func (p permits) vet(node any) error {
	switch node := node.(type) {
	case []any:
		for _, n := range node {
			if err := p.vet(n); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := p.vetNode(node); err != nil {
			return err
		}
		for key, n := range node {
			if key == "value" && node["class"] == "CONSTANT" {
				continue // data, and none of the tree
			}
			if err := p.vet(n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p permits) vetNode(n map[string]any) error {
	word := func(key string) string { s, _ := n[key].(string); return s }
	if name := word("function_name"); name != "" {
		if err := p.call("expr", name); err != nil {
			return err
		}
	}
	if class, ok := n["class"].(string); ok {
		switch class {
		case "CONSTANT", "COLUMN_REF", "FUNCTION", "WINDOW", "STAR", "CAST", "COMPARISON", "CONJUNCTION", "CASE",
			"BETWEEN", "OPERATOR", "SUBQUERY", "LAMBDA", "LAMBDA_REF", "COLLATE", "POSITIONAL_REFERENCE", "TYPE":
			return nil
		case "PARAMETER":
			return quant.Errorf(quant.Refused, "the query has a parameter ($1 or ?), and nothing to fill it with").WithHint("write the value itself")
		}
		return errPart(class)
	}
	switch kind := word("type"); kind {
	case "", "SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE",
		"EMPTY", "JOIN", "SUBQUERY", "EXPRESSION_LIST", "PIVOT",
		"ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER",
		"ORDER_DEFAULT", "ASCENDING", "DESCENDING":
	case "BASE_TABLE":
		return p.table(word("schema_name"), word("table_name"))
	case "TABLE_FUNCTION":
		f, _ := n["function"].(map[string]any)
		name, _ := f["function_name"].(string)
		if name == "" {
			return errPart(kind)
		}
		if err := p.call("table", name); err != nil {
			return err
		}
		delete(f, "function_name") // it is no expression, and has been judged
	case "SHOW_REF":
		name := strings.Trim(strings.ToLower(word("table_name")), `"`)
		if name == "variables" {
			return errName("SHOW", name)
		}
		return p.table("", name)
	default:
		// The types of values and columns have an id and no type; a type_info
		// has one of these.
		if strings.HasSuffix(kind, "_TYPE_INFO") {
			return nil
		}
		return errPart(kind)
	}
	return nil
}

func (p permits) call(kind, name string) error {
	if p[kind+" "+strings.ToLower(name)] {
		return nil
	}
	what := "function"
	if kind == "table" {
		what = "table function"
	}
	return errName(what, name)
}

// table refuses the internal views that are not allowed; any other name is the
// catalog's to know. Names that would read a file find none: external access is
// off.
func (p permits) table(schema, name string) error {
	schema, name = strings.ToLower(schema), strings.ToLower(name)
	for _, s := range []string{"", "pg_catalog.", "information_schema."} {
		if s != "" && schema != "" && schema+"." != s {
			continue
		}
		if ok, known := p["view "+s+name]; known && !ok {
			return errName("view", name)
		}
	}
	return nil
}

func errName(what, name string) error {
	return quant.Errorf(quant.Refused, "%s %s is not allowed in a query", what, rows.AppendClean(nil, []byte(name))).
		WithHint("a query reads the lab's own tables only: no files, network, settings or secrets; `quant ingest` loads files")
}

func errPart(part string) error {
	return quant.Errorf(quant.Refused, "the query uses %s, which is not allowed here", rows.AppendClean(nil, []byte(part))).
		WithHint("write it as a plain SELECT")
}

// errSQL makes an error of what a database said about the query: its first line
// is the message, a list of candidates the hint.
func errSQL(msg string) *quant.Error {
	lines := strings.Split(strings.TrimSpace(msg), "\n")
	hint := "`quant sql \"SHOW TABLES\"` and `DESCRIBE table` show what there is"
	for _, l := range lines[1:] {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "Candidate") || strings.HasPrefix(l, "Did you mean") {
			hint = string(rows.AppendClean(nil, []byte(l)))
			break
		}
	}
	first := string(rows.AppendClean(nil, []byte(lines[0])))
	code := quant.Failed
	for _, prefix := range []string{"Parser Error", "Binder Error", "Catalog Error", "Syntax Error"} {
		if strings.HasPrefix(first, prefix) {
			code = quant.Usage
		}
	}
	e := &quant.Error{Code: code, Msg: "query: " + first}
	if at, found := positionIn(lines); found {
		e.Err = at
	}
	if code == quant.Usage {
		return e.WithHint("%s", hint)
	}
	return e
}

// Position is where in a query an error is, from 1: the Err of a quant.Error, where
// that is known.
type Position struct {
	Line   int `json:"line"`
	Column int `json:"column"` // in characters
}

func (p Position) Error() string { return fmt.Sprintf("line %d, column %d", p.Line, p.Column) }

// offset is a position in bytes.
type offset int

func (o offset) Error() string { return fmt.Sprintf("byte %d", int(o)) }

// in is the position in a text.
func (o offset) in(text string) Position {
	before := text[:min(int(o), len(text))]
	return Position{Line: 1 + strings.Count(before, "\n"), Column: 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])}
}

// positionIn reads the picture that DuckDB draws under a message: the line, after
// "LINE 2: ", and a caret below it. Of a long line it draws a part: then the column is
// not known.
func positionIn(lines []string) (Position, bool) {
	for i, l := range lines[:len(lines)-1] {
		number, line, found := strings.Cut(strings.TrimPrefix(l, "LINE "), ": ")
		n, err := strconv.Atoi(number)
		caret := strings.IndexByte(lines[i+1], '^')
		if !found || err != nil || caret < 0 || strings.HasPrefix(line, "...") {
			continue
		}
		return Position{Line: n, Column: caret - len("LINE "+number+": ") + 1}, true
	}
	return Position{}, false
}

// cutExplain takes EXPLAIN or EXPLAIN ANALYZE from the head of a text. What is
// left must be a reading statement of its own.
func cutExplain(sql string) (prefix, rest string) {
	rest = skipBlank(sql)
	after, ok := cutWord(rest, "explain")
	if !ok {
		return "", sql
	}
	prefix, rest = "EXPLAIN ", skipBlank(after)
	if after, ok = cutWord(rest, "analyze"); ok {
		prefix, rest = "EXPLAIN ANALYZE ", after
	}
	return prefix, rest
}

func cutWord(s, word string) (string, bool) {
	if len(s) <= len(word) || !strings.EqualFold(s[:len(word)], word) || isWordByte(s[len(word)]) {
		return s, false
	}
	return s[len(word):], true
}

func isWordByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}

// skipBlank drops white space and comments from the head of a text.
func skipBlank(s string) string {
	for {
		s = strings.TrimLeft(s, " \t\r\n\f\v")
		switch {
		case strings.HasPrefix(s, "--"):
			i := strings.IndexByte(s, '\n')
			if i < 0 {
				return ""
			}
			s = s[i+1:]
		case strings.HasPrefix(s, "/*"):
			i := strings.Index(s[2:], "*/")
			if i < 0 {
				return s
			}
			s = s[i+4:]
		default:
			return s
		}
	}
}
