package expression

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The grammar, with Python's precedence, since Qlib's expressions are Python:
//
//	expression = conjunct {"|" conjunct}, joined below a comparison:
//	comparison = union [("=="|"!="|"<"|"<="|">"|">=") union]
//	union      = both {"|" both}
//	both       = sum {"&" sum}
//	sum        = product {("+"|"-") product}
//	product    = signed {("*"|"/") signed}
//	signed     = ("-"|"+"|"~") signed | power
//	power      = atom ["**" signed]
//	atom       = number | "$" field | name "(" [comparison {"," comparison}] ")" | "(" comparison ")"

type token struct {
	kind   rune // 'n' number, 'f' field, 'w' word, 'o' operator, 'e' end
	text   string
	column int
}

// operators from the longest to the shortest.
var operators = []string{"**", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "(", ")", ",", "&", "|", "~"}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// scan cuts a text into tokens. Every token is ASCII, so that bytes are letters up to
// the first that is wrong.
func scan(text string) ([]token, error) {
	if len(text) > MaxText {
		return nil, &Error{1, fmt.Sprintf("the expression has %d bytes; %d are allowed", len(text), MaxText), "split it into features"}
	}
	var tokens []token
	for i := 0; i < len(text); {
		c, column, from := text[i], i+1, i
		word := func() string {
			for i < len(text) && (isLetter(text[i]) || isDigit(text[i])) {
				i++
			}
			return text[from:i]
		}
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		case isLetter(c):
			tokens = append(tokens, token{'w', word(), column})
		case c == '$':
			i++
			if strings.HasPrefix(text[i:], "$") {
				return nil, &Error{column, "$$ is Qlib's point-in-time data, which is not among the bars", "fields are " + fieldList()}
			}
			name := word()[1:]
			if !slices.Contains(fields, name) {
				return nil, unknownField(name, column)
			}
			tokens = append(tokens, token{'f', name, column})
		case isDigit(c) || c == '.' && i+1 < len(text) && isDigit(text[i+1]):
			for i < len(text) && (isDigit(text[i]) || text[i] == '.' || text[i]|0x20 == 'e' ||
				(text[i] == '+' || text[i] == '-') && text[i-1]|0x20 == 'e') {
				i++
			}
			tokens = append(tokens, token{'n', text[from:i], column})
		default:
			k := slices.IndexFunc(operators, func(op string) bool { return strings.HasPrefix(text[i:], op) })
			if k < 0 {
				return nil, unknownLetter(text[i:], column)
			}
			i += len(operators[k])
			tokens = append(tokens, token{'o', operators[k], column})
		}
	}
	return append(tokens, token{'e', "", len(text) + 1}), nil
}

func unknownLetter(rest string, column int) error {
	r, _ := utf8.DecodeRuneInString(rest)
	e := &Error{Column: column, Problem: fmt.Sprintf("%q has no meaning here", r)}
	switch r {
	case '%':
		e.Hint = "there is no remainder; / divides"
	case '^':
		e.Hint = "a power is **, as in $close**2"
	case '=':
		e.Hint = "to compare is =="
	case '!':
		e.Hint = "not is ~, as in ~($close > $open)"
	case '[', ']', '{', '}':
		e.Hint = "brackets are ( and )"
	case '?', ':':
		e.Hint = "write If(a, x, y), as in If($close > $open, $volume, 0)"
	case '.':
		e.Hint = "sectors are written sector, as in CSDemean(x, sector)"
	}
	return e
}

func fieldList() string { return "$" + strings.Join(fields, ", $") }

func unknownField(name string, column int) error {
	e := &Error{Column: column, Problem: fmt.Sprintf("there is no field $%s", name)}
	switch nearest := nearest(name, fields); {
	case name == "":
		e.Problem = "$ without the name of a field"
		e.Hint = "fields are " + fieldList()
	case name == "factor" || name == "adj_close" || name == "adjclose" || name == "adjusted_close":
		e.Hint = "prices are adjusted already: $close"
	case name == "change":
		e.Hint = "write $close/Ref($close, 1)-1"
	case name == "amount" || name == "money":
		e.Hint = "write $vwap*$volume"
	case nearest != "":
		e.Hint = "did you mean $" + nearest + "? Fields are " + fieldList()
	default:
		e.Hint = "fields are " + fieldList()
	}
	return e
}

// nearest is the known name that a wrong one is closest to, "" if none is close.
func nearest(name string, known []string) string {
	best, least := "", max(1, len(name)/2)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters must be put in, left out, changed or swapped with their
// neighbour to make one word the other.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

type parser struct {
	tokens []token
	at     int
	depth  int
}

// Parse reads an expression and checks it: names, numbers of arguments, types, windows,
// and that nothing compares names by what a split rescales. The error is an *Error.
func Parse(text string) (*Expr, error) {
	tokens, err := scan(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	if p.peek().kind == 'e' {
		return nil, &Error{1, "the expression is empty", "write for instance Mean($close, 20)/$close"}
	}
	root, err := p.comparison()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != 'e' {
		return nil, p.unexpected(t)
	}
	if !root.readsBars() {
		return nil, &Error{root.column, "the expression reads no field", "fields are " + fieldList()}
	}
	return &Expr{text: text, root: root}, nil
}

func (n *node) readsBars() bool {
	return n.field != "" || slices.ContainsFunc(n.args, (*node).readsBars)
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != 'e' {
		p.at++
	}
	return t
}

// operator takes the next token if it is one of these.
func (p *parser) operator(any ...string) (token, bool) {
	if t := p.peek(); t.kind == 'o' && slices.Contains(any, t.text) {
		return p.next(), true
	}
	return token{}, false
}

func (p *parser) unexpected(t token) error {
	if t.kind == 'e' {
		return &Error{t.column, "the expression ends too early", "close every bracket, and give every operator its right side"}
	}
	e := &Error{Column: t.column, Problem: fmt.Sprintf("%q is not expected here", t.text)}
	switch {
	case t.text == ")":
		e.Hint = "there is no bracket open, or something is missing before it"
	case t.kind == 'w' && slices.Contains([]string{"and", "or", "not"}, strings.ToLower(t.text)):
		e.Hint = "and is &, or is |, not is ~, with brackets around each comparison"
	case t.kind != 'o':
		e.Hint = "an operator or a comma is missing before it"
	}
	return e
}

var comparisons = map[string]string{"==": "Eq", "!=": "Ne", "<": "Lt", "<=": "Le", ">": "Gt", ">=": "Ge"}

func (p *parser) comparison() (*node, error) {
	if p.depth++; p.depth > MaxDepth {
		return nil, p.tooDeep(p.peek().column)
	}
	defer func() { p.depth-- }()
	left, err := p.union()
	if err != nil {
		return nil, err
	}
	op, ok := p.operator("==", "!=", "<", "<=", ">", ">=")
	if !ok {
		return left, nil
	}
	right, err := p.union()
	if err != nil {
		return nil, err
	}
	if t, more := p.operator("==", "!=", "<", "<=", ">", ">="); more {
		return nil, &Error{t.column, "comparisons cannot be chained", "join them: ($low < $close) & ($close < $high)"}
	}
	return call(comparisons[op.text], op.column, left, right)
}

// chain parses what is joined from left to right.
func (p *parser) chain(part func() (*node, error), names map[string]string) (*node, error) {
	left, err := part()
	for err == nil {
		t := p.peek()
		name := names[t.text]
		if t.kind != 'o' || name == "" {
			return left, nil
		}
		p.next()
		var right *node
		if right, err = part(); err == nil {
			left, err = call(name, t.column, left, right)
		}
	}
	return nil, err
}

var (
	unions   = map[string]string{"|": "Or"}
	boths    = map[string]string{"&": "And"}
	sums     = map[string]string{"+": "Add", "-": "Sub"}
	products = map[string]string{"*": "Mul", "/": "Div"}
)

func (p *parser) union() (*node, error)   { return p.chain(p.both, unions) }
func (p *parser) both() (*node, error)    { return p.chain(p.sum, boths) }
func (p *parser) sum() (*node, error)     { return p.chain(p.product, sums) }
func (p *parser) product() (*node, error) { return p.chain(p.signed, products) }

func (p *parser) signed() (*node, error) {
	op, ok := p.operator("-", "+", "~")
	if !ok {
		return p.power()
	}
	if p.depth++; p.depth > MaxDepth {
		return nil, p.tooDeep(op.column)
	}
	defer func() { p.depth-- }()
	x, err := p.signed()
	if err != nil {
		return nil, err
	}
	switch {
	case op.text == "~":
		return call("Not", op.column, x)
	case x.boolean:
		return nil, &Error{op.column, op.text + " needs a number, not a condition", "not is ~"}
	case op.text == "+":
		return x, nil
	case x.constant():
		n := constant(-x.number, op.column)
		return n, nil
	}
	return call("Sub", op.column, constant(0, op.column), x)
}

func (p *parser) power() (*node, error) {
	base, err := p.atom()
	if err != nil {
		return nil, err
	}
	op, ok := p.operator("**")
	if !ok {
		return base, nil
	}
	if p.depth++; p.depth > MaxDepth {
		return nil, p.tooDeep(op.column)
	}
	defer func() { p.depth-- }()
	exponent, err := p.signed()
	if err != nil {
		return nil, err
	}
	return call("Power", op.column, base, exponent)
}

func (p *parser) tooDeep(column int) error {
	return &Error{column, fmt.Sprintf("the expression is nested more than %d deep", MaxDepth), "split it into features"}
}

func constant(x float64, column int) *node {
	return &node{number: x, column: column, unit: unit{neutral: x == 0}}
}

func (p *parser) atom() (*node, error) {
	switch t := p.next(); {
	case t.kind == 'n':
		x, err := strconv.ParseFloat(t.text, 64)
		if err != nil || math.Abs(x) >= limit {
			return nil, &Error{t.column, fmt.Sprintf("%q is no number", t.text), "write numbers as 20, 0.8 or 1e-12"}
		}
		return constant(x, t.column), nil
	case t.kind == 'f':
		return &node{field: t.text, column: t.column, unit: fieldUnits[t.text]}, nil
	case t.kind == 'w':
		return p.call(t)
	case t.text == "(":
		x, err := p.comparison()
		if err != nil {
			return nil, err
		}
		if _, ok := p.operator(")"); !ok {
			return nil, p.unexpected(p.peek())
		}
		return x, nil
	default:
		return nil, p.unexpected(t)
	}
}

// call parses the arguments of a function, whose name has been read.
func (p *parser) call(name token) (*node, error) {
	if _, ok := p.operator("("); !ok {
		e := &Error{Column: name.column, Problem: fmt.Sprintf("%q is not expected here", name.text)}
		if slices.Contains(fields, strings.ToLower(name.text)) {
			e.Hint = "a field of the bars is written $" + strings.ToLower(name.text)
		} else if slices.Contains([]string{"and", "or", "not"}, strings.ToLower(name.text)) {
			e.Hint = "and is &, or is |, not is ~, with brackets around each comparison"
		} else if byName()[name.text] != nil {
			e.Hint = "write " + byName()[name.text].Form
		} else {
			e.Hint = otherWay(name.text)
		}
		return nil, e
	}
	if byName()[name.text] == nil {
		return nil, unknownFunction(name)
	}
	var args []*node
	group, groupAt := "", 0
	if _, empty := p.operator(")"); !empty {
		for {
			if t := p.peek(); t.kind == 'w' && p.tokens[p.at+1].text != "(" && len(args) > 0 {
				if byName()[name.text].sectional == "" {
					return nil, p.unexpectedWord(t)
				}
				group, groupAt = t.text, t.column
				p.next()
			} else {
				arg, err := p.comparison()
				if err != nil {
					return nil, err
				}
				args = append(args, arg)
			}
			if _, more := p.operator(","); more && group == "" {
				continue
			}
			if _, end := p.operator(")"); end {
				break
			}
			return nil, p.unexpected(p.peek())
		}
	}
	if group != "" && group != sectorGroup {
		return nil, &Error{groupAt, fmt.Sprintf("there is no group %s", quoted(group)), "names are grouped by " + sectorGroup}
	}
	called := name.text
	if f := byName()[called]; f.sectional != called && f.sectional != "" && (group != "" || len(args) == 1) {
		called = f.sectional
	}
	n, err := call(called, name.column, args...)
	if err == nil {
		n.group = group
	}
	return n, err
}

func quoted(s string) string { return strconv.Quote(s) }

func (p *parser) unexpectedWord(t token) error {
	e := &Error{Column: t.column, Problem: fmt.Sprintf("%q is not expected here", t.text)}
	if slices.Contains(fields, strings.ToLower(t.text)) {
		e.Hint = "a field of the bars is written $" + strings.ToLower(t.text)
	}
	return e
}

func unknownFunction(name token) error {
	e := &Error{Column: name.column, Problem: fmt.Sprintf("there is no function %s", name.text)}
	switch name.text {
	case "Feature":
		e.Hint = "a field of the bars is written $close"
	case "P", "PRef", "PFeature":
		e.Hint = "Qlib's point-in-time data is not among the bars"
	case "TResample", "ChangeInstrument", "Mask":
		e.Hint = "an expression reads the bars of its own symbol, a session each; for more write the feature in SQL"
	default:
		folded := strings.ToLower(name.text)
		if way := otherWay(name.text); way != "" {
			e.Hint = way
		} else if same := otherNames()[folded]; same != "" {
			e.Hint = "did you mean " + byName()[same].Form + "?"
		} else if near := nearest(name.text, functionNames()); near != "" {
			e.Hint = "did you mean " + byName()[near].Form + "?"
		} else {
			e.Hint = "docs/features.md lists the functions"
		}
	}
	return e
}
