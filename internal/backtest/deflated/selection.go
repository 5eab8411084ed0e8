package deflated

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
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

// comparedFloats bounds the returns that are in memory at once: 64 MiB.
const comparedFloats = 8 << 20

// heldSQL are the returns of sessions between two days.
const heldSQL = `ret IS NOT NULL AND ts BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)`

// compare lays the returns of the trials side by side; nil: on no session.
func (s *Selection) compare(ctx context.Context, db *factstore.DB, runID, root string) (*inference.Trials, error) {
	w := window{db: db}
	var sessions int64
	if err := db.QueryRow(ctx, `SELECT min(ts), max(ts), count(*) FROM backtest_equity WHERE run_id = ? AND ret IS NOT NULL`, runID).Scan(&w.first, &w.last, &sessions); err != nil {
		return nil, err
	}
	runs, err := w.enough(ctx, runID, root, int64(math.Ceil(comparedShare*float64(sessions))))
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	s.Short = s.Trials - int64(len(runs))
	// The sessions that all have.
	having := make([]int, w.last-w.first+1)
	if err := w.each(ctx, runs, func(_, day int, _ float64) { having[day]++ }); err != nil {
		return nil, err
	}
	place, n := make([]int, len(having)), 0
	for day, many := range having {
		place[day] = -1
		if many == len(runs) {
			place[day], n = n, n+1
			at := w.first + quant.Date(day)
			if s.From == nil {
				s.From = &at
			}
			s.To = &at
		}
	}
	if s.Sessions = n; n == 0 {
		return nil, nil
	}
	trials := inference.NewTrials(n)
	most := max(1, comparedFloats/n)
	returns := make([]float64, min(most, len(runs))*n)
	// In the order of what was tried: bits do not say who ran which trial first.
	for some := range slices.Chunk(runs, most) {
		if err := w.each(ctx, some, func(run, day int, ret float64) {
			if k := place[day]; k >= 0 {
				returns[run*n+k] = ret
			}
		}); err != nil {
			return nil, err
		}
		for run := range some {
			switch trials.Add(returns[run*n : (run+1)*n]) {
			case inference.Flat:
				s.Flat++
			case inference.Same:
				s.Same++
			case inference.Compared:
				s.Compared++
			}
		}
	}
	return trials, nil
}

// window is between which days returns are read.
type window struct {
	db          *factstore.DB
	first, last quant.Date
}

// enough returns the newest run of each trial that has so many returns, in the order of
// the trials.
func (w window) enough(ctx context.Context, runID, root string, least int64) ([]string, error) {
	return factstore.Values[string](ctx, w.db, `WITH many AS (SELECT run_id, count(*) AS n FROM backtest_equity WHERE `+heldSQL+` GROUP BY run_id)
		SELECT run_id FROM (`+trialsSQL+`) JOIN many USING (run_id) WHERE n >= ? ORDER BY trial, outcome`, w.first, w.last, root, root, runID, least)
}

// each tells of each return of some runs: the place of the run, the days since the first,
// the return. In no order. It scans what lies between the lowest and the highest of the
// runs and picks: that is faster than a join.
func (w window) each(ctx context.Context, runs []string, tell func(run, day int, ret float64)) error {
	placeOf := make(map[string]int, len(runs))
	for i, run := range runs {
		placeOf[run] = i
	}
	var names factstore.Names
	var places []int // of a name in runs; -1: it is another run
	var run []int32
	var ts []quant.Date
	var ret []float64
	return w.db.Columns(ctx, `SELECT run_id, ts, ret FROM backtest_equity WHERE run_id BETWEEN ? AND ? AND `+heldSQL, []any{slices.Min(runs), slices.Max(runs), w.first, w.last}, func(c *factstore.Chunk) error {
		run, ts, ret = c.AppendNumbers(run[:0], 0, &names), c.AppendDates(ts[:0], 1), c.AppendFloats(ret[:0], 2)
		for len(places) < len(names.List) {
			at, found := placeOf[names.List[len(places)]]
			if !found {
				at = -1
			}
			places = append(places, at)
		}
		for i, name := range run {
			if at := places[name]; at >= 0 {
				tell(at, int(ts[i]-w.first), ret[i])
			}
		}
		return nil
	})
}
