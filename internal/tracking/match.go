package tracking

import (
	"cmp"
	"slices"
	"strings"
)

// matches compares a text with a pattern of LIKE: % is any text, _ any one character.
func matches(text, pattern string) bool {
	t, p := []rune(text), []rune(pattern)
	// star is where the last % stands, mark how far it reaches.
	star, mark, i, j := -1, 0, 0, 0
	for i < len(t) {
		switch {
		case j < len(p) && p[j] == '%':
			star, mark, j = j, i, j+1
		case j < len(p) && (p[j] == '_' || p[j] == t[i]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j] == '%' {
		j++
	}
	return j == len(p)
}

// folded has the letters A to Z as a to z, and all others as they are.
func folded(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// compared tells whether a text is as a clause wants it.
func compared(text string, c clause) bool {
	switch c.comparator {
	case "=":
		return text == c.values[0]
	case "!=":
		return text != c.values[0]
	case "LIKE":
		return matches(text, c.values[0])
	case "ILIKE":
		return matches(folded(text), folded(c.values[0]))
	case "IN":
		return slices.Contains(c.values, text)
	case "NOT IN":
		return !slices.Contains(c.values, text)
	}
	return false
}

// comparedNumber tells whether a number is as a clause wants it.
func comparedNumber(n float64, c clause) bool {
	want := numberOfText(c.values[0])
	switch c.comparator {
	case "=":
		return n == want
	case "!=":
		return n != want
	case ">":
		return n > want
	case ">=":
		return n >= want
	case "<":
		return n < want
	case "<=":
		return n <= want
	}
	return false
}

// satisfies tells whether an experiment is as a clause wants it.
func (e Experiment) satisfies(c clause) bool {
	if c.kind == tagKind {
		for _, t := range e.Tags {
			if t.Name == c.key {
				return c.comparator == "IS NOT NULL" || c.comparator != "IS NULL" && compared(t.Value, c)
			}
		}
		return c.comparator == "IS NULL"
	}
	switch c.key {
	case "creation_time":
		return comparedNumber(float64(millis(e.CreatedAt)), c)
	case "last_update_time":
		return comparedNumber(float64(millis(e.UpdatedAt)), c)
	case "experiment_id":
		return compared(e.ID(), c)
	}
	return compared(e.Name, c)
}

// sortExperiments puts experiments into an order; without one the newest come first.
// The greatest number breaks ties.
func sortExperiments(list []Experiment, orders []order) {
	if len(orders) == 0 {
		orders = []order{{attributeKind, "creation_time", true}, {attributeKind, "experiment_id", false}}
	}
	orders = append(slices.Clone(orders), order{attributeKind, "experiment_id", true})
	slices.SortStableFunc(list, func(a, b Experiment) int {
		for _, o := range orders {
			n := 0
			switch o.key {
			case "name":
				n = strings.Compare(a.Name, b.Name)
			case "creation_time":
				n = cmp.Compare(millis(a.CreatedAt), millis(b.CreatedAt))
			case "last_update_time":
				n = cmp.Compare(millis(a.UpdatedAt), millis(b.UpdatedAt))
			case "experiment_id":
				n = cmp.Compare(a.Number, b.Number)
			}
			if o.descending {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
}
