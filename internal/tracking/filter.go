package tracking

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"quant"
)

// clause is one comparison of a filter.
type clause struct {
	kind       string // one of the kinds below
	key        string
	comparator string // upper case
	values     []string
}

// What a clause compares.
const (
	metricKind    = "metric"
	paramKind     = "parameter"
	tagKind       = "tag"
	attributeKind = "attribute"
	datasetKind   = "dataset"
)

// kindOf are the words before the dot of an identifier.
var kindOf = map[string]string{
	"metric": metricKind, "metrics": metricKind,
	"parameter": paramKind, "parameters": paramKind, "param": paramKind, "params": paramKind,
	"tag": tagKind, "tags": tagKind,
	"attribute": attributeKind, "attributes": attributeKind, "attr": attributeKind, "run": attributeKind,
	"dataset": datasetKind, "datasets": datasetKind,
}

// grammar is what the filters and orders of one noun may name.
type grammar struct {
	kinds       map[string]string
	quotedKinds bool     // the word before the dot may stand in back quotes
	attributes  []string // that can be searched
	orders      []string // that can be ordered by
	numeric     []string // of the attributes
	comparators map[string][]string
	list        []string // attributes that IN takes
}

var (
	numericComparators = []string{">", ">=", "!=", "=", "<", "<="}
	textComparators    = []string{"!=", "=", "LIKE", "ILIKE"}
	listComparators    = []string{"!=", "=", "LIKE", "ILIKE", "IN", "NOT IN"}
	recordComparators  = []string{"!=", "=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"}
)

var runGrammar = grammar{
	kinds: kindOf, quotedKinds: true,
	attributes: []string{
		"artifact_uri", "end_time", "run_id", "run_name", "start_time", "status", "user_id",
		"created", "Created", "run name", "Run name", "Run Name",
	},
	orders:  []string{"artifact_uri", "end_time", "run_id", "run_name", "start_time", "status", "user_id", "created", "Created"},
	numeric: []string{"start_time", "end_time", "created", "Created"},
	comparators: map[string][]string{
		metricKind: numericComparators, paramKind: recordComparators, tagKind: recordComparators, datasetKind: listComparators, attributeKind: listComparators,
	},
	list: []string{"run_id"},
}

var experimentGrammar = grammar{
	kinds:      map[string]string{"attribute": attributeKind, "tag": tagKind, "tags": tagKind},
	attributes: []string{"name", "experiment_id", "creation_time", "last_update_time"},
	orders:     []string{"name", "experiment_id", "creation_time", "last_update_time"},
	numeric:    []string{"creation_time", "last_update_time"},
	comparators: map[string][]string{
		tagKind: recordComparators, attributeKind: textComparators,
	},
}

// otherNames are attributes that have two names.
var otherNames = map[string]string{
	"created": "start_time", "Created": "start_time", "run name": "run_name", "Run name": "run_name", "Run Name": "run_name",
}

func attributeName(key string) string {
	if name, found := otherNames[key]; found {
		return name
	}
	return key
}

// tokenKind is what a word of a filter is.
type tokenKind int

const (
	endToken    tokenKind = iota
	nameToken             // a chain of names with dots, quoted or not, or a text in double quotes
	textToken             // in single quotes
	numberToken           // with a sign
	compareToken
	wordToken // AND, IN, IS, NOT, NULL, LIKE, ILIKE
	openToken
	closeToken
	commaToken
	otherToken
)

type token struct {
	kind tokenKind
	text string // as it stands
}

// scanner takes a filter apart.
type scanner struct {
	rest string
}

func isWord(r rune) bool {
	return r == '_' || r == '$' || r == '#' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

func startsWord(r rune) bool { return r == '_' || unicode.IsLetter(r) }

// quoted is how long the quoted text is at the beginning of s; 0: it does not end.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] == '\'' && i+1 < len(s):
			i++
		case s[i] == s[0]:
			if s[0] != '`' && i+1 < len(s) && s[i+1] == s[0] { // doubled: it goes on
				i++
				continue
			}
			return i + 1
		}
	}
	return 0
}

// part is how long a name is at the beginning of s, one between dots; 0: there is
// none. first: no dot stands before it.
func part(s string, first bool) int {
	if s == "" {
		return 0
	}
	if s[0] == '`' || s[0] == '"' || s[0] == '\'' && !first {
		return quoted(s)
	}
	n := 0
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if n == 0 && first && !startsWord(r) || !isWord(r) {
			break
		}
		n += size
	}
	return n
}

// notAfterDot are words that the reference server does not take for names there.
var notAfterDot = []string{"CASE", "IN", "VALUES", "USING", "FROM", "AS"}

// next is the next token.
func (s *scanner) next() token {
	s.rest = strings.TrimLeftFunc(s.rest, unicode.IsSpace)
	if s.rest == "" {
		return token{}
	}
	kind, n := s.longest()
	t := token{kind, s.rest[:n]}
	s.rest = s.rest[n:]
	return t
}

func (s *scanner) longest() (tokenKind, int) {
	r := s.rest
	_, size := utf8.DecodeRuneInString(r)
	switch r[0] {
	case '(':
		return openToken, 1
	case ')':
		return closeToken, 1
	case ',':
		return commaToken, 1
	case '\'':
		if n := quoted(r); n > 0 {
			return textToken, n
		}
		return otherToken, 1
	case '=', '<', '>', '!', '~':
		n := 1
		for n < len(r) && strings.IndexByte("=<>!~", r[n]) >= 0 {
			n++
		}
		return compareToken, n
	}
	if n := numberLength(r); n > 0 {
		return numberToken, n
	}
	n := part(r, true)
	if n == 0 {
		return otherToken, size
	}
	chain := n
	for chain < len(r) && r[chain] == '.' {
		after := part(r[chain+1:], false)
		if after == 0 || slices.Contains(notAfterDot, strings.ToUpper(r[chain+1:chain+1+after])) {
			return otherToken, chain
		}
		chain += 1 + after
	}
	if chain == n {
		switch strings.ToUpper(r[:n]) {
		case "AND", "IN", "IS", "NOT", "NULL", "LIKE", "ILIKE", "OR", "BETWEEN", "RLIKE":
			return wordToken, n
		}
	}
	return nameToken, chain
}

// numberLength is how long the number is at the beginning of s; 0: there is none.
func numberLength(s string) int {
	n := 0
	if s[0] == '-' {
		n = 1
	}
	digits := func() (any bool) {
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n, any = n+1, true
		}
		return any
	}
	whole := digits()
	if n < len(s) && s[n] == '.' {
		n++
		if !digits() && !whole {
			return 0
		}
	} else if !whole {
		return 0
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		before := n
		n++
		if n < len(s) && (s[n] == '-' || s[n] == '+') {
			n++
		}
		if !digits() {
			n = before
		}
	}
	if n < len(s) {
		if r, _ := utf8.DecodeRuneInString(s[n:]); isWord(r) || r == '.' {
			return 0
		}
	}
	return n
}

// invalidClause is the error of what is no comparison.
func invalidClause(text string) error {
	return invalidf("Invalid clause(s) in filter string: '%s'", quant.Clip(strings.TrimSpace(text), 200))
}

// The bounds of a search, far above what anybody means: each comparison and each key
// of an order is work for every row.
const (
	maxFilter      = 256 << 10 // bytes
	maxComparisons = 500
	maxOrders      = 100
)

func checkLength(filter string) error {
	if len(filter) > maxFilter {
		return invalidf("The filter has %s, more than %s", quant.Bytes(int64(len(filter))), quant.Bytes(maxFilter))
	}
	return nil
}

func tooMany() error { return invalidf("The filter has more than %d comparisons", maxComparisons) }

func checkOrders(keys int) error {
	if keys > maxOrders {
		return invalidf("`order_by` has %d keys, more than %d", keys, maxOrders)
	}
	return nil
}

// parse reads a filter: comparisons with AND between them. It takes what MLflow's
// server takes, and refuses what that refuses.
func (g *grammar) parse(filter string) ([]clause, error) {
	if err := checkLength(filter); err != nil {
		return nil, err
	}
	s := scanner{rest: filter}
	var all []clause
	for {
		at := s.rest
		t := s.next()
		switch {
		case t.kind == endToken:
			return all, nil
		case t.kind == wordToken && strings.EqualFold(t.text, "AND"):
			continue
		case t.kind == textToken || t.kind == numberToken:
			return nil, invalidf("Invalid comparison clause. Expected 'Identifier' found '%s'", quant.Clip(t.text, 200))
		case t.kind != nameToken:
			return nil, invalidClause(at)
		}
		c, err := g.comparison(t.text, &s, at)
		if err != nil {
			return nil, err
		}
		if all = append(all, c); len(all) > maxComparisons {
			return nil, tooMany()
		}
	}
}

// comparison reads what follows a name.
func (g *grammar) comparison(name string, s *scanner, at string) (c clause, err error) {
	op := s.next()
	word := strings.ToUpper(op.text)
	switch {
	case op.kind == wordToken && word == "IS":
		before := strings.TrimLeftFunc(s.rest, unicode.IsSpace)
		if t := s.next(); t.kind == wordToken && strings.EqualFold(t.text, "NULL") {
			word = "IS NULL"
		} else if strings.EqualFold(t.text, "NOT") && len(before) >= 8 && strings.EqualFold(before[:8], "NOT NULL") {
			s.next()
			word = "IS NOT NULL"
		} else {
			return c, invalidClause(at)
		}
	case op.kind == wordToken && (word == "IN" || word == "NOT"):
		if word == "NOT" {
			if t := s.next(); !strings.EqualFold(t.text, "IN") {
				return c, invalidClause(at)
			}
			word = "NOT IN"
		}
		if s.next().kind != openToken {
			return c, invalidClause(at)
		}
	case op.kind == wordToken && (word == "LIKE" || word == "ILIKE" || word == "RLIKE"), op.kind == compareToken:
	default:
		return c, invalidClause(at)
	}
	if c.kind, c.key, err = g.identifier(name, g.attributes); err != nil {
		return c, err
	}
	c.comparator = word
	isNumber := c.kind == metricKind || c.kind == attributeKind && slices.Contains(g.numeric, c.key)
	key := c.key
	c.key = attributeName(c.key)
	switch word {
	case "IS NULL", "IS NOT NULL":
		if c.kind != paramKind && c.kind != tagKind || !slices.Contains(g.comparators[c.kind], word) {
			return c, invalidf("IS NULL / IS NOT NULL is only supported for tags and params, not for '%s' '%s'", c.kind, key)
		}
		return c, nil
	case "IN", "NOT IN":
		if c.values, err = list(s); err != nil {
			return c, err
		}
		switch {
		case c.kind == datasetKind, c.kind == attributeKind && slices.Contains(g.list, key):
			return c, nil
		case isNumber:
			return c, invalidf("Expected numeric value type for %s. Found a list", c.kind)
		case c.kind == attributeKind:
			return c, invalidf("Only ['run_id'] attributes support comparison with a list of quoted string values.")
		}
		return c, invalidf("Expected a quoted string value for %s (e.g. 'my-value'). Got a list", c.kind)
	}
	value := s.next()
	switch {
	case value.kind == endToken, value.kind == wordToken, value.kind == otherToken, value.kind == closeToken, value.kind == commaToken, value.kind == compareToken:
		return c, invalidClause(at)
	case s.continues():
		return c, invalidClause(at)
	case isNumber:
		if value.kind != numberToken {
			what := "metric"
			if c.kind == attributeKind {
				what = "numeric attribute: " + key
			}
			return c, invalidf("Expected numeric value type for %s. Found %s", what, quant.Clip(value.text, 200))
		}
		c.values = []string{value.text}
	case value.kind == textToken, value.kind == nameToken && isQuoted(value.text, '"'):
		c.values = []string{value.text[1 : len(value.text)-1]}
	case value.kind == nameToken:
		return c, invalidf("Parameter value is either not quoted or unidentified quote types used for string value %s. Use either single or double quotes.", quant.Clip(value.text, 200))
	default:
		return c, invalidf("Expected a quoted string value for %s (e.g. 'my-value'). Got value %s", c.kind, quant.Clip(value.text, 200))
	}
	comparators := g.comparators[c.kind]
	if isNumber {
		comparators = numericComparators
	}
	if !slices.Contains(comparators, word) {
		return c, invalidf("Invalid comparator '%s' not one of '%s'", word, strings.Join(comparators, "', '"))
	}
	return c, nil
}

// continues tells whether what follows a value belongs to it, as a comma or an
// operator would.
func (s *scanner) continues() bool {
	after := *s
	t := after.next()
	return t.kind == commaToken || t.kind == compareToken || t.kind == closeToken || t.kind == openToken
}

func isQuoted(s string, by byte) bool { return len(s) >= 2 && s[0] == by && s[len(s)-1] == by }

// list reads the texts of an IN, up to its end.
func list(s *scanner) ([]string, error) {
	var values []string
	for comma := true; ; comma = !comma {
		t := s.next()
		switch {
		case t.kind == closeToken && (!comma || values == nil):
			if values == nil {
				return nil, invalidf("While parsing a list in the query, expected a non-empty list of string values, but got empty list")
			}
			return values, nil
		case comma && (t.kind == textToken || t.kind == nameToken && isQuoted(t.text, '"')):
			values = append(values, t.text[1:len(t.text)-1])
		case !comma && t.kind == commaToken:
		default:
			return nil, invalidf("While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in list: %s", quant.Clip(t.text, 200))
		}
	}
}

// identifier takes the name of a clause or of an order apart.
func (g *grammar) identifier(name string, attributes []string) (kind, key string, err error) {
	entity, key, found := strings.Cut(name, ".")
	if !found {
		kind, key = attributeKind, name
	} else {
		if isQuoted(entity, '`') && g.quotedKinds {
			entity = entity[1 : len(entity)-1]
		}
		if kind = g.kinds[entity]; kind == "" {
			return "", "", invalidf("Invalid entity type '%s'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']", quant.Clip(entity, 100))
		}
	}
	if isQuoted(key, '"') || isQuoted(key, '\'') {
		key = key[1 : len(key)-1]
	}
	if isQuoted(key, '`') {
		key = key[1 : len(key)-1]
	}
	if kind == attributeKind && !slices.Contains(attributes, key) {
		return "", "", invalidf("Invalid attribute key '%s' specified. Valid keys are '%s'", quant.Clip(key, 100), strings.Join(attributes, "', '"))
	}
	if kind == datasetKind && !slices.Contains([]string{"name", "digest", "context"}, key) {
		return "", "", invalidf("Invalid dataset key '%s' specified. Valid keys are 'name', 'digest', 'context'", quant.Clip(key, 100))
	}
	return kind, key, nil
}

// order is one key of an order.
type order struct {
	kind, key  string
	descending bool
}

// parseOrder reads the clauses of order_by, one column each.
func (g *grammar) parseOrder(clauses []string) ([]order, error) {
	if err := checkOrders(len(clauses)); err != nil {
		return nil, err
	}
	var all []order
	for _, text := range clauses {
		s := scanner{rest: text}
		name, direction, end := s.next(), s.next(), s.next()
		bad := text != strings.TrimSpace(text) || name.kind != nameToken || end.kind != endToken
		if bad || direction.kind != endToken && direction.kind != nameToken {
			return nil, invalidf("Invalid order_by clause '%s'. Could not be parsed.", quant.Clip(text, 200))
		}
		o := order{}
		switch strings.ToLower(direction.text) {
		case "", "asc":
		case "desc":
			o.descending = true
		default:
			return nil, invalidf("Invalid ordering key in order_by clause '%s'.", quant.Clip(text, 200))
		}
		var err error
		if o.kind, o.key, err = g.identifier(name.text, g.orders); err != nil {
			return nil, err
		}
		o.key = attributeName(o.key)
		if slices.ContainsFunc(all, func(other order) bool { return other.kind == o.kind && other.key == o.key }) {
			return nil, invalidf("`order_by` contains duplicate fields: %s", quant.Clip(jsonOf(clauses), 300))
		}
		all = append(all, o)
	}
	return all, nil
}

// numberOfText is a number of a filter.
func numberOfText(text string) float64 {
	f, _ := strconv.ParseFloat(text, 64) // of one beyond all numbers it is the infinity
	return f
}
