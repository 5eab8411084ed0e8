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

// decidePlainly is Decide written for reading: a struct a name, and a text a note.
// Whatever decides faster gives its bits.
func decidePlainly(policy Policy, proposal []Proposed, basis []Held) (Decision, error) {
	b, err := newPlainBook(policy, proposal, basis)
	if err != nil {
		return Decision{}, err
	}
	exempt := b.force()
	for _, n := range b.names {
		if n.forced {
			n.cut, n.cutTo = len(n.notes), n.weight
		}
	}
	for _, apply := range []func(){b.gateNoBar, b.gateScore, b.reject, b.clip, b.scale} {
		apply()
	}
	if len(basis) == 0 || b.sum(plainBasisOf) == 0 {
		exempt = b.sum(plainTargetOf)
		b.arrive()
	} else if b.turnover(plainWeightOf, plainTargetOf) <= policy.TurnoverCap+Tolerance {
		b.arrive()
	} else {
		b.trade()
	}
	b.conclude()
	return Decision{Rows: b.rows(), Gross: b.sum(plainWeightOf), Turnover: b.turnover(plainBasisOf, plainWeightOf), Exempt: exempt}, nil
}

// name is one symbol on its way from basis to target.
type plainName struct {
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
	cut      int // notes of force
	cutTo    float64
}

// book is all names, best first: the proposal in its order, then what is held
// beside it by falling score, without a score last.
type plainBook struct {
	policy Policy
	names  []*plainName
}

func newPlainBook(policy Policy, proposal []Proposed, basis []Held) (*plainBook, error) {
	b := &plainBook{policy: policy}
	at := make(map[string]*plainName, len(proposal)+len(basis))
	for _, p := range proposal {
		if at[p.Symbol] != nil || !(p.Weight >= 0) || math.IsInf(p.Weight, 0) || math.IsNaN(p.Score) {
			return nil, quant.Errorf(quant.Invalid, "proposal of %s: weight %v, score %v, or it stands there twice", p.Symbol, p.Weight, p.Score)
		}
		n := &plainName{symbol: p.Symbol, score: p.Score, proposed: true, wanted: p.Weight, target: p.Weight, noBar: p.NoBar}
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
			n = &plainName{symbol: h.Symbol, score: h.Score}
			b.names = append(b.names, n)
		}
		n.basis, n.weight, n.left = h.Weight, h.Weight, h.Left
	}
	if b.sum(plainBasisOf) > 1+1e-9 {
		return nil, quant.Errorf(quant.Invalid, "the basis sums to %v, more than all equity", b.sum(plainBasisOf))
	}
	slices.SortStableFunc(b.names[len(proposal):], func(x, y *plainName) int {
		switch {
		case math.IsNaN(x.score) != math.IsNaN(y.score):
			return cmp.Compare(plainNumber(math.IsNaN(x.score)), plainNumber(math.IsNaN(y.score)))
		case x.score != y.score && !math.IsNaN(x.score):
			return cmp.Compare(y.score, x.score)
		}
		return cmp.Compare(x.symbol, y.symbol)
	})
	return b, nil
}

func plainBasisOf(n *plainName) float64  { return n.basis }
func plainTargetOf(n *plainName) float64 { return n.target }
func plainWeightOf(n *plainName) float64 { return n.weight }

func (b *plainBook) sum(of func(*plainName) float64) float64 {
	var s float64
	for _, n := range b.names {
		s += of(n)
	}
	return s
}

// turnover is half the sum of absolute changes, cash counted as a name. Cash
// changes by sales less purchases, so that is the larger of the two.
func (b *plainBook) turnover(from, to func(*plainName) float64) float64 {
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

func (b *plainBook) positions() int {
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
func (b *plainBook) force() float64 {
	p := b.policy
	reduce := func(n *plainName, to float64, flag Flag, format string, args ...any) {
		n.weight, n.forced = to, true
		n.strike(flag, format, args...)
	}
	for _, n := range b.names {
		if n.left != "" && n.weight > 0 {
			reduce(n, 0, n.left, "%s: sold whole", plainLeaving(n.left))
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
			reduce(n, p.MaxWeightPerSymbol, MaxWeight, "stood at %s: cut to the maximum weight %s", plainShow(n.weight), plainShow(p.MaxWeightPerSymbol))
		}
	}
	if gross := b.sum(plainWeightOf); gross > p.GrossExposureCap+Tolerance {
		for _, n := range b.names {
			if n.weight > 0 {
				reduce(n, n.weight*(p.GrossExposureCap/gross), GrossExposure, "the book stood at %s: all cut to the gross exposure cap %s", plainShow(gross), plainShow(p.GrossExposureCap))
			}
		}
	}
	return b.turnover(plainBasisOf, plainWeightOf)
}

// conclude notes where a position ended that was cut by force and of which nothing else
// was noted.
func (b *plainBook) conclude() {
	for _, n := range b.names {
		if n.cut == 0 || n.cut != len(n.notes) || n.weight == n.cutTo {
			continue
		}
		if !n.proposed && n.weight == 0 {
			n.notes = append(n.notes, "no longer proposed: sold whole")
		} else if n.proposed && n.wanted == 0 && n.weight == 0 {
			n.notes = append(n.notes, "proposed with no weight: sold whole")
		} else if n.proposed && n.weight == n.wanted && n.wanted != 0 {
			n.notes = append(n.notes, "then as proposed")
		}
	}
}

func plainLeaving(f Flag) string {
	if f == LeftMarket {
		return "left the market"
	}
	return "left the universe"
}

// arrive ends the way at the target.
func (b *plainBook) arrive() {
	for _, n := range b.names {
		n.weight = n.target
	}
}

// trade goes towards the target as far as the turnover cap lets it.
func (b *plainBook) trade() {
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
		n.strike(Turnover, "wanted at %s, kept at %s: the turnover cap %s is used up", plainShow(n.target), plainShow(n.weight), plainShow(p.TurnoverCap))
	}
	left = p.TurnoverCap
	for _, n := range b.names {
		want := n.target - n.weight
		if want <= 0 {
			continue
		}
		room := p.GrossExposureCap - b.sum(plainWeightOf)
		can := min(left, room)
		switch {
		case n.weight == 0 && b.positions() >= p.MaxPositions:
			n.strike(Turnover, "wanted at %s, not bought: what the turnover cap %s does not let go yet takes its place", plainShow(n.target), plainShow(p.TurnoverCap))
		case want <= can+Tolerance:
			n.weight, left = n.target, left-want
		default:
			if can > Tolerance {
				n.weight, left = n.weight+can, left-can
			}
			n.strike(Turnover, "wanted at %s, bought to %s: the turnover cap %s allows no more", plainShow(n.target), plainShow(n.weight), plainShow(p.TurnoverCap))
		}
	}
}

func (b *plainBook) rows() []Row {
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
func (n *plainName) strike(flag Flag, format string, args ...any) {
	if !slices.Contains(n.flags, flag) {
		n.flags = append(n.flags, flag)
	}
	n.notes = append(n.notes, fmt.Sprintf(format, args...))
}

func plainShow(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

func plainNumber(b bool) int {
	if b {
		return 1
	}
	return 0
}

// gate keeps a target from growing beyond what is held.
func (n *plainName) gate(flag Flag, why string) {
	if n.target <= n.weight {
		return
	}
	n.target = n.weight
	if n.weight == 0 {
		n.strike(flag, "%s: not bought", why)
	} else {
		n.strike(flag, "%s: not increased from %s to %s", why, plainShow(n.weight), plainShow(n.wanted))
	}
}

func (b *plainBook) gateNoBar() {
	for _, n := range b.names {
		switch {
		case n.left != "":
			n.gate(n.left, plainLeaving(n.left))
			n.target = 0
		case n.noBar:
			n.gate(NoBar, "no bar today")
		}
	}
}

func (b *plainBook) gateScore() {
	if b.policy.ScoreFloor == nil {
		return
	}
	for _, n := range b.names {
		if n.score < *b.policy.ScoreFloor {
			n.gate(ScoreFloor, "score "+plainShow(n.score)+" is below the floor "+plainShow(*b.policy.ScoreFloor))
		}
	}
}

func (b *plainBook) reject() {
	count := 0
	for i, n := range b.names {
		if n.target <= 0 {
			continue
		}
		if count++; count > b.policy.MaxPositions {
			n.target = 0
			n.strike(MaxPositions, "rank %d: no place among %d positions", i+1, b.policy.MaxPositions)
		}
	}
}

func (b *plainBook) clip() {
	for _, n := range b.names {
		if most := b.policy.MaxWeightPerSymbol; n.target > most+Tolerance {
			n.strike(MaxWeight, "clipped from %s to the maximum weight %s", plainShow(n.target), plainShow(most))
			n.target = most
		}
	}
}

func (b *plainBook) scale() {
	gross := b.sum(plainTargetOf)
	if gross <= b.policy.GrossExposureCap+Tolerance {
		return
	}
	by := b.policy.GrossExposureCap / gross
	for _, n := range b.names {
		if n.target > 0 {
			n.target *= by
			n.strike(GrossExposure, "scaled by %s to the gross exposure cap %s", plainShow(by), plainShow(b.policy.GrossExposureCap))
		}
	}
}
