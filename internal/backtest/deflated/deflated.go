// Package deflated judges a Sharpe ratio by how it was found: the probabilistic
// and the deflated Sharpe ratio of Bailey and Lopez de Prado, "The Deflated
// Sharpe Ratio" (Journal of Portfolio Management 40/5, 2014). The best of many
// trials looks good by chance; how many there were only a registry knows that
// records every one of them. It runs no backtest.
package deflated

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/inference"
)

// Confidence is how sure MinTrackRecord is to be.
const Confidence = 0.95

// Judgement is what the number of trials leaves of a backtest's Sharpe ratio.
// nil is what cannot be said: of fewer than two returns, or of returns without a
// deviation.
type Judgement struct {
	Returns  int64    `json:"returns"`
	Sharpe   *float64 `json:"sharpe_per_session"` // mean / sample deviation; not yearly
	Skew     *float64 `json:"skew"`               // third standardised population moment
	Kurtosis *float64 `json:"kurtosis"`           // fourth one; 3 for a normal distribution
	// Trials are the distinct ones recorded for the strategy: its own backtests
	// and those of its sweeps. One that was only repeated counts once; the same
	// settings with another model or on other prices are another.
	Trials int64 `json:"trials"`
	// TrialsVariance is the sample variance of the trials' Sharpe ratios of a
	// session; nil below two.
	TrialsVariance  *float64 `json:"trials_variance"`
	ExpectedMaximum float64  `json:"expected_max_sharpe_per_session"` // of so many trials without skill
	PSR             *float64 `json:"psr"`                             // probability that the true ratio is above 0
	DSR             *float64 `json:"dsr"`                             // ... above the expected maximum; PSR with one trial
	// MinTrackRecord is how many returns it takes until PSR is Confidence, if the moments
	// stay; nil where no length would do, for the ratio is not above 0.
	MinTrackRecord *float64 `json:"min_track_record"`
}

// Root is the strategy whose trial a strategy id is: a sweep names its trials
// <id>#<digest of the overrides>.
func Root(strategyID string) string {
	root, _, _ := strings.Cut(strategyID, "#")
	return root
}

// String is the judgement as a sentence.
func (j Judgement) String() string {
	if j.DSR == nil {
		return fmt.Sprintf("deflated Sharpe ratio: cannot be said of %s (%s recorded)", quant.Count(int(j.Returns), "return"), quant.Count(int(j.Trials), "trial"))
	}
	return fmt.Sprintf("deflated Sharpe ratio %s: probability that the true ratio is above what the best of %s shows by chance (above 0: %s)",
		strconv.FormatFloat(*j.DSR, 'f', 4, 64), quant.Count(int(j.Trials), "recorded trial"), strconv.FormatFloat(*j.PSR, 'f', 4, 64))
}

// Judge computes the judgement of one backtest from backtest_equity and from all
// trials that backtest_details has of the same strategy, in whatever version.
// Backtests with one trial_digest are one trial; of a repeated one the newest
// result counts. What failed has no result to choose, and is none.
// quant.NotFound without such a backtest.
func Judge(ctx context.Context, db *factstore.DB, runID string) (Judgement, error) {
	var j Judgement
	var strategyID string
	err := db.QueryRow(ctx, `SELECT strategy_id FROM backtest_details WHERE run_id = ?`, runID).Scan(&strategyID)
	if errors.Is(err, sql.ErrNoRows) {
		return j, quant.Errorf(quant.NotFound, "run %s has no backtest", runID).
			WithHint("`quant backtest list` shows those that there are")
	}
	if err != nil {
		return j, err
	}
	returns, err := factstore.Values[sql.Null[float64]](ctx, db, `SELECT ret FROM backtest_equity WHERE run_id = ? AND ret IS NOT NULL ORDER BY ts`, runID)
	if err != nil {
		return j, err
	}
	trials, err := factstore.Values[sql.Null[float64]](ctx, db, "SELECT sharpe FROM ("+trialsSQL+") ORDER BY sharpe", Root(strategyID), Root(strategyID), runID)
	if err != nil {
		return j, err
	}
	var known []float64
	for _, yearly := range trials {
		if yearly.Valid {
			known = append(known, yearly.V/math.Sqrt(inference.SessionsPerYear))
		}
	}
	own := make([]float64, 0, len(returns))
	for _, r := range returns {
		own = append(own, r.V)
	}
	return judge(own, known, int64(len(trials))), nil
}

// trialsSQL is the newest run of each trial of a strategy, its yearly Sharpe ratio, and
// whether a run is of that trial. Its parameters: the strategy, again, the run. trial and
// outcome tell trials apart by what was tried, whoever ran it when: sums over trials go in
// their order.
//
// What was stored without a trial_digest is told by its outcome: lag, costs, range
// and every figure. Two of those from a sweep are one trial if they have one id
// as well; one of the strategy itself is none of its own if a sweep had the same
// outcome, for it decided under the strategy's id what the sweep decided under
// the trial's; and none is if it came out again since.
const trialsSQL = `WITH tried AS (
		SELECT d.trial_digest AS trial, split_part(d.strategy_id, '#', 2) AS swept, s.sharpe, s.created_at, s.run_id,
			CAST(row(d.lag_days, s.fee_bps, s.slippage_bps, s.from_ts, s.to_ts, s.cagr, s.sharpe, s.max_dd, s.vol, s.turnover, s.win_rate, s.avg_trade, s.num_trades) AS VARCHAR) AS outcome
		FROM backtest_details d JOIN backtest_summary s USING (run_id)
		WHERE d.strategy_id = ? OR starts_with(d.strategy_id, ? || '#')),
	named AS (SELECT outcome FROM tried WHERE trial IS NOT NULL),
	earlier AS (SELECT * FROM tried WHERE trial IS NULL AND outcome NOT IN (FROM named)),
	sweeps AS (SELECT * FROM earlier WHERE swept <> ''),
	counted AS (
		SELECT trial AS a, '' AS b, * EXCLUDE (trial) FROM tried WHERE trial IS NOT NULL
		UNION ALL SELECT swept, outcome, * EXCLUDE (trial) FROM sweeps
		UNION ALL SELECT '', outcome, * EXCLUDE (trial) FROM earlier WHERE swept = '' AND outcome NOT IN (SELECT outcome FROM sweeps))
	SELECT last(run_id ORDER BY created_at, run_id) AS run_id, last(sharpe ORDER BY created_at, run_id) AS sharpe, bool_or(run_id = ?) AS own,
		a AS trial, b AS outcome FROM counted GROUP BY a, b`

// judge is Judge of the session returns and of the trials' Sharpe ratios of a
// session; trials may be more than the ratios that are known.
func judge(returns, sharpes []float64, trials int64) Judgement {
	j := Judgement{Returns: int64(len(returns)), Trials: trials}
	var variance float64
	if len(sharpes) > 1 {
		_, m2, _, _ := moments(sharpes)
		variance = m2 * float64(len(sharpes)) / float64(len(sharpes)-1)
		j.TrialsVariance = &variance
	}
	j.ExpectedMaximum = inference.ExpectedMaximumSharpe(variance, float64(trials))
	if len(returns) < 2 {
		return j
	}
	if slices.Min(returns) == slices.Max(returns) {
		return j // rounding alone would give a deviation
	}
	mean, m2, skew, kurtosis := moments(returns)
	sharpe := mean / math.Sqrt(m2*float64(len(returns))/float64(len(returns)-1))
	j.Sharpe, j.Skew, j.Kurtosis = finite(sharpe), finite(skew), finite(kurtosis)
	if j.Sharpe != nil && j.Skew != nil && j.Kurtosis != nil {
		j.PSR = finite(inference.ProbabilisticSharpe(sharpe, 0, skew, kurtosis, j.Returns))
		j.DSR = finite(inference.ProbabilisticSharpe(sharpe, j.ExpectedMaximum, skew, kurtosis, j.Returns))
		j.MinTrackRecord = finite(math.Ceil(inference.MinimumTrackRecord(sharpe, 0, skew, kurtosis, Confidence)))
	}
	return j
}

// moments are the mean, the population variance, skewness and kurtosis.
func moments(xs []float64) (mean, variance, skew, kurtosis float64) {
	n := float64(len(xs))
	for _, x := range xs {
		mean += x / n
	}
	var m2, m3, m4 float64
	for _, x := range xs {
		d := x - mean
		m2 += d * d / n
		m3 += d * d * d / n
		m4 += d * d * d * d / n
	}
	return mean, m2, m3 / math.Pow(m2, 1.5), m4 / (m2 * m2)
}

// finite is x, or nil where it says nothing.
func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}
