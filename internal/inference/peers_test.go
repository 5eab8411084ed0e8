package inference

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// golden is what other programs say; testdata/golden.py made it and names their
// versions.
type golden struct {
	Returns, Benchmark []float64
	Sharpe             float64
	Moments            struct{ Sharpe, Skew, Kurtosis float64 }
	PSRSkfolio         float64                                  `json:"psr_skfolio"`
	MomentsSkfolio     struct{ Sharpe, Skew, Kurtosis float64 } `json:"moments_skfolio"`
	PSRQuantstats      float64                                  `json:"psr_quantstats"`
	MomentsUnbiased    struct{ Skew, Kurtosis float64 }         `json:"moments_unbiased"`
	VaR, ES            map[string]float64
	MaxDD              float64 `json:"max_dd"`
	Drawdowns          []struct {
		FirstBelow int `json:"first_below"`
		Trough     int
		LastBelow  int `json:"last_below"`
		Depth      float64
	}
	Regression struct {
		Alpha            float64
		AlphaStatsmodels float64 `json:"alpha_statsmodels"`
		Beta             float64
		BetaEmpyrical    float64 `json:"beta_empyrical"`
		AlphaT           float64 `json:"alpha_t"`
		BetaT            float64 `json:"beta_t"`
		Lags             int
		RSquared         float64 `json:"r_squared"`
		TrackingError    float64 `json:"tracking_error"`
		InformationRatio float64 `json:"information_ratio"`
		ExcessSharpe     float64 `json:"excess_sharpe"`
	}
	Rolling struct {
		At           []int
		Sharpe, Beta []float64
	}
	IC        []float64
	NeweyWest []struct {
		Lags           int
		Mean, Error, T float64
	} `json:"newey_west"`
	P, Holm, BHY []float64
	BlockLengths []float64 `json:"block_lengths"`
	Intervals    [][2]float64
	Spread       []float64
	Trials       [][]float64
	PBO          struct {
		Probability            float64
		Combinations, Sessions int
		Loss, Slope            float64
	}
	Chance          [][]float64
	PBOChance       float64 `json:"pbo_chance"`
	MeanCorrelation float64 `json:"mean_correlation"`
}

var peers = sync.OnceValue(func() (g golden) {
	data, err := os.ReadFile("testdata/golden.json")
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	if err != nil {
		panic(err)
	}
	return g
})

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s = %.15g, want %.15g", what, got, want)
	}
}

func TestSharpeRatiosAgreeWithEmpyricalSkfolioAndQuantstats(t *testing.T) {
	t.Parallel()
	g := peers()
	n := int64(len(g.Returns))
	near(t, "Sharpe ratio", Sharpe(g.Returns), g.Sharpe, 1e-12)
	m := g.MomentsSkfolio
	near(t, "PSR, skfolio's moments", ProbabilisticSharpe(m.Sharpe, 0, m.Skew, m.Kurtosis, n), g.PSRSkfolio, 1e-12)
	near(t, "PSR, pandas' moments", ProbabilisticSharpe(g.Moments.Sharpe, 0, g.MomentsUnbiased.Skew, g.MomentsUnbiased.Kurtosis, n), g.PSRQuantstats, 1e-12)
}

// The minimum track record is that at which the probabilistic ratio is the confidence.
func TestTheMinimumTrackRecordIsWhereTheProbabilisticRatioReachesIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sharpe, against, skew, kurtosis, confidence float64 }{
		{0.1, 0, 0, 3, 0.95}, {0.05, 0.01, -1.2, 9, 0.99}, {0.3, 0.1, 0.5, 4, 0.6},
	} {
		n := MinimumTrackRecord(c.sharpe, c.against, c.skew, c.kurtosis, c.confidence)
		if below := ProbabilisticSharpe(c.sharpe, c.against, c.skew, c.kurtosis, int64(n)); below >= c.confidence {
			t.Errorf("%+v: %g returns are more than it takes: %g", c, n, below)
		}
		if reached := ProbabilisticSharpe(c.sharpe, c.against, c.skew, c.kurtosis, int64(math.Ceil(n))); reached < c.confidence {
			t.Errorf("%+v: %g returns are too few: %g", c, n, reached)
		}
	}
	// Normal returns of a yearly ratio of 2 against 1, 95 %: 2.73 years of 252 daily
	// returns, as table 1 of the paper has it.
	near(t, "years", MinimumTrackRecord(2/math.Sqrt(252), 1/math.Sqrt(252), 0, 3, 0.95)/252, 2.73, 5e-3)
	if !math.IsInf(MinimumTrackRecord(0.1, 0.1, 0, 3, 0.95), 1) {
		t.Error("a ratio that is not above the other is proved by some length")
	}
}

// The numbers of the section "A numerical example" of the paper: a yearly Sharpe
// ratio of 2.5 over 1250 of 250 days a year, found as the best of 100 trials
// whose yearly ratios have a variance of 1/2, skewness -3, kurtosis 10.
func TestTheNumericalExampleOfTheDeflatedSharpeRatio(t *testing.T) {
	t.Parallel()
	sharpe, variance := 2.5/math.Sqrt(250), 0.5/250
	hurdle := ExpectedMaximumSharpe(variance, 100)
	near(t, "expected maximum", hurdle, 0.1132, 5e-5)
	near(t, "DSR", ProbabilisticSharpe(sharpe, hurdle, -3, 10, 1250), 0.9004, 5e-5)
	near(t, "DSR of 46 trials", ProbabilisticSharpe(sharpe, ExpectedMaximumSharpe(variance, 46), -3, 10, 1250), 0.9505, 5e-5)
	near(t, "DSR of 88 trials with normal returns", ProbabilisticSharpe(sharpe, ExpectedMaximumSharpe(variance, 88), 0, 3, 1250), 0.9505, 5e-5)
}

// Made with scipy 1.x:
//
//	g = 0.5772156649015329
//	sqrt(v) * ((1-g)*norm.ppf(1-1/N) + g*norm.ppf(1-1/(N*e)))
func TestTheExpectedMaximumAgreesWithAnIndependentReference(t *testing.T) {
	t.Parallel()
	for trials, want := range map[float64]float64{
		2: 0.5197553442805939, 3: 0.8528044961506949, 10: 1.57459830134575, 1000: 3.255121513652723, 1_000_000: 4.867860037846844,
	} {
		near(t, "expected maximum", ExpectedMaximumSharpe(1, trials), want, 1e-9)
	}
}

func TestMoreTrialsNeverRaiseTheJudgement(t *testing.T) {
	t.Parallel()
	before := 1.0
	for trials := 1.0; trials < 5000; trials = trials*1.5 + 1 {
		dsr := ProbabilisticSharpe(0.1, ExpectedMaximumSharpe(0.002, trials), -1, 6, 500)
		if dsr > before {
			t.Fatalf("DSR %g of %g trials is above %g of fewer", dsr, trials, before)
		}
		before = dsr
	}
}

func TestTailsAgreeWithEmpyrical(t *testing.T) {
	t.Parallel()
	g := peers()
	for text, want := range g.VaR {
		tail, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "value at risk "+text, ValueAtRisk(g.Returns, tail), want, 1e-13)
		near(t, "expected shortfall "+text, ExpectedShortfall(g.Returns, tail), g.ES[text], 1e-13)
	}
	if !math.IsNaN(ValueAtRisk(g.Returns[:99], 0.01)) || math.IsNaN(ExpectedShortfall(g.Returns[:100], 0.01)) {
		t.Error("the minimum of a tail of 1 % is not 100")
	}
}

func TestDrawdownsAgreeWithQuantstats(t *testing.T) {
	t.Parallel()
	g := peers()
	equity := []float64{1} // place i+1 is after return i
	for _, r := range g.Returns {
		equity = append(equity, equity[len(equity)-1]*(1+r))
	}
	list := Drawdowns(equity)
	near(t, "deepest", list[0].Depth, g.MaxDD, 1e-12)
	for i, want := range g.Drawdowns {
		d := list[i]
		near(t, "depth", d.Depth, want.Depth, 1e-12)
		last := len(g.Returns) // quantstats: the last session of one that goes on
		if d.Recovery >= 0 {
			last = d.Recovery - 1
		}
		if d.Peak != want.FirstBelow || d.Trough-1 != want.Trough || last-1 != want.LastBelow {
			t.Errorf("drawdown %d is %+v, want %+v", i, d, want)
		}
	}
	if got := Drawdowns([]float64{4, 4, 2, 1, 4, 2, 8, 6, 8, 1}); !slices.Equal(got, []Drawdown{{8, 9, -1, -0.875}, {1, 3, 4, -0.75}, {4, 5, 6, -0.5}, {6, 7, 8, -0.25}}) {
		t.Errorf("drawdowns are %+v", got)
	}
}

func TestTheRegressionAgreesWithStatsmodelsQuantstatsAndEmpyrical(t *testing.T) {
	t.Parallel()
	g := peers()
	r, want := AgainstBenchmark(g.Returns, g.Benchmark), g.Regression
	near(t, "alpha", r.Alpha, want.Alpha, 1e-12)
	near(t, "alpha, statsmodels", r.Alpha, want.AlphaStatsmodels, 1e-12)
	near(t, "beta", r.Beta, want.Beta, 1e-12)
	near(t, "beta, empyrical", r.Beta, want.BetaEmpyrical, 1e-12)
	near(t, "t of alpha", r.AlphaT, want.AlphaT, 1e-9)
	near(t, "t of beta", r.BetaT, want.BetaT, 1e-9)
	near(t, "R squared", r.RSquared, want.RSquared, 1e-12)
	near(t, "tracking error", r.TrackingError, want.TrackingError, 1e-12)
	near(t, "information ratio", r.InformationRatio, want.InformationRatio, 1e-12)
	near(t, "information ratio, empyrical", r.InformationRatio, want.ExcessSharpe, 1e-12)
	if r.Lags != want.Lags || r.Pairs != len(g.Returns) {
		t.Errorf("%d lags, %d pairs", r.Lags, r.Pairs)
	}
	sharpe, beta := RollingSharpe(g.Returns, 126), RollingBeta(g.Returns, g.Benchmark, 126)
	for k, i := range g.Rolling.At {
		near(t, "rolling Sharpe ratio", sharpe[i], g.Rolling.Sharpe[k], 1e-11)
		near(t, "rolling beta", beta[i], g.Rolling.Beta[k], 1e-11)
	}
	if !math.IsNaN(sharpe[124]) || !math.IsNaN(beta[124]) {
		t.Error("a window that is not full has a figure")
	}
}

// Each figure that cannot be said is NaN, never infinite and never a guess.
func TestAgainstABenchmarkThatSaysNothingThereIsNoFigure(t *testing.T) {
	t.Parallel()
	g := peers()
	flat := make([]float64, 100)
	for name, r := range map[string]Regression{
		"too short": AgainstBenchmark(g.Returns[:MinimumPairs-1], g.Benchmark[:MinimumPairs-1]),
		"flat":      AgainstBenchmark(g.Returns[:100], flat),
	} {
		if !math.IsNaN(r.Alpha) || !math.IsNaN(r.Beta) || !math.IsNaN(r.AlphaT) || !math.IsNaN(r.RSquared) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	same := AgainstBenchmark(g.Returns, g.Returns)
	near(t, "beta of itself", same.Beta, 1, 1e-12)
	near(t, "alpha of itself", same.Alpha, 0, 1e-12)
	if same.TrackingError != 0 || !math.IsNaN(same.InformationRatio) || !math.IsNaN(same.AlphaT) {
		t.Errorf("against itself: %+v", same)
	}
}

func TestNeweyWestAgreesWithStatsmodels(t *testing.T) {
	t.Parallel()
	g := peers()
	for _, want := range g.NeweyWest {
		m, err, tvalue := NeweyWest(g.IC, want.Lags)
		near(t, "mean", m, want.Mean, 1e-13)
		near(t, "error", err, want.Error, 1e-13)
		near(t, "t", tvalue, want.T, 1e-10)
	}
	for name, x := range map[string][]float64{"none": nil, "one": {1}, "too few": g.IC[:20], "the same": {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}} {
		if _, err, tvalue := NeweyWest(x, 19); !math.IsNaN(err) || !math.IsNaN(tvalue) {
			t.Errorf("%s: error %g, t %g", name, err, tvalue)
		}
	}
}

func TestSeveralTestsAgreeWithStatsmodels(t *testing.T) {
	t.Parallel()
	g := peers()
	p, holm, bhy := slices.Insert(slices.Clone(g.P), 3, math.NaN()), Holm, BenjaminiYekutieli
	for name, c := range map[string]struct {
		of   func([]float64) []float64
		want []float64
	}{"Holm": {holm, g.Holm}, "BHY": {bhy, g.BHY}} {
		got := c.of(p)
		if !math.IsNaN(got[3]) {
			t.Errorf("%s: what was no test has %g", name, got[3])
		}
		for i, v := range slices.Delete(got, 3, 4) {
			near(t, name, v, c.want[i], 1e-13)
		}
		if len(c.of(nil)) != 0 {
			t.Errorf("%s of nothing is something", name)
		}
	}
}

func TestTheBlockLengthAgreesWithArch(t *testing.T) {
	t.Parallel()
	g := peers()
	for k, x := range [][]float64{g.Returns, g.Benchmark, g.IC} {
		near(t, "block length", BlockLength(x), max(1, g.BlockLengths[k]), 1e-9)
	}
}

// Two bootstraps draw different series. A bound of 2,000 resamples has a standard
// error of about 0.06 of the figure's own spread.
func TestTheIntervalsAgreeWithArch(t *testing.T) {
	t.Parallel()
	g := peers()
	got, err := Bootstrap(t.Context(), g.Returns)
	if err != nil {
		t.Fatal(err)
	}
	for k, i := range []Interval{got.Sharpe, got.CAGR, got.MaxDD} {
		near(t, "low of figure "+strconv.Itoa(k), i.Low, g.Intervals[k][0], 0.2*g.Spread[k])
		near(t, "high of figure "+strconv.Itoa(k), i.High, g.Intervals[k][1], 0.2*g.Spread[k])
	}
	again, err := Bootstrap(t.Context(), slices.Clone(g.Returns))
	if err != nil || again != got {
		t.Errorf("the same returns give %+v, then %+v (%v)", got, again, err)
	}
}

func TestReturnsThatSayNothingHaveNoInterval(t *testing.T) {
	t.Parallel()
	g := peers()
	lost := slices.Clone(g.Returns)
	lost[100] = -1
	for name, x := range map[string][]float64{"none": nil, "short": g.Returns[:MinimumBootstrap-1], "flat": make([]float64, 500), "lost": lost} {
		got, err := Bootstrap(t.Context(), x)
		if err != nil || !math.IsNaN(got.CAGR.Low) || !math.IsNaN(got.MaxDD.High) || name != "lost" && !math.IsNaN(got.Sharpe.Low) {
			t.Errorf("%s: %+v (%v)", name, got, err)
		}
	}
}

func compare(t *testing.T, returns [][]float64) (*Trials, Overfitting) {
	t.Helper()
	trials := NewTrials(len(returns[0]))
	for i, r := range returns {
		if taken := trials.Add(r); taken != Compared {
			t.Fatalf("trial %d is %d", i, taken)
		}
	}
	got, err := trials.Overfitting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return trials, got
}

func TestOverfittingAgreesWithTrialgateAndThePaper(t *testing.T) {
	t.Parallel()
	g := peers()
	trials, got := compare(t, g.Trials)
	if got.Probability != g.PBO.Probability || got.Combinations != g.PBO.Combinations || got.Sessions != g.PBO.Sessions || got.Loss != g.PBO.Loss {
		t.Errorf("overfitting is %+v, want %+v", got, g.PBO)
	}
	near(t, "slope", got.Slope, g.PBO.Slope, 1e-10)
	near(t, "mean correlation", trials.MeanCorrelation(), g.MeanCorrelation, 1e-12)
	if _, got := compare(t, g.Chance); got.Probability != g.PBOChance {
		t.Errorf("of chance alone %g, want %g", got.Probability, g.PBOChance)
	}
}

// What is no further choice changes nothing.
func TestATrialThatIsAnothersDoubleOrFlatIsNone(t *testing.T) {
	t.Parallel()
	g := peers()
	_, want := compare(t, g.Trials)
	trials := NewTrials(len(g.Trials[0]))
	for _, r := range g.Trials {
		trials.Add(r)
		if trials.Add(slices.Clone(r)) != Same {
			t.Fatal("a double is compared")
		}
	}
	if trials.Add(make([]float64, len(g.Trials[0]))) != Flat {
		t.Fatal("a flat one is compared")
	}
	if got, err := trials.Overfitting(t.Context()); err != nil || got != want {
		t.Errorf("with doubles %+v, without %+v (%v)", got, want, err)
	}
}

func TestTooLittleIsNotCalledOverfitted(t *testing.T) {
	t.Parallel()
	g := peers()
	for name, returns := range map[string][][]float64{
		"one trial": g.Trials[:1],
		"short":     {g.Trials[0][:MinimumCSCV-1], g.Trials[1][:MinimumCSCV-1]},
	} {
		if _, got := compare(t, returns); !math.IsNaN(got.Probability) || !math.IsNaN(got.Loss) || !math.IsNaN(got.Slope) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
