package pages

import (
	"encoding/json"
	"html/template"
	"strconv"
	"strings"
	"time"

	"quant"
)

// functions are what templates call beside those of html/template.
func functions() template.FuncMap {
	return template.FuncMap{
		"asset":  assetURL,
		"short":  quant.ShortID,
		"bytes":  quant.Bytes,
		"micros": quant.Micros,
		"clip":   quant.Clip,
		"first":  quant.FirstLine,
		"count":  count,
		"number": number,
		"thousands": func(n any) (string, error) {
			many, err := wholeNumber(n)
			return thousands(many), err
		},
		"moment": moment,
		"stamp":  stamp,
		"json":   jsonText,
		"args":   arguments,
		"path":   pathOf,
		"exact":  exact,
		"add":    func(a, b int) int { return a + b },
		"bare":   bare,

		"percent": percentText,
		"figure":  figureText,
		"day":     dayText,
		"groups":  groupsText,
		"heat":    heatClass,
		"floatOf": func(v float64) *float64 { return &v },
		"sumOf":   sumOf,
		"int":     func(n int64) int { return int(n) },
	}
}

// count is a number of things with separators between the thousands: 1,000 points.
func count(n any, noun string) (string, error) {
	many, err := wholeNumber(n)
	if many != 1 {
		noun += "s"
	}
	return thousands(many) + " " + noun, err
}

// wholeNumber is a whole number as a template has it.
func wholeNumber(n any) (int64, error) {
	switch n := n.(type) {
	case int:
		return int64(n), nil
	case int64:
		return n, nil
	case *int64:
		return *n, nil
	default:
		return 0, quant.Errorf(quant.Failed, "%T is no whole number", n)
	}
}

// thousands writes a whole number with separators.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(text) - 3; i > start; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// number is a measured value in at most 6 digits.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// moment is a time as tables have it, to the second, in UTC.
func moment(t quant.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// stamp is a time as machines read it.
func stamp(t quant.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// jsonText is a value for an attribute that a script reads.
func jsonText(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// arguments hands several values to a template: args "Name" value ...
func arguments(list ...any) (map[string]any, error) {
	all := map[string]any{}
	for i := 0; i+1 < len(list); i += 2 {
		name, is := list[i].(string)
		if !is {
			return nil, quant.Errorf(quant.Failed, "args: %v is no name", list[i])
		}
		all[name] = list[i+1]
	}
	return all, nil
}

// exact is a measured value with all its digits.
func exact(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// bare is a param or a metric without the word that says which of them it is.
func bare(field string) string {
	if name, is := strings.CutPrefix(field, "params."); is {
		return name
	}
	return strings.TrimPrefix(field, "metrics.")
}

// groupsText are the numbers of groups of sessions.
func groupsText(groups []int) string {
	parts := make([]string, len(groups))
	for i, n := range groups {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ", ")
}
