package stated

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"quant"
)

// The fields of a row, as --map names them.
const (
	symbolField     = "symbol"
	tsField         = "ts"
	nameField       = "feature_name"
	valueField      = "feature_value"
	knownField      = "known_at"
	scoreField      = "score"
	calibratedField = "calibrated_score"
)

// spellings are the names by which columns are known, in lower case.
func spellings(predictions bool) map[string][]string {
	s := map[string][]string{
		symbolField: {"symbol", "ticker", "instrument", "asset", "code", "sid", "secid", "stock", "kdcode", "종목코드", "단축코드", "티커", "종목"},
		tsField:     {"ts", "date", "datetime", "timestamp", "day", "trade_date", "trading_date", "session", "time", "날짜", "일자", "거래일", "거래일자", "기준일", "기준일자"},
		knownField:  {"known_at"},
	}
	if predictions {
		s[scoreField] = []string{"score", "prediction", "pred", "y_pred", "yhat", "forecast"}
		s[calibratedField] = []string{"calibrated_score"}
		return s
	}
	s[nameField] = []string{"feature_name", "feature", "factor_name", "factor", "variable", "name"}
	s[valueField] = []string{"feature_value", "value", "factor_value"}
	return s
}

// named is a column that holds the values of a feature, or of one symbol.
type named struct {
	name   string // of the feature
	symbol string // of a panel
	column int
}

// arrangement says which column is what; -1: none is.
type arrangement struct {
	layout            string
	symbol, ts, known int
	name              int // of Long; -1: Request.Feature is the name of all
	values            []named
	ignored           []int
}

// index are columns that pandas calls so where an index has no name.
func isIndex(name string) bool {
	return name == "" || name == "index" || strings.HasPrefix(name, "__index_level_") || strings.HasPrefix(name, "Unnamed: ") || strings.HasPrefix(name, "level_") ||
		regexp.MustCompile(`^column\d+$`).MatchString(name) // DuckDB's, for one without a name
}

var writtenDay = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}|\d{8}$)`) })

// isTime reports whether a column that nobody named may hold days.
func (c column) isTime() bool {
	return c.kind == day || c.kind == moment || c.kind == instant || c.kind == text && writtenDay().MatchString(c.first)
}

// arrangeColumns finds what each column is. known are the symbols of the lab, for the
// names of columns. The errors are of quant.Invalid, without the file's name.
func arrangeColumns(columns []column, r Request, lab map[string]bool) (arrangement, error) {
	a := arrangement{symbol: -1, ts: -1, known: -1, name: -1}
	mapped, err := r.mapped()
	if err != nil {
		return a, err
	}
	bad := func(format string, args ...any) *quant.Error { return quant.Errorf(quant.Invalid, format, args...) }
	at := func(name string) (int, error) {
		found := -1
		for i, c := range columns {
			if c.name != name {
				continue
			}
			if found >= 0 {
				return -1, bad("two columns are called %q", quant.Clip(name, 80)).WithHint("name each column once")
			}
			found = i
		}
		if found < 0 {
			return -1, bad("there is no column %q, only %s", quant.Clip(name, 80), namesOf(columns)).WithHint("--map FIELD=COLUMN and --known-at name columns of the file")
		}
		return found, nil
	}
	taken := map[int]string{}
	fields := spellings(r.Predictions)
	found := map[string]int{}
	for field, name := range mapped {
		i, err := at(name)
		if err != nil {
			return a, err
		}
		if other, twice := taken[i]; twice {
			return a, bad("the column %q is named as %s and as %s", quant.Clip(name, 80), min(field, other), max(field, other)).WithHint("name it once")
		}
		taken[i], found[field] = field, i
	}
	for _, field := range []string{symbolField, tsField, knownField, nameField, valueField, scoreField, calibratedField} {
		if _, have := found[field]; have {
			continue
		}
		for _, spelling := range fields[field] {
			hits := []int{}
			for i, c := range columns {
				if taken[i] == "" && strings.ToLower(strings.TrimSpace(c.name)) == spelling {
					hits = append(hits, i)
				}
			}
			if len(hits) > 1 {
				return a, bad("two columns may be the %s: %q and %q", field, columns[hits[0]].name, columns[hits[1]].name).WithHint("say which: --map %s=COLUMN", field)
			}
			if len(hits) == 1 {
				taken[hits[0]], found[field] = field, hits[0]
				break
			}
		}
	}
	// An index without a name: days by what it holds, symbols as the text beside them;
	// what begins with 0 numbers the rows.
	for _, field := range []string{tsField, symbolField} {
		if _, have := found[field]; have {
			continue
		}
		for i, c := range columns {
			days := c.isTime()
			if taken[i] != "" || !isIndex(c.name) || field == tsField && !days || field == symbolField && (days || c.kind != text || c.first == "0") {
				continue
			}
			taken[i], found[field] = field, i
			break
		}
	}
	column := func(field string) int {
		if i, have := found[field]; have {
			return i
		}
		return -1
	}
	a.symbol, a.ts, a.known, a.name = column(symbolField), column(tsField), column(knownField), column(nameField)
	if a.ts < 0 {
		return a, bad("no column is the day of a row, among %s", namesOf(columns)).WithHint("say which: --map ts=COLUMN")
	}
	value := column(valueField)
	if r.Predictions {
		a.name = -1
	}
	switch {
	case a.symbol >= 0 && r.Predictions:
		if column(scoreField) < 0 {
			return a, bad("no column is the score, among %s", namesOf(columns)).WithHint("say which: --map score=COLUMN")
		}
		a.layout = Wide
		for _, f := range []string{scoreField, calibratedField} {
			if i := column(f); i >= 0 {
				a.values = append(a.values, named{name: f, column: i})
			}
		}
		for i := range columns {
			if taken[i] == "" {
				a.ignored = append(a.ignored, i)
			}
		}
	case a.symbol >= 0 && value >= 0 && (a.name >= 0 || r.Feature != "") && r.Layout != Wide:
		a.layout = Long
		a.values = []named{{name: r.Feature, column: value}}
		for i := range columns {
			if taken[i] == "" {
				a.ignored = append(a.ignored, i)
			}
		}
	case a.symbol >= 0 && r.Layout == Long:
		return a, bad("no columns are the name and the value of a feature, among %s", namesOf(columns)).WithHint("say which: --map feature_name=COLUMN --map feature_value=COLUMN")
	default:
		return a, a.wide(columns, r, taken, lab)
	}
	return a, a.check(columns, r)
}

// wide arranges a file whose values stand side by side.
func (a *arrangement) wide(columns []column, r Request, taken map[int]string, lab map[string]bool) error {
	bad := func(format string, args ...any) *quant.Error { return quant.Errorf(quant.Invalid, format, args...) }
	fields := spellings(r.Predictions)
	if a.symbol < 0 {
		a.layout = panel
		if r.Layout == Long {
			return bad("no column is the symbol, among %s", namesOf(columns)).WithHint("say which: --map symbol=COLUMN")
		}
		feature := r.Feature
		if r.Predictions {
			feature = scoreField
		}
		levels := map[int][2]string{}
		for i, c := range columns {
			if two, ok := tuple(c.name); ok && taken[i] == "" {
				levels[i] = two
			}
		}
		upper := levelOfSymbols(levels, lab)
		for i, c := range columns {
			if taken[i] != "" {
				continue
			}
			v := named{name: feature, symbol: c.name, column: i}
			if two, ok := levels[i]; ok {
				v.symbol, v.name = two[upper], two[1-upper]
				if r.Predictions {
					v.name = scoreField
				}
			} else if isIndex(c.name) && !lab[c.name] {
				a.ignored = append(a.ignored, i)
				continue
			}
			a.values = append(a.values, v)
		}
		if len(levels) == 0 && feature == "" {
			return bad("no column is the symbol, and no feature is named for columns that are symbols").
				WithHint("dates by symbols: --feature NAME; else say which column is the symbol: --map symbol=COLUMN")
		}
		if !slices.ContainsFunc(a.values, func(v named) bool { return lab[v.symbol] }) && len(lab) > 0 {
			return bad("no column is the symbol, and no column is called as a symbol of the lab is, among %s", namesOf(columns)).WithHint("say which column is the symbol: --map symbol=COLUMN; `quant symbols list` shows the symbols")
		}
		return a.check(columns, r)
	}
	a.layout, a.name = Wide, -1
	for i, c := range columns {
		name := taken[i]
		switch {
		case fields[name] != nil && name != nameField && name != valueField:
			continue // not a feature
		case name == "" || name == nameField || name == valueField:
			if name = c.name; isIndex(name) {
				a.ignored = append(a.ignored, i)
				continue
			}
		}
		if r.Features != nil && !slices.Contains(r.Features, name) {
			a.ignored = append(a.ignored, i)
			continue
		}
		a.values = append(a.values, named{name: name, column: i})
	}
	return a.check(columns, r)
}

// check sees to it that there are features, each with a name of its own, of columns
// that can be numbers. Columns that cannot be are ignored, unless they are named.
func (a *arrangement) check(columns []column, r Request) error {
	bad := func(format string, args ...any) *quant.Error { return quant.Errorf(quant.Invalid, format, args...) }
	for _, one := range []struct {
		field string
		at    int
	}{{symbolField, a.symbol}, {nameField, a.name}} {
		if one.at >= 0 && columns[one.at].kind != text {
			return bad("the column %q is no text, and a %s is one: 005930 keeps its zeros", columns[one.at].name, one.field).WithHint("write the column as text, or say another: --map %s=COLUMN", one.field)
		}
	}
	for _, i := range []int{a.ts, a.known} {
		if i >= 0 && columns[i].kind == other {
			return bad("the column %q is neither a day nor a time", columns[i].name).WithHint("write it as a date, a timestamp or text such as 2024-01-31")
		}
	}
	kept := a.values[:0]
	for _, v := range a.values {
		k := columns[v.column].kind
		asked := r.Features != nil || a.layout != Wide
		if k != number && k != text && !asked || k == text && a.layout == Wide && !asked && !looksNumber(columns[v.column].first) {
			a.ignored = append(a.ignored, v.column)
			continue
		}
		if k != number && k != text {
			return bad("the column %q holds no numbers", columns[v.column].name).WithHint("write it as a double")
		}
		if (a.layout != Long || a.name < 0) && !featureName().MatchString(v.name) {
			return bad("the column %q cannot be the name of a feature", quant.Clip(v.name, 80)).
				WithHint("a letter, then letters, digits and _, 63 at most: give it a name with --map my_name=%s, or choose columns with --features", inShell(quant.Clip(v.name, 80)))
		}
		kept = append(kept, v)
	}
	a.values = kept
	if len(a.values) == 0 {
		const hint = "numbers in columns of their own, or feature_name and feature_value"
		for _, i := range a.ignored {
			if c := columns[i]; c.kind == text && c.first != "" {
				return bad("no column holds the values of a feature, among %s: %s begins with %q, which is no number", namesOf(columns), c.shown(i, 40), quant.Clip(c.first, 40)).
					WithHint("%s; a number has a point, not a comma, and nothing between its thousands", hint)
			}
		}
		return bad("no column holds the values of a feature, among %s", namesOf(columns)).WithHint(hint)
	}
	if a.layout == Wide {
		seen := map[string]string{}
		for _, v := range a.values {
			folded := strings.ToLower(v.name)
			if other, twice := seen[folded]; twice {
				return bad("two columns are the feature %s: %q and %q are one name to a database", folded, other, v.name).WithHint("rename one: --map my_name=COLUMN, or choose with --features")
			}
			seen[folded] = v.name
		}
	}
	return nil
}

// looksNumber reports whether the first value of a column of text may be a number; a
// column without values may.
func looksNumber(first string) bool {
	s := strings.ToLower(strings.TrimSpace(first))
	if _, ok := quant.ParseNumber(s); ok || s == "" || slices.Contains(missingWords(), s) {
		return true
	}
	return slices.Contains([]string{"inf", "-inf", "+inf", "infinity", "-infinity", "true", "false"}, s)
}

// missingWords are what stands in text where there is no value, in lower case.
func missingWords() []string { return []string{"na", "n/a", "nan", "null", "none", "<na>", "nat", "-"} }

// tuple reads the name of a column of two levels as pandas writes it: ('ret', 'AAPL').
func tuple(name string) (levels [2]string, ok bool) {
	inner, found := strings.CutPrefix(name, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !found || !closed {
		return levels, false
	}
	for k := range levels {
		inner = strings.TrimLeft(inner, " ")
		if inner == "" || inner[0] != '\'' && inner[0] != '"' {
			return levels, false
		}
		quote := inner[:1]
		text, rest, closed := strings.Cut(inner[1:], quote)
		if !closed || strings.Contains(text, `\`) {
			return levels, false
		}
		levels[k] = text
		inner = strings.TrimLeft(rest, " ")
		if k == 0 {
			if inner, found = strings.CutPrefix(inner, ","); !found {
				return levels, false
			}
		}
	}
	return levels, inner == ""
}

// levelOfSymbols is the level that more symbols of the lab stand in.
func levelOfSymbols(levels map[int][2]string, lab map[string]bool) int {
	count := [2]int{}
	for _, two := range levels {
		for k, text := range two {
			if lab[text] {
				count[k]++
			}
		}
	}
	if count[0] > count[1] {
		return 0
	}
	return 1
}

// shown is the name of a column for messages; i is its place.
func (c column) shown(i, most int) string {
	if strings.TrimSpace(c.name) == "" {
		return fmt.Sprintf("column %d (without a name)", i+1)
	}
	return quant.Clip(c.name, most)
}

// inShell is a text as a shell reads it in one piece.
func inShell(s string) string {
	if strings.Contains(s, "'") && !strings.ContainsAny(s, "\"$`\\!") {
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func namesOf(columns []column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.shown(i, 40)
	}
	return quant.SomeOf(list, 8)
}

// arrange finds what each column is.
func (in *importing) arrange(ctx context.Context) error {
	lab := map[string]bool{}
	stored, err := in.db.Symbols(ctx)
	if err != nil {
		return err
	}
	for _, s := range stored {
		lab[s] = true
	}
	if len(lab) == 0 {
		return quant.Errorf(quant.NotFound, "the lab has no prices, so that no symbol and no session is known").WithHint("`quant ingest FILE` loads prices first")
	}
	a, err := arrangeColumns(in.columns, in.Request, lab)
	if err != nil {
		if quant.CodeOf(err) == quant.Invalid {
			return quant.Errorf(quant.Invalid, "%s: %w", in.label(), err).WithHint("%s", quant.HintOf(err))
		}
		return err
	}
	in.layout, in.report.Layout = a, a.layout
	for _, i := range a.ignored {
		in.report.IgnoredColumns = append(in.report.IgnoredColumns, in.masked(in.columns[i].shown(i, 80)))
	}
	if a.known >= 0 {
		in.report.KnownFrom = in.columns[a.known].name
	}
	return nil
}
