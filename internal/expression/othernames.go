package expression

import (
	"strings"
	"sync"
)

// otherNames are what functions are called in WorldQuant's and the 101 alphas' language,
// in pandas and in TA-Lib, in lower case, each with the name that they have here.
var otherNames = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	for name, others := range map[string]string{
		"Mean":     "ts_mean ts_avg ts_average sma ma mavg moving_average rolling_mean average avg",
		"Std":      "ts_std ts_stddev ts_std_dev stddev stdev std_dev rolling_std volatility",
		"Var":      "ts_var ts_variance variance rolling_var",
		"Skew":     "ts_skew ts_skewness skewness rolling_skew",
		"Kurt":     "ts_kurt ts_kurtosis kurtosis rolling_kurt",
		"Sum":      "ts_sum rolling_sum",
		"Max":      "ts_max rolling_max highest hhv",
		"Min":      "ts_min rolling_min lowest llv",
		"IdxMax":   "ts_argmax ts_arg_max argmax maxindex rolling_argmax highday",
		"IdxMin":   "ts_argmin ts_arg_min argmin minindex rolling_argmin lowday",
		"Med":      "ts_median median rolling_median",
		"Mad":      "ts_mad mean_abs_deviation avedev",
		"Quantile": "ts_quantile rolling_quantile percentile ts_percentile",
		"Rank":     "ts_rank tsrank rolling_rank",
		"Count":    "ts_count rolling_count",
		"Slope":    "ts_slope linearreg_slope linreg_slope regbeta ts_regression",
		"Rsquare":  "rsquared r_squared r2 ts_rsquare",
		"Resi":     "residual resid linreg_resid ts_residual",
		"WMA":      "decay_linear ts_decay_linear decaylinear ts_wma",
		"EMA":      "ewm ewma ewm_mean ts_ema exponential_moving_average decay_exp ts_decay_exp_window",
		"Corr":     "correlation ts_corr ts_correlation correl rolling_corr",
		"Cov":      "covariance ts_cov ts_covariance covar rolling_cov",
		"Ref":      "delay shift lag ts_delay ts_shift ts_lag prev",
		"Delta":    "ts_delta diff difference ts_diff mom mtm momentum",
		"CSRank":   "rank cs_rank xs_rank pct_rank percentrank percentile_rank group_rank",
		"CSZScore": "zscore z_score cs_zscore csz xs_zscore standardize normalize group_zscore",
		"CSDemean": "demean cs_demean neutralize indneutralize ind_neutralize industry_neutralize group_neutralize",
		"CSMean":   "cs_mean group_mean",
		"CSStd":    "cs_std group_std_dev",
		"CSMed":    "cs_median group_median",
		"If":       "where iif ifelse if_else cond trade_when",
		"Log":      "ln",
		"Power":    "pow",
		"Greater":  "maximum fmax",
		"Less":     "minimum fmin",
	} {
		for other := range strings.FieldsSeq(others) {
			names[other] = name
		}
	}
	return names
})

// otherWays are what other languages have a function for, and how it is written here.
var otherWays = map[string]string{
	"pct_change":   "write x/Ref(x, n)-1",
	"returns":      "write $close/Ref($close, 1)-1",
	"ret":          "write $close/Ref($close, 1)-1",
	"roc":          "write x/Ref(x, n)-1, which is ROC / 100",
	"rocp":         "write x/Ref(x, n)-1",
	"rocr":         "write x/Ref(x, n)",
	"ts_returns":   "write x/Ref(x, n)-1",
	"ts_zscore":    "write (x-Mean(x, n))/Std(x, n)",
	"ts_scale":     "write (x-Min(x, n))/(Max(x, n)-Min(x, n))",
	"signedpower":  "write Sign(x)*Abs(x)**y",
	"signed_power": "write Sign(x)*Abs(x)**y",
	"sqrt":         "write x**0.5",
	"exp":          "write 2.718281828459045**x",
	"log1p":        "write Log(x+1)",
	"clip":         "write Greater(low, Less(x, high))",
	"rsi":          "version v2 has rsi_14: `quant factor list` shows it",
	"atr":          "version v2 has atr_14 and atr_pct_14: `quant factor list` shows them",
	"natr":         "version v2 has atr_pct_14, which is NATR / 100",
	"macd":         "version v2 has macd, macd_signal and macd_pct: `quant factor list` shows them",
	"willr":        "write ($close-Max($high, n))/(Max($high, n)-Min($low, n))",
	"adv":          "write Mean($vwap*$volume, n)",
	"product":      "write 2.718281828459045**Sum(Log(x), n)",
	"ts_product":   "write 2.718281828459045**Sum(Log(x), n)",
}

// otherWay is how a name of another language is written here, "" if that is not known.
func otherWay(name string) string {
	folded := strings.ToLower(name)
	if days, ok := strings.CutPrefix(folded, "adv"); ok && days != "" && strings.Trim(days, "0123456789") == "" {
		return "write Mean($vwap*$volume, " + days + ")"
	}
	return otherWays[folded]
}
