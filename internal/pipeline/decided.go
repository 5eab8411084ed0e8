package pipeline

import (
	"context"
	"database/sql"
	"encoding/json"

	"quant"
	"quant/internal/backtest"
	"quant/internal/factstore"
	"quant/internal/session"
	"quant/internal/supervisor"
)

// DecidedStrategy is a strategy that has decisions.
type DecidedStrategy struct {
	StrategyID string
	Versions   []string // in byte order
	Decisions  int64
	Stale      int64 // of these
	First      quant.Date
	Last       quant.Date
	Turnover   *float64 // mean of all decisions
	Backtests  int64    // its own
	Trials     int64    // backtests of its sweeps
	Sharpe     *float64 // of its newest backtest
	DecidedAt  quant.Time
}

// ListStrategies returns strategies that have decisions, in byte order, from the from-th
// on, size at most, and how many there are. The trials of sweeps are none of their own.
func ListStrategies(ctx context.Context, s *session.Session, from, size int) (list []DecidedStrategy, total int64, err error) {
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		list, total, err = readStrategies(ctx, db, "", from, size)
		return err
	})
	return list, total, err
}

func readStrategies(ctx context.Context, db *factstore.DB, id string, from, size int) (list []DecidedStrategy, total int64, err error) {
	const these = ` FROM target_sets WHERE (? = '' AND NOT contains(strategy_id, '#')) OR strategy_id = ?`
	if err := db.QueryRow(ctx, "SELECT count(DISTINCT strategy_id)"+these, id, id).Scan(&total); err != nil {
		return nil, 0, err
	}
	rows, err := db.Query(ctx, `SELECT t.*, coalesce(b.own, 0), coalesce(b.trials, 0), b.sharpe FROM (
			SELECT strategy_id, CAST(to_json(list(DISTINCT version ORDER BY version)) AS VARCHAR), count(*), count(*) FILTER (status = 'stale'), min("asof"), max("asof"),
				avg(turnover), max(decided_at)`+these+` GROUP BY strategy_id) t
		LEFT JOIN (SELECT split_part(strategy_id, '#', 1) AS root, count(*) FILTER (NOT contains(strategy_id, '#')) AS own,
				count(*) FILTER (contains(strategy_id, '#')) AS trials, arg_max(sharpe, created_at) FILTER (NOT contains(strategy_id, '#')) AS sharpe
			FROM backtest_summary GROUP BY root) b ON b.root = t.strategy_id
		ORDER BY t.strategy_id LIMIT ? OFFSET ?`, id, id, size, from)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var d DecidedStrategy
		var versions sql.NullString
		if err := rows.Scan(&d.StrategyID, &versions, &d.Decisions, &d.Stale, &d.First, &d.Last, &d.Turnover, &d.DecidedAt, &d.Backtests, &d.Trials, &d.Sharpe); err != nil {
			return nil, 0, err
		}
		_ = json.Unmarshal([]byte(versions.String), &d.Versions) // the engine's own text
		list = append(list, d)
	}
	return list, total, rows.Err()
}

// DecidedSet is a decision as it is stored.
type DecidedSet struct {
	TargetSet
	Version   string
	Status    string // stale: it rests on one that was made again since
	RunID     quant.Text
	DecidedAt quant.Time
}

// Decisions are the decisions of a strategy.
type Decisions struct {
	Strategy  DecidedStrategy
	Sets      []DecidedSet // the newest first, some of them
	From      int          // of the first of Sets
	Turnover  []DecidedTurnover
	At        *DecidedSet // the one that Targets are of
	Targets   []ProposedTarget
	Backtests []backtest.Overview // the newest
}

// DecidedTurnover is what was traded with one decision.
type DecidedTurnover struct {
	Asof     quant.Date
	Turnover *float64
	Gross    *float64
	Approved int64
}

// ProposedTarget is a row of a decision, and what was proposed.
type ProposedTarget struct {
	Target
	Rank     *int64
	Proposed *float64 // the weight before the rules
}

// shownBacktests is how many backtests a strategy's page shows.
const shownBacktests = 20

// ReadDecisions returns the decisions of a strategy: size of them from the from-th on,
// the newest first, and the rows of the one of asof (nil: of the newest). NotFound: there
// is no such strategy, or no decision of that day.
func ReadDecisions(ctx context.Context, s *session.Session, id string, asof *quant.Date, from, size int) (d Decisions, err error) {
	d.From = from
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		found, _, err := readStrategies(ctx, db, id, 0, 1)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return quant.Errorf(quant.NotFound, "strategy %q has no decisions", id).WithHint("`quant recommend --strategy FILE` decides; ids are case-sensitive")
		}
		d.Strategy = found[0]
		if d.Sets, err = readSets(ctx, db, id, `true ORDER BY "asof" DESC LIMIT ? OFFSET ?`, size, from); err != nil {
			return err
		}
		day := d.Strategy.Last
		if asof != nil {
			day = *asof
		}
		at, err := readSets(ctx, db, id, `"asof" = CAST(? AS DATE)`, day)
		if err != nil {
			return err
		}
		if len(at) == 0 {
			return quant.Errorf(quant.NotFound, "strategy %s has no decision of %s", id, day).WithHint("it decided from %s to %s", d.Strategy.First, d.Strategy.Last)
		}
		d.At = &at[0]
		if d.Targets, err = readTargets(ctx, db, id, day); err != nil {
			return err
		}
		if d.Turnover, err = readTurnover(ctx, db, id); err != nil {
			return err
		}
		d.Backtests, _, err = backtest.Page(ctx, db, backtest.Query{StrategyID: id, Size: shownBacktests})
		return err
	})
	return d, err
}

func readSets(ctx context.Context, db *factstore.DB, id, where string, args ...any) (list []DecidedSet, err error) {
	rows, err := db.Query(ctx, `SELECT version, "asof", coalesce(status, ''), coalesce(proposed, 0), coalesce(approved, 0), coalesce(gross, 0), coalesce(turnover, 0),
			coalesce(exempt_turnover, 0), basis_asof, coalesce(digest, ''), run_id, decided_at
		FROM target_sets WHERE strategy_id = ? AND `+where, append([]any{id}, args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d DecidedSet
		var version sql.NullString
		var basis sql.Null[quant.Date]
		if err := rows.Scan(&version, &d.Asof, &d.Status, &d.Proposed, &d.Approved, &d.Gross, &d.Turnover, &d.ExemptTurnover, &basis, &d.Digest, &d.RunID, &d.DecidedAt); err != nil {
			return nil, err
		}
		d.Version = version.String
		if basis.Valid {
			d.BasisAsof = &basis.V
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

func readTargets(ctx context.Context, db *factstore.DB, id string, day quant.Date) (list []ProposedTarget, err error) {
	rows, err := db.Query(ctx, `SELECT t.symbol, coalesce(t.weight, 0), t.score, coalesce(t.approved, false), coalesce(t.risk_flags, '[]'), coalesce(t.reason, ''), p.rank, p.weight
		FROM targets t LEFT JOIN proposals p ON p.strategy_id = t.strategy_id AND p."asof" = t."asof" AND p.symbol = t.symbol
		WHERE t.strategy_id = ? AND t."asof" = CAST(? AS DATE) ORDER BY t.approved DESC, t.weight DESC, p.rank NULLS LAST, t.symbol`, id, day)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t ProposedTarget
		var flags string
		if err := rows.Scan(&t.Symbol, &t.Weight, &t.Score, &t.Approved, &flags, &t.Reason, &t.Rank, &t.Proposed); err != nil {
			return nil, err
		}
		t.Flags = []supervisor.Flag{}
		if err := json.Unmarshal([]byte(flags), &t.Flags); err != nil {
			return nil, quant.Errorf(quant.Store, "risk_flags of %s on %s: %w", t.Symbol, day, err).WithHint("decide the day again")
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

func readTurnover(ctx context.Context, db *factstore.DB, id string) (list []DecidedTurnover, err error) {
	rows, err := db.Query(ctx, `SELECT "asof", turnover, gross, coalesce(approved, 0) FROM target_sets WHERE strategy_id = ? ORDER BY "asof"`, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t DecidedTurnover
		if err := rows.Scan(&t.Asof, &t.Turnover, &t.Gross, &t.Approved); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// PageBacktests returns backtests as ListBacktests does, some of them, and how many
// there are.
func PageBacktests(ctx context.Context, s *session.Session, q backtest.Query) (list []backtest.Overview, total int64, err error) {
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		list, total, err = backtest.Page(ctx, db, q)
		return err
	})
	return list, total, err
}
