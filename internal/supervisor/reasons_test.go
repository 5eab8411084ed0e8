package supervisor_test

import (
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"quant/internal/supervisor"
	"quant/internal/test/soak"
)

// ending is what the last clause of a reason says of a row, and when that is true.
// before, wanted and after are its weights; n are the numbers in the clause.
type ending struct {
	clause   string
	flag     supervisor.Flag // that goes with it; "": none need
	proposed int             // 1: it is proposed, -1: it is not, 0: either
	holds    func(before, wanted, after float64, n []float64) bool
}

const figure = `(-?[0-9.e+-]+)`

// near is equality of what a text shows in six digits.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-5*max(math.Abs(a), math.Abs(b))+1e-9 }

var endings = []ending{
	{"as proposed", "", 1, func(_, wanted, after float64, _ []float64) bool { return after == wanted && after != 0 }},
	{"then as proposed", "", 1, func(before, wanted, after float64, _ []float64) bool {
		return after == wanted && after != 0 && before != 0
	}},
	{"proposed with no weight", "", 1, func(before, wanted, after float64, _ []float64) bool { return wanted == 0 && after == 0 }},
	{"proposed with no weight: sold whole", "", 1, func(before, wanted, after float64, _ []float64) bool { return before > 0 && wanted == 0 && after == 0 }},
	{"proposed with no weight: covered whole", "", 1, func(before, wanted, after float64, _ []float64) bool { return before < 0 && wanted == 0 && after == 0 }},
	{"no longer proposed: sold whole", "", -1, func(before, _, after float64, _ []float64) bool { return before > 0 && after == 0 }},
	{"no longer proposed: covered whole", "", -1, func(before, _, after float64, _ []float64) bool { return before < 0 && after == 0 }},
	{"left the (?:universe|market): sold whole", "", 0, func(before, _, after float64, _ []float64) bool { return before > 0 && after == 0 }},
	{"left the (?:universe|market): covered whole", "", 0, func(before, _, after float64, _ []float64) bool { return before < 0 && after == 0 }},
	{"more than " + figure + " positions were held: sold whole", supervisor.MaxPositions, 0, func(before, _, after float64, _ []float64) bool { return before > 0 && after == 0 }},
	{"more than " + figure + " positions were held: covered whole", supervisor.MaxPositions, 0, func(before, _, after float64, _ []float64) bool { return before < 0 && after == 0 }},
	{"rank " + figure + ": no place among " + figure + " positions", supervisor.MaxPositions, 1, func(_, wanted, after float64, _ []float64) bool { return wanted != 0 && after == 0 }},
	{"(?:no bar today|left the (?:universe|market)|score " + figure + " is below the floor " + figure + "): not bought", "", 1, func(_, wanted, after float64, _ []float64) bool { return wanted > 0 && after == 0 }},
	{"(?:no bar today|left the (?:universe|market)|score " + figure + " is below the floor " + figure + "): not sold short", "", 1, func(_, wanted, after float64, _ []float64) bool { return wanted < 0 && after == 0 }},
	{"(?:no bar today|score " + figure + " is below the floor " + figure + "): not increased from " + figure + " to " + figure, "", 1, func(before, wanted, after float64, n []float64) bool {
		from, to := n[len(n)-2], n[len(n)-1]
		return near(after, from) && near(wanted, to) && math.Abs(after) <= math.Abs(before)+1e-12 && math.Abs(wanted) > math.Abs(after)
	}},
	{"clipped from " + figure + " to the maximum weight " + figure, supervisor.MaxWeight, 1, func(_, wanted, after float64, n []float64) bool {
		return near(math.Abs(after), n[1]) && math.Abs(wanted) > math.Abs(after)
	}},
	{"scaled by " + figure + " to the gross exposure cap " + figure, supervisor.GrossExposure, 1, func(_, wanted, after float64, n []float64) bool {
		return n[0] < 1 && after*wanted > 0 && math.Abs(after) < math.Abs(wanted)
	}},
	{"scaled by " + figure + ": its sector would stand at " + figure + ", more than the sector cap " + figure, supervisor.SectorCap, 1, func(_, wanted, after float64, n []float64) bool {
		return n[0] < 1 && n[1] > n[2] && after*wanted > 0 && math.Abs(after) < math.Abs(wanted)
	}},
	{"scaled by " + figure + ": (?:longs|shorts) lead by " + figure + ", more than the net exposure cap " + figure, supervisor.NetExposure, 1, func(_, wanted, after float64, n []float64) bool {
		return n[0] < 1 && n[1] > n[2] && after*wanted >= 0 && math.Abs(after) < math.Abs(wanted)
	}},
	{"the book would stand at a net of " + figure + ": (?:longs|shorts) cut to the net exposure cap " + figure, supervisor.NetExposure, 0, func(_, wanted, after float64, n []float64) bool {
		return math.Abs(n[0]) > n[1]
	}},
	{"stood at " + figure + ": cut to the maximum weight " + figure, supervisor.MaxWeight, 0, func(before, _, after float64, n []float64) bool {
		return near(before, n[0]) && near(math.Abs(after), n[1]) && math.Abs(after) < math.Abs(before)
	}},
	// By chance what is wanted is what the cut leaves.
	{"the book stood at " + figure + ": all cut to the gross exposure cap " + figure, supervisor.GrossExposure, 0, func(before, wanted, after float64, n []float64) bool {
		return n[0] > n[1] && near(wanted, after) && math.Abs(after) < math.Abs(before)
	}},
	{"its sector stood at " + figure + ": cut to the sector cap " + figure, supervisor.SectorCap, 0, func(before, wanted, after float64, n []float64) bool {
		return n[0] > n[1] && near(wanted, after) && math.Abs(after) < math.Abs(before)
	}},
	{"the book stood at a net of " + figure + ": (?:longs|shorts) cut to the net exposure cap " + figure, supervisor.NetExposure, 0, func(before, _, after float64, n []float64) bool {
		return math.Abs(n[0]) > n[1] && math.Abs(after) < math.Abs(before)
	}},
	{"wanted at " + figure + ", kept at " + figure + ": the turnover cap " + figure + " is used up", supervisor.Turnover, 0, func(before, _, after float64, n []float64) bool {
		return near(after, n[1]) && n[0] < after && after <= before+1e-12
	}},
	{"wanted at " + figure + ", bought to " + figure + ": the turnover cap " + figure + " allows no more", supervisor.Turnover, 1, func(before, _, after float64, n []float64) bool {
		return near(after, n[1]) && after < n[0]
	}},
	{"wanted at " + figure + ", bought to " + figure + ": its sector is full until the turnover cap " + figure + " lets more of it go", supervisor.Turnover, 1, func(before, _, after float64, n []float64) bool {
		return near(after, n[1]) && after < n[0]
	}},
	{"wanted at " + figure + ", brought to " + figure + ": the turnover cap " + figure + " allows no more", supervisor.Turnover, 0, func(_, _, after float64, n []float64) bool {
		return near(after, n[1]) && after != n[0]
	}},
	{"wanted at " + figure + ", brought to " + figure + ": its sector is full until the turnover cap " + figure + " lets more of it go", supervisor.Turnover, 0, func(_, _, after float64, n []float64) bool {
		return near(after, n[1]) && after != n[0]
	}},
	{"wanted at " + figure + ", not (?:bought|opened): what the turnover cap " + figure + " does not let go yet takes its place", supervisor.Turnover, 1, func(_, _, after float64, n []float64) bool { return after == 0 && n[0] != 0 }},
}

var clauses = func() []*regexp.Regexp {
	list := make([]*regexp.Regexp, len(endings))
	for i, e := range endings {
		list[i] = regexp.MustCompile("^" + e.clause + "$")
	}
	return list
}()

// checkReasons holds what a decision says of each name against its numbers, and counts
// the clauses that it ends with.
func checkReasons(t *testing.T, s situation, d supervisor.Decision, seen []int) {
	t.Helper()
	before, wanted, proposed := map[string]float64{}, map[string]float64{}, map[string]bool{}
	for _, h := range s.basis {
		before[h.Symbol] = h.Weight
	}
	for _, p := range s.proposal {
		wanted[p.Symbol], proposed[p.Symbol] = p.Weight, true
	}
	for _, row := range d.Rows {
		last := row.Reason[strings.LastIndex(row.Reason, "; ")+1:]
		last = strings.TrimPrefix(last, " ")
		known := false
		for i, clause := range clauses {
			m := clause.FindStringSubmatch(last)
			if m == nil {
				continue
			}
			known = true
			seen[i]++
			var n []float64
			for _, text := range m[1:] {
				if v, err := strconv.ParseFloat(text, 64); err == nil {
					n = append(n, v)
				}
			}
			e := endings[i]
			is := map[bool]int{true: 1, false: -1}[proposed[row.Symbol]]
			flagged := e.flag == ""
			for _, f := range row.Flags {
				flagged = flagged || f == e.flag
			}
			if e.proposed != 0 && e.proposed != is || !flagged || !e.holds(before[row.Symbol], wanted[row.Symbol], row.Weight, n) {
				t.Errorf("%s: %q is not true: it was %v, proposed %v at %v, and is %v %v\n%+v", row.Symbol, row.Reason, before[row.Symbol], proposed[row.Symbol], wanted[row.Symbol], row.Weight, row.Flags, s)
			}
		}
		if !known {
			t.Errorf("%s: %q ends with %q, which nobody knows\n%+v\nit was %v, proposed %v, is %v", row.Symbol, row.Reason, last, s, before[row.Symbol], wanted[row.Symbol], row.Weight)
		}
	}
}

// The reason of a row ends with what happened to it in the end, and that is what the
// numbers say, of every kind of book.
func TestAReasonSaysWhatHappened(t *testing.T) {
	t.Parallel()
	seen := make([]int, len(endings))
	for seed := range uint64(soak.Count(t, 4_000, 200_000)) {
		r := rand.New(rand.NewPCG(seed, 77))
		s := randomSituation(r)
		if seed%2 == 0 {
			s = sidedSituation(r)
			if seed%4 == 0 { // slow, and close to neutral
				s.policy.TurnoverCap, s.policy.NetExposureCap = 0.02+0.2*r.Float64(), new(0.02+0.1*r.Float64())
				s.policy.MaxPositions, s.policy.MaxWeightPerSymbol, s.policy.GrossExposureCap = 2+r.IntN(6), 0.5, 0.5+r.Float64()
			}
		}
		for i := range s.proposal {
			switch r.IntN(10) {
			case 0:
				s.proposal[i].Weight = 0
			case 1:
				s.proposal[i].Weight = math.Copysign(s.policy.MaxWeightPerSymbol, s.proposal[i].Weight)
			}
		}
		if seed%3 == 0 {
			s.policy.SectorCap = new(0.1 + 0.6*r.Float64())
			for i := range s.proposal {
				s.proposal[i].Sector = string(s.proposal[i].Symbol[len(s.proposal[i].Symbol)-1] % 3)
			}
			for i := range s.basis {
				s.basis[i].Sector = string(s.basis[i].Symbol[len(s.basis[i].Symbol)-1] % 3)
			}
		}
		d, err := supervisor.Decide(s.policy, s.proposal, s.basis)
		if err != nil {
			t.Fatal(err)
		}
		if checkReasons(t, s, d, seen); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for i, n := range seen {
		if n == 0 && !strings.Contains(endings[i].clause, ": all cut to") && !strings.Contains(endings[i].clause, "its sector stood") {
			t.Errorf("no row ever ended with %q", endings[i].clause)
		}
	}
}
