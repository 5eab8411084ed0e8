package backtest

import (
	"encoding/json"
	"math"
	"testing"

	_ "embed"
)

// measured is performance of a series of returns alone.
func measured(returns []float64) Performance {
	growth, peak, worst := 1., 1., 0.
	for _, r := range returns {
		growth *= 1 + r
		peak = max(peak, growth)
		worst = min(worst, growth/peak-1)
	}
	return performance(returns, growth, worst)
}

func percents(values ...float64) []float64 {
	for i := range values {
		values[i] /= 100
	}
	return values
}

func wantFloat(t *testing.T, name string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 1e-10*max(1, math.Abs(want)) {
		if got != nil {
			t.Errorf("%s is %v, want %v", name, *got, want)
		} else {
			t.Errorf("%s is NULL, want %v", name, want)
		}
	}
}

// The vectors and values are those of tests/conftest.py and tests/test_stats.py
// of empyrical-reloaded 0.7.1 (Apache 2.0), as published there. Its mixed_returns begins with a
// NaN, which it counts as a session in cagr and calmar and leaves out of the
// rest: here a 0 and nothing.
func TestThePublishedVectorsOfEmpyricalAreMet(t *testing.T) {
	t.Parallel()
	mixed := percents(1, 10, -4, 2, 3, 2, 1, -10)
	counted := append([]float64{0}, mixed...)
	positive := percents(1, 2, 1, 1, 1, 1, 1, 1, 1)
	negative := percents(0, -6, -7, -1, -9, -2, -6, -8, -5)
	wantFloat(t, "cagr of one_return", measured(percents(1)).CAGR, 11.274002099240244)
	wantFloat(t, "cagr of mixed_returns", measured(counted).CAGR, 1.9135925373194231)
	wantFloat(t, "calmar of mixed_returns", measured(counted).Calmar, 19.135925373194233)
	wantFloat(t, "annual_volatility of mixed_returns", measured(mixed).Vol, 0.9136465399704637)
	wantFloat(t, "sharpe_ratio of mixed_returns", measured(mixed).Sharpe, 1.7238613961706866)
	wantFloat(t, "sharpe_ratio of positive_returns", measured(positive).Sharpe, 52.915026221291804)
	wantFloat(t, "sharpe_ratio of negative_returns", measured(negative).Sharpe, -24.406808633910085)
	wantFloat(t, "sortino_ratio of mixed_returns", measured(mixed).Sortino, 2.605531251673693)
	wantFloat(t, "sortino_ratio of negative_returns", measured(negative).Sortino, -13.532743075043401)
	wantFloat(t, "max_drawdown of one_return", measured(percents(1)).MaxDD, 0)
	wantFloat(t, "max_drawdown of simple_benchmark", measured(percents(0, 1, 0, 1, 0, 1, 0, 1, 0)).MaxDD, 0)
	wantFloat(t, "max_drawdown of mixed_returns", measured(mixed).MaxDD, -0.1)
	wantFloat(t, "max_drawdown of udu_returns", measured(percents(10, -10, 10)).MaxDD, -0.1)
	wantFloat(t, "max_drawdown of positive_returns", measured(positive).MaxDD, 0)
	// These two are published with eight and nine digits.
	for name, c := range map[string]struct {
		returns []float64
		want    float64
	}{
		"negative_returns":     {negative, -0.36590730},
		"all_negative_returns": {percents(-2, -6, -7, -1, -9, -2, -6, -8, -5), -0.378589157},
	} {
		if got := *measured(c.returns).MaxDD; math.Abs(got-c.want) > 1e-8 {
			t.Errorf("max_drawdown of %s is %v, want %v", name, got, c.want)
		}
	}
	flat := percents(1, 1, 1, 1, 1, 1, 1, 1, 1)
	if p := measured(flat); p.Sharpe != nil || p.Sortino != nil || p.Calmar != nil {
		t.Errorf("flat_line_1, for which empyrical has infinities: %+v", p)
	}
	if p := measured(nil); p.CAGR != nil || p.MaxDD != nil || p.Vol != nil || p.Sharpe != nil {
		t.Errorf("empty_returns: %+v", p)
	}
	if p := measured(percents(1)); p.Vol != nil || p.Sharpe != nil || p.Sortino != nil {
		t.Errorf("one_return: %+v", p)
	}
}

//go:embed testdata/empyrical.json
var empyrical []byte // made by testdata/golden.py

func TestLongSeriesAgreeWithEmpyrical(t *testing.T) {
	t.Parallel()
	var list []struct {
		Returns                                                    []float64
		CAGR, Vol, Sharpe, Sortino, Calmar, Max_DD, Skew, Kurtosis float64
	}
	if err := json.Unmarshal(empyrical, &list); err != nil || len(list) != 3 {
		t.Fatal(len(list), err)
	}
	for _, c := range list {
		p := measured(c.Returns)
		wantFloat(t, "cagr", p.CAGR, c.CAGR)
		wantFloat(t, "vol", p.Vol, c.Vol)
		wantFloat(t, "sharpe", p.Sharpe, c.Sharpe)
		wantFloat(t, "sortino", p.Sortino, c.Sortino)
		wantFloat(t, "calmar", p.Calmar, c.Calmar)
		wantFloat(t, "max_dd", p.MaxDD, c.Max_DD)
		wantFloat(t, "skew", p.Skew, c.Skew)
		wantFloat(t, "kurtosis", p.Kurtosis, c.Kurtosis)
	}
}

func TestANumberBeyondEveryFloatIsUnknown(t *testing.T) {
	t.Parallel()
	if p := measured([]float64{30}); p.CAGR != nil || *p.TotalReturn != 30 {
		t.Errorf("%+v", p)
	}
}
