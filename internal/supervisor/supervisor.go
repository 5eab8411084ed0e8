// Package supervisor decides how much of a proposal may be held: seven rules on
// exposure, weights, positions, turnover and scores. It is arithmetic only: it
// knows no database, no prices and no strategy, and the same arguments give
// the same bits.
package supervisor

import (
	"cmp"
	"math"
	"slices"
	"strconv"

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
	// LongShort lets weights be negative, which is short: then GrossExposureCap and
	// TurnoverCap may be more than 1, and the caps are of absolute weights.
	LongShort      bool
	NetExposureCap *float64 // R6, of LongShort: most that longs and shorts differ by; nil: off
	// SectorCap is R7: the most of the absolute weights of a sector, of one that SectorCaps
	// does not name; nil: those have no cap.
	SectorCap  *float64
	SectorCaps map[string]float64
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
	NetExposure   Flag = "R6_NET_EXPOSURE"
	SectorCap     Flag = "R7_SECTOR_CAP"
	LeftUniverse  Flag = "LEFT_UNIVERSE"
	LeftMarket    Flag = "LEFT_MARKET"
	NoBar         Flag = "NO_BAR"
)

// Proposed is one name that a strategy wants.
type Proposed struct {
	Symbol string
	Score  float64 // higher is better
	Weight float64 // 0 or more; of Policy.LongShort negative: short
	NoBar  bool    // it has no price today: it can be neither bought nor increased
	Sector string  // what R7 counts together
}

// Held is one name of the basis: the last decision, drifted to today.
type Held struct {
	Symbol string
	Weight float64
	Score  float64 // of today; NaN: it has none
	Left   Flag    // LeftUniverse or LeftMarket: it must go; "": it need not
	Sector string  // what R7 counts together
}

// Row is what became of one name that was proposed, is still held, or was sold
// by force.
type Row struct {
	Symbol   string
	Weight   float64 // 0 unless approved
	Score    float64 // NaN: none
	Approved bool    // whether it is held: Weight is not 0
	Flags    []Flag  // what struck, in order
	Reason   string  // a sentence
}

// Decision is the book after the rules. The approved rows are all of it; the
// rest of equity is cash.
type Decision struct {
	Rows     []Row   // proposed names in rank order, then the others in byte order
	Gross    float64 // sum of absolute weights
	Net      float64 // sum of weights
	Turnover float64 // from the basis, cash counted as a name
	Exempt   float64 // the part of it that no cap holds
}

// Decider decides by one policy. It keeps its memory from one decision to the next,
// so it is for one goroutine.
type Decider struct {
	book book
	at   map[string]int32 // index of the book, by symbol
	tail []Held           // what is held beside the proposal
}

// NewDecider returns a Decider for a policy.
func NewDecider(policy Policy) *Decider {
	return &Decider{book: book{policy: policy, rules: Catalogue()}, at: map[string]int32{}}
}

// Decide is Decider.Decide, once.
func Decide(policy Policy, proposal []Proposed, basis []Held) (Decision, error) {
	return NewDecider(policy).Decide(proposal, basis)
}

// Decide applies the policy to a proposal, given in rank order, starting from
// a basis. In order: R5 and R3 reject, R2 clips, R7 scales sectors, R1 scales all; then R4 limits
// the way from the basis to that target, as a list of trades: (a) reductions
// that the market or R1, R2, R3 force, exempt from the cap; (b) sales, lowest
// standing first; (c) purchases in rank order while budget, cash and positions
// last. A basis without a position is exempt. R5 gates new and growing weights
// only.
//
// Of Policy.LongShort the same holds of absolute weights, R6 is applied after R1, and
// (b) and (c) are what goes towards zero and away from it: see tradeBoth.
//
// After every decision R1, R2, R3, R6 and R7 hold, and Turnover - Exempt <= the
// turnover cap, all within Tolerance. A proposal that breaks nothing is
// returned to the bit. Invalid: a weight or score that is no number, a symbol twice;
// unless LongShort, a negative weight, or a basis of more than all equity.
func (d *Decider) Decide(proposal []Proposed, basis []Held) (Decision, error) {
	if err := d.open(proposal, basis); err != nil {
		return Decision{}, err
	}
	b := &d.book
	exempt := b.force()
	for i := range b.names {
		if n := &b.names[i]; n.forced {
			n.cut, n.cutTo = n.to, b.weight[i]
		}
	}
	for _, r := range b.rules {
		if r.apply != nil {
			r.apply(b)
		}
	}
	switch {
	case len(basis) == 0 || gross(b.basis) == 0:
		exempt = turnover(b.basis, b.target)
		b.arrive()
	case turnover(b.weight, b.target) <= b.policy.TurnoverCap+Tolerance:
		b.arrive()
	case b.policy.LongShort:
		exempt += b.tradeBoth()
	default:
		b.trade()
	}
	b.conclude()
	return Decision{Rows: b.rows(), Gross: gross(b.weight), Net: sum(b.weight), Turnover: turnover(b.basis, b.weight), Exempt: exempt}, nil
}

// name is one symbol on its way from basis to target.
type name struct {
	symbol   string
	sector   string
	score    float64
	wanted   float64 // as proposed
	proposed bool
	held     bool
	noBar    bool
	forced   bool
	cut      int // end in book.text of what force says
	cutTo    float64
	left     Flag
	flags    []Flag
	from, to int // of what struck, in book.text
}

// book is all names, best first: the proposal in its order, then what is held
// beside it by falling standing, without a score last. Slices have this order.
type book struct {
	policy Policy
	rules  []Rule
	names  []name
	basis  []float64
	target []float64 // what the rules leave of wanted
	weight []float64 // where the trades have got to
	text   []byte
}

func (b *book) add(n name, wanted, basis float64) {
	b.names, b.basis, b.target, b.weight = append(b.names, n), append(b.basis, basis), append(b.target, wanted), append(b.weight, basis)
}

// open fills the book.
func (d *Decider) open(proposal []Proposed, basis []Held) error {
	b := &d.book
	b.names, b.basis, b.target, b.weight, b.text = b.names[:0], b.basis[:0], b.target[:0], b.weight[:0], b.text[:0]
	clear(d.at)
	d.tail = d.tail[:0]
	for i, p := range proposal {
		_, twice := d.at[p.Symbol]
		if twice || !d.isWeight(p.Weight) || math.IsNaN(p.Score) {
			return quant.Errorf(quant.Invalid, "proposal of %s: weight %v, score %v, or it stands there twice", p.Symbol, p.Weight, p.Score)
		}
		d.at[p.Symbol] = int32(i)
		b.add(name{symbol: p.Symbol, sector: p.Sector, score: p.Score, proposed: true, wanted: p.Weight, noBar: p.NoBar}, p.Weight, 0)
	}
	for _, h := range basis {
		i, known := d.at[h.Symbol]
		twice := known && (int(i) >= len(proposal) || b.names[i].held)
		if twice || !d.isWeight(h.Weight) {
			return quant.Errorf(quant.Invalid, "basis of %s: weight %v, or it stands there twice", h.Symbol, h.Weight)
		}
		if !known {
			d.at[h.Symbol] = int32(len(proposal) + len(d.tail))
			d.tail = append(d.tail, h)
			continue
		}
		b.basis[i], b.weight[i], b.names[i].left, b.names[i].held = h.Weight, h.Weight, h.Left, true
	}
	total := sum(b.basis)
	for _, h := range d.tail {
		total += h.Weight
	}
	if total > 1+1e-9 && !b.policy.LongShort {
		return quant.Errorf(quant.Invalid, "the basis sums to %v, more than all equity", total)
	}
	slices.SortStableFunc(d.tail, func(x, y Held) int {
		xStands, yStands := standing(x.Score, x.Weight), standing(y.Score, y.Weight)
		switch {
		case math.IsNaN(x.Score) != math.IsNaN(y.Score):
			return cmp.Compare(number(math.IsNaN(x.Score)), number(math.IsNaN(y.Score)))
		case xStands != yStands && !math.IsNaN(x.Score):
			return cmp.Compare(yStands, xStands)
		}
		return cmp.Compare(x.Symbol, y.Symbol)
	})
	for _, h := range d.tail {
		b.add(name{symbol: h.Symbol, sector: h.Sector, score: h.Score, left: h.Left, held: true}, 0, h.Weight)
	}
	return nil
}

// isWeight reports whether a weight may stand in the policy's book.
func (d *Decider) isWeight(w float64) bool {
	return (w >= 0 || d.book.policy.LongShort && w < 0) && !math.IsInf(w, 0)
}

// standing is the score of a position: high for a long that scores high, and for a
// short that scores low.
func standing(score, weight float64) float64 {
	if weight < 0 {
		return -score
	}
	return score
}

// gross is the sum of absolute values.
func gross(values []float64) float64 {
	var s float64
	for _, v := range values {
		s += math.Abs(v)
	}
	return s
}

func sum(values []float64) float64 {
	var s float64
	for _, v := range values {
		s += v
	}
	return s
}

// turnover is half the sum of absolute changes, cash counted as a name. Cash
// changes by sales less purchases, so that is the larger of the two.
func turnover(from, to []float64) float64 {
	var sales, purchases float64
	for i, v := range to {
		if d := v - from[i]; d < 0 {
			sales -= d
		} else {
			purchases += d
		}
	}
	return max(sales, purchases)
}

func (b *book) positions() int {
	count := 0
	for _, w := range b.weight {
		if w != 0 {
			count++
		}
	}
	return count
}

// force makes the reductions that do not wait for the turnover cap, and
// returns their turnover.
func (b *book) force() float64 {
	p := b.policy
	reduce := func(i int, to float64) { b.weight[i], b.names[i].forced = to, true }
	for i := range b.names {
		if left := b.names[i].left; left != "" && b.weight[i] != 0 {
			b.strike(i, left, leaving(left), ended(b.weight[i]))
			reduce(i, 0)
		}
	}
	for i, over := len(b.names)-1, b.positions()-p.MaxPositions; i >= 0 && over > 0; i-- {
		if b.weight[i] != 0 {
			b.strike(i, MaxPositions, "more than ", p.MaxPositions, " positions were held", ended(b.weight[i]))
			reduce(i, 0)
			over--
		}
	}
	for i, w := range b.weight {
		if math.Abs(w) > p.MaxWeightPerSymbol+Tolerance {
			reduce(i, math.Copysign(p.MaxWeightPerSymbol, w))
			b.strike(i, MaxWeight, "stood at ", w, ": cut to the maximum weight ", p.MaxWeightPerSymbol)
		}
	}
	over := b.crowded(b.weight)
	for i, w := range b.weight {
		if held := over[b.names[i].sector]; held > 0 && w != 0 {
			most := b.policy.sectorCap(b.names[i].sector)
			reduce(i, w*(most/held))
			b.strike(i, SectorCap, "its sector stood at ", held, ": cut to the sector cap ", most)
		}
	}
	if gross := gross(b.weight); gross > p.GrossExposureCap+Tolerance {
		for i, w := range b.weight {
			if w != 0 {
				reduce(i, w*(p.GrossExposureCap/gross))
				b.strike(i, GrossExposure, "the book stood at ", gross, ": all cut to the gross exposure cap ", p.GrossExposureCap)
			}
		}
	}
	if by, heavier, net := b.unbalanced(b.weight); by < 1 {
		for i, w := range b.weight {
			if w*heavier > 0 {
				reduce(i, w*by)
				b.strike(i, NetExposure, "the book stood at a net of ", net, ": ", sideOf(heavier), " cut to the net exposure cap ", *p.NetExposureCap)
			}
		}
	}
	return turnover(b.basis, b.weight)
}

// ended says that a position was given up.
func ended(weight float64) string {
	if weight < 0 {
		return ": covered whole"
	}
	return ": sold whole"
}

func leaving(f Flag) string {
	if f == LeftMarket {
		return "left the market"
	}
	return "left the universe"
}

// arrive ends the way at the target.
func (b *book) arrive() { copy(b.weight, b.target) }

// trade goes towards the target as far as the turnover cap lets it.
func (b *book) trade() {
	p := b.policy
	left := p.TurnoverCap
	for i := len(b.names) - 1; i >= 0; i-- {
		want := b.weight[i] - b.target[i]
		if want <= 0 {
			continue
		}
		if want <= left+Tolerance {
			b.weight[i], left = b.target[i], left-want
			continue
		}
		if left > Tolerance {
			b.weight[i], left = b.weight[i]-left, 0
		}
		b.strike(i, Turnover, "wanted at ", b.target[i], ", kept at ", b.weight[i], ": the turnover cap ", p.TurnoverCap, " is used up")
	}
	left = p.TurnoverCap
	positions := b.positions()
	for i := range b.names {
		want := b.target[i] - b.weight[i]
		if want <= 0 {
			continue
		}
		none := b.weight[i] == 0
		if none && positions >= p.MaxPositions {
			b.strike(i, Turnover, "wanted at ", b.target[i], ", not bought: what the turnover cap ", p.TurnoverCap, " does not let go yet takes its place")
			continue
		}
		can := left
		if can > Tolerance || want <= can+Tolerance { // else no room helps
			can = min(left, p.GrossExposureCap-sum(b.weight), b.sectorRoom(i))
		}
		crowded := b.policy.SectorCap != nil && can < left-Tolerance && can >= b.sectorRoom(i)
		if want <= can+Tolerance {
			b.weight[i], left = b.target[i], left-want
		} else {
			if can > Tolerance {
				b.weight[i], left = b.weight[i]+can, left-can
			}
			if crowded {
				b.strike(i, Turnover, "wanted at ", b.target[i], ", bought to ", b.weight[i], ": its sector is full until the turnover cap ", p.TurnoverCap, " lets more of it go")
			} else {
				b.strike(i, Turnover, "wanted at ", b.target[i], ", bought to ", b.weight[i], ": the turnover cap ", p.TurnoverCap, " allows no more")
			}
		}
		if none && b.weight[i] > 0 {
			positions++
		}
	}
}

// conclude says where a position ended that was cut by force, and that nothing else has
// been said of since.
func (b *book) conclude() {
	for i := range b.names {
		n := &b.names[i]
		switch {
		case n.cut == 0 || n.cut != n.to || b.weight[i] == n.cutTo:
		case !n.proposed && b.weight[i] == 0:
			b.say(i, "no longer proposed", ended(b.basis[i]))
		case n.proposed && n.wanted == 0 && b.weight[i] == 0:
			b.say(i, "proposed with no weight", ended(b.basis[i]))
		case n.proposed && b.weight[i] == n.wanted && n.wanted != 0:
			b.say(i, "then as proposed")
		}
	}
}

func (b *book) rows() []Row {
	rows := make([]Row, 0, len(b.names))
	text := string(b.text)
	proposed := 0
	for i := range b.names {
		n := &b.names[i]
		if !n.proposed && b.weight[i] == 0 && !n.forced {
			continue // sold as it was meant to be
		}
		r := Row{Symbol: n.symbol, Weight: b.weight[i], Score: n.score, Approved: b.weight[i] != 0, Flags: n.flags, Reason: text[n.from:n.to]}
		if r.Reason == "" {
			r.Reason = "as proposed"
			if !r.Approved {
				r.Reason = "proposed with no weight"
			}
		}
		if rows = append(rows, r); n.proposed {
			proposed = len(rows)
		}
	}
	slices.SortFunc(rows[proposed:], func(x, y Row) int { return cmp.Compare(x.Symbol, y.Symbol) })
	return rows
}

// struck are the flags of a name that one rule struck.
func struck(flag Flag) []Flag {
	for i := range flags {
		if flags[i] == flag {
			return flags[i : i+1 : i+1]
		}
	}
	return []Flag{flag}
}

var flags = [...]Flag{Turnover, GrossExposure, NetExposure, MaxWeight, SectorCap, MaxPositions, ScoreFloor, LeftUniverse, LeftMarket, NoBar}

// strike notes that a rule changed what happens to a name, and why: texts, weights
// and counts.
func (b *book) strike(i int, flag Flag, why ...any) {
	n := &b.names[i]
	switch {
	case n.flags == nil:
		n.flags = struck(flag) // full: what is appended to it is another slice
	case !slices.Contains(n.flags, flag):
		n.flags = append(n.flags, flag)
	}
	b.say(i, why...)
}

// say notes what happens to a name: texts, weights and counts.
func (b *book) say(i int, why ...any) {
	n := &b.names[i]
	from := len(b.text)
	if n.to > n.from {
		b.text = append(append(b.text, b.text[n.from:n.to]...), "; "...)
	}
	for _, part := range why {
		switch part := part.(type) {
		case string:
			b.text = append(b.text, part...)
		case float64:
			b.text = show(b.text, part)
		case int:
			b.text = strconv.AppendInt(b.text, int64(part), 10)
		}
	}
	n.from, n.to = from, len(b.text)
}

func show(text []byte, x float64) []byte { return strconv.AppendFloat(text, x, 'g', 6, 64) }

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
