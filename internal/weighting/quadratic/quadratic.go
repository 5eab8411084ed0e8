// Package quadratic solves strictly convex quadratic programs by the dual
// active-set method of Goldfarb and Idnani (Mathematical Programming 27, 1983).
// It is exact but for rounding: it ends after finitely many steps at the one
// optimum, or with a proof that there is no feasible point. It is arithmetic only,
// on one processor, so the same arguments give the same bits.
package quadratic

import (
	"errors"
	"fmt"
	"math"
)

// Constraint is one linear condition: the sum of Value[i] * x[Index[i]] is at least
// Least, or equal to it.
type Constraint struct {
	Index []int
	Value []float64
	Least float64
	Equal bool
}

// Program is to minimise x'Hx/2 + c'x over the x that keep every constraint. Hessian
// is symmetric and positive definite; its lower triangle is read.
type Program struct {
	Hessian     [][]float64
	Linear      []float64
	Constraints []Constraint
}

// Solution is the optimum. The gradient of the objective there is the sum of
// Multipliers[c] times the normal of Constraints[c]; a multiplier of an inequality
// is never negative, and zero where the inequality is not tight.
type Solution struct {
	X           []float64
	Multipliers []float64
}

// ErrNotConvex is the error of a Hessian that is not positive definite.
var ErrNotConvex = errors.New("the Hessian is not positive definite")

// Infeasible is the error of a program without a feasible point, and its proof: the
// sum of the constraints, each times its factor, demands that zero is at least Gap,
// which is positive. Factors of inequalities are not negative.
type Infeasible struct {
	Constraints []int
	Factors     []float64
	Gap         float64
}

// Error says which constraints contradict each other.
func (e *Infeasible) Error() string {
	return fmt.Sprintf("the constraints %v contradict each other", e.Constraints)
}

const (
	// violated is how far below its bound a normalised constraint counts as broken.
	violated = 1e-12
	// dependent is the square of the part of a normal that must lie outside of those
	// of the active constraints, so that it can be added to them.
	dependent = 1e-17
	// tolerated is how far below its bound a constraint may be that cannot be met any
	// better, since the active ones leave no choice.
	tolerated = 1e-10
	// rounding is the share of the largest factor below which a factor counts as zero.
	rounding = 1e-11
)

// Solve returns the optimum. Errors: ErrNotConvex, *Infeasible, or that the steps did
// not come to an end, which rounding alone can cause.
func Solve(p Program) (Solution, error) {
	s, err := begin(p)
	if err != nil {
		return Solution{}, err
	}
	for c := range p.Constraints {
		if p.Constraints[c].Equal {
			if err := s.add(c); err != nil {
				return Solution{}, err
			}
		}
	}
	most := 100 * (s.n + len(p.Constraints) + 1)
	for range most {
		c := s.worst()
		if c < 0 {
			s.polish()
			return s.solution(), nil
		}
		if err := s.add(c); err != nil {
			return Solution{}, err
		}
	}
	return Solution{}, fmt.Errorf("no optimum after %d steps", most)
}

// state is the optimum of the constraints that are active. J J' is the inverse of the
// Hessian; the first len(active) columns of J and the triangle R factor the normals.
type state struct {
	Program
	n      int
	x      []float64
	j      [][]float64 // columns
	r      [][]float64 // columns: r[c] has c+1 numbers
	active []int       // constraints
	sign   []float64   // of each: -1 where an equality was met from above
	u      []float64   // multipliers of active
	is     []bool      // by constraint: whether it is active
	met    []bool      // by constraint: whether it is kept as well as those before it allow
	rest   []float64   // multipliers of these
	scale  []float64   // by constraint: one over the length of its normal
	d, z   []float64
}

func begin(p Program) (*state, error) {
	n := len(p.Hessian)
	s := &state{Program: p, n: n, x: make([]float64, n), j: make([][]float64, n), is: make([]bool, len(p.Constraints)), met: make([]bool, len(p.Constraints)), rest: make([]float64, len(p.Constraints)),
		scale: make([]float64, len(p.Constraints)), d: make([]float64, n), z: make([]float64, n)}
	// Cholesky: H = L L'.
	l := make([][]float64, n)
	for i := range n {
		l[i] = make([]float64, i+1)
		for k := range i + 1 {
			sum := p.Hessian[i][k]
			for m := range k {
				sum -= l[i][m] * l[k][m]
			}
			if i == k {
				if !(sum > 1e-14*p.Hessian[i][i]) || math.IsInf(sum, 0) {
					return nil, ErrNotConvex
				}
				l[i][i] = math.Sqrt(sum)
			} else {
				l[i][k] = sum / l[k][k]
			}
		}
	}
	// J is the inverse of L': column c solves L' y = e_c, whose last entries are zero.
	for c := range n {
		y := make([]float64, n)
		y[c] = 1 / l[c][c]
		for i := c - 1; i >= 0; i-- {
			sum := 0.0
			for k := i + 1; k <= c; k++ {
				sum += l[k][i] * y[k]
			}
			y[i] = -sum / l[i][i]
		}
		s.j[c] = y
	}
	for c, constraint := range p.Constraints {
		length := 0.0
		for _, v := range constraint.Value {
			length += v * v
		}
		if length == 0 {
			length = 1 // it can only be kept or broken as it is
		}
		s.scale[c] = 1 / math.Sqrt(length)
	}
	// The unconstrained optimum is -J J' c.
	for c := range n {
		t := dot(s.j[c], p.Linear)
		for i := range n {
			s.x[i] -= s.j[c][i] * t
		}
	}
	return s, nil
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// slack is by how much constraint c is kept, in units of its normal's length.
func (s *state) slack(c int) float64 {
	constraint := &s.Constraints[c]
	sum := -constraint.Least
	for k, i := range constraint.Index {
		sum += constraint.Value[k] * s.x[i]
	}
	return sum * s.scale[c]
}

// worst is the constraint that is broken most; -1: all are kept.
func (s *state) worst() int {
	at, least := -1, -violated
	for c := range s.Constraints {
		if s.is[c] || s.met[c] || s.Constraints[c].Equal {
			continue
		}
		if slack := s.slack(c); slack < least*max(1, math.Abs(s.Constraints[c].Least)*s.scale[c]) {
			at, least = c, slack
		}
	}
	return at
}

// add makes a constraint that is broken active, and drops those that are in the way.
func (s *state) add(c int) error {
	constraint := &s.Constraints[c]
	sign := s.scale[c]
	slack := s.slack(c)
	if constraint.Equal && slack > 0 {
		sign, slack = -sign, -slack
	}
	u := 0.0
	for range 2*len(s.Constraints) + 2 {
		q := len(s.active)
		// d = J' n, for the normal n.
		for k := range s.n {
			sum := 0.0
			for m, i := range constraint.Index {
				sum += constraint.Value[m] * s.j[k][i]
			}
			s.d[k] = sum * sign
		}
		whole, outside := dot(s.d, s.d), dot(s.d[q:], s.d[q:])
		r := s.solveR(s.d[:q])
		// The dual step: the first multiplier that would become negative.
		most, drop := math.Inf(1), -1
		noise := 0.0
		for _, v := range r {
			noise = max(noise, rounding*math.Abs(v))
		}
		for k, v := range r {
			if v > noise && !s.Constraints[s.active[k]].Equal && s.u[k]/v < most {
				most, drop = s.u[k]/v, k
			}
		}
		full := math.Inf(1)
		if outside > dependent*whole {
			full = -slack / outside
		}
		step := min(most, full)
		if math.IsInf(step, 1) {
			if slack > -tolerated*max(1, math.Abs(constraint.Least)*s.scale[c]) {
				s.met[c], s.rest[c] = true, u*sign // it follows from those that are active
				return nil
			}
			return s.contradiction(c, sign, r, slack)
		}
		for k, v := range r {
			s.u[k] -= step * v
		}
		u += step
		if !math.IsInf(full, 1) {
			clear(s.z)
			for k := q; k < s.n; k++ {
				v := s.d[k] * step
				for i, w := range s.j[k] {
					s.z[i] += w * v
				}
			}
			for i, v := range s.z {
				s.x[i] += v
			}
			if full <= most {
				s.enter(c, sign, u)
				return nil
			}
			slack += step * outside
		}
		s.drop(drop)
	}
	return fmt.Errorf("constraint %d came to no end", c)
}

// contradiction is the proof that constraint c cannot be kept with those that are
// active: its normal is the sum of theirs, each times r.
func (s *state) contradiction(c int, sign float64, r []float64, slack float64) error {
	e := &Infeasible{Constraints: []int{c}, Factors: []float64{sign}, Gap: -slack}
	for k, v := range r {
		if math.Abs(v) > 1e-9 {
			e.Constraints, e.Factors = append(e.Constraints, s.active[k]), append(e.Factors, -v*s.sign[k])
		}
	}
	return e
}

// solveR solves R r = d for the factors of the active normals.
func (s *state) solveR(d []float64) []float64 {
	r := make([]float64, len(d))
	for k := len(d) - 1; k >= 0; k-- {
		sum := d[k]
		for m := k + 1; m < len(d); m++ {
			sum -= s.r[m][k] * r[m]
		}
		r[k] = sum / s.r[k][k]
	}
	return r
}

// enter makes constraint c, whose d stands in s.d, active.
func (s *state) enter(c int, sign, u float64) {
	q := len(s.active)
	for k := s.n - 1; k > q; k-- {
		if s.d[k] != 0 {
			s.d[k-1], s.d[k] = s.rotate(k-1, s.d[k-1], s.d[k]), 0
		}
	}
	column := make([]float64, q+1)
	copy(column, s.d[:q+1])
	s.r, s.active, s.sign, s.u = append(s.r, column), append(s.active, c), append(s.sign, sign), append(s.u, u)
	s.is[c] = true
}

// rotate turns the columns k and k+1 of J so that (a, b) becomes (length, 0).
func (s *state) rotate(k int, a, b float64) float64 {
	length := math.Hypot(a, b)
	cos, sin := a/length, b/length
	first, second := s.j[k], s.j[k+1]
	for i, v := range first {
		w := second[i]
		first[i], second[i] = cos*v+sin*w, cos*w-sin*v
	}
	return length
}

// drop makes the k-th active constraint inactive.
func (s *state) drop(k int) {
	s.is[s.active[k]] = false
	q := len(s.active) - 1
	copy(s.active[k:], s.active[k+1:])
	copy(s.sign[k:], s.sign[k+1:])
	copy(s.u[k:], s.u[k+1:])
	copy(s.r[k:], s.r[k+1:])
	s.active, s.sign, s.u, s.r = s.active[:q], s.sign[:q], s.u[:q], s.r[:q]
	for m := k; m < q; m++ {
		// Column m has one number too many, below the diagonal.
		column := s.r[m]
		a, b := column[m], column[m+1]
		if b != 0 {
			length := math.Hypot(a, b)
			cos, sin := a/length, b/length
			s.rotate(m, a, b)
			column[m] = length
			for other := m + 1; other < q; other++ {
				v, w := s.r[other][m], s.r[other][m+1]
				s.r[other][m], s.r[other][m+1] = cos*v+sin*w, cos*w-sin*v
			}
		}
		s.r[m] = column[:m+1]
	}
}

// polish removes what rounding has left of the slack of the active constraints, by
// the shortest way in the metric of the Hessian.
func (s *state) polish() {
	q := len(s.active)
	for range 2 {
		// R' y = -slack, then x += J1 y.
		y := make([]float64, q)
		for k, c := range s.active {
			sum := -s.slack(c)
			if s.sign[k] < 0 {
				sum = -sum
			}
			for m := range k {
				sum -= s.r[k][m] * y[m]
			}
			y[k] = sum / s.r[k][k]
		}
		for k, v := range y {
			for i, w := range s.j[k] {
				s.x[i] += w * v
			}
		}
	}
}

func (s *state) solution() Solution {
	r := Solution{X: s.x, Multipliers: s.rest}
	for k, c := range s.active {
		r.Multipliers[c] = s.u[k] * s.sign[k]
	}
	return r
}
