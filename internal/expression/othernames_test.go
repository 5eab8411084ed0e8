package expression

import (
	"errors"
	"strings"
	"testing"
)

func TestNamesOfOtherLanguagesLeadToTheFunction(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"ts_mean($close, 5)": "Mean(x, n)", "sma($close, 5)": "Mean(x, n)", "rolling_mean($close, 5)": "Mean(x, n)", "ts_std($close, 5)": "Std(x, n)", "stddev($close, 5)": "Std(x, n)",
		"ts_rank($close, 5)": "Rank(x, n)", "rank($close)": "CSRank(x)", "delay($close, 1)": "Ref(x, n)", "shift($close, 1)": "Ref(x, n)", "delta($close, 1)": "Delta(x, n)", "diff($close, 1)": "Delta(x, n)",
		"ema($close, 5)": "EMA(x, n)", "ewm($close, 5)": "EMA(x, n)", "wma($close, 5)": "WMA(x, n)", "decay_linear($close, 5)": "WMA(x, n)", "correlation($close, $volume, 5)": "Corr(x, y, n)", "correl($close, $volume, 5)": "Corr(x, y, n)",
		"covariance($close, $volume, 5)": "Cov(x, y, n)", "ts_max($high, 5)": "Max(x, n)", "ts_argmax($high, 5)": "IdxMax(x, n)", "ts_argmin($high, 5)": "IdxMin(x, n)", "ts_sum($volume, 5)": "Sum(x, n)", "zscore($close)": "CSZScore(x)",
		"indneutralize($close, sector)": "CSDemean(x, sector)", "median($close, 5)": "Med(x, n)", "linearreg_slope($close, 5)": "Slope(x, n)", "where($close > 1, 1, 0)": "If(a, x, y)", "ln($close)": "Log(x)", "TS_MEAN($close, 5)": "Mean(x, n)",
		"pct_change($close, 1)": "x/Ref(x, n)-1", "ROC($close, 1)": "x/Ref(x, n)-1", "ts_zscore($close, 5)": "(x-Mean(x, n))/Std(x, n)", "signedpower($close, 2)": "Sign(x)*Abs(x)**y", "RSI($close, 14)": "rsi_14", "sqrt($close)": "x**0.5",
		"Maen($close, 5)": "Mean(x, n)", "adv20 / $volume": "Mean($vwap*$volume, 20)", "adv180": "Mean($vwap*$volume, 180)", "returns < 0": "$close/Ref($close, 1)-1", "product($close, 5)": "Sum(Log(x), n)",
	} {
		_, err := Compile([]Named{{Name: "A", Text: written}})
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(e.Hint, want) || e.Column != 1 {
			t.Errorf("%s: %v; the hint lacks %q: %q", written, err, want, e.Hint)
		}
	}
	for written, want := range map[string]string{
		"($close > $open) ? $close : $open":                        "If(a, x, y)",
		"CSDemean($close/$open, IndClass.sector)":                  "CSDemean(x, sector)",
		"($close/$open < 1) ? $volume/Mean($volume, 20) : $vwap/1": "If(a, x, y)",
	} {
		_, err := Compile([]Named{{Name: "A", Text: written}})
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint, want) {
			t.Errorf("%s: %v; the hint lacks %q", written, err, want)
		}
	}
	known := byName()
	for other, name := range otherNames() {
		if known[name] == nil || known[other] != nil {
			t.Errorf("%s leads to %s", other, name)
		}
	}
}
