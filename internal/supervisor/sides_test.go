package supervisor_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/supervisor"
	"quant/internal/test/soak"
)

// sidedSituation is a situation of a book that may be short.
func sidedSituation(r *rand.Rand) situation {
	s := randomSituation(r)
	s.policy.LongShort = true
	s.policy.GrossExposureCap *= []float64{1, 2, 4}[r.IntN(3)]
	s.policy.TurnoverCap *= []float64{1, 2}[r.IntN(2)]
	if r.IntN(2) == 0 {
		s.policy.NetExposureCap = new([]float64{0, 0.1, 1, r.Float64()}[r.IntN(4)])
	}
	for i := range s.proposal {
		if s.proposal[i].Weight *= 1 + r.Float64(); r.IntN(2) == 0 {
			s.proposal[i].Weight = -s.proposal[i].Weight
		}
	}
	for i := range s.basis {
		if s.basis[i].Weight *= 0.2 + 3*r.Float64(); r.IntN(2) == 0 {
			s.basis[i].Weight = -s.basis[i].Weight
		}
	}
	return s
}

// checkSides holds a decision of a book that may be short against what is promised of
// every one.
func checkSides(t *testing.T, s situation, d supervisor.Decision) {
	t.Helper()
	const tolerance = 1e-12
	fault := func(format string, args ...any) {
		t.Errorf("%s\n%+v\n%s turnover %v exempt %v", fmt.Sprintf(format, args...), s, show(d), d.Turnover, d.Exempt)
	}
	after, before, wanted := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, h := range s.basis {
		before[h.Symbol] = h.Weight
	}
	for _, p := range s.proposal {
		wanted[p.Symbol] = p.Weight
	}
	var gross, net, cash float64
	positions := 0
	for _, r := range d.Rows {
		after[r.Symbol] = r.Weight
		gross, net = gross+math.Abs(r.Weight), net+r.Weight
		if r.Approved != (r.Weight != 0) {
			fault("%s: approved %v with weight %v", r.Symbol, r.Approved, r.Weight)
		}
		if r.Weight != 0 {
			positions++
		}
		if math.Abs(r.Weight) > s.policy.MaxWeightPerSymbol+tolerance {
			fault("R2: %s %v", r.Symbol, r.Weight)
		}
		if r.Weight != wanted[r.Symbol] && len(r.Flags) == 0 {
			fault("%s: %v instead of %v without a flag", r.Symbol, r.Weight, wanted[r.Symbol])
		}
	}
	if gross > s.policy.GrossExposureCap+tolerance {
		fault("R1: %v", gross)
	}
	if positions > s.policy.MaxPositions {
		fault("R3: %d", positions)
	}
	if s.policy.NetExposureCap != nil && math.Abs(net) > *s.policy.NetExposureCap+tolerance {
		fault("R6: %v", net)
	}
	if math.Abs(gross-d.Gross) > tolerance || math.Abs(net-d.Net) > tolerance {
		fault("gross %v net %v, told %v and %v", gross, net, d.Gross, d.Net)
	}
	var moved float64
	seen := map[string]bool{}
	for _, m := range []map[string]float64{before, after} {
		for symbol := range m {
			if !seen[symbol] {
				seen[symbol] = true
				moved += math.Abs(after[symbol] - before[symbol])
				cash += after[symbol] - before[symbol]
			}
		}
	}
	turnover := (moved + math.Abs(cash)) / 2
	if math.Abs(turnover-d.Turnover) > 1e-11 {
		fault("turnover is %v", turnover)
	}
	if turnover > s.policy.TurnoverCap+d.Exempt+1e-11 {
		fault("R4: %v", turnover)
	}
	for _, h := range s.basis {
		if h.Left != "" && after[h.Symbol] != 0 {
			fault("%s left and is held", h.Symbol)
		}
	}
	grew := func(symbol string) bool {
		a, b := after[symbol], before[symbol]
		return a*b < 0 || math.Abs(a) > math.Abs(b)+tolerance
	}
	for _, p := range s.proposal {
		score := p.Score
		if p.Weight < 0 {
			score = -score
		}
		if (p.NoBar || s.policy.ScoreFloor != nil && score < *s.policy.ScoreFloor) && grew(p.Symbol) {
			fault("R5, or no bar: %s grew", p.Symbol)
		}
	}
	for symbol, w := range after {
		if grew(symbol) && (w*wanted[symbol] < 0 || math.Abs(w) > math.Abs(wanted[symbol])+tolerance) {
			fault("%s went beyond what was wanted", symbol)
		}
	}
}

func TestTheRulesHoldAfterEveryDecisionOfALongShortBook(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 20_000, 1_000_000) {
		s := sidedSituation(r)
		d := decide(t, s.policy, s.proposal, s.basis)
		if checkSides(t, s, d); t.Failed() {
			return
		}
	}
}

func TestALongShortProposalThatBreaksNothingIsUnchangedToTheBit(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 10_000, 1_000_000) {
		s := sidedSituation(r)
		s.policy = supervisor.Policy{GrossExposureCap: 4, MaxWeightPerSymbol: 1, MaxPositions: 40, TurnoverCap: 40, LongShort: true, NetExposureCap: new(4.0)}
		total := 0.0
		for i := range s.proposal {
			s.proposal[i].NoBar = false
			s.proposal[i].Weight = max(-1, min(1, s.proposal[i].Weight))
			total += math.Abs(s.proposal[i].Weight)
		}
		for i := range s.basis {
			s.basis[i].Left, s.basis[i].Weight = "", max(-1, min(1, s.basis[i].Weight/8))
		}
		if total > 4 {
			continue
		}
		d := decide(t, s.policy, s.proposal, s.basis)
		for i, row := range d.Rows {
			if i >= len(s.proposal) || row.Weight != s.proposal[i].Weight || len(row.Flags) > 0 {
				t.Fatalf("%+v of %+v", d, s)
			}
		}
	}
}

// A long-short book that is decided again and again while prices move keeps to every
// rule, and arrives where the proposal stays.
func TestARandomHistoryOfALongShortBookKeepsToTheRulesAndArrives(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 200, 30_000) {
		s := sidedSituation(r)
		s.policy.TurnoverCap = max(s.policy.TurnoverCap, 0.05)
		s.policy.ScoreFloor = nil
		var d supervisor.Decision
		for step := range 120 {
			if step < 20 {
				s.proposal = sidedSituation(r).proposal
				for i := range s.proposal {
					s.proposal[i].NoBar = false
				}
				total := 1 - d.Net
				for i := range s.basis {
					s.basis[i].Weight *= math.Exp(r.NormFloat64() / 20)
					total += s.basis[i].Weight
				}
				for i := range s.basis {
					s.basis[i].Weight /= max(total, 0.1)
				}
			}
			d = decide(t, s.policy, s.proposal, s.basis)
			if checkSides(t, s, d); t.Failed() {
				return
			}
			s.basis = nil
			for _, row := range d.Rows {
				if row.Approved {
					s.basis = append(s.basis, supervisor.Held{Symbol: row.Symbol, Weight: row.Weight, Score: row.Score})
				}
			}
		}
		if d.Turnover > 1e-9 {
			t.Fatalf("still moving by %v: %+v\n%s", d.Turnover, s, show(d))
		}
	}
}

// plainSides decides once more, with a ledger of longs and one of shorts, each of
// amounts that are never negative. It returns signed weights.
func plainSides(s situation) map[string]float64 {
	type side map[string]float64
	p := s.policy
	own, want := [2]side{{}, {}}, [2]side{{}, {}} // of longs, of shorts
	put := func(into [2]side, symbol string, w float64) {
		if w < 0 {
			into[1][symbol] = -w
		} else {
			into[0][symbol] = w
		}
	}
	held := map[string]supervisor.Held{}
	for _, h := range s.basis {
		held[h.Symbol] = h
		put(own, h.Symbol, h.Weight)
	}
	var order, rest []string
	proposed := map[string]supervisor.Proposed{}
	for _, n := range s.proposal {
		proposed[n.Symbol] = n
		put(want, n.Symbol, n.Weight)
		order = append(order, n.Symbol)
	}
	for _, h := range s.basis {
		if _, is := proposed[h.Symbol]; !is {
			rest = append(rest, h.Symbol)
		}
	}
	stands := func(symbol string) float64 {
		h := held[symbol]
		switch {
		case math.IsNaN(h.Score):
			return math.Inf(-1)
		case h.Weight < 0:
			return 0 - h.Score
		}
		return h.Score
	}
	slices.SortFunc(rest, func(a, b string) int {
		return cmp.Or(cmp.Compare(stands(b), stands(a)), strings.Compare(a, b))
	})
	order = append(order, rest...)
	total := func(of side) (sum float64) {
		for _, symbol := range order {
			sum += of[symbol]
		}
		return sum
	}
	count := func(of [2]side) (n int) {
		for _, symbol := range order {
			if of[0][symbol]+of[1][symbol] > 0 {
				n++
			}
		}
		return n
	}
	caps := func(of [2]side) {
		for k := range of {
			for symbol := range of[k] {
				of[k][symbol] = min(of[k][symbol], p.MaxWeightPerSymbol)
			}
		}
		if g := total(of[0]) + total(of[1]); g > p.GrossExposureCap {
			for k := range of {
				for symbol := range of[k] {
					of[k][symbol] *= p.GrossExposureCap / g
				}
			}
		}
		if p.NetExposureCap == nil {
			return
		}
		for k := range of {
			if ahead := total(of[k]) - total(of[1-k]); ahead > *p.NetExposureCap+1e-15 {
				share := (total(of[1-k]) + *p.NetExposureCap) / total(of[k])
				for symbol := range of[k] {
					of[k][symbol] *= share
				}
			}
		}
	}
	cash := count(own) == 0
	for k := range own {
		for symbol := range own[k] {
			if held[symbol].Left != "" {
				own[k][symbol] = 0
			}
		}
	}
	for i := len(order) - 1; count(own) > p.MaxPositions; i-- {
		own[0][order[i]], own[1][order[i]] = 0, 0
	}
	caps(own)
	for symbol, n := range proposed {
		for k := range want {
			score := n.Score
			if k == 1 {
				score = 0 - score
			}
			if held[symbol].Left != "" {
				want[k][symbol] = 0
			}
			if n.NoBar || p.ScoreFloor != nil && score < *p.ScoreFloor {
				want[k][symbol] = min(want[k][symbol], own[k][symbol])
			}
		}
	}
	places := 0
	for _, symbol := range order {
		if want[0][symbol]+want[1][symbol] > 0 {
			if places++; places > p.MaxPositions {
				want[0][symbol], want[1][symbol] = 0, 0
			}
		}
	}
	caps(want)
	var sell, buy float64
	for _, symbol := range order {
		change := want[0][symbol] - want[1][symbol] - own[0][symbol] + own[1][symbol]
		sell, buy = sell+max(-change, 0), buy+max(change, 0)
	}
	if cash || max(sell, buy) <= p.TurnoverCap {
		own = want
	} else {
		budget := map[bool]float64{true: p.TurnoverCap, false: p.TurnoverCap} // purchases, sales
		take := func(k int, symbol string, size float64, adds bool) float64 {
			buys := (k == 0) == adds
			size = min(size, budget[buys])
			if size <= 1e-12 {
				return 0
			}
			budget[buys] -= size
			if adds {
				own[k][symbol] += size
			} else if own[k][symbol] -= size; own[k][symbol] < 1e-13 {
				own[k][symbol] = 0
			}
			return size
		}
		for i := len(order) - 1; i >= 0; i-- {
			for k := range own {
				take(k, order[i], own[k][order[i]]-want[k][order[i]], false)
			}
		}
		type addition struct {
			k      int
			symbol string
			size   float64
		}
		var added []addition
		for _, symbol := range order {
			for k := range own {
				if want[k][symbol] <= own[k][symbol] || own[1-k][symbol] > 0 || own[k][symbol] == 0 && count(own) >= p.MaxPositions {
					continue
				}
				if size := take(k, symbol, min(want[k][symbol]-own[k][symbol], p.GrossExposureCap-total(own[0])-total(own[1])), true); size > 0 {
					added = append(added, addition{k, symbol, size})
				}
			}
		}
		for k := range own {
			for _, a := range slices.Backward(added) {
				if p.NetExposureCap == nil || a.k != k {
					continue
				}
				if over := total(own[k]) - total(own[1-k]) - *p.NetExposureCap; over > 0 {
					own[k][a.symbol] -= min(over, a.size)
				}
			}
		}
		caps(own)
	}
	weights := map[string]float64{}
	for _, symbol := range order {
		weights[symbol] = own[0][symbol] - own[1][symbol]
	}
	return weights
}

func TestASecondPlainImplementationDecidesTheSameOfALongShortBook(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 20_000, 1_000_000) {
		s := sidedSituation(r)
		d := decide(t, s.policy, s.proposal, s.basis)
		want := plainSides(s)
		for _, row := range d.Rows {
			if math.Abs(row.Weight-want[row.Symbol]) > 1e-9 {
				t.Fatalf("%s: %v, plainly %v\n%+v\n%s", row.Symbol, row.Weight, want[row.Symbol], s, show(d))
			}
			delete(want, row.Symbol)
		}
		for symbol, w := range want {
			if math.Abs(w) > 1e-9 {
				t.Fatalf("%s: plainly %v, and not there\n%+v\n%s", symbol, w, s, show(d))
			}
		}
	}
}

// A long-only decision is the same where the policy lets the book be short.
func TestALongBookIsDecidedAlikeWhereShortsAreLet(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 10_000, 300_000) {
		s := randomSituation(r)
		a := decide(t, s.policy, s.proposal, s.basis)
		s.policy.LongShort = true
		b := decide(t, s.policy, s.proposal, s.basis)
		for i := range a.Rows {
			if i >= len(b.Rows) || a.Rows[i].Symbol != b.Rows[i].Symbol || math.Abs(a.Rows[i].Weight-b.Rows[i].Weight) > 1e-12 {
				t.Fatalf("%s\nand\n%s", show(a), show(b))
			}
		}
	}
}

func TestWhatHappensToAShortIsSaid(t *testing.T) {
	t.Parallel()
	p := supervisor.Policy{GrossExposureCap: 2, MaxWeightPerSymbol: 0.5, MaxPositions: 4, TurnoverCap: 0.1, LongShort: true, NetExposureCap: new(0.2), ScoreFloor: new(0.0)}
	d := decide(t, p, []supervisor.Proposed{{Symbol: "A", Score: 3, Weight: 0.6}, {Symbol: "B", Score: 1, Weight: -0.5}, {Symbol: "C", Score: -3, Weight: -0.3}},
		[]supervisor.Held{{Symbol: "D", Weight: -0.3, Score: -1}, {Symbol: "E", Weight: -0.1, Score: 0, Left: supervisor.LeftMarket}, {Symbol: "F", Weight: 0.3, Score: 2}})
	var text []string
	for _, row := range d.Rows {
		text = append(text, fmt.Sprintf("%s %.4g %v %s", row.Symbol, row.Weight, row.Flags, row.Reason))
	}
	want := []string{
		"A 0 [R2_MAX_WEIGHT R4_TURNOVER] clipped from 0.6 to the maximum weight 0.5; wanted at 0.5, brought to 0: the turnover cap 0.1 allows no more",
		"B 0 [R5_SCORE_FLOOR] score -1 is below the floor 0: not sold short",
		"C 0 [R4_TURNOVER] wanted at -0.3, brought to 0: the turnover cap 0.1 allows no more",
		"D -0.2 [R4_TURNOVER] wanted at 0, brought to -0.2: the turnover cap 0.1 allows no more",
		"E 0 [LEFT_MARKET] left the market: covered whole",
		"F 0.2 [R4_TURNOVER] wanted at 0, brought to 0.2: the turnover cap 0.1 allows no more",
	}
	if !slices.Equal(text, want) {
		t.Errorf("%s", strings.Join(text, "\n"))
	}
	if _, err := supervisor.Decide(p, []supervisor.Proposed{{Symbol: "A", Weight: math.Inf(-1)}}, nil); !errors.Is(err, quant.Invalid) {
		t.Error(err)
	}
}
