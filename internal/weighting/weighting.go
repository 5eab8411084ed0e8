// Package weighting turns what is known of some names, their past returns and what
// is expected of them, into weights. It is arithmetic only: it knows no database, no
// prices and no strategy, and the same arguments give the same bits.
package weighting

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"quant/internal/weighting/quadratic"
)

// LedoitWolf returns the covariance matrix of returns, [session][name], each session
// complete, shrunk towards a multiple of the identity, and by how much, 0 to 1. The
// estimator is that of Ledoit and Wolf, "A well-conditioned estimator for
// large-dimensional covariance matrices", Journal of Multivariate Analysis 88 (2004),
// with the means removed and a divisor of the number of sessions, as scikit-learn's
// LedoitWolf has it.
func LedoitWolf(returns [][]float64) (covariance [][]float64, shrinkage float64) {
	sessions := len(returns)
	if sessions == 0 {
		return nil, 0
	}
	n := len(returns[0])
	mean := make([]float64, n)
	for _, row := range returns {
		for i, v := range row {
			mean[i] += v
		}
	}
	for i := range mean {
		mean[i] /= float64(sessions)
	}
	covariance = make([][]float64, n)
	for i := range covariance {
		covariance[i] = make([]float64, n)
	}
	x := make([]float64, n)
	var fourth float64 // sum over the sessions of the squared sum of squares
	for _, row := range returns {
		squares := 0.0
		for i, v := range row {
			x[i] = v - mean[i]
			squares += x[i] * x[i]
		}
		fourth += squares * squares
		for i, v := range x {
			of := covariance[i]
			for k := range i + 1 {
				of[k] += v * x[k]
			}
		}
	}
	var trace, squared float64
	for i := range n {
		for k := range i + 1 {
			v := covariance[i][k] / float64(sessions)
			covariance[i][k], covariance[k][i] = v, v
			if squared += v * v; k < i {
				squared += v * v
			}
		}
		trace += covariance[i][i]
	}
	if n == 1 {
		return covariance, 0
	}
	mu := trace / float64(n)
	noise := (fourth/float64(sessions) - squared) / (float64(n) * float64(sessions))
	distance := (squared - 2*mu*trace + float64(n)*mu*mu) / float64(n)
	if noise = min(noise, distance); noise > 0 {
		shrinkage = noise / distance
	}
	for i := range n {
		for k := range n {
			covariance[i][k] *= 1 - shrinkage
		}
		covariance[i][i] += shrinkage * mu
	}
	return covariance, shrinkage
}

// Variances returns the variances of returns, [session][name], each session complete,
// with a divisor of the number of sessions.
func Variances(returns [][]float64) []float64 {
	if len(returns) == 0 {
		return nil
	}
	mean, squares := make([]float64, len(returns[0])), make([]float64, len(returns[0]))
	for _, row := range returns {
		for i, v := range row {
			mean[i] += v / float64(len(returns))
		}
	}
	for _, row := range returns {
		for i, v := range row {
			squares[i] += (v - mean[i]) * (v - mean[i]) / float64(len(returns))
		}
	}
	return squares
}

// InverseVol returns weights proportional to one over the volatility, which sum to 1.
// A name that does not move has none to divide by: where there are such, they share
// everything.
func InverseVol(variances []float64) []float64 {
	weights := make([]float64, len(variances))
	still := false
	for _, v := range variances {
		still = still || !(v > 0)
	}
	total := 0.0
	for i := range weights {
		switch v := variances[i]; {
		case !still:
			weights[i] = 1 / math.Sqrt(v)
		case !(v > 0):
			weights[i] = 1
		}
		total += weights[i]
	}
	for i := range weights {
		weights[i] /= total
	}
	return weights
}

// RiskParity returns the weights, all positive, which sum to 1, and with which every
// name adds the same to the variance. They are the optimum of the convex problem of
// Spinu, "An algorithm for computing risk parity weights" (2013), found by cyclical
// coordinate descent as Griveau-Billion, Richard and Roncalli do (2013). Errors: the
// covariance matrix is not positive definite.
func RiskParity(covariance [][]float64) ([]float64, error) {
	n := len(covariance)
	x := make([]float64, n)
	scale := 0.0
	for i := range covariance {
		scale += covariance[i][i] / float64(n)
	}
	for i := range x {
		if !(covariance[i][i] > 1e-12*scale) {
			return nil, errNoRisk
		}
		x[i] = math.Sqrt(scale / covariance[i][i] / float64(n))
	}
	share := scale / float64(n) // what each name has of the variance; any positive number
	const rounds = 100_000
	for range rounds {
		moved := 0.0
		for i, row := range covariance {
			others := -row[i] * x[i]
			for k, v := range row {
				others += v * x[k]
			}
			// The positive root of v x² + others x = share, without cancellation.
			root := math.Sqrt(others*others + 4*row[i]*share)
			next := (root - others) / (2 * row[i])
			if others > 0 {
				next = 2 * share / (root + others)
			}
			if math.IsNaN(next) || math.IsInf(next, 0) {
				return nil, errNoRisk
			}
			moved, x[i] = max(moved, math.Abs(next/x[i]-1)), next
		}
		if moved < 1e-14 {
			break
		}
	}
	total := 0.0
	for _, v := range x {
		total += v
	}
	worst := 0.0
	for i, row := range covariance {
		risk := 0.0
		for k, v := range row {
			risk += v * x[k]
		}
		worst = max(worst, math.Abs(risk*x[i]/share-1))
	}
	if !(worst < 1e-9) {
		return nil, errNoRisk
	}
	for i := range x {
		x[i] /= total
	}
	return x, nil
}

var errNoRisk = errors.New("the covariance matrix is not positive definite: a name does not move, or is a mixture of others")

// Sum is a rule on the sum of the weights of some names.
type Sum struct {
	Rule     string // the rule, as an error says it
	What     string // what the sum is of, such as "in Energy"
	Names    []int
	Signs    []float64 // of each, 1 or -1; nil: all 1
	Min, Max float64   // infinite: no bound; equal: exactly that
}

// Problem is a portfolio to be optimised: the weights w that make
// Aversion/2 w'Covariance w - Expected'w least, within the bounds and sums. Weights
// below zero are short.
type Problem struct {
	Covariance   [][]float64
	Expected     []float64 // a name and session; nil: all zero, the least variance
	Aversion     float64   // above 0
	Lower, Upper []float64 // of each name
	BoundRule    string    // the rule of Lower and Upper, as an error says it
	Sums         []Sum
}

// Infeasible is the error of a problem whose rules no weights keep.
type Infeasible struct {
	Rules  []string // the rules that contradict each other, each once
	Reason string   // a clause that shows it in numbers
}

// Error is the reason.
func (e *Infeasible) Error() string { return e.Reason }

// Optimise returns the weights. Bounds and sums are kept within 1e-12, and a weight
// at a bound is the bound. A covariance matrix that is not positive definite has a
// ten-billionth of its mean variance added to its diagonal. Errors: *Infeasible;
// else numbers that are none.
func Optimise(p Problem) ([]float64, error) {
	n := len(p.Covariance)
	mean := 0.0
	for i := range n {
		mean += p.Covariance[i][i] / float64(n)
	}
	if !(mean > 0) || math.IsInf(mean, 0) {
		mean = 1
	}
	// In units of the mean variance, so that no tolerance depends on how much the
	// names move.
	program := quadratic.Program{Hessian: make([][]float64, n), Linear: make([]float64, n)}
	for i := range n {
		program.Hessian[i] = make([]float64, n)
		for k := range n {
			program.Hessian[i][k] = p.Covariance[i][k] / mean
		}
		if p.Expected != nil {
			program.Linear[i] = -p.Expected[i] / (p.Aversion * mean)
		}
	}
	var meaning []rule
	add := func(r rule, names []int, signs []float64, least, sign float64, equal bool) {
		if math.IsInf(least, 0) {
			return
		}
		values := make([]float64, len(names))
		for i := range values {
			if values[i] = sign; signs != nil {
				values[i] *= signs[i]
			}
		}
		program.Constraints = append(program.Constraints, quadratic.Constraint{Index: names, Value: values, Least: sign * least, Equal: equal})
		r.upper = sign < 0
		meaning = append(meaning, r)
	}
	for c, s := range p.Sums {
		if s.Min == s.Max {
			add(rule{sum: c, name: -1}, s.Names, s.Signs, s.Min, 1, true)
			continue
		}
		add(rule{sum: c, name: -1}, s.Names, s.Signs, s.Min, 1, false)
		add(rule{sum: c, name: -1}, s.Names, s.Signs, s.Max, -1, false)
	}
	for i := range n {
		add(rule{name: i}, []int{i}, nil, p.Lower[i], 1, false)
		add(rule{name: i}, []int{i}, nil, p.Upper[i], -1, false)
	}
	s, err := quadratic.Solve(program)
	if errors.Is(err, quadratic.ErrNotConvex) {
		for i := range n {
			program.Hessian[i][i] += 1e-10
		}
		s, err = quadratic.Solve(program)
	}
	if proof, is := errors.AsType[*quadratic.Infeasible](err); is {
		return nil, p.explain(program, meaning, proof)
	}
	if err != nil {
		return nil, err
	}
	for i := range s.X {
		// What is within rounding of a bound is the bound.
		if math.Abs(s.X[i]-p.Lower[i]) < 1e-13 {
			s.X[i] = p.Lower[i]
		} else if math.Abs(s.X[i]-p.Upper[i]) < 1e-13 {
			s.X[i] = p.Upper[i]
		}
		s.X[i] += 0 // no minus zero
	}
	return s.X, nil
}

// rule is what a constraint comes from.
type rule struct {
	sum   int // of Problem.Sums, where name is -1
	name  int
	upper bool // it is a bound from above
}

// explain says in numbers why the rules contradict each other: what is wanted of
// some sums against what the other rules leave.
func (p Problem) explain(program quadratic.Program, meaning []rule, proof *quadratic.Infeasible) *Infeasible {
	e := &Infeasible{}
	say := func(name string) {
		if !slices.Contains(e.Rules, name) {
			e.Rules = append(e.Rules, name)
		}
	}
	largest := 0.0
	for k, c := range proof.Constraints {
		if meaning[c].name < 0 {
			largest = max(largest, math.Abs(proof.Factors[k]))
		}
	}
	if largest == 0 {
		largest = math.Abs(proof.Factors[0])
	}
	var wanted, left []string
	bounds := map[float64]int{}
	var order []float64
	for k, c := range proof.Constraints {
		factor := proof.Factors[k] / largest
		constraint, of := program.Constraints[c], meaning[c]
		upper := of.upper != (factor < 0)
		bound := math.Abs(constraint.Least)
		if of.name >= 0 {
			say(p.BoundRule)
			// A bound below 0 from below, of a short, limits its magnitude as well.
			if constraint.Least < 0 {
				if bounds[bound] == 0 {
					order = append(order, bound)
				}
				bounds[bound]++
			}
			continue
		}
		s := p.Sums[of.sum]
		say(s.Rule)
		value := constraint.Least
		if of.upper {
			value = -value
		}
		// Of a sum below 0, which is of shorts, the bound from above is what is wanted.
		if value < 0 {
			value, upper = -value, !upper
		}
		if clause := fmt.Sprintf("%s %s (%s)", number(value), s.What, s.Rule); upper {
			left = append(left, "at most "+clause)
		} else {
			wanted = append(wanted, "a weight of "+clause)
		}
	}
	slices.Sort(order)
	for _, bound := range order {
		k := bounds[bound]
		left = append(left, fmt.Sprintf("%s of at most %s (%s), %s together", count(k), number(bound), p.BoundRule, number(float64(k)*bound)))
	}
	switch {
	case len(wanted) == 0:
		e.Reason = strings.Join(left, " and ") + " contradict the least weights"
	case len(left) == 0:
		e.Reason = strings.Join(wanted, " and ") + " cannot be reached: no name is left for it"
	default:
		e.Reason = strings.Join(wanted, " and ") + " cannot be reached with " + strings.Join(left, " and ")
	}
	return e
}

func count(n int) string {
	if n == 1 {
		return "1 name"
	}
	return strconv.Itoa(n) + " names"
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
