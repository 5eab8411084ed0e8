// Package supervisor decides how much of a proposal may be held: five rules on
// exposure, weights, positions, turnover and scores. It is arithmetic only: it
// knows no database, no prices and no strategy, and the same arguments give
// the same bits.
package supervisor

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"quant"
)

// Tolerance is how far a sum of weights may be from a cap and still keep to
// it: ten times 0.1 is not 1 in binary.
const Tolerance = 1e-12

// Policy is the caps, as decimals of equity.
type Policy struct {
	GrossExposureCap   float64  // R1; (0, 1]
	MaxWeightPerSymbol float64  // R2; (0, 1]
	MaxPositions       int      // R3; 1 or more
	TurnoverCap        float64  // R4; 0 or more
	ScoreFloor         *float64 // R5; nil: off
}

// Flag is the code of a rule, or of a fact of the market, that struck.
type Flag string

// The flags. Catalogue says what each means.
const (
	GrossExposure Flag = "R1_GROSS_EXPOSURE"
	MaxWeight     Flag = "R2_MAX_WEIGHT"
	MaxPositions  Flag = "R3_MAX_POSITIONS"
	Turnover      Flag = "R4_TURNOVER"
	ScoreFloor    Flag = "R5_SCORE_FLOOR"
	LeftUniverse  Flag = "LEFT_UNIVERSE"
	LeftMarket    Flag = "LEFT_MARKET"
	NoBar         Flag = "NO_BAR"
)

// Proposed is one name that a strategy wants.
type Proposed struct {
	Symbol string
	Score  float64 // higher is better
	Weight float64 // 0 or more
	NoBar  bool    // it has no price today: it can be neither bought nor increased
}

// Held is one name of the basis: the last decision, drifted to today.
type Held struct {
	Symbol string
	Weight float64
	Score  float64 // of today; NaN: it has none
	Left   Flag    // LeftUniverse or LeftMarket: it must go; "": it need not
}

// Row is what became of one name that was proposed, is still held, or was sold
// by force.
type Row struct {
	Symbol   string
	Weight   float64 // 0 unless approved
	Score    float64 // NaN: none
	Approved bool    // whether it is held: Weight > 0
	Flags    []Flag  // what struck, in order
	Reason   string  // a sentence
}

// Decision is the book after the rules. The approved rows are all of it; the
// rest of equity is cash.
type Decision struct {
	Rows     []Row   // proposed names in rank order, then the others in byte order
	Gross    float64 // sum of weights
	Turnover float64 // from the basis, cash counted as a name
	Exempt   float64 // the part of it that no cap holds
}

// Decide applies the policy to a proposal, given in rank order, starting from
// a basis. In order: R5 and R3 reject, R2 clips, R1 scales all; then R4 limits
// the way from the basis to that target, as a list of trades: (a) reductions
// that the market or R1, R2, R3 force, exempt from the cap; (b) sales, lowest
// standing first; (c) purchases in rank order while budget, cash and positions
// last. A basis without a position is exempt. R5 gates new and growing weights
// only.
//
// After every decision R1, R2 and R3 hold, and Turnover - Exempt <= the
// turnover cap, all within Tolerance. A proposal that breaks nothing is
// returned to the bit. Invalid: a weight or score that is no number, a
// negative weight, a symbol twice, a basis of more than all equity.
func Decide(policy Policy, proposal []Proposed, basis []Held) (Decision, error) {
	b, err := newBook(policy, proposal, basis)
	if err != nil {
		return Decision{}, err
	}
	exempt := b.force()
	for _, r := range Catalogue() {
		if r.apply != nil {
			r.apply(b)
		}
	}
	if len(basis) == 0 || b.sum(basisOf) == 0 {
		exempt = b.sum(targetOf)
		b.arrive()
	} else if b.turnover(weightOf, targetOf) <= policy.TurnoverCap+Tolerance {
		b.arrive()
	} else {
		b.trade()
	}
	return Decision{Rows: b.rows(), Gross: b.sum(weightOf), Turnover: b.turnover(basisOf, weightOf), Exempt: exempt}, nil
}

// name is one symbol on its way from basis to target.
type name struct {
	symbol   string
	score    float64
	proposed bool
	wanted   float64 // as proposed
	basis    float64
	target   float64 // what the rules leave of wanted
	weight   float64 // where the trades have got to
	left     Flag
	noBar    bool
	forced   bool
	flags    []Flag
	notes    []string
}

// book is all names, best first: the proposal in its order, then what is held
// beside it by falling score, without a score last.
type book struct {
	policy Policy
	names  []*name
}

func newBook(policy Policy, proposal []Proposed, basis []Held) (*book, error) {
	b := &book{policy: policy}
	at := make(map[string]*name, len(proposal)+len(basis))
	for _, p := range proposal {
		if at[p.Symbol] != nil || !(p.Weight >= 0) || math.IsInf(p.Weight, 0) || math.IsNaN(p.Score) {
			return nil, quant.Errorf(quant.Invalid, "proposal of %s: weight %v, score %v, or it stands there twice", p.Symbol, p.Weight, p.Score)
		}
		n := &name{symbol: p.Symbol, score: p.Score, proposed: true, wanted: p.Weight, target: p.Weight, noBar: p.NoBar}
		at[p.Symbol] = n
		b.names = append(b.names, n)
	}
	seen := make(map[string]bool, len(basis))
	for _, h := range basis {
		if seen[h.Symbol] || !(h.Weight >= 0) || math.IsInf(h.Weight, 0) {
			return nil, quant.Errorf(quant.Invalid, "basis of %s: weight %v, or it stands there twice", h.Symbol, h.Weight)
		}
		seen[h.Symbol] = true
		n := at[h.Symbol]
		if n == nil {
			n = &name{symbol: h.Symbol, score: h.Score}
			b.names = append(b.names, n)
		}
		n.basis, n.weight, n.left = h.Weight, h.Weight, h.Left
	}
	if b.sum(basisOf) > 1+1e-9 {
		return nil, quant.Errorf(quant.Invalid, "the basis sums to %v, more than all equity", b.sum(basisOf))
	}
	slices.SortStableFunc(b.names[len(proposal):], func(x, y *name) int {
		switch {
		case math.IsNaN(x.score) != math.IsNaN(y.score):
			return cmp.Compare(number(math.IsNaN(x.score)), number(math.IsNaN(y.score)))
		case x.score != y.score && !math.IsNaN(x.score):
			return cmp.Compare(y.score, x.score)
		}
		return cmp.Compare(x.symbol, y.symbol)
	})
	return b, nil
}

func basisOf(n *name) float64  { return n.basis }
func targetOf(n *name) float64 { return n.target }
func weightOf(n *name) float64 { return n.weight }

func (b *book) sum(of func(*name) float64) float64 {
	var s float64
	for _, n := range b.names {
		s += of(n)
	}
	return s
}

// turnover is half the sum of absolute changes, cash counted as a name. Cash
// changes by sales less purchases, so that is the larger of the two.
func (b *book) turnover(from, to func(*name) float64) float64 {
	var sales, purchases float64
	for _, n := range b.names {
		if d := to(n) - from(n); d < 0 {
			sales -= d
		} else {
			purchases += d
		}
	}
	return max(sales, purchases)
}

func (b *book) positions() int {
	count := 0
	for _, n := range b.names {
		if n.weight > 0 {
			count++
		}
	}
	return count
}

// force makes the reductions that do not wait for the turnover cap, and
// returns their turnover.
func (b *book) force() float64 {
	p := b.policy
	reduce := func(n *name, to float64, flag Flag, format string, args ...any) {
		n.weight, n.forced = to, true
		n.strike(flag, format, args...)
	}
	for _, n := range b.names {
		if n.left != "" && n.weight > 0 {
			reduce(n, 0, n.left, "%s: sold whole", leaving(n.left))
		}
	}
	for i, over := len(b.names)-1, b.positions()-p.MaxPositions; i >= 0 && over > 0; i-- {
		if n := b.names[i]; n.weight > 0 {
			reduce(n, 0, MaxPositions, "more than %d positions were held: sold whole", p.MaxPositions)
			over--
		}
	}
	for _, n := range b.names {
		if n.weight > p.MaxWeightPerSymbol+Tolerance {
			reduce(n, p.MaxWeightPerSymbol, MaxWeight, "stood at %s: cut to the maximum weight %s", show(n.weight), show(p.MaxWeightPerSymbol))
		}
	}
	if gross := b.sum(weightOf); gross > p.GrossExposureCap+Tolerance {
		for _, n := range b.names {
			if n.weight > 0 {
				reduce(n, n.weight*(p.GrossExposureCap/gross), GrossExposure, "the book stood at %s: all cut to the gross exposure cap %s", show(gross), show(p.GrossExposureCap))
			}
		}
	}
	return b.turnover(basisOf, weightOf)
}

func leaving(f Flag) string {
	if f == LeftMarket {
		return "left the market"
	}
	return "left the universe"
}

// arrive ends the way at the target.
func (b *book) arrive() {
	for _, n := range b.names {
		n.weight = n.target
	}
}

// trade goes towards the target as far as the turnover cap lets it.
func (b *book) trade() {
	p := b.policy
	left := p.TurnoverCap
	for _, n := range slices.Backward(b.names) {
		want := n.weight - n.target
		if want <= 0 {
			continue
		}
		if want <= left+Tolerance {
			n.weight, left = n.target, left-want
			continue
		}
		if left > Tolerance {
			n.weight, left = n.weight-left, 0
		}
		n.strike(Turnover, "wanted at %s, kept at %s: the turnover cap %s is used up", show(n.target), show(n.weight), show(p.TurnoverCap))
	}
	left = p.TurnoverCap
	for _, n := range b.names {
		want := n.target - n.weight
		if want <= 0 {
			continue
		}
		room := p.GrossExposureCap - b.sum(weightOf)
		can := min(left, room)
		switch {
		case n.weight == 0 && b.positions() >= p.MaxPositions:
			n.strike(Turnover, "wanted at %s, not bought: what the turnover cap %s does not let go yet takes its place", show(n.target), show(p.TurnoverCap))
		case want <= can+Tolerance:
			n.weight, left = n.target, left-want
		default:
			if can > Tolerance {
				n.weight, left = n.weight+can, left-can
			}
			n.strike(Turnover, "wanted at %s, bought to %s: the turnover cap %s allows no more", show(n.target), show(n.weight), show(p.TurnoverCap))
		}
	}
}

func (b *book) rows() []Row {
	var rows, held []Row
	for _, n := range b.names {
		if !n.proposed && n.weight == 0 && !n.forced {
			continue // sold as it was meant to be
		}
		r := Row{Symbol: n.symbol, Weight: n.weight, Score: n.score, Approved: n.weight > 0, Flags: n.flags, Reason: strings.Join(n.notes, "; ")}
		if r.Reason == "" {
			r.Reason = "as proposed"
			if !r.Approved {
				r.Reason = "proposed with no weight"
			}
		}
		if n.proposed {
			rows = append(rows, r)
		} else {
			held = append(held, r)
		}
	}
	slices.SortFunc(held, func(x, y Row) int { return cmp.Compare(x.Symbol, y.Symbol) })
	return append(rows, held...)
}

// strike notes that a rule changed what happens to a name.
func (n *name) strike(flag Flag, format string, args ...any) {
	if !slices.Contains(n.flags, flag) {
		n.flags = append(n.flags, flag)
	}
	n.notes = append(n.notes, fmt.Sprintf(format, args...))
}

func show(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
