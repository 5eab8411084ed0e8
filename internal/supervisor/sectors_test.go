package supervisor_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"quant/internal/supervisor"
	"quant/internal/test/soak"
)

// withSectors puts the symbols of a situation into three sectors, under a cap.
func withSectors(r *rand.Rand, s situation) situation {
	some := func() float64 { return 0.05 + r.Float64()*s.policy.GrossExposureCap }
	switch r.IntN(3) {
	case 0:
		s.policy.SectorCap = new(some())
	case 1:
		s.policy.SectorCap, s.policy.SectorCaps = new(some()), map[string]float64{"X": some(), "none": some()}
	case 2: // Z has no cap
		s.policy.SectorCaps = map[string]float64{"X": some(), "Y": some()}
	}
	for i := range s.proposal {
		s.proposal[i].Sector = sectorOf(s.proposal[i].Symbol)
	}
	for i := range s.basis {
		s.basis[i].Sector = sectorOf(s.basis[i].Symbol)
	}
	return s
}

func sectorOf(symbol string) string {
	sum := 0
	for _, c := range symbol {
		sum += int(c)
	}
	return string(rune('X' + sum%3))
}

func checkSectors(t *testing.T, s situation, d supervisor.Decision) {
	t.Helper()
	held := map[string]float64{}
	for _, row := range d.Rows {
		held[sectorOf(row.Symbol)] += math.Abs(row.Weight)
	}
	for sector, sum := range held {
		most, capped := s.policy.SectorCaps[sector]
		if !capped {
			if s.policy.SectorCap == nil {
				continue
			}
			most = *s.policy.SectorCap
		}
		if sum > most+1e-11 {
			t.Errorf("R7: %v in %s of %+v: %+v", sum, sector, s, d)
		}
	}
}

func TestASectorKeepsToItsCapAfterEveryDecision(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 20_000, 1_000_000) {
		long, both := withSectors(r, randomSituation(r)), withSectors(r, sidedSituation(r))
		d := decide(t, long.policy, long.proposal, long.basis)
		check(t, long, d)
		checkSectors(t, long, d)
		d = decide(t, both.policy, both.proposal, both.basis)
		checkSides(t, both, d)
		checkSectors(t, both, d)
		if t.Failed() {
			return
		}
	}
}

func TestASectorCapThatNothingBreaksChangesNotABit(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 10_000, 1_000_000) {
		for _, s := range []situation{withSectors(r, randomSituation(r)), withSectors(r, sidedSituation(r))} {
			s.policy.SectorCap, s.policy.SectorCaps = new(1e6), map[string]float64{"X": 1e7}
			capped := decide(t, s.policy, s.proposal, s.basis)
			s.policy.SectorCap, s.policy.SectorCaps = nil, nil
			free := decide(t, s.policy, s.proposal, s.basis)
			if !slices.EqualFunc(capped.Rows, free.Rows, func(a, b supervisor.Row) bool {
				return a.Symbol == b.Symbol && a.Weight == b.Weight && a.Reason == b.Reason
			}) {
				t.Fatalf("%+v\n%+v", capped, free)
			}
		}
	}
}

// A book that is decided again and again while prices move keeps to every rule.
func TestARandomHistoryKeepsToTheSectorCap(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	for range soak.Count(t, 200, 30_000) {
		s := withSectors(r, randomSituation(r))
		for range 40 {
			proposal := withSectors(r, randomSituation(r)).proposal
			s.proposal = proposal
			d := decide(t, s.policy, s.proposal, s.basis)
			check(t, s, d)
			if checkSectors(t, s, d); t.Failed() {
				return
			}
			s.basis = nil
			total := 1 - d.Gross
			for _, row := range d.Rows {
				if row.Approved {
					h := supervisor.Held{Symbol: row.Symbol, Sector: sectorOf(row.Symbol), Score: row.Score, Weight: row.Weight * math.Exp(r.NormFloat64()/20)}
					total += h.Weight
					s.basis = append(s.basis, h)
				}
			}
			for i := range s.basis {
				s.basis[i].Weight /= total
			}
		}
	}
}

func TestWhatTheSectorCapDoesIsSaid(t *testing.T) {
	t.Parallel()
	p := policy()
	p.SectorCap, p.TurnoverCap = new(0.4), 1
	proposal := names(t, "A 3 0.5", "B 2 0.3", "C 1 0.2")
	proposal[0].Sector, proposal[1].Sector, proposal[2].Sector = "Energy", "Energy", "Health"
	d := decide(t, p, proposal, nil)
	if show(d) != "A 0.25 R7_SECTOR_CAP; B 0.15 R7_SECTOR_CAP; C 0.2" || !strings.Contains(d.Rows[0].Reason, "its sector would stand at 0.8, more than the sector cap 0.4") {
		t.Errorf("%s: %s", show(d), d.Rows[0].Reason)
	}
	basis := held(t, "A 3 0.5", "C 1 0.2")
	basis[0].Sector, basis[1].Sector = "Energy", "Health"
	p.TurnoverCap = 0
	d = decide(t, p, proposal, basis)
	if show(d) != "A 0.4 R7_SECTOR_CAP R4_TURNOVER; -B 0 R7_SECTOR_CAP R4_TURNOVER; C 0.2" {
		t.Errorf("%s", show(d))
	}
	p.TurnoverCap, p.SectorCap, p.SectorCaps = 1, new(0.1), map[string]float64{"Energy": 0.6}
	d = decide(t, p, proposal, basis)
	if show(d) != "A 0.375 R7_SECTOR_CAP; B 0.225 R7_SECTOR_CAP; C 0.1 R7_SECTOR_CAP" || !strings.Contains(d.Rows[0].Reason, "more than the sector cap 0.6") {
		t.Errorf("%s: %s", show(d), d.Rows[0].Reason)
	}
	if p.SectorCap = nil; show(decide(t, p, proposal, nil)) != "A 0.375 R7_SECTOR_CAP; B 0.225 R7_SECTOR_CAP; C 0.2" {
		t.Errorf("a sector without a cap: %s", show(decide(t, p, proposal, nil)))
	}
}
