package supervisor

import (
	"math"
	"slices"
)

// unbalanced is what the heavier side of weights is to be multiplied by so that its
// lead over the other keeps to the net exposure cap; 1 or more where it does. heavier
// is the sign of that side.
func (b *book) unbalanced(weights []float64) (by, heavier, net float64) {
	if b.policy.NetExposureCap == nil || !b.policy.LongShort {
		return 1, 1, 0
	}
	most := *b.policy.NetExposureCap
	net = sum(weights)
	if math.Abs(net) <= most+Tolerance {
		return 1, 1, net
	}
	heavier = math.Copysign(1, net)
	var side, other float64
	for _, w := range weights {
		if w*heavier > 0 {
			side += math.Abs(w)
		} else {
			other += math.Abs(w)
		}
	}
	return (other + most) / side, heavier, net
}

func sideOf(sign float64) string {
	if sign < 0 {
		return "shorts"
	}
	return "longs"
}

// balance is R6.
func (b *book) balance() {
	by, heavier, net := b.unbalanced(b.target)
	if by >= 1 {
		return
	}
	for i, target := range b.target {
		if target*heavier > 0 {
			b.target[i] = target * by
			b.strike(i, NetExposure, "scaled by ", by, ": ", sideOf(heavier), " lead by ", math.Abs(net), ", more than the net exposure cap ", *b.policy.NetExposureCap)
		}
	}
}

// tradeBoth is trade of a book that may be short, and returns what R6 forces. Sales, of
// longs and short ones, and purchases, of longs and to cover, each have the turnover
// cap for budget: turnover is the larger of the two. What goes towards zero goes first,
// lowest standing first; then what goes away from it, in rank order, while the budget,
// the places and R1 last. Where that would break R6, what grew on the heavier side is
// taken back, the last first; and if that is not enough, the side is cut.
func (b *book) tradeBoth() (exempt float64) {
	p := b.policy
	budget := map[bool]float64{true: p.TurnoverCap, false: p.TurnoverCap} // of purchases, of sales
	step := func(i int, to, room float64) {
		want := to - b.weight[i]
		size, can := math.Abs(want), min(budget[want > 0], room)
		switch {
		case size <= can+Tolerance:
			b.weight[i] = to
		case can > Tolerance:
			b.weight[i], size = b.weight[i]+math.Copysign(can, want), can
		default:
			size = 0
		}
		budget[want > 0] -= size
	}
	for i := len(b.names) - 1; i >= 0; i-- {
		switch weight, target := b.weight[i], b.target[i]; {
		case weight*target < 0 || target == 0 && weight != 0:
			step(i, 0, math.Inf(1))
		case math.Abs(weight) > math.Abs(target):
			step(i, target, math.Inf(1))
		}
	}
	reduced := slices.Clone(b.weight)
	full := make([]bool, len(b.names))    // no place was free for it
	crowded := make([]bool, len(b.names)) // its sector had no more room
	positions := b.positions()
	for i := range b.names {
		weight, target := b.weight[i], b.target[i]
		if weight*target < 0 || math.Abs(target) <= math.Abs(weight) {
			continue
		}
		if full[i] = weight == 0 && positions >= p.MaxPositions; full[i] {
			continue
		}
		room, sector := p.GrossExposureCap-gross(b.weight), b.sectorRoom(i)
		crowded[i] = sector < min(room, budget[target > weight])-Tolerance
		step(i, target, min(room, sector))
		if weight == 0 && b.weight[i] != 0 {
			positions++
		}
	}
	if by, heavier, net := b.unbalanced(b.weight); by < 1 {
		over := math.Abs(net) - *p.NetExposureCap
		for i := len(b.names) - 1; i >= 0 && over > 0; i-- {
			grown := (b.weight[i] - reduced[i]) * heavier
			if grown <= 0 || b.weight[i]*heavier <= 0 {
				continue
			}
			if grown <= over {
				b.weight[i] = reduced[i]
			} else {
				b.weight[i] -= over * heavier
			}
			over -= grown
		}
	}
	for i := range b.names {
		weight, target := b.weight[i], b.target[i]
		switch {
		case weight == target:
		case crowded[i]:
			b.strike(i, Turnover, "wanted at ", target, ", brought to ", weight, ": its sector is full until the turnover cap ", p.TurnoverCap, " lets more of it go")
		case full[i] && weight == 0:
			b.strike(i, Turnover, "wanted at ", target, ", not opened: what the turnover cap ", p.TurnoverCap, " does not let go yet takes its place")
		default:
			b.strike(i, Turnover, "wanted at ", target, ", brought to ", weight, ": the turnover cap ", p.TurnoverCap, " allows no more")
		}
	}
	if by, heavier, net := b.unbalanced(b.weight); by < 1 {
		for i, w := range b.weight {
			if w*heavier > 0 {
				b.weight[i], b.names[i].forced = w*by, true
				b.strike(i, NetExposure, "the book would stand at a net of ", net, ": ", sideOf(heavier), " cut to the net exposure cap ", *p.NetExposureCap)
				exempt += math.Abs(w - b.weight[i])
			}
		}
	}
	return exempt
}
