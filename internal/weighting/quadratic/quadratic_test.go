package quadratic

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// random makes a program with a feasible point: bounds, some sums and an equality.
func random(r *rand.Rand, n int) Program {
	p := Program{Hessian: make([][]float64, n), Linear: make([]float64, n)}
	factors := make([][]float64, n)
	for i := range factors {
		factors[i] = make([]float64, n+2)
		for k := range factors[i] {
			factors[i][k] = r.NormFloat64()
		}
	}
	x := make([]float64, n)
	for i := range n {
		p.Hessian[i] = make([]float64, n)
		p.Linear[i] = 3 * r.NormFloat64()
		for k := range n {
			p.Hessian[i][k] = dot(factors[i], factors[k]) / float64(n)
			if i == k {
				p.Hessian[i][k] += 0.01
			}
		}
		x[i] = r.Float64()
	}
	for i := range n {
		p.Constraints = append(p.Constraints, Constraint{Index: []int{i}, Value: []float64{1}, Least: x[i] - r.Float64()*float64(r.IntN(2))},
			Constraint{Index: []int{i}, Value: []float64{-1}, Least: -x[i] - r.Float64()})
	}
	for range r.IntN(n + 1) {
		c := Constraint{Equal: r.IntN(3) == 0 && n > 2}
		for i := range n {
			if r.IntN(2) == 0 {
				v := r.NormFloat64()
				c.Index, c.Value, c.Least = append(c.Index, i), append(c.Value, v), c.Least+v*x[i]
			}
		}
		if !c.Equal {
			c.Least -= r.Float64() * float64(r.IntN(2))
		}
		p.Constraints = append(p.Constraints, c)
		if r.IntN(4) == 0 { // the same twice, as rules that follow from each other are
			p.Constraints = append(p.Constraints, c)
		}
	}
	return p
}

// residual is how far a solution is from the conditions of Karush, Kuhn and Tucker,
// which only the optimum meets.
func residual(p Program, s Solution) (kept, stationary, signs, complementary float64) {
	gradient := make([]float64, len(s.X))
	for i := range gradient {
		gradient[i] = p.Linear[i] + dot(p.Hessian[i], s.X)
	}
	for c, constraint := range p.Constraints {
		slack := -constraint.Least
		for k, i := range constraint.Index {
			slack += constraint.Value[k] * s.X[i]
			gradient[i] -= s.Multipliers[c] * constraint.Value[k]
		}
		if constraint.Equal {
			kept = max(kept, math.Abs(slack))
			continue
		}
		kept, signs = max(kept, -slack), max(signs, -s.Multipliers[c])
		complementary = max(complementary, math.Abs(s.Multipliers[c]*slack))
	}
	for _, v := range gradient {
		stationary = max(stationary, math.Abs(v))
	}
	return kept, stationary, signs, complementary
}

func TestTheOptimumMeetsTheConditionsOfKarushKuhnAndTucker(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for trial := range 3000 {
		p := random(r, 1+r.IntN(30))
		s, err := Solve(p)
		if err != nil {
			t.Fatalf("trial %d: %v", trial, err)
		}
		if kept, stationary, signs, complementary := residual(p, s); kept > 1e-9 || stationary > 1e-7 || signs > 1e-9 || complementary > 1e-7 {
			t.Fatalf("trial %d of %d names: constraints %g, gradient %g, signs %g, slackness %g", trial, len(p.Linear), kept, stationary, signs, complementary)
		}
	}
}

func TestAContradictionIsProven(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for trial := range 3000 {
		p := random(r, 1+r.IntN(20))
		// A random combination of the constraints, turned round and beyond.
		against, n := Constraint{Least: 1e-3 + r.Float64()}, len(p.Linear)
		dense := make([]float64, n)
		for _, c := range p.Constraints {
			if r.IntN(2) == 0 {
				continue
			}
			by := r.Float64()
			for k, i := range c.Index {
				dense[i] -= by * c.Value[k]
			}
			against.Least -= by * c.Least
		}
		for i, v := range dense {
			against.Index, against.Value = append(against.Index, i), append(against.Value, v)
		}
		p.Constraints = append(p.Constraints, against)
		_, err := Solve(p)
		proof, is := errors.AsType[*Infeasible](err)
		if !is {
			t.Fatalf("trial %d: %v", trial, err)
		}
		clear(dense)
		gap := 0.0
		for k, c := range proof.Constraints {
			if !p.Constraints[c].Equal && proof.Factors[k] < 0 {
				t.Fatalf("trial %d: an inequality has the factor %g", trial, proof.Factors[k])
			}
			for m, i := range p.Constraints[c].Index {
				dense[i] += proof.Factors[k] * p.Constraints[c].Value[m]
			}
			gap += proof.Factors[k] * p.Constraints[c].Least
		}
		for _, v := range dense {
			if math.Abs(v) > 1e-7 {
				t.Fatalf("trial %d: the sum of the constraints still moves by %g", trial, v)
			}
		}
		if gap < 1e-5 || math.Abs(gap-proof.Gap) > 1e-7 {
			t.Fatalf("trial %d: zero is at least %g, said is %g", trial, gap, proof.Gap)
		}
	}
}

func TestAHessianThatIsNotPositiveDefiniteIsRefused(t *testing.T) {
	_, err := Solve(Program{Hessian: [][]float64{{1, 1}, {1, 1}}, Linear: []float64{0, 0}})
	if !errors.Is(err, ErrNotConvex) {
		t.Fatalf("got %v", err)
	}
}

func TestWithoutConstraintsTheGradientIsZero(t *testing.T) {
	s, err := Solve(Program{Hessian: [][]float64{{2, 0}, {0, 4}}, Linear: []float64{-2, 4}})
	if err != nil || math.Abs(s.X[0]-1) > 1e-15 || math.Abs(s.X[1]+1) > 1e-15 {
		t.Fatalf("got %v, %v", s.X, err)
	}
}
