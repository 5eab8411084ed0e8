package deflated

import (
	"math"
	"path/filepath"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s = %.15g, want %.15g", what, got, want)
	}
}

func example() []float64 {
	var returns []float64
	for i := range 60 {
		x := float64(i)
		returns = append(returns, 0.01*math.Sin(1.7*x)+0.002*math.Cos(0.31*x*x)+0.0006*float64(i%7))
	}
	return returns
}

// Made with scipy.stats.skew, kurtosis(fisher=False) and norm.cdf over the same
// series and the trials 0.02, 0.05, -0.01, 0.11 of six.
func TestAJudgementAgreesWithAnIndependentReference(t *testing.T) {
	t.Parallel()
	j := judge(example(), []float64{0.02, 0.05, -0.01, 0.11}, 6)
	near(t, "sharpe", *j.Sharpe, 0.24877632565356797, 1e-12)
	near(t, "skew", *j.Skew, 0.08700236446412388, 1e-12)
	near(t, "kurtosis", *j.Kurtosis, 1.7986111729267644, 1e-12)
	near(t, "variance", *j.TrialsVariance, 0.002625, 1e-15)
	near(t, "expected maximum", j.ExpectedMaximum, 0.0666123932093481, 1e-12)
	near(t, "PSR", *j.PSR, 0.9725598931114275, 1e-12)
	near(t, "DSR", *j.DSR, 0.9201039503196012, 1e-12)
	// 1 + (1 - skew s + (kurtosis-1)/4 s^2) (norm.ppf(0.95)/s)^2 is 44.31
	near(t, "minimum track record", *j.MinTrackRecord, 45, 0)
}

func TestASingleTrialIsJudgedAgainstZero(t *testing.T) {
	t.Parallel()
	j := judge(example(), []float64{0.2}, 1)
	if j.ExpectedMaximum != 0 || *j.DSR != *j.PSR || j.TrialsVariance != nil {
		t.Errorf("judged as %+v", j)
	}
}

func TestReturnsThatSayNothingHaveNoJudgement(t *testing.T) {
	t.Parallel()
	for name, returns := range map[string][]float64{"none": nil, "one": {0.1}, "flat": {0.1, 0.1, 0.1}, "zero": {0, 0, 0}} {
		if j := judge(returns, nil, 1); j.Sharpe != nil || j.PSR != nil || j.DSR != nil || j.MinTrackRecord != nil {
			t.Errorf("%s: judged as %+v", name, j)
		}
	}
}

func TestTheTrialsOfAStrategyAreCountedFromWhatIsRecorded(t *testing.T) {
	t.Parallel()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "f.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	exec := func(query string) {
		t.Helper()
		if err := factstoretest.Write(t.Context(), db, "run", query); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO backtest_details (run_id, strategy_id, trial_digest, lag_days) VALUES
		('a', 'mom', 'A', 0), ('a2', 'mom#0123abcd', 'A', 0), ('b', 'mom#01', 'B', 0), ('b2', 'mom#01', 'B2', 0), ('c', 'mom#02', 'C', 0), ('l', 'mom', 'L', 1), ('x', 'momentum', 'X', 0), ('y', 'other#01', 'Y', 0)`)
	exec(`INSERT INTO backtest_summary (run_id, from_ts, to_ts, sharpe, fee_bps, slippage_bps, created_at)
		SELECT run_id, DATE '2024-01-02', DATE '2024-12-31', sharpe, 0, 0, TIMESTAMP '2026-01-01' + INTERVAL (n) DAY FROM (VALUES
		('a', 9.0, 1), ('a2', 1.0, 2), ('b', 2.0, 3), ('b2', 1.0, 4), ('c', NULL, 5), ('l', 0.0, 6), ('x', 5.0, 7), ('y', 6.0, 8)) AS v(run_id, sharpe, n)`)
	exec(`INSERT INTO backtest_equity (run_id, ts, ret) SELECT 'b', DATE '2024-01-02' + i::INTEGER, CASE WHEN i > 0 THEN sin(i) / 100 + 0.001 END FROM range(100) AS r(i)`)
	j, err := Judge(t.Context(), db, "b")
	if err != nil {
		t.Fatal(err)
	}
	// mom (the newer of two equal ones, one of them of a sweep), mom#01 with two
	// models, mom#02 without a ratio, mom at lag 1.
	if j.Trials != 5 || j.Returns != 99 || j.DSR == nil || *j.DSR >= *j.PSR {
		t.Errorf("judged as %+v", j)
	}
	near(t, "variance", *j.TrialsVariance, 2.0/3/252, 1e-15) // of 0, 1, 1 and 2
	if _, err := Judge(t.Context(), db, "nobody"); quant.CodeOf(err) != quant.NotFound {
		t.Errorf("a run without a backtest: %v", err)
	}
}

// What was stored before trials had a digest: a sweep's ids were made before its
// alias was resolved, so that the same trial has two ids, and two trials have one.
func TestTrialsWithoutADigestAreToldByWhatCameOut(t *testing.T) {
	t.Parallel()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "f.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const details = `INSERT INTO backtest_details (run_id, strategy_id, strategy_digest, trial_digest, lag_days) VALUES `
	const summary = `INSERT INTO backtest_summary (run_id, from_ts, to_ts, sharpe, cagr, fee_bps, slippage_bps, created_at)
		SELECT run_id, DATE '2024-01-02', DATE '2024-12-31', sharpe, sharpe / 10, 0, 0, TIMESTAMP '2026-01-01' + INTERVAL (n) DAY FROM (VALUES `
	count := func(statement, rows string, want int64) {
		t.Helper()
		if err := factstoretest.Write(t.Context(), db, "run", details+statement, summary+rows+") AS v(run_id, sharpe, n)"); err != nil {
			t.Fatal(err)
		}
		if j, err := Judge(t.Context(), db, "a"); err != nil || j.Trials != want {
			t.Errorf("%d trials, want %d (%v)", j.Trials, want, err)
		}
	}
	count(`('a', 'm', 'sha256:aaaaaaaa', NULL, 0), ('b', 'm#11111111', 'sha256:b', NULL, 0), ('c', 'm#22222222', 'sha256:c', NULL, 0)`,
		`('a', 1.0, 1), ('b', 1.0, 2), ('c', 2.0, 3)`, 2)
	// Two settings that came to the same are two; the same one again is none.
	count(`('d', 'm#33333333', 'sha256:d', NULL, 0), ('c2', 'm#22222222', 'sha256:c', NULL, 0)`, `('d', 2.0, 4), ('c2', 2.0, 5)`, 3)
	// The same ids after a retrain.
	count(`('e', 'm#11111111', 'sha256:b', NULL, 0), ('f', 'm#22222222', 'sha256:c', NULL, 0)`, `('e', 1.5, 6), ('f', 2.5, 7)`, 5)
	// What comes out again with a digest is no further trial.
	count(`('g', 'm#44444444', 'sha256:g', 'sha256:1', 0), ('h', 'm', 'sha256:h', 'sha256:2', 0)`, `('g', 1.0, 8), ('h', NULL, 9)`, 6)
}
