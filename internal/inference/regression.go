package inference

import "math"

// NeweyWest is the mean of a series, its standard error with so many lags, and
// mean / error, its t: errors of neighbours may be correlated (Newey and West, "A
// Simple, Positive Semi-Definite, Heteroskedasticity and Autocorrelation Consistent
// Covariance Matrix", Econometrica 55, 1987; Bartlett's weights 1 - l/(lags+1), no
// correction for small samples). Error and t are NaN with no more than lags + 1
// numbers, or where the error is not positive.
func NeweyWest(x []float64, lags int) (m, err, t float64) {
	m = mean(x)
	n := len(x)
	if n <= lags+1 || n < 2 || lags < 0 {
		return m, math.NaN(), math.NaN()
	}
	e := make([]float64, n)
	for i, v := range x {
		e[i] = v - m
	}
	variance := longRun(e, lags)
	if err = math.Sqrt(variance) / float64(n); !(err > noDeviation*math.Abs(m)) {
		return m, math.NaN(), math.NaN()
	}
	return m, err, m / err
}

// longRun is the sum of squares of e, and of its products with itself up to lags
// apart, twice, with Bartlett's weights.
func longRun(e []float64, lags int) float64 {
	var total float64
	for l := range lags + 1 {
		var sum float64
		for i := l; i < len(e); i++ {
			sum += float64(e[i] * e[i-l])
		}
		if l > 0 {
			sum *= 2 * (1 - float64(l)/float64(lags+1))
		}
		total += sum
	}
	return total
}

// MinimumPairs is how many pairs of returns AgainstBenchmark needs.
const MinimumPairs = 30

// Regression is a portfolio against a benchmark: returns = alpha + beta x
// benchmark + error, by ordinary least squares, without a risk-free rate.
type Regression struct {
	Pairs            int
	Alpha            float64 // of a year: that of a session x 252
	AlphaT           float64 // by Newey and West with Lags, no correction for small samples
	Lags             int     // 4 (n/100)^(2/9), whole
	Beta             float64
	BetaT            float64 // like AlphaT, against 0
	RSquared         float64
	TrackingError    float64 // sample deviation of returns - benchmark, x sqrt(252)
	InformationRatio float64 // mean of returns - benchmark x 252 / TrackingError; NaN without a deviation
}

// AgainstBenchmark is the regression of returns on those of a benchmark of the same
// sessions (Jensen 1968; the information ratio of Grinold and Kahn). All figures are
// NaN below MinimumPairs or where the benchmark has no deviation.
func AgainstBenchmark(returns, benchmark []float64) Regression {
	n := len(returns)
	nan := math.NaN()
	r := Regression{Pairs: n, Alpha: nan, AlphaT: nan, Beta: nan, BetaT: nan, RSquared: nan, TrackingError: nan, InformationRatio: nan}
	if n < MinimumPairs {
		return r
	}
	r.Lags = int(math.Floor(4 * math.Pow(float64(n)/100, 2.0/9)))
	excess := make([]float64, n)
	for i := range returns {
		excess[i] = returns[i] - benchmark[i]
	}
	m, dev := deviation(excess)
	r.TrackingError = dev * math.Sqrt(SessionsPerYear)
	if dev > 0 {
		r.InformationRatio = m / dev * math.Sqrt(SessionsPerYear)
	}
	mx, dx := deviation(benchmark)
	if !(dx > 0) {
		return r
	}
	my := mean(returns)
	xx := squares(benchmark, mx)
	var xy float64
	for i, x := range benchmark {
		xy += float64((x - mx) * (returns[i] - my))
	}
	r.Beta = xy / xx
	alpha := my - float64(r.Beta*mx)
	r.Alpha = alpha * SessionsPerYear
	var rest float64
	// What each session adds to alpha and to beta: the rows of (X'X)^-1 X', times the error.
	toAlpha, toBeta := make([]float64, n), make([]float64, n)
	for i, x := range benchmark {
		e := returns[i] - my - float64(r.Beta*(x-mx))
		rest += float64(e * e)
		toBeta[i] = e * (x - mx) / xx
		toAlpha[i] = e/float64(n) - float64(toBeta[i]*mx)
	}
	if yy := squares(returns, my); yy > 0 {
		r.RSquared = 1 - rest/yy
		if rest > noDeviation*yy { // else it is the benchmark but for a factor
			r.AlphaT, r.BetaT = alpha/math.Sqrt(longRun(toAlpha, r.Lags)), r.Beta/math.Sqrt(longRun(toBeta, r.Lags))
		}
	}
	return r
}
