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

func policy() supervisor.Policy {
	return supervisor.Policy{GrossExposureCap: 1, MaxWeightPerSymbol: 0.5, MaxPositions: 10, TurnoverCap: 0.3}
}

// names makes proposals of "A 0.9 0.5" (symbol, score, weight).
func names(t *testing.T, list ...string) (out []supervisor.Proposed) {
	t.Helper()
	for _, s := range list {
		var p supervisor.Proposed
		if _, err := fmt.Sscan(s, &p.Symbol, &p.Score, &p.Weight); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func held(t *testing.T, list ...string) (out []supervisor.Held) {
	for _, p := range names(t, list...) {
		out = append(out, supervisor.Held{Symbol: p.Symbol, Score: p.Score, Weight: p.Weight})
	}
	return out
}

func decide(t *testing.T, p supervisor.Policy, proposal []supervisor.Proposed, basis []supervisor.Held) supervisor.Decision {
	t.Helper()
	d, err := supervisor.Decide(p, proposal, basis)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// show writes a decision as "A 0.5 R2_MAX_WEIGHT; -B 0", - for not approved.
func show(d supervisor.Decision) string {
	var list []string
	for _, r := range d.Rows {
		s := fmt.Sprintf("%s %.6g", r.Symbol, r.Weight)
		if !r.Approved {
			s = "-" + s
		}
		for _, f := range r.Flags {
			s += " " + string(f)
		}
		list = append(list, s)
	}
	return strings.Join(list, "; ")
}

func TestEachRuleDoesWhatItSays(t *testing.T) {
	t.Parallel()
	floor := 0.5
	for _, c := range []struct {
		what             string
		change           func(*supervisor.Policy)
		proposal         []supervisor.Proposed
		basis            []supervisor.Held
		want             string
		turnover, exempt float64
	}{
		{"nothing breaks", nil, names(t, "A 2 0.5", "B 1 0.5"), nil, "A 0.5; B 0.5", 1, 1},
		{"R2 clips, the rest stays cash", nil, names(t, "A 2 0.7", "B 1 0.3"), nil, "A 0.5 R2_MAX_WEIGHT; B 0.3", 0.8, 0.8},
		{"R1 scales all", func(p *supervisor.Policy) { p.GrossExposureCap = 0.5 }, names(t, "A 2 0.5", "B 1 0.3"), nil, "A 0.3125 R1_GROSS_EXPOSURE; B 0.1875 R1_GROSS_EXPOSURE", 0.5, 0.5},
		{"R2 before R1", func(p *supervisor.Policy) { p.GrossExposureCap, p.MaxWeightPerSymbol = 0.4, 0.4 }, names(t, "A 2 0.6", "B 1 0.4"), nil,
			"A 0.2 R2_MAX_WEIGHT R1_GROSS_EXPOSURE; B 0.2 R1_GROSS_EXPOSURE", 0.4, 0.4},
		{"R3 rejects the last", func(p *supervisor.Policy) { p.MaxPositions = 1 }, names(t, "A 2 0.5", "B 1 0.5"), nil, "A 0.5; -B 0 R3_MAX_POSITIONS", 0.5, 0.5},
		{"R5 rejects what is new", func(p *supervisor.Policy) { p.ScoreFloor = &floor }, names(t, "A 0.5 0.5", "B 0.4 0.5"), nil, "A 0.5; -B 0 R5_SCORE_FLOOR", 0.5, 0.5},
		{"a name that R5 rejects takes no position", func(p *supervisor.Policy) { p.ScoreFloor, p.MaxPositions = &floor, 1 }, names(t, "A 0.4 0.5", "B 0.5 0.5"), nil, "-A 0 R5_SCORE_FLOOR; B 0.5", 0.5, 0.5},
		{"R5 lets what is held be held, and not grow", func(p *supervisor.Policy) { p.ScoreFloor = &floor }, names(t, "A 0.4 0.5", "B 0.3 0.2"), held(t, "A 0.4 0.4", "B 0.3 0.3"), "A 0.4 R5_SCORE_FLOOR; B 0.2", 0.1, 0},
		{"R4 within the cap is no limit", nil, names(t, "A 2 0.4", "B 1 0.3"), held(t, "A 2 0.5", "C 1 0.2"), "A 0.4; B 0.3", 0.3, 0},
		{"R4 sells the lowest first, then buys in order", nil, names(t, "A 9 0.3", "B 8 0.3", "C 7 0.3"), held(t, "X 3 0.25", "Y 2 0.25", "Z 1 0.25"),
			"A 0.3; -B 0 R4_TURNOVER; -C 0 R4_TURNOVER; X 0.25 R4_TURNOVER; Y 0.2 R4_TURNOVER", 0.3, 0},
		{"R4 does not buy what has no cash", nil, names(t, "A 9 0.5", "B 8 0.5"), held(t, "X 3 0.5", "Y 2 0.5"), "A 0.3 R4_TURNOVER; -B 0 R4_TURNOVER; X 0.5 R4_TURNOVER; Y 0.2 R4_TURNOVER", 0.3, 0},
		{"R4 buys no more names than there are places", func(p *supervisor.Policy) { p.MaxPositions = 2 }, names(t, "A 9 0.5", "B 8 0.5"), held(t, "X 3 0.4", "Y 2 0.4"), "-A 0 R4_TURNOVER; -B 0 R4_TURNOVER; X 0.4 R4_TURNOVER; Y 0.1 R4_TURNOVER", 0.3, 0},
		{"to cash, as far as R4 lets it", nil, nil, held(t, "X 3 0.5", "Y 2 0.4"), "X 0.5 R4_TURNOVER; Y 0.1 R4_TURNOVER", 0.3, 0},
		{"without a score first", nil, nil, []supervisor.Held{{Symbol: "N", Weight: 0.3, Score: math.NaN()}, {Symbol: "X", Weight: 0.3, Score: -5}}, "X 0.3 R4_TURNOVER", 0.3, 0},
		{"what left the universe is sold beside the cap", nil, names(t, "A 9 0.3"), []supervisor.Held{{Symbol: "X", Weight: 0.5, Score: 1, Left: supervisor.LeftUniverse}, {Symbol: "Y", Weight: 0.4, Score: 2}},
			"A 0.3; -X 0 LEFT_UNIVERSE; Y 0.1 R4_TURNOVER", 0.8, 0.5},
		{"what left the market is not bought", nil, names(t, "A 9 0.3"), []supervisor.Held{{Symbol: "A", Weight: 0.3, Score: 9, Left: supervisor.LeftMarket}}, "-A 0 LEFT_MARKET", 0.3, 0.3},
		{"what has no bar is not bought", nil, []supervisor.Proposed{{Symbol: "A", Score: 2, Weight: 0.5, NoBar: true}, {Symbol: "B", Score: 1, Weight: 0.5}}, nil, "-A 0 NO_BAR; B 0.5", 0.5, 0.5},
		{"drifted above R2: cut, exempt", func(p *supervisor.Policy) { p.TurnoverCap = 0 }, names(t, "A 9 0.5"), held(t, "A 9 0.6"), "A 0.5 R2_MAX_WEIGHT", 0.1, 0.1},
		{"drifted above R1: cut, exempt", func(p *supervisor.Policy) { p.TurnoverCap, p.GrossExposureCap = 0, 0.5 }, names(t, "A 9 0.4", "B 8 0.1"), held(t, "A 9 0.48", "B 8 0.12"),
			"A 0.4 R1_GROSS_EXPOSURE; B 0.1 R1_GROSS_EXPOSURE", 0.1, 0.1},
		{"more held than R3 allows: the last sold, exempt", func(p *supervisor.Policy) { p.TurnoverCap, p.MaxPositions = 0, 1 }, names(t, "A 9 0.4"), held(t, "A 9 0.4", "B 8 0.1"),
			"A 0.4; -B 0 R3_MAX_POSITIONS", 0.1, 0.1},
		{"no way at all", func(p *supervisor.Policy) { p.TurnoverCap = 0 }, names(t, "A 9 0.5"), held(t, "B 1 0.5"), "-A 0 R4_TURNOVER; B 0.5 R4_TURNOVER", 0, 0},
		{"nothing from nothing", nil, nil, nil, "", 0, 0},
		{"no weight wanted", nil, names(t, "A 9 0"), nil, "-A 0", 0, 0},
	} {
		p := policy()
		if c.change != nil {
			c.change(&p)
		}
		d := decide(t, p, c.proposal, c.basis)
		if got := show(d); got != c.want || math.Abs(d.Turnover-c.turnover) > 1e-12 || math.Abs(d.Exempt-c.exempt) > 1e-12 {
			t.Errorf("%s:\n got %s, turnover %v, exempt %v\nwant %s, turnover %v, exempt %v", c.what, got, d.Turnover, d.Exempt, c.want, c.turnover, c.exempt)
		}
		for _, r := range d.Rows {
			if r.Reason == "" {
				t.Errorf("%s: %s has no reason", c.what, r.Symbol)
			}
		}
	}
}

func TestWhatIsNoPortfolioIsRefused(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for what, c := range map[string]struct {
		p []supervisor.Proposed
		h []supervisor.Held
	}{
		"weight NaN":      {p: []supervisor.Proposed{{Symbol: "A", Weight: nan}}},
		"score NaN":       {p: []supervisor.Proposed{{Symbol: "A", Score: nan}}},
		"negative":        {p: []supervisor.Proposed{{Symbol: "A", Weight: -0.1}}},
		"infinite":        {p: []supervisor.Proposed{{Symbol: "A", Weight: math.Inf(1)}}},
		"twice":           {p: []supervisor.Proposed{{Symbol: "A"}, {Symbol: "A"}}},
		"held twice":      {h: []supervisor.Held{{Symbol: "A"}, {Symbol: "A"}}},
		"held NaN":        {h: []supervisor.Held{{Symbol: "A", Weight: nan}}},
		"more than there": {h: []supervisor.Held{{Symbol: "A", Weight: 0.6}, {Symbol: "B", Weight: 0.6}}},
	} {
		if _, err := supervisor.Decide(policy(), c.p, c.h); !errors.Is(err, quant.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// situation is random arguments of Decide.
type situation struct {
	policy   supervisor.Policy
	proposal []supervisor.Proposed
	basis    []supervisor.Held
}

func randomSituation(r *rand.Rand) situation {
	s := situation{policy: supervisor.Policy{
		GrossExposureCap:   []float64{1, 1, 0.9, 0.3, r.Float64() + 1e-3}[r.IntN(5)],
		MaxWeightPerSymbol: []float64{1, 0.15, 0.5, r.Float64() + 1e-3}[r.IntN(4)],
		MaxPositions:       1 + r.IntN(12),
		TurnoverCap:        []float64{0, 0.3, 1, r.Float64()}[r.IntN(4)],
	}}
	if r.IntN(3) == 0 {
		f := r.NormFloat64() / 2
		s.policy.ScoreFloor = &f
	}
	score := func() float64 { return math.Round(r.NormFloat64()*8) / 8 } // with ties
	scores := map[string]float64{}
	symbols := r.Perm(20)
	for _, n := range symbols {
		scores[fmt.Sprintf("S%02d", n)] = score()
	}
	symbol := func(i int) string { return fmt.Sprintf("S%02d", symbols[i]) }
	k := r.IntN(12)
	for i := range k {
		w := 1 / float64(k)
		if r.IntN(2) == 0 {
			w = r.Float64() * 2 / float64(k)
		}
		s.proposal = append(s.proposal, supervisor.Proposed{Symbol: symbol(i), Score: scores[symbol(i)], Weight: w, NoBar: r.IntN(20) == 0})
	}
	slices.SortFunc(s.proposal, func(a, b supervisor.Proposed) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.Symbol, b.Symbol))
	})
	h, from := r.IntN(12), r.IntN(8)
	var total float64
	for i := range h {
		one := supervisor.Held{Symbol: symbol(from + i), Weight: r.Float64(), Score: scores[symbol(from+i)]}
		total += one.Weight
		switch r.IntN(16) {
		case 0:
			one.Left = supervisor.LeftMarket
		case 1:
			one.Left = supervisor.LeftUniverse
		case 2:
			if !slices.ContainsFunc(s.proposal, func(p supervisor.Proposed) bool { return p.Symbol == one.Symbol }) {
				one.Score = math.NaN()
			}
		}
		s.basis = append(s.basis, one)
	}
	cash := []float64{0, r.Float64()}[r.IntN(2)] * total
	for i := range s.basis {
		s.basis[i].Weight /= total + cash
	}
	return s
}

// check holds a decision against what SEMANTICS promises of every one, written
// down without a look at how it was reached.
func check(t *testing.T, s situation, d supervisor.Decision) {
	t.Helper()
	const tolerance = 1e-11 // a few sums of Tolerance
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
	var gross float64
	positions := 0
	for _, r := range d.Rows {
		if _, twice := after[r.Symbol]; twice {
			fault("%s stands twice", r.Symbol)
		}
		after[r.Symbol] = r.Weight
		gross += r.Weight
		if r.Approved != (r.Weight > 0) || r.Weight < 0 {
			fault("%s: approved %v with weight %v", r.Symbol, r.Approved, r.Weight)
		}
		if r.Weight > 0 {
			positions++
		}
		if r.Weight > s.policy.MaxWeightPerSymbol+tolerance {
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
	// Half the sum of absolute changes, cash counted as a name.
	var moved, basisGross float64
	seen := map[string]bool{}
	for _, m := range []map[string]float64{before, after} {
		for symbol := range m {
			if !seen[symbol] {
				seen[symbol] = true
				moved += math.Abs(after[symbol] - before[symbol])
			}
		}
	}
	for _, h := range s.basis {
		basisGross += h.Weight
	}
	turnover := (moved + math.Abs(gross-basisGross)) / 2
	if math.Abs(turnover-d.Turnover) > tolerance {
		fault("turnover is %v", turnover)
	}
	if turnover > s.policy.TurnoverCap+d.Exempt+tolerance {
		fault("R4: %v", turnover)
	}
	for _, h := range s.basis {
		if h.Left != "" && after[h.Symbol] != 0 {
			fault("%s left and is held", h.Symbol)
		}
	}
	for _, p := range s.proposal {
		if s.policy.ScoreFloor != nil && p.Score < *s.policy.ScoreFloor && after[p.Symbol] > before[p.Symbol]+tolerance {
			fault("R5: %s grew", p.Symbol)
		}
	}
	for symbol := range after {
		if after[symbol] > before[symbol]+tolerance && after[symbol] > wanted[symbol]+tolerance {
			fault("%s was bought beyond what was wanted", symbol)
		}
	}
}

func TestTheRulesHoldAfterEveryDecision(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 20_000, 1_000_000) {
		s := randomSituation(r)
		d := decide(t, s.policy, s.proposal, s.basis)
		check(t, s, d)
		again := decide(t, s.policy, s.proposal, s.basis)
		if show(again) != show(d) {
			t.Error("the same again is not the same")
		}
		if t.Failed() {
			return
		}
	}
}

func TestAProposalThatBreaksNothingIsUnchangedToTheBit(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 10_000, 1_000_000) {
		k := 1 + r.IntN(30)
		p := supervisor.Policy{GrossExposureCap: 1, MaxWeightPerSymbol: 1, MaxPositions: k, TurnoverCap: 1}
		var proposal []supervisor.Proposed
		for i := range k {
			proposal = append(proposal, supervisor.Proposed{Symbol: fmt.Sprint(i), Score: -float64(i), Weight: 1 / float64(k)})
		}
		basis := randomSituation(r).basis
		basis = slices.DeleteFunc(basis, func(h supervisor.Held) bool { return h.Left != "" })
		if len(basis) > k {
			basis = basis[:k]
		}
		d := decide(t, p, proposal, basis)
		for i, row := range d.Rows {
			if i >= k || row.Weight != proposal[i].Weight || len(row.Flags) > 0 || row.Reason != "as proposed" {
				t.Fatalf("%v of %v", d, proposal)
			}
		}
	}
}

// A book that is decided again and again, with the prices moving in between,
// keeps to every rule, and arrives where the proposal stays.
func TestARandomHistoryKeepsToTheRulesAndArrives(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 200, 30_000) {
		s := randomSituation(r)
		s.policy.TurnoverCap = max(s.policy.TurnoverCap, 0.05)
		s.policy.ScoreFloor = nil // what it lets be held, R1 scales a little less each time
		var d supervisor.Decision
		for step := range 60 {
			if step < 20 { // then the proposal stays
				next := randomSituation(r)
				s.proposal = next.proposal
				for i := range s.proposal {
					s.proposal[i].NoBar = false // as of the floor
				}
				for i := range s.basis {
					s.basis[i].Weight *= math.Exp(r.NormFloat64() / 10)
				}
				total := max(1-d.Gross, 0)
				for _, h := range s.basis {
					total += h.Weight
				}
				for i := range s.basis {
					s.basis[i].Weight /= total
				}
			}
			d = decide(t, s.policy, s.proposal, s.basis)
			check(t, s, d)
			if t.Failed() {
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
			t.Fatalf("still moving by %v: %+v", d.Turnover, s)
		}
	}
}

// plain is Decide once more, written down step by step from SEMANTICS with maps
// and no attention to speed. It returns weights only.
func plain(s situation) map[string]float64 {
	book := map[string]float64{}
	gone := map[string]bool{}
	score := map[string]float64{}
	for _, h := range s.basis {
		book[h.Symbol] = h.Weight
		score[h.Symbol] = h.Score
		gone[h.Symbol] = h.Left != ""
	}
	want := map[string]float64{}
	var order []string // best first
	for _, p := range s.proposal {
		want[p.Symbol] = p.Weight
		order = append(order, p.Symbol)
	}
	var rest []string
	for symbol := range book {
		if _, proposed := want[symbol]; !proposed {
			rest = append(rest, symbol)
		}
	}
	slices.SortFunc(rest, func(a, b string) int {
		x, y := score[a], score[b]
		if math.IsNaN(x) {
			x = math.Inf(-1)
		}
		if math.IsNaN(y) {
			y = math.Inf(-1)
		}
		return cmp.Or(cmp.Compare(y, x), strings.Compare(a, b))
	})
	order = append(order, rest...)
	sum := func(m map[string]float64) (total float64) {
		for _, symbol := range order {
			total += m[symbol]
		}
		return total
	}
	held := func() (n int) {
		for _, w := range book {
			if w > 0 {
				n++
			}
		}
		return n
	}
	cashOnly := sum(book) == 0
	// (a)
	for symbol := range gone {
		if gone[symbol] {
			book[symbol] = 0
		}
	}
	for i := len(order) - 1; held() > s.policy.MaxPositions; i-- {
		book[order[i]] = 0
	}
	for symbol := range book {
		book[symbol] = min(book[symbol], s.policy.MaxWeightPerSymbol)
	}
	if g := sum(book); g > s.policy.GrossExposureCap {
		for symbol := range book {
			book[symbol] *= s.policy.GrossExposureCap / g
		}
	}
	// The target.
	for _, p := range s.proposal {
		if gone[p.Symbol] {
			want[p.Symbol] = 0
		}
		if p.NoBar || s.policy.ScoreFloor != nil && p.Score < *s.policy.ScoreFloor {
			want[p.Symbol] = min(want[p.Symbol], book[p.Symbol])
		}
	}
	count := 0
	for _, symbol := range order {
		if want[symbol] > 0 {
			if count++; count > s.policy.MaxPositions {
				want[symbol] = 0
			}
		}
		want[symbol] = min(want[symbol], s.policy.MaxWeightPerSymbol)
	}
	if g := sum(want); g > s.policy.GrossExposureCap {
		for symbol := range want {
			want[symbol] *= s.policy.GrossExposureCap / g
		}
	}
	if cashOnly {
		return want
	}
	// (b)
	budget := s.policy.TurnoverCap
	for i := len(order) - 1; i >= 0; i-- {
		if symbol := order[i]; book[symbol] > want[symbol] {
			sell := min(book[symbol]-want[symbol], budget)
			book[symbol] -= sell
			budget -= sell
			if book[symbol] < 1e-13 {
				book[symbol] = 0
			}
		}
	}
	// (c)
	budget = s.policy.TurnoverCap
	for _, symbol := range order {
		if want[symbol] <= book[symbol] || book[symbol] == 0 && held() >= s.policy.MaxPositions {
			continue
		}
		buy := min(want[symbol]-book[symbol], budget, s.policy.GrossExposureCap-sum(book))
		if buy > 1e-12 {
			book[symbol] += buy
			budget -= buy
		}
	}
	return book
}

func TestASecondPlainImplementationDecidesTheSame(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 20_000, 1_000_000) {
		s := randomSituation(r)
		d := decide(t, s.policy, s.proposal, s.basis)
		want := plain(s)
		for _, row := range d.Rows {
			if math.Abs(row.Weight-want[row.Symbol]) > 1e-9 {
				t.Fatalf("%s: %v, plainly %v\n%+v\n%s", row.Symbol, row.Weight, want[row.Symbol], s, show(d))
			}
			delete(want, row.Symbol)
		}
		for symbol, w := range want {
			if w > 1e-9 {
				t.Fatalf("%s: plainly %v, and not there\n%+v\n%s", symbol, w, s, show(d))
			}
		}
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), uint64(2), 1.0, 0.5, 0.3, 5)
	f.Add(uint64(3), uint64(9), 1e-12, 1e-12, 0.0, 1)
	f.Fuzz(func(t *testing.T, a, b uint64, gross, most, turnover float64, positions int) {
		s := randomSituation(rand.New(rand.NewPCG(a, b)))
		if !(gross > 0 && gross <= 1 && most > 0 && most <= 1 && turnover >= 0 && turnover <= 1 && positions > 0) {
			t.Skip()
		}
		s.policy.GrossExposureCap, s.policy.MaxWeightPerSymbol, s.policy.TurnoverCap, s.policy.MaxPositions = gross, most, turnover, positions
		check(t, s, decide(t, s.policy, s.proposal, s.basis))
	})
}

func TestEveryFlagIsInTheCatalogueOnce(t *testing.T) {
	t.Parallel()
	seen := map[supervisor.Flag]bool{}
	for _, r := range supervisor.Catalogue() {
		if seen[r.Flag] || r.Doc == "" {
			t.Errorf("%+v", r)
		}
		seen[r.Flag] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d flags", len(seen))
	}
}
