package registry

import (
	"errors"
	"strings"

	"quant"
)

// factsClauses are what the error text of a FAIL says of its facts, for people:
// its last words. Programs read quant.RunProcess.Facts.
var factsClauses = map[quant.Facts]string{
	quant.FactsCommitted:  "facts committed",
	quant.FactsNone:       "no facts committed",
	quant.FactsNotChecked: "facts not checked",
}

// FactsClause returns the words for facts; "" for what says nothing.
func FactsClause(facts quant.Facts) string { return factsClauses[facts] }

// WithFacts returns an error text that ends with the clause of its facts.
func WithFacts(text string, facts quant.Facts) string {
	if clause := FactsClause(facts); clause != "" {
		return text + "; " + clause
	}
	return text
}

// ReplaceFacts returns the error text of a run whose facts were old, with the
// clause of the new ones.
func ReplaceFacts(text string, old, facts quant.Facts) string {
	if clause := FactsClause(old); clause != "" {
		text = strings.TrimSuffix(text, "; "+clause)
	}
	return WithFacts(text, facts)
}

// FactsOfText reads the clause at the end of an error text, which is all that
// records say that were written before facts had a place of their own.
func FactsOfText(text string) quant.Facts {
	for facts, clause := range factsClauses {
		if strings.HasSuffix(text, "; "+clause) {
			return facts
		}
	}
	return ""
}

// FailedWith returns an error that tells Registry.Fail, wherever it is wrapped,
// what became of the facts of its run. Its message is that of err.
func FailedWith(err error, facts quant.Facts) error { return failure{err, facts} }

type failure struct {
	error
	facts quant.Facts
}

func (f failure) Unwrap() error { return f.error }

// factsOf returns what an error tells of the facts of its run.
func factsOf(err error) quant.Facts {
	f, _ := errors.AsType[failure](err)
	return f.facts
}
