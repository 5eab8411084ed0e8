package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/metastore"
)

const (
	symbolColumns     = `symbol, name, sector, currency, is_active, priority`
	experimentColumns = `experiment_id, name, description, feature_set_id, label_set_id, split_policy_json, params_json, created_at`
	modelColumns      = `model_id, experiment_id, algo, params_json, train_range, feature_version, label_version, metrics_json, created_at`
)

func scanSymbol(s *quant.Symbol) []any {
	return []any{&s.Symbol, &s.Name, &s.Sector, &s.Currency, &s.IsActive, &s.Priority}
}

func scanExperiment(e *quant.Experiment) []any {
	return []any{
		&e.ExperimentID, &e.Name, &e.Description, &e.FeatureSetID, &e.LabelSetID,
		&e.SplitPolicyJSON, &e.ParamsJSON, &e.CreatedAt,
	}
}

func scanModel(m *quant.Model) []any {
	return []any{
		&m.ModelID, &m.ExperimentID, &m.Algo, &m.ParamsJSON, &m.TrainRange,
		&m.FeatureVersion, &m.LabelVersion, &m.MetricsJSON, &m.CreatedAt,
	}
}

// CreateSymbol is documented at metastore.Symbols.
func (db *DB) CreateSymbol(ctx context.Context, s quant.Symbol) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return db.insert(ctx, "symbol "+s.Symbol,
		`INSERT INTO symbols (`+symbolColumns+`) VALUES (?, ?, ?, ?, ?, ?)`,
		s.Symbol, s.Name, s.Sector, s.Currency, s.IsActive, s.Priority)
}

// GetSymbol is documented at metastore.Symbols.
func (db *DB) GetSymbol(ctx context.Context, symbol string) (quant.Symbol, error) {
	return get(ctx, db, "symbol "+symbol, `SELECT `+symbolColumns+` FROM symbols WHERE symbol = ?`, symbol, scanSymbol)
}

// ListSymbols is documented at metastore.Symbols.
func (db *DB) ListSymbols(ctx context.Context, f metastore.SymbolFilter) ([]quant.Symbol, error) {
	s := selection{noun: "symbols", columns: symbolColumns, key: "symbol"}
	if f.Active != nil {
		s.equal("is_active", *f.Active)
	}
	s.equalText("sector", f.Sector)
	s.equalText("currency", f.Currency)
	query, err := s.query(f.Order, "symbol", f.Limit, "symbol", "name", "priority")
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list symbols", query, s.args, scanSymbol)
}

// UpdateSymbol is documented at metastore.Symbols.
func (db *DB) UpdateSymbol(ctx context.Context, s quant.Symbol) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return db.change(ctx, "update", "symbol "+s.Symbol,
		`UPDATE symbols SET name = ?, sector = ?, currency = ?, is_active = ?, priority = ? WHERE symbol = ?`,
		s.Name, s.Sector, s.Currency, s.IsActive, s.Priority, s.Symbol)
}

// DeleteSymbol is documented at metastore.Symbols.
func (db *DB) DeleteSymbol(ctx context.Context, symbol string) error {
	return db.change(ctx, "delete", "symbol "+symbol, `DELETE FROM symbols WHERE symbol = ?`, symbol)
}

// EnsureSymbols is documented at metastore.Symbols. An invalid ticker is
// Invalid, and then none is added.
func (db *DB) EnsureSymbols(ctx context.Context, tickers []string) ([]string, error) {
	for _, t := range tickers {
		if err := quant.ValidateSymbol(t); err != nil {
			return nil, err
		}
	}
	if len(tickers) == 0 {
		return nil, nil
	}
	var added []string
	err := db.write(ctx, "add symbols", "meta.symbols", func(ctx context.Context, q querier) error {
		for batch := range slices.Chunk(tickers, 10_000) {
			doc, err := json.Marshal(batch)
			if err != nil {
				return err
			}
			if err := ensure(ctx, q, string(doc), &added); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(added)
	return added, nil
}

func ensure(ctx context.Context, q querier, doc string, added *[]string) error {
	rows, err := q.QueryContext(ctx, `INSERT INTO symbols (symbol) SELECT value FROM json_each(?) WHERE true
		ON CONFLICT (symbol) DO NOTHING RETURNING symbol`, doc)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var t string
		if err := rows.Scan(&t); err != nil {
			return err
		}
		*added = append(*added, t)
	}
	return rows.Err()
}

// CreateExperiment is documented at metastore.Experiments.
func (db *DB) CreateExperiment(ctx context.Context, e quant.Experiment) error {
	if err := e.Validate(); err != nil {
		return err
	}
	return db.insert(ctx, "experiment "+e.ExperimentID,
		`INSERT INTO experiments (`+experimentColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ExperimentID, e.Name, e.Description, e.FeatureSetID, e.LabelSetID, e.SplitPolicyJSON, e.ParamsJSON, e.CreatedAt)
}

// GetExperiment is documented at metastore.Experiments.
func (db *DB) GetExperiment(ctx context.Context, id string) (quant.Experiment, error) {
	return get(ctx, db, "experiment "+id, `SELECT `+experimentColumns+` FROM experiments WHERE experiment_id = ?`, id, scanExperiment)
}

// ListExperiments is documented at metastore.Experiments.
func (db *DB) ListExperiments(ctx context.Context, f metastore.ExperimentFilter) ([]quant.Experiment, error) {
	s := selection{noun: "experiments", columns: experimentColumns, key: "experiment_id"}
	s.equalText("name", f.Name)
	query, err := s.query(f.Order, "-created_at", f.Limit, "created_at", "name", "experiment_id")
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list experiments", query, s.args, scanExperiment)
}

// UpdateExperiment is documented at metastore.Experiments.
func (db *DB) UpdateExperiment(ctx context.Context, e quant.Experiment) error {
	if err := e.Validate(); err != nil {
		return err
	}
	return db.change(ctx, "update", "experiment "+e.ExperimentID,
		`UPDATE experiments SET name = ?, description = ?, feature_set_id = ?, label_set_id = ?, split_policy_json = ?,
			params_json = ?, created_at = ? WHERE experiment_id = ?`,
		e.Name, e.Description, e.FeatureSetID, e.LabelSetID, e.SplitPolicyJSON, e.ParamsJSON, e.CreatedAt, e.ExperimentID)
}

// CreateModel is documented at metastore.Models.
func (db *DB) CreateModel(ctx context.Context, m quant.Model) error {
	if err := m.Validate(); err != nil {
		return err
	}
	return noExperiment(m, db.insert(ctx, "model "+m.ModelID,
		`INSERT INTO models (`+modelColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		m.ModelID, m.ExperimentID, m.Algo, m.ParamsJSON, m.TrainRange, m.FeatureVersion, m.LabelVersion, m.MetricsJSON, m.CreatedAt))
}

// GetModel is documented at metastore.Models.
func (db *DB) GetModel(ctx context.Context, id string) (quant.Model, error) {
	return get(ctx, db, "model "+id, `SELECT `+modelColumns+` FROM models WHERE model_id = ?`, id, scanModel)
}

// ListModels is documented at metastore.Models.
func (db *DB) ListModels(ctx context.Context, f metastore.ModelFilter) ([]quant.Model, error) {
	s := selection{noun: "models", columns: modelColumns, key: "model_id"}
	s.equalText("experiment_id", f.ExperimentID)
	s.equalText("algo", f.Algo)
	query, err := s.query(f.Order, "-created_at", f.Limit, "created_at", "algo", "model_id")
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list models", query, s.args, scanModel)
}

// UpdateModel is documented at metastore.Models.
func (db *DB) UpdateModel(ctx context.Context, m quant.Model) error {
	if err := m.Validate(); err != nil {
		return err
	}
	return noExperiment(m, db.change(ctx, "update", "model "+m.ModelID,
		`UPDATE models SET experiment_id = ?, algo = ?, params_json = ?, train_range = ?, feature_version = ?,
			label_version = ?, metrics_json = ?, created_at = ? WHERE model_id = ?`,
		m.ExperimentID, m.Algo, m.ParamsJSON, m.TrainRange, m.FeatureVersion, m.LabelVersion, m.MetricsJSON, m.CreatedAt, m.ModelID))
}

// noExperiment says which row a model's foreign key missed.
func noExperiment(m quant.Model, err error) error {
	if is(err, sqlite3.ErrConstraintForeignKey) {
		return quant.Errorf(quant.NotFound, "model %s: experiment %s does not exist: %w", m.ModelID, m.ExperimentID, err)
	}
	return err
}

// insert stores one new row; Conflict if its key exists.
func (db *DB) insert(ctx context.Context, object, query string, args ...any) error {
	return db.write(ctx, "create "+object, "", func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, query, args...)
		if is(err, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintUnique) {
			return quant.Errorf(quant.Conflict, "%s exists already: %w", object, err)
		}
		return err
	})
}

// change updates or deletes one row; NotFound if there is none.
func (db *DB) change(ctx context.Context, verb, object, query string, args ...any) error {
	return db.write(ctx, verb+" "+object, "", func(ctx context.Context, q querier) error {
		var res sql.Result
		res, err := q.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return quant.Errorf(quant.NotFound, "%s does not exist", object)
	})
}

// selection builds the query of a list. Names come from this package only,
// values are bound.
type selection struct {
	noun, columns, key string
	where              []string
	args               []any
}

func (s *selection) equal(column string, value any) {
	s.where = append(s.where, column+" = ?")
	s.args = append(s.args, value)
}

// equalText selects nothing away for "".
func (s *selection) equalText(column, value string) {
	if value != "" {
		s.equal(column, value)
	}
}

func (s *selection) query(order, byDefault metastore.Order, limit int, allowed ...string) (string, error) {
	if order == "" {
		order = byDefault
	}
	column, descending := strings.CutPrefix(string(order), "-")
	if !slices.Contains(allowed, column) {
		return "", quant.Errorf(quant.Invalid, "%s: cannot order by %q", s.noun, order).
			WithHint("order by one of %s, with - before it for descending order", strings.Join(allowed, ", "))
	}
	if limit < 0 {
		return "", quant.Errorf(quant.Invalid, "%s: limit %d is negative", s.noun, limit)
	}
	query := `SELECT ` + s.columns + ` FROM ` + s.noun
	if len(s.where) > 0 {
		query += ` WHERE ` + strings.Join(s.where, ` AND `)
	}
	query += ` ORDER BY ` + column
	if descending {
		query += ` DESC`
	}
	if column != s.key {
		query += `, ` + s.key
	}
	if limit > 0 {
		query += ` LIMIT ?`
		s.args = append(s.args, limit)
	}
	return query, nil
}

func validDocument(object string, doc quant.JSON) error {
	if len(doc) > 0 && !json.Valid(doc) {
		return quant.Errorf(quant.Invalid, "%s: not valid JSON", object)
	}
	return nil
}
