package deflated

import (
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/inference"
)

// Trials 1 to 4 are different, 5 repeats 4's returns, 6 never moves, 7 has half of the
// days, 8 never bought. Trial 3 was run again as run 9.
func selected(t *testing.T, runID string) (Judgement, Selection) {
	t.Helper()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "f.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const ratio = `CASE WHEN k IN (6, 8) THEN NULL ELSE 0.5 + k * 0.3 END`
	if err := factstoretest.Write(t.Context(), db, "run",
		`CREATE TEMP TABLE made AS SELECT k, 'r' || k AS run_id, 'm' || CASE WHEN k > 1 THEN '#0' || k ELSE '' END AS strategy_id, 'd' || CASE k WHEN 9 THEN 3 ELSE k END AS trial FROM range(1, 10) AS r(k)`,
		`INSERT INTO backtest_details (run_id, strategy_id, trial_digest, lag_days, metrics_json)
			SELECT run_id, strategy_id, trial, 1, json_object('returns', 320, 'sharpe', `+ratio+`, 'skew', 0.1, 'kurtosis', 3.5) FROM made`,
		`INSERT INTO backtest_summary (run_id, strategy_id, from_ts, to_ts, sharpe, fee_bps, slippage_bps, created_at)
			SELECT run_id, strategy_id, DATE '2020-01-01', DATE '2021-12-31', `+ratio+`, 0, 0, TIMESTAMP '2026-01-01' + INTERVAL (k) DAY FROM made`,
		`INSERT INTO backtest_equity (run_id, ts, ret)
			SELECT run_id, DATE '2020-01-01' + i::INTEGER, CASE WHEN i > 0 THEN CASE k WHEN 6 THEN 0 ELSE 0.001 + sin(i * least(k % 6, 4) * 1.7) / 90 END END
			FROM made, range(CASE WHEN k = 2 THEN 3 WHEN k = 7 THEN 160 ELSE 0 END, 321) AS r(i) WHERE k <> 8`); err != nil {
		t.Fatal(err)
	}
	j, err := Judge(t.Context(), db, runID)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Select(t.Context(), db, runID, j)
	if err != nil {
		t.Fatal(err)
	}
	return j, s
}

func TestTheRecordedTrialsAreComparedOnTheSessionsThatAllHave(t *testing.T) {
	t.Parallel()
	j, s := selected(t, "r3")
	if s.Trials != 8 || s.Compared != 4 || s.Same != 1 || s.Flat != 1 || s.Short != 2 || s.Sessions != 318 || s.Combinations != 12870 {
		t.Fatalf("selected as %+v", s)
	}
	first, _ := quant.ParseDate("2020-01-04")
	if *s.From != first || *s.To != first+317 {
		t.Errorf("on %s to %s", s.From, s.To)
	}
	trials := inference.NewTrials(318)
	for _, k := range []float64{1, 2, 3, 4} { // r9 stands for trial 3, behind r4
		returns := make([]float64, 318)
		for i := range returns {
			returns[i] = 0.001 + math.Sin(float64(i+3)*k*1.7)/90
		}
		trials.Add(returns)
	}
	want, err := trials.Overfitting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	near(t, "PBO", *s.PBO, want.Probability, 1e-9)
	near(t, "loss", *s.Loss, want.Loss, 1e-9)
	near(t, "slope", *s.Slope, want.Slope, 1e-9)
	near(t, "correlation", *s.MeanCorrelation, trials.MeanCorrelation(), 1e-12)
	near(t, "effective trials", *s.EffectiveTrials, inference.EffectiveTrials(8, trials.MeanCorrelation()), 1e-12)
	if *s.DSREffective < *j.DSR {
		t.Errorf("fewer effective trials make it worse: %g, %g", *s.DSREffective, *j.DSR)
	}
	lines := strings.Join(s.Lines(), "\n")
	for _, text := range []string{"the best of 4 trials in half of 318 sessions", "of 6 tested trials", "this one p "} {
		if !strings.Contains(lines, text) {
			t.Errorf("%q lacks %q", lines, text)
		}
	}
}

// Yearly ratios of 0.8 to 3.2 (trial 3 as its second run has it) over 320 returns.
func TestTheTrialsAreTestedTogether(t *testing.T) {
	t.Parallel()
	_, s := selected(t, "r3")
	var p []float64
	for _, ratio := range []float64{0.8, 1.1, 3.2, 1.7, 2.0, 2.6} {
		p = append(p, 1-inference.ProbabilisticSharpe(ratio/math.Sqrt(252), 0, 0.1, 3.5, 320))
	}
	count := func(of []float64) (n int64) {
		for _, v := range of {
			if v <= 0.05 {
				n++
			}
		}
		return n
	}
	holm, bhy := inference.Holm(p), inference.BenjaminiYekutieli(p)
	if s.Tested != 6 || s.Significant != count(p) || s.Holm != count(holm) || s.BHY != count(bhy) || s.Significant <= s.BHY {
		t.Errorf("tested as %+v, p %v, %v, %v", s, p, holm, bhy)
	}
	near(t, "p", *s.P, p[2], 1e-12)
	near(t, "p by Holm", *s.PHolm, holm[2], 1e-12)
	near(t, "p by BHY", *s.PBHY, bhy[2], 1e-12)
}

// A single trial, or too short a one, has no probability of overfitting, and says why.
func TestASelectionOfTooLittleSaysSo(t *testing.T) {
	t.Parallel()
	_, s := selected(t, "r7")
	if s.PBO == nil { // 7 has 161 of the days, and on these so have most others
		t.Errorf("%+v", s)
	}
	for _, s := range []Selection{{Trials: 1}, {Trials: 12000}} {
		if lines := s.Lines(); len(lines) != 1 || !strings.Contains(lines[0], "cannot be said of") {
			t.Errorf("%v", lines)
		}
	}
}

// Two people who sweep the same grid at once leave its trials in another order of runs.
func TestWhatASelectionSaysDoesNotDependOnWhichTrialRanFirst(t *testing.T) {
	t.Parallel()
	of := func(runOfTrial string) Selection {
		db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "f.duckdb")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		if err := factstoretest.Write(t.Context(), db, "run",
			`CREATE TEMP TABLE made AS SELECT k, 'r' || lpad(CAST(`+runOfTrial+` AS VARCHAR), 2, '0') AS run_id, 'm#0' || k AS strategy_id, md5('d' || k) AS trial FROM range(1, 31) AS r(k)`,
			`INSERT INTO backtest_details (run_id, strategy_id, trial_digest, lag_days, metrics_json)
				SELECT run_id, strategy_id, trial, 1, json_object('returns', 320, 'sharpe', 0.5 + k / 30, 'skew', 0.1, 'kurtosis', 3.5) FROM made`,
			`INSERT INTO backtest_summary (run_id, strategy_id, from_ts, to_ts, sharpe, fee_bps, slippage_bps, created_at)
				SELECT run_id, strategy_id, DATE '2020-01-01', DATE '2021-12-31', 0.5 + k / 30, 0, 0, TIMESTAMP '2026-01-01' FROM made`,
			`INSERT INTO backtest_equity (run_id, ts, ret)
				SELECT run_id, DATE '2020-01-01' + i::INTEGER, CASE WHEN i > 0 THEN 0.001 + sin(i * 1.7) / 70 + sin(i * k * 1.7) / 90 END FROM made, range(0, 321) AS r(i)`); err != nil {
			t.Fatal(err)
		}
		runs, err := factstore.Values[string](t.Context(), db, `SELECT run_id FROM backtest_details WHERE strategy_id = 'm#07'`)
		if err != nil {
			t.Fatal(err)
		}
		j, err := Judge(t.Context(), db, runs[0])
		if err != nil {
			t.Fatal(err)
		}
		s, err := Select(t.Context(), db, runs[0], j)
		if err != nil || s.MeanCorrelation == nil || s.DSREffective == nil || s.PBO == nil {
			t.Fatal(s, err)
		}
		return s
	}
	want := of("k")
	for _, order := range []string{"31 - k", "k * 7 % 31"} {
		if got := of(order); !reflect.DeepEqual(got, want) {
			t.Errorf("run as %s: mean correlation %v, effective %v, PBO %v; run in order: %v, %v, %v", order,
				*got.MeanCorrelation, *got.DSREffective, *got.PBO, *want.MeanCorrelation, *want.DSREffective, *want.PBO)
		}
	}
}
