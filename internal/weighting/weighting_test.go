package weighting

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// chance is the generator of testdata/golden.py.
type chance uint32

func (c *chance) next() float64 {
	*c = 1664525**c + 1013904223
	return float64(*c) / 4294967296
}

// instance is that of golden.py with this number, to the bit.
func instance(number int) (returns [][]float64, expected []float64, most, aversion float64, sectors []int) {
	c := chance(number*7919 + 17)
	n := 2 + int(c.next()*11)
	sessions := 30 + int(c.next()*60)
	beta, own := make([]float64, n), make([]float64, n)
	for i := range beta {
		beta[i] = c.next() * 1.5
	}
	for i := range own {
		own[i] = 0.002 + c.next()*0.03
	}
	for range sessions {
		market, row := 0.02*(c.next()-0.5), make([]float64, n)
		for k := range row {
			row[k] = beta[k]*market + own[k]*(c.next()-0.5)
		}
		returns = append(returns, row)
	}
	for range n {
		expected = append(expected, 0.002*(c.next()-0.5))
	}
	most = max(0.15, 1.3/float64(n))
	aversion = 1 + 20*c.next()
	for range n {
		sectors = append(sectors, int(c.next()*3))
	}
	return returns, expected, most, aversion, sectors
}

func TestWeightsAreThoseOfOtherPrograms(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Instances []struct {
			Shrinkage    float64   `json:"shrinkage"`
			Trace        float64   `json:"trace"`
			Sum          float64   `json:"sum"`
			MinVariance  []float64 `json:"min_variance"`
			MeanVariance []float64 `json:"mean_variance"`
			Capped       []float64 `json:"capped"`
			Signed       []float64 `json:"signed"`
			RiskParity   []float64 `json:"risk_parity"`
			InverseVol   []float64 `json:"inverse_vol"`
		} `json:"instances"`
	}
	if err := json.Unmarshal(data, &file); err != nil || len(file.Instances) != 250 {
		t.Fatalf("%d instances, %v", len(file.Instances), err)
	}
	infeasible := 0
	for number, want := range file.Instances {
		returns, expected, most, aversion, sectors := instance(number)
		covariance, shrinkage := LedoitWolf(returns)
		var trace, sum float64
		for i, row := range covariance {
			trace += row[i]
			for _, v := range row {
				sum += v
			}
		}
		if math.Abs(shrinkage-want.Shrinkage) > 1e-9 || math.Abs(trace/want.Trace-1) > 1e-10 || math.Abs(sum/want.Sum-1) > 1e-10 {
			t.Fatalf("instance %d: shrinkage %v is %v at scikit-learn, trace %v is %v, sum %v is %v", number, shrinkage, want.Shrinkage, trace, want.Trace, sum, want.Sum)
		}
		n := len(covariance)
		all := make([]int, n)
		lower, upper := make([]float64, n), make([]float64, n)
		for i := range all {
			all[i], upper[i] = i, most
		}
		same := func(what string, got, want []float64, err error) {
			t.Helper()
			if err != nil || len(got) != len(want) {
				t.Fatalf("instance %d, %s: %v, %v; want %v", number, what, got, err, want)
			}
			for i := range got {
				if !(math.Abs(got[i]-want[i]) < 1e-8) {
					t.Fatalf("instance %d, %s: %v, want %v", number, what, got, want)
				}
			}
		}
		p := Problem{Covariance: covariance, Aversion: aversion, Lower: lower, Upper: upper, Sums: []Sum{{Names: all, Min: 1, Max: 1}}}
		got, err := Optimise(p)
		same("min_variance", got, want.MinVariance, err)
		p.Expected = expected
		got, err = Optimise(p)
		same("mean_variance", got, want.MeanVariance, err)

		p.Sums[0].Min, p.Sums[0].Max = 0.8, 0.8
		for sector := range 3 {
			s := Sum{Min: math.Inf(-1), Max: 0.5}
			for i, of := range sectors {
				if of == sector {
					s.Names = append(s.Names, i)
				}
			}
			if s.Names != nil {
				p.Sums = append(p.Sums, s)
			}
		}
		if got, err = Optimise(p); want.Capped == nil {
			if _, is := errors.AsType[*Infeasible](err); !is {
				t.Fatalf("instance %d: %v, %v; want that it is infeasible", number, got, err)
			}
			infeasible++
		} else {
			same("capped", got, want.Capped, err)
		}

		if n >= 4 {
			half := n / 2
			bound := max(0.2, 0.7/float64(half))
			for i := range n {
				if lower[i], upper[i] = 0, bound; i >= half {
					lower[i], upper[i] = -bound, 0
				}
			}
			p.Sums = []Sum{{Names: all[:half], Min: 0.5, Max: 0.5}, {Names: all[half:], Min: -0.5, Max: -0.5}}
			got, err = Optimise(p)
			same("signed", got, want.Signed, err)
		}

		got, err = RiskParity(covariance)
		same("risk_parity", got, want.RiskParity, err)
		least, largest := math.Inf(1), 0.0
		for i, row := range covariance {
			risk := 0.0
			for k, v := range row {
				risk += v * got[k]
			}
			least, largest = min(least, risk*got[i]), max(largest, risk*got[i])
		}
		if largest/least-1 > 1e-10 {
			t.Fatalf("instance %d: the names add %v to %v to the variance", number, least, largest)
		}
		same("inverse_vol", InverseVol(Variances(returns)), want.InverseVol, nil)
	}
	if infeasible == 0 {
		t.Fatal("no instance is infeasible")
	}
}

func TestRulesAreKeptToTwelveDigits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for trial := range 300 {
		n, sessions := 2+r.IntN(60), 20+r.IntN(80)
		returns := make([][]float64, sessions)
		for s := range returns {
			returns[s] = make([]float64, n)
			market := 0.01 * r.NormFloat64()
			for i := range returns[s] {
				returns[s][i] = market + 0.02*r.NormFloat64()
				if i%7 == 3 {
					returns[s][i] = returns[s][i-1] // a twin
				}
			}
		}
		covariance, _ := LedoitWolf(returns)
		all, expected := make([]int, n), make([]float64, n)
		lower, upper := make([]float64, n), make([]float64, n)
		most := 1.5 / float64(n)
		for i := range all {
			all[i], upper[i], expected[i] = i, most, 0.001*r.NormFloat64()
		}
		odd := Sum{Rule: "odd", Min: 0.4, Max: 0.4}
		for i := 1; i < n; i += 2 {
			odd.Names = append(odd.Names, i)
		}
		w, err := Optimise(Problem{Covariance: covariance, Expected: expected, Aversion: 3, Lower: lower, Upper: upper, Sums: []Sum{{Names: all, Min: 1, Max: 1}, odd}})
		if err != nil {
			if n%2 == 0 || n < 4 {
				if proof, is := errors.AsType[*Infeasible](err); is && most*float64(n-len(odd.Names)) < 0.6 {
					continue
				} else if is {
					t.Fatalf("trial %d: %v", trial, proof)
				}
			}
			t.Fatalf("trial %d of %d names: %v", trial, n, err)
		}
		total, part := 0.0, 0.0
		for i, v := range w {
			if v < 0 || v > most {
				t.Fatalf("trial %d: weight %v", trial, v)
			}
			if total += v; i%2 == 1 {
				part += v
			}
		}
		if math.Abs(total-1) > 1e-12 || math.Abs(part-0.4) > 1e-12 {
			t.Fatalf("trial %d: %v in all, %v in the odd ones", trial, total, part)
		}
	}
}

func TestRulesThatContradictEachOtherAreNamed(t *testing.T) {
	eye := func(n int) (covariance [][]float64, lower, upper []float64, all []int) {
		for i := range n {
			covariance = append(covariance, make([]float64, n))
			covariance[i][i] = 1e-4
			lower, upper, all = append(lower, 0), append(upper, 0.15), append(all, i)
		}
		return covariance, lower, upper, all
	}
	covariance, lower, upper, all := eye(5)
	p := Problem{Covariance: covariance, Aversion: 1, Lower: lower, Upper: upper, BoundRule: "supervisor.max_weight_per_symbol",
		Sums: []Sum{{Rule: "gross_exposure_cap", What: "long", Names: all, Min: 1, Max: 1}}}
	_, err := Optimise(p)
	proof, is := errors.AsType[*Infeasible](err)
	if !is || proof.Reason != "a weight of 1 long (gross_exposure_cap) cannot be reached with 5 names of at most 0.15 (supervisor.max_weight_per_symbol), 0.75 together" {
		t.Fatalf("got %v", err)
	}
	for i := range upper {
		upper[i] = 0.5
	}
	p.Sums = append(p.Sums, Sum{Rule: "sector_cap", What: "in Energy", Names: all[:4], Min: math.Inf(-1), Max: 0.3})
	_, err = Optimise(p)
	if proof, is = errors.AsType[*Infeasible](err); !is || !slices.Equal(slices.Sorted(slices.Values(proof.Rules)), []string{"gross_exposure_cap", "sector_cap", "supervisor.max_weight_per_symbol"}) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(proof.Reason, "at most 0.3 in Energy (sector_cap) and 1 name of at most 0.5") {
		t.Fatalf("got %s", proof.Reason)
	}
}

func TestRulesOfShortsThatContradictEachOtherAreNamedAsThoseOfLongs(t *testing.T) {
	covariance := [][]float64{{1e-4, 0, 0}, {0, 1e-4, 0}, {0, 0, 1e-4}}
	short := Sum{Rule: "gross_exposure_cap", What: "short", Names: []int{2}, Min: -1, Max: -1}
	long := Sum{Rule: "gross_exposure_cap", What: "long", Names: []int{0, 1}, Min: 1, Max: 1}
	sector := Sum{Rule: "sector_cap", What: "in Energy", Names: []int{0, 1, 2}, Signs: []float64{1, 1, -1}, Min: math.Inf(-1), Max: 1.5}
	for want, p := range map[string]Problem{
		"a weight of 1 short (gross_exposure_cap) cannot be reached with 1 name of at most 0.2 (max_weight), 0.2 together":                               {Lower: []float64{0, 0, -0.2}, Upper: []float64{0.5, 0.5, 0}, Sums: []Sum{long, short}},
		"a weight of 1 long (gross_exposure_cap) and a weight of 1 short (gross_exposure_cap) cannot be reached with at most 1.5 in Energy (sector_cap)": {Lower: []float64{0, 0, -1}, Upper: []float64{1, 1, 0}, Sums: []Sum{long, short, sector}},
	} {
		p.Covariance, p.Aversion, p.BoundRule = covariance, 1, "max_weight"
		_, err := Optimise(p)
		if proof, is := errors.AsType[*Infeasible](err); !is || proof.Reason != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestANameThatDoesNotMoveHasNoRiskToShare(t *testing.T) {
	covariance := [][]float64{{0, 0}, {0, 1e-4}}
	if _, err := RiskParity(covariance); err == nil {
		t.Fatal("risk is shared with a name that has none")
	}
	if w := InverseVol([]float64{0, 1e-4}); w[0] != 1 || w[1] != 0 {
		t.Fatalf("got %v", w)
	}
}

func BenchmarkOptimise50(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	n := 50
	returns := make([][]float64, 252)
	for s := range returns {
		returns[s] = make([]float64, n)
		market := 0.01 * r.NormFloat64()
		for i := range returns[s] {
			returns[s][i] = market + 0.02*r.NormFloat64()
		}
	}
	all, lower, upper := make([]int, n), make([]float64, n), make([]float64, n)
	for i := range all {
		all[i], upper[i] = i, 0.05
	}
	for b.Loop() {
		covariance, _ := LedoitWolf(returns)
		if _, err := Optimise(Problem{Covariance: covariance, Aversion: 1, Lower: lower, Upper: upper, Sums: []Sum{{Names: all, Min: 1, Max: 1}}}); err != nil {
			b.Fatal(err)
		}
	}
}
