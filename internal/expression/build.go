package expression

import (
	"fmt"
	"slices"

	"quant"
)

// part is a node that features share: equal parts are one.
type part struct {
	kernel   kernel // 0: a field or a number
	args     []int
	window   int
	reach    int // sessions before its own that it reads of its arguments
	quantile float64
	group    string
	field    string
	number   float64
	lookback int
	section  int // the stage whose end gives it; 0: of the symbol's own bars
	slot     int // of a function over a cross-section: its place in Program.sections
}

func (p *part) constant() bool { return p.kernel == 0 && p.field == "" }

// section is a function over the symbols of a session.
type section struct {
	kernel  kernel
	grouped bool
	stage   int // whose end it is computed at
	need    int // sessions before the first that is asked for at which it is needed
}

// family is the parts that one pass computes.
type family int

const (
	elementwise family = iota
	lagged
	summed
	moments
	greatest
	least
	ordered
	paired
	direct
	counted
)

func familyOf(k kernel) family {
	switch k {
	case kRef, kDelta:
		return lagged
	case kSum, kShare:
		return summed
	case kMean, kStd, kVar, kSlope, kRsquare, kResi, kWMA:
		return moments
	case kMax, kIdxMax:
		return greatest
	case kMin, kIdxMin:
		return least
	case kMed, kQuantile, kRank:
		return ordered
	case kCorr, kCov:
		return paired
	case kSkew, kKurt, kMad, kEMA:
		return direct
	case kCount:
		return counted
	default:
		return elementwise
	}
}

// step computes the parts of one family over one window of the same arguments.
type step struct {
	family family
	window int
	need   int // sessions before the first that is asked for from which it is needed
	args   []int
	outs   []result
}

type result struct {
	kernel   kernel
	quantile float64
	lookback int
	register int
	to       []int // the outputs of the stage that it is
}

// leaf is a register that is filled from outside: a field, a number, or what a
// cross-section gave.
type leaf struct {
	register int
	field    string
	number   float64
	section  int // its place in Program.sections, -1 of none
}

// stage is what a symbol's bars are asked for at once: the arguments of cross-sections,
// or, the last, the features.
type stage struct {
	leaves    []leaf
	steps     []*step
	outputs   int
	registers int
	pass      [][2]int // a leaf that is an output as it is: register, output
	reach     int      // sessions before the first that is asked for that it reads
}

type builder struct {
	p     *Program
	parts []part
	known map[string]int
	roots []int
}

func newBuilder(p *Program) *builder { return &builder{p: p, known: map[string]int{}} }

func (b *builder) add(root *node) error {
	id, err := b.part(root)
	b.roots = append(b.roots, id)
	return err
}

func (b *builder) part(n *node) (int, error) {
	q := part{window: n.window, quantile: n.quantile, group: n.group, field: n.field, number: n.number, lookback: n.lookback, slot: -1}
	key := fmt.Sprintf("$%s %v", n.field, n.number)
	if n.function != nil {
		q.kernel = n.function.kernel
		if q.kernel == kMean && n.args[0].boolean {
			q.kernel = kShare
		}
		for _, a := range n.args {
			id, err := b.part(a)
			if err != nil {
				return 0, err
			}
			q.args = append(q.args, id)
			q.section = max(q.section, b.parts[id].section)
		}
		if w := n.function.window; w != nil {
			q.reach = w.reach(n.window)
		}
		key = fmt.Sprintf("%d %v %d %v %s", q.kernel, q.args, q.window, q.quantile, q.group)
	}
	if id, ok := b.known[key]; ok {
		return id, nil
	}
	if len(b.parts) == MaxNodes {
		return 0, quant.Errorf(quant.Invalid, "the features have more than %d parts together", MaxNodes)
	}
	if q.kernel >= kCSRank {
		q.slot = len(b.p.sections)
		b.p.sections = append(b.p.sections, section{kernel: q.kernel, grouped: q.group != "", stage: q.section})
		q.section++
	}
	b.known[key] = len(b.parts)
	b.parts = append(b.parts, q)
	return len(b.parts) - 1, nil
}

// finish lays out the stages, the last first: what is needed of an earlier one follows.
func (b *builder) finish() {
	depth := 0
	for _, q := range b.parts {
		depth = max(depth, q.section)
	}
	need := make([]int, len(b.parts))
	b.p.stages = make([]*stage, depth+1)
	for k := depth; k >= 0; k-- {
		targets := b.roots
		if k < depth {
			targets = nil
			for i := range b.parts {
				if q := &b.parts[i]; q.slot >= 0 && q.section == k+1 {
					targets = append(targets, q.args[0])
					need[q.args[0]] = max(need[q.args[0]], need[i])
					b.p.sections[q.slot].need = need[i]
				}
			}
		}
		b.p.stages[k] = b.stage(targets, need)
	}
}

// stage lays out the steps that give some parts, and says what they need.
func (b *builder) stage(targets []int, need []int) *stage {
	wanted := make([]bool, len(b.parts))
	for _, id := range targets {
		wanted[id] = true
	}
	isLeaf := func(q *part) bool { return q.kernel == 0 || q.slot >= 0 }
	for id := len(b.parts) - 1; id >= 0; id-- {
		q := &b.parts[id]
		if !wanted[id] || isLeaf(q) {
			continue
		}
		for _, a := range q.args {
			wanted[a] = true
		}
	}
	s := &stage{outputs: len(targets)}
	// The steps, each where its first part stands, and the parts of each.
	type group struct {
		step *step
		ids  []int
	}
	var groups []group
	at := map[string]int{}
	for id := range b.parts {
		q := &b.parts[id]
		if !wanted[id] || isLeaf(q) {
			continue
		}
		f := familyOf(q.kernel)
		key := fmt.Sprint(id)
		if f == moments || f == greatest || f == least || f == ordered || f == paired {
			key = fmt.Sprintf("%d %v %d", f, q.args, q.window)
		}
		k, ok := at[key]
		if !ok {
			k = len(groups)
			at[key] = k
			groups = append(groups, group{step: &step{family: f, window: q.window, args: q.args}})
		}
		groups[k].ids = append(groups[k].ids, id)
	}
	for k := len(groups) - 1; k >= 0; k-- {
		g := groups[k]
		for _, id := range g.ids {
			g.step.need = max(g.step.need, need[id])
		}
		for _, a := range g.step.args {
			need[a] = max(need[a], g.step.need+b.parts[g.ids[0]].reach)
		}
	}
	// Registers: a part holds one from its step to the last that reads it.
	last := make([]int, len(b.parts))
	for id := range last {
		last[id] = -1
	}
	for k, g := range groups {
		for _, a := range g.step.args {
			last[a] = k
		}
	}
	register := make([]int, len(b.parts))
	var free []int
	take := func() int {
		if k := len(free) - 1; k >= 0 {
			r := free[k]
			free = free[:k]
			return r
		}
		s.registers++
		return s.registers - 1
	}
	for id := range b.parts {
		if q := &b.parts[id]; wanted[id] && isLeaf(q) {
			register[id] = take()
			s.leaves = append(s.leaves, leaf{register: register[id], field: q.field, number: q.number, section: q.slot})
			if !q.constant() {
				s.reach = max(s.reach, need[id])
			}
			for k, target := range targets {
				if target == id {
					s.pass = append(s.pass, [2]int{register[id], k})
				}
			}
		}
	}
	for k, g := range groups {
		for _, id := range g.ids {
			q := &b.parts[id]
			register[id] = take()
			r := result{kernel: q.kernel, quantile: q.quantile, lookback: q.lookback, register: register[id]}
			for n, target := range targets {
				if target == id {
					r.to = append(r.to, n)
				}
			}
			g.step.outs = append(g.step.outs, r)
		}
		args := slices.Clone(g.step.args)
		for i, a := range g.step.args {
			args[i] = register[a]
		}
		var done []int
		for _, id := range append(slices.Clone(g.step.args), g.ids...) {
			q := &b.parts[id]
			if last[id] <= k && !q.constant() && q.kernel != 0 && q.slot < 0 && !slices.Contains(done, id) {
				done = append(done, id)
				free = append(free, register[id])
			}
		}
		g.step.args = args
		s.steps = append(s.steps, g.step)
	}
	return s
}
