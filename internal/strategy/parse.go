package strategy

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"quant"
	"quant/internal/yamltext"
)

// MaxBytes is the longest strategy file.
const MaxBytes = 256 << 10

// mostMarks bounds a file as yamltext.Parse takes it: a strategy has some 30 keys and
// one list.
const mostMarks = 2048

// Problem is one thing that is wrong with a strategy.
type Problem struct {
	Where   string `json:"where"`   // <file>:<line>:<column>, or --set <path>
	Key     string `json:"key"`     // path of the key, such as portfolio.top_k; "" where none is meant
	Message string `json:"message"` // what is wrong
	Hint    string `json:"hint"`    // what would be right; may be empty

	// Selector is the key whose value has no use for Key, and Instead the override of
	// Key that lets the value stand; "" where this is no such problem.
	Selector string `json:"-"`
	Instead  string `json:"-"`
}

// Problems is the cause of an error of Parse: all that was found, in the order
// of the file.
type Problems []Problem

// Error joins them.
func (p Problems) Error() string {
	const shown = 3
	var list []string
	for _, one := range p[:min(len(p), shown)] {
		list = append(list, one.Where+": "+one.Message)
	}
	if len(p) > shown {
		list = append(list, fmt.Sprintf("and %d more", len(p)-shown))
	}
	return strings.Join(list, "; ")
}

// Parse reads a strategy file; name is what errors call it. sets are overrides
// such as portfolio.top_k=5, which beat the file: of a text key the value is
// everything after the =, of others YAML; without a value (portfolio.short_k=) the key
// is as if the file did not have it. The error is quant.Invalid and
// wraps Problems.
func Parse(name string, data []byte, sets []string) (Strategy, error) {
	return Read(name, data).Parse(sets)
}

// Document is a strategy file that was read, for Parse with other overrides each time. It is
// for one goroutine at a time.
type Document struct {
	file  string
	root  ast.Node
	found Problems
}

// Read reads a file called name in errors; what is wrong with it Parse says.
func Read(name string, data []byte) Document {
	p := &parsing{file: name}
	root := p.read(data)
	return Document{file: name, root: root, found: p.found}
}

// Parse is the function Parse of the document.
func (d Document) Parse(sets []string) (Strategy, error) {
	s := Default()
	p := &parsing{file: d.file, fields: fields(&s), given: map[string]string{}, found: slices.Clone(d.found)}
	if d.root != nil {
		p.section("", d.root)
	}
	for _, set := range sets {
		p.override(set)
	}
	p.complete(&s)
	p.books(&s)
	p.sides(&s)
	if len(p.found) == 0 {
		slices.Sort(s.Universe.Symbols)
		return s, nil
	}
	err := quant.Errorf(quant.Invalid, "strategy %w", p.found)
	for _, one := range p.found {
		if one.Hint != "" {
			return Strategy{}, err.WithHint("%s", one.Hint)
		}
	}
	return Strategy{}, err.WithHint("`quant strategy schema` prints the format")
}

type parsing struct {
	file   string
	fields []field
	given  map[string]string // where a key stands, file or --set
	failed map[string]bool
	found  Problems
}

func (p *parsing) problem(where, key, hint, format string, args ...any) {
	const most = 100
	if len(p.found) < most {
		p.found = append(p.found, Problem{Where: where, Key: key, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
}

// useless reports a key that the value of another, the selector, has no use for.
func (p *parsing) useless(path, selector, instead, hint, format string, args ...any) {
	if strings.HasPrefix(p.given[selector], setPlace) && !strings.HasPrefix(p.given[path], setPlace) {
		hint += "; --set " + instead + " goes with this --set " + selector
	}
	before := len(p.found)
	p.problem(p.given[path], path, hint, format, args...)
	for i := before; i < len(p.found); i++ {
		p.found[i].Selector, p.found[i].Instead = selector, instead
	}
}

// setPlace begins the place of what an override says.
const setPlace = "--set "

func (p *parsing) at(t *token.Token) string {
	if t == nil || t.Position == nil {
		return p.file
	}
	return fmt.Sprintf("%s:%d:%d", p.file, t.Position.Line, t.Position.Column)
}

// read returns the file's one mapping, or nil and says why there is none.
func (p *parsing) read(data []byte) ast.Node {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case len(data) > MaxBytes:
		p.problem(p.file, "", "a universe of every active symbol is {type: all}", "the file has %d bytes, more than %d", len(data), MaxBytes)
		return nil
	case !utf8.Valid(data):
		p.problem(p.file, "", "save it as UTF-8", "the file is not UTF-8")
		return nil
	case bytes.IndexByte(data, 0) >= 0:
		p.problem(p.file, "", "save it as plain text", "the file holds a zero byte")
		return nil
	}
	doc, err := yamltext.Parse(data, mostMarks, "a strategy")
	if err != nil {
		p.notYAML(p.file, "", err)
		return nil
	}
	var body []ast.Node
	for _, d := range doc.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType {
			body = append(body, d.Body)
		}
	}
	switch len(body) {
	case 0:
		p.problem(p.file, "", "", "the file is empty")
		return nil
	case 1:
		return body[0]
	}
	p.problem(p.at(body[1].GetToken()), "", "put each strategy into a file of its own", "a second document")
	return nil
}

func (p *parsing) notYAML(where, key string, err error) {
	message := strings.SplitN(strings.TrimSpace(err.Error()), "\n", 2)[0]
	var syntax interface {
		error
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &syntax) {
		message = syntax.GetMessage()
		if key == "" {
			where = p.at(syntax.GetToken())
		}
	}
	p.problem(where, key, "", "not valid YAML: %s", message)
}

// section reads a mapping of keys, and the sections in it.
func (p *parsing) section(path string, n ast.Node) {
	pairs, isMap := yamltext.Mapping(n)
	names := children(p.fields, path)
	if !isMap {
		what := "the file"
		if path != "" {
			what = path
		}
		p.fail(path)
		p.problem(p.at(n.GetToken()), path, fmt.Sprintf("its keys are %s", strings.Join(names, ", ")), "%s must be a mapping, not %s", what, yamltext.KindOf(n))
		return
	}
	seen := map[string]string{}
	for _, pair := range pairs {
		key, isText := pair.Key.(*ast.StringNode)
		if !isText {
			p.problem(p.at(pair.Key.GetToken()), path, "", "%s cannot be a key", yamltext.KindOf(pair.Key))
			continue
		}
		where, full := p.at(key.Token), join(path, key.Value)
		if first, again := seen[key.Value]; again {
			p.problem(where, full, "", "key %s stands twice, first at %s", key.Value, strings.TrimPrefix(first, p.file+":"))
			continue
		}
		seen[key.Value] = where
		if !slices.Contains(names, key.Value) {
			p.unknown(where, path, key.Value, names)
			continue
		}
		p.given[full] = where
		if f := p.field(full); f != nil {
			p.value(where, f, pair.Value)
		} else {
			p.section(full, pair.Value)
		}
	}
}

// unknown reports a key that the format does not have, with the nearest one.
func (p *parsing) unknown(where, section, name string, siblings []string) {
	hint := ""
	if near := nearest(name, siblings); near != "" {
		hint = fmt.Sprintf("did you mean `%s`?", join(section, near))
	} else if near := p.elsewhere(name); near != "" {
		hint = fmt.Sprintf("did you mean `%s`?", near)
	} else {
		hint = "the keys here are " + strings.Join(siblings, ", ")
	}
	full := join(section, name)
	p.problem(where, full, hint, "unknown key %s", quoteOdd(full))
}

// elsewhere returns the path whose last name is nearest.
func (p *parsing) elsewhere(name string) string {
	var leaves []string
	paths := map[string]string{}
	for _, f := range p.fields {
		leaf := f.path[strings.LastIndexByte(f.path, '.')+1:]
		if paths[leaf] == "" {
			paths[leaf] = f.path
			leaves = append(leaves, leaf)
		}
	}
	return paths[nearest(name, leaves)]
}

func (p *parsing) field(path string) *field {
	for i := range p.fields {
		if p.fields[i].path == path {
			return &p.fields[i]
		}
	}
	return nil
}

// override applies path=value.
func (p *parsing) override(set string) {
	path, value, found := strings.Cut(set, "=")
	path, value = strings.TrimSpace(path), strings.TrimSpace(value)
	where := setPlace + quoteOdd(path)
	if !found || path == "" {
		p.problem("--set "+quoteOdd(set), "", "write --set portfolio.top_k=5", "no key=value")
		return
	}
	f := p.field(path)
	if f == nil {
		var paths []string
		for _, f := range p.fields {
			paths = append(paths, f.path)
		}
		near := nearest(path, paths)
		if near == "" {
			near = p.elsewhere(path[strings.LastIndexByte(path, '.')+1:])
		}
		hint := "`quant strategy schema` prints the keys"
		if near != "" {
			hint = fmt.Sprintf("did you mean `%s`?", near)
		}
		p.problem(where, path, hint, "unknown key %s", quoteOdd(path))
		return
	}
	if value == "" {
		p.takeOut(f)
		return
	}
	p.given[path] = where
	plain := f.kind == text || f.kind == symbol && !(f.null && value == "null")
	var node ast.Node = &ast.StringNode{Token: token.New(value, value, &token.Position{}), Value: value}
	if quoted := len(value) > 1 && (value[0] == '"' || value[0] == '\''); !plain || quoted {
		if f.kind == symbols && !strings.HasPrefix(value, "[") {
			p.symbols(where, f, strings.Split(value, ","))
			return
		}
		if len(value) > MaxBytes || !utf8.ValidString(value) {
			p.problem(where, path, "", "the value is not a short text")
			return
		}
		doc, err := yamltext.Parse([]byte(value), mostMarks, "a strategy")
		if err == nil && (len(doc.Docs) != 1 || doc.Docs[0].Body == nil) {
			err = errors.New("one value is wanted")
		}
		if err != nil {
			p.notYAML(where, path, err)
			return
		}
		node = doc.Docs[0].Body
	}
	p.value(where, f, node)
}

// takeOut makes a key as if the file did not have it.
func (p *parsing) takeOut(f *field) {
	d := Default()
	for _, one := range fields(&d) {
		if one.path == f.path {
			reflect.ValueOf(f.to).Elem().Set(reflect.ValueOf(one.to).Elem())
		}
	}
	delete(p.given, f.path)
	delete(p.failed, f.path)
	p.found = slices.DeleteFunc(p.found, func(one Problem) bool { return one.Key == f.path })
}

// value reads one value into its field.
func (p *parsing) value(where string, f *field, n ast.Node) {
	bad := func(hint, format string, args ...any) {
		p.fail(f.path)
		if t := n.GetToken(); t != nil && t.Position != nil && t.Position.Line > 0 && !strings.HasPrefix(where, "--set") {
			where = p.at(t)
		}
		p.problem(where, f.path, hint, "%s %s", f.path, fmt.Sprintf(format, args...))
	}
	if _, isNull := n.(*ast.NullNode); isNull && f.null {
		switch to := f.to.(type) {
		case **float64:
			*to = nil
		case **SectorCaps:
			*to = nil
		case **quant.Date:
			*to = nil
		case *quant.Text:
			*to = ""
		}
		return
	}
	switch f.kind {
	case integer, number:
		if x, ok := f.number(n, "", bad); ok {
			switch to := f.to.(type) {
			case *int:
				*to = int(x)
			case *float64:
				*to = x
			case **float64:
				*to = &x
			}
		}
	case caps:
		p.caps(where, f, n, bad)
	case truth:
		is, isTruth := n.(*ast.BoolNode)
		if !isTruth {
			bad("write true or false", "must be true or false, not %s", yamltext.KindOf(n))
			return
		}
		*f.to.(*bool) = is.Value
	case parts:
		p.parts(where, f, n)
	case symbols:
		sequence, isList := n.(*ast.SequenceNode)
		if !isList {
			bad("write symbols: [AAPL, IBM]", "must be a list, not %s", yamltext.KindOf(n))
			return
		}
		var list []string
		stands := make(map[string]bool, len(sequence.Values))
		for _, item := range sequence.Values {
			t, isText := yamltext.Text(item)
			if plain, isPlain := item.(*ast.StringNode); isPlain && plain.Token.Type == token.StringType && looksNumeric(t) {
				// 005930 is a text to this parser and a number to others.
				p.fail(f.path)
				p.problem(p.orSet(where, item), f.path, fmt.Sprintf("write it in quotes: %q", t), "symbol %s is a number to YAML", t)
				continue
			}
			if !isText {
				p.fail(f.path)
				p.problem(p.orSet(where, item), f.path, quoteHint(item), "symbol %s is %s to YAML", sourceOf(item), yamltext.KindOf(item))
				continue
			}
			if err := quant.ValidateSymbol(t); err != nil {
				p.fail(f.path)
				p.problem(p.orSet(where, item), f.path, "", "%v", err)
				continue
			}
			if stands[t] {
				p.fail(f.path)
				p.problem(p.orSet(where, item), f.path, "", "symbol %s stands twice", t)
				continue
			}
			stands[t] = true
			list = append(list, t)
		}
		p.sortSymbols(where, f, list)
	default:
		t, isText := yamltext.Text(n)
		if !isText {
			hint := ""
			if scalar(n) && (f.choices == nil) {
				hint = quoteHint(n)
			}
			bad(hint, "must be %s, not %s", wanted(f), yamltext.KindOf(n))
			return
		}
		p.text(t, f, bad)
	}
}

// number is a number of the field's range; of says of what where it is one of several.
func (f *field) number(n ast.Node, of string, bad func(hint, format string, args ...any)) (x float64, ok bool) {
	if of != "" {
		of += " "
	}
	x, isNumber := numberOf(n)
	switch {
	case !isNumber:
		bad("", "%smust be %s, not %s", of, wanted(f), yamltext.KindOf(n))
	case math.IsNaN(x) || math.IsInf(x, 0):
		bad("", "%smust be a finite number", of)
	case f.kind == integer && x != math.Trunc(x):
		bad("", "%smust be a whole number, not %v", of, x)
	case x < f.min || x > f.max || f.above && x == f.min:
		bad("", "%sis %v; it must be %s", of, x, f.rangeText())
	default:
		return x + 0, true // no minus zero
	}
	return 0, false
}

func (p *parsing) text(t string, f *field, bad func(hint, format string, args ...any)) {
	switch {
	case f.choices != nil && !slices.Contains(f.choices, t):
		hint := "use " + strings.Join(f.choices, " or ")
		if near := nearest(t, f.choices); near != "" {
			hint = fmt.Sprintf("did you mean `%s`?", near)
		}
		bad(hint, "cannot be %q", short(t))
		return
	case f.pattern != "" && !patterns()[f.pattern].MatchString(t):
		bad(f.doc, "cannot be %q", short(t))
		return
	}
	switch to := f.to.(type) {
	case *string:
		*to = t
	case **quant.Date:
		d, err := quant.ParseDate(t)
		if err != nil {
			bad("write it as YYYY-MM-DD", "%q is no day", short(t))
			return
		}
		*to = &d
	case *quant.Text:
		if err := quant.ValidateSymbol(t); err != nil {
			bad("", "%v", err)
			return
		}
		*to = quant.Text(t)
	}
}

// symbols reads the comma list of --set.
func (p *parsing) symbols(where string, f *field, list []string) {
	var symbols []string
	for _, t := range list {
		t = strings.TrimSpace(t)
		if err := quant.ValidateSymbol(t); err != nil {
			p.fail(f.path)
			p.problem(where, f.path, "write --set universe.symbols=AAPL,IBM", "%v", err)
			continue
		}
		symbols = append(symbols, t)
	}
	p.sortSymbols(where, f, symbols)
}

func (p *parsing) sortSymbols(where string, f *field, list []string) {
	sorted := slices.Sorted(slices.Values(list))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			p.fail(f.path)
			p.problem(where, f.path, "", "symbol %s stands twice", sorted[i])
			break
		}
	}
	if len(list) == 0 && !p.failed[f.path] {
		p.fail(f.path)
		p.problem(where, f.path, "", "%s has no symbol", f.path)
	}
	*f.to.(*[]string) = sorted
}

// fail keeps rules about several keys from speaking of one that was not read.
func (p *parsing) fail(path string) {
	if p.failed == nil {
		p.failed = map[string]bool{}
	}
	p.failed[path] = true
}

func (p *parsing) known(path string) bool {
	return p.given[path] != "" && !p.failed[path]
}

// complete checks what no key alone shows: what is missing, and what does not
// go together.
func (p *parsing) complete(s *Strategy) {
	if len(p.found) > 0 && len(p.given) == 0 {
		return // nothing could be read
	}
	for _, f := range p.fields {
		if f.required {
			p.need(f.path, "")
		}
	}
	if p.known("universe.type") {
		p.only("universe.symbols", "universe.type", s.Universe.Type, s.Universe.Type == UniverseSymbols, true)
	}
	if p.known("signal.type") {
		for _, path := range []string{"signal.inputs.feature_name", "signal.inputs.feature_version"} {
			p.only(path, "signal.type", s.Signal.Type, s.Signal.Type == FactorRank, true)
		}
		for _, path := range []string{"signal.inputs.model_id", "signal.inputs.task_id"} {
			p.only(path, "signal.type", s.Signal.Type, s.Signal.Type == ModelScore, true)
		}
	}
	if b := s.Backtest; b.From != nil && b.To != nil && *b.From > *b.To {
		p.problem(p.given["backtest.to"], "backtest.to", "", "backtest.to %s is before backtest.from %s", b.To, b.From)
	}
}

// only checks a key that goes with some values of a selector, whose value it is told:
// with this one it may stand there (is), and must.
func (p *parsing) only(path, selector, value string, is, must bool) {
	switch {
	case is && must:
		p.need(path, selector+" "+value)
	case !is && p.given[path] != "":
		p.useless(path, selector, path+"=", "leave it out", "%s is not of %s %s", path, selector, value)
	}
}

// need reports a key that is not there, at the section it belongs to.
func (p *parsing) need(path, of string) {
	if p.given[path] != "" {
		return
	}
	where, section := p.file, path
	for strings.Contains(section, ".") {
		section = section[:strings.LastIndexByte(section, '.')]
		if p.failed[section] {
			return
		}
		if at := p.given[section]; at != "" {
			where = at
			break
		}
	}
	if of != "" {
		of = ", which " + of + " needs"
	}
	p.problem(where, path, "add "+path+": "+p.field(path).doc, "%s is missing%s", path, of)
}

func (p *parsing) orSet(where string, n ast.Node) string {
	if strings.HasPrefix(where, "--set") {
		return where
	}
	return p.at(n.GetToken())
}

func numberOf(n ast.Node) (float64, bool) {
	switch x := n.(type) {
	case *ast.IntegerNode:
		switch v := x.Value.(type) {
		case int64:
			return float64(v), true
		case uint64:
			return float64(v), true
		}
	case *ast.FloatNode:
		return x.Value, true
	case *ast.InfinityNode:
		return x.Value, true
	case *ast.NanNode:
		return math.NaN(), true
	}
	return 0, false
}

func looksNumeric(s string) bool {
	_, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return err == nil && s[0] != 'I' && s[0] != 'i' && s[0] != 'N' && s[0] != 'n' // INF and NAN are letters
}

func scalar(n ast.Node) bool {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return true
	}
	return false
}

func sourceOf(n ast.Node) string {
	if t := n.GetToken(); t != nil {
		return quoteOdd(short(strings.TrimSpace(t.Origin)))
	}
	return "?"
}

func quoteHint(n ast.Node) string {
	if t := n.GetToken(); t != nil && scalar(n) || n.Type() == ast.NullType {
		return fmt.Sprintf("write it in quotes: %q", short(strings.TrimSpace(t.Value)))
	}
	return ""
}

func wanted(f *field) string {
	switch {
	case f.kind == integer:
		return "a whole number"
	case f.kind == number || f.kind == caps:
		return "a number"
	case f.kind == truth:
		return "true or false"
	case f.kind == parts:
		return "a list of strategies"
	case f.kind == date:
		return "a day (YYYY-MM-DD)"
	case f.choices != nil:
		return strings.Join(f.choices, " or ")
	}
	return "a text"
}

// rangeText says the range of a number.
func (f field) rangeText() string {
	low := "at least "
	if f.above {
		low = "above "
	}
	number := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
	switch {
	case math.IsInf(f.min, -1):
		return "finite"
	default:
		return low + number(f.min) + " and at most " + number(f.max)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// quoteOdd quotes a text that is no plain word, so that nobody takes it for
// part of the sentence.
func quoteOdd(s string) string {
	for _, r := range s {
		if !(r == '_' || r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return strconv.Quote(short(s))
		}
	}
	return short(s)
}

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "..."
	}
	return s
}
