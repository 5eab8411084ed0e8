package search

import (
	"regexp"
	"strings"
	"unicode"

	"quant"
	"quant/internal/metastore"
)

// Names lists names of a kind that begin with a prefix; it leaves out what it cannot
// read.
type Names func(of metastore.NameSource, prefix string) []string

// valued are the attributes and tags of which the values can be listed, after an
// operator.
var valued = regexp.MustCompile(`(?i)(?:^|[^\pL\pN_.` + "`" + `-])(kind|status|name|tags\.name)\s*(?:=|!=|<>|(?:not\s+)?in\s*\((?:[^)]*,)?)\s*(["']?)([^"'\s(),]*)$`)

// fieldEnds are the characters that end a field.
const fieldEnds = " \t\n,()=<>!\"'"

// Complete completes the last word of a query, or of a list of columns: each answer
// is the whole text with its last word written out. A field is completed by its
// attributes and by the names that names knows; of kind, status and name, after an
// operator, the value is.
func Complete(text string, names Names) []string {
	if m := valued.FindStringSubmatchIndex(text); m != nil {
		return completeValue(text, m, names)
	}
	if strings.Count(text, `"`)%2 == 1 || strings.Count(text, `'`)%2 == 1 {
		return nil // within a text
	}
	word := text[strings.LastIndexAny(text, fieldEnds)+1:]
	before := text[:len(text)-len(word)]
	var found []string
	source, name, dotted := strings.Cut(word, ".")
	if !dotted {
		for _, a := range append(Attributes(), "metrics.", "params.", "tags.") {
			if strings.HasPrefix(a, word) {
				found = append(found, before+a)
			}
		}
		return found
	}
	kinds := map[string]struct {
		names metastore.NameSource
		of    metastore.Source
	}{
		"params": {metastore.ParamNames, metastore.ParamOf}, "tags": {metastore.TagNames, metastore.TagOf}, "metrics": {metastore.MetricNames, metastore.MetricOf},
	}
	kind, known := kinds[source]
	if !known {
		return nil
	}
	for _, n := range printable(names(kind.names, strings.TrimPrefix(name, "`"))) {
		full := Name(metastore.Field{Of: kind.of, Name: n})
		if kind.of == metastore.TagOf && (n == quant.NameTag || n == quant.ExperimentTag) {
			full = "tags." + n
		}
		found = append(found, before+full)
	}
	if metric, agg, twice := strings.Cut(name, "."); twice && kind.of == metastore.MetricOf {
		for _, a := range []string{"last", "max", "min"} {
			if strings.HasPrefix(a, agg) {
				found = append(found, before+"metrics."+metric+"."+a)
			}
		}
	}
	return found
}

// completeValue completes the value at the end of text; m is where valued found its
// field, its quote and what of it is written.
func completeValue(text string, m []int, names Names) (found []string) {
	field, quote, begun := strings.ToLower(text[m[2]:m[3]]), text[m[4]:m[5]], text[m[6]:m[7]]
	var values []string
	switch field {
	case "status":
		for _, s := range []quant.Status{quant.Running, quant.Success, quant.Fail} {
			if strings.HasPrefix(string(s), strings.ToUpper(begun)) {
				values = append(values, string(s))
			}
		}
	case "kind":
		values = names(metastore.KindNames, begun)
	default:
		values = names(metastore.RunNames, begun)
	}
	if quote == "" {
		quote = `"`
	}
	for _, v := range printable(values) {
		found = append(found, text[:m[4]]+quote+strings.ReplaceAll(v, quote, quote+quote)+quote)
	}
	return found
}

// printable leaves out what a line of a terminal would not survive.
func printable(list []string) []string {
	var kept []string
	for _, s := range list {
		if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			kept = append(kept, s)
		}
	}
	return kept
}
