package model

import (
	"quant"
)

// split is a fold to be: what is learned from and what is judged, of samples in the
// order of time.
type split struct {
	task   string
	groups []int   // of Combinatorial: the numbers of its test groups, from 1
	test   []block // in the order of time
	fit    []span  // of whole sessions, in the order of time, none empty
	// purged and embargoed count the samples that are in neither.
	purged, embargoed int
}

// testSamples counts the samples that are judged.
func (s split) testSamples() int {
	n := 0
	for _, b := range s.test {
		n += b.hi - b.lo
	}
	return n
}

// splits cuts the samples as the policy has it. Refused: there are too few.
func (p Policy) splits(d *sampleSet) ([]split, error) {
	if p.Method == Combinatorial {
		return p.combinatorial(d)
	}
	blocks, err := p.walkForward(d.days, len(d.y))
	if err != nil {
		return nil, err
	}
	var list []split
	for k, b := range blocks {
		hi := p.trainingEnd(d, b)
		list = append(list, split{task: FoldTask(k + 1), test: []block{b}, fit: []span{{0, hi}}, purged: b.lo - hi})
	}
	return list, nil
}

// trainingEnd is the end of the samples before a block from which its fold learns:
// those that the policy keeps. They are a prefix, because all samples have one
// horizon.
func (p Policy) trainingEnd(d *sampleSet, b block) int {
	before := d.until(b.lo)
	k := len(before)
	for k > 0 && !p.keeps(b, before[k-1].session) {
		k--
	}
	if k == len(before) {
		return b.lo
	}
	return before[k].at
}

// combinatorial are the folds of combinatorial purged cross-validation, in the
// lexicographic order of their test groups.
func (p Policy) combinatorial(d *sampleSet) ([]split, error) {
	n := len(d.days)
	if n < p.Groups {
		return nil, quant.Errorf(quant.Refused, "%d sessions with samples are too few for %d groups", n, p.Groups).
			WithHint("compute features and labels of more days, or choose fewer groups")
	}
	length := n / p.Groups
	group := func(g int) block {
		from, to := g*length, (g+1)*length
		b := block{First: d.days[from].session, lo: d.days[from].at, hi: len(d.y)}
		if g == p.Groups-1 {
			to = n
		} else {
			b.hi = d.days[to].at
		}
		b.Last = d.days[to-1].session
		return b
	}
	var list []split
	for _, chosen := range choose(p.Groups, p.TestGroups) {
		s := split{task: combinationTask(len(list) + 1)}
		tested := make([]bool, p.Groups)
		for _, g := range chosen {
			tested[g] = true
			s.groups, s.test = append(s.groups, g+1), append(s.test, group(g))
		}
		sessions := 0
		for k, day := range d.days {
			if tested[min(k/length, p.Groups-1)] {
				continue
			}
			size := d.end(k) - day.at
			met, embargoed := false, false
			for _, b := range s.test {
				met, embargoed = met || p.meets(b, day.session), embargoed || p.embargoes(b, day.session)
			}
			switch {
			case met:
				s.purged += size
			case embargoed:
				s.embargoed += size
			default:
				sessions++
				s.fit = appendSpan(s.fit, span{day.at, d.end(k)})
			}
		}
		if sessions < p.MinTrainSessions {
			return nil, quant.Errorf(quant.Refused, "the fold that tests groups %v has %d sessions to learn from, and needs %d", s.groups, sessions, p.MinTrainSessions).
				WithHint("compute features and labels of more days, or choose fewer test groups, a shorter horizon or embargo, or a lower --min-train")
		}
		list = append(list, s)
	}
	return list, nil
}

// appendSpan joins a span to the last one where it follows it.
func appendSpan(list []span, s span) []span {
	if n := len(list); n > 0 && list[n-1].hi == s.lo {
		list[n-1].hi = s.hi
		return list
	}
	return append(list, s)
}

// choose are the combinations of k of the numbers below n, in lexicographic order.
func choose(n, k int) [][]int {
	var list [][]int
	at := make([]int, k)
	for i := range at {
		at[i] = i
	}
	for {
		list = append(list, append([]int(nil), at...))
		i := k - 1
		for i >= 0 && at[i] == n-k+i {
			i--
		}
		if i < 0 {
			return list
		}
		at[i]++
		for j := i + 1; j < k; j++ {
			at[j] = at[j-1] + 1
		}
	}
}

// combinations is the number of combinations of k of n, or more than maxCombinations.
func combinations(n, k int) int {
	c := 1
	for i := 1; i <= min(k, n-k); i++ {
		if c = c * (n - i + 1) / i; c > 1<<40 {
			return c
		}
	}
	return c
}

// paths puts the folds of Combinatorial together: path j takes each group from the
// j-th fold that tests it. The value at [path][group] is the index of that fold.
func (p Policy) paths(splits []split) [][]int {
	number := combinations(p.Groups, p.TestGroups) * p.TestGroups / p.Groups
	paths := make([][]int, number)
	for j := range paths {
		paths[j] = make([]int, p.Groups)
	}
	seen := make([]int, p.Groups)
	for k, s := range splits {
		for _, g := range s.groups {
			paths[seen[g-1]][g-1] = k
			seen[g-1]++
		}
	}
	return paths
}
