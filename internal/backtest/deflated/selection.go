package deflated

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"quant"
	"quant/internal/factstore"
	"quant/internal/inference"
)

const (
	// SignificanceLevel is up to which p-value a test counts as significant.
	SignificanceLevel = 0.05
	// comparedShare is the share of the sessions of the judged backtest that a trial must
	// have returns on to be compared: a shorter one would shorten what all share.
	comparedShare = 0.75
)

// Selection is what choosing one of the recorded trials of a strategy is worth. nil is
// what cannot be said.
type Selection struct {
	Trials int64 `json:"trials"` // as Judgement.Trials
	// Compared are the trials whose returns are laid side by side, on the sessions that all
	// of them have. Left out are those with returns on less than 3/4 of the sessions of the
	// judged backtest (Short), those that never move (Flat), and those with the returns of
	// another (Same), which are no further choice.
	Compared     int64       `json:"compared"`
	Short        int64       `json:"short"`
	Flat         int64       `json:"flat"`
	Same         int64       `json:"same"`
	Sessions     int         `json:"sessions"`
	From         *quant.Date `json:"from"`
	To           *quant.Date `json:"to"`
	Combinations int         `json:"combinations"` // of halves of the sessions; 0: PBO cannot be said
	// See inference.Overfitting.
	PBO   *float64 `json:"pbo"`
	Loss  *float64 `json:"loss_probability"`
	Slope *float64 `json:"degradation_slope"`
	// MeanCorrelation is that of every two of the compared trials. With it, EffectiveTrials
	// of Trials are independent, and DSREffective is the deflated Sharpe ratio of so many.
	MeanCorrelation *float64 `json:"mean_correlation"`
	EffectiveTrials *float64 `json:"effective_trials"`
	DSREffective    *float64 `json:"dsr_effective"`
	// Tested are the trials with a p-value: 1 - PSR, the chance of such a Sharpe ratio where
	// the true one is 0. The others count how many have one up to SignificanceLevel: as it
	// is, and adjusted for so many tests.
	Tested      int64    `json:"tested"`
	Significant int64    `json:"significant"`
	Holm        int64    `json:"holm"`
	BHY         int64    `json:"bhy"`
	P           *float64 `json:"p"` // of the judged backtest's trial
	PHolm       *float64 `json:"p_holm"`
	PBHY        *float64 `json:"p_bhy"`
}

// Lines are the selection in sentences.
func (s Selection) Lines() []string {
	text := func(x *float64) string { return strconv.FormatFloat(*x, 'f', 4, 64) }
	var lines []string
	switch {
	case s.PBO != nil:
		lines = append(lines, fmt.Sprintf("probability of backtest overfitting %s: the best of %s in half of %s is in their lower half in the other",
			text(s.PBO), quant.Count(int(s.Compared), "trial"), quant.Count(s.Sessions, "session")))
	case s.Trials > inference.MaximumCSCV:
		lines = append(lines, fmt.Sprintf("probability of backtest overfitting: cannot be said of more than %d trials", inference.MaximumCSCV))
	case s.Trials < 2:
		lines = append(lines, "probability of backtest overfitting: cannot be said of "+quant.Count(int(s.Trials), "recorded trial"))
	default:
		lines = append(lines, fmt.Sprintf("probability of backtest overfitting: cannot be said of %s on %s; it takes 2 distinct ones on %d", quant.Count(int(s.Compared), "trial"), quant.Count(s.Sessions, "session"), inference.MinimumCSCV))
	}
	if s.Tested > 1 {
		line := fmt.Sprintf("Sharpe ratio above 0 at 5 %%: %d of %s, %d by Holm, %d by BHY", s.Significant, quant.Count(int(s.Tested), "tested trial"), s.Holm, s.BHY)
		if s.P != nil {
			line += fmt.Sprintf("; this one p %s, Holm %s, BHY %s", text(s.P), text(s.PHolm), text(s.PBHY))
		}
		lines = append(lines, line)
	}
	return lines
}

// Select compares the trials of the strategy of a backtest that Judge has judged.
// Errors: those of Judge; the cause of ctx.
func Select(ctx context.Context, db *factstore.DB, runID string, j Judgement) (Selection, error) {
	s := Selection{Trials: j.Trials}
	var strategyID string
	if err := db.QueryRow(ctx, `SELECT strategy_id FROM backtest_details WHERE run_id = ?`, runID).Scan(&strategyID); err != nil {
		return s, err
	}
	root := Root(strategyID)
	if err := s.test(ctx, db, runID, root); err != nil {
		return s, err
	}
	if j.Trials < 2 || j.Trials > inference.MaximumCSCV || j.Returns < inference.MinimumCSCV {
		return s, nil
	}
	trials, err := s.compare(ctx, db, runID, root)
	if err != nil || trials == nil {
		return s, err
	}
	if s.MeanCorrelation = finite(trials.MeanCorrelation()); s.MeanCorrelation != nil {
		effective := inference.EffectiveTrials(j.Trials, *s.MeanCorrelation)
		s.EffectiveTrials = &effective
		if j.DSR != nil && j.TrialsVariance != nil {
			hurdle := inference.ExpectedMaximumSharpe(*j.TrialsVariance, effective)
			s.DSREffective = finite(inference.ProbabilisticSharpe(*j.Sharpe, hurdle, *j.Skew, *j.Kurtosis, j.Returns))
		}
	}
	o, err := trials.Overfitting(ctx)
	s.Combinations, s.PBO, s.Loss, s.Slope = o.Combinations, finite(o.Probability), finite(o.Loss), finite(o.Slope)
	return s, err
}

// test tests the Sharpe ratio of each trial.
func (s *Selection) test(ctx context.Context, db *factstore.DB, runID, root string) error {
	rows, err := db.Query(ctx, `SELECT t.own, d.metrics_json FROM (`+trialsSQL+`) t JOIN backtest_details d ON d.run_id = t.run_id ORDER BY t.run_id`, root, root, runID)
	if err != nil {
		return err
	}
	defer rows.Close()
	var p []float64
	own := -1
	for rows.Next() {
		var mine bool
		var text sql.NullString
		if err := rows.Scan(&mine, &text); err != nil {
			return err
		}
		var m struct {
			Returns  int64    `json:"returns"`
			Sharpe   *float64 `json:"sharpe"`
			Skew     *float64 `json:"skew"`
			Kurtosis *float64 `json:"kurtosis"`
		}
		if text.Valid {
			if err := json.Unmarshal([]byte(text.String), &m); err != nil {
				return quant.Errorf(quant.Store, "metrics_json of a trial of strategy %s: %w", root, err).WithHint("`quant doctor` examines the file")
			}
		}
		value := math.NaN()
		if m.Sharpe != nil && m.Skew != nil && m.Kurtosis != nil {
			value = 1 - inference.ProbabilisticSharpe(*m.Sharpe/math.Sqrt(inference.SessionsPerYear), 0, *m.Skew, *m.Kurtosis, m.Returns)
		}
		if mine {
			own = len(p)
		}
		p = append(p, value)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	holm, bhy := inference.Holm(p), inference.BenjaminiYekutieli(p)
	count := func(of []float64) (n int64) {
		for _, v := range of {
			if v <= SignificanceLevel {
				n++
			}
		}
		return n
	}
	s.Significant, s.Holm, s.BHY = count(p), count(holm), count(bhy)
	for _, v := range p {
		if !math.IsNaN(v) {
			s.Tested++
		}
	}
	if own >= 0 {
		s.P, s.PHolm, s.PBHY = finite(p[own]), finite(holm[own]), finite(bhy[own])
	}
	return nil
}

// comparedSQL are the returns of the trials that are compared, within the days of the
// judged backtest: each has returns on enough of its sessions.
const comparedSQL = `WITH judged AS (SELECT min(ts) AS first, max(ts) AS last, count(*) AS n FROM backtest_equity WHERE run_id = ? AND ret IS NOT NULL),
	within AS (
		SELECT e.run_id, e.ts, e.ret FROM backtest_equity e SEMI JOIN (` + trialsSQL + `) t ON e.run_id = t.run_id, judged j
		WHERE e.ret IS NOT NULL AND e.ts BETWEEN j.first AND j.last),
	enough AS (SELECT run_id FROM within GROUP BY run_id HAVING count(*) >= ? * (SELECT n FROM judged))
	SELECT * FROM within SEMI JOIN enough USING (run_id)`

// compare lays the returns of the trials side by side; nil: on no session. A trial at a
// time is in memory, and the sums that are kept of each.
func (s *Selection) compare(ctx context.Context, db *factstore.DB, runID, root string) (*inference.Trials, error) {
	args := []any{runID, root, root, runID, comparedShare}
	var enough []int64
	var days []quant.Date
	err := db.Columns(ctx, `WITH of AS (`+comparedSQL+`), many AS (SELECT count(DISTINCT run_id) AS n FROM of)
		SELECT ts, many.n FROM of, many GROUP BY ts, many.n HAVING count(*) = many.n ORDER BY ts`, args, func(c *factstore.Chunk) error {
		days, enough = c.AppendDates(days, 0), c.AppendBigints(enough, 1)
		return nil
	})
	if err != nil || len(days) == 0 {
		return nil, err
	}
	s.Sessions, s.From, s.To = len(days), &days[0], &days[len(days)-1]
	s.Short = s.Trials - enough[0]
	trials := inference.NewTrials(len(days))
	var names factstore.Names
	returns := make([]float64, 0, len(days))
	of := int32(-1)
	add := func() {
		if len(returns) < len(days) {
			return
		}
		switch trials.Add(returns) {
		case inference.Flat:
			s.Flat++
		case inference.Same:
			s.Same++
		case inference.Compared:
			s.Compared++
		}
	}
	var run []int32
	var ts []quant.Date
	var ret []float64
	err = db.Columns(ctx, comparedSQL+` ORDER BY run_id, ts`, args, func(c *factstore.Chunk) error {
		run, ts, ret = c.AppendNumbers(run[:0], 0, &names), c.AppendDates(ts[:0], 1), c.AppendFloats(ret[:0], 2)
		for i, r := range run {
			if r != of {
				add()
				of, returns = r, returns[:0]
			}
			if k := len(returns); k < len(days) && ts[i] == days[k] {
				returns = append(returns, ret[i])
			}
		}
		return nil
	})
	add()
	return trials, err
}
