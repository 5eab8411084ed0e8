package backtest

import "math"

// noDeviation is the deviation, as a share of the mean, up to which returns
// are the same number but for rounding.
const noDeviation = 1e-12

// performance measures returns, one a session, by the definitions of the
// package empyrical (cagr, annual_volatility, sharpe_ratio, sortino_ratio,
// calmar_ratio, with its 252 sessions a year and no risk-free rate; the moments
// are scipy's skew and kurtosis with fisher=False). growth is the last equity
// over the first, worst the deepest drawdown, 0 or less.
func performance(returns []float64, growth, worst float64) Performance {
	p := Performance{Returns: int64(len(returns))}
	n := float64(len(returns))
	if n == 0 {
		return p
	}
	p.TotalReturn = known(growth - 1)
	if growth >= 0 { // a debt grows at no rate
		p.CAGR = known(math.Pow(growth, SessionsPerYear/n) - 1)
	}
	p.MaxDD = known(worst)
	if worst < 0 && p.CAGR != nil {
		p.Calmar = known(*p.CAGR / -worst)
	}
	if n < 2 {
		return p
	}
	var sum float64
	for _, r := range returns {
		sum += r
	}
	mean := sum / n
	var m2, m3, m4, below float64
	for _, r := range returns {
		d := r - mean
		m2 += d * d
		m3 += d * d * d
		m4 += d * d * d * d
		below += min(r, 0) * min(r, 0)
	}
	deviation := math.Sqrt(m2 / (n - 1))
	p.Vol = known(deviation * math.Sqrt(SessionsPerYear))
	if deviation > noDeviation*math.Abs(mean) {
		p.Sharpe = known(mean / deviation * math.Sqrt(SessionsPerYear))
		variance := m2 / n
		p.Skew = known(m3 / n / math.Pow(variance, 1.5))
		p.Kurtosis = known(m4 / n / (variance * variance))
	}
	if below > 0 {
		p.Sortino = known(mean * SessionsPerYear / (math.Sqrt(below/n) * math.Sqrt(SessionsPerYear)))
	}
	return p
}

// known is the number, or nil where there is none: a year of one session's
// return may be beyond every float.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}
