package inference

import "math"

// eulerMascheroni is the constant gamma of the expected maximum.
const eulerMascheroni = 0.57721566490153286060651209008240243

// estimateVariance is n-1 times the variance of the estimate of a Sharpe ratio
// whose returns have that skewness and kurtosis (Mertens 2002; Bailey and Lopez de
// Prado 2012).
func estimateVariance(sharpe, skew, kurtosis float64) float64 {
	return 1 - float64(skew*sharpe) + float64((kurtosis-1)/4*sharpe*sharpe)
}

// ProbabilisticSharpe is the probability that the true Sharpe ratio is above
// against (PSR), given one of sharpe estimated from n returns with that skewness
// and kurtosis (3 for a normal distribution), by Bailey and Lopez de Prado, "The
// Sharpe Ratio Efficient Frontier" (Journal of Risk 15/2, 2012):
//
//	Phi((sharpe - against) sqrt(n-1) / sqrt(1 - skew sharpe + (kurtosis-1)/4 sharpe^2))
//
// Both ratios are those of one return, not of a year. NaN below two returns, or
// where the variance of the estimate is not positive.
func ProbabilisticSharpe(sharpe, against, skew, kurtosis float64, n int64) float64 {
	variance := estimateVariance(sharpe, skew, kurtosis)
	if n < 2 || !(variance > 0) {
		return math.NaN()
	}
	return normal((sharpe - against) * math.Sqrt(float64(n-1)) / math.Sqrt(variance))
}

// MinimumTrackRecord is how many returns it takes until ProbabilisticSharpe is
// confidence, if the estimates stay what they are (MinTRL, same source):
//
//	1 + (1 - skew sharpe + (kurtosis-1)/4 sharpe^2) (Phi^-1(confidence) / (sharpe - against))^2
//
// confidence is above 1/2 and below 1. +Inf where sharpe is not above against: no
// length would do. NaN where the variance of the estimate is not positive.
func MinimumTrackRecord(sharpe, against, skew, kurtosis, confidence float64) float64 {
	variance := estimateVariance(sharpe, skew, kurtosis)
	switch {
	case !(variance > 0):
		return math.NaN()
	case !(sharpe > against):
		return math.Inf(1)
	}
	z := upper(1-confidence) / (sharpe - against)
	return 1 + float64(variance*z*z)
}

// ExpectedMaximumSharpe is the Sharpe ratio that the best of so many independent
// trials without any skill is expected to have, when the ratios of the trials have
// that variance (Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", Journal of
// Portfolio Management 40/5, 2014):
//
//	sqrt(variance) ((1-gamma) Phi^-1(1 - 1/trials) + gamma Phi^-1(1 - 1/(trials e)))
//
// In the unit of the variance's root; trials may be a fraction, as effective ones
// are. One trial selects nothing: 0.
func ExpectedMaximumSharpe(variance, trials float64) float64 {
	if trials <= 1 {
		return 0
	}
	return math.Sqrt(variance) * (float64((1-eulerMascheroni)*upper(1/trials)) + float64(eulerMascheroni*upper(1/(trials*math.E))))
}

// EffectiveTrials is how many independent trials so many are whose returns have
// that mean correlation (the approximation of the same paper's appendix):
//
//	correlation + (1 - correlation) trials
//
// A negative correlation counts as none.
func EffectiveTrials(trials int64, correlation float64) float64 {
	correlation = max(0, correlation)
	return correlation + float64((1-correlation)*float64(trials))
}

// normal is the distribution function of the standard normal distribution.
func normal(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

// upper is the x that a standard normal variable exceeds with probability p.
func upper(p float64) float64 { return math.Sqrt2 * math.Erfcinv(2*p) }
