package supervisor

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
		{LeftUniverse, "", "no longer in the universe: sold whole, exempt from R4", nil},
		{LeftMarket, "", "no bar for 10 sessions: sold whole, exempt from R4; not bought", nil},
		{NoBar, "", "no bar on the day of the decision: neither bought nor increased", (*book).gateNoBar},
		{ScoreFloor, "score_floor", "score below the floor: neither bought nor increased", (*book).gateScore},
		{MaxPositions, "max_positions", "beyond the best max_positions names: rejected; more of them held: the last sold, exempt from R4", (*book).reject},
		{MaxWeight, "max_weight_per_symbol", "clipped, the rest stays cash; drifted above it: cut, exempt from R4", (*book).clip},
		{GrossExposure, "gross_exposure_cap", "all scaled to the cap; the book drifted above it: all cut, exempt from R4", (*book).scale},
		{Turnover, "turnover_cap", "sold or bought less than wanted", nil},
	}
}

// gate keeps a target from growing beyond what is held.
func (n *name) gate(flag Flag, why string) {
	if n.target <= n.weight {
		return
	}
	n.target = n.weight
	if n.weight == 0 {
		n.strike(flag, "%s: not bought", why)
	} else {
		n.strike(flag, "%s: not increased from %s to %s", why, show(n.weight), show(n.wanted))
	}
}

func (b *book) gateNoBar() {
	for _, n := range b.names {
		switch {
		case n.left != "":
			n.gate(n.left, leaving(n.left))
			n.target = 0
		case n.noBar:
			n.gate(NoBar, "no bar today")
		}
	}
}

func (b *book) gateScore() {
	if b.policy.ScoreFloor == nil {
		return
	}
	for _, n := range b.names {
		if n.score < *b.policy.ScoreFloor {
			n.gate(ScoreFloor, "score "+show(n.score)+" is below the floor "+show(*b.policy.ScoreFloor))
		}
	}
}

func (b *book) reject() {
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

func (b *book) clip() {
	for _, n := range b.names {
		if most := b.policy.MaxWeightPerSymbol; n.target > most+Tolerance {
			n.strike(MaxWeight, "clipped from %s to the maximum weight %s", show(n.target), show(most))
			n.target = most
		}
	}
}

func (b *book) scale() {
	gross := b.sum(targetOf)
	if gross <= b.policy.GrossExposureCap+Tolerance {
		return
	}
	by := b.policy.GrossExposureCap / gross
	for _, n := range b.names {
		if n.target > 0 {
			n.target *= by
			n.strike(GrossExposure, "scaled by %s to the gross exposure cap %s", show(by), show(b.policy.GrossExposureCap))
		}
	}
}
