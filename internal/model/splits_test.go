package model

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"quant"
	"quant/internal/test/soak"
)

// The splits and paths of combinatorial purged cross-validation are those of skfolio
// (testdata/cpcv_skfolio.json says of which version): a horizon of h sessions purges h
// before a test group, and h and the embargo behind it.
func TestCombinatorialSplitsAreThoseOfSkfolio(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "cpcv_skfolio.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Sessions   int `json:"sessions"`
			Groups     int `json:"groups"`
			TestGroups int `json:"test_groups"`
			Horizon    int `json:"horizon"`
			Embargo    int `json:"embargo"`
			Splits     []struct {
				Fit  [][2]int `json:"fit"`
				Test [][2]int `json:"test"`
			} `json:"splits"`
			Paths   int     `json:"paths"`
			PathIDs [][]int `json:"path_ids"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	for _, c := range golden.Cases {
		sessions := make([]int, c.Sessions)
		for i := range sessions {
			sessions[i] = i
		}
		p := Policy{Method: Combinatorial, Groups: c.Groups, TestGroups: c.TestGroups, Horizon: c.Horizon, Embargo: c.Embargo, MinTrainSessions: 1}
		splits, err := p.splits(&sampleSet{days: startsOf(sessions), y: make([]float64, c.Sessions)})
		if err != nil {
			t.Fatal(err)
		}
		if len(splits) != len(c.Splits) {
			t.Fatalf("%d groups: %d splits, want %d", c.Groups, len(splits), len(c.Splits))
		}
		for k, s := range splits {
			var fit, test [][2]int
			left := 0
			for _, f := range s.fit {
				fit, left = append(fit, [2]int{f.lo, f.hi}), left+f.hi-f.lo
			}
			for _, b := range s.test {
				test = append(test, [2]int{b.lo, b.hi})
			}
			if !slices.Equal(fit, c.Splits[k].Fit) || !slices.Equal(test, c.Splits[k].Test) {
				t.Errorf("%d groups, split %d: fit %v, test %v; want %+v", c.Groups, k, fit, test, c.Splits[k])
			}
			if left+s.testSamples()+s.purged+s.embargoed != c.Sessions {
				t.Errorf("%d groups, split %d: %d learned from, %d judged, %d purged, %d embargoed of %d", c.Groups, k, left, s.testSamples(), s.purged, s.embargoed, c.Sessions)
			}
		}
		paths := p.paths(splits)
		if len(paths) != c.Paths {
			t.Fatalf("%d groups: %d paths, want %d", c.Groups, len(paths), c.Paths)
		}
		for k, ids := range c.PathIDs {
			for i, path := range ids {
				if group := splits[k].groups[i]; paths[path][group-1] != k {
					t.Errorf("%d groups: path %d takes group %d from split %d, want %d", c.Groups, path, group, paths[path][group-1], k)
				}
			}
		}
	}
}

// TestNoCombinatorialTrainingWindowMeetsATestWindow states the rule sample by sample:
// no label window of a training sample meets that of any test group, at either side,
// none begins within the embargo behind one, and nothing else is left out.
func TestNoCombinatorialTrainingWindowMeetsATestWindow(t *testing.T) {
	t.Parallel()
	rng := soak.Random(t)
	split := 0
	for range soak.Count(t, 1000, 50_000) {
		var sessions []int
		day, holes := rng.IntN(1000), rng.Float64()
		for range 20 + rng.IntN(200) {
			day++
			for rng.Float64() < holes*0.5 {
				day += 1 + rng.IntN(5)
			}
			for range 1 + rng.IntN(3) {
				sessions = append(sessions, day)
			}
		}
		groups := 3 + rng.IntN(5)
		p := Policy{Method: Combinatorial, Folds: 1, Groups: groups, TestGroups: 1 + rng.IntN(groups-2), Horizon: 1 + rng.IntN(20), Embargo: rng.IntN(20), MinTrainSessions: 1 + rng.IntN(5)}
		if err := p.Validate(Label{Name: "l", Horizon: p.Horizon}); err != nil {
			t.Fatal(err)
		}
		d := &sampleSet{days: startsOf(sessions), y: make([]float64, len(sessions))}
		splits, err := p.splits(d)
		if err != nil {
			if !errors.Is(err, quant.Refused) {
				t.Fatal(err)
			}
			continue
		}
		split++
		tested := make([]int, len(sessions))
		for _, s := range splits {
			fit := make([]bool, len(sessions))
			for _, f := range s.fit {
				for i := f.lo; i < f.hi; i++ {
					fit[i] = true
				}
			}
			test := make([]bool, len(sessions))
			for _, b := range s.test {
				for i := b.lo; i < b.hi; i++ {
					test[i] = true
					tested[i]++
				}
			}
			for i, day := range sessions {
				out := test[i]
				for _, b := range s.test {
					first, last := sessions[b.lo], sessions[b.hi-1]+p.Horizon
					out = out || day <= last && day+p.Horizon >= first || day > last && day <= last+p.Embargo
				}
				if fit[i] == out {
					t.Fatalf("%+v, groups %v: the sample of session %d is learned from: %v", p, s.groups, day, fit[i])
				}
			}
		}
		for i, n := range tested {
			if n != len(p.paths(splits)) {
				t.Fatalf("%+v: the sample of session %d is tested %d times, and there are %d paths", p, sessions[i], n, len(p.paths(splits)))
			}
		}
	}
	if split < 200 {
		t.Errorf("only %d cases could be split", split)
	}
}
