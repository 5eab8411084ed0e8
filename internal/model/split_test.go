package model

import (
	"errors"
	"slices"
	"testing"

	"quant"
	"quant/internal/test/soak"
)

// TestNoTrainingWindowMeetsATestWindow states the rule by itself, sample by
// sample, and does not use the code that it judges.
func TestNoTrainingWindowMeetsATestWindow(t *testing.T) {
	t.Parallel()
	rng := soak.Random(t)
	split := 0
	for range soak.Count(t, 3000, 200_000) {
		// Sessions with holes, and some with many names.
		var sessions []int
		day, holes := rng.IntN(1000), rng.Float64()
		for range 2 + rng.IntN(300) {
			day += 1
			for rng.Float64() < holes*0.5 {
				day += 1 + rng.IntN(5)
			}
			for range 1 + rng.IntN(3) {
				sessions = append(sessions, day)
			}
		}
		p := Policy{Method: Method, Folds: 1 + rng.IntN(8), Horizon: 1 + rng.IntN(40), Embargo: rng.IntN(40), MinTrainSessions: 1 + rng.IntN(20)}
		blocks, err := p.walkForward(startsOf(sessions), len(sessions))
		if err != nil {
			if !errors.Is(err, quant.Refused) {
				t.Fatal(err)
			}
			continue
		}
		split++
		w := walk{spec: Spec{Policy: p}, d: &sampleSet{days: startsOf(sessions), y: make([]float64, len(sessions))}}
		if len(blocks) != p.Folds || blocks[p.Folds-1].hi != len(sessions) {
			t.Fatalf("%+v: blocks %+v of %d samples", p, blocks, len(sessions))
		}
		for k, b := range blocks {
			if k > 0 && b.lo != blocks[k-1].hi || b.lo >= b.hi || b.First != sessions[b.lo] || b.Last != sessions[b.hi-1] {
				t.Fatalf("block %d is %+v after %+v", k, b, blocks[max(0, k-1)])
			}
			if b.lo > 0 && sessions[b.lo-1] == b.First {
				t.Fatalf("block %+v begins in the middle of a session", b)
			}
			hi := p.trainingEnd(w.d, b)
			testFirst, testLast := sessions[b.lo], sessions[b.hi-1]+p.Horizon
			for i := range hi {
				if from, to := sessions[i], sessions[i]+p.Horizon; from >= testFirst || from <= testLast && to >= testFirst {
					t.Fatalf("%+v: training window [%d, %d] meets test window [%d, %d]", p, from, to, testFirst, testLast)
				}
			}
			// Nothing is purged without need.
			for i := hi; i < b.lo; i++ {
				if sessions[i]+p.Horizon < testFirst {
					t.Fatalf("%+v: session %d was purged without need before %d", p, sessions[i], testFirst)
				}
			}
			if n := len(slices.Compact(slices.Clone(sessions[:hi]))); n < p.MinTrainSessions {
				t.Fatalf("%+v: %d sessions to train on", p, n)
			}
			inner(t, w, sessions, hi)
		}
	}
	if split < 500 {
		t.Errorf("only %d cases could be split", split)
	}
}

// startsOf are the sessions of samples in ascending order.
func startsOf(sessions []int) []sessionStart {
	var starts []sessionStart
	for i, t := range sessions {
		if i == 0 || t != sessions[i-1] {
			starts = append(starts, sessionStart{t, i})
		}
	}
	return starts
}

// inner states the rule for the inner split, with its embargo.
func inner(t *testing.T, w walk, sessions []int, hi int) {
	t.Helper()
	p := w.spec.Policy
	for _, part := range w.inner([]span{{0, hi}}) {
		b, embargoed := part.test[0], part.embargoed
		if len(part.test) != 1 {
			t.Fatalf("%+v: the part %+v is torn", p, part.test)
		}
		kept := map[int]bool{}
		for _, s := range part.fit {
			for i := s.lo; i < s.hi; i++ {
				kept[i] = true
			}
		}
		testFirst, testLast, left := sessions[b.lo], sessions[b.hi-1]+p.Horizon, 0
		for i := range hi {
			from, to := sessions[i], sessions[i]+p.Horizon
			meets := from <= testLast && to >= testFirst
			embargo := from > testLast && from <= testLast+p.Embargo
			if kept[i] != (!meets && !embargo) {
				t.Fatalf("%+v: window [%d, %d] against [%d, %d]: kept %v", p, from, to, testFirst, testLast, kept[i])
			}
			if embargo {
				left++
			}
		}
		if len(kept) > 0 && slices.Max(mapKeys(kept)) >= hi || embargoed != left {
			t.Fatalf("%d embargoed, want %d; kept up to %d of %d", embargoed, left, len(kept), hi)
		}
	}
}

func mapKeys(m map[int]bool) []int {
	var keys []int
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

func FuzzNamesOfFeaturesAndLabels(f *testing.F) {
	for _, s := range []string{"ret_20d@v1,vol_20d@v1", "fwd_ret_60d@v1", "direction_5d@v2", "fwd_ret_060d@v1", "fwd_ret_99999999999999999999d@v1", "@", "a@", "a@b@c", "fwd_ret_d@v1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if list, err := ParseFeatures(s); err == nil {
			again, err := ParseFeatures(Join(list))
			if err != nil || !slices.Equal(again, list) {
				t.Errorf("%q is read as %v, and that as %v, %v", s, list, again, err)
			}
		} else if !errors.Is(err, quant.Usage) || quant.HintOf(err) == "" {
			t.Errorf("%q: %v", s, err)
		}
		if l, err := ParseLabel(s); err == nil {
			if l.String() != s || l.Horizon < 1 || l.Horizon > maxHorizon {
				t.Errorf("%q is read as %+v", s, l)
			}
		} else if !errors.Is(err, quant.Usage) || quant.HintOf(err) == "" {
			t.Errorf("%q: %v", s, err)
		}
	})
}
