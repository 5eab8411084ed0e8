// Package search is the language of `quant runs search`: it reads a query and
// makes of it what the Meta DB searches for, and writes one out. It owns the
// grammar, the types of literals and the errors that point at a column; what a
// condition means is metastore.Expr's, how it is found the store's.
package search

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"

	"quant"
	"quant/internal/metastore"
)

// The limits of a query.
const (
	MaxBytes      = 16 << 10
	MaxNesting    = 50  // of parentheses and nots
	MaxConditions = 200 // and as many keys of an order, or columns
)

// Query is a query as read.
type Query struct {
	Where metastore.Expr // nil: all runs
	Order []metastore.OrderKey
	Limit *int // nil: not said
}

// Parse reads a query; now is what its relative times are relative to. Errors
// are Usage; their text shows the query with a caret below the place.
func Parse(text string, now time.Time) (Query, error) {
	r := reader{text: text, now: now}
	node, err := parse[queryNode](&r)
	if err != nil {
		return Query{}, err
	}
	var q Query
	if node.Where != nil {
		if q.Where, err = r.or(node.Where); err != nil {
			return Query{}, err
		}
	}
	for _, k := range node.Order {
		f, err := r.field(k.Field)
		if err != nil {
			return Query{}, err
		}
		q.Order = append(q.Order, metastore.OrderKey{Field: f, Desc: k.Desc})
	}
	if len(q.Order) > MaxConditions {
		return Query{}, r.fail(node.Order[MaxConditions].Field.Pos, "these are more than %d keys", MaxConditions)
	}
	if node.Limit != nil {
		n, err := strconv.Atoi(node.Limit.Text)
		if err != nil || n < 0 {
			return Query{}, r.fail(node.Limit.Pos, "limit %s is no number of runs", node.Limit.Text).WithHint("write limit 10, or limit 0 for all")
		}
		q.Limit = &n
	}
	return q, nil
}

// ParseColumns reads a list of fields, separated by commas.
func ParseColumns(text string) ([]metastore.Field, error) {
	r := reader{text: text}
	node, err := parse[columnsNode](&r)
	if err != nil {
		return nil, err
	}
	var all []metastore.Field
	for _, n := range node.Fields {
		f, err := r.field(n)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, f) {
			all = append(all, f)
		}
		if len(all) > MaxConditions {
			return nil, r.fail(n.Pos, "these are more than %d columns", MaxConditions)
		}
	}
	return all, nil
}

// Fields returns the fields that the query speaks of, each once, in their order.
func (q Query) Fields() []metastore.Field {
	var all []metastore.Field
	add := func(f metastore.Field) {
		if !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	var walk func(e metastore.Expr)
	walk = func(e metastore.Expr) {
		switch e := e.(type) {
		case metastore.And:
			for _, part := range e {
				walk(part)
			}
		case metastore.Or:
			for _, part := range e {
				walk(part)
			}
		case metastore.Not:
			walk(e.Expr)
		case metastore.Compare:
			add(e.Field)
		case metastore.In:
			add(e.Field)
		case metastore.Like:
			add(e.Field)
		case metastore.IsNull:
			add(e.Field)
		}
	}
	walk(q.Where)
	for _, k := range q.Order {
		add(k.Field)
	}
	return all
}

// reader makes of the nodes what they mean.
type reader struct {
	text       string
	now        time.Time
	conditions int
}

func parse[T any](r *reader) (*T, error) {
	switch {
	case len(r.text) > MaxBytes:
		return nil, quant.Errorf(quant.Usage, "search: the query has %d bytes, more than %d", len(r.text), MaxBytes)
	case !utf8.ValidString(r.text) || strings.ContainsRune(r.text, 0):
		return nil, quant.Errorf(quant.Usage, "search: the query is not UTF-8, or contains a NUL character")
	}
	parser, def, err := parserOf[T]()
	if err != nil {
		return nil, fmt.Errorf("search: the grammar: %w", err)
	}
	if err := r.nesting(def); err != nil {
		return nil, err
	}
	node, err := parser.ParseString("", r.text)
	if err == nil {
		return node, nil
	}
	if unexpected, ok := errors.AsType[*participle.UnexpectedTokenError](err); ok {
		return nil, r.unexpected(def, unexpected.Unexpected)
	}
	if other, ok := errors.AsType[participle.Error](err); ok {
		return nil, r.fail(other.Position(), "%s", other.Message())
	}
	return nil, quant.Errorf(quant.Usage, "search: %w", err)
}

const hintGrammar = "a condition is ATTRIBUTE OPERATOR VALUE, such as status = \"FAIL\" or metrics.sharpe > 1; `quant runs search --help` shows all"

func (r *reader) unexpected(def lexer.Definition, t lexer.Token) error {
	switch t.Type {
	case lexer.EOF:
		return r.fail(t.Pos, "the query ends too early").WithHint(hintGrammar)
	case def.Symbols()["Open"]:
		return r.fail(t.Pos, "this quote is not closed").WithHint("a quote inside a text is written twice")
	}
	return r.fail(t.Pos, "%q is not expected here", t.Value).WithHint(hintGrammar)
}

// nesting bounds the depth before anything is parsed.
func (r *reader) nesting(def lexer.Definition) error {
	lex, err := lexer.ConsumeAll(must(def.Lex("", strings.NewReader(r.text))))
	if err != nil {
		return quant.Errorf(quant.Usage, "search: %w", err)
	}
	depth, nots := 0, 0
	for _, t := range lex {
		switch {
		case t.Value == "(":
			depth++
		case t.Value == ")":
			depth--
		case strings.EqualFold(t.Value, "not"):
			nots++
		}
		if depth > MaxNesting || nots > MaxConditions {
			return r.fail(t.Pos, "this is nested more than %d deep", MaxNesting)
		}
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of a reader of a string
	}
	return v
}

// shownAround is how much of a long query an error shows on each side.
const shownAround = 60

// Fault is what is wrong with a query, and where. errors.AsType finds it in the
// errors of Parse and ParseColumns.
type Fault struct {
	Column int // from 1, in characters
	Reason string
}

// Error returns the column and the reason.
func (f Fault) Error() string { return fmt.Sprintf("column %d: %s", f.Column, f.Reason) }

// fail makes an error that points at a place in the query.
func (r *reader) fail(pos lexer.Position, format string, args ...any) *quant.Error {
	offset := min(max(pos.Offset, 0), len(r.text))
	before, after := []rune(r.text[:offset]), []rune(r.text[offset:])
	column := len(before) + 1
	head, tail := "", ""
	if len(before) > shownAround {
		before, head = before[len(before)-shownAround:], "..."
	}
	if len(after) > shownAround {
		after, tail = after[:shownAround], "..."
	}
	line := strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return ' '
		}
		return c
	}, head+string(before)+string(after)+tail)
	return quant.Errorf(quant.Usage, "search, %w\n  %s\n  %s^",
		Fault{column, fmt.Sprintf(format, args...)}, line, strings.Repeat(" ", len(head)+len(before)))
}

func (r *reader) or(n *orNode) (metastore.Expr, error) {
	var all metastore.Or
	for _, part := range n.Parts {
		e, err := r.and(part)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (r *reader) and(n *andNode) (metastore.Expr, error) {
	var all metastore.And
	for _, part := range n.Parts {
		e, err := r.not(part)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (r *reader) not(n *notNode) (metastore.Expr, error) {
	switch {
	case n.Not != nil:
		e, err := r.not(n.Not)
		return metastore.Not{Expr: e}, err
	case n.Group != nil:
		return r.or(n.Group)
	default:
		return r.condition(n.Cond)
	}
}

func (r *reader) condition(n *conditionNode) (metastore.Expr, error) {
	if r.conditions++; r.conditions > MaxConditions {
		return nil, r.fail(n.Field.Pos, "these are more than %d conditions", MaxConditions)
	}
	f, err := r.field(n.Field)
	if err != nil {
		return nil, err
	}
	var e metastore.Expr
	switch {
	case n.Is:
		e = metastore.IsNull{Field: f}
		n.Not = n.IsNot
	case n.Like != nil:
		if e, err = r.like(f, n.Like); err != nil {
			return nil, err
		}
	case n.In != nil:
		in := metastore.In{Field: f}
		for _, v := range n.In {
			value, err := r.value(f, metastore.Eq, v)
			if err != nil {
				return nil, err
			}
			in.Values = append(in.Values, value)
		}
		e = in
	default:
		op := metastore.Op(n.Op)
		if op == "<>" {
			op = metastore.Ne
		}
		value, err := r.value(f, op, n.Value)
		if err != nil {
			return nil, err
		}
		e = metastore.Compare{Field: f, Op: op, Value: value}
	}
	if n.Not {
		e = metastore.Not{Expr: e}
	}
	return e, nil
}

func (r *reader) like(f metastore.Field, n *valueNode) (metastore.Expr, error) {
	t, _ := f.Type()
	if t != metastore.Text && t != metastore.Mixed {
		return nil, r.fail(n.Pos, "%s is no text: like does not fit", Name(f)).WithHint("compare it with = < > or in")
	}
	if n.Text == "" {
		return nil, r.fail(n.Pos, "like takes a text in quotes").WithHint(`write like "%%part%%"`)
	}
	pattern := unquote(n.Text)
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '\\' {
			continue
		}
		if i++; i == len(pattern) || !strings.ContainsRune(`%_\`, rune(pattern[i])) {
			return nil, r.fail(n.Pos, `in this pattern a \ stands before something else than %%, _ or \`).WithHint(`write \\ for a \ itself`)
		}
	}
	return metastore.Like{Field: f, Pattern: pattern}, nil
}

// quoted is a text literal; doubled quotes inside stand for one.
func unquote(s string) string {
	q := s[:1]
	return strings.ReplaceAll(s[1:len(s)-1], q+q, q)
}

func (r *reader) value(f metastore.Field, op metastore.Op, n *valueNode) (any, error) {
	if n.Bare != "" {
		return nil, r.fail(n.Pos, "%s is no value", n.Bare).WithHint(`a text stands in quotes: "%s"`, n.Bare)
	}
	t, _ := f.Type()
	wrong := func(format string, args ...any) error {
		return r.fail(n.Pos, "%s is %s", Name(f), [...]string{"a text", "a number", "a time", "a duration", "true or false", "a text or a number"}[t]).
			WithHint(format, args...)
	}
	switch t {
	case metastore.Time:
		return r.time(f, n)
	case metastore.Duration:
		d, err := parseDuration(n.Duration)
		if n.Duration == "" || err != nil || strings.HasPrefix(n.Duration, "-") {
			return nil, wrong("compare it with a duration: %s > 5m", Name(f))
		}
		return d, nil
	case metastore.Bool:
		if op != metastore.Eq && op != metastore.Ne || n.Word != "true" && n.Word != "false" && !strings.EqualFold(n.Word, "true") && !strings.EqualFold(n.Word, "false") {
			return nil, wrong("write %s = true or %s = false", Name(f), Name(f))
		}
		return strings.EqualFold(n.Word, "true"), nil
	}
	if n.Number != "" && t != metastore.Text {
		x, err := strconv.ParseFloat(n.Number, 64)
		if err != nil {
			return nil, r.fail(n.Pos, "%s is too large a number", n.Number)
		}
		return x, nil
	}
	if n.Text != "" && t != metastore.Number {
		text := unquote(n.Text)
		if f == (metastore.Field{Name: "status"}) && (op == metastore.Eq || op == metastore.Ne) {
			text = strings.ToUpper(text)
			if s := quant.Status(text); s != quant.Running && s != quant.Success && s != quant.Fail {
				return nil, r.fail(n.Pos, "%q is no status", unquote(n.Text)).WithHint("a status is RUNNING, SUCCESS or FAIL")
			}
		}
		return text, nil
	}
	switch t {
	case metastore.Text:
		return nil, wrong(`compare it with a text in quotes: %s = "..."`, Name(f))
	case metastore.Number:
		return nil, wrong("compare it with a number: %s > 1", Name(f))
	default:
		return nil, wrong(`write a number, or a text in quotes: %s = "..."`, Name(f))
	}
}

func (r *reader) time(f metastore.Field, n *valueNode) (any, error) {
	text := n.Time
	if n.Text != "" {
		text = unquote(n.Text)
	}
	switch {
	case strings.EqualFold(n.Word, "now"):
		return quant.NewTime(r.now), nil
	case strings.HasPrefix(n.Duration, "-"):
		d, err := parseDuration(n.Duration[1:])
		if err == nil {
			t := r.now.Add(-d)
			if y := t.UTC().Year(); y >= 1 {
				return quant.NewTime(t), nil
			}
		}
	case text != "":
		for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
			if t, err := time.Parse(layout, strings.ToUpper(text)); err == nil && t.UTC().Year() >= 0 && t.UTC().Year() <= 9999 {
				return quant.NewTime(t), nil
			}
		}
	}
	return nil, r.fail(n.Pos, "%s is a time", Name(f)).
		WithHint("write -7d, -12h, now, 2026-01-31 (its first moment, UTC) or 2026-01-31T09:30:00Z")
}

// parseDuration reads Go's durations plus d (24 hours) and w (7 days).
func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimPrefix(s, "+")
	var sum time.Duration
	for s != "" {
		i := strings.IndexFunc(s, func(c rune) bool { return c != '.' && (c < '0' || c > '9') })
		if i <= 0 {
			return 0, fmt.Errorf("%q is no duration", s)
		}
		j := i + strings.IndexFunc(s[i:]+"0", func(c rune) bool { return c >= '0' && c <= '9' })
		var part time.Duration
		var err error
		if day, isDay := map[string]float64{"d": 24, "w": 7 * 24}[s[i:j]]; isDay {
			x, e := strconv.ParseFloat(s[:i], 64)
			if hours := x * day; e == nil && hours <= 24*36525 {
				part = time.Duration(hours * float64(time.Hour))
			} else {
				err = fmt.Errorf("%q is too long", s)
			}
		} else {
			part, err = time.ParseDuration(s[:j])
		}
		if err != nil {
			return 0, err
		}
		if sum += part; sum < 0 {
			return 0, fmt.Errorf("%q is too long", s)
		}
		s = s[j:]
	}
	return sum, nil
}

// field finds what a name means.
func (r *reader) field(n *fieldNode) (metastore.Field, error) {
	of, isSource := map[string]metastore.Source{"params": metastore.ParamOf, "tags": metastore.TagOf, "metrics": metastore.MetricOf}[strings.ToLower(n.First)]
	if !isSource {
		return r.attribute(n)
	}
	if len(n.More) == 0 {
		return metastore.Field{}, r.fail(n.Pos, "%s is no attribute: which of them?", n.First).WithHint("write %s.NAME", n.First)
	}
	f := metastore.Field{Of: of, Name: strings.Trim(n.More[0].Name, "`")}
	if err := quant.ValidateRecordName(strings.TrimSuffix(strings.ToLower(n.First), "s"), f.Name); err != nil {
		return metastore.Field{}, r.fail(n.More[0].Pos, "%v", err)
	}
	more := n.More[1:]
	if of == metastore.MetricOf && len(more) == 1 {
		switch agg := strings.ToLower(more[0].Name); agg {
		case "last", "min", "max":
			if f.Agg = metastore.Aggregate(agg); agg == "last" {
				f.Agg = metastore.Last
			}
			return f, nil
		}
	}
	if len(more) > 0 {
		parts := []string{f.Name}
		for _, p := range more {
			parts = append(parts, strings.Trim(p.Name, "`"))
		}
		hint := fmt.Sprintf("a name with a dot stands in backticks: %s.`%s`", n.First, strings.Join(parts, "."))
		if of == metastore.MetricOf {
			hint += "; of a metric there are .last, .min and .max"
		}
		return metastore.Field{}, r.fail(more[0].Pos, "%s has no %s", Name(f), more[0].Name).WithHint("%s", hint)
	}
	return f, nil
}

func (r *reader) attribute(n *fieldNode) (metastore.Field, error) {
	name := strings.ToLower(n.First)
	f := metastore.Field{Name: name}
	if slices.Contains([]string{quant.NameTag, quant.ExperimentTag}, name) {
		f.Of = metastore.TagOf
	}
	if _, known := f.Type(); !known {
		err := r.fail(n.Pos, "a run has no attribute %q", n.First)
		near := Nearest(name, Attributes())
		own := fmt.Sprintf("params.%s, tags.%s, metrics.%s are what runs recorded", n.First, n.First, n.First)
		if len(near) > 0 {
			return f, err.WithHint("did you mean %s? %s", strings.Join(near, " or "), own)
		}
		return f, err.WithHint("the attributes are %s; %s", strings.Join(Attributes(), ", "), own)
	}
	if len(n.More) > 0 {
		return f, r.fail(n.More[0].Pos, "%s has no parts", name)
	}
	return f, nil
}

// Attributes returns the names that stand without params, tags or metrics,
// sorted.
func Attributes() []string {
	all := []string{quant.NameTag, quant.ExperimentTag}
	for name := range metastore.Attributes() {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Nearest are up to three of the names that one or two changed letters, or a longer
// beginning, make of a name.
func Nearest(name string, names []string) []string {
	var near []string
	for _, a := range names {
		if d := distance(name, a); d <= 1 || d == 2 && len(a) > 4 || len(name) > 2 && strings.HasPrefix(a, name) || len(a) > 3 && strings.HasPrefix(name, a) {
			near = append(near, a)
		}
	}
	return near[:min(len(near), 3)]
}

// distance is how many letters differ, are missing or too many.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
