package supervisor

import "math"

// Rule is one entry of the catalogue.
type Rule struct {
	Flag Flag
	Key  string // key of the strategy file's section supervisor; "" for a fact of the market
	Doc  string // what it does

	// apply changes the targets of a book; nil for what has no part in them: R4
	// limits the way there, and what left is sold before.
	apply func(*book)
}

// Catalogue returns every flag, in the order in which they are applied. The
// unit of every weight is a decimal of equity.
func Catalogue() []Rule {
	return []Rule{
		{LeftUniverse, "", "no longer in the universe: sold or covered whole, exempt from R4", nil},
		{LeftMarket, "", "no bar for 10 sessions: sold or covered whole, exempt from R4; not bought", nil},
		{NoBar, "", "no bar on the day of the decision: neither bought nor increased", (*book).gateNoBar},
		{ScoreFloor, "score_floor", "score below the floor, of a short its negative: neither opened nor increased", (*book).gateScore},
		{MaxPositions, "max_positions", "beyond the best max_positions names: rejected; more of them held: the last sold, exempt from R4", (*book).reject},
		{MaxWeight, "max_weight_per_symbol", "clipped, the rest stays cash; drifted above it: cut, exempt from R4", (*book).clip},
		{SectorCap, "sector_cap", "the sector scaled to the cap; drifted above it: all of the sector cut, exempt from R4", (*book).capSectors},
		{GrossExposure, "gross_exposure_cap", "all scaled to the cap; the book drifted above it: all cut, exempt from R4", (*book).scale},
		{NetExposure, "net_exposure_cap", "the heavier side scaled to the cap; the book drifted above it: that side cut, exempt from R4", (*book).balance},
		{Turnover, "turnover_cap", "sold or bought less than wanted", nil},
	}
}

// gate keeps a target from growing beyond what is held. A target on the other side of
// what is held ends at nothing.
func (b *book) gate(i int, flag Flag, why ...any) {
	target, weight := b.target[i], b.weight[i]
	across := target*weight < 0
	if math.Abs(target) <= math.Abs(weight) && !across {
		return
	}
	if b.target[i] = weight; across {
		b.target[i] = 0
	}
	switch {
	case (weight == 0 || across) && target < 0:
		b.strike(i, flag, append(why, ": not sold short")...)
	case weight == 0 || across:
		b.strike(i, flag, append(why, ": not bought")...)
	default:
		b.strike(i, flag, append(why, ": not increased from ", b.weight[i], " to ", b.names[i].wanted)...)
	}
}

func (b *book) gateNoBar() {
	for i := range b.names {
		switch n := &b.names[i]; {
		case n.left != "":
			b.gate(i, n.left, leaving(n.left))
			b.target[i] = 0
		case n.noBar:
			b.gate(i, NoBar, "no bar today")
		}
	}
}

func (b *book) gateScore() {
	if b.policy.ScoreFloor == nil {
		return
	}
	for i := range b.names {
		if score := standing(b.names[i].score, b.target[i]); score < *b.policy.ScoreFloor {
			b.gate(i, ScoreFloor, "score ", score, " is below the floor ", *b.policy.ScoreFloor)
		}
	}
}

func (b *book) reject() {
	count := 0
	for i, target := range b.target {
		if target == 0 {
			continue
		}
		if count++; count > b.policy.MaxPositions {
			b.target[i] = 0
			b.strike(i, MaxPositions, "rank ", i+1, ": no place among ", b.policy.MaxPositions, " positions")
		}
	}
}

func (b *book) clip() {
	for i, target := range b.target {
		if most := b.policy.MaxWeightPerSymbol; math.Abs(target) > most+Tolerance {
			b.strike(i, MaxWeight, "clipped from ", target, " to the maximum weight ", most)
			b.target[i] = math.Copysign(most, target)
		}
	}
}

func (b *book) scale() {
	gross := gross(b.target)
	if gross <= b.policy.GrossExposureCap+Tolerance {
		return
	}
	by := b.policy.GrossExposureCap / gross
	for i, target := range b.target {
		if target != 0 {
			b.target[i] = target * by
			b.strike(i, GrossExposure, "scaled by ", by, " to the gross exposure cap ", b.policy.GrossExposureCap)
		}
	}
}
