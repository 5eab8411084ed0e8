package expression

import (
	"fmt"
	"slices"
	"strings"

	"quant"
)

// Feature is what is known of a feature before anything is computed.
type Feature struct {
	Name, Text     string
	Canonical      string // the expression in one spelling: what a digest is of
	Lookback       int    // sessions before its own that a value reads
	FirstRow       int    // the bar, from 1, with the first value where no session is missing
	Unit           string // price, shares, money, number, condition, mixed ...
	ScaleFree      bool   // a split, which rescales the history, leaves it as it is
	Mixed          string // why it has no unit: "adds price and number"; else ""
	CrossSectional bool   // it depends on the bars of other symbols
}

// Program computes features together, each part that they share once. It does not
// change, so any number of goroutines may use it, each with a Worker of its own.
type Program struct {
	features []Feature
	lookback int
	stages   []*stage
	sections []section
}

// Features are those of the program, in the order that they were given.
func (p *Program) Features() []Feature { return p.features }

// Lookback is the number of sessions that must be at hand before the first one that is
// asked for: the largest of the features.
func (p *Program) Lookback() int { return p.lookback }

// BySectors reports whether a feature compares the symbols of a sector.
func (p *Program) BySectors() bool {
	return slices.ContainsFunc(p.sections, func(s section) bool { return s.grouped })
}

// NamePattern is what the name of a feature looks like.
const NamePattern = "^[A-Za-z][A-Za-z0-9_]{0,62}$"

func validName(name string) bool {
	for i := range len(name) {
		if !isLetter(name[i]) && (i == 0 || !isDigit(name[i])) {
			return false
		}
	}
	return name != "" && name[0] != '_' && len(name) <= 63
}

// Compile makes the program of some features. An error names the feature, and wraps an
// *Error where an expression is wrong.
func Compile(named []Named) (*Program, error) {
	if len(named) == 0 || len(named) > MaxFeatures {
		return nil, quant.Errorf(quant.Invalid, "%s; a program has 1 to %d", quant.Count(len(named), "feature"), MaxFeatures)
	}
	p := &Program{}
	b := newBuilder(p)
	seen := map[string]bool{}
	for _, f := range named {
		if !validName(f.Name) {
			return nil, quant.Errorf(quant.Invalid, "feature name %q: want letters, digits and _, a letter first, at most 63", quant.Clip(f.Name, 80))
		}
		if key := strings.ToLower(f.Name); seen[key] {
			return nil, quant.Errorf(quant.Invalid, "feature %s is there twice; upper and lower case make no difference", f.Name)
		} else {
			seen[key] = true
		}
		e, err := Parse(f.Text)
		if err != nil {
			return nil, fmt.Errorf("feature %s: %w", f.Name, err)
		}
		unit := e.root.unit.String()
		if e.root.boolean && e.root.unit.mixed == "" {
			unit = "condition"
		}
		p.features = append(p.features, Feature{
			Name: f.Name, Text: f.Text, Canonical: e.String(), Lookback: e.root.lookback, FirstRow: e.root.lookback + 1,
			Unit: unit, ScaleFree: e.root.unit.scaleFree(), Mixed: e.root.unit.mixed, CrossSectional: e.root.section > 0,
		})
		p.lookback = max(p.lookback, e.root.lookback)
		if err := b.add(e.root); err != nil {
			return nil, fmt.Errorf("feature %s: %w", f.Name, err)
		}
	}
	b.finish()
	return p, nil
}
