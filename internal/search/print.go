package search

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
)

// Name is a field as a query writes it.
func Name(f metastore.Field) string {
	switch f.Of {
	case metastore.ParamOf:
		return "params." + quoted(f.Name)
	case metastore.TagOf:
		if f.Name == quant.NameTag || f.Name == quant.ExperimentTag {
			return f.Name
		}
		return "tags." + quoted(f.Name)
	case metastore.MetricOf:
		name := "metrics." + quoted(f.Name)
		if f.Agg != metastore.Last {
			name += "." + string(f.Agg)
		}
		return name
	default:
		return f.Name
	}
}

// quoted is a name, in backticks unless it is a word.
func quoted(name string) string {
	if regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`).MatchString(name) {
		return name
	}
	return "`" + name + "`"
}

// String is the query in the language: Parse reads it as the same query.
func (q Query) String() string {
	var parts []string
	if q.Where != nil {
		parts = append(parts, written(q.Where, 0))
	}
	for i, k := range q.Order {
		word := "order by "
		if i > 0 {
			word = ""
		}
		direction := " asc"
		if k.Desc {
			direction = " desc"
		}
		if i < len(q.Order)-1 {
			direction += ","
		}
		parts = append(parts, word+Name(k.Field)+direction)
	}
	if q.Limit != nil {
		parts = append(parts, fmt.Sprintf("limit %d", *q.Limit))
	}
	return strings.Join(parts, " ")
}

// written is an expression; inside says how tightly what is around it binds:
// 0 not at all, 1 or, 2 and, 3 not.
func written(e metastore.Expr, inside int) string {
	list := func(parts []metastore.Expr, word string, binds int) string {
		var all []string
		for _, part := range parts {
			all = append(all, written(part, binds))
		}
		text := strings.Join(all, word)
		if inside >= binds {
			text = "(" + text + ")"
		}
		return text
	}
	switch e := e.(type) {
	case metastore.Or:
		return list(e, " or ", 1)
	case metastore.And:
		return list(e, " and ", 2)
	case metastore.Not:
		return "not " + written(e.Expr, 3)
	case metastore.Compare:
		return Name(e.Field) + " " + string(e.Op) + " " + literal(e.Value)
	case metastore.In:
		var all []string
		for _, v := range e.Values {
			all = append(all, literal(v))
		}
		return Name(e.Field) + " in (" + strings.Join(all, ", ") + ")"
	case metastore.Like:
		return Name(e.Field) + " like " + literal(e.Pattern)
	case metastore.IsNull:
		return Name(e.Field) + " is null"
	default:
		return fmt.Sprintf("%v", e)
	}
}

func literal(v any) string {
	switch v := v.(type) {
	case string:
		return `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case quant.Time:
		return v.String()
	case time.Duration:
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}
