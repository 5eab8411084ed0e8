package supervisor

import "math"

// capsSectors reports whether some sector has a cap.
func (p Policy) capsSectors() bool { return p.SectorCap != nil || len(p.SectorCaps) > 0 }

// sectorCap is the cap of a sector; without one, the positive infinity.
func (p Policy) sectorCap(sector string) float64 {
	if most, own := p.SectorCaps[sector]; own {
		return most
	}
	if p.SectorCap == nil {
		return math.Inf(1)
	}
	return *p.SectorCap
}

// crowded are the sectors whose weights are more than the sector cap, and what they
// are; nil: none is.
func (b *book) crowded(weights []float64) map[string]float64 {
	if !b.policy.capsSectors() {
		return nil
	}
	sums := map[string]float64{}
	for i, w := range weights {
		sums[b.names[i].sector] += math.Abs(w)
	}
	for sector, sum := range sums {
		if sum <= b.policy.sectorCap(sector)+Tolerance {
			delete(sums, sector)
		}
	}
	return sums
}

// capSectors is R7.
func (b *book) capSectors() {
	over := b.crowded(b.target)
	for i, target := range b.target {
		if held := over[b.names[i].sector]; held > 0 && target != 0 {
			most := b.policy.sectorCap(b.names[i].sector)
			by := most / held
			b.target[i] = target * by
			b.strike(i, SectorCap, "scaled by ", by, ": its sector would stand at ", held, ", more than the sector cap ", most)
		}
	}
}

// sectorRoom is how much more may be held of the sector of name i.
func (b *book) sectorRoom(i int) float64 {
	if !b.policy.capsSectors() {
		return math.Inf(1)
	}
	held := 0.0
	for k := range b.names {
		if b.names[k].sector == b.names[i].sector {
			held += math.Abs(b.weight[k])
		}
	}
	return b.policy.sectorCap(b.names[i].sector) - held
}
