package sqlite

import (
	"context"

	"github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/metastore"
)

const modelColumns = `model_id, experiment_id, algo, params_json, train_range, feature_version, label_version, metrics_json, created_at`

func scanModel(m *quant.Model) []any {
	return []any{
		&m.ModelID, &m.ExperimentID, &m.Algo, &m.ParamsJSON, &m.TrainRange,
		&m.FeatureVersion, &m.LabelVersion, &m.MetricsJSON, &m.CreatedAt,
	}
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
