package strategy

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// The TEMP tables that Read makes, to be read as temp.main.<name>.
const (
	// SignalTable: symbol TEXT, ts DATE, value DOUBLE, stamp TIMESTAMP (of the
	// run that wrote the row), k INTEGER (index of the day), n INTEGER (index of
	// the symbol).
	SignalTable = "strategy_signal"
	// SymbolTable: i INTEGER, v TEXT. The symbols, by their index.
	SymbolTable = "strategy_symbol"

	dayTable = "strategy_day" // i INTEGER, v DATE
)

// Signals is what a strategy knew on its days: one score a symbol and day,
// sign-adjusted so that higher is better.
type Signals struct {
	Days    []quant.Date
	Symbols []string
	scores  []float64 // [day][symbol]; NaN: no row of that very day
}

// Score is the score of Symbols[n] on Days[k]; NaN where there is none.
func (s *Signals) Score(k, n int) float64 { return s.scores[k*len(s.Symbols)+n] }

// Candidate is one name of a proposal.
type Candidate struct {
	N      int // index in Signals.Symbols
	Symbol string
	Rank   int // from 1
	Score  float64
	Weight float64 // decimal of equity
}

// CheckScale refuses a signal that cannot rank: a price-level feature says
// which share is dear, not which is good. priceLevel tells, for a feature, its
// scale-free twin, and whether it is price-level. quant.Refused.
func (s Strategy) CheckScale(priceLevel func(feature string) (twin string, is bool)) error {
	if s.Signal.Type != FactorRank {
		return nil
	}
	twin, is := priceLevel(s.Signal.Inputs.FeatureName)
	if !is {
		return nil
	}
	return quant.Errorf(quant.Refused, "strategy %s ranks by %s, which is in units of the price: it ranks shares by what one costs", s.ID, s.Signal.Inputs.FeatureName).
		WithHint("rank by %s, its scale-free twin", twin)
}

// SignalDataset names the rows that the signal reads: those of a feature, or a
// model's predictions.
func (s Strategy) SignalDataset() dataset.Name {
	in := s.Signal.Inputs
	if s.Signal.Type == ModelScore {
		return dataset.PredictionsOf(in.ModelID, in.TaskID)
	}
	return dataset.Feature(in.FeatureName, in.FeatureVersion)
}

// source is the table of the signal, its value, its stamp, and which rows.
func (s Strategy) source() (table, value, stamp, where string, args []any) {
	in := s.Signal.Inputs
	if s.Signal.Type == ModelScore {
		if in.TaskID == WalkForward {
			return factstore.Predictions, "score", "generated_at", "model_id = ? AND (task_id = 'final' OR starts_with(task_id, 'wf:'))", []any{in.ModelID}
		}
		return factstore.Predictions, "score", "generated_at", "model_id = ? AND task_id = ?", []any{in.ModelID, in.TaskID}
	}
	return factstore.FeaturesDaily, "feature_value", "computed_at", "feature_name = ? AND feature_version = ?", []any{in.FeatureName, in.FeatureVersion}
}

// Read reads the signals of these days, ascending, for the universe and for
// others (names held that left it: their score is for the order of sales), and
// stages SignalTable. A value that is no finite number counts as none. Where a
// walk-forward model has several out-of-sample scores of one day, the one whose
// task_id is first in byte order counts, so final before any fold. Refused: a row
// of these days that no run wrote.
func (s Strategy) Read(ctx context.Context, db *factstore.DB, days []quant.Date, others []string) (*Signals, error) {
	r := &Signals{Days: days, Symbols: s.Universe.Symbols}
	for _, symbol := range others {
		if !slices.Contains(r.Symbols, symbol) {
			r.Symbols = append(slices.Clone(r.Symbols), symbol)
		}
	}
	r.scores = make([]float64, len(r.Days)*len(r.Symbols))
	for i := range r.scores {
		r.scores[i] = math.NaN()
	}
	if err := stageIndex(ctx, db, dayTable, "DATE", len(days), func(i int) driver.Value { return days[i] }); err != nil {
		return nil, err
	}
	if err := stageIndex(ctx, db, SymbolTable, "TEXT", len(r.Symbols), func(i int) driver.Value { return r.Symbols[i] }); err != nil {
		return nil, err
	}
	table, value, stamp, where, args := s.source()
	key := ""
	if table == factstore.Predictions {
		key = " QUALIFY row_number() OVER (PARTITION BY f.symbol, f.ts ORDER BY f.task_id) = 1"
	}
	// The bounds let DuckDB skip what no day is in.
	if len(days) > 0 {
		where += " AND f.ts BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)"
		args = append(args, days[0], days[len(days)-1])
	}
	read := where + " AND f.ts IN (SELECT v FROM temp.main." + dayTable + ") AND f.symbol IN (SELECT v FROM temp.main." + SymbolTable + ")"
	if err := db.RequireExplained(ctx, table, "", read, args...); err != nil {
		return nil, err
	}
	_, err := db.Stage(ctx, fmt.Sprintf(`CREATE OR REPLACE TEMP TABLE %s AS
		SELECT f.symbol, f.ts, f.%s AS value, f.%s AS stamp, d.i AS k, u.i AS n
		FROM main.%s f JOIN temp.main.%s d ON d.v = f.ts JOIN temp.main.%s u ON u.v = f.symbol
		WHERE %s AND isfinite(f.%s)%s`, SignalTable, value, stamp, table, dayTable, SymbolTable, where, value, key), args...)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, "SELECT k, n, value FROM temp.main."+SignalTable)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k, n int32
		var v float64
		if err := rows.Scan(&k, &n, &v); err != nil {
			return nil, err
		}
		if s.Signal.Order == Asc {
			v = 0 - v // not -v: no minus zero
		}
		r.scores[int(k)*len(r.Symbols)+int(n)] = v
	}
	return r, rows.Err()
}

// SignalDays are the days, in order, on which a symbol of the universe has a
// signal.
func (s Strategy) SignalDays(ctx context.Context, db *factstore.DB) ([]quant.Date, error) {
	table, value, _, where, args := s.source()
	rows, err := db.Query(ctx, fmt.Sprintf("SELECT DISTINCT f.ts FROM main.%s f WHERE %s AND isfinite(f.%s) AND f.symbol IN (%s) ORDER BY f.ts",
		table, where, value, sqltext.Literals(s.Universe.Symbols)), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var days []quant.Date
	for rows.Next() {
		var d quant.Date
		if err := rows.Scan(&d); err != nil {
			return nil, err
		}
		days = append(days, d)
	}
	return days, rows.Err()
}

// stageIndex makes a TEMP table of values and their indices: i INTEGER, v.
func stageIndex(ctx context.Context, db *factstore.DB, table, kind string, count int, value func(int) driver.Value) error {
	if _, err := db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+table+" (i INTEGER NOT NULL, v "+kind+" NOT NULL)"); err != nil {
		return err
	}
	return db.Append(ctx, table, func(row func(...driver.Value) error) error {
		for i := range count {
			if err := row(int32(i), value(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Propose returns the portfolio that the strategy wants on Days[k], in rank
// order: its top_k names by score, ties by symbol in byte order, weighted.
// Empty where no symbol of the universe has a score: all cash.
func (s Strategy) Propose(r *Signals, k int) []Candidate {
	var list []Candidate
	for n := range s.Universe.Symbols {
		if score := r.Score(k, n); !math.IsNaN(score) {
			list = append(list, Candidate{N: n, Symbol: r.Symbols[n], Score: score})
		}
	}
	slices.SortFunc(list, func(a, b Candidate) int {
		if a.Score != b.Score {
			return cmp.Compare(b.Score, a.Score)
		}
		return strings.Compare(a.Symbol, b.Symbol)
	})
	list = slices.Clone(list[:min(len(list), s.Portfolio.TopK)])
	// Divided by the largest, no sum of scores overflows.
	var best, total float64
	for _, c := range list {
		best = max(best, c.Score)
	}
	for _, c := range list {
		if best > 0 {
			total += max(c.Score, 0) / best
		}
	}
	for i := range list {
		c := &list[i]
		c.Rank = i + 1
		switch {
		case s.Portfolio.Weighting == ScoreWeighted:
			if best > 0 {
				c.Weight = max(c.Score, 0) / best / total
			}
		case s.Portfolio.Fill == FillRedistribute:
			c.Weight = 1 / float64(len(list))
		default:
			c.Weight = 1 / float64(s.Portfolio.TopK)
		}
	}
	return list
}
